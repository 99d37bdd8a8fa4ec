"""What all tests share: cxtrace over a tracer provider that nobody else sees."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cxtrace import _guard, _runtime
from cxtrace._tracing import SDKTracing, tracing_of
from cxtrace.privacy import HmacPseudonymiser, Key
from cxtrace.processors import StampProcessor


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
        given = {"tracing": self.tracing, "key": key, "pseudonymiser": HmacPseudonymiser(key)}
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

    def pseudonym(self, customer: str | int) -> str:
        """What is sent in place of the customer's id."""
        return _runtime.pseudonymiser().pseudonym(customer)


@pytest.fixture(scope="session", autouse=True)
def small_heap() -> Iterator[None]:
    """Leave what pytest itself holds out of every collection that a test asks for."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Put the runtime, the counters and the context back to what they were."""
    runtime, context = _runtime.current, get_current()
    _guard.reset()
    yield
    _runtime.use(runtime)
    _guard.reset()
    attach(context)


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
