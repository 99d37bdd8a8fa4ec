"""What is added to a touchpoint by metrics, promises and the rest of the map."""

from collections.abc import Callable
from typing import Any

from attrs import evolve
from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from benchmarks.measure import Block, Line, Size, block, compare, in_turns
from benchmarks.subjects import (
    NAME,
    Discard,
    a_request,
    by_hand,
    calling,
    configure,
    example_map,
    ours,
    plain_map,
    stock,
    tags,
    under_unsampled,
)
from cxtrace import _metering, _runtime
from cxtrace.journey_map import JourneyMap

_ADDED = 0.8
_PROMISE = "pay_fast"


def measure(size: Size) -> list[Line]:
    """A touchpoint with and without metrics, beside one hand-written span."""
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    provider, reference = configure(Discard()), stock(Discard())
    request = a_request()
    function = by_hand(reference.get_tracer("by-hand"), tags(request))
    runtimes = {
        "bare": _runtime_with(plain_map(), metered=False),
        "metrics": _runtime_with(plain_map()),
        "promise": _runtime_with(_with_a_promise(plain_map())),
        "map": _runtime_with(_with_a_promise(example_map())),
    }
    turns: dict[str, Block] = {
        "by hand": block(calling(function), size.calls, None, reference.force_flush)
    }
    for name, runtime in runtimes.items():
        for state, context in (("sampled", request), ("unsampled", under_unsampled(request))):
            turns[f"{name}, {state}"] = _under(runtime, size.calls, context, provider.force_flush)
    samples = in_turns(turns, size.rounds)
    return [
        _added(samples, "duration and outcome", "metrics"),
        _added(samples, "duration, outcome, promise", "promise", target=_ADDED),
        _added(samples, "all that the example map asks for", "map"),
        _added(samples, "duration, outcome, promise, unsampled", "promise", "unsampled"),
    ]


def _added(
    samples: Any, what: str, name: str, state: str = "sampled", target: float | None = None
) -> Line:
    return compare(
        samples,
        f"metrics added: {what}",
        f"{name}, {state}",
        "by hand",
        less=f"bare, {state}",
        target=target,
    )


def _under(
    runtime: _runtime.Runtime, calls: int, context: Context, after: Callable[[], object]
) -> Block:
    turn = block(calling(ours), calls, context, after)

    def settled() -> float:
        _runtime.use(runtime)
        ours()  # what is resolved once is not part of the turn
        return turn()

    return settled


def _runtime_with(journey_map: JourneyMap, *, metered: bool = True) -> _runtime.Runtime:
    now = _runtime.current
    made = _runtime.Runtime(
        now.tracing, journey_map, now.key, now.pseudonymiser, bind=_metering.bind
    )
    if not metered:
        made._instruments = (None,)
    return made


def _with_a_promise(journey_map: JourneyMap) -> JourneyMap:
    """The map with a promise about the duration of the touchpoint that is measured."""
    touchpoints = dict(journey_map.touchpoints)
    touchpoints[NAME] = evolve(touchpoints[NAME], promises=(_PROMISE,))
    return evolve(journey_map, touchpoints=touchpoints)
