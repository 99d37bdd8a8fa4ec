"""Web sockets and server-sent events: a real server, real clients, and touchpoints that last."""

import asyncio
import json
import signal
import socket
import struct
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from cxtrace import JourneyMap, current_touchpoint
from cxtrace.exporters import RecordedSpan, read_spans
from cxtrace.integrations.asgi import CXMiddleware
from cxtrace.testing import capture
from tests.integrations.servers import program, server

for _name in ("fastapi", "uvicorn"):
    pytest.importorskip(_name, reason=f"{_name} is not installed")

Address: TypeAlias = tuple[str, int]

TOUCHPOINT = "cx.touchpoint.name"
OUTCOME = "cx.touchpoint.outcome"

MAP = """
schema = "cxtrace.map/1"
name = "shop"

[functions]
service = {}

[request]
customer = [{ header = "X-Customer-Id" }]

[[stage]]
name = "support"
phase = "customer"

[[touchpoint]]
name = "help.chat"
stage = "support"
owner = "service"
match = { route = "WEBSOCKET /chat" }

[[touchpoint]]
name = "order.track"
stage = "support"
owner = "service"
match = { route = "GET /events" }

[[touchpoint]]
name = "catalogue.download"
stage = "support"
owner = "service"
match = { route = "GET /flood" }
"""
APPLICATION = """
import asyncio
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

app = FastAPI()
app.state.left = 0
app.state.asked_for = 0

@app.get("/state")
async def state():
    return {"left": app.state.left, "asked_for": app.state.asked_for}

@app.get("/flood")
async def flood():
    async def chunks():
        try:
            for _ in range(12):
                app.state.asked_for += 1
                yield bytes(8 * 2**20)
        finally:
            app.state.left += 1
    return StreamingResponse(chunks())
"""
LONG = """
from opentelemetry.trace import get_tracer
from cxtrace import interaction
from cxtrace.integrations.asgi import CXMiddleware

app.add_middleware(CXMiddleware)

@app.websocket("/chat")
async def chat(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            said = await websocket.receive_text()
            if said == "bye":
                with interaction("say_goodbye"):
                    await websocket.send_text("see you")
                await websocket.close()
                break
            with interaction("ask"), get_tracer("db").start_as_current_span("SELECT"):
                await websocket.send_text(said.upper())
    except WebSocketDisconnect:
        with interaction("say_goodbye"):
            pass
    finally:
        app.state.left += 1

@app.get("/events")
async def events(endless: bool = False):
    async def news():
        try:
            for number in range(3):
                with interaction("read_news"), get_tracer("db").start_as_current_span("SELECT"):
                    await asyncio.sleep(0)
                yield f"data: {number}\\n\\n"
            while endless:
                await asyncio.sleep(0.01)
                yield ": still here\\n\\n"
        finally:
            app.state.left += 1
    return StreamingResponse(news(), media_type="text/event-stream")
"""
CHUNK = 8 * 2**20
"""Bytes: more than what all buffers between the application and its client hold."""


@contextmanager
def serving(folder: Path, *command: str, code: str = "", **settings: str) -> Iterator[Address]:
    """A real uvicorn."""
    (folder / "service.py").write_text(APPLICATION + code, encoding="utf-8")
    (folder / "map.toml").write_text(MAP, encoding="utf-8")
    uvicorn = (program("uvicorn"), "service:app", "--port", "0")
    none = {f"OTEL_{what}_EXPORTER": "none" for what in ("TRACES", "METRICS", "LOGS")}
    # SIGTERM, which uvicorn passes on to Python, would kill what waits to be written.
    with server(folder, *command, *uvicorn, stop=signal.SIGINT, **none, **settings) as address:
        yield address


def command_of(starter: str) -> list[str]:
    """What starts a service that nobody has edited."""
    if starter == "cxtrace run":
        return [program("cxtrace"), "run", "--"]
    module = "opentelemetry.instrumentation.auto_instrumentation"
    pytest.importorskip(module, reason="no automatic instrumentation is installed")
    return [program(starter)]


@pytest.fixture(params=["cxtrace run", "opentelemetry-instrument"])
def spans_of(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[Callable[[Address], None]], list[RecordedSpan]]:
    """Run a client against the server, until the server has seen it leave; gives all spans."""
    command = command_of(request.param)
    ours = {"CXTRACE_MAP": "map.toml", "CXTRACE_EXPORTER": "file:spans.jsonl"}

    def spans(client: Callable[[Address], None]) -> list[RecordedSpan]:
        with serving(tmp_path, *command, code=LONG, **ours) as address:
            client(address)
            wait_for(address, "left", 1)
        return list(read_spans(tmp_path / "spans.jsonl"))

    return spans


