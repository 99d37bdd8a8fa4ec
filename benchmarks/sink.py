"""A server on loopback that takes OTLP over HTTP and counts spans. Runs in a process of its own.

``GET /`` answers with the number of spans received. The process ends when its input is closed.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.request import urlopen

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_LOOPBACK: Final = "127.0.0.1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bodies: Final[list[bytes]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(b"")

    def do_GET(self) -> None:
        # Read late, so that reading takes no time from the process that is measured.
        spans = sum(
            len(scope.spans)
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
        )
        self._answer(str(spans).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Sink:
    """The server, seen from the process that sends."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{_LOOPBACK}:{port}"

    def spans(self) -> int:
        """How many spans came in until now."""
        with urlopen(self.url, timeout=60) as answer:
            return int(answer.read())


@contextmanager
def running() -> Iterator[Sink]:
    """A sink, for as long as the block lasts."""
    command = [sys.executable, "-m", "benchmarks.sink"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Sink(int(process.stdout.readline()))
        finally:
            process.stdin.close()


def main() -> None:
    """Serve until the input is closed."""
    server = ThreadingHTTPServer((_LOOPBACK, 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
