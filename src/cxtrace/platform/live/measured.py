"""The living map: for each thing that the map plans, what was measured of it.

A share says of how many it is one, and nothing here is a score. A touchpoint that ended in
``failed`` or ``abandoned`` is called hurt.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from cxtrace import attributes as names
from cxtrace._model import Promise, Stage, Touchpoint
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.live.tally import Key, Tally

HURT: Final = ("failed", "abandoned")
"""Outcomes with which a customer has not got what they came for."""


@attrs.frozen
class Figures:
    """What was measured at a touchpoint, or at several.

    Attributes:
        visits: How many.
        outcomes: Of how many visits each was the outcome.
        p50: Seconds that half of the visits did not exceed; None without a visit.
        p90: The same for nine of ten.
        effort: Actions that a visit took on average, as far as actions were counted.
        frictions: How many of each type.
        value: By type and currency.
    """

    visits: float
    outcomes: Mapping[str, float]
    p50: float | None
    p90: float | None
    effort: float | None
    frictions: Mapping[str, float]
    value: Mapping[tuple[str, str], float]

    @property
    def hurt(self) -> float | None:
        """Share of visits that failed or were abandoned; None without a visit."""
        return share(sum(self.outcomes.get(each, 0.0) for each in HURT), self.visits)

    @property
    def friction(self) -> float:
        """Frictions of every type."""
        return sum(self.frictions.values())


@attrs.frozen
class Kept:
    """What became of a promise.

    Attributes:
        results: How often each.
        gap: How much worse than promised on average: 0.2 is a fifth; below 0 is better.
        objective: Share that the map wants to be kept.
    """

    results: Mapping[str, float]
    gap: float | None
    objective: float | None

    @property
    def evaluated(self) -> float:
        """How often it could be said whether it was kept."""
        return sum(n for result, n in self.results.items() if result != "unmeasured")

    @property
    def share(self) -> float | None:
        """Share that was kept or exceeded; None where nothing could be said."""
        return share(self.evaluated - self.results.get("broken", 0.0), self.evaluated)

    @property
    def is_short(self) -> bool:
        """Whether less was kept than the map wants: its objective, or all where it names none."""
        wanted = 1.0 if self.objective is None else self.objective
        return self.share is not None and self.share < wanted


@attrs.frozen
class Verdicts:
    """How many visits a function is happy with, and how many it is not."""

    happy: float = 0.0
    unhappy: float = 0.0

    @property
    def count(self) -> float:
        """Visits on which it has an opinion."""
        return self.happy + self.unhappy

    @property
    def share(self) -> float | None:
        """Share that it is happy with; None without an opinion."""
        return share(self.happy, self.count)


@attrs.frozen
class Walked:
    """What became of journeys of one name.

    Attributes:
        outcomes: Of the journeys that ended.
        p50: Seconds that half of them took at most.
        p90: The same for nine of ten.
        visits: Within this journey, by touchpoint.
        hurt: Of these, how many failed or were abandoned.
    """

    outcomes: Mapping[str, float]
    p50: float | None
    p90: float | None
    visits: Mapping[str, float]
    hurt: Mapping[str, float]


@attrs.frozen
class Waited:
    """What customers waited when one function handed them to another, in seconds."""

    giver: str
    taker: str
    count: float
    p50: float | None
    p90: float | None


@attrs.frozen
class LiveMap:
    """A map and what was measured of it.

    Attributes:
        plan: The map.
        source: Where measurements come from, in words.
        notes: What has to be known of them.
        all: Everything planned, together.
        touchpoints: By name; the others alike.
        verdicts: By stage, then by function.
        verdicts_at: By touchpoint, then by function; empty where the source does not tell.
        despite: By function: its verdicts on visits with a broken promise.
        traces: A trace to look at for a touchpoint.
        unplanned: Visits to touchpoints that the map does not name.
    """

    plan: JourneyMap
    source: str
    notes: tuple[str, ...]
    all: Figures
    touchpoints: Mapping[str, Figures]
    stages: Mapping[str, Figures]
    owners: Mapping[str, Figures]
    cells: Mapping[tuple[str, str], Figures]
    promises: Mapping[str, Kept]
    verdicts: Mapping[str, Mapping[str, Verdicts]]
    verdicts_at: Mapping[str, Mapping[str, Verdicts]]
    despite: Mapping[str, Verdicts]
    journeys: Mapping[str, Walked]
    handoffs: tuple[Waited, ...]
    traces: Mapping[str, str]
    unplanned: Mapping[str, float]

    @property
    def in_order(self) -> list[tuple[Stage, list[Touchpoint]]]:
        """The stages, each with its touchpoints."""
        by_stage: dict[str, list[Touchpoint]] = defaultdict(list)
        for touchpoint in self.plan.touchpoints.values():
            by_stage[touchpoint.stage].append(touchpoint)
        ordered = sorted(self.plan.stages.values(), key=lambda stage: stage.order)
        return [(stage, by_stage[stage.name]) for stage in ordered]

    def broken_at(self, touchpoint: str) -> list[tuple[Promise, Kept]]:
        """The promises made at a touchpoint that fall short."""
        made = self.plan.promises_at(touchpoint)
        found = ((promise, self.promises[promise.id]) for promise in made)
        return [(promise, kept) for promise, kept in found if kept.is_short]


def share(part: float, whole: float) -> float | None:
    """A part of a whole, between 0 and 1; None where there is no whole."""
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else None


def measured(journey_map: JourneyMap, tally: Tally) -> LiveMap:
    """Lay what was measured over the map."""
    planned = journey_map.touchpoints
    counts = _Counts(tally)
    stages: dict[str, list[str]] = {name: [] for name in journey_map.stages}
    owners: dict[str, list[str]] = {name: [] for name in journey_map.functions}
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, touchpoint in planned.items():
        stages.setdefault(touchpoint.stage, []).append(name)
        owners.setdefault(touchpoint.owner, []).append(name)
        cells[touchpoint.stage, touchpoint.owner].append(name)
    return LiveMap(
        plan=journey_map,
        source=tally.source,
        notes=tuple(tally.notes),
        all=counts.figures(planned, counts.value()),
        touchpoints={name: counts.figures([name]) for name in planned},
        stages={
            name: counts.figures(inside, counts.value(stage=name))
            for name, inside in stages.items()
        },
        owners={
            name: counts.figures(inside, counts.value(owner=name))
            for name, inside in owners.items()
        },
        cells={key: counts.figures(inside) for key, inside in cells.items()},
        promises={
            name: _kept(name, promise.objective, tally)
            for name, promise in journey_map.promises.items()
        },
        verdicts=_verdicts(_by_stage(tally)),
        verdicts_at=_verdicts(tally.verdicts.items()),
        despite=_verdicts(_despite(tally)).get("", {}),
        journeys={name: _walked(name, tally) for name in journey_map.journeys},
        handoffs=_handoffs(tally),
        traces={name: trace for name, trace in tally.traces.items() if name in planned},
        unplanned={name: n for name, n in counts.visits.items() if name not in planned},
    )


class _Counts:
    """A tally by touchpoint, so that each is looked through once."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self.visits: dict[str, float] = defaultdict(float)
        self._outcomes: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._frictions: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for (name, _, outcome), n in tally.items(names.METRIC_TOUCHPOINT_DURATION):
            self.visits[name] += n
            self._outcomes[name][outcome] += n
        for (name, kind), n in tally.items(names.METRIC_TOUCHPOINT_FRICTIONS):
            self._frictions[name][kind] += n

    def figures(
        self, touchpoints: Iterable[str], value: Mapping[tuple[str, str], float] | None = None
    ) -> Figures:
        inside = list(touchpoints)
        keys: list[Key] = [(name,) for name in inside]
        spread = self._tally.spread(names.METRIC_TOUCHPOINT_DURATION, keys)
        sums = self._tally.sums[names.METRIC_TOUCHPOINT_EFFORT]
        sizes = self._tally.sizes[names.METRIC_TOUCHPOINT_EFFORT]
        size = sum(sizes.get(key, 0.0) for key in keys)
        return Figures(
            visits=sum(self.visits.get(name, 0.0) for name in inside),
            outcomes=_merged(self._outcomes.get(name, {}) for name in inside),
            p50=spread.quantile(0.5),
            p90=spread.quantile(0.9),
            effort=sum(sums.get(key, 0.0) for key in keys) / size if size > 0 else None,
            frictions=_merged(self._frictions.get(name, {}) for name in inside),
            value=value or {},
        )

    def value(
        self, stage: str | None = None, owner: str | None = None
    ) -> Mapping[tuple[str, str], float]:
        """By type and currency: of a stage, of a function, or of all."""
        found: dict[tuple[str, str], float] = defaultdict(float)
        for (at, of, kind, currency), n in self._tally.items(names.METRIC_VALUE_ATTRIBUTED):
            if stage in (None, at) and owner in (None, of):
                found[kind, currency] += n
        return dict(sorted(found.items()))


