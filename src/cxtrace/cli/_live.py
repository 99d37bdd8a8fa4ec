"""``cxtrace map --live``: read what was measured, and write it in one of the forms."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from cxtrace.cli import _living, address, is_address
from cxtrace.cli._drawing import Paper
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.live import diagram, page, recordings, stores
from cxtrace.platform.live.data import data
from cxtrace.platform.live.measured import LiveMap, measured
from cxtrace.platform.trouble import why

FORMS: Final = ("text", "mermaid", "json", "html")
"""What ``--format`` may be together with ``--live``."""


class SourceError(Exception):
    """What was measured cannot be read; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say where measurements come from, and what becomes of them."""
    parser.add_argument(
        "--live",
        action="append",
        metavar="SOURCE",
        type=_source,
        help="lay measured values over the map: the address of a Prometheus API (http://…), or a "
        "file of OTLP JSON lines; several files may be given, each with --live",
    )
    parser.add_argument(
        "--window",
        default="1d",
        help="with an address: how far to look back, such as 7d or 1h30m; by default a day",
    )
    parser.add_argument(
        "--jaeger",
        metavar="URL",
        type=address,
        help="with html: link visits to their traces in this Jaeger",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="write to a file; else print"
    )


def _source(text: str) -> str:
    return address(text) if is_address(text) else text


def wrong_use(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the arguments, in words."""
    if arguments.live is None:
        return "html shows measured values: name their --live SOURCE"
    if arguments.format not in FORMS:
        return f"--live has nothing to do with {arguments.format}: take one of {', '.join(FORMS)}"
    if not stores.is_window(arguments.window):
        return f"{arguments.window!r} is no time to look back: write it as 1d or 1h30m"
    if len(arguments.live) > 1 and any(map(is_address, arguments.live)):
        return "--live takes one address, or files"
    return None


def read(sources: Sequence[str], window: str, journey_map: JourneyMap) -> LiveMap:
    """Lay over the map what its sources have measured.

    Raises:
        SourceError: A store cannot be asked, or nothing has been measured.
        OSError: A file cannot be read.
    """
    try:
        is_store = is_address(sources[0])
        tally = stores.read(sources[0], window) if is_store else recordings.read(sources)
    except stores.StoreError as error:
        raise SourceError(str(error)) from None
    if not tally.visits:
        # What a store has seen once it takes for where counting began.
        hint = ". New series count from their second export on" if is_store else ""
        notes = "".join(f". {note.rstrip('.')}" for note in tally.notes)
        msg = f"no visit to any touchpoint was found: {tally.source}{notes}{hint}"
        raise SourceError(msg)
    return measured(journey_map, tally)


def unread(error: OSError) -> str:
    """Why a file cannot be read, in words; what is not there may have been meant as an address."""
    hint = "; an address begins with http://" if isinstance(error, FileNotFoundError) else ""
    return f"{error.filename} cannot be read: {why(error)}{hint}"


def text(live: LiveMap, arguments: argparse.Namespace, on: Paper) -> str:
    """The living map in the form that is wanted."""
    forms: Mapping[str, Callable[[], str]] = {
        "text": lambda: "\n".join(_living.draw(live, on)),
        "mermaid": lambda: diagram.diagram(live, arguments.journey),
        "json": lambda: json.dumps(data(live), indent=2, ensure_ascii=False),
        "html": lambda: page.html(live, "cxtrace map --live", arguments.jaeger),
    }
    return forms[arguments.format]()
