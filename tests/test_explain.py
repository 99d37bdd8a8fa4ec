"""``cxtrace explain``: what it lists is what leaves, and what it says is not sent does not."""

import gzip
import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cxtrace import _wiring_facts
from cxtrace import attributes as names
from cxtrace._measures import GATED
from cxtrace._settings import OPT_IN, SIGNALS
from cxtrace.cli import explain as cli
from cxtrace.cli import main
from cxtrace.cli.doctor import paper_of
from cxtrace.context import LINKING
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.explain import patient, record
from cxtrace.platform.explain.explanation import explain
from cxtrace.platform.explain.groups import MARKS, STAMPED, groups
from cxtrace.platform.explain.live import Destination, Live, MapFacts
from cxtrace.platform.explain.registry import CLASSES, PURPOSES, registry
from cxtrace.platform.explain.rules import CONSENTS, kind_of
from tests.explained import MAP, PLAIN_MAP, SERVICE

ROOT: Final = Path(__file__).parents[1]
KEY: Final = "VxL3sPqT7kZ0wRb5nYcE1uHfG9jQm-2oiK8e4_tW6rY"
OURS: Final = ("cx.", "cxtrace.", "enduser.")
TRACES: Final = Destination(
    "traces", "OTLPSpanExporter", "opentelemetry", "https://otel.example.com"
)
METRICS: Final = evolve(TRACES, signal="metrics", name="OTLPMetricExporter")
LOGS: Final = evolve(TRACES, signal="logs", name="OTLPLogExporter")
STANDARD: Final = ("TraceContextTextMapPropagator", "W3CBaggagePropagator", "CXPropagator")
FACETS: Final = (
    *("context", "promises", "happy", "influence", "type", "initiator", "expected_actions"),
    "friction",
)
SETTINGS: Final[Mapping[str, Any]] = {
    "consent_required": False,
    "event_signal": None,
    "signals_off": [],
    "metrics_opt_in": [],
    "trusted_hosts": [],
    "trust_inbound": "signed",
    "unknown_destination": "nothing",
    "public_endpoint": False,
    "spool": None,
    "spool_max_age": 86_400.0,
    "on_friction": None,
    "record_exceptions": None,
    "pseudonymiser": None,
}
FULL: Final = Live(
    "configured",
    "shop",
    SETTINGS,
    "given",
    "6b61c404",
    MapFacts("shop", "7", ("weather",), frozenset(FACETS)),
    (TRACES, METRICS, LOGS),
    STANDARD,
    "ParentBased",
    (names.MAP_NAME, names.MAP_VERSION, "service.name"),
)


def having(**settings: Any) -> Live:
    """All there is, under other settings."""
    return evolve(FULL, settings={**SETTINGS, **settings})


