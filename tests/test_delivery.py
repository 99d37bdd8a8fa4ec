"""The processors that deliver spans and log records, with OpenTelemetry's settings."""

import gc
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from cxtrace import _guard
from cxtrace._flights import Limits
from cxtrace._ledger import Ledger
from cxtrace.delivery import LogDelivery, SpanDelivery, SpoolSettings, limits
from cxtrace.exceptions import ConfigurationError


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    _guard.reset()
    yield
    _guard.reset()


class Exporter(SpanExporter):
    """Delivers only while it is up."""

    def __init__(self) -> None:
        self.is_up = True
        self.names: list[str] = []
        self.ids: list[int] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Remember what came."""
        if not self.is_up:
            return SpanExportResult.FAILURE
        self.names += [span.name for span in spans]
        self.ids += [span.get_span_context().span_id for span in spans]  # type: ignore[union-attr]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """An exporter of others may raise."""
        raise RuntimeError("secret")


def test_spans_of_a_provider() -> None:
    """Added to any provider of the SDK it delivers what is sampled, at flush and at the end."""
    exporter = Exporter()
    delivery = SpanDelivery(exporter)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(delivery)
    tracer = provider.get_tracer("test")
    tracer.start_span("a").end()
    assert delivery.ledger == Ledger(created=1, queued=1)
    assert provider.force_flush()
    tracer.start_span("b").end()
    provider.shutdown()
    delivery.shutdown()

    assert exporter.names == ["a", "b"]
    assert delivery.ledger == Ledger(created=2, exported=2)
    assert _guard.counts() == {"errors.exporter.shutdown": 1}


def test_what_is_not_sampled_is_not_delivered() -> None:
    """The sampler decides, and it is not counted."""
    delivery = SpanDelivery(Exporter())
    provider = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(delivery)
    provider.get_tracer("test").start_span("a").end()
    nobodys: Any = ReadableSpan("no context")
    delivery.on_end(nobodys)

    assert delivery.ledger == Ledger()
    provider.shutdown()


@pytest.mark.parametrize("kind", ["spans", "logs"])
def test_error_of_ours_does_not_reach_the_host(kind: str) -> None:
    """Whatever is handed over: the error is counted."""
    if kind == "spans":
        SpanDelivery(Exporter()).on_end(None)  # type: ignore[arg-type]
    else:
        LogDelivery(InMemoryLogRecordExporter()).on_emit(None)  # type: ignore[arg-type]

    assert _guard.counts() == {f"errors.delivery.{kind}": 1}


def test_log_records_of_a_provider() -> None:
    """Added to any provider of the SDK it delivers what is emitted."""
    exporter = InMemoryLogRecordExporter()
    delivery = LogDelivery(exporter)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(delivery)
    provider.get_logger("test").emit(LogRecord(body="paid"))

    assert provider.force_flush()
    (found,) = exporter.get_finished_logs()
    assert found.log_record.body == "paid"
    assert found.resource is provider.resource
    assert delivery.ledger == Ledger(created=1, exported=1)
    provider.shutdown()


def test_exporter_that_cares_for_forks() -> None:
    """An exporter that has something to do in a child is told of it."""
    told: list[str] = []

    class Careful(InMemorySpanExporter):
        def after_fork(self) -> None:
            told.append("fork")

    delivery = SpanDelivery(Careful())
    delivery.after_fork()

    assert told == ["fork"]
    SpanDelivery(Exporter()).after_fork()
    assert _guard.counts() == {}


@pytest.mark.parametrize("kind", ["spans", "logs"])
def test_spool_of_real_items(tmp_path: Path, kind: str) -> None:
    """What could not be sent comes back from disk as it was, with the same ids."""
    spool = SpoolSettings(tmp_path, 2**20, 3_600)
    delivery: Any
    if kind == "spans":
        spans = Exporter()
        spans.is_up = False
        delivery = SpanDelivery(spans, spool=spool)
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(delivery)
        with tracers.get_tracer("test").start_as_current_span("a") as span:
            made = span.get_span_context().span_id
    else:
        logs = InMemoryLogRecordExporter()
        logs._stopped = True
        delivery = LogDelivery(logs, spool=spool)
        loggers = LoggerProvider(shutdown_on_exit=False)
        loggers.add_log_record_processor(delivery)
        loggers.get_logger("test").emit(LogRecord(body="paid"))

    assert delivery.force_flush(30_000)
    assert delivery.ledger.spooled == 1
    if kind == "spans":
        spans.is_up = True
    else:
        logs._stopped = False
    delivery.courier._retry_at = 0.0
    until = time.monotonic() + 30
    while not delivery.ledger.exported and time.monotonic() < until:
        delivery.courier._wakes.put(None)
        time.sleep(0.01)

    assert delivery.ledger.exported == 1
    if kind == "spans":
        assert (spans.names, spans.ids) == (["a"], [made])
    else:
        assert [each.log_record.body for each in logs.get_finished_logs()] == ["paid"]
    delivery.shutdown()


def test_what_others_have_left_is_sent_at_once(tmp_path: Path) -> None:
    """A service that starts sends what lies in the spool, though it has no span of its own yet."""
    spool = SpoolSettings(tmp_path, 2**20, 3_600)
    away, exporter = Exporter(), Exporter()
    away.is_up = False
    before, after = SpanDelivery(away, spool=spool), SpanDelivery(exporter, spool=spool)
    after.begin()
    assert not after.courier._worker.has_begun
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(before)
    provider.get_tracer("test").start_span("a").end()
    provider.shutdown()
    assert before.ledger.spooled == 1
    after.begin()
    until = time.monotonic() + 30
    while not after.ledger.exported and time.monotonic() < until:
        time.sleep(0.01)

    assert exporter.names == ["a"]
    assert after.ledger == Ledger(recovered=1, exported=1)
    after.shutdown()
    SpanDelivery(exporter).begin()


@pytest.mark.parametrize("with_spool", [False, True], ids=["memory", "spool"])
def test_memory_has_a_ceiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_spool: bool
) -> None:
    """However long a receiver is away: what waits takes no more than a full queue does."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "200")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "50")
    spool = SpoolSettings(tmp_path, 2**20, 3_600) if with_spool else None
    exporter = Exporter()
    exporter.is_up = False
    delivery = SpanDelivery(exporter, spool=spool)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(delivery)
    tracer = provider.get_tracer("test")

    def make(count: int) -> int:
        for number in range(count):
            with tracer.start_as_current_span("a", attributes={"text": f"{number:0500}"}):
                pass
            if not number % 50:
                provider.force_flush(200 if with_spool else 0)
        if with_spool:
            assert provider.force_flush(60_000)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        full, later = make(1_000), make(2_000)
    finally:
        tracemalloc.stop()
    ledger = delivery.ledger

    assert ledger.created == 3_000
    assert ledger.is_balanced
    assert ledger.queued <= 250
    assert later - full < 200_000
    provider.shutdown()


