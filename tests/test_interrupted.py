"""What interrupts cxtrace in its own thread, a signal handler or a finaliser, may use it too."""

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import pytest
from opentelemetry import metrics

import cxtrace
from cxtrace import _guard, customer, identify, interaction, journey, touchpoint
from tests.conftest import Capture, Meters

_LOCKED: Final = ("/cxtrace/", "/sdk/metrics/_internal/aggregation.py", "/sdk/util/__init__.py")
_LONG: Final = 60.0


def visit() -> None:
    """Do all that is done at a touchpoint."""
    with journey("walk"), customer("A"), touchpoint("a", stage="s", owner="it") as tp:
        with interaction("type"):
            tp.friction("slow").emotion("anger", source="text", valence=-0.5)
        tp.span.add_link(tp.span.get_span_context())
        tp.span.add_link(tp.span.get_span_context())
        tp.value(5.0, "EUR", type="revenue").complaint("opened").handoff("service")
        tp.nudge("bar", technique="reminder").accepted()
        identify("B")


def interrupted(work: Callable[[], None], handler: Callable[[], None]) -> int:
    """Do the work in a thread, and the handler's at every line of it: how often that was."""
    times = 0

    def at(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal times
        if not any(part in frame.f_code.co_filename for part in _LOCKED):
            return None
        if event == "line":
            times += 1
            handler()
        return at

    def run() -> None:
        sys.settrace(at)
        try:
            work()
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_LONG)
    if thread.is_alive():
        pytest.fail("what was interrupted waits for itself")
    return times


def handler() -> None:
    """Use cxtrace, inside and outside of what is interrupted."""
    cxtrace.friction("slow").set({"cx.quality.speed": 0.5})
    visit()


@pytest.fixture
def lean(forgetful: None) -> Capture:
    """Make our own spans: those of the SDK have locks that nobody can enter twice."""
    return Capture()


def test_an_interruption_at_any_line(lean: Capture) -> None:
    """Signals and touchpoints in the midst of others wait for nobody, and none is lost."""
    times = interrupted(visit, handler)

    assert times > 100
    assert lean.names.count("a") == times + 1
    assert not any(what.startswith("errors") for what in _guard.counts())


def test_an_interruption_while_counting(lean: Capture, meters: Meters) -> None:
    """The same with metrics, and every visit counts."""
    if not hasattr(metrics.get_meter("test").create_counter("c"), "_is_enabled"):
        pytest.skip(
            "with this OpenTelemetry all values go the public way, through locks of its own"
        )
    for _ in range(3):
        visit()
    times = interrupted(visit, handler)

    assert meters.values("cx.touchpoint.duration")[0][1][0] == times + 4
    assert not any(what.startswith("errors") for what in _guard.counts())
