"""A courier's queue: what is sent, sent again, refused or dropped, and that the books balance."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cxtrace import _guard, _outage
from cxtrace._answers import Answer, Verdict
from cxtrace._courier import Courier
from cxtrace._flights import Limits, Ticket
from cxtrace._ledger import EXPORTED, SPOOLED, Books, Ledger

DELIVERED = Answer(Verdict.DELIVERED)
UNAVAILABLE = Answer(Verdict.UNAVAILABLE)
REFUSED = Answer(Verdict.REFUSED)
TOO_LARGE = Answer(Verdict.TOO_LARGE)


class Receiver:
    """The other end: answers as it is told, and remembers what it has."""

    def __init__(self, *answers: Answer | BaseException) -> None:
        self.answers = list(answers)
        self.batches: list[list[Any]] = []
        self.has: list[Any] = []
        self.is_ended = False

    def send(self, batch: Sequence[Any]) -> Answer:
        """Answer, and keep what is delivered."""
        self.batches.append(list(batch))
        answer = self.answers.pop(0) if self.answers else DELIVERED
        if isinstance(answer, BaseException):
            raise answer
        if answer.verdict is Verdict.DELIVERED:
            self.has += batch[: len(batch) - answer.rejected]
        return answer

    def end(self) -> None:
        """The exporter is shut down."""
        self.is_ended = True


class Hanging(Receiver):
    """One that answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.begun = threading.Event(), threading.Event()

    def send(self, batch: Sequence[Any]) -> Answer:
        """Say that it has begun, and hang."""
        self.begun.set()
        assert self.go.wait(30)
        return super().send(batch)


class Threadless(Courier):
    """A courier that sends when it is waited for, without a thread."""

    def start(self) -> bool:
        return True

    def wait(self, ticket: Ticket, until: float) -> bool:
        """Send first."""
        self._work()
        return super().wait(ticket, until)

    def close(self, ticket: Ticket, until: float) -> bool:
        """End the exporter, as the thread does."""
        done = super().close(ticket, until)
        self._end()
        return done


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    _guard.reset()
    yield
    _guard.reset()


def made(receiver: Any, *, queue: int = 8, batch: int = 4, delay: float = 60.0) -> Courier:
    """A courier without a thread."""
    limits = Limits(queue, batch, delay)
    return Threadless("spans", receiver.send, receiver.end, limits, Books())


def soon() -> float:
    """A deadline that nothing here comes near."""
    return time.monotonic() + 30


def flush(courier: Courier) -> bool:
    """Ask, and wait."""
    return courier.wait(courier.ask(), soon())


def put(courier: Courier, *items: Any) -> None:
    """Put in all of them."""
    for item in items:
        courier.put(item)


def test_all_that_waits_is_sent_in_order() -> None:
    """A flush sends batch after batch, the oldest first."""
    receiver = Receiver()
    courier = made(receiver)
    put(courier, *range(6))

    assert flush(courier)
    assert receiver.batches == [[0, 1, 2, 3], [4, 5]]
    assert courier.ledger == Ledger(created=6, exported=6)


def test_what_failed_is_sent_again_first() -> None:
    """A batch that was not delivered keeps its place before the later ones."""
    receiver = Receiver(UNAVAILABLE)
    courier = made(receiver)
    put(courier, 0, 1)

    assert not flush(courier)
    assert courier.failures
    put(courier, 2)
    assert flush(courier)
    assert receiver.has == [0, 1, 2]
    assert not courier.failures
    assert courier.ledger == Ledger(created=3, exported=3)


def test_what_finds_no_room_is_dropped() -> None:
    """A full queue takes nothing more; of what was returned one batch lies beside it."""
    receiver = Receiver(UNAVAILABLE)
    courier = made(receiver, queue=4)
    put(courier, *range(6))
    assert courier.ledger == Ledger(created=6, queued=4, dropped={"queue_full": 2})
    assert not flush(courier)
    put(courier, *range(6, 11))

    assert courier.ledger == Ledger(created=11, queued=8, dropped={"queue_full": 3})
    assert flush(courier)
    assert receiver.has == [0, 1, 2, 3, 6, 7, 8, 9]


