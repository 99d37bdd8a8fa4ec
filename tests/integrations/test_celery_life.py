"""Celery's processes: those that a hard time limit kills leave the pool in working order."""

import os
from pathlib import Path

import pytest

pytest.importorskip("celery", reason="Celery is not installed")
pytest.importorskip(
    "opentelemetry.instrumentation.celery", reason="its instrumentation is not installed"
)

from tests.integrations.test_celery import Service

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]

STUCK = """

@app.task(time_limit=1)
def stuck():
    time.sleep(60)
"""
PROVIDER = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    trace.set_tracer_provider(provider)
    import cxtrace
"""


@pytest.mark.parametrize("provider", ["ours", "of others"])
def test_a_hard_time_limit(tmp_path: Path, provider: str) -> None:
    """Processes that are killed are replaced, later tasks run, and the worker stops when asked."""
    service = Service(tmp_path, "alone")
    file = tmp_path / "app.py"
    text = file.read_text(encoding="utf-8") + STUCK
    if provider != "ours":
        text = text.replace("\n    import cxtrace\n", PROVIDER, 1)
    file.write_text(text, encoding="utf-8")

    printed = service.run(*["stuck.delay()"] * 4, "add.delay(1, 2)").splitlines()

    assert printed[:4] == ["stuck.delay() TimeLimitExceeded FAILURE"] * 4
    assert printed[4].startswith("add.delay(1, 2) 3")