def _merged(counts: Iterable[Mapping[str, float]]) -> Mapping[str, float]:
    found: dict[str, float] = defaultdict(float)
    for each in counts:
        for key, n in each.items():
            found[key] += n
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _kept(promise: str, objective: float | None, tally: Tally) -> Kept:
    results: dict[str, float] = defaultdict(float)
    for (name, result), n in tally.items(names.METRIC_PROMISE_EVALUATIONS):
        if name == promise:
            results[result] += n
    ratio = tally.mean(names.METRIC_PROMISE_DELIVERED_RATIO, promise)
    return Kept(dict(results), None if ratio is None else ratio - 1, objective)


def _by_stage(tally: Tally) -> Iterable[tuple[Key, float]]:
    for (stage, function, verdict, _), n in tally.items(names.METRIC_FUNCTION_VERDICTS):
        yield (stage, function, verdict), n


def _despite(tally: Tally) -> Iterable[tuple[Key, float]]:
    for (_, function, verdict, result), n in tally.items(names.METRIC_FUNCTION_VERDICTS):
        if result == "broken":
            yield ("", function, verdict), n


def _verdicts(counted: Iterable[tuple[Key, float]]) -> Mapping[str, Mapping[str, Verdicts]]:
    found: dict[str, dict[str, Verdicts]] = defaultdict(dict)
    for (place, function, verdict), n in counted:
        known = found[place].get(function, Verdicts())
        happy = n if verdict == "happy" else 0.0
        found[place][function] = Verdicts(known.happy + happy, known.unhappy + n - happy)
    return dict(found)


