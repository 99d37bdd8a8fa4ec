"""What cannot be sent goes to disk, and from there to the receiver when it answers again."""

from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final

from cxtrace import _guard
from cxtrace._answers import Verdict
from cxtrace._courier import SUSPECT, Courier, drain
from cxtrace._flights import Flight
from cxtrace._ledger import (
    DIED,
    DROPPED,
    EXPORTED,
    RECOVERED,
    SENT_AGAIN,
    SPOOLED,
    BooksFile,
    new_page,
    settle_dead,
)
from cxtrace._process import patched_by
from cxtrace._queue import REFUSED
from cxtrace._worker import Worker
from cxtrace.spool import Spool, Spooled, SpoolState

_PATCHED_BY: Final = patched_by()
_EVERY: Final = 0.25
_LOOK_EVERY: Final = 5.0
_RESERVE: Final = 0.5
_AFTER_A_FAULT: Final = 1.0

_FINAL: Final = (Verdict.REFUSED, Verdict.TOO_LARGE)
_CORRUPT: Final = DROPPED["corrupt"]


class Disk:
    """Keeps the batches of one courier in a spool, from a thread of its own.

    Attributes:
        spool: Where they go.
        state: What lay in it, of all processes, when it was last looked at, up to 5 s ago; None
            before the first look.

    Args:
        courier: Whose batches.
        spool: Where they go.
        folder: Of the spool, where the books of other processes lie too.
        encode: A batch as bytes.
        decode: Bytes as a batch; raises ``ValueError`` where they are none.
    """

    def __init__(
        self,
        courier: Courier,
        spool: Spool,
        folder: Path,
        encode: Callable[[Sequence[Any]], bytes],
        decode: Callable[[bytes], list[Any]],
    ) -> None:
        self.spool = spool
        self.state: SpoolState | None = None
        self._courier = courier
        self._folder = folder
        self._encode = encode
        self._decode = decode
        self._file = BooksFile(folder)
        self._begin()

    def _begin(self) -> None:
        self._worker = Worker(self._run, f"cxtrace_keep_{self._courier.word}", _PATCHED_BY)
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._look_at = 0.0
        self._write_at = 0.0
        self._close_at: float | None = None
        self._is_stopped = False
        self._failing = _Failing()
        self._is_doubtful = False

    def start(self) -> None:
        """Begin to work, in this process."""
        self._worker.start()

    def call(self) -> None:
        """There may be something to do."""
        self._calls.put(None)

    def ask_to_close(self, until: float) -> None:
        """Keep all that is left by then."""
        self._close_at = until - min(_RESERVE, max(until - monotonic(), 0.0) / 2)
        self.call()

    def stop(self, until: float) -> None:
        """End, by then: a disk that hangs holds nobody."""
        self._is_stopped = True
        self.call()
        self._worker.wait(until)

    def after_fork(self) -> None:
        """Begin anew in a child."""
        self._file.leave()
        self.spool.after_fork()
        self._begin()

    def _run(self) -> None:
        for prepare in (self._share_books, self._write_books):
            _guard.attempt("delivery.keep", prepare)
        while not self._is_stopped:
            self._sleep()
            try:
                self.keep()
                self._write_books()
                self._look_after_the_dead()
            except Exception as error:  # noqa: BLE001
                _guard.swallow("delivery.keep", error)
        self._file.close()
        self.spool.close()

    def _sleep(self) -> None:
        pause = _EVERY
        if self._close_at is not None:
            pause = max(min(pause, self._close_at - monotonic()), 0.01)
        drain(self._calls, pause)

    def keep(self) -> None:
        """Put on disk what came back, and what would find no room or no time in memory."""
        while monotonic() >= self._write_at and not self._is_stopped:
            flight = self._next()
            if flight is None or not self._put(flight):
                break
        if self._is_last_moment():
            self._keep_what_hangs()

    def _keep_what_hangs(self) -> None:
        """Keep what the exporter has not answered for, too: it may arrive twice then."""
        while monotonic() >= self._write_at:
            flight = self._courier.hung()
            if flight is None:
                break
            before, flight.is_doubtful = flight.is_doubtful, True
            if not self._put(flight, is_hung=True):
                flight.is_doubtful = before

    def _next(self) -> Flight | None:
        courier = self._courier
        if (flight := courier.take_back()) is not None:
            return flight
        if self._is_last_moment():
            return courier.take(courier.limits.batch)
        is_away = courier.failures and not self._failing.is_suspect  # else others must show it
        if is_away or len(courier.queue) * 2 >= courier.limits.queue:
            return courier.take(courier.limits.batch)
        return None

    def _is_last_moment(self) -> bool:
        return self._close_at is not None and monotonic() >= self._close_at

    def _put(self, flight: Flight, *, is_hung: bool = False) -> bool:
        courier = self._courier
        try:
            payload = self._encode(flight.items)
        except Exception as error:  # noqa: BLE001  an item that no receiver could be sent
            _guard.swallow("delivery.encode", error)
            kept = [self._put(part) for part in courier.divide(flight, courier.delivered)]
            return all(kept)
        if self.spool.put(courier.word, len(flight.items), payload):
            courier.settle(flight, SPOOLED)
            return True
        self._write_at = monotonic() + _AFTER_A_FAULT
        if not is_hung:
            courier.give_back(flight)
        return False

    def _share_books(self) -> None:
        try:
            self._courier.share_books(new_page())
        except (AttributeError, OSError):  # not Linux, or no memory: the copy has to do
            return

    def _write_books(self) -> None:
        try:
            self._file.write(self._courier.books)
        except OSError:  # the spool has the same disk, and says so
            _guard.count("errors.spool")

    def _look_after_the_dead(self) -> None:
        if monotonic() < self._look_at:
            return
        self._look_at = monotonic() + _LOOK_EVERY
        self.state = self.spool.state()
        died = settle_dead(self._folder)
        if died:
            self._courier.count(DIED, died)
            _guard.warn_once(
                f"died:{self._courier.word}",
                "cxtrace: a process was killed with %s %s in memory; they are lost",
                died,
                self._courier.word,
            )

    def replay(self) -> bool:
        """Send the oldest batch on disk; whether there was one, and the receiver took it."""
        batch = self.spool.take()
        if batch is None:
            return False
        try:
            items = self._decode(batch.payload)
        except ValueError:
            self._account(batch, 0, batch.items, _CORRUPT)
            return True
        is_to_blame = self._failing.is_to_blame(batch, self._courier.delivered)
        self._is_doubtful = False
        delivered = self._deliver(items, is_to_blame=is_to_blame)
        if delivered is None:
            self._failing.note(batch, self._courier.delivered)
            self.spool.release(batch, maybe_sent=self._is_doubtful)
            return False
        if batch.maybe_sent:
            self._courier.count(SENT_AGAIN, batch.items)
        self._account(batch, delivered, batch.items - delivered, REFUSED)
        self._failing = _Failing()
        return True

    def _account(self, batch: Spooled, exported: int, dropped: int, reason: int) -> None:
        self.spool.done(batch)
        courier = self._courier
        with courier.lock:
            if batch.is_own:
                courier.count(SPOOLED, -batch.items)
            else:
                courier.count(RECOVERED, batch.items)
            courier.count(EXPORTED, exported)
            courier.count(reason, dropped)

    def _deliver(self, items: list[Any], *, is_to_blame: bool) -> int | None:
        """How many were delivered, the rest being refused; None if the receiver is not there.

        Of a batch that is to blame, what fails by itself is refused only if the receiver says
        something of the others: else it has gone meanwhile.
        """
        parts = [items]
        exported = failed = 0
        silent, most = 0, 2 * len(items).bit_length()
        is_there = len(items) == 1
        while parts:
            part = parts.pop()
            answer = self._courier.send(part)
            verdict = answer.verdict
            self._is_doubtful |= answer.is_doubtful or verdict is Verdict.DELIVERED
            is_silent = verdict is Verdict.UNKNOWN and is_to_blame
            if verdict is Verdict.DELIVERED:
                exported += len(part) - answer.rejected
            elif (verdict is Verdict.TOO_LARGE or is_silent) and len(part) > 1:
                middle = len(part) // 2
                parts += part[middle:], part[:middle]
            elif is_silent:
                failed += 1
            elif verdict not in _FINAL:
                return None
            silent = silent + 1 if is_silent else 0
            is_there |= not is_silent
            if silent > most:
                return None
        return exported if is_there or not failed else None


class _Failing:
    """Remembers how often the same batch failed, while others were delivered."""

    def __init__(self) -> None:
        self._batch: Spooled | None = None
        self._attempts = 0
        self._witnessed = 0

    def note(self, batch: Spooled, delivered: int) -> None:
        """The batch failed again."""
        if not self._is(batch):
            self._batch, self._attempts, self._witnessed = batch, 0, delivered
        self._attempts += 1

    @property
    def is_suspect(self) -> bool:
        """Whether the oldest batch on disk may be why nothing is delivered."""
        return self._attempts >= SUSPECT

    def is_to_blame(self, batch: Spooled, delivered: int) -> bool:
        """Whether the batch itself must be why."""
        often = self._is(batch) and self._attempts >= SUSPECT
        return often and delivered > self._witnessed

    def _is(self, batch: Spooled) -> bool:
        known = self._batch
        return known is not None and (known.written, known.payload) == (
            batch.written,
            batch.payload,
        )
