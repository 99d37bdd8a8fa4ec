"""Programs in processes of their own, and a receiver that remembers which spans they sent."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cxtrace.exporters import RecordedSpan, read_spans

KEY = "k" * 32
LONGEST = 280
"""Seconds after which a program is taken to hang."""

START = f"""
import os, signal, sys, threading, time
import cxtrace
from cxtrace import current_context, customer, interaction, journey, touchpoint
signal.alarm({LONGEST - 10})

def configure(**more):
    if os.environ.get("CXTRACE_EXPORTER") is None:
        more.setdefault("exporter", "file:" + os.environ["OUT"])
    cxtrace.configure(service_name="life", key="{KEY}", **more)

def wait_for(pid):
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
"""


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a program: no settings of the machine's, and where its spans go."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    ours = {"OUT": str(folder / "spans.jsonl"), "OTEL_METRICS_EXPORTER": "none"}
    return {**kept, **ours, "PYTHONWARNINGS": "ignore", **settings}


def start(folder: Path, body: str, **settings: str) -> "subprocess.Popen[str]":
    """Start a program; what it prints is read by the caller."""
    script = folder / "program.py"
    script.write_text(START + dedent(body), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment(folder, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, body: str, **settings: str) -> str:
    """Run a program to its end, which must be a good one, and give what it has printed."""
    running = start(folder, body, **settings)
    try:
        printed, complaints = running.communicate(timeout=LONGEST)
    finally:
        running.kill()

    assert (running.returncode, complaints) == (0, "")
    return printed


def sent(folder: Path) -> list[RecordedSpan]:
    """The spans in the file of a program and of its children."""
    file = folder / "spans.jsonl"
    return list(read_spans(file)) if file.exists() else []


def names(folder: Path) -> list[str]:
    """The names of the spans that were sent, sorted."""
    return sorted(span.name for span in sent(folder))


class Receiver:
    """What has arrived over OTLP, and what could not be read of it."""

    def __init__(self, port: int, protocol: str = "http/protobuf") -> None:
        self.spans: list[Any] = []
        self.faults: list[str] = []
        self._settings = {
            "CXTRACE_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        }

    def settings(self) -> dict[str, str]:
        """What a program is to be told, so that it sends here."""
        return self._settings

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Remember the spans of a request."""
        for resource_spans in request.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                self.spans += scope_spans.spans


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Receive spans over HTTP, on connections that stay open as a Collector's do."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                found.take(ExportTraceServiceRequest.FromString(body))
            except DecodeError as error:
                found.faults.append(str(error))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            """Say nothing."""

        def log_error(self, format: str, *args: Any) -> None:  # noqa: A002
            found.faults.append(format % args)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Receiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
