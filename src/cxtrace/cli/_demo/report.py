"""A run as text: a journey as a tree, the map with what happened, signals, checks, and files."""

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from cxtrace import attributes as names
from cxtrace._tree import RecordedSpan, draw_trace, printable
from cxtrace.cli import _drawing
from cxtrace.cli._demo.facts import START_JAEGER, Found, Walk, of_journey, services_of
from cxtrace.cli._demo.reading import jaeger_url
from cxtrace.cli._demo.summary import frictions, promises, stages
from cxtrace.cli.map import paper
from cxtrace.journey_map import JourneyMap

_SIGNS: Final = {
    "completed": ("✓", "+"),
    "failed": ("✗", "x"),
    "abandoned": ("○", "o"),
    "handed_off": ("→", ">"),
    "deferred": ("…", "."),
}
_COLOURS: Final = {"completed": "32", "failed": "31", "abandoned": "33"}
_RESULTS: Final = {"kept": "completed", "broken": "failed", "unmeasured": "deferred"}
"""Results of a promise as they are shown, each by the sign of an outcome."""


def report(found: Found) -> Iterator[str]:
    """The lines that tell what a run found, as standard output can show them."""
    on = _paper(found.journey_map)
    if found.spans is not None:
        yield from _tree(found.walks, found.spans, on)
        yield from _map(found, on)
        yield from _frictions(found, on)
        yield from _promises(found, on)
    yield from _verdict(found, on)
    yield from _where(found, on)


def _paper(journey_map: JourneyMap) -> _drawing.Paper:
    on = paper(journey_map, sys.stdout, os.environ)
    return attrs.evolve(on, colours={**on.colours, **_COLOURS}) if on.colours else on


def _title(text: str, detail: str, on: _drawing.Paper) -> str:
    left = on.width - len(f"{text} {detail} ")
    rest = f"{detail} {on.glyphs.rule * max(0, left)}".strip()
    return f"{on.paint(text, 'bold')} {on.paint(rest, 'dim')}"


def _longest(walks: Sequence[Walk], spans: Sequence[RecordedSpan]) -> Walk | None:
    return max(walks, key=lambda walk: len(of_journey(spans, walk)), default=None)


def _tree(
    walks: Sequence[Walk], spans: Sequence[RecordedSpan], on: _drawing.Paper
) -> Iterator[str]:
    """The journey that went furthest, as one tree."""
    longest = _longest(walks, spans)
    journey = [] if longest is None else of_journey(spans, longest)
    drawn = [span for span in journey if span.name != "connect"]
    if not drawn:
        return
    roots = sum(span.parent_id is None for span in drawn)
    services = ", ".join(services_of(journey))
    yield ""
    yield _title("One journey", f"{roots} requests of one customer in {services}", on)
    yield from _known_as(journey, on)
    text = draw_trace(
        _as_one_trace(drawn),
        width=on.width,
        colour=bool(on.colours),
        ascii_only=on.glyphs is _drawing.ASCII,
    )
    # The first line names a trace, and here are many.
    yield from text.splitlines()[1:]
    if len(drawn) < len(journey):
        yield on.paint(f"{len(journey) - len(drawn)} spans named connect are not shown", "dim")


def _known_as(journey: Iterable[RecordedSpan], on: _drawing.Paper) -> Iterator[str]:
    """Under which pseudonyms the requests of a journey went, and since which touchpoint."""
    since: dict[str, str] = {}
    for span in sorted(journey, key=lambda span: span.start_ns):
        if span.parent_id is None:
            pseudonym = str(span.attributes.get(names.CUSTOMER_PSEUDONYM))
            since.setdefault(pseudonym, str(span.attributes.get(names.TOUCHPOINT_NAME)))
    for pseudonym, touchpoint in since.items():
        yield on.paint(f"customer {printable(pseudonym)} since {printable(touchpoint)}", "dim")


def _as_one_trace(spans: Sequence[RecordedSpan]) -> list[RecordedSpan]:
    first = min(spans, key=lambda span: span.start_ns)
    tags = first.attributes
    journey = RecordedSpan(
        trace_id="",
        span_id="journey",
        name=f"{tags.get(names.JOURNEY_NAME, '?')} {tags.get(names.JOURNEY_ID, '?')}",
        start_ns=first.start_ns,
        end_ns=max(span.end_ns for span in spans),
        service_name=first.service_name,
    )
    below = [
        attrs.evolve(span, trace_id="", parent_id=span.parent_id or "journey") for span in spans
    ]
    return [journey, *below]


def _map(found: Found, on: _drawing.Paper) -> Iterator[str]:
    told = stages(found.spans or (), found.journey_map)
    rows = [touchpoint for stage in told for touchpoint in stage["touchpoints"]]
    width = max(len(row["name"]) for row in rows)
    outcomes = max(len("  ".join(_outcomes(row, on))) for row in (*told, *rows))
    met = sum(row["count"] for row in rows)
    yield ""
    yield _title(
        f"The map {found.journey_map.name}",
        f"{len(found.walks)} customers, {met} touchpoints, and what became of them",
        on,
    )
    for stage in told:
        yield ""
        phase = _drawing.PHASES[stage["phase"]]
        yield f"{_cells(stage, width, outcomes, on, 'bold')}  {on.paint(phase, 'dim')}"
        for row in stage["touchpoints"]:
            owner = on.paint(row["owner"] or "", f"function {row['owner']}")
            yield f"{_cells(row, width, outcomes, on, '')}  {owner}"
    yield ""
    seen = dict.fromkeys(outcome for stage in told for outcome in stage["outcomes"])
    legend = (f"{sign_of(outcome, on.glyphs)} {outcome}" for outcome in seen)
    yield on.paint("   ".join(legend), "dim")


