"""A wrapper for callables that are more than functions: nothing else of them is hidden."""

from typing import Any

import wrapt

from cxtrace._touchpoint import touchpoint


def wrapped(noun: touchpoint, found: Any) -> Any:
    """A touchpoint in the place of a callable object, such as a task or a cached function."""

    def call(original: Any, _: Any, args: Any, kwargs: Any) -> Any:
        return noun(original)(*args, **kwargs)

    return _Transparent(found, call)


class _Transparent(wrapt.FunctionWrapper):  # type: ignore[misc,type-arg,unused-ignore]
    """What else the object can do goes on: to clear a cache, to put a task off, to be pickled."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)
