"""A journey map as lines of text for a terminal."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from cxtrace._model import Journey, Promise, Stage, Touchpoint
from cxtrace._signal_words import unit_word
from cxtrace.journey_map import JourneyMap

Piece: TypeAlias = tuple[str, str]
"""A text that stays in one line, and its colour: a name of ``_CODES``, or empty."""

PHASES: Final = {
    "pre_customer": "before they are customers",
    "customer": "while they are customers",
    "post_customer": "after they were customers",
}
"""Phases in words."""

_CODES: Final = {"bold": "1", "dim": "2", "title": "1;4"}
_FUNCTION_COLOURS: Final = ("36", "33", "35", "32", "34", "31")
_BAR: Final = 20


@attrs.frozen
class Glyphs:
    """The characters of a drawing."""

    shades: str
    arrow: str
    goal: str
    rule: str
    dot: str
    quotes: str


UNICODE: Final = Glyphs("█▓▒░", "→", "◎", "─", "·", "“”")
ASCII: Final = Glyphs("#=-.", "->", "*", "-", "|", '""')
"""For a terminal that has nothing else."""


@attrs.frozen
class Paper:
    """What a drawing is made on."""

    width: int
    glyphs: Glyphs
    colours: Mapping[str, str]
    """Escape codes by name; empty where colour is not wanted."""

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour that the paper has."""
        code = self.colours.get(colour)
        return f"\x1b[{code}m{text}\x1b[0m" if code and text else text

    def flow(self, pieces: Iterable[Piece], joint: str, indent: int) -> Iterator[str]:
        """Lay pieces side by side, going on in the next line where the width ends."""
        line, used = "", 0
        for text, colour in pieces:
            joints = len(joint) + len(joint.rstrip())
            if used and indent + used + len(text) + joints > self.width:
                yield " " * indent + line + joint.rstrip()
                line, used = "", 0
            line += (joint if used else "") + self.paint(text, colour)
            used += len(text) + (len(joint) if used else 0)
        if used:
            yield " " * indent + line

    def hang(self, first: Piece, column: int, rest: Iterable[str]) -> Iterator[str]:
        """Put a piece before the first of some lines that are indented to a column."""
        text, colour = first
        lines = iter(rest)
        head = "  " + self.paint(text, colour)
        beside = next(lines, "") if len(text) + 4 <= column else ""
        yield head + beside[len(text) + 2 :] if beside else head
        yield from lines


def paper(width: int, glyphs: Glyphs) -> Paper:
    """Paper for a pen of one colour."""
    return Paper(width, glyphs, {})


def coloured(plain: Paper, journey_map: JourneyMap) -> Paper:
    """The same paper with colours, one for each function of the map."""
    functions = zip(journey_map.functions, itertools.cycle(_FUNCTION_COLOURS), strict=False)
    return attrs.evolve(plain, colours={**_CODES, **{f"function {n}": c for n, c in functions}})


def draw(journey_map: JourneyMap, on: Paper) -> Iterator[str]:
    """The whole map, from its stages to its functions."""
    yield from _head(journey_map, on)
    by_order = sorted(journey_map.stages.values(), key=lambda stage: stage.order)
    for number, stage in enumerate(by_order, start=1):
        touchpoints = [t for t in journey_map.touchpoints.values() if t.stage == stage.name]
        yield from _stage(number, stage, touchpoints, journey_map, on)
    yield from _part("journeys", _journeys(journey_map, on), on)
    yield from _part("promises", _promises(journey_map, on), on)
    yield from _part("functions", _functions(journey_map, on), on)


def _head(journey_map: JourneyMap, on: Paper) -> Iterator[str]:
    yield f"{on.paint(journey_map.name, 'bold')} {on.paint(journey_map.version, 'dim')}"
    parts = ("functions", "stages", "touchpoints", "promises", "journeys")
    counts = [(part, len(getattr(journey_map, part))) for part in parts]
    words = [(f"{n} {part[:-1] if n == 1 else part}", "dim") for part, n in counts]
    yield from on.flow(words, f" {on.glyphs.dot} ", 0)


def _rule(text: str, detail: str, on: Paper) -> str:
    rule = on.glyphs.rule * max(0, on.width - len(f"{text} {detail}"))
    return f"{on.paint(text, 'bold')} {on.paint(f'{detail}{rule}'.rstrip(), 'dim')}"


def _part(title: str, lines: Iterable[str], on: Paper) -> Iterator[str]:
    body = list(lines)
    if body:
        yield from ("", _rule(title, "", on), *body)


def _stage(
    number: int, stage: Stage, touchpoints: list[Touchpoint], journey_map: JourneyMap, on: Paper
) -> Iterator[str]:
    yield ""
    yield _rule(f"{number} {stage.name}", f"{on.glyphs.dot} {PHASES[stage.phase]} ", on)
    column = _column(journey_map.touchpoints)
    for touchpoint in touchpoints:
        yield from on.hang((touchpoint.name, "bold"), column, _touchpoint(touchpoint, column, on))