def test_limits_by_opentelemetrys_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and the delay, in milliseconds; spans and log records have their own."""
    assert limits("BSP") == Limits(2_048, 512, 5.0)
    assert limits("BLRP") == Limits(2_048, 512, 1.0)
    assert limits("BSP", 0.2) == Limits(2_048, 512, 0.2)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    assert limits("BSP") == Limits(100, 100, 5.0)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "250")
    assert limits("BSP") == Limits(100, 20, 0.25)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MAX_QUEUE_SIZE", "0", "OTEL_BSP_MAX_QUEUE_SIZE=0 must be above zero"),
        ("SCHEDULE_DELAY", "-1", "OTEL_BSP_SCHEDULE_DELAY=-1 must be above zero"),
        ("MAX_EXPORT_BATCH_SIZE", "3000", "make the queue larger or the batch smaller"),
    ],
)
def test_limits_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """The error names the variable, and what is wrong with it."""
    monkeypatch.setenv(f"OTEL_BSP_{name}", value)

    with pytest.raises(ConfigurationError, match=said):
        SpanDelivery(Exporter())


def test_limit_that_is_no_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As OpenTelemetry does it: the default is used, and the log says so."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "5s")

    assert limits("BSP").delay == 5.0
    assert caplog.messages == ["cxtrace: OTEL_BSP_SCHEDULE_DELAY is no whole number; 5000 is used"]
