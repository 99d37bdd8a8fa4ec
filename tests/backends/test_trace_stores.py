"""Links and the stack's files in a real Tempo and a real VictoriaTraces.

Both must be built by hand: see `trace_stores.py`. Without them the tests are skipped.
"""

from __future__ import annotations

import json
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from cxtrace import attributes as names
from cxtrace.platform.links import urls
from cxtrace.platform.links.searches import Kind, search_for
from tests import grafana

from .metric_stores import Prometheus
from .servers import Jaeger
from .test_collector_files import Tier, digits, span
from .three_customers import EXAMPLE, HOSTILE, JOURNEYS, SEARCHES, printed, visit
from .trace_stores import TEMPO, TEMPO_FILE, Tempo, VictoriaTraces, given, values

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

SINGLE = EXAMPLE.parent / "stack" / "collector" / "single.yaml"
UNITS = {"m": 60, "h": 3_600, "d": 86_400}
JOURNEY = f"span_attr:{names.JOURNEY_ID}"
"""Where VictoriaTraces keeps it."""

each_period = pytest.mark.parametrize("period", [[], ["--days", "14"]], ids=["", "14 days"])
each_hostile_value = pytest.mark.parametrize(("number", "value"), [*enumerate(HOSTILE)])


def seconds(length: str) -> int:
    """How long "2d" is."""
    return int(length[:-1]) * UNITS[length[-1]]


def moment(word: str) -> int:
    """When Grafana's "now-2d" is, or its milliseconds since 1970, in seconds."""
    if not word.startswith("now"):
        return int(word) // 1_000
    return int(time.time()) - seconds(word[4:] or "0d")


def found_by_explore(tempo: Tempo, url: str) -> set[str]:
    """The journeys that Tempo finds for what Grafana's Explore is asked at an address."""
    query = grafana.explored(url)
    (pane,) = json.loads(parse_qs(urlsplit(url).query)["panes"][0]).values()
    start, end = (moment(pane["range"][word]) for word in ("from", "to"))
    traces = tempo.search(query["query"], start, end, query["limit"])
    return {journey for each in traces for journey in values(tempo.spans(each), names.JOURNEY_ID)}


def found_by_page(store: VictoriaTraces, url: str) -> set[str]:
    """The journeys that VictoriaTraces finds when its page asks for what an address says."""
    page, _, behind = url.partition("/#/?")
    asked = {name: value for name, (value,) in parse_qs(behind, strict_parsing=True).items()}
    assert page == f"{store.url}/select/vmui"
    assert asked.pop("g0.relative_time") == "none"
    end = time.time()
    if "g0.end_input" in asked:
        end = datetime.fromisoformat(asked["g0.end_input"]).replace(tzinfo=timezone.utc).timestamp()
    start = end - seconds(asked["g0.range_input"])
    spans = store.search(asked["query"], start, end, int(asked["limit"]))
    return {each[JOURNEY] for each in spans}


