"""What lies in a spool, for people who look at it."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from attrs import Factory, frozen

from cxtrace._spool import format as spool_format
from cxtrace._spool import segments
from cxtrace._spool.account import said
from cxtrace._spool.segments import Folder, Found

_SETTLED_NS: Final = 2 * 10**9


@frozen
class SpoolState:
    """What lies in a spool, of all processes together.

    Attributes:
        items: Items that wait, by signal.
        bytes: What the segments take on disk.
        segments: How many there are.
        oldest: Seconds since the oldest item that waits was written; None where none waits.
        strangers: Files named like segments that belong to another user, or are no files.
        is_writable: Whether the folder is there and may be written to.
        problem: What the system said when something went wrong; empty once it works again.
    """

    items: Mapping[str, int] = Factory(dict)
    bytes: int = 0
    segments: int = 0
    oldest: float | None = None
    strangers: int = 0
    is_writable: bool = False
    problem: str = ""


@frozen
class _Tally:
    """What waits in a segment, as it was when it was looked at."""

    of: Found
    items: Mapping[str, int]
    oldest_ns: int | None


class Viewer:
    """Looks at a folder without holding anything, and remembers what has not changed since."""

    def __init__(self, folder: Folder, clock_ns: Callable[[], int]) -> None:
        self._folder = folder
        self._clock_ns = clock_ns
        self._tallies: Mapping[str, _Tally] = {}

    def state(self, problem: str) -> SpoolState:
        """What lies in the folder now, and what is known to be wrong with it."""
        try:
            found, strangers = self._folder.scan()
            tallies = [self._tally(each) for each in found]
        except OSError as error:
            return SpoolState(problem=said(error))
        before_ns = time.time_ns() - _SETTLED_NS  # the times of files are coarse
        self._tallies = {each.of.name: each for each in tallies if each.of.changed_ns < before_ns}
        items: Counter[str] = Counter()
        for tally in tallies:
            items.update(tally.items)
        oldest = [tally.oldest_ns for tally in tallies if tally.oldest_ns is not None]
        return SpoolState(
            items=dict(items),
            bytes=sum(segments.on_disk(each.size) for each in found),
            segments=len(found),
            oldest=max(self._clock_ns() - min(oldest), 0) / 1e9 if oldest else None,
            strangers=strangers,
            is_writable=os.access(self._folder.path, os.R_OK | os.W_OK | os.X_OK),
            problem=problem,
        )

    def _tally(self, found: Found) -> _Tally:
        known = self._tallies.get(found.name)
        if known is not None and known.of == found:
            return known
        try:
            records = self._folder.look(found.name)
        except FileNotFoundError:  # sent and removed by now
            records = []
        waiting = [each for each in records if spool_format.is_waiting(each.state)]
        items: Counter[str] = Counter()
        for each in waiting:
            items[each.signal] += each.items
        return _Tally(found, items, min((each.written_ns for each in waiting), default=None))
