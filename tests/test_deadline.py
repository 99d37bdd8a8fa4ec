"""Work that must be over by a deadline."""

import threading

import pytest

from cxtrace import _guard
from cxtrace._deadline import within


@pytest.mark.parametrize("answer", [True, False])
def test_answer_of_the_work(answer: bool) -> None:
    """What the work says is what its caller gets."""
    assert within(30, "_flush", lambda: answer) is answer


def test_work_that_raises() -> None:
    """Its error is counted, and the answer is no."""
    _guard.reset()

    def fail() -> bool:
        raise ValueError("secret")

    assert within(30, "_flush", fail) is False
    assert _guard.counts() == {"errors._flush": 1}
    _guard.reset()


def test_work_that_takes_too_long() -> None:
    """It goes on in its thread, and nobody waits for it."""
    go = threading.Event()

    assert within(0.01, "_flush", lambda: go.wait(30)) is False
    go.set()
