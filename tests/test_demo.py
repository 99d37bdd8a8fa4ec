"""`cxtrace demo`: the real shop, its real processes, and the telemetry that they wrote."""

import argparse
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import attrs
import grpc
import pytest

from cxtrace import cli
from cxtrace._tree import RecordedEvent, RecordedSpan
from cxtrace.cli import demo
from cxtrace.cli._demo import asking, reading, services, walking
from cxtrace.cli._demo import checks as demo_checks
from cxtrace.cli._demo import shop as demo_shop
from cxtrace.cli._demo.facts import DemoError, Found, Walk
from cxtrace.cli._demo.report import report
from cxtrace.exporters import read_spans
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import HmacPseudonymiser, Key
from tests.live_check import LiveCheck, read

KEY = "a key that only the tests of the demo have, not a secret"
COMMAND = [sys.executable, "-c", "from cxtrace.cli import main; raise SystemExit(main())", "demo"]
CUSTOMERS = {  # a customer's identifier, by what they have in the shop's database
    "cust-0042": "ann.lee@example.com",
    "cust-0043": "bob.stone@example.org",
    "cust-0044": "carla.diaz@example.net",
    "cust-0045": "dora.novak@example.com",
    "cust-0046": "emil.berg@example.org",
    "cust-0047": "fay.okoro@example.net",
    "cust-0048": "gil.moreau@example.org",
}
SIX_TAGS = {
    "cx.journey.name",
    "cx.journey.id",
    "cx.stage.name",
    "cx.touchpoint.name",
    "cx.owner.function",
    "enduser.pseudo.id",
}


class Run(NamedTuple):
    """A run of the demo with the file exporter."""

    summary: dict[str, Any]
    said: str
    spans: tuple[RecordedSpan, ...]
    file: Path

    def journey(self, story: str) -> list[RecordedSpan]:
        """The spans of the one whose story has these words."""
        (id_,) = (j["id"] for j in self.summary["journeys"] if story in j["story"])
        return [span for span in self.spans if span.attributes.get("cx.journey.id") == id_]


def requires_the_extras() -> None:
    """Skip where the demo cannot run; in CI it must."""
    missing = [name for name in demo._NEEDED if find_spec(name.partition(".")[0]) is None]
    missing += [name for name in demo._NEEDED if not missing and find_spec(name) is None]
    if missing:
        reason = f"{', '.join(missing)} not installed: pip install 'cxtrace[demo]'"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run for all tests that look at what was recorded."""
    requires_the_extras()
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [*COMMAND, "--json"],
        cwd=folder,
        env={**os.environ, "CXTRACE_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    file = folder / "cxtrace-demo" / demo.FILE
    return Run(json.loads(done.stdout), done.stderr, read_spans(file).spans, file)


def pseudonym(customer: str) -> str:
    """What must be recorded in place of the customer's id."""
    return HmacPseudonymiser(Key(KEY.encode())).pseudonym(customer)


def touchpoints(spans: list[RecordedSpan]) -> dict[str, list[str]]:
    """Outcomes by touchpoint."""
    found: dict[str, list[str]] = {}
    for span in sorted(spans, key=lambda span: span.end_ns):
        if "cx.touchpoint.outcome" in span.attributes:
            outcomes = found.setdefault(span.attributes["cx.touchpoint.name"], [])
            outcomes.append(span.attributes["cx.touchpoint.outcome"])
    return found


def root_of(spans: list[RecordedSpan], touchpoint: str) -> RecordedSpan:
    """The root span of the one request that was at a touchpoint."""
    (root,) = (
        span
        for span in spans
        if span.parent_id is None and span.attributes["cx.touchpoint.name"] == touchpoint
    )
    return root


# What was recorded


def test_three_services_and_nothing_else_record_spans(run: Run) -> None:
    """Storefront, payments and fulfilment write spans; browsers and the broker are outside."""
    assert {span.service_name for span in run.spans} == {"storefront", "payments", "fulfilment"}


def test_journeys_are_walked(run: Run) -> None:
    """Seven customers walk journeys of the map, each walk under an id of its own."""
    walked = run.summary["journeys"]
    assert {journey["name"] for journey in walked} == {"first_order", "win_back", "return_goods"}
    assert len({journey["id"] for journey in walked}) == len(walked) == len(CUSTOMERS)


def test_each_journey_has_spans_of_all_three_services(run: Run) -> None:
    """The refused, the abandoned and the return reach payments and fulfilment as well."""
    for journey in run.summary["journeys"]:
        services = {
            span.service_name
            for span in run.spans
            if span.attributes.get("cx.journey.id") == journey["id"]
        }
        assert services == {"storefront", "payments", "fulfilment"}, journey
        assert set(journey["services"]) == services


def test_every_span_of_frameworks_client_and_database_has_the_six_tags(run: Run) -> None:
    """SQL, HTTP client, server and messaging spans carry journey, touchpoint, owner, customer."""
    kinds = {"SERVER", "CLIENT", "PRODUCER", "CONSUMER"}
    stock = [span for span in run.spans if span.kind in kinds]
    assert {span.kind for span in stock} == kinds
    assert any("db.statement" in span.attributes for span in stock)
    assert any("http.url" in span.attributes and span.kind == "CLIENT" for span in stock)
    assert not [
        (span.name, SIX_TAGS - span.attributes.keys())
        for span in stock
        if SIX_TAGS - span.attributes.keys()
    ]


