"""The ``cxtrace`` command: one module a command, imported only when it is used.

A command is a module with a docstring, an ``EXAMPLE``, ``add_arguments(parser)`` and
``run(arguments)``, which gives the exit code: 0, 1 for a finding, 2 for wrong use.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from shutil import get_terminal_size
from typing import Final
from urllib.parse import urlsplit

from cxtrace._version import version
from cxtrace.platform.trouble import why

COMMANDS: Final = {
    "check": ("cxtrace.cli.check", "find what is wrong in a journey map, and where code differs"),
    "collector": ("cxtrace.cli.collector", "write configurations of the OpenTelemetry Collector"),
    "dashboards": ("cxtrace.cli.dashboards", "write Grafana dashboards for a journey map"),
    "demo": ("cxtrace.cli.demo", "watch a small shop serve its customers, in three services"),
    "doctor": ("cxtrace.cli.doctor", "find what is wrong in the wiring, and follow a probe"),
    "explain": ("cxtrace.cli.explain", "list everything that is sent, and a record of processing"),
    "jaeger": (
        "cxtrace.cli.jaeger",
        "write Jaeger's configuration, with links to the map's people",
    ),
    "keys": ("cxtrace.cli.keys", "make keys, and find the pseudonyms of customers"),
    "link": ("cxtrace.cli.link", "print the address that opens the right search of traces"),
    "map": ("cxtrace.cli.map", "draw a journey map"),
    "rules": ("cxtrace.cli.rules", "write Prometheus rules, alerts and SLO files from a map"),
    "scaffold": ("cxtrace.cli.scaffold", "write a first journey map for an existing application"),
    "run": ("cxtrace.cli.run", "run a service with the touchpoints of its map, untouched"),
    "view": ("cxtrace.cli.view", "show the journeys of a recording as a page of HTML"),
}
"""Module and one line of help of each command."""

_ELSEWHERE: Final = {
    "report": "cxtrace map --live SOURCE lays what was measured over the journey map",
}
"""What to write instead of a command that people look for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments after the name of the program; by default those of the process.

    Returns:
        The exit code: 0, 1 for a finding, 2 for wrong use.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(arguments)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    except BrokenPipeError:
        print_no_more()
        return 0
    except UnicodeDecodeError:
        return refuse(arguments[0], "what is read is no text in UTF-8")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return refuse("".join(arguments[:1]), f"{where}{why(error)}")


def print_no_more() -> None:
    """Go on where the reader, such as `head`, has seen enough and is gone."""
    # Python would complain once more while it closes the stream, hence one that goes nowhere.
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def refuse(command: str, why: str, code: int = 2) -> int:
    """Say why a command does not do what it was asked for, and give the exit code."""
    print(f"cxtrace {command}: {why}", file=sys.stderr)
    return code


def save(command: str, file: Path, text: str) -> int:
    """Write a file, make the folders that are missing, and give the exit code."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        return refuse(command, f"{file} cannot be written: {why(error)}")
    return 0


def is_address(text: str) -> bool:
    """Whether a text is meant as an address of the web, and not as the path of a file."""
    return text.lower().startswith(("http://", "https://"))


def address(text: str) -> str:
    """An argument that is the address of a page or an API, to which a path can be added.

    Raises:
        ArgumentTypeError: It is none. It is not repeated, for it may hold a password.
    """
    if not _is_base(text):
        raise argparse.ArgumentTypeError(
            "write an address that begins with http:// or https://, such as http://HOST:PORT"
        )
    return text


def service_name(text: str) -> str:
    """An argument that is the name of a service.

    Raises:
        ArgumentTypeError: It is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("name the service as its OTEL_SERVICE_NAME does")
    return text


def _is_base(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_http = parts.scheme in {"http", "https"} and parts.port != 0
    except ValueError:
        return False
    return is_http and bool(parts.hostname) and not parts.query and not parts.fragment


def is_among(file: Path, others: Iterable[Path]) -> bool:
    """Whether a file that is to be written is one of those that are read."""
    return file.exists() and any(other.exists() and file.samefile(other) for other in others)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_overview())
        return 0 if arguments else 2
    name = arguments[0]
    if name == "--version":
        print(f"cxtrace {version()}")
        return 0
    if name not in COMMANDS:
        print(f"cxtrace: {name!r} is not a command; {_advice(name)}", file=sys.stderr)
        return 2
    command = import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser(
        prog=f"cxtrace {name}",
        description=_as_wide_as_the_terminal(command.__doc__ or ""),
        epilog=f"example:\n{command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    code: int = command.run(parser.parse_args(arguments[1:]))
    sys.stdout.flush()
    return code


def _advice(name: str) -> str:
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    near = get_close_matches(name, COMMANDS, n=1)
    return f"did you mean {near[0]}?" if near else f"write one of: {', '.join(COMMANDS)}"


def _as_wide_as_the_terminal(text: str) -> str:
    # argparse would make one paragraph of all, for the examples below must keep their lines.
    width = get_terminal_size().columns - 2
    return "\n\n".join(textwrap.fill(each, width) for each in text.strip().split("\n\n"))


def _overview() -> str:
    # Not `map(len, COMMANDS)`: once the command of that name is imported, `map` is its module here.
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:{width}}  {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: cxtrace COMMAND [ARGUMENT ...]",
            "",
            *lines,
            "",
            "cxtrace COMMAND --help says more",
        ]
    )
