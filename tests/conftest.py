"""What all tests share: cxtrace over a tracer provider that nobody else sees."""

import gc
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from opentelemetry import trace
from opentelemetry._logs import _internal as logs_api
from opentelemetry.context import Context, attach, get_current
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cxtrace import _clock, _guard, _instruments, _journeys, _metering, _runtime, _withdrawals
from cxtrace._tracing import SDKTracing, tracing_of
from cxtrace.privacy import HmacPseudonymiser, Key
from cxtrace.processors import StampProcessor
from tests.scaffolds import run, scaffold, write  # noqa: F401  fixtures of several modules

# ``--hypothesis-profile=nightly``: for what has the time to search further.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")
settings.register_profile("nightly", max_examples=20_000, deadline=None)

# What a shell starts in the background ignores SIGINT, and so would the services of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Starts(SpanProcessor):
    """Counts the spans that start."""

    def __init__(self) -> None:
        self.count = 0

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        self.count += 1


class Capture:
    """A private provider, cxtrace on top of it, and what they export."""

    def __init__(self, path: str = "lean", **options: Any) -> None:
        self.path = path
        self.exporter = InMemorySpanExporter()
        self.stamp = StampProcessor()
        self._starts = Starts()
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.provider.add_span_processor(self._starts)
        self.provider.add_span_processor(self.stamp)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("host")
        self.tracing = (
            tracing_of(self.provider, "0")
            if path == "lean"
            else SDKTracing(self.provider.get_tracer("cxtrace", "0"))
        )
        self.use()

    def use(self, **decisions: Any) -> None:
        """Put decisions in force, as ``configure`` would."""
        key = Key(b"k" * 32)
        given = {
            "tracing": self.tracing,
            "key": key,
            "pseudonymiser": HmacPseudonymiser(key),
            "bind": _metering.bind if self.path == "lean" else _instruments.bind,
        }
        _runtime.use(_runtime.Runtime(**{**given, **decisions}))

    @property
    def started(self) -> int:
        """How many spans have started so far."""
        return self._starts.count

    @property
    def spans(self) -> list[ReadableSpan]:
        """Everything exported so far, in the order of ending."""
        return list(self.exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        """The names of everything exported so far."""
        return [span.name for span in self.spans]

    def span(self, name: str) -> ReadableSpan:
        """The one exported span of that name."""
        (found,) = (span for span in self.spans if span.name == name)
        return found

    def tags(self, name: str) -> dict[str, Any]:
        """The attributes of the one exported span of that name."""
        return dict(self.span(name).attributes or {})

    def outcome(self, name: str) -> Any:
        """The outcome of the one exported touchpoint of that name."""
        return self.tags(name).get("cx.touchpoint.outcome")

    def events(self, name: str, span: str | None = None) -> list[dict[str, Any]]:
        """The attributes of all exported events of that name, on one span or on any."""
        return [
            dict(event.attributes or {})
            for each in (self.spans if span is None else [self.span(span)])
            for event in each.events
            if event.name == name
        ]

    def event(self, name: str) -> dict[str, Any]:
        """The attributes of the one exported event of that name."""
        (found,) = self.events(name)
        return found

    def pseudonym(self, customer: str | int) -> str:
        """What is sent in place of the customer's id."""
        return _runtime.pseudonymiser().pseudonym(customer)


class Clock:
    """Both clocks of cxtrace, which stand still until somebody moves them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        self.ahead = 0.0
        monkeypatch.setattr(_clock, "steady", lambda: 1_000.0 + self.seconds)
        monkeypatch.setattr(_clock, "wall_ns", self._wall_ns)

    def _wall_ns(self) -> int:
        return 1_700_000_000_000_000_000 + round((self.seconds + self.ahead) * 1e9)

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds

    def set_back(self, seconds: float) -> None:
        """Let somebody set the clock on the wall back."""
        self.ahead -= seconds


class Meters:
    """A private meter provider, in the place of the global one, and what it has measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False, **options)
        monkeypatch.setattr(metrics_api, "_METER_PROVIDER", self.provider)

    def metrics(self) -> dict[str, Any]:
        """All metrics of ours that have a value, by name; the SDK may measure itself too."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (() if data is None else data.resource_metrics)
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if not metric.name.startswith("otel.")
        }

    def points(self, name: str) -> list[Any]:
        """The data points of a metric; none where nothing was measured."""
        metric = self.metrics().get(name)
        return [] if metric is None else list(metric.data.data_points)

    def values(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Labels and value of each point: of a histogram how many values, and their sum."""
        found = [
            (
                dict(point.attributes),
                point.value if hasattr(point, "value") else (point.count, point.sum),
            )
            for point in self.points(name)
        ]
        return sorted(found, key=lambda pair: sorted(map(str, pair[0].items())))

    def everything(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """Labels and values of all metrics."""
        return {name: self.values(name) for name in sorted(self.metrics())}


class Records:
    """A private logger provider, in the place of the global one, and what it has exported."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self._exporter))
        monkeypatch.setattr(logs_api, "_LOGGER_PROVIDER", self.provider)

    @property
    def all(self) -> list[ReadableLogRecord]:
        """Everything exported so far."""
        return list(self._exporter.get_finished_logs())

    def named(self, name: str) -> list[Any]:
        """The log records of an event."""
        return [each.log_record for each in self.all if each.log_record.event_name == name]


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> None:
    """Leave what pytest and earlier modules hold out of every collection that a test asks for."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Put the runtime, the counters, the journeys and the context back to what they were."""
    runtime, context = _runtime.current, get_current()
    _guard.reset()
    _journeys.forget_all()
    _withdrawals.forget_all()
    yield
    _runtime.use(runtime)
    _guard.reset()
    _journeys.forget_all()
    _withdrawals.forget_all()
    attach(context)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let time pass only when the test says so."""
    return Clock(monkeypatch)


@pytest.fixture
def meters(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meters]:
    """Give everybody a private meter provider."""
    made = Meters(monkeypatch)
    yield made
    made.provider.shutdown()


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Iterator[Records]:
    """Give everybody a private logger provider."""
    made = Records(monkeypatch)
    yield made
    made.provider.shutdown()


@pytest.fixture
def nobody(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it so that nobody has configured anything, whatever other tests have done."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.delenv("OTEL_PYTHON_TRACER_PROVIDER", raising=False)
    _runtime.use(_runtime.Runtime())


@pytest.fixture(params=["lean", "sdk"])
def cx(
    request: pytest.FixtureRequest, forgetful: None, caplog: pytest.LogCaptureFixture
) -> Iterator[Capture]:
    """Give cxtrace a private provider, over its own spans and over the SDK's.

    Afterwards the context is what it was before, and OpenTelemetry has nothing to complain about.
    """
    before = get_current()
    yield Capture(request.param)
    complaints = [
        record.getMessage()
        for record in caplog.get_records("call")
        if record.name.startswith("opentelemetry")
    ]

    assert complaints == []
    assert before == get_current()
