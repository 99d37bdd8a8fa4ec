"""A bounded spool on disk: what cannot be sent now is kept, over a crash, and sent later.

A folder of append-only segments, shared by all processes of a host that have the same user. No
process waits for another, and no batch is sent by two.

**What is promised.** When :meth:`Spool.put` has returned true, the batch is on disk: the segment
was ``fsync``-ed, and its folder where the segment is new. It survives ``kill -9`` and a power cut.
Before a batch is given out, "send begun" is written and ``fsync``-ed, and "done" after it was
received: a crash in between is the only way to send a batch twice, one a process at most, and it
says so (:attr:`Spooled.maybe_sent`). What is torn is never given out.

**What is limited.** Size, over all processes, and age. The oldest segment goes first, unless
another process is busy with it; what goes is counted.

**What may go wrong.** No method raises where the disk is full, read-only, broken or gone. ``put``
returns false, ``take`` gives nothing, the reason is counted and logged once, and the next call
tries again. But all of them wait for the disk: call them from a thread of your own, never from one
that serves a customer.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from attrs import field, frozen

from cxtrace._spool import format as spool_format
from cxtrace._spool import segments
from cxtrace._spool.account import Account, OnDrop
from cxtrace._spool.format import Record, Signal
from cxtrace._spool.segments import Folder, Segment
from cxtrace._spool.shelf import Shelf
from cxtrace._spool.state import SpoolState, Viewer
from cxtrace.exceptions import ConfigurationError

__all__ = ["MAX_AGE", "MAX_BYTES", "Spool", "SpoolState", "Spooled"]

MAX_BYTES: Final = 64 * 2**20
"""Bytes that all segments of a folder may take together."""

MAX_AGE: Final = 86_400.0
"""Seconds after which a batch is not worth sending."""


@frozen(eq=False)
class Spooled:
    """A batch that was given out, until :meth:`Spool.done` or :meth:`Spool.release`.

    Attributes:
        signal: ``spans`` or ``logs``.
        items: How many of these are in it.
        payload: What was put.
        written: When, in seconds since 1970.
        is_own: Whether this spool, in this process, wrote it.
        maybe_sent: Whether a send was begun of which no answer was recorded: if it was received
            then, this is a duplicate, with the same ids.
    """

    signal: Signal
    items: int
    payload: bytes = field(repr=False)
    written: float
    is_own: bool
    maybe_sent: bool


@frozen
class _Out:
    """The batch that is out, and where it lies."""

    batch: Spooled
    segment: Segment
    record: Record


class Spool:
    """A folder of batches that wait. Thread-safe; never raises once it is made.

    Two descriptors are open between calls at most, and two more during a call.

    Args:
        folder: Made, readable by its owner alone, where it is missing. On a local disk: the locks
            of network file systems do not hold everywhere.
        max_bytes: What all segments in the folder may take, whoever wrote them. Several processes
            that write at the same moment may exceed it by a batch each.
        max_age: Seconds after which a batch is dropped.
        clock: Seconds since 1970.
        on_drop: Called with signal, reason, number of items, and whether this spool had written
            them, when something is dropped, as by ``dropped``. It must not call the spool.

    Raises:
        ConfigurationError: This system has no ``flock``, as Windows.

    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = MAX_BYTES,
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.time,
        on_drop: OnDrop | None = None,
    ) -> None:
        try:
            import fcntl  # noqa: F401
        except ImportError:
            msg = "a spool needs flock, which this system does not have: leave spool unset"
            raise ConfigurationError(msg) from None
        self._folder = Folder(Path(folder).absolute())
        self._limits = max_bytes, round(max_age * 1e9)
        self._clock = clock
        self._on_drop = on_drop
        self._begin()
        try:
            self._folder.make()
        except OSError as error:
            self._account.fail(error)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._out: _Out | None = None
        self._account = Account(self._folder.path, self._on_drop)
        self._shelf = Shelf(self._folder, self._account, *self._limits, self._now_ns)
        self._viewer = Viewer(self._folder, self._now_ns)

    def _now_ns(self) -> int:
        return round(self._clock() * 1e9)

    # What there is, and what became of the rest

    @property
    def dropped(self) -> Mapping[tuple[Signal, str], int]:
        """Items that were in the spool and are lost, by signal and reason, as this process saw it.

        ``spool_full`` and ``spool_age`` made room or were too old; ``corrupt`` cannot be read.
        """
        return dict(self._account.dropped)

    @property
    def refused(self) -> Mapping[tuple[Signal, str], int]:
        """Items for which :meth:`put` returned false, by signal and reason.

        ``spool_unwritable`` where the disk did not take them, ``spool_full`` where nothing could be
        dropped in their favour.
        """
        return dict(self._account.refused)

    @property
    def unreadable(self) -> Mapping[str, int]:
        """``records`` and ``bytes`` that cannot be read, where nobody knows how many items."""
        return dict(self._account.unreadable)

    def state(self) -> SpoolState:
        """What lies in the folder. Reads of each segment what has changed since the last call.

        It holds up nobody, but it waits for the disk: a health page had better show the last one.
        """
        return self._viewer.state(self._account.problem)

    def is_empty(self) -> bool:
        """Whether the folder has no segment, as far as can be told. Reads none of them."""
        try:
            return not self._folder.scan()[0]
        except OSError:
            return True

    # In and out

    def put(self, signal: Signal, items: int, payload: bytes) -> bool:
        """Keep a batch. True: it is on disk, and is there after a crash.

        Args:
            signal: ``spans`` or ``logs``.
            items: How many of these are in the payload.
            payload: At most what the spool may take altogether.
        """
        with self._entered():
            account, shelf = self._account, self._shelf
            try:
                is_kept = shelf.has_room(len(payload))
                if is_kept:
                    shelf.append(signal, items, payload)
            except OSError as error:
                account.fail(error)
                shelf.seal()
                account.refused[signal, "spool_unwritable"] += items
                return False
            account.problem = ""
            if not is_kept:
                account.refused[signal, "spool_full"] += items
            return is_kept

    def take(self) -> Spooled | None:
        """Give the oldest batch that no other process holds, and hold it.

        One batch is out at a time: until :meth:`done` or :meth:`release` the next call gives None,
        as it does where nothing waits or the disk does not let us say that a send has begun.
        """
        with self._entered():
            if self._out is not None:
                return None
            try:
                found = self._shelf.without_old(self._shelf.scan())
            except OSError as error:
                self._account.fail(error)
                return None
            for each in found:
                self._out = self._account.tried(self._take_from, each.name)
                if self._out is not None:
                    self._account.problem = ""
                    return self._out.batch
            return None

    def done(self, batch: Spooled) -> None:
        """Say that a batch was received: it is never given out again."""
        with self._entered():
            out = self._returned(batch)
            if out is None:
                return
            out.segment.waiting.popleft()
            try:
                self._shelf.finish(out.segment, out.record)
            except OSError as error:
                self._account.fail(error)
            finally:
                out.segment.close()

    def release(self, batch: Spooled, *, maybe_sent: bool = False) -> None:
        """Say that a batch was not received: it is the next to be given out, to whoever asks first.

        Args:
            batch: The one that is out.
            maybe_sent: Whether that is doubtful, as where the answer did not come in time.
        """
        with self._entered():
            out = self._returned(batch)
            if out is None:
                return
            try:
                if not maybe_sent and not batch.maybe_sent:
                    out.segment.mark(out.record, spool_format.WAITING)
            except OSError as error:
                self._account.fail(error)
            finally:
                out.segment.close()

    def close(self) -> None:
        """Let other processes have what this one holds; a batch that is out may have been sent.

        A later call begins anew.
        """
        with self._entered():
            self._shelf.seal()
            if self._out is not None:
                self._out.segment.close()
                self._out = None

    def after_fork(self) -> None:
        """Begin anew in a forked child: what the parent holds remains the parent's.

        Call it before the child has threads. The first call of a child that did not does it too.
        """
        own, out = self._shelf.own, self._out
        held = {} if own is None else {own.descriptor: own.name}
        if out is not None:
            held[out.segment.descriptor] = out.segment.name
        for descriptor in self._folder.inherited(held):
            segments.close(descriptor)  # without unlocking: the lock is the parent's as well
        self._begin()

    def _entered(self) -> threading.Lock:
        if self._pid != os.getpid():
            self.after_fork()
        return self._lock

    def _take_from(self, name: str) -> _Out | None:
        segment = self._shelf.claimed(name)
        if segment is None:
            return None
        out = None
        try:
            out = self._next(segment)
            if out is None:
                self._shelf.remove(segment)
        finally:
            if out is None:
                segment.close()
        return out

    def _next(self, segment: Segment) -> _Out | None:
        while segment.waiting:
            record = segment.waiting[0]
            state = segment.state(record)
            if not spool_format.is_waiting(state):  # another process was here since we looked
                segment.waiting.popleft()
                continue
            payload = spool_format.payload_of(segment.descriptor, record)
            if payload is not None:
                return self._given_out(segment, record, state, payload)
            segment.mark(record, spool_format.DROPPED)
            segment.waiting.popleft()
            self._account.lose(record, "corrupt", is_own=self._shelf.is_own(segment.name))
        return None

    def _given_out(self, segment: Segment, record: Record, state: bytes, payload: bytes) -> _Out:
        """Say on disk that a send begins."""
        if state == spool_format.WAITING:
            segment.mark(record, spool_format.SENDING)
        segment.sync()  # in any case: whoever marked it may have been killed before this
        batch = Spooled(
            signal=record.signal,
            items=record.items,
            payload=payload,
            written=record.written_ns / 1e9,
            is_own=self._shelf.is_own(segment.name),
            maybe_sent=state != spool_format.WAITING,
        )
        return _Out(batch, segment, record)

    def _returned(self, batch: Spooled) -> _Out | None:
        out = self._out
        if out is None or out.batch is not batch:
            return None
        self._out = None
        return out
