"""The dashboards: every query of every panel returns data, and every link finds what it names."""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.dashboards import dashboard_files, promql
from cxtrace.platform.dashboards.provisioning import Places
from cxtrace.platform.links.searches import Search
from tests import grafana

from . import a_large_company
from .metric_stores import MetricStore, Prometheus, VictoriaMetrics
from .servers import Config, Jaeger, run_program
from .trace_stores import Tempo, TraceStore, VictoriaTraces, given

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

pytest.importorskip("grafana_foundation_sdk", reason="Grafana's SDK needs Python 3.11")

ROOT = Path(__file__).parents[2]
A_DAY = ROOT / "tests" / "backends" / "a_day.py"
A_LARGE_COMPANY = ROOT / "tests" / "backends" / "a_large_company.py"
SHOP = JourneyMap.load(ROOT / "examples" / "journeys.toml")
FILES = dashboard_files(SHOP, Places())
BOARDS = {name: json.loads(text) for name, text in FILES.items() if name.endswith(".json")}
TARGETS = [(name, each) for name, board in BOARDS.items() for each in grafana.targets(board)]
each_target = pytest.mark.parametrize(
    ("board", "target"), TARGETS, ids=[str(target) for _, target in TARGETS]
)

LINTER = "CXTRACE_TEST_DASHBOARD_LINTER"
"""Names Grafana's ``dashboard-linter``, which `tools/backends/build` does not make."""

ONE: Mapping[str, Sequence[str]] = {
    "stage": ["purchase", "delivery"],
    "owner": ["product", "service", "sales", "finance"],
    "touchpoint": ["checkout.pay"],
    "promise": ["pay_fast"],
    "currency": ["EUR"],
    "service": ["shop"],
}
"""What is chosen where one thing must be: not every function waits, nor asks for an opinion."""
SEVERAL: Mapping[str, list[str]] = {
    "journey": ["first_order", "return_goods"],
    "stage": ["purchase", "delivery", "service"],
    "owner": ["product", "sales", "service"],
}
"""What is chosen where several may be."""


def readings(board: Mapping[str, Any], *, everything: bool) -> list[dict[str, grafana.Choice]]:
    """Choices of the variables of a board, each of which may be looked at."""
    choices: dict[str, Sequence[grafana.Choice]] = {}
    for name, variable in grafana.variables(board).items():
        many: grafana.Choice = "$__all" if everything else SEVERAL.get(name, [])
        choices[name] = [many] if variable["multi"] else ONE[name]
    every = itertools.product(*choices.values())
    return [dict(zip(choices, each, strict=True)) for each in every]


