"""What ``cxtrace.testing`` captures, asserts, and leaves as it was."""

import asyncio
import contextvars
import hashlib
import logging
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import _logs, metrics, trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

import cxtrace
from cxtrace import _clock, _config, _guard, _journey, _journeys, _runtime, signals
from cxtrace.exceptions import ConfigurationError, MapError
from cxtrace.journey_map import JourneyMap
from cxtrace.testing import Capture, Clock, Effort, Promise, capture

SHOP = JourneyMap.loads(
    """
    schema = "cxtrace.map/1"
    name = "shop"
    version = "1"

    [functions]
    it = { contact = "#it", happy = "touchpoint.outcome == 'completed'" }

    [[stage]]
    name = "purchase"
    phase = "customer"

    [promise.pay_fast]
    claim = "Pay in two seconds"
    source = "brand_claim"
    metric = "touchpoint.duration"
    op = "<="
    target = 2.0
    unit = "s"
    objective = 0.9
    exceeded_at = 0.5

    [[touchpoint]]
    name = "cart.view"
    stage = "purchase"
    initiator = "customer"
    owner = "it"
    influence = { it = 1.0 }

    [[touchpoint]]
    name = "checkout.pay"
    stage = "purchase"
    owner = "it"
    influence = { it = 1.0 }
    promises = ["pay_fast"]

    [[journey]]
    name = "first_order"
    goal = "checkout.pay"

    [journey.routes]
    short = ["cart.view", "checkout.pay"]
    """
)
CARD = "4111 1111 1111 1111"


@pytest.fixture
def cx() -> Iterator[Capture]:
    """A capture with the map of the shop."""
    with capture(journey_map=SHOP) as captured:
        yield captured


def order(cx: Capture, seconds: float = 1.0) -> str:
    """A customer orders; the id of the journey."""
    with cxtrace.journey("first_order", route="short") as walk, cxtrace.customer("cust-42"):
        with cxtrace.touchpoint("cart.view"):
            cx.clock.advance(0.25)
        with cxtrace.touchpoint("checkout.pay"):
            with cxtrace.interaction("confirm"):
                cx.clock.advance(seconds)
            signals.friction("slow", severity="high")
    return walk.id


def said(error: "pytest.ExceptionInfo[AssertionError]") -> list[str]:
    """The lines of a failed assertion."""
    return [line.strip() for line in str(error.value).splitlines()]


# Isolation


def in_force() -> tuple[Any, ...]:
    """All that a capture puts its own parts in the place of."""
    return (
        _clock.wall_ns,
        _clock.wall,
        _clock.steady,
        _journey.new_id,
        _journeys.memory,
        _guard._counts,
        _guard._said,
        _config.wiring,
        _runtime.current,
        get_current(),
        trace.get_tracer_provider(),
        metrics.get_meter_provider(),
        _logs.get_logger_provider(),
    )


def test_afterwards_everything_is_as_it_was() -> None:
    """Clock, ids, memory, counters, decisions, context and global providers come back."""
    before = in_force()
    with capture(journey_map=SHOP) as cx:
        within = in_force()
        order(cx)

    assert in_force() == before
    assert within[-3:] == before[-3:]
    assert all(mine is not theirs for mine, theirs in zip(within[:9], before, strict=False))


def test_an_error_in_a_capture_flies_through() -> None:
    """An exception leaves the capture as it was raised, and puts everything back."""
    before = in_force()
    with pytest.raises(ZeroDivisionError), capture():
        _ = 1 / 0

    assert in_force() == before


@pytest.mark.parametrize("options", [{"sample": 2}, {"key": "short"}, {"on_friction": 1}])
def test_a_wrong_option_changes_nothing(options: dict[str, Any]) -> None:
    """What ``configure()`` refuses, ``capture()`` refuses too, before anything is replaced."""
    before = in_force()
    with pytest.raises(ConfigurationError), capture(**options):
        pass

    assert in_force() == before


def test_a_wrong_map_is_refused(tmp_path: Path) -> None:
    """A map that does not exist is an error, not a capture without a map."""
    with pytest.raises(MapError), capture(journey_map=tmp_path / "no.toml"):
        pass


def test_captures_nest() -> None:
    """The innermost capture gets everything, and the outer one goes on after it."""
    with capture() as outer:
        with cxtrace.touchpoint("a"), capture() as inner, cxtrace.touchpoint("b"):
            pass
        with cxtrace.touchpoint("c"):
            pass

    assert [each.name for each in outer.touchpoints] == ["a", "c"]
    assert [(each.name, each.parent) for each in inner.touchpoints] == [("b", None)]
    assert outer.metric("cx.touchpoint.duration").count == 2


def test_a_touchpoint_of_a_module_is_captured_each_time() -> None:
    """A description that was used under other decisions is resolved anew."""
    pay = cxtrace.touchpoint("checkout.pay")
    owners = []
    for journey_map in (None, SHOP, None):
        with capture(journey_map=journey_map) as cx, pay:
            pass
        owners.append(cx.touchpoint("checkout.pay").owner)

    assert owners == [None, "it", None]