def send_hostile(otlp_http: str) -> None:
    """Send a trace for each of the hostile values, which is its stage; its journey has a number."""
    provider = TracerProvider(resource=Resource({"service.name": "hostile"}))
    exporter = OTLPSpanExporter(f"{otlp_http}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for number, value in enumerate(HOSTILE):
        attributes = {names.STAGE_NAME: value, names.JOURNEY_ID: f"hostile-{number}"}
        provider.get_tracer("hostile").start_span("visit", attributes=attributes).end()
    provider.shutdown()


@pytest.fixture(scope="module")
def in_tempo(tempo: Tempo) -> Tempo:
    """It has seen three customers, and what is hostile."""
    visit(tempo.otlp_grpc)
    send_hostile(tempo.otlp_http)
    everything = f"{{ span.{names.JOURNEY_ID} =~ `(j|hostile)-.+` }}"
    tempo.wait_for_traces(everything, len(JOURNEYS) + len(HOSTILE), seconds=3_600)
    return tempo


@pytest.fixture(scope="module")
def in_victoriatraces(victoriatraces: VictoriaTraces) -> VictoriaTraces:
    """It has seen three customers, and what is hostile."""
    visit(f"{victoriatraces.otlp_http}/v1/traces", protocol="http/protobuf")
    send_hostile(victoriatraces.otlp_http)

    def are_there() -> bool:
        now = time.time()
        found = victoriatraces.search(f'"{JOURNEY}":~"^(j|hostile)-"', now - 3_600, now)
        return len(found) == len(JOURNEYS) + len(HOSTILE)

    victoriatraces.wait_for(are_there, timeout=60)
    return victoriatraces


@each_period
@pytest.mark.parametrize(("kind", "value", "journeys"), SEARCHES)
def test_a_link_finds_its_traces_in_tempo_and_no_other(
    in_tempo: Tempo,
    kind: Kind,
    value: str,
    journeys: set[str],
    period: list[str],
) -> None:
    """Tempo answers the TraceQL of the printed address with the journeys that are meant."""
    url = printed(kind, value, "--grafana", "http://grafana:3000", *period)

    assert found_by_explore(in_tempo, url) == journeys


@each_period
@pytest.mark.parametrize(
    ("kind", "value", "journeys"), [each for each in SEARCHES if each[0] != "promise"]
)
def test_a_link_finds_its_spans_in_victoriatraces_and_no_other(
    in_victoriatraces: VictoriaTraces,
    kind: Kind,
    value: str,
    journeys: set[str],
    period: list[str],
) -> None:
    """VictoriaTraces answers the LogsQL of the printed address with the journeys that are meant."""
    place = in_victoriatraces.url
    url = printed(kind, value, "--victoriatraces", place, *period)

    assert found_by_page(in_victoriatraces, url) == journeys


@each_hostile_value
def test_a_hostile_value_is_found_in_tempo_as_it_is(
    in_tempo: Tempo, number: int, value: str
) -> None:
    """What means something to TraceQL or an address finds the trace that has it, and no other."""
    url = urls.grafana("http://grafana:3000", search_for("stage", value), "cx-tempo")

    assert found_by_explore(in_tempo, url) == {f"hostile-{number}"}


@each_hostile_value
def test_a_hostile_value_is_found_in_victoriatraces_as_it_is(
    in_victoriatraces: VictoriaTraces, number: int, value: str
) -> None:
    """What means something to LogsQL or an address finds the span that has it, and no other."""
    url = urls.victoriatraces(in_victoriatraces.url, search_for("stage", value))

    assert found_by_page(in_victoriatraces, url) == {f"hostile-{number}"}


def test_tempo_has_nothing_against_the_file_of_the_stack() -> None:
    """Tempo's own check of its configuration passes, as the file is."""
    command = [str(given(TEMPO)), "-config.verify", f"-config.file={TEMPO_FILE}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "")
    assert "warn" not in done.stderr.lower()


def test_the_collector_of_the_stack_delivers_to_tempo(
    tempo: Tempo,
    jaeger: Jaeger,
    prometheus: Prometheus,
    collector_binary: None,
    tmp_path: Path,
) -> None:
    """What goes through the stack's file for one Collector is in Tempo as it is in Jaeger."""
    environment = {
        "CX_TEMPO": tempo.otlp_grpc.removeprefix("http://"),
        "CX_JAEGER": jaeger.otlp_grpc.removeprefix("http://"),
        "CX_PROMETHEUS": prometheus.otlp_http,
    }
    trace, identifier = digits("tempo", length=32), digits("tempo", length=16)
    attributes = {names.JOURNEY_ID: "through-a-collector", names.STAGE_NAME: "through"}
    query = f'{{ span.{names.STAGE_NAME} = "through" }}'
    with Tier(tmp_path / "collector", SINGLE, environment) as collector:
        collector.send([span(trace, identifier, attributes)], {"service.name": "through"})
        start = moment("now-1h")
        (found,) = tempo.wait_for(lambda: tempo.search(query, start, moment("now")), timeout=60)
        in_jaeger = tempo.wait_for(lambda: jaeger.trace(trace), timeout=30)

    (kept,) = tempo.spans(found)
    assert found.zfill(32) == trace
    assert values([kept], names.JOURNEY_ID) == {"through-a-collector"}
    assert in_jaeger is not None
    (other,) = in_jaeger["spans"]
    told = {each["key"] for each in other["tags"]}
    assert {each["key"] for each in kept["attributes"]} <= told
