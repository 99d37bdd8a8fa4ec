"""``configure()``, ``flush()`` and ``shutdown()``: what they join and what they wait for."""

import http.server
import importlib.util
import json
import os
import pty
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import asdict
from opentelemetry import _logs, metrics, propagate, trace
from opentelemetry._logs._internal import ProxyLoggerProvider
from opentelemetry.context import attach, get_current
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.metrics._internal import _ProxyMeterProvider
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    LogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import cxtrace
from cxtrace import _config, _deadline, _guard, _runtime, exporters
from cxtrace._ledger import Ledger
from cxtrace._settings import Settings
from cxtrace._wiring import Wiring
from cxtrace.diagnostics import LogLedger, MetricLedger
from cxtrace.exceptions import ConfigurationError, MapError
from cxtrace.exporters import TreeExporter, read_spans
from cxtrace.propagation import CXPropagator
from cxtrace.sampling import DestinationSampler

KEY = "0123456789abcdef0123456789abcdef"


def clean_environment() -> dict[str, str]:
    """The environment without any setting of OpenTelemetry or cxtrace."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "CXTRACE_"))
    }


class World:
    """The globals of OpenTelemetry, as one test may see and set them."""

    def __init__(self, propagator: Any) -> None:
        self.provider: Any = trace.ProxyTracerProvider()
        self.meters: Any = _ProxyMeterProvider()
        self.loggers: Any = ProxyLoggerProvider()
        self.propagator = propagator
        self.at_exit: list[Any] = []

    def set_provider(self, provider: Any) -> None:
        """Stand in for ``trace.set_tracer_provider``."""
        self.provider = provider

    def set_meters(self, provider: Any) -> None:
        """Stand in for ``metrics.set_meter_provider``."""
        self.meters = provider

    def set_loggers(self, provider: Any) -> None:
        """Stand in for ``_logs.set_logger_provider``."""
        self.loggers = provider

    def set_propagator(self, propagator: Any) -> None:
        """Stand in for ``propagate.set_global_textmap``."""
        self.propagator = propagator


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    """A process in which nothing is configured, in an empty folder."""
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)
    for call in (_config.flush, _config.shutdown):
        monkeypatch.setattr(call, "__defaults__", (30.0,))  # on a machine that has other work
    found = World(propagate.get_global_textmap())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_config, "wiring", None)
    monkeypatch.setattr(_deadline, "_standby", None)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: found.provider)
    monkeypatch.setattr(trace, "set_tracer_provider", found.set_provider)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: found.meters)
    monkeypatch.setattr(metrics, "set_meter_provider", found.set_meters)
    monkeypatch.setattr(_logs, "get_logger_provider", lambda: found.loggers)
    monkeypatch.setattr(_logs, "set_logger_provider", found.set_loggers)
    monkeypatch.setattr(propagate, "get_global_textmap", lambda: found.propagator)
    monkeypatch.setattr(propagate, "set_global_textmap", found.set_propagator)
    monkeypatch.setattr(_config, "_flush_at_exit", lambda: found.at_exit.append("flush"))
    runtime, context = _runtime.current, get_current()
    _runtime.use(_runtime.Runtime())
    _guard.reset()
    yield found
    if (left := _config.wiring) is not None:
        stops = [part.shutdown for part in left.deliveries]
        stops += [] if left.metrics is None else [left.metrics.discard]
        for stop in stops:
            threading.Thread(target=stop, daemon=True).start()
    _runtime.use(runtime)
    _guard.reset()
    attach(context)


def wired() -> Wiring:
    """What ``configure()`` put together."""
    assert _config.wiring is not None
    return _config.wiring


def run(
    script: str, folder: Path, *arguments: str, warnings: str = "error", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a script as a process of its own, in the folder."""
    return subprocess.run(
        [sys.executable, "-W", warnings, "-c", script, *arguments],
        env={**clean_environment(), **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


# Building


def test_builds_a_provider(world: World) -> None:
    """Where nobody has configured OpenTelemetry, a provider is built that sends to the exporter."""
    memory = InMemorySpanExporter()
    cxtrace.configure(service_name="shop", exporter=memory, key=KEY)
    with cxtrace.touchpoint("checkout.pay"):
        pass

    assert type(world.provider) is TracerProvider
    assert world.provider is wired().provider
    assert wired().mode == "built"
    assert isinstance(world.provider.sampler, DestinationSampler)
    assert world.at_exit == ["flush"]
    assert cxtrace.flush()
    (span,) = memory.get_finished_spans()
    assert span.resource.attributes["service.name"] == "shop"


def test_scrubs_what_it_delivers(world: World) -> None:
    """With ``scrub`` an exporter of ours gets spans of others without what is not on the list."""
    memory = InMemorySpanExporter()
    cxtrace.configure(exporter=memory, scrub=["app.tenant"])
    given = {"url.query": "mail=ann@example.com", "app.tenant": "a"}
    world.provider.get_tracer("stock").start_span("GET", attributes=given).end()

    assert cxtrace.flush()
    (span,) = memory.get_finished_spans()
    assert span.attributes == {"app.tenant": "a"}


@pytest.mark.parametrize("exporter", [None, "none", InMemorySpanExporter()])
def test_scrub_does_not_reach_the_exporters_of_others(
    world: World, caplog: pytest.LogCaptureFixture, exporter: Any
) -> None:
    """Of a provider that is joined, what others have set up sends all: that is said."""
    theirs = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    trace.set_tracer_provider(provider)
    cxtrace.configure(exporter=exporter, scrub=True)
    provider.get_tracer("stock").start_span("GET", attributes={"url.query": "a"}).end()

    assert "scrub has no effect on exporters that others have set up" in caplog.text
    assert cxtrace.flush()
    (span,) = theirs.get_finished_spans()
    assert span.attributes == {"url.query": "a"}
    if isinstance(exporter, InMemorySpanExporter):
        (ours,) = exporter.get_finished_spans()
        assert ours.attributes == {}


def test_every_setting_reaches_the_runtime(world: World) -> None:
    """What is given to ``configure()`` is what is in force."""
    cxtrace.configure(
        exporter="none",
        key=KEY,
        trusted_hosts=["api.example.com"],
        trust_inbound="never",
        unknown_destination="names",
        public_endpoint=True,
        consent_required=True,
        event_signal="span",
        signals_off=["emotion"],
        metrics_opt_in=["cx.channel.name"],
        on_friction=print,
    )
    found = _runtime.current

    assert found.key is not None
    assert found.pseudonymiser is not None
    assert found.pseudonymiser.key_id == found.key.key_id
    assert found.trusted_hosts == ("api.example.com",)
    assert found.trust_inbound == "never"
    assert found.unknown_destination == "names"
    assert found.public_endpoint
    assert found.consent_required
    assert found.event_signal == "span"
    assert found.signals_off == {"emotion"}
    assert found.metrics_opt_in == {"cx.channel.name"}
    assert found.on_friction is print
    assert not found.anonymous.linkable
    assert _runtime.is_linkable("unknown") is False


def test_arguments_of_configure_are_the_settings() -> None:
    """Each argument has its setting and its variable; there are no others."""
    import inspect

    import attrs

    arguments = list(inspect.signature(cxtrace.configure).parameters.values())

    assert {a.name for a in arguments} == {f.name for f in attrs.fields(Settings)}
    assert all(a.kind is a.KEYWORD_ONLY and a.default is None for a in arguments)


def test_secret_is_kept_nowhere_in_the_clear(world: World) -> None:
    """After ``configure()`` neither repr nor dictionary of what stays in memory has the secret."""
    import attrs

    cxtrace.configure(exporter="none", key=KEY)
    for text in (repr(wired()), repr(attrs.asdict(wired().settings)), repr(_runtime.current)):
        assert KEY not in text
    assert KEY not in json.dumps(cxtrace.report().to_dict())


def test_map_names_itself_in_the_resource(world: World, tmp_path: Path) -> None:
    """Name and version of the map are attributes of the resource."""
    text = 'schema = "cxtrace.map/1"\nname = "retail"\nversion = "7"\n[functions]\nit = {}\n'
    (tmp_path / "map.toml").write_text(text + '[[stage]]\nname = "s"\nphase = "customer"\n')
    cxtrace.configure(exporter="none", journey_map="map.toml")
    attributes = world.provider.resource.attributes

    assert attributes["cx.map.name"] == "retail"
    assert attributes["cx.map.version"] == "7"
    assert cxtrace.report().journey_map == "retail 7"


@pytest.mark.parametrize(
    ("argument", "environ", "expected"),
    [
        (None, {}, "unknown_service"),
        (None, {"OTEL_SERVICE_NAME": "a"}, "a"),
        (None, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=b"}, "b"),
        (None, {"OTEL_SERVICE_NAME": "a", "OTEL_RESOURCE_ATTRIBUTES": "service.name=b"}, "a"),
        (None, {"OTEL_SERVICE_NAME": "a", "CXTRACE_SERVICE_NAME": "c"}, "c"),
        ("d", {"OTEL_SERVICE_NAME": "a", "CXTRACE_SERVICE_NAME": "c"}, "d"),
    ],
)
def test_service_name(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    argument: str | None,
    environ: dict[str, str],
    expected: str,
) -> None:
    """The service is called by argument, then ``CXTRACE_``, then as OpenTelemetry says."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    cxtrace.configure(exporter="none", service_name=argument)

    assert world.provider.resource.attributes["service.name"].startswith(expected)


def test_opentelemetry_in_the_environment_comes_before_the_project(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``OTEL_*`` is environment: it comes before ``[tool.cxtrace]`` in the project's file."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.cxtrace]\nservice_name = "file"\nsample = 1\nexporter = "console"\n'
    )
    monkeypatch.setenv("OTEL_SERVICE_NAME", "environment")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    cxtrace.configure()

    assert world.provider.resource.attributes["service.name"] == "environment"
    assert world.provider.sampler.get_description() == "AlwaysOffSampler"
    assert wired().spans == ()


def test_resource_attributes_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``OTEL_RESOURCE_ATTRIBUTES`` says is in the resource, beside ours."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,a=b")
    cxtrace.configure(exporter="none", service_name="shop")
    attributes = world.provider.resource.attributes

    assert attributes["deployment.environment.name"] == "prod"
    assert (attributes["a"], attributes["service.name"]) == ("b", "shop")


@pytest.mark.parametrize(
    ("sample", "environ", "expected"),
    [
        (None, {}, "ParentBased{root:AlwaysOnSampler,"),
        (None, {"OTEL_TRACES_SAMPLER": "always_off"}, "AlwaysOffSampler"),
        (
            None,
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"},
            "TraceIdRatioBased{0.5}",
        ),
        (None, {"CXTRACE_SAMPLE": "0.25"}, "ParentBased{root:TraceIdRatioBased{0.25},"),
        (
            None,
            {"CXTRACE_SAMPLE": "0.25", "OTEL_TRACES_SAMPLER": "always_off"},
            "ParentBased{root:TraceIdRatioBased{0.25},",
        ),
        (0.125, {"CXTRACE_SAMPLE": "0.25"}, "ParentBased{root:TraceIdRatioBased{0.125},"),
    ],
)
def test_sampler(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    sample: float | None,
    environ: dict[str, str],
    expected: str,
) -> None:
    """``sample`` is a share of new traces; without it OpenTelemetry's own variables decide."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    cxtrace.configure(exporter="none", sample=sample)

    assert world.provider.sampler.get_description().startswith(expected)


@pytest.mark.parametrize(("sample", "low", "high"), [(0, 0, 0), (0.25, 150, 350), (1, 1000, 1000)])
def test_share_that_is_kept(world: World, sample: float, low: int, high: int) -> None:
    """Of a thousand new traces about the wanted share is exported."""
    memory = InMemorySpanExporter()
    cxtrace.configure(exporter=memory, sample=sample)
    for _ in range(1_000):
        with cxtrace.touchpoint("t"):
            pass

    assert cxtrace.flush()
    assert low <= len(memory.get_finished_spans()) <= high


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "OTLPSpanExporter"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, "OTLPSpanExporter"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTLPSpanExporter"),
        ({"OTEL_TRACES_EXPORTER": " console "}, "TreeExporter"),
        ({"CXTRACE_EXPORTER": "console", "OTEL_TRACES_EXPORTER": "otlp"}, "TreeExporter"),
        ({"CXTRACE_EXPORTER": "file:spans.jsonl"}, "FileSpanExporter"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, None),
        ({"CXTRACE_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "otlp"}, None),
    ],
)
def test_exporter_by_environment(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    environ: dict[str, str],
    expected: str | None,
) -> None:
    """The exporter is what the environment says, without a word in the log."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    cxtrace.configure()

    assert [type(each.exporter).__name__ for each in wired().spans] == (
        [expected] if expected else []
    )
    assert caplog.records == []


def test_several_exporters(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A list with commas, as OpenTelemetry has it, sends every span to each."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp, console,,none")
    cxtrace.configure()

    names = [type(each.exporter).__name__ for each in wired().spans]
    assert names == ["OTLPSpanExporter", "TreeExporter"]


def test_tree_comes_soon_after_its_spans(world: World) -> None:
    """The tree on the console is printed within a fraction of a second, without a flush."""
    read, write = os.pipe()
    with os.fdopen(read) as shown, os.fdopen(write, "w") as stream:
        cxtrace.configure(exporter=TreeExporter(stream))
        with cxtrace.touchpoint("checkout.pay"):
            pass

        assert select.select([shown], [], [], 3)[0]
        assert "checkout.pay" in os.read(read, 10_000).decode()
        assert cxtrace.flush()


def test_default_on_a_terminal_is_the_tree(tmp_path: Path) -> None:
    """A developer at a terminal sees the tree, without any setting and without a hint."""
    script = """
import cxtrace
cxtrace.configure()
with cxtrace.touchpoint("checkout.pay"):
    pass
"""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**clean_environment(), "TERM": "xterm"},
        cwd=tmp_path,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            found = os.read(leader, 10_000)
        except OSError:  # how Linux says that the other end is closed
            break
        if not found:
            break
        shown += found
    os.close(leader)

    assert process.wait(30) == 0
    assert b"checkout.pay" in shown
    assert b"cxtrace sends nothing" not in shown


def test_default_elsewhere_is_nothing_and_one_hint(tmp_path: Path) -> None:
    """Without a terminal nothing is sent, and one line on stderr says what to set."""
    script = """
import cxtrace
cxtrace.configure()
for _ in range(3):
    with cxtrace.touchpoint("checkout.pay"):
        pass
print(cxtrace.report().spans, cxtrace.flush())
"""
    found = run(script, tmp_path)

    assert found.stdout == "None True\n"
    (hint,) = found.stderr.splitlines()
    assert hint == (
        "cxtrace sends nothing: no exporter is configured. Set OTEL_EXPORTER_OTLP_ENDPOINT, or "
        "CXTRACE_EXPORTER to otlp, console, file:PATH or none"
    )


def test_no_stderr_at_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service of Windows without standard error is configured too."""
    monkeypatch.setattr(sys, "stderr", None)
    cxtrace.configure()

    assert wired().spans == ()


def test_global_provider_is_ours_and_works(tmp_path: Path) -> None:
    """In a real process: the global provider is ours, and spans of others are tagged and sent."""
    script = """
import json, cxtrace
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
memory = InMemorySpanExporter()
cxtrace.configure(exporter=memory, key="0123456789abcdef0123456789abcdef")
with cxtrace.journey("first_order", id="7"), cxtrace.touchpoint("checkout.pay"):
    with trace.get_tracer("stock").start_as_current_span("SELECT"):
        pass
assert cxtrace.flush()
child, touchpoint = memory.get_finished_spans()
print(json.dumps([child.attributes["cx.journey.id"], touchpoint.name,
    child.parent.span_id == touchpoint.context.span_id, cxtrace.report().to_dict()]))
assert cxtrace.shutdown()
"""
    found = run(script, tmp_path, OTEL_SERVICE_NAME="shop")
    journey, name, is_child, report = json.loads(found.stdout)

    assert (journey, name, is_child) == ("7", "checkout.pay", True)
    assert report["provider"] == "built"
    assert report["spans"] == asdict(Ledger(created=2, exported=2))
    assert found.stderr == ""


# Joining


def test_joins_the_provider_of_others(tmp_path: Path) -> None:
    """A provider set before stays the provider: its exporter gets our spans, ours gets theirs."""
    script = """
import json, cxtrace
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
theirs, ours = InMemorySpanExporter(), InMemorySpanExporter()
provider = TracerProvider(resource=Resource({"service.name": "theirs"}))
provider.add_span_processor(SimpleSpanProcessor(theirs))
trace.set_tracer_provider(provider)
before = (provider.sampler, provider.resource, provider.id_generator)
cxtrace.configure(service_name="ours", exporter=ours, sample=0)
assert trace.get_tracer_provider() is provider
assert before == (provider.sampler, provider.resource, provider.id_generator)
with cxtrace.journey("first_order"), cxtrace.touchpoint("checkout.pay"):
    with trace.get_tracer("stock").start_as_current_span("SELECT"):
        pass
assert cxtrace.flush()
assert cxtrace.shutdown()
with trace.get_tracer("stock").start_as_current_span("later"):
    pass
print(json.dumps([[s.name for s in m.get_finished_spans()] for m in (theirs, ours)]))
print(theirs.get_finished_spans()[0].attributes["cx.touchpoint.name"])
print(theirs.get_finished_spans()[0].resource.attributes["service.name"])
print(cxtrace.report().provider)
"""
    found = run(script, tmp_path)
    spans, tag, service, mode = found.stdout.splitlines()

    assert json.loads(spans) == [["SELECT", "checkout.pay", "later"], ["SELECT", "checkout.pay"]]
    assert (tag, service, mode) == ("checkout.pay", "theirs", "joined")
    assert found.stderr == "cxtrace: 1 of 3 spans were lost: shutdown 1\n"


def test_joined_provider_keeps_its_own_exporters_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an exporter of ours nothing is added but the tags, whatever ``OTEL_*`` says."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    memory = InMemorySpanExporter()
    world.provider = TracerProvider(shutdown_on_exit=False)
    world.provider.add_span_processor(SimpleSpanProcessor(memory))
    cxtrace.configure()
    with cxtrace.touchpoint("checkout.pay"):
        pass

    assert wired().spans == ()
    assert cxtrace.report().spans is None
    assert [span.name for span in memory.get_finished_spans()] == ["checkout.pay"]
    assert cxtrace.flush()
    assert cxtrace.shutdown()
    with cxtrace.touchpoint("later"):
        pass
    assert len(memory.get_finished_spans()) == 2


class Wrapper(trace.TracerProvider):
    """A provider that is none of the SDK's, but takes processors, as logfire's is."""

    def __init__(self) -> None:
        self._inner = TracerProvider(shutdown_on_exit=False)

    def get_tracer(self, *names: Any, **more: Any) -> trace.Tracer:
        """A tracer of the provider inside."""
        return self._inner.get_tracer(*names, **more)

    def add_span_processor(self, span_processor: Any) -> None:
        """Hand on."""
        self._inner.add_span_processor(span_processor)


def test_joins_what_takes_processors(world: World) -> None:
    """A provider of any class that takes processors is joined."""
    memory = InMemorySpanExporter()
    world.provider = before = Wrapper()
    cxtrace.configure(exporter=memory)
    with cxtrace.touchpoint("checkout.pay"), before.get_tracer("stock").start_as_current_span("q"):
        pass

    assert world.provider is before
    assert wired().mode == "joined"
    assert cxtrace.flush()
    assert [span.name for span in memory.get_finished_spans()] == ["q", "checkout.pay"]


def test_flush_of_a_provider_that_cannot_flush(world: World) -> None:
    """Where nobody can tell whether spans were delivered, ``flush()`` does not claim it."""
    world.provider = Wrapper()
    cxtrace.configure()

    assert not cxtrace.flush()
    assert not cxtrace.shutdown()


@pytest.mark.skipif(importlib.util.find_spec("logfire") is None, reason="logfire is not installed")
def test_joins_logfire(tmp_path: Path) -> None:
    """The provider of logfire is joined: its exporter gets touchpoints, ours gets its spans."""
    script = """
import json, cxtrace, logfire
from logfire.testing import TestExporter
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
theirs, ours = TestExporter(), InMemorySpanExporter()
logfire.configure(send_to_logfire=False, console=False, inspect_arguments=False,
    additional_span_processors=[SimpleSpanProcessor(theirs)])
cxtrace.configure(exporter=ours)
with cxtrace.touchpoint("checkout.pay"), logfire.span("inside"):
    pass
assert cxtrace.flush()
print(json.dumps([cxtrace.report().provider, sorted(s.name for s in ours.get_finished_spans()),
    sorted({s.name for s in theirs.exported_spans})]))
"""
    found = run(script, tmp_path, warnings="ignore")

    assert json.loads(found.stdout.splitlines()[-1]) == [
        "joined",
        ["checkout.pay", "inside"],
        ["checkout.pay", "inside"],
    ]


class Closed(trace.TracerProvider):
    """A provider that takes no processors."""

    def get_tracer(self, *names: Any, **more: Any) -> trace.Tracer:
        """A tracer that does nothing."""
        return trace.NoOpTracer()


def test_stays_apart_from_what_takes_none(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A provider that takes no processors is left alone, and what that means is said once."""
    world.provider = before = Closed()
    cxtrace.configure(exporter="none")
    with cxtrace.touchpoint("checkout.pay"):
        pass

    assert world.provider is before
    assert cxtrace.report().provider == "apart"
    (said,) = caplog.records
    assert said.message == (
        "cxtrace cannot join the tracer provider Closed, which takes no span processors: "
        "touchpoints become its spans, but spans of others are not tagged"
    )
    assert not cxtrace.flush()
    assert not cxtrace.shutdown()


# Once


def test_second_call_changes_nothing_and_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The first call stands; the second is a line in the log, even with a wrong setting."""
    cxtrace.configure(exporter="none", key=KEY)
    before = (_config.wiring, _runtime.current, world.provider, world.propagator)
    cxtrace.configure(exporter="console", sample=7)

    assert (_config.wiring, _runtime.current, world.provider, world.propagator) == before
    assert [record.message for record in caplog.records] == [
        "cxtrace.configure() was called again, which changes nothing"
    ]


def test_many_calls_at_once_configure_once(world: World, caplog: Any) -> None:
    """Of calls from several threads one counts, and the others say so."""
    barrier = threading.Barrier(8)
    memory = InMemorySpanExporter()

    def configure() -> None:
        barrier.wait()
        cxtrace.configure(exporter=memory)

    threads = [threading.Thread(target=configure) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with cxtrace.touchpoint("checkout.pay"):
        pass

    assert world.at_exit == ["flush"]
    assert len(caplog.records) == 7
    assert cxtrace.flush()
    assert len(memory.get_finished_spans()) == 1


@pytest.mark.parametrize("value", ["true", "True", " TRUE "])
def test_disabled_sdk_disables_us(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: Any, value: str
) -> None:
    """``OTEL_SDK_DISABLED`` switches all off, says so, and touchpoints go on as no-ops."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    before = (world.provider, world.propagator)
    cxtrace.configure(exporter="nonsense")

    @cxtrace.touchpoint("checkout.pay")
    def pay() -> int:
        return 3

    assert pay() == 3
    assert (world.provider, world.propagator) == before
    assert _config.wiring is None
    assert cxtrace.flush()
    assert cxtrace.shutdown()
    assert [record.message for record in caplog.records] == [
        "cxtrace is off, because OTEL_SDK_DISABLED is set"
    ]


@pytest.mark.parametrize("value", ["", "false", "0", "1"])
def test_sdk_that_is_not_disabled(
    world: World, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Only the word true disables, as OpenTelemetry says."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    cxtrace.configure(exporter="none")

    assert wired().mode == "built"


# Failing

FAILURES: list[tuple[dict[str, Any], dict[str, str], type[Exception], str]] = [
    ({"sample": 7}, {}, ConfigurationError, "a number from 0 to 1"),
    ({"exporter": "nonsense"}, {}, ConfigurationError, "unknown exporter 'nonsense'"),
    ({"exporter": "otlp,nonsense"}, {}, ConfigurationError, "unknown exporter 'nonsense'"),
    ({"key": "short"}, {}, ConfigurationError, "at least 32"),
    ({}, {"CXTRACE_KEY_FILE": "missing"}, ConfigurationError, "cannot be read"),
    ({"journey_map": "missing.toml"}, {}, MapError, "cannot be read"),
    ({}, {"OTEL_TRACES_EXPORTER": "nonsense"}, ConfigurationError, "nonsense"),
    (
        {"exporter": "otlp"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"},
        ConfigurationError,
        "http://collector:4317",
    ),
    (
        {"exporter": "console"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "20"},
        ConfigurationError,
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=20 is more than OTEL_BSP_MAX_QUEUE_SIZE=10",
    ),
]


@pytest.mark.parametrize("joining", [False, True])
@pytest.mark.parametrize(("arguments", "environ", "error", "message"), FAILURES)
def test_failure_changes_nothing(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    environ: dict[str, str],
    error: type[Exception],
    message: str,
    joining: bool,
) -> None:
    """A call that fails leaves no provider, processor, propagator or key; the next may succeed."""
    added: list[Any] = []
    if joining:
        arguments = {"exporter": environ.get("OTEL_TRACES_EXPORTER", "console"), **arguments}
        world.provider = TracerProvider(shutdown_on_exit=False)
        monkeypatch.setattr(world.provider, "add_span_processor", added.append)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    before = (world.provider, world.propagator)
    with pytest.raises(error, match=message):
        cxtrace.configure(**arguments)

    assert (world.provider, world.propagator) == before
    assert _runtime.current.consent_required
    assert _config.wiring is None
    assert added == []
    assert world.at_exit == []
    for name in environ:
        monkeypatch.delenv(name)
    cxtrace.configure(exporter="none")
    assert wired().mode == ("joined" if joining else "built")


# Propagators


def test_ours_comes_after_those_in_force(world: World) -> None:
    """OpenTelemetry's default stays, with ours behind."""
    before = world.propagator
    cxtrace.configure(exporter="none")

    assert isinstance(world.propagator, CompositePropagator)
    first, second = world.propagator._propagators
    assert first is before
    assert isinstance(second, CXPropagator)
    assert world.propagator.fields == {"traceparent", "tracestate", "baggage"}


def test_propagators_chosen_in_code_stay(world: World) -> None:
    """A propagator that the application has set itself is not taken away."""
    world.propagator = theirs = TraceContextTextMapPropagator()
    cxtrace.configure(exporter="none")

    assert world.propagator._propagators[0] is theirs


@pytest.mark.parametrize(
    ("value", "warnings"),
    [
        ("tracecontext,cxtrace", 0),
        ("tracecontext, baggage, cxtrace", 0),
        ("tracecontext,baggage", 1),
        ("tracecontext,cxtrace,baggage", 1),
        ("none", 1),
    ],
)
def test_propagators_chosen_by_variable_stay(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: Any, value: str, warnings: int
) -> None:
    """``OTEL_PROPAGATORS`` is followed; where ours is missing or out of order, a line says so."""
    monkeypatch.setenv("OTEL_PROPAGATORS", value)
    before = world.propagator
    cxtrace.configure(exporter="none")

    assert world.propagator is before
    assert len(caplog.records) == warnings
    assert all("tracecontext,baggage,cxtrace" in r.message for r in caplog.records)


# Logging


def test_logging_of_the_host_is_not_touched(tmp_path: Path) -> None:
    """Importing and configuring sets no handler, level or filter, not even on our own logger."""
    script = """
import logging
def state():
    loggers = [logging.getLogger(name) for name in (None, "cxtrace", "opentelemetry")]
    return [
        logging.root.manager.disable, logging.lastResort, logging.raiseExceptions,
        *((l.level, l.handlers[:], l.filters[:], l.propagate, l.disabled) for l in loggers),
    ]
before = state()
import cxtrace
cxtrace.configure(exporter="none")
with cxtrace.touchpoint("checkout.pay"):
    pass
cxtrace.flush(); cxtrace.shutdown()
assert state() == before, state()
assert logging.getLogger("cxtrace").handlers == []
print("same")
"""
    assert run(script, tmp_path).stdout == "same\n"


# Metrics and log records


class Metrics(MetricExporter):
    """Takes metrics, and does with them what a test wants."""

    def __init__(
        self, *results: Any, temporality: dict[type, AggregationTemporality] | None = None
    ) -> None:
        super().__init__(temporality)
        self.results = list(results)
        self.exported: list[MetricsData] = []
        self.shutdowns = 0

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Raise or return the next of the results, else success."""
        self.exported.append(metrics_data)
        result = self.results.pop(0) if self.results else MetricExportResult.SUCCESS
        if isinstance(result, Exception):
            raise result
        found: MetricExportResult = result
        return found

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Nothing waits."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Count."""
        self.shutdowns += 1


class Records(LogRecordExporter):
    """Takes log records, and says what a test wants."""

    def __init__(self, result: LogRecordExportResult = LogRecordExportResult.SUCCESS) -> None:
        self.result = result
        self.bodies: list[Any] = []
        self.shutdowns = 0

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Keep the bodies."""
        self.bodies += [record.log_record.body for record in batch]
        return self.result

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits."""
        return True

    def shutdown(self) -> None:
        """Count."""
        self.shutdowns += 1


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Exporters of metrics and of logs that packages have registered, by name."""
    found: dict[str, Any] = {}

    class Registered:
        def __init__(self, exporter: Any) -> None:
            self.exporter = exporter

        def load(self) -> Any:
            return lambda: self.exporter

    class Registry(dict[str, Registered]):
        @property
        def names(self) -> set[str]:
            return set(self)

    monkeypatch.setattr(
        exporters,
        "entry_points",
        lambda group: Registry({name: Registered(each) for name, each in found.items()}),
    )
    return found


def count(amount: int = 1) -> None:
    """Add to a counter of the host's."""
    metrics.get_meter_provider().get_meter("host").create_counter("orders").add(amount)


def log(body: str = "paid") -> None:
    """Emit a log record as an instrumentation of the host's would."""
    _logs.get_logger_provider().get_logger("host").emit(_logs.LogRecord(body=body))


def sums(exported: MetricsData) -> list[Any]:
    """The values of the counters."""
    (resource,) = exported.resource_metrics
    return [
        getattr(point, "value", None)
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]


def meter_reader() -> Any:
    """Our first reader of metrics."""
    pipeline = wired().metrics
    assert pipeline is not None
    return pipeline.readers[0]


def reported() -> tuple[Any, Any]:
    """What the report says about metrics and logs."""
    found = cxtrace.report()
    return found.metrics, found.logs


FOLLOWED = [
    ({"exporter": "otlp"}, {}, ["otlp"], []),
    ({"exporter": "file:t.jsonl"}, {}, ["file:t.jsonl"], []),
    ({"exporter": "console, file:t.jsonl"}, {}, ["file:t.jsonl"], []),
    ({"exporter": "otlp_proto_http"}, {}, ["otlp_proto_http"], []),
    ({"exporter": "console"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, [], []),
    ({"exporter": InMemorySpanExporter()}, {}, [], []),
    ({"exporter": "none"}, {}, [], []),
    ({}, {}, [], []),
    ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ["otlp"], []),
    ({}, {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x"}, ["otlp"], []),
    ({}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, [], []),
    ({}, {"OTEL_TRACES_EXPORTER": "otlp"}, ["otlp"], []),
    ({}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "otlp"}, ["otlp"], []),
    ({}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ["otlp"], []),
    ({"exporter": "otlp"}, {"OTEL_METRICS_EXPORTER": "none"}, [], []),
    ({"exporter": "none"}, {"OTEL_METRICS_EXPORTER": "console, otlp"}, ["console", "otlp"], []),
    ({"exporter": "otlp"}, {"OTEL_METRICS_EXPORTER": " "}, ["otlp"], []),
    ({"exporter": "otlp"}, {"OTEL_LOGS_EXPORTER": "console"}, ["otlp"], ["console"]),
    ({"exporter": "otlp", "event_signal": "both"}, {}, ["otlp"], ["otlp"]),
    ({"exporter": "otlp", "event_signal": "span"}, {}, ["otlp"], []),
    ({"event_signal": "log"}, {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://x"}, [], ["otlp"]),
]


@pytest.mark.parametrize(("arguments", "environ", "for_metrics", "for_logs"), FOLLOWED)
def test_exporters_of_metrics_and_logs(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    environ: dict[str, str],
    for_metrics: list[str],
    for_logs: list[str],
) -> None:
    """Metrics go where the spans go, if it takes them; logs only if asked; ``OTEL_*`` wins."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    cxtrace.configure(**arguments)
    found = [None if each is None else each.exporter for each in reported()]

    assert found == [",".join(for_metrics) or None, ",".join(for_logs) or None]
    assert (type(world.meters) is MeterProvider) is bool(for_metrics)
    assert (type(world.loggers) is LoggerProvider) is bool(for_logs)


def test_metrics_are_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Any]
) -> None:
    """What is counted goes out at the flush, with the resource of the spans, and is in the report.

    The newest sum is sent by each flush, so a flush that failed is made good by the next.
    """
    registered["memory"] = ours = Metrics(MetricExportResult.SUCCESS, MetricExportResult.FAILURE)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "memory")
    cxtrace.configure(service_name="shop", exporter="none")
    count(3)

    assert [cxtrace.flush() for _ in range(3)] == [True, False, True]
    assert [sums(each) for each in ours.exported] == [[3], [3], [3]]
    (resource,) = ours.exported[0].resource_metrics
    assert resource.resource is world.provider.resource
    assert reported()[0] == MetricLedger("built", "memory", 2, 1)
    assert cxtrace.shutdown()
    assert ours.shutdowns == 1


def test_lost_delta_stays_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Any]
) -> None:
    """With delta temporality nobody sends a failed difference again, so no flush is true then."""
    delta: dict[type, AggregationTemporality] = {Counter: AggregationTemporality.DELTA}
    registered["memory"] = Metrics(RuntimeError("secret"), temporality=delta)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "memory")
    cxtrace.configure(exporter="none")
    count()

    assert not cxtrace.flush()
    count()
    assert not cxtrace.flush()
    assert reported()[0] == MetricLedger("built", "memory", 1, 1)


def test_reader_instead_of_an_exporter(
    world: World, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Any]
) -> None:
    """What ``prometheus`` registers is a reader: it is asked from outside, and nothing waits."""
    registered["prometheus"] = reader = InMemoryMetricReader()
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    cxtrace.configure(exporter="none")
    count(2)

    assert cxtrace.flush()
    found = reader.get_metrics_data()
    assert found is not None
    assert sums(found) == [2]
    assert reported()[0] == MetricLedger("built", "prometheus", 0, 0)
    wired().pipelines[0].after_fork()
    assert reader.get_metrics_data() is None
    assert cxtrace.shutdown()


def test_nobody_takes_metrics(world: World) -> None:
    """Without an exporter there is no provider and nothing to pay for."""
    cxtrace.configure(exporter="console")

    assert type(world.meters) is _ProxyMeterProvider
    assert type(world.loggers) is ProxyLoggerProvider
    assert reported() == (None, None)
    assert wired().pipelines == []


def test_providers_of_others_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meter and logger providers that are there are joined: flushed, never shut down or changed."""
    reader, records = InMemoryMetricReader(), Records()
    world.meters = meters = MeterProvider([reader], shutdown_on_exit=False)
    world.loggers = loggers = LoggerProvider(shutdown_on_exit=False)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
    cxtrace.configure(exporter="file:t.jsonl", event_signal="log")

    assert (world.meters, world.loggers) == (meters, loggers)
    assert reported() == (MetricLedger("joined"), LogLedger(provider="joined"))
    assert cxtrace.flush()
    assert cxtrace.shutdown()
    count(7)
    log()
    for pipeline in wired().pipelines:
        pipeline.after_fork()
    found = reader.get_metrics_data()
    assert found is not None
    assert sums(found) == [7]
    assert records.bodies == ["paid"]


@pytest.mark.parametrize(
    ("answer", "expected"), [(True, True), (None, True), (False, False), (OSError(), False)]
)
def test_flush_of_meters_of_others(world: World, answer: Any, expected: bool) -> None:
    """A provider of others spoils a flush only if it says no, or raises."""

    class Meters(NoOpMeterProvider):
        def force_flush(self, timeout_millis: int) -> Any:
            assert timeout_millis == 1_500
            if isinstance(answer, Exception):
                raise answer
            return answer

    world.meters = Meters()
    cxtrace.configure(exporter="none")

    assert cxtrace.flush(1.5) is expected


def test_meters_of_others_that_raise(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider of others that is broken costs the metrics alone, and is counted."""

    class Meters(NoOpMeterProvider):
        def get_meter(self, name: str, *more: Any, **options: Any) -> Any:
            if name == "cxtrace":  # OpenTelemetry's own tracers do not bear it
                raise KeyError("meter")
            return super().get_meter(name, *more, **options)

    world.meters = Meters()
    monkeypatch.setattr(metrics_api, "_METER_PROVIDER", world.meters)
    exporter = Exporter()
    cxtrace.configure(exporter=exporter)
    spans()

    assert cxtrace.flush()
    assert [span.name for span in exporter.spans] == ["t"]
    assert cxtrace.report().counts["errors.metrics"] == 2


def test_meters_of_others_that_cannot_be_flushed(world: World) -> None:
    """Where a provider of others has no flush, there is nothing to wait for."""
    world.meters = NoOpMeterProvider()
    cxtrace.configure(exporter="none")

    assert cxtrace.flush()
    assert cxtrace.shutdown()


def test_log_records_are_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Any]
) -> None:
    """What is logged goes out at the flush, with the resource of the spans, and is counted."""
    registered["memory"] = ours = Records()
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "memory")
    cxtrace.configure(exporter="none")
    log("a")
    assert reported()[1] == LogLedger(provider="built", exporter="memory", created=1, queued=1)

    assert cxtrace.flush()
    log("b")
    assert cxtrace.shutdown()
    assert ours.bodies == ["a", "b"]
    assert ours.shutdowns == 1
    assert world.loggers.resource is world.provider.resource
    assert reported()[1] == LogLedger(provider="built", exporter="memory", created=2, exported=2)
    assert cxtrace.shutdown()
    assert cxtrace.flush()


def test_log_records_that_are_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Any]
) -> None:
    """Records that the exporter gave up on are counted, and no flush claims them."""
    registered["memory"] = Records(LogRecordExportResult.FAILURE)
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "memory")
    cxtrace.configure(exporter="none")
    log()

    assert not cxtrace.flush()
    assert not cxtrace.shutdown()
    assert reported()[1] == LogLedger(
        provider="built", exporter="memory", created=1, dropped={"shutdown": 1}
    )


@pytest.mark.parametrize("event_signal", ["log", "both"])
@pytest.mark.parametrize("exporter", ["console", "none"])
def test_events_without_anybody_who_takes_them(
    world: World, caplog: pytest.LogCaptureFixture, exporter: str, event_signal: Any
) -> None:
    """Whoever wants events as log records, and has no exporter for them, is told what to set."""
    cxtrace.configure(exporter=exporter, event_signal=event_signal)
    (said,) = caplog.records

    assert said.message == (
        f"cxtrace: event_signal is {event_signal!r}, but nobody takes log records: set "
        "OTEL_LOGS_EXPORTER, or exporter to otlp or file:PATH"
    )


def test_three_kinds_in_one_file(world: World, tmp_path: Path) -> None:
    """Spans, metrics and log records share a file, one kind a line, and are read apart."""
    cxtrace.configure(exporter="file:all.jsonl", event_signal="both")
    spans(2)
    count()
    log()

    assert cxtrace.shutdown()
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    kinds = {next(iter(json.loads(line))) for line in lines}
    assert kinds == {"resourceSpans", "resourceMetrics", "resourceLogs"}
    recording = read_spans("all.jsonl")
    assert (len(recording.spans), recording.skipped) == (2, 0)


@pytest.mark.parametrize("kind", ["METRICS", "LOGS"])
def test_unknown_exporter_of_metrics_or_logs(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A name that nobody knows is refused, and what was built before it ends its threads."""
    before = set(threading.enumerate())
    monkeypatch.setenv(f"OTEL_{kind}_EXPORTER", "console,nonsense")
    with pytest.raises(ConfigurationError, match="unknown exporter 'nonsense'"):
        cxtrace.configure(exporter="file:t.jsonl")

    assert type(world.meters) is _ProxyMeterProvider
    assert type(world.provider) is trace.ProxyTracerProvider
    assert set(threading.enumerate()) <= before


def test_a_fault_of_ours_is_not_hidden(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no wrong setting flies as it is: its place is what helps to find it."""

    def fail(settings: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(_config, "_wire", fail)
    with pytest.raises(RuntimeError, match="ours"):
        cxtrace.configure(exporter="none")

    assert _runtime.current.consent_required


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "OpenTelemetry refuses a setting"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "0", "OTEL_BLRP_MAX_QUEUE_SIZE=0 must be above zero"),
    ],
)
def test_refused_by_opentelemetry(
    world: World, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    """What OpenTelemetry refuses for metrics or logs is our error, and nothing has been changed."""
    before = set(threading.enumerate())
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=said):
        cxtrace.configure(exporter="file:t.jsonl", event_signal="both")

    assert type(world.meters) is _ProxyMeterProvider
    assert type(world.loggers) is ProxyLoggerProvider
    assert type(world.provider) is trace.ProxyTracerProvider
    assert set(threading.enumerate()) <= before


def test_failure_stops_what_was_built(world: World) -> None:
    """Where the spans cannot be set up, threads of metrics and logs that began are ended."""
    before = set(threading.enumerate())
    with pytest.raises(ConfigurationError, match="nonsense"):
        cxtrace.configure(exporter="file:t.jsonl,nonsense", event_signal="both")

    assert set(threading.enumerate()) <= before


def test_failure_leaves_providers_of_others_alone(world: World) -> None:
    """A call that fails does not touch the providers that it found."""
    records = Records()
    world.meters = MeterProvider(shutdown_on_exit=False)
    world.loggers = loggers = LoggerProvider(shutdown_on_exit=False)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    with pytest.raises(ConfigurationError, match="nonsense"):
        cxtrace.configure(exporter="nonsense")

    log()
    assert records.bodies == ["paid"]


def test_error_of_a_callback_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Any]
) -> None:
    """A metric of the host's that cannot be collected makes a flush false, and nothing else."""
    registered["memory"] = Metrics()
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "memory")
    cxtrace.configure(exporter=Exporter())
    monkeypatch.setattr(world.meters, "force_flush", lambda: 1 / 0)
    spans()

    assert not cxtrace.flush()
    assert cxtrace.report().counts == {"errors.metrics": 1}
    assert ledger_of_spans() == (1, 1)


def ledger_of_spans() -> tuple[int, int]:
    """Ended and exported."""
    found = cxtrace.report().spans
    assert found is not None
    return found.created, found.exported


def test_metrics_and_logs_of_a_child(
    world: World, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Any]
) -> None:
    """A child counts from zero, whatever the parent had counted."""
    registered["memory"] = ours = Metrics(MetricExportResult.FAILURE)
    monkeypatch.setattr(_deadline, "_watches_children", True)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "memory")
    cxtrace.configure(exporter="file:t.jsonl", event_signal="both")
    count(5)
    log()
    assert not cxtrace.flush()
    reader = meter_reader()
    storage = world.meters._measurement_consumer._reader_storages[reader]
    locks = [reader._export_lock, storage._lock, world.meters._measurement_consumer._lock]
    locks += [world.meters._meter_lock, world.loggers._logger_cache_lock]
    for lock in locks:
        threading.Thread(target=lock.acquire).start()
    _config._after_fork()

    assert reported() == (
        MetricLedger("built", "memory", 0, 0),
        LogLedger(provider="built", exporter="file:t.jsonl"),
    )
    ours.exported.clear()
    count(2)
    log()
    assert cxtrace.flush()
    assert [sums(each) for each in ours.exported] == [[2]]
    assert cxtrace.shutdown()
    _config._after_fork()
    assert cxtrace.flush()


def test_thread_of_the_reader_in_a_child(
    world: World, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Any]
) -> None:
    """The periodic export goes on in a child, but not before the parent's sums are gone."""
    registered["memory"] = Metrics()
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "memory")
    cxtrace.configure(exporter="none")
    reader = meter_reader()
    parents = reader._daemon_thread
    reader._at_fork_reinit()

    assert reader._daemon_thread is parents
    wired().pipelines[0].after_fork()
    assert reader._daemon_thread is not parents
    assert reader._daemon_thread.is_alive()


def test_reader_without_a_thread(
    world: World, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Any]
) -> None:
    """Where the interval is infinite there is no periodic export, in a child neither."""
    registered["memory"] = Metrics()
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "memory")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "inf")
    cxtrace.configure(exporter="none")
    wired().pipelines[0].after_fork()

    assert meter_reader()._daemon_thread is None
    assert cxtrace.shutdown()


def test_steady_log_traffic(
    world: World, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Any]
) -> None:
    """While log records keep coming, a flush still tells that those before it were delivered."""
    registered["memory"] = Records()
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "memory")
    cxtrace.configure(exporter=Exporter())
    stop = threading.Event()

    def traffic() -> None:
        while not stop.wait(0.001):
            log()
            spans()

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        assert all(cxtrace.flush(5) for _ in range(3))
    finally:
        stop.set()
        thread.join()


