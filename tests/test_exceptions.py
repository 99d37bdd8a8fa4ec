"""Exceptions: nothing but the class unless asked for, and then never what a customer typed."""

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import cxtrace
from cxtrace import _deadline, _exceptions, _guard, interaction, touchpoint
from cxtrace._blockers import is_personal
from cxtrace._exceptions import MOST_CHARACTERS, MOST_FRAMES, MOST_OF_A_STACK, told
from tests.conftest import Capture, Clock, Records

JANE = "no account for jane@example.com, card 4111 1111 1111 1111"
SCRUBBED = "no account for <email>, card <card>"


@pytest.fixture(autouse=True)
def unhurried(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No exception was slow so far, and a slow machine is no reason to give up."""
    monkeypatch.setattr(_exceptions, "_slow", {})
    monkeypatch.setattr(_exceptions, "_places", _exceptions._all_places())
    monkeypatch.setattr(_exceptions, "PATIENCE", 30.0)


def raised(error: BaseException) -> BaseException:
    """The exception with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def fails() -> None:
    """Fail, with what a customer has typed."""
    raise ValueError(JANE)


@touchpoint("pay")
def pay() -> None:
    """Fail in a function."""
    fails()


@touchpoint("pay")
async def pay_later() -> None:
    """Fail in a coroutine."""
    fails()


@touchpoint("pay")
def pay_in_steps() -> Iterator[int]:
    """Fail in a generator."""
    yield 1
    fails()


@touchpoint("pay")
async def pay_in_steps_later() -> Any:
    """Fail in an async generator."""
    yield 1
    fails()


def pay_with() -> None:
    """Fail in a block."""
    with touchpoint("pay"):
        fails()


async def all_of(steps: Any) -> list[Any]:
    """What an async generator yields."""
    return [step async for step in steps]


FORMS = {
    "function": pay,
    "coroutine": lambda: asyncio.run(pay_later()),
    "generator": lambda: list(pay_in_steps()),
    "async generator": lambda: asyncio.run(all_of(pay_in_steps_later())),
    "with": pay_with,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_by_default_only_the_class_is_recorded(cx: Capture, form: Any) -> None:
    """Without the setting there is no event, and no text anywhere."""
    with pytest.raises(ValueError, match="jane"):
        form()
    span = cx.span("pay")

    assert span.events == ()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert cx.tags("pay")["error.type"] == "ValueError"
    assert "jane" not in span.to_json()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_scrubbed_text_and_stack(cx: Capture, form: Any) -> None:
    """Text without what is somebody's, and the places without lines of code, are recorded."""
    cx.use(record_exceptions="scrubbed")
    with pytest.raises(ValueError, match="jane"):
        form()
    event = cx.event("exception")
    lines = event["exception.stacktrace"].splitlines()

    assert (event["exception.type"], event["exception.message"]) == ("ValueError", SCRUBBED)
    assert set(event) == {"exception.type", "exception.message", "exception.stacktrace"}
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2].endswith(", in fails")
    assert lines[-1] == f"ValueError: {SCRUBBED}"
    assert all(line.startswith('  File "') for line in lines[1:-1])
    assert "raise ValueError" not in event["exception.stacktrace"]
    assert "jane" not in cx.span("pay").to_json()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_full_is_what_opentelemetry_records(cx: Capture, form: Any) -> None:
    """Asked for in full, text and stack are those that OpenTelemetry's own span records."""
    cx.use(record_exceptions="full")
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.raises(ValueError, match="jane") as caught:
        form()
    with provider.get_tracer("theirs").start_as_current_span("pay") as span:
        span.record_exception(caught.value)
    (event,) = exporter.get_finished_spans()[0].events
    theirs = dict(event.attributes or {})
    ours = cx.event("exception")

    for name in ("exception.type", "exception.message"):
        assert ours[name] == theirs[name]
    assert (
        ours["exception.stacktrace"].splitlines()[-3:]
        == (str(theirs["exception.stacktrace"]).splitlines()[-3:])
    )


def test_every_span_that_failed_has_the_exception(cx: Capture) -> None:
    """A micro-interaction and the touchpoint around it both record what flew through them."""
    cx.use(record_exceptions="scrubbed")
    with (
        pytest.raises(ValueError, match="jane"),
        cxtrace.journey("first_order"),
        touchpoint("pay"),
        interaction("enter_card"),
    ):
        fails()

    assert len(cx.events("exception", "pay")) == len(cx.events("exception", "enter_card")) == 1


def test_the_span_of_a_server_has_it_too(cx: Capture) -> None:
    """A touchpoint that is the server's span records the exception on that."""
    cx.use(record_exceptions="scrubbed")
    with (
        pytest.raises(ValueError, match="jane"),
        cx.tracer.start_as_current_span(
            "GET /", kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ),
        touchpoint("pay", attach=True),
    ):
        fails()

    assert cx.event("exception")["exception.message"] == SCRUBBED


def test_what_is_no_failure_is_not_recorded(cx: Capture) -> None:
    """A customer who leaves, a cancellation, and a failure without exception make no event."""
    cx.use(record_exceptions="full")
    with touchpoint("a") as handle:
        handle.fail("card_declined")
    with pytest.raises(KeyboardInterrupt), touchpoint("b"):
        raise KeyboardInterrupt
    with suppress(ValueError), touchpoint("c") as handle:
        handle.outcome("abandoned")
        fails()

    assert cx.events("exception") == []


def test_a_reason_and_an_exception_are_both_told(cx: Capture) -> None:
    """Where the code has given a reason, it stays the error type, and the event has the class."""
    cx.use(record_exceptions="scrubbed")
    with suppress(ValueError), touchpoint("pay") as handle:
        handle.fail("card_declined")
        fails()

    assert cx.tags("pay")["error.type"] == "card_declined"
    assert cx.event("exception")["exception.type"] == "ValueError"


@pytest.mark.parametrize("wanted", ["span", "log", "both"])
def test_an_exception_stays_on_its_span(cx: Capture, records: Records, wanted: Any) -> None:
    """It is no signal: `event_signal` does not send its text where `scrub` does not reach."""
    cx.use(record_exceptions="scrubbed", event_signal=wanted)
    with pytest.raises(ValueError, match="jane"):
        pay()

    assert cx.event("exception")["exception.message"] == SCRUBBED
    assert records.named("exception") == []


def test_what_cannot_be_recorded_does_not_keep_the_span(
    cx: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours on the way is swallowed, and the span ends as it would."""
    cx.use(record_exceptions="full")
    monkeypatch.setattr(_exceptions, "told", lambda *_: 1 / 0)
    with pytest.raises(ValueError, match="jane"):
        pay()

    assert cx.tags("pay")["error.type"] == "ValueError"
    assert _guard.counts()["errors.exception"] == 1


# Causes


def test_causes_are_told_from_the_first_to_the_last() -> None:
    """The stack has the causes as Python shows them, each scrubbed."""
    try:
        try:
            fails()
        except ValueError as error:
            raise KeyError("jane@example.com") from error
    except KeyError as caught:
        stack = told(caught, "scrubbed")["exception.stacktrace"]

    assert stack.index(f"ValueError: {SCRUBBED}") < stack.index("KeyError: '<email>'")
    assert "direct cause of the following exception" in stack


def test_what_went_before_is_told_unless_it_is_hidden() -> None:
    """An exception in a handler names what it handled; ``from None`` hides that."""
    stacks = []
    for hide in (False, True):
        try:
            try:
                fails()
            except ValueError:
                if hide:
                    raise RuntimeError("late") from None
                raise RuntimeError("late")  # noqa: B904
        except RuntimeError as caught:
            stacks.append(told(caught, "scrubbed")["exception.stacktrace"])

    assert "During handling of the above exception" in stacks[0]
    assert "During" not in stacks[1]
    assert "ValueError" not in stacks[1]


def test_causes_that_go_in_circles_end() -> None:
    """An exception that is its own cause, or has very many, is told and no more."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    many: BaseException = ValueError("0")
    for number in range(1, 100):
        each = ValueError(str(number))
        each.__cause__ = many
        many = each

    assert told(one, "scrubbed")["exception.stacktrace"].count("ValueError: ") == 2
    assert told(many, "scrubbed")["exception.stacktrace"].count("ValueError: ") == 8


# Exceptions that hurt


class RudeError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError(JANE)


class EndlessError(Exception):
    """Its text comes when the event that it is made with lets it."""

    def __str__(self) -> str:
        self.args[0].wait(60)
        return JANE


def who_asks() -> set[threading.Thread]:
    """The threads that wait for a text."""
    return {thread for thread in threading.enumerate() if thread.name == "cxtraceexception"}


class MadeError(Exception):
    """Its text is made by its own code."""

    def __str__(self) -> str:
        return f"made: {self.args[0]}"


class Sub(str):
    """Text that is more than text."""

    __slots__ = ()

    def __getitem__(self, at: Any) -> str:
        return "raw"


@pytest.mark.parametrize("how", ["scrubbed", "full"])
def test_an_exception_without_text_has_a_class(how: Any) -> None:
    """An exception whose text raises is told by its class, and the error is counted."""
    found = told(raised(RudeError()), how)

    assert found["exception.type"] == f"{__name__}.RudeError"
    assert found["exception.message"] == ""
    assert "jane" not in str(found)
    assert _guard.counts()["errors.exception"] >= 1


@pytest.mark.parametrize("how", ["scrubbed", "full"])
def test_an_exception_that_keeps_us_waiting_is_left(
    how: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits long for a text, and no other of the class is asked."""
    monkeypatch.setattr(_exceptions, "PATIENCE", 0.001)
    release, before = threading.Event(), who_asks()
    found = [told(raised(EndlessError(release)), how) for _ in range(3)]
    asked = who_asks() - before
    release.set()

    assert found == 3 * [{"exception.type": f"{__name__}.EndlessError"}]
    assert len(asked) == 1
    assert _guard.counts()["exception.without_text"] == 3


def test_one_that_keeps_us_waiting_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the text of one exception does not come, another's is there at once."""
    release = threading.Event()
    monkeypatch.setattr(_exceptions, "PATIENCE", 0.001)
    told(raised(EndlessError(release)), "scrubbed")
    monkeypatch.setattr(_exceptions, "PATIENCE", 60.0)
    waiter = threading.Timer(30.0, release.set)
    waiter.start()
    found = told(raised(MadeError("x")), "scrubbed")

    assert not release.is_set()
    assert found["exception.message"] == "made: x"
    waiter.cancel()
    release.set()


def test_only_few_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While as many texts are awaited as may be, another exception is told by its class."""
    for _ in range(4):
        _exceptions._places.get()
    assert "exception.message" not in told(raised(MadeError("x")), "scrubbed")
    _exceptions._places.put(None)
    assert told(raised(MadeError("x")), "scrubbed")["exception.message"] == "made: x"


def test_who_could_not_be_asked_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started there is no text, and once there can, there is."""
    with monkeypatch.context() as full:
        full.setattr(_deadline, "_start", lambda *_: False)
        found = [told(raised(MadeError("x")), "full") for _ in range(5)]

    assert [each for each in found if "exception.message" in each] == []
    assert told(raised(MadeError("x")), "full")["exception.message"] == "made: x"


def test_a_class_that_kept_us_waiting_is_asked_again_after_a_minute(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment in which the machine was busy takes no texts for good."""
    release = threading.Event()
    with monkeypatch.context() as hasty:
        hasty.setattr(_exceptions, "PATIENCE", 0.001)
        told(raised(EndlessError(release)), "scrubbed")
    release.set()
    clock.tick(59)
    assert "exception.message" not in told(raised(EndlessError(release)), "scrubbed")
    clock.tick(2)

    assert "exception.message" in told(raised(EndlessError(release)), "scrubbed")


def test_classes_that_kept_us_waiting_are_not_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of a class that was made at run time."""
    monkeypatch.setattr(_exceptions, "PATIENCE", 0.001)
    release, before = threading.Event(), who_asks()
    kind = type("Made", (EndlessError,), {})
    told(raised(kind(release)), "scrubbed")
    remembered = len(_exceptions._slow)
    release.set()
    for thread in who_asks() - before:
        thread.join(60)
    del kind
    gc.collect()

    assert (remembered, len(_exceptions._slow)) == (1, 0)


def test_causes_that_are_far_away_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full stack has every cause; those that nobody has looked at are asked in a thread."""
    asked_by: list[threading.Thread] = []
    tell = EndlessError.__str__
    monkeypatch.setattr(
        EndlessError,
        "__str__",
        lambda self: asked_by.append(threading.current_thread()) or tell(self),
    )
    release = threading.Event()
    release.set()
    last: BaseException = EndlessError(release)
    for number in range(20):
        each = ValueError(str(number))
        each.__cause__ = last
        last = each

    assert "ValueError: 0\n" in told(raised(last), "full")["exception.stacktrace"]
    assert asked_by
    assert threading.current_thread() not in asked_by


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MadeError(JANE), f"made: {SCRUBBED}"),
        (ValueError(Sub(JANE)), SCRUBBED),
        (ValueError("a", 1), "('a', 1)"),
        (ValueError(), ""),
        (KeyError(JANE), f"'{SCRUBBED}'"),
        (FileNotFoundError(2, "No such file", "/home of/jane@example.com"), None),
        (OSError(2, "No such file", MadeError("x")), None),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, JANE), None),
        (ValueError("\ud800"), "?"),
        (ValueError(10**5000), ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_texts_of_all_kinds(error: Exception, message: str | None) -> None:
    """Whatever makes the text of an exception, it is scrubbed and can be encoded."""
    found = told(raised(error), "scrubbed")

    assert message in (None, found["exception.message"])
    assert "jane" not in str(found)
    assert all(text.encode() or not text for text in found.values())


def test_notes_are_recorded_in_full_only() -> None:
    """What was noted on an exception stands in the full stack, and not in the scrubbed one."""
    error = raised(ValueError("text"))
    error.__notes__ = ["a note"]  # type: ignore[attr-defined]

    assert "a note" not in told(error, "scrubbed")["exception.stacktrace"]
    if sys.version_info >= (3, 11):
        assert "a note" in told(error, "full")["exception.stacktrace"]


@pytest.mark.parametrize("how", ["scrubbed", "full"])
def test_a_huge_text_is_cut(how: Any) -> None:
    """Text and stack of any length become short, and no half of an address is left."""
    for text in ("x" * 10_000_000, "jane@example.com " * 1_000_000):
        found = told(raised(ValueError(text)), how)

        assert len(found["exception.message"]) <= MOST_CHARACTERS + 10
        assert len(found["exception.stacktrace"]) <= MOST_OF_A_STACK + 1
        assert how == "full" or "jane" not in str(found)


def test_a_deep_stack_is_cut_at_its_far_end() -> None:
    """Of a recursion the frames next to the failure are told."""

    def deep(level: int) -> None:
        if not level:
            fails()
        deep(level - 1)

    with pytest.raises(ValueError, match="jane") as caught:
        deep(500)
    lines = told(caught.value, "scrubbed")["exception.stacktrace"].splitlines()

    assert len(lines) == MOST_FRAMES + 2
    assert lines[-2].endswith("in fails")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters() | st.sampled_from("0123456789@. +"), max_size=80))
def test_no_text_gets_past(text: str) -> None:
    """Whatever the text, nothing that is somebody's stands in what is recorded."""
    found = told(raised(ValueError(text)), "scrubbed")

    assert is_personal(found["exception.message"]) is None


def test_after_a_fork_all_places_are_free() -> None:
    """What is awaited in a parent is not awaited in its child."""
    taken = _exceptions._places
    _exceptions._after_fork()

    assert _exceptions._places is not taken


def test_a_forked_child_asks_again() -> None:
    """A child is not kept from asking by what its parent was waiting for."""
    script = (
        "import os, sys\n"
        "from cxtrace import _exceptions as e\n"
        "class Made(Exception):\n"
        "    def __str__(self): return 'made'\n"
        "for _ in range(4): e._places.get()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    e.PATIENCE = 30\n"
        "    os._exit(0 if e.told(Made(), 'scrubbed').get('exception.message') == 'made' else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=False)

    assert done.returncode == 0
