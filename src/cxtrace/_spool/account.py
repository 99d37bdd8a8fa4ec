"""What a spool has lost and refused, and what went wrong with its disk."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cxtrace import _guard
from cxtrace._spool.format import Damage, Record, Signal

T = TypeVar("T")
OnDrop = Callable[[Signal, str, int, bool], object]
"""Called with signal, reason, number of items, and whether this spool had written them."""


class Account:
    """The books of one process.

    Attributes:
        dropped: Items that were in the spool and are lost, by signal and reason.
        refused: Items that were not taken, by signal and reason.
        unreadable: ``records`` and ``bytes`` of which nobody knows how many items they held.
        problem: What the system said when something last went wrong.
    """

    def __init__(self, folder: Path, on_drop: OnDrop | None) -> None:
        self._folder = folder
        self._on_drop = on_drop
        self.dropped: Counter[tuple[Signal, str]] = Counter()
        self.refused: Counter[tuple[Signal, str]] = Counter()
        self.unreadable = Counter({"records": 0, "bytes": 0})
        self.problem = ""

    def lose(self, lost: Record | Damage, reason: str, *, is_own: bool) -> None:
        """Count what is gone."""
        if lost.signal is None:
            self.unreadable.update(records=1, bytes=lost.size)
            return
        self.dropped[lost.signal, reason] += lost.items
        if self._on_drop is not None:
            try:
                self._on_drop(lost.signal, reason, lost.items, is_own)
            except Exception as error:  # noqa: BLE001
                _guard.swallow("spool", error)

    def fail(self, error: OSError) -> None:
        """Count what the disk did not let us do, and name it once in the log."""
        self.problem = said(error)
        _guard.count("errors.spool")
        _guard.warn_once(
            f"spool:{error.errno}",
            "cxtrace: the spool in %s does not work as it should: %s. What cannot be sent waits in "
            "memory, as far as there is room; `cxtrace doctor` says more",
            self._folder,
            self.problem,
        )

    def tried(self, work: Callable[[str], T], name: str) -> T | None:
        """Do something with a segment; one that the disk does not let us touch stops no other."""
        try:
            return work(name)
        except OSError as error:
            self.fail(error)
            return None


def said(error: OSError) -> str:
    """What the system says of an error, which names no customer."""
    return error.strerror or type(error).__name__