# Flushing


class Exporter(SpanExporter):
    """Takes spans, and does with them what a test wants."""

    def __init__(self, result: Any = SpanExportResult.SUCCESS, seconds: float = 0.0) -> None:
        self.result = result
        self.seconds = seconds
        self.spans: list[ReadableSpan] = []
        self.shutdowns = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Wait, then raise or return the result."""
        time.sleep(self.seconds)
        if isinstance(self.result, Exception):
            raise self.result
        self.spans += spans
        found: SpanExportResult = self.result
        return found

    def shutdown(self) -> None:
        """Count."""
        self.shutdowns += 1


def spans(count: int = 1) -> None:
    """End that many spans."""
    for _ in range(count):
        with cxtrace.touchpoint("t"):
            pass


def test_flush_before_configure(world: World) -> None:
    """Where nothing is configured nothing waits."""
    assert cxtrace.flush()
    assert cxtrace.shutdown()


def test_flush_delivers(world: World) -> None:
    """After ``flush()`` the exporter has every span, and it may be called again."""
    exporter = Exporter()
    cxtrace.configure(exporter=exporter)
    for expected in (700, 1_400):
        spans(700)
        assert cxtrace.flush()
        assert len(exporter.spans) == expected
    assert cxtrace.flush(0.5)


@pytest.mark.parametrize(
    "result", [SpanExportResult.FAILURE, RuntimeError("secret"), None, OSError("secret")]
)
def test_flush_is_true_only_if_delivered(world: World, result: Any) -> None:
    """An exporter that fails, raises or returns nothing has not delivered."""
    cxtrace.configure(exporter=Exporter(result))
    spans()

    assert cxtrace.flush() is False
    assert cxtrace.shutdown() is False
    report = cxtrace.report().spans
    assert report is not None
    assert report == Ledger(created=1, dropped={"shutdown": 1})


@pytest.mark.parametrize("call", [cxtrace.flush, cxtrace.shutdown])
def test_slow_exporter_is_not_waited_for(world: World, call: Any) -> None:
    """The call returns in time and does not claim a delivery that has not happened."""
    cxtrace.configure(exporter=Exporter(seconds=3))
    spans()
    began = time.monotonic()

    assert call(timeout=0.3) is False
    assert 0.25 <= time.monotonic() - began < 2.5


def test_own_exporters_of_a_joined_provider_are_shut_down_alone(world: World) -> None:
    """``shutdown()`` closes our exporter and leaves the provider of the host running."""
    ours, theirs = Exporter(), Exporter()
    world.provider = TracerProvider(shutdown_on_exit=False)
    world.provider.add_span_processor(SimpleSpanProcessor(theirs))
    cxtrace.configure(exporter=ours)
    spans()

    assert cxtrace.shutdown()
    assert (ours.shutdowns, theirs.shutdowns) == (1, 0)
    spans()
    assert (len(ours.spans), len(theirs.spans)) == (1, 2)


def test_shutdown_twice(world: World, recwarn: pytest.WarningsRecorder) -> None:
    """A second ``shutdown()`` is harmless and true, as everything was delivered."""
    exporter = Exporter()
    cxtrace.configure(exporter=exporter)
    spans()

    assert cxtrace.shutdown()
    assert cxtrace.shutdown()
    assert cxtrace.flush()
    assert len(exporter.spans) == 1
    assert list(recwarn) == []


def test_spans_after_shutdown_are_harmless(world: World) -> None:
    """Code goes on after ``shutdown()``; its spans go nowhere and are not claimed as delivered."""
    exporter = Exporter()
    cxtrace.configure(exporter=exporter)
    cxtrace.shutdown()

    @cxtrace.touchpoint("late")
    def late() -> int:
        with cxtrace.interaction("i"):
            return 3

    assert late() == 3
    assert exporter.spans == []


def test_configure_after_shutdown_changes_nothing(world: World, caplog: Any) -> None:
    """A process is configured once; after ``shutdown()`` a new call says so."""
    cxtrace.configure(exporter="none")
    cxtrace.shutdown()
    cxtrace.configure(exporter="console")

    assert wired().spans == ()
    assert "called again" in caplog.text


def test_error_in_flush_is_swallowed(world: World) -> None:
    """A provider of others that raises while it is flushed does not raise into the host."""

    class Raising(Wrapper):
        def force_flush(self, timeout_millis: int) -> bool:
            raise RuntimeError("secret")

    world.provider = Raising()
    cxtrace.configure()

    assert cxtrace.flush() is False
    assert cxtrace.report().counts == {"errors.flush": 1}


def test_provider_of_others_is_flushed_in_time(world: World) -> None:
    """The timeout goes to the provider of others in its own unit, milliseconds."""
    given: list[int] = []

    class Flushing(Wrapper):
        def force_flush(self, timeout_millis: int) -> bool:
            given.append(timeout_millis)
            return True

    world.provider = Flushing()
    cxtrace.configure()

    assert cxtrace.flush(1.5) is True
    assert given == [1_500]


# While the interpreter exits


class NoNewThread(threading.Thread):
    """A thread that does not start, as all of Python 3.12 at its exit."""

    def start(self) -> None:
        """Refuse, except for the one that was started in time."""
        if self.name != "cxtrace_exit":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        super().start()


def test_exit_without_new_threads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread starts at the exit, the one that stood by sends what is waiting."""
    exporter = Exporter()
    monkeypatch.setattr(_deadline, "_EXITS_WITHOUT_NEW_THREADS", True)
    monkeypatch.setattr(_deadline, "_watches_children", True)
    cxtrace.configure(exporter=exporter)
    _deadline.prepare(cxtrace.shutdown)
    spans()
    with monkeypatch.context() as exiting:
        exiting.setattr(threading, "Thread", NoNewThread)

        assert cxtrace.shutdown()
        assert len(exporter.spans) == 1
        assert cxtrace.shutdown()
    assert cxtrace.report().counts == {}


