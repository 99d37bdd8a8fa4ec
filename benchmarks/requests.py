"""Whole requests: bare, with OpenTelemetry's instrumentation, and with cxtrace and a map as well.

Nothing is edited: ``opentelemetry-instrument`` starts the services, and a map binds their route.
"""

import importlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace

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
_ROUTE: Final = "bound by route"
_ROUTE_AND_TWO: Final = "bound by route, 2 touchpoints in it"
_THREE: Final = "3 touchpoints"
_MAPS: Final[Mapping[str, tuple[str, ...]]] = {
    _ROUTE: ("requests",),
    _ROUTE_AND_TWO: ("requests", "parts"),
    _THREE: ("plain", "parts"),
}
"""Files of the map that makes a request what it is."""

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

_ALL: Final = "all sampled"
_FEW: Final = "1 % sampled"
_BARE: Final = "bare"
_PLAIN: Final = "OpenTelemetry"
_OURS: Final = "cxtrace"

_CASES: Final[Mapping[str, Mapping[str, str]]] = {
    "spans alone": _SPANS_ALONE,
    "spans and metrics": {},
    _FEW: _ONE_IN_HUNDRED,
}
"""How the services are instrumented, each once with cxtrace and once without."""


def fastapi(size: Size) -> list[Line]:
    """Requests to FastAPI, without a server."""
    _need("fastapi", "opentelemetry.instrumentation.fastapi")
    one = {**_SPANS_ALONE, **_ONE_SPAN}
    samples = _in_process(size, "benchmarks.fastapi_service", {"one span": one, **_CASES})
    return [
        _beside_bare(samples, "FastAPI", "one span"),
        *(_added(samples, "FastAPI", "one span", each, _TARGET) for each in _MAPS),
        *(_added(samples, "FastAPI", case) for case in _CASES),
    ]


def django(size: Size) -> list[Line]:
    """Requests to Django with a query to SQLite, without a server."""
    _need("django", "opentelemetry.instrumentation.django", "opentelemetry.instrumentation.sqlite3")
    samples = _in_process(size, "benchmarks.django_service", _CASES)
    first, *others = _CASES
    return [
        _beside_bare(samples, "Django", first),
        *(_added(samples, "Django", first, each, _TARGET) for each in _MAPS),
        *(_added(samples, "Django", case) for case in others),
    ]


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


def _in_process(size: Size, service: str, cases: Mapping[str, Mapping[str, str]]) -> Samples:
    """What a request costs in each case, in a process each that take turns."""
    samples: dict[str, list[float]] = {}
    generations = max(1, min(_GENERATIONS, size.rounds // 7))
    for _ in range(generations):
        with ExitStack() as stack:
            endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(sink.running()).url}
            command = ("-m", "benchmarks.requests", service)
            turns = {
                name: _turn_of(
                    stack.enter_context(_process(command, environ, stdin=subprocess.PIPE)),
                    size.calls // 8,
                )
                for name, environ in _environs(cases, {**endpoint, **_HELD}, _MAPS).items()
            }
            # Short turns: what is added is a difference of two of them, of one moment.
            for name, costs in in_turns(turns, size.rounds * 4 // generations).items():
                samples.setdefault(name, []).extend(costs)
    return samples


def _environs(
    cases: Mapping[str, Mapping[str, str]],
    always: Mapping[str, str],
    of_first: Iterable[str] = (_ROUTE,),
) -> dict[str, Mapping[str, str] | None]:
    """The environment of each process; the first case once for each of several maps."""
    environs: dict[str, Mapping[str, str] | None] = {_BARE: None}
    wanted = tuple(of_first)
    for case, more in cases.items():
        plain = environs[f"{_PLAIN}, {case}"] = {**_OPENTELEMETRY, **always, **more}
        for each in wanted:
            environs[_ours(case, each)] = {**plain, **_cxtrace(each)}
        wanted = (_ROUTE,)
    return environs


def _ours(case: str, which: str = _ROUTE) -> str:
    return f"{_OURS}, {case}" if which == _ROUTE else f"{_OURS}, {case}, {which}"


def _cxtrace(which: str) -> dict[str, str]:
    files = os.pathsep.join(f"benchmarks/{name}.toml" for name in _MAPS[which])
    return {"CXTRACE_MAP": files, "CXTRACE_KEY": KEY}


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


def _added(
    samples: Samples,
    framework: str,
    case: str,
    which: str = _ROUTE,
    target: float | None = None,
) -> Line:
    plain = f"{_PLAIN}, {case}"
    return compare(
        samples,
        f"{framework}: {which}, {case}",
        _ours(case, which),
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
        shares = {_ALL: {}, _FEW: _ONE_IN_HUNDRED}
        environs = _environs(shares, {"OTEL_EXPORTER_OTLP_ENDPOINT": url})
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
            "processor": spent / many.requests,
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
        f"over {_CONNECTIONS} connections; `by hand` is what stands after `beside`, and a ratio "
        f"over 1 is faster; the load generator was busy for {busy:.0%} of the time at most"
    )
    lines: list[Line] = []
    for ours, theirs in (
        (f"{_PLAIN}, {_ALL}", _BARE),
        (f"{_OURS}, {_ALL}", _BARE),
        (f"{_OURS}, {_ALL}", f"{_PLAIN}, {_ALL}"),
        (f"{_OURS}, {_FEW}", f"{_PLAIN}, {_FEW}"),
    ):
        case = f"{server}: requests, {ours} beside {theirs}"
        by_name = {name: values["rate"] for name, values in found.items()}
        lines.append(compare(by_name, case, ours, theirs, unit="1/s", note=rates))
    for what, key, unit, note in (
        ("processor time", "processor", "µs", _PROCESSOR),
        ("median", "median", "ms", _LATENCY),
        ("p99", "p99", "ms", _LATENCY),
    ):
        by_name = {name: values[key] for name, values in found.items()}
        for share in (_ALL, _FEW):
            ours, theirs = f"{_OURS}, {share}", f"{_PLAIN}, {share}"
            case = f"{server}: bound by route, {share}, {what}"
            lines.append(compare(by_name, case, ours, theirs, less=theirs, unit=unit, note=note))
    return lines


_PROCESSOR: Final = "what cxtrace adds to all that the process does, export included"
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
