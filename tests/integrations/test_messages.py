"""Messages: the work on one is a touchpoint, and journeys go on over brokers of every kind."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import attach, detach, get_current, set_value
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import cxtrace
from cxtrace import JourneyMap, current_context, current_touchpoint
from cxtrace.exporters import RecordedSpan, read_spans
from cxtrace.integrations import messages
from cxtrace.integrations.messages import carrying, consuming
from cxtrace.propagation import CXPropagator
from cxtrace.testing import Capture, capture
from tests.integrations.brokers import kafka, rabbitmq

MAP = """
schema = "cxtrace.map/1"
name = "shop"
functions = { sales = {} }

[request]
customer = [
  { cookie = "c" }, { query = "c" }, { session = "c" }, { user = "c" }, { claim = "c" },
  { header = "X-Customer-Id" },
]

[[stage]]
name = "delivery"
phase = "customer"

[[touchpoint]]
name = "checkout.pay"
stage = "delivery"
owner = "sales"

[[touchpoint]]
name = "order.pack"
stage = "delivery"
owner = "sales"
match = [{ consume = "orders" }, { consume = "returns" }]

[[journey]]
name = "first_order"
goal = "order.pack"
"""


@pytest.fixture
def cx() -> Iterator[Capture]:
    """Capture what is sent, see that nothing of ours fails, and that the context is left alone."""
    propagator = propagate.get_global_textmap()
    parts = TraceContextTextMapPropagator(), W3CBaggagePropagator(), CXPropagator()
    propagate.set_global_textmap(CompositePropagator(parts))
    with capture(journey_map=JourneyMap.loads(MAP)) as captured:
        before = get_current()
        yield captured
        assert get_current() is before
    propagate.set_global_textmap(propagator)
    assert [name for name in captured.counts if name.startswith("errors.")] == []


def where() -> str:
    """The touchpoint that is current."""
    place = current_touchpoint().place
    return place.touchpoint if place else "nowhere"


def produced(headers: Any) -> Any:
    """Headers as a checkout sends them."""
    with (
        cxtrace.journey("first_order"),
        cxtrace.customer("cust-42"),
        cxtrace.touchpoint("checkout.pay"),
    ):
        return carrying(headers)


def pseudonyms(cx: Capture) -> list[Any]:
    """The customers of all visits of the consumer, in order."""
    return [
        (span.attributes or {}).get("enduser.pseudo.id")
        for span in cx.spans
        if (span.attributes or {}).get("cx.touchpoint.name") == "order.pack"
    ]


# What the customer lives through


def test_a_message_is_a_touchpoint(cx: Capture) -> None:
    """What is said in the block is said at the touchpoint, and it ends with the block."""
    with consuming("orders", {"X-Customer-Id": "cust-42"}) as visit:
        assert where() == "order.pack"
        cx.clock.advance(2)
        visit.friction("slow")

    found = cx.touchpoint("order.pack")
    assert (found.outcome, found.duration) == ("completed", pytest.approx(2))
    assert pseudonyms(cx) == [cx.pseudonym("cust-42")]
    assert len(cx.signals("friction")) == 1


def test_a_coroutine_consumes_in_the_same_way(cx: Capture) -> None:
    """``async with`` is the same, and two tasks have two customers."""
    seen = []

    async def work(customer: str) -> None:
        async with consuming("orders", [("X-Customer-Id", customer.encode())]):
            await asyncio.sleep(0)
            seen.append(where())

    async def main() -> None:
        await asyncio.gather(work("cust-1"), work("cust-2"))

    asyncio.run(main())

    assert seen == ["order.pack"] * 2
    assert sorted(pseudonyms(cx)) == sorted([cx.pseudonym("cust-1"), cx.pseudonym("cust-2")])


def test_an_exception_is_a_failure(cx: Capture) -> None:
    """It flies through, and its class is the error."""
    error = KeyError("jane")
    with pytest.raises(KeyError) as caught, consuming("orders"):
        raise error

    assert caught.value is error
    found = cx.touchpoint("order.pack")
    assert (found.outcome, found.error) == ("failed", "KeyError")


def test_a_task_that_is_cancelled_is_abandoned(cx: Capture) -> None:
    """A consumer that is stopped has not failed."""

    async def work() -> None:
        async with consuming("orders"):
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())

    found = cx.touchpoint("order.pack")
    assert (found.outcome, found.error) == ("abandoned", None)


def test_a_topic_that_the_map_does_not_know(cx: Capture) -> None:
    """The producer's journey goes on inside, and there is no touchpoint of it."""
    headers = produced({})
    with consuming("stock", headers) as visit:
        visit.friction("slow")
        context = current_context()

    assert context is not None
    assert context.journey is not None
    assert context.journey.name == "first_order"
    assert current_context() is None
    assert cx.visits("order.pack") == []


