"""Draw a journey map: in the terminal, as a Mermaid diagram, as JSON.

With --live, what was measured is laid over it: also as a page of HTML that needs nothing else.
Colour is used only in a terminal, and not at all if NO_COLOR is set.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Final, TextIO

from cxtrace._map import find as _find
from cxtrace.cli import _drawing, _live, _maps, is_among, refuse, save
from cxtrace.journey_map import JourneyMap, json_schema
from cxtrace.platform import mermaid

EXAMPLE: Final = """\
  cxtrace map                                          the map that is found
  cxtrace map examples/journeys.toml                   a map in a file
  cxtrace map --format mermaid --journey first_order   one journey, for a wiki
  cxtrace map --format schema > map.schema.json        for an editor
  cxtrace map --live telemetry.jsonl                   what was measured, too
  cxtrace map --live http://localhost:9090 --format html -o map.html
                                                       from Prometheus, a page"""

NARROWEST: Final = 40
WIDEST: Final = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    _maps.add_argument(parser)
    parser.add_argument(
        "--format",
        choices=["text", "mermaid", "json", "toml", "schema", "html"],
        default="text",
        help="what to print: a drawing (the default), a diagram, the map as data, the schema, or, "
        "with --live, a page",
    )
    parser.add_argument("--journey", metavar="NAME", help="with mermaid: draw this journey alone")
    parser.add_argument(
        "--json", action="store_const", const="json", dest="format", help="same as --format json"
    )
    _live.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the map and give the exit code."""
    if arguments.live is not None or arguments.format == "html":
        wrong = _live.wrong_use(arguments)
        if wrong is not None:
            return refuse("map", wrong)
    if arguments.format == "schema":
        return _deliver(json.dumps(json_schema(), indent=2), arguments.output)
    journey_map = _maps.read("map", arguments.maps)
    if isinstance(journey_map, int):
        return journey_map
    journey = arguments.journey
    if journey is not None and journey not in journey_map.journeys:
        return refuse("map", _maps.unknown("journey", journey, journey_map.journeys))
    if _is_read(arguments):
        return refuse("map", f"{arguments.output} is what is read: write to another file")
    if arguments.live is None:
        return _deliver(_text(journey_map, arguments.format, journey), arguments.output)
    return _deliver_live(journey_map, arguments)


def _is_read(arguments: argparse.Namespace) -> bool:
    """Whether the file to be written is the map, or what was measured."""
    file: Path | None = arguments.output
    if file is None:
        return False
    maps = _find.locate(arguments.maps or None, os.environ, Path()) or ()
    read = chain.from_iterable(map(_find.files, maps))
    return is_among(file, [*read, *map(Path, arguments.live or ())])


def _deliver_live(journey_map: JourneyMap, arguments: argparse.Namespace) -> int:
    try:
        live = _live.read(arguments.live, arguments.window, journey_map)
    except _live.SourceError as error:
        return refuse("map", str(error), 1)
    except OSError as error:
        return refuse("map", _live.unread(error))
    on = _drawing.Paper(WIDEST, _drawing.UNICODE, {})
    if arguments.output is None:
        on = paper(journey_map, sys.stdout, os.environ)
    return _deliver(_live.text(live, arguments, on), arguments.output)


def _deliver(text: str, file: Path | None) -> int:
    """Print a text, or write it to a file."""
    if file is None:
        print(text.rstrip("\n"))
        return 0
    code = save("map", file, text.rstrip("\n") + "\n")
    if code == 0:
        print(f"written   {file}")
    return code


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
