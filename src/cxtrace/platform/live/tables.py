"""The tables of the living map's page."""

from collections.abc import Iterator, Mapping

from cxtrace import attributes as names
from cxtrace._signal_words import unit_word
from cxtrace.platform.live.measured import Figures, Kept, LiveMap, Verdicts
from cxtrace.platform.live.words import amount, duration, gap, number, percent, times, verdict
from cxtrace.platform.pages.markup import Html, Part, breakable, join, table, tag

_STEPS = (0.02, 0.1, 0.25)


def key_of_shades() -> Html:
    """What the shades of cells mean."""
    words = ("up to 2 %", "up to 10 %", "up to 25 %", "more")
    items = [tag("li", tag("i", class_=f"h{step}"), word) for step, word in enumerate(words)]
    return tag("ul", items, class_="key")


def bar(share: float, mark: float | None = None) -> Html:
    """A share as a bar, with a mark where it should be; what it says stands beside it as text."""
    goal = tag("b", style=f"--w:{mark * 100:.1f}") if mark is not None else None
    filled = tag("i", style=f"--w:{share * 100:.1f}")
    return tag("span", filled, goal, class_="bar", aria_hidden="true")


def _plain_bar(share: float) -> Html:
    """A share of which neither more nor less is better."""
    filled = tag("i", style=f"--w:{share * 100:.1f}")
    return tag("span", filled, class_="bar plain", aria_hidden="true")


def stages_by_owner(live: LiveMap) -> Html:
    """Who owns which stage, and how many of the customers were hurt there."""
    owners = [name for name in live.owners if any(owner == name for _, owner in live.cells)]
    rows = [
        (
            [stage.name, tag("small", f" {live.stages[stage.name].visits:,.0f}", class_="soft")],
            [_shaded(live.cells.get((stage.name, owner))) for owner in owners],
        )
        for stage, _ in live.in_order
    ]
    return join(
        [
            key_of_shades(),
            table("Share of hurt visits by stage and owner", ["Stage, visits", *owners], rows),
        ]
    )


def _shaded(figures: Figures | None) -> Html:
    if figures is None:
        return tag("td", "", class_="none")
    if figures.hurt is None:
        return tag("td", "no visit", class_="none")
    step = sum(figures.hurt > each for each in _STEPS)
    frictions = times(figures.friction, "friction") if figures.friction else "no friction"
    said = [
        f"{percent(figures.hurt)} hurt",
        tag("small", times(figures.visits, "visit")),
        tag("small", frictions),
    ]
    return tag("td", said, class_=f"h{step}")


def promises(live: LiveMap) -> Html | None:
    """What was promised against what was delivered, the widest shortfall first."""
    made = sorted(live.plan.promises.values(), key=lambda each: _shortfall(live.promises[each.id]))
    if not made:
        return None
    where = _where(live)
    rows = []
    for promise in made:
        kept = live.promises[promise.id]
        sign, word = verdict(kept)
        tone = {"✗": "bad", "✓": "good"}.get(sign, "soft")
        wanted = "" if promise.objective is None else f", wanted {promise.objective * 100:g} %"
        said = tag(
            "td",
            promise.claim,
            tag(
                "small",
                f"{promise.metric} {promise.op} ",
                f"{promise.target:g} {unit_word(promise.unit)}",
            ),
            class_="text",
        )
        shown = [f"{percent(kept.share)}{wanted}"]
        if kept.share is not None:
            shown.append(bar(kept.share, promise.objective))
        rows.append(
            (
                promise.id,
                [
                    tag("td", f"{sign} {word}", class_=tone),
                    shown,
                    gap(kept.gap),
                    number(kept.evaluated),
                    where.get(promise.id, ""),
                    said,
                ],
            )
        )
    head = ["Promise", "Result", "Kept", "On average", "Of", "Owner", "Claim"]
    return table("What was promised, and what was delivered", head, rows)


def _shortfall(kept: Kept) -> float:
    if kept.share is None:
        return 1.0
    return kept.share - (1.0 if kept.objective is None else kept.objective)


def _where(live: LiveMap) -> Mapping[str, str]:
    """The owners of the touchpoints at which each promise is made."""
    found: dict[str, dict[str, None]] = {}
    for touchpoint in live.plan.touchpoints.values():
        for promise in touchpoint.promises:
            found.setdefault(promise, {})[touchpoint.owner] = None
    for each in live.plan.promises.values():
        if each.ends is not None:
            found.setdefault(each.id, {})[live.plan.touchpoints[each.ends].owner] = None
    return {promise: ", ".join(owners) for promise, owners in found.items()}