def test_exit_without_any_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread stands by either, nothing is claimed, and the error is counted."""
    cxtrace.configure(exporter=Exporter())
    spans()
    with monkeypatch.context() as exiting:
        exiting.setattr(threading, "Thread", NoNewThread)

        assert cxtrace.shutdown() is False
    assert cxtrace.report().counts == {"errors._shutdown": 1}


def test_exit_sends_what_is_waiting(tmp_path: Path) -> None:
    """Spans that wait when the process ends normally are delivered, without any call."""
    script = """
import sys, cxtrace
cxtrace.configure(exporter="file:spans.jsonl")
with cxtrace.touchpoint("checkout.pay"):
    pass
sys.exit(3 if len(sys.argv) > 1 else 0)
"""
    run(script, tmp_path)
    with pytest.raises(subprocess.CalledProcessError):
        run(script, tmp_path, "fail")

    assert (tmp_path / "spans.jsonl").read_text().count('"name":"checkout.pay"') == 2


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_of_multiprocessing_sends_what_is_waiting(tmp_path: Path, method: str) -> None:
    """A child process, which leaves by ``os._exit``, delivers its spans too."""
    (tmp_path / "app.py").write_text(
        """
import sys, cxtrace
cxtrace.configure(exporter="file:spans.jsonl")
import multiprocessing

