"""``python -m tests.faults``: run faults, print a table in Markdown, write JSON on demand.

    python -m tests.faults --only killed --with cxtrace+spool --seconds 5
    python -m tests.faults --json faults.json --page docs/explanation/faults.md
    python -m tests.faults --from faults.json --page docs/explanation/faults.md

All faults with all ways take about half an hour. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrs import asdict

from tests.faults.faults import FAULTS
from tests.faults.rig import Result, Timing, run
from tests.faults.table import legend, page, put_into, table
from tests.faults.telemetry import WAYS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _options(arguments)
    if options.list:
        print("\n".join(f"{fault.name:<20} {fault.says}" for fault in FAULTS.values()))
        return 0
    if options.read:
        found = json.loads(Path(options.read).read_text(encoding="utf-8"))
    else:
        found = _measure(options)
    results = [Result.from_dict(each) for each in found["results"]]
    print(f"{table(results)}\n{legend(results)}")
    if options.page:
        put_into(Path(options.page), page(found, results))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="A service under load, a real Collector, and a fault: what becomes of requests "
        "and spans, with OpenTelemetry alone and with cxtrace.",
    )
    parser.add_argument("--list", action="store_true", help="name the faults and run nothing")
    parser.add_argument("--only", action="append", choices=FAULTS, help="this fault alone")
    parser.add_argument("--with", dest="ways", action="append", choices=WAYS, help="this way alone")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long a fault lasts")
    parser.add_argument("--rate", type=float, default=80.0, help="requests a second")
    parser.add_argument("--json", metavar="FILE", help="write everything to FILE")
    parser.add_argument("--from", dest="read", metavar="FILE", help="run nothing, read such a FILE")
    parser.add_argument("--page", metavar="FILE", help="put the table into this page")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the files of each run there")
    return parser.parse_args(arguments)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    timing = Timing(fault=options.seconds, calm=options.seconds / 2, rate=options.rate)
    found: dict[str, Any] = {
        "environment": _environment(),
        "timing": asdict(timing),
        "results": [],
        "skipped": [],
    }
    for name in options.only or FAULTS:
        why = FAULTS[name].not_permitted
        if why:
            found["skipped"].append([name, why])
            print(f"{name}: {why}", file=sys.stderr)
            continue
        for way in options.ways or WAYS:
            keep = Path(options.keep) / name / way if options.keep else None
            result = run(name, way, timing, keep)
            print(f"{name}, {way}: {result}", file=sys.stderr)
            found["results"].append(result.to_dict())
            # After each, so that what breaks off was not in vain.
            if options.json:
                text = json.dumps(found, indent=1)
                Path(options.json).write_text(f"{text}\n", encoding="utf-8")
    return found


def _environment() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "opentelemetry": version("opentelemetry-sdk"),
        "date": datetime.now(timezone.utc).strftime("%B %Y"),
    }


if __name__ == "__main__":
    sys.exit(main())
