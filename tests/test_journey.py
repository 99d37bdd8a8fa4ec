"""``journey()``, ``customer()`` and ``identify()``: who is on the way through what."""

import asyncio
import contextvars
import random
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import propagate
from opentelemetry.context import attach, detach, get_current
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import cxtrace
from cxtrace import (
    ContextThreadPoolExecutor,
    _guard,
    _runtime,
    current_context,
    customer,
    identify,
    interaction,
    journey,
    touchpoint,
    wrap,
)
from cxtrace.journey_map import JourneyMap
from cxtrace.propagation import CXPropagator

PSEUDONYM = "enduser.pseudo.id"
STRANGER = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}


@pytest.fixture
def propagator():
    """Install the propagators that ``configure`` installs, for as long as the test runs."""
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(
        CompositePropagator([TraceContextTextMapPropagator(), CXPropagator()])
    )
    yield
    propagate.set_global_textmap(before)


class Request:
    """What a server's instrumentation does around a handler."""

    def __init__(self, cx, name="GET /", carrier=None):
        self._cx, self._name, self._carrier = cx, name, carrier or {}

    def __enter__(self):
        self._token = attach(propagate.extract(self._carrier))
        self._span = self._cx.tracer.start_as_current_span(self._name, kind=SpanKind.SERVER)
        return self._span.__enter__()

    def __exit__(self, *error):
        self._span.__exit__(*error)
        detach(self._token)


def counts():
    """What has been refused and swallowed so far."""
    return dict(cxtrace.report().counts)


def warnings(caplog):
    """What cxtrace has written to the log."""
    return [r.getMessage() for r in caplog.records if r.name.startswith("cxtrace")]


# Journeys


def test_a_journey_gets_an_id(cx):
    """A journey without an id draws one at random."""
    with journey("first_order") as first:
        pass
    with journey("first_order") as second:
        pass

    assert first.name == "first_order"
    assert re.fullmatch("[0-9a-f]{32}", first.id)
    assert first.id != second.id


def test_a_journey_goes_on(cx):
    """Inside a journey of the same name the journey goes on; another name begins another one."""
    with journey("first_order", route="express") as outer:
        with journey("first_order") as same, touchpoint("a"):
            pass
        with journey("win_back") as other, touchpoint("b"):
            pass
        with journey("first_order", id="walk-2") as given, touchpoint("c"):
            pass
        with journey("first_order", route="slow"), touchpoint("d"):
            pass

    assert outer.id == same.id == cx.tags("a")["cx.journey.id"] == cx.tags("d")["cx.journey.id"]
    assert other.id not in (outer.id, None)
    assert given.id == "walk-2"
    routes = [cx.tags(name).get("cx.journey.route") for name in "abcd"]
    assert routes == ["express", None, None, "slow"]


def test_journey_makes_no_span(cx):
    """Neither a journey nor a customer is a span."""
    with journey("j"), customer("c"):
        pass

    assert cx.spans == []


def test_journey_id_that_is_personal(cx):
    """An id that could be a person's address or number is sent as a keyed hash, the same again."""
    for given in (
        "ada@example.com",
        "+49 170 1234567",
        "01701234567",
        "a\nb",
        "x" * 65,
        "ä",
        "a b",
    ):
        with journey("j", id=given) as handle:
            assert given not in handle.id
        with journey("j", id=given) as again:
            assert again.id == handle.id


@pytest.mark.parametrize("given", ["", 5, ["a"], b"a", object()])
def test_wrong_journey_id(cx, given):
    """An id that is no text is counted, and the journey gets one of its own."""
    with journey("j", id=given) as handle, touchpoint("a"):
        pass

    assert re.fullmatch("[0-9a-f]{32}", handle.id)
    assert cx.tags("a")["cx.journey.id"] == handle.id
    assert counts()["refused.journey_id"] == 1


@pytest.mark.parametrize("name", ["", None, 5, ["a"], "x" * 65, "\ud800"])
def test_wrong_journey_name_and_route(cx, name):
    """A name or route that cannot be sent is replaced, or left out, never raised."""
    with journey(name, route=name), touchpoint("a"):
        pass

    assert cx.tags("a")["cx.journey.name"] == "invalid_name"
    assert cx.tags("a").get("cx.journey.route") in (None, "invalid_name")


def test_unknown_journey(cx, caplog):
    """A journey that the map does not have is counted and named once."""
    text = 'schema = "cxtrace.map/1"\nname = "shop"\nversion = "1"\n[[journey]]\nname = "known"\n'
    cx.use(journey_map=JourneyMap.loads(text))
    for name in ("known", "other", "other"):
        with journey(name):
            pass

    (warning,) = warnings(caplog)
    assert "'other'" in warning
    assert counts()["journey.not_in_map"] == 2


