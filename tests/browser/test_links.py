"""A link of ``cxtrace link`` in the page of VictoriaTraces, where one is given to the tests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cxtrace import attributes as names
from cxtrace.cli import main
from tests.backends.three_customers import GLAD, JOURNEYS, WAITS, visit
from tests.backends.trace_stores import VictoriaTraces

pytestmark = pytest.mark.browser

JOURNEY = f"span_attr:{names.JOURNEY_ID}"


@pytest.fixture(scope="module")
def victoriatraces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaTraces]:
    """It has seen three customers."""
    with VictoriaTraces(tmp_path_factory.mktemp("victoriatraces")) as server:
        visit(f"{server.otlp_http}/v1/traces", protocol="http/protobuf")

        def are_there() -> bool:
            now = time.time()
            return len(server.search(f'"{JOURNEY}":*', now - 3_600, now)) == len(JOURNEYS)

        server.wait_for(are_there, timeout=60)
        yield server


@pytest.mark.parametrize("period", [[], ["--days", "14"]], ids=["", "14 days"])
@pytest.mark.parametrize("place", ["America/Los_Angeles", "Asia/Tokyo"])
def test_the_page_of_victoriatraces_asks_for_what_is_meant(
    victoriatraces: VictoriaTraces,
    chromium: Any,
    capsys: pytest.CaptureFixture[str],
    period: list[str],
    place: str,
) -> None:
    """The page at the printed address shows these spans and no others, wherever its reader is."""
    where = ["--victoriatraces", victoriatraces.url]
    assert main(["link", "owner", "finance", *where, *period]) == 0
    url = capsys.readouterr().out.strip()
    context = chromium.new_context(timezone_id=place)
    tab = context.new_page()

    with tab.expect_response("**/select/logsql/query") as answered:
        tab.goto(url)
    lines = answered.value.text().splitlines()
    context.close()

    assert {json.loads(line)[JOURNEY] for line in lines} == {WAITS, GLAD}
