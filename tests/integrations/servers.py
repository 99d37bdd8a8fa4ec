"""Real servers in processes of their own, for the integrations that are tested behind them."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

Gate: TypeAlias = AbstractContextManager[tuple[str, int]]
"""A server that runs for the time of a ``with``."""

READY = Path(__file__).with_name("gunicorn_ready.py")
"""gunicorn's configuration that ``wait_for_workers`` needs."""

_WORKERS = 2

_WITH_CONTROL = 25
"""The first gunicorn that opens a socket of its own to be controlled by."""

_LISTENING = re.compile(r"(?:Listening at|[Rr]unning on|Serving on):? http://(127\.0\.0\.1):(\d+)")


@contextmanager
def server(
    folder: Path, *command: str, stop: signal.Signals = signal.SIGTERM, **settings: str
) -> Iterator[tuple[str, int]]:
    """Run a server in a folder, and stop it by a signal; gives where it listens."""
    log = folder / "server.log"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    with log.open("w", encoding="utf-8") as output:
        running = subprocess.Popen(
            command,
            cwd=folder,
            # Some headers are sets, whose order is another in each process.
            env={**kept, "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0", **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _address(log, running)
        running.send_signal(stop)
        running.wait(90)  # gunicorn kills after 30 s a worker that came too early for the signal
    finally:
        running.kill()
        running.wait(30)


@contextmanager
def gunicorn(
    folder: Path, application: str, *, automatic: bool = False, **settings: str
) -> Iterator[tuple[str, int]]:
    """Run gunicorn with two workers, if need be under OpenTelemetry's automatic instrumentation."""
    with (folder / "gunicorn.conf.py").open("a", encoding="utf-8") as file:
        file.write(READY.read_text(encoding="utf-8"))
    before = (program("opentelemetry-instrument"),) if automatic else ()
    command = [*before, program("gunicorn"), "--workers", str(_WORKERS), "--bind", "127.0.0.1:0"]
    if int(version("gunicorn").partition(".")[0]) >= _WITH_CONTROL:
        command.append("--no-control-socket")
    with server(folder, *command, application, **settings) as address:
        wait_for_workers(folder / "server.log")
        yield address


def wait_for_workers(log: Path, number: int = _WORKERS) -> None:
    """Wait until so many of gunicorn's workers have booted, since it began.

    A worker loses the SIGTERM that comes before: the master then waits for it for 30 seconds.
    """
    for _ in range(600):
        if log.read_text(encoding="utf-8").count("has booted") >= number:
            return
        time.sleep(0.05)
    raise AssertionError(f"a worker did not boot: {log.read_text(encoding='utf-8')}")


def program(name: str) -> str:
    """A program of this environment."""
    return str(Path(sys.executable).with_name(name))


def _address(log: Path, running: "subprocess.Popen[bytes]") -> tuple[str, int]:
    for _ in range(600):
        text = log.read_text(encoding="utf-8")
        found = _LISTENING.search(text)
        if found is not None:
            return found[1], int(found[2])
        if running.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {log.read_text(encoding='utf-8')}")


def exchange(address: tuple[str, int], request: str) -> bytes:
    """All bytes that a server answers, but for the date and what names a process."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(request.encode())
        found = b"".join(iter(lambda: connection.recv(65_536), b""))
    return re.sub(rb"[Dd]ate: [^\r]+", b"Date", found)
