"""Instrument the customer's experience: touchpoints, journeys and owners as OpenTelemetry spans."""

import importlib
from typing import TYPE_CHECKING, Any

from cxtrace._company_signals import Exposure
from cxtrace._handles import InteractionHandle, SpanHandle, TouchpointHandle, current_touchpoint
from cxtrace._journey import CustomerHandle, JourneyHandle, customer, identify, journey
from cxtrace._touchpoint import interaction, touchpoint
from cxtrace.context import CXContext, current_context
from cxtrace.exceptions import ConfigurationError, CXTraceError, MapError

if TYPE_CHECKING:
    from cxtrace._config import configure, flush, shutdown
    from cxtrace._sigterm import shutdown_on_sigterm
    from cxtrace._threads import ContextThreadPoolExecutor, wrap
    from cxtrace._walkthrough import walkthrough
    from cxtrace.diagnostics import Report, report
    from cxtrace.journey_map import JourneyMap
    from cxtrace.signals import (
        complaint,
        deliver,
        emotion,
        feedback,
        forecast,
        friction,
        handoff,
        mention,
        nudge,
        value,
    )

__all__ = [
    "CXContext",
    "CXTraceError",
    "ConfigurationError",
    "ContextThreadPoolExecutor",
    "CustomerHandle",
    "Exposure",
    "InteractionHandle",
    "JourneyHandle",
    "JourneyMap",
    "MapError",
    "Report",
    "SpanHandle",
    "TouchpointHandle",
    "complaint",
    "configure",
    "current_context",
    "current_touchpoint",
    "customer",
    "deliver",
    "emotion",
    "feedback",
    "flush",
    "forecast",
    "friction",
    "handoff",
    "identify",
    "interaction",
    "journey",
    "mention",
    "nudge",
    "report",
    "shutdown",
    "shutdown_on_sigterm",
    "touchpoint",
    "value",
    "walkthrough",
    "wrap",
]

# These load the SDK, the TOML reader, a thread pool or signatures, which a library that only marks
# its touchpoints does not need.
_LATER = {
    **dict.fromkeys(
        ("complaint", "deliver", "emotion", "feedback", "forecast", "friction", "handoff"),
        "cxtrace.signals",
    ),
    **dict.fromkeys(("mention", "nudge", "value"), "cxtrace.signals"),
    "ContextThreadPoolExecutor": "cxtrace._threads",
    "JourneyMap": "cxtrace.journey_map",
    "Report": "cxtrace.diagnostics",
    "configure": "cxtrace._config",
    "flush": "cxtrace._config",
    "report": "cxtrace.diagnostics",
    "shutdown": "cxtrace._config",
    "shutdown_on_sigterm": "cxtrace._sigterm",
    "walkthrough": "cxtrace._walkthrough",
    "wrap": "cxtrace._threads",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("cxtrace._version").version()
    if name not in _LATER:
        raise AttributeError(f"module 'cxtrace' has no attribute {name!r}")
    # First: in a sub-interpreter OpenTelemetry's SDK cannot always be imported.
    found = importlib.import_module("cxtrace._process").stand_in(name)
    if found is None:
        found = getattr(importlib.import_module(_LATER[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