def test_journey_as_decorator(cx):
    """A decorated function is a walk of its own each time."""

    @journey("j")
    @touchpoint("a")
    def walk():
        return current_context().journey.id

    assert walk() != walk()
    assert len({span.attributes["cx.journey.id"] for span in cx.spans}) == 2


def test_nothing_can_be_opened(cx, monkeypatch):
    """An error of ours costs the block, never the call; the handle is still good to read."""
    monkeypatch.setattr("cxtrace._journey.outermost", None)
    with journey("j") as walk, customer("c") as who:
        assert current_context() is None
        assert (walk.name, who.pseudonym) == ("j", None)
    identify("x")

    assert counts() == {
        "errors.journey": 1,
        "errors.customer": 1,
        "errors.identify": 1,
        "identify.outside_of_request": 1,
    }


# Customers


def test_customer(cx):
    """A customer's id becomes a pseudonym at once; nothing of ours holds or shows it."""
    block = customer("lovelace@example.com", segment="smb")
    with block as handle, touchpoint("a"):
        assert handle.pseudonym == cx.pseudonym("lovelace@example.com")
        assert "lovelace" not in repr(current_context())
        assert "lovelace" not in repr(handle)

    assert "lovelace" not in repr(block)
    assert "lovelace" not in cx.span("a").to_json()


def test_number_and_text_are_one_customer(cx):
    """The number 42 and the text 42 are the same customer."""
    with customer(42) as number, customer("42") as text:
        pass

    assert number.pseudonym == text.pseudonym


@pytest.mark.parametrize("given", ["", True, 1.5, b"x", ["x"], object()])
def test_wrong_customer_id(cx, caplog, given):
    """An id that is neither text nor a number is counted; the customer has no pseudonym."""
    with customer("A"):
        for _ in range(2):
            with customer(given, kind="person") as handle, touchpoint("a"):
                pass

    assert handle.pseudonym is None
    assert PSEUDONYM not in cx.spans[0].attributes
    assert counts()["refused.customer_id"] == 2
    assert len(warnings(caplog)) == 1


def test_customer_of_whom_nothing_is_known(cx):
    """A block for nobody in particular has no pseudonym, not even that of the block around it."""
    with customer("A"), customer(None, kind="anonymous") as handle, touchpoint("a"):
        pass

    assert handle.pseudonym is None
    assert PSEUDONYM not in cx.tags("a")
    assert cx.tags("a")["cx.customer.kind"] == "anonymous"
    assert counts() == {}


@pytest.mark.parametrize("argument", ["kind", "consent", "segment"])
@pytest.mark.parametrize("value", ["wrong\n", 5, ["x"], {}, b"x"])
def test_wrong_word_about_a_customer(cx, caplog, argument, value):
    """A wrong word is counted and warned about once; a consent that is none is no consent."""
    with customer("A"):
        for _ in range(2):
            with customer("B", **{argument: value}), touchpoint("b"):
                pass
        identify("B", **{argument: value})

    (tags, _) = (span.attributes for span in cx.spans)
    refused = argument == "consent"
    assert tags.get(PSEUDONYM) == (None if refused else cx.pseudonym("B"))
    assert tags["cx.consent.state"] == ("denied" if refused else "unknown")
    assert {"cx.customer.kind", "cx.customer.segment"}.isdisjoint(tags)
    assert counts()[f"refused.{argument}"] == 3
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("segment", ["smb", "Gold members", "a-b_c9"])
def test_segment(cx, segment):
    """A segment is a short word of the organisation's."""
    with customer("A", segment=segment), touchpoint("a"):
        pass

    assert cx.tags("a")["cx.customer.segment"] == segment


@pytest.mark.parametrize("segment", ["ada@example.com", "+49170", "x" * 65, ""])
def test_segment_that_is_personal(cx, segment):
    """A segment that could be something else is not sent."""
    with customer("A", segment=segment), touchpoint("a"):
        pass

    assert "cx.customer.segment" not in cx.tags("a")


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
def test_no_consent(cx, consent):
    """Without consent neither pseudonym nor journey id is sent; the rest is."""
    block = customer("A", kind="person", consent=consent)
    select = cx.tracer.start_as_current_span("SELECT")
    with journey("j"), block as who, touchpoint("a"), select:
        pass

    assert who.pseudonym is None
    assert cx.tags("a") == {
        "cx.touchpoint.name": "a",
        "cx.journey.name": "j",
        "cx.customer.kind": "person",
        "cx.consent.state": consent,
        "cx.touchpoint.outcome": "completed",
    }
    assert cx.tags("SELECT") == {"cx.touchpoint.name": "a", "cx.journey.name": "j"}


