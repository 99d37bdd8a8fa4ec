"""Real backends for tests: each is a process of its own, on free ports of this machine.

`tools/backends/build` makes the binaries. A server is a context manager that stops it at the end;
its folder keeps its configuration, its log and what it wrote.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypedDict, TypeVar

BUILD = Path(__file__).parents[2] / "tools" / "backends" / "build"
HOST = "127.0.0.1"
KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
"""OpenTelemetry's kinds of span, each at its number in OTLP."""
SIGNALS = ("traces", "metrics", "logs")

PATIENT = {"OTEL_EXPORTER_OTLP_TIMEOUT": "30"}
"""For programs that send to a backend on a machine that has other work."""

Config = dict[str, Any]
"""A configuration of a Collector, or a part of one. It is handed over as JSON, which is YAML."""

T = TypeVar("T")
ServerT = TypeVar("ServerT", bound="Server")


class MissingError(Exception):
    """A backend is not built; the message names the command that builds it."""


class Ports(NamedTuple):
    """The ports of one server."""

    otlp_grpc: int
    otlp_http: int
    health: int
    query: int
    query_grpc: int

    @classmethod
    def free(cls) -> Ports:
        """Ports that nothing listens on at this moment, and that are given to nobody else here."""
        return cls(*(_free_port() for _ in cls._fields))


_given: set[int] = set()


def _free_port() -> int:
    while True:
        # Below those that the system gives to who connects somewhere.
        port = 16_000 + secrets.randbelow(16_000)
        with socket.socket() as look, suppress(OSError):
            look.bind((HOST, port))
            if port not in _given:
                _given.add(port)
                return port


class Span(TypedDict):
    """A span that the Collector wrote; `raw` is the whole of it, as in OTLP JSON."""

    name: str
    kind: str
    attributes: dict[str, Any]
    traceId: str
    spanId: str
    parentSpanId: str
    service: str
    raw: dict[str, Any]


class Log(TypedDict):
    """A log record that the Collector wrote; `raw` is the whole of it, as in OTLP JSON."""

    body: Any
    severity: str
    event: str
    attributes: dict[str, Any]
    traceId: str
    spanId: str
    service: str
    raw: dict[str, Any]


def binary(name: str) -> Path:
    """The path of a built backend; raises MissingError when it is not built."""
    look = subprocess.run([BUILD, "--where", name], capture_output=True, text=True, check=False)
    if look.returncode != 0:
        raise MissingError(look.stderr.strip())
    return Path(look.stdout.strip())


def validate(config: Config | Path) -> str:
    """What the Collector has against a configuration; nothing ("") when it accepts it."""
    where = str(config) if isinstance(config, Path) else f"yaml:{json.dumps(config)}"
    command = [str(binary("collector")), "validate", "--config", where]
    check = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if check.returncode == 0 else check.stdout + check.stderr


def collector_config(
    ports: Ports,
    folder: Path,
    *,
    processors: Config | None = None,
    exporters: Config | None = None,
    metrics_exporters: Config | None = None,
    replay: Path | None = None,
) -> Config:
    """A Collector that takes OTLP, and writes `traces.jsonl`, `metrics.jsonl` and `logs.jsonl`.

    Every signal passes through the `processors`, in their order, and goes to the `exporters` too;
    metrics go to the `metrics_exporters` as well.
    With `replay`, a file of OTLP JSON lines, the Collector also reads that from its start.
    """
    processors = processors or {}
    exporters = exporters or {}
    metrics_exporters = metrics_exporters or {}
    receivers = {"otlp": _otlp(ports)}
    if replay is not None:
        receivers["otlp_json_file"] = {
            "include": [str(replay)],
            "start_at": "beginning",
            # It is true by default, and gives every span an attribute.
            "include_file_name": False,
            # A longer line is split in the middle; the default is 1 MiB.
            "max_log_size": "64MiB",
        }
    # One exporter for all signals closes its file when the first signal's pipeline stops, and the
    # batches of the others are lost.
    files = {
        f"file/{signal}": {"path": str(folder / f"{signal}.jsonl"), "flush_interval": "50ms"}
        for signal in SIGNALS
    }
    pipelines = {
        signal: {
            "receivers": list(receivers),
            "processors": list(processors),
            "exporters": [f"file/{signal}", *exporters],
        }
        for signal in SIGNALS
    }
    pipelines["metrics"]["exporters"] += metrics_exporters
    return {
        "receivers": receivers,
        "processors": processors,
        "exporters": {**files, **exporters, **metrics_exporters},
        "extensions": {"health_check": {"endpoint": f"{HOST}:{ports.health}"}},
        "service": {
            "extensions": ["health_check"],
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": pipelines,
        },
    }


