"""``cxtrace doctor`` finds each planted misconfiguration, and none in a right configuration."""

import json
import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import grpc
import pytest
from attrs import asdict, evolve
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, TraceIdRatioBased

from cxtrace import _config, _guard, _process_facts, _wiring_facts
from cxtrace._closed_sets import block
from cxtrace._ledger import Ledger
from cxtrace._records import encode_spans
from cxtrace._settings import SPOOLS, Settings
from cxtrace._spool import owner
from cxtrace._wiring_facts import (
    ExporterFacts,
    KeyFacts,
    LimitFacts,
    PartFacts,
    ProcessorFacts,
    ProviderFacts,
    SamplerFacts,
    WiringFacts,
)
from cxtrace._wiring_parts import endpoint_of, exporter_of, headers_of, without_secrets
from cxtrace.attributes import TAGS
from cxtrace.binding import BoundFunction
from cxtrace.cli import doctor as cli
from cxtrace.cli import main, run
from cxtrace.delivery import SpoolSettings
from cxtrace.exceptions import ConfigurationError, MapError, Problem
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.doctor import _first, asking, folder, patient, probe, queries, visit
from cxtrace.platform.doctor.checks import ASKING, LOOKING, examine, tidy
from cxtrace.platform.doctor.endpoints import _TEXTS, asked, skewed
from cxtrace.platform.doctor.settings import REFUSALS
from cxtrace.platform.doctor.subject import Finding, Subject, verdict
from cxtrace.propagation import CXPropagator
from cxtrace.spool import Spool
from tests.doctors import KEY, MAP

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "doctor.md"
PASSWORD = "hunter2-of-ours"
OTLP = "opentelemetry.exporter.otlp.proto.http.trace_exporter.OTLPSpanExporter"
SDK = "opentelemetry.sdk.trace.export"


# A right configuration, and what is planted in it


def part(name: str) -> PartFacts:
    """A part, with the package that has it."""
    return PartFacts(name, name.partition(".")[0])


def sender(
    processor: str = f"{SDK}.BatchSpanProcessor",
    endpoint: str | None = "http://collector:4318/v1/traces",
    protocol: Any = "http/protobuf",
) -> ProcessorFacts:
    """A processor with an exporter."""
    exporter = ExporterFacts(OTLP, "opentelemetry", endpoint, protocol)
    return ProcessorFacts(processor, processor.partition(".")[0], exporter)


STAMP = ProcessorFacts("cxtrace.processors.StampProcessor", "cxtrace")
NOBODY = ProviderFacts("opentelemetry._logs._internal.ProxyLoggerProvider", "opentelemetry", "none")
TRACES = ProviderFacts(
    "opentelemetry.sdk.trace.TracerProvider", "opentelemetry", "built", (STAMP, sender())
)
TRACECONTEXT = part("opentelemetry.trace.propagation.tracecontext.TraceContextTextMapPropagator")
BAGGAGE = part("opentelemetry.baggage.propagation.W3CBaggagePropagator")
OURS = part("cxtrace.propagation.CXPropagator")
ALL = SamplerFacts("opentelemetry.sdk.trace.sampling.ParentBased", "opentelemetry", "root:All")
PROCESS = _process_facts.ProcessFacts(
    pid=1,
    forks=0,
    server=None,
    has_threads=True,
    patched=None,
    is_patched_late=False,
    versions={"opentelemetry-api": "1.45.1", "opentelemetry-sdk": "1.45.1"},
)
FACTS = WiringFacts(
    state="configured",
    traces=TRACES,
    metrics=NOBODY,
    logs=NOBODY,
    is_replaced=False,
    sampler=ALL,
    limits=LimitFacts(128, None, 128, 128),
    propagators=(TRACECONTEXT, BAGGAGE, OURS),
    service_name="shop",
    journey_map="shop 1",
    key=KeyFacts("given", "3a045d11"),
    others=(),
    process=PROCESS,
)
RIGHT = Subject(
    facts=FACTS,
    environ={
        "CXTRACE_KEY": KEY,
        "CXTRACE_MAP": "journeys.toml",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_BSP_MAX_QUEUE_SIZE": "4096",
    },
    journey_map=JourneyMap.loads(MAP),
    bindings=(BoundFunction("pay", "shop:pay", "bound"),),
)


def facts(**changes: Any) -> Subject:
    """The right subject, with other facts."""
    return evolve(RIGHT, facts=evolve(FACTS, **changes))


def traces(*processors: ProcessorFacts, origin: Any = "built") -> Subject:
    """The right subject, with other processors."""
    return facts(traces=evolve(TRACES, processors=processors, origin=origin))


def process(**changes: Any) -> Subject:
    """The right subject, in another kind of process."""
    return facts(process=evolve(PROCESS, **changes))


def variables(**more: str) -> Subject:
    """The right subject, with more variables."""
    return evolve(RIGHT, environ={**RIGHT.environ, **more})


def limits(*found: int | None) -> Subject:
    """The right subject, with other limits."""
    return facts(limits=LimitFacts(*found))


def stack(*names: str) -> Subject:
    """The right subject, with middlewares of Starlette, the outermost first."""
    listed = [SimpleNamespace(cls=type(name, (), {"__module__": place}))
              for place, _, name in (each.rpartition(".") for each in names)]  # fmt: skip
    return evolve(RIGHT, app=SimpleNamespace(user_middleware=listed))


CX_ASGI = "cxtrace.integrations.asgi.CXMiddleware"
OT_ASGI = "opentelemetry.instrumentation.asgi.OpenTelemetryMiddleware"
GZIP = "starlette.middleware.gzip.GZipMiddleware"

