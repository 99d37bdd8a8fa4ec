"""Items on their way to one exporter, from a queue, by a thread that sends."""

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from cxtrace import _guard
from cxtrace._answers import Answer, Verdict
from cxtrace._flights import Flight, Keeper, Limits, Ticket
from cxtrace._ledger import EXPORTED, Books
from cxtrace._outage import Outage, pause
from cxtrace._process import patched_by
from cxtrace._queue import REFUSED, Queue
from cxtrace._spool.format import Signal
from cxtrace._worker import Worker

SUSPECT: Final = 3
"""Failures of one batch, after which the batch itself may be why."""

_PATCHED_BY: Final = patched_by()
_STEP: Final = 0.05
"""Seconds; where eventlet has patched late, nobody wakes a thread that waits."""

_SAID_NOTHING: Final = (Verdict.UNAVAILABLE, Verdict.UNKNOWN)
_NOBODYS: Final = NonRecordingSpan(SpanContext(1, 1, is_remote=False))
"""Not sampled: what an exporter itself does is not traced, or it would feed itself."""


class Courier(Queue):
    """Takes items from any thread, and sends them from one of its own.

    A batch that was not delivered is sent again after a pause that grows. Until then it lies with
    the keeper, on disk, or else in memory, where more than one batch takes up room of the queue.
    Whatever finds no room is dropped and counted.

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
        super().__init__(limits, books)
        self.word: Signal = word
        self.keeper: Keeper | None = None
        self._send = send
        self._end = end
        self._begin()

    def _begin(self) -> None:
        self.failures = 0  # one after the other, up to now
        self.delivered = 0
        self._setbacks = 0
        self._under_way: Flight | None = None
        self._retry_at = 0.0
        self._outage = Outage(self.word)
        self._urgent = 0
        self._wakes: SimpleQueue[None] = SimpleQueue()  # unlike an Event, safe in signal handlers
        self._worker = Worker(self._run, f"cxtrace_send_{self.word}", _PATCHED_BY)
        self._is_stopped = self.is_closing

    def put(self, item: Any) -> None:
        """Take an item; where there is no room, count it."""
        waiting = self._add(item)
        if not self._worker.has_begun:
            self.start()
        elif waiting + 1 == self.limits.batch:
            self._wakes.put(None)
        if self.keeper is not None and (waiting + 1) * 2 == self.limits.queue:
            self.keeper.call()

    def ask(self) -> Ticket:
        """Have all that waits sent now, whatever pause is due; the ticket to wait with."""
        with self.lock:
            target = self._taken + len(self.queue)
            if not self._is_settled(target):
                self._urgent = target
            ticket = Ticket(target, self._setbacks, self._given_up)
        if self._urgent:
            self._wakes.put(None)
        return ticket

    def wait(self, ticket: Ticket, until: float) -> bool:
        """Whether all that waited has been delivered, or is on disk.

        Args:
            ticket: Of ``ask()``.
            until: When to give up, on the monotonic clock. Where there is no disk, it is given up
                as soon as the receiver does not take something.
        """
        can_wait = self._is_settled(ticket.last) or self.start()
        can_wait = can_wait and not self._worker.is_this
        with self.lock:
            while can_wait and not self._is_settled(ticket.last) and monotonic() < until:
                if self.keeper is None and self._setbacks > ticket.setbacks:
                    break
                self.change.wait(min(max(until - monotonic(), 0.0), _STEP))
            return self._is_settled(ticket.last) and self._given_up == ticket.given_up

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
        self.start()
        self._give_all_up()
        self._is_stopped = True
        self._wakes.put(None)
        if self.keeper is not None:
            self.keeper.stop(until)
        under_way = self._under_way
        if under_way is None or not under_way.is_settled:  # else nobody needs the answer any more
            self._worker.wait(until)
        return done

    def after_fork(self) -> None:
        """Begin anew in a child: what waits is the parent's to send."""
        self.books.begin_anew()
        self._begin_queue()
        self._begin()
        if self.keeper is not None:
            self.keeper.after_fork()

    def deliver(self, flight: Flight) -> None:
        """Send a flight, in parts if it is too large; what fails comes back."""
        self._under_way = flight
        answer = self.send(flight.items)
        self._under_way = None
        verdict = answer.verdict
        is_to_blame = verdict is Verdict.UNKNOWN and self._is_to_blame(flight)
        if verdict is Verdict.DELIVERED:
            self.settle(flight, EXPORTED, answer.rejected)
        elif verdict is Verdict.REFUSED:
            self.settle(flight, REFUSED)
        elif verdict is Verdict.TOO_LARGE or is_to_blame:
            for part in self.divide(flight, self.delivered):
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
            answer = Answer(Verdict.UNKNOWN, is_doubtful=True)
        verdict = answer.verdict
        is_kept = self.keeper is not None
        self._outage.note(is_over=verdict not in _SAID_NOTHING, is_kept=is_kept)
        with self.lock:
            self.delivered += verdict is Verdict.DELIVERED
            if verdict in _SAID_NOTHING:
                self.failures += 1
                self._setbacks += 1
                self._urgent = 0
                wait = pause(self.failures, answer.retry_after, is_kept=is_kept)
                self._retry_at = monotonic() + wait
                self.change.notify_all()
            else:
                self.failures = 0
        return answer

    def start(self) -> bool:
        """Whether the thread runs; it begins with the first item, so that a fork needs none."""
        try:
            if not self._is_stopped:
                self._worker.start()
        except RuntimeError as error:
            if self.queue:  # at the end of the process, or out of threads
                _guard.swallow("delivery.thread", error)
            return False
        return not self._worker.is_over

    def _run(self) -> None:
        suppress = otel_context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001  as the SDK's own does
        otel_context.attach(set_span_in_context(_NOBODYS, otel_context.set_value(suppress, True)))
        while not self._is_stopped:
            self._start_keeper()
            self._sleep()
            try:
                self._work()
            except Exception as error:  # noqa: BLE001
                _guard.swallow("delivery.send", error)
        self._end()

    def _start_keeper(self) -> None:
        try:
            if self.keeper is not None:
                self.keeper.start()
        except RuntimeError as error:  # the next round tries again
            _guard.swallow("delivery.thread", error)

    def _sleep(self) -> None:
        timeout = self.limits.delay
        if self.failures:
            timeout = max(min(timeout, self._retry_at - monotonic()), 0.01)
        drain(self._wakes, timeout)

    def _work(self) -> None:
        """Send what is due: one batch, then while there is a whole one, or somebody waits."""
        began, is_first = monotonic(), True
        while self._is_due(is_first=is_first):
            flight = self._next()
            if flight is None:
                break
            is_first = False
            self.deliver(flight)
        while self.keeper is not None and self._may_send() and not self.is_closing:
            if not self.keeper.replay():
                break
            if self._has_fresh(began):
                self._wakes.put(None)
                break

    def _has_fresh(self, began: float) -> bool:
        """Whether something that has just come must not wait for what lies on disk."""
        waiting = len(self.queue)
        is_late = monotonic() >= began + self.limits.delay
        return bool(self._urgent or waiting >= self.limits.batch or (waiting and is_late))

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
