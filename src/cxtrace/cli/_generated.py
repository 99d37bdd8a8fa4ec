"""What the commands that generate files from a map have in common."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from cxtrace._tree import printable
from cxtrace.cli import _maps, refuse
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.trouble import why
from cxtrace.platform.writing import (
    Files,
    MissingExtraError,
    compare,
    difference,
    write,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the map is, and where the files go."""
    _maps.add_argument(parser)
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, help="write the files here; else print them"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="with -o: write nothing, show what differs from what it should be, and exit with 1 if"
        " anything does",
    )


def generate(
    command: str, arguments: argparse.Namespace, files_of: Callable[[JourneyMap], Files]
) -> int:
    """Read the map, make files of it, write or print them, and give the exit code."""
    if arguments.check and arguments.output is None:
        return refuse(command, "--check compares with a folder: name it with -o")
    journey_map = _maps.read(command, arguments.maps)
    if isinstance(journey_map, int):
        return journey_map
    try:
        files = files_of(journey_map)
    except MissingExtraError as error:
        return refuse(command, str(error))
    if arguments.output is None:
        _print(files)
        return 0
    return _deliver(command, arguments.output, files, is_check=arguments.check)


def _print(files: Files) -> None:
    for name, text in files.items():
        if len(files) > 1:
            print(f"----- {name}")
        print(text, end="")


def _deliver(command: str, folder: Path, files: Files, *, is_check: bool) -> int:
    if is_check:
        return _compare(files, folder)
    try:
        done = write(files, folder)
    except OSError as error:
        return refuse(command, f"{error.filename} cannot be written: {why(error)}")
    for name in done.changed:
        print(f"written   {folder / name}")
    _print_same(done.same, folder)
    return 0


def _compare(files: Files, folder: Path) -> int:
    done = compare(files, folder)
    for name in done.changed:
        path = folder / name
        print(f"{'differs' if path.exists() else 'missing'}   {path}")
        for line in difference(path, files[name]):
            print(f"  {printable(line)}")
    _print_same(done.same, folder)
    return int(bool(done.changed))


def _print_same(names: Iterable[str], folder: Path) -> None:
    for name in names:
        print(f"as it is  {folder / name}")
