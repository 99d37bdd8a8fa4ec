"""Three customers of the shop: who looks for one journey, stage or owner knows what is to be found.

``python tests/backends/three_customers.py MAP TIMES`` sends their spans where ``OTEL_*`` says.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch
from urllib.parse import unquote

import cxtrace
from cxtrace import customer, journey, touchpoint
from cxtrace.cli import main
from cxtrace.platform.links.searches import Kind

EXAMPLE = Path(__file__).parents[2] / "examples" / "journeys.toml"
KEY = "a key for links that lead to a trace, of 32 bytes and more"
SERVICE = "links"
CUSTOMERS = ("cust-42", "cust-43", "cust-44")

PAYS, WAITS, GLAD = JOURNEYS = ("j-pays", "j-waits", "j-glad")
SEARCHES: list[tuple[Kind, str, set[str]]] = [
    ("journey", PAYS, {PAYS}),
    ("journey", WAITS, {WAITS}),
    ("customer", "cust-42", {PAYS}),
    ("customer", "cust-44", {GLAD}),
    ("stage", "purchase", {PAYS}),
    ("stage", "service", {WAITS, GLAD}),
    ("touchpoint", "return.refund", {WAITS, GLAD}),
    ("owner", "product", {PAYS}),
    ("owner", "finance", {WAITS, GLAD}),
    ("promise", "pay_works", {PAYS}),
    ("promise", "refund_7d", {WAITS}),
    ("promise", "search_fast", set()),
]
"""What is looked for, and the journeys that are meant."""

HOSTILE = ('a"b', "a\\", '{"a":"b"}', "a\nb", "#{x}", "&service=links", "漢😀", "\x00")
"""Values that mean something to a query, or to an address."""


def visit(endpoint: str, times: int = 1, protocol: str = "grpc") -> None:
    """Send what they do, so many times, to where an endpoint takes spans."""
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "30",  # what is sent twice is counted twice
        "CXTRACE_KEY": KEY,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_METRICS_EXPORTER": "none",
    }
    command = [sys.executable, __file__, str(EXAMPLE), str(times)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def printed(kind: Kind, value: str, *where: str) -> str:
    """The address that ``cxtrace link`` prints, in which no customer's own id may be."""
    said = io.StringIO()
    with patch.dict(os.environ, CXTRACE_KEY=KEY), redirect_stdout(said):
        assert main(["link", kind, value, *where]) == 0
    url = said.getvalue().strip()
    assert "cust-4" not in unquote(url)
    return url


def live(number: int) -> None:
    """One pays in vain, one waits too long for the money, one gets it in time."""
    if number:
        time.sleep(1)  # what is counted has to grow while Jaeger looks
    pays, waits, glad = CUSTOMERS
    with journey("first_order", id=PAYS), customer(pays), touchpoint("checkout.pay") as tp:
        tp.fail("card_declined")
    with journey("return_goods", id=WAITS), customer(waits), touchpoint("return.refund") as tp:
        tp.deliver("refund_7d", 9.0)
    with journey("return_goods", id=GLAD), customer(glad), touchpoint("return.refund") as tp:
        tp.deliver("refund_7d", 2.0)


if __name__ == "__main__":
    cxtrace.configure(service_name=SERVICE, journey_map=sys.argv[1])
    for each in range(int(sys.argv[2])):
        live(each)
        if not cxtrace.flush(60):
            sys.exit(1)