def test_a_block_that_a_test_leaves_open_does_not_reach_the_next() -> None:
    """What was current before the capture is current after it."""
    before = get_current()
    with capture() as first:
        cxtrace.touchpoint("forgotten").__enter__()
    with capture() as second, cxtrace.touchpoint("checkout.pay"):
        pass

    assert get_current() == before
    assert first.touchpoints == []
    assert second.touchpoint("checkout.pay").parent is None


def test_a_capture_begins_outside_of_everything() -> None:
    """A span that is current around a capture is not the parent of what is in it."""
    with capture() as outer:
        host = outer.tracer_provider.get_tracer("host")
        with host.start_as_current_span("test") as around:
            with capture() as cx, cxtrace.touchpoint("a"):
                pass
            after = trace.get_current_span()

    assert cx.spans[0].parent is None
    assert after is around


def test_a_capture_may_end_in_another_context() -> None:
    """A fixture that is torn down elsewhere leaves the context there as it is."""
    open_capture = capture()
    copied = contextvars.copy_context()
    copied.run(open_capture.__enter__)
    before = Context({"mine": 1})
    token = attach(before)
    try:
        open_capture.__exit__(None, None, None)

        assert get_current() is before
    finally:
        token.var.reset(token)


def test_configure_changes_nothing_in_a_capture(caplog: pytest.LogCaptureFixture) -> None:
    """Code under test may configure, flush and shut down: it goes on being captured."""
    with capture() as cx:
        cxtrace.configure(service_name="shop", exporter="console")
        with cxtrace.touchpoint("a"):
            pass
        delivered = cxtrace.flush() and cxtrace.shutdown()
        with cxtrace.touchpoint("b"):
            pass

    assert delivered
    assert [each.name for each in cx.touchpoints] == ["a", "b"]
    assert "called again, which changes nothing" in caplog.text


def test_the_environment_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither OpenTelemetry's variables nor ours change what is captured."""
    settings = {
        "OTEL_SDK_DISABLED": "true",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "0",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "1",
        "OTEL_METRICS_EXEMPLAR_FILTER": "nonsense",
        "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true",
        "OTEL_RESOURCE_ATTRIBUTES": "host=mine",
        "CXTRACE_MAP": "nowhere.toml",
        "CXTRACE_SAMPLE": "0",
        "CXTRACE_CONSENT_REQUIRED": "true",
    }
    with capture(journey_map=SHOP) as cx:
        order(cx)
    usual = cx.touchpoints, cx.signals(), cx.metric("cx.touchpoint.duration")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with capture(journey_map=SHOP) as cx:
        order(cx)

    assert (cx.touchpoints, cx.signals(), cx.metric("cx.touchpoint.duration")) == usual
    assert dict(cx.spans[0].resource.attributes) == {
        "service.name": "test", "cx.map.name": "shop", "cx.map.version": "1",
    }  # fmt: skip


def test_the_project_says_what_the_test_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Map and settings come from ``pyproject.toml``; all is sampled, whatever it says there."""
    (tmp_path / "journeys.toml").write_text(SHOP.dump(), encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.cxtrace]\njourney_map = "journeys.toml"\nsample = 0.0\nservice_name = "shop"\n'
        'signals_off = ["friction"]\nexporter = "otlp"\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    with capture() as cx:
        order(cx)

    assert cx.touchpoint("checkout.pay").owner == "it"
    assert cx.spans[0].resource.attributes["service.name"] == "shop"
    cx.assert_no_friction()


def test_threads_and_tasks_are_captured(cx: Capture) -> None:
    """A capture is of the process: it sees threads, tasks, and what runs in an event loop."""

    @cxtrace.touchpoint("in.task")
    async def task(number: int) -> None:
        await asyncio.sleep(0)

    async def tasks() -> None:
        await asyncio.gather(*map(task, range(5)))

    @cxtrace.touchpoint("in.thread")
    def work() -> None:
        pass

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()

    assert len(cx.visits("in.thread")) == len(cx.visits("in.task")) == 5
    assert cx.metric("cx.touchpoint.duration", touchpoint_name="in.task").count == 5


def test_a_capture_within_a_coroutine() -> None:
    """``with capture()`` works inside a coroutine, and sees the tasks that it starts."""

    @cxtrace.touchpoint("in.task")
    async def task() -> None:
        await asyncio.sleep(0)

    async def body() -> Capture:
        with capture() as cx:
            await asyncio.gather(task(), task())
        return cx

    assert len(asyncio.run(body()).visits("in.task")) == 2


def test_spans_of_others_are_captured_if_they_are_asked_for(cx: Capture) -> None:
    """Another library's spans go its own way, unless it is given the private provider."""
    with cxtrace.touchpoint("cart.view"):
        with trace.get_tracer("db").start_as_current_span("SELECT 1"):
            pass
        with cx.tracer_provider.get_tracer("db").start_as_current_span("SELECT 2"):
            pass

    assert [span.name for span in cx.spans] == ["cart.view", "SELECT 2"]
    assert dict(cx.spans[1].attributes or {}) == {
        "cx.touchpoint.name": "cart.view",
        "cx.stage.name": "purchase",
        "cx.owner.function": "it",
    }


# Clock and ids