def test_room_beside_the_queue() -> None:
    """As much as a whole batch on its way would take is there where a small one is on its way."""
    courier = made(Receiver(), queue=6)
    put(courier, 0)
    flight = courier.take(4)
    assert flight is not None
    put(courier, *range(1, 12))
    assert courier.ledger == Ledger(created=12, queued=10, dropped={"queue_full": 2})
    courier.settle(flight, EXPORTED)
    put(courier, 12)

    assert courier.ledger == Ledger(created=13, exported=1, queued=9, dropped={"queue_full": 3})


def test_returned_batch_that_finds_no_room() -> None:
    """What came in while a second batch was on its way stays; that batch is dropped and counted."""
    courier = made(Receiver(), queue=4)
    for items in (range(4), range(4, 8)):
        put(courier, *items)
        flight = courier.take(4)
        assert flight is not None
        if items.start:
            put(courier, *"abcd")
        courier.give_back(flight)

    assert courier.ledger == Ledger(created=12, queued=8, dropped={"queue_full": 4})
    assert flush(courier)
    assert courier.ledger.exported == 8


def test_refused_batch_is_dropped() -> None:
    """What the receiver will never take is not sent again, and spoils the flush."""
    receiver = Receiver(REFUSED)
    courier = made(receiver)
    put(courier, 0, 1)

    assert not flush(courier)
    assert courier.ledger == Ledger(created=2, dropped={"refused": 2})
    assert flush(courier)


def test_rejected_part_of_a_batch() -> None:
    """What a receiver rejected of a batch that it took is refused, the rest delivered."""
    courier = made(Receiver(Answer(Verdict.DELIVERED, rejected=1)))
    put(courier, 0, 1, 2)

    assert not flush(courier)
    assert courier.ledger == Ledger(created=3, exported=2, dropped={"refused": 1})


def test_batch_that_is_too_large_is_split() -> None:
    """It is sent in halves, and a single item that is too large is refused."""

    class Small(Receiver):
        def send(self, batch: Sequence[Any]) -> Answer:
            self.batches.append(list(batch))
            if len(batch) > 1 or batch[0] == 2:
                return TOO_LARGE
            self.has += batch
            return DELIVERED

    receiver = Small()
    courier = made(receiver)
    put(courier, *range(4))

    assert not flush(courier)
    assert receiver.has == [0, 1, 3]
    assert courier.ledger == Ledger(created=4, exported=3, dropped={"refused": 1})


def test_item_that_no_receiver_takes_does_not_stop_the_others() -> None:
    """A batch that fails while others are delivered is split until the one to blame is found."""

    class Choking(Receiver):
        def send(self, batch: Sequence[Any]) -> Answer:
            self.batches.append(list(batch))
            if "poison" in batch:
                return Answer(Verdict.UNKNOWN)
            self.has += batch
            return DELIVERED

    receiver = Choking()
    courier = made(receiver, queue=100)
    put(courier, 0, "poison", 1, 2)
    for number in range(3, 20):
        flush(courier)
        put(courier, number)
    flush(courier)

    assert sorted(receiver.has) == list(range(20))
    assert courier.ledger == Ledger(created=21, exported=20, dropped={"refused": 1})


def test_outage_splits_nothing() -> None:
    """However often a batch fails: while nothing is delivered, it is not to blame."""
    receiver = Receiver(*[UNAVAILABLE] * 10)
    courier = made(receiver)
    put(courier, *range(4))
    for _ in range(10):
        assert not flush(courier)

    assert flush(courier)
    assert receiver.batches == [[0, 1, 2, 3]] * 11


def test_pause_grows_and_obeys_the_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    """From half a second to 15, or to 2 without a disk; or what is asked for, up to 5 minutes."""
    monkeypatch.setattr(_outage._CHANCE, "uniform", lambda low, high: high)
    failures = (1, 2, 3, 6, 99)

    on_disk = [_outage.pause(each, None, is_kept=True) for each in failures]
    in_memory = [_outage.pause(each, None, is_kept=False) for each in failures]
    assert on_disk == [0.5, 1.0, 2.0, 15.0, 15.0]
    assert in_memory == [0.5, 1.0, 2.0, 2.0, 2.0]
    assert _outage.pause(1, 30.0, is_kept=False) == 30.0
    assert _outage.pause(1, 3_600.0, is_kept=True) == 300.0


