"""The processes of the shop: started, watched, stopped, and none left behind."""

import functools
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, TypeAlias

from cxtrace._tree import printable
from cxtrace.cli._demo.facts import DemoError

PROGRAMS: Final = ("broker", "payments", "storefront", "fulfilment")
"""What the shop consists of, in the order in which it starts."""

# Fulfilment stops first, when its queue is empty: until then it talks to the storefront.
_STOP_ORDER: Final = ("fulfilment", "storefront", "payments", "broker")
_INTERRUPTING: Final = (signal.SIGINT, signal.SIGTERM)
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0

_Process: TypeAlias = "subprocess.Popen[bytes]"


class _Interruptions:
    """Ctrl-C and being told to end: both stop the services first, and neither loses one."""

    def __init__(self) -> None:
        self._held = self._pending = False

    def _receive(self, *_: object) -> None:
        self._pending = True
        self._pass_on()

    def _pass_on(self) -> None:
        if self._pending and not self._held:
            self._pending = False
            raise KeyboardInterrupt

    @contextmanager
    def received(self) -> Iterator[None]:
        """While inside, they become KeyboardInterrupt."""
        before = [(sign, signal.signal(sign, self._receive)) for sign in _INTERRUPTING]
        try:
            yield
        finally:
            for sign, handler in before:
                signal.signal(sign, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While inside, they wait: a process that was just started must be known first."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self._pass_on()


interruptions: Final = _Interruptions()
"""Those of this process: signals have one handler only."""


class Services:
    """The processes of the shop; whatever happens, none is left."""

    def __init__(
        self, package: str, environment: Mapping[str, str], folder: Path, work: Path
    ) -> None:
        self.environment = environment
        self._package = package
        self._folder = folder
        self._work = work
        self._running: dict[str, _Process] = {}

    def __enter__(self) -> "Services":
        try:
            for name in PROGRAMS[:-1]:
                self._start(name)
            self._wait("broker", lambda: bool(self._log("broker")))
            self._start(PROGRAMS[-1])
            for name in ("payments", "storefront"):
                self._wait(name, functools.partial(self._listens, name))
        except BaseException:
            self._kill(*self._running)
            raise
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            self._kill("customers")
            stubborn = next((name for name in _STOP_ORDER if not self._stops(name)), None)
        finally:
            self._kill(*self._running)
        if stubborn is not None and error is None:
            raise self._failure(stubborn, "does not stop")

    def _stops(self, name: str) -> bool:
        self._running[name].terminate()
        try:
            self._running[name].wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True

    def command(self, name: str) -> list[str]:
        """What runs a program of the shop."""
        return [sys.executable, "-m", f"{self._package}.{name}"]

    def require_alive(self) -> None:
        """Raise if a service has ended by itself."""
        for name in self._running.keys() & set(PROGRAMS):
            if self._running[name].poll() is not None:
                raise self._failure(name, "ended")

    def spawn(self, name: str, command: Sequence[str], output: int | IO[bytes]) -> _Process:
        """Start a process that does not outlive the services."""
        with interruptions.held():
            self._running[name] = subprocess.Popen(  # noqa: S603
                command,
                cwd=self._work,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output == subprocess.PIPE else subprocess.STDOUT,
                start_new_session=True,
            )
        return self._running[name]

    def _start(self, name: str) -> None:
        with self._path(name).open("wb") as log:
            self.spawn(name, self.command(name), log)

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            self.require_alive()
            if time.monotonic() > deadline:
                raise self._failure(name, "does not start")
            time.sleep(0.05)

    def _listens(self, name: str) -> bool:
        host, _, port = self.environment[f"SHOP_{name.upper()}"].rpartition(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _log(self, name: str) -> str:
        return self._path(name).read_text(errors="replace")

    def _failure(self, name: str, what: str) -> DemoError:
        lines = self._log(name).splitlines()[-15:]
        rest = f"(all it said is in {self._path(name)})"
        return DemoError("\n".join([f"{name} {what}", *map(printable, lines), rest]))

    def _kill(self, *names: str) -> None:
        for name in self._running.keys() & set(names):
            if self._running[name].poll() is None:
                self._running[name].kill()
                self._running[name].wait()
