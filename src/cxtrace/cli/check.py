"""Find what is wrong in a journey map, and where code says something else.

The map is checked first. If CODE is given, its touchpoints, interactions and journeys are found
without importing it, and compared with the map. Exits with 1 if there is an error.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cxtrace._code_check import compare
from cxtrace._code_scan import Scan, scan
from cxtrace._map import find as _map_find
from cxtrace._map.lint import Finding, Level, lint
from cxtrace.cli import refuse
from cxtrace.cli._maps import NO_MAP, absent
from cxtrace.exceptions import MapError, Problem
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.series import ASSUMED, LIMIT, Series, worst_case

EXAMPLE: Final = """\
  cxtrace check                            the map that is found, alone
  cxtrace check journeys.toml src/         the map and the code
  cxtrace check --series journeys.toml     how many series the metrics can have
  cxtrace check --strict --ignore outside-journeys journeys.toml src/"""

NO_CODE: Final = "; no code was named, so none was checked"

RULES: Final = (
    *("map", "unreadable-code", "not-checked", "two-definitions", "not-emitted"),
    *("unknown-touchpoint", "unknown-interaction", "unknown-journey"),
    *("different-stage", "different-owner", "different-channel"),
    *("unused-function", "unused-promise", "outside-journeys", "empty-stage"),
    *("owner-without-influence", "one-function-journey", "system-word", "phase-order"),
    *("journey-not-told", "personal-value"),
    *("match-not-found", "match-twice", "undisclosed-nudge", "series"),
)
"""What can be ignored."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="MAP or CODE",
        type=Path,
        help="first the map: .toml files, or a directory that holds some; without one it is found."
        " Then files or directories of Python code",
    )
    parser.add_argument("--strict", action="store_true", help="warnings fail the check too")
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="RULE",
        help="leave out the findings of a rule, named in brackets; may be repeated",
    )
    parser.add_argument(
        "--series",
        action="store_true",
        help="print how many series each metric of the map can have, in the worst case",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Check, print what is found, and give the exit code."""
    missing = absent(arguments.paths)
    if missing is not None:
        return refuse("check", missing)
    unknown = [rule for rule in arguments.ignore if rule not in RULES]
    if unknown:
        advice = f"the rules are {', '.join(RULES)}"
        return refuse("check", f"{unknown[0]!r} is not a rule; {advice}")
    maps, code = split(arguments.paths)
    scanned = scan(code)
    try:
        journey_map = JourneyMap.find(maps or None)
    except MapError as error:
        findings = [Finding("map", "error", problem) for problem in error.problems]
        counted = []
    else:
        if journey_map is None:
            return refuse("check", NO_MAP)
        findings = [*lint(journey_map), *(compare(journey_map, scanned) if code else ())]
        counted = [(item, _finding(item, journey_map)) for item in worst_case(journey_map)]
        findings += [finding for item, finding in counted if item.past_limit]
    findings = [finding for finding in findings if finding.rule not in arguments.ignore]
    counted = [] if "series" in arguments.ignore else counted
    if arguments.json:
        _print_json(findings, counted)
    else:
        _print_series([item for item, _ in counted] if arguments.series else [])
        _print_lines(findings, f"the map{_and_code(scanned) if code else NO_CODE}")
    failing = {"error", "warning"} if arguments.strict else {"error"}
    return int(any(finding.level in failing for finding in findings))


def split(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Tell the paths of the map from those of the code.

    The map is all that ends in ``.toml``; else the first path, if it is a directory with such
    files. That directory is code as well, if there is Python code in it.
    """
    maps = [path for path in paths if path.suffix == ".toml"]
    code = [path for path in paths if path.suffix != ".toml"]
    if not maps and code and code[0].is_dir() and _map_find.files(code[0]):
        maps = [code[0]]
        code = code if any(code[0].rglob("*.py")) else code[1:]
    return maps, code


def _finding(series: Series, journey_map: JourneyMap) -> Finding:
    message = f"{series.count:,} of {LIMIT:,} series in the worst case"
    if series.past_limit:
        message = f"{series.count:,} series in the worst case, and OpenTelemetry keeps {LIMIT:,}"
        message += "; send fewer journeys through the same touchpoints, or divide the map"
    level: Level = "warning" if series.past_limit else "note"
    return Finding("series", level, Problem(journey_map.name, 0, series.instrument, message))


def _print_series(every: Sequence[Series]) -> None:
    for series in every:
        buckets = (
            f", in Prometheus {series.prometheus:,}" if series.prometheus > series.count else ""
        )
        print(f"series: {series.instrument} {series.count:,} of {LIMIT:,}{buckets}")
    if every:
        values = ", ".join(f"{number} for {label}" for label, number in ASSUMED.items())
        print(f"series: assumed numbers of values: {values}")


def _print_json(findings: Sequence[Finding], every: Sequence[tuple[Series, Finding]]) -> None:
    plain = [finding.to_dict() for finding in findings if finding.rule != "series"]
    for series, finding in every:
        numbers = {"series": series.count, "limit": LIMIT, "prometheus": series.prometheus}
        plain.append({**finding.to_dict(), **numbers})
    print(json.dumps(plain, indent=2, ensure_ascii=False))


def _and_code(scanned: Scan) -> str:
    count = len(scanned.files)
    return f" and {count} file{'' if count == 1 else 's'} of code"


def _print_lines(findings: Sequence[Finding], where: str) -> None:
    for finding in findings:
        print(f"{finding.level}: {finding.problem} [{finding.rule}]")
    counts = Counter(finding.level for finding in findings)
    words = [f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items()]
    print(f"{', '.join(words) or 'nothing found'} in {where}")
