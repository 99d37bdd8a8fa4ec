"""Celery: real tasks, in place and in real workers, with and without OpenTelemetry's spans."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import attach, get_current
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import cxtrace
from cxtrace import _guard, current_context, customer, identify, journey, touchpoint
from cxtrace.exporters import RecordedSpan, TreeExporter, read_spans
from cxtrace.journey_map import JourneyMap
from cxtrace.propagation import CXPropagator
from tests.conftest import Capture

pytest.importorskip("celery", reason="Celery is not installed")

from celery import Celery, _state, signals, states
from celery.app.trace import build_tracer
from celery.exceptions import Ignore, Reject, WorkerLostError
from celery.utils.dispatch import Signal

from cxtrace.integrations import celery as ours

stock = pytest.importorskip(
    "opentelemetry.instrumentation.celery", reason="its instrumentation is not installed"
)

MAP = """
schema = "cxtrace.map/1"
name = "shop"
functions = { it = {}, sales = {} }

[[stage]]
name = "buy"
phase = "customer"

[[touchpoint]]
name = "order.place"
stage = "buy"
owner = "sales"
initiator = "customer"

[[touchpoint]]
name = "order.confirm"
stage = "buy"
owner = "it"
initiator = "company"
match = [TASKS]

[[journey]]
name = "first_order"
goal = "order.confirm"

[request]
customer = [
  { cookie = "c" }, { query = "c" }, { path = "c" }, { session = "c" }, { user = "c" },
  { claim = "c" }, { header = "X-Customer-Id" },
]
"""
SIGNALS = {
    "task_prerun": signals.task_prerun,
    "task_postrun": signals.task_postrun,
    "before_task_publish": signals.before_task_publish,
    "task_failure": signals.task_failure,
    "worker_process_shutdown": signals.worker_process_shutdown,
}


def map_of(*tasks: str) -> str:
    """The map, in which these tasks are one touchpoint."""
    return MAP.replace("TASKS", ", ".join(f'{{ task = "{task}" }}' for task in tasks))


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave Celery's signals and the propagators as they were."""
    propagator = propagate.get_global_textmap()
    yield
    _state._tls.current_app = None
    if stock.CeleryInstrumentor().is_instrumented_by_opentelemetry:
        stock.CeleryInstrumentor().uninstrument()
    for each in SIGNALS.values():
        each.disconnect(dispatch_uid="cxtrace")
    propagate.set_global_textmap(propagator)


class Shop:
    """An application of Celery whose tasks the map knows, in a process of one's own."""

    def __init__(self, cx: Capture) -> None:
        self.cx = cx
        self.app = Celery("shop", broker="memory://", backend="cache+memory://")
        self.app.conf.task_default_retry_delay = 0
        cx.use(journey_map=JourneyMap.loads(map_of("shop.one", "shop.two", "shop.three")))
        parts = TraceContextTextMapPropagator(), W3CBaggagePropagator(), CXPropagator()
        propagate.set_global_textmap(CompositePropagator(parts))

    def task(self, body: Callable[..., Any], name: str = "shop.one", **options: Any) -> Any:
        """A task of that name."""
        body.__name__ = "body"  # Celery makes source code of it
        return self.app.task(body, name=name, shared=False, **options)

    def instrument(self, **options: Any) -> None:
        """Let OpenTelemetry's instrumentation make spans."""
        stock.CeleryInstrumentor().instrument(tracer_provider=self.cx.provider, **options)

    def run(self, task: Any, /, **message: Any) -> Any:
        """Let a worker's own function run the task, as for a message with these headers."""
        tracer = build_tracer(task.name, task, app=self.app)
        return tracer("7", (), {}, {"id": "7", "task": task.name, **message})

    def visits(self) -> list[tuple[Any, ...]]:
        """Outcome, class of the error, and number of retries of each visit of the task."""
        wanted = ("cx.touchpoint.outcome", "error.type", "cx.effort.service_retries")
        return [
            tuple((span.attributes or {}).get(key) for key in wanted)
            for span in self.cx.spans
            if (span.attributes or {}).get("cx.touchpoint.name") == "order.confirm"
            and "cx.touchpoint.outcome" in (span.attributes or {})
        ]

    def customers(self) -> list[Any]:
        """The customer of each visit."""
        return [
            (span.attributes or {}).get("enduser.pseudo.id")
            for span in self.cx.spans
            if "cx.touchpoint.outcome" in (span.attributes or {})
        ]


