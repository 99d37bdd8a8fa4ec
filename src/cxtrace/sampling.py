"""The sampler around the sampler: it tells the propagator where an unsampled request goes."""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from cxtrace import _destination, _guard, _runtime

_OUTBOUND = (SpanKind.CLIENT, SpanKind.PRODUCER)


class DestinationState(TraceState):
    """A trace state that knows, in this process only, whether the request goes to us.

    A span that is not sampled keeps no attributes, so the propagator could not tell its
    destination. The sampler sees them, and the trace state is what it can hand on.
    """

    goes_to_us: bool | None = None


class DestinationSampler(Sampler):
    """Decides as ``inner`` does, and remembers the destination of the requests it drops."""

    def __init__(self, inner: Sampler) -> None:
        self.inner = inner

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The decision of ``inner``."""
        result = self.inner.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )
        if result.decision is not Decision.DROP:
            return result
        if kind in _OUTBOUND or isinstance(result.trace_state, DestinationState):
            state = _remembering(result.trace_state, kind, attributes)
            # A new result: a sampler may hand out the same one to every thread.
            return SamplingResult(result.decision, result.attributes, state)
        return result

    def get_description(self) -> str:
        """What ``inner`` says."""
        return self.inner.get_description()


def _remembering(
    state: TraceState | None, kind: SpanKind | None, attributes: Attributes
) -> DestinationState:
    remembered = DestinationState(list(state.items()) if state else None)
    if kind in _OUTBOUND:
        remembered.goes_to_us = _goes_to_us(attributes or {})
    return remembered


def _goes_to_us(attributes: Mapping[str, Any]) -> bool | None:
    try:
        return _destination.is_ours(attributes, _runtime.current.trusted_hosts)
    except Exception as error:  # noqa: BLE001  whatever a caller gives for attributes
        _guard.swallow("sampler", error)
        return None


def sampler(ratio: str | float | None = None) -> DestinationSampler:
    """For ``OTEL_TRACES_SAMPLER=cxtrace``: as the parent says, else by ratio.

    Args:
        ratio: ``OTEL_TRACES_SAMPLER_ARG``: share of new traces that is kept; by default all.

    Raises:
        ValueError: The ratio is no number from 0 to 1.
    """
    share = 1.0 if ratio is None or ratio == "" else float(ratio)
    return DestinationSampler(ParentBased(TraceIdRatioBased(share)))