def test_without_a_map_the_journey_goes_on() -> None:
    """The line is in the code, so it does what can be done."""
    with capture():
        with consuming("orders", {"traceparent": f"00-{1:032x}-{2:016x}-01"}):
            seen = get_current_span().get_span_context().trace_id

        assert get_current_span().get_span_context().trace_id == 0
    assert seen == 1


def test_a_message_within_a_message(cx: Capture) -> None:
    """Of two blocks for one topic, the outer has the touchpoint; another topic is another visit."""
    with consuming("orders", {"X-Customer-Id": "cust-1"}) as outer:
        with consuming("orders", {"X-Customer-Id": "cust-2"}) as inner:
            assert inner is outer
        assert where() == "order.pack"
        with consuming("returns", {"X-Customer-Id": "cust-3"}):
            pass

    assert sorted(pseudonyms(cx)) == sorted([cx.pseudonym("cust-1"), cx.pseudonym("cust-3")])


def test_each_message_has_its_own_customer(cx: Capture) -> None:
    """Nothing of a message goes on to the next, nor of the block in which the loop runs."""
    with cxtrace.customer("owner-of-the-shop"):
        for customer in ("cust-1", None, "cust-2"):
            with consuming("orders", customer and {"X-Customer-Id": customer}):
                pass

    assert pseudonyms(cx) == [cx.pseudonym("cust-1"), None, cx.pseudonym("cust-2")]


