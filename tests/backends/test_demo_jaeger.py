"""The demo as an SRE finds it in Jaeger: every line of its promise, asked of Jaeger's API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cxtrace.privacy import HmacPseudonymiser, Key

from .servers import Jaeger, tags

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

KEY = "a key for the demo in Jaeger, of 32 bytes and some more"
SERVICES = ["fulfilment", "payments", "storefront"]
SIX_TAGS = {
    "cx.journey.name",
    "cx.journey.id",
    "cx.stage.name",
    "cx.touchpoint.name",
    "cx.owner.function",
    "enduser.pseudo.id",
}
PERSONAL = [
    "cust-004",
    "ann.lee",
    "bob.stone",
    "carla.diaz",
    "dora.novak",
    "emil.berg",
    "fay.okoro",
]
PERSONAL += ["gil.moreau", "4000 0000", "BACK-", "Rose", "%40example", "@example"]


@pytest.fixture(scope="module")
def summary(jaeger: Jaeger, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the demo says about its run, with all spans sent to Jaeger over gRPC."""
    if find_spec("fastapi") is None or find_spec("flask") is None:
        reason = "the demo's extras are not installed: pip install 'cxtrace[demo]'"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    code = "from cxtrace.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, "demo", "--json", "--protocol", "grpc"]
    done = subprocess.run(
        [*command, "--otlp", jaeger.otlp_grpc, "--jaeger", jaeger.query_url],
        cwd=tmp_path_factory.mktemp("demo"),
        env={**os.environ, "CXTRACE_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def journeys(summary: dict[str, Any], jaeger: Jaeger) -> dict[str, list[dict[str, Any]]]:
    """The traces of each journey, as Jaeger finds them by the tag alone."""
    return {
        journey["id"]: jaeger.traces("storefront", {"cx.journey.id": journey["id"]})
        for journey in summary["journeys"]
    }


def spans(traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The spans of traces, each with its service and, under `t`, its tags."""
    return [
        {**span, "service": trace["processes"][span["processID"]]["serviceName"], "t": tags(span)}
        for trace in traces
        for span in trace["spans"]
    ]


def test_each_journey_is_found_by_its_id(journeys: dict[str, list[dict[str, Any]]]) -> None:
    """Jaeger finds each of the seven journeys by `cx.journey.id`: several traces each."""
    assert len(journeys) == 7
    assert all(len(traces) >= 3 for traces in journeys.values())


def test_each_journey_has_spans_of_all_three_services(
    journeys: dict[str, list[dict[str, Any]]],
) -> None:
    """Storefront, payments and fulfilment are in every journey, and carry its id themselves."""
    for id_, traces in journeys.items():
        own = [span for span in spans(traces) if span["t"].get("cx.journey.id") == id_]
        assert sorted({span["service"] for span in own}) == SERVICES


def test_a_journey_is_found_from_every_service(summary: dict[str, Any], jaeger: Jaeger) -> None:
    """The search by tag works whichever service is chosen in Jaeger's form."""
    for journey in summary["journeys"]:
        for service in SERVICES:
            assert jaeger.traces(service, {"cx.journey.id": journey["id"]})


def test_every_stock_span_carries_the_six_tags(
    journeys: dict[str, list[dict[str, Any]]],
) -> None:
    """Every SQL, HTTP client, server and messaging span has all six, in Jaeger too."""
    found = [span for traces in journeys.values() for span in spans(traces)]
    stock = [span for span in found if span["t"].get("span.kind", "internal") != "internal"]
    kinds = {span["t"]["span.kind"] for span in stock}
    assert kinds == {"server", "client", "producer", "consumer"}
    assert any("db.statement" in span["t"] for span in stock)
    assert not [
        (s["operationName"], SIX_TAGS - s["t"].keys()) for s in stock if SIX_TAGS - s["t"].keys()
    ]


def test_who_logged_in_halfway_is_on_the_root_span(
    summary: dict[str, Any], journeys: dict[str, list[dict[str, Any]]]
) -> None:
    """The root span of the login request carries the customer's pseudonym."""
    (id_,) = (j["id"] for j in summary["journeys"] if "logged in halfway" in j["story"])
    (root,) = (
        span
        for span in spans(journeys[id_])
        if not span["references"] and span["t"]["cx.touchpoint.name"] == "account.login"
    )
    expected = HmacPseudonymiser(Key(KEY.encode())).pseudonym("cust-0042")
    assert root["t"]["enduser.pseudo.id"] == expected
    assert root["t"]["span.kind"] == "server"


def test_nothing_personal_has_reached_jaeger(
    journeys: dict[str, list[dict[str, Any]]],
) -> None:
    """No customer's id, e-mail address, card or letter is anywhere in what Jaeger returns."""
    everything = json.dumps(journeys, ensure_ascii=False)
    assert len(everything) > 100_000
    assert [text for text in PERSONAL if text in everything] == []


def test_the_printed_url_finds_the_journey(
    summary: dict[str, Any], journeys: dict[str, list[dict[str, Any]]]
) -> None:
    """Jaeger's API answers the query of the printed URL with the same traces."""
    for journey in summary["journeys"]:
        url = journey["jaeger_url"]
        assert url.count("/search?") == 1
        with urllib.request.urlopen(url.replace("/search?", "/api/traces?"), timeout=10) as answer:
            found = json.load(answer)["data"]
        ids = {trace["traceID"] for trace in found}
        assert ids == {trace["traceID"] for trace in journeys[journey["id"]]}


def test_the_summary_is_read_back_from_jaeger(
    summary: dict[str, Any], journeys: dict[str, list[dict[str, Any]]]
) -> None:
    """What the demo prints is what Jaeger has, and no file of spans was written."""
    assert summary["spans"] == sum(len(spans(traces)) for traces in journeys.values())
    assert summary["file"] is None
    assert summary["refused"] == ["metrics", "logs"]
    assert all(check["passed"] for check in summary["checks"])
    assert not (Path(summary["logs"]) / "spans.jsonl").exists()
