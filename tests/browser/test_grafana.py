"""The boards and the links in Grafana's own page, in a real browser.

No registry has Grafana. CXTRACE_TEST_GRAFANA names the folder of one that was built by hand, with
its program in ``bin/grafana``; CXTRACE_TEST_TEMPO is needed as well.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from cxtrace import attributes as names
from cxtrace.cli import main
from cxtrace.platform.links.searches import Kind
from tests.backends.metric_stores import Prometheus
from tests.backends.servers import (
    HOST,
    PATIENT,
    Config,
    Jaeger,
    MissingError,
    OnePortServer,
    binary,
)
from tests.backends.three_customers import EXAMPLE, JOURNEYS, SEARCHES, printed, visit
from tests.backends.trace_stores import Tempo, given, values

pytestmark = pytest.mark.browser

GRAFANA = "CXTRACE_TEST_GRAFANA"
A_DAY = EXAMPLE.parents[1] / "tests" / "backends" / "a_day.py"
UIDS = ("living-journey", "stage", "touchpoint", "function", "promise", "sdk-health")
PANEL = "data-testid Panel header "
STEP = 300
"""Grafana asks for every fifth minute, in seconds."""
CHOSEN: dict[str, list[dict[str, str]]] = {
    "stage": [{"var-stage": "purchase"}, {"var-stage": "delivery"}],
    "touchpoint": [{"var-touchpoint": "checkout.pay"}],
    "function": [{"var-owner": name} for name in ("product", "service", "finance", "sales")],
    "promise": [{"var-promise": "pay_fast"}],
}
"""Not every stage has opinions, and not every function waits for another."""


class Grafana(OnePortServer):
    """A running Grafana, with what ``cxtrace dashboards`` writes and nothing else."""

    name = "grafana"
    health_path = "/api/health"

    def __init__(self, folder: Path, metrics: Prometheus, tempo: Tempo, jaeger: Jaeger) -> None:
        self.metrics, self.tempo, self.jaeger = metrics, tempo, jaeger
        super().__init__(folder)

    def program(self) -> Path:
        return given(GRAFANA) / "bin" / "grafana"

    def config(self) -> Config:
        made = self.folder / "made"
        places = {
            "--prometheus": self.metrics.url,
            "--tempo": self.tempo.url,
            "--jaeger": self.jaeger.query_url,
            "--mounted-at": str(made / "dashboards"),
        }
        options = [word for pair in places.items() for word in pair]
        assert main(["dashboards", str(EXAMPLE), "-o", str(made), *options]) == 0
        return {}

    def command(self, binary: Path, config: Path) -> list[str]:
        return [str(binary), "server", "--homepath", str(binary.parents[1])]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "GF_SERVER_HTTP_ADDR": HOST,
            "GF_SERVER_HTTP_PORT": str(self.ports.query),
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_AUTH_ANONYMOUS_ORG_ROLE": "Admin",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
            "GF_PATHS_DATA": str(self.folder / "data"),
            "GF_PATHS_LOGS": str(self.folder / "logs"),
            "GF_PATHS_PROVISIONING": str(self.folder / "made" / "provisioning"),
        }


@pytest.fixture(scope="module")
def grafana(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grafana]:
    """Behind it is a day of the shop; its Tempo has seen three customers, and nobody else."""
    given(GRAFANA), given("CXTRACE_TEST_TEMPO")
    try:
        binary("jaeger"), binary("prometheus")
    except MissingError as missing:
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("grafana")
    with ExitStack() as stack:
        jaeger = stack.enter_context(Jaeger(folder / "jaeger"))
        tempo = stack.enter_context(Tempo(folder / "tempo"))
        metrics = stack.enter_context(Prometheus(folder / "prometheus"))
        stack.enter_context(shop(jaeger, metrics))
        visits = 'sum(cx_touchpoint_duration_seconds_count{cx_touchpoint_name="home.visit"}) == 80'
        metrics.query(visits, timeout=30)
        visit(tempo.otlp_grpc)
        every = f"{{ span.{names.JOURNEY_ID} != nil }}"
        tempo.wait_for_traces(every, len(JOURNEYS), seconds=3_600)
        yield stack.enter_context(Grafana(folder / "grafana", metrics, tempo, jaeger))


@contextmanager
def shop(traces: Jaeger, metrics: Prometheus) -> Iterator[None]:
    """A service that lives through the day, and goes on telling its metrics."""
    kept = {name: each for name, each in os.environ.items() if not name.startswith("CXTRACE_")}
    environment = {
        **kept,
        **PATIENT,
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{traces.otlp_http}/v1/traces",
        "OTEL_METRICS_EXPORTER": "otlp_proto_http",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{metrics.otlp_http}/v1/metrics",
    }
    command = [sys.executable, str(A_DAY), "stay"]
    with subprocess.Popen(command, cwd=EXAMPLE.parents[1], env=environment) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
def tab(chromium: Any, grafana: Grafana) -> Iterator[Any]:
    """An empty tab, high enough for a whole board: Grafana asks for what can be seen."""
    window = chromium.new_context(viewport={"width": 1500, "height": 3000})
    yield window.new_page()
    window.close()


def open_board(tab: Any, grafana: Grafana, name: str, chosen: dict[str, str]) -> None:
    """Open it, and wait until nothing is under way.

    It ends at the next time that Grafana asks for, since the day was sent just now. Prometheus
    knows at that time what it was told within the five minutes before it.
    """
    time.sleep(max(0, STEP - 280 - time.time() % STEP))
    end = int(time.time() // STEP + 1) * STEP
    when = {"from": (end - 6 * 3_600) * 1_000, "to": end * 1_000}
    tab.goto(f"{grafana.url}/d/cx-shop-{name}?{urlencode({**when, **chosen})}&kiosk")
    tab.wait_for_selector(f'[data-testid^="{PANEL}"]')
    tab.wait_for_load_state("networkidle")
    tab.wait_for_function("!document.querySelector('[aria-label=\"Panel loading bar\"]')")


def panels(tab: Any, having: str = "") -> set[str]:
    """The titles of the panels that are seen, of those with such a text."""
    found = tab.locator(f'[data-testid^="{PANEL}"]').filter(has_text=having)
    return {each.get_attribute("data-testid").removeprefix(PANEL) for each in found.all()}


@pytest.mark.parametrize("name", UIDS)
def test_every_panel_shows_something(tab: Any, grafana: Grafana, name: str) -> None:
    """Grafana finds the boards and their data by itself, and no panel is empty or fails."""
    told = json.loads((grafana.folder / f"made/dashboards/{name}.json").read_text())
    shown = [each["title"] for each in told["panels"] if each["type"] != "row"]
    wanted = {title.replace("$currency", "EUR") for title in shown}
    empty = []
    for chosen in CHOSEN.get(name, [{}]):
        open_board(tab, grafana, name, chosen)
        assert panels(tab) == wanted
        assert tab.locator('[data-testid="data-testid Panel status error"]').count() == 0
        empty.append(panels(tab, "No data"))

    assert set.intersection(*empty) == set()


@pytest.mark.parametrize(
    ("name", "panel", "cell"),
    [
        ("living-journey", "Leading · Stages", "purchase"),
        ("living-journey", "Lagging · Stages", "service"),
        ("living-journey", "Lagging · Duration of journeys", "first_order"),
        ("stage", "Touchpoints", "checkout.pay"),
        ("promise", "Promises", "pay_works"),
        ("function", "Leading · Promises", "pay_works"),
    ],
)
def test_a_value_leads_to_its_traces(
    tab: Any, grafana: Grafana, name: str, panel: str, cell: str
) -> None:
    """Who clicks on a stage, a touchpoint, a promise or a journey comes to its board and traces."""
    open_board(tab, grafana, name, CHOSEN.get(name, [{}])[0])
    tab.locator(f'[data-testid="{PANEL}{panel}"]').get_by_text(cell, exact=True).first.click()
    tab.wait_for_selector("[role=menu] a")
    leads = {
        each.inner_text(): each.get_attribute("href") for each in tab.locator("[role=menu] a").all()
    }
    in_tempo = searched(tab, grafana, leads.pop("Traces in Tempo"), "**/api/search?**")
    in_jaeger = searched(tab, grafana, leads.pop("Traces in Jaeger"), "**/api/traces?**")

    assert in_tempo["traces"]
    assert in_jaeger["data"]
    assert bool(leads) is (cell != "first_order")  # a journey has no board of its own
    for title, address in leads.items():
        assert title.startswith("This ")
        tab.goto(grafana.url + address)
        assert cell in chosen_there(tab)


def chosen_there(tab: Any) -> str:
    """What is chosen at the top of the board that is open, in one text."""
    tab.wait_for_selector(f'[data-testid^="{PANEL}"]')
    return "\n".join(tab.locator('[data-testid*="Dashboard template variables"]').all_inner_texts())


def searched(tab: Any, grafana: Grafana, address: str, request: str) -> Any:
    """What the store answers when Explore is opened at an address."""
    assert address.startswith("/explore?")
    with tab.expect_response(request) as answered:
        tab.goto(grafana.url + address)
    return answered.value.json()


def test_a_dot_leads_to_its_trace(tab: Any, grafana: Grafana) -> None:
    """An exemplar beside the durations names a trace that Jaeger has, with links to both stores."""
    open_board(tab, grafana, "touchpoint", CHOSEN["touchpoint"][0])
    tab.locator('[data-testid*="xemplar marker"]').first.hover()
    tab.wait_for_selector("text=trace_id")
    told = tab.inner_text("body")
    found = re.search(r"trace_id\s+([0-9a-f]{32})", told)

    assert found is not None
    assert grafana.jaeger.trace(found[1]) is not None
    assert "Trace in Tempo" in told
    assert "Trace in Jaeger" in told


def test_an_alert_leads_to_the_board_of_its_promise(
    tab: Any, grafana: Grafana, tmp_path: Path
) -> None:
    """The address in an alert's annotations opens the board, with the promise chosen."""
    where = ["--grafana", grafana.url, "--jaeger", grafana.jaeger.query_url]
    assert main(["rules", str(EXAMPLE), "-o", str(tmp_path), *where]) == 0
    groups = yaml.safe_load((tmp_path / "rules" / "alerts.yaml").read_text())["groups"]
    addresses = {
        rule["annotations"]["dashboard_url"]
        for group in groups
        for rule in group["rules"]
        if rule["labels"].get("cx_promise_id") == "pay_works"
    }
    (address,) = addresses
    tab.goto(address)
    tab.wait_for_selector(f'[data-testid="{PANEL}Leading · Burn rate"]')

    assert "pay_works" in chosen_there(tab)
    assert tab.locator('[data-testid="data-testid Panel status error"]').count() == 0


@pytest.mark.parametrize("period", [[], ["--days", "7"]], ids=["", "7 days"])
@pytest.mark.parametrize(("kind", "value", "journeys"), SEARCHES)
def test_a_printed_address_opens_its_search(
    tab: Any,
    grafana: Grafana,
    kind: Kind,
    value: str,
    journeys: set[str],
    period: list[str],
) -> None:
    """What Explore finds at the address of ``cxtrace link`` are the journeys that are meant."""
    address = printed(kind, value, "--grafana", grafana.url, *period).removeprefix(grafana.url)

    found = searched(tab, grafana, address, "**/api/search?**")

    traces = [grafana.tempo.spans(each["traceID"]) for each in found.get("traces", ())]
    assert {journey for each in traces for journey in values(each, names.JOURNEY_ID)} == journeys