def test_what_goes_wrong_in_ours_does_not_reach_the_host(
    cx: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block runs, and headers go out as they are."""

    def broken(*_: Any) -> Any:
        raise RuntimeError("jane")

    headers = [("shelf", b"upper")]
    monkeypatch.setattr(messages, "_told", broken)
    monkeypatch.setattr(messages, "_SETTER", None)
    with consuming("orders"):
        assert where() == "nowhere"
    assert produced(headers) is headers

    found = {name: count for name, count in cx.counts.items() if name.startswith("errors.")}
    assert found == {"errors.consuming": 1, "errors.carrying": 1}
    cxtrace._guard.reset()


def test_what_the_block_leaves_attached_is_gone(cx: Capture) -> None:
    """A consumer's loop goes on as it was, whatever the work on a message has left."""
    before = get_current()
    with consuming("orders", {"X-Customer-Id": "cust-1"}):
        attach(set_value("shelf", "upper"))

    assert get_current() is before


# Beside OpenTelemetry's instrumentations


def test_the_consumer_of_an_instrumentation_is_the_touchpoint(cx: Capture) -> None:
    """As those of pika and aio-pika do: context and CONSUMER span are there already."""
    headers = produced({})
    tracer = cx.tracer_provider.get_tracer("pika")
    token = attach(propagate.extract(headers))
    span = tracer.start_as_current_span("orders receive", kind=SpanKind.CONSUMER)
    with span, consuming("orders", headers):
        pass
    detach(token)

    sent, received = cx.spans[-2:]
    assert (received.name, sent.name) == ("orders receive", "checkout.pay")
    assert cx.touchpoint("order.pack").outcome == "completed"
    assert pseudonyms(cx) == [cx.pseudonym("cust-42")]
    assert received.parent is not None
    assert sent.context is not None
    assert received.parent.span_id == sent.context.span_id


def test_a_consumer_that_only_links(cx: Capture) -> None:
    """As that of confluent-kafka does: the span is there, and the journey is not."""
    headers = produced([])
    tracer = cx.tracer_provider.get_tracer("confluent")
    span = tracer.start_as_current_span("orders process", kind=SpanKind.CONSUMER)
    with span, consuming("orders", headers):
        pass

    assert [span.name for span in cx.spans] == ["checkout.pay", "orders process"]
    assert pseudonyms(cx) == [cx.pseudonym("cust-42")]
    assert cx.journey("first_order").route[-1] == "order.pack"


def test_a_consumer_of_a_batch(cx: Capture) -> None:
    """One CONSUMER span can be one touchpoint; the next messages have spans of their own in it."""
    tracer = cx.tracer_provider.get_tracer("confluent")
    with tracer.start_as_current_span("orders process", kind=SpanKind.CONSUMER) as batch:
        for customer in ("cust-1", "cust-2", "cust-3"):
            with consuming("orders", {"X-Customer-Id": customer}):
                pass

    own = [span for span in cx.spans if span.name == "order.pack"]
    assert len(cx.visits("order.pack")) == 3
    assert len(own) == 2
    assert {span.parent.span_id for span in own if span.parent} == {
        batch.get_span_context().span_id
    }


def test_a_consumer_within_another_span(cx: Capture) -> None:
    """A span of the worker's own is no consumer: the producer's trace goes on."""
    headers = produced({})
    work = cx.tracer_provider.get_tracer("worker").start_as_current_span("work")
    with work, consuming("orders", headers):
        pass

    sent, consumed = (s for s in cx.spans if s.name in ("checkout.pay", "order.pack"))
    assert consumed.context is not None
    assert sent.context is not None
    assert consumed.context.trace_id == sent.context.trace_id


def test_a_producer_writes_to_a_broker(cx: Capture) -> None:
    """Though its instrumentation says so too late, as that of kafka-python does."""
    told: dict[str, str] = {}
    tracer = cx.tracer_provider.get_tracer("kafka")
    with (
        cxtrace.touchpoint("checkout.pay"),
        tracer.start_as_current_span("orders send", kind=SpanKind.PRODUCER),
    ):
        propagate.inject(told)

    assert "cx.touchpoint.name=checkout.pay" in told["baggage"]


# Headers of all shapes

SHAPES: dict[str, tuple[Any, Callable[[dict[str, str]], Any]]] = {
    "kafka-python": ([("shelf", b"upper")], lambda told: list(told.items())),
    "aiokafka": ([], lambda told: tuple((key, value.encode()) for key, value in told.items())),
    "pika": ({"shelf": 7}, lambda told: told),
    "pika, bytes": ({}, lambda told: {key: value.encode() for key, value in told.items()}),
    "SQS": (
        {},
        lambda told: {k: {"DataType": "String", "StringValue": v} for k, v in told.items()},
    ),
    "AWS Lambda": ({}, lambda told: {k: {"stringValue": v} for k, v in told.items()}),
    "SNS": ({}, lambda told: {k: {"Type": "String", "Value": v} for k, v in told.items()}),
    "capitals": ({}, lambda told: {key.title(): value for key, value in told.items()}),
}


def text_of(headers: Any) -> dict[str, str]:
    """Headers, all as text."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in pairs if k != "shelf"}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_journey_goes_on_in_headers_of_any_shape(cx: Capture, shape: str) -> None:
    """Customer, journey and trace of the producer are those of the consumer."""
    empty, shaped = SHAPES[shape]
    with consuming("orders", shaped(text_of(produced(empty)))):
        pass

    sent, consumed = cx.spans
    assert consumed.context is not None
    assert sent.context is not None
    assert pseudonyms(cx) == [cx.pseudonym("cust-42")]
    assert cx.journey("first_order").route == ("checkout.pay", "order.pack")
    assert consumed.context.trace_id == sent.context.trace_id


def test_headers_are_copied(cx: Capture) -> None:
    """What is given stays as it is; what is sent on has the context of now, and each name once."""
    pairs, mapping = [("shelf", b"upper")], {"shelf": 7}
    first, second = produced(pairs), produced(mapping)
    again = produced(first)

    assert (pairs, mapping) == ([("shelf", b"upper")], {"shelf": 7})
    assert [key for key, _ in again] == ["shelf", "traceparent", "baggage"]
    assert all(isinstance(value, bytes) for _, value in first)
    assert second.keys() == {"shelf", "traceparent", "baggage"}
    assert dict(again)["traceparent"] != dict(first)["traceparent"]


def test_headers_of_nobody(cx: Capture) -> None:
    """Outside of any span and journey nothing is added."""
    assert carrying([]) == []
    assert carrying({"shelf": 7}) == {"shelf": 7}


NOISE = st.one_of(
    st.none(),
    st.dictionaries(st.text(), st.one_of(st.none(), st.integers(), st.binary(), st.text())),
    st.lists(st.tuples(st.text(), st.one_of(st.none(), st.binary()))),
    st.dictionaries(st.text(), st.dictionaries(st.just("StringValue"), st.binary())),
)


@given(NOISE)
def test_any_headers_can_be_read(headers: Any) -> None:
    """Whatever strangers put into headers, the block runs and the context is restored."""
    with capture(journey_map=JourneyMap.loads(MAP)) as cx:
        before = get_current()
        with consuming("orders", headers):
            assert where() == "order.pack"
        assert get_current() is before

    assert [name for name in cx.counts if name.startswith("errors.")] == []


def test_headers_have_keys() -> None:
    """Propagators that look for names of their own find those of text."""
    assert messages._GETTER.keys([("a", b"1"), ("b", None)]) == ["a"]


# pika, without a broker

DELIVERY = (
    SimpleNamespace(connection=SimpleNamespace(params=SimpleNamespace(host="mq", port=5672))),
    SimpleNamespace(exchange="", routing_key="orders"),
)


class Channel:
    """What stands in for pika's own channel: it keeps the callback."""

    def basic_consume(self, queue: str, on_message_callback: Any, auto_ack: bool = False) -> str:
        """As pika has it."""
        self.callback = on_message_callback
        return f"{queue} {auto_ack}"


def channel() -> Any:
    """A channel that is instrumented by us, twice."""
    module: Any = SimpleNamespace(BlockingChannel=type("BlockingChannel", (Channel,), {}))
    for _ in range(2):
        messages.instrument(module)
    return module.BlockingChannel()


@pytest.mark.parametrize("by_place", [False, True])
def test_a_callback_of_pika_is_a_touchpoint(cx: Capture, by_place: bool) -> None:
    """What the map binds is the name of the queue; the callback's answer goes back."""
    made, seen = channel(), []

    def callback(*what: Any) -> str:
        seen.append((where(), what))
        return "done"

    if by_place:
        assert made.basic_consume("orders", callback, True) == "orders True"
    else:
        assert made.basic_consume(queue="orders", on_message_callback=callback) == "orders False"
    properties = SimpleNamespace(headers=produced({}))
    what = (*DELIVERY, properties, b"jacket")

    assert made.callback(*what) == "done"
    assert seen == [("order.pack", what)]
    assert made.callback.__name__ == "callback"
    assert pseudonyms(cx) == [cx.pseudonym("cust-42")]


def test_callbacks_without_headers_or_map(cx: Capture) -> None:
    """Messages without headers are visits of nobody; without a map the callback is called as is."""
    made = channel()
    made.basic_consume("orders", lambda *what: where())

    assert made.callback(*DELIVERY, SimpleNamespace(headers=None), b"") == "order.pack"
    assert made.callback() == "order.pack"
    with capture():
        assert made.callback(*DELIVERY, SimpleNamespace(headers=None), b"") == "nowhere"


def test_properties_that_refuse_to_tell() -> None:
    """A message whose headers cannot be read is a visit of nobody."""

    class Properties:
        @property
        def headers(self) -> Any:
            raise ValueError

    made = channel()
    made.basic_consume("orders", lambda *what: where())
    with capture(journey_map=JourneyMap.loads(MAP)) as cx:
        assert made.callback(*DELIVERY, Properties(), b"") == "order.pack"

    assert cx.counts == {"errors.consuming": 1}


def test_what_is_no_callback_goes_to_pika(cx: Capture) -> None:
    """Wrong calls are refused by pika itself, in its own words."""
    made = channel()
    made.basic_consume("orders", None)
    assert made.callback is None
    made.basic_consume(7, print)
    assert made.callback is print
    with pytest.raises(TypeError, match="on_message_callback"):
        made.basic_consume("orders")


# Real brokers

CLIENTS = r"""
import asyncio, importlib, sys

client, mode, address, queue = sys.argv[1:]
import cxtrace
from cxtrace.integrations.messages import carrying, consuming

MODULES = {
    "pika": ("pika", "PikaInstrumentor"),
    "aio_pika": ("aio_pika", "AioPikaInstrumentor"),
    "kafka": ("kafka", "KafkaInstrumentor"),
    "confluent_kafka": ("confluent_kafka", "ConfluentKafkaInstrumentor"),
    "aiokafka": ("aiokafka", "AIOKafkaInstrumentor"),
}
cxtrace.configure(journey_map="map.toml", exporter="file:spans.jsonl", service_name="shop")
if mode == "instrumented":
    module, name = MODULES[client]
    module = importlib.import_module(f"opentelemetry.instrumentation.{module}")
    getattr(module, name)().instrument()


def ours(headers):
    return headers if mode == "instrumented" else carrying(headers)


def check():
    place = cxtrace.current_touchpoint().place
    assert place is not None and place.touchpoint == "order.pack", place


def shop():
    return (
        cxtrace.journey("first_order"),
        cxtrace.customer("cust-42", consent="granted"),
        cxtrace.touchpoint("checkout.pay"),
    )


def run_pika():
    import pika

    host, _, port = address.partition(":")
    connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port)))
    channel = connection.channel()
    channel.queue_declare("orders", auto_delete=True)
    a, b, c = shop()
    with a, b, c:
        properties = pika.BasicProperties(headers=ours({"shelf": 7}))
        channel.basic_publish("", "orders", b"jacket", properties)

    def consume(channel, method, properties, body):
        check()
        assert (body, properties.headers["shelf"]) == (b"jacket", 7)
        channel.basic_ack(method.delivery_tag)
        channel.stop_consuming()

    channel.basic_consume("orders", consume)
    channel.start_consuming()
    connection.close()


async def run_aio_pika():
    import aio_pika

    connection = await aio_pika.connect(f"amqp://guest:guest@{address}/")
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue("orders", auto_delete=True)
        a, b, c = shop()
        with a, b, c:
            message = aio_pika.Message(b"jacket", headers=ours({"shelf": 7}))
            await channel.default_exchange.publish(message, "orders")
        done = asyncio.Event()

        async def consume(message):
            async with message.process(), consuming("orders", message.headers):
                check()
                done.set()

        queue = await channel.get_queue("orders")
        await queue.consume(consume)
        await done.wait()
        await asyncio.sleep(0.1)


def run_kafka():
    import kafka

    producer = kafka.KafkaProducer(bootstrap_servers=address)
    a, b, c = shop()
    with a, b, c:
        producer.send(queue, b"jacket", headers=ours([("shelf", b"7")])).get(20)
    consumer = kafka.KafkaConsumer(
        queue, bootstrap_servers=address, auto_offset_reset="earliest", group_id=queue
    )
    record = next(consumer)
    with consuming("orders", record.headers):
        check()
    consumer.close()
    producer.close()


def run_confluent_kafka():
    import confluent_kafka

    producer = confluent_kafka.Producer({"bootstrap.servers": address})
    a, b, c = shop()
    with a, b, c:
        producer.produce(queue, b"jacket", headers=ours([("shelf", b"7")]))
    producer.flush(20)
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": address, "group.id": queue, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([queue])
    message = None
    while message is None or message.error():
        message = consumer.poll(1.0)
    with consuming("orders", message.headers()):
        check()
    consumer.close()


async def run_aiokafka():
    import aiokafka

    async with aiokafka.AIOKafkaProducer(bootstrap_servers=address) as producer:
        a, b, c = shop()
        with a, b, c:
            await producer.send_and_wait(queue, b"jacket", headers=ours([("shelf", b"7")]))
    consumer = aiokafka.AIOKafkaConsumer(
        queue, bootstrap_servers=address, auto_offset_reset="earliest", group_id=queue
    )
    async with consumer:
        record = await consumer.getone()
        async with consuming("orders", record.headers):
            check()


run = globals()[f"run_{client}"]
asyncio.run(run()) if asyncio.iscoroutinefunction(run) else run()
assert not [name for name in cxtrace.report().counts if name.startswith("errors.")]
assert cxtrace.shutdown()
"""


def crossed(folder: Path, client: str, mode: str, address: str) -> list[RecordedSpan]:
    """The spans of a process that sends a message over a broker, and consumes it."""
    pytest.importorskip(client, reason=f"{client} is not installed")
    if mode == "instrumented":
        pytest.importorskip(
            f"opentelemetry.instrumentation.{client}",
            reason=f"the instrumentation of {client} is not installed",
        )
    (folder / "clients.py").write_text(CLIENTS)
    (folder / "map.toml").write_text(MAP)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    subprocess.run(
        [sys.executable, "clients.py", client, mode, address, f"orders-{os.urandom(4).hex()}"],
        cwd=folder,
        env={**kept, "CXTRACE_KEY": "0123456789abcdef0123456789abcdef"},
        check=True,
        timeout=100,
    )
    return list(read_spans(folder / "spans.jsonl"))


def assert_a_journey_went_on(spans: list[RecordedSpan]) -> None:
    """Producer and consumer are two visits of one customer on one journey."""
    visits = [span for span in spans if "cx.touchpoint.outcome" in span.attributes]
    names = [span.attributes["cx.touchpoint.name"] for span in visits]
    assert sorted(names) == ["checkout.pay", "order.pack"]
    for key in ("enduser.pseudo.id", "cx.journey.id"):
        assert len({span.attributes[key] for span in visits}) == 1


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where RabbitMQ listens."""
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as port:
        yield f"127.0.0.1:{port}"


@pytest.mark.parametrize("mode", ["alone", "instrumented"])
@pytest.mark.parametrize("client", ["pika", "aio_pika"])
@pytest.mark.service
def test_a_journey_goes_on_over_rabbitmq(
    tmp_path: Path, rabbit: str, client: str, mode: str
) -> None:
    """With a real broker, with and without OpenTelemetry's instrumentation of the client."""
    assert_a_journey_went_on(crossed(tmp_path, client, mode, rabbit))


@pytest.mark.parametrize("mode", ["alone", "instrumented"])
@pytest.mark.parametrize("client", ["kafka", "confluent_kafka", "aiokafka"])
@pytest.mark.service
def test_a_journey_goes_on_over_kafka(tmp_path: Path, client: str, mode: str) -> None:
    """The same over Kafka."""
    assert_a_journey_went_on(crossed(tmp_path, client, mode, kafka()))