def test_outage_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """One line when it begins, and one when it is over, however often something fails."""
    caplog.set_level("INFO", "cxtrace")
    courier = made(Receiver(UNAVAILABLE, UNAVAILABLE))
    put(courier, 0)
    flush(courier)
    flush(courier)
    flush(courier)
    put(courier, 1)
    flush(courier)

    assert caplog.messages == [
        (
            "cxtrace: spans are not taken by their receiver; they wait in memory, as far as there "
            "is room, and are sent again"
        ),
        "cxtrace: spans are delivered again, after 0 s",
    ]


def test_nothing_is_sent_during_a_pause() -> None:
    """Until the pause is over, only somebody who waits for it has something sent."""
    receiver = Receiver(Answer(Verdict.UNAVAILABLE, retry_after=100))
    courier = made(receiver)
    put(courier, *range(4))
    courier._work()
    courier._work()
    assert len(receiver.batches) == 1

    assert flush(courier)
    assert receiver.has == [0, 1, 2, 3]


def test_less_than_a_batch_waits_for_its_time() -> None:
    """One round sends one batch, then only whole ones."""
    receiver = Receiver()
    courier = made(receiver, queue=20)
    put(courier, *range(10))
    courier._work()

    assert receiver.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    courier._work()
    assert receiver.batches[2:] == [[8, 9]]


def test_close_counts_what_is_left() -> None:
    """What waits when the end comes is lost, and so is what comes after it."""
    receiver = Receiver(UNAVAILABLE)
    courier = made(receiver)
    put(courier, 0, 1)

    assert not courier.close(courier.ask_to_close(soon()), soon())
    put(courier, 2)
    assert courier.ledger == Ledger(created=3, dropped={"shutdown": 3})
    assert receiver.is_ended
    assert courier.close(courier.ask_to_close(soon()), soon())


def test_close_sends_what_waits() -> None:
    """The end is not the end of what came before it."""
    receiver = Receiver()
    courier = made(receiver)
    put(courier, 0, 1)

    assert courier.close(courier.ask_to_close(soon()), soon())
    assert receiver.has == [0, 1]
    assert courier.ledger == Ledger(created=2, exported=2)


def test_exporter_that_hangs_holds_nobody() -> None:
    """The wait ends by its time; what the exporter says later of what was given up is ignored."""
    receiver = Hanging()
    courier = Courier("spans", receiver.send, receiver.end, Limits(8, 4, 60), Books())
    put(courier, 0, 1)
    ticket = courier.ask_to_close(soon())
    assert receiver.begun.wait(30)

    assert not courier.close(ticket, time.monotonic())
    assert courier.ledger == Ledger(created=2, dropped={"shutdown": 2})
    receiver.go.set()
    courier._worker.wait(soon())
    assert receiver.has == [0, 1]
    assert receiver.is_ended
    assert courier.ledger == Ledger(created=2, dropped={"shutdown": 2})


def test_what_hangs_is_not_waited_for_when_it_is_counted() -> None:
    """The end waits for the time that is given to what is sent, and not for its thread."""
    receiver = Hanging()
    courier = Courier("spans", receiver.send, receiver.end, Limits(8, 4, 60), Books())
    put(courier, 0)
    ticket = courier.ask_to_close(soon())
    assert receiver.begun.wait(30)
    (flight,) = courier._flying
    courier.settle(flight, SPOOLED)  # as the keeper does in the last moment
    waited: list[float] = []
    wait, courier._worker.wait = courier._worker.wait, waited.append  # type: ignore[assignment,method-assign]
    done = courier.close(ticket, soon())
    receiver.go.set()
    wait(soon())

    assert (done, waited) == (True, [])
    assert courier.ledger == Ledger(created=1, spooled=1)


@pytest.mark.parametrize("late", [("give_back",), ("divide", 0)])
def test_flight_that_was_given_up(late: tuple[Any, ...]) -> None:
    """What is settled is neither taken back nor split."""
    courier = made(Receiver())
    put(courier, 0, 1)
    flight = courier.take(4)
    assert flight is not None
    courier.settle(flight, 2)

    assert not getattr(courier, late[0])(flight, *late[1:])
    assert courier.ledger == Ledger(created=2, exported=2)