def work():
    with cxtrace.touchpoint("child"):
        pass

if __name__ == "__main__":
    with cxtrace.touchpoint("parent"):
        pass
    context = multiprocessing.get_context(sys.argv[1])
    process = context.Process(target=work)
    process.start()
    process.join()
"""
    )
    subprocess.run(
        [sys.executable, "app.py", method],
        env=clean_environment(),
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    found = (tmp_path / "spans.jsonl").read_text()

    assert (found.count('"name":"parent"'), found.count('"name":"child"')) == (1, 1)


def test_what_a_forked_child_does_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child gets empty counters, configured or not."""
    monkeypatch.setattr(_deadline, "_watches_children", True)
    _config._after_fork()
    cxtrace.configure(exporter=Exporter())
    spans(3)
    cxtrace.flush()
    _config._after_fork()

    assert cxtrace.report().spans == Ledger()
    spans(1)
    assert cxtrace.flush()
    assert cxtrace.report().spans == Ledger(created=1, exported=1)


@pytest.mark.parametrize("is_child", [False, True])
def test_end_of_a_child_is_watched(monkeypatch: pytest.MonkeyPatch, is_child: bool) -> None:
    """A child of multiprocessing, and no other process, shuts down at its end."""
    import multiprocessing.util

    watched: list[Any] = []
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: is_child or None)
    monkeypatch.setattr(multiprocessing.util, "Finalize", lambda *args, **_: watched.append(args))
    _deadline._finalise(cxtrace.shutdown)

    assert watched == [(None, cxtrace.shutdown)] * is_child


