"""The service under test, seen from the rig: its processes, how it is asked, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

from tests.backends.servers import HOST, get

ROOT: Final = Path(__file__).parents[2]
LONGEST_EXIT: Final = 120.0
"""Seconds after which nobody waits any longer for the end of a service."""

Server = Literal["uvicorn", "gunicorn"]

_WITH_CONTROL: Final = 25
"""The first gunicorn that opens a socket of its own to be controlled by."""

_OF_THE_MACHINE: Final = re.compile(r"OTEL_|CXTRACE_|FAULTS_|\w+_PROXY$", re.IGNORECASE)


def environment(way: str, folder: Path, endpoint: str, spool: Path) -> dict[str, str]:
    """What the service's processes are told, and nothing of what this machine is set to."""
    kept = {name: v for name, v in os.environ.items() if not _OF_THE_MACHINE.match(name)}
    own = {
        "FAULTS_WITH": way,
        "FAULTS_FOLDER": str(folder),
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        # By default five seconds go by before anybody notices anything.
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "PYTHONUNBUFFERED": "1",
    }
    if way != "opentelemetry":
        own["CXTRACE_KEY"] = "a key that is only used in these tests"
    if way == "cxtrace+spool":
        own["CXTRACE_SPOOL"] = str(spool)
    return {**kept, **own}


class Service:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def ask(self, path: str) -> Any:
        """What it answers."""
        status, body = get(f"http://{HOST}:{self.port}{path}")
        if status != 200:
            raise OSError(f"{path} answered {status}")
        return json.loads(body)

    def wait(self) -> None:
        """Wait until it answers."""
        until = time.monotonic() + 60
        while True:
            try:
                self.ask("/pid")
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise AssertionError(f"the service: {error}\n{self.log.read_text()}") from error
                time.sleep(0.1)
            else:
                return

    def workers(self) -> list[int]:
        """The processes that it has started."""
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(each) for each in text.split()]

    def end(self) -> float | None:
        """Ask it to end, as Docker and Kubernetes do; seconds that it took, None for too many."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(LONGEST_EXIT)
        except subprocess.TimeoutExpired:
            return None
        took = time.monotonic() - start
        self._wait_for_children()
        return took

    def _wait_for_children(self) -> None:
        """Let those that it has forked send what they have, and write their books."""
        until = time.monotonic() + 20  # a container may have nobody who buries its dead
        with suppress(ProcessLookupError):
            while time.monotonic() < until:
                os.killpg(self.process.pid, 0)
                time.sleep(0.05)


@contextmanager
def running(server: Server, told: dict[str, str], folder: Path) -> Iterator[Service]:
    """A service, for as long as the block lasts."""
    log = folder / "service.txt"
    with socket.socket() as listening, log.open("wb") as output:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, 0))
        listening.listen(512)
        port = listening.getsockname()[1]
        process = subprocess.Popen(
            _command(server, listening.fileno()),
            cwd=ROOT,
            env=told,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
    try:
        service = Service(process, port, log)
        service.wait()
        yield service
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _command(server: Server, fd: int) -> list[str]:
    if server == "uvicorn":
        return [sys.executable, "-m", "tests.faults.web", str(fd)]
    command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{fd}", "--preload"]
    command += ["--workers", "2", "--threads", "8", "tests.faults.workers:application"]
    if int(version("gunicorn").partition(".")[0]) >= _WITH_CONTROL:
        command.append("--no-control-socket")
    return command


@contextmanager
def successor(told: dict[str, str], folder: Path) -> Iterator[None]:
    """The next process with the same spool, for as long as the block lasts."""
    command = [sys.executable, "-m", "tests.faults.successor"]
    with (
        (folder / "successor.txt").open("wb") as output,
        subprocess.Popen(
            command, cwd=ROOT, env=told, stdin=subprocess.PIPE, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield
            process.communicate(timeout=LONGEST_EXIT)
        finally:
            process.kill()