def test_thread_of_its_own() -> None:
    """From the first item on a thread sends what is a whole batch, and the rest when it is time."""
    sent = threading.Event()

    class Telling(Receiver):
        def send(self, batch: Sequence[Any]) -> Answer:
            answer = super().send(batch)
            if len(self.has) == 5:
                sent.set()
            return answer

    receiver = Telling(RuntimeError("secret"))
    courier = Courier("spans", receiver.send, receiver.end, Limits(8, 4, 0.05), Books())
    put(courier, *range(4))
    put(courier, 4)

    assert sent.wait(30)
    assert sorted(receiver.has) == list(range(5))
    assert courier.close(courier.ask_to_close(soon()), soon())
    assert (courier.ledger.created, courier.ledger.exported) == (5, 5)
    assert _guard.counts() == {"errors.delivery.send": 1}


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sends from the thread of the host: what waits is counted as lost, at once."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    receiver = Receiver()
    courier = Courier("spans", receiver.send, receiver.end, Limits(8, 4, 60), Books())
    with monkeypatch.context() as out_of_threads:
        out_of_threads.setattr(threading.Thread, "start", refuse)
        put(courier, 0)
        assert not flush(courier)
    assert _guard.counts()["errors.delivery.thread"] > 0
    put(courier, 1)
    assert flush(courier)
    assert receiver.has == [0, 1]
    with monkeypatch.context() as out_of_threads:
        out_of_threads.setattr(threading.Thread, "start", refuse)
        assert courier.close(courier.ask_to_close(soon()), soon())
    assert receiver.is_ended


@pytest.mark.parametrize("has_started", [False, True])
def test_interrupt_while_the_thread_starts(
    monkeypatch: pytest.MonkeyPatch, has_started: bool
) -> None:
    """It flies through; a thread that is there already ends, and the next item starts another."""
    start, threads = threading.Thread.start, []

    def interrupt(self: threading.Thread) -> None:
        if has_started:
            threads.append(self)
            start(self)
        raise KeyboardInterrupt

    receiver = Receiver()
    courier = Courier("spans", receiver.send, receiver.end, Limits(8, 4, 60), Books())
    with monkeypatch.context() as interrupted:
        interrupted.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            put(courier, 0)
    put(courier, 1)

    assert flush(courier)
    assert receiver.has == [0, 1]
    for thread in threads:
        thread.join(30)
    assert [thread.is_alive() for thread in threads] == [False] * has_started
    courier.close(courier.ask_to_close(soon()), soon())


def test_error_in_a_round_does_not_end_the_thread() -> None:
    """Whatever goes wrong is counted, and the next round is done."""
    receiver = Receiver()
    courier = Courier("spans", receiver.send, receiver.end, Limits(8, 4, 0.01), Books())
    work, failed = courier._work, threading.Event()

    def fail() -> None:
        courier._work = work  # type: ignore[method-assign]
        failed.set()
        raise ValueError("secret")

    courier._work = fail  # type: ignore[method-assign]
    put(courier, 0)
    assert failed.wait(30)

    assert flush(courier)
    assert _guard.counts() == {"errors.delivery.send": 1}
    courier.close(courier.ask_to_close(soon()), soon())


def test_keeper_that_cannot_start() -> None:
    """Where threads are rare the courier sends without its keeper, and tries again each round."""
    tried = threading.Event()

    class Refused:
        def start(self) -> None:
            if _guard.counts().get("errors.delivery.thread", 0) > 1:
                tried.set()
            raise RuntimeError("can't start new thread")

        def replay(self) -> bool:
            return False

        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

    receiver = Receiver()
    courier = Courier("spans", receiver.send, receiver.end, Limits(8, 4, 0.01), Books())
    courier.keeper = Refused()
    put(courier, 0)

    assert tried.wait(30)
    assert flush(courier)
    assert receiver.has == [0]
    courier.close(courier.ask_to_close(soon()), soon())


