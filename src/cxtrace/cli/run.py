"""Run a service with the touchpoints of its journey map, and no line of code.

Python starts OpenTelemetry's automatic instrumentation, where its packages are installed, and
cxtrace, before the service itself. Settings come from the environment and pyproject.toml.
"""

import argparse
import os
import shutil
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, NoReturn

from cxtrace._project import tool_table
from cxtrace.cli import refuse
from cxtrace.exceptions import ConfigurationError

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
        return refuse("run", "name a command: cxtrace run -- gunicorn shop.wsgi", _NOT_FOUND)
    program = shutil.which(command[0], path=_search_path())
    if program is not None:
        _become(program, command[1:])
    return refuse("run", f"{command[0]!r} is no program on the path", _NOT_FOUND)


def _search_path() -> str:
    """Programs of this environment first, for they have us; it need not be activated."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _become(program: str, arguments: list[str]) -> NoReturn:
    given = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_STARTUP), given]))
    sys.stdout.flush()
    _choose_exporters()
    # Python looks for its packages beside the path by which it was called.
    os.execv(program, [program, *arguments])  # noqa: S606  to run what the user names is the purpose


def _choose_exporters() -> None:
    """Say in the environment what is chosen, where a distribution of OpenTelemetry is installed.

    It writes its own choice there, OTLP, which would overrule ``pyproject.toml``.
    """
    chosen = os.environ.get("CXTRACE_EXPORTER") or _of_project()
    if chosen and entry_points(group="opentelemetry_distro"):
        os.environ["CXTRACE_EXPORTER"] = chosen
        for signal in _silent(chosen):
            os.environ.setdefault(f"OTEL_{signal}_EXPORTER", "none")


def _silent(chosen: str) -> tuple[str, ...]:
    """The signals that the distribution should not send by itself."""
    if any(name.strip().startswith("otlp") for name in chosen.split(",")):
        return ("TRACES",)  # they would be sent twice
    # Nobody has named a collector, unless there is an endpoint.
    return () if _has_endpoint() else ("TRACES", "METRICS", "LOGS")


def _of_project() -> str:
    """The exporter that ``pyproject.toml`` names, unless the environment names one."""
    if os.environ.get("OTEL_TRACES_EXPORTER"):
        return ""
    try:
        exporter = tool_table(Path())[1].get("exporter")
    except (ConfigurationError, OSError):
        return ""  # The service will say what is wrong.
    return exporter if isinstance(exporter, str) else ""


def _has_endpoint() -> bool:
    return any(
        name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("ENDPOINT") for name in os.environ
    )
