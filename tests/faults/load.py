"""The load: requests at a fixed rate, however long the answers take. A process of its own.

``python -m tests.faults.load PORT RATE`` prints a line when it begins, and asks until its input is
closed. Then it waits for what is still open and prints all requests as JSON: when each was due, by
the clock that all processes of the machine share, how many seconds its answer took from then on,
and its status, 0 for none.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
_HOST: Final = "127.0.0.1"
_TIMEOUT: Final = 5.0
_REQUEST: Final = b"GET /pay HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n"


class Request(NamedTuple):
    """One request, and what came of it."""

    due: float
    seconds: float
    status: int

    @property
    def failed(self) -> bool:
        """Whether the customer did not get what it asked for."""
        return self.status != 200


class Load:
    """The generator, seen from the rig."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._requests: list[Request] | None = None

    def stop(self) -> list[Request]:
        """Ask no more; all requests, once the last is answered."""
        if self._requests is None:
            answered, _ = self._process.communicate(timeout=60)
            self._requests = [Request(*each) for each in json.loads(answered)]
        return self._requests


@contextmanager
def running(port: int, rate: float) -> Iterator[Load]:
    """A generator, for as long as the block lasts."""
    command = [sys.executable, "-m", "tests.faults.load", str(port), str(rate)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield Load(process)
        finally:
            process.kill()


async def _ask(port: int, due: float) -> Request:
    status = 0
    # Of no answer at all, an index is missing as well.
    with suppress(OSError, asyncio.TimeoutError, IndexError, ValueError):
        status = await asyncio.wait_for(_status(port), _TIMEOUT)
    return Request(due, time.monotonic() - due, status)


async def _status(port: int) -> int:
    reader, writer = await asyncio.open_connection(_HOST, port)
    try:
        writer.write(_REQUEST)
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    # Half an answer is none, whatever its first line says.
    return int(head.split(None, 2)[1]) if body.endswith(b"}") else 0


async def _requests(port: int, rate: float) -> list[Request]:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    asking: set[asyncio.Task[None]] = set()
    answered: list[Request] = []

    async def ask(due: float) -> None:
        answered.append(await _ask(port, due))

    print("asking", flush=True)
    start = time.monotonic()
    for number in itertools.count():
        due = start + number / rate
        await asyncio.sleep(max(due - time.monotonic(), 0))
        if ended.is_set():
            break
        task = asyncio.create_task(ask(due))
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)
    return answered


def main() -> None:
    """Ask until the input is closed."""
    port, rate = sys.argv[1:]
    print(json.dumps(asyncio.run(_requests(int(port), float(rate)))))


if __name__ == "__main__":
    main()