@pytest.fixture
def shop(cx: Capture) -> Iterator[Shop]:
    """A shop with our integration alone."""
    made = Shop(cx)
    ours.instrument_app(made.app)
    yield made
    errors = {key: count for key, count in _guard.counts().items() if key.startswith("errors.")}
    assert errors == getattr(made, "errors", {})


@pytest.fixture(params=["alone", "with OpenTelemetry's"])
def either(request: pytest.FixtureRequest, shop: Shop) -> Shop:
    """A shop without and with OpenTelemetry's instrumentation."""
    if request.param != "alone":
        shop.instrument()
    return shop


@pytest.fixture
def traced(shop: Shop) -> Shop:
    """A shop with OpenTelemetry's instrumentation."""
    shop.instrument()
    return shop


# Where the touchpoint is


def test_a_task_is_the_span_of_its_consumer(traced: Shop) -> None:
    """The touchpoint is the instrumentation's own span, and there is no other."""
    task = traced.task(lambda: 1)

    assert traced.run(task).retval == 1
    (span,) = traced.cx.spans
    assert (span.name, span.kind) == ("run/shop.one", SpanKind.CONSUMER)
    assert traced.visits() == [("completed", None, None)]


def test_a_task_alone_is_a_span_of_its_own(shop: Shop) -> None:
    """Without the instrumentation the touchpoint makes its span."""
    shop.run(shop.task(lambda: 1))

    assert shop.cx.names == ["order.confirm"]
    assert shop.visits() == [("completed", None, None)]


def test_the_order_of_setting_up_is_free(shop: Shop) -> None:
    """Set up before or after, or after the instrumentation has gone: there is one touchpoint."""
    task = shop.task(lambda: 1)
    instrumentor = stock.CeleryInstrumentor()
    for instrument in (
        shop.instrument,
        lambda: ours.instrument_app(shop.app),
        instrumentor.uninstrument,
        shop.instrument,
    ):
        instrument()
        shop.run(task)

    assert shop.cx.names == ["run/shop.one", "run/shop.one", "order.confirm", "run/shop.one"]
    assert shop.visits() == [("completed", None, None)] * 4


@pytest.mark.parametrize("is_first", [True, False])
def test_the_hosts_receivers_keep_their_order(cx: Capture, is_first: bool) -> None:
    """We stand beside OpenTelemetry's receivers; all others stay in the order they came in."""
    shop = Shop(cx)
    received = []

    def first(**_: object) -> None:
        received.append("first")

    def second(**_: object) -> None:
        received.append("second")

    for each in (signals.task_prerun, signals.task_postrun):
        each.connect(first)
    if is_first:
        ours.instrument_app(shop.app)
    shop.instrument()
    for each in (signals.task_prerun, signals.task_postrun):
        each.connect(second)
    ours.instrument_app(shop.app)
    shop.run(shop.task(lambda: 1))
    for each in (signals.task_prerun, signals.task_postrun):
        each.disconnect(first)
        each.disconnect(second)

    assert received == ["first", "second"] * 2
    assert [name for name, _ in around(signals.task_prerun)] == ["_trace_prerun", "_begin"]
    assert [name for name, _ in around(signals.task_postrun)] == ["_end", "_trace_postrun"]


def around(a_signal: Signal) -> list[tuple[str, Any]]:
    """The receivers of a signal that are ours or OpenTelemetry's, in their order."""
    found = [(getattr(each, "__name__", ""), each) for _, each in a_signal.receivers]
    return [pair for pair in found if pair[0].startswith("_")]


def test_a_second_call_does_nothing(shop: Shop) -> None:
    """The explicit and the automatic form together are one."""
    for module in (sys.modules["celery.app.trace"], stock, stock):
        ours.instrument(module)
    ours.instrument_app(shop.app)

    for each in SIGNALS.values():
        assert len([key for (key, _), _ in each.receivers if key == "cxtrace"]) == 1
    shop.run(shop.task(lambda: 1))
    assert shop.visits() == [("completed", None, None)]


@pytest.mark.parametrize("rules", [True, False])
def test_tasks_that_the_map_does_not_name(either: Shop, rules: bool) -> None:
    """Another task is no touchpoint, but goes on with the caller's journey."""
    seen = []
    if not rules:
        text = map_of("shop.one").partition("[request]")[0]
        either.cx.use(journey_map=JourneyMap.loads(text))

    def look() -> None:
        cx = current_context()
        seen.append(None if cx is None or cx.journey is None else cx.journey.name)

    task = either.task(look, "shop.other")
    either.run(task, **sent(either, journey("first_order"), touchpoint("order.place")))
    either.run(task)
    with journey("first_order"):
        task.apply()

    assert seen == ["first_order", None, "first_order"]
    assert either.visits() == []


