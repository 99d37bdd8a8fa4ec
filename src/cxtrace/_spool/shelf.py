"""The segments of a folder as one process has them: what it writes, holds, drops and removes."""

import os
from collections.abc import Callable, Iterable
from typing import Final

from cxtrace._spool import format as spool_format
from cxtrace._spool import segments
from cxtrace._spool.account import Account
from cxtrace._spool.format import Record, Signal
from cxtrace._spool.segments import BLOCK, Folder, Found, Segment, Writer

_SEGMENT: Final = 2**20
_SHARE: Final = 8


class Shelf:
    """The segments of a folder. Not thread-safe; every method may raise ``OSError``.

    Attributes:
        identity: Eight hexadecimal digits, which stand in the names of our segments.
        own: The segment that is being written.
    """

    def __init__(
        self,
        folder: Folder,
        account: Account,
        max_bytes: int,
        max_age_ns: int,
        clock_ns: Callable[[], int],
    ) -> None:
        self.identity = os.urandom(4).hex()
        self.own: Writer | None = None
        self._folder = folder
        self._account = account
        self._max_bytes = max_bytes
        self._max_age_ns = max_age_ns
        self._segment_bytes = max(min(_SEGMENT, max_bytes // _SHARE), BLOCK)
        self._clock_ns = clock_ns
        self._last_ns = 0
        self._last: Segment | None = None
        self._young_until: dict[str, int] = {}
        self._unrecorded: dict[str, Record] = {}

    # What is written

    def append(self, signal: Signal, items: int, payload: bytes) -> None:
        """Write a batch, into a new segment if none is open."""
        now_ns = self._clock_ns()
        if self.own is None:
            self._last_ns = max(now_ns, self._last_ns + 1)  # in order, whatever the clock does
            self.own = self._folder.create(self._new_name)
        marker = segments.marker_of(self.own.name)
        self.own.append(spool_format.packed(marker, signal, items, now_ns, payload))

    def is_own(self, name: str) -> bool:
        """Whether this spool wrote a segment."""
        return segments.is_written_by(self.identity, name)

    def _new_name(self) -> str:
        return segments.segment_name(self._last_ns, self.identity)

    def has_room(self, length: int) -> bool:
        """Whether there is room for a payload, for which the oldest segments may have to go."""
        try:
            found = self.scan()
        except FileNotFoundError:  # somebody removed the folder
            self._folder.make()
            found = []
        self._seal_unless_fit(length, found)
        found = self.without_old(found)
        if segments.on_disk(spool_format.size_of(length, is_first=True)) > self._max_bytes:
            return False
        used = sum(segments.on_disk(each.size) for each in found)
        for each in found:
            if used + self._growth(length) <= self._max_bytes:
                break
            if self._account.tried(self._make_way, each.name):
                used -= segments.on_disk(each.size)
        return used + self._growth(length) <= self._max_bytes

    def _growth(self, length: int) -> int:
        """What a payload adds to the disk."""
        begin = 0 if self.own is None else self.own.end
        end = begin + spool_format.size_of(length, is_first=not begin)
        return segments.on_disk(end) - segments.on_disk(begin)

    def _seal_unless_fit(self, length: int, found: list[Found]) -> None:
        """Seal our segment where it is full, has been open for long, or has been removed."""
        if self.own is None:
            return
        here = [each for each in found if each.name == self.own.name]
        is_full = self.own.end + spool_format.size_of(length, is_first=False) > self._segment_bytes
        begun_before = self._clock_ns() - self._max_age_ns // _SHARE
        if is_full or not here or here[0].born_ns < begun_before:
            self.seal()

    def seal(self) -> None:
        """Write no more into our segment, and let others have it."""
        if self.own is not None:
            self.own.close()
            self.own = None

    # What is held

    def scan(self) -> list[Found]:
        """The segments of the folder, oldest first."""
        found, _ = self._folder.scan()
        names = {each.name for each in found}
        for memory in (self._young_until, self._unrecorded):
            for name in memory.keys() - names:
                del memory[name]
        return found

    def claimed(self, name: str) -> Segment | None:
        """Hold a segment; None where another process holds it or it is gone."""
        if self.own is not None and self.own.name == name:
            self.seal()
        descriptor = self._folder.claim(name)
        if descriptor is None:
            return None
        try:
            if self._last is None or self._last.name != name:
                self._last = Segment.read(name, descriptor)
            self._last.descriptor = descriptor
            if name in self._unrecorded:
                self._last.mark(self._unrecorded[name], spool_format.DONE)
                del self._unrecorded[name]
        except OSError:
            segments.close(descriptor)
            raise
        return self._last

    def finish(self, segment: Segment, record: Record) -> None:
        """Record that a batch was received. If that fails, it is done before the next one."""
        try:
            segment.mark(record, spool_format.DONE)
        except OSError:
            self._unrecorded[segment.name] = record
            raise
        if segment.waiting:
            segment.sync()
        else:
            self.remove(segment)

    # What goes

    def without_old(self, found: list[Found]) -> list[Found]:
        """Drop what is too old; what is left."""
        now_ns = self._clock_ns()
        return [
            each
            for each in found
            if each.born_ns + self._max_age_ns > now_ns
            or self._young_until.get(each.name, 0) > now_ns
            or not self._account.tried(self._drop_old, each.name)
        ]

    def _drop_old(self, name: str) -> bool:
        """Drop the old batches of a segment; whether there were no others."""
        segment = self.claimed(name)
        if segment is None:
            return False
        before_ns = self._clock_ns() - self._max_age_ns
        try:
            waiting = segment.still_waiting()
            young = [each.written_ns for each in waiting if each.written_ns > before_ns]
            if not young:
                self.remove(segment, waiting, "spool_age")
                return True
            for each in waiting:
                if each.written_ns <= before_ns:
                    segment.mark(each, spool_format.DROPPED)
                    self._account.lose(each, "spool_age", is_own=self.is_own(name))
            self._young_until[name] = min(young) + self._max_age_ns
        finally:
            segment.close()
        return False

    def _make_way(self, name: str) -> bool:
        """Drop a whole segment; false where another process is busy with it."""
        segment = self.claimed(name)
        if segment is None:
            return False
        try:
            self.remove(segment, segment.still_waiting(), "spool_full")
        finally:
            segment.close()
        return True

    def remove(self, segment: Segment, lost: Iterable[Record] = (), reason: str = "") -> None:
        """Remove a segment for good, and count what is lost with it."""
        self._folder.remove(segment.name)
        self._last = None
        is_own = self.is_own(segment.name)
        for record in lost:
            self._account.lose(record, reason, is_own=is_own)
        for damage in segment.damage:
            self._account.lose(damage, "corrupt", is_own=is_own)
        self._folder.sync()
