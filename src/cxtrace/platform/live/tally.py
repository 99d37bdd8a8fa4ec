"""What was measured, counted: the one shape that every source of measurements is brought into."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs

from cxtrace import attributes as names
from cxtrace.platform.live.spread import Spread, together

Key: TypeAlias = tuple[str, ...]
"""Values of the labels of an instrument, in the order of its table; empty where one is missing."""

COUNTS: Final[Mapping[str, tuple[str, ...]]] = {
    names.METRIC_TOUCHPOINT_DURATION: (
        names.TOUCHPOINT_NAME,
        names.JOURNEY_NAME,
        names.TOUCHPOINT_OUTCOME,
    ),
    names.METRIC_TOUCHPOINT_FRICTIONS: (names.TOUCHPOINT_NAME, names.FRICTION_TYPE),
    names.METRIC_PROMISE_EVALUATIONS: (names.PROMISE_ID, names.PROMISE_RESULT),
    names.METRIC_FUNCTION_VERDICTS: (
        names.STAGE_NAME,
        names.FUNCTION_NAME,
        names.FUNCTION_VERDICT,
        names.PROMISE_RESULT,
    ),
    names.METRIC_VALUE_ATTRIBUTED: (
        names.STAGE_NAME,
        names.OWNER_FUNCTION,
        names.VALUE_TYPE,
        names.VALUE_CURRENCY,
    ),
    names.METRIC_JOURNEY_DURATION: (names.JOURNEY_NAME, names.JOURNEY_OUTCOME),
}
"""What is counted, and by which labels; of a histogram, its measurements."""

MEANS: Final[Mapping[str, tuple[str, ...]]] = {
    names.METRIC_TOUCHPOINT_EFFORT: (names.TOUCHPOINT_NAME,),
    names.METRIC_PROMISE_DELIVERED_RATIO: (names.PROMISE_ID,),
}
"""Of what the mean is taken."""

SPREADS: Final[Mapping[str, tuple[str, ...]]] = {
    names.METRIC_TOUCHPOINT_DURATION: (names.TOUCHPOINT_NAME,),
    names.METRIC_JOURNEY_DURATION: (names.JOURNEY_NAME,),
    names.METRIC_HANDOFF_DURATION: (names.HANDOFF_FROM_FUNCTION, names.HANDOFF_TO_FUNCTION),
}
"""Of what the spread is wanted."""

HISTOGRAMS: Final = frozenset({*MEANS, *SPREADS})
"""Instruments that are histograms."""

_Counts: TypeAlias = dict[str, dict[Key, float]]


def _counts() -> _Counts:
    return defaultdict(lambda: defaultdict(float))


@attrs.define
class Tally:
    """Everything that a source has measured.

    Attributes:
        source: Where it was read, in words, without secrets.
        counts: By instrument and labels, as in ``COUNTS``.
        sums: Of the instruments in ``MEANS``: the sum of what was measured.
        sizes: How many measurements are in each of ``sums``.
        spreads: As in ``SPREADS``.
        traces: A trace to look at for a touchpoint: of a visit that went wrong, where one did.
        verdicts: By touchpoint, function and verdict, where the source knows the touchpoint.
        notes: What a reader has to know of it, one sentence each.
    """

    source: str
    counts: _Counts = attrs.field(factory=_counts)
    sums: _Counts = attrs.field(factory=_counts)
    sizes: _Counts = attrs.field(factory=_counts)
    spreads: dict[str, dict[Key, list[Spread]]] = attrs.field(
        factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    traces: dict[str, str] = attrs.field(factory=dict)
    verdicts: dict[Key, float] = attrs.field(factory=lambda: defaultdict(float))
    notes: list[str] = attrs.field(factory=list)

    @property
    def visits(self) -> float:
        """Visits at all touchpoints."""
        return sum(self.counts[names.METRIC_TOUCHPOINT_DURATION].values())

    def measure(self, instrument: str, labels: Mapping[str, Any], value: float) -> None:
        """One measurement, as the SDK takes it."""
        amount = 1.0 if instrument in HISTOGRAMS else value
        self.add(instrument, labels, amount, value, Spread((value,)))

    def add(
        self,
        instrument: str,
        labels: Mapping[str, Any],
        count: float,
        total: float = 0.0,
        spread: Spread | None = None,
    ) -> None:
        """Many measurements at once.

        Args:
            instrument: Its name in OpenTelemetry.
            labels: Attributes, of which the tables choose.
            count: How many, or the sum of a counter.
            total: Their sum.
            spread: How they are spread, if it is known.
        """
        if not math.isfinite(count) or not math.isfinite(total):
            return
        if instrument in COUNTS:
            self.counts[instrument][_key(COUNTS[instrument], labels)] += count
        if instrument in MEANS:
            key = _key(MEANS[instrument], labels)
            self.sums[instrument][key] += total
            self.sizes[instrument][key] += count
        if instrument in SPREADS and spread is not None:
            self.spreads[instrument][_key(SPREADS[instrument], labels)].append(spread)

    def mean(self, instrument: str, *key: str) -> float | None:
        """The mean of an instrument in ``MEANS``; None where nothing was measured."""
        size = self.sizes[instrument].get(key, 0.0)
        return self.sums[instrument][key] / size if size > 0 else None

    def spread(self, instrument: str, keys: Iterable[Key]) -> Spread:
        """How what was measured under any of the keys is spread."""
        found = self.spreads[instrument]
        return together(spread for key in keys for spread in found.get(key, ()))

    def items(self, instrument: str) -> Iterator[tuple[Key, float]]:
        """What was counted, where it is more than nothing."""
        return ((key, value) for key, value in self.counts[instrument].items() if value > 0)


def _key(labels: tuple[str, ...], found: Mapping[str, Any]) -> Key:
    return tuple(str(found.get(label, "")) for label in labels)
