"""One touchpoint of the living map's page, and what to look at first."""

from collections.abc import Iterator, Mapping, Sequence

from cxtrace._model import Stage, Touchpoint
from cxtrace.platform.links import urls
from cxtrace.platform.live.measured import Figures, LiveMap
from cxtrace.platform.live.words import (
    SIGNS,
    duration,
    gap,
    number,
    outcomes,
    percent,
    times,
    verdict,
)
from cxtrace.platform.pages.markup import Html, Part, breakable, join, link, tag


def touchpoints(live: LiveMap, places: Mapping[str, str], jaeger: str | None) -> list[Html]:
    """Every touchpoint, stage by stage."""
    return [
        tag(
            "div",
            tag("h3", stage.name),
            tag("p", _phase(stage, live), class_="soft"),
            [_touchpoint(each, live, places, jaeger) for each in inside],
        )
        for stage, inside in live.in_order
        if inside
    ]


def _phase(stage: Stage, live: LiveMap) -> str:
    found = live.stages[stage.name]
    if not found.visits:
        return "Nothing was measured here."
    return (
        f"{times(found.visits, 'visit')}, {percent(found.hurt)} of them hurt, "
        f"{times(found.friction, 'friction')}; half took at most {duration(found.p50)}, "
        f"nine of ten at most {duration(found.p90)}."
    )


def _touchpoint(
    planned: Touchpoint, live: LiveMap, places: Mapping[str, str], jaeger: str | None
) -> Html:
    figures = live.touchpoints[planned.name]
    short = live.broken_at(planned.name)
    signs: list[Part] = [
        tag("span", planned.owner, class_="soft"),
        tag("span", times(figures.visits, "visit") if figures.visits else "not measured"),
    ]
    if figures.hurt:
        signs.append(tag("span", f"✗ {percent(figures.hurt)} hurt", class_="bad"))
    if figures.friction:
        signs.append(tag("span", f"▲ {times(figures.friction, 'friction')}", class_="warn"))
    if short:
        signs.append(tag("span", f"✗ {times(len(short), 'promise')} short", class_="bad"))
    return tag(
        "details",
        tag("summary", tag("span", breakable(planned.name), class_="name"), signs),
        tag(
            "div",
            _inside(planned, figures, live, jaeger),
            class_="inside",
            id=places[planned.name].removeprefix("#"),
        ),
    )


def _inside(
    planned: Touchpoint, figures: Figures, live: LiveMap, jaeger: str | None
) -> Iterator[Part]:
    if planned.description:
        yield tag("p", planned.description, class_="soft")
    facts = [
        tag("div", tag("dt", name), tag("dd", said))
        for name, said in _facts(planned, figures, live)
        if said
    ]
    yield tag("dl", facts, class_="pairs")
    trace = live.traces.get(planned.name)
    if trace is not None:
        shown = f"trace {trace[:8]}…"
        where = (
            link(urls.jaeger_trace(jaeger, trace), shown, " in Jaeger")
            if jaeger
            else tag("code", trace)
        )
        yield tag("p", "A visit to look at: ", where)


def _facts(planned: Touchpoint, figures: Figures, live: LiveMap) -> Iterator[tuple[str, Part]]:
    found = [f"{SIGNS.get(outcome, '·')} {outcome} {number(n)}" for outcome, n in outcomes(figures)]
    yield "Outcomes", lines(found)
    if figures.visits:
        yield (
            "Duration",
            lines(
                [
                    f"half at most {duration(figures.p50)}",
                    f"nine of ten at most {duration(figures.p90)}",
                ]
            ),
        )
    yield "Effort", _effort(planned, figures)
    yield "Friction", lines([f"{kind} {number(n)}" for kind, n in figures.frictions.items()])
    yield (
        "Promises",
        lines([_promise(each.id, live) for each in live.plan.promises_at(planned.name)]),
    )
    told = live.verdicts_at.get(planned.name, {})
    yield (
        "Happy with it",
        lines(
            [f"{name} {percent(each.share)} of {number(each.count)}" for name, each in told.items()]
        ),
    )
    weights = sorted(planned.influence.items(), key=lambda each: -each[1])
    yield "Influence", lines([f"{name} {weight:.0%}" for name, weight in weights])


def _effort(planned: Touchpoint, figures: Figures) -> Part:
    if figures.effort is None:
        return None
    expected = planned.expected_actions
    plan = "" if expected is None else f", {expected} planned"
    return f"{figures.effort:.1f} actions on average{plan}"