def jaeger_config(ports: Ports) -> Config:
    """A Jaeger that takes OTLP and keeps traces in memory."""
    return {
        "receivers": {"otlp": _otlp(ports)},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
        "extensions": {
            "healthcheckv2": {"use_v2": True, "http": {"endpoint": f"{HOST}:{ports.health}"}},
            "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 100_000}}}},
            "jaeger_query": {
                # It is true by default, and sends Jaeger's own spans to port 4317, whoever's it is.
                "enable_tracing": False,
                "storage": {"traces": "memory"},
                "http": {"endpoint": f"{HOST}:{ports.query}"},
                "grpc": {"endpoint": f"{HOST}:{ports.query_grpc}"},
            },
        },
        "service": {
            "extensions": ["healthcheckv2", "jaeger_storage", "jaeger_query"],
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                "traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}
            },
        },
    }


def _otlp(ports: Ports) -> Config:
    return {
        "protocols": {
            "grpc": {"endpoint": f"{HOST}:{ports.otlp_grpc}"},
            "http": {"endpoint": f"{HOST}:{ports.otlp_http}"},
        }
    }


class Server:
    """A running backend, ready when the object is made."""

    name: str
    health_path = "/"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.txt"
        program = self.program()
        folder.mkdir(parents=True, exist_ok=True)
        for tries_left in (2, 1, 0):
            self._launch(program)
            try:
                self.wait_for(self._is_healthy, timeout=90)
            except BaseException as error:
                self.stop()
                # Another process can take a port between our look and the backend's start.
                if tries_left == 0 or "address already in use" not in str(error):
                    raise
            else:
                return

    def __enter__(self: ServerT) -> ServerT:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def otlp_grpc(self) -> str:
        """Where it takes OTLP over gRPC."""
        return f"http://{HOST}:{self.ports.otlp_grpc}"

    @property
    def otlp_http(self) -> str:
        """Where it takes OTLP over HTTP; `/v1/traces` and the like come behind it."""
        return f"http://{HOST}:{self.ports.otlp_http}"

    @property
    def health_url(self) -> str:
        """What answers with 200 once the server is ready."""
        return f"http://{HOST}:{self.ports.health}{self.health_path}"

    def program(self) -> Path:
        """What is started."""
        return binary(self.name)

    def config(self) -> Config:
        """The configuration to start with, on `self.ports`."""
        raise NotImplementedError

    def command(self, binary: Path, config: Path) -> list[str]:
        """What starts the server, with the file of its configuration."""
        return [str(binary), "--config", str(config)]

    def environment(self) -> dict[str, str] | None:
        """The environment to start in; None for the one of the tests."""
        return None

    def kill(self) -> None:
        """End the process in the middle of what it does."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End the process, and wait until it has written everything; again does nothing."""
        if self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log_tail(self, lines: int = 40) -> str:
        """The end of what the process printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_for(self, predicate: Callable[[], T], timeout: float = 60) -> T:
        """What `predicate` returns, as soon as that is true; an OSError counts as false.

        When that takes more than `timeout` seconds, or the process ends, it is an AssertionError.
        """
        deadline = time.monotonic() + timeout
        last: object
        while True:
            try:
                last = value = predicate()
            except OSError as error:
                last = error
            else:
                if value:
                    return value
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                why = f"not in {timeout} s" if ended is None else f"ended with status {ended}"
                raise AssertionError(f"{self.name}: {why}; last: {last!r}\n{self.log_tail()}")
            time.sleep(0.05)

    def _launch(self, binary: Path) -> None:
        self.ports = self.choose_ports()
        path = self.folder / "config.json"
        path.write_text(json.dumps(self.config(), indent=2))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(binary, path),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self.environment(),
            )

    def choose_ports(self) -> Ports:
        """The ports to start on."""
        return Ports.free()

    def _is_healthy(self) -> bool:
        status, _ = get(self.health_url)
        return status == 200


class Collector(Server):
    """A running Collector; for the arguments see `collector_config`."""

    name = "collector"

    def __init__(
        self,
        folder: Path,
        *,
        processors: Config | None = None,
        exporters: Config | None = None,
        metrics_exporters: Config | None = None,
        replay: Path | None = None,
    ) -> None:
        self.output = folder / "traces.jsonl"
        self._parts = {
            "processors": processors,
            "exporters": exporters,
            "metrics_exporters": metrics_exporters,
        }
        self._replay = replay
        super().__init__(folder)

    def config(self) -> Config:
        return collector_config(self.ports, self.folder, replay=self._replay, **self._parts)

    def lines(self, signal: str = "traces") -> list[dict[str, Any]]:
        """The requests written so far, of one signal, as OTLP JSON."""
        # The last line has no end while the Collector is in the middle of writing it.
        whole = (self.folder / f"{signal}.jsonl").read_text().split("\n")[:-1]
        return [json.loads(line) for line in whole]

    def spans(self, service: str | None = None) -> list[Span]:
        """The spans written so far: those of one service, or all."""
        spans = [span for line in self.lines() for span in _spans(line)]
        return [span for span in spans if service in (None, span["service"])]

    def logs(self, service: str | None = None) -> list[Log]:
        """The log records written so far: those of one service, or all."""
        logs = [log for line in self.lines("logs") for log in _logs(line)]
        return [log for log in logs if service in (None, log["service"])]


class Jaeger(Server):
    """A running Jaeger with an empty memory."""

    name = "jaeger"
    health_path = "/status"

    @property
    def query_url(self) -> str:
        """Where Jaeger answers `/api/…`."""
        return f"http://{HOST}:{self.ports.query}"

    def config(self) -> Config:
        return jaeger_config(self.ports)

    def services(self) -> list[str]:
        """The names of the services that sent spans."""
        return [str(name) for name in self._ask("services")]

    def traces(
        self, service: str, tags: Mapping[str, str] | None = None, limit: int = 200
    ) -> list[dict[str, Any]]:
        """The service's traces of any time that have a span with all these tags."""
        tomorrow = int((time.time() + 86_400) * 1e6)
        query = {"service": service, "limit": limit, "start": 0, "end": tomorrow}
        if tags:
            query["tags"] = json.dumps(dict(tags))
        return self._ask(f"traces?{urllib.parse.urlencode(query)}")

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        """The trace with this id, in hexadecimal digits; None when Jaeger has none."""
        found = self._ask(f"traces/{trace_id}")
        return found[0] if found else None

    def _ask(self, path: str) -> list[Any]:
        status, body = get(f"{self.query_url}/api/{path}")
        if status == 404:
            return []
        if status != 200:
            raise OSError(f"Jaeger answered {status}: {body.decode(errors='replace')}")
        return json.loads(body)["data"] or []