def test_every_span_belongs_to_a_journey(run: Run) -> None:
    """Starting and filling the databases leaves no spans without a customer."""
    assert not [span.name for span in run.spans if "cx.journey.id" not in span.attributes]


def test_traces_go_on_across_the_services(run: Run) -> None:
    """Every span's parent was recorded too: no hop, neither by HTTP nor by queue, breaks it."""
    known = {span.span_id for span in run.spans}
    assert not [s.name for s in run.spans if s.parent_id is not None and s.parent_id not in known]


def test_the_browser_starts_no_trace(run: Run) -> None:
    """The root of every trace is a server span of the storefront."""
    roots = {(s.service_name, s.kind) for s in run.spans if s.parent_id is None}
    assert roots == {("storefront", "SERVER")}


def test_success(run: Run) -> None:
    """The first order goes from the first look to the parcel, over thirteen touchpoints."""
    met = touchpoints(run.journey("logged in halfway"))
    route = ["home.visit", "catalogue.search", "product.view", "cart.add", "cart.view"]
    route += ["account.login", "checkout.address", "checkout.pay"]
    route += ["payment.authorise", "order.confirm"]
    route += ["delivery.pack", "delivery.ship", "delivery.track"]
    assert met.keys() == set(route)
    assert {outcome for outcomes in met.values() for outcome in outcomes} == {"completed"}


def test_refusal(run: Run) -> None:
    """A declined card fails two touchpoints, although HTTP said 200, and the stock goes back."""
    spans = run.journey("declined")
    met = touchpoints(spans)
    assert met["payment.authorise"] == met["checkout.pay"] == ["failed"] * 3
    assert "order.confirm" not in met
    for paying in (s for s in spans if s.parent_id is None and s.name == "POST /checkout"):
        assert paying.attributes["http.status_code"] == 200
        assert paying.attributes["error.type"] == "card_declined"
        assert paying.status_code == "ERROR"
    assert "process put_back" in {s.name for s in spans if s.service_name == "fulfilment"}


def test_abandonment(run: Run) -> None:
    """A cart that is left behind is abandoned, which is no error."""
    spans = run.journey("left it behind")
    assert touchpoints(spans)["cart.view"] == [*["completed"] * 4, "abandoned"]
    assert {span.status_code for span in spans} == {"UNSET"}


def test_a_stream_that_is_given_up_is_abandoned(run: Run) -> None:
    """A download ends as abandoned when the customer goes, and lasts until its last page else."""
    spans = run.journey("gave up a download")
    abandoned, completed = (
        span
        for span in sorted(spans, key=lambda span: span.start_ns)
        if span.attributes.get("cx.touchpoint.name") == "invoice.download" and span.kind == "SERVER"
    )
    assert abandoned.attributes["cx.touchpoint.outcome"] == "abandoned"
    assert completed.attributes["cx.touchpoint.outcome"] == "completed"
    assert completed.end_ns - completed.start_ns > 12 * 0.05 * 1e9


def test_the_slow_query_is_slow_by_itself(run: Run) -> None:
    """The search spends its time in one SQL span, which names touchpoint and owner."""
    (query,) = (s for s in run.spans if "popularity" in s.attributes.get("db.statement", ""))
    search = root_of(run.journey("logged in halfway"), "catalogue.search")
    assert query.end_ns - query.start_ns > 1e9
    assert query.end_ns - query.start_ns > 0.5 * (search.end_ns - search.start_ns)
    assert query.attributes["cx.touchpoint.name"] == "catalogue.search"
    assert query.attributes["cx.owner.function"] == "product"


def test_who_logs_in_halfway_is_on_the_root_span(run: Run) -> None:
    """The visitor has one pseudonym until the login, and from its root span on the customer's."""
    spans = run.journey("logged in halfway")
    login = root_of(spans, "account.login")
    assert login.attributes["enduser.pseudo.id"] == pseudonym("cust-0042")
    assert login.attributes["cx.customer.kind"] == "person"
    roots = [span for span in spans if span.parent_id is None]
    before = {s.attributes["enduser.pseudo.id"] for s in roots if s.start_ns < login.start_ns}
    after = {s.attributes["enduser.pseudo.id"] for s in roots if s.start_ns > login.start_ns}
    assert len(before) == 1
    assert before != after == {pseudonym("cust-0042")}


def test_the_pseudonym_is_the_same_in_all_services(run: Run) -> None:
    """What fulfilment packs, it packs for the customer who paid in the storefront."""
    packing = [s for s in run.journey("logged in halfway") if s.name == "delivery.pack"]
    assert [s.attributes["enduser.pseudo.id"] for s in packing] == [pseudonym("cust-0042")]


def test_what_is_done_between_two_parcels_is_no_part_of_packing(run: Run) -> None:
    """The generator that packs does not become the parent of what its consumer does."""
    spans = run.journey("logged in halfway")
    (packing,) = (span for span in spans if span.name == "delivery.pack")
    (shipping,) = (span for span in spans if span.name == "delivery.ship")
    assert shipping.parent_id == packing.parent_id