def test_the_clock_stands_still(cx: Capture) -> None:
    """Time passes only where a test says so, for spans, signals, metrics and the wall alike."""
    order(cx, seconds=0.1)
    pay = cx.touchpoint("checkout.pay")

    assert cx.clock.now == datetime(2026, 1, 1, 0, 0, 0, 350_000, timezone.utc)
    assert repr(cx.clock) == "<Clock 2026-01-01T00:00:00.350000+00:00>"
    assert (pay.started, pay.duration) == (0.25, 0.1)
    assert [signal.at for signal in pay.signals] == [0.35, 0.35, 0.35]
    assert cx.metric("cx.touchpoint.duration", touchpoint_name="checkout.pay").sum == 0.1
    assert cx.metric("cx.journey.duration").sum == 0.35


@settings(deadline=None)
@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_duration_is_what_was_written(before: int, lasts: int) -> None:
    """Times in milliseconds come out as they went in, so that a target can be met exactly."""
    with capture() as cx:
        cx.clock.advance(before / 1000)
        with cxtrace.journey("a") as walk, cxtrace.touchpoint("a"):
            cx.clock.advance(lasts / 1000)
        walk.outcome("achieved")

    assert cx.touchpoint("a").duration == lasts / 1000
    assert cx.metric("cx.touchpoint.duration").sum == lasts / 1000
    assert cx.metric("cx.journey.duration").sum == lasts / 1000


def test_instants_and_other_seconds_can_be_subtracted() -> None:
    """What another service has told is a plain number of seconds."""
    clock = Clock()
    clock.advance(1.5)

    assert clock.steady() - 0.5 == 1.0


def test_the_private_logger_listens(cx: Capture) -> None:
    """Whoever asks first whether events are wanted is told so."""
    assert cx._providers.event_provider.get_logger("cxtrace").enabled()


def test_the_clock_is_never_set_back(cx: Capture) -> None:
    """A negative time is a mistake in the test."""
    with pytest.raises(ValueError, match=r"not set back: advance\(-1\)"):
        cx.clock.advance(-1)


def test_the_clock_may_go() -> None:
    """With ``real_time`` the clocks are those of the machine, and can still be moved."""
    before = time.time_ns(), time.perf_counter()
    with capture(real_time=True) as cx:
        real = _clock.wall_ns(), _clock.steady()
        cx.clock.advance(3_600)
        moved = _clock.wall_ns(), _clock.steady()
    after = time.time_ns(), time.perf_counter()

    assert before[0] <= real[0] <= moved[0] - 3_600 * 10**9 <= after[0]
    assert before[1] <= real[1] <= moved[1] - 3_599.9
    assert moved[1] - 3_600.1 <= after[1]


def test_every_run_is_the_same() -> None:
    """Ids, times and pseudonyms do not change from run to run, so that all can be compared."""
    found = []
    for _ in range(2):
        with capture(journey_map=SHOP) as cx:
            first, second = order(cx), order(cx)
            assert first != second
        ids = [(span.context.trace_id, span.context.span_id) for span in cx.spans]
        found.append((cx.touchpoints, cx.signals(), cx.journeys, ids))

    assert found[0] == found[1]
    assert [span for _, span in found[0][3]] == [1, 2, 3, 4, 5, 6]


def test_half_of_the_traces_is_half_of_them() -> None:
    """Sampling decides by ids, and counted ones are spread; metrics and signals miss nothing."""
    kept = []
    for _ in range(2):
        with capture(sample=0.5) as cx:
            for number in range(100):
                with cxtrace.touchpoint(f"t.{number % 10}"):
                    signals.friction("slow")
        kept.append([each.name for each in cx.touchpoints])
        assert cx.metric("cx.touchpoint.frictions").sum == 100
        assert len(cx.signals("friction")) == 100

    assert 45 <= len(kept[0]) <= 55
    assert kept[0] == kept[1]


@pytest.mark.parametrize("sample", [0, 0.0])
def test_nothing_is_sampled(sample: float) -> None:
    """Without samples there are no touchpoints, and still all of the metrics."""
    with capture(sample=sample) as cx, cxtrace.touchpoint("a"):
        pass

    assert (cx.touchpoints, cx.spans) == ([], [])
    assert cx.metric("cx.touchpoint.duration").count == 1


# Touchpoints


def test_a_touchpoint_says_what_it_was(cx: Capture) -> None:
    """A visit is a record of name, place, journey, customer, effort, signals and verdicts."""
    walk = order(cx)
    pay, cart = cx.touchpoint("checkout.pay"), cx.touchpoint("cart.view")

    assert (pay.outcome, pay.error, pay.stage, pay.owner) == ("completed", None, "purchase", "it")
    assert (pay.journey, pay.journey_id, pay.parent) == ("first_order", walk, None)
    assert pay.customer == cx.pseudonym("cust-42")
    assert pay.interactions == ("confirm",)
    assert pay.effort == Effort(actions=1, retries=0, wait_time=1.0)
    assert cart.effort == Effort(actions=1, retries=0, wait_time=0.25)
    assert pay.happy == {"it": True}
    assert [signal.kind for signal in pay.signals] == ["friction", "promise", "journey"]
    assert pay.attributes["cx.touchpoint.planned"] is True
    assert repr(cx) == "<Capture of 2 touchpoints>"


