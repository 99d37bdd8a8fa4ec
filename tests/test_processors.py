"""Stamping: every span under a touchpoint gets the six tags, and the host never notices."""

import logging
import threading

import pytest
from opentelemetry.context import Context, attach, get_current
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import INVALID_SPAN, SpanKind, get_current_span, set_span_in_context

import cxtrace
from cxtrace import customer, identify, journey, touchpoint
from cxtrace.context import KEY
from cxtrace.processors import StampProcessor

SIX = {
    "cx.journey.name",
    "cx.journey.id",
    "cx.stage.name",
    "cx.touchpoint.name",
    "cx.owner.function",
    "enduser.pseudo.id",
}


class Around:
    """A journey, a customer and a touchpoint."""

    def __enter__(self):
        self._blocks = [
            journey("j", id="w"),
            customer("A", consent="granted", kind="person"),
            touchpoint("t", stage="s", owner="o"),
        ]
        return [block.__enter__() for block in self._blocks][-1]

    def __exit__(self, *error):
        for block in reversed(self._blocks):
            block.__exit__(*error)


def test_the_six_tags(cx):
    """A span of anyone under a touchpoint gets the six tags, and nothing more."""
    select = cx.tracer.start_as_current_span("SELECT", attributes={"db.system": "sqlite"})
    get = cx.provider.get_tracer("http").start_as_current_span("GET", kind=SpanKind.CLIENT)
    with Around(), select, get:
        pass

    assert set(cx.tags("SELECT")) == {*SIX, "db.system"}
    assert set(cx.tags("GET")) == SIX
    assert cx.tags("GET")["enduser.pseudo.id"] == cx.pseudonym("A")


def test_own_tags_stay(cx):
    """A span that has one of the keys keeps its own."""
    own = {"cx.stage.name": "mine", "enduser.pseudo.id": "mine"}
    with Around(), cx.tracer.start_as_current_span("SELECT", attributes=own):
        pass

    tags = cx.tags("SELECT")
    assert (tags["cx.stage.name"], tags["enduser.pseudo.id"]) == ("mine", "mine")
    assert set(tags) == SIX


def test_outside(cx):
    """A span outside of any block gets nothing."""
    with cx.tracer.start_as_current_span("SELECT"):
        pass
    with Around():
        cx.tracer.start_span("other", context=Context()).end()

    assert cx.tags("SELECT") == cx.tags("other") == {}


def test_explicit_context(cx):
    """A span that is started with a context of a block gets the tags of that block."""
    with Around():
        inside = get_current()
    cx.tracer.start_span("later", context=inside).end()

    assert set(cx.tags("later")) == SIX


def test_without_a_touchpoint(cx):
    """Under a journey alone a span gets the journey."""
    with journey("j", id="w"), cx.tracer.start_as_current_span("SELECT"):
        pass

    assert cx.tags("SELECT") == {"cx.journey.name": "j", "cx.journey.id": "w"}


class Broken(SpanProcessor):
    """A processor of somebody else's that raises."""

    def __init__(self, method):
        setattr(self, method, self._raise)

    def _raise(self, *args, **kwargs):
        raise OSError("Ada Lovelace")


@pytest.mark.parametrize("method", ["on_start", "_on_ending", "on_end"])
@pytest.mark.parametrize("use", ["with", "call", "generator"])
def test_broken_processor_of_others(cx, caplog, method, use):
    """A processor of others that raises does not break a touchpoint, and is counted."""
    cx.provider.add_span_processor(Broken(method))

    @touchpoint("a")
    def call():
        return 5

    @touchpoint("a")
    def stream():
        yield 5

    if use == "with":
        with touchpoint("a"):
            got = 5
    else:
        got = call() if use == "call" else next(iter(list(stream())))

    assert got == 5
    assert sum(cxtrace.report().counts.values()) >= 1
    assert "Ada" not in caplog.text


def test_on_ending_that_raises_costs_no_span(cx):
    """A processor of others that raises while a touchpoint ends does not lose the span."""
    if cx.path == "sdk":
        pytest.skip("the SDK's own span stops at the first processor that raises")
    cx.provider.add_span_processor(Broken("_on_ending"))
    with touchpoint("a"):
        pass

    assert cx.names == ["a"]


GARBAGE = [None, 5, "x", object(), INVALID_SPAN, ReadableSpan("x")]


@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
def test_garbage(forgetful, garbage):
    """Whatever our processor is handed, it does not raise."""
    stamp = StampProcessor()
    with Around():
        inside = get_current()
    for context in (None, Context(), inside, Context({KEY: 5}), garbage):
        stamp.on_start(garbage, context)
    stamp.on_end(garbage)
    stamp.on_end(garbage)

    assert stamp.force_flush()
    assert stamp.shutdown() is None


def test_garbage_in_the_context(cx):
    """A value of somebody else's under our key is swallowed and counted."""
    before = get_current()
    attach(Context({KEY: "garbage"}))
    with cx.tracer.start_as_current_span("SELECT"):
        pass
    attach(before)

    assert cx.names == ["SELECT"]
    assert cxtrace.report().counts == {"errors.stamp.on_start": 1}


def test_watched_spans_are_bounded(cx, monkeypatch):
    """Very many open spans are stamped all the same; what late identity misses is counted."""
    monkeypatch.setattr("cxtrace.processors.MAX_WATCHED", 2)
    with journey("j"):
        spans = [cx.tracer.start_span(f"s{number}") for number in range(4)]
        identify("A")
        for span in spans:
            span.end()

    assert all("cx.journey.name" in span.attributes for span in cx.spans)
    assert sum("enduser.pseudo.id" in span.attributes for span in cx.spans) == 2
    assert cxtrace.report().counts["scope.spans_not_remembered"] == 2
    assert not cx.stamp._watched


def test_span_that_ends_in_another_context(cx):
    """A span that ends elsewhere, as those of clients do, is forgotten all the same."""
    with Around():
        scope = cxtrace.current_context().scope
        span = cx.tracer.start_span("GET")
    thread = threading.Thread(target=span.end)
    thread.start()
    thread.join()

    assert not cx.stamp._watched
    assert not scope._open


def test_processor_that_sees_the_tags(cx):
    """A processor of others that stands after ours sees the tags when a span starts."""
    seen = []

    class Reader(SpanProcessor):
        def on_start(self, span, parent_context=None):
            seen.append(set(span.attributes))

    cx.provider.add_span_processor(Reader())
    with Around(), cx.tracer.start_as_current_span("SELECT"):
        pass

    assert all(tags >= SIX for tags in seen)
    assert len(seen) == 2


def test_span_of_another_provider_is_current(cx):
    """A touchpoint under a span of another provider is its child, and its tags reach ours only."""
    other = TracerProvider(shutdown_on_exit=False)
    with other.get_tracer("x").start_as_current_span("foreign") as foreign, touchpoint("a"):
        identify("A")

    assert cx.span("a").parent.span_id == foreign.get_span_context().span_id


def test_no_words_at_debug_level(cx, caplog):
    """In the normal course of things nothing is logged."""
    caplog.set_level(logging.DEBUG)
    with Around(), cx.tracer.start_as_current_span("SELECT"):
        identify("B")

    assert [record for record in caplog.records if record.name.startswith("cxtrace")] == []


def test_current_span_is_no_span(cx):
    """Something in the place of the current span that is none does not break a touchpoint."""
    before = get_current()
    attach(set_span_in_context("not a span"))
    with touchpoint("a"):
        recorded = get_current_span().is_recording()
    attach(before)

    assert recorded
    assert cx.names == ["a"]
