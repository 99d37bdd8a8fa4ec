"""tenacity: each retry counts for the current touchpoint, and the time until it as waiting.

Of what is retried, and why, nothing is recorded: no name, no arguments, no exception.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from tenacity import RetryCallState

from cxtrace import _guard
from cxtrace._handles import current_touchpoint

__all__ = ["count_retry", "counting"]

R = TypeVar("R")


def count_retry(state: RetryCallState) -> None:
    """Count a retry: ``@retry(before_sleep=count_retry)``. Never raises."""
    try:
        action = state.next_action
        current_touchpoint().retry(0.0 if action is None else action.sleep)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("tenacity", error)


def counting(before_sleep: Callable[[RetryCallState], R]) -> Callable[[RetryCallState], R]:
    """Count each retry, then do what ``before_sleep`` did before.

    Args:
        before_sleep: A callback as tenacity takes it, a coroutine function for its asyncio too.
    """
    if _is_async(before_sleep):
        # tenacity awaits what is a coroutine function, and nothing else.
        async def counted_async(state: RetryCallState) -> Any:
            count_retry(state)
            return await before_sleep(state)  # type: ignore[misc]

        return counted_async  # type: ignore[return-value]

    def counted(state: RetryCallState) -> R:
        count_retry(state)
        return before_sleep(state)

    return counted


def _is_async(callback: object) -> bool:
    call = getattr(callback, "__call__", None)  # noqa: B004  a class of callbacks may be async
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(call)