def test_forked_child_counts_for_itself(tmp_path: Path) -> None:
    """A child starts with an empty ledger: what the parent had waiting is not its matter."""
    script = """
import os, cxtrace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
cxtrace.configure(exporter=InMemorySpanExporter())
with cxtrace.touchpoint("parent"):
    pass
child = os.fork()
if not child:
    with cxtrace.touchpoint("child"):
        pass
    good = cxtrace.flush()
    ledger = cxtrace.report().spans
    os._exit(0 if good and (ledger.created, ledger.exported, ledger.queued) == (1, 1, 0) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert cxtrace.flush()
print(cxtrace.report().spans.exported)
"""
    assert run(script, tmp_path, warnings="ignore").stdout == "1\n"


# Collectors that do not answer


@pytest.fixture
def collectors() -> Iterator[dict[str, int]]:
    """Ports: one that refuses, one that accepts and never answers, one that answers 503."""

    class Unavailable(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(503)

        def log_message(self, *args: Any) -> None:
            pass

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = closed.getsockname()[1]
    silent = socket.create_server(("127.0.0.1", 0), backlog=64)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unavailable)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield {
        "refused": refused,
        "silent": silent.getsockname()[1],
        "503": server.server_address[1],
    }
    server.shutdown()
    server.server_close()
    silent.close()


