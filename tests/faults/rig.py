"""One run: a service under load, one fault, and what became of requests and spans."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from attrs import asdict, frozen

from tests.faults import disk, load, network, proxy, service
from tests.faults.accounts import Books, Latency, books_of, harmed, noted
from tests.faults.collectors import Patient
from tests.faults.faults import FAULTS, Fault, Stage
from tests.faults.load import Request

_PATIENCE: Final = 8.0
"""Seconds without a new span after which nothing more is expected."""

_LONGEST_WAIT: Final = 60.0


@frozen
class Timing:
    """How long a run takes, in seconds, and how many requests come in each of them.

    Attributes:
        fault: How long the fault lasts.
        calm: How long all is well before, not counting ``warm``, and how long the load goes on
            afterwards.
        warm: What is not measured, at the beginning.
        rate: Requests a second.
    """

    fault: float = 12.0
    calm: float = 6.0
    warm: float = 2.0
    rate: float = 80.0


@frozen
class Result:
    """What became of a run.

    Attributes:
        fault: Its name.
        way: With what the service was instrumented.
        requests: How many there were.
        failed: How many got no answer, or another than 200.
        killed: Those that failed because their worker was killed: they are not in ``failed``.
        made: Spans, by the service's own notes.
        arrived: Different spans in the Collector's files.
        twice: Spans that arrived although they had arrived already.
        strange: Spans that arrived and that nobody has noted.
        books: What the library says, all processes together.
        calm: Latency before the fault.
        faulty: Latency while the fault lasted, and after it.
        exit: Seconds from SIGTERM to the end of the service, or None where it took too long.
        crashes: How often something broke off that may bring a batch twice.
        met: Requests to the Collector that the proxy treated badly, or late.
    """

    fault: str
    way: str
    requests: int
    failed: int
    killed: int
    made: int
    arrived: int
    twice: int
    strange: int
    books: Books
    calm: Latency
    faulty: Latency
    exit: float | None
    crashes: int
    met: int

    @property
    def lost(self) -> int:
        """Spans that were made and never arrived."""
        return self.made - self.arrived

    @property
    def uncounted(self) -> int:
        """Lost spans that the library's books do not list as lost."""
        return max(self.lost - self.books.lost, 0)

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "lost": self.lost, "uncounted": self.uncounted}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Result:
        """The same, from JSON."""
        given = {name: value for name, value in found.items() if name not in _DERIVED}
        given["books"] = Books(**given["books"])
        given["calm"], given["faulty"] = Latency(**given["calm"]), Latency(**given["faulty"])
        return cls(**given)


_DERIVED: Final = ("lost", "uncounted")


def run(name: str, way: str, timing: Timing, keep: Path | None = None) -> Result:
    """Run a fault once.

    Args:
        name: Of the fault.
        way: One of ``telemetry.WAYS``.
        timing: How long and how much.
        keep: Folder for all files of the run; None for one that is removed.
    """
    fault = FAULTS[name]
    with (
        TemporaryDirectory(prefix="faults") as temporary,
        staged(fault, way, keep or Path(temporary)) as stage,
    ):
        played = _play(fault, stage, timing)
        inherit(stage)
        return _result(fault, way, stage, played)


@contextmanager
def staged(fault: Fault, way: str, folder: Path) -> Iterator[Stage]:
    """A Collector and a running service, for as long as the block lasts."""
    own, spool = folder / "service", folder / "spool"
    for each in (own, spool):
        each.mkdir(mode=0o700, parents=True)
    with ExitStack() as stack:
        wire = stack.enter_context(network.network()) if fault.way == "network" else None
        full = stack.enter_context(disk.disk(spool)) if fault.on_a_full_disk else None
        collector = stack.enter_context(Patient(folder / "collector", wire))
        stack.callback(collector.go_on)
        port, between = collector.ports.otlp_http, None
        if fault.way == "proxy":
            between = stack.enter_context(proxy.running(collector.host, port))
            port = between.port
        told = service.environment(way, own, f"http://{collector.host}:{port}", spool)
        shop = stack.enter_context(service.running(fault.server, told, own))
        yield Stage(own, told, shop, collector, between, wire, full)


def missing(stage: Stage) -> int:
    """Spans that were made and have not arrived so far."""
    return len(noted(stage.folder) - stage.collector.arrived().keys())


def settle(stage: Stage) -> None:
    """Wait until all spans are there, or until none comes any more."""
    last, since = missing(stage), time.monotonic()
    until = since + _LONGEST_WAIT
    while last and time.monotonic() < min(since + _PATIENCE, until):
        time.sleep(0.2)
        now = missing(stage)
        if now != last:
            last, since = now, time.monotonic()


def inherit(stage: Stage) -> None:
    """Let the next process deliver what the service has left in its spool."""
    if "CXTRACE_SPOOL" in stage.told and missing(stage):
        with service.successor(stage.told, stage.folder):
            settle(stage)


class _Played(NamedTuple):
    requests: list[Request]
    calm: float
    """When all was warm."""

    fault: float
    """When the fault began."""

    end: float
    """Until when requests count as having met the fault."""

    exit: float | None


def _play(fault: Fault, stage: Stage, timing: Timing) -> _Played:
    with load.running(stage.service.port, timing.rate) as asking:
        calm = time.monotonic() + timing.warm
        time.sleep(timing.warm + timing.calm)
        begin = time.monotonic()
        _last(fault, stage, begin + timing.fault)
        if fault.exits:
            requests, end = asking.stop(), time.monotonic()
            took = stage.service.end()
            fault.end(stage)
        else:
            fault.end(stage)
            time.sleep(timing.calm)
            requests, end = asking.stop(), time.monotonic()
            settle(stage)
            took = stage.service.end()
    return _Played(requests, calm, begin, end, None if took is None else round(took, 2))


def _last(fault: Fault, stage: Stage, until: float) -> None:
    fault.begin(stage)
    while (left := until - time.monotonic()) > 0:
        if fault.again is not None and left > fault.every:
            fault.again(stage)
        time.sleep(min(fault.every, max(until - time.monotonic(), 0)))


def _result(fault: Fault, way: str, stage: Stage, played: _Played) -> Result:
    made, arrived = noted(stage.folder), stage.collector.arrived()
    failed, killed = harmed(played.requests, stage.kills)
    return Result(
        fault=fault.name,
        way=way,
        requests=len(played.requests),
        failed=failed,
        killed=killed,
        made=len(made),
        arrived=len(made & arrived.keys()),
        twice=sum(arrived.values()) - len(arrived),
        strange=len(arrived.keys() - made),
        books=books_of(stage.folder),
        calm=Latency.of(played.requests, played.calm, played.fault),
        faulty=Latency.of(played.requests, played.fault, played.end),
        exit=played.exit,
        crashes=stage.crashes,
        met=stage.met,
    )