def test_without_a_map_nothing_happens(either: Shop) -> None:
    """Where the map binds no request, headers and context are left alone."""
    either.cx.use()
    headers: dict[str, Any] = {"id": "7"}
    ours._publish(headers=headers)
    either.run(either.task(lambda: 1))

    assert headers == {"id": "7"}
    assert either.visits() == []


# In place


def test_a_task_in_place_is_a_touchpoint_in_the_requests_trace(either: Shop) -> None:
    """With task_always_eager the task has a touchpoint of its own, below the caller's."""
    either.app.conf.task_always_eager = True
    task = either.task(lambda: cxtrace.friction("slow"))
    with journey("first_order", id="j1"), customer("c-1"), touchpoint("order.place"):
        task.delay()

    place = either.cx.span("order.place")
    (task_span,) = [span for span in either.cx.spans if span is not place]
    assert task_span.parent is not None
    assert place.context is not None
    assert task_span.parent.span_id == place.context.span_id
    assert either.visits() == [("completed", None, None)]
    assert either.customers() == [either.cx.pseudonym("c-1")] * 2
    assert (task_span.attributes or {})["cx.journey.id"] == "j1"
    assert "cx.friction" in [event.name for event in task_span.events]


def test_a_task_in_a_task_is_a_touchpoint_of_its_own(either: Shop) -> None:
    """Tasks that run in place of a call within a task are visits as well."""
    inner = either.task(lambda: 1, "shop.two")
    either.run(either.task(lambda: inner.apply().get()))

    assert either.visits() == [("completed", None, None)] * 2


def test_no_customer_goes_to_another_task(either: Shop) -> None:
    """Each task has the customer whom its own headers tell; their caller learns of none."""
    task = either.task(lambda: 1)

    def caller() -> None:
        for number in ("1", "2", None):
            task.apply(headers=None if number is None else {"x-customer-id": number})

    with touchpoint("order.place"):
        caller()
    for number in (3, None):
        either.run(task, headers=None if number is None else {"X-Customer-Id": number})

    known = either.cx.pseudonym
    assert either.customers() == [known("1"), known("2"), None, None, known("3"), None]


def test_who_the_customer_is_stays_in_the_task(either: Shop) -> None:
    """What a task finds out in place, its caller does not learn, as if a worker had run it."""
    task = either.task(lambda: identify("c-2"))
    with touchpoint("order.place"):
        task.apply()

    assert either.customers() == [either.cx.pseudonym("c-2"), None]


def test_what_a_worker_had_before_does_not_go_on(either: Shop) -> None:
    """A customer that is left over in a worker's process never belongs to the next task."""
    task = either.task(lambda: 1)
    with journey("first_order"), customer("c-1"), touchpoint("order.place"):
        either.run(task)
        either.run(task, **sent(either, customer("c-2"), touchpoint("order.place")))

    outer = either.cx.pseudonym("c-1")
    assert either.customers()[:1] == [None]
    assert either.customers()[-1] == outer
    assert outer not in either.customers()[:-1]


def test_a_task_that_leaves_a_context_attached(either: Shop) -> None:
    """What a task attaches and forgets is gone when it has ended."""
    before = get_current()
    left = customer("c-1")
    either.run(either.task(lambda: left.__enter__() and 1))

    assert get_current() == before
    assert len(either.visits()) == 1


# Out of the message


def sent(shop: Shop, *blocks: Any) -> dict[str, str]:
    """The headers that a caller's instrumentation writes within these blocks."""
    headers: dict[str, str] = {}
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(block)
        told = {"messaging.system": "redis"}
        tracer = shop.cx.tracer
        with tracer.start_as_current_span("send", kind=SpanKind.PRODUCER, attributes=told):
            propagate.inject(headers)
    return headers


def test_the_message_carries_customer_and_journey(either: Shop) -> None:
    """A worker goes on with the caller's trace, customer and journey."""
    message: dict[str, Any] = {"id": "7"}
    task = either.task(lambda: 1)
    remember = signals.before_task_publish.connect(
        lambda headers, **_: message.update(headers), weak=False, dispatch_uid="test"
    )
    with journey("first_order", id="j1"), customer("c-1"), touchpoint("order.place"):
        task.delay()
    signals.before_task_publish.disconnect(remember, dispatch_uid="test")
    either.run(task, **message)

    known = either.cx.pseudonym("c-1")
    assert either.customers() == [known, known]
    visits = [s for s in either.cx.spans if "cx.touchpoint.outcome" in (s.attributes or {})]
    assert len({span.context.trace_id for span in visits if span.context}) == 1
    assert [(span.attributes or {})["cx.journey.id"] for span in visits] == ["j1", "j1"]


