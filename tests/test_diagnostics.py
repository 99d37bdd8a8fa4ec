"""``report()``: what was delivered and lost, refused and swallowed."""

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

import cxtrace
from cxtrace import _config, _courier, _guard, _observers, _runtime
from cxtrace._ledger import Ledger
from cxtrace._runtime import Runtime
from cxtrace._settings import Settings
from cxtrace._tracing import tracing_of
from cxtrace._wiring import Wiring
from cxtrace.diagnostics import Report
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import Key
from cxtrace.spool import SpoolState

KEY = "0123456789abcdef0123456789abcdef"
MAP = 'schema = "cxtrace.map/1"\nname = "retail"\nversion = "7"\n[functions]\nit = {}\n'


class Exporter(SpanExporter):
    """Holds each batch until it is told to go on."""

    def __init__(self, *results: SpanExportResult | Exception) -> None:
        self.results = list(results)
        self.go = threading.Event()
        self.started = threading.Event()
        self.go.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """The next of the results, else success."""
        self.started.set()
        self.go.wait(10)
        result = self.results.pop(0) if self.results else SpanExportResult.SUCCESS
        if isinstance(result, Exception):
            raise result
        return result

    def shutdown(self) -> None:
        """Nothing to do."""


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process in which nothing is configured or counted."""
    for name in ("CXTRACE_KEY", "CXTRACE_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_config, "wiring", None)
    monkeypatch.setattr(_config.flush, "__defaults__", (30.0,))
    monkeypatch.setattr(_courier, "pause", lambda *_, **__: 60.0)  # no try but those asked for
    monkeypatch.setattr(_runtime, "current", Runtime())
    _guard.reset()
    yield
    _guard.reset()


def wire(*exporters: SpanExporter, mode: Any = "built", **settings: Any) -> Wiring:
    """Put a provider with these exporters in force, as ``configure()`` would."""
    provider = TracerProvider(shutdown_on_exit=False)
    named = [("", exporter) for exporter in exporters]
    wired = _config._assemble(Settings(**settings), provider, mode, settings.get("exporter"), named)
    _config.wiring = wired
    _runtime.use(Runtime(tracing=tracing_of(provider, "1"), key=settings.get("key")))
    return wired


def spans(count: int) -> None:
    """End that many spans."""
    for _ in range(count):
        with cxtrace.touchpoint("t"):
            pass


def ledger() -> Ledger:
    """That of the spans, which is balanced."""
    found = cxtrace.report().spans
    assert found is not None
    assert found.is_balanced
    return found


def test_before_anything() -> None:
    """Where nothing is configured and nothing happened, the report says so in each field."""
    assert cxtrace.report() == Report(None, None, None, None, None, None, None, {})


def test_after_configure() -> None:
    """Provider, exporter, map and key are named, and the ledger starts at zero."""
    key = Key(KEY.encode())
    wire(Exporter(), exporter="otlp", key=key)
    _runtime.use(
        Runtime(
            key=key, journey_map=JourneyMap.loads(MAP + "[[stage]]\nname='s'\nphase='customer'\n")
        )
    )

    assert cxtrace.report() == Report(
        provider="built",
        exporter="otlp",
        journey_map="retail 7",
        key_id=key.key_id,
        spans=Ledger(),
        metrics=None,
        logs=None,
        counts={},
    )


@pytest.mark.parametrize("mode", ["built", "joined", "apart"])
def test_provider_is_what_configure_made_of_it(mode: str) -> None:
    """The three ways of living with a provider are told apart."""
    wire(mode=mode)

    assert cxtrace.report().provider == mode
    assert cxtrace.report().spans is None


def test_exporter_object_is_named_by_its_class() -> None:
    """An exporter that was given as an object is shown by its class, never by its repr."""
    exporter = Exporter()
    wire(exporter, exporter=exporter)

    assert cxtrace.report().exporter == "Exporter"


def test_key_is_shown_by_id_once_it_is_used() -> None:
    """No key is drawn where nobody listens; a random one says that services cannot be joined."""
    assert cxtrace.report().key_id is None
    with cxtrace.customer("cust-42"):
        pass
    assert cxtrace.report().key_id is None

    wire(Exporter())
    with cxtrace.customer("cust-42"):
        pass
    assert cxtrace.report().key_id == "ephemeral"


def test_delivered_spans() -> None:
    """Delivered spans are counted as ended and exported."""
    wire(Exporter())
    spans(5)

    assert cxtrace.flush()
    assert ledger() == Ledger(created=5, exported=5)


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, RuntimeError("secret")])
def test_failed_spans(result: Any) -> None:
    """Spans that were not delivered go on waiting, and are sent again before the later ones."""
    wire(Exporter(result))
    spans(3)
    assert not cxtrace.flush()
    assert ledger() == Ledger(created=3, queued=3)
    spans(2)

    assert cxtrace.flush()
    assert ledger() == Ledger(created=5, exported=5, sent_again=3)
    assert "secret" not in json.dumps(cxtrace.report().to_dict())


def test_spans_that_wait() -> None:
    """What has not been handed to the exporter yet is queued."""
    wire(Exporter())
    spans(3)

    assert ledger() == Ledger(created=3, queued=3)
    assert cxtrace.flush()


def test_full_queue_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds no room is dropped and counted; what waited is delivered all the same."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    exporter = Exporter()
    exporter.go.clear()
    wire(exporter)
    spans(10)
    assert exporter.started.wait(10)
    spans(50)
    assert ledger() == Ledger(created=60, queued=20, dropped={"queue_full": 40})
    exporter.go.set()

    assert cxtrace.flush()
    assert ledger() == Ledger(created=60, exported=20, dropped={"queue_full": 40})


def test_unsampled_spans_are_not_missed() -> None:
    """Spans that the sampler dropped are not expected at the exporter."""
    provider = TracerProvider(TraceIdRatioBased(0), shutdown_on_exit=False)
    wired = _config._assemble(Settings(), provider, "built", None, [("", Exporter())])
    _config.wiring = wired
    _runtime.use(Runtime(tracing=tracing_of(provider, "1")))
    spans(5)

    assert cxtrace.flush()
    assert ledger() == Ledger()


def test_of_several_exporters_the_one_behind_counts() -> None:
    """With several exporters the ledger is that of the one that has delivered least."""
    wire(Exporter(), Exporter(SpanExportResult.FAILURE))
    spans(4)

    assert not cxtrace.flush()
    assert ledger() == Ledger(created=4, queued=4)


def test_spans_of_all_sources_count() -> None:
    """Spans that others make of the same provider are in the ledger as well."""
    wired = wire(Exporter())
    wired.provider.get_tracer("stock").start_span("q").end()
    spans(1)
    cxtrace.flush()

    assert ledger() == Ledger(created=2, exported=2)


def test_spool_is_shown_once_it_was_looked_at(tmp_path: Path) -> None:
    """A spool of which nothing is known yet is left out, and not said to be unwritable."""
    (delivery,) = wire(Exporter(), spool=tmp_path).spans
    assert delivery.disk is not None
    assert cxtrace.report().spool == {}
    delivery.disk._look_after_the_dead()

    assert cxtrace.report().spool == {"spans": SpoolState(is_writable=True)}


def test_counts_are_a_copy() -> None:
    """Whoever changes what the report gave changes nothing else."""
    _guard.count("refused.attribute", 2)
    found: Any = cxtrace.report().counts
    found["refused.attribute"] = 0

    assert cxtrace.report().counts == {"refused.attribute": 2}


def test_dictionary_for_a_health_page() -> None:
    """``to_dict`` has every field, down to plain values that are JSON."""
    wire(Exporter(), exporter=Exporter(), key=Key(KEY.encode()))
    _guard.count("baggage.unsigned")
    spans(1)
    cxtrace.flush()
    found = cxtrace.report().to_dict()

    assert json.loads(json.dumps(found)) == found
    assert found.keys() == {field.name for field in attrs.fields(Report)}
    assert found["spans"] == attrs.asdict(Ledger(created=1, exported=1))
    assert found["counts"] == {"baggage.unsigned": 1}
    assert KEY not in json.dumps(found)


def test_report_is_a_fact() -> None:
    """A report is of its moment and cannot be changed."""
    found = cxtrace.report()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        found.provider = "built"  # type: ignore[misc]


def test_frictions_that_no_hook_has_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """What still waits for a hook when the process ends is counted, and not waited for."""
    monkeypatch.setattr(_observers, "drain", lambda timeout: False)
    monkeypatch.setattr(_observers, "waiting", lambda: 3)
    wire(Exporter())

    assert cxtrace.shutdown() is False
    assert cxtrace.report().counts == {"on_friction.dropped": 3}


def test_flush_under_traffic() -> None:
    """While spans keep coming, a flush still tells that those before it were delivered."""
    wire(Exporter())
    stop = threading.Event()

    def traffic() -> None:
        while not stop.wait(0.001):
            spans(1)

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        assert all(cxtrace.flush() for _ in range(3))
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), -1, None, "2", "soon", 10**400])
def test_odd_timeout(timeout: Any) -> None:
    """A time-out that is none is no reason to raise."""
    assert cxtrace.flush(timeout) is True
    wire(Exporter())
    spans(1)

    assert cxtrace.flush(timeout) in (True, False)
