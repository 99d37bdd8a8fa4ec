"""The one value in OpenTelemetry's context: it comes, it goes, and nothing else changes."""

import asyncio
import contextvars
import gc
import random
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import baggage
from opentelemetry.context import Context, attach, create_key, detach, get_current, set_value
from opentelemetry.trace import get_current_span, set_span_in_context

import cxtrace
from cxtrace import (
    current_context,
    current_touchpoint,
    customer,
    interaction,
    journey,
    touchpoint,
)
from cxtrace._handles import SpanHandle
from cxtrace._scope import RequestScope
from cxtrace.attributes import TAGS
from cxtrace.context import KEY, CXContext, Identity, Journey, Place

HOSTS = create_key("hosts")
MANY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class FlewOutError(Exception):
    pass


NOUNS = {
    "touchpoint": touchpoint("shared"),
    "interaction": interaction("shared"),
    "journey": journey("shared"),
    "customer": customer("shared"),
}
ENDINGS = [None, FlewOutError, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit]

trees = st.recursive(
    st.builds(
        lambda noun, form, ending: (noun, form, ending, []),
        st.sampled_from(sorted(NOUNS)),
        st.sampled_from(["with", "call", "generator", "left"]),
        st.sampled_from(ENDINGS),
    ),
    lambda children: st.tuples(
        st.sampled_from(sorted(NOUNS)),
        st.sampled_from(["with", "call", "generator", "left"]),
        st.sampled_from(ENDINGS),
        st.lists(children, max_size=3),
    ),
    max_leaves=8,
)


def grow(tree):
    """Open the block of a tree, grow its children in it, and leave it as the tree says."""
    noun, form, ending, children = tree
    block = NOUNS[noun]
    before = get_current()

    def body():
        for child in children:
            grow(child)
        if ending is not None:
            raise ending

    def stream():
        yield 1
        body()
        yield 2

    try:
        if form == "with":
            with block:
                body()
        elif form == "call":
            block(body)()
        elif form == "generator":
            list(block(stream)())
        else:
            items = block(stream)()
            next(items)
            assert get_current() is before
            body()
    except BaseException as error:
        assert type(error) is ending  # noqa: PT017  whatever the tree threw
    assert get_current() is before


def spans_of(tree):
    """How many spans a tree makes."""
    noun, _, _, children = tree
    return (noun in ("touchpoint", "interaction")) + sum(map(spans_of, children))


@MANY
@given(trees)
def test_any_nesting(cx, tree):
    """After any nesting, with any exceptions, the context is back and each span ended once."""
    cx.exporter.clear()

    grow(tree)
    gc.collect(0)

    ended = [span.context.span_id for span in cx.spans]
    assert len(ended) == len(set(ended)) == spans_of(tree)


moves = st.lists(
    st.tuples(st.sampled_from(["open", "close", "host"]), st.integers(0, 9)), max_size=25
)


@MANY
@given(moves)
def test_any_order_of_closing(cx, moves):
    """Blocks closed in any order end once each, and leave the context as it was before."""
    cx.exporter.clear()
    before = get_current()
    kinds = list(NOUNS.values())
    opened, spans = [], 0

    for move, number in moves:
        if move == "open":
            opened.append(kinds[number % 4])
            spans += number % 4 < 2
            opened[-1].__enter__()
        elif move == "close" and opened:
            opened.pop(number % len(opened)).__exit__(None, None, None)
    while opened:
        opened.pop().__exit__(None, None, None)

    assert get_current() == before
    assert len({span.context.span_id for span in cx.spans}) == len(cx.spans) == spans


@MANY
@given(moves)
def test_what_the_host_attaches(cx, moves):
    """What the host attaches between our blocks outlives them, in any order; nothing ours does."""
    before = get_current()
    kinds = list(NOUNS.values())
    opened, expected = [], {}

    for move, number in moves:
        if move == "open":
            opened.append(kinds[number % 4])
            opened[-1].__enter__()
        elif move == "host":
            expected[f"k{number}"] = number
            attach(set_value(f"k{number}", number))
        elif opened:
            opened.pop().__exit__(None, None, None)
    while opened:
        opened.pop().__exit__(None, None, None)

    left = dict(get_current())
    attach(before)
    assert left == {**before, **expected}


