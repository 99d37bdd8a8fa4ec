"""Draw a journey map: in the terminal, as a Mermaid diagram, as JSON.

Colour is used only in a terminal, and not at all if NO_COLOR is set.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TextIO

from cxtrace.cli import _drawing
from cxtrace.cli.check import NO_MAP
from cxtrace.exceptions import MapError
from cxtrace.journey_map import JourneyMap, json_schema
from cxtrace.platform import mermaid

EXAMPLE: Final = """\
  cxtrace map                                             the map that is found
  cxtrace map examples/journeys.toml                      a map in a file
  cxtrace map --format mermaid --journey first_order      one journey, for a wiki
  cxtrace map --format schema > journey-map.schema.json   the JSON Schema, for an editor"""

NARROWEST: Final = 40
WIDEST: Final = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    parser.add_argument(
        "maps",
        nargs="*",
        metavar="MAP",
        type=Path,
        help=".toml files or directories of them; without one the map is found",
    )
    parser.add_argument(
        "--format",
        choices=["text", "mermaid", "json", "toml", "schema"],
        default="text",
        help="what to print: a drawing (the default), a diagram, the map as data, or the schema",
    )
    parser.add_argument("--journey", metavar="NAME", help="with mermaid: draw this journey alone")
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="same as --format json"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the map and give the exit code."""
    if arguments.format == "schema":
        print(json.dumps(json_schema(), indent=2))
        return 0
    missing = [str(path) for path in arguments.maps if not path.exists()]
    if missing:
        return _wrong_use(f"no such file: {', '.join(missing)}")
    try:
        journey_map = JourneyMap.find(arguments.maps or None)
    except MapError as error:
        print(error, file=sys.stderr)
        return 1
    if journey_map is None:
        return _wrong_use(NO_MAP)
    journey = arguments.journey
    if journey is not None and journey not in journey_map.journeys:
        return _wrong_use(f"the map has no journey {journey!r}: {', '.join(journey_map.journeys)}")
    print(_text(journey_map, arguments.format, journey).rstrip("\n"))
    return 0


def _wrong_use(message: str) -> int:
    print(f"cxtrace map: {message}", file=sys.stderr)
    return 2


def _text(journey_map: JourneyMap, form: str, journey: str | None) -> str:
    if form == "json":
        return json.dumps(journey_map.to_dict(), indent=2, ensure_ascii=False)
    if form == "toml":
        return journey_map.dump()
    if form == "text":
        return "\n".join(_drawing.draw(journey_map, paper(journey_map, sys.stdout, os.environ)))
    if journey is None:
        return mermaid.map_diagram(journey_map)
    return mermaid.journey_diagram(journey_map, journey)


def paper(journey_map: JourneyMap, stream: TextIO, environ: Mapping[str, str]) -> _drawing.Paper:
    """What a stream can show: its width, its characters, its colours."""
    width = shutil.get_terminal_size((100, 24)).columns
    plain = _drawing.paper(max(NARROWEST, min(WIDEST, width)), glyphs(stream.encoding))
    shows_colour = stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return _drawing.coloured(plain, journey_map) if shows_colour else plain


def glyphs(encoding: str | None) -> _drawing.Glyphs:
    """The best characters that an encoding has."""
    every = "".join(str(text) for text in (_drawing.UNICODE.shades, "→◎─·“”"))
    try:
        every.encode(encoding or "ascii")
    except UnicodeEncodeError:
        return _drawing.ASCII
    return _drawing.UNICODE
