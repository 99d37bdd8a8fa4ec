"""Unsampled requests: their destination is still known, so that ids go to us and nowhere else."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.context import attach, get_current
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

import cxtrace
from cxtrace import _baggage, _guard, _runtime
from cxtrace import attributes as names
from cxtrace._runtime import Runtime
from cxtrace._tracing import tracing_of
from cxtrace.privacy import HmacPseudonymiser, Key
from cxtrace.processors import StampProcessor
from cxtrace.propagation import CXPropagator
from cxtrace.sampling import DestinationSampler, DestinationState

KEY = Key(b"0123456789abcdef0123456789abcdef")
OURS = {"http.url": "http://orders.internal/"}
STRANGER = {"http.url": "https://evil.example.com/"}
IDS = {names.JOURNEY_ID, names.CUSTOMER_PSEUDONYM}


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Put counters, decisions and context back to what they were."""
    runtime, context = _runtime.current, get_current()
    _guard.reset()
    yield
    _runtime.use(runtime)
    _guard.reset()
    attach(context)


def provider_with(sampler: Sampler, **decisions: Any) -> TracerProvider:
    """A provider as ``configure()`` builds it, with cxtrace on top of it."""
    provider = TracerProvider(DestinationSampler(sampler), shutdown_on_exit=False)
    provider.add_span_processor(StampProcessor())
    pseudonymiser = HmacPseudonymiser(KEY)
    tracing = tracing_of(provider, "1")
    _runtime.use(Runtime(tracing=tracing, key=KEY, pseudonymiser=pseudonymiser, **decisions))
    return provider


def injected() -> dict[str, str]:
    """Our members in a request that goes out now."""
    carrier: dict[str, str] = {}
    CXPropagator().inject(carrier)
    members = dict(_baggage.parse(carrier.get("baggage", "")).ours)
    members.pop(_baggage.SIGNATURE, None)
    return members


@pytest.mark.parametrize("kind", [SpanKind.CLIENT, SpanKind.PRODUCER])
def test_unsampled_request_to_us_carries_ids(kind: SpanKind) -> None:
    """With nothing sampled, a request to our own host still carries journey and customer."""
    tracer = provider_with(DEFAULT_OFF).get_tracer("t")
    with (
        cxtrace.journey("first_order"),
        cxtrace.customer("cust-42"),
        cxtrace.touchpoint("checkout.pay"),
        tracer.start_as_current_span("r", kind=kind, attributes=OURS) as span,
    ):
        found = injected()

    assert not span.is_recording()
    assert found.keys() >= IDS
    assert found[names.TOUCHPOINT_NAME] == "checkout.pay"


@pytest.mark.parametrize("attributes", [STRANGER, {"http.method": "GET"}, None, {}])
@pytest.mark.parametrize("kind", [SpanKind.CLIENT, SpanKind.PRODUCER])
def test_unsampled_request_to_strangers_carries_nothing(
    kind: SpanKind, attributes: dict[str, str] | None
) -> None:
    """A stranger, and a destination that is not known, get nothing."""
    tracer = provider_with(DEFAULT_OFF).get_tracer("t")
    with (
        cxtrace.journey("first_order"),
        tracer.start_as_current_span("r", kind=kind, attributes=attributes),
    ):
        assert injected() == {}


def test_trusted_hosts_count_for_the_unsampled() -> None:
    """The sampler asks the same allow-list as the propagator."""
    tracer = provider_with(DEFAULT_OFF, trusted_hosts=("*.example.com",)).get_tracer("t")
    with (
        cxtrace.journey("first_order"),
        tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes=STRANGER),
    ):
        assert names.JOURNEY_ID in injected()


@pytest.mark.parametrize("first", [OURS, STRANGER])
@pytest.mark.parametrize("second", [OURS, STRANGER])
def test_each_hop_of_a_redirect_is_judged_anew(
    first: dict[str, str], second: dict[str, str]
) -> None:
    """The span of a redirect, inside of that of the request, knows its own destination only."""
    tracer = provider_with(DEFAULT_OFF).get_tracer("t")
    with (
        cxtrace.journey("first_order"),
        tracer.start_as_current_span("a", kind=SpanKind.CLIENT, attributes=first),
    ):
        assert bool(injected()) is (first is OURS)
        with tracer.start_as_current_span("b", kind=SpanKind.CLIENT, attributes=second):
            assert bool(injected()) is (second is OURS)
        with tracer.start_as_current_span("c", kind=SpanKind.CLIENT):
            assert injected() == {}
        with tracer.start_as_current_span("d", attributes=second):
            assert injected() == {}


def test_unknown_stays_unknown_for_the_unsampled() -> None:
    """``unknown_destination=names`` works for unsampled requests: names, and no id."""
    tracer = provider_with(DEFAULT_OFF, unknown_destination="names").get_tracer("t")
    with cxtrace.journey("first_order"), cxtrace.customer("cust-42"):
        with tracer.start_as_current_span("r", kind=SpanKind.CLIENT):
            assert injected().keys() == {names.JOURNEY_NAME, names.CONSENT_STATE}
        with tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes=STRANGER):
            assert injected() == {}
        with tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes=OURS):
            assert injected().keys() >= IDS


