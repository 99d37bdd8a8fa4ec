"""The ``cxtrace`` command: one module a command, imported only when it is used.

A command is a module with a docstring, an ``EXAMPLE``, ``add_arguments(parser)`` and
``run(arguments)``, which gives the exit code: 0, 1 for a finding, 2 for wrong use.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Final

from cxtrace._version import version

COMMANDS: Final = {
    "check": ("cxtrace.cli.check", "find what is wrong in a journey map, and where code differs"),
    "demo": ("cxtrace.cli.demo", "watch a small shop serve its customers, in three services"),
    "doctor": ("cxtrace.cli.doctor", "find what is wrong in the wiring, and follow a probe"),
    "map": ("cxtrace.cli.map", "draw a journey map"),
    "scaffold": ("cxtrace.cli.scaffold", "write a first journey map for an existing application"),
    "run": ("cxtrace.cli.run", "run a service with the touchpoints of its map, untouched"),
}
"""Module and one line of help of each command."""


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


def print_no_more() -> None:
    """Go on where the reader, such as `head`, has seen enough and is gone."""
    # Python would complain once more while it closes the stream, hence one that goes nowhere.
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_overview())
        return 0 if arguments else 2
    name = arguments[0]
    if name == "--version":
        print(f"cxtrace {version()}")
        return 0
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        advice = f"did you mean {near[0]}?" if near else f"write one of: {', '.join(COMMANDS)}"
        print(f"cxtrace: {name!r} is not a command; {advice}", file=sys.stderr)
        return 2
    command = import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser(
        prog=f"cxtrace {name}",
        description=command.__doc__,
        epilog=f"example:\n{command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    code: int = command.run(parser.parse_args(arguments[1:]))
    sys.stdout.flush()
    return code


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