def test_touchpoints_within_touchpoints(cx: Capture) -> None:
    """A visit knows the visit around it, and its interactions are its own."""

    @cxtrace.touchpoint("payment.authorise")
    def authorise() -> None:
        with cxtrace.interaction("wait"):
            pass

    with cxtrace.touchpoint("checkout.pay"):
        with cxtrace.interaction("enter_card_number"):
            authorise()
        with cxtrace.interaction("confirm"), cxtrace.interaction("press"):
            pass
    with cxtrace.interaction("outside"):
        pass
    outer, inner = cx.touchpoints

    assert (outer.parent, inner.parent) == (None, "checkout.pay")
    assert outer.interactions == ("enter_card_number", "confirm", "press")
    assert inner.interactions == ("wait",)
    assert inner.effort == Effort(1, 0, 0.0)


def test_a_touchpoint_without_effort(cx: Capture) -> None:
    """Where the customer does nothing, there is no effort."""
    with cxtrace.touchpoint("checkout.pay"):
        pass

    assert cx.touchpoint("checkout.pay").effort is None


def test_a_server_span_can_be_a_touchpoint(cx: Capture) -> None:
    """A touchpoint that is attached to a span of others is captured when that span ends."""
    tracer = cx.tracer_provider.get_tracer("web")
    with tracer.start_as_current_span("GET /pay", kind=SpanKind.SERVER):
        with cxtrace.touchpoint("checkout.pay", attach=True):
            cx.clock.advance(0.1)
        assert cx.touchpoints == []

    assert cx.touchpoint("checkout.pay").outcome == "completed"


def test_the_parent_may_be_in_another_service(cx: Capture) -> None:
    """A parent that was not captured is nobody."""
    remote = SpanContext(1 << 64 | 1, 77, is_remote=True, trace_flags=TraceFlags(1))
    attach(trace.set_span_in_context(trace.NonRecordingSpan(remote)))
    with cxtrace.touchpoint("a"):
        pass

    assert cx.spans[0].parent == remote
    assert cx.touchpoint("a").parent is None


def test_a_span_without_a_scope_is_no_touchpoint(cx: Capture) -> None:
    """Spans that know no library, as some test doubles, do no harm."""
    span: Any = cx.tracer_provider.get_tracer("x").start_span("a")
    span._instrumentation_scope = None
    span.end()

    assert cx.touchpoints == []


TREES = st.recursive(
    st.just(()), lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=12
)


@settings(deadline=None)
@given(TREES)
def test_any_nesting_is_captured_as_it_was(tree: Any) -> None:
    """Order, parents and times of the visits are those of the calls, for every call tree."""
    seconds, expected = 0, dict[str, tuple[str | None, int, int]]()

    def walk(clock: Clock, inner: Any, parent: str | None) -> None:
        nonlocal seconds
        name, began = f"t{len(expected)}", seconds
        expected[name] = parent, began, 0
        with cxtrace.touchpoint(name):
            clock.advance(1)
            seconds += 1
            for each in inner:
                walk(clock, each, name)
        expected[name] = parent, began, seconds - began

    with capture() as found:
        walk(found.clock, tree, None)

    assert [(t.name, (t.parent, t.started, t.duration)) for t in found.touchpoints] == [
        *expected.items()
    ]


def test_the_one_visit_is_the_one(cx: Capture) -> None:
    """Where there is not exactly one visit, the message says what there was and what is open."""
    left = cxtrace.touchpoint("checkout.pay")
    left.__enter__()
    with cxtrace.touchpoint("cart.view") as tp:
        tp.fail("sold_out")
    with cxtrace.journey("first_order"), cxtrace.touchpoint("cart.view"):
        pass
    with pytest.raises(AssertionError) as none:
        cx.touchpoint("checkout.pay")
    with pytest.raises(AssertionError) as two:
        cx.touchpoint("cart.view")

    shown = [
        "cart.view failed with sold_out",
        "cart.view completed, in first_order",
        "still open: checkout.pay",
    ]
    assert said(none) == ["no visit of 'checkout.pay'; the touchpoints were:", *shown]
    assert said(two) == ["2 visits of 'cart.view'; the touchpoints were:", *shown]
    assert [each.outcome for each in cx.visits("cart.view")] == ["failed", "completed"]


def test_what_was_refused_is_shown(cx: Capture) -> None:
    """A message tells of what cxtrace refused, for that may be why something is missing."""
    cxtrace.touchpoint("no.such")  # is not used
    with cxtrace.interaction("a\n"):
        pass
    with pytest.raises(AssertionError) as error:
        cx.touchpoint("checkout.pay")

    assert said(error) == [
        "no visit of 'checkout.pay'; there were no touchpoints at all",
        "refused or swallowed:",
        "refused.interaction_name: 1",
    ]
    assert cx.counts == {"refused.interaction_name": 1}
    assert "refused.interaction_name" not in _runtime_counts_outside()


def _runtime_counts_outside() -> dict[str, int]:
    with capture():
        return _guard.counts()


def test_a_long_list_is_cut(cx: Capture) -> None:
    """A message shows twenty lines, and how many there are more."""
    for _ in range(25):
        with cxtrace.touchpoint("cart.view"):
            pass
    with pytest.raises(AssertionError) as error:
        cx.touchpoint("checkout.pay")

    assert said(error)[1:] == [*["cart.view completed"] * 20, "and 5 more"]


