"""A newcomer with the stack, who does what ``docs/howto/stack.md`` says, and nothing else.

Only the addresses are others than on the page, for its ports may be taken here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from .servers import HOST, Ports, get

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "stack.md"
PLATFORM = ROOT / "docs" / "howto" / "platform.md"
SERVICES = ("storefront", "payments", "fulfilment")
KEY = "a key for a newcomer with the stack, of 32 bytes and more"

T = TypeVar("T")


class Stack(NamedTuple):
    """What `tools/backends/up` started."""

    process: subprocess.Popen[str]
    otlp: str
    jaeger: str
    prometheus: str

    def page(self, language: str) -> list[str]:
        """The blocks of the page in a language, with the addresses of this stack."""
        text = PAGE.read_text(encoding="utf-8")
        for there, here in (
            ("--otlp http://localhost:4317", f"--otlp {self.otlp} --jaeger {self.jaeger}"),
            ("http://localhost:16686", self.jaeger),
            ("http://localhost:9090", self.prometheus),
        ):
            assert there in text
            text = text.replace(there, here)
        return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

    def commands(self, beginning: str) -> list[str]:
        """The commands of the page that begin so, in order."""
        lines = "".join(self.page("console")).splitlines()
        return [line[2:] for line in lines if line.startswith(f"$ {beginning}")]


def ports() -> dict[str, str]:
    """Ports for all of the stack that nothing listens on."""
    collector, others = Ports.free(), Ports.free()
    return {
        "COLLECTOR_OTLP_GRPC_PORT": str(collector.otlp_grpc),
        "COLLECTOR_OTLP_HTTP_PORT": str(collector.otlp_http),
        "COLLECTOR_HEALTH_PORT": str(collector.health),
        "COLLECTOR_TELEMETRY_PORT": str(collector.query_grpc),
        "PROMETHEUS_PORT": str(collector.query),
        "JAEGER_OTLP_GRPC_PORT": str(others.otlp_grpc),
        "JAEGER_OTLP_HTTP_PORT": str(others.otlp_http),
        "JAEGER_HEALTH_PORT": str(others.health),
        "JAEGER_QUERY_PORT": str(others.query),
        "JAEGER_QUERY_GRPC_PORT": str(others.query_grpc),
    }


def start(folder: Path, environ: dict[str, str]) -> subprocess.Popen[str]:
    """What starts the stack without Docker, under way."""
    (program,) = re.findall(r"^```sh\n(tools/.*)\n```$", PAGE.read_text(encoding="utf-8"), re.M)
    return subprocess.Popen(
        [sys.executable, program, "--logs", folder],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until_ready(process: subprocess.Popen[str]) -> str:
    """What it prints until it is ready, or ends."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("Ready."):
            break
    return said


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that it started."""
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in tasks.read_text().split()]


def wait_for(look: Callable[[], T], seconds: float) -> T:
    """What `look` gives, as soon as it is something."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := look():
                return found
        except OSError as error:
            found = error
        assert time.monotonic() < deadline, f"not in {seconds} s: {found!r}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def stack(
    collector_binary: None,
    jaeger_binary: None,
    prometheus_binary: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """The stack; at the end Ctrl-C stops it, and nothing of it is left."""
    environ = ports()
    process = start(tmp_path_factory.mktemp("stack"), environ)
    try:
        said = until_ready(process)
        assert "Ready." in said, said
        at = {name: f"http://{HOST}:{port}" for name, port in environ.items()}
        otlp = at["COLLECTOR_OTLP_GRPC_PORT"]
        found = Stack(process, otlp, at["JAEGER_QUERY_PORT"], at["PROMETHEUS_PORT"])
        assert all(url in said for url in (found.otlp, found.jaeger, found.prometheus))
        started = children(process)
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "Stopped.\n")
    assert len(started) == 3
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def run(command: str, folder: Path, **environ: str) -> str:
    """What a command of the page prints."""
    program, *arguments = shlex.split(command)
    assert program == "cxtrace"
    code = "import sys; from cxtrace.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, **(environ or {"CXTRACE_KEY": KEY})},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def said(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the demo printed, when the page had it run first."""
    if find_spec("fastapi") is None or find_spec("flask") is None:
        reason = "the demo's extras are not installed: pip install 'cxtrace[demo]'"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    first, _ = stack.commands("cxtrace demo ")
    return run(first, tmp_path_factory.mktemp("newcomer"))


