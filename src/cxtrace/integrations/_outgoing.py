"""What goes out where no attribute of a span says where to."""

from typing import Any

from opentelemetry import propagate
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import Setter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceState,
    get_current_span,
    set_span_in_context,
)


class _Destination(TraceState):
    """A trace state by which the propagator knows whether what goes out goes to us."""

    goes_to_us: bool | None = None


def inject(carrier: Any, setter: Setter[Any], *, goes_to_us: bool | None) -> None:
    """Write what is current into a carrier.

    Args:
        carrier: Headers or metadata.
        setter: Writes one of them.
        goes_to_us: Whether the receiver is ours; None where that is not known.
    """
    propagate.inject(carrier, _knowing(get_current(), goes_to_us), setter)


def _knowing(context: Context, goes_to_us: bool | None) -> Context:
    told = get_current_span(context).get_span_context()
    state = _Destination(list(told.trace_state.items()))
    state.goes_to_us = goes_to_us
    span = SpanContext(told.trace_id, told.span_id, told.is_remote, told.trace_flags, state)
    return set_span_in_context(NonRecordingSpan(span), context)