@pytest.mark.parametrize(
    ("outcome", "error"),
    [("failed", None), ("failed", "card_declined")],
)
def test_an_outcome_that_is_so(cx: Capture, outcome: Any, error: str | None) -> None:
    """An outcome is asserted with its reason, or without."""
    with cxtrace.touchpoint("checkout.pay") as tp:
        tp.fail("card_declined")

    cx.assert_outcome("checkout.pay", outcome, error)
    assert cx.touchpoint("checkout.pay").error == "card_declined"


@pytest.mark.parametrize(
    ("outcome", "error", "expected"),
    [
        ("completed", None, "should have completed, but failed with card_declined"),
        ("failed", "timeout", "should have failed with timeout, but failed with card_declined"),
    ],
)
def test_an_outcome_that_is_not_so(
    cx: Capture, outcome: Any, error: str | None, expected: str
) -> None:
    """The message says what was expected and what happened."""
    with cxtrace.touchpoint("checkout.pay") as tp:
        tp.fail("card_declined")
    with pytest.raises(AssertionError) as raised:
        cx.assert_outcome("checkout.pay", outcome, error=error)

    assert said(raised) == [f"'checkout.pay' {expected}"]


# Journeys


def test_a_journey_is_found_by_name_and_by_id(cx: Capture) -> None:
    """A walk has its touchpoints, its route and its outcome."""
    walk = order(cx)
    with cxtrace.touchpoint("cart.view"):
        pass
    found = cx.journey("first_order")

    assert cx.journey(walk) == found
    assert (found.name, found.id, found.outcome) == ("first_order", walk, "achieved")
    assert found.route == ("cart.view", "checkout.pay")
    assert found.touchpoints == tuple(cx.touchpoints[:2])


def test_two_walks_of_one_journey(cx: Capture) -> None:
    """Of two journeys of a name, the id says which; the message lists them."""
    first, second = order(cx), order(cx)
    with pytest.raises(AssertionError) as two:
        cx.journey("first_order")
    with pytest.raises(AssertionError) as none:
        cx.journey("return_goods")

    shown = [f"first_order {walk}: cart.view → checkout.pay" for walk in (first, second)]
    assert said(two) == ["2 journeys 'first_order'; the journeys were:", *shown]
    assert said(none) == ["no journey 'return_goods'; the journeys were:", *shown]
    assert [each.id for each in cx.journeys] == [first, second]


def test_a_journey_of_somebody_who_refused(cx: Capture) -> None:
    """Under denied consent a journey has no id, and its touchpoints no customer."""
    refuses = cxtrace.customer("cust-42", consent="denied")
    with cxtrace.journey("first_order"), refuses, cxtrace.touchpoint("cart.view"):
        pass

    assert cx.journey("first_order").id is None
    assert cx.touchpoint("cart.view").customer is None
    cx.assert_nothing_personal("cust-42", cx.pseudonym("cust-42"))


def test_a_journey_that_ends_without_a_touchpoint(cx: Capture) -> None:
    """A journey whose end was told is there, although nothing was visited on it."""
    with cxtrace.journey("first_order") as walk:
        walk.outcome("abandoned")
    (found,) = cx.journeys

    assert (found.outcome, found.route) == ("abandoned", ())
    assert cx.signals("journey")[0].touchpoint is None
    with pytest.raises(AssertionError, match=": nowhere"):
        cx.journey("x")


@pytest.mark.parametrize("route", [["cart.view", "checkout.pay"], "short"])
def test_a_route_that_was_gone(cx: Capture, route: Any) -> None:
    """A route is asserted as a list, or by its name in the map."""
    walk = order(cx)

    cx.assert_route("first_order", route)
    cx.assert_route(walk, route)
    assert cx.journey(walk).route == ("cart.view", "checkout.pay")


@pytest.mark.parametrize(
    ("route", "step"),
    [
        (["checkout.pay"], 1),
        (["cart.view"], 2),
        (["cart.view", "cart.add", "checkout.pay"], 2),
        (["cart.view", "checkout.pay", "order.confirm"], 3),
    ],
)
def test_a_route_that_was_not_gone(cx: Capture, route: list[str], step: int) -> None:
    """The message says where the ways part, what was expected and where the customer went."""
    order(cx)
    left = cxtrace.touchpoint("order.confirm")
    left.__enter__()
    with pytest.raises(AssertionError) as error:
        cx.assert_route("first_order", route)

    assert said(error) == [
        f"'first_order' went another way from step {step} on",
        f"expected: {' → '.join(route)}",
        "went:     cart.view → checkout.pay",
        "still open: order.confirm",
    ]


def test_a_route_that_the_map_does_not_have(cx: Capture) -> None:
    """A route's name must be in the map: else the test is wrong, and not the code."""
    order(cx)
    with cxtrace.journey("unplanned"), cxtrace.touchpoint("cart.view"):
        pass
    with pytest.raises(ValueError, match="no route 'long' of 'first_order', only: short"):
        cx.assert_route("first_order", "long")
    with pytest.raises(ValueError, match="no route 'short' of 'unplanned', only: none"):
        cx.assert_route("unplanned", "short")


