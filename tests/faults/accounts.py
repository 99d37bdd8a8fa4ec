"""Who says what of the spans: the service's own notes, the Collector's files, and the library.

The notes and the files say what is true. The library's books are held against it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import quantiles
from typing import Any

from attrs import evolve, field, frozen

from tests.faults.load import Request


@frozen
class Books:
    """What the library says of the spans of a process, or of several.

    Attributes:
        created: Spans that were handed to it.
        recovered: Spans that it found in the spool, left by processes that are gone.
        exported: Spans that it says were delivered.
        queued: Spans in memory.
        spooled: Spans on the disk.
        dropped: Spans that it says are lost, by reason.
    """

    created: int = 0
    recovered: int = 0
    exported: int = 0
    queued: int = 0
    spooled: int = 0
    dropped: Mapping[str, int] = field(factory=dict)

    @property
    def lost(self) -> int:
        """Spans that it says are lost."""
        return sum(self.dropped.values())

    @classmethod
    def read(cls, report: Mapping[str, Any] | None) -> Books:
        """Those of a report of ``cxtrace.report()``; empty where there is none."""
        said = (report or {}).get("spans") or {}
        if "ended" in said:  # the ledger before there was a spool
            waiting, failed = said["waiting"], said["failed"]
            return cls(said["ended"], 0, said["exported"], waiting, 0, {"failed": failed})
        names = ("created", "recovered", "exported", "queued", "spooled")
        numbers = {name: said.get(name) or 0 for name in names}
        dropped = {reason: count for reason, count in (said.get("dropped") or {}).items() if count}
        died = said.get("died") or 0  # created, and lost, by a process that can say no more
        if died:
            numbers["created"] += died
            dropped["died"] = died
        return cls(**numbers, dropped=dropped)

    @classmethod
    def total(cls, books: Iterable[Books]) -> Books:
        """Those of all processes together."""
        each = list(books)
        reasons = {reason for one in each for reason in one.dropped}
        return cls(
            sum(one.created for one in each),
            sum(one.recovered for one in each),
            sum(one.exported for one in each),
            sum(one.queued for one in each),
            sum(one.spooled for one in each),
            {why: sum(one.dropped.get(why, 0) for one in each) for why in sorted(reasons)},
        )


def books_of(folder: Path) -> Books:
    """The last books of all processes of the service that lived to write them.

    What one still had in memory when it ended is lost, and it says so.
    """
    return Books.total(
        _closed(Books.read(json.loads(path.read_text(encoding="utf-8"))["report"]))
        for path in sorted(folder.glob("books-*.json"))
    )


def _closed(books: Books) -> Books:
    if not books.queued:
        return books
    return evolve(books, queued=0, dropped={**books.dropped, "left in memory": books.queued})


def noted(folder: Path) -> set[bytes]:
    """The spans that were made, by their ids, as the service itself noted them."""
    # A process that was killed in the middle of a line has not made that span.
    return {line for line in (folder / "notes").read_bytes().split(b"\n") if len(line) == 16}


@frozen
class Latency:
    """How long requests took, in milliseconds, from the moment when they were due."""

    median: float | None
    p99: float | None

    @classmethod
    def of(cls, requests: Iterable[Request], begin: float, end: float) -> Latency:
        """Those of the requests that were due in that time."""
        taken = [each.seconds * 1_000 for each in requests if begin <= each.due < end]
        if len(taken) < 2:
            return cls(None, None)
        cuts = quantiles(taken, n=100, method="inclusive")
        return cls(round(cuts[49], 2), round(cuts[98], 2))


def harmed(requests: Iterable[Request], kills: Iterable[float]) -> tuple[int, int]:
    """Requests that failed, and those that a killed worker took with it, which are not ours."""
    moments = list(kills)
    failed = [each for each in requests if each.failed]
    taken = [
        each
        for each in failed
        if any(each.due - 0.05 <= at <= each.due + each.seconds + 0.05 for at in moments)
    ]
    return len(failed) - len(taken), len(taken)
