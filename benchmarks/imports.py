"""What an import takes, in Python processes that are started in turn."""

import os
import subprocess
import sys
from typing import Final

from benchmarks.measure import Line, Size, compare

API: Final = "import opentelemetry.trace"
"""What is meant by importing the OpenTelemetry API: what any instrumented library imports."""

OURS: Final = "import cxtrace"
_SDK: Final = "import opentelemetry.trace, opentelemetry.sdk.trace.export"
_CONFIGURE: Final = "import cxtrace; cxtrace.configure"
_TARGET: Final = 1.3
_PROGRAM: Final = """
import sys, time
modules, start = len(sys.modules), time.process_time()
{}
print(time.process_time() - start, len(sys.modules) - modules)
"""


def measure(size: Size) -> list[Line]:
    """Processor time and modules, on warm bytecode, without the start of Python itself."""
    statements = (OURS, API, _CONFIGURE, _SDK)
    times: dict[str, list[float]] = {statement: [] for statement in statements}
    modules: dict[str, int] = {}
    for statement in statements:
        _started(statement)
    for number in range(size.starts):
        for statement in statements if number % 2 == 0 else reversed(statements):
            spent, modules[statement] = _started(statement)
            times[statement].append(spent)
    return [
        compare(times, OURS, OURS, API, target=_TARGET, unit="ms", note=f"beside {API!r}"),
        _modules(OURS, API, modules),
        compare(times, _CONFIGURE, _CONFIGURE, _SDK, unit="ms", note=f"beside {_SDK!r}"),
        _modules(_CONFIGURE, _SDK, modules),
    ]


def _modules(mine: str, theirs: str, found: dict[str, int]) -> Line:
    ratio = found[mine] / found[theirs]
    return Line(f"{mine}: modules", "", found[mine], found[theirs], ratio)


def _started(statement: str) -> tuple[float, int]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(statement)],
        capture_output=True,
        text=True,
        check=True,
        env=_without_coverage(),
    )
    spent, modules = done.stdout.split()
    return float(spent), int(modules)


def _without_coverage() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("COV")}


def slowest(count: int = 25) -> str:
    """The modules that take longest to import by themselves, from ``-X importtime``."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", OURS], capture_output=True, text=True, check=True
    )
    rows = []
    for row in done.stderr.splitlines():
        own, _, rest = row.removeprefix("import time:").partition("|")
        total, _, name = rest.partition("|")
        if own.strip().isdigit():
            rows.append((int(own), int(total), name.strip()))
    rows.sort(reverse=True)
    body = [f"{own:>8} {total:>8}  {name}" for own, total, name in rows[:count]]
    return "\n".join([f"{'own µs':>8} {'with all':>8}  {OURS}", *body])