def test_a_route_without_a_map() -> None:
    """Without a map no route has a name."""
    with capture() as cx:
        order(cx)

        with pytest.raises(ValueError, match="only: none"):
            cx.assert_route("first_order", "short")


# Signals and promises


@pytest.mark.parametrize("event_signal", [None, "span", "log", "both"])
def test_signals_are_captured_wherever_they_go(event_signal: Any) -> None:
    """Each signal is there once, whether it is an event of the span, a log record or both."""
    with capture(journey_map=SHOP, event_signal=event_signal) as cx:
        order(cx)

    assert [(each.name, each.touchpoint, each.at) for each in cx.signals()] == [
        ("cx.journey.start", "cart.view", 0.0),
        ("cx.friction", "checkout.pay", 1.25),
        ("cx.promise.evaluated", "checkout.pay", 1.25),
        ("cx.journey.end", "checkout.pay", 1.25),
    ]


def test_signals_are_found_by_kind_and_attributes(cx: Capture) -> None:
    """Kind and attributes choose; of a signal's own attributes the last word is enough."""
    with cxtrace.touchpoint("checkout.pay"):
        signals.friction("slow", severity="low")
        signals.friction("error", severity="high")
        shown = signals.nudge("bar", technique="incentive")
        shown.accepted()

    assert [each.name for each in cx.signals("nudge")] == ["cx.nudge.exposure", "cx.nudge.outcome"]
    (high,) = cx.signals("friction", severity="high")
    assert high.attributes["cx.friction.type"] == "error"
    assert cx.signals("friction", type="slow", severity="high") == []
    assert cx.signals(friction_type="error") == [high]
    assert cx.signals(cx_friction_type="error", touchpoint_name="checkout.pay") == [high]
    assert len(cx.signals(promise_id="pay_fast")) == 1


def test_a_signal_that_does_not_exist_is_a_mistake(cx: Capture) -> None:
    """A misspelt kind or attribute is an error, for it would never be found."""
    with pytest.raises(ValueError, match="no signals 'frictions': it can be journey, stage,"):
        cx.signals("frictions")
    with pytest.raises(ValueError, match="no attribute 'typ'"):
        cx.signals("friction", typ="slow")
    with pytest.raises(ValueError, match="no attribute 'type'"):
        cx.signals(type="slow")


def test_log_records_and_events_of_others_are_no_signals(cx: Capture) -> None:
    """What others log and add to spans is captured, and is nothing the customer lived through."""
    logger = cx.logger_provider.get_logger("host")
    for name in (None, "paid", "cx.unknown"):
        logger.emit(_logs.LogRecord(body="paid", event_name=name))
    with cxtrace.touchpoint("cart.view") as tp:
        tp.span.add_event("paid")

    assert cx.signals() == []


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_a_promise_that_holds(cx: Capture, seconds: float) -> None:
    """Without a word on how, a promise that is kept or exceeded holds."""
    order(cx, seconds)
    result = "exceeded" if seconds == 0.1 else "kept"

    cx.assert_promise("pay_fast")
    cx.assert_promise("pay_fast", result)  # type: ignore[arg-type]
    assert (
        cx.promises("pay_fast")
        == cx.promises()
        == [Promise("pay_fast", result, 2.0, seconds, "s", seconds / 2 - 1, "checkout.pay")]
    )


def test_a_promise_that_does_not_hold(cx: Capture) -> None:
    """Each evaluation must have the result; the message says what was delivered instead."""
    order(cx, 1)
    order(cx, 3)
    with cxtrace.touchpoint("checkout.pay") as tp:
        tp.outcome("abandoned")
    with pytest.raises(AssertionError) as error:
        cx.assert_promise("pay_fast")

    assert said(error) == [
        "'pay_fast' should be kept or exceeded, but:",
        "broken: 3 s, promised 2 s",
        "unmeasured",
    ]


def test_a_promise_that_was_not_evaluated(cx: Capture) -> None:
    """The message says which promises were, and which touchpoint is still open."""
    left = cxtrace.touchpoint("checkout.pay")
    left.__enter__()
    with pytest.raises(AssertionError) as nothing:
        cx.assert_promise("pay_fast", "kept")
    order(cx)
    with pytest.raises(AssertionError) as other:
        cx.assert_promise("refund_7d", "kept")

    assert said(nothing) == [
        "'pay_fast' was not evaluated; there were no promises at all",
        "still open: checkout.pay",
    ]
    assert said(other) == [
        "'refund_7d' was not evaluated; the promises were:",
        "pay_fast: kept",
        "still open: checkout.pay",
    ]


def test_no_friction(cx: Capture) -> None:
    """Friction fails the assertion where it was, and says who has found it."""
    order(cx, 3)
    with pytest.raises(AssertionError) as error:
        cx.assert_no_friction()
    with pytest.raises(AssertionError, match="slow@1"):
        cx.assert_no_friction("checkout.pay")

    cx.assert_no_friction("cart.view")
    assert said(error) == [
        "there was friction:",
        "checkout.pay: slow, high, found by the code",
        "checkout.pay: slow, medium, found by slow@1",
    ]


