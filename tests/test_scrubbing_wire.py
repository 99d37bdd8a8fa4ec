"""Stock instrumentation that leaks, and what of it reaches a collector: every byte is searched."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PLANTED: Final = (b"zyx.ann", b"4111222233", b"zyxpath", b"ZyxAgent", b"zyxsecret")

SCRIPT: Final = r"""
import sys

import cxtrace

exporter, scrub, spool = sys.argv[1:]
cxtrace.configure(
    service_name="shop",
    exporter=exporter,
    scrub=scrub == "on",
    spool=spool or None,
)

import httpx
import requests
import sqlalchemy
from fastapi import FastAPI
from fastapi.testclient import TestClient
from flask import Flask
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

engine = sqlalchemy.create_engine("sqlite://")
SQLAlchemyInstrumentor().instrument(engine=engine)
HTTPXClientInstrumentor().instrument()
RequestsInstrumentor().instrument()

fast = FastAPI()


@fast.get("/users/{user}/orders")
def orders(user: str):
    with engine.connect() as db, cxtrace.touchpoint("cart.view"):
        db.execute(sqlalchemy.text("SELECT 'zyx.ann@example.com', 4111222233 -- zyxpath"))
    for get in (httpx.get, requests.get):
        try:
            get(f"http://127.0.0.1:9/{user}?mail=zyx.ann@example.com&card=4111222233", timeout=1)
        except Exception:
            pass
    raise ValueError(f"no order of {user}: zyx.ann@example.com")


flask = Flask("shop")
FastAPIInstrumentor.instrument_app(fast)
FlaskInstrumentor().instrument_app(flask)


@flask.get("/users/<user>")
def user(user):
    raise ValueError(f"no user zyx.ann@example.com")


query = "?mail=zyx.ann@example.com&token=zyxsecret"
headers = {"User-Agent": "ZyxAgent", "X-Id": "zyxsecret"}
client = TestClient(fast, raise_server_exceptions=False)
for path in ("/users/zyxpath/orders", "/nowhere/zyxpath"):
    client.get(path + query, headers=headers)
for path in ("/users/zyxpath", "/nowhere/zyxpath"):
    flask.test_client().get(path + query, headers=headers)
print(cxtrace.shutdown(10), cxtrace.report().spans.exported, cxtrace.report().spans.spooled)
"""


class Collector:
    """What has come in, as bytes."""

    def __init__(self, endpoint: str, bodies: list[bytes]) -> None:
        self.endpoint = endpoint
        self.bodies = bodies


@contextmanager
def over_http() -> Iterator[Collector]:
    """A collector of OTLP over HTTP."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Collector(f"http://127.0.0.1:{server.server_port}", bodies)
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def over_grpc() -> Iterator[Collector]:
    """A collector of OTLP over gRPC."""
    bodies: list[bytes] = []

    def export(body: bytes, context: Any) -> bytes:
        bodies.append(body)
        return bytes(ExportTraceServiceResponse().SerializeToString())

    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    method = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, method)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Collector(f"http://127.0.0.1:{port}", bodies)
    server.stop(None).wait()


def run(exporter: str, scrub: str, endpoint: str = "", spool: str = "") -> str:
    """What the service says in the end."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environ |= {"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, exporter, scrub, spool],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip()


def found_in(sent: bytes) -> set[bytes]:
    """What of the planted data stands in bytes."""
    return {each for each in PLANTED if each in sent}


@pytest.fixture(autouse=True)
def stock() -> None:
    """Skip where the libraries that are instrumented are missing."""
    for module in ("fastapi", "flask", "httpx", "requests", "sqlalchemy"):
        pytest.importorskip(f"opentelemetry.instrumentation.{module}")


@pytest.mark.parametrize(("way", "name"), [(over_http, "otlp"), (over_grpc, "otlp_proto_grpc")])
def test_nothing_planted_reaches_a_collector(way: Any, name: str) -> None:
    """Requests, queries, paths, headers, statements and errors: no byte of them arrives."""
    with way() as collector:
        said = run(name if way is over_grpc else "otlp_proto_http", "on", collector.endpoint)
    sent = b"".join(collector.bodies)
    message = ExportTraceServiceRequest.FromString(sent)
    spans = [
        span
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]

    assert said.startswith("True")
    assert found_in(sent) == set()
    names = {span.name for span in spans}
    assert {"cart.view", "GET /users/{user}/orders", "GET /users/<user>", "GET"} <= names
    assert b"/users/{user}/orders" in sent
    assert b"ValueError" in sent
    assert b"SELECT ?, ?" in sent
    assert b"http://127.0.0.1:9/{}" in sent


def test_without_it_all_of_it_arrives() -> None:
    """The same service without the setting sends all that was planted: the test can see it."""
    with over_http() as collector:
        run("otlp_proto_http", "off", collector.endpoint)

    assert found_in(b"".join(collector.bodies)) == set(PLANTED)


def test_nothing_planted_is_written_to_a_file(tmp_path: Path) -> None:
    """The file of OTLP JSON lines holds nothing of it either."""
    path = tmp_path / "spans.jsonl"
    run(f"file:{path}", "on")
    text = path.read_bytes()

    assert b"cart.view" in text
    assert found_in(text) == set()


def test_nothing_planted_lies_in_the_spool(tmp_path: Path) -> None:
    """With nobody there, what is kept on disk is what would have been sent."""
    said = run("otlp_proto_http", "on", "http://127.0.0.1:9", str(tmp_path))
    kept = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())

    assert said.split()[1] == "0"
    assert int(said.split()[2]) > 0
    assert b"cart.view" in kept
    assert found_in(kept) == set()
