"""FastAPI, which makes spans of its own in newer versions: they are the touchpoints."""

import json
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("fastapi.telemetry", reason="this FastAPI makes no spans of its own")
pytest.importorskip(
    "opentelemetry.instrumentation.fastapi", reason="no instrumentation of FastAPI is installed"
)

SERVICE = '''
import asyncio, json, sys
import cxtrace
from cxtrace import JourneyMap
from cxtrace.integrations.asgi import CXMiddleware
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

MAP = """
schema = "cxtrace.map/1"
name = "shop"
[functions]
sales = {}
[request]
customer = [{ header = "X-Customer-Id" }]
[[stage]]
name = "purchase"
phase = "customer"
[[touchpoint]]
name = "cart.view"
stage = "purchase"
owner = "sales"
match = { route = "GET /cart" }
"""
form, path, traceparent = sys.argv[1:]
sent = InMemorySpanExporter()
cxtrace.configure(exporter=sent, journey_map=JourneyMap.loads(MAP))

app = FastAPI()

@app.get("/cart")
def cart():
    return ["Rain coat"]

@app.get("/other")
def other():
    return []

if form in ("one line", "with the instrumentation", "both"):
    app.add_middleware(CXMiddleware)
if form == "with the instrumentation":
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])
service = CXMiddleware(app) if form in ("around", "both") else app

async def receive():
    return {"type": "http.request"}

async def send(message):
    pass

headers = [(b"host", b"shop"), (b"x-customer-id", b"cust-42")]
if traceparent:
    headers.append((b"traceparent", traceparent.encode()))
asyncio.run(service({
    "type": "http", "method": "GET", "path": path, "root_path": "", "scheme": "http",
    "query_string": b"", "headers": headers, "http_version": "1.1",
    "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
}, receive, send))
cxtrace.flush()
for span in sent.get_finished_spans():
    print(json.dumps({
        "scope": span.instrumentation_scope.name,
        "kind": span.kind.name,
        "parent": None if span.parent is None else f"{span.parent.span_id:016x}",
        "span": f"{span.context.span_id:016x}",
        "trace": f"{span.context.trace_id:032x}",
        **span.attributes,
    }))
'''
FORMS = ["nothing", "one line", "around", "both", "with the instrumentation"]
CALLER = "00f067aa0ba902b7"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def served(form: str, path: str = "/cart", traceparent: str = "") -> list[dict[str, Any]]:
    """The spans of one request, in a process of its own, whose providers are those of all."""
    done = subprocess.run(
        [sys.executable, "-c", SERVICE, form, path, traceparent],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("traceparent", ["", f"00-{TRACE}-{CALLER}-01"], ids=["first", "called"])
@pytest.mark.parametrize("form", FORMS)
def test_the_span_of_the_server_is_the_touchpoint(form: str, traceparent: str) -> None:
    """There is one, whoever makes that span and wherever our middleware was put."""
    spans = served(form, traceparent=traceparent)

    (whole,) = [span for span in spans if "cx.touchpoint.outcome" in span]
    theirs = form == "with the instrumentation"
    assert whole["scope"] == ("opentelemetry.instrumentation.fastapi" if theirs else "fastapi")
    assert (whole["kind"], whole["cx.touchpoint.outcome"]) == ("SERVER", "completed")
    assert whole["parent"] == (CALLER if traceparent else None)
    others = [span for span in spans if span is not whole]
    assert {span["scope"] for span in others} == (set() if theirs else {"fastapi"})
    for span in others:
        assert span["parent"] == whole["span"]
        assert span["cx.touchpoint.name"] == "cart.view"
        assert span["enduser.pseudo.id"] == whole["enduser.pseudo.id"]


@pytest.mark.parametrize("form", FORMS)
def test_what_the_map_does_not_name_is_no_touchpoint(form: str) -> None:
    """FastAPI's spans of it stay; they have the customer, and no touchpoint."""
    spans = served(form, "/other")

    assert spans
    for span in spans:
        assert "cx.touchpoint.name" not in span
        assert "enduser.pseudo.id" in span
