"""The results as a table in Markdown, and where it stands in the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.faults.faults import FAULTS
from tests.faults.rig import Result

_HEAD: Final = (
    "Fault",
    "With",
    "Requests",
    "failed",
    "Spans made",
    "lost",
    "not counted",
    "twice",
    "p50, ms",
    "p99, ms",
    "Exit, s",
)
_BEGIN: Final = "<!-- results of tests/faults -->\n"
_END: Final = "<!-- end of the results -->\n"


def table(results: Iterable[Result]) -> str:
    """One row for each run; the fault is named where its rows begin, times are before and in it."""
    rows, last = [_HEAD, ("---", "---", *["--:"] * (len(_HEAD) - 2))], ""
    for result in results:
        rows.append(_row(result, result.fault if result.fault != last else ""))
        last = result.fault
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def legend(results: Iterable[Result]) -> str:
    """What happens in each of the faults, as a list."""
    names = dict.fromkeys(result.fault for result in results)
    return "".join(f"- `{name}`: {FAULTS[name].says}.\n" for name in names)


def page(found: Mapping[str, Any], results: list[Result]) -> str:
    """What stands in the documentation."""
    timing, machine = found["timing"], found["environment"]
    skipped = "".join(f"\nNot run: `{name}`, because {why}.\n" for name, why in found["skipped"])
    rows = f"{table(results)}\n{legend(results)}{skipped}"
    return (
        f"{timing['rate']:g} requests a second, three spans in each; {timing['calm']:g} s without "
        f"the fault, {timing['fault']:g} s with it, {timing['calm']:g} s afterwards. "
        f"{machine['cpus']} processors, Python {machine['python']}, OpenTelemetry "
        f"{machine['opentelemetry']}, {machine['date']}.\n\n{rows}"
    )


def put_into(path: Path, text: str) -> None:
    """Replace the results in a page, between the comments that mark them."""
    old = path.read_text(encoding="utf-8")
    before, begin, rest = old.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for the results: {_BEGIN.strip()} {_END.strip()}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def _row(result: Result, name: str) -> tuple[str, ...]:
    failed = str(result.failed)
    if result.killed:
        failed += f" (and {result.killed} killed)"
    return (
        f"`{name}`" if name else "",
        result.way,
        str(result.requests),
        failed,
        str(result.made),
        str(result.lost),
        str(result.uncounted),
        str(result.twice),
        _change(result.calm.median, result.faulty.median),
        _change(result.calm.p99, result.faulty.p99),
        "did not end" if result.exit is None else f"{result.exit:.1f}",
    )


def _change(before: float | None, within: float | None) -> str:
    return "-" if before is None or within is None else f"{before:.1f} → {within:.1f}"
