"""``python -m tests.faults.soak --minutes 60``: a long load with an outage in its middle.

Memory, open file handles and threads of the service are looked at each second. They are flat where
the last third is as the first one, without the first minute or tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from attrs import asdict, frozen

from tests.faults import load
from tests.faults.accounts import books_of, harmed, noted
from tests.faults.faults import FAULTS, Stage
from tests.faults.rig import inherit, missing, settle, staged
from tests.faults.telemetry import WAYS

_OUTAGE: Final = (0.4, 0.6)
"""Where in the time the Collector is not there."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@frozen
class Sample:
    """What a process has at one moment.

    Attributes:
        at: Seconds from the beginning.
        memory: Bytes that it has in memory.
        handles: Open files and sockets.
        threads: Its threads.
        spool: Bytes of the files in the spool.
    """

    at: float
    memory: int
    handles: int
    threads: int
    spool: int


@frozen
class Trend:
    """How one of these went.

    Attributes:
        first: Median of the first third, without what it takes to get warm.
        highest: Of all values: that of the outage, if anything grows in it.
        last: Median of the last third.
        flat: Whether the last third is as the first.
    """

    first: float
    highest: float
    last: float
    flat: bool


def sample(pid: int, spool: Path, at: float) -> Sample:
    """Look at a process."""
    own = Path("/proc") / str(pid)
    resident = int((own / "statm").read_text(encoding="ascii").split()[1])
    return Sample(
        at=round(at, 1),
        memory=resident * _PAGE,
        handles=len(list((own / "fd").iterdir())),
        threads=len(list((own / "task").iterdir())),
        spool=sum(_size(path) for path in spool.rglob("*")),
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # it was sent meanwhile
        return 0


def trend(values: Sequence[float], allowed: float) -> Trend:
    """How values went that were taken at equal distances.

    Args:
        values: All of them.
        allowed: How much more the last third may be than the first.
    """
    third = len(values) // 3
    warm = min(60, len(values) // 10)
    first, last = median(values[warm:third]), median(values[-third:])
    return Trend(first, max(values), last, last <= first + allowed)


def trends(samples: Sequence[Sample]) -> dict[str, Trend]:
    """How memory, handles and threads went."""
    memory = [float(each.memory) for each in samples]
    # An allocator keeps what an outage once took, and other noise; a leak grows with the time.
    some = max(8e6, 0.08 * median(memory))
    return {
        "memory": trend(memory, some),
        "handles": trend([each.handles for each in samples], 2),
        "threads": trend([each.threads for each in samples], 1),
    }


def soak(way: str, seconds: float, rate: float, folder: Path) -> dict[str, Any]:
    """Run it; all figures."""
    fault = FAULTS["killed"]
    with staged(fault, way, folder) as stage:
        with load.running(stage.service.port, rate) as asking:
            samples = _sampled(stage, seconds, fault.begin, fault.end, folder / "spool")
            requests = asking.stop()
        settle(stage)
        took = stage.service.end()
        inherit(stage)
        failed, _ = harmed(requests, ())
        return {
            "way": way,
            "seconds": seconds,
            "rate": rate,
            "requests": len(requests),
            "failed": failed,
            "made": len(noted(stage.folder)),
            "lost": missing(stage),
            "books": asdict(books_of(stage.folder)),
            "exit": took,
            "trends": {name: asdict(each) for name, each in trends(samples).items()},
            "largest spool": max(each.spool for each in samples),
            "samples": [asdict(each) for each in samples],
        }


def _sampled(
    stage: Stage,
    seconds: float,
    begin: Callable[[Stage], object],
    end: Callable[[Stage], object],
    spool: Path,
) -> list[Sample]:
    start, samples = time.monotonic(), []
    todo = [(_OUTAGE[0] * seconds, begin), (_OUTAGE[1] * seconds, end)]
    while (now := time.monotonic() - start) < seconds:
        if todo and now >= todo[0][0]:
            todo.pop(0)[1](stage)
        samples.append(sample(stage.service.process.pid, spool, now))
        time.sleep(max(start + len(samples) - time.monotonic(), 0))
    return samples


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where something grows."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak",
        description="A long load with an outage in its middle: does anything grow?",
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long")
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    parser.add_argument("--with", dest="way", choices=WAYS, default=WAYS[-1], help="this way")
    parser.add_argument("--json", metavar="FILE", help="write all samples to FILE")
    options = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="soak") as folder:
        found = soak(options.way, options.minutes * 60, options.rate, Path(folder))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(summary(found))
    return 0 if all(each["flat"] for each in found["trends"].values()) else 1


def summary(found: dict[str, Any]) -> str:
    """The figures as a table in Markdown."""
    head = (
        f"{found['way']}: {found['seconds'] / 60:g} min at {found['rate']:g} requests a second, "
        f"{found['requests']} requests, {found['failed']} failed; {found['made']} spans, "
        f"{found['lost']} lost; {found['largest spool'] / 1e6:.1f} MB in the spool at most."
    )
    columns = ["| | first third | highest | last third | |", "| --- | --: | --: | --: | --- |"]
    lines = [head, "", *columns]
    for name, each in found["trends"].items():
        unit, size = (" MB", 1e6) if name == "memory" else ("", 1)
        numbers = [f"{each[key] / size:.4g}{unit}" for key in ("first", "highest", "last")]
        lines.append(f"| {name} | {' | '.join(numbers)} | {'flat' if each['flat'] else 'GROWS'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