PLANTED: Mapping[str, tuple[str, Subject]] = {
    "disabled": ("disabled", variables(OTEL_SDK_DISABLED="true")),
    "no scheme": ("endpoint-scheme", variables(OTEL_EXPORTER_OTLP_ENDPOINT="collector:4317")),
    "no scheme for metrics": (
        "endpoint-scheme",
        variables(OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="u:p@collector:4317"),
    ),
    "batch over queue": ("batch-sizes", variables(OTEL_BSP_MAX_EXPORT_BATCH_SIZE="8192")),
    "delay in hours": ("batch-sizes", variables(OTEL_BLRP_SCHEDULE_DELAY="3600000")),
    "queue no number": ("batch-sizes", variables(OTEL_BSP_MAX_QUEUE_SIZE="many")),
    "short key": ("key-short", variables(CXTRACE_KEY="secret")),
    "key of an example": (
        "key-weak",
        variables(CXTRACE_KEY="an example key of 32 bytes, no more"),
    ),
    "key of one letter": ("key-weak", variables(CXTRACE_KEY="z" * 64)),
    "key that repeats itself": ("key-weak", variables(CXTRACE_KEY="q7W2x9" * 8)),
    "key missing": ("key-missing", facts(key=KeyFacts("missing", None))),
    "key ephemeral": ("key-ephemeral", facts(key=KeyFacts("ephemeral", "ephemeral"))),
    "key file": (
        "key-file",
        facts(key=KeyFacts("given", "q1", fault="line 2: the key has 5 bytes")),
    ),
    "misspelt": ("unknown-variable", variables(CXTRACE_SAMPEL="0.1")),
    "misspelt beyond guessing": ("unknown-variable", variables(CXTRACE_QQQQQQQQQ="1")),
    "file beside variables": ("config-file", variables(OTEL_CONFIG_FILE="otel.yaml")),
    "old OpenTelemetry": (
        "opentelemetry-old",
        process(versions={"opentelemetry-api": "1.45.0", "opentelemetry-sdk": "1.9.1"}),
    ),
    "mixed OpenTelemetry": (
        "opentelemetry-mixed",
        process(versions={"opentelemetry-api": "1.45.0", "opentelemetry-sdk": "1.41.0"}),
    ),
    "not configured": ("not-configured", facts(state="not_configured")),
    "apart": ("provider-apart", traces(origin="apart")),
    "replaced": ("provider-replaced", facts(is_replaced=True)),
    "set twice": (
        "provider-twice",
        evolve(RIGHT, said=("Overriding of current TracerProvider is not allowed",)),
    ),
    "two agents": ("two-agents", facts(others=("Datadog (ddtrace)",))),
    "logfire second": ("logfire-second", facts(others=("Logfire (logfire)",))),
    "uWSGI without threads": ("no-threads", process(server="uwsgi", has_threads=False)),
    "gevent late": ("patched-late", process(patched="gevent", is_patched_late=True)),
    "no exporter": ("sends-nothing", traces(STAMP)),
    "no exporter of others": ("sends-nothing", traces(STAMP, origin="joined")),
    "sent twice": ("sent-twice", traces(sender(), sender())),
    "sent twice, by both protocols": (
        "sent-twice",
        traces(sender(), sender(endpoint="http://collector:4317", protocol="grpc")),
    ),
    "simple processor": ("simple-processor", traces(sender(f"{SDK}.SimpleSpanProcessor"))),
    "sampler off": (
        "sampler-drops-all",
        facts(sampler=evolve(ALL, description="ParentBased{root:AlwaysOffSampler,remote")),
    ),
    "sampler at ratio 0": (
        "sampler-drops-all",
        facts(sampler=evolve(ALL, description="TraceIdRatioBased{0.0}")),
    ),
    "sampler of somebody": ("sampler-drops-all", evolve(RIGHT, keeps_nothing=True)),
    "few attributes": ("attribute-limit", limits(16, None, 128, 128)),
    "short attributes": ("attribute-length", limits(128, 16, 128, 128)),
    "few events": ("event-limit", limits(128, None, 0, 128)),
    "service without name": ("service-name", facts(service_name="unknown_service:python")),
    "service with an empty name": ("service-name", facts(service_name="")),
    "propagator missing": ("propagator-missing", facts(propagators=(TRACECONTEXT, BAGGAGE))),
    "propagator first": ("propagator-order", facts(propagators=(OURS, TRACECONTEXT, BAGGAGE))),
    "propagator alone": ("propagator-lost", facts(propagators=(OURS,))),
    "middleware outside": ("middleware-order", stack(CX_ASGI, GZIP, OT_ASGI)),
    "no map": ("map-missing", evolve(RIGHT, journey_map=None)),
    "map with warnings": ("map-warnings", evolve(RIGHT, journey_map=JourneyMap.loads(
        MAP.replace("[[stage]]", '[[stage]]\nname = "after"\nphase = "customer"\n[[stage]]')
    ))),
    "wrong map": (
        "map-wrong",
        evolve(RIGHT, refusal=MapError([Problem("m.toml", 3, "stage", "is no stage")])),
    ),
    "refused": ("refused", evolve(RIGHT, refusal=ConfigurationError("CXTRACE_SAMPLE: 2"))),
    "values of people": (
        "personal-values", evolve(RIGHT, blocked={"personal.email": 2, "personal.phone": 1})
    ),
    "full exceptions": ("exceptions-full", evolve(RIGHT, record_exceptions="full")),
    "function missing": (
        "function-missing",
        evolve(RIGHT, bindings=(BoundFunction("pay", "shop:pya", "missing"),)),
    ),
    "function of a module nobody imports": (
        "function-waiting",
        evolve(RIGHT, is_app=True, bindings=(BoundFunction("pay", "shop:pay", "waiting"),)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_fault_is_found_and_nothing_else(plant: str) -> None:
    """Each fault gives one finding, which says what to do."""
    wanted, subject = PLANTED[plant]

    found = examine(subject)

    assert [each.id for each in found] == [wanted]
    assert found[0].found
    assert found[0].advice


@pytest.mark.parametrize(
    "subject",
    [
        RIGHT,
        evolve(RIGHT, facts=evolve(FACTS, state="disabled", key=KeyFacts("missing", None))),
        facts(sampler=None, limits=None, service_name=None),
        limits(None, None, None, None),
        limits(128, 200, 128, 128),
        variables(OTEL_EXPORTER_OTLP_ENDPOINT="collector:4317", OTEL_EXPORTER_OTLP_INSECURE="true"),
        variables(CXTRACE_KEY="", CXTRACE_KEY_FILE="/no/such/file"),
        variables(OTEL_BSP_MAX_QUEUE_SIZE="100"),
        evolve(RIGHT, environ={"OTEL_CONFIG_FILE": "otel.yaml"}),
        traces(sender(), sender(endpoint="http://other:4318/v1/traces")),
        traces(sender(), sender(endpoint="http://collector:9411/api", protocol=None)),
        traces(sender(), sender(endpoint="http://collector:port")),
        traces(sender(), sender(f"{SDK}.SimpleSpanProcessor", endpoint=None)),
        facts(traces=evolve(TRACES, processors=(), origin="joined")),
        facts(propagators=(part("opentelemetry.propagators.b3.B3MultiFormat"), BAGGAGE, OURS)),
        stack(OT_ASGI, CX_ASGI),
        stack(CX_ASGI, OT_ASGI),
        stack(CX_ASGI, GZIP),
        stack(GZIP, OT_ASGI),
        evolve(RIGHT, journey_map=None, refusal=None, facts=evolve(FACTS, state="disabled")),
    ],
)  # fmt: skip
def test_nothing_is_found_in_a_right_configuration(subject: Subject) -> None:
    """What is right, or cannot be told, is healthy; a map is not missed where all is off."""
    found = [each for each in examine(subject) if each.id != "map-missing"]

    assert verdict(found) == "Healthy"


def test_the_doctor_sees_what_was_held_back(forgetful: None) -> None:
    """Values of people that this process was given are counted by kind, and none is shown."""
    _guard.count("refused.attribute")
    block("segment", "jane@example.com")

    assert patient.subject(environ={}).blocked == {"personal.email": 1}


def test_a_key_in_a_file_is_looked_at(tmp_path: Path) -> None:
    """A weak key is found where it is given as a file."""
    file = tmp_path / "key"
    file.write_text("changeme" * 8)

    found = examine(evolve(RIGHT, environ={"CXTRACE_KEY_FILE": str(file)}))

    assert [each.id for each in found] == ["key-weak"]
    assert "changeme" not in str(found)


def test_each_key_of_a_file_is_looked_at(tmp_path: Path) -> None:
    """A weak key is found beside a good one, and its line is told."""
    file = tmp_path / "key"
    file.write_text(f"# keys\nq2 = {KEY}\nq1 = {'changeme' * 8}\n")

    (found,) = examine(evolve(RIGHT, environ={"CXTRACE_KEY_FILE": str(file)}))

    assert found.found == (
        "The key of CXTRACE_KEY_FILE, line 3, can be guessed: it is an example, or repeats itself."
    )
    assert "changeme" not in str(found)


@pytest.mark.parametrize(
    ("refusal", "wanted"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT='collector:4317' has no scheme: write …", "endpoint-scheme"),
        ("the key has 6 bytes and must have at least 32; make one with: …", "key-short"),
        ("line 2: the key has 6 bytes and must have at least 32; make …", "key-short"),
        ("OpenTelemetry refuses a setting: max_export_batch_size must be …", "batch-sizes"),
    ],
)
def test_a_refusal_is_not_told_twice(refusal: str, wanted: str) -> None:
    """What configure() refused and a check has found, is one finding, that of the check."""
    _, planted = next(each for each in PLANTED.values() if each[0] == wanted)

    found = examine(evolve(planted, refusal=ConfigurationError(refusal)))

    assert [each.id for each in found] == [wanted]
    assert refusal not in found[0].found


def test_a_check_that_fails_is_a_note() -> None:
    """A fault of the doctor's own is told, and the other checks go on."""

    def broken(subject: Subject) -> Iterator[Finding]:
        raise LookupError

    found = examine(RIGHT, [broken, *LOOKING])

    assert [each.id for each in found] == ["not-checked"]
    assert verdict(found) == "Healthy, 1 note"


def test_the_verdict_counts() -> None:
    """Errors come first, then warnings, each counted as English has it."""
    error, warning = (Finding(level, level, "", "") for level in ("error", "warning"))  # type: ignore[arg-type]

    assert verdict([]) == "Healthy"
    assert verdict([warning]) == "1 warning"
    assert verdict([error, error, warning]) == "2 errors, 1 warning"
    assert [each.id for each in tidy([warning, error])] == ["error", "warning"]


# Order of middlewares


class App:
    """An application, or what is around one."""

    def __init__(self, app: Any = None) -> None:
        self.app = app

    def __call__(self) -> None:
        """Serve."""


def named(name: str) -> type[App]:
    """A wrapper of that name."""
    module, _, kind = name.rpartition(".")
    return type(kind, (App,), {"__module__": module})


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ([CX_ASGI, GZIP, OT_ASGI], ["middleware-order"]),
        ([CX_ASGI, OT_ASGI], []),
        ([OT_ASGI, GZIP, CX_ASGI], []),
        ([GZIP], []),
    ],
)
def test_wrappers_are_looked_through(names: list[str], wanted: list[str]) -> None:
    """Middlewares that are put around an application by hand are found, from the outside."""
    app: Any = App()
    for name in reversed(names):
        app = named(name)(app)

    assert [each.id for each in examine(evolve(RIGHT, app=app))] == wanted


def test_an_application_that_holds_itself_is_left_alone() -> None:
    """Wrappers without an end are not followed for ever."""
    app = App()
    app.app = app

    assert examine(evolve(RIGHT, app=app)) == []


def test_flask_in_the_wrong_order_is_found() -> None:
    """OpenTelemetry's wrapper for Flask is a function, whose application is found all the same."""
    flask = pytest.importorskip("flask")
    theirs = pytest.importorskip("opentelemetry.instrumentation.flask")
    from cxtrace.integrations.wsgi import CXMiddleware

    app = flask.Flask("shop")
    inside = flask.Flask("shop")
    inside.wsgi_app = CXMiddleware(inside.wsgi_app)
    for each in (app, inside):
        theirs.FlaskInstrumentor().instrument_app(each)
    app.wsgi_app = CXMiddleware(app.wsgi_app)

    assert [each.id for each in examine(evolve(RIGHT, app=app))] == ["middleware-order"]
    assert examine(evolve(RIGHT, app=inside)) == []


@pytest.mark.parametrize(
    ("is_configured", "ours_first", "wanted"),
    [(True, True, ["middleware-order"]), (True, False, []), (False, True, [])],
)
def test_django_in_the_wrong_order_is_found(
    monkeypatch: pytest.MonkeyPatch, is_configured: bool, ours_first: bool, wanted: list[str]
) -> None:
    """The list in Django's settings is read, where Django has been set up."""
    ours = "cxtrace.integrations.django.CXMiddleware"
    theirs = "opentelemetry.instrumentation.django.middleware.otel_middleware._DjangoMiddleware"
    listed = [ours, theirs] if ours_first else [theirs, ours]
    settings = SimpleNamespace(configured=is_configured, MIDDLEWARE=listed)
    monkeypatch.setitem(sys.modules, "django.conf", SimpleNamespace(settings=settings))  # type: ignore[arg-type]

    assert [each.id for each in examine(RIGHT)] == wanted


# The spool


DELIVERY = sender("cxtrace.delivery.SpanDelivery")


def with_spool(path: Path, max_bytes: int = 2**20, max_age: float = 3600.0) -> Subject:
    """The right subject, with a spool that is used."""
    return evolve(traces(STAMP, DELIVERY), spool=SpoolSettings(path, max_bytes, max_age))


def of_user(user: int, *paths: Path) -> Any:
    """What ``_owner`` is to say: these are of a user, and all others of us or not there."""
    real = owner._owner
    return lambda path: user if path in paths else real(path) and os.geteuid()


@pytest.fixture
def spooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a spool, on a disk."""
    monkeypatch.setattr(folder, "filesystem_of", lambda path: "ext4")
    path = tmp_path / "spool"
    path.mkdir(mode=0o700)
    return path


def ids(subject: Subject) -> list[str]:
    """What is found, in a word each."""
    return [each.id for each in examine(subject)]


def test_a_good_spool_is_healthy(spooled: Path) -> None:
    """A private folder on a disk, used or empty or yet to be made, is right."""
    assert ids(with_spool(spooled)) == []
    assert ids(with_spool(spooled / "deep" / "down")) == []

    assert Spool(spooled / "spans").put("spans", 3, b"three")
    assert ids(with_spool(spooled)) == []
    assert sorted(each.name for each in spooled.iterdir()) == ["spans"]


def test_a_spool_that_is_no_folder_is_found(spooled: Path) -> None:
    """A file, or a folder beneath a file, is an error."""
    file = spooled / "file"
    file.touch()

    assert ids(with_spool(file)) == ["spool-unusable"]
    assert ids(with_spool(file / "below")) == ["spool-unusable"]


@pytest.mark.parametrize("below", ["", "new"])
def test_a_spool_that_may_not_be_written_is_found(
    spooled: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    """A folder that this user may not write, or not make, is an error."""
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)

    assert ids(with_spool(spooled / below)) == ["spool-unusable"]


def test_a_spool_of_others_or_open_to_them_is_found(
    spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another owner, and a mode that lets others in, are warnings, of each folder within too."""
    within = spooled / "logs"
    within.mkdir(0o755)
    assert ids(with_spool(spooled)) == ["spool-open"]
    within.chmod(0o700)
    spooled.chmod(0o755)
    assert ids(with_spool(spooled)) == ["spool-open"]

    spooled.chmod(0o700)
    user = spooled.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    (found,) = examine(with_spool(spooled))
    assert found.id == "spool-owner"
    assert found.advice == (
        f"You are user {user + 1}, the folder is of user {user}. Run the doctor as the user of "
        "the service."
    )
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (found,) = examine(with_spool(spooled))
    assert found.id == "spool-unusable"
    assert found.advice.startswith(f"You are user {user + 1}, the folder is of user {user}. ")


def test_whose_a_spool_is_is_known_before_it_is_there(
    spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What exists of the spool tells whose it is; else the folder in which it would be made."""
    us = os.geteuid()
    below = spooled / "deep" / "down"

    assert (owner.stranger(spooled), owner.stranger(below)) == (None, None)
    monkeypatch.setattr(owner, "_owner", of_user(us + 7, spooled))
    assert (owner.stranger(spooled), owner.stranger(below)) == (us + 7, us + 7)
    monkeypatch.setattr(owner, "_SYSTEM", us + 7)
    assert (owner.stranger(spooled), owner.stranger(below)) == (us + 7, None)
    (spooled / "spans").mkdir()
    monkeypatch.undo()
    monkeypatch.setattr(owner, "_owner", of_user(us + 7, spooled / "spans"))
    assert owner.stranger(spooled) == us + 7


@pytest.mark.parametrize(
    "exporter", [None, "cxtrace._console.TreeExporter", "cxtrace._otlp_file.FileSpanExporter"]
)
@pytest.mark.parametrize("owner", ["cxtrace", "opentelemetry"])
def test_a_spool_that_nobody_uses_is_found(spooled: Path, exporter: str | None, owner: str) -> None:
    """No exporter, one that writes on this machine, and those of others have no spool."""
    held = None if exporter is None else ExporterFacts(exporter, "cxtrace")
    if owner == "opentelemetry":
        held = DELIVERY.exporter
    provider = evolve(TRACES, processors=(STAMP, ProcessorFacts(f"{owner}.Delivery", owner, held)))
    subject = with_spool(spooled)
    changed = evolve(subject.facts, traces=provider)

    assert "spool-unused" in ids(evolve(subject, facts=changed))
    by_logs = evolve(changed, logs=evolve(TRACES, processors=(DELIVERY,)))
    assert "spool-unused" not in ids(evolve(subject, facts=by_logs))


def test_what_waits_in_a_spool_is_told(spooled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each signal its items, bytes and age; nothing of a spool of others."""
    settings = SpoolSettings(spooled, 64 * 2**20, 3600.0)
    earlier = Spool(spooled / "spans", clock=lambda: time.time() - 130)
    assert earlier.put("spans", 451, b"x" * 9_000)
    (spooled / "logs").mkdir()

    found = folder.contents(settings)

    assert (found["folder"], found["owner"]) == (str(spooled), None)
    assert (found["signals"]["spans"]["items"], found["signals"]["logs"]["items"]) == (451, 0)
    assert found["signals"]["spans"]["oldest"] >= 130
    (line,) = cli._spool(found)
    size = found["signals"]["spans"]["bytes"] / 1024
    assert line.endswith(f"{spooled}  451 spans, {size:.0f} KiB of 64 MiB, oldest 2 min")
    monkeypatch.setattr(folder, "stranger", lambda folder: 65_534)
    found = folder.contents(settings)
    assert found["signals"] == {}
    assert list(cli._spool(found)) == [f"    spool        {spooled}  of user 65534, left alone"]


def test_a_spool_is_shown_by_signal() -> None:
    """One line for each signal of which something waits."""
    of_logs = {"items": 1, "bytes": 100, "oldest": 3.0}
    of_spans = {"items": 2, "bytes": 3 * 2**30, "oldest": 90_000.0}
    empty = {"folder": "/spool", "max_bytes": 2**30, "owner": None, "signals": {}}

    assert list(cli._spool(None)) == ["    spool        none"]
    assert list(cli._spool(empty)) == ["    spool        /spool  nothing waits"]
    assert list(cli._spool({**empty, "signals": {"spans": of_spans, "logs": of_logs}})) == [
        "    spool        /spool  2 spans, 3 GiB of 1 GiB, oldest 25 h",
        "                 /spool  1 log record, 100 bytes of 1 GiB, oldest 3 s",
    ]


@pytest.mark.parametrize(
    ("kind", "wanted"), [("tmpfs", "spool-volatile"), ("nfs4", "spool-network")]
)
def test_a_spool_on_a_file_system_that_does_not_last_is_found(
    spooled: Path, monkeypatch: pytest.MonkeyPatch, kind: str, wanted: str
) -> None:
    """Memory, and disks of other machines, are warnings."""
    monkeypatch.setattr(folder, "filesystem_of", lambda path: kind)

    assert ids(with_spool(spooled)) == [wanted]


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    """The deepest mount above the folder counts, and the later of two at one place."""
    here = str(tmp_path).replace(" ", "\\040")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 1 0:1 / / rw - ext4 /dev/sda rw\n"
        f"2 1 0:2 / {here} rw - overlay none rw\n"
        f"3 1 0:3 / {here} rw shared:1 - tmpfs none rw\n"
        f"4 1 0:4 / {here}/other rw - nfs4 host:/ rw\n"
    )

    assert folder.filesystem_of(tmp_path / "spool", mounts) == "tmpfs"
    assert folder.filesystem_of(tmp_path / "other", mounts) == "nfs4"
    assert folder.filesystem_of(Path("/"), mounts) == "ext4"
    assert folder.filesystem_of(tmp_path, tmp_path / "none") is None


def test_a_spool_that_is_full_or_forgotten_is_found(spooled: Path) -> None:
    """A spool near its size, or whose oldest batch nears its age, is told."""
    an_hour_ago = Spool(spooled / "logs", clock=lambda: time.time() - 3_600)
    assert an_hour_ago.put("logs", 3, b"x" * 20_000)

    assert ids(with_spool(spooled, max_age=4_000)) == ["spool-old"]
    assert ids(with_spool(spooled, max_bytes=20_000, max_age=86_400)) == ["spool-full"]


def test_a_spool_that_cannot_be_read_is_found(
    spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the spool itself says of its folder is told: a problem, and segments of others."""
    found = SimpleNamespace(problem="I/O error", strangers=2, bytes=0, oldest=None, items={})
    monkeypatch.setattr(Spool, "state", lambda spool: found)
    (spooled / "spans").mkdir(0o700)

    assert ids(with_spool(spooled)) == ["spool-unusable", "spool-strangers"]


# Over the network


@contextmanager
def serving(
    status: int = 200, body: bytes = b"", at: Mapping[str, bytes] | None = None, ahead: float = 0.0
) -> Iterator[tuple[str, list[Any]]]:
    """A server of HTTP that gives one answer, or one to each path that it knows, and 404 else."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            seen.append((self.path, dict(self.headers), self.rfile.read(length)))
            answer = body if at is None else at.get(self.path)
            self.send_response(404 if answer is None else status)
            self.send_header("Content-Length", str(len(answer or b"")))
            self.end_headers()
            self.wfile.write(answer or b"")

        do_POST = do_GET  # noqa: N815

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + ahead, usegmt=True) if ahead is not None else ""

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving_grpc(code: Any) -> Iterator[str]:
    """A server of gRPC that gives one status to each call."""

    def call(request: bytes, context: grpc.ServicerContext) -> bytes:
        if code is not grpc.StatusCode.OK:
            context.abort(code, "no")
        return b""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(call)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextmanager
def listening() -> Iterator[str]:
    """A server that speaks nothing known: it hangs up on whoever has said something."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(16)
                connection.sendall(b"220 mail\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


HTTP = "http/protobuf"
HEADERS = {"X-Key": PASSWORD}


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (200, b"", "takes"),
        (200, b"<!doctype html>", "not_otlp"),
        (401, b"", "refused"),
        (404, b"", "not_here"),
        (503, b"", "not_otlp"),
    ],
)
def test_an_answer_over_http_is_understood(status: int, body: bytes, wanted: str) -> None:
    """An empty request is sent with the exporter's headers, and the answer tells the kind."""
    with serving(status, body) as (url, seen):
        found = asked(f"{url}/v1/traces", HTTP, "spans", HEADERS)

    assert found.kind == wanted
    assert (seen[0][0], seen[0][1]["X-Key"], seen[0][2]) == ("/v1/traces", PASSWORD, b"")
    assert seen[0][1]["Content-Type"] == "application/x-protobuf"


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("OK", "takes"),
        ("UNIMPLEMENTED", "not_here"),
        ("UNAUTHENTICATED", "refused"),
        ("INTERNAL", "not_otlp"),
    ],
)
def test_an_answer_over_grpc_is_understood(code: str, wanted: str) -> None:
    """An empty call is made, and its status tells the kind."""
    with serving_grpc(grpc.StatusCode[code]) as url:
        found = asked(url, "grpc", "metrics", HEADERS)

    assert found.kind == wanted