DEAD = [
    ("refused", "http/protobuf"),
    ("silent", "http/protobuf"),
    ("503", "http/protobuf"),
    ("refused", "grpc"),
    ("silent", "grpc"),
]


@pytest.mark.parametrize("call", [cxtrace.shutdown, cxtrace.flush])
@pytest.mark.parametrize(("kind", "protocol"), DEAD)
def test_dead_collector_does_not_hold_the_call(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    collectors: dict[str, int],
    kind: str,
    protocol: str,
    call: Any,
) -> None:
    """With a collector that takes nothing the call returns in time, and says false."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collectors[kind]}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    cxtrace.configure(event_signal="both")
    spans(600)
    count()
    log()
    began = time.monotonic()

    assert call(timeout=0.3) is False
    assert time.monotonic() - began < 1.9  # an export may take two seconds


EXIT = """
import cxtrace
from opentelemetry import _logs, metrics
cxtrace.configure(event_signal="both")
metrics.get_meter("host").create_counter("orders").add(1)
_logs.get_logger("host").emit(_logs.LogRecord(body="paid"))
assert cxtrace.report().metrics.provider == cxtrace.report().logs.provider == "built"
for _ in range(2048):
    with cxtrace.touchpoint("t"):
        pass
print("done", flush=True)
"""


def seconds_to_exit(process: "subprocess.Popen[str]") -> float:
    """Seconds from the last statement of the process to its end."""
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    began = time.monotonic()
    assert process.wait(30) == 0
    process.stdout.close()
    return time.monotonic() - began


def test_dead_collector_does_not_hold_the_exit(tmp_path: Path, collectors: dict[str, int]) -> None:
    """A process with full queues and a dead collector ends soon, where the SDK takes up to 30 s.

    Spans, metrics and log records wait, and share one deadline.

    The bound is ``DEADLINE`` of 2 s, and generous time for ending five interpreters at once:
    ``tests/faults`` measures it for one.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", EXIT],
            env={
                **clean_environment(),
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collectors[kind]}",
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            },
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for kind, protocol in DEAD
    ]
    with ThreadPoolExecutor(len(DEAD)) as pool:
        seconds = list(pool.map(seconds_to_exit, processes))

    assert max(seconds) < _deadline.DEADLINE + 13


def test_console_exporter_of_the_sdk(world: World) -> None:
    """Any exporter of OpenTelemetry's SDK will do."""
    with Path(os.devnull).open("w") as nowhere:
        cxtrace.configure(exporter=ConsoleSpanExporter(out=nowhere))
        spans()

        assert cxtrace.flush()
