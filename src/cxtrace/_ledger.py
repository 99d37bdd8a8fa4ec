"""The books of delivery: what was made, and what became of each item.

At all times: created + recovered = exported + queued + spooled + dropped.
"""

import os
import time
from array import array
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

REASONS: Final = (
    "queue_full",
    "refused",
    "shutdown",
    "spool_full",
    "spool_age",
    "corrupt",
)
"""Why items are dropped, in the order of their slots."""

CREATED: Final = 0
RECOVERED: Final = 1
EXPORTED: Final = 2
SPOOLED: Final = 3
SENT_AGAIN: Final = 4
DIED: Final = 5
_DROPPED: Final = 6
DROPPED: Final[Mapping[str, int]] = {
    reason: _DROPPED + number for number, reason in enumerate(REASONS)
}
"""The slot of each reason."""

_SLOTS: Final = _DROPPED + len(REASONS)
_BYTES: Final = 8 * _SLOTS


@frozen
class Ledger:
    """What became of the spans, or log records, of this process since it was configured.

    Attributes:
        created: Items that ended here, of all sources.
        recovered: Items of other processes, alive or dead, that were read from the spool.
        exported: Items that the receiver has taken.
        queued: Items in memory, those under way included.
        spooled: Items on disk, less those that this process has read again.
        dropped: Items that are lost, by reason: ``queue_full``; ``refused`` by the receiver;
            ``shutdown``, still waiting when the process ended; ``spool_full`` and ``spool_age``,
            the oldest past a limit of the spool; ``corrupt`` on disk.
        sent_again: Items whose first sending had no answer, so the receiver may have them twice,
            with the same ids.
        died: Items that other processes had in memory when they were killed, as of their last tick.
    """

    created: int = 0
    recovered: int = 0
    exported: int = 0
    queued: int = 0
    spooled: int = 0
    dropped: Mapping[str, int] = field(factory=dict)
    sent_again: int = 0
    died: int = 0

    @property
    def lost(self) -> int:
        """Items that nobody will ever get."""
        return sum(self.dropped.values())

    @property
    def is_balanced(self) -> bool:
        """Whether each item is accounted for. If not, please report it: that is a bug."""
        kept = self.exported + self.queued + self.spooled + self.lost
        return self.created + self.recovered == kept


class Books:
    """The slots of one ledger, in memory. Whoever writes holds the lock of the queue."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Count from zero, as a forked child does."""
        self.slots = array("q", bytes(_BYTES))

    def ledger(self, queued: int) -> Ledger:
        """What stands in the books, beside what waits in memory."""
        slots = self.slots
        return Ledger(
            slots[CREATED],
            slots[RECOVERED],
            slots[EXPORTED],
            queued,
            slots[SPOOLED],
            {reason: slots[slot] for reason, slot in DROPPED.items() if slots[slot]},
            slots[SENT_AGAIN],
            slots[DIED],
        )


class BooksFile:
    """A copy of the books in a file, which outlives a process that is killed.

    It is written from a thread of ours, now and then: to map it into memory would let a broken disk
    kill the service.

    Args:
        folder: Where it goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None
        self._path: Path | None = None
        self._known: object = None

    def write(self, books: Books) -> None:
        """Write down how the books stand.

        Raises:
            OSError: The disk does not take it.
        """
        if self._file is None:
            self._open()
        if self._file is not None and _identity(self._file) == self._known:
            os.pwrite(self._file, books.slots.tobytes(), 0)

    def _open(self) -> None:
        import fcntl

        path = self._folder / f"{time.time_ns():020}-{os.getpid()}.books"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file, self._path = os.open(path, flags, 0o600), path
        self._known = _identity(self._file)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def leave(self) -> None:
        """Close what a forked child has inherited; the parent's file and lock stay."""
        if self._file is not None:
            with suppress(OSError):
                # A host that makes itself a daemon may have closed it, and opened something else.
                if _identity(self._file) == self._known:
                    os.close(self._file)
        self._file = self._path = None

    def close(self) -> None:
        """The process ends as it should: nobody needs to look for what it left."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
        self.leave()


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def settle_dead(folder: Path) -> int:
    """How many items processes had in memory that were killed; each is told once, to one."""
    return sum(_settle(path) for path in sorted(folder.glob("*.books")))


def _settle(path: Path) -> int:
    import fcntl

    try:
        found = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        slots = memoryview(os.pread(found, _BYTES, 0)).cast("q")
        if len(slots) < _SLOTS or not os.fstat(found).st_nlink:
            return 0
        path.unlink()
    except (OSError, TypeError):
        return 0
    finally:
        os.close(found)
    return max(_missing(slots), 0)


def _missing(slots: Any) -> int:
    gone = slots[EXPORTED] + slots[SPOOLED] + sum(slots[_DROPPED:_SLOTS])
    return int(slots[CREATED] + slots[RECOVERED] - gone)