Run: TypeAlias = Callable[[Callable[[Address], None]], list[RecordedSpan]]


def state(address: Address) -> dict[str, int]:
    """What the application says of itself; in between, its other tasks have had their turn."""
    with urllib.request.urlopen("http://{}:{}/state".format(*address), timeout=20) as answer:
        found: dict[str, int] = json.load(answer)
    return found


def wait_for(address: Address, name: str, value: int) -> None:
    """Ask the application until a value is reached."""
    for _ in range(1_000):
        if state(address)[name] >= value:
            return
        time.sleep(0.02)
    raise AssertionError(f"{name} has not become {value}")


def touchpoint(spans: list[RecordedSpan], name: str) -> RecordedSpan:
    """The one touchpoint of a name."""
    visits = [span for span in spans if OUTCOME in span.attributes]
    (found,) = (span for span in visits if span.attributes[TOUCHPOINT] == name)
    return found


def above(span: RecordedSpan, spans: list[RecordedSpan]) -> list[str | None]:
    """The parent of a span, and what is above: FastAPI may have a span of its endpoint between."""
    parents = {each.span_id: each.parent_id for each in spans}
    found = [span.parent_id]
    while found[-1] in parents:
        found.append(parents[found[-1]])
    return found


def assert_inside(spans: list[RecordedSpan], whole: RecordedSpan, *names: str) -> None:
    """The interactions stand below the touchpoint, in order, and end before it does."""
    parts = [span for span in spans if "cx.interaction.name" in span.attributes]
    parts = sorted((s for s in parts if s.name != "SELECT"), key=lambda span: span.start_ns)
    assert [span.name for span in parts] == list(names)
    for part in parts:
        assert whole.span_id in above(part, spans)
        assert whole.start_ns <= part.start_ns <= part.end_ns <= whole.end_ns
    assert all(before.end_ns <= after.start_ns for before, after in pairwise(parts))