def test_host_context_survives(cx):
    """What the host leaves attached inside of a block is there after it; our keys are not."""
    before = get_current()

    @touchpoint("a")
    def login():
        attach(set_value(HOSTS, "user"))
        attach(baggage.set_baggage("tenant", "t1"))

    login()

    assert get_current()[HOSTS] == "user"
    assert baggage.get_baggage("tenant") == "t1"
    assert current_context() is None
    assert not get_current_span().get_span_context().is_valid
    attach(before)


def test_host_span_survives(cx):
    """A span that the host makes current in a block, and leaves so, is current after it."""
    before = get_current()
    with touchpoint("a"):
        span = cx.tracer.start_span("kept")
        attach(set_span_in_context(span))

    assert get_current_span() is span
    assert current_context() is None
    span.end()
    attach(before)


def test_host_context_inside_of_a_parent(cx):
    """A block inside of others gives the outer one back, under what the host has attached."""
    with touchpoint("outer") as outer:
        before = get_current()
        with touchpoint("inner"):
            attach(set_value(HOSTS, 1))
        assert current_touchpoint() is outer
        assert get_current_span() is outer.span
        assert get_current()[HOSTS] == 1
        attach(before)


def test_host_attaches_a_context_of_its_own(cx):
    """A context that the host has attached instead of ours is left alone."""
    before = get_current()
    with touchpoint("a") as handle:
        mine = Context({HOSTS: 1})
        attach(mine)

    assert get_current() is mine
    assert handle.ended
    attach(before)


def test_host_detaches_in_order(cx):
    """A host that attaches and detaches in a block, as it should, finds all as it was."""
    with touchpoint("a"):
        inside = get_current()
        token = attach(set_value(HOSTS, 1))
        with interaction("b"):
            pass
        detach(token)
        assert get_current() is inside


def test_closed_in_another_order(cx):
    """An outer block that is closed first does not come back when the inner one is closed."""
    before = get_current()
    outer, inner = touchpoint("outer"), touchpoint("inner")
    outer.__enter__()
    handle = inner.__enter__()
    outer.__exit__(None, None, None)
    assert current_touchpoint() is handle
    inner.__exit__(None, None, None)

    assert cx.names == ["outer", "inner"]
    assert get_current() is before


@pytest.mark.parametrize("noun", sorted(NOUNS))
def test_closed_elsewhere(cx, noun):
    """A block closed in another thread or task ends there, and changes nothing there."""
    before = get_current()
    seen = []

    def close():
        there = get_current()
        NOUNS[noun].__exit__(None, None, None)
        seen.append(get_current() is there)

    NOUNS[noun].__enter__()
    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    NOUNS[noun].__enter__()
    contextvars.Context().run(close)

    assert seen == [True, True]
    assert len(cx.spans) == (2 if noun in ("touchpoint", "interaction") else 0)
    attach(before)


def test_tasks_that_interleave(cx):
    """Many tasks that open blocks at the same time see their own only, cancelled or not."""
    luck = random.Random(7)

    async def visit(number):
        before = get_current()
        try:
            async with journey("j", id=f"walk-{number}"), touchpoint(f"t{number}"):
                for _ in range(3):
                    await asyncio.sleep(luck.random() / 200)
                    async with interaction("i"):
                        await asyncio.sleep(luck.random() / 200)
                        assert current_context().journey.id == f"walk-{number}"
        finally:
            assert get_current() is before

    async def main():
        tasks = [asyncio.create_task(visit(number)) for number in range(30)]
        await asyncio.sleep(0.005)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())

    outcomes = [s.attributes["cx.touchpoint.outcome"] for s in cx.spans if s.name != "i"]
    assert len(outcomes) == 30
    assert outcomes.count("abandoned") == 10
    for span in cx.spans:
        assert (
            span.attributes["cx.journey.id"] == f"walk-{span.attributes['cx.touchpoint.name'][1:]}"
        )


def test_a_job_that_schedules_itself(cx):
    """A job that schedules its successor inside of its touchpoint does not keep all that went."""
    block = touchpoint("job")
    context = contextvars.copy_context()

    def job():
        with block:
            return contextvars.copy_context()

    for _ in range(300):
        context = context.run(job)
        cx.exporter.clear()
    gc.collect()

    assert sum(isinstance(found, SpanHandle) for found in gc.get_objects()) < 20


