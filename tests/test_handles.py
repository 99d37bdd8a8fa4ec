"""The handles of open touchpoints: outcomes, failures, attributes, and what they never do."""

import asyncio
import threading

import pytest
from opentelemetry.trace import INVALID_SPAN, StatusCode

import cxtrace
from cxtrace import _handles, current_touchpoint, interaction, touchpoint
from cxtrace._handles import NO_INTERACTION, NO_TOUCHPOINT
from cxtrace.journey_map import JourneyMap

MAP = JourneyMap.loads(
    'schema = "cxtrace.map/1"\nname = "shop"\nversion = "1"\ncontext = ["weather"]\n'
)
OUTCOMES = ("completed", "abandoned", "failed", "handed_off", "deferred")


class CardError(Exception):
    class InnerError(Exception):
        """An error whose name has a dot."""


def warnings(caplog):
    """What cxtrace has written to the log."""
    return [r.getMessage() for r in caplog.records if r.name.startswith("cxtrace")]


def failed(span):
    """Status, description, class of the error and outcome of a span."""
    return (
        span.status.status_code,
        span.status.description,
        span.attributes.get("error.type"),
        span.attributes.get("cx.touchpoint.outcome"),
    )


def raise_after(say, error):
    """Say something about the current touchpoint, then fail."""
    say(current_touchpoint())
    raise error


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_explicit_outcome(cx, outcome):
    """An outcome that the code names is what is sent."""
    with touchpoint("a") as handle:
        assert handle.outcome(outcome) is handle

    assert cx.outcome("a") == outcome
    expected = StatusCode.ERROR if outcome == "failed" else StatusCode.UNSET
    assert cx.span("a").status.status_code is expected


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("error", [ValueError("secret"), KeyboardInterrupt()], ids=repr)
def test_explicit_outcome_wins(cx, outcome, error):
    """An outcome that the code names stands above the exception that flies out."""
    with pytest.raises(type(error)), touchpoint("a"):
        raise_after(lambda handle: handle.outcome(outcome), error)

    kind = "ValueError" if isinstance(error, ValueError) and outcome == "failed" else None
    status = StatusCode.ERROR if outcome == "failed" else StatusCode.UNSET
    assert failed(cx.span("a")) == (status, None, kind, outcome)


def test_last_word(cx):
    """The last word before the end counts."""
    with touchpoint("a") as handle:
        handle.fail("card_declined").outcome("deferred")
    with touchpoint("b") as handle:
        handle.outcome("deferred").fail("card_declined")

    assert failed(cx.span("a")) == (StatusCode.UNSET, None, None, "deferred")
    assert failed(cx.span("b")) == (StatusCode.ERROR, None, "card_declined", "failed")


def test_fail(cx):
    """A touchpoint can fail although the code did not."""
    with touchpoint("a") as handle:
        assert handle.fail("card_declined") is handle

    assert failed(cx.span("a")) == (StatusCode.ERROR, None, "card_declined", "failed")


def test_interaction_fails(cx):
    """An interaction can fail although the code did not; it has no outcome."""
    with interaction("a") as handle:
        assert handle.fail("card_declined") is handle

    assert failed(cx.span("a")) == (StatusCode.ERROR, None, "card_declined", None)


def test_reason_stands_above_the_exception(cx):
    """The reason that the code gave is kept when an exception flies out as well."""
    with pytest.raises(ValueError, match="x"), touchpoint("a"):
        raise_after(lambda handle: handle.fail("card_declined"), ValueError("x"))

    assert cx.tags("a")["error.type"] == "card_declined"


@pytest.mark.parametrize(
    "reason",
    [
        "",
        "The card of Ada was declined",
        "a@b",
        "x" * 65,
        None,
        5,
        ["x"],
        "1st",
        "a\n",
    ],
)
def test_wrong_reason(cx, caplog, reason):
    """A reason that is not a short code is not sent; the failure is."""
    for name in ("a", "b"):
        with touchpoint(name) as handle:
            handle.fail(reason)

    assert failed(cx.span("a")) == (StatusCode.ERROR, None, "unspecified", "failed")
    assert cxtrace.report().counts["refused.reason"] == 2
    (warning,) = warnings(caplog)
    assert "card_declined" in warning
    assert "Ada" not in warning


