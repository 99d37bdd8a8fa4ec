"""The map that a command is about: where it is, and what is said without one."""

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from cxtrace._map.text import choices, guess
from cxtrace.cli import refuse
from cxtrace.exceptions import MapError
from cxtrace.journey_map import JourneyMap

NO_MAP: Final = (
    "no journey map is found; name one, or set CXTRACE_MAP or [tool.cxtrace] journey_map"
)


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Let the map be named."""
    parser.add_argument(
        "maps",
        nargs="*",
        metavar="MAP",
        type=Path,
        help=".toml files or directories of them; without one the map is found",
    )


def absent(paths: Sequence[Path]) -> str | None:
    """Which of these are not there, in words; None if all are."""
    missing = [str(path) for path in paths if not path.exists()]
    return f"no such file: {', '.join(missing)}" if missing else None


def unknown(kind: str, name: str, names: Collection[str]) -> str:
    """That the map does not have a name, and what was probably meant."""
    near = guess(name, names)
    advice = choices(names) if near is None else f'; did you mean "{near}"?'
    return f'the map has no {kind} "{name}"{advice}'


def read(command: str, maps: Sequence[Path]) -> JourneyMap | int:
    """The map that is named or found; where there is none, it is said, and the exit code given."""
    found = find(command, maps)
    return refuse(command, NO_MAP) if found is None else found


def find(command: str, maps: Sequence[Path]) -> JourneyMap | int | None:
    """The map that is named or found, if any; what is wrong is said, and the exit code given."""
    missing = absent(maps)
    if missing is not None:
        return refuse(command, missing)
    try:
        return JourneyMap.find(maps or None)
    except MapError as error:
        print(error, file=sys.stderr)
        return 1