# The registry that is shipped


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """``tools/registry.py``."""
    path = ROOT / "tools" / "registry.py"
    if not path.is_file() or not (ROOT / "semconv").is_dir() or not (ROOT / "src").is_dir():
        pytest.skip("the registry is not part of what is tested here")
    spec = importlib.util.spec_from_file_location("registry_tool", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_registry_is_the_published_one(tool: ModuleType) -> None:
    """The package's copy is what the tool writes: after a change, run python tools/registry.py."""
    assert tool.SHIPPED.read_text(encoding="utf-8") == tool.written()


def test_every_name_that_is_sent_has_a_meaning_a_class_and_a_purpose() -> None:
    """Whatever the code can set is explained, those of OpenTelemetry too."""
    known = registry()
    signals = {group.name for group in known.groups}

    assert known.sent - set(known.attributes) - signals == set()
    for about in known.attributes.values():
        assert about.meaning.endswith(".")
        assert about.pii_class in CLASSES
        assert about.purpose in PURPOSES


def test_each_family_of_names_has_one_kind() -> None:
    """Events and metrics of a signal are found by their names, however the plural is."""
    assert kind_of("cx.mentions") == kind_of("cx.mention") == "mention"
    assert kind_of("cx.touchpoint.frictions") == kind_of("cx.friction.type") == "friction"
    assert kind_of("cx.nudge.exposures") == "nudge"
    assert kind_of("everything") == "everything"
    assert set(SIGNALS) <= {kind_of(group.name) for group in registry().groups}


# Every configuration


lives = st.builds(
    lambda settings, **parts: Live(settings={**SETTINGS, **settings}, **parts),
    settings=st.fixed_dictionaries(
        {
            "consent_required": st.booleans(),
            "event_signal": st.sampled_from([None, "span", "log", "both"]),
            "signals_off": st.lists(st.sampled_from(SIGNALS), unique=True),
            "metrics_opt_in": st.lists(st.sampled_from(OPT_IN), unique=True),
            "unknown_destination": st.sampled_from(["nothing", "names"]),
            "trusted_hosts": st.lists(st.just("api.example.com"), max_size=1),
            "trust_inbound": st.sampled_from(["signed", "always", "never"]),
            "public_endpoint": st.booleans(),
            "on_friction": st.sampled_from([None, "page_somebody"]),
            "record_exceptions": st.sampled_from([None, "scrubbed", "full"]),
            "pseudonymiser": st.sampled_from([None, "VaultPseudonymiser", "Own"]),
            "spool": st.just("spool"),
        }
    ),
    state=st.sampled_from(["configured", "disabled"]),
    service=st.sampled_from([None, "shop"]),
    key=st.sampled_from(["given", "ephemeral", "missing"]),
    journey_map=st.none()
    | st.builds(
        MapFacts, st.just("shop"), st.just("7"), st.just(()), st.frozensets(st.sampled_from(FACETS))
    ),
    destinations=st.lists(
        st.sampled_from([TRACES, METRICS, LOGS, evolve(TRACES, is_spooled=True, scrub=())]),
        max_size=4,
    ).map(tuple),
    propagators=st.lists(st.sampled_from(STANDARD), unique=True).map(tuple),
    resource=st.just((names.MAP_NAME,)),
    is_measuring_by_trace=st.booleans(),
)


@settings(deadline=None)
@given(live=lives)
def test_everything_is_either_sent_or_not(live: Live) -> None:
    """Under any configuration, each name is in one of the two lists, and has somewhere to go."""
    found = explain(live)
    sent = {each.name.removesuffix(".<key>") for each in found.sent}
    absent = {each.name for each in found.not_sent if not each.lacks}
    known = {name for group in groups(live) for name in group.attributes}
    known |= {group.name for group in groups(live) if group.kind in {"event", "metric"}}

    assert sent & absent == set()
    assert known <= sent | absent
    assert [each.name for each in found.sent if not each.goes_to] == []
    assert json.loads(json.dumps(found.to_dict()))["sent"] is not None
    assert Live.from_dict(json.loads(json.dumps(live.to_dict()))) == live
    assert "\n".join(record.markdown(found)).count("TO BE FILLED IN") >= 15


@pytest.mark.parametrize("kind", SIGNALS)
def test_a_signal_that_is_switched_off_is_not_sent(kind: str) -> None:
    """The events of the kind are not sent, and the reason names the setting."""
    found = explain(having(signals_off=[kind]))
    events = {
        group.name
        for group in groups(FULL)
        if group.kind == "event" and kind_of(group.name) == kind
    }
    absent = {each.name: each for each in found.not_sent}

    assert events
    assert events <= set(absent)
    assert {absent[name].why for name in events} == {f"`signals_off` has {kind}."}
    assert events.isdisjoint(each.name for each in found.sent)


@pytest.mark.parametrize("name", OPT_IN)
def test_what_is_opted_in_to_is_sent(name: str) -> None:
    """A metric or label of ``metrics_opt_in`` is told as left out without, and as sent with it."""
    without, with_it = explain(FULL), explain(having(metrics_opt_in=[name]))

    (told,) = [each for each in without.not_sent if each.name == name]
    assert told.change == f"Put {name} into `metrics_opt_in`."
    assert name not in {each.name for each in with_it.not_sent}


@pytest.mark.parametrize("signal", [None, "log"])
def test_exceptions_are_told_where_they_are_asked_for(signal: str | None) -> None:
    """Text and stack are told as sent with spans alone, wherever signals go, or as left out."""
    without, with_it = (
        explain(FULL),
        explain(having(record_exceptions="scrubbed", event_signal=signal)),
    )
    (event,) = [each for each in with_it.sent if each.name == "exception"]
    (message,) = [each for each in with_it.sent if each.name == "exception.message"]
    (told,) = [each for each in without.not_sent if each.name == "exception"]

    assert (event.pii_class, event.goes_to) == ("free_text", ("1",))
    assert (message.pii_class, message.goes_to) == ("free_text", ("1",))
    assert told.change == "Set `record_exceptions` to scrubbed."


def test_exceptions_are_told_where_no_signal_is_sent() -> None:
    """A span has the event and its time, even where signals could only be log records."""
    spans_alone = evolve(
        having(record_exceptions="full", event_signal="log"), destinations=(TRACES,)
    )
    goes_to = {each.name: each.goes_to for each in explain(spans_alone).sent}

    assert goes_to["exception"] == goes_to["event: time"] == ("1",)
    assert "cx.friction" not in goes_to


def test_what_is_scrubbed_has_no_text_of_exceptions() -> None:
    """Text and stack go to exporters that get all, or for which `scrub` keeps them."""
    scrubbed, kept = evolve(TRACES, scrub=()), evolve(TRACES, scrub=("app", "exception.*"))
    live = having(record_exceptions="scrubbed")
    some = explain(evolve(live, destinations=(scrubbed, TRACES, kept)))
    none = explain(evolve(live, destinations=(scrubbed,)))
    goes_to = {each.name: each.goes_to for each in some.sent}
    absent = {each.name: each.change for each in none.not_sent}

    assert goes_to["exception.message"] == goes_to["exception.stacktrace"] == ("2", "3")
    assert goes_to["exception.type"] == goes_to["exception"] == ("1", "2", "3")
    assert absent["exception.message"] == "Put exception.message into `scrub`."
    assert "exception" not in absent
    assert "scrubbed" in "\n".join(record.markdown(none))
    assert "scrubbed" in "\n".join(cli.lines(none, paper_of(), is_short=True))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (None, "Pseudonymisation by a keyed hash (HMAC-SHA-256)."),
        ("SaltedPseudonymiser", "with a salt for each customer, which a store keeps"),
        ("VaultPseudonymiser", "by a random id for each customer"),
        ("Own", "Pseudonymisation by `Own` of the application."),
    ],
)
def test_how_pseudonyms_are_made_is_told(kind: str | None, said: str) -> None:
    """The record says by what, and what a store keeps until when."""
    text = "\n".join(record.markdown(explain(having(pseudonymiser=kind))))

    assert said in text
    assert ("until code calls `forget()`" in text) is (kind not in {None, "Own"})


