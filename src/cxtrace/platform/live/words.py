"""Numbers as people read them, the same in each of the drawings."""

from collections.abc import Mapping
from typing import Final

from cxtrace.platform.live.measured import Figures, Kept, LiveMap

SIGNS: Final[Mapping[str, str]] = {
    "completed": "✓",
    "handed_off": "→",
    "deferred": "…",
    "abandoned": "○",
    "failed": "✗",
}
"""A sign for each outcome of a touchpoint, the good ones first."""

_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))
_FEW: Final = 0.1


def number(value: float) -> str:
    """How many: whole where it is nearly so, for stores extrapolate."""
    return f"{value:,.0f}" if value >= 10 or abs(value - round(value)) < _FEW else f"{value:.1f}"


def percent(share: float | None) -> str:
    """A share in per cent; never 100 % where something is lacking, nor 0 % where something is."""
    if share is None:
        return "–"  # noqa: RUF001
    if 0 < share < 0.01 or 0.99 < share < 1:
        return f"{min(max(share * 100, 0.1), 99.9):.1f} %"
    return f"{share * 100:.0f} %"


def gap(value: float | None) -> str:
    """How much worse or better than promised."""
    if value is None:
        return "–"  # noqa: RUF001
    rounded = round(value * 100)
    if not rounded:
        return "as promised"
    return f"{abs(rounded):,} % {'worse' if rounded > 0 else 'better'}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them."""
    if seconds is None:
        return "–"  # noqa: RUF001
    for size, unit in _UNITS:
        if seconds >= size:
            amount = seconds / size
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    thousandths = seconds * 1000
    return f"{thousandths:.0f} ms" if thousandths >= 10 or not seconds else f"{thousandths:.2g} ms"


def amount(value: float, currency: str) -> str:
    """Money."""
    return f"{value:,.2f} {currency}".rstrip()


def times(count: float, noun: str) -> str:
    """A number and what it counts."""
    shown = number(count)
    return f"{shown} {noun}" if shown == "1" else f"{shown} {noun}s"


def outcomes(figures: Figures) -> list[tuple[str, float]]:
    """The outcomes that occurred, in the order of ``SIGNS``."""
    known = [(each, figures.outcomes[each]) for each in SIGNS if figures.outcomes.get(each)]
    other = [(name, n) for name, n in figures.outcomes.items() if name not in SIGNS]
    return [*known, *other]


def verdict(kept: Kept) -> tuple[str, str]:
    """A sign and a word for what became of a promise."""
    if kept.share is None:
        return "–", "not measured"  # noqa: RUF001
    return ("✗", "falls short") if kept.is_short else ("✓", "kept")


def weakest(live: LiveMap, touchpoint: str) -> float | None:
    """The weaker of two shares: visits that were not hurt, and each of its promises kept.

    None without a visit.
    """
    hurt = live.touchpoints[touchpoint].hurt
    if hurt is None:
        return None
    kept = (live.promises[promise.id].share for promise in live.plan.promises_at(touchpoint))
    return min([1 - hurt, *(each for each in kept if each is not None)])