def _cells(
    row: Mapping[str, Any], width: int, outcomes: int, on: _drawing.Paper, style: str
) -> str:
    indent = "" if style else "  "
    name = f"{indent}{row['name']:{width + 2 - len(indent)}}"
    if not row["count"]:
        # As wide as the count, the outcomes and the duration of other rows, with what parts them.
        return on.paint(f"{name}  {'not reached':>{6 + outcomes + 11}}", "dim")
    plain = _outcomes(row, on)
    told = "  ".join(
        on.paint(text, outcome) for text, outcome in zip(plain, row["outcomes"], strict=True)
    )
    space = " " * (outcomes - len("  ".join(plain)))
    duration = _duration(row["median_s"])
    return f"{on.paint(name, style)}  {row['count']:4}  {told}{space}  {duration:>9}"


def _outcomes(row: Mapping[str, Any], on: _drawing.Paper) -> list[str]:
    return [f"{sign_of(outcome, on.glyphs)} {count}" for outcome, count in row["outcomes"].items()]


def sign_of(outcome: str, glyphs: _drawing.Glyphs) -> str:
    """One character for an outcome."""
    return _SIGNS.get(outcome, ("?", "?"))[glyphs is _drawing.ASCII]


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1_000:.3g} ms"


def _frictions(found: Found, on: _drawing.Paper) -> Iterator[str]:
    told = frictions(found.spans or (), found.journey_map)
    if not told:
        return
    total = sum(row["count"] for row in told)
    yield ""
    yield _title("What hindered them", f"{total} frictions", on)
    width = max(len(row["stage"]) for row in told)
    for row in told:
        types = ", ".join(f"{type_} {count}" for type_, count in row["types"].items())
        yield from _hanging(f"{row['stage']:{width}}  {row['count']:4}  ", types, on)


def _promises(found: Found, on: _drawing.Paper) -> Iterator[str]:
    told = [row for row in promises(found.spans or (), found.journey_map) if row["results"]]
    if not told:
        return
    yield ""
    yield _title("What was promised", "and who was happy although it was broken", on)
    cells = [_results(row["results"], on) for row in told]
    width = max(len(row["id"]) for row in told)
    space = max(len("  ".join(plain)) for plain, _ in cells)
    for row, (plain, painted) in zip(told, cells, strict=True):
        functions = row["happy_though_broken"].items()
        happy = ", ".join(f"{function} {count}" for function, count in functions)
        text = "  ".join(painted) + " " * (space - len("  ".join(plain)))
        yield f"{row['id']:{width}}  {text}  {happy}".rstrip()
    yield ""
    legend = (f"{sign_of(sign, on.glyphs)} {result}" for result, sign in _RESULTS.items())
    yield on.paint("   ".join(legend), "dim")


def _results(results: Mapping[str, int], on: _drawing.Paper) -> tuple[list[str], list[str]]:
    """Signs and counts: plain, and painted. What is more than kept is kept."""
    counts = {
        "kept": results.get("kept", 0) + results.get("exceeded", 0),
        "broken": results.get("broken", 0),
        "unmeasured": results.get("unmeasured", 0),
    }
    met = {_RESULTS[result]: count for result, count in counts.items() if count}
    plain = [f"{sign_of(sign, on.glyphs)} {count}" for sign, count in met.items()]
    return plain, [on.paint(text, sign) for text, sign in zip(plain, met, strict=True)]


def _hanging(first: str, text: str, on: _drawing.Paper) -> list[str]:
    """A row whose text may take several lines."""
    return textwrap.wrap(
        text,
        width=max(on.width, len(first) + 20),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
    )


def _verdict(found: Found, on: _drawing.Paper) -> Iterator[str]:
    yield ""
    yield _title("Looked for", "", on)
    for check in found.checks:
        outcome = "completed" if check.passed else "failed"
        yield f"{on.paint(sign_of(outcome, on.glyphs), outcome)} {check.what}"
        if not check.passed and check.detail:
            yield f"    {printable(check.detail)}"


def _where(found: Found, on: _drawing.Paper) -> Iterator[str]:
    yield ""
    if found.file is not None:
        yield f"{on.paint('OTLP', 'bold')}     {found.file}  (JSON lines)"
        yield f"{on.paint('Jaeger', 'bold')}   {START_JAEGER}"
        yield "         cxtrace demo --otlp http://localhost:4317"
    else:
        yield f"{on.paint('sent to', 'bold')}  {found.otlp}"
        if found.refused:
            yield f"         without {' and '.join(found.refused)}, which are not taken there"
        if found.spans is None:
            yield f"         Jaeger does not answer at {found.jaeger_ui}: nothing was looked at"
        longest = _longest(found.walks, found.spans or ())
        if longest is not None:
            yield f"{on.paint('Jaeger', 'bold')}   {jaeger_url(str(found.jaeger_ui), longest.id)}"
    yield f"{on.paint('logs', 'bold')}     {found.folder}"
    yield on.paint(f"{found.seconds:.1f} s", "dim")
