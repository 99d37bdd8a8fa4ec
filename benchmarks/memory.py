"""The bytes that a span takes, while it is open and while it waits."""

import gc
import tracemalloc
from collections.abc import Callable

from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context

from benchmarks.measure import Line, Size
from benchmarks.subjects import (
    Discard,
    a_request,
    by_hand,
    configure,
    ours,
    stock,
    tags,
    under_unsampled,
)

_QUEUED = 0.5


def measure(size: Size) -> list[Line]:
    """Bytes by ``tracemalloc``, ours and by hand in turn."""
    provider, reference = configure(Discard()), stock(Discard())
    request = a_request()
    tracer = reference.get_tracer("by-hand")
    function = by_hand(tracer, tags(request))
    parent = tracer.start_span("parent")
    contexts = {
        "sampled root": (request, Context()),
        "sampled child": (
            set_span_in_context(parent, request),
            set_span_in_context(parent, Context()),
        ),
        "unsampled parent": (under_unsampled(request), under_unsampled(Context())),
    }
    lines = []
    for state, (mine, theirs) in contexts.items():
        if state != "unsampled parent":
            lines.append(
                _line(
                    f"memory of a queued span, {state}",
                    _queued(ours, mine, provider, size.calls),
                    _queued(function, theirs, reference, size.calls),
                    _QUEUED,
                )
            )
        lines.append(
            _line(
                f"memory allocated at most in one call, {state}",
                _peak(ours, mine, provider),
                _peak(function, theirs, reference),
                None,
            )
        )
    return lines


def _line(case: str, mine: float, theirs: float, target: float | None) -> Line:
    ratio = mine / theirs
    holds = None if target is None else ratio <= target
    return Line(case, "B", mine, theirs, ratio, target=target, holds=holds)


def _queued(
    function: Callable[[], None], context: Context, provider: TracerProvider, calls: int
) -> float:
    """Bytes per span that ended and was not exported yet."""
    token = attach(context)
    function()
    provider.force_flush()
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(calls):
        function()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    provider.force_flush()
    detach(token)
    return (after - before) / calls


def _peak(function: Callable[[], None], context: Context, provider: TracerProvider) -> float:
    """Bytes at the highest point of one call."""
    token = attach(context)
    function()
    provider.force_flush()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    found = []
    for _ in range(20):
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        function()
        _, peak = tracemalloc.get_traced_memory()
        found.append(peak - before)
    tracemalloc.stop()
    gc.enable()
    provider.force_flush()
    detach(token)
    return min(found)
