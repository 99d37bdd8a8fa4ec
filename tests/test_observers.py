"""Functions that are told of friction: in a thread of their own, where they can harm nobody."""

import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from contextvars import ContextVar, copy_context
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import NonRecordingSpan, get_current_span

import cxtrace
from cxtrace import (
    _guard,
    _observers,
    current_context,
    current_touchpoint,
    customer,
    identify,
    interaction,
    journey,
    touchpoint,
)
from cxtrace._measures import Friction
from cxtrace.logs import ContextFilter
from cxtrace.testing import capture
from tests.conftest import Capture, Clock, Meters
from tests.test_fork import FORK, run
from tests.test_interrupted import interrupted

LONG = 60.0
_of_the_host: ContextVar[object] = ContextVar("of_the_host", default=None)


def drained() -> bool:
    """Whether all has been told, once there was more than enough time for it."""
    return _observers.drain(LONG)


def suffer(times: int = 1) -> None:
    """Hinder a customer."""
    with touchpoint("a") as tp:
        for _ in range(times):
            tp.friction("slow")


class Stuck:
    """A hook that does not return until it is let go."""

    def __init__(self) -> None:
        self.told: list[Friction] = []
        self.begun = threading.Event()
        self.may_go_on = threading.Event()

    def __call__(self, friction: Friction) -> None:
        self.told.append(friction)
        self.begun.set()
        self.may_go_on.wait(LONG)


@pytest.fixture(autouse=True)
def line() -> Iterator[Any]:
    """Give each test a line of its own, and let go of its thread in the end."""
    before, made = _observers._line, _observers._Line()
    _observers._line = made
    yield made
    _observers._line = before
    for told in list(made.waiting) or [_last()]:
        getattr(told.hook, "may_go_on", threading.Event()).set()
    if made._worker.has_begun:
        made.put(_last())
        made._worker.wait(monotonic() + LONG)
        assert made._worker.is_over


def _last() -> Any:
    place = cxtrace.context.Place("a")
    where = _observers.Whereabouts(
        place, None, None, cxtrace.context.Identity(), get_current_span().get_span_context()
    )
    return _observers._Told(lambda _: None, None, where)


def hooks() -> set[threading.Thread]:
    """The threads that tell hooks."""
    return {each for each in threading.enumerate() if each.name == "cxtrace_observers"}


# When and where


def test_a_hook_is_told_elsewhere_and_in_order(cx: Capture) -> None:
    """All that is found is told, in its order, and not by the thread that has found it."""
    told: list[tuple[str, str]] = []
    cx.use(on_friction=lambda found: told.append((found.type, threading.current_thread().name)))
    with touchpoint("a") as tp:
        for kind in ("slow", "error", "backtrack"):
            tp.friction(kind)

    assert drained()
    assert told == [(kind, "cxtrace_observers") for kind in ("slow", "error", "backtrack")]


def test_nobody_waits_for_a_hook_that_does_not_return(
    cx: Capture, meters: Meters, caplog: pytest.LogCaptureFixture
) -> None:
    """It costs one thread; what comes past a bound is dropped, counted, and named once."""
    hook, before = Stuck(), hooks()
    cx.use(on_friction=hook)
    suffer(_observers.MAX_WAITING + 100)

    assert len(hooks() - before) == 1
    assert _observers.waiting() == _observers.MAX_WAITING
    assert _guard.counts() == {"on_friction.dropped": 100}
    assert [value for _, value in meters.values("cx.touchpoint.frictions")] == [
        _observers.MAX_WAITING + 100
    ]
    assert caplog.text.count("on_friction is slower") == 1

    hook.may_go_on.set()

    assert drained()
    assert len(hook.told) == _observers.MAX_WAITING


