"""The living map as lines of text for a terminal."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cxtrace._model import Stage, Touchpoint
from cxtrace._tree import columns
from cxtrace.cli._drawing import PHASES, Paper, Piece
from cxtrace.platform.live import words
from cxtrace.platform.live.measured import Figures, LiveMap

_ASCII: Final = str.maketrans({"✓": "+", "○": "o", "✗": "x", "→": ">", "…": ".", "–": "-"})  # noqa: RUF001
_HEAD: Final = ("", "visits", "hurt", "half", "nine of ten", "friction")
_DIGITS: Final = 12

_Row = tuple[Piece, Sequence[str], str]
"""First column, the others, and what follows them."""


def draw(live: LiveMap, on: Paper) -> Iterator[str]:
    """Everything measured, from the stages to the notes."""
    text = _lines(live, on)
    return text if on.glyphs.dot == "·" else (line.translate(_ASCII) for line in text)


def _lines(live: LiveMap, on: Paper) -> Iterator[str]:
    yield f"{on.paint(live.plan.name, 'bold')} {on.paint(live.plan.version, 'dim')}"
    yield on.paint(f"measured: {live.source}", "dim")
    width = min(34, max((len(name) for name in live.touchpoints), default=0) + 2)
    yield from ("", _line(("", ""), _HEAD[1:], "", width, on))
    for stage, touchpoints in live.in_order:
        yield from _stage(stage, touchpoints, live, width, on)
    yield from _part("promises", _promises(live, on), on)
    yield from _part("journeys", _journeys(live, on), on)
    yield from _part("hand-offs", _handoffs(live), on)
    yield from _part("happy although a promise was broken", _despite(live), on)
    yield from _part("measured, and not on the map", _unplanned(live), on)
    yield ""
    for note in live.notes:
        yield from on.flow(((word, "dim") for word in note.split()), " ", 0)


def _part(title: str, lines: Iterable[str], on: Paper) -> Iterator[str]:
    body = list(lines)
    if body:
        yield from ("", on.paint(title, "bold"), *body)


def _stage(
    stage: Stage, touchpoints: Iterable[Touchpoint], live: LiveMap, width: int, on: Paper
) -> Iterator[str]:
    yield ""
    figures = live.stages[stage.name]
    yield _line((stage.name, "bold"), _numbers(figures), PHASES[stage.phase], width, on)
    for touchpoint in touchpoints:
        found = live.touchpoints[touchpoint.name]
        told = ", ".join(f"{kind} {words.number(n)}" for kind, n in found.frictions.items())
        owned = (f"  {touchpoint.name}", f"function {touchpoint.owner}")
        yield _line(owned, _numbers(found), told, width, on)


def _numbers(figures: Figures) -> Sequence[str]:
    return (
        words.number(figures.visits),
        words.percent(figures.hurt),
        words.duration(figures.p50),
        words.duration(figures.p90),
        words.number(figures.friction),
    )


def _line(first: Piece, cells: Iterable[str], after: str, width: int, on: Paper) -> str:
    name, colour = first
    begin = on.paint(name, colour) + " " * max(1, width - columns(name))
    used = max(width, columns(name) + 1) + sum(max(_DIGITS, len(cell)) for cell in cells)
    room = on.width - used - 2
    rest = after if columns(after) <= room else after[: max(0, room - 1)] + "…" if room > 9 else ""
    return f"{begin}{''.join(cell.rjust(_DIGITS) for cell in cells)}  {rest}".rstrip()


def _promises(live: LiveMap, on: Paper) -> Iterator[str]:
    width = max(map(len, live.promises), default=0)
    for name, kept in live.promises.items():
        sign, word = words.verdict(kept)
        parts = [f"{sign} {name:{width}}  {word}"]
        if kept.share is not None:
            of = f"{words.percent(kept.share)} of {words.number(kept.evaluated)}"
            parts = [f"{sign} {name:{width}}  kept {of}", f"on average {words.gap(kept.gap)}"]
        if kept.objective is not None:
            parts.append(f"wanted {kept.objective * 100:g} %")
        yield from on.flow(((part, "") for part in parts), ", ", 2)


def _journeys(live: LiveMap, on: Paper) -> Iterator[str]:
    for name, walked in live.journeys.items():
        ways = [f"{words.number(n)} {outcome}" for outcome, n in walked.outcomes.items()]
        if ways:
            half = f"half took at most {words.duration(walked.p50)}"
            yield from on.flow(
                ((part, "") for part in (f"{name}: {ways[0]}", *ways[1:], half)), ", ", 2
            )


def _handoffs(live: LiveMap) -> Iterator[str]:
    for each in live.handoffs:
        times = words.times(each.count, "time")
        yield (
            f"  {each.giver} → {each.taker}  {times}, half waited at most "
            f"{words.duration(each.p50)}, nine of ten {words.duration(each.p90)}"
        )


def _despite(live: LiveMap) -> Iterator[str]:
    for name, each in sorted(live.despite.items(), key=lambda item: -(item[1].share or 0)):
        yield f"  {name}  {words.percent(each.share)} of {words.number(each.count)}"


def _unplanned(live: LiveMap) -> Iterator[str]:
    for name, visits in live.unplanned.items():
        yield f"  {name}  {words.times(visits, 'visit')}"
