"""Where a signal goes: to an event of the span, to a log record, or to both, once each."""

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry._logs import _internal as logs_api
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from cxtrace import _events, _guard, _runtime, customer, journey, touchpoint
from tests.conftest import Capture, Meters, Records

TOLD = {
    "cx.touchpoint.name": "a",
    "cx.friction.type": "slow",
    "cx.friction.severity": "medium",
    "cx.friction.source": "declared",
}


def suffer() -> None:
    """A touchpoint with one signal."""
    with touchpoint("a") as tp:
        tp.friction("slow")


@pytest.fixture
def no_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has set a logger provider."""
    monkeypatch.setattr(logs_api, "_LOGGER_PROVIDER", None)


@pytest.mark.parametrize(
    ("wanted", "spans", "logs"), [(None, 1, 1), ("span", 1, 0), ("log", 0, 1), ("both", 1, 1)]
)
def test_with_a_logger_provider(
    cx: Capture, records: Records, wanted: Any, spans: int, logs: int
) -> None:
    """With a logger provider both forms are made, unless somebody has decided."""
    cx.use(event_signal=wanted)
    suffer()

    assert cx.events("cx.friction") == [TOLD] * spans
    assert [dict(record.attributes) for record in records.named("cx.friction")] == [TOLD] * logs
    assert len(records.all) == logs


@pytest.mark.parametrize(("wanted", "spans"), [(None, 1), ("span", 1), ("log", 0), ("both", 1)])
def test_without_a_logger_provider(cx: Capture, no_logs: None, wanted: Any, spans: int) -> None:
    """Without one there are span events alone, and none where somebody wants log events."""
    cx.use(event_signal=wanted)
    suffer()

    assert cx.events("cx.friction") == [TOLD] * spans
    assert _guard.counts() == {}


def test_a_provider_that_drops_is_a_provider(
    cx: Capture, no_logs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that the host has set to drop all records takes ours as well."""
    monkeypatch.setattr(logs_api, "_LOGGER_PROVIDER", NoOpLoggerProvider())
    suffer()

    assert cx.events("cx.friction") == [TOLD]
    assert _guard.counts() == {}


def test_a_record_leads_to_the_span(cx: Capture, records: Records) -> None:
    """A log record bears the ids of the touchpoint's span, its time, its name, and no body."""
    suffer()
    (record,) = records.named("cx.friction")
    span = cx.span("a")

    assert (record.trace_id, record.span_id) == (span.context.trace_id, span.context.span_id)
    assert record.trace_flags == span.context.trace_flags
    assert record.timestamp > 0
    assert record.body is None
    assert record.event_name == "cx.friction"


def test_a_record_names_the_scope(cx: Capture, records: Records) -> None:
    """Log records come from the logger ``cxtrace``, made once."""
    suffer()
    suffer()

    scopes = {each.instrumentation_scope for each in records.all}
    assert [scope.name for scope in scopes if scope is not None] == ["cxtrace"]


@pytest.mark.parametrize("path", ["lean", "sdk"])
def test_records_do_not_depend_on_sampling(forgetful: None, records: Records, path: str) -> None:
    """Where the span is not kept, the log record is."""
    cx = Capture(path, sampler=ALWAYS_OFF)
    suffer()

    assert cx.spans == []
    assert [dict(record.attributes) for record in records.named("cx.friction")] == [TOLD]


def test_a_named_logger_provider_goes_first(
    cx: Capture, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the runtime names a provider, the global one gets nothing."""
    own = Records(monkeypatch)
    monkeypatch.setattr(logs_api, "_LOGGER_PROVIDER", records.provider)
    cx.use()
    _runtime.current.logger_provider = own.provider
    suffer()

    assert (len(own.all), len(records.all)) == (1, 0)


def test_a_provider_named_by_the_environment(
    cx: Capture, no_logs: None, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    """A provider that OpenTelemetry would load at the first question is asked for."""
    monkeypatch.setattr(logs_api, "_LOGGER_PROVIDER", None)
    monkeypatch.setattr(_events, "_NAMED_BY_ENVIRONMENT", True)
    monkeypatch.setattr(_events._logs, "get_logger_provider", lambda: records.provider)
    suffer()

    assert len(records.named("cx.friction")) == 1


class Raising(LogRecordProcessor):
    """A processor of the host that is broken."""

    def on_emit(self, log_record: Any) -> None:
        raise RuntimeError("broken")

    def shutdown(self) -> None:
        """Nothing to do."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing to do."""
        return True


def test_a_broken_log_processor_costs_no_count(
    cx: Capture, records: Records, meters: Meters
) -> None:
    """Where the host's own processor raises, the host, the span and the metrics go on."""
    records.provider.add_log_record_processor(Raising())  # type: ignore[arg-type]
    cx.use()
    with touchpoint("a") as tp:
        tp.friction("slow").complaint("opened")
        tp.outcome("abandoned")

    assert [event.name for event in cx.span("a").events] == [
        "cx.friction",
        "cx.complaint",
        "cx.touchpoint.abandoned",
    ]
    assert set(meters.everything()) == {
        "cx.complaint.unresolved",
        "cx.touchpoint.duration",
        "cx.touchpoint.frictions",
    }
    assert _guard.counts() == {"errors.event": 3}


def test_who_hears(cx: Capture, no_logs: None) -> None:
    """An event is heard on a span that is recorded, or by a logger provider."""
    with touchpoint("a") as tp:
        assert _events.is_heard(tp.span)
        cx.use(event_signal="log")
        assert _events.is_heard(tp.span)
    cx.use()

    assert not _events.is_heard(trace.INVALID_SPAN)


def test_no_event_has_an_id_that_consent_forbids(cx: Capture, records: Records) -> None:
    """Where consent is refused, no event names the journey's id or the customer."""
    with (
        customer("A", consent="denied"),
        journey("j", id="w-1"),
        touchpoint("a", stage="s") as tp,
    ):
        tp.friction("slow").complaint("opened")
    with journey("k"), customer("A", consent="denied"), touchpoint("a", stage="t"):
        pass
    found = str([dict(each.log_record.attributes or {}) for each in records.all])

    assert "w-1" not in found
    assert "cx.journey.id" not in found
    assert "enduser" not in found
    assert len(records.named("cx.journey.start")) == 1
