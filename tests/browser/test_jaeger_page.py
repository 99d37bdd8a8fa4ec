"""Jaeger's own page, with the links that are made for it, in a real browser.

The Jaeger of the tests is built without its page. CXTRACE_TEST_JAEGER_UI names the folder `build`
of a built https://github.com/jaegertracing/jaeger-ui (packages/jaeger-ui).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxtrace.journey_map import JourneyMap
from cxtrace.platform.links import jaeger_files, urls
from cxtrace.platform.links.searches import search_for
from tests.backends.servers import PATIENT, Config, Jaeger, MissingError, binary

pytestmark = pytest.mark.browser

EXAMPLE = Path(__file__).parents[2] / "examples" / "journeys.toml"
ASSETS = os.environ.get("CXTRACE_TEST_JAEGER_UI")
SERVICE, PATH = "shop", "/jaeger"
VISITS = """
import sys, cxtrace
from cxtrace import customer, journey, touchpoint

cxtrace.configure(service_name="shop", journey_map=sys.argv[1])
for order in ("j-pays", "j-waits"):
    with journey("first_order", id=order), customer(order):
        with touchpoint("home.visit"):
            pass
        with touchpoint("checkout.pay") as pay:
            if order == "j-pays":
                pay.fail("card_declined")
sys.exit(not cxtrace.flush(60))
"""


class WithPage(Jaeger):
    """A Jaeger with its page, under a path."""

    def config(self) -> Config:
        file = self.folder / jaeger_files.UI
        told = jaeger_files.ui_document(JourneyMap.load(EXAMPLE), [SERVICE])
        file.write_text(json.dumps(told), encoding="utf-8")
        config = super().config()
        config["extensions"]["jaeger_query"] |= {
            "base_path": PATH,
            "ui": {"assets_path": ASSETS, "config_file": str(file)},
        }
        return config

    @property
    def query_url(self) -> str:
        """Where its page is."""
        return f"{super().query_url}{PATH}"


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithPage]:
    """It has seen two journeys of two traces each."""
    if not ASSETS:
        pytest.skip("CXTRACE_TEST_JAEGER_UI names no folder with Jaeger's page")
    try:
        binary("jaeger")
    except MissingError as missing:
        pytest.skip(str(missing))
    with WithPage(tmp_path_factory.mktemp("page")) as server:
        environment = {
            **os.environ,
            **PATIENT,
            "CXTRACE_KEY": "a key for those who look at a page, of 32 bytes and more",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": server.otlp_grpc,
            "OTEL_METRICS_EXPORTER": "none",
        }
        subprocess.run([sys.executable, "-c", VISITS, str(EXAMPLE)], env=environment, check=True)
        server.wait_for(lambda: len(server.traces(SERVICE)) == 4)
        yield server


@pytest.fixture
def tab(chromium: Any, jaeger: WithPage) -> Iterator[Any]:
    """An empty tab of a window of its own."""
    window = chromium.new_context(viewport={"width": 1400, "height": 2000})
    yield window.new_page()
    window.close()


def found(tab: Any) -> int:
    """How many traces a search shows."""
    tab.wait_for_selector(".ResultItem")
    return int(tab.locator(".ResultItem").count())


@pytest.mark.parametrize(
    ("kind", "value", "traces"),
    [("journey", "j-pays", 2), ("stage", "purchase", 2), ("owner", "marketing", 2)],
)
def test_an_address_opens_its_search(
    tab: Any, jaeger: WithPage, kind: Any, value: str, traces: int
) -> None:
    """What the page shows are the traces that are meant, and its form says what was searched."""
    search = search_for(kind, value)
    tab.goto(urls.jaeger(jaeger.query_url, search, SERVICE))

    assert found(tab) == traces
    ((name, _),) = search.attributes.items()
    assert tab.locator("[name=tags]").input_value() == f"{name}={value}"


def test_a_click_on_a_tag_opens_its_search(tab: Any, jaeger: WithPage) -> None:
    """Journey, customer, stage, touchpoint and owner are links, and each finds its traces."""
    (trace,) = jaeger.traces(SERVICE, {"cx.touchpoint.outcome": "failed"})
    tab.goto(f"{jaeger.query_url}/trace/{trace['traceID']}")
    tab.locator(".span-row .span-view").first.click()
    tab.get_by_role("switch").filter(has_text="Tags").first.click()
    shown = {}
    for row in tab.locator(".KeyValueTable--row").filter(has=tab.locator("a")).all():
        link = row.locator("a").first
        if link.get_attribute("href") is None:  # it opens a list of links
            link.click()
            link = tab.locator(".ant-dropdown:not(.ant-dropdown-hidden) a").last
        with tab.context.expect_page() as opened:
            link.click()
        shown[row.locator(".KeyValueTable--keyColumn").inner_text()] = found(opened.value)

    assert shown == {
        "cx.touchpoint.name": 2,
        "cx.stage.name": 2,
        "cx.owner.function": 2,
        "cx.journey.id": 2,
        "enduser.pseudo.id": 2,
    }
