"""``python -m benchmarks``: measure everything, print a table, write JSON on demand."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from attrs import asdict

from benchmarks.measure import Size

_QUICK: Final = Size(rounds=7, calls=200, starts=7, seconds=1.0)
_SMOKE: Final = Size(rounds=2, calls=8, starts=2, seconds=0.05)

# Nothing is exported by itself while something else is measured.
_STILL: Final = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
_HELD: Final = {**_STILL, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2048"}

# Hand-written code that makes spans records no metrics; what those cost is a case of its own.
_SPANS_ALONE: Final = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}

_SECTIONS: Final[dict[str, dict[str, str]]] = {
    "spans": _STILL,
    "metrics": {**_STILL, "OTEL_METRIC_EXPORT_INTERVAL": "3600000"},
    "no_sdk": {"CXTRACE_KEY": "a key that is only used in the benchmarks"},
    "memory": _HELD,
    "export": {**_STILL, **_SPANS_ALONE},
    "losses": _SPANS_ALONE,
    "web": _HELD,
    "fastapi": {},
    "django": {},
    "uvicorn": {},
    "gunicorn": {},
    "imports": {},
}
"""Each runs in a process of its own, since a provider is set only once; and its environment."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _options(arguments)
    if options.section:
        return _measure_here(options.section)
    size = _SMOKE if options.smoke else _QUICK if options.quick else Size()
    found: dict[str, Any] = {
        "environment": _environment(),
        "size": asdict(size),
        "lines": [],
        "skipped": [],
    }
    for section in options.only or _SECTIONS:
        print(f"measuring {section} …", file=sys.stderr)
        _add(found, section, size)
    print(_head(found["environment"]))
    print(_table(found))
    if options.verbose:
        from benchmarks.imports import slowest

        print(f"\n{slowest()}")
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What cxtrace costs, beside hand-written OpenTelemetry code.",
    )
    parser.add_argument("--quick", action="store_true", help="a first idea, in seconds")
    parser.add_argument("--smoke", action="store_true", help="see that it runs; numbers are noise")
    parser.add_argument("--only", action="append", choices=_SECTIONS, help="this part alone")
    parser.add_argument("--json", metavar="FILE", help="write everything to FILE")
    parser.add_argument("--verbose", action="store_true", help="list the slowest imports as well")
    parser.add_argument("--section", choices=_SECTIONS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _add(found: dict[str, Any], section: str, size: Size) -> None:
    """Measure a section in a process of its own and add what it says."""
    foreign = ("CXTRACE_", "OTEL_", "COV")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--section", section],
        input=json.dumps(asdict(size)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
        env=environ | _SECTIONS[section],
    )
    answer = json.loads(done.stdout)
    found["lines"] += answer["lines"]
    found["skipped"] += answer["skipped"]


def _measure_here(section: str) -> int:
    """What the process of one section does: size in, lines out, both as JSON."""
    from benchmarks.measure import to_json

    size = Size(**json.load(sys.stdin))
    lines, skipped = [], []
    try:
        lines = [to_json(line) for line in _measuring(section)(size)]
    except ModuleNotFoundError as error:
        skipped = [{"section": section, "why": f"{error.name} is not installed"}]
    json.dump({"lines": lines, "skipped": skipped}, sys.stdout)
    return 0


def _measuring(section: str) -> Callable[[Size], Any]:
    if section in ("spans", "no_sdk"):
        from benchmarks import spans

        return spans.with_sdk if section == "spans" else spans.without_sdk
    if section in ("export", "losses"):
        from benchmarks import export

        return export.cost if section == "export" else export.losses
    if section == "metrics":
        from benchmarks import metrics

        return metrics.measure
    if section == "memory":
        from benchmarks import memory

        return memory.measure
    if section == "imports":
        from benchmarks import imports

        return imports.measure
    if section == "web":
        from benchmarks import web

        return web.measure
    from benchmarks import requests

    return getattr(requests, section)  # type: ignore[no-any-return]


def _environment() -> dict[str, Any]:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "packages": {
            name: _version(name)
            for name in (
                "cxtrace",
                "opentelemetry-api",
                "opentelemetry-sdk",
                "opentelemetry-instrumentation-fastapi",
                "fastapi",
                "uvicorn",
                "opentelemetry-instrumentation-django",
                "django",
                "gunicorn",
            )
        },
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _head(environment: dict[str, Any]) -> str:
    packages = ", ".join(f"{k} {v}" for k, v in environment["packages"].items() if v)
    return (
        f"{environment['python']}, {environment['system']}, {environment['cpus']} CPUs; {packages}"
    )


def _table(found: dict[str, Any]) -> str:
    heads = ("case", "ours", "by hand", "", "ratio", "best", "quartiles", "first", "holds")
    rows = [heads, *(_row(line) for line in found["lines"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    text = [
        "  ".join(
            cell.ljust(width) if column in (0, 3) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    notes = dict.fromkeys(line["note"] for line in found["lines"] if line["note"])
    text += ["", *(f"{_cases(found, note)}: {note}" for note in notes)]
    text += [f"skipped {skip['section']}: {skip['why']}" for skip in found["skipped"]]
    return "\n".join(text)


def _cases(found: dict[str, Any], note: str) -> str:
    return "; ".join(line["case"] for line in found["lines"] if line["note"] == note)


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    spread = line["ratio_quartiles"]
    return (
        line["case"],
        _number(line["ours"]),
        _number(line["hand_written"]),
        line["unit"],
        _ratio(line["ratio"]),
        _ratio(line["ratio_of_minima"]),
        "" if spread is None else f"{spread[0]:.2f}-{spread[1]:.2f}",
        _ratio(line["target_first"]),
        {True: "yes", False: "NO", None: ""}[line["holds"]],
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 or value == int(value) else f"{value:.2f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