def test_older_keys_are_told() -> None:
    """Which keys are believed beside the one that makes what is new is a part of the record."""
    live = evolve(FULL, older_keys=("2026q2", "2026q1"))

    assert "What was made with `2026q2`, `2026q1` is believed too." in record.key_of(live)
    assert "believed too" not in record.key_of(FULL)


def test_consent_is_told_of_each() -> None:
    """Unknown consent allows what links, or not, as the setting says; refused, never."""
    open_, strict = explain(FULL), explain(having(consent_required=True))

    for found, allowed in ((open_, CONSENTS[:3]), (strict, CONSENTS[:2])):
        by_name = {each.name: each for each in found.sent}
        assert {by_name[name].consent for name in LINKING} == {allowed}
        assert by_name["cx.emotion"].consent == by_name["cx.emotion.signals"].consent == allowed
        assert by_name["cx.emotion.valence"].consent == allowed
        assert by_name["cx.friction"].consent == by_name["cx.customer.kind"].consent == CONSENTS


def test_a_destination_that_cannot_be_told_gets_names_alone() -> None:
    """Under ``unknown_destination = names`` the names go further than the ids."""
    by_name = {each.name: each for each in explain(having(unknown_destination="names")).sent}

    def condition(name: str) -> str:
        return next(use.condition for use in by_name[name].uses if use.kind == "baggage")

    assert condition(names.JOURNEY_NAME) == "if the destination is yours, or cannot be told"
    assert condition(names.JOURNEY_ID) == "if the destination is yours"


@pytest.mark.parametrize(
    ("name", "live"),
    [
        ("metric: example", evolve(FULL, is_measuring_by_trace=False)),
        ("span: link", having(public_endpoint=False)),
        ("event: trace id and span id of a log record", having(event_signal="span")),
        ("request: traceparent and tracestate", evolve(FULL, propagators=("CXPropagator",))),
        ("span: start and end", evolve(FULL, destinations=(METRICS,))),
        ("metric: values and times", evolve(FULL, destinations=(TRACES,))),
        ("event: time", evolve(FULL, destinations=(METRICS,))),
    ],
)
def test_ids_and_times_are_told_where_they_are(name: str, live: Live) -> None:
    """What stands around attributes is told too, and only if it is sent."""
    everything = {each.name for each in explain(having(public_endpoint=True)).sent}

    assert name in everything
    assert name not in {each.name for each in explain(live).sent}