@pytest.mark.parametrize("consent", ["granted", "not_required", "unknown"])
def test_consent(cx, consent):
    """With consent, or where nobody asked and nobody must, the customer is tagged."""
    with journey("j"), customer("A", consent=consent), touchpoint("a"):
        pass

    assert {PSEUDONYM, "cx.journey.id"} <= set(cx.tags("a"))


def test_consent_required(cx):
    """Where consent is required, what is unknown counts as denied."""
    cx.use(consent_required=True)
    with journey("j"):
        with customer("A"), touchpoint("unknown"):
            pass
        with customer("A", consent="granted"), touchpoint("granted"):
            pass
        with touchpoint("nobody"):
            pass

    linked = [{PSEUDONYM, "cx.journey.id"} & set(span.attributes) for span in cx.spans]
    assert linked == [set(), {PSEUDONYM, "cx.journey.id"}, set()]


def test_nested_customers(cx):
    """An inner block is about another customer, and the outer one is back after it."""
    with customer("A", consent="granted"), touchpoint("a"):
        with customer("B") as inner, touchpoint("b"):
            assert inner.pseudonym == cx.pseudonym("B")
        with touchpoint("c"):
            pass

    assert [cx.tags(name)[PSEUDONYM] for name in "abc"] == [
        cx.pseudonym("A"),
        cx.pseudonym("B"),
        cx.pseudonym("A"),
    ]
    assert cx.tags("b")["cx.consent.state"] == "granted"


def test_denied_inside_of_granted(cx):
    """Nothing of the outer customer reaches the spans of one who said no."""
    outer = customer("A", consent="granted", kind="person", segment="smb")
    with journey("j"), outer, customer("B", consent="denied"), touchpoint("b"):
        pass

    assert cx.tags("b") == {
        "cx.touchpoint.name": "b",
        "cx.journey.name": "j",
        "cx.consent.state": "denied",
        "cx.touchpoint.outcome": "completed",
    }


def test_identify_inside_of_denied(cx):
    """A customer who said no is not named after somebody who logs in inside of the block."""
    with customer("A", consent="denied"):
        with touchpoint("outer"), customer("B", consent="granted"):
            identify("B")
        with touchpoint("later"):
            pass

    assert [PSEUDONYM in span.attributes for span in cx.spans] == [False, False]
    assert {span.attributes["cx.consent.state"] for span in cx.spans} == {"denied"}


@pytest.mark.parametrize("state", ["denied", "withdrawn"])
def test_withdrawn_while_spans_are_open(cx, state):
    """A consent that ends takes pseudonym and journey id off the touchpoints still open."""
    with journey("j"), customer("A", consent="granted"), touchpoint("a"):
        identify("A", consent=state)
        with touchpoint("b"):
            pass

    for name in "ab":
        tags = cx.tags(name)
        assert not {tags.get(PSEUDONYM), tags.get("cx.journey.id")} - {None, ""}
        assert tags["cx.consent.state"] == state


# Late identity


def test_identify(cx, propagator):
    """A late identity reaches root span, open children of others and open touchpoints."""
    handler = cx.tracer.start_as_current_span("handler")
    with Request(cx), touchpoint("outer"), handler, touchpoint("inner"), interaction("click"):
        identify("A", kind="person", segment="smb", consent="granted")
        with cx.tracer.start_as_current_span("SELECT"):
            pass

    assert {span.attributes[PSEUDONYM] for span in cx.spans} == {cx.pseudonym("A")}
    assert len(cx.spans) == 6
    for name in ("outer", "inner"):
        tags = cx.tags(name)
        found = [tags[f"cx.{what}"] for what in ("customer.kind", "customer.segment")]
        assert found == ["person", "smb"]
        assert tags["cx.consent.state"] == "granted"
    assert "cx.customer.kind" not in cx.tags("GET /")


def test_identify_leaves_ended_spans_alone(cx, propagator):
    """A late identity does not write to what has ended; OpenTelemetry has nothing to log."""
    with Request(cx):
        with touchpoint("before"), cx.tracer.start_as_current_span("SELECT"):
            pass
        identify("A")

    assert [PSEUDONYM in cx.tags(name) for name in ("before", "SELECT", "GET /")] == [
        False,
        False,
        True,
    ]


