"""The faults: what is done to whom, and what is undone afterwards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Literal

from attrs import define, evolve, field, frozen

from tests.faults import disk, network
from tests.faults.collectors import Patient
from tests.faults.disk import Disk
from tests.faults.network import Network
from tests.faults.proxy import Behaviour, Proxy
from tests.faults.service import Server, Service

Way = Literal["directly", "proxy", "network"]
"""How the service reaches the Collector."""


@define
class Stage:
    """All that a fault can act on, and what it tells of itself."""

    folder: Path
    """The service's notes and books."""

    told: dict[str, str]
    """The environment of its processes."""

    service: Service
    collector: Patient
    proxy: Proxy | None = None
    network: Network | None = None
    disk: Disk | None = None
    kills: list[float] = field(factory=list)
    """When a worker of the service was killed."""

    met: int = 0
    """Requests to the Collector that met the proxy's behaviour."""

    crashes: int = 0
    """How often something broke off in the middle: each may bring one batch twice."""

    def behave(self, behaviour: Behaviour) -> int:
        """Let the proxy behave so."""
        assert self.proxy is not None
        return self.proxy.behave(behaviour)


Act = Callable[[Stage], object]


def _nothing(stage: Stage) -> None:
    """Leave everything as it is."""


@frozen
class Fault:
    """One fault.

    Attributes:
        name: In the table and on the command line.
        says: What happens, in a few words.
        begin: Makes it.
        end: Undoes it.
        again: What happens again and again while it lasts.
        every: Seconds between two of these.
        way: How the service reaches the Collector.
        server: What the service runs under.
        exits: Whether the service is told to end while the fault lasts.
        on_a_full_disk: Whether the spool lies on a disk that is filled.
        loses: Whether what is in the memory of a process may go with it.
        kills: Whether a process is killed that can say nothing more.
        repeats: Whether what the service gave up waiting for arrives all the same, so that each
            attempt makes a batch come once more.
    """

    name: str
    says: str
    begin: Act = _nothing
    end: Act = _nothing
    again: Act | None = None
    every: float = 0.2
    way: Way = "directly"
    server: Server = "uvicorn"
    exits: bool = False
    on_a_full_disk: bool = False
    loses: bool = False
    kills: bool = False
    repeats: bool = False

    @property
    def not_permitted(self) -> str:
        """Why it cannot be had here; nothing ("") where it can."""
        if self.on_a_full_disk and not disk.is_permitted():
            return "mounting a file system needs root"
        if self.way == "network" and not network.is_permitted():
            return "a network namespace needs root"
        return ""


def _kill(stage: Stage) -> None:
    stage.crashes += 1
    stage.collector.kill()


def _start(stage: Stage) -> None:
    stage.collector.start_again()


def _restart(stage: Stage) -> None:
    _kill(stage)
    _start(stage)


def _hang(stage: Stage) -> None:
    stage.crashes += 1
    stage.collector.hang()


def _go_on(stage: Stage) -> None:
    stage.collector.go_on()


def _behave(behaviour: Behaviour, stage: Stage) -> None:
    stage.crashes += behaviour.kind == "refuse"
    stage.behave(behaviour)


def _pass(stage: Stage) -> None:
    stage.met += stage.behave(Behaviour())


def _cut(stage: Stage) -> None:
    assert stage.network is not None
    stage.crashes += 1
    stage.network.cut()


def _mend(stage: Stage) -> None:
    assert stage.network is not None
    stage.network.mend()


def _fill(stage: Stage) -> None:
    assert stage.disk is not None
    stage.disk.fill()
    _kill(stage)


def _clear(stage: Stage) -> None:
    assert stage.disk is not None
    stage.disk.clear()
    _start(stage)


def _kill_worker(stage: Stage) -> None:
    stage.crashes += 1
    worker = stage.service.workers()[0]
    stage.kills.append(time.monotonic())
    os.kill(worker, signal.SIGKILL)


def _kill_collector_and_worker(stage: Stage) -> None:
    _kill(stage)
    time.sleep(1.5)  # so that there is something to be lost
    _kill_worker(stage)


def _fork(stage: Stage) -> None:
    stage.service.ask("/fork")


def _behaving(name: str, says: str, behaviour: Behaviour, repeats: bool = False) -> Fault:
    begin = partial(_behave, behaviour)
    return Fault(name, says, begin=begin, end=_pass, way="proxy", repeats=repeats)


_SLOW: Final = Behaviour(delay=1.5)
_SLOWER: Final = Behaviour(delay=4.0)
_REFUSING: Final = Behaviour("refuse")
_SILENT: Final = Behaviour("silent")
_UNAVAILABLE: Final = Behaviour("answer", status=503)
_THROTTLED: Final = Behaviour("answer", status=429, retry_after=2)
_HALF_CLOSED: Final = Behaviour("half_closed")
_TOO_LARGE: Final = Behaviour("answer", status=413, larger=4_000)

_CUT: Final = Fault("cut", "the network is cut", _cut, _mend, way="network", repeats=True)
_CUT_BY_PROXY: Final = _behaving("cut", "what is sent gets no answer (no root: a proxy)", _SILENT)

_LASTING: Final = (
    Fault("none", "nothing"),
    Fault("killed", "the Collector is killed, and started when the fault ends", _kill, _start),
    Fault("restarted", "the Collector is killed and started", again=_restart, every=1.5),
    Fault("hung", "the Collector is stopped (SIGSTOP), and goes on", _hang, _go_on, repeats=True),
    _behaving("slow", "each answer takes 1.5 s longer", _SLOW),
    _behaving("slower", "each answer takes 4 s longer", _SLOWER, repeats=True),
    _behaving("refusing", "connections are refused, open ones break", _REFUSING),
    _behaving("503", "answers 503", _UNAVAILABLE),
    _behaving("429", "answers 429 with Retry-After: 2", _THROTTLED),
    _behaving("413", "answers 413 to more than 4 kB", _TOO_LARGE),
    _behaving("half-closed", "closes its side of the connection, and says nothing", _HALF_CLOSED),
    _CUT if network.is_permitted() else _CUT_BY_PROXY,
    Fault(
        "disk-full",
        "the Collector is killed, and the disk is full",
        _fill,
        _clear,
        on_a_full_disk=True,
        loses=True,
    ),
    Fault(
        "worker-killed",
        "a worker is killed (kill -9)",
        _kill_worker,
        server="gunicorn",
        loses=True,
        kills=True,
    ),
    Fault(
        "both-killed",
        "the Collector is killed, 1.5 s later a worker",
        _kill_collector_and_worker,
        _start,
        server="gunicorn",
        loses=True,
        kills=True,
    ),
    Fault("forks", "five short children a second that make spans", again=_fork, server="gunicorn"),
    Fault(
        "forks-killed",
        "the same, and the Collector is killed",
        _kill,
        _start,
        again=_fork,
        server="gunicorn",
    ),
)
_EXITS: Final = ("none", "killed", "hung", "slow", "slower", "503", "429", "half-closed", "cut")


def _exiting(fault: Fault) -> Fault:
    return evolve(
        fault, name=f"exit-{fault.name}", says=f"{fault.says}; SIGTERM meanwhile", exits=True
    )


FAULTS: Final = {
    fault.name: fault
    for fault in (*_LASTING, *(_exiting(each) for each in _LASTING if each.name in _EXITS))
}
"""All faults, by name; those that begin with ``exit-`` end the service while they last."""