def test_the_other_protocol_is_recognised() -> None:
    """GRPC to a server of HTTP, and HTTP to one of gRPC, are told from what is neither."""
    with serving(404) as (url, _):
        to_http = asked(url, "grpc", "spans", {})
    with serving_grpc(grpc.StatusCode.OK) as url:
        to_grpc = asked(f"{url}/v1/traces", HTTP, "spans", {})
    with listening() as url:
        neither = [asked(url, protocol, "spans", {}) for protocol in ("grpc", HTTP)]

    assert (to_http.kind, to_grpc.kind) == ("other_protocol", "other_protocol")
    assert [each.kind for each in neither] == ["not_otlp", "not_otlp"]


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        port: int = each.getsockname()[1]
        return port


@pytest.mark.parametrize("protocol", ["grpc", HTTP])
@pytest.mark.parametrize("place", ["127.0.0.1:{}", "no-such-host.invalid:{}", "host:port"])
def test_nobody_at_an_address_is_found(protocol: str, place: str) -> None:
    """A port where nobody listens, a host that does not exist, and no port are unreachable."""
    found = asked(f"http://{place.format(free_port())}", protocol, "spans", {}, 5.0)

    assert (found.kind, bool(found.said)) == ("unreachable", True)


def test_a_connection_that_takes_too_long_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time-out is told as one."""

    def never(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", never)

    assert asked("http://10.0.0.1", "grpc", "spans", {}).said == "no answer in time"


def test_grpc_that_is_not_installed_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gRPC's package, who does not speak HTTP is not OTLP as far as can be told."""
    monkeypatch.setitem(sys.modules, "grpc", None)
    with listening() as url:
        found = asked(url, HTTP, "spans", {})

    assert found.kind == "not_otlp"