def test_fulfilment_that_calls_the_storefront_starts_no_visit(run: Run) -> None:
    """The storefront's span of the call has the tags of fulfilment's touchpoint."""
    (call,) = (s for s in run.journey("logged in halfway") if s.name.startswith("PUT /orders"))
    assert call.attributes["cx.touchpoint.name"] == "delivery.ship"
    assert call.attributes["cx.stage.name"] == "delivery"


def test_touchpoints_are_those_of_the_map(run: Run) -> None:
    """The code names no touchpoint that the map does not plan."""
    planned = [span.attributes.get("cx.touchpoint.planned") for span in run.spans]
    assert True in planned
    assert False not in planned


def test_every_event_and_metric_of_the_registry_is_there(run: Run) -> None:
    """The customers live through all that can be told; and what is told is as the registry says."""
    check = LiveCheck().run(read([run.file]))
    assert dict(check.findings) == {}
    numbers = check.statistics()
    for kind in ("event", "metric"):
        assert [name for name, n in numbers[f"seen_registry_{kind}s"].items() if not n] == []


def test_every_rule_of_the_map_finds_something(run: Run) -> None:
    """Each rule finds the customer who was scripted for it, at the touchpoint where it happens."""
    found = {
        (event.attributes["cx.friction.detector"], event.attributes["cx.touchpoint.name"])
        for span in run.spans
        for event in span.events
        if event.name == "cx.friction" and event.attributes["cx.friction.source"] == "rule"
    }
    assert found == {
        ("slow@1", "catalogue.search"),
        ("slow@1", "checkout.pay"),
        ("backtrack@1", "product.view"),
        ("repeat_action@1", "cart.view"),
        ("repeat_action@1", "account.login"),
        ("repeat_action@1", "checkout.pay"),
        ("validation_loop@1", "account.login"),
        ("error_streak@1", "account.login"),
        ("error_streak@1", "checkout.pay"),
        ("error_streak@1", "payment.authorise"),
        ("repeat_contact@1", "delivery.track"),
    }


def test_log_lines_lead_to_the_journey(run: Run) -> None:
    """The shop's log is JSON that names trace and journey, and the same record went out as OTLP."""
    (ids,) = ({j["id"]} for j in run.summary["journeys"] if "declined" in j["story"])
    lines = (run.file.parent / "storefront.log").read_text().splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    declined = [line for line in logged if line["event"] == "card declined"]
    assert [line["times"] for line in declined] == [1, 2, 3]
    assert {line["cx.journey.id"] for line in declined} == ids
    assert {line["level"] for line in declined} == {"warning"}
    sent = [
        record for record in records(run.file) if record["body"]["stringValue"] == "card declined"
    ]
    assert [record["traceId"] for record in sent] == [line["trace_id"] for line in declined]
    for record in sent:
        tags = {each["key"]: each["value"] for each in record["attributes"]}
        assert {tags["cx.journey.id"]["stringValue"]} == ids
        assert tags["cx.owner.function"] == {"stringValue": "product"}


def records(file: Path) -> Iterator[dict[str, Any]]:
    """The log records in a file that have a text: what the shop logged."""
    for line in file.read_text().splitlines():
        for resource in json.loads(line).get("resourceLogs", ()):
            for scope in resource["scopeLogs"]:
                yield from (
                    each for each in scope["logRecords"] if "stringValue" in each.get("body", {})
                )


@pytest.mark.parametrize(
    "text", [*CUSTOMERS, *CUSTOMERS.values(), "4000 0000 0000 00", "BACK-", "Rose Lane"]
)
def test_nothing_personal_is_recorded(run: Run, text: str) -> None:
    """No customer's id, e-mail address, card or letter is in the file, however it is written."""
    written = run.file.read_bytes()
    assert text.encode() not in written
    assert quote(text, safe="").encode() not in written
    assert text.encode().hex().encode() not in written
    assert base64.b64encode(text.encode())[:-4] not in written


# What is printed


def test_the_summary_counts_by_stage(run: Run) -> None:
    """JSON has, for each stage and touchpoint of the map, count, outcomes and median duration."""
    stages = {stage["name"]: stage for stage in run.summary["stages"]}
    shop = demo_shop.find_shop()
    assert shop is not None
    assert list(stages) == list(JourneyMap.load(shop.journey_map).stages)
    purchase = stages["purchase"]
    assert purchase["outcomes"] == {"completed": 24, "abandoned": 1, "failed": 9, "deferred": 1}
    assert purchase["count"] == 35
    (paying,) = (t for t in purchase["touchpoints"] if t["name"] == "checkout.pay")
    assert paying["outcomes"] == {"completed": 3, "failed": 3}
    assert 0.15 < paying["median_s"] < 30
    assert all(
        touchpoint["count"] for stage in stages.values() for touchpoint in stage["touchpoints"]
    )


def test_the_checks_pass_and_the_run_is_short(run: Run) -> None:
    """The demo's own checks agree, and it takes much less than a minute."""
    assert [check["what"] for check in run.summary["checks"] if not check["passed"]] == []
    assert len(run.summary["checks"]) == 5
    assert run.summary["seconds"] < 110
    assert run.summary["spans"] == len(run.spans)
    assert run.summary["file"] == str(run.file)


