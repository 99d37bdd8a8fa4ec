"""The demo through a real Collector, whose files have every byte that the services sent."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from .servers import SIGNALS, Collector, Ports

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

PERSONAL = [f"cust-004{digit}" for digit in range(2, 9)]
PERSONAL += ["ann.lee@example.com", "bob.stone@example.org", "carla.diaz@example.net"]
PERSONAL += ["dora.novak@example.com", "emil.berg@example.org", "fay.okoro@example.net"]
PERSONAL += ["gil.moreau@example.org", "BACK-7Q2L-44", "BACK-4W9K-46"]
PERSONAL += [f"4000 0000 0000 {digits}" for digits in ("0002", "0077", "0119")]
PERSONAL += ["12 Rose Lane"]


class Received(NamedTuple):
    """What the Collector got, and what the demo said."""

    summary: dict[str, Any]
    collector: Collector


@pytest.fixture(scope="module")
def received(
    collector_binary: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Received]:
    """A run of the demo into a Collector of its own, over HTTP."""
    if find_spec("fastapi") is None or find_spec("flask") is None:
        reason = "the demo's extras are not installed: pip install 'cxtrace[demo]'"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with Collector(tmp_path_factory.mktemp("collector")) as collector:
        code = "from cxtrace.cli import main; raise SystemExit(main())"
        nobody = f"http://127.0.0.1:{Ports.free().query}"
        done = subprocess.run(
            [
                *(sys.executable, "-c", code, "demo", "--json"),
                *("--otlp", collector.otlp_http, "--protocol", "http/protobuf"),
                *("--jaeger", nobody),
            ],
            cwd=tmp_path_factory.mktemp("demo"),
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        collector.wait_for(lambda: len({span["service"] for span in collector.spans()}) == 3)
        collector.stop()
        yield Received(json.loads(done.stdout), collector)


def forms(text: str) -> Iterator[bytes]:
    """A text as it may be written: plain, in a URL, in JSON, in hexadecimal, in base64."""
    plain = text.encode()
    yield plain
    yield quote(text, safe="").encode()
    yield quote(text, safe="").replace("%20", "+").encode()
    yield plain.hex().encode()
    for shift, first in ((0, 0), (1, 2), (2, 3)):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = (len(plain) + shift) // 3 * 3 - shift
            yield encode(b"\0" * shift + plain[:whole])[first:]


@pytest.mark.parametrize("text", PERSONAL)
def test_no_byte_received_is_personal(received: Received, text: str) -> None:
    """No id, e-mail address, card or letter of a customer is in any file, in any encoding."""
    files = [received.collector.folder / f"{signal}.jsonl" for signal in SIGNALS]
    assert min(file.stat().st_size for file in files) > 50_000
    written = b"".join(file.read_bytes() for file in files)
    assert [form for form in forms(text) if form in written] == []


def test_all_journeys_arrive_with_all_services(received: Received) -> None:
    """The Collector has every journey, from each of the three services."""
    spans = received.collector.spans()
    for journey in received.summary["journeys"]:
        services = {
            s["service"] for s in spans if s["attributes"].get("cx.journey.id") == journey["id"]
        }
        assert services == {"storefront", "payments", "fulfilment"}


def test_no_trace_is_torn(received: Received) -> None:
    """All spans arrive: each parent that a span names is there."""
    spans = received.collector.spans()
    known = {span["spanId"] for span in spans}
    assert not [s["name"] for s in spans if s["parentSpanId"] and s["parentSpanId"] not in known]


def test_what_nobody_can_read_back_is_not_claimed(received: Received) -> None:
    """A Collector cannot be asked, so the summary counts no spans and checks the walks alone."""
    assert received.summary["spans"] is None
    assert [check["passed"] for check in received.summary["checks"]] == [True]
