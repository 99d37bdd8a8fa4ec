"""Whole requests: bare, with OpenTelemetry's instrumentation, and with cxtrace and a map as well.

Nothing is edited: ``opentelemetry-instrument`` starts the services, and a map binds their route.
"""

import importlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from opentelemetry import metrics, trace

from benchmarks import load, sink
from benchmarks.measure import Block, Line, Samples, Size, block, compare, in_turns
from benchmarks.subjects import KEY

_ROOT: Final = Path(__file__).parent.parent
_TARGET: Final = 0.15
_GENERATIONS: Final = 3
"""How often the processes are started anew: no two of them lie in memory alike."""

_CONNECTIONS: Final = 8
_PATIENCE: Final = 60.0

_INSTRUMENTED: Final = (
    sys.executable,
    "-c",
    "from opentelemetry.instrumentation.auto_instrumentation import run; run()",
)
"""What the command ``opentelemetry-instrument`` does."""

_ALWAYS: Final = {
    "DJANGO_SETTINGS_MODULE": "benchmarks.django_service",
    "PYTHONHASHSEED": "0",
}
_OPENTELEMETRY: Final = {
    "OTEL_SERVICE_NAME": "benchmark",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
}
_CXTRACE: Final = {"CXTRACE_MAP": "benchmarks/requests.toml", "CXTRACE_KEY": KEY}
_SPANS_ALONE: Final = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
_ONE_IN_HUNDRED: Final = {
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.01",
}
_HELD: Final = {
    "OTEL_BSP_SCHEDULE_DELAY": "3600000",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2048",
    "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
}
"""Nothing is exported by itself while something else is measured."""

_ONE_SPAN: Final = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi"}
"""The service instruments itself then, without a span for each message."""

_BARE: Final = "bare"
_PLAIN: Final = "OpenTelemetry"
_OURS: Final = "cxtrace"

_Variants = Mapping[str, Mapping[str, str]]


def fastapi(size: Size) -> list[Line]:
    """Requests to FastAPI, without a server."""
    _need("fastapi", "opentelemetry.instrumentation.fastapi")
    one = {**_SPANS_ALONE, **_ONE_SPAN}
    samples = _in_process(size, "benchmarks.fastapi_service", {"one span": one, **_CASES})
    return [
        _beside_bare(samples, "FastAPI", "one span"),
        _added(samples, "FastAPI", "one span", _TARGET),
        *_all_added(samples, "FastAPI"),
    ]


def django(size: Size) -> list[Line]:
    """Requests to Django with a query to SQLite, without a server."""
    _need("django", "opentelemetry.instrumentation.django", "opentelemetry.instrumentation.sqlite3")
    samples = _in_process(size, "benchmarks.django_service", _CASES)
    return [_beside_bare(samples, "Django", "spans alone"), *_all_added(samples, "Django")]


def uvicorn(size: Size) -> list[Line]:
    """Requests to FastAPI behind uvicorn, one worker."""
    _need("fastapi", "uvicorn", "opentelemetry.instrumentation.fastapi")
    quiet = ("--no-access-log", "--log-level", "warning")
    command = ("-m", "uvicorn", "benchmarks.fastapi_service:application", *quiet, "--port")
    return _served(size, "uvicorn", lambda port: (*command, str(port)))


def gunicorn(size: Size) -> list[Line]:
    """Requests to Django behind gunicorn, one worker that serves one connection after the other."""
    _need(
        *("django", "gunicorn", "opentelemetry.instrumentation.django"),
        "opentelemetry.instrumentation.sqlite3",
    )
    quiet = ("--log-level", "warning", *_without_control_socket())
    command = ("-m", "gunicorn", "benchmarks.django_service:make()", *quiet, "--bind")
    return _served(size, "gunicorn", lambda port: (*command, f"127.0.0.1:{port}"))


def _need(*modules: str) -> None:
    """Raises ModuleNotFoundError where one of them, or what starts them, is not installed."""
    for module in ("opentelemetry.distro", "opentelemetry.exporter.otlp.proto.http", *modules):
        importlib.import_module(module)


def _without_control_socket() -> tuple[str, ...]:
    settings: Any = importlib.import_module("gunicorn.config").KNOWN_SETTINGS
    options = {option for each in settings for option in each.cli or ()}
    return tuple(options & {"--no-control-socket"})


# In process

_CASES: Final[_Variants] = {
    "spans alone": _SPANS_ALONE,
    "spans and metrics": {},
    "1 % sampled": _ONE_IN_HUNDRED,
}