def test_links_instead_of_parents(shop: Shop) -> None:
    """Where the instrumentation links, the trace is another, and the journey goes on."""
    shop.instrument(use_span_links=True)
    if not hasattr(stock.CeleryInstrumentor(), "_use_span_links"):
        pytest.skip("this instrumentation has no links")
    blocks = journey("first_order", id="j1"), customer("c-1"), touchpoint("order.place")
    message = sent(shop, *blocks)
    task = shop.task(lambda: 1)
    shop.run(task, **message)

    task_span = shop.cx.span("run/shop.one")
    assert task_span.parent is None
    assert len(task_span.links) == 1
    assert shop.cx.tags("run/shop.one")["cx.journey.id"] == "j1"
    assert shop.customers()[-1] == shop.cx.pseudonym("c-1")


def test_links_without_our_propagator(shop: Shop) -> None:
    """Where our propagator is not in use, a task has no customer and no journey."""
    propagate.set_global_textmap(TraceContextTextMapPropagator())
    shop.instrument(use_span_links=True)
    message = sent(shop, touchpoint("order.place"))
    shop.run(shop.task(lambda: 1), **message)

    assert shop.cx.tags("run/shop.one").get("enduser.pseudo.id") is None
    assert shop.visits() == [("completed", None, None)]


# What it says about its ending


def ignored() -> None:
    """The task has found that there is nothing to do."""
    raise Ignore


def refused(requeue: bool) -> Callable[[], None]:
    """The task rejects its message."""

    def body() -> None:
        raise Reject("42 Main Street", requeue=requeue)

    return body


def failing() -> None:
    """The task fails, with a text that holds what a customer typed."""
    raise ValueError("42 Main Street")


def stopped() -> None:
    """Somebody stops the process."""
    raise SystemExit


def spoken() -> None:
    """The task says itself how it has ended."""
    cxtrace.current_touchpoint().outcome("handed_off")
    raise Ignore


ENDINGS = [
    (ignored, ("completed", None, None)),
    (refused(True), ("deferred", None, None)),
    (refused(False), ("failed", "celery.exceptions.Reject", None)),
    (failing, ("failed", "ValueError", None)),
    (stopped, ("failed", "SystemExit", None)),
    (spoken, ("handed_off", None, None)),
]


@pytest.mark.parametrize(("body", "visit"), ENDINGS)
def test_how_a_task_ends(either: Shop, body: Callable[[], None], visit: tuple[Any, ...]) -> None:
    """Celery's own exceptions have a meaning; of others, the class alone is told."""
    try:
        either.run(either.task(body, throws=(ValueError,)))
    except SystemExit:
        assert body is stopped

    assert either.visits() == [visit]
    assert "Main Street" not in repr([dict(span.attributes or {}) for span in either.cx.spans])


def test_what_flies_in_place_reaches_the_caller(either: Shop) -> None:
    """With task_eager_propagates the caller gets the exception, and the visit has failed."""
    task = either.task(failing)

    with pytest.raises(ValueError, match="42 Main Street"):
        task.apply(throw=True)
    assert either.visits() == [("failed", "ValueError", None)]


def test_retries_are_counted(either: Shop) -> None:
    """An attempt that is made again is deferred and counts one retry; the last one has none."""

    def body(self: Any) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return 1

    assert either.task(body, bind=True).apply().get() == 1
    assert either.visits() == [
        ("deferred", None, 1),
        ("deferred", None, 1),
        ("completed", None, None),
    ]


def test_retries_by_themselves_are_counted(either: Shop) -> None:
    """What autoretry_for tries again counts in the same way, and the last failure is one."""
    task = either.task(failing, autoretry_for=(ValueError,), max_retries=1, retry_backoff=False)

    assert task.apply().state == states.FAILURE
    assert either.visits() == [("deferred", None, 1), ("failed", "ValueError", None)]


def test_a_task_without_a_touchpoint_has_no_outcome(shop: Shop) -> None:
    """A task that the map does not name may end in any way, its customer is known all the same."""
    shop.instrument()
    shop.run(shop.task(failing, "shop.other", throws=(ValueError,)), headers={"X-Customer-Id": "1"})

    assert shop.cx.tags("run/shop.other")["enduser.pseudo.id"] == shop.cx.pseudonym("1")
    assert shop.visits() == []


