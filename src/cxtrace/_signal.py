"""What all signals have in common: they are said of an open touchpoint, and never raise."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from cxtrace import _guard
from cxtrace import attributes as names

if TYPE_CHECKING:
    from cxtrace._lived import Lived


class Touchpoint(Protocol):
    """What a signal needs of the touchpoint that it is said of."""

    journey: Any

    @property
    def measures(self) -> Any:
        """What is measured at it."""
        ...

    def facts(self) -> "Lived":
        """What was lived through, to be written to."""
        ...


T = TypeVar("T", bound=Touchpoint)
M = TypeVar("M", bound="Callable[..., Any]")

AT_STAGE: Final = (names.STAGE_NAME,)
BY_OWNER_AT_STAGE: Final = (names.OWNER_FUNCTION, names.STAGE_NAME)
"""Which labels of the place a metric has, beside those of the signal."""


def signal(method: M) -> M:
    """Let a method do its work only on an open touchpoint, and never raise."""

    @functools.wraps(method)
    def said(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not listens(self):
            return self
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001
            _guard.swallow(method.__name__, error)
        return self

    return said  # type: ignore[return-value]


def listens(touchpoint: Any) -> bool:
    """Whether a touchpoint is open; a signal that comes too late or to none is counted."""
    if touchpoint.is_open and touchpoint.measures is not None:
        return True
    _guard.count("signal.after_end" if touchpoint.measures else "signal.outside_of_touchpoint")
    return False