def test_identify_without_a_request(cx):
    """Outside of any request, identify() writes to the current span, and is counted."""
    with cx.tracer.start_as_current_span("work"):
        identify("A")
    identify("A")

    assert cx.tags("work")[PSEUDONYM] == cx.pseudonym("A")
    assert counts()["identify.outside_of_request"] == 2


def test_identify_without_a_server_span(cx):
    """Where nobody made a scope, the first block does, and adopts the span that is current."""
    with cx.tracer.start_as_current_span("work"), touchpoint("a"):
        identify("A")

    assert [span.attributes[PSEUDONYM] for span in cx.spans] == [cx.pseudonym("A")] * 2


def raw_thread(work):
    """Run work in a thread that carries the context."""
    thread = threading.Thread(target=wrap(work))
    thread.start()
    thread.join()


def pool(work):
    """Run work in a plain pool, wrapped."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(wrap(work)).result()


def context_pool(work):
    """Run work in our pool."""
    with ContextThreadPoolExecutor(1) as executor:
        executor.submit(work).result()


def context_pool_map(work):
    """Run work in our pool by ``map``."""
    with ContextThreadPoolExecutor(1) as executor:
        list(executor.map(lambda _: work(), [0]))


def run_in_executor(work):
    """Run work as an event loop does in a pool of ours."""

    async def main():
        with ContextThreadPoolExecutor(1) as executor:
            await asyncio.get_running_loop().run_in_executor(executor, work)

    asyncio.run(main())


def run_in_default_executor(work):
    """Run wrapped work as an event loop does in its own pool."""

    async def main():
        await asyncio.get_running_loop().run_in_executor(None, wrap(work))

    asyncio.run(main())


def to_thread(work):
    """Run work as ``asyncio.to_thread`` does."""
    asyncio.run(asyncio.to_thread(work))


def copied_context(work):
    """Run work in a copied context, as frameworks do with dependencies."""
    contextvars.copy_context().run(work)


def task(work):
    """Run work in a task of its own."""

    async def main():
        async def run():
            work()

        await asyncio.create_task(run())

    asyncio.run(main())


ELSEWHERE = [
    raw_thread,
    pool,
    context_pool,
    context_pool_map,
    run_in_executor,
    run_in_default_executor,
    to_thread,
    copied_context,
    task,
]


@pytest.mark.parametrize("elsewhere", ELSEWHERE, ids=lambda fn: fn.__name__)
def test_identify_elsewhere(cx, propagator, elsewhere):
    """A customer who becomes known in another thread, task or context is known to the request."""

    def find_out():
        with cx.tracer.start_as_current_span("lookup"):
            identify("A")

    with Request(cx), touchpoint("a"), cx.tracer.start_as_current_span("handler"):
        before = get_current()
        elsewhere(find_out)
        assert before is get_current()
        with touchpoint("after"):
            pass

    assert {span.attributes.get(PSEUDONYM) for span in cx.spans} == {cx.pseudonym("A")}
    assert len(cx.spans) == 5


def test_requests_never_mix(cx, propagator):
    """Requests that run at the same time in tasks and threads keep their customers apart."""
    luck = random.Random(5)

    async def handle(number):
        with Request(cx, f"GET /{number}"):
            await asyncio.sleep(luck.random() / 100)
            async with touchpoint(f"a-{number}"):
                await asyncio.sleep(luck.random() / 100)
                await asyncio.to_thread(identify, number)
                await asyncio.sleep(luck.random() / 100)
                with cx.tracer.start_as_current_span(f"SELECT {number}"):
                    pass

    async def main():
        await asyncio.gather(*map(handle, range(30)))

    def serve():
        asyncio.run(main())

    threads = [threading.Thread(target=serve) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(cx.spans) == 180
    for span in cx.spans:
        number = re.search("[0-9]+", span.name).group()
        assert span.attributes[PSEUDONYM] == cx.pseudonym(number)


def test_identify_twice(cx, propagator):
    """The last word about who the customer is counts, for the spans still open."""
    with Request(cx), touchpoint("a"):
        identify("A")
        with touchpoint("b"):
            pass
        identify("B")

    assert [span.attributes[PSEUDONYM] for span in cx.spans] == [
        cx.pseudonym("A"),
        cx.pseudonym("B"),
        cx.pseudonym("B"),
    ]


def test_identify_inside_of_a_customer_block(cx, propagator):
    """Who logs in inside of a block for a visitor is known to the whole request."""
    with Request(cx), customer("visitor-7", kind="anonymous", consent="granted"), touchpoint("a"):
        identify("A", kind="person")

    assert cx.tags("a")["cx.customer.kind"] == "person"
    assert [span.attributes[PSEUDONYM] for span in cx.spans] == [cx.pseudonym("A")] * 2


def test_identify_stays_inside_of_a_customer_block(cx):
    """Who becomes known inside of a block for another customer does not rename the outer one."""
    with customer("A"), touchpoint("a"), customer("B"), touchpoint("b"):
        identify("C")

    assert cx.tags("b")[PSEUDONYM] == cx.pseudonym("C")
    assert cx.tags("a")[PSEUDONYM] == cx.pseudonym("A")


def test_link_to_a_stranger(cx, propagator):
    """At a public endpoint the first touchpoint, of whatever block, links to the caller's span."""
    cx.use(public_endpoint=True)
    token = attach(propagate.extract(STRANGER))
    with customer("A"), touchpoint("a"), touchpoint("b"):
        pass
    detach(token)

    (link,) = cx.span("a").links
    assert (link.context.trace_id, link.context.is_remote) == (int("a" * 32, 16), True)
    assert cx.span("b").links == ()
    assert cx.span("a").parent is None