def frictions(live: LiveMap, places: Mapping[str, str]) -> Html | None:
    """What hinders customers, the most frequent first, and where."""
    if not live.all.frictions:
        return None
    most = max(live.all.frictions.values())
    rows = []
    for kind, count in live.all.frictions.items():
        at = sorted(_at(live, kind), key=lambda each: -each[1])
        shown = [
            [tag("a", breakable(name), href=places[name]), f" {number(n)}  "] for name, n in at[:4]
        ]
        more = f" and {len(at) - 4} more" if len(at) > 4 else ""
        measure = _plain_bar(count / most)
        rows.append((kind, [[number(count), measure], tag("td", shown, more, class_="text")]))
    return table("Friction by type", ["Friction", "How often", "Where"], rows)


def _at(live: LiveMap, kind: str) -> Iterator[tuple[str, float]]:
    return (
        (name, figures.frictions[kind])
        for name, figures in live.touchpoints.items()
        if kind in figures.frictions
    )


def happiness(live: LiveMap) -> Html | None:
    """Shares of happy verdicts by stage and function, and how far apart they are."""
    functions = [name for name in live.plan.functions if name in live.plan.happiness]
    if not functions or not live.verdicts:
        return None
    rows = [
        (
            stage.name,
            [
                _apart(live.verdicts.get(stage.name, {})),
                *(_opinion(live.verdicts.get(stage.name, {}).get(each)) for each in functions),
            ],
        )
        for stage, _ in live.in_order
    ]
    head = ["Stage", "Apart", *functions]
    by_stage = table("Share of visits that each function is happy with", head, rows)
    return join([by_stage, _despite(live)])


def _apart(verdicts: Mapping[str, Verdicts]) -> Html:
    shares = [(each.share, name) for name, each in verdicts.items() if each.share is not None]
    if len(shares) < 2:
        return tag("td", "–", class_="none")  # noqa: RUF001
    (low, sad), (high, glad) = min(shares), max(shares)
    if high - low < 0.005:
        return tag("td", "agreed")
    who = tag("small", f"{glad} is, {sad} is not")
    return tag("td", tag("strong", f"{100 * (high - low):.0f} points"), who)


def _opinion(verdicts: Verdicts | None) -> Html:
    if verdicts is None or verdicts.share is None:
        return tag("td", "no verdict", class_="none")
    step = sum(1 - verdicts.share > each for each in _STEPS)
    said = [f"{percent(verdicts.share)} happy", tag("small", f"of {number(verdicts.count)}")]
    return tag("td", said, class_=f"h{step}")


def _despite(live: LiveMap) -> Html | None:
    told = [(name, live.despite[name]) for name in live.plan.functions if name in live.despite]
    if not told:
        return None
    told.sort(key=lambda each: -(each[1].share or 0))
    rows = [
        (
            name,
            [
                [percent(each.share), bar(each.share or 0)],
                number(each.count),
                tag("td", live.plan.functions[name].happy, class_="text"),
            ],
        )
        for name, each in told
    ]
    head = [
        "Function",
        "Happy all the same",
        "Of visits with a broken promise",
        "Because happy means to it",
    ]
    return join(
        [
            tag("h3", "Happy although a promise was broken"),
            table("Functions that were happy although a promise was broken", head, rows),
        ]
    )


def handoffs(live: LiveMap) -> Html | None:
    """Where customers wait between functions, the longest first."""
    rows = [
        (
            f"{each.giver} → {each.taker}",
            [number(each.count), duration(each.p50), duration(each.p90)],
        )
        for each in live.handoffs
    ]
    head = ["From → to", "Hand-offs", "Half waited at most", "Nine of ten at most"]
    return table("Waits between functions", head, rows) if rows else None


def values(live: LiveMap) -> Html | None:
    """What was gained and lost: at each stage, and by each function's influence."""
    kinds = list(live.all.value)
    if not kinds:
        return None
    head = [f"{kind} {currency}".strip() for kind, currency in kinds]
    return join(
        [
            table(
                f"Value by {what}",
                [what.capitalize(), *head],
                [
                    (
                        name,
                        [
                            amount(figures.value[kind], "") if kind in figures.value else ""
                            for kind in kinds
                        ],
                    )
                    for name, figures in found.items()
                    if figures.value
                ],
            )
            for what, found in (("stage", live.stages), ("function", live.owners))
        ]
    )


def unplanned(live: LiveMap) -> Part:
    """Touchpoints that were measured and are not on the map."""
    if not live.unplanned:
        return None
    most = sorted(live.unplanned.items(), key=lambda each: -each[1])
    rows: list[tuple[Part, list[Part]]] = [(name, [number(n)]) for name, n in most[:20]]
    rest = tag("p", f"And {len(most) - 20} more.") if len(most) > 20 else None
    return [
        table("Touchpoints that the map does not name", [names.TOUCHPOINT_NAME, "Visits"], rows),
        rest,
    ]
