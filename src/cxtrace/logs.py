"""Put trace, journey, touchpoint and owner on log records, so that logs and traces meet.

For structlog there is the processor ``add_context``, for ``logging`` the ``ContextFilter``. Neither
changes levels, handlers or formats, and what a record has already stays. The journey's id and the
pseudonym stand only where consent allows.
"""

import logging
from collections.abc import MutableMapping
from typing import Any, Final

from opentelemetry.context import get_current
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

from cxtrace import _guard
from cxtrace import attributes as names
from cxtrace.context import cx_of

TRACE_ID: Final = "trace_id"
"""Key of the current trace: 32 hexadecimal digits."""

SPAN_ID: Final = "span_id"
"""Key of the current span: 16 hexadecimal digits."""

_FIELDS: Final = {key: key.replace(".", "_") for key in (TRACE_ID, SPAN_ID, *names.TAGS)}


def add_context(
    logger: Any,  # noqa: ARG001  structlog calls it so
    method_name: str,  # noqa: ARG001
    event_dict: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """A structlog processor: adds what is known here, under the names of the attributes of spans.

    Put it anywhere before the renderer. Keys that the event has already stay, and what is not known
    is not added. Never raises.

    Args:
        logger: As structlog gives it; not used.
        method_name: As structlog gives it; not used.
        event_dict: The event, which is changed and returned.
    """
    try:
        for key, value in {**_span(), **_tags()}.items():
            event_dict.setdefault(key, value)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("logs", error)
    return event_dict


class ContextFilter(logging.Filter):
    """Adds what is known here to each record of ``logging``. Lets every record pass, never raises.

    Give it to a handler: a filter on a logger does not see the records of the loggers below it. It
    must run where the record is made; with a queue, give it to the ``QueueHandler``.

    By default it sets what a format can name: ``trace_id``, ``span_id``, ``cx_journey_name``,
    ``cx_journey_id``, ``cx_stage_name``, ``cx_touchpoint_name``, ``cx_owner_function`` and
    ``enduser_pseudo_id``, each empty where it is not known, so that no format fails.

    Args:
        otlp: For a handler that sends records over OTLP. Sets what is known, and nothing else,
            under the names of the attributes of spans, such as ``cx.journey.name``. Trace and span
            are left out, for such records have them already.
    """

    def __init__(self, *, otlp: bool = False) -> None:
        super().__init__()
        self._found = _tags if otlp else _fields

    def filter(self, record: logging.LogRecord) -> bool:
        """Add to the record what it does not have; it always passes."""
        try:
            for key, value in self._found().items():
                record.__dict__.setdefault(key, value)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("logs", error)
        return True


def _span() -> dict[str, str]:
    span = get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    return {TRACE_ID: format_trace_id(span.trace_id), SPAN_ID: format_span_id(span.span_id)}


def _tags() -> dict[str, str]:
    cx = cx_of(get_current())
    return {} if cx is None else cx.tags()


def _fields() -> dict[str, str]:
    found = {**_span(), **_tags()}
    return {field: found.get(key, "") for key, field in _FIELDS.items()}