def test_friction_is_told_to_the_hook() -> None:
    """Options of ``configure()`` are options of a capture."""
    told: list[Any] = []
    with capture(on_friction=told.append, signals_off=["emotion"]) as cx, cxtrace.touchpoint("a"):
        signals.friction("slow")
        signals.emotion("anger", source="text")

    assert [friction.type for friction in told] == ["slow"]
    assert [signal.kind for signal in cx.signals()] == ["friction"]


# Metrics


def test_metrics_are_summed_and_counted(cx: Capture) -> None:
    """A metric is asked for by labels, written as in PromQL, with or without the prefix."""
    order(cx, 1)
    order(cx, 2)
    name = "cx.touchpoint.duration"
    pay = cx.metric(name, touchpoint_name="checkout.pay")

    assert (pay.count, pay.sum) == (2, 3.0)
    assert cx.metric(name, cx_touchpoint_name="checkout.pay", touchpoint_outcome="completed") == pay
    assert cx.metric(name).count == 4
    assert len(cx.metric(name).points) == 2
    assert cx.metric(name, touchpoint_name="nowhere").count == 0
    assert cx.metric("cx.touchpoint.frictions", friction_type="slow").sum == 2


def test_a_metric_of_which_nothing_was_measured(cx: Capture) -> None:
    """Nothing is nought."""
    found = cx.metric("cx.touchpoint.duration")

    assert (found.count, found.sum, found.points) == (0, 0, ())


def test_a_counter_has_no_count(cx: Capture) -> None:
    """A counter knows its sum; to ask it for a count is a mistake, not nought."""
    order(cx)
    counter = cx.metric("cx.touchpoint.frictions")

    assert counter.sum == 1
    with pytest.raises(TypeError, match="is a counter"):
        _ = counter.count


def test_journeys_under_way_are_observed() -> None:
    """A metric that must be opted in for can be captured too."""
    name = "cx.journey.active"
    with capture(metrics_opt_in=[name]) as cx, cxtrace.journey("first_order"):
        with cxtrace.touchpoint("a"):
            pass

        assert cx.metric(name, journey_name="first_order").sum == 1


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("cx.touchpoint.durations", {}, "did you mean 'cx.touchpoint.duration'"),
        ("orders", {}, "no metric 'orders'$"),
        ("cx.touchpoint.duration", {"touchpoint": "a"}, "no label 'touchpoint'"),
    ],
)
def test_a_metric_that_does_not_exist_is_a_mistake(
    cx: Capture, name: str, labels: dict[str, str], message: str
) -> None:
    """A misspelt metric or label is an error, for it would always be nought."""
    with pytest.raises(ValueError, match=message):
        cx.metric(name, **labels)


# Nothing personal


def in_a_span_name(cx: Capture, text: str) -> None:
    """As the name of a span of others."""
    cx.tracer_provider.get_tracer("x").start_span(text).end()


def in_an_open_span(cx: Capture, text: str) -> None:
    """As an attribute of a span that has not ended."""
    cx.tracer_provider.get_tracer("x").start_span("a").set_attribute("b", text)


def in_a_key(cx: Capture, text: str) -> None:
    """As the key of an attribute."""
    cx.tracer_provider.get_tracer("x").start_span("a").set_attribute(f"a {text}", 1)


def in_a_list(cx: Capture, text: str) -> None:
    """Within a list."""
    cx.tracer_provider.get_tracer("x").start_span("a").set_attribute("b", ["", text])


def in_bytes(cx: Capture, text: str) -> None:
    """Within bytes."""
    raw = text.encode()
    cx.logger_provider.get_logger("x").emit(_logs.LogRecord(body={"a": raw}))


def in_a_status(cx: Capture, text: str) -> None:
    """In the description of a status."""
    cx.tracer_provider.get_tracer("x").start_span("a").set_status(StatusCode.ERROR, text)


def in_an_event(cx: Capture, text: str) -> None:
    """As the name of an event, and in its attributes."""
    with cxtrace.touchpoint("a") as tp:
        tp.span.add_event("exception", {"exception.message": f"no customer {text}"})


def in_an_event_name(cx: Capture, text: str) -> None:
    """As the name of an event."""
    with cxtrace.touchpoint("a") as tp:
        tp.span.add_event(text)


def in_a_link(cx: Capture, text: str) -> None:
    """In a link."""
    link = Link(SpanContext(1, 1, is_remote=True), {"b": text})
    cx.tracer_provider.get_tracer("x").start_span("a", links=[link]).end()


def in_a_trace_state(cx: Capture, text: str) -> None:
    """In the trace state of a link, which takes ASCII only."""
    state = TraceState([("vendor", quote(text))])
    link = Link(SpanContext(1, 1, is_remote=True, trace_state=state))
    cx.tracer_provider.get_tracer("x").start_span("a", links=[link]).end()


def in_a_log_record(cx: Capture, text: str) -> None:
    """In the body of a log record."""
    cx.logger_provider.get_logger("x").emit(_logs.LogRecord(body=f"paid by {text}"))


def in_a_log_attribute(cx: Capture, text: str) -> None:
    """In an attribute of a log record."""
    record = _logs.LogRecord(severity_text="INFO", attributes={"a": {"b": [text]}})
    cx.logger_provider.get_logger("x").emit(record)


