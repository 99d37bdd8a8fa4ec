"""The living map out of real stores of metrics agrees with the files of the same day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxtrace.cli import main

from .metric_stores import MetricStore, Prometheus, VictoriaMetrics
from .servers import run_program

pytestmark = pytest.mark.backend

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "journeys.toml"
A_DAY = ROOT / "tests" / "backends" / "a_day.py"


def live(**chosen: str) -> None:
    """Let one day of the shop go by."""
    run_program(A_DAY, chosen)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The day as a file of spans and metrics."""
    file = tmp_path_factory.mktemp("a_day") / "day.jsonl"
    live(CXTRACE_EXPORTER=f"file:{file}")
    return file


@pytest.fixture(scope="module")
def metrics(recording: Path) -> Path:
    """The metrics of the same day."""
    file = recording.with_name("metrics.jsonl")
    lines = recording.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(each for each in lines if "resourceMetrics" in each), encoding="utf-8")
    return file


@pytest.fixture(scope="module", params=[VictoriaMetrics, Prometheus], ids=lambda each: each.name)
def store(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[MetricStore]:
    """A store that has this day, and nothing else."""
    kind = request.param
    request.getfixturevalue(f"{kind.name}_binary")
    with kind(tmp_path_factory.mktemp(f"{kind.name}_of_a_living_map")) as store:
        live(
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="otlp_proto_http",
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{store.otlp_http}/v1/metrics",
        )
        visits = 'sum(cx_touchpoint_duration_seconds_count{cx_touchpoint_name="home.visit"})'
        store.query(f"{visits} == 80")
        yield store


def told(source: str | Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """The living map of a source as data."""
    assert main(["map", str(EXAMPLE), "--live", str(source), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_spans_and_metrics_tell_the_day(
    recording: Path, metrics: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What happened that day is known, and both of its records tell it."""
    for source in (recording, metrics):
        found = told(source, capsys)
        pay = found["touchpoints"]["checkout.pay"]
        assert (pay["visits"], pay["hurt"], pay["effort"]) == (40, 0.1, 2.7)
        assert pay["outcomes"] == {"completed": 36, "failed": 4}
        assert found["touchpoints"]["home.visit"]["visits"] == 80
        assert found["promises"]["refund_7d"]["share"] == 0.8
        assert found["promises"]["pay_fast"]["gap"] == pytest.approx(0.6306, abs=1e-4)
        assert found["verdicts_despite_broken_promises"]["it"]["share"] == 0.25
        (handoff,) = found["handoffs"]
        assert (handoff["giver"], handoff["taker"], handoff["count"]) == ("service", "finance", 20)


def test_spans_and_metrics_count_alike(
    recording: Path, metrics: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that is no percentile is the same, whether it was counted from spans or by the SDK."""
    of_spans, of_metrics = told(recording, capsys), told(metrics, capsys)

    for part in ("touchpoints", "stages", "owners", "promises", "verdicts"):
        for name, expected in of_metrics[part].items():
            found = of_spans[part][name]
            known = set(expected) - {"p50", "p90", "trace_id"} - EXTRA
            assert {key for key in known if not alike(found[key], expected[key])} == set()


EXTRA = {"verdicts"}
"""What spans alone tell."""


def test_a_store_tells_the_same_as_the_file(
    store: MetricStore, metrics: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a store does not extrapolate, every number is the same; elsewhere, every share."""
    of_store, of_file = told(store.url, capsys), told(metrics, capsys)

    is_exact = isinstance(store, VictoriaMetrics)
    shares = {"hurt", "share", "effort", "is_short"}
    parts = ["touchpoints", "stages", "owners", "promises", *(["journeys"] if is_exact else [])]
    for part in parts:
        for name, expected in of_file[part].items():
            found = of_store[part][name]
            known = set(expected) - {"trace_id"} if is_exact else shares & set(expected)
            differs = {key for key in known if not alike(found[key], expected[key])}
            assert differs == set(), (part, name, found, expected)


def alike(found: Any, expected: Any) -> bool:
    """Whether two values are the same, but for what floating point makes of a sum."""
    if isinstance(expected, dict):
        return set(found) == set(expected) and all(alike(found[k], expected[k]) for k in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(alike, found, expected))
    if isinstance(expected, float | int) and isinstance(found, float | int):
        return bool(found == pytest.approx(expected, rel=1e-6, abs=1e-9))
    return bool(found == expected)
