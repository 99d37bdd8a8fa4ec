"""The signals as functions: each speaks of the touchpoint that is open here.

``cxtrace.friction("slow")`` is ``cxtrace.current_touchpoint().friction("slow")``. Outside of any
touchpoint a signal is counted, and that is all.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from cxtrace._handles import TouchpointHandle, current_touchpoint

__all__ = [
    "complaint",
    "deliver",
    "emotion",
    "feedback",
    "forecast",
    "friction",
    "handoff",
    "mention",
    "nudge",
    "value",
]

P = ParamSpec("P")
R = TypeVar("R")


def _of_current(method: Callable[Concatenate[TouchpointHandle, P], R]) -> Callable[P, R]:
    @functools.wraps(method)
    def signal(*args: P.args, **kwargs: P.kwargs) -> R:
        return method(current_touchpoint(), *args, **kwargs)

    signature = inspect.signature(method)
    without_self = list(signature.parameters.values())[1:]
    signal.__signature__ = signature.replace(parameters=without_self)  # type: ignore[attr-defined]
    return signal


complaint = _of_current(TouchpointHandle.complaint)
deliver = _of_current(TouchpointHandle.deliver)
emotion = _of_current(TouchpointHandle.emotion)
feedback = _of_current(TouchpointHandle.feedback)
forecast = _of_current(TouchpointHandle.forecast)
friction = _of_current(TouchpointHandle.friction)
handoff = _of_current(TouchpointHandle.handoff)
mention = _of_current(TouchpointHandle.mention)
nudge = _of_current(TouchpointHandle.nudge)
value = _of_current(TouchpointHandle.value)
