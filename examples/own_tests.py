"""Touchpoints in the tests of your own service. Run with ``pytest examples/own_tests.py``."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import cxtrace
from cxtrace import touchpoint

_exporter = InMemorySpanExporter()


@pytest.fixture(scope="session", autouse=True)
def tracing() -> None:
    """Once a run: a process has one tracer provider. In your tests, this is in conftest.py."""
    cxtrace.configure(service_name="shop", journey_map="examples/journeys.toml", exporter=_exporter)


class Spans:
    """The spans that ended in one test."""

    def __getitem__(self, name: str) -> ReadableSpan:
        cxtrace.flush()
        found = {span.name: span for span in _exporter.get_finished_spans()}
        assert name in found, f"no span named {name!r}; there are: {', '.join(found) or 'none'}"
        return found[name]


@pytest.fixture
def spans() -> Spans:
    """Empty before each test."""
    cxtrace.flush()
    _exporter.clear()
    return Spans()


@touchpoint("checkout.pay")
def pay(amount: float) -> None:
    """The code under test."""
    if amount > 100:
        cxtrace.current_touchpoint().fail("card_declined")


def test_a_declined_card_is_a_failure_of_the_touchpoint(spans: Spans) -> None:
    """A declined card fails the touchpoint although no exception flies."""
    pay(149.90)

    assert spans["checkout.pay"].attributes["cx.touchpoint.outcome"] == "failed"
    assert spans["checkout.pay"].attributes["error.type"] == "card_declined"


def test_the_touchpoint_is_in_the_map(spans: Spans) -> None:
    """The map says who owns it."""
    pay(49.90)

    assert spans["checkout.pay"].attributes["cx.touchpoint.planned"] is True
    assert spans["checkout.pay"].attributes["cx.owner.function"] == "product"