def test_exporter_that_flushes() -> None:
    """A flush from the thread that sends cannot wait for itself, and says no."""
    said: list[bool] = []

    class Flushing(Receiver):
        def send(self, batch: Sequence[Any]) -> Answer:
            said.append(flush(courier))
            return super().send(batch)

    receiver = Flushing()
    courier = Courier("spans", receiver.send, receiver.end, Limits(8, 4, 60), Books())
    put(courier, 0)

    assert flush(courier)
    assert said == [False]
    courier.close(courier.ask_to_close(soon()), soon())


def test_flapping_receiver_refuses_nothing() -> None:
    """Who says that he is not available has not looked at the batch, and cannot have refused it."""
    receiver = Receiver(*[UNAVAILABLE, DELIVERED] * 30)
    courier = made(receiver)
    for number in range(40):
        put(courier, number)
        flush(courier)
    flush(courier)

    assert courier.ledger.dropped.get("refused", 0) == 0
    assert courier.ledger.is_balanced


def test_end_of_a_courier_that_carried_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started at the end, and none is needed, nothing is said."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    receiver = Receiver()
    courier = Courier("spans", receiver.send, receiver.end, Limits(8, 4, 60), Books())

    assert courier.close(courier.ask_to_close(soon()), soon())
    put(courier, 1)
    assert courier.ledger == Ledger(created=1, dropped={"shutdown": 1})
    assert _guard.counts() == {}


def test_child_begins_anew() -> None:
    """What waits in the parent is not the child's; it counts from zero, and works."""
    receiver = Receiver()
    courier = made(receiver)
    put(courier, 0, 1)
    courier.after_fork()
    assert courier.ledger == Ledger()
    put(courier, 2)

    assert flush(courier)
    assert receiver.has == [2]


class Traffic(RuleBasedStateMachine):
    """Items come and go in any order, whatever the receiver says."""

    def __init__(self) -> None:
        super().__init__()
        self.receiver = Receiver()
        self.courier = made(self.receiver, queue=6, batch=3)
        self.made = 0

    @rule(count=st.integers(1, 9))
    def come(self, count: int) -> None:
        """Spans end."""
        put(self.courier, *range(self.made, self.made + count))
        self.made += count

    @rule(
        answers=st.lists(
            st.sampled_from(
                [
                    *(DELIVERED, UNAVAILABLE, REFUSED, TOO_LARGE),
                    *(Answer(Verdict.UNKNOWN), Answer(Verdict.DELIVERED, rejected=1)),
                ]
            ),
            max_size=6,
        )
    )
    def send(self, answers: list[Answer]) -> None:
        """Something is sent, and answered in this way."""
        self.receiver.answers = list(answers)
        flush(self.courier)
        self.receiver.answers = []

    @rule()
    def hold(self) -> None:
        """A thread takes a batch, and another one settles it or gives it back."""
        flight = self.courier.take(2)
        if flight is not None:
            self.courier.give_back(flight)

    @rule()
    def close(self) -> None:
        """The process ends, and goes on all the same."""
        self.courier.close(self.courier.ask_to_close(soon()), soon())

    @invariant()
    def books_balance(self) -> None:
        """At every step created + recovered = exported + queued + spooled + dropped."""
        ledger = self.courier.ledger
        assert ledger.is_balanced
        assert ledger.created == self.made
        assert ledger.exported == len(self.receiver.has)
        assert ledger.queued <= 6 + 3

    @invariant()
    def nothing_is_delivered_twice(self) -> None:
        """Of what a receiver has taken nothing is sent again."""
        assert len(set(self.receiver.has)) == len(self.receiver.has)


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(deadline=None)


def test_books_balance_under_threads() -> None:
    """With many threads that put, and a receiver that fails now and then, nothing goes astray."""
    answers = [DELIVERED, UNAVAILABLE, DELIVERED, Answer(Verdict.UNKNOWN), TOO_LARGE] * 400
    receiver = Receiver(*answers)
    courier = Courier("spans", receiver.send, receiver.end, Limits(64, 16, 0.01), Books())

    def work(number: int) -> None:
        for each in range(500):
            courier.put((number, each))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        flush(courier)
        assert courier.ledger.is_balanced
    for thread in threads:
        thread.join()
    courier.close(courier.ask_to_close(soon()), soon())

    ledger = courier.ledger
    assert (ledger.created, ledger.queued) == (2_000, 0)
    assert ledger.is_balanced
    assert ledger.exported == len(receiver.has) == len(set(receiver.has))