def _promise(promise: str, live: LiveMap) -> Part:
    kept = live.promises[promise]
    sign, word = verdict(kept)
    tone = {"✗": "bad", "✓": "good"}.get(sign, "soft")
    much = f", {percent(kept.share)} of {number(kept.evaluated)}" if kept.evaluated else ""
    return [f"{promise} ", tag("span", f"{sign} {word}", class_=tone), much]


def lines(parts: Sequence[Part]) -> Part:
    """Several facts, one in each line."""
    return [tag("div", part) for part in parts]


def totals(live: LiveMap) -> Html:
    """The numbers of the whole map."""
    every = live.all
    known = [each for each in live.promises.values() if each.share is not None]
    short = sum(each.is_short for each in known)
    ended = sum(sum(each.outcomes.values()) for each in live.journeys.values())
    achieved = sum(each.outcomes.get("achieved", 0.0) for each in live.journeys.values())
    per_visit = every.friction / every.visits * 100 if every.visits else 0.0
    facts = [
        ("Visits", number(every.visits), f"at {len(live.plan.touchpoints)} touchpoints planned"),
        ("Hurt", percent(every.hurt), "failed or abandoned"),
        ("Friction", number(every.friction), f"{number(per_visit)} for each 100 visits"),
        (
            "Promises short",
            f"{short} of {len(known)}",
            f"{len(known)} of {len(live.promises)} on the map are measured",
        ),
        ("Journeys achieved", f"{number(achieved)} of {number(ended)}", "of those that ended"),
    ]
    return tag(
        "dl",
        [
            tag("div", tag("dt", name), tag("dd", said, tag("small", more)))
            for name, said, more in facts
        ],
        class_="facts",
    )


def first(live: LiveMap, places: Mapping[str, str]) -> Html | None:
    """What to look at first: at most one of each kind, with the numbers it stands on."""
    items = [tag("li", tag("b", what), said) for what, said in _first(live, places)]
    return tag("ul", items, class_="first") if items else None


def _first(live: LiveMap, places: Mapping[str, str]) -> Iterator[tuple[str, Part]]:
    short = [name for name, kept in live.promises.items() if kept.is_short]
    if short:
        worst = min(short, key=lambda name: _lack(live, name))
        kept = live.promises[worst]
        yield (
            "The promise that falls shortest",
            [
                tag("a", worst, href="#promises"),
                f" is kept {percent(kept.share)} of {times(kept.evaluated, 'time')}, ",
                f"on average {gap(kept.gap)}.",
            ],
        )
    hurt = {name: each for name, each in live.touchpoints.items() if each.hurt}
    if hurt:
        name = max(hurt, key=lambda each: (hurt[each].hurt or 0) * hurt[each].visits)
        yield (
            "Where most customers are hurt",
            [
                tag("a", name, href=places[name]),
                f": {percent(hurt[name].hurt)} of {times(hurt[name].visits, 'visit')} were hurt.",
            ],
        )
    rubs = {name: each.friction for name, each in live.touchpoints.items() if each.friction}
    if rubs:
        name = max(rubs, key=lambda each: rubs[each])
        kind = next(iter(live.touchpoints[name].frictions))
        yield (
            "Where most friction is",
            [
                tag("a", name, href=places[name]),
                f": {times(rubs[name], 'friction')}, most often {kind}.",
            ],
        )
    apart = sorted(live.despite.items(), key=lambda each: -each[1].happy)
    if apart and apart[0][1].happy:
        name, told = apart[0]
        yield (
            "Happy although a promise was broken",
            [
                tag("a", name, href="#happiness"),
                f" is happy with {percent(told.share)} of {times(told.count, 'such visit')}.",
            ],
        )
    if live.handoffs:
        each = live.handoffs[0]
        yield (
            "The longest wait between functions",
            [
                tag("a", f"{each.giver} → {each.taker}", href="#handoffs"),
                f": one in ten waits longer than {duration(each.p90)}.",
            ],
        )


def _lack(live: LiveMap, promise: str) -> float:
    kept = live.promises[promise]
    wanted = 1.0 if kept.objective is None else kept.objective
    return (kept.share or 0.0) - wanted


def notes(live: LiveMap) -> Part:
    """Where the numbers come from, and what words mean."""
    says = (
        "Hurt: the visit failed or was abandoned. Friction: something got in the customer's way. "
        "A promise falls short where fewer are kept than its objective wants, or any is broken "
        "where it has none. Customers of walkthroughs are not counted where spans are read."
    )
    every = [f"Measured: {live.source}.", *live.notes, says]
    return join([tag("p", each) for each in every])
