"""What a process remembers of journeys under way, and tells other services."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace import _guard, _journeys
from cxtrace._journeys import JourneyMemory, JourneyState
from tests.strategies import names

pytestmark = pytest.mark.usefixtures("forgetful")
moments = st.integers(0, 99_999_999_999_000).map(lambda milliseconds: milliseconds / 1_000)
"""Seconds since 1970, to the millisecond."""


def state(
    started: float | None = None,
    promises: dict[str, float] | None = None,
    handoff: tuple[str, str, float] | None = None,
) -> JourneyState:
    """What is known of a journey."""
    made = JourneyState()
    made.started, made.handoff = started, handoff
    made.promises.update(promises or {})
    return made


def learnt(clock: str) -> JourneyState:
    """What a service knows that was told only this."""
    made = JourneyState()
    made.learn(clock)
    return made


@given(
    st.none() | moments.filter(bool),
    st.dictionaries(names, moments, max_size=4),
    st.none() | st.tuples(names, names, moments),
)
def test_what_is_told_is_understood(
    started: float | None,
    promises: dict[str, float],
    handoff: tuple[str, str, float] | None,
) -> None:
    """Another service learns from the clock what this one knows, to the millisecond."""
    _guard.reset()
    found = learnt(state(started, promises, handoff).clock())

    assert found.started == pytest.approx(started, abs=0.0011)
    assert found.promises == pytest.approx(promises, abs=0.0011)
    assert (found.handoff is None) == (handoff is None)
    if handoff is not None and found.handoff is not None:
        assert found.handoff[:2] == handoff[:2]
        assert found.handoff[2] == pytest.approx(handoff[2], abs=0.0011)
    assert _guard.counts() == {}


def test_the_clock_as_text() -> None:
    """The clock is the start, the open promises and the hand-off, in milliseconds since 1970."""
    full = state(1_700_000_000.5, {"delivery": 1_700_000_001.0}, ("shop", "service", 2.25))

    assert full.clock() == "1700000000500~delivery-1700000001000~shop--service-2250"
    assert state(1.5).clock() == "1500"
    assert state().clock() == ""


@given(st.text() | st.from_regex(_journeys._CLOCK, fullmatch=True) | st.binary().map(str))
def test_noise_never_raises(noise: str) -> None:
    """Whatever comes is understood or counted, and what was known before stays."""
    _guard.reset()
    known = state(5.0, {"p": 5.0})
    known.learn(noise)

    assert known.started is not None
    assert known.started <= 5.0
    assert known.promises["p"] == 5.0
    assert set(_guard.counts()) <= {"baggage.clock_not_understood"}


@pytest.mark.parametrize(
    "noise",
    [
        "x",
        "1~",
        "1~a",
        "1~a-",
        "1~A-1",
        "-1",
        "1e9",
        "nan",
        "1~a-1\n",
        "1" * 15,
        "1~a--b--c-1",
        "1 ",
    ],
)
def test_what_makes_no_sense_says_nothing(noise: str) -> None:
    """A clock of another form is counted and not taken."""
    found = learnt(noise)

    assert (found.started, found.promises, found.handoff) == (None, {}, None)
    assert _guard.counts() == {"baggage.clock_not_understood": 1}


def test_a_clock_is_short() -> None:
    """Of many open promises the four that began last are told."""
    found = learnt(state(1.0, {f"p{number}": float(number) for number in range(6)}).clock())

    assert found.promises == {"p2": 2.0, "p3": 3.0, "p4": 4.0, "p5": 5.0}


def test_names_that_do_not_fit_are_not_told() -> None:
    """A hand-off between functions that no map can name is kept to this process; the rest goes."""
    found = learnt(state(1.0, {"p": 2.0}, ("Team A", "service", 3.0)).clock())

    assert (found.started, found.promises, found.handoff) == (1.0, {"p": 2.0}, None)
    assert _guard.counts() == {}


def test_an_earlier_start_counts() -> None:
    """A journey began when the first service saw it; promises known already keep their time."""
    known = state(10.0, {"p": 10.0}, ("a", "b", 10.0))
    known.learn("5000~p-5000~q-5000~c--d-5000")
    known.learn("20000")

    assert known.started == 5.0
    assert known.promises == {"p": 10.0, "q": 5.0}
    assert known.handoff == ("c", "d", 5.0)


# The memory


def test_a_journey_is_remembered() -> None:
    """The same name and id give the same state; another name or id gives another."""
    memory = JourneyMemory()
    first = memory.state_of("order", "1")

    assert memory.state_of("order", "1") is first
    assert memory.state_of("order", "2") is not first
    assert memory.state_of("return", "1") is not first


def test_the_memory_is_bounded() -> None:
    """The journey longest out of use is forgotten first, and that is counted."""
    memory = JourneyMemory(most=2)
    first, second = memory.state_of("order", "1"), memory.state_of("order", "2")
    assert memory.state_of("order", "1") is first
    memory.state_of("order", "3")

    assert memory.state_of("order", "1") is first
    assert _guard.counts() == {"journey.forgotten": 1}
    assert memory.state_of("order", "2") is not second
    assert _guard.counts() == {"journey.forgotten": 2}


@given(st.lists(st.integers(0, 9)))
def test_the_memory_never_grows_past_its_limit(ids: list[int]) -> None:
    """However journeys come and go, no more than the limit are remembered."""
    memory = JourneyMemory(most=3)
    for number in ids:
        memory.state_of("order", str(number))

    assert len(memory._states) == min(3, len(set(ids)))
    assert not ids or list(memory._states)[-1] == ("order", str(ids[-1]))


def test_journeys_under_way() -> None:
    """A journey is under way from its start in this process until its end."""
    memory = JourneyMemory()
    memory.state_of("seen", "1")
    for name, number in (("order", "1"), ("order", "2"), ("return", "1")):
        memory.state_of(name, number).is_ours = True
    ended = memory.state_of("order", "ended")
    ended.is_ours = ended.ended = True

    assert sorted(memory.under_way()) == ["order", "order", "return"]


def test_threads_share_a_state() -> None:
    """Threads that come for the same journey at the same time get the same state."""
    memory = JourneyMemory()
    ready = threading.Barrier(4)
    found = []

    def come() -> None:
        ready.wait()
        found.append(memory.state_of("order", "1"))

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(map(id, found))) == 1


def test_everything_can_be_forgotten() -> None:
    """A forked child begins with an empty memory."""
    before = _journeys.memory
    before.state_of("order", "1")
    _journeys.forget_all()

    assert _journeys.memory is not before
    assert list(_journeys.memory.under_way()) == []


def test_going_back_is_told_by_route() -> None:
    """Steps of a route and stages are counted apart, so that one is no going back on the other."""
    state = JourneyState()

    assert [state.turns_back("express", step) for step in (0, 3)] == [False, False]
    assert [state.turns_back(None, step) for step in (1, 2)] == [False, False]
    assert [state.turns_back("express", 2), state.turns_back(None, 1)] == [True, True]


def test_what_is_measured_is_not_learnt_again() -> None:
    """A caller that goes on telling of a promise or hand-off does not make it run a second time."""
    calling = state(1.0, {"delivery": 5.0}, ("shop", "service", 6.0))
    found = learnt(calling.clock())
    found.promises.clear()
    found.handoff = None
    found.spend("delivery", 5.0)
    found.spend(_journeys.HANDOFF, 6.0)
    found.learn(calling.clock())
    again = (found.promises.copy(), found.handoff)
    found.learn(state(1.0, {"delivery": 7.0}, ("shop", "service", 8.0)).clock())

    assert again == ({}, None)
    assert (found.promises, found.handoff) == ({"delivery": 7.0}, ("shop", "service", 8.0))


def test_what_callers_tell_is_bounded() -> None:
    """However many promises callers tell of, few are remembered for one journey."""
    found = JourneyState()
    for number in range(1_000):
        found.learn(f"~p{number}-1")

    assert len(found.promises) == 100