@pytest.fixture(scope="module")
def said_again(stack: Stack, said: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What it printed when the page had it run again."""
    _, again = stack.commands("cxtrace demo ")
    return run(again, tmp_path_factory.mktemp("again"))


def spans(url: str) -> list[dict[str, Any]]:
    """The spans that Jaeger finds when its page asks for what the address says."""
    status, body = get(url.replace("/search?", "/api/traces?"))
    assert status == 200, body
    return [span for trace in json.loads(body)["data"] for span in trace["spans"]]


def promises(span: dict[str, Any]) -> list[tuple[str, str]]:
    """The promises that the events of a span tell of, and what became of them."""
    events = [{each["key"]: each["value"] for each in log["fields"]} for log in span["logs"]]
    return [
        (each["cx.promise.id"], each["cx.promise.result"])
        for each in events
        if "cx.promise.result" in each
    ]


def values(found: list[dict[str, Any]], key: str) -> set[str]:
    """What the tags of that name say."""
    return {tag["value"] for span in found for tag in span["tags"] if tag["key"] == key}


def journey_in(url: str) -> str:
    """The id of the journey that an address is about."""
    tags = parse_qs(urlsplit(url).query)["tags"][0]
    return str(json.loads(tags)["cx.journey.id"])


def asked(stack: Stack, query: str) -> list[dict[str, Any]]:
    """What Prometheus answers to a query."""
    status, body = get(f"{stack.prometheus}/api/v1/query?query={quote(query)}")
    assert status == 200, body
    return list(json.loads(body)["data"]["result"])


def test_the_demo_prints_a_link_to_its_journey(stack: Stack, said: str) -> None:
    """What went through the Collector is found there, and no other journey is."""
    (url,) = re.findall(rf"{stack.jaeger}/search\S+", said)

    found = wait_for(lambda: spans(url), seconds=60)
    assert values(found, "cx.journey.id") == {journey_in(url)}
    assert "without logs, which are not taken there" in said


def test_the_link_is_printed_again(stack: Stack, said: str, tmp_path: Path) -> None:
    """``cxtrace link`` with the id of the journey gives the same traces."""
    (url,) = re.findall(rf"{stack.jaeger}/search\S+", said)
    (command,) = stack.commands("cxtrace link ")
    again = run(re.sub(r"\b[0-9a-f]{32}\b", journey_in(url), command), tmp_path).strip()

    def found() -> bool:
        ids = {span["spanID"] for span in spans(again)}
        return bool(ids) and ids == {span["spanID"] for span in spans(url)}

    assert wait_for(found, seconds=60)


def test_the_metrics_are_in_prometheus(stack: Stack, said: str) -> None:
    """Kept and broken promises are counted there: the declined cards are three."""
    (query,) = stack.page("text")

    def found() -> dict[tuple[str, str], float]:
        return {
            (each["metric"]["cx_promise_id"], each["metric"]["cx_promise_result"]): float(
                each["value"][1]
            )
            for each in asked(stack, query)
        }

    wait_for(lambda: {"kept", "broken", "exceeded"} <= {told for _, told in found()}, seconds=60)
    assert wait_for(lambda: found().get(("pay_works", "broken")), seconds=60) == 3


def test_the_alert_leads_to_the_trace(stack: Stack, said_again: str) -> None:
    """The page of a broken promise fires, names who owns it, and opens the payments that failed."""
    (where,) = (block.split()[-1] for block in stack.page("sh") if block.startswith("curl"))

    def firing() -> list[dict[str, Any]]:
        _, body = get(where)
        return [
            each
            for each in json.loads(body)["data"]["alerts"]
            if each["state"] == "firing"
            and each["labels"]["alertname"] == "CXPromiseBroken"
            and each["labels"]["cx_promise_id"] == "pay_works"
            and each["labels"]["severity"] == "page"
        ]

    (alert,) = wait_for(firing, seconds=60)
    assert alert["labels"]["cx_owner_function"] == "product"
    said = alert["annotations"]
    assert said["contact"] == "#team-checkout"
    url = said["traces_url"].replace("http://localhost:16686", stack.jaeger)

    def broken_ones() -> list[dict[str, Any]]:
        found = [span for span in spans(url) if ("pay_works", "broken") in promises(span)]
        return found if len(found) >= 6 else []

    broken = wait_for(broken_ones, seconds=60)
    assert len(broken) == 6
    assert values(broken, "cx.touchpoint.name") == {"checkout.pay"}
    assert values(broken, "cx.touchpoint.outcome") == {"failed"}
    assert values(broken, "error.type") == {"card_declined"}


def test_every_span_is_counted_once(stack: Stack, said_again: str) -> None:
    """The figures behind Jaeger's monitor tab are as many as its spans, and it shows them."""
    searches = [f"{stack.jaeger}/search?service={each}&limit=1500" for each in SERVICES]
    count = "sum(traces_span_metrics_duration_milliseconds_count)"

    def counted() -> bool:
        there = {span["spanID"] for search in searches for span in spans(search)}
        return [float(each["value"][1]) for each in asked(stack, count)] == [len(there)]

    assert wait_for(counted, seconds=60)
    query = "service=storefront&spanKind=server&groupByOperation=true&quantile=0.95"
    _, body = get(f"{stack.jaeger}/api/metrics/latencies?{query}&lookback=600000&step=5000")
    (checkout,) = (
        each["metricPoints"]
        for each in json.loads(body)["metrics"]
        if {"name": "operation", "value": "POST /checkout"} in each["labels"]
    )
    # Two of twelve waited more than two seconds for the bank, and the page shows milliseconds.
    latency = max(float(each["gaugeValue"]["doubleValue"]) for each in checkout)
    assert 2_000 < latency <= 5_000


def test_the_probe_of_the_platform_page_arrives(stack: Stack, tmp_path: Path) -> None:
    """What ``docs/howto/platform.md`` asks of one service is answered as it is shown there."""
    text = PLATFORM.read_text(encoding="utf-8")
    blocks = re.search(
        r"```text\n(OTEL_.*?)```\n\n```text\n(.*?)```.*?```text\n(.*?)```", text, re.S
    )
    assert blocks is not None
    command, shown, query = blocks.groups()
    (tmp_path / "key").write_text(KEY)
    for there, here in (
        ("http://collector:4317", stack.otlp),
        ("http://jaeger:16686", stack.jaeger),
        ("/run/secrets/cxtrace", str(tmp_path / "key")),
    ):
        assert there in command
        command = command.replace(there, here)
    words = shlex.split(command.replace("\\\n", " "))
    given = dict(word.split("=", 1) for word in words[: words.index("cxtrace")])

    done = run(shlex.join(words[len(given) :]), ROOT, **given)

    for line in shown.replace("0.42", "…").splitlines():
        assert re.search(".*".join(map(re.escape, line.split("…"))), done), done
    signals = wait_for(lambda: asked(stack, query.strip()), seconds=60)
    assert "metrics" in {each["metric"]["cxtrace_sdk_signal"] for each in signals}


def test_a_port_that_is_taken_stops_the_rest(stack: Stack, tmp_path: Path) -> None:
    """A second stack with Jaeger's ports does not start, says why, and leaves nothing."""
    taken = stack.jaeger.rpartition(":")[2]
    process = start(tmp_path, {**ports(), "JAEGER_QUERY_PORT": taken})
    said, _ = process.communicate(timeout=90)

    assert process.returncode == 1
    assert "jaeger ended:" in said
    assert "address already in use" in said
    assert "Ready." not in said
