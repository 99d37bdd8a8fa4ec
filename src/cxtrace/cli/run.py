"""Run a service with the touchpoints of its journey map, and no line of code.

Python starts OpenTelemetry's automatic instrumentation, where its packages are installed, and
cxtrace, before the service itself. Settings come from the environment and pyproject.toml.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Final, NoReturn

EXAMPLE: Final = "  CXTRACE_MAP=journeys.toml cxtrace run -- gunicorn shop.wsgi"

_STARTUP: Final = Path(__file__).resolve().parents[1] / "_startup"
_NOT_FOUND: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="the command that starts the service, after --"
    )


def run(arguments: argparse.Namespace) -> int:
    """Become the service."""
    command = arguments.command[arguments.command[:1] == ["--"] :]
    if not command:
        print("cxtrace run: name a command: cxtrace run -- gunicorn shop.wsgi", file=sys.stderr)
        return _NOT_FOUND
    program = shutil.which(command[0], path=_search_path())
    if program is not None:
        _become(program, command[1:])
    print(f"cxtrace run: {command[0]!r} is no program on the path", file=sys.stderr)
    return _NOT_FOUND


def _has_endpoint() -> bool:
    return any(
        name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("ENDPOINT") for name in os.environ
    )


def _search_path() -> str:
    """Programs of this environment first, for they have us; it need not be activated."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _become(program: str, arguments: list[str]) -> NoReturn:
    given = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_STARTUP), given]))
    sys.stdout.flush()
    if os.environ.get("CXTRACE_EXPORTER") and not _has_endpoint():
        # OpenTelemetry's distribution would send to a collector that nobody has named.
        for signal in ("TRACES", "METRICS", "LOGS"):
            os.environ.setdefault(f"OTEL_{signal}_EXPORTER", "none")
    # Python looks for its packages beside the path by which it was called.
    os.execv(program, [program, *arguments])  # noqa: S606  to run what the user names is the purpose
