"""Tempo and VictoriaTraces for tests, each a process of its own as in `servers.py`.

`tools/backends/build` cannot make them, for no registry has their modules. Build them yourself, and
name the programs in `CXTRACE_TEST_TEMPO` and `CXTRACE_TEST_VICTORIATRACES`; without, tests skip.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from .servers import HOST, Config, OnePortServer, get

TEMPO = "CXTRACE_TEST_TEMPO"
VICTORIATRACES = "CXTRACE_TEST_VICTORIATRACES"
TEMPO_FILE = Path(__file__).parents[2] / "examples" / "stack" / "tempo" / "tempo.yaml"
"""What the stack starts Tempo with."""


def given(variable: str) -> Path:
    """The program that a variable of the environment names. Skips a test where it names none."""
    found = os.environ.get(variable)
    if found is None:
        pytest.skip(f"{variable} names no program")
    return Path(found)


class TraceStore(OnePortServer):
    """A running store of traces."""

    def ask(self, path: str, asked: Mapping[str, Any] | None = None) -> bytes:
        """What it answers at a path, which must be well."""
        status, body = get(f"{self.url}{path}?{urlencode(asked or {})}")
        if status != 200:
            raise OSError(f"{self.name} answered {status}: {body.decode(errors='replace')}")
        return body


class Tempo(TraceStore):
    """A running Tempo, from the file of the stack; only addresses and folders are others."""

    name = "tempo"
    health_path = "/ready"

    def program(self) -> Path:
        return given(TEMPO)

    def config(self) -> Config:
        made: Config = yaml.safe_load(TEMPO_FILE.read_text(encoding="utf-8"))
        made["server"].update(
            http_listen_address=HOST,
            http_listen_port=self.ports.query,
            grpc_listen_address=HOST,
            grpc_listen_port=self.ports.query_grpc,
        )
        protocols = made["distributor"]["receivers"]["otlp"]["protocols"]
        protocols["grpc"]["endpoint"] = f"{HOST}:{self.ports.otlp_grpc}"
        protocols["http"]["endpoint"] = f"{HOST}:{self.ports.otlp_http}"
        for part in ("wal", "local"):
            made["storage"]["trace"][part]["path"] = str(self.folder / part)
        # By themselves these are in /var/tempo, which is a volume in the stack.
        live = self.folder / "live"
        made["live_store"] = {
            "wal": {"path": str(live / "traces")},
            "shutdown_marker_dir": str(live / "shutdown"),
        }
        made["backend_scheduler"] = {"local_work_path": str(self.folder / "work")}
        return made

    def command(self, binary: Path, config: Path) -> list[str]:
        return [str(binary), f"-config.file={config}"]

    def search(self, traceql: str, start: int, end: int, limit: int = 200) -> list[str]:
        """The ids of the traces that a query finds, between two moments in seconds since 1970."""
        asked = {"q": traceql, "start": start, "end": end, "limit": limit}
        return [each["traceID"] for each in json.loads(self.ask("/api/search", asked))["traces"]]

    def wait_for_traces(self, traceql: str, count: int, *, seconds: int) -> None:
        """Wait until a query finds so many traces of the last seconds."""

        def are_there() -> bool:
            now = int(time.time())
            return len(self.search(traceql, now - seconds, now)) == count

        self.wait_for(are_there, timeout=60)

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace, as OTLP JSON has them."""
        found = json.loads(self.ask(f"/api/traces/{trace_id}"))
        scopes = (scope for batch in found["batches"] for scope in batch["scopeSpans"])
        return [span for scope in scopes for span in scope["spans"]]


class VictoriaTraces(TraceStore):
    """A running, empty VictoriaTraces. It takes OTLP over HTTP alone."""

    name = "victoria-traces"
    health_path = "/health"

    def program(self) -> Path:
        return given(VICTORIATRACES)

    def config(self) -> Config:
        return {}

    def command(self, binary: Path, config: Path) -> list[str]:
        return [
            str(binary),
            f"-httpListenAddr={HOST}:{self.ports.query}",
            f"-storageDataPath={self.folder / 'data'}",
        ]

    @property
    def otlp_http(self) -> str:
        return f"{self.url}/insert/opentelemetry"

    def search(
        self, logsql: str, start: float, end: float, limit: int = 200
    ) -> list[dict[str, Any]]:
        """The spans that a query finds, between two moments in seconds since 1970."""
        asked = {"query": logsql, "start": start, "end": end, "limit": limit}
        return [json.loads(line) for line in self.ask("/select/logsql/query", asked).splitlines()]

    def traces(self, service: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
        """The service's traces of the last day that have a span with all these tags.

        It answers as Jaeger does.
        """
        now = int(time.time() * 1e6)
        asked = {"service": service, "tags": json.dumps(tags), "limit": 200}
        times = {"start": now - 86_400 * 10**6, "end": now}
        found = json.loads(self.ask("/select/jaeger/api/traces", {**asked, **times}))
        return found["data"] or []


def values(spans: Iterable[Mapping[str, Any]], attribute: str) -> set[str]:
    """What the attribute of spans in OTLP JSON says, where they have it."""
    return {
        each["value"]["stringValue"]
        for span in spans
        for each in span.get("attributes", ())
        if each["key"] == attribute
    }