def test_a_dead_process_is_a_failure(either: Shop) -> None:
    """The visit of a process that died is lost; its parent tells that it has failed."""
    task = either.task(lambda: 1)
    signals.task_failure.send(sender=task, task_id="7", exception=WorkerLostError())
    signals.task_failure.send(sender=task, task_id="7", exception=ValueError())

    assert either.visits() == [("failed", "billiard.exceptions.WorkerLostError", None)]


def test_a_dead_process_without_a_map(shop: Shop) -> None:
    """Where the map binds nothing, nothing is told."""
    shop.cx.use()
    signals.task_failure.send(sender=shop.task(lambda: 1), exception=WorkerLostError())

    assert shop.cx.spans == []


# The headers of the host


def published(shop: Shop, **headers: Any) -> dict[str, Any]:
    """The message that a task's caller sends with these headers."""
    sent_headers: list[dict[str, Any]] = []

    def remember(headers: dict[str, Any], **_: object) -> None:
        sent_headers.append(headers)

    signals.before_task_publish.connect(remember)
    shop.app.send_task("shop.one", headers=headers)
    signals.before_task_publish.disconnect(remember)
    return sent_headers[0]


def test_a_context_that_the_host_wrote_stays(shop: Shop) -> None:
    """Headers by the host's own hand are not written over."""
    mine = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    with journey("first_order"), touchpoint("order.place"):
        message = published(shop, traceparent=mine, tenant="7")

    assert message["traceparent"] == mine
    assert message["tenant"] == "7"
    assert "baggage" not in message


def test_a_retry_carries_the_context_of_now(shop: Shop) -> None:
    """A message that repeats the headers of the last one gets those of the task that repeats it."""
    messages = []

    def body(self: Any) -> None:
        if not self.request.retries:
            raise self.retry(countdown=0)

    task = shop.task(body, bind=True)
    with journey("first_order"), touchpoint("order.place"):
        messages.append(published(shop))

    def remember(headers: dict[str, Any], **_: object) -> None:
        messages.append(headers)

    signals.before_task_publish.connect(remember)
    shop.run(task, **messages[0])
    signals.before_task_publish.disconnect(remember)

    first, second = (each["traceparent"].split("-") for each in messages)
    assert first[1] == second[1]
    assert first[2] != second[2]
    assert messages[0]["baggage"] != messages[1]["baggage"]
    assert "order.confirm" in messages[1]["baggage"]


def test_a_message_without_a_caller_stays_as_it_is(shop: Shop) -> None:
    """Where there is no journey and no span, nothing is written."""
    message = published(shop)

    assert {"traceparent", "baggage"}.isdisjoint(message)


def test_propagators_may_look_for_headers_by_their_beginning() -> None:
    """The names of all headers of a message's own can be asked for."""
    assert ours._GETTER.keys(SimpleNamespace(headers={"uberctx-a": "1"})) == ["uberctx-a"]
    assert ours._GETTER.keys(SimpleNamespace(headers=None)) == []


def test_messages_of_the_old_protocol_stay_as_they_are(shop: Shop) -> None:
    """They have no headers."""
    shop.app.conf.task_protocol = 1
    with journey("first_order"), touchpoint("order.place"):
        assert published(shop) == {}


def test_an_unsampled_journey_goes_on(forgetful: None) -> None:
    """A producer's span that is not sampled tells nothing; the message carries the journey."""
    shop = Shop(Capture(sampler=ALWAYS_OFF))
    ours.instrument_app(shop.app)
    shop.instrument()
    shop.task(lambda: 1)
    with journey("first_order", id="j1"), touchpoint("order.place"):
        message = published(shop)

    assert "cx.journey.id=j1" in message["baggage"]
    assert int(message["traceparent"][-2:], 16) & 1 == 0


# Never in the way


