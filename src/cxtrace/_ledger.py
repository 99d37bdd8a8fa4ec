"""The books of delivery: what was made, and what became of each item.

At all times: created + recovered = exported + queued + spooled + dropped.
"""

import os
import time
from array import array
from collections.abc import Mapping, MutableSequence
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from attrs import field, frozen

from cxtrace._shared_page import SharedPage, read, remove

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
_LONGEST_NAME: Final = 64


def new_page() -> SharedPage:
    """A page for the slots of one ledger.

    Raises:
        OSError: The system has none.
    """
    return SharedPage(_BYTES)


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
        died: Items that other processes had in memory when they were killed.
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
    """The slots of one ledger. Whoever writes, or shares, holds the lock of the queue.

    Attributes:
        slots: To be written to.
        shared: Name of the page that they are in; empty where they are in memory of our own.
    """

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Count from zero, in memory of our own, as a forked child does."""
        self.slots: MutableSequence[int] = array("q", bytes(_BYTES))
        self.shared = ""
        self._before = self.slots

    def share(self, page: SharedPage) -> None:
        """Count on in a page that outlives this process."""
        self.slots = cast("MutableSequence[int]", page.bytes.cast("q"))
        self.shared = page.name

    @property
    def before(self) -> list[int]:
        """What was counted before the slots were shared."""
        return [*self._before] if self.shared else [0] * _SLOTS

    @property
    def sums(self) -> list[int]:
        """All that was counted."""
        return [*map(int.__add__, self.before, self.slots)]

    def ledger(self, queued: int) -> Ledger:
        """What stands in the books, beside what waits in memory."""
        sums = self.sums
        return Ledger(
            sums[CREATED],
            sums[RECOVERED],
            sums[EXPORTED],
            queued,
            sums[SPOOLED],
            {reason: sums[slot] for reason, slot in DROPPED.items() if sums[slot]},
            sums[SENT_AGAIN],
            sums[DIED],
        )


class BooksFile:
    """Says how the books of this process stand, should it be killed.

    Where the books are shared, it says where; for another start of the machine, or a system that
    shares nothing, it has a copy, which a thread of ours writes now and then. To map the file
    itself into memory would let a broken disk kill the service.

    Args:
        folder: Where it goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None
        self._path: Path | None = None
        self._known: object = None
        self._written = b""
        self._shared = ""

    def write(self, books: Books) -> None:
        """Write down how the books stand, unless they stand there as they are.

        Raises:
            OSError: The disk does not take it.
        """
        self._shared = books.shared  # First: the page has to go though no disk takes the file.
        if self._file is None:
            self._open()
        slots = array("q", [*books.before, *books.sums])
        now = slots.tobytes() + books.shared.encode("ascii")
        if now == self._written:
            return
        if self._file is not None and _identity(self._file) == self._known:
            self._written = now[: os.pwrite(self._file, now, 0)]

    def _open(self) -> None:
        import fcntl

        path = self._folder / f"{time.time_ns():020}-{os.getpid()}.books"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file, self._path = os.open(path, flags, 0o600), path
        self._known, self._written = _identity(self._file), b""
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def leave(self) -> None:
        """Close what a forked child has inherited; the parent's file, page and lock stay."""
        if self._file is not None:
            with suppress(OSError):
                # A host that makes itself a daemon may have closed it, and opened something else.
                if _identity(self._file) == self._known:
                    os.close(self._file)
        self._file = self._path = None
        self._shared = ""

    def close(self) -> None:
        """The process ends as it should: nobody needs to look for what it left."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
        remove(self._shared)
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
        slots, name = _read(found)
        if not os.fstat(found).st_nlink:
            return 0
        path.unlink()
        remove(name)
    except (OSError, ValueError):
        return 0
    finally:
        os.close(found)
    return max(_missing(slots), 0)


def _read(file: int) -> tuple[list[int], str]:
    """The slots of a process that is dead, and the name of the page that they were in."""
    found = os.pread(file, 2 * _BYTES + _LONGEST_NAME, 0)
    slots = array("q", found[: 2 * _BYTES])
    if len(slots) < 2 * _SLOTS:
        raise ValueError("these are no books")
    before, sums = slots[:_SLOTS], slots[_SLOTS:]
    name = found[2 * _BYTES :].decode("ascii")
    shared = read(name, _BYTES)
    return [*(sums if shared is None else map(int.__add__, before, array("q", shared)))], name


def _missing(slots: list[int]) -> int:
    gone = slots[EXPORTED] + slots[SPOOLED] + sum(slots[_DROPPED:_SLOTS])
    return slots[CREATED] + slots[RECOVERED] - gone
