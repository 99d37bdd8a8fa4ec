"""Items on their way to one exporter: a bounded queue, and a thread that sends."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final

from opentelemetry import context as otel_context

from cxtrace import _guard
from cxtrace._answers import Answer, Verdict
from cxtrace._flights import Flight, Keeper, Limits, Ticket
from cxtrace._ledger import CREATED, DROPPED, EXPORTED, SENT_AGAIN, SPOOLED, Books, Ledger
from cxtrace._outage import Outage, pause
from cxtrace._spool.format import Signal

SUSPECT: Final = 3
"""Failures of one batch, after which the batch itself may be why."""

_SAID_NOTHING: Final = (Verdict.UNAVAILABLE, Verdict.UNKNOWN)
_FULL: Final = DROPPED["queue_full"]
_REFUSED: Final = DROPPED["refused"]
_SHUTDOWN: Final = DROPPED["shutdown"]
_SENT: Final = (EXPORTED, SPOOLED)
_LOSSES: Final = (_FULL, _REFUSED, _SHUTDOWN)


class Courier:
    """Takes items from any thread, and sends them from one of its own.

    A batch that was not delivered is sent again after a pause that grows. Until then it lies with
    the keeper, on disk, or else in memory, where it takes up room of the queue. Whatever finds no
    room is dropped and counted.

    Args:
        word: What is carried: ``spans`` or ``logs``.
        send: Hands a batch to the exporter and says what became of it. It is called by one thread
            at a time.
        end: Ends the exporter. Called by the same thread, when everything is over.
        limits: Of the queue.
        books: Where it is counted.
    """

    def __init__(
        self,
        word: Signal,
        send: Callable[[Sequence[Any]], Answer],
        end: Callable[[], None],
        limits: Limits,
        books: Books,
    ) -> None:
        self.word: Signal = word
        self.limits = limits
        self.books = books
        self.keeper: Keeper | None = None
        self.is_closing = False
        self._send = send
        self._end = end
        self._begin()

    def _begin(self) -> None:
        self.lock = threading.RLock()  # a finaliser may end a span while this thread holds it
        self.queue: deque[Any] = deque()
        self.failures = 0  # one after the other, up to now
        self.delivered = 0
        self._progress = threading.Condition(self.lock)
        self._returned: deque[Flight] = deque()
        self._flying: list[Flight] = []
        self._slots = self.books.slots
        self._room = 0 if self.is_closing else self.limits.queue
        self._taken = 0
        self._retry_at = 0.0
        self._outage = Outage(self.word)
        self._urgent = 0
        self._given_up = 0
        self._setbacks = 0
        self._wakes: SimpleQueue[None] = SimpleQueue()  # unlike an Event, safe in signal handlers
        self._thread: threading.Thread | None = None
        self._is_stopped = self._has_ended = self.is_closing

    # Taking in

    def put(self, item: Any) -> None:
        """Take an item; where there is no room, count it."""
        with self.lock:
            slots = self._slots
            slots[CREATED] += 1
            waiting = len(self.queue)
            if waiting >= self._room:
                slots[_SHUTDOWN if self.is_closing else _FULL] += 1
                return
            self.queue.append(item)
        if not waiting:
            self.start()
        elif waiting + 1 == self.limits.batch:
            self._wakes.put(None)
        if self.keeper is not None and (waiting + 1) * 2 == self.limits.queue:
            self.keeper.call()

    # What there is

    @property
    def ledger(self) -> Ledger:
        """The books, and what waits."""
        with self.lock:
            return self.books.ledger(self._waiting())

    def _waiting(self) -> int:
        flights = (*self._flying, *self._returned)
        return len(self.queue) + sum(len(flight.items) for flight in flights)

    # Waiting for it

    def ask(self) -> Ticket:
        """Have all that waits sent now, whatever pause is due; the ticket to wait with."""
        with self.lock:
            target = self._taken + len(self.queue)
            if not self._is_settled(target):
                self._urgent = target
            ticket = Ticket(target, self._setbacks, self._given_up)
        self._wakes.put(None)
        return ticket

    def wait(self, ticket: Ticket, until: float) -> bool:
        """Whether all that waited has been delivered, or is on disk.

        Args:
            ticket: Of ``ask()``.
            until: When to give up, on the monotonic clock. Where there is no disk, it is given up
                as soon as the receiver does not take something.
        """
        if not self._is_settled(ticket.last) and not self.start():
            self._work()
        with self.lock:
            while not self._is_settled(ticket.last) and monotonic() < until:
                if self.keeper is None and self._setbacks > ticket.setbacks:
                    break
                self._progress.wait(max(until - monotonic(), 0.0))
            return self._is_settled(ticket.last) and self._given_up == ticket.given_up

    def _is_settled(self, last: int) -> bool:
        flights = (*self._flying, *self._returned)
        return self._taken >= last and not any(flight.first <= last for flight in flights)

    def ask_to_close(self, until: float) -> Ticket:
        """Take nothing more, and have sent what waits; the ticket to close with."""
        with self.lock:
            self.is_closing = True
            self._room = 0
        if self.keeper is not None:
            self.keeper.ask_to_close(until)
        return self.ask()

    def close(self, ticket: Ticket, until: float) -> bool:
        """Wait, count what is left as lost, and stop; whether nothing was left."""
        done = self.wait(ticket, until)
        is_running = self.start()
        with self.lock:
            for flight in (*self._flying, *self._returned):
                self.settle(flight, _SHUTDOWN)
            self._slots[_SHUTDOWN] += len(self.queue)
            self.queue.clear()
            self._is_stopped = True
        self._wakes.put(None)
        if self.keeper is not None:
            self.keeper.stop()
        if self._thread is not None and is_running:
            self._thread.join(max(until - monotonic(), 0.0))
        elif not self._has_ended:
            self._finish()
        with self.lock:
            self.books.close()
            self._slots = self.books.slots
        return done

    def _finish(self) -> None:
        self._has_ended = True
        self._end()

    def after_fork(self) -> None:
        """Begin anew in a child: what waits is the parent's to send."""
        self.books.begin_anew()
        self._begin()
        if self.keeper is not None:
            self.keeper.after_fork()

    # Flights

    def take(self, most: int) -> Flight | None:
        """A batch from the queue, which counts as waiting until it is settled."""
        with self.lock:
            count = min(len(self.queue), most)
            if not count:
                return None
            flight = Flight([self.queue.popleft() for _ in range(count)], self._taken + 1)
            self._taken += count
            self._flying.append(flight)
            return flight

    def take_back(self) -> Flight | None:
        """The flight that came back first."""
        with self.lock:
            if not self._returned:
                return None
            flight = self._returned.popleft()
            self._flying.append(flight)
            self._make_room()
            return flight

    def hung(self) -> Flight | None:
        """A flight that the exporter has not answered for yet."""
        with self.lock:
            return self._flying[0] if self._flying else None

    def give_back(self, flight: Flight) -> None:
        """Let a flight wait for another try, as far as there is room."""
        with self.lock:
            if flight.is_settled or flight not in self._flying:
                return
            if self.is_closing or self._waiting() <= self.limits.queue:
                self._flying.remove(flight)
                self._returned.append(flight)
            else:
                self.settle(flight, _FULL)
            self._make_room()
            self._progress.notify_all()

    def settle(self, flight: Flight, slot: int, refused: int = 0) -> None:
        """Count a flight, but for what was refused, unless somebody who could not wait did."""
        with self.lock:
            if flight.is_settled:
                return
            flight.is_settled = True
            if flight in self._flying:
                self._flying.remove(flight)
            else:
                self._returned.remove(flight)
                self._make_room()
            self._slots[slot] += len(flight.items) - refused
            if flight.is_doubtful and slot in _SENT:
                self._slots[SENT_AGAIN] += len(flight.items)
            self._slots[_REFUSED] += refused
            self._given_up += slot in _LOSSES or refused > 0
            self._progress.notify_all()

    def divide(self, flight: Flight) -> list[Flight]:
        """Two flights instead of one that is too large; a single item is refused."""
        with self.lock:
            if len(flight.items) == 1:
                self.settle(flight, _REFUSED)
            if flight.is_settled:
                return []
            flight.is_settled = True
            self._flying.remove(flight)
            parts = flight.halves()
            for part in parts:
                part.attempts, part.witnessed = flight.attempts, self.delivered
                part.is_doubtful = flight.is_doubtful
            self._flying += parts
            return parts

    def count(self, slot: int, items: int) -> None:
        """Write in the books."""
        with self.lock:
            self._slots[slot] += items

    def _make_room(self) -> None:
        if not self.is_closing:
            held = sum(len(flight.items) for flight in self._returned)
            self._room = max(self.limits.queue - held, 0)

    # Sending

    def deliver(self, flight: Flight) -> None:
        """Send a flight, in parts if it is too large; what fails comes back."""
        answer = self.send(flight.items)
        verdict = answer.verdict
        if verdict is Verdict.DELIVERED:
            self.settle(flight, EXPORTED, answer.rejected)
        elif verdict is Verdict.REFUSED:
            self.settle(flight, _REFUSED)
        elif verdict is Verdict.TOO_LARGE or self._is_to_blame(flight):
            for part in self.divide(flight):
                self.deliver(part)
        else:
            flight.witnessed = flight.witnessed if flight.attempts else self.delivered
            flight.attempts += 1
            flight.is_doubtful |= answer.is_doubtful
            self.give_back(flight)

    def _is_to_blame(self, flight: Flight) -> bool:
        """Whether a flight fails again and again while others are delivered."""
        return flight.attempts >= SUSPECT and self.delivered > flight.witnessed

    def send(self, items: Sequence[Any]) -> Answer:
        """Hand a batch to the exporter, and remember whether the receiver is there."""
        try:
            answer = self._send(items)
        except BaseException as error:  # noqa: BLE001  in a thread that is ours alone
            _guard.swallow("delivery.send", error)
            answer = Answer(Verdict.UNKNOWN)
        verdict = answer.verdict
        self._outage.note(is_over=verdict not in _SAID_NOTHING, is_kept=self.keeper is not None)
        with self.lock:
            self.delivered += verdict is Verdict.DELIVERED
            if verdict in _SAID_NOTHING:
                self.failures += 1
                self._setbacks += 1
                self._urgent = 0
                self._retry_at = monotonic() + pause(self.failures, answer.retry_after)
                self._progress.notify_all()
            else:
                self.failures = 0
        return answer

    def start(self) -> bool:
        """Whether the thread runs; it begins with the first item, so that a fork needs none."""
        if self._thread is not None:
            return self._thread.is_alive()
        with self.lock:
            if self._thread is None and not self._is_stopped:
                thread = threading.Thread(
                    target=self._run, name=f"cxtrace_send_{self.word}", daemon=True
                )
                try:
                    thread.start()
                    if self.keeper is not None:
                        self.keeper.start()
                except RuntimeError as error:  # at the end of the process, or out of threads
                    if self.queue:
                        _guard.swallow("delivery.thread", error)
                    return False
                self._thread = thread
        return True

    def _run(self) -> None:
        suppress = otel_context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001  as the SDK's own does
        otel_context.attach(otel_context.set_value(suppress, True))
        while not self._is_stopped:
            self._sleep()
            try:
                self._work()
            except Exception as error:  # noqa: BLE001
                _guard.swallow("delivery.send", error)
        self._finish()

    def _sleep(self) -> None:
        pause = self.limits.delay
        if self.failures:
            pause = max(min(pause, self._retry_at - monotonic()), 0.01)
        drain(self._wakes, pause)

    def _work(self) -> None:
        """Send what is due: one batch, then while there is a whole one, or somebody waits."""
        is_first = True
        while self._is_due(is_first=is_first):
            flight = self._next()
            if flight is None:
                break
            is_first = False
            self.deliver(flight)
        while self.keeper is not None and self._may_send() and not self.is_closing:
            if not self.keeper.replay() or len(self.queue) >= self.limits.batch:
                break

    def _may_send(self) -> bool:
        return not self.failures or monotonic() >= self._retry_at

    def _is_due(self, *, is_first: bool) -> bool:
        with self.lock:
            if self._is_stopped:
                return False
            if self._urgent and not self._is_settled(self._urgent):
                return True
            self._urgent = 0
            there_is_more = self._returned or len(self.queue) >= self.limits.batch
            return self._may_send() and (is_first or bool(there_is_more))

    def _next(self) -> Flight | None:
        """What came back first, unless it is suspect and others can show that it is to blame."""
        is_suspect = bool(self._returned) and self._returned[0].attempts >= SUSPECT
        if is_suspect and not self.failures % 2:
            return self.take(self.limits.batch) or self.take_back()
        return self.take_back() or self.take(self.limits.batch)


def drain(calls: "SimpleQueue[None]", timeout: float) -> None:
    """Wait for a call, and take all that have come."""
    try:
        calls.get(timeout=timeout)
        while True:
            calls.get_nowait()
    except Empty:
        pass
