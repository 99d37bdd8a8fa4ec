"""Links in a real Jaeger: each opens the right search, and Jaeger takes the files that are made."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxtrace.journey_map import JourneyMap
from cxtrace.platform.links import jaeger_files, urls
from cxtrace.platform.links.searches import Kind, search_for
from cxtrace.privacy import HmacPseudonymiser, Key

from .metric_stores import Prometheus
from .servers import HOST, Jaeger, get
from .three_customers import (
    CUSTOMERS,
    EXAMPLE,
    HOSTILE,
    JOURNEYS,
    KEY,
    SEARCHES,
    SERVICE,
    WAITS,
    printed,
    visit,
)

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]


class Configured(Jaeger):
    """A Jaeger that is started with the files of `cxtrace jaeger`, as they are."""

    def __init__(self, folder: Path, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        super().__init__(folder)

    def command(self, binary: Path, config: Path) -> list[str]:
        files = jaeger_files.files(JourneyMap.load(EXAMPLE), [SERVICE])
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        ports = self.ports
        environment = {
            "JAEGER_HOST": HOST,
            "JAEGER_OTLP_GRPC_PORT": ports.otlp_grpc,
            "JAEGER_OTLP_HTTP_PORT": ports.otlp_http,
            "JAEGER_HEALTH_PORT": ports.health,
            "JAEGER_QUERY_PORT": ports.query,
            "JAEGER_QUERY_GRPC_PORT": ports.query_grpc,
            "JAEGER_UI_CONFIG": self.folder / jaeger_files.UI,
            "JAEGER_FIGURES_EVERY": "500ms",
            "PROMETHEUS_URL": self._prometheus.url,
            "PROMETHEUS_OTLP_URL": self._prometheus.otlp_http,
        }
        settings = [f"{name}={value}" for name, value in environment.items()]
        return ["env", *settings, str(binary), "--config", str(self.folder / jaeger_files.CONFIG)]


@pytest.fixture(scope="module")
def configured(
    jaeger_binary: None, prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Configured]:
    """It has seen three customers."""
    with Configured(tmp_path_factory.mktemp("configured"), prometheus) as server:
        visit(server.otlp_grpc)
        # It takes what comes in batches.
        server.wait_for(lambda: len(server.traces(SERVICE)) >= len(JOURNEYS))
        yield server


def found_by(url: str) -> set[str]:
    """The journeys that Jaeger finds when its page asks for what the address says."""
    status, body = get(url.replace("/search?", "/api/traces?"))
    assert status == 200, body
    tags = [
        tag for trace in json.loads(body)["data"] for span in trace["spans"] for tag in span["tags"]
    ]
    return {tag["value"] for tag in tags if tag["key"] == "cx.journey.id"}


@pytest.mark.parametrize("period", [[], ["--days", "14"]], ids=["", "14 days"])
@pytest.mark.parametrize(("kind", "value", "journeys"), SEARCHES)
def test_a_link_finds_its_traces_and_no_other(
    configured: Configured,
    kind: Kind,
    value: str,
    journeys: set[str],
    period: list[str],
) -> None:
    """Jaeger answers the query of the printed address with the journeys that are meant."""
    where = ["--jaeger", configured.query_url, "--service", SERVICE]

    assert found_by(printed(kind, value, *where, *period)) == journeys


def test_a_hostile_value_finds_nothing(configured: Configured) -> None:
    """Jaeger reads it as a value, and says nothing of an error."""
    for value in HOSTILE:
        url = urls.jaeger(configured.query_url, search_for("stage", value), SERVICE)

        assert found_by(url) == set()


def test_jaeger_puts_the_links_into_its_page(configured: Configured) -> None:
    """It is where Jaeger's page has it; the rest of the page is a placeholder in this build."""
    status, body = get(configured.query_url)
    (told,) = re.findall(r"JAEGER_CONFIG = (.*);", body.decode())

    assert status == 200
    assert json.loads(told) == jaeger_files.ui_document(JourneyMap.load(EXAMPLE), [SERVICE])


def test_a_click_on_a_tag_of_a_real_span_finds_the_journey(configured: Configured) -> None:
    """Each link of the page, filled with a tag that Jaeger returned, leads back to its trace."""
    trace, *_ = configured.traces(SERVICE, {"cx.journey.id": WAITS})
    (span,) = trace["spans"]
    fields = [field for log in span["logs"] for field in log["fields"]]
    items: list[tuple[str, dict[str, Any]]] = [("tags", tag) for tag in span["tags"]]
    items += [("logs", field) for field in fields]
    patterns = jaeger_files.ui_document(JourneyMap.load(EXAMPLE), [SERVICE])["linkPatterns"]
    clicked = set()
    for kind, item in items:
        for each in patterns:
            if (each["type"], each["key"]) == (kind, item["key"]) and "value" not in each:
                value = urllib.parse.quote(item["value"], safe="")
                url = each["url"].replace(f"#{{{item['key']}}}", value)
                assert WAITS in found_by(f"{configured.query_url}/{url}"), each
                clicked.add(each["key"])

    assert clicked == {each["key"] for each in patterns}


@pytest.mark.parametrize(
    ("metric", "operations"),
    [
        ("calls", {"checkout.pay", "return.refund"}),
        ("latencies", {"checkout.pay", "return.refund"}),
        ("errors", {"checkout.pay"}),
    ],
)
def test_the_monitor_tab_has_figures(
    configured: Configured, metric: str, operations: set[str]
) -> None:
    """Calls, latencies and errors by touchpoint come back through Jaeger's own interface."""
    visit(configured.otlp_grpc, 4)
    query = f"service={SERVICE}&spanKind=internal&groupByOperation=true&quantile=0.95"
    url = f"{configured.query_url}/api/metrics/{metric}?{query}&lookback=60000&step=1000"

    def figures() -> set[str]:
        _, body = get(f"{url}&ratePer=60000")
        found = set()
        for each in json.loads(body)["metrics"]:
            labels = {label["name"]: label["value"] for label in each["labels"]}
            values = [float(p["gaugeValue"]["doubleValue"]) for p in each["metricPoints"]]
            if any(value > 0 for value in values):
                found.add(labels["operation"])
        return found

    assert configured.wait_for(lambda: figures() & operations == operations and figures())
    assert figures() == operations


def test_the_figures_have_no_ids(configured: Configured, prometheus: Prometheus) -> None:
    """No label of what Jaeger counts holds a customer or a journey."""
    series = prometheus.query('{__name__=~"traces_span_metrics_.+"}', timeout=30)

    text = json.dumps([each.labels for each in series])
    customers = map(HmacPseudonymiser(Key(KEY.encode())).pseudonym, CUSTOMERS)
    assert [each for each in (*customers, *JOURNEYS) if each in text] == []
