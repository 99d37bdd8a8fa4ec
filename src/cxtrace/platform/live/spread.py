"""How values are spread: exactly, where each is known, or by the buckets of a histogram."""

import math
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

_NONE: Final[Mapping[float, float]] = {}


@attrs.frozen
class Spread:
    """Values, or how many of them lie up to each boundary; several can be put together.

    Attributes:
        values: In any order, as far as each is known.
        below: How many lie up to each boundary and above the one before; the last is infinite.
    """

    values: tuple[float, ...] = ()
    below: Mapping[float, float] = _NONE

    @property
    def count(self) -> float:
        """How many there are."""
        return len(self.values) + sum(self.below.values())

    def quantile(self, share: float) -> float | None:
        """The value that this share does not exceed; None where there are none.

        Out of buckets it is an estimate, in a straight line from boundary to boundary, as
        Prometheus has it. What lies above the last boundary is taken for that boundary.
        """
        if self.below:
            return _within(_buckets(self), share * self.count)
        if not self.values:
            return None
        ordered = sorted(self.values)
        place = share * (len(ordered) - 1)
        low = ordered[math.floor(place)]
        return low + (ordered[math.ceil(place)] - low) * (place % 1)


def together(spreads: Iterable[Spread]) -> Spread:
    """The values of all of them."""
    values: list[float] = []
    below: dict[float, float] = {}
    for spread in spreads:
        values += spread.values
        for boundary, count in spread.below.items():
            below[boundary] = below.get(boundary, 0.0) + count
    return Spread(tuple(values), below)


def from_cumulative(counts: Mapping[float, float]) -> Spread:
    """What Prometheus keeps: for each boundary, how many values lie up to it."""
    ordered = sorted(counts.items())
    steps = zip([0.0, *(count for _, count in ordered)], ordered, strict=False)
    return Spread(below={high: max(now - before, 0.0) for before, (high, now) in steps})


def _buckets(spread: Spread) -> list[tuple[float, float]]:
    """The buckets, and each single value as a bucket of its own."""
    below = dict(spread.below)
    for value in spread.values:
        below[value] = below.get(value, 0.0) + 1
    return sorted(below.items())


def _within(buckets: list[tuple[float, float]], rank: float) -> float | None:
    low, seen = 0.0, 0.0
    for boundary, count in buckets:
        if count and seen + count >= rank:
            if math.isinf(boundary):
                return low
            begin = min(low, boundary)
            return begin + (boundary - begin) * max(rank - seen, 0.0) / count
        low, seen = boundary, seen + count
    return None if not seen else low
