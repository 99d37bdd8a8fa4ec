"""What stands between the service and the Collector, and behaves badly on demand.

A process of its own: ``python -m tests.faults.proxy HOST PORT`` passes HTTP on to that address and
prints the port that it listens on. Each line of its input is a behaviour, as JSON; it answers with
the number of requests that met the one before.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

ROOT: Final = Path(__file__).parents[2]
_HOST: Final = "127.0.0.1"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_REASONS: Final = {
    413: "Content Too Large",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


class Behaviour(NamedTuple):
    """What happens to requests.

    Attributes:
        kind: ``pass``; ``refuse``: nobody listens, and open connections break; ``silent``: a
            request is read and never answered; ``half_closed``: our side of the connection ends
            where the answer should come, the other stays open; ``answer``: with ``status``, by us.
        status: Of the answer.
        retry_after: Seconds that the answer asks to wait.
        larger: Only requests with more bytes than this meet it; others pass.
        delay: Seconds before a request is passed on.
    """

    kind: Literal["pass", "refuse", "silent", "half_closed", "answer"] = "pass"
    status: int = 0
    retry_after: int | None = None
    larger: int = -1
    delay: float = 0.0


class Proxy:
    """The proxy, seen from the rig."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._read())

    def behave(self, behaviour: Behaviour) -> int:
        """Change; how many requests met the behaviour before."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(behaviour) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def running(host: str, port: int) -> Iterator[Proxy]:
    """A proxy before an address, for as long as the block lasts."""
    command = [sys.executable, "-m", "tests.faults.proxy", host, str(port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        try:
            yield Proxy(process)
        finally:
            process.kill()


class _Server:
    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._behaviour = Behaviour()
        self._met = 0
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.AbstractServer | None = None
        self.port = 0

    async def listen(self) -> None:
        self._listening = await asyncio.start_server(self._serve, _HOST, self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def behave(self, behaviour: Behaviour) -> int:
        met, self._met = self._met, 0
        self._behaviour = behaviour
        self._changed.set()
        self._changed = asyncio.Event()
        if behaviour.kind == "refuse" and self._listening is not None:
            self._listening.close()
            self._listening = None
            for writer in self._writers:
                writer.transport.abort()
        elif behaviour.kind != "refuse" and self._listening is None:
            await self.listen()
        return met

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer):
                pass
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        request = await _message(reader)
        behaviour, changed = self._behaviour, self._changed
        if len(request) <= behaviour.larger:
            behaviour = Behaviour()
        else:
            self._met += 1
        if behaviour.delay:
            await asyncio.sleep(behaviour.delay)
        if behaviour.kind == "pass":
            writer.write(await self._pass(request))
            return True
        if behaviour.kind == "answer":
            writer.write(_answer(behaviour))
            return True
        if behaviour.kind == "half_closed":
            writer.write_eof()
        await changed.wait()
        return False

    async def _pass(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self._to)
        try:
            writer.write(request)
            return await _message(reader)
        finally:
            writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A request or an answer, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + await reader.readexactly(int(length[1]) if length else 0)


def _answer(behaviour: Behaviour) -> bytes:
    lines = [f"HTTP/1.1 {behaviour.status} {_REASONS[behaviour.status]}", "Content-Length: 0"]
    if behaviour.retry_after is not None:
        lines.append(f"Retry-After: {behaviour.retry_after}")
    return "\r\n".join([*lines, "", ""]).encode()


async def _main(host: str, port: int) -> None:
    server = _Server(host, port)
    await server.listen()
    print(server.port, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        given: list[Any] = json.loads(line)
        print(await server.behave(Behaviour(*given)), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