def tags(span: Mapping[str, Any]) -> dict[str, Any]:
    """The tags of a span that came from Jaeger."""
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def get(url: str) -> tuple[int, bytes]:
    """The status and the body of an answer, past any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def run_program(program: Path, environment: Mapping[str, str]) -> None:
    """Run a program to its end, with these settings of OpenTelemetry and cxtrace and no others.

    It waits long for an answer: what is sent twice is counted twice.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    command, env = [sys.executable, str(program)], {**kept, **PATIENT, **environment}
    subprocess.run(command, cwd=BUILD.parents[2], env=env, timeout=120, check=True)


class OnePortServer(Server):
    """A running backend that is asked everything at one port."""

    @property
    def url(self) -> str:
        """Where its HTTP interface begins."""
        return f"http://{HOST}:{self.ports.query}"

    @property
    def health_url(self) -> str:
        return self.url + self.health_path


def _spans(line: Mapping[str, Any]) -> Iterable[Span]:
    for resource in line.get("resourceSpans", ()):
        service = _attributes(resource.get("resource", {})).get("service.name", "")
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                yield Span(
                    name=span["name"],
                    kind=KINDS[span.get("kind", 0)],
                    attributes=_attributes(span),
                    traceId=span["traceId"],
                    spanId=span["spanId"],
                    parentSpanId=span.get("parentSpanId", ""),
                    service=service,
                    raw=span,
                )


def _logs(line: Mapping[str, Any]) -> Iterable[Log]:
    for resource in line.get("resourceLogs", ()):
        service = _attributes(resource.get("resource", {})).get("service.name", "")
        for scope in resource["scopeLogs"]:
            for log in scope["logRecords"]:
                yield Log(
                    body=_value(log.get("body", {})),
                    severity=log.get("severityText", ""),
                    event=log.get("eventName", ""),
                    attributes=_attributes(log),
                    traceId=log.get("traceId", ""),
                    spanId=log.get("spanId", ""),
                    service=service,
                    raw=log,
                )


def _attributes(thing: Mapping[str, Any]) -> dict[str, Any]:
    return {each["key"]: _value(each["value"]) for each in thing.get("attributes", ())}


def _value(value: Mapping[str, Any]) -> Any:
    """A plain value for OTLP's `{"intValue": "1"}` and the like."""
    for kind, inner in value.items():
        if kind == "intValue":
            return int(inner)
        if kind == "arrayValue":
            return [_value(each) for each in inner.get("values", ())]
        if kind == "kvlistValue":
            return {each["key"]: _value(each["value"]) for each in inner.get("values", ())}
        return inner
    return None