@pytest.mark.parametrize("outcome", ["success", "", None, 5, ["failed"], {}, b"failed", True])
def test_wrong_outcome(cx, caplog, outcome):
    """An outcome outside of the closed set is counted, warned about once, and never raised."""
    for name in ("a", "b"):
        with touchpoint(name) as handle:
            assert handle.outcome(outcome) is handle

    assert cx.outcome("a") == "completed"
    assert cxtrace.report().counts["refused.outcome"] == 2
    (warning,) = warnings(caplog)
    assert all(allowed in warning for allowed in OUTCOMES)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError, "ValueError"),
        (CardError, f"{__name__}.CardError"),
        (CardError.InnerError, f"{__name__}.CardError.InnerError"),
        (asyncio.TimeoutError, None),
    ],
)
def test_class_of_the_error(cx, error, name):
    """The class of the exception is named in full, but for those that are built in."""
    with pytest.raises(error), touchpoint("a"):
        raise error

    built_in = error.__module__ == "builtins"
    qualified = error.__qualname__ if built_in else f"{error.__module__}.{error.__qualname__}"
    assert cx.tags("a")["error.type"] == (name or qualified)


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit]
)
def test_abandoned(cx, error):
    """What is no error, such as a cancellation, abandons the touchpoint and leaves no status."""
    with pytest.raises(error), touchpoint("a"), interaction("b"):
        raise error

    assert failed(cx.span("a")) == (StatusCode.UNSET, None, None, "abandoned")
    assert failed(cx.span("b")) == (StatusCode.UNSET, None, None, None)


def test_hostile_exception(cx):
    """An exception whose own methods raise still flies through, and is named by its class."""

    class HostileError(Exception):
        def __str__(self):
            raise OSError

        __repr__ = __bool__ = __hash__ = __str__

        def __eq__(self, other):
            raise OSError

    error = HostileError()
    try:
        with touchpoint("a"):
            raise error
    except HostileError as caught:
        assert caught is error  # noqa: PT017  raises() prints it

    assert cx.tags("a")["error.type"].endswith("HostileError")


def test_no_text_anywhere(cx):
    """The text of an exception is in none of our spans that it flies through."""
    nest = touchpoint("a"), interaction("b"), touchpoint("c"), interaction("d")
    with pytest.raises(ValueError, match="Ada"), nest[0], nest[1], nest[2], nest[3]:
        raise ValueError("Ada Lovelace, 4111 1111 1111 1111")

    assert len(cx.spans) == 4
    for span in cx.spans:
        assert "Lovelace" not in span.to_json()
        assert span.events == ()
        assert span.status.description is None


def test_after_the_end(cx):
    """A handle can be used after the end; nothing happens."""
    with touchpoint("a") as handle, interaction("b") as inner:
        pass
    before = [span.to_json() for span in cx.spans]

    assert handle.fail("x").outcome("failed").set({"session.id": "s"}) is handle
    assert inner.fail("x").set({"session.id": "s"}) is inner
    handle.end(None)
    assert [span.to_json() for span in cx.spans] == before


def test_outside_of_any_touchpoint(cx):
    """Outside of any touchpoint, the current one does nothing, in a chain or not."""
    handle = current_touchpoint()

    assert handle is NO_TOUCHPOINT
    assert handle.fail("x").outcome("failed").set({"session.id": "s"}) is handle
    assert NO_INTERACTION.fail("x").set({"session.id": "s"}) is NO_INTERACTION
    assert (handle.span, handle.place) == (INVALID_SPAN, None)
    assert cx.spans == []
    assert dict(cxtrace.report().counts) == {}


def test_current_touchpoint(cx):
    """The current touchpoint is the innermost that is open, whatever stands between."""
    with touchpoint("a") as outer:
        assert current_touchpoint() is outer
        around = cxtrace.journey("j"), cxtrace.customer("x")
        with touchpoint("b") as inner, interaction("c"), around[0], around[1]:
            assert current_touchpoint() is inner
        assert current_touchpoint() is outer


def test_inherited_by_a_task(cx):
    """A task that outlives the touchpoint in which it was made can do it no harm."""

    async def late(gate):
        await gate.wait()
        current_touchpoint().fail("late").set({"session.id": "s"})
        with interaction("after"):
            pass

    async def main():
        gate = asyncio.Event()
        with touchpoint("a"):
            task = asyncio.create_task(late(gate))
        gate.set()
        await task

    asyncio.run(main())

    assert failed(cx.span("a")) == (StatusCode.UNSET, None, None, "completed")
    assert cx.tags("after")["cx.touchpoint.name"] == "a"


def test_place_and_span(cx):
    """A handle shows its span, and the place of the touchpoint."""
    with touchpoint("a", stage="s", owner="o") as handle:
        assert (handle.place.touchpoint, handle.place.stage, handle.place.owner) == ("a", "s", "o")
        assert handle.span.is_recording()

    assert handle.span.get_span_context() == cx.span("a").context


ALLOWED = {
    "cx.quality.speed": 0.5,
    "cx.quality.taste": 1,
    "cx.quality.none": 0,
    "cx.touchpoint.first_contact": True,
    "session.id": "abc-123",
}


def test_set(cx):
    """Values on the allow-list are sent."""
    with touchpoint("a") as handle:
        assert handle.set(ALLOWED) is handle

    tags = cx.tags("a")
    assert {key: tags.get(key) for key in ALLOWED} == ALLOWED