def test_remembers_a_bounded_number(cx, propagator, monkeypatch):
    """A request with very many open spans remembers some of them, and counts the others."""
    monkeypatch.setattr("cxtrace._scope.MAX_OPEN_SPANS", 3)
    with journey("j"):
        blocks = [touchpoint(f"t{number}") for number in range(4)]
        for block in blocks:
            block.__enter__()
        for block in reversed(blocks):
            block.__exit__(None, None, None)
    assert counts()["scope.spans_not_remembered"] >= 1
    cx.exporter.clear()
    _guard.reset()
    with Request(cx):
        spans = [cx.tracer.start_span(f"s{number}") for number in range(5)]
        identify("A")
        for span in spans:
            span.end()

    assert sum(PSEUDONYM in span.attributes for span in cx.spans) == 3
    assert counts()["scope.spans_not_remembered"] == 3


def test_no_key(forgetful, caplog, cx, monkeypatch):
    """Without a key, pseudonyms hold for this process; one warning says so."""
    monkeypatch.delenv("CXTRACE_KEY", raising=False)
    cx.use(key=None, pseudonymiser=None)
    for name in ("a", "b"):
        with customer("A"), touchpoint(name):
            pass

    assert cx.tags("a")["cx.customer.key_id"] == "ephemeral"
    assert cx.tags("a")[PSEUDONYM] == cx.tags("b")[PSEUDONYM]
    assert len(warnings(caplog)) == 1
    assert cxtrace.report().key_id == "ephemeral"


def test_key_is_drawn_once(cx, monkeypatch):
    """Many threads that need a key at the same time get the same one."""
    monkeypatch.delenv("CXTRACE_KEY", raising=False)
    cx.use(key=None, pseudonymiser=None)
    barrier = threading.Barrier(8)
    found = []

    def work():
        barrier.wait()
        found.append((_runtime.key(), _runtime.pseudonymiser()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len({id(key) for key, _ in found}) == 1


def test_key_from_the_environment(cx, monkeypatch, caplog):
    """The key is read where ``configure`` was not called; one that is too short is not used."""
    monkeypatch.setenv("CXTRACE_KEY", "s" * 32)
    cx.use(key=None, pseudonymiser=None)
    with customer("A"), touchpoint("a"):
        pass
    monkeypatch.setenv("CXTRACE_KEY", "short")
    cx.use(key=None, pseudonymiser=None)
    with customer("A"), touchpoint("b"):
        pass

    assert cx.tags("a")["cx.customer.key_id"] not in ("ephemeral", None)
    assert cx.tags("b")["cx.customer.key_id"] == "ephemeral"
    assert counts()["errors.key"] == 1


def test_own_pseudonymiser(cx):
    """A pseudonymiser of the host's is used, and one that raises costs no more than the block."""

    class Pseudonymiser:
        key_id = "vault-1"

        def pseudonym(self, customer_id):
            return {"A": "tok_1"}[customer_id]

    cx.use(pseudonymiser=Pseudonymiser())
    with customer("A"), touchpoint("a"):
        pass
    with customer("A"), customer("B"), touchpoint("b"):
        pass

    assert (cx.tags("a")[PSEUDONYM], cx.tags("a")["cx.customer.key_id"]) == ("tok_1", "vault-1")
    assert cx.tags("b").get(PSEUDONYM) is None
    assert sum(counts().values()) >= 1
