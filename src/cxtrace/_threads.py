"""Carry the context into threads, where OpenTelemetry's does not go by itself."""

import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from opentelemetry.context import attach, get_current

P = ParamSpec("P")
R = TypeVar("R")


def wrap(fn: Callable[P, R]) -> Callable[P, R]:
    """``fn``, to be run elsewhere under the context that is current here and now.

    ``pool.submit(cxtrace.wrap(work), order)`` keeps journey, customer and the parent span, and so
    does ``loop.run_in_executor(None, cxtrace.wrap(work))``. ``asyncio.to_thread`` needs no help.
    """
    carried = get_current()

    @functools.wraps(fn)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        previous = get_current()
        attach(carried)
        try:
            return fn(*args, **kwargs)
        finally:
            attach(previous)

    return run


class ContextThreadPoolExecutor(ThreadPoolExecutor):
    """A ``ThreadPoolExecutor`` whose work runs under the context of who submitted it.

    Works for ``submit``, ``map`` and ``loop.run_in_executor``.
    """

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Submit ``fn`` with the current context."""
        return super().submit(wrap(fn), *args, **kwargs)
