"""Is a promise kept? Pure arithmetic on what was promised and what was delivered."""

import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from cxtrace._model import Promise, PromiseOp
    from cxtrace.attributes import PromiseResult

_HOLDS: Final[Mapping["PromiseOp", Callable[[float, float], bool]]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}
_LESS_IS_BETTER: Final = ("<=", "<")
_WORST_FIRST: Final = ("broken", "unmeasured", "kept", "exceeded")


class Evaluation(NamedTuple):
    """A promise compared with what was delivered.

    Attributes:
        promise: As the map has it.
        result: ``kept``, ``broken``, ``exceeded`` or ``unmeasured``.
        delivered: In the promise's unit; None where it is not known.
        gap: Share by which the delivered value misses the target; positive is worse than promised.
            Where the target is 0, the difference itself.
    """

    promise: "Promise"
    result: "PromiseResult"
    delivered: float | None = None
    gap: float | None = None


def evaluate(promise: "Promise", delivered: float | None) -> Evaluation:
    """Compare; ``delivered`` is in the promise's unit, or None where it could not be measured."""
    if delivered is None:
        return Evaluation(promise, "unmeasured")
    delivered = float(delivered)  # a count, such as that of actions, is none
    less_is_better = promise.op in _LESS_IS_BETTER
    difference = delivered - promise.target if less_is_better else promise.target - delivered
    gap = difference / (abs(promise.target) or 1.0)
    holds = _HOLDS[promise.op]
    if not holds(delivered, promise.target):
        return Evaluation(promise, "broken", delivered, gap)
    better = promise.exceeded_at
    exceeded = better is not None and (delivered == better or holds(delivered, better))
    return Evaluation(promise, "exceeded" if exceeded else "kept", delivered, gap)


def worst(evaluations: list[Evaluation]) -> "PromiseResult | None":
    """The result that hurts the customer most, or None where nothing was promised."""
    results: Any = {evaluation.result for evaluation in evaluations}
    return next((result for result in _WORST_FIRST if result in results), None)