@pytest.mark.parametrize("certificate", ["", "none", "mine"])
def test_tls_trusts_what_the_exporters_trust(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificate: str
) -> None:
    """With https, a server without TLS is no OTLP, whatever certificates are given."""
    file = tmp_path / certificate
    if certificate == "mine":
        import ssl

        default = ssl.get_default_verify_paths().cafile
        certifi = pytest.importorskip("certifi").where() if default is None else default
        file.write_bytes(Path(certifi).read_bytes())
    if certificate:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(file))
    with serving() as (url, _):
        secure = url.replace("http:", "https:")
        found = [asked(secure, protocol, "spans", {}, 2.0) for protocol in ("grpc", HTTP)]

    assert [each.kind for each in found] == ["not_otlp", "not_otlp"]


def exporting(url: str, protocol: str = HTTP, metrics_to: str | None = None) -> Subject:
    """The right subject, whose spans and perhaps metrics go somewhere."""
    provider = evolve(TRACES, processors=(STAMP, sender(endpoint=url, protocol=protocol)))
    reader = evolve(TRACES, processors=(sender(endpoint=metrics_to, protocol=protocol),))
    changed = evolve(FACTS, traces=provider, metrics=reader if metrics_to else NOBODY)
    return evolve(RIGHT, facts=changed, headers={url: HEADERS})


def test_an_endpoint_is_told_once() -> None:
    """Who does not answer for spans is not asked for metrics."""
    url = f"http://127.0.0.1:{free_port()}"

    found = examine(exporting(f"{url}/v1/traces", metrics_to=f"{url}/v1/metrics"), ASKING)

    assert [each.id for each in found] == ["endpoint-unreachable"]


def test_a_store_that_takes_only_traces_is_found() -> None:
    """Metrics that are sent to one like Jaeger are a warning, with the variable to set."""
    with serving(at={"/v1/traces": b""}) as (url, seen):
        found = examine(exporting(f"{url}/v1/traces", metrics_to=f"{url}/v1/metrics"), ASKING)

    assert [each.id for each in found] == ["signal-refused"]
    assert "OTEL_METRICS_EXPORTER=none" in found[0].advice
    assert seen[0][1]["X-Key"] == PASSWORD


def test_a_path_that_is_not_there_is_found() -> None:
    """An endpoint that answers 404 for spans is an error."""
    with serving(404) as (url, _):
        found = examine(exporting(url), ASKING)

    assert [each.id for each in found] == ["endpoint-not-here"]