def in_a_label(cx: Capture, text: str) -> None:
    """As a label of a metric."""
    cx.meter_provider.get_meter("x").create_counter("orders").add(1, {"by": text})


PLACES = [value for name, value in list(globals().items()) if name.startswith("in_a")]
PLACES += [in_bytes]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("secret", ["cust-42", "jane@shop.example", CARD, "42", "Jürgen"])
def test_what_is_personal_is_found_everywhere(
    cx: Capture, place: Callable[[Capture, str], None], secret: str
) -> None:
    """An id is found wherever OpenTelemetry can put it, and only where it is."""
    cx.assert_nothing_personal(secret)
    place(cx, secret)
    with pytest.raises(AssertionError) as error:
        cx.assert_nothing_personal("somebody else", secret)

    cx.assert_nothing_personal("somebody else")
    assert said(error)[0] == f"{secret!r} was sent:"
    assert len(said(error)) >= 2


def test_what_is_personal_is_found_in_an_exemplar(cx: Capture) -> None:
    """Labels that a view drops go on in exemplars: they are looked through as well."""
    reader: Any = cx._providers.reader
    with cxtrace.touchpoint("a"):
        cx.meter_provider.get_meter("x").create_histogram("h").record(1, {"by": "x"})
    data = reader.get_metrics_data()
    (metric,) = (
        metric
        for scope in data.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        if metric.name == "cx.touchpoint.duration"
    )
    (exemplar,) = metric.data.data_points[0].exemplars
    object.__setattr__(exemplar, "filtered_attributes", {"user": "cust-42"})
    reader.get_metrics_data = lambda: data

    with pytest.raises(AssertionError, match="an exemplar of the metric"):
        cx.assert_nothing_personal("cust-42")


@pytest.mark.parametrize(
    ("form", "how"),
    [
        ("JANE@SHOP.example", ""),
        ("jane%40shop.example", ", escaped"),
        (b64encode(b"jane@shop.example").decode(), ", in base64"),
        (hashlib.md5(b"jane@shop.example").hexdigest(), ", as md5 without a key"),
        (hashlib.sha1(b"jane@shop.example").hexdigest(), ", as sha1 without a key"),
        (hashlib.sha256(b"jane@shop.example").hexdigest().upper(), ", as sha256 without a key"),
    ],
)
def test_what_can_be_recovered_is_found(cx: Capture, form: str, how: str) -> None:
    """Another spelling or a plain hash hides nobody: whoever has the id can make it, too."""
    with cxtrace.touchpoint("a") as tp:
        tp.span.set_attribute("url.full", f"https://shop.example/{form}?x=1")
    with pytest.raises(AssertionError) as error:
        cx.assert_nothing_personal("jane@shop.example")

    assert said(error)[1].startswith(f"'url.full' of the span 'a'{how}: ")


def test_a_number_is_found_as_a_number(cx: Capture) -> None:
    """A customer's number is found as text and as a number, and not within another number."""
    with cxtrace.touchpoint("a") as tp:
        tp.span.set_attribute("db.row", 1234567)
    with cxtrace.customer(7_654_321), cxtrace.touchpoint("b"):
        pass
    cx.assert_nothing_personal(123456, 234567, 7_654_321)

    with pytest.raises(AssertionError, match="1234567 was sent"):
        cx.assert_nothing_personal(1234567)


def test_what_cxtrace_sends_names_nobody(cx: Capture) -> None:
    """With customer, segment, journey and refused input of all kinds, no raw id is there."""
    walk = cxtrace.journey("first_order", id="jane@shop.example")
    with walk, cxtrace.customer(CARD), cxtrace.touchpoint("checkout.pay") as tp:
        tp.set({"user.email": "jane@shop.example"})
        tp.fail(f"no money on {CARD}")
        cxtrace.identify("cust-42")

    cx.assert_nothing_personal(CARD, "jane@shop.example", "cust-42")
    assert cx.counts["refused.reason"] == 1


def test_to_look_for_nothing_is_a_mistake(cx: Capture) -> None:
    """Without an id, or with an empty one, the assertion would hold for anything."""
    with pytest.raises(ValueError, match="give the ids"):
        cx.assert_nothing_personal()
    with pytest.raises(ValueError, match="must not be empty"):
        cx.assert_nothing_personal("")


def test_the_hosts_own_logs_can_be_captured(cx: Capture, caplog: pytest.LogCaptureFixture) -> None:
    """A warning of cxtrace comes once in each capture, and so in each test."""
    for _ in range(2):
        with capture(), cxtrace.touchpoint("a") as tp:
            tp.fail("not a code!")
            tp.fail("not a code!")

    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2


def test_a_clock_can_be_used_alone() -> None:
    """The clock is a public class of its own, with the same beginning."""
    clock = Clock()
    clock.advance(0.5)

    assert clock.now == datetime(2026, 1, 1, 0, 0, 0, 500_000, timezone.utc)
    assert clock.steady() == 0.5


def test_the_private_providers_have_nothing_to_flush(cx: Capture) -> None:
    """A test may flush what it was given, as it would any provider."""
    for provider in (cx.tracer_provider, cx.logger_provider):
        flushed: Any = provider

        assert flushed.force_flush()
        flushed.shutdown()