def test_what_is_switched_off_sends_nothing() -> None:
    """Where OpenTelemetry is disabled, nothing is sent, and the reason is told."""
    found = explain(Live("disabled", settings=SETTINGS))

    assert found.sent == ()
    assert {each.why for each in found.not_sent if each.what == "event"} == {
        "OpenTelemetry is switched off."
    }


@pytest.mark.parametrize(
    ("endpoint", "name", "wanted"),
    [
        ("https://otel.example.com", "OTLPSpanExporter", "tls"),
        ("http://otel.example.com:4317", "OTLPSpanExporter", "none"),
        ("http://10.0.0.1:4317", "OTLPSpanExporter", "none"),
        ("http://localhost:4317", "OTLPSpanExporter", "loopback"),
        ("http://127.0.0.5", "OTLPSpanExporter", "loopback"),
        ("http://[::1]:4318", "OTLPSpanExporter", "loopback"),
        ("http://", "OTLPSpanExporter", "none"),
        ("file:///var/spans.jsonl", "FileSpanExporter", "disk"),
        (None, "TreeExporter", "terminal"),
        (None, "SomeExporter", "unknown"),
    ],
)
def test_transport_security_is_told(endpoint: str | None, name: str, wanted: str) -> None:
    """What is not encrypted on its way is said to be, but within this machine."""
    assert Destination("traces", name, "x", endpoint).encryption == wanted


# What really leaves