@pytest.mark.parametrize("protocol", ["grpc", HTTP])
def test_a_port_of_the_other_protocol_is_found(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """Where the network tells nothing, the usual ports do: 4317 is gRPC's, 4318 that of HTTP."""
    port = 4318 if protocol == "grpc" else 4317
    subject = exporting(f"http://collector:{port}", protocol, f"http://collector:{port}")

    found = examine(subject, ASKING[1:])

    assert [each.id for each in found] == ["wrong-port"]
    assert str({4317: 4318, 4318: 4317}[port]) in found[0].advice
    assert examine(exporting("http://collector:443", protocol), ASKING[1:]) == []


def test_what_follows_from_a_cause_is_not_told() -> None:
    """A probe that cannot have arrived is no finding of its own, nor is a guess that was proved."""
    cause = Finding("endpoint-other-protocol", "error", "", "")
    follows = [Finding(each, "error", "", "") for each in ("wrong-port", "probe-not-sent")]

    assert tidy([*follows, cause]) == [cause]
    assert len(tidy(follows)) == 2


@pytest.mark.parametrize(
    ("ahead", "wanted"),
    [(0.0, []), (-30.0, ["warning"]), (30.0, ["warning"]), (600.0, ["error"])],
)
def test_a_clock_that_differs_is_found(ahead: float, wanted: list[str]) -> None:
    """The time of the Collector's answers is compared with ours."""
    with serving(ahead=ahead) as (url, _):
        found = examine(exporting(f"{url}/v1/traces"), ASKING)

    assert [(each.id, each.level) for each in found] == [("clock-skew", each) for each in wanted]


def test_a_clock_is_told_with_its_direction() -> None:
    """Ahead and behind are told apart."""
    (behind,) = skewed(-60, "Jaeger")
    (ahead,) = skewed(60, "Jaeger")

    assert "Jaeger is 60 s behind ours" in behind.found
    assert "Jaeger is 60 s ahead of ours" in ahead.found


def test_an_answer_without_time_tells_none() -> None:
    """Servers need not say what time it is."""
    with listening() as url:
        assert asking.ask(url, 2.0).skew is None
    with serving(ahead=None) as (url, _):  # type: ignore[arg-type]
        assert asking.ask(url, 2.0).skew is None


def test_credentials_of_an_address_become_a_header() -> None:
    """A password in an address is sent as browsers do, and not in the address."""
    with serving() as (url, seen):
        answer = asking.ask(url.replace("//", f"//me:{PASSWORD}%21@"), 2.0)

    assert answer.status == 200
    assert seen[0][1]["Authorization"].startswith("Basic bWU6")
    assert PASSWORD not in str(seen)


@pytest.mark.parametrize(
    ("url", "said"),
    [("http://[::1", "an address that cannot be read"), ("ftp:nothing", "no host given")],
)
def test_an_address_that_means_nothing_is_told(url: str, said: str) -> None:
    """No address makes the doctor raise."""
    answer = asking.ask(url, 2.0)

    assert (answer.status, bool(answer.problem)) == (0, True)
    assert answer.json() is None


def test_an_answer_that_does_not_come_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is silent for too long is told to have been so."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = asking.ask(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2)

    assert answer.problem == "no answer in time"


# Reading back


def jaeger(*spans: Mapping[str, Any]) -> bytes:
    """An answer of Jaeger's own interface."""
    found = [
        {
            "operationName": span["name"],
            "tags": [{"key": key, "value": value} for key, value in span["tags"].items()],
        }
        for span in spans
    ]
    return json.dumps({"data": [{"spans": found}] if spans else None}).encode()


def otlp(*spans: Mapping[str, Any], inside: str = "resourceSpans") -> dict[str, Any]:
    """A trace in OTLP JSON."""
    found = [
        {
            "name": span["name"],
            "attributes": [
                {"key": key, "value": _typed(value)} for key, value in span["tags"].items()
            ],
        }
        for span in spans
    ]
    return {inside: [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": found}]}]}


def _typed(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_typed(each) for each in value]}}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


TRACE = "2732093ade029ba9f05112a5cffca8de"
SPAN = {"name": probe.TOUCHPOINT, "tags": {"cx.stage.name": "doctor", "count": 3, "good": True}}
OTHER = {"name": "GET", "tags": {"cx.stage.name": "other"}}
NO_DATA = json.dumps({"data": None}).encode()

BACKENDS: Mapping[str, tuple[str, str, dict[str, bytes]]] = {
    "jaeger": (
        "Jaeger",
        "",
        {"/api/services": NO_DATA, f"/api/traces/{TRACE}": jaeger(OTHER, SPAN)},
    ),
    "jaeger under a path": (
        "Jaeger",
        "/jaeger/",
        {"/jaeger/api/services": NO_DATA, f"/jaeger/api/traces/{TRACE}": jaeger(SPAN)},
    ),
    "jaeger, newer interface alone": (
        "Jaeger",
        "",
        {
            "/api/v3/services": b'{"services": ["shop"]}',
            f"/api/v3/traces/{TRACE}": json.dumps({"result": otlp(OTHER, SPAN)}).encode(),
        },
    ),
    "tempo": (
        "Tempo",
        "",
        {
            "/api/echo": b"echo\n",
            f"/api/traces/{TRACE}": json.dumps(otlp(SPAN, inside="batches")).encode(),
        },
    ),
    "tempo, later": (
        "Tempo",
        "/tempo",
        {
            "/tempo/api/echo": b"echo",
            f"/tempo/api/traces/{TRACE}": json.dumps({"trace": otlp(SPAN)}).encode(),
        },
    ),
    "victoriatraces": (
        "VictoriaTraces",
        "",
        {
            "/select/jaeger/api/services": NO_DATA,
            f"/select/jaeger/api/traces/{TRACE}": jaeger(SPAN),
        },
    ),
    "victoriatraces, by its path": (
        "VictoriaTraces",
        "/select/jaeger",
        {
            "/select/jaeger/api/services": NO_DATA,
            f"/select/jaeger/api/traces/{TRACE}": jaeger(SPAN),
        },
    ),
}
"""Answers as each backend documents them. Jaeger itself is asked in ``tests/backends``; Tempo and
VictoriaTraces are not, for they are not built here."""


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_backend_is_recognised_and_read(kind: str) -> None:
    """Which backend it is, is found out by asking, and its answer is read."""
    name, path, pages = BACKENDS[kind]
    with serving(at=pages) as (url, _):
        backend = queries.find(url + path)
        assert isinstance(backend, queries.Backend)
        found = queries.read_back(backend, TRACE, probe.TOUCHPOINT, 0.0)
        none = queries.read_back(backend, TRACE[::-1], probe.TOUCHPOINT, 0.0)

    assert (backend.name, none) == (name, None)
    assert found is not None
    assert (found["cx.stage.name"], str(found["count"])) == ("doctor", "3")
    assert (str(found["good"]).lower(), abs(backend.skew or 9) < 3) == ("true", True)


def test_somebody_else_is_no_backend() -> None:
    """A page for every path, as web servers give, is none; nor is who does not answer."""
    with serving(200, b"<!doctype html>") as (url, _):
        page = queries.find(url.replace("//", f"//me:{PASSWORD}@"))
    silent = queries.find(f"http://me:{PASSWORD}@127.0.0.1:{free_port()}")

    assert "is no Jaeger, Tempo or VictoriaTraces (200" in str(page)
    assert "does not answer: Connection refused" in str(silent)
    assert PASSWORD not in f"{page}{silent}"


def test_a_trace_that_comes_late_is_waited_for() -> None:
    """The backend is asked again until the trace is there, and its span in it."""
    pages = {"/api/services": NO_DATA, f"/api/traces/{TRACE}": jaeger(OTHER)}
    with serving(at=pages) as (url, seen):
        backend = queries.find(url)
        assert isinstance(backend, queries.Backend)

        def arrive() -> None:
            while len(seen) < 4:
                time.sleep(0.01)
            pages[f"/api/traces/{TRACE}"] = jaeger(OTHER, SPAN)

        thread = threading.Thread(target=arrive)
        thread.start()
        found = queries.read_back(backend, TRACE, probe.TOUCHPOINT, 60.0)
        thread.join()

    assert found is not None
    assert found["cx.stage.name"] == "doctor"


def test_a_trace_without_the_probe_is_not_it() -> None:
    """Other spans of the trace, and parts of it that are empty, are passed over."""
    empty = {"resourceSpans": [{"scopeSpans": [{"spans": []}]}, {}, *otlp(OTHER)["resourceSpans"]]}
    pages = {"/api/echo": b"echo", f"/api/traces/{TRACE}": json.dumps(empty).encode()}
    with serving(at=pages) as (url, _):
        backend = queries.find(url)
        assert isinstance(backend, queries.Backend)

        assert queries.read_back(backend, TRACE, probe.TOUCHPOINT, 0.0) is None


@pytest.mark.parametrize("body", [b"{}", b"[]", b"nonsense", b'{"data": [{}]}', b'{"data": 3}'])
def test_an_answer_of_another_shape_holds_nothing(body: bytes) -> None:
    """Whatever a backend answers, the doctor does not raise."""
    with serving(at={"/api/services": NO_DATA, f"/api/traces/{TRACE}": body}) as (url, _):
        backend = queries.find(url)
        assert isinstance(backend, queries.Backend)

        assert queries.read_back(backend, TRACE, probe.TOUCHPOINT, 0.0) is None


SENT = probe.Probe(
    trace_id=TRACE,
    journey_id="probe-1",
    is_sampled=True,
    is_delivered=True,
    sent_seconds=0.1,
    sent={
        **dict.fromkeys(TAGS, "x"),
        "cx.touchpoint.planned": False,
        "count": 3,
        "list": ("a", "b"),
    },
)
ARRIVED = {**dict.fromkeys(TAGS, "x"), "cx.touchpoint.planned": "false", "count": "3"}


def after(**pages: Any) -> tuple[probe.Probe, list[tuple[str, str]]]:
    """What becomes of the probe in a Jaeger that has these tags."""
    found = {"name": probe.TOUCHPOINT, "tags": pages}
    at = {"/api/services": NO_DATA, f"/api/traces/{TRACE}": jaeger(found)}
    with serving(at=at) as (url, _):
        backend = queries.find(url)
        assert isinstance(backend, queries.Backend)
        read = probe.look_for(SENT, time.monotonic(), backend, 0.0)
    return read, [(each.id, each.level) for each in probe.findings(read)]


def test_a_probe_that_arrives_whole_is_healthy() -> None:
    """Values count as they are written; lists, which each backend writes in its way, by key."""
    read, found = after(**ARRIVED, list='["a", "b"]')

    assert (read.arrived, read.lost, read.changed, found) == (TAGS, (), (), [])
    assert read.read_seconds is not None


def test_a_tag_that_is_lost_on_the_way_is_found() -> None:
    """One of the six tags that is missing is an error, as is one with another value."""
    tags = {**ARRIVED, "list": "", "enduser.pseudo.id": "****"}
    del tags["cx.journey.id"]

    read, found = after(**tags)

    assert (read.lost, read.changed) == (("cx.journey.id",), ("enduser.pseudo.id",))
    assert found == [("tags-lost", "error"), ("tags-changed", "error")]
    assert len(read.arrived) == 4


def test_another_attribute_that_is_lost_is_a_warning() -> None:
    """What is no tag may be left out on purpose."""
    _, found = after(**{**ARRIVED, "count": 4})

    assert found == [("tags-lost", "warning"), ("tags-changed", "warning")]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, []),
        ({"is_sampled": False, "is_delivered": False}, ["probe-dropped"]),
        ({"is_delivered": False}, ["probe-not-sent"]),
        ({"is_delivered": False, "backend": "Jaeger", "read_seconds": 0.1}, []),
        ({"backend": "Jaeger"}, ["probe-not-found"]),
    ],
)
def test_what_became_of_a_probe_is_told(changes: dict[str, Any], wanted: list[str]) -> None:
    """Dropped, not delivered and not found are errors, each its own."""
    assert [each.id for each in probe.findings(evolve(SENT, **changes))] == wanted


def test_a_probe_that_never_came_is_not_found() -> None:
    """A backend without the trace leaves the time open."""
    with serving(at={"/api/services": NO_DATA}) as (url, _):
        backend = queries.find(url)
        assert isinstance(backend, queries.Backend)
        read = probe.look_for(SENT, time.monotonic(), backend, 0.0)

    assert (read.backend, read.read_seconds) == ("Jaeger", None)


# The facts


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://me:secret@host:4318/v1?token=1#2", "http://host:4318/v1"),
        ("me:secret@host:4317", "host:4317"),
        ("host?token=1", "host"),
        ("http://[::1", "an address that cannot be read"),
    ],
)
def test_addresses_lose_their_secrets(url: str, plain: str) -> None:
    """User, password, query and fragment are left out."""
    assert without_secrets(url) == plain


