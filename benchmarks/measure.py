"""Measure several things in turn, round after round, and compare them."""

import gc
from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from time import thread_time
from typing import Any, Final, TypeAlias

from attrs import field, frozen
from opentelemetry.context import Context, attach, detach

Block: TypeAlias = Callable[[], float]
"""Does the thing many times over and returns what one time cost."""

Samples: TypeAlias = Mapping[str, Sequence[float]]
"""What each thing cost in each round."""

NOTHING: Final = "nothing"
"""The cost to take away where nothing is to be taken away."""


@frozen
class Size:
    """How long to measure.

    Attributes:
        rounds: How often each thing gets its turn.
        calls: Calls in one turn; few enough that the spans of one turn fit into the queue.
        starts: Python processes started for each import.
        seconds: For how long spans are made flat out.
    """

    rounds: int = 30
    calls: int = 400
    starts: int = 21
    seconds: float = 3.0


@frozen
class Line:
    """One case: ours beside the hand-written one.

    Attributes:
        ratio: The median of the ratios round by round, since a slow moment hits a whole round.
        best: Ratio of the minima, which noise from outside disturbs least.
        spread: First and third quartile of the ratio, round by round.
        target: The ratio may be this at most; None where nothing was promised.
        holds: Whether it is; None without a target.
        note: What the numbers do not say.
    """

    case: str
    unit: str
    ours: float
    theirs: float
    ratio: float | None = None
    best: float | None = None
    spread: tuple[float, float] | None = None
    target: float | None = None
    holds: bool | None = None
    note: str = ""
    samples: Mapping[str, Sequence[float]] = field(factory=dict, repr=False)


def block(
    run: Callable[[int], object],
    calls: int,
    context: Context | None = None,
    after: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = thread_time,
) -> Block:
    """A turn of ``calls`` calls under ``context``.

    The garbage collector is on, as in a service, and starts every turn from the same state.
    ``after`` runs once the clock has stopped.
    """

    def turn() -> float:
        token = attach(Context() if context is None else context)
        gc.collect()
        start = clock()
        run(calls)
        spent = clock() - start
        detach(token)
        after()
        return spent / calls

    return turn


def in_turns(blocks: Mapping[str, Block], rounds: int) -> Samples:
    """Run every block once in each round, every other round in reverse order."""
    samples: dict[str, list[float]] = {name: [] for name in blocks}
    for turn in blocks.values():
        turn()
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        order = list(blocks)
        for name in order if number % 2 == 0 else reversed(order):
            samples[name].append(blocks[name]())
    return samples


def compare(
    samples: Samples,
    case: str,
    ours: str,
    theirs: str,
    *,
    less: str = NOTHING,
    target: float | None = None,
    unit: str = "µs",
    note: str = "",
) -> Line:
    """Ours, less the cost of what would be there without us, beside theirs."""
    scale = {"µs": 1e6, "ms": 1e3}.get(unit, 1.0)
    mine = [cost * scale for cost in samples[ours]]
    other = [cost * scale for cost in samples[theirs]]
    base = [cost * scale for cost in samples[less]] if less != NOTHING else [0.0] * len(mine)
    added = [cost - without for cost, without in zip(mine, base, strict=True)]
    ratios = [a / b for a, b in zip(added, other, strict=True)]
    ratio = median(ratios)
    return Line(
        case,
        unit,
        median(added),
        median(other),
        ratio,
        (min(mine) - min(base)) / min(other),
        _quartiles(ratios),
        target,
        None if target is None else ratio <= target,
        note,
        {"ours": mine, "theirs": other, "less": [] if less == NOTHING else base},
    )


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = quantiles(values, n=4, method="inclusive")
    return first, third


def to_json(line: Line) -> dict[str, Any]:
    """The line as it stands in the JSON file."""
    return {
        "case": line.case,
        "unit": line.unit,
        "ours": line.ours,
        "hand_written": line.theirs,
        "ratio": line.ratio,
        "ratio_of_minima": line.best,
        "ratio_quartiles": line.spread,
        "target_first": line.target,
        "holds": line.holds,
        "note": line.note,
        "rounds": line.samples,
    }