def _column(names: Iterable[str]) -> int:
    """Where the second column begins, if no name is absurdly long."""
    return min(30, max(map(len, names), default=0) + 4)


def _touchpoint(touchpoint: Touchpoint, column: int, on: Paper) -> Iterator[str]:
    dot = f" {on.glyphs.dot} "
    owner = (f"owner {touchpoint.owner}", f"function {touchpoint.owner}")
    yield from on.flow([owner, *((fact, "") for fact in _facts(touchpoint))], dot, column)
    shares = sorted(touchpoint.influence.items(), key=lambda share: -share[1])
    labels = [(f"{name} {weight:.0%}", f"function {name}") for name, weight in shares]
    if labels:
        yield from on.flow([(bar(touchpoint.influence, on.glyphs), ""), *labels], "  ", column)
    for what, planned in _plans(touchpoint):
        words = [f"{what} {planned[0]}", *planned[1:]]
        yield from on.flow([(word, "dim") for word in words], ", ", column)


def bar(shares: Mapping[str, float], glyphs: Glyphs) -> str:
    """Shares as one bar, the largest first, each in a shade of its own."""
    weights = sorted(shares.values(), reverse=True)
    ends = [round(_BAR * total) for total in itertools.accumulate(weights)]
    cells = [end - start for start, end in itertools.pairwise([0, *ends])]
    shades = glyphs.shades + glyphs.shades[-1] * len(cells)
    return "".join(shade * count for shade, count in zip(shades, cells, strict=False))


def _facts(touchpoint: Touchpoint) -> Iterator[str]:
    if touchpoint.importance == "critical":
        yield "critical"
    if touchpoint.channels:
        yield ", ".join(touchpoint.channels)
    if touchpoint.initiator is not None:
        yield f"{touchpoint.initiator} begins"
    if touchpoint.expected_actions is not None:
        plural = "" if touchpoint.expected_actions == 1 else "s"
        yield f"{touchpoint.expected_actions} action{plural}"


def _plans(touchpoint: Touchpoint) -> Iterator[tuple[str, Sequence[str]]]:
    plans = {
        "promises": touchpoint.promises,
        "friction": tuple(touchpoint.friction.rules),
        "interactions": touchpoint.interactions,
    }
    return ((what, planned) for what, planned in plans.items() if planned)


def _journeys(journey_map: JourneyMap, on: Paper) -> Iterator[str]:
    """The journeys with their routes, the goal marked."""
    routes = [route for journey in journey_map.journeys.values() for route in journey.routes]
    column = _column(routes) + 2
    for journey in journey_map.journeys.values():
        yield from _journey(journey, column, on)


def _journey(journey: Journey, column: int, on: Paper) -> Iterator[str]:
    goal = [("to", "dim"), (journey.goal, "")] if journey.goal else []
    words = [(word, "dim") for word in (journey.description or "").split()]
    yield from on.flow([(journey.name, "bold"), *goal, *words], " ", 2)
    for route, steps in journey.routes.items():
        pieces = [(f"{s} {on.glyphs.goal}" if s == journey.goal else s, "") for s in steps]
        lines = on.flow(pieces, f" {on.glyphs.arrow} ", column)
        yield from on.hang((f"  {route}", ""), column, lines)


def _promises(journey_map: JourneyMap, on: Paper) -> Iterator[str]:
    column = _column(journey_map.promises)
    for promise in journey_map.promises.values():
        lines = on.flow(_promise(promise, on.glyphs), " ", column)
        yield from on.hang((promise.id, "bold"), column, lines)


def _promise(promise: Promise, glyphs: Glyphs) -> Iterator[Piece]:
    limit = f"{promise.target:g} {unit_word(promise.unit)}".rstrip()
    yield f"{promise.metric} {promise.op} {limit}", ""
    if promise.begins is not None:
        yield f"from {promise.begins}", ""
    if promise.ends is not None:
        yield f"to {promise.ends}", ""
    if promise.objective is not None:
        yield f"for {promise.objective * 100:g}%", ""
    yield f"({promise.source})", "dim"
    claim = f"{glyphs.quotes[0]}{promise.claim}{glyphs.quotes[1]}"
    yield from ((word, "dim") for word in claim.split())


def _functions(journey_map: JourneyMap, on: Paper) -> Iterator[str]:
    column = _column(journey_map.functions)
    touchpoints = journey_map.touchpoints.values()
    for name, function in journey_map.functions.items():
        owned = sum(touchpoint.owner == name for touchpoint in touchpoints)
        shaped = sum(name in touchpoint.influence for touchpoint in touchpoints)
        pieces = [(f"owns {owned}, shapes {shaped}", ""), (function.contact or "", "dim")]
        lines = on.flow(pieces if function.contact else pieces[:1], "  ", column)
        yield from on.hang((name, f"function {name}"), column, lines)
