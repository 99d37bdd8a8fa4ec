"""Each PromQL query of the documentation answers in real stores, with what its page shows."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .metric_stores import MetricStore, Prometheus, Sample, VictoriaMetrics
from .servers import run_program

pytestmark = pytest.mark.backend

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
A_DAY = ROOT / "tests" / "backends" / "a_day.py"
VISITORS = 80

if not DOCS.is_dir():
    pytest.skip("the documentation is not part of what is tested here", allow_module_level=True)


class Query(NamedTuple):
    """A query of a page, and the answer that the page shows."""

    where: str
    promql: str
    answer: list[str]


def queries() -> Iterator[Query]:
    """All queries of all pages."""
    spec = importlib.util.spec_from_file_location("run_page", DOCS / "_run_page.py")
    assert spec is not None
    assert spec.loader is not None
    run_page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run_page)
    for page in sorted(DOCS.rglob("*.md")):
        blocks = run_page.blocks(page)
        for block, after in itertools.pairwise([*blocks, None]):
            if block.language == "promql":
                shown = after is not None and after.language == "text" and after.adjoins
                answer = after.body.splitlines() if shown else []
                where = f"{page.relative_to(DOCS).as_posix()}-{block.line}"
                yield Query(where, block.body, answer)


QUERIES = list(queries())
each_query = pytest.mark.parametrize("query", QUERIES, ids=[query.where for query in QUERIES])


@pytest.fixture(scope="module")
def victoriametrics_of_a_day(
    victoriametrics_binary: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VictoriaMetrics]:
    """A VictoriaMetrics that has one day of the shop, and nothing else."""
    with VictoriaMetrics(tmp_path_factory.mktemp("victoriametrics_of_a_day")) as store:
        live(store)
        yield store


@pytest.fixture(scope="module")
def prometheus_of_a_day(
    prometheus_binary: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that has one day of the shop, and nothing else."""
    with Prometheus(tmp_path_factory.mktemp("prometheus_of_a_day")) as store:
        live(store)
        yield store


def live(store: MetricStore) -> None:
    """Send a day to the store, and wait until all of it can be seen."""
    chosen = {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "otlp_proto_http",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{store.otlp_http}/v1/metrics",
    }
    run_program(A_DAY, chosen)
    visits = 'sum(cx_touchpoint_duration_seconds_count{cx_touchpoint_name="home.visit"})'
    store.query(f"{visits} == {VISITORS}")


def shown(sample: Sample) -> str:
    """A value as the pages show it."""
    labels = ", ".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
    value = f"{round(sample.value, 4):.10g}"
    return f"{{{labels}}} {value}" if labels else value


@each_query
def test_a_query_of_the_documentation_has_the_answer_that_is_shown(
    victoriametrics_of_a_day: VictoriaMetrics, query: Query
) -> None:
    """The answer of VictoriaMetrics is that of the page, in its order where the query sorts."""
    answer = [shown(sample) for sample in victoriametrics_of_a_day.query(query.promql)]

    assert query.answer
    assert sorted(answer) == sorted(query.answer)
    assert not query.promql.startswith("sort") or values(answer) == values(query.answer)


@each_query
def test_a_query_of_the_documentation_has_an_answer_in_prometheus(
    prometheus_of_a_day: Prometheus, query: Query
) -> None:
    """The answer of Prometheus, which estimates counts, has the same series."""
    answer = [shown(sample) for sample in prometheus_of_a_day.query(query.promql)]

    assert sorted(map(series, answer)) == sorted(map(series, query.answer))


def test_the_documentation_has_queries() -> None:
    """None of this is about nothing."""
    assert len(QUERIES) > 10


def series(line: str) -> str:
    """A line without its value."""
    return line.rpartition(" ")[0]


def values(lines: list[str]) -> list[str]:
    """The values of lines, in their order."""
    return [line.rpartition(" ")[2] for line in lines]
