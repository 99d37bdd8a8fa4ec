"""Write a first journey map for an application that exists already.

Reads the routes of FastAPI, Starlette, Flask or Django, the tasks of Celery, or an OpenAPI file,
and guesses names, stages, owners and journeys from their words. Every guess is marked, for people
to edit. The application is imported as its server would import it, and never run.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from cxtrace.cli import refuse, save
from cxtrace.platform.scaffold.draft import Draft, draft
from cxtrace.platform.scaffold.facts import ScaffoldError
from cxtrace.platform.scaffold.targets import read
from cxtrace.platform.scaffold.writing import write

EXAMPLE: Final = """\
  cxtrace scaffold shop.main:app              FastAPI, Starlette, Flask, Celery
  cxtrace scaffold "shop:create_app()"        what a function makes
  cxtrace scaffold django:project.settings    Django, with its settings
  cxtrace scaffold openapi.json               OpenAPI; .yaml needs PyYAML
  cxtrace scaffold shop.main:app shop.tasks:celery -o journeys.toml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    parser.add_argument(
        "targets",
        nargs="+",
        metavar="TARGET",
        help="module:object, django:settings, django (with DJANGO_SETTINGS_MODULE), or an OpenAPI"
        " file; several make one map",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="write the map here, instead of printing"
    )
    parser.add_argument("--force", action="store_true", help="with -o: replace a file that exists")
    parser.add_argument("--name", help="what to call the map; by default as the first target")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="PATH",
        help="leave out a path and all below it, such as /dashboard; may be repeated",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        dest="everything",
        help="take in what no customer meets, such as documentation, static files and HEAD",
    )
    parser.add_argument("--json", action="store_true", help="print what was guessed as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Read, guess, write, and give the exit code."""
    output: Path | None = arguments.output
    if output is not None and output.exists() and not arguments.force:
        return refuse(
            "scaffold", f"{output} exists; choose another file, or replace it with --force"
        )
    name = arguments.name
    if name is not None and not (name.strip() and name.isprintable()):
        return refuse("scaffold", f"--name {name!r}: write words, such as shop")
    try:
        applications = [read(target) for target in arguments.targets]
    except ScaffoldError as error:
        return refuse("scaffold", str(error))
    made = draft(
        applications,
        name or _name(applications[0].name),
        without=arguments.without,
        everything=arguments.everything,
    )
    if not made.steps:
        return refuse(
            "scaffold", f"nothing is found in {', '.join(arguments.targets)}{_left_out(made)}", 1
        )
    text = write(made)
    code = 0 if output is None else save("scaffold", output, text)
    if code != 0:
        return code
    if arguments.json:
        print(json.dumps(made.to_dict(), indent=2, ensure_ascii=False))
    elif output is None:
        print(text, end="")
    print(_summary(made, output), file=sys.stderr)
    return 0


def _name(found: str) -> str:
    plain = "".join(char for char in found if char.isprintable()).strip()
    return plain[:100] or "application"


def _summary(made: Draft, output: Path | None) -> str:
    kinds = [step.found.kind for step in made.steps]
    counts = [(kinds.count("route"), "route"), (kinds.count("task"), "task")]
    found = " and ".join(_count(number, word) for number, word in counts if number)
    stages, journeys = _count(len(made.stages), "stage"), _count(len(made.journeys), "journey")
    what = f"{_count(len(made.steps), 'touchpoint')} for {found}, in {stages} and {journeys}"
    where = output or "MAP"
    return "\n".join(
        [
            f"cxtrace scaffold: {what}{_left_out(made)}",
            f"next: edit what is marked as a guess, then run: cxtrace check {where}",
        ]
    )


def _left_out(made: Draft) -> str:
    reasons = ", ".join(f"{reason} ({len(paths)})" for reason, paths in made.reasons().items())
    return f"; left out: {reasons}" if reasons else ""


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