def broken(*_: object, **__: object) -> Any:
    """Something of ours that fails."""
    raise RuntimeError("42 Main Street")


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("_open", "celery.begin"),
        ("_close", "celery.end"),
        ("_carries", "celery.extract"),
        ("_is_instrumented", "celery.publish"),
    ],
)
def test_no_error_of_ours_reaches_a_task(
    traced: Shop, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    """What fails within us is counted, and the task runs as ever."""
    task = traced.task(lambda: 1)
    before = get_current()
    monkeypatch.setattr(ours, name, broken)
    task.delay()

    assert traced.run(task).retval == 1
    traced.errors = _guard.counts()  # type: ignore[attr-defined]
    assert set(traced.errors) >= {f"errors.{where}"}  # type: ignore[attr-defined]
    traced.errors = {  # type: ignore[attr-defined]
        key: count for key, count in _guard.counts().items() if key.startswith("errors.")
    }
    attach(before)


def test_no_error_of_ours_reaches_the_setting_up(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Celery is not as we know it, the host is set up all the same."""
    monkeypatch.setattr(ours, "_place", broken)
    ours.instrument_app(shop.app)
    ours.instrument_app.__globals__["_imported"](stock)
    shop.instrument()
    monkeypatch.setattr(ours, "_open", broken)
    signals.task_failure.send(sender=shop.task(lambda: 1), exception=WorkerLostError())

    shop.errors = {"errors.celery": 3, "errors.celery.lose": 1}  # type: ignore[attr-defined]
    assert stock.CeleryInstrumentor().is_instrumented_by_opentelemetry


def test_a_process_that_ends_sends_what_is_waiting(shop: Shop) -> None:
    """A process of the pool flushes when Celery says that it ends."""
    assert signals.worker_process_shutdown.send(sender="w", pid=1, exitcode=0)[-1][1] is None


def test_the_console_shows_a_caller_and_its_worker_in_one_process(shop: Shop) -> None:
    """Where both ends are in one process and in one batch, each span is drawn, and once."""
    shop.instrument()
    message = sent(shop, touchpoint("order.place"))
    shop.run(shop.task(lambda: 1), **message)
    written = io.StringIO()

    assert TreeExporter(written).export(shop.cx.spans) is SpanExportResult.SUCCESS
    assert [written.getvalue().count(name) for name in ("order.place", "run/shop.one")] == [1, 1]


# In real workers

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

APP = """
import os, signal, time, uuid
from pathlib import Path

from celery import Celery, signals
from celery.exceptions import Ignore, Reject
from kombu.transport import filesystem
from kombu.utils.json import dumps

HERE = Path(__file__).parent


def put(self, queue, payload, **_):  # the broker's own lets a reader see half a message
    path = HERE / "queue" / f"{time.monotonic_ns():020}_{uuid.uuid4()}.{queue}.new"
    path.write_text(dumps(payload))
    path.rename(path.with_suffix(".msg"))


filesystem.Channel._put = put
for folder in ("queue", "control", "results"):
    (HERE / folder).mkdir(exist_ok=True)
app = Celery("app", broker="filesystem://", backend=f"file://{HERE}/results")
app.conf.broker_transport_options = {
    "data_folder_in": f"{HERE}/queue",
    "data_folder_out": f"{HERE}/queue",
    "control_folder": f"{HERE}/control",
    "polling_interval": 0.05,
}
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_prefetch_multiplier = 1
app.conf.worker_lost_wait = 1
app.conf.beat_schedule = {"nightly": {"task": "app.add", "schedule": 0.5, "args": (1, 2)}}
app.conf.beat_schedule_filename = f"{HERE}/schedule"
mode = os.environ.get("MODE", "")
if mode:
    import cxtrace
    from cxtrace.integrations.celery import instrument_app

    cxtrace.configure(
        service_name=os.environ["ROLE"],
        exporter=f"file:{HERE}/{os.environ['ROLE']}.jsonl",
        journey_map=f"{HERE}/map.toml",
        key="k" * 32,
    )
    if mode != "auto":
        instrument_app(app)
if mode in ("child", "both", "auto"):
    from opentelemetry.instrumentation.celery import CeleryInstrumentor


    @signals.worker_process_init.connect(weak=False)
    def begin(**_):
        CeleryInstrumentor().instrument()

if mode == "both" and os.environ["ROLE"] == "shop":
    CeleryInstrumentor().instrument()


def note(what):
    with open(HERE / "notes", "a") as notes:
        notes.write(os.environ["ROLE"] + " " + what + chr(10))


PROPAGATED = {"traceparent", "tracestate", "baggage"}


def seen(name):
    def receive(sender=None, **more):
        task = getattr(sender, "name", sender)
        headers = more.get("headers") or {}
        names = sorted(set(headers) - PROPAGATED)
        state = more.get("state")
        note(f"{name} {task} {state} {sorted(more)} {names} {headers.get('tenant')}")

    return receive


for name in (
    "before_task_publish", "after_task_publish", "task_prerun", "task_postrun", "task_success",
    "task_failure", "task_retry", "task_received",
):
    getattr(signals, name).connect(seen(name), weak=False, dispatch_uid="note")


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail():
    raise ValueError("42 Main Street")


@app.task(bind=True, max_retries=1)
def again(self):
    note(f"retries {self.request.retries} {self.request.headers.get('tenant')}")
    raise self.retry(countdown=0, exc=KeyError("gone"))


@app.task
def ignore():
    raise Ignore


@app.task
def die():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(soft_time_limit=1)
def late():
    time.sleep(30)
"""
PRODUCER = """
import contextlib, os, sys
from celery import chain, chord, group
from app import *

if mode:
    from cxtrace import customer, journey, touchpoint
    blocks = journey("first_order", id="j1"), customer("c-1"), touchpoint("order.place")
else:
    blocks = ()
with contextlib.ExitStack() as stack:
    for block in blocks:
        stack.enter_context(block)
    for work in sys.argv[1:]:
        sent = eval(work)
        try:
            print(work, sent.get(timeout=80), getattr(sent, "state", None))
        except BaseException as error:
            print(work, type(error).__name__, sent.state)
"""
WORK = (
    "add.apply_async((1, 2), headers={'tenant': '7'}, countdown=0.01)",
    "chain(add.s(1, 2), add.s(3))()",
    "group(add.s(1, 1), add.s(2, 2))()",
    "chord([add.s(1, 1), add.s(2, 2)], total.s())()",
    "again.apply_async(headers={'tenant': '7'})",
    "fail.delay()",
)


class Service:
    """A shop and its worker, in processes of their own, with a broker of files."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(APP, encoding="utf-8")
        (folder / "producer.py").write_text(PRODUCER, encoding="utf-8")
        tasks = ("add", "total", "fail", "again", "ignore", "die", "late")
        text = map_of(*(f"app.{task}" for task in tasks))
        (folder / "map.toml").write_text(text, encoding="utf-8")
        self._environment = {**os.environ, "MODE": mode, "PYTHONWARNINGS": "ignore"}

    def start(self, role: str, *command: str) -> "subprocess.Popen[str]":
        """Start one process of it."""
        with (self.folder / f"{role}.log").open("w", encoding="utf-8") as log:
            return subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                env={**self._environment, "ROLE": role},
                stdout=subprocess.PIPE if role == "shop" else log,
                stderr=log,
                text=True,
            )

    def run(self, *work: str, pool: str = "prefork", options: tuple[str, ...] = ()) -> str:
        """Do work in a worker, stop it, and give what the shop has printed."""
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR")
        arguments = ("-A", "app", "worker", "-c", "2", "-P", pool, *quiet, *options)
        worker = self.start("worker", "-m", "celery", *arguments)
        try:
            shop = self.start("shop", "producer.py", *work)
            printed, _ = shop.communicate(timeout=110)
            worker.send_signal(signal.SIGTERM)
            worker.wait(30)
        finally:
            worker.kill()
            worker.wait(30)
        return printed

    def spans(self, role: str = "worker") -> list[RecordedSpan]:
        """What a role has sent, in the order in which the spans began."""
        file = self.folder / f"{role}.jsonl"
        return sorted(read_spans(file) if file.exists() else (), key=lambda span: span.start_ns)

    def visits(self) -> list[tuple[Any, ...]]:
        """Outcome, class of the error and kind of span of each visit that the worker has sent."""
        return [
            (
                span.attributes["cx.touchpoint.outcome"],
                span.attributes.get("error.type"),
                span.kind,
            )
            for span in self.spans()
            if "cx.touchpoint.outcome" in span.attributes
        ]


@needs_fork
@pytest.mark.parametrize("mode", ["alone", "child", "both", "auto"])
@pytest.mark.service
def test_a_worker_goes_on_with_the_journey(tmp_path: Path, mode: str) -> None:
    """Chains, groups, chords and retries belong to the caller's trace, customer and journey."""
    service = Service(tmp_path, mode)
    service.run(*WORK)

    (placed,) = [s for s in service.spans("shop") if "cx.touchpoint.outcome" in s.attributes]
    visits = [s for s in service.spans() if "cx.touchpoint.outcome" in s.attributes]
    assert {span.trace_id for span in visits} == {placed.trace_id}
    assert {span.attributes["cx.journey.id"] for span in visits} == {"j1"}
    assert {span.attributes["enduser.pseudo.id"] for span in visits} == {
        placed.attributes["enduser.pseudo.id"]
    }
    kind = "INTERNAL" if mode == "alone" else "CONSUMER"
    expected = [("completed", None)] * 8
    expected += [("deferred", None), ("failed", "KeyError"), ("failed", "ValueError")]
    assert sorted(map(str, service.visits())) == sorted(str((*each, kind)) for each in expected)
    if mode == "alone":  # OpenTelemetry's instrumentation records the text of exceptions
        assert "Main Street" not in (tmp_path / "worker.jsonl").read_text(encoding="utf-8")


@needs_fork
@pytest.mark.parametrize("mode", ["alone", "both"])
@pytest.mark.service
def test_tasks_are_as_they_would_be_without_us(tmp_path: Path, mode: str) -> None:
    """Results, states, retries, signals in their order, and the host's headers are the same."""
    told = []
    for each in ("", mode):
        service = Service(tmp_path / f"mode-{each}", each)
        printed = service.run(WORK[0], WORK[1], WORK[4], WORK[5], pool="solo")
        notes = (service.folder / "notes").read_text(encoding="utf-8").splitlines()
        # The shop's notes and the worker's come as the machine lets them.
        told.append((clean(printed), by_task(notes)))

    assert told[0] == told[1]
    assert any("retries 1 7" in line for line in told[0][1]["retries"])


def clean(text: str) -> str:
    """What was printed, without identifiers."""
    return "\n".join(line.strip() for line in text.splitlines())


def by_task(notes: list[str]) -> dict[str, list[str]]:
    """What was received in each process about each task, in its order."""
    found: dict[str, list[str]] = {}
    for line in notes:
        role, name, task, *_ = line.split(" ", 3)
        kind = "publish" if "publish" in name else task
        key = name if name == "retries" else f"{role} {kind} {task}"
        found.setdefault(key, []).append(line)
    return found


@needs_fork
@pytest.mark.service
def test_a_task_whose_process_dies_has_failed(tmp_path: Path) -> None:
    """Its visit is lost with the process; the parent tells of one that has failed."""
    service = Service(tmp_path, "alone")
    service.run("die.delay()", "late.delay()")

    assert service.visits() == [
        ("failed", "billiard.exceptions.WorkerLostError", "INTERNAL"),
        ("failed", "billiard.exceptions.SoftTimeLimitExceeded", "INTERNAL"),
    ]


@needs_fork
@pytest.mark.service
def test_processes_that_are_replaced_lose_nothing(tmp_path: Path) -> None:
    """With max_tasks_per_child each process sends its spans before it goes."""
    service = Service(tmp_path, "child")
    service.run(*["add.delay(1, 2)"] * 4, options=("--max-tasks-per-child", "1"))

    assert service.visits() == [("completed", None, "CONSUMER")] * 4


@needs_fork
@pytest.mark.parametrize("pool", ["solo", "threads", "gevent", "eventlet"])
@pytest.mark.service
def test_other_pools(tmp_path: Path, pool: str) -> None:
    """Tasks in threads, in greenlets and in the worker itself are visits as well."""
    if pool in ("gevent", "eventlet"):
        pytest.importorskip(pool, reason=f"{pool} is not installed")
    service = Service(tmp_path, "alone")
    service.run("add.delay(1, 2)", "group(add.s(1, 1), add.s(2, 2))()", "fail.delay()", pool=pool)

    assert sorted(service.visits()) == [
        *[("completed", None, "INTERNAL")] * 3,
        ("failed", "ValueError", "INTERNAL"),
    ]
    assert {span.attributes.get("cx.journey.id") for span in service.spans()} == {"j1"}


@needs_fork
@pytest.mark.service
def test_what_beat_sends_has_no_customer(tmp_path: Path) -> None:
    """A task that nobody called is the company's: a visit without customer and journey."""
    service = Service(tmp_path, "alone")
    beat = service.start("beat", "-m", "celery", "-A", "app", "beat", "-l", "ERROR")
    try:
        while not list((tmp_path / "queue").glob("*.msg")):
            assert beat.poll() is None
            time.sleep(0.05)
        service.run("add.delay(1, 2)")
    finally:
        beat.terminate()
        beat.wait(30)

    nobody = [s for s in service.spans() if "cx.journey.id" not in s.attributes]
    assert len(nobody) >= 1
    assert {span.attributes.get("enduser.pseudo.id") for span in nobody} == {None}
    assert {span.attributes["cx.touchpoint.outcome"] for span in nobody} == {"completed"}
    assert {span.parent_id for span in nobody} == {None}