def test_progress_is_said_beside_the_result(run: Run) -> None:
    """Standard error tells who walked; standard output is JSON alone."""
    for name in ("Ann", "Bob", "Carla", "Dora", "Emil", "Fay", "Gil"):
        assert name in run.said


def test_the_report(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The text shows a tree over three services, the map, the checks, and where the file is."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("CXTRACE_SERVICE_NAME", "not-the-demo's")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    (tmp_path / demo.FILE).write_text("of yesterday")
    monkeypatch.delenv("CXTRACE_KEY", raising=False)

    assert cli.main(["demo", "--keep", str(tmp_path)]) == 0

    out = capsys.readouterr().out
    assert "11 requests of one customer in storefront, payments, fulfilment" in out
    assert re.search(
        r"customer v1\.\S+ since home.visit\ncustomer v1\.\S+ since account.login", out
    )
    assert re.search(r"✓ checkout.pay  POST /checkout +[\d.]+ m?s  purchase", out)
    assert "POST /payments  @payments" in out
    assert "process deliver  @fulfilment" in out
    numbers = r"purchase +35  ✓ 24  ○ 1  ✗ 9  … 1 +[\d.]+ m?s  while they are customers"
    assert re.search(rf"\n{numbers}\n", out)
    assert re.search(r"\n  checkout.pay +6  ✓ 3  ✗ 3 +[\d.]+ m?s  product\n", out)
    assert re.search(
        r"\npurchase +14  validation_rejected 7, error 3, repeat_action 3, slow [1-6]\n", out
    )
    assert re.search(r"\npay_fast +✓ [0-2]  ✗ [1-3]  … 3  it [1-3], .*product [1-3]", out)
    assert out.count("\n✓ ") == 5 + 2  # the checks and the legends
    assert str(tmp_path / demo.FILE) in out
    assert "of yesterday" not in (tmp_path / demo.FILE).read_text()
    assert {path.suffix for path in tmp_path.iterdir()} == {".jsonl", ".log"}


# Leaving nothing behind


def running_with(key: str) -> list[str]:
    """The processes that have this key in their environment."""
    processes = Path("/proc").glob("[0-9]*")
    return [process.name for process in processes if key.encode() in environment_of(process)]


def environment_of(process: Path) -> bytes:
    """The environment of a process, empty where it is not ours or has gone."""
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, told: signal.Signals) -> None:
    """Ctrl-C and SIGTERM stop all services before the demo ends."""
    requires_the_extras()
    key = f"{told.name} {tmp_path} {'-' * 32}"
    with subprocess.Popen(
        [*COMMAND, "--keep", "kept"],
        cwd=tmp_path,
        env={**os.environ, "CXTRACE_KEY": key},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("open after"):
                break
        assert len(running_with(key)) >= 5
        process.send_signal(told)
        said = process.stderr.read()
        assert process.wait(30) == 1
    assert said.endswith("cxtrace demo: stopped, and so are the services\n")
    deadline = time.monotonic() + 5
    while running_with(key) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running_with(key) == []


# Wrong use


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said of wrong use."""
    assert cli.main(["demo", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_missing_extras_are_named_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its extras the demo says which pip command brings them, and exits with 2."""
    monkeypatch.setitem(demo._NEEDED, "no_such_module.at_all", "no-such-package")
    installed = demo_shop.Shop("cxtrace._shop", Path("_shop"), Path("journeys.toml"))
    checkout = attrs.evolve(installed, search_path=Path("/clone/examples"))
    monkeypatch.setattr(demo, "find_shop", lambda: checkout)
    assert "no-such-package missing; run: pip install '/clone[demo]'" in refused(capsys)
    monkeypatch.setattr(demo, "find_shop", lambda: installed)
    assert "run: pip install 'cxtrace[demo]'" in refused(capsys)


def test_an_installation_without_the_shop_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A package that somebody cut the shop out of exits with 2."""
    monkeypatch.setattr(demo, "find_shop", lambda: None)
    assert "does not contain the shop" in refused(capsys)


@pytest.mark.parametrize("arguments", [("--protocol", "grpc"), ("--jaeger", "http://localhost:1")])
def test_options_of_otlp_need_otlp(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, str]
) -> None:
    """Options that would have no effect are refused."""
    requires_the_extras()
    assert f"{arguments[0]} is of use with --otlp only" in refused(capsys, *arguments)


@pytest.mark.parametrize("url", ["localhost:4317", "http://[", "http://h:x", "http://h:0"])
def test_an_endpoint_must_be_a_url(capsys: pytest.CaptureFixture[str], url: str) -> None:
    """An endpoint that OpenTelemetry would misunderstand is refused with the right form."""
    assert "argument --otlp: write an address that begins with" in refused(capsys, "--otlp", url)


def test_an_endpoint_has_a_port(capsys: pytest.CaptureFixture[str]) -> None:
    """Without one nobody can tell whether gRPC or HTTP is meant."""
    requires_the_extras()
    assert "such as http://localhost:4317" in refused(capsys, "--otlp", "http://localhost")


def test_an_endpoint_that_nobody_listens_on_is_found_before_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The demo tells how to start a Jaeger instead of sending to nobody."""
    requires_the_extras()
    (port,) = demo_shop._free_ports(1)
    said = refused(capsys, "--otlp", f"http://127.0.0.1:{port}")
    assert f"nothing takes OTLP at http://127.0.0.1:{port}" in said
    assert "docker run" in said


def test_the_folder_must_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in the place of the folder is refused."""
    (tmp_path / "file").touch()
    for keep in (tmp_path / "file", tmp_path / "file" / "below"):
        said = refused(capsys, "--keep", str(keep))
        assert f"--keep {keep} cannot be written: a file stands where a folder should be" in said


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """--help shows how the demo is used."""
    assert cli.main(["demo", "--help"]) == 0
    assert "cxtrace demo --otlp http://localhost:4317" in capsys.readouterr().out


# Things that go wrong

STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"


def broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, **code: str
) -> str:
    """What is said of a run in which other code stands in for some of the services."""
    requires_the_extras()
    genuine = services.Services.command

    def command(self: Any, name: str) -> list[str]:
        return [sys.executable, "-c", code[name]] if name in code else genuine(self, name)

    monkeypatch.setattr(services.Services, "command", command)
    assert cli.main(["demo", "--keep", str(folder)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_a_service_that_ends_is_named_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When a service ends at its start, the demo shows why and where its log is."""
    said = broken(monkeypatch, capsys, tmp_path, payments="raise SystemExit('no\\x1b money')")
    assert "payments ended\n" in said
    assert "\nno\\x1b money\n" in said
    assert str(tmp_path / "payments.log") in said


def test_a_service_that_does_not_start_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that never listens ends the demo after a while."""
    monkeypatch.setattr(services, "_START_SECONDS", 3.0)
    sleep = "import time; time.sleep(60)"
    opens = f"print('open', flush=True); {sleep}"  # at once, whatever else the machine has to do
    others = dict.fromkeys(("storefront", "fulfilment"), sleep)
    said = broken(monkeypatch, capsys, tmp_path, broker=opens, payments=sleep, **others)
    assert "payments does not start" in said


def test_a_service_that_does_not_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that ignores being told to stop is killed, and the demo says so."""

    def nobody(services: services.Services) -> Generator[Walk, None, None]:
        yield from ()

    monkeypatch.setattr(services, "_STOP_SECONDS", 0.5)
    monkeypatch.setattr(walking, "_customers", nobody)
    said = broken(monkeypatch, capsys, tmp_path, fulfilment=STUBBORN)
    assert "fulfilment does not stop" in said


def test_what_went_wrong_first_is_what_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that does not stop, after something else went wrong, is killed without a word."""

    def nobody(services: services.Services) -> Generator[Walk, None, None]:
        raise DemoError("it rains")
        yield

    monkeypatch.setattr(services, "_STOP_SECONDS", 0.5)
    monkeypatch.setattr(walking, "_customers", nobody)
    said = broken(monkeypatch, capsys, tmp_path, fulfilment=STUBBORN)
    assert said.endswith("cxtrace demo: it rains\n")


def test_customers_who_do_not_come_back_fail_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Customers who hang in the shop are not waited for for ever, nor passed over."""
    monkeypatch.setattr(walking, "_WALK_SECONDS", 0.3)
    said = broken(monkeypatch, capsys, tmp_path, customers="import time; time.sleep(60)")
    assert "customers stayed away, or longer than 0 s" in said


def test_a_shop_that_records_nothing_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No file of spans means that the demo failed."""
    requires_the_extras()
    monkeypatch.setattr(demo, "let_customers_in", lambda services, began: [])
    assert cli.main(["demo", "--keep", str(tmp_path)]) == 1
    assert "have written no spans" in capsys.readouterr().err


def test_a_customer_who_is_turned_away_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What went wrong for a customer is reported, and the exit code is 1."""
    monkeypatch.setattr(walking, "_WALK_SECONDS", 30.0)
    requires_the_extras()
    person = dict.fromkeys(demo_checks._PERSONAL, "") | {"name": "Zoe"}
    walk = json.dumps({"person": person, "journey": "first_order", "id": "", "error": "no door"})
    genuine = services.Services.command
    code = [sys.executable, "-c", f"print('''{walk}''')"]
    monkeypatch.setattr(
        services.Services,
        "command",
        lambda s, name: code if name == "customers" else genuine(s, name),
    )
    monkeypatch.setattr(demo, "read_file", lambda file: ((), b""))
    assert cli.main(["demo", "--keep", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "Zoe    first_order   no door" in printed.err
    assert "✗ 1 customers went their ways as scripted\n    Zoe: no door" in printed.out
    assert "One journey" not in printed.out
    assert re.search(r"\n  checkout.pay +not reached  product\n", printed.out)


# The checks find what they look for

PERSON = {"id": "cust-0042", "email": "a.b@c.d", "address": "", "card": "4000 0000", "letter": ""}
LOGIN = {"cx.touchpoint.name": "account.login", "cx.touchpoint.outcome": "completed"}
WALK = Walk({"name": "Ann", **PERSON}, "first_order", "J1")


def span(**changes: Any) -> RecordedSpan:
    """A server span of the storefront with all that it needs."""
    tags: Mapping[str, str] = dict.fromkeys(SIX_TAGS, "x") | {"cx.journey.id": "J1"}
    given = RecordedSpan(
        "t", "s", "GET", 0, 1, kind="SERVER", service_name="storefront", attributes=tags
    )
    return attrs.evolve(given, **changes)


def checks(*spans: RecordedSpan, raw: bytes = b"nothing") -> list[bool]:
    """Which of the four checks of spans pass: services, tags, login, privacy."""
    found = demo_checks.check_spans([WALK], spans, raw, HmacPseudonymiser(Key(KEY.encode())))
    return [check.passed for check in found]


def test_the_checks_find_what_is_missing() -> None:
    """Each check fails by its own kind of fault, and all of them where there are no spans."""
    login = {**span().attributes, **LOGIN}
    known = {**login, "enduser.pseudo.id": pseudonym("cust-0042")}
    good = [span(attributes=known), span(service_name="payments"), span(service_name="fulfilment")]
    assert checks(*good) == [True, True, True, True]
    assert checks(*good[:2]) == [False, True, True, True]
    assert checks(*good, span(kind="CLIENT", attributes={})) == [True, False, True, True]
    assert checks(*good, span(attributes=login)) == [True, True, False, True]
    assert checks(raw=b"") == [False, False, False, False]


def test_a_login_without_anything_is_found() -> None:
    """A login whose root span has neither journey nor pseudonym fails its check, and says so."""
    bare = span(attributes=LOGIN)
    assert checks(bare)[2] is False


def drawn(tmp_path: Path, *spans: RecordedSpan) -> str:
    """What is printed of a run in which these spans were recorded."""
    shop = demo_shop.find_shop()
    assert shop is not None
    journey_map = JourneyMap.load(shop.journey_map)
    found = Found(journey_map, [WALK], spans, (), 1.0, tmp_path, None, "http://c:4317", None)
    return "\n".join(report(found))


def test_a_journey_is_drawn_whatever_is_missing(tmp_path: Path) -> None:
    """Spans without a journey's name, or of connections alone, are no reason to stop printing."""
    nameless = span(attributes={"cx.journey.id": "J1"})
    assert "? J1" in drawn(tmp_path, nameless)
    assert "not shown" not in drawn(tmp_path, nameless)
    assert "1 spans named connect are not shown" in drawn(tmp_path, nameless, span(name="connect"))
    assert "One journey" not in drawn(tmp_path, span(name="connect"))


def told(name: str, **attributes: str) -> RecordedSpan:
    """A span with an event of ours, at which IT and sales were happy, and finance was not."""
    found = {f"cx.{key.replace('__', '.')}": value for key, value in attributes.items()}
    happy = {"cx.function.happy.it": True, "cx.function.happy.sales": True}
    return span(
        events=(RecordedEvent(name, 0, found), RecordedEvent("cx.mention", 0)),
        attributes={**span().attributes, **happy, "cx.function.happy.finance": False},
    )


def friction(stage: str, type_: str) -> RecordedSpan:
    """A span with a friction."""
    return told("cx.friction", stage__name=stage, friction__type=type_)


def promise(id_: str, result: str) -> RecordedSpan:
    """A span with an evaluated promise."""
    return told("cx.promise.evaluated", promise__id=id_, promise__result=result)


def test_frictions_are_counted_by_stage(tmp_path: Path) -> None:
    """The most frequent comes first, and a stage that the map does not have is left out."""
    met = [friction("service", "slow"), friction("purchase", "wait")]
    met += [friction("purchase", "slow")] * 2 + [friction("of_tomorrow", "slow")]
    out = drawn(tmp_path, *met)
    assert "What hindered them 4 frictions" in out
    assert "\npurchase     3  slow 2, wait 1\nservice      1  slow 1\n" in out
    assert "of_tomorrow" not in out


def test_many_kinds_of_friction_take_several_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is wider than the paper goes on below its text."""
    monkeypatch.setenv("COLUMNS", "40")
    kinds = ("validation_rejected", "repeated_question", "repeat_contact")
    out = drawn(tmp_path, *(friction("purchase", kind) for kind in kinds))
    assert "\npurchase     3  validation_rejected 1,\n                repeated_question 1,\n" in out


def test_a_broken_promise_names_who_was_happy(tmp_path: Path) -> None:
    """Exceeded is kept; only where a promise is broken it matters who was happy all the same."""
    met = [promise("pay_fast", "broken")] * 2 + [promise("of_tomorrow", "broken")]
    met += [promise("pay_fast", each) for each in ("kept", "exceeded", "unmeasured")]
    out = drawn(tmp_path, *met, promise("pay_works", "kept"))
    assert "\npay_fast   ✓ 2  ✗ 2  … 1  it 2, sales 2\npay_works  ✓ 1\n" in out
    assert "of_tomorrow" not in out
    assert "search_fast" not in out


def test_where_no_signal_was_recorded_none_is_drawn(tmp_path: Path) -> None:
    """A run without frictions and promises has no empty tables."""
    out = drawn(tmp_path, span())
    assert "What hindered them" not in out
    assert "What was promised" not in out


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("text", ["cust-0042", "a.b@c.d"])
def test_the_check_for_personal_data_sees_through_encodings(before: str, text: str) -> None:
    """An identifier is found plain, in a URL, in hexadecimal and in base64 at any offset."""
    plain = f"{before}{text}---".encode()
    for written in (
        plain,
        quote(plain, safe="").encode(),
        plain.hex().encode(),
        base64.b64encode(plain),
    ):
        assert checks(raw=b"{" + written + b"}")[-1] is False


# Jaeger


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that something listens on, without ever answering."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_what_cannot_be_read_back_is_not_claimed(
    listener: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where no Jaeger answers, the demo says that it sent, and how to look."""
    requires_the_extras()
    monkeypatch.setattr(asking, "_SECONDS", 0.05)
    walk = attrs.evolve(WALK, story="bought")
    monkeypatch.setattr(demo, "let_customers_in", lambda services, began: [walk])
    (nobody,) = demo_shop._free_ports(1)
    ui = f"http://127.0.0.1:{nobody}"
    url = f"http://127.0.0.1:{listener}"
    arguments = ["demo", "--otlp", url, "--jaeger", f"{ui}/", "--keep", str(tmp_path)]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert f"sent to  {url}" in out
    assert f"Jaeger does not answer at {ui}: nothing was looked at" in out
    assert f"{ui}/search?service=storefront&tags=%7B%22cx.journey.id%22%3A%22J1%22%7D" in out
    assert "One journey" not in out
    assert cli.main([*arguments, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["spans"] is None
    assert summary["otlp"] == url
    assert not (tmp_path / demo.FILE).exists()


@pytest.mark.parametrize("walks", [[], [WALK]])
def test_what_is_read_back_is_looked_at(
    walks: list[Walk],
    listener: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where Jaeger answers, and lacks something, the demo fails and says what it is."""
    requires_the_extras()
    monkeypatch.setattr(asking, "_SECONDS", 0.05)
    monkeypatch.setattr(demo, "let_customers_in", lambda services, began: walks)
    monkeypatch.setattr(demo, "read_jaeger", lambda ui, walks: ([span()], b"{}"))
    url = f"http://127.0.0.1:{listener}"
    assert cli.main(["demo", "--otlp", url, "--keep", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "does not answer" not in out
    assert "✗ a visitor who logged in halfway" in out
    assert (f"http://127.0.0.1:16686/search?{reading._query('J1')}" in out) == bool(walks)


def test_jaeger_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy that a company sets for its browsers does not stand before one's own Jaeger."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"it is I")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert reading._ask(f"http://127.0.0.1:{server.server_port}/api") == b"it is I"
        thread.join()


class TakesMetricsAlone(BaseHTTPRequestHandler):
    """An OTLP endpoint over HTTP that has no place for log records."""

    def do_POST(self) -> None:
        self.send_response(200 if self.path == "/v1/metrics" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class WantsToKnowWho(TakesMetricsAlone):
    """An endpoint that lets nobody in."""

    def do_POST(self) -> None:
        self.send_error(401)


class SpeaksSomethingElse(TakesMetricsAlone):
    """An endpoint that is none."""

    def do_POST(self) -> None:
        self.wfile.write(b"220 mail.example.com\r\n")


@pytest.mark.parametrize(
    ("handler", "refused"),
    [(TakesMetricsAlone, ["logs"]), (WantsToKnowWho, []), (SpeaksSomethingElse, [])],
)
def test_what_an_endpoint_over_http_does_not_take(
    handler: type[BaseHTTPRequestHandler], refused: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused is what is not found; any other answer is no answer to this question."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/"
            assert asking.refused_by(url, "http/protobuf") == refused
        finally:
            server.shutdown()
            thread.join()


def test_what_an_endpoint_over_grpc_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint with a service for metrics and none for log records refuses the latter."""
    monkeypatch.setattr(asking, "_SECONDS", 30)
    service = "opentelemetry.proto.collector.metrics.v1.MetricsService"
    export = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {"Export": export}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert asking.refused_by(f"http://127.0.0.1:{port}", "grpc") == ["logs"]
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_who_does_not_answer_has_refused_nothing(
    protocol: str, listener: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody answers in time, or TLS is spoken, everything is sent as before."""
    monkeypatch.setattr(asking, "_SECONDS", 0.05)
    assert asking.refused_by(f"http://127.0.0.1:{listener}", protocol) == []
    assert asking.refused_by(f"https://127.0.0.1:{listener}", protocol) == []


def test_what_is_refused_is_not_sent_and_the_report_says_so(
    listener: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The services are told to keep what Jaeger would refuse, and so is the user."""
    requires_the_extras()
    told: list[Mapping[str, str]] = []

    def let_in(services: Any, began: float) -> list[Walk]:
        told.append(services.environment)
        return [WALK]

    monkeypatch.setattr(demo, "let_customers_in", let_in)
    monkeypatch.setattr(demo, "refused_by", lambda url, protocol: ["metrics", "logs"])
    monkeypatch.setattr(demo, "read_jaeger", lambda ui, walks: (None, b""))
    arguments = ["demo", "--otlp", f"http://127.0.0.1:{listener}", "--keep", str(tmp_path)]

    cli.main(arguments)
    assert "without metrics and logs, which are not taken there" in capsys.readouterr().out
    cli.main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out)["refused"] == ["metrics", "logs"]
    for environment in told:
        assert environment["OTEL_METRICS_EXPORTER"] == "none"
        assert environment["OTEL_LOGS_EXPORTER"] == "none"
        assert environment["CXTRACE_EXPORTER"] == "otlp"


@pytest.mark.parametrize(
    ("given", "protocol"),
    [
        (("http://h:4317", None), "grpc"),
        (("http://h:4318", None), "http/protobuf"),
        (("http://h:9999", None), "grpc"),
        (("http://h:4318", "grpc"), "grpc"),
        (("http://h:9999", "http/protobuf"), "http/protobuf"),
    ],
)
def test_the_port_tells_the_protocol(
    given: tuple[str, str | None], protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4318 means HTTP and any other port gRPC, unless --protocol says otherwise."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://elsewhere")
    shop = demo_shop.find_shop()
    assert shop is not None
    arguments = argparse.Namespace(otlp=given[0], protocol=given[1])
    environment = demo_shop.environment_for(
        arguments, attrs.evolve(shop, search_path=None), None, KEY
    )
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == given[0]
    assert environment["OTEL_EXPORTER_OTLP_PROTOCOL"] == protocol
    assert environment["CXTRACE_EXPORTER"] == environment["OTEL_LOGS_EXPORTER"] == "otlp"
    assert environment["OTEL_EXPORTER_OTLP_HEADERS"] == "a=b"
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" not in environment


def test_jaeger_is_looked_for_beside_the_endpoint() -> None:
    """Without --jaeger it is port 16686 of the endpoint's host."""

    def ui(otlp: str) -> str | None:
        return reading.jaeger_ui(argparse.Namespace(otlp=otlp, jaeger=None))

    assert ui("http://jaeger:4317") == "http://jaeger:16686"
    assert ui("http://[::1]:4317") == "http://[::1]:16686"


def test_spans_are_read_back_until_no_more_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jaeger's answer becomes spans, once all services are in it and two answers are alike."""

    def answer(*services: str) -> bytes:
        spans = [
            {
                "traceID": "t",
                "spanID": service,
                "operationName": "GET /",
                "references": [{"refType": "CHILD_OF", "traceID": "t", "spanID": "root"}][:number],
                "startTime": 1_000,
                "duration": 20,
                "tags": [
                    {"key": "span.kind", "value": "server"},
                    {"key": "cx.journey.id", "value": "J1"},
                ],
                "logs": [
                    {
                        "timestamp": 1_010,
                        "fields": [
                            {"key": "event", "value": "cx.friction"},
                            {"key": "cx.friction.type", "value": "slow"},
                        ],
                    }
                ][:number],
                "processID": service,
            }
            for number, service in enumerate(services)
        ]
        processes = {service: {"serviceName": service} for service in services}
        return json.dumps({"data": [{"spans": spans, "processes": processes}]}).encode()

    answers = [answer("storefront"), *[answer("storefront", "payments", "fulfilment")] * 2]
    monkeypatch.setattr(reading, "_ask", lambda url: answers.pop(0))
    spans, raw = reading.read_jaeger("http://j", [WALK])
    assert spans is not None
    assert [s.service_name for s in spans] == ["storefront", "payments", "fulfilment"]
    assert [s.parent_id for s in spans] == [None, "root", "root"]
    assert spans[0].kind == "SERVER"
    assert (spans[0].start_ns, spans[0].end_ns) == (1_000_000, 1_020_000)
    assert [s.events for s in spans[:2]] == [
        (),
        (RecordedEvent("cx.friction", 1_010_000, {"cx.friction.type": "slow"}),),
    ]
    assert b"storefront" in raw
    assert answers == []


def test_waiting_for_spans_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not arrived after a while is missing."""
    monkeypatch.setattr(reading, "_READ_SECONDS", 0.0)
    monkeypatch.setattr(reading, "_ask", lambda url: b'{"data": []}')
    assert reading.read_jaeger("http://j", [WALK]) == ([], b'{"data": []}')


# Where the shop is


def test_the_shop_is_found_with_its_map() -> None:
    """In a wheel and in a checkout the demo finds the shop's code and its map."""
    shop = demo_shop.find_shop()
    assert shop is not None
    assert (shop.code / "storefront.py").is_file()
    assert shop.journey_map.name == "journeys.toml"


def test_an_installation_without_any_shop_finds_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where neither the wheel nor a checkout has the shop, none is found."""
    monkeypatch.setattr(demo_shop, "__file__", str(tmp_path / "a/b/cli/_demo/shop.py"))
    assert demo_shop.find_shop() is None


def test_services_of_a_checkout_find_their_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the shop is no part of an installed package, its folder goes to the services' path."""
    monkeypatch.setenv("PYTHONPATH", "mine")
    shop = demo_shop.Shop("shop", tmp_path, tmp_path / "journeys.toml", search_path=tmp_path)
    arguments = argparse.Namespace(otlp=None, protocol=None)

    environment = demo_shop.environment_for(arguments, shop, tmp_path / demo.FILE, KEY)
    assert environment["PYTHONPATH"] == os.pathsep.join([str(tmp_path), "mine"])