def _walked(journey: str, tally: Tally) -> Walked:
    spread = tally.spread(names.METRIC_JOURNEY_DURATION, [(journey,)])
    ended = tally.items(names.METRIC_JOURNEY_DURATION)
    visits: dict[str, float] = defaultdict(float)
    hurt: dict[str, float] = defaultdict(float)
    for (name, within, outcome), n in tally.items(names.METRIC_TOUCHPOINT_DURATION):
        if within == journey:
            visits[name] += n
            hurt[name] += n if outcome in HURT else 0.0
    return Walked(
        outcomes=_merged({outcome: n} for (name, outcome), n in ended if name == journey),
        p50=spread.quantile(0.5),
        p90=spread.quantile(0.9),
        visits=dict(visits),
        hurt=dict(hurt),
    )


def _handoffs(tally: Tally) -> tuple[Waited, ...]:
    found = []
    for giver, taker in sorted(tally.spreads[names.METRIC_HANDOFF_DURATION]):
        spread = tally.spread(names.METRIC_HANDOFF_DURATION, [(giver, taker)])
        if spread.count > 0:
            waits = spread.quantile(0.5), spread.quantile(0.9)
            found.append(Waited(giver, taker, spread.count, *waits))
    return tuple(sorted(found, key=lambda each: -(each.p90 or 0.0)))
