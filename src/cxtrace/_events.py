"""One signal, told once: as an event of the span, as a log event, or as both.

Jaeger shows the events of spans; OpenTelemetry is moving to events as log records (OTEP 4430). So
where there is a logger provider both are made, until somebody decides (``event_signal``).
"""

import os
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import _logs
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import Span

from cxtrace import _clock, _guard, _runtime

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider

_internal: Final = sys.modules.get("opentelemetry._logs._internal")
"""Asking the API whether there is a provider costs more than all the rest, for each event."""

_NAMED_BY_ENVIRONMENT: Final = bool(os.environ.get("OTEL_PYTHON_LOGGER_PROVIDER"))
_INFO: Final = SeverityNumber.INFO
_WARN: Final = SeverityNumber.WARN


def tell(
    span: Span, context: Context, name: str, attributes: dict[str, Any], *, hurts: bool = False
) -> None:
    """Emit an event.

    Args:
        span: Bears the event, if it is recorded and still open.
        context: Holds that span, so that a log record bears its ids.
        name: Of the registry.
        attributes: Of the registry, and valid.
        hurts: Whether a log record is a warning.
    """
    wanted = _runtime.current.event_signal
    provider = None if wanted == "span" else _provider(wanted)
    if wanted != "log" and span.is_recording():
        _runtime.current.tracing.tell(span, name, attributes)
    if provider is not None:
        try:
            _emit(provider, context, name, attributes, _WARN if hurts else _INFO)
        except Exception as error:  # noqa: BLE001  a processor of the host's may raise
            _guard.swallow("event", error)


def _emit(
    provider: "LoggerProvider",
    context: Context,
    name: str,
    attributes: dict[str, Any],
    severity: SeverityNumber,
) -> None:
    _logger(provider).emit(
        LogRecord(
            timestamp=_clock.wall_ns(),
            context=context,
            severity_number=severity,
            severity_text=severity.name,
            attributes=attributes,
            event_name=name,
        )
    )


def is_heard(span: Span) -> bool:
    """Whether an event on ``span`` would reach anybody, so that it is worth putting together."""
    wanted = _runtime.current.event_signal
    return (wanted != "log" and span.is_recording()) or (
        wanted != "span" and _provider(wanted) is not None
    )


def _provider(wanted: str | None) -> "LoggerProvider | None":
    """The logger provider; the API's stand-in only where logs are asked for."""
    provider = _runtime.current.logger_provider or getattr(_internal, "_LOGGER_PROVIDER", None)
    if provider is None and (wanted is not None or _NAMED_BY_ENVIRONMENT):
        return _logs.get_logger_provider()
    return provider


@lru_cache(maxsize=2)
def _logger(provider: "LoggerProvider") -> "Logger":
    return provider.get_logger("cxtrace")