def test_overlapping_blocks(cx):
    """Blocks that overlap for ever do not keep all that went."""
    before = get_current()
    first = touchpoint("a")
    first.__enter__()
    for _ in range(300):
        second = touchpoint("a")
        second.__enter__()
        first.__exit__(None, None, None)
        first = second
        cx.exporter.clear()
    gc.collect()
    alive = sum(isinstance(found, SpanHandle) for found in gc.get_objects())
    first.__exit__(None, None, None)

    assert alive < 20
    assert get_current() is before


def test_memory(cx):
    """Very many touchpoints leave no garbage, and nothing in the scope of their request."""

    @touchpoint("a")
    def work():
        pass

    many = 100_000 if cx.path == "lean" else 20_000
    with journey("j"), customer("c"):
        scope = current_context().scope
        for _ in range(200):
            work()
        cx.exporter.clear()
        cx.provider._active_span_processor._span_processors = (cx.stamp,)
        gc.collect()
        gc.disable()
        try:
            before = len(gc.get_objects())
            for _ in range(many):
                work()
            grown = len(gc.get_objects()) - before
            assert gc.collect() == 0
        finally:
            gc.enable()

    assert grown < 50
    assert not scope._open
    assert not scope._touchpoints
    assert not cx.stamp._watched


# The value itself


def test_nothing_outside():
    """Outside of any block there is no context of ours."""
    assert current_context() is None
    assert KEY not in get_current()


def test_what_it_says(cx):
    """The context tells journey, place, interaction and identity."""
    around = journey("j", id="w"), customer("A", consent="granted")
    with around[0], around[1], touchpoint("t", stage="s", owner="o"), interaction("i"):
        found = current_context()

    assert found.journey == Journey("j", "w", state=found.journey.state)
    assert found.place == Place("t", "s", "o")
    assert found.interaction == "i"
    assert found.identity.consent == "granted"
    assert found.tags() == {
        "cx.journey.name": "j",
        "cx.journey.id": "w",
        "cx.touchpoint.name": "t",
        "cx.stage.name": "s",
        "cx.owner.function": "o",
        "enduser.pseudo.id": cx.pseudonym("A"),
    }


def test_empty_tags():
    """A context that knows nothing tags nothing."""
    assert CXContext(RequestScope(Identity())).tags() == {}


def test_all_tags():
    """Where everything is known, the tags are those that the list of names has."""
    known = Journey("j", "w"), Place("p", "s", "o")

    assert CXContext(RequestScope(Identity(pseudonym="v1.x")), *known).tags().keys() == set(TAGS)


def test_identity_tags():
    """A pseudonym is a tag only where consent allows it, and so is the name of its key."""
    open_, closed = (
        Identity(pseudonym="v1.x", key_id="k", linkable=linkable) for linkable in (True, False)
    )

    assert open_.tags == {"enduser.pseudo.id": "v1.x"}
    assert open_.details["cx.customer.key_id"] == "k"
    assert closed.tags == {}
    assert closed.details == {"cx.consent.state": "unknown"}


def test_journey_without_an_id():
    """A calling service that may not tell the journey's id still tells its name."""
    assert Journey("j", "").linked == {"cx.journey.name": "j"}


def test_facts_are_frozen():
    """What is known cannot be changed, only replaced."""
    for fact in (Identity(), Journey("j", "x"), Place("p"), CXContext(RequestScope(Identity()))):
        with pytest.raises(AttributeError):
            fact.anything = 1


def test_scope_is_not_shown():
    """The repr of a context shows no identity and no spans."""
    context = CXContext(RequestScope(Identity(pseudonym="v1.x")), Journey("j", "x"))

    assert "v1.x" not in repr(context)


def test_origin_is_taken_once():
    """The caller's span that was not continued is handed out once."""
    scope = RequestScope(Identity())
    scope.origin = marker = object()

    assert [scope.take_origin(), scope.take_origin()] == [marker, None]


def test_report_is_empty(cx):
    """All that these tests do by the book is counted nowhere as an error."""
    with journey("j"), customer("A"), touchpoint("t"), interaction("i"):
        pass

    assert dict(cxtrace.report().counts) == {}
