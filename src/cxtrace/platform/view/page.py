"""The journeys of a recording as one page of HTML, with filters."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from cxtrace import attributes as names
from cxtrace._otlp_file import Recording
from cxtrace.platform.live.measured import HURT
from cxtrace.platform.live.words import duration, percent, times
from cxtrace.platform.pages.frame import Section, page
from cxtrace.platform.pages.markup import Html, Part, breakable, join, tag
from cxtrace.platform.view.waterfall import moment, waterfall
from cxtrace.platform.view.ways import Way, Ways, ways

MOST_JOURNEYS: Final = 5_000
"""Journeys that a page lists."""

MOST_ROWS: Final = 40_000
"""Spans and signals that a page draws, those of hurt customers first."""

NO_JOURNEY: Final = "no journey"

_ENDED: Final = {"achieved": ("✓", "good"), "failed": ("✗", "bad")}
"""The sign and the colour of an outcome of a journey; all others are neither good nor bad."""


@attrs.define
class _Choices:
    """The values that can be filtered by, each with a short token that the script compares."""

    tokens: dict[tuple[str, str], str] = attrs.field(factory=dict)

    def token(self, kind: str, value: str) -> str:
        return self.tokens.setdefault((kind, value), f"{kind}{len(self.tokens)}")

    def of(self, kind: str) -> list[tuple[str, str]]:
        return sorted((value, token) for (of, value), token in self.tokens.items() if of == kind)


def html(recording: Recording, source: str, jaeger: str | None = None) -> str:
    """The page; it needs no network, and without a script it only lacks its filters.

    Args:
        recording: What was read.
        source: Where, in words.
        jaeger: Where Jaeger's pages begin, for links to traces.
    """
    found = ways(recording.spans)
    listed = _listed(found.journeys)
    drawn = _drawn(listed)
    choices = _Choices()
    journeys = [_journey(way, choices, jaeger, is_drawn=way.id in drawn) for way in listed]
    notes = list(_notes(recording, found, listed, drawn))
    head = [
        tag("p", "Journeys in a recording", class_="eyebrow"),
        tag("h1", breakable(source)),
        _facts(recording, found),
        [tag("p", note, class_="soft") for note in notes],
    ]
    body: Part = [_form(choices, len(listed)), journeys] if journeys else None
    sections = [
        Section("journeys", "Journeys", body, "Each opens to what happened, trace by trace.")
    ]
    foot = join(
        [
            tag(
                "p",
                "Hurt: a touchpoint failed or was abandoned. ▲ marks what went wrong, ◆ other "
                "signals, and a highlighted pair of functions a change of hands. Times are UTC.",
            ),
            tag("p", "Made by ", tag("code", "cxtrace view"), "."),
        ]
    )
    return page(f"{source}: journeys", head, sections, foot, "filter.js")


def _listed(journeys: tuple[Way, ...]) -> list[Way]:
    """Those that fit, hurt ones first in the choice, in the order of their beginning."""
    chosen = sorted(journeys, key=lambda way: not way.is_hurt)[:MOST_JOURNEYS]
    return sorted(chosen, key=lambda way: way.start_ns)


def _drawn(listed: Iterable[Way]) -> set[str]:
    left = MOST_ROWS
    found: set[str] = set()
    for way in sorted(listed, key=lambda way: not way.is_hurt):
        left -= way.rows
        if left >= 0:
            found.add(way.id)
    return found


def _notes(recording: Recording, found: Ways, listed: list[Way], drawn: set[str]) -> Iterator[str]:
    if not listed:
        yield "There is no touchpoint in it, so there is no journey to be shown."
    if len(listed) < len(found.journeys):
        more = len(found.journeys) - len(listed)
        yield f"{more:,} more journeys are left out; a page lists {MOST_JOURNEYS:,}."
    if len(drawn) < len(listed):
        yield (
            f"{len(listed) - len(drawn):,} journeys are listed without their spans: a page draws "
            f"{MOST_ROWS:,} spans and signals, those of hurt customers first."
        )
    if found.others:
        yield f"{times(found.others, 'span')} of traces without a touchpoint are left out."
    if recording.skipped:
        yield f"{times(recording.skipped, 'line')} could not be read as OTLP JSON."


def _facts(recording: Recording, found: Ways) -> Html:
    journeys = [way for way in found.journeys if way.name]
    visits = [visit for way in found.journeys for visit in way.visits]
    hurt = sum(visit.attributes[names.TOUCHPOINT_OUTCOME] in HURT for visit in visits)
    frictions = sum((way.frictions for way in found.journeys), Counter[str]())
    share = percent(hurt / len(visits)) if visits else "–"  # noqa: RUF001
    traces = {span.trace_id for span in recording.spans}
    facts = [
        (
            "Journeys",
            len(journeys),
            f"{len(found.journeys) - len(journeys):,} traces of no journey",
        ),
        ("Visits", len(visits), f"{share} hurt"),
        ("Frictions", sum(frictions.values()), f"{len(frictions)} types"),
        ("Spans", len(recording.spans), f"in {len(traces):,} traces"),
    ]
    return tag(
        "dl",
        [
            tag("div", tag("dt", name), tag("dd", f"{number:,}", tag("small", more)))
            for name, number, more in facts
        ],
        class_="facts",
    )


def _journey(way: Way, choices: _Choices, jaeger: str | None, *, is_drawn: bool) -> Html:
    visits = way.visits
    stages, owners = (
        [str(visit.attributes[key]) for visit in visits if key in visit.attributes]
        for key in (names.STAGE_NAME, names.OWNER_FUNCTION)
    )
    ends = Counter(str(visit.attributes[names.TOUCHPOINT_OUTCOME]) for visit in visits)
    frictions = way.frictions
    tokens = [
        choices.token("j", way.name or NO_JOURNEY),
        *(choices.token("s", each) for each in dict.fromkeys(stages)),
        *(choices.token("w", each) for each in dict.fromkeys(owners)),
        *(choices.token("o", each) for each in ends),
        *(choices.token("f", each) for each in ("any", *frictions) if frictions),
    ]
    inside = waterfall(way, jaeger) if is_drawn else tag("p", "Its spans are not on this page.")
    return tag(
        "details",
        tag("summary", _summary(way, ends, frictions, len(visits))),
        tag("div", tag("p", *_path(owners, stages), class_="soft"), inside, class_="inside"),
        class_="j",
        data_k=" ".join(tokens),
        data_t=f"{way.id} {way.name} {' '.join(dict.fromkeys(v.name for v in visits))}".lower(),
    )


def _summary(way: Way, ends: Counter[str], frictions: Counter[str], visits: int) -> Iterator[Part]:
    yield tag("span", breakable(way.name or NO_JOURNEY), class_="name")
    if way.outcome:
        sign, tone = _ENDED.get(way.outcome, ("○", "warn"))
        yield tag("span", f"{sign} {way.outcome}", class_=tone)
    hurt = sum(ends[each] for each in HURT)
    yield tag("span", f"{times(visits, 'visit')} in {times(len(way.traces), 'trace')}")
    if hurt:
        yield tag("span", f"✗ {hurt} hurt", class_="bad")
    if frictions:
        yield tag("span", f"▲ {times(sum(frictions.values()), 'friction')}", class_="warn")
    yield tag("span", duration((way.end_ns - way.start_ns) / 1e9))
    yield tag("span", f"{moment(way.start_ns)} · {way.id[:8]}", class_="soft small")


def _path(owners: list[str], stages: list[str]) -> Iterator[str]:
    if stages:
        yield f"Through {' → '.join(_runs(stages))}. "
    if owners:
        yield f"In the hands of {' → '.join(_runs(owners))}."


def _runs(values: list[str]) -> list[str]:
    """Values without those that only repeat the one before; the middle of many is left out."""
    runs = [each for place, each in enumerate(values) if not place or each != values[place - 1]]
    return runs if len(runs) <= 30 else [*runs[:15], "…", *runs[-14:]]


_SELECTS: Final = (
    ("j", "Journey", "any journey"),
    ("s", "Stage", "any stage"),
    ("w", "Owner", "any owner"),
    ("o", "Outcome", "any outcome"),
    ("f", "Friction", "with or without"),
)


def _form(choices: _Choices, number: int) -> Html:
    selects = [
        tag(
            "label",
            title,
            tag(
                "select",
                tag("option", every, value=""),
                [
                    tag(
                        "option",
                        "any friction" if (kind, value) == ("f", "any") else value,
                        value=token,
                    )
                    for value, token in choices.of(kind)
                ],
            ),
        )
        for kind, title, every in _SELECTS
    ]
    search = tag("label", "Id or touchpoint", tag("input", type="search", name="q"))
    shown = tag("p", f"{number:,} of {number:,} are shown", role="status", id="count")
    fields = [*selects, search, tag("button", "Show all", type="reset")]
    return join([tag("form", fields, aria_label="Filter the journeys", hidden=True), shown])