def module(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> None:
    """Pretend that a module is loaded."""
    made = ModuleType(name)
    vars(made).update(attributes)
    monkeypatch.setitem(sys.modules, name, made)


def sentry(**options: Any) -> Any:
    """A client of sentry's."""
    return lambda: SimpleNamespace(options=options)


@pytest.mark.parametrize(
    ("name", "attributes", "is_active"),
    [
        ("ddtrace", {"tracer": SimpleNamespace(enabled=True)}, True),
        ("ddtrace.trace", {"tracer": SimpleNamespace(enabled=False)}, False),
        ("ddtrace", {}, False),
        ("sentry_sdk", {"get_client": sentry(traces_sample_rate=0.1)}, True),
        ("sentry_sdk", {"get_client": sentry()}, False),
        ("sentry_sdk", {"get_client": sentry(traces_sample_rate=1, instrumenter="otel")}, False),
        ("newrelic.agent", {"global_settings": lambda: SimpleNamespace(license_key="k")}, True),
        ("elasticapm", {"get_client": lambda: object()}, True),
        ("elasticapm", {"get_client": lambda: None}, False),
        (
            "logfire",
            {
                "DEFAULT_LOGFIRE_INSTANCE": SimpleNamespace(
                    config=SimpleNamespace(_initialized=True)
                )
            },
            True,
        ),
        (
            "logfire",
            {
                "DEFAULT_LOGFIRE_INSTANCE": SimpleNamespace(
                    config=SimpleNamespace(_initialized=False)
                )
            },
            False,
        ),
    ],
)
def test_other_agents_are_known(
    monkeypatch: pytest.MonkeyPatch, name: str, attributes: dict[str, Any], is_active: bool
) -> None:
    """An agent that is loaded and traces is told; one that is loaded alone is not."""
    module(monkeypatch, name, **attributes)

    assert bool(_process_facts.others()) is is_active


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
@pytest.mark.parametrize("is_late", [True, False])
def test_patched_threads_are_known(
    monkeypatch: pytest.MonkeyPatch, kind: str, is_late: bool
) -> None:
    """Locks of another class than those that cxtrace made tell that the patch came late."""
    if kind == "gevent":
        module(monkeypatch, "gevent.monkey", is_module_patched=lambda name: name == "threading")
    else:
        module(monkeypatch, "eventlet.patcher", is_monkey_patched=lambda name: name == "thread")
    if is_late:
        monkeypatch.setattr(threading, "RLock", object)

    found = _process_facts.process()

    assert (found.patched, found.is_patched_late) == (kind, is_late)


@pytest.mark.parametrize(
    ("options", "has_threads"),
    [({}, False), ({b"enable-threads": True}, True), ({"threads": 2}, True)],
)
def test_uwsgi_tells_whether_threads_run(
    monkeypatch: pytest.MonkeyPatch, options: dict[Any, Any], has_threads: bool
) -> None:
    """UWSGI's own module is in each of its workers, and in no other process."""
    module(monkeypatch, "uwsgi", opt=options)

    found = _process_facts.process()

    assert (found.server, found.has_threads) == ("uwsgi", has_threads)


@pytest.mark.parametrize(
    ("arguments", "server"),
    [(["/bin/gunicorn", "shop"], "gunicorn"), (["celery"], "celery"), (["x"], None), ([], None)],
)
def test_a_worker_is_known_by_its_program(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], server: str | None
) -> None:
    """The program that started the process tells."""
    monkeypatch.setattr(sys, "argv", arguments)

    assert _process_facts.process().server == server


def test_what_is_not_installed_has_version_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a package lies on the path without being installed, nobody knows its version."""

    def not_found(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_process_facts, "version", not_found)

    assert set(_process_facts._versions.__wrapped__().values()) == {"0"}


class Odd:
    """A part of others, of which nothing is known."""

    def get_description(self) -> str:
        """Fail."""
        raise RuntimeError

    @property
    def resource(self) -> Any:
        """An object that has what a resource has, and fails."""
        return SimpleNamespace(attributes=3)

    sampler = property(lambda self: self)
    _span_limits = 3


def test_parts_that_cannot_be_read_are_left_out() -> None:
    """Whatever others build, the facts are read without raising."""
    odd = Odd()

    sampler = _wiring_facts._sampler(odd)

    assert (sampler and sampler.description) == ""
    assert _wiring_facts._limits(odd) is None
    assert _wiring_facts._service_name(odd) is None


def test_propagators_are_found_in_what_is_around_them() -> None:
    """Those within another, be it a list or a wrapper such as logfire's, are told in order."""
    inner = CompositePropagator([W3CBaggagePropagator(), CXPropagator()])
    around = SimpleNamespace(wrapped=inner)

    assert [each.short for each in _wiring_facts._propagators(around)] == [
        "W3CBaggagePropagator",
        "CXPropagator",
    ]


class Exporter:
    """What sends, and may hold another that does."""

    def __init__(self, **held: Any) -> None:
        vars(self).update(held)

    def export(self) -> None:
        """Send."""

    def shutdown(self) -> None:
        """Stop."""


class Slotted:
    """A processor that keeps its exporter in a slot."""

    __slots__ = ("exporter",)

    def __init__(self, exporter: object) -> None:
        self.exporter = exporter


class SlottedOnce:
    """The same with one slot."""

    __slots__ = "exporter"

    def __init__(self, exporter: object) -> None:
        self.exporter = exporter


def test_exporters_are_found_in_whatever_holds_them() -> None:
    """The innermost exporter counts, unless one on the way says where it sends to."""
    inner = Exporter()
    far = Exporter(endpoint="http://far", client=inner)
    endless = Exporter()
    vars(endless).update(me=endless)

    assert exporter_of(Slotted(Exporter(inner=inner))) is inner
    assert exporter_of(SlottedOnce(far)) is far
    assert exporter_of(endless) is endless
    assert exporter_of(object()) is None


def test_headers_are_found_where_exporters_keep_them() -> None:
    """By name and value, of the exporter, of its client or of its session."""
    of_grpc = Exporter(_headers=(("x-key", "1"),))
    of_http = Exporter(_client=SimpleNamespace(_headers={"x-key": "2"}))

    assert [headers_of(each) for each in (of_grpc, of_http)] == [{"x-key": "1"}, {"x-key": "2"}]
    assert headers_of(Exporter()) == {}
    assert endpoint_of(Exporter(_endpoint="host:4317", _insecure=False)) == "https://host:4317"


def test_headers_that_are_none_are_left_out() -> None:
    """Whatever stands under the name, nothing is raised."""
    assert _wiring_facts.exporter_facts(Exporter(_headers=((1, 2, 3),))).headers == ()


@pytest.mark.parametrize(
    ("sampler", "keeps_nothing"),
    [
        (None, False),
        (ALWAYS_ON, False),
        (ALWAYS_OFF, True),
        (TraceIdRatioBased(0.0), True),
        (TraceIdRatioBased(0.000_001), False),
    ],
)
def test_a_sampler_is_asked(sampler: Any, keeps_nothing: bool) -> None:
    """One that drops every trace is told from one that keeps few."""
    assert patient._keeps_nothing(sampler) is keeps_nothing


def test_the_spool_of_the_settings_is_looked_at() -> None:
    """Folder, size and age are those of the settings; without a folder there is no spool."""
    settings = Settings(spool=Path("spool"), spool_max_bytes=5, spool_max_age=7.0)

    assert patient._spool(settings) == SpoolSettings(Path("spool"), 5, 7.0)
    assert patient._spool(Settings()) is None


def test_what_is_logged_is_heard_up_to_a_limit() -> None:
    """An application that logs without end does not fill the doctor's memory."""
    heard = _first.Heard()
    for number in range(1_001):
        heard.emit(logging.makeLogRecord({"msg": f"line {number}"}))

    assert (len(heard.said), heard.said[-1]) == (1_000, "line 999")


# The patient: a process of its own


@pytest.fixture
def folder_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is run, without any setting but those of a test."""
    for name in os.environ:
        if name.startswith(("OTEL_", "CXTRACE_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "journeys.toml").write_text(MAP)
    return tmp_path


@pytest.fixture
def right(folder_of: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[Any]]]:
    """The environment of a right configuration, and a server that takes what is sent."""
    with serving() as (url, seen):
        for name, value in {
            "CXTRACE_KEY": KEY,
            "CXTRACE_MAP": "journeys.toml",
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": HTTP,
        }.items():
            monkeypatch.setenv(name, value)
        yield url, seen


def diagnosis(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code of the command, and its JSON."""
    code = main(["doctor", "--json", *arguments])
    return code, json.loads(capfd.readouterr().out)


