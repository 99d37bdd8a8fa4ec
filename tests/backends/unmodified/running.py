"""Processes of unmodified applications under `opentelemetry-instrument`, and what they send.

Environment variables and a map are all that cxtrace gets. A Collector in between keeps every byte
that came, and hands spans to Jaeger and metrics to VictoriaMetrics.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cxtrace import attributes as names
from cxtrace.privacy import HmacPseudonymiser, Key, hashed_journey_id

from ..metric_stores import VictoriaMetrics
from ..servers import HOST, PATIENT, SIGNALS, Collector, Config, Jaeger, Ports, get, tags
from .installed import HERE, Installed

FIVE_TAGS = {
    "cx.journey.name",
    "cx.journey.id",
    "cx.stage.name",
    "cx.touchpoint.name",
    "cx.owner.function",
}
PSEUDONYM = "enduser.pseudo.id"
OUTCOME = "cx.touchpoint.outcome"
TOUCHPOINT = "cx.touchpoint.name"
KEY = "a key for shops that nobody has changed, of 32 bytes and some more"
OFTEN = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_METRIC_EXPORT_INTERVAL": "500"}
"""For processes that end without sending what they still have."""
SECRET = Key(KEY.encode())
T = TypeVar("T")


class Split(Collector):
    """A Collector that sends each kind where it belongs: Jaeger takes nothing but spans."""

    def __init__(self, folder: Path, jaeger: Jaeger, store: VictoriaMetrics) -> None:
        self._jaeger, self._store = jaeger, store
        super().__init__(folder, metrics_exporters=store.exporter())

    def config(self) -> Config:
        config = super().config()
        config["exporters"]["otlp_http/jaeger"] = {"endpoint": self._jaeger.otlp_http}
        config["service"]["pipelines"]["traces"]["exporters"].append("otlp_http/jaeger")
        return config

    def settle(self, service: str) -> None:
        """Wait until all is stored that a service sent which has ended."""
        before: list[tuple[set[str], int]] = []

        def is_stored() -> bool:
            now = {span["spanId"] for span in self.spans(service)}, self._visits(service)
            is_written, before[:] = before == [now], [now]
            time.sleep(0.25)  # longer than the Collector takes to write down what it has
            return is_written and self._stored(service, *now)

        self.wait_for(is_stored, timeout=90)

    def _visits(self, service: str) -> int:
        """How many visits of touchpoints the service has counted at last."""
        last: dict[str, int] = {}
        for line in self.lines("metrics"):
            for resource in line["resourceMetrics"]:
                whose = json.dumps(resource["resource"])
                if json.dumps({"stringValue": service}) in whose:
                    for scope in resource["scopeMetrics"]:
                        for metric in scope["metrics"]:
                            if metric["name"] == names.METRIC_TOUCHPOINT_DURATION:
                                for point in metric["histogram"]["dataPoints"]:
                                    labels = json.dumps(point["attributes"])
                                    last[whose + labels] = int(point["count"])
        return sum(last.values())

    def _stored(self, service: str, spans: set[str], visits: int) -> bool:
        traces = self._jaeger.traces(service, limit=5_000)
        found = {span["spanID"] for trace in traces for span in trace["spans"]}
        of = f'{{service_name="{service}"}}'
        counted = self._store.value(f"sum(cx_touchpoint_duration_seconds_count{of}) or vector(0)")
        return spans <= found and counted == visits

    def everything(self) -> str:
        """All that came, of all kinds, as the file exporter wrote it."""
        return "".join((self.folder / f"{kind}.jsonl").read_text() for kind in SIGNALS)


class Application(NamedTuple):
    """One running process of an application."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, predicate: Callable[[], T], timeout: float = 60) -> T:
        """What `predicate` returns, once that is true; else an AssertionError with the log."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                if value := predicate():
                    return value
            except OSError:
                pass
            ended = time.monotonic() > deadline or self.process.poll() is not None
            assert not ended, self.log.read_text(errors="replace")
            time.sleep(0.1)


class Platform(NamedTuple):
    """What a platform team sets for all of its services, and what they install."""

    installed: Installed
    cxtrace: Path
    collector: Split

    def environment(self, service: str, map_: Path, **more: str) -> dict[str, str]:
        """The variables of a service: nothing of the machine's, no more than a deployment sets."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TZ") if name in os.environ}
        return {
            **kept,
            "PATH": os.pathsep.join([str(self.installed.bin), os.defpath]),
            "PYTHONPATH": os.pathsep.join([str(self.cxtrace), str(HERE)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OTEL_SERVICE_NAME": service,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.otlp_http,
            **PATIENT,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_PROPAGATORS": "tracecontext,baggage,cxtrace",
            "CXTRACE_MAP": str(map_),
            "CXTRACE_KEY": KEY,
            **more,
        }

    @contextmanager
    def run(
        self, *command: str, folder: Path, environment: Mapping[str, str]
    ) -> Iterator[Application]:
        """A process under `opentelemetry-instrument`, told to end when the block does."""
        log = folder / f"{command[0]}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [self.installed.bin / "opentelemetry-instrument", *command],
                cwd=folder,
                env={**environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield Application(process, log)
        finally:
            end(process)

    @contextmanager
    def serve(
        self, *command: str, folder: Path, environment: Mapping[str, str], ready: str = "/"
    ) -> Iterator[str]:
        """Its address, once a process that listens on `{port}` answers at `ready`."""
        port = Ports.free().query
        url = f"http://{HOST}:{port}"
        full = [part.format(port=port) for part in command]
        with self.run(*full, folder=folder, environment=environment) as application:
            application.wait_for(lambda: get(url + ready)[0] < 500)
            try:
                yield url
            except AssertionError as error:
                log = application.log.read_text(errors="replace")
                raise AssertionError(f"{error}\n{log[-5_000:]}") from error


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end as a deployment does, and wait until it has sent everything."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


class Span(NamedTuple):
    """A span as Jaeger has it."""

    name: str
    kind: str
    service: str
    start: int
    tags: dict[str, Any]
    trace: str

    def get(self, key: str) -> Any:
        """The value of a tag; None where it has none."""
        return self.tags.get(key)


Trace = list[Span]
"""What one request has led to, the earliest first."""


def traces_of(jaeger: Jaeger, service: str, journey: str | None = None) -> list[Trace]:
    """The traces of a service, or of a journey in it, as they followed each other."""
    by_tag = None if journey is None else {"cx.journey.id": journey}
    found = [_spans(trace) for trace in jaeger.traces(service, by_tag, limit=5_000)]
    return sorted(found, key=lambda trace: trace[0].start)


def doors(traces: Iterable[Trace]) -> list[Span]:
    """The spans with which somebody came in: those of servers and of consumers."""
    return [span for trace in traces for span in trace if span.kind in ("server", "consumer")]


def incomplete(traces: Iterable[Trace], keys: Iterable[str]) -> list[tuple[str, set[str]]]:
    """The spans that lack one of these tags, and which."""
    lacking = [(span, {*keys} - span.tags.keys()) for trace in traces for span in trace]
    return [(span.name, keys) for span, keys in lacking if keys]


def _spans(trace: Mapping[str, Any]) -> Trace:
    found = []
    for span in trace["spans"]:
        service = trace["processes"][span["processID"]]["serviceName"]
        named = tags(span)
        kind = named.get("span.kind", "internal")
        where = (service, span["startTime"], named, trace["traceID"])
        found.append(Span(span["operationName"], kind, *where))
    return sorted(found, key=lambda span: span.start)


def journey_id(name: str, told: str) -> str:
    """The id of the journey that a cookie, or a part of the path, stands for."""
    return hashed_journey_id(name, told, SECRET)


def pseudonym(customer: str | int) -> str:
    """What a customer is called in telemetry."""
    return HmacPseudonymiser(SECRET).pseudonym(str(customer))
