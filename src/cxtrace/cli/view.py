"""Show the journeys of a recording as one page of HTML, which needs no backend and no network.

A recording is a file of OTLP JSON lines, as configure(exporter="file:telemetry.jsonl") writes it,
or a Collector. The page lists the journeys, filters them, and shows each across its traces.
"""

import argparse
import webbrowser
from pathlib import Path
from typing import Final

from cxtrace.cli import address, is_among, refuse, save
from cxtrace.exporters import read_spans
from cxtrace.platform.trouble import why
from cxtrace.platform.view.page import html

EXAMPLE: Final = """\
  cxtrace view telemetry.jsonl                    writes telemetry.html, here
  cxtrace view telemetry.jsonl --open             and opens it in a browser
  cxtrace view shop.jsonl payments.jsonl -o journeys.html
                                                  through two services"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path, help="OTLP JSON lines")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="the page; by default FILE.html, here"
    )
    parser.add_argument("--jaeger", metavar="URL", type=address, help="link traces to this Jaeger")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")


def run(arguments: argparse.Namespace) -> int:
    """Write the page and give the exit code: 1 if no customer met a touchpoint."""
    try:
        recording = read_spans(*arguments.files)
    except OSError as error:
        return refuse("view", f"{error.filename} cannot be read: {why(error)}")
    if not recording.spans:
        files = ", ".join(map(str, arguments.files))
        broken = f"; {recording.skipped} lines are no OTLP JSON" if recording.skipped else ""
        return refuse("view", f"there is no span in {files}{broken}", 1)
    page = arguments.output or Path(arguments.files[0].with_suffix(".html").name)
    if is_among(page, arguments.files):
        return refuse("view", f"{page} is what is read: name another file with -o")
    source = ", ".join(path.name for path in arguments.files)
    code = save("view", page, html(recording, source, arguments.jaeger))
    if code != 0:
        return code
    print(page)
    if arguments.open:
        webbrowser.open(page.absolute().as_uri())
    return 0