@contextmanager
def reading(address: Address, path: str, *, buffer: int | None = None) -> Iterator[socket.socket]:
    """A client that reads as slowly as the test does."""
    with socket.socket() as client:
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(20)
        client.connect(address)
        client.sendall(
            f"GET {path} HTTP/1.1\r\nHost: shop\r\nX-Customer-Id: cust-42\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        yield client


def read_until(client: socket.socket, wanted: bytes) -> None:
    """Read up to a piece of text."""
    found = b""
    while wanted not in found:
        part = client.recv(4_096)
        assert part
        found += part


def reset(client: socket.socket) -> None:
    """Cut the line, as a machine that is switched off."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# Server-sent events


@pytest.mark.service
def test_a_stream_of_events_lasts_to_its_last_byte(spans_of: Run) -> None:
    """All that happens until then is inside, spans of others too."""

    def client(address: Address) -> None:
        with reading(address, "/events") as connection:
            read_until(connection, b"\r\n0\r\n\r\n")

    spans = spans_of(client)

    whole = touchpoint(spans, "order.track")
    assert whole.attributes[OUTCOME] == "completed"
    assert_inside(spans, whole, "read_news", "read_news", "read_news")
    selects = [span for span in spans if span.name == "SELECT"]
    assert len(selects) == 3
    for span in selects:
        assert span.attributes[TOUCHPOINT] == "order.track"
        assert span.attributes["enduser.pseudo.id"] == whole.attributes["enduser.pseudo.id"]


@pytest.mark.service
@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["closes", "is cut off"])
def test_a_client_who_hangs_up_has_abandoned_the_stream(
    spans_of: Run, leave: Callable[[socket.socket], None]
) -> None:
    """However it goes, the touchpoint ends when it has gone."""

    def client(address: Address) -> None:
        with reading(address, "/events?endless=true") as connection:
            read_until(connection, b": still here")
            leave(connection)

    spans = spans_of(client)

    whole = touchpoint(spans, "order.track")
    assert whole.attributes[OUTCOME] == "abandoned"
    assert_inside(spans, whole, "read_news", "read_news", "read_news")


# Web sockets


@pytest.mark.service
@pytest.mark.parametrize("who", ["the client", "the application"])
def test_a_conversation_is_one_touchpoint(spans_of: Run, who: str) -> None:
    """A close in good order completes it, and what happened until then is inside."""
    connect = pytest.importorskip("websockets.sync.client", reason="no web sockets").connect

    def client(address: Address) -> None:
        with connect("ws://{}:{}/chat".format(*address)) as connection:
            for said in ("one", "two"):
                connection.send(said)
                assert connection.recv(timeout=20) == said.upper()
            if who == "the application":
                connection.send("bye")
                assert list(connection) == ["see you"]

    spans = spans_of(client)

    whole = touchpoint(spans, "help.chat")
    assert whole.attributes[OUTCOME] == "completed"
    assert_inside(spans, whole, "ask", "ask", "say_goodbye")
    selects = [span for span in spans if span.name == "SELECT"]
    assert [span.attributes[TOUCHPOINT] for span in selects] == ["help.chat", "help.chat"]


@pytest.mark.service
def test_a_line_that_is_cut_abandons_the_conversation(spans_of: Run) -> None:
    """Without a close there was no good end."""
    connect = pytest.importorskip("websockets.sync.client", reason="no web sockets").connect

    def client(address: Address) -> None:
        with connect("ws://{}:{}/chat".format(*address)) as connection:
            connection.send("one")
            assert connection.recv(timeout=20) == "ONE"
            connection.socket.shutdown(socket.SHUT_RDWR)

    spans = spans_of(client)

    whole = touchpoint(spans, "help.chat")
    assert whole.attributes[OUTCOME] == "abandoned"


ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}


@pytest.mark.parametrize(
    ("messages", "outcome", "error"),
    [
        ([CLOSE], "failed", "403"),
        ([{**CLOSE, "code": 1000}], "failed", "403"),
        ([ACCEPT, CLOSE], "completed", None),
        ([ACCEPT, {**CLOSE, "code": 1000}], "completed", None),
        ([ACCEPT, {**CLOSE, "code": 1008}], "failed", "websocket_closed"),
        ([ACCEPT, {**CLOSE, "code": 1011}], "failed", "websocket_closed"),
    ],
)
def test_an_application_that_refuses_or_breaks_off_has_failed_the_customer(
    messages: list[dict[str, Any]], outcome: str, error: str | None
) -> None:
    """Only a close in good order, of a web socket that was accepted, completes it."""
    with capture(journey_map=JourneyMap.loads(MAP)) as cx:
        sent = converse(messages)

    found = cx.touchpoint("help.chat")
    assert (found.outcome, found.error) == (outcome, error)
    assert (sent, cx.counts) == (messages, {})


def test_the_word_of_the_application_stands_above_its_close() -> None:
    """An application that hands the customer on may close with a code of its own."""
    with capture(journey_map=JourneyMap.loads(MAP)) as cx:
        converse([ACCEPT, {**CLOSE, "code": 4_000}], word="handed_off")

    assert cx.touchpoint("help.chat").outcome == "handed_off"


def test_a_web_socket_that_is_no_touchpoint_may_end_in_any_way() -> None:
    """Where the map only says who the customer is, nothing is judged."""
    with capture(journey_map=JourneyMap.loads(MAP)) as cx:
        converse([ACCEPT, {**CLOSE, "code": 1008}], path="/other")

    assert (cx.spans, cx.counts) == ([], {})


def converse(
    messages: list[dict[str, Any]], *, path: str = "/chat", word: Any = None
) -> list[dict[str, Any]]:
    """Serve an application that sends these messages; gives what the server gets."""
    sent = []

    async def application(_: Any, __: Any, send: Any) -> None:
        if word is not None:
            current_touchpoint().outcome(word)
        for message in messages:
            await send(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": path, "headers": [], "query_string": b""}
    asyncio.run(CXMiddleware(application)(scope, receive, send))
    return sent


# Back-pressure


def chunks_asked_for(address: Address, *read: int) -> list[int]:
    """How many chunks the application could make after the client had read so many."""
    found, done = [], 0
    with reading(address, "/flood", buffer=2**15) as client:
        for wanted in read:
            while done < wanted * CHUNK:
                part = client.recv(2**16)
                assert part
                done += len(part)
            found.append(max(state(address)["asked_for"] for _ in range(30)))
    wait_for(address, "left", 1)
    return found


@pytest.mark.service
@pytest.mark.parametrize("starter", ["cxtrace run", "opentelemetry-instrument"])
def test_a_slow_reader_slows_the_producer_as_without_us(tmp_path: Path, starter: str) -> None:
    """The application makes the next chunk when the client has taken the one before."""
    folders = {name: tmp_path / name for name in ("plain", "ours")}
    for folder in folders.values():
        folder.mkdir()
    command = command_of(starter)

    with serving(folders["plain"]) as address:
        plain = chunks_asked_for(address, 0, 1, 4, 6)
    with serving(
        folders["ours"], *command, CXTRACE_MAP="map.toml", CXTRACE_EXPORTER="file:spans.jsonl"
    ) as address:
        ours = chunks_asked_for(address, 0, 1, 4, 6)

    assert ours == plain == [2, 3, 6, 8]
    spans = list(read_spans(folders["ours"] / "spans.jsonl"))
    assert touchpoint(spans, "catalogue.download").attributes[OUTCOME] == "abandoned"