def test_destination_stays_in_the_process() -> None:
    """What the sampler remembers is not in the headers; the trace state of others is, whole."""
    tracer = provider_with(DEFAULT_OFF).get_tracer("t")
    state = TraceState([("vendor", "z"), ("ot", "th:8")])
    parent = NonRecordingSpan(SpanContext(7, 8, True, TraceFlags(0), state))
    carrier: dict[str, str] = {}
    with tracer.start_as_current_span(
        "r", set_span_in_context(parent), kind=SpanKind.CLIENT, attributes=OURS
    ):
        TraceContextTextMapPropagator().inject(carrier)

    assert carrier["tracestate"] == "vendor=z,ot=th:8"
    assert carrier["traceparent"].startswith(f"00-{7:032x}-")


class Fixed(Sampler):
    """Decides by the name of the span, and hands out the very same results to everybody."""

    def __init__(self, state: TraceState | None = None) -> None:
        self.drop = SamplingResult(Decision.DROP, trace_state=state)

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Keep spans named ``keep``, with the trace state of the parent."""
        parent = get_current_span(parent_context).get_span_context()
        if name == "keep":
            return SamplingResult(Decision.RECORD_AND_SAMPLE, {"a": 1}, parent.trace_state)
        return self.drop

    def get_description(self) -> str:
        """A name of its own."""
        return "Fixed{}"


@pytest.mark.parametrize("state", [None, TraceState([("v", "1")])])
def test_result_of_the_inner_sampler_is_not_changed(state: TraceState | None) -> None:
    """A sampler may reuse its result; what one request remembers does not reach another."""
    fixed = Fixed(state)
    tracer = provider_with(fixed).get_tracer("t")
    span = tracer.start_span("r", kind=SpanKind.CLIENT, attributes=OURS)
    remembered = span.get_span_context().trace_state

    assert isinstance(remembered, DestinationState)
    assert remembered.goes_to_us is True
    assert list(remembered.items()) == list((state or TraceState()).items())
    assert fixed.drop.trace_state is state


def test_threads_do_not_mix_destinations() -> None:
    """Many requests at once, to us and to strangers, each know their own destination."""
    tracer = provider_with(Fixed()).get_tracer("t")

    def ask(attributes: dict[str, str]) -> bool | None:
        span = tracer.start_span("r", kind=SpanKind.CLIENT, attributes=attributes)
        state: Any = span.get_span_context().trace_state
        return bool(state.goes_to_us)

    wanted = [OURS, STRANGER] * 500
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, wanted)) == [attributes is OURS for attributes in wanted]


@pytest.mark.parametrize("attributes", [STRANGER, {}])
def test_recorded_span_counts_for_itself(attributes: dict[str, str]) -> None:
    """A span that records inside of a dropped one, to us, does not inherit its destination."""
    tracer = provider_with(Fixed()).get_tracer("t")
    with (
        cxtrace.journey("first_order"),
        tracer.start_as_current_span("drop", kind=SpanKind.CLIENT, attributes=OURS),
    ):
        assert injected()
        with tracer.start_as_current_span(
            "keep", kind=SpanKind.CLIENT, attributes=attributes
        ) as span:
            assert span.is_recording()
            assert injected() == {}


def test_decisions_are_those_of_the_inner_sampler() -> None:
    """Wrapping changes no decision and no attribute, and describes itself as the inner one."""
    inner = TraceIdRatioBased(0.5)
    outer = DestinationSampler(inner)
    for trace_id in range(0, 2**64, 2**58):
        expected = inner.should_sample(None, trace_id, "n")
        found = outer.should_sample(None, trace_id, "n", SpanKind.CLIENT, OURS)
        assert found.decision is expected.decision
    kept = DestinationSampler(Fixed()).should_sample(None, 1, "keep", SpanKind.CLIENT, OURS)

    assert dict(kept.attributes or {}) == {"a": 1}
    assert not isinstance(kept.trace_state, DestinationState)
    assert outer.get_description() == inner.get_description()


@pytest.mark.parametrize("kind", [None, SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CONSUMER])
def test_spans_of_other_kinds_are_left_alone(kind: SpanKind | None) -> None:
    """A span that goes nowhere keeps the result of the inner sampler as it is."""
    result = DestinationSampler(ALWAYS_OFF).should_sample(None, 1, "n", kind, OURS)

    assert not isinstance(result.trace_state, DestinationState)


class Odd:
    """An attribute's value, or the attributes, that cannot be looked at."""

    def __contains__(self, key: object) -> bool:
        raise RuntimeError("secret")


def test_odd_attributes_never_reach_the_host() -> None:
    """Attributes that raise when they are read leave the destination unknown."""
    odd: Any = Odd()
    result = DestinationSampler(ALWAYS_OFF).should_sample(None, 1, "n", SpanKind.CLIENT, odd)

    assert isinstance(result.trace_state, DestinationState)
    assert result.trace_state.goes_to_us is None
    assert _guard.counts() == {"errors.sampler": 1}


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ParentBased(ALWAYS_ON)])
def test_sampled_requests_are_judged_by_their_span(sampler: Sampler) -> None:
    """Where spans record, the attributes of the span decide, as without the wrapper."""
    tracer = provider_with(sampler).get_tracer("t")
    with cxtrace.journey("first_order"):
        for attributes in (OURS, STRANGER):
            with tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes=attributes):
                assert bool(injected()) is (attributes is OURS)