def test_set_context(cx):
    """Context keys are sent if the map lists them, and only then."""
    cx.use(journey_map=MAP)
    with touchpoint("a") as handle:
        handle.set({"cx.context.weather": "rain", "cx.context.name": "Ada"})
    cx.use()
    with touchpoint("b") as handle:
        handle.set({"cx.context.weather": "rain"})

    assert cx.tags("a")["cx.context.weather"] == "rain"
    assert "cx.context.name" not in cx.tags("a")
    assert "cx.context.weather" not in cx.tags("b")
    assert cxtrace.report().counts["refused.attribute"] == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("email", "ada@example.com"),
        ("cx.journey.id", "x"),
        ("enduser.pseudo.id", "x"),
        ("cx.context.weather", "ada@example.com"),
        ("cx.context.weather", "x" * 65),
        ("cx.context.weather", "a\nb"),
        ("cx.context.weather", "a\ud800"),
        ("cx.context.weather", 5),
        ("cx.context.weather.more", "x"),
        ("cx.context", "x"),
        ("cx.quality.speed", 1.5),
        ("cx.quality.speed", -0.1),
        ("cx.quality.speed", float("nan")),
        ("cx.quality.speed", True),
        ("cx.quality.speed", "1"),
        ("cx.quality.", 0.5),
        ("cx.quality.a b", 0.5),
        ("cx.quality.ada@localhost", 0.5),
        ("cx.quality." + "x" * 300, 0.5),
        ("cx.touchpoint.first_contact", 1),
        ("session.id", "ada@example.com"),
        ("session.id", ""),
        ("session.id", 5),
        (5, "x"),
        (None, "x"),
        ("", "x"),
    ],
)
def test_set_what_is_not_allowed(cx, key, value):
    """Anything that is not on the allow-list is dropped and counted, never raised."""
    cx.use(journey_map=MAP)
    with touchpoint("a") as handle:
        before = dict(handle.span.attributes)
        handle.set({key: value})
        assert dict(handle.span.attributes) == before

    assert cxtrace.report().counts["refused.attribute"] == 1


@pytest.mark.parametrize("values", [None, 5, ["a"], "ab"])
def test_set_what_is_no_mapping(cx, values):
    """What is no mapping at all is swallowed and counted."""
    with touchpoint("a") as handle:
        assert handle.set(values) is handle

    assert cxtrace.report().counts["errors.set"] == 1


def test_warned_once(cx, caplog):
    """The log names a refused attribute once a key, and never what it held."""
    with touchpoint("a") as handle:
        for _ in range(3):
            handle.set({"email": "ada@example.com", "ada@example.com": "x"})

    assert len(warnings(caplog)) == 2
    assert "example.com" not in caplog.text


def test_ended_by_many_threads(cx):
    """A handle that many threads end at once is exported once."""
    block = touchpoint("a")
    handle = block.__enter__()
    barrier = threading.Barrier(8)

    def end():
        barrier.wait()
        handle.end(None)

    threads = [threading.Thread(target=end) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    block.__exit__(None, None, None)

    assert cx.names == ["a"]


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
def test_session_without_consent(cx, consent):
    """The session tells one customer from another: it is not sent without consent."""
    with cxtrace.customer("A", consent=consent), touchpoint("a") as handle:
        handle.set({"session.id": "s", "cx.quality.speed": 1})
    with cxtrace.customer("A", consent="granted"), touchpoint("b") as handle:
        handle.set({"session.id": "s"})
        cxtrace.identify("A", consent=consent)

    assert "session.id" not in cx.tags("a")
    assert cx.tags("a")["cx.quality.speed"] == 1
    assert cx.tags("b").get("session.id") in (None, "")


def test_withdrawn_near_the_limit(cx):
    """What a withdrawn consent has taken away does not come back when the span ends."""
    around = cxtrace.journey("j", id="w"), cxtrace.customer("A", consent="granted")
    with around[0], around[1], touchpoint("a") as handle:
        cxtrace.identify("A", consent="withdrawn")
        for number in range(115):
            handle.span.set_attribute(f"k{number}", number)

    tags = cx.tags("a")
    assert not {tags.get("enduser.pseudo.id"), tags.get("cx.journey.id")} - {None, ""}
    assert tags["cx.touchpoint.name"] == "a"


def test_customer_who_has_gone_is_no_failure(cx):
    """Exceptions by which frameworks say that the customer left mean abandoned, and no error."""
    gone = type("WebSocketDisconnect", (Exception,), {"__module__": "starlette.websockets"})

    with pytest.raises(gone), touchpoint("chat"):
        raise gone

    assert cx.outcome("chat") == "abandoned"
    assert cx.span("chat").status.status_code is StatusCode.UNSET


def test_a_forked_child_has_a_lock_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may have held the lock at the moment of the fork."""
    monkeypatch.setattr(_handles, "_making", before := threading.RLock())

    _handles._after_fork()

    assert _handles._making is not before
