"""Asks a server on loopback as often as it answers. Runs in a process of its own.

Each line of the input is a port, a number of connections and seconds; each line of the output is
what came of it, as JSON. The process ends when its input is closed.
"""

import json
import re
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import cycle
from statistics import quantiles
from time import perf_counter, process_time
from typing import Any, Final

from attrs import define, field, frozen

PATH: Final = "/products/42"
SPENT: Final = "/spent"
"""Answers with the processor time that the server's process has taken."""

COOKIES: Final = tuple(
    {
        "Accept": "application/json",
        "Cookie": f"theme=dark; visitor=v-{number:08d}; consent=all",
        "X-Journey-Id": sha256(b"%d" % number).hexdigest()[:32],
    }
    for number in range(997)
)
"""What tells one customer from another: more of them than calls in one turn."""

_LOOPBACK: Final = "127.0.0.1"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\nconnection: close", re.IGNORECASE)
_TIMEOUT: Final = 30.0


@frozen
class Answered:
    """What came of a turn.

    Attributes:
        requests: How many were answered.
        rate: Requests a second.
        median: Seconds for a request.
        p99: Likewise, of the slowest in a hundred.
        busy: Share of the time in which the generator itself was at work.
    """

    requests: int
    rate: float
    median: float
    p99: float
    busy: float


class Load:
    """The generator, seen from the process that measures."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, port: int, connections: int, seconds: float) -> Answered:
        """Ask for so long, over so many connections at once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{port} {connections} {seconds}\n")
        self._process.stdin.flush()
        return Answered(**json.loads(self._process.stdout.readline()))


@contextmanager
def running() -> Iterator[Load]:
    """A generator, for as long as the block lasts."""
    command = [sys.executable, "-m", "benchmarks.load"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        try:
            yield Load(process)
        finally:
            process.stdin.close()


def ask(port: int, path: str) -> bytes:
    """The body of one answer."""
    connection = _Connection(port)
    connection.send(_request(path, {}))
    while not connection.has_whole_answer():
        pass
    connection.close()
    return connection.body


def main() -> None:
    """Serve until the input is closed."""
    requests = cycle([_request(PATH, headers) for headers in COOKIES])
    for line in sys.stdin:
        port, connections, seconds = line.split()
        found = _turn(int(port), int(connections), float(seconds), requests.__next__)
        print(json.dumps(found), flush=True)


def _request(path: str, headers: dict[str, str]) -> bytes:
    named = {"Host": "shop.example.com", "User-Agent": "benchmark", **headers}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode()


@define
class _Connection:
    """A connection that is kept for as long as the server keeps it."""

    port: int
    body: bytes = b""
    sent: float = 0.0
    open: socket.socket | None = None
    _received: bytearray = field(factory=bytearray)

    def send(self, request: bytes) -> None:
        self.sent = perf_counter()
        if self.open is None:
            self.open = socket.create_connection((_LOOPBACK, self.port), timeout=_TIMEOUT)
            self.open.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open.sendall(request)

    def has_whole_answer(self) -> bool:
        """Take what is there; forget the connection if the server is going to close it."""
        assert self.open is not None
        received = self.open.recv(65_536)
        self._received += received
        head, end, body = bytes(self._received).partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not received or (end and (not head.startswith(b"HTTP/1.1 200") or length is None)):
            raise RuntimeError(f"the server answered {bytes(self._received)!r}")
        if length is None or len(body) < int(length[1]):
            return False
        self.body = body
        self._received.clear()
        if _CLOSES.search(head):
            self.close()
        return True

    def close(self) -> None:
        if self.open is not None:
            self.open.close()
            self.open = None


def _turn(
    port: int, connections: int, seconds: float, request: Callable[[], bytes]
) -> dict[str, Any]:
    waiting = selectors.DefaultSelector()
    taken: list[float] = []
    busy, start = process_time(), perf_counter()
    end = start + seconds
    for _ in range(connections):
        _ask_on(waiting, _Connection(port), request())
    while waiting.get_map():
        for key, _events in waiting.select():
            connection: _Connection = key.data
            if not connection.has_whole_answer():
                continue
            now = perf_counter()
            taken.append(now - connection.sent)
            if connection.open is None or now >= end:
                waiting.unregister(key.fileobj)
            if now >= end:
                connection.close()
            elif connection.open is None:
                _ask_on(waiting, connection, request())
            else:
                connection.send(request())
    spent = perf_counter() - start
    cuts = quantiles(taken, n=100, method="inclusive") if len(taken) > 1 else taken * 99
    return {
        "requests": len(taken),
        "rate": len(taken) / spent,
        "median": cuts[49],
        "p99": cuts[98],
        "busy": (process_time() - busy) / spent,
    }


def _ask_on(waiting: selectors.BaseSelector, connection: _Connection, request: bytes) -> None:
    connection.send(request)
    assert connection.open is not None
    waiting.register(connection.open, selectors.EVENT_READ, connection)


if __name__ == "__main__":
    main()