def test_nothing_is_kept_where_there_is_no_hook(cx: Capture, line: Any) -> None:
    """Without a hook no thread begins and nothing waits."""
    suffer()

    assert (line._worker.has_begun, _observers.waiting(), line.done) == (False, 0, 0)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_a_hook_raises_ends_with_it(
    cx: Capture, kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises is counted, named once without its text, and the next one is told."""

    def hook(friction: Friction) -> None:
        raise kind("secret")

    cx.use(on_friction=hook)
    suffer(2)

    assert drained()
    assert _guard.counts() == {"errors.on_friction": 2}
    assert kind.__name__ in caplog.text
    assert "secret" not in caplog.text


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_each_thread_is_heard_in_its_order(numbers: list[int]) -> None:
    """However many threads tell at once, all is told, and that of each one in its order."""
    told: list[Any] = []
    where = _last().where

    def work(me: int, number: int) -> None:
        for each in range(number):
            _observers.tell(told.append, (me, each), where)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(numbers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert drained()
    for me, number in enumerate(numbers):
        assert [each for who, each in told if who == me] == list(range(number))


# What it can see


def test_a_hook_is_told_at_the_touchpoint(cx: Capture, clock: Clock) -> None:
    """It knows journey, customer, touchpoint, interaction and span, as they were."""
    found: list[Any] = []

    def hook(_: Friction) -> None:
        here = current_context()
        assert here is not None
        record = logging.makeLogRecord({})
        ContextFilter().filter(record)
        found.append((here, get_current_span(), record.__dict__["cx_touchpoint_name"]))

    cx.use(on_friction=hook)
    known = customer("A", consent="granted")
    pay = touchpoint("pay", stage="purchase", owner="shop")
    with journey("order", id="o-1", route="direct"), known, pay as tp, interaction("type"):
        tp.friction("slow")

    assert drained()
    ((here, span, logged),) = found
    assert here.journey[:3] == ("order", "o-1", "direct")
    assert here.place[:3] == ("pay", "purchase", "shop")
    assert here.interaction == "type"
    assert here.identity.pseudonym == cx.pseudonym("A")
    assert logged == "pay"
    assert span.get_span_context() == tp.span.get_span_context()
    assert type(span) is NonRecordingSpan


def test_nothing_that_a_hook_finds_is_alive(cx: Capture) -> None:
    """What it says of the customer or the touchpoint reaches neither."""

    def hook(_: Friction) -> None:
        identify("B")
        current_touchpoint().fail("told")
        cxtrace.friction("error")
        get_current_span().set_attribute("told", True)

    cx.use(on_friction=hook)
    with customer("A", consent="granted"), touchpoint("a") as tp:
        tp.friction("slow")
        assert drained()

    assert _guard.counts() == {"signal.outside_of_touchpoint": 1}
    assert cx.outcome("a") == "completed"
    assert cx.tags("a")["enduser.pseudo.id"] == cx.pseudonym("A")
    assert "told" not in cx.tags("a")
    assert len(cx.events("cx.friction")) == 1


def test_a_hook_is_not_told_of_itself(cx: Capture) -> None:
    """Friction at a touchpoint of its own is sent, in the same trace; but it is not told of it."""
    told: list[Friction] = []

    def hook(found: Friction) -> None:
        told.append(found)
        with touchpoint("alert") as tp:
            tp.friction("error")

    cx.use(on_friction=hook)
    with journey("order", id="o-1"):
        suffer(2)

    assert drained()
    assert [found.touchpoint for found in told] == ["a", "a"]
    assert [event["cx.touchpoint.name"] for event in cx.events("cx.friction")].count("alert") == 2
    assert _guard.counts() == {"on_friction.within_itself": 2}
    alert = next(span for span in cx.spans if span.name == "alert")
    assert alert.parent == cx.span("a").context
    assert (alert.attributes or {})["cx.journey.id"] == "o-1"


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
def test_who_refuses_is_nobody_to_a_hook(cx: Capture, consent: Any) -> None:
    """Of a customer who refuses it gets neither the pseudonym nor the id of the journey."""
    found: list[Any] = []
    cx.use(on_friction=lambda _: found.append(current_context()))
    with journey("order", id="o-1"), customer("A", consent=consent):
        suffer()
    with journey("order", id="o-1"):
        suffer()

    assert drained()
    assert [(here.journey.name, here.journey.id) for here in found] == [("order", "")] * 2
    assert [here.identity.pseudonym for here in found] == [None, None]


def test_what_waits_keeps_no_request_alive(cx: Capture) -> None:
    """While a hook does not return, what waits for it holds nothing of the host's requests."""
    hook = Stuck()
    cx.use(on_friction=hook)

    class Body:
        pass

    def request() -> Any:
        body = Body()
        _of_the_host.set(body)
        suffer()
        return weakref.ref(body)

    bodies = [copy_context().run(request) for _ in range(3)]
    gc.collect()

    assert _observers.waiting() == 3
    assert [body() for body in bodies] == [None] * 3
    hook.may_go_on.set()
    assert drained()


def test_variables_of_the_request_are_not_there(cx: Capture) -> None:
    """A connection that a request keeps in a variable is not used by two threads at once."""
    found: list[object] = []
    cx.use(on_friction=lambda _: found.append(_of_the_host.get()))

    def request() -> None:
        _of_the_host.set("a connection")
        suffer()

    copy_context().run(request)

    assert drained()
    assert found == [None]


# To wait for it


def test_to_wait_has_an_end() -> None:
    """Waiting for a hook that does not return ends with its time, and says so."""
    hook = Stuck()
    _observers.tell(hook, None, _last().where)

    assert _observers.drain(0.0) is False
    assert _observers.drain(0.05) is False

    hook.may_go_on.set()

    assert drained()
    assert _observers.waiting() == 0


def test_what_comes_later_is_not_waited_for() -> None:
    """Under steady friction one waits for what there was, and not for all that is to come."""
    where, first, later = _last().where, Stuck(), Stuck()

    def hook(friction: Friction) -> None:
        first(friction)
        _observers._line.put(_observers._Told(later, None, where))

    _observers.tell(hook, None, where)
    first.may_go_on.set()

    assert drained()
    assert _observers.waiting() == 1
    later.may_go_on.set()


def test_a_thread_that_cannot_begin(cx: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process can have no more threads, it waits for the next try, and nobody hangs."""
    told: list[Friction] = []

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    cx.use(on_friction=told.append)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        suffer()

        assert _observers.drain(LONG) is False
        assert _guard.counts() == {"errors.observers": 2}

    suffer()

    assert drained()
    assert len(told) == 2


def test_what_interrupts_may_tell_too(cx: Capture) -> None:
    """A signal handler or a finaliser that finds friction while we tell of some is heard too."""
    told: list[object] = []
    where, busy = _last().where, threading.local()

    def handler() -> None:
        if not getattr(busy, "is_so", False):
            busy.is_so = True
            _observers.tell(told.append, "handler", where)
            busy.is_so = False

    times = interrupted(lambda: _observers.tell(told.append, "work", where), handler)

    assert drained()
    assert times > 3
    assert sorted(map(str, told)) == ["handler"] * times + ["work"]


# Forks


def test_what_waits_is_the_parents_to_tell(tmp_path: Any) -> None:
    """A child tells what it finds itself, and nothing that its parent has found."""
    _printed, spans = run(  # type: ignore[no-untyped-call]
        tmp_path,
        FORK
        + """
from cxtrace import _observers, _runtime
told, go_on = [], threading.Event()

def hook(found):
    told.append(found.type)
    go_on.wait(80)

_runtime.current.on_friction = hook

def suffer(kind):
    with touchpoint("t") as tp:
        tp.friction(kind)

suffer("slow")
suffer("error")

def work():
    assert _observers.waiting() == 0
    told.clear()
    go_on.set()
    suffer("backtrack")
    assert _observers.drain(60)
    assert told == ["backtrack"], told

in_child(work)
assert _observers.waiting() == 2
go_on.set()
assert _observers.drain(60)
assert told == ["slow", "error"], told
""",
    )

    assert len(spans) == 3


def test_a_hook_may_fork(line: Any) -> None:
    """In a child that a hook has forked, its thread does not go on with what is the parent's."""
    told: list[str] = []

    def hook(fact: Any) -> None:
        told.append(fact)
        _observers._after_fork()

    for fact in ("first", "second"):
        line.put(_observers._Told(hook, fact, _last().where))
    line._worker.wait(monotonic() + LONG)

    assert told == ["first"]
    assert (line.done, _observers.waiting()) == (1, 0)


# In tests


def test_a_capture_tells_at_once() -> None:
    """In a test the hook has been told when the call returns, in the same thread."""
    told: list[Any] = []

    def hook(found: Friction) -> None:
        here = current_context()
        told.append((found.type, here and here.place, threading.current_thread()))
        with touchpoint("alert") as tp:
            tp.friction("error")

    with capture(on_friction=hook) as cx, touchpoint("a") as tp:
        here = current_context()
        tp.friction("slow")
        assert told == [("slow", tp.place, threading.current_thread())]
        assert current_context() is here

    assert cx.counts == {"on_friction.within_itself": 1}


def test_what_a_hook_raises_in_a_test() -> None:
    """An error is counted, as elsewhere; what ends a test ends it."""
    errors: Any = iter([ValueError("secret"), KeyboardInterrupt()])

    def hook(_: Friction) -> None:
        raise next(errors)

    with capture(on_friction=hook) as cx, touchpoint("a") as tp:
        tp.friction("slow")
        assert cx.counts == {"errors.on_friction": 1}
        with pytest.raises(KeyboardInterrupt):
            tp.friction("slow")