@frozen
class Left:
    """What left a process: of each kind of thing, the attributes that stood on it.

    Attributes:
        uses: Kind, name of the group, name of the attribute.
        events: Names of events.
        metrics: Names of metrics.
        headers: Baggage by host.
        has_examples: Whether metrics carried ids of traces.
        raw: All bytes.
    """

    uses: set[tuple[str, str, str]] = field(factory=set)
    events: set[str] = field(factory=set)
    metrics: set[str] = field(factory=set)
    headers: dict[str, dict[str, str]] = field(factory=dict)
    has_examples: list[bool] = field(factory=list)
    raw: list[bytes] = field(factory=list)

    def take(self, path: str, body: bytes) -> None:
        """What was posted to a Collector."""
        self.raw.append(body)
        {"traces": self._spans, "metrics": self._metrics, "logs": self._logs}[
            path.rpartition("/")[2]
        ](body)

    def _use(self, kind: str, name: str, pairs: Any) -> None:
        self.uses.update((kind, name, pair.key) for pair in pairs)

    def _spans(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self._use("resource", "resource", group.resource.attributes)
            for scope in group.scope_spans:
                for span in scope.spans:
                    self._span(scope.scope.name == "cxtrace", span)

    def _span(self, is_ours: bool, span: Any) -> None:
        keys = {pair.key for pair in span.attributes}
        kind = "cx.interaction" if names.INTERACTION_NAME in keys else "cx.touchpoint"
        ours = [pair for pair in span.attributes if is_ours or pair.key.startswith(OURS)]
        stamped = not is_ours or kind == "cx.interaction"
        tags = [pair for pair in ours if stamped and pair.key in (*names.TAGS, *MARKS)]
        self._use("stamp", STAMPED, tags)
        self._use("span", kind, [pair for pair in ours if pair not in tags])
        for event in span.events:
            self.events.add(event.name)
            self._use("event", event.name, event.attributes)

    def _logs(self, body: bytes) -> None:
        for group in ExportLogsServiceRequest.FromString(body).resource_logs:
            self._use("resource", "resource", group.resource.attributes)
            for scope in group.scope_logs:
                for each in scope.log_records:
                    self.events.add(each.event_name)
                    self._use("event", each.event_name, each.attributes)

    def _metrics(self, body: bytes) -> None:
        for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            self._use("resource", "resource", group.resource.attributes)
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    if not metric.name.startswith(OURS):  # older SDKs measure themselves
                        continue
                    points = getattr(metric, str(metric.WhichOneof("data"))).data_points
                    self.metrics.add(metric.name)
                    for point in points:
                        self._use("metric", metric.name, point.attributes)
                        self.has_examples.append(bool(point.exemplars))


@contextmanager
def collecting() -> Iterator[tuple[str, Left]]:
    """A Collector that takes everything."""
    left = Left()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_zipped = self.headers.get("Content-Encoding") == "gzip"
            left.take(self.path, gzip.decompress(body) if is_zipped else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", left
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def environment(endpoint: str, **settings: str) -> dict[str, str]:
    """That of a service which sends to an endpoint."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CXTRACE_", "OTEL_"))
    }
    return {
        **kept,
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "CXTRACE_KEY": KEY,
        "CXTRACE_MAP": "maps/shop.toml",
        **settings,
    }


def python(folder: Path, environ: Mapping[str, str], *arguments: str) -> str:
    """What a Python process prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=dict(environ),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


EXPLAIN: Final = "import sys; from cxtrace.cli import main; sys.exit(main(['explain', '--json']))"

ALL_OFF: Final = {"CXTRACE_SIGNALS_OFF": ",".join(SIGNALS)}
CONFIGURATIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "as it comes": {},
    "everything": {
        "CXTRACE_EVENT_SIGNAL": "both",
        "CXTRACE_METRICS_OPT_IN": ",".join(OPT_IN),
        "CXTRACE_RECORD_EXCEPTIONS": "scrubbed",
    },
    "log events": {"CXTRACE_EVENT_SIGNAL": "log"},
    "all signals off": {**ALL_OFF, "CXTRACE_EVENT_SIGNAL": "both"},
    "no map": {"CXTRACE_MAP": ""},
    "a plain map": {"CXTRACE_MAP": "maps/plain.toml"},
    "no key": {"CXTRACE_KEY": ""},
    "spans alone": {"OTEL_METRICS_EXPORTER": "none"},
    "metrics alone": {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "otlp"},
    "another propagator": {"OTEL_PROPAGATORS": "tracecontext"},
    "no examples": {"OTEL_METRICS_EXEMPLAR_FILTER": "always_off"},
    "strict": {"CXTRACE_CONSENT_REQUIRED": "true"},
    "scrubbed": {"CXTRACE_SCRUB": "true", "CXTRACE_RECORD_EXCEPTIONS": "full"},
}


def observed(tmp_path: Path, consent: str, **settings: str) -> tuple[Left, dict[str, Any]]:
    """What left a service, and what was explained of it before."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/shop.toml").write_text(MAP, encoding="utf-8")
    (tmp_path / "maps/plain.toml").write_text(PLAIN_MAP, encoding="utf-8")
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    with collecting() as (endpoint, left):
        environ = environment(endpoint, **settings)
        told = json.loads(python(tmp_path, environ, "-c", EXPLAIN))
        assert left.raw == [], "to explain sends nothing"
        printed = python(tmp_path, environ, "service.py", consent)
        left.headers.update(json.loads(printed))
    return left, told


def told_uses(told: Mapping[str, Any], consent: str) -> set[tuple[str, str, str]]:
    """Where explain says that attributes can stand, under a consent; keys of templates left out."""
    return {
        (use["kind"], use["name"], each["name"].removesuffix(".<key>"))
        for each in told["sent"]
        for use in each["uses"]
        if consent in use["consent"]
    }


def without_keys(uses: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Uses, of templates without what follows the name."""
    templates = [name for name, about in registry().attributes.items() if about.is_template]
    return {
        (kind, group, next((each for each in templates if name.startswith(f"{each}.")), name))
        for kind, group, name in uses
    }


def baggage_of(header: Mapping[str, str]) -> set[tuple[str, str, str]]:
    """Members of baggage as uses."""
    members = header.get("baggage", "").split(",")
    return {("baggage", "baggage", member.partition("=")[0]) for member in members if member}


@pytest.mark.service
@pytest.mark.parametrize(
    ("name", "consent"),
    [
        *((name, "granted") for name in CONFIGURATIONS),
        *((name, "unknown") for name in ("as it comes", "strict")),
        *((name, "denied") for name in ("everything", "no key")),
    ],
)
def test_what_leaves_was_explained(tmp_path: Path, name: str, consent: str) -> None:
    """Every attribute, event, metric and member on the wire is told, and nothing else is there."""
    left, told = observed(tmp_path, consent, **CONFIGURATIONS[name])
    allowed = {
        each["name"] for each in told["sent"] if consent in each["consent"] and not each["uses"]
    }
    uses = told_uses(told, consent)

    assert without_keys(left.uses) - uses == set()
    assert left.events - allowed == set()
    assert left.metrics - allowed == set()
    assert baggage_of(left.headers["127.0.0.1"]) - uses == set()
    assert baggage_of(left.headers["localhost"]) - uses == set()
    assert baggage_of(left.headers["api.stranger.example"]) == set()
    assert any(left.has_examples) <= ("metric: example" in allowed)
    absent = {each["name"] for each in told["not_sent"] if not each["lacks"]}
    seen = {attribute for _, _, attribute in without_keys(left.uses)} | left.events | left.metrics
    assert seen & absent == set()
    for secret in (b"cust-42", b"favourite", b"eve@example.com"):
        assert not any(secret in body for body in left.raw)


@pytest.mark.service
def test_what_is_explained_leaves(tmp_path: Path) -> None:
    """A service that says everything sends everything that is told: the list is not padded."""
    left, told = observed(tmp_path, "granted", **CONFIGURATIONS["everything"])
    uses = {use for use in told_uses(told, "granted") if use[0] != "line"}

    expected = without_keys(left.uses)
    for host in ("127.0.0.1", "localhost"):
        expected |= baggage_of(left.headers[host])
    assert uses - expected == {
        ("span", "cx.interaction", tag)
        for tag in (names.TOUCHPOINT_NAME, names.STAGE_NAME, names.OWNER_FUNCTION)
    }
    events = {each["name"] for each in told["sent"] if each["what"] == "event"}
    metrics = {each["name"] for each in told["sent"] if each["what"] == "metric"}
    assert events - left.events == set()
    assert metrics - left.metrics == set()
    assert any(left.has_examples)


@pytest.mark.service
def test_a_refused_consent_leaves_nothing_that_links(tmp_path: Path) -> None:
    """What is gated by consent is on no span, event, metric or header of a customer who denies."""
    left, _ = observed(tmp_path, "denied", **CONFIGURATIONS["everything"])
    seen = {name for _, _, name in left.uses} | {
        name for header in left.headers.values() for _, _, name in baggage_of(header)
    }

    assert seen.isdisjoint(LINKING)
    assert {kind_of(each) for each in left.events | left.metrics}.isdisjoint(GATED)


# What is read in a process


def facts(**providers: _wiring_facts.ProviderFacts) -> _wiring_facts.WiringFacts:
    """Those of this process, but for some providers."""
    return evolve(_wiring_facts.read(), **providers)


def provider(*parts: _wiring_facts.ProcessorFacts, origin: Any = "built") -> Any:
    """A provider with some processors."""
    return _wiring_facts.ProviderFacts("x.Provider", "x", origin, parts)


def test_a_part_that_shows_no_exporter_is_told() -> None:
    """Who may hand on what it sees is a destination, and a part of cxtrace without one is not."""
    found = patient.destinations(
        facts(
            traces=provider(
                _wiring_facts.ProcessorFacts("cxtrace.processors.StampProcessor", "cxtrace"),
                _wiring_facts.ProcessorFacts("theirs.Forwarder", "theirs"),
            ),
            metrics=provider(origin="others"),
            logs=provider(origin="none"),
        )
    )

    assert [(each.signal, each.name, each.encryption) for each in found] == [
        ("traces", "Forwarder", "unknown"),
        ("metrics", "Provider", "unknown"),
    ]


def test_settings_are_told_as_plain_data() -> None:
    """Whatever a setting is, it becomes text, a number or a list, and an object its class."""
    assert [patient.plain(each) for each in (None, True, 0.5, "otlp", Path("spool"))] == [
        *(None, True, 0.5, "otlp", "spool"),
    ]
    assert patient.plain(frozenset({"value", "emotion"})) == ["emotion", "value"]
    assert patient.plain(main) == "main"
    assert patient.plain(Left()) == "Left"


def test_a_map_without_anything_makes_nothing_possible() -> None:
    """Only what a map has adds to what is sent."""
    full, plain = (patient.map_facts(JourneyMap.loads(text)) for text in (MAP, PLAIN_MAP))

    assert full.has == set(FACETS)
    assert (plain.has, plain.context) == (set(), ())


def test_a_process_that_nobody_configured_is_read() -> None:
    """Before ``configure()`` the defaults are in force, and nothing is known of a key."""
    live = patient.look()

    assert live.state == "not_configured"
    assert live.settings["signals_off"] == []
    assert live.journey_map is None


# The command


Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """``cxtrace explain`` in an empty folder, with an environment of its own."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/shop.toml").write_text(MAP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in [each for each in os.environ if each.startswith(("CXTRACE_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))

    def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        code = main(["explain", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


LIVELY: Final = {
    "CXTRACE_MAP": "maps/shop.toml",
    "CXTRACE_KEY": KEY,
    "CXTRACE_SPOOL": "waiting",
    "CXTRACE_SPOOL_MAX_AGE": "90m",
    "CXTRACE_SIGNALS_OFF": "forecast",
    "CXTRACE_TRUSTED_HOSTS": "api.example.com",
    "OTEL_SERVICE_NAME": "shop",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://ann:secret@otel.example.com:4317",
    "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=hidden",
}


@pytest.mark.service
def test_people_read_what_is_sent(command: Run) -> None:
    """The command tells where things go, what they mean, and under which condition; no secret."""
    code, out, _ = command(**LIVELY)
    text = " ".join(out.split())

    assert code == 0
    assert [line for line in out.splitlines() if len(line) > 80 and "waiting" not in line] == []
    assert "OTLPSpanExporter (opentelemetry) → http://otel.example.com:4317, NOT ENCRYPTED" in text
    assert "/waiting on disk while nobody takes it" in text
    assert "/waiting, while nobody takes it: 1.5 hours at most" in text
    assert "and api.example.com" in text
    assert "enduser.pseudo.id [linkable pseudonym] Pseudonym of the customer" in text
    assert "consent only granted, not required, unknown" in text
    assert "keys weather" in text
    assert "sent if the code calls emotion()" in text
    assert "signals_off has forecast. → Take forecast out of signals_off." in text
    assert "x-tenant" in text
    assert "secret" not in out
    assert "hidden" not in out
    assert KEY not in out
    assert not Path("waiting").exists()


@pytest.mark.service
def test_the_personal_part_stands_alone(command: Run) -> None:
    """--personal leaves out what says nothing about a person, and what is not sent."""
    code, out, _ = command("--personal", CXTRACE_EXPORTER="console", CXTRACE_EVENT_SIGNAL="span")

    assert code == 0
    assert "the terminal of the process" in out
    assert "enduser.pseudo.id" in out
    assert "No key was given" in " ".join(out.split())
    assert "cx.touchpoint.outcome" not in out
    assert "Not sent, as it is set" not in out


@pytest.mark.service
def test_a_record_of_processing_is_written(command: Run) -> None:
    """--record is Article 30(1) from (a) to (g), filled in as far as the configuration knows."""
    code, out, _ = command("--record", **LIVELY)

    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("# ")] == [
        "# Record of processing activities: shop"
    ]
    for letter in "abcdefg":
        assert f"(Art. 30(1)({letter}))" in out
    assert "Not legal advice" in out
    assert "at `http://otel.example.com:4317`; NOT ENCRYPTED." in out
    assert "1.5 hours at most" in out
    assert "- **[TO BE FILLED IN]** Legal basis of each purpose:" in out
    assert "Switched off: forecast." in out
    assert "linkable pseudonym): `" in out
    assert "secret" not in out


@pytest.mark.service
def test_a_record_is_json_too(command: Run) -> None:
    """--record --json has the same sections as data."""
    code, out, _ = command("--record", "--json", CXTRACE_EXPORTER="file:sent.jsonl")
    sections = {each["title"]: each for each in json.loads(out)["record"]}

    assert code == 0
    assert sections["Transfers to third countries"]["known"] == []
    assert sections["Controller"]["to_be_filled_in"]
    (kept,) = [each for each in sections["Time limits for erasure"]["known"] if "file://" in each]
    assert kept.endswith("sent.jsonl`: until somebody deletes the file.")


APP: Final = """\
import cxtrace
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

def page_somebody(friction): ...

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
cxtrace.configure(key="an example key of 32 bytes, no more", on_friction=page_somebody)
"""


@pytest.mark.service
def test_an_application_is_explained(command: Run, tmp_path: Path) -> None:
    """With --app the application configures, and its own exporter is the destination."""
    (tmp_path / "shop.py").write_text(APP, encoding="utf-8")

    code, out, _ = command("--app", "shop", "--record")

    assert code == 0
    assert "- Traces: `ConsoleSpanExporter` of opentelemetry; the terminal of the process." in out
    assert "The function `page_somebody` of the application is told of frictions" in out


GUARDED: Final = """\
import cxtrace
from cxtrace.exporters import ScrubbingSpanExporter
from cxtrace.privacy import VaultPseudonymiser
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

provider = TracerProvider()
exporter = ScrubbingSpanExporter(ConsoleSpanExporter(), keep=["app.*"])
provider.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(provider)
keys = [f"new = {'n' * 32}", f"old = {'o' * 32}"]
cxtrace.configure(key=keys, pseudonymiser=VaultPseudonymiser(object()))
"""


@pytest.mark.service
def test_what_guards_an_application_is_explained(command: Run, tmp_path: Path) -> None:
    """A scrubber around an exporter of others, older keys and a vault are read where they are."""
    (tmp_path / "shop.py").write_text(GUARDED, encoding="utf-8")

    code, out, _ = command("--app", "shop", "--record")

    assert code == 0
    assert "- Traces: `ConsoleSpanExporter` of opentelemetry, scrubbed; the terminal" in out
    assert "Pseudonymisation by a random id for each customer" in out
    assert "The key `new` was given, and is not sent. What was made with `old` is believed" in out
    assert "nnnn" not in out


@pytest.mark.service
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_the_kind", "shop: ModuleNotFoundError: No module named"),
        ("import os; os._exit(3)", "shop did not come up"),
        ("app = None", "shop did not call cxtrace.configure() when it was imported"),
        ("import cxtrace; cxtrace.configure(sample=2)", "shop: configure(sample=…): 2 must be"),
    ],
)
def test_what_cannot_be_explained_is_told(
    command: Run, tmp_path: Path, text: str, said: str
) -> None:
    """An application that does not come up, or never configures, is an error with exit code 1."""
    (tmp_path / "shop.py").write_text(text, encoding="utf-8")

    code, out, err = command("--app", "shop")

    assert (code, out) == (1, "")
    assert err.startswith(f"cxtrace explain: {said}")


@pytest.mark.service
def test_a_wrong_setting_is_told(command: Run) -> None:
    """Where no application is named, it is the setting alone that is named."""
    code, _, err = command(CXTRACE_SAMPLE="2")

    assert code == 1
    assert err.startswith("cxtrace explain: CXTRACE_SAMPLE: '2' must be a number from 0 to 1")


def test_wrong_use_is_told(command: Run) -> None:
    """An application without a module is wrong use."""
    assert command("--app", ":app")[::2] == (
        2,
        "cxtrace explain: --app must name a module, as shop.main or shop.main:app\n",
    )


def test_a_reader_who_leaves_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed for `head` ends without a complaint."""
    monkeypatch.setattr(cli, "answer", lambda *_: {"live": FULL.to_dict()})

    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    left = []
    monkeypatch.setattr("builtins.print", gone)
    monkeypatch.setattr(cli, "print_no_more", lambda: left.append(True))

    assert main(["explain", "--personal"]) == 0
    assert left == [True]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(30.0, "30 seconds"), (60.0, "1 minute"), (5_400.0, "1.5 hours"), (172_800.0, "2 days")],
)
def test_times_are_told_in_words(seconds: float, said: str) -> None:
    """A time has the largest unit that fits."""
    assert record.lasts(seconds) == said


def test_events_that_nobody_takes_go_nowhere() -> None:
    """The rows of the settings say so."""
    nowhere = evolve(FULL, destinations=(METRICS,), service=None, journey_map=None, sampler=None)
    on = paper_of()
    text = "\n".join(cli.lines(explain(nowhere), on, is_short=False))

    assert "events       nowhere" in text
    assert "sampler      not known" in text
    assert text.startswith("This service can send")
    off = Live("disabled", settings=SETTINGS)
    assert "OpenTelemetry is switched off" in "\n".join(cli.lines(explain(off), on, is_short=True))
    assert "no exporter takes" in "\n".join(
        cli.lines(explain(evolve(FULL, destinations=(), propagators=())), on, is_short=False)
    )
