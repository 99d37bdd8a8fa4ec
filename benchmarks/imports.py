"""What an import takes, in Python processes that are started in turn."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
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
    """Processor time and modules, without the start of Python itself."""
    statements = (OURS, API, _CONFIGURE, _SDK)
    times: dict[str, list[float]] = {statement: [] for statement in statements}
    modules: dict[str, int] = {}
    with _warm_bytecode(statements) as environ:
        for number in range(size.starts):
            for statement in statements if number % 2 == 0 else reversed(statements):
                spent, modules[statement] = _started(statement, environ)
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


@contextmanager
def _warm_bytecode(statements: Sequence[str]) -> Iterator[dict[str, str]]:
    """The environment in which all modules, ours as well as installed ones, are compiled.

    Without it, a checkout whose bytecode nobody may write would be compiled on every start.
    """
    with TemporaryDirectory() as folder:
        environ = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for statement in statements:
            _started(statement, environ)
        yield environ


def _started(statement: str, environ: Mapping[str, str]) -> tuple[float, int]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(statement)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environ,
    )
    spent, modules = done.stdout.split()
    return float(spent), int(modules)


def slowest(count: int = 25) -> str:
    """The modules that take longest to import by themselves, from ``-X importtime``."""
    command = [sys.executable, "-X", "importtime", "-c", OURS]
    with _warm_bytecode([OURS]) as environ:
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True, env=environ)
    rows = []
    for row in done.stderr.splitlines():
        own, _, rest = row.removeprefix("import time:").partition("|")
        total, _, name = rest.partition("|")
        if own.strip().isdigit():
            rows.append((int(own), int(total), name.strip()))
    rows.sort(reverse=True)
    body = [f"{own:>8} {total:>8}  {name}" for own, total, name in rows[:count]]
    return "\n".join([f"{'own µs':>8} {'with all':>8}  {OURS}", *body])