def test_a_right_configuration_is_healthy(
    right: tuple[str, list[Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is found, a probe is delivered, and the facts tell whose each part is."""
    code, found = diagnosis(capfd)

    assert (code, found["verdict"], found["findings"]) == (0, "Healthy", [])
    assert found["probe"]["is_delivered"] is True
    assert found["probe"]["sent"]["user_agent.synthetic.type"] == "test"
    assert set(TAGS) <= set(found["probe"]["sent"])
    assert found["wiring"]["traces"]["origin"] == "built"
    assert found["wiring"]["traces"]["processors"][0]["owner"] == "cxtrace"
    assert {path for path, _, body in right[1] if body} == {"/v1/traces", "/v1/metrics"}


def test_a_probe_that_cannot_be_found_is_told(
    right: tuple[str, list[Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    """With --query the backend is asked until the time is over."""
    with serving(at={"/api/services": NO_DATA}) as (url, _):
        code = main(["doctor", "--timeout", "5", "--query", url])

    lines = capfd.readouterr().out.splitlines()
    assert (code, lines[0], lines[2]) == (1, "1 error", "error [probe-not-found]")
    assert "    read back    not found in Jaeger" in lines


def test_a_query_that_leads_nowhere_is_told(
    right: tuple[str, list[Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    """An address at which no backend answers is an error of its own."""
    code, found = diagnosis(capfd, "--query", f"{right[0]}/nothing")

    assert (code, [each["id"] for each in found["findings"]]) == (1, ["query-unknown"])
    assert found["probe"]["is_asked_for"] is True


def shown(read: probe.Probe) -> list[str]:
    """How a probe is printed."""
    return list(cli._probe(read.to_dict()))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "    sent         delivered, after 0.10 s"),
        (
            {"is_delivered": False, "is_on_disk": True},
            "    sent         on disk, after 0.10 s, and sent when the receiver answers",
        ),
        ({"is_delivered": False}, "    sent         not all delivered, after 0.10 s"),
        ({"is_delivered": False, "is_taken": False}, "    sent         nobody to send it to"),
        ({}, "    read back    not asked for; --query URL does it"),
        ({"is_asked_for": True}, "    read back    could not be asked: see above"),
        (
            {"is_asked_for": True, "is_sampled": False},
            "    read back    not looked for: the sampler dropped it",
        ),
        (
            {"ledgers": {"spans": asdict(Ledger(1, 450, 451))}},
            "                 450 spans that waited on disk were sent on the way",
        ),
        (
            {"ledgers": {"logs": asdict(Ledger(1, 1, 1))}},
            "                 1 log record that waited on disk was sent on the way",
        ),
    ],
)
def test_what_became_of_the_probe_is_shown(changes: dict[str, Any], line: str) -> None:
    """Where it is now, whether it was read back, and what was sent beside it."""
    assert line in shown(evolve(SENT, **changes))


def test_nothing_is_said_of_a_spool_in_which_nothing_waited() -> None:
    """Where nothing was recovered, or it was refused, nothing is claimed."""
    refused = {"spans": asdict(Ledger(0, 2, 0, dropped={"refused": 2}))}

    assert "on the way" not in "".join(shown(evolve(SENT, ledgers=refused)))


def test_a_probe_on_disk_is_told_as_such() -> None:
    """The finding says where the probe is."""
    (found,) = probe.findings(evolve(SENT, is_delivered=False, is_on_disk=True))

    assert found.found.endswith("it is on disk.")


def test_what_was_read_back_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The six tags, where from, and after how long."""
    read = evolve(SENT, backend="Jaeger", read_seconds=0.25, arrived=TAGS)

    lines = list(cli._lines(visit.Diagnosis((), None, read.to_dict()), cli.paper_of()))

    assert "    read back    from Jaeger, after 0.25 s" in lines
    assert lines[-1].startswith("    tags         6 of 6 arrived: cx.journey.name, ")


def test_the_probe_can_be_left_out(
    right: tuple[str, list[Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    """With --no-probe nothing is sent, and nobody is asked."""
    code, found = diagnosis(capfd, "--no-probe")

    assert (code, found["verdict"], found["probe"]) == (0, "Healthy", None)
    assert right[1] == []


def test_the_report_begins_with_the_verdict(
    right: tuple[str, list[Any]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For people: the verdict, then each finding with what to do, then what is at work."""
    monkeypatch.delenv("CXTRACE_KEY")
    monkeypatch.setenv("CXTRACE_SAMPEL", "0.1")
    monkeypatch.setenv("CXTRACE_SAMPLE", "0")

    code = main(["doctor"])
    lines = capfd.readouterr().out.splitlines()

    assert (code, lines[0]) == (1, "1 error, 2 warnings")
    assert lines[2] == "error [sampler-drops-all]"
    assert "  → Write CXTRACE_SAMPLE." in lines
    assert any(line.startswith("    journey map  shop ") for line in lines)


@pytest.mark.parametrize(
    ("level", "arguments", "code"),
    [
        ("note", ["--strict"], 0),
        ("warning", [], 0),
        ("warning", ["--strict"], 1),
        ("error", [], 1),
    ],
)
def test_an_error_fails_and_a_warning_where_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, level: Any, arguments: list[str], code: int
) -> None:
    """An error gives exit code 1, with --strict a warning does too, and a note never."""
    found = visit.Diagnosis((Finding("some", level, "is so", "do this"),))
    monkeypatch.setattr(cli, "visit", lambda question: found)

    assert main(["doctor", *arguments]) == code


APP = """import sys, threading
sys.modules["gevent.monkey"] = type(sys)("gevent.monkey")
sys.modules["gevent.monkey"].is_module_patched = lambda name: True
print("starting", sys.argv)
import cxtrace
threading.RLock = threading._RLock
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
cxtrace.configure(key="a key that is given in code, 32 bytes")
trace.set_tracer_provider(TracerProvider())
propagate.set_global_textmap(propagate.get_global_textmap()._propagators[0])
with cxtrace.customer("cust-42"):
    pass

def create_app(): return app
class Shop:
    user_middleware = []
app = Shop()
"""


def test_an_application_is_examined_as_it_is(
    right: tuple[str, list[Any]], folder_of: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What an application does to the wiring while it is imported is found."""
    (folder_of / "shop.py").write_text(APP)

    code, found = diagnosis(capfd, "--app", "shop:create_app()")

    assert code == 1
    assert {each["id"] for each in found["findings"]} == {
        *("provider-twice", "patched-late", "propagator-missing"),
        *("sent-twice", "simple-processor"),
    }
    assert found["wiring"]["traces"]["origin"] == "joined"
    assert found["wiring"]["key"]["state"] == "given"


@pytest.mark.parametrize(
    ("code", "wanted", "said"),
    [
        ("import no_such_module", "app-not-imported", "No module named 'no_such_module'"),
        (f"raise ValueError('{PASSWORD}')", "app-not-imported", "ValueError in shop.py:1"),
        ("import sys; sys.exit(3)", "app-not-imported", "SystemExit in shop.py:1"),
        ("import os; os._exit(3)", "no-answer", "shop died"),
        ("import cxtrace; cxtrace.configure(exporter='oltp')", "refused", "did you mean 'otlp'"),
        ("import cxtrace; cxtrace.configure(journey_map='no.toml')", "map-wrong", "no.toml"),
    ],
)
def test_an_application_that_does_not_come_up_is_told(
    right: tuple[str, list[Any]],
    folder_of: Path,
    capfd: pytest.CaptureFixture[str],
    code: str,
    wanted: str,
    said: str,
) -> None:
    """Whatever happens while it is imported is a finding, and no text of a stranger's error."""
    (folder_of / "shop.py").write_text(code)

    exit_code, found = diagnosis(capfd, "--app", "shop", "--no-probe")

    assert (exit_code, [each["id"] for each in found["findings"]]) == (1, [wanted])
    assert said in found["findings"][0]["found"]
    assert found["wiring"] is None
    assert PASSWORD not in json.dumps(found)


def test_what_is_not_configured_gets_no_probe(
    right: tuple[str, list[Any]], folder_of: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where nobody called configure(), a probe would prove nothing."""
    (folder_of / "shop.py").write_text("")

    code, found = diagnosis(capfd, "--app", "shop")

    assert (code, found["probe"]) == (1, None)
    assert "Is it called in a lifespan, which the doctor does not run?" in str(found["findings"])
    assert found["wiring"]["traces"]["origin"] == "none"


@pytest.fixture
def without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under ``cxtrace run``, where the wiring is there before the doctor comes."""
    paths = [str(run._STARTUP), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def test_a_service_without_a_line_of_code_is_examined(
    right: tuple[str, list[Any]], without_code: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Under ``cxtrace run`` the wiring is left as it is."""
    code, found = diagnosis(capfd, "--no-probe")

    assert (code, found["wiring"]["state"]) == (0, "configured")


def test_a_probe_that_nobody_takes_is_not_delivered(
    folder_of: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without an exporter nothing is claimed, and the cause is told once, as a warning."""
    code, found = diagnosis(capfd)

    assert (code, found["probe"]["is_delivered"]) == (0, False)
    assert [each["id"] for each in found["findings"]] == [
        *("sends-nothing", "service-name", "key-missing", "map-missing")
    ]
    assert "on a terminal the spans are printed" in found["findings"][0]["found"]
    assert found["wiring"]["spool"] is None


@pytest.fixture
def waiting(folder_of: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The setting of a spool in which a span of another process waits, to be sent at once."""
    file = folder_of / "spool"
    monkeypatch.setenv("CXTRACE_SPOOL", str(file))
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    other = Spool(file / "spans")
    assert other.put("spans", 1, a_span())
    other.close()
    return file


def a_span() -> bytes:
    """A span as it lies in a spool."""
    span = TracerProvider().get_tracer("other").start_span("left behind")
    span.end()
    assert isinstance(span, ReadableSpan)
    return encode_spans([span])


def files(path: Path) -> dict[str, bytes]:
    """All that lies in a folder."""
    return {str(each): each.read_bytes() for each in path.rglob("*") if each.is_file()}


def test_what_waits_is_sent_on_the_way(
    right: tuple[str, list[Any]], waiting: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The doctor sends what others left, as every process does, and says so."""
    main(["doctor"])
    printed = capfd.readouterr().out

    assert "1 span that waited on disk was sent on the way" in printed
    assert f"spool        {waiting}  nothing waits" in printed
    assert any(b"left behind" in body for _, _, body in right[1])


@pytest.mark.parametrize(("until", "looks"), [(float("inf"), 3), (0.0, 1)])
def test_what_waits_gets_a_moment_to_be_sent(
    monkeypatch: pytest.MonkeyPatch, until: float, looks: int
) -> None:
    """The spool is looked at until it is empty, or the moment is over."""
    states = iter([{"spans": 2}, {"spans": 1}, {}])
    seen: list[Any] = []

    def state() -> Any:
        seen.append(SimpleNamespace(items=next(states)))
        return seen[-1]

    disk = SimpleNamespace(spool=SimpleNamespace(state=state))
    deliveries = [SimpleNamespace(disk=None), SimpleNamespace(disk=disk)]
    monkeypatch.setattr(_config, "wiring", SimpleNamespace(deliveries=deliveries))
    monkeypatch.setattr(probe, "_PAUSE", 0.0)

    probe._let_replay(until)

    assert len(seen) == looks


def test_without_a_probe_nothing_that_waits_is_sent(
    right: tuple[str, list[Any]], waiting: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With --no-probe the spool is looked at, and nothing in it changes."""
    before = files(waiting)

    _, found = diagnosis(capfd, "--no-probe")

    assert found["wiring"]["spool"]["signals"]["spans"]["items"] == 1
    assert files(waiting) == before
    assert right[1] == []


def test_a_probe_that_nobody_answers_is_on_disk(
    right: tuple[str, list[Any]],
    waiting: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the receiver is away, the probe waits in the spool and is counted there."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")

    _, found = diagnosis(capfd)

    assert (found["probe"]["is_delivered"], found["probe"]["is_on_disk"]) == (False, True)
    assert found["wiring"]["spool"]["signals"]["spans"]["items"] >= 2


OF_OTHERS = """import os
user = os.geteuid()
os.geteuid = lambda: user + 7
import cxtrace
from cxtrace._spool import owner
owner._SYSTEM = -1
cxtrace.configure(spool=os.environ["SPOOL"])
"""


@pytest.mark.parametrize("is_there", [True, False])
def test_a_spool_of_another_user_is_left_alone(
    right: tuple[str, list[Any]],
    folder_of: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    is_there: bool,
) -> None:
    """Nothing is made in it, however it was set, and the probe is sent without it."""
    (folder_of / "shop.py").write_text(OF_OTHERS)
    path = folder_of / "spool"
    if is_there:
        path.mkdir(0o700)
    monkeypatch.setenv("SPOOL", str(path))

    _, found = diagnosis(capfd, "--app", "shop")

    assert found["probe"]["is_delivered"] is True
    assert path.is_dir() is is_there
    assert list(path.glob("*")) == []
    assert [each["id"] for each in found["findings"]] == ["spool-owner"]
    assert found["wiring"]["spool"]["owner"] == os.geteuid()


def test_a_spool_is_given_to_exporters_unless_it_is_of_others(
    spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings keep the spool; who sends gets it only where it may be used."""
    settings = Settings(spool=spooled)
    whole = SpoolSettings(spooled, settings.spool_max_bytes, settings.spool_max_age)

    def given(allowed: str, exporter: str = "otlp") -> Any:
        monkeypatch.setenv(SPOOLS, allowed)
        return settings.spool_for(exporter)

    assert given("own") == whole
    assert (given("own", "console"), given("none")) == (None, None)
    monkeypatch.setattr(owner, "_owner", lambda path: os.geteuid() + 7)
    assert given("own") is None
    monkeypatch.delenv(SPOOLS)
    assert settings.spool_for("otlp") == whole


def test_a_spool_is_left_alone_without_a_line_of_code(
    right: tuple[str, list[Any]],
    waiting: Path,
    without_code: None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With --no-probe nothing in the spool changes, though the wiring was there first."""
    before = files(waiting)

    _, found = diagnosis(capfd, "--no-probe")

    assert found["wiring"]["spool"]["signals"]["spans"]["items"] == 1
    assert files(waiting) == before


def test_what_was_refused_is_not_described(
    right: tuple[str, list[Any]],
    folder_of: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where configure() was refused, nothing is claimed to be at work."""
    monkeypatch.setenv("CXTRACE_SAMPLE", "2")

    code = main(["doctor"])
    lines = capfd.readouterr().out.splitlines()

    assert (code, lines[-1]) == (1, "Not configured, for the reason above.")
    assert "At work" not in lines


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_exit_code_outlives_its_reader(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """What was found decides, even if whoever reads it is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    closed = os.fdopen(writing, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", closed)
    found = visit.Diagnosis((Finding("some", "warning", "is so", "do this"),))
    monkeypatch.setattr(cli, "visit", lambda question: found)

    assert main(["doctor", "--strict", *arguments]) == 1
    sys.stdout.close()
    with pytest.raises(BrokenPipeError):
        closed.close()


def test_a_probe_that_was_dropped_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sampler has dropped cannot be found, and no time is spent on it."""
    dropped = evolve(SENT, is_sampled=False)
    monkeypatch.setattr(probe, "send", lambda timeout, is_taken: (dropped, 0.0))
    with serving(at={"/api/services": NO_DATA}) as (url, seen):
        read, found = patient._probed(url, 60.0, True)

    assert read == evolve(dropped, is_asked_for=True)
    assert [each.id for each in found] == ["probe-dropped"]
    assert len(seen) == 1


def test_an_application_that_hangs_is_given_up(
    folder_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patient that does not answer is ended."""
    (folder_of / "shop.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(visit, "_IMPORT_SECONDS", 0.5)
    monkeypatch.setattr(visit, "_ASKING_SECONDS", 0.5)

    found = visit.visit(visit.Question(app="shop", timeout=1.0))

    assert [each.id for each in found.findings] == ["no-answer"]


def test_a_patient_that_does_not_leave_is_ended(
    right: tuple[str, list[Any]], folder_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds up the exit, such as an exporter of others, does not hold up the doctor."""
    (folder_of / "shop.py").write_text(
        "import atexit, time, cxtrace; cxtrace.configure(); atexit.register(time.sleep, 600)"
    )
    monkeypatch.setattr(visit, "_LEAVING_SECONDS", 0.1)

    found = visit.visit(visit.Question(app="shop"))

    assert found.verdict == "Healthy"


def test_a_patient_that_is_dead_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has ended before it was asked is told as one that died."""
    monkeypatch.setattr(visit, "_START", "import os; os.close(0); os._exit(1)")

    class Closed:
        def __enter__(self) -> "Closed":
            return self

        def __exit__(self, *_: object) -> None:
            """Leave."""

        def write(self, data: bytes) -> None:
            raise BrokenPipeError

    patient = SimpleNamespace(stdin=Closed(), stdout=Closed())

    assert visit._answer(patient, b"{}") == b""  # type: ignore[arg-type]


SECRETS = {
    "CXTRACE_KEY": PASSWORD,
    "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={PASSWORD}",
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://me:{PASSWORD}@127.0.0.1:9",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"me:{PASSWORD}@127.0.0.1:9",
}


@pytest.mark.parametrize("key", [PASSWORD, KEY])
def test_no_secret_is_shown(
    folder_of: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    key: str,
) -> None:
    """Keys, values of headers and passwords of addresses are in no output."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CXTRACE_KEY", key)
    query = f"http://me:{PASSWORD}@127.0.0.1:9"
    found = visit.visit(visit.Question(query=query, timeout=0.5))
    monkeypatch.setattr(cli, "visit", lambda question: found)

    codes = [main(["doctor", "--query", query, *more]) for more in ([], ["--json"])]
    printed = "".join(capfd.readouterr())

    assert codes == [1, 1]
    assert PASSWORD not in printed
    assert KEY not in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--query", f"me:{PASSWORD}@jaeger:16686"],
        ["--query", "http://jaeger:16686", "--no-probe"],
        ["--app", ":app"],
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--timeout", "soon"],
    ],
)
def test_wrong_use_is_told(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant gives exit code 2 and says what to write."""
    assert main(["doctor", *arguments]) == 2
    printed = capfd.readouterr()

    assert (printed.out, bool(printed.err)) == ("", True)
    assert PASSWORD not in printed.err


@pytest.mark.parametrize("name", ["shop", "shop:app", "shop:deep.app", "shop:create_app()"])
def test_an_application_is_named_in_one_of_the_usual_ways(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A module, an attribute of it, a path of attributes, or a function that makes it."""
    app = object()
    module(monkeypatch, "shop", app=app, deep=SimpleNamespace(app=app), create_app=lambda: app)

    assert _first.application(name) is app


@pytest.mark.parametrize(
    ("no_colour", "terminal", "shows"),
    [("", "xterm", True), ("1", "xterm", False), ("", "dumb", False)],
)
def test_colour_is_used_where_it_is_seen(
    monkeypatch: pytest.MonkeyPatch, no_colour: str, terminal: str, shows: bool
) -> None:
    """A terminal gets colours, unless NO_COLOR is set or it is a dumb one."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setenv("TERM", terminal)

    (verdict_line,) = cli._lines(visit.Diagnosis(()), cli.paper_of())

    assert ("\x1b[" in verdict_line, "Healthy" in verdict_line) == (shows, True)


@pytest.mark.skipif(not PAGE.is_file(), reason="the documentation is not part of what is tested")
def test_every_finding_is_explained() -> None:
    """The how-to guide lists each finding that the doctor can have, and no other."""
    sources = Path(patient.__file__).parent.glob("*.py")
    text = "".join(each.read_text(encoding="utf-8") for each in sources)
    written = set(
        re.findall(r'\(\s*"([a-z]+(?:-[a-z]+)+|disabled)",\s*"(?:error|warning|note)"', text)
    )
    written |= set(REFUSALS.values()) | {"refused", "probe-dropped", "tags-lost", "tags-changed"}
    written |= {f"endpoint-{kind.replace('_', '-')}" for kind in _TEXTS}
    written |= {"spool-unusable", "clock-skew"}
    table = PAGE.read_text(encoding="utf-8").partition("## What it finds")[2]
    explained = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.M)
        for name in re.findall(r"`(.+?)`", row)
    }

    assert explained == written
