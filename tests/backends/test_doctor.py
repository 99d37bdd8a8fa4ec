"""``cxtrace doctor`` against real servers.

Tempo and VictoriaTraces only where they are given; ``tests/test_doctor.py`` answers as they do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from cxtrace.attributes import TAGS
from cxtrace.platform.doctor import probe, queries
from tests.doctors import KEY, MAP

from .servers import PATIENT, Collector, Jaeger
from .trace_stores import Tempo, VictoriaTraces

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

GRPC, HTTP = "grpc", "http/protobuf"
DOCTOR = "import sys; from cxtrace.cli import main; sys.exit(main())"


def doctor(folder: Path, endpoint: str, *arguments: str, **environ: str) -> dict[str, Any]:
    """What the command says, as JSON, of a service that is right but for what is given."""
    (folder / "journeys.toml").write_text(MAP)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    settings = {
        **PATIENT,
        "CXTRACE_KEY": KEY,
        "CXTRACE_MAP": "journeys.toml",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
    }
    done = subprocess.run(
        [sys.executable, "-c", DOCTOR, "doctor", "--json", *arguments],
        cwd=folder,
        env={**clean, **settings, **environ},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout or f'"{done.stderr}"')
    assert done.returncode == bool(found["errors"])
    return found


def ids(found: dict[str, Any]) -> list[str]:
    """The findings, in a word each."""
    return [each["id"] for each in found["findings"]]


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_a_probe_is_read_back_from_jaeger(jaeger: Jaeger, tmp_path: Path, protocol: str) -> None:
    """A right configuration is healthy: the probe is in Jaeger, with its six tags."""
    endpoint = jaeger.otlp_grpc if protocol == GRPC else jaeger.otlp_http

    found = doctor(
        tmp_path, endpoint, "--query", jaeger.query_url, OTEL_EXPORTER_OTLP_PROTOCOL=protocol
    )

    assert (found["verdict"], found["findings"]) == ("Healthy", [])
    read = found["probe"]
    assert (read["backend"], read["arrived"]) == ("Jaeger", list(TAGS))
    assert (read["lost"], read["changed"], read["is_delivered"]) == ([], [], True)
    trace = jaeger.trace(read["trace_id"])
    assert trace is not None
    assert [span["operationName"] for span in trace["spans"]] == [probe.TOUCHPOINT]


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_a_probe_is_read_back_from_tempo(tempo: Tempo, tmp_path: Path, protocol: str) -> None:
    """A right configuration is healthy: the probe is in Tempo, with its six tags."""
    endpoint = tempo.otlp_grpc if protocol == GRPC else tempo.otlp_http

    found = doctor(tmp_path, endpoint, "--query", tempo.url, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)

    assert (found["verdict"], found["findings"]) == ("Healthy", [])
    read = found["probe"]
    assert (read["backend"], read["arrived"]) == ("Tempo", list(TAGS))
    assert (read["lost"], read["changed"], read["is_delivered"]) == ([], [], True)
    assert [span["name"] for span in tempo.spans(read["trace_id"])] == [probe.TOUCHPOINT]


def test_a_probe_is_read_back_from_victoriatraces(
    victoriatraces: VictoriaTraces, tmp_path: Path
) -> None:
    """It takes OTLP over HTTP, and shows the probe with its six tags after a while."""
    found = doctor(
        *(tmp_path, victoriatraces.otlp_http),
        *("--query", victoriatraces.url, "--timeout", "60"),
        OTEL_EXPORTER_OTLP_PROTOCOL=HTTP,
    )

    assert (found["verdict"], found["findings"]) == ("Healthy", [])
    read = found["probe"]
    assert (read["backend"], read["arrived"]) == ("VictoriaTraces", list(TAGS))
    assert (read["lost"], read["changed"], read["is_delivered"]) == ([], [], True)


def test_the_newer_interface_of_jaeger_gives_the_same(jaeger: Jaeger, tmp_path: Path) -> None:
    """Of a Jaeger that has the interface ``/api/v3`` alone, the same is read."""
    found = doctor(tmp_path, jaeger.otlp_grpc)
    old = queries.find(jaeger.query_url)
    assert isinstance(old, queries.Backend)
    new = evolve(old, path="/api/v3/traces/{}", spans=queries.otlp_spans)

    trace_id = found["probe"]["trace_id"]
    tags = [queries.read_back(each, trace_id, probe.TOUCHPOINT, 30.0) for each in (old, new)]

    sent = found["probe"]["sent"]
    for each in tags:
        assert each is not None
        assert {key: str(each[key]).lower() for key in sent} == {
            key: str(value).lower() for key, value in sent.items()
        }


def test_metrics_that_are_sent_to_jaeger_are_found(jaeger: Jaeger, tmp_path: Path) -> None:
    """Jaeger takes only traces, and the probe among them."""
    for protocol, endpoint in ((GRPC, jaeger.otlp_grpc), (HTTP, jaeger.otlp_http)):
        found = doctor(
            *(tmp_path, endpoint, "--query", jaeger.query_url),
            OTEL_METRICS_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        )

        assert ids(found) == ["signal-refused"]
        assert found["probe"]["arrived"] == list(TAGS)


@pytest.mark.usefixtures("collector_binary")
def test_a_collector_that_takes_tags_away_is_found(jaeger: Jaeger, tmp_path: Path) -> None:
    """What a processor of the Collector deletes or masks on the way is named."""
    kept = {*TAGS} - {"cx.journey.id"}
    redaction = {
        "allow_all_keys": False,
        "allowed_keys": sorted(kept),
        "blocked_values": ["v1[.].*"],
    }
    exporters = {"otlp_grpc": {"endpoint": jaeger.otlp_grpc, "tls": {"insecure": True}}}
    with Collector(
        tmp_path / "collector", processors={"redaction": redaction}, exporters=exporters
    ) as collector:
        found = doctor(tmp_path, collector.otlp_grpc, "--query", jaeger.query_url)

    assert ids(found) == ["tags-lost", "tags-changed"]
    assert "cx.journey.id" in found["probe"]["lost"]
    assert found["probe"]["changed"] == ["enduser.pseudo.id"]
    assert set(found["probe"]["arrived"]) == kept - {"enduser.pseudo.id"}


def test_a_collector_that_passes_nothing_on_is_found(
    collector: Collector, jaeger: Jaeger, tmp_path: Path
) -> None:
    """The Collector takes the probe, and Jaeger never has it."""
    found = doctor(tmp_path, collector.otlp_grpc, "--timeout", "10", "--query", jaeger.query_url)

    assert (ids(found), found["probe"]["is_delivered"]) == (["probe-not-found"], True)


@pytest.mark.parametrize(
    ("protocol", "path", "wanted"),
    [
        (GRPC, None, "endpoint-other-protocol"),
        (HTTP, None, "endpoint-other-protocol"),
        (HTTP, "/traces", "endpoint-not-here"),
    ],
)
def test_a_wrong_port_or_path_of_a_collector_is_found(
    collector: Collector, tmp_path: Path, protocol: str, path: str | None, wanted: str
) -> None:
    """The Collector is asked, and what it answers to the wrong protocol or path is understood."""
    endpoint = collector.otlp_http if protocol == GRPC else collector.otlp_grpc
    more = {} if path is None else {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.otlp_http}{path}"
    }  # fmt: skip

    found = doctor(tmp_path, endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol, **more)

    assert ids(found) == [wanted]


def test_metrics_and_log_records_reach_a_collector(collector: Collector, tmp_path: Path) -> None:
    """A Collector that takes all three signals is healthy, by either protocol."""
    for protocol, endpoint in ((GRPC, collector.otlp_grpc), (HTTP, collector.otlp_http)):
        found = doctor(
            *(tmp_path, endpoint),
            OTEL_METRICS_EXPORTER="otlp",
            OTEL_LOGS_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        )

        assert (found["verdict"], found["probe"]["is_delivered"]) == ("Healthy", True)