@pytest.fixture(scope="module")
def traces(jaeger_binary: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """A Jaeger that has the traces of the days, and nothing else."""
    with Jaeger(tmp_path_factory.mktemp("jaeger_of_days")) as server:
        yield server


@pytest.fixture(scope="module")
def of_victoriametrics(
    victoriametrics_binary: None, traces: Jaeger, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VictoriaMetrics]:
    """A VictoriaMetrics that has one day of the shop."""
    with VictoriaMetrics(tmp_path_factory.mktemp("victoriametrics_of_boards")) as store:
        live(store, traces)
        yield store


@pytest.fixture(scope="module")
def of_prometheus(
    prometheus_binary: None, traces: Jaeger, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that has one day of the shop."""
    with Prometheus(tmp_path_factory.mktemp("prometheus_of_boards")) as store:
        live(store, traces)
        yield store


@pytest.fixture(scope="module", params=["victoriametrics", "prometheus"])
def day(request: pytest.FixtureRequest) -> MetricStore:
    """Each of the stores, with the same day in it."""
    store: MetricStore = request.getfixturevalue(f"of_{request.param}")
    return store


def live(store: MetricStore, traces: Jaeger) -> None:
    """Send a day to the store and to Jaeger, and wait until all of it can be seen."""
    to_jaeger = {
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{traces.otlp_http}/v1/traces",
    }
    send(A_DAY, store, to_jaeger)
    store.query('sum(cx_touchpoint_duration_seconds_count{cx_touchpoint_name="home.visit"}) == 80')


def send(program: Path, store: MetricStore, environment: Mapping[str, str]) -> None:
    """Let a program send its metrics to the store."""
    chosen = {
        "OTEL_METRICS_EXPORTER": "otlp_proto_http",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{store.otlp_http}/v1/metrics",
        **environment,
    }
    run_program(program, chosen)


def answer(
    store: MetricStore, board: Mapping[str, Any], target: grafana.Target, *, everything: bool
) -> list[dict[str, str]]:
    """The series that a panel draws, those with a number in them, of the first choice with any."""
    for chosen in readings(board, everything=everything):
        expr = grafana.promql(target.expr, board, chosen, step=target.step)
        if found := numbers(store, expr, is_instant=target.is_instant):
            return found
    return []


def numbers(store: MetricStore, expr: str, *, is_instant: bool) -> list[dict[str, str]]:
    """The labels of the series of an answer that have a number."""
    if not is_instant:
        return store.lines(expr, seconds=300, step=1)
    found = store.query(expr, at_least=0)
    return [each.labels for each in found if math.isfinite(each.value)]


@pytest.mark.parametrize("board", BOARDS)
def test_the_linter_of_grafana_has_nothing_against_a_board(tmp_path: Path, board: str) -> None:
    """Strictly, and with no rule left out but those in the file that is written beside them."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [str(given(LINTER)), "lint", "--strict", str(tmp_path / board)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    found = [line for line in done.stdout.splitlines() if not line.startswith("Checks that ")]
    assert (done.returncode, found, done.stderr) == (0, [], "")


@each_target
def test_every_panel_has_data(day: MetricStore, board: str, target: grafana.Target) -> None:
    """Each query of each panel gives at least one line with a number, with everything chosen."""
    assert answer(day, BOARDS[board], target, everything=True)


@each_target
def test_every_panel_has_data_of_what_is_chosen(
    day: MetricStore, board: str, target: grafana.Target
) -> None:
    """Each query gives a number when several stages, owners and journeys are chosen too."""
    assert answer(day, BOARDS[board], target, everything=False)


@pytest.mark.parametrize("board", BOARDS)
def test_every_variable_offers_what_the_day_had(day: MetricStore, board: str) -> None:
    """The values of each variable are what was touched; chains narrow them."""
    document = BOARDS[board]
    for name, variable in grafana.variables(document).items():
        values = offered(day, document, variable)
        wanted = SEVERAL if variable["multi"] else ONE

        assert set(wanted[name]) <= set(values), name
        assert all(values), name


def offered(store: MetricStore, board: Mapping[str, Any], variable: Mapping[str, Any]) -> list[str]:
    """What can be chosen of a variable."""
    if variable["type"] == "custom":
        return [each.strip() for each in variable["query"].split(",")]
    query = grafana.promql(variable["query"]["query"], board, readings(board, everything=True)[0])
    values = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    if values is not None:
        return store.label_values(values[1], values[2])
    result = re.fullmatch(r"query_result\((.+)\)", query)
    assert result is not None
    pattern = variable["regex"].strip("/")
    found = []
    for sample in store.query(result[1]):
        labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
        found += re.findall(pattern, f"{{{labels}}} {sample.value:g} {int(time.time() * 1000)}")
    return found


@pytest.mark.parametrize("board", BOARDS)
def test_the_columns_of_a_table_have_the_same_rows(day: MetricStore, board: str) -> None:
    """All queries of a table have the labels of its keys and no other: Grafana can join them."""
    document = BOARDS[board]
    for panel in grafana.panels(document):
        if panel["type"] != "table":
            continue
        keys = {name for name in grafana.columns(panel) if not name.startswith("Value #")}
        for target in grafana.targets({**document, "panels": [panel]}):
            for labels in answer(day, document, target, everything=True):
                assert set(labels) - {"__name__"} == keys, str(target)


def test_exemplars_lead_to_traces(of_prometheus: Prometheus, traces: Jaeger) -> None:
    """The panel of durations has exemplars, under the name in the data source, of real traces."""
    board = BOARDS["dashboards/touchpoint.json"]
    (expr,) = (
        each["expr"]
        for panel in grafana.panels(board)
        for each in panel["targets"]
        if each.get("exemplar")
    )
    query = grafana.promql(expr, board, readings(board, everything=True)[0])
    found = of_prometheus.exemplars(query, at_least=1)

    assert {each.series["cx_touchpoint_name"] for each in found} == {"checkout.pay"}
    assert [each for each in found if traces.trace(each.labels["trace_id"]) is None] == []


def test_a_name_of_any_kind_is_asked_for_as_it_is(day: MetricStore) -> None:
    """What means something to PromQL or to a regular expression is taken to the letter."""
    odd = ['a"b', "a\\b", "a\nb", "a.b|c*", "{$x}", "$1 ${2}", "[é]漢🙂", "(a+)?^", "-#~&%<>;"]
    rows = day.query(promql.listed(names.STAGE_NAME, odd))

    assert {row.labels["cx_stage_name"]: row.value for row in rows} == {
        name: number for number, name in enumerate(odd, 1)
    }
    for name in odd:
        condition = promql.one_of(names.STAGE_NAME, [name])
        assert day.query(f"absent(nothing{{{condition}}})")


def test_a_share_is_never_more_than_all(day: MetricStore) -> None:
    """What is guessed of a part can be more than what is guessed of the whole."""
    assert day.value(promql.ratio("vector(3)", "vector(2)")) == 1.5
    assert day.value(promql.share("vector(3)", "vector(2)")) == 1


@pytest.fixture(scope="module")
def of_a_large_company(
    victoriametrics_binary: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VictoriaMetrics]:
    """A VictoriaMetrics that has the day of a large company."""
    with VictoriaMetrics(tmp_path_factory.mktemp("victoriametrics_of_a_large_company")) as store:
        # It is one export of thousands of series, on a machine that has other work.
        patient = {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_TIMEOUT": "15"}
        send(A_LARGE_COMPANY, store, patient)
        store.query('sum(cx_touchpoint_duration_seconds_count{cx_stage_name!=""}) == 2000')
        yield store


def test_boards_of_a_large_company_can_be_read(of_a_large_company: VictoriaMetrics) -> None:
    """With 500 touchpoints and 40 functions no picture has more than 20 lines, but for stages."""
    documents = {
        name: json.loads(text)
        for name, text in dashboard_files(
            JourneyMap.loads(a_large_company.large_map()), Places()
        ).items()
        if name.endswith(".json")
    }
    one = {"touchpoint": "area0.touch0", "promise": "p0", "stage": "s0", "owner": "f0"}
    lines = {}
    for board in documents.values():
        chosen: dict[str, grafana.Choice] = {
            name: "$__all" if each["multi"] else one.get(name, ONE.get(name, [""])[0])
            for name, each in grafana.variables(board).items()
        }
        for target in grafana.targets(board):
            expr = grafana.promql(target.expr, board, chosen, step=target.step)
            found = numbers(of_a_large_company, expr, is_instant=target.is_instant)
            if target.kind != "table":
                lines[str(target)] = len(found)

    assert sum(1 for number in lines.values() if number) > 45
    assert {name: number for name, number in lines.items() if number > 20} == {}


LINKS = [
    (name, panel["title"], *link)
    for name, board in BOARDS.items()
    for panel in grafana.panels(board)
    for link in grafana.links(panel)
]
LABELS = {
    "cx_journey_name": "first_order",
    "cx_promise_id": "pay_fast",
    "cx_friction_type": "slow",
}
"""Of the lines that are followed."""
CELLS = {
    "Stage": "purchase",
    "Touchpoint": "checkout.pay",
    "Promise": "pay_fast",
}
"""The cells that are followed, by their column."""


@pytest.mark.parametrize(
    ("board", "panel", "where", "title", "url"),
    [each for each in LINKS if each[3] == "Traces in Jaeger"],
)
def test_a_link_to_jaeger_finds_traces(
    of_prometheus: Prometheus,
    traces: Jaeger,
    board: str,
    panel: str,
    where: str,
    title: str,
    url: str,
) -> None:
    """Service and tags of the search are those of traces that are there."""
    document = BOARDS[board]
    chosen = readings(document, everything=True)[0]
    opened = grafana.link(url, document, chosen, LABELS, CELLS.get(where, ""))
    query = grafana.explored(opened)
    searched = grafana.tags(query["tags"])

    assert "$" not in json.dumps(query)
    assert traces.traces(query["service"], searched)
    assert traces.traces(query["service"], dict.fromkeys(searched, "nobody")) == []


@pytest.fixture(scope="module")
def of_victoriatraces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaTraces]:
    """A VictoriaTraces that has one day of the shop."""
    with VictoriaTraces(tmp_path_factory.mktemp("victoriatraces_of_boards")) as traces:
        run_program(A_DAY, sending_to(traces))
        home = {names.TOUCHPOINT_NAME: "home.visit"}
        traces.wait_for(lambda: len(traces.traces("shop", home)) == 80, timeout=60)
        yield traces


def sending_to(traces: TraceStore) -> dict[str, str]:
    """The settings of who sends spans there, and no metrics."""
    return {
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{traces.otlp_http}/v1/traces",
        "OTEL_METRICS_EXPORTER": "none",
    }


@pytest.mark.parametrize(
    ("board", "panel", "where", "title", "url"),
    [each for each in LINKS if each[3] == "Traces in Jaeger"],
)
def test_a_link_to_jaeger_finds_traces_in_victoriatraces(
    of_victoriatraces: VictoriaTraces, board: str, panel: str, where: str, title: str, url: str
) -> None:
    """In the place of Jaeger it finds what is in spans; it does not search their events."""
    document = BOARDS[board]
    chosen = readings(document, everything=True)[0]
    query = grafana.explored(grafana.link(url, document, chosen, LABELS, CELLS.get(where, "")))
    searched = grafana.tags(query["tags"])
    found = of_victoriatraces.traces(query["service"], searched)

    assert bool(found) is not Search(searched).is_of_events
    assert of_victoriatraces.traces(query["service"], dict.fromkeys(searched, "nobody")) == []


class PatientTempo(Tempo):
    """A Tempo that looks in its memory for spans as old as those of the day.

    By itself it looks there for the last 15 minutes alone.
    """

    def config(self) -> Config:
        made = super().config()
        made["query_frontend"]["search"]["query_backend_after"] = "24h"
        return made


@pytest.fixture(scope="module")
def of_tempo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tempo]:
    """A Tempo that has one day of the shop."""
    with PatientTempo(tmp_path_factory.mktemp("tempo_of_boards")) as traces:
        run_program(A_DAY, sending_to(traces))
        home = f'{{ span.{names.TOUCHPOINT_NAME} = "home.visit" }}'
        traces.wait_for_traces(home, 80, seconds=86_400)
        yield traces


def last_day() -> tuple[int, int]:
    """Its beginning and its end, in seconds since 1970."""
    now = int(time.time())
    return now - 86_400, now


@pytest.mark.parametrize(
    ("board", "panel", "where", "title", "url"),
    [each for each in LINKS if each[3] == "Traces in Tempo"],
)
def test_a_link_to_tempo_finds_traces(
    of_tempo: Tempo, board: str, panel: str, where: str, title: str, url: str
) -> None:
    """The TraceQL of the search finds traces that are there, and none with other values."""
    document = BOARDS[board]
    chosen = readings(document, everything=True)[0]
    opened = grafana.link(url, document, chosen, LABELS, CELLS.get(where, ""))
    query = grafana.explored(opened)["query"]

    assert "$" not in query
    assert of_tempo.search(query, *last_day())
    assert of_tempo.search(re.sub(r'"[^"]*"', '"nobody"', query), *last_day()) == []


def test_there_are_links() -> None:
    """None of this is about nothing."""
    assert len(TARGETS) > 80
    for title in ("Traces in Jaeger", "Traces in Tempo"):
        assert len([each for each in LINKS if each[3] == title]) > 8
