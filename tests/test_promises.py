"""Promises compared with what was delivered."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace._model import Promise
from cxtrace._promises import Evaluation, evaluate, worst

finite = st.floats(-1e9, 1e9)
operators: Any = st.sampled_from(["<=", "<", ">=", ">"])


def promise(op: Any = "<=", target: float = 2.0, exceeded_at: float | None = None) -> Promise:
    """A promise of some seconds."""
    return Promise(
        id="fast",
        claim="Fast",
        source="brand_claim",
        metric="touchpoint.duration",
        op=op,
        target=target,
        unit="s",
        exceeded_at=exceeded_at,
    )


@pytest.mark.parametrize(
    ("op", "delivered", "result"),
    [
        *[("<=", 1.9, "kept"), ("<=", 2.0, "kept"), ("<=", 2.1, "broken")],
        *[("<", 1.9, "kept"), ("<", 2.0, "broken"), ("<", 2.1, "broken")],
        *[(">=", 1.9, "broken"), (">=", 2.0, "kept"), (">=", 2.1, "kept")],
        *[(">", 1.9, "broken"), (">", 2.0, "broken"), (">", 2.1, "kept")],
    ],
)
def test_kept_or_broken(op: Any, delivered: float, result: str) -> None:
    """Each operator draws its border where its sign says."""
    assert evaluate(promise(op), delivered).result == result


@pytest.mark.parametrize(
    ("op", "better", "delivered", "result"),
    [
        *[("<=", 1.0, 1.5, "kept"), ("<=", 1.0, 1.0, "exceeded"), ("<=", 1.0, 0.5, "exceeded")],
        *[("<", 1.0, 1.5, "kept"), ("<", 1.0, 1.0, "exceeded"), ("<", 1.0, 2.0, "broken")],
        *[(">=", 3.0, 2.5, "kept"), (">=", 3.0, 3.0, "exceeded"), (">=", 3.0, 1.0, "broken")],
        *[(">", 3.0, 2.5, "kept"), (">", 3.0, 3.0, "exceeded"), (">", 3.0, 4.0, "exceeded")],
    ],
)
def test_exceeded(op: Any, better: float, delivered: float, result: str) -> None:
    """What is delivered as good as ``exceeded_at``, or better, is more than kept."""
    assert evaluate(promise(op, exceeded_at=better), delivered).result == result


def test_unmeasured() -> None:
    """A value that is not known has no gap either."""
    assert evaluate(promise(), None) == Evaluation(promise(), "unmeasured", None, None)


@pytest.mark.parametrize(
    ("op", "target", "delivered", "gap"),
    [
        ("<=", 2.0, 3.0, 0.5),
        ("<=", 2.0, 1.0, -0.5),
        (">=", 2.0, 3.0, -0.5),
        (">=", 2.0, 1.0, 0.5),
        ("<=", 0.0, 3.0, 3.0),
        (">=", 0.0, 3.0, -3.0),
        ("<=", -2.0, -1.0, 0.5),
    ],
)
def test_the_gap(op: Any, target: float, delivered: float, gap: float) -> None:
    """The gap is a share of the target, positive where it is worse; at 0 the difference itself."""
    assert evaluate(promise(op, target), delivered).gap == gap


@given(operators, finite, finite)
def test_the_gap_agrees_with_the_result(op: Any, target: float, delivered: float) -> None:
    """What is worse than promised is broken, and what is better is kept."""
    found = evaluate(promise(op, target), delivered)

    assert found.gap is not None
    if found.gap > 0:
        assert found.result == "broken"
    if found.gap < 0:
        assert found.result == "kept"


@given(st.lists(st.sampled_from([None, 1.0, 2.0, 3.0])))
def test_the_worst(values: list[float | None]) -> None:
    """Of several promises the one counts that hurts most: broken before what is not known."""
    evaluations = [evaluate(promise(exceeded_at=1.0), value) for value in values]
    order = ["broken", "unmeasured", "kept", "exceeded"]
    expected = min((each.result for each in evaluations), key=order.index, default=None)

    assert worst(evaluations) == expected