def _in_process(size: Size, service: str, cases: _Variants) -> Samples:
    """What a request costs in each case, in a process each that take turns."""
    samples: dict[str, list[float]] = {}
    generations = max(1, min(_GENERATIONS, size.rounds // 7))
    for _ in range(generations):
        with ExitStack() as stack:
            endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(sink.running()).url}
            environs: dict[str, dict[str, str] | None] = {_BARE: None}
            for case, more in cases.items():
                plain = {**_OPENTELEMETRY, **endpoint, **_HELD, **more}
                environs[f"{_PLAIN}, {case}"] = plain
                environs[f"{_OURS}, {case}"] = {**plain, **_CXTRACE}
            command = ("-m", "benchmarks.requests", service)
            started = {
                name: stack.enter_context(_process(command, environ, stdin=subprocess.PIPE))
                for name, environ in environs.items()
            }
            turns = {name: _turn_of(child, size.calls // 8) for name, child in started.items()}
            # Short turns: what is added is a difference of two of them, of one moment.
            for name, costs in in_turns(turns, size.rounds * 4 // generations).items():
                samples.setdefault(name, []).extend(costs)
    return samples


def _turn_of(child: "subprocess.Popen[str]", calls: int) -> Block:
    def turn() -> float:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{calls}\n")
        child.stdin.flush()
        return float(child.stdout.readline())

    return turn


def _beside_bare(samples: Samples, framework: str, case: str) -> Line:
    note = "what OpenTelemetry adds, beside the request without it"
    name = f"{framework}: {_PLAIN}, {case}"
    return compare(samples, name, f"{_PLAIN}, {case}", _BARE, less=_BARE, note=note)


def _all_added(samples: Samples, framework: str) -> list[Line]:
    targets = {"1 % sampled": None}
    return [_added(samples, framework, case, targets.get(case, _TARGET)) for case in _CASES]


def _added(samples: Samples, framework: str, case: str, target: float | None) -> Line:
    plain = f"{_PLAIN}, {case}"
    return compare(
        samples,
        f"{framework}: bound by route, {case}",
        f"{_OURS}, {case}",
        plain,
        less=plain,
        target=target,
        note="what cxtrace adds, beside the request with OpenTelemetry alone",
    )


# Behind a server


def _served(size: Size, server: str, command: Callable[[int], tuple[str, ...]]) -> list[Line]:
    """Requests a second, and what one takes, with a server that each variant has to itself."""
    found: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        generator = stack.enter_context(load.running())
        url = stack.enter_context(sink.running()).url
        plain = {**_OPENTELEMETRY, "OTEL_EXPORTER_OTLP_ENDPOINT": url}
        environs = {
            _BARE: None,
            _PLAIN: plain,
            _OURS: {**plain, **_CXTRACE},
            f"{_PLAIN}, 1 %": {**plain, **_ONE_IN_HUNDRED},
            f"{_OURS}, 1 %": {**plain, **_CXTRACE, **_ONE_IN_HUNDRED},
        }
        ports = dict(zip(environs, _free_ports(len(environs)), strict=True))
        for name, environ in environs.items():
            stack.enter_context(_process(command(ports[name]), environ))
        for port in ports.values():
            _wait_for(port)
        seconds = size.seconds / 6
        turns = {
            name: _watched(generator, port, seconds, found.setdefault(name, {}))
            for name, port in ports.items()
        }
        in_turns(turns, size.rounds // 2)
    for values in found.values():
        for samples in values.values():
            del samples[0]  # of the turn that only warms up
    return _served_lines(found, server)


def _watched(
    generator: load.Load, port: int, seconds: float, found: dict[str, list[float]]
) -> Block:
    def turn() -> float:
        before = float(load.ask(port, load.SPENT))
        many = generator.run(port, _CONNECTIONS, seconds)
        spent = float(load.ask(port, load.SPENT)) - before
        one = generator.run(port, 1, seconds)
        measured = {
            "rate": many.rate,
            "processor": spent / (many.rate * seconds),
            "median": one.median,
            "p99": one.p99,
            "busy": max(many.busy, one.busy),
        }
        for name, value in measured.items():
            found.setdefault(name, []).append(value)
        return many.rate

    return turn


def _served_lines(found: Mapping[str, Mapping[str, list[float]]], server: str) -> list[Line]:
    busy = max(max(values["busy"]) for values in found.values())
    rates = (
        f"over {_CONNECTIONS} connections; `by hand` is the case that is named after `beside`, and "
        f"a ratio over 1 is faster; the load generator was busy for {busy:.0%} of the time at most"
    )
    lines: list[Line] = []
    for ours, theirs in (
        (_PLAIN, _BARE),
        (_OURS, _BARE),
        (_OURS, _PLAIN),
        (f"{_OURS}, 1 %", f"{_PLAIN}, 1 %"),
    ):
        case = f"{server}: {ours} beside {theirs}"
        by_name = {name: values["rate"] for name, values in found.items()}
        lines.append(
            compare(by_name, f"{case}, requests", ours, theirs, unit="1/s", note=rates)
        )
    for what, key, unit, note in (
        ("processor time", "processor", "µs", "of the whole process, what it exports included"),
        ("median", "median", "ms", _LATENCY),
        ("p99", "p99", "ms", _LATENCY),
    ):
        by_name = {name: values[key] for name, values in found.items()}
        for sampled, target in (("", _TARGET if key == "processor" else None), (", 1 %", None)):
            ours, theirs = f"{_OURS}{sampled}", f"{_PLAIN}{sampled}"
            case = f"{server}: added{sampled}, {what}"
            line = compare(
                by_name, case, ours, theirs, less=theirs, unit=unit, target=target, note=note
            )
            lines.append(line)
    return lines


_LATENCY: Final = "over one connection, what cxtrace adds, beside OpenTelemetry alone"


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_for(port: int) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            load.ask(port, load.SPENT)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


# Processes


@contextmanager
def _process(
    command: tuple[str, ...], environ: Mapping[str, str] | None, stdin: int | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Python with these arguments; without an environment of its own, nothing is instrumented."""
    before = () if environ is None else _INSTRUMENTED
    with subprocess.Popen(
        [*before, sys.executable, *command],
        stdin=stdin,
        stdout=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={**os.environ, **_ALWAYS, **(environ or {})},
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def main(service: str) -> None:
    """What a process does that serves without a server: calls in, seconds for each out."""
    run = importlib.import_module(service).asking()
    spans = trace.get_tracer_provider()
    after = getattr(spans, "force_flush", lambda: None)
    for line in sys.stdin:
        print(block(run, int(line), after=after)(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
