"""Answers of receivers, over real connections: what to do with a batch, and when to stop."""

import importlib
import math
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import formatdate
from time import monotonic
from typing import Any

import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped,unused-ignore]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped,unused-ignore]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext
from requests.exceptions import ConnectTimeout  # type: ignore[import-untyped,unused-ignore]

from cxtrace import _clock, _guard
from cxtrace._answers import (
    LONGEST_WAIT,
    Answer,
    Notes,
    Sender,
    Verdict,
    after_fork,
    keep,
    of_grpc,
    of_http,
    wait_of,
)
from cxtrace._otlp_watch import _deadline, _Until, watch_stub, watched_session
from cxtrace.exporters import otlp_exporter, otlp_log_exporter

DELIVERED, UNAVAILABLE, UNKNOWN = Verdict.DELIVERED, Verdict.UNAVAILABLE, Verdict.UNKNOWN
TOO_LARGE, REFUSED = Verdict.TOO_LARGE, Verdict.REFUSED
PROTOBUF = "Content-Type: application/x-protobuf"
SPANS = [ReadableSpan("pay", SpanContext(1, number, False)) for number in (2, 3)]


@pytest.fixture(autouse=True)
def quiet_environment(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what was warned about, and proxies of the machine, out of the tests."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


Script = Callable[["Receiver", socket.socket], object]


class Receiver:
    """Reads requests of HTTP, and answers each as a script says."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.listens = self._listener.getsockname()
        self.address = f"http://127.0.0.1:{self.listens[1]}"
        self.script: Script = lambda receiver, connection: None
        self.requests: list[str] = []
        self.connections: list[socket.socket] = []
        self.sent = 0
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def answers(self, status: str, *headers: str, body: bytes = b"") -> None:
        """Answer every request with this."""
        lines = [f"HTTP/1.1 {status} Said", *headers, f"Content-Length: {len(body)}", "", ""]
        message = "\r\n".join(lines).encode() + body
        self.script = lambda receiver, connection: connection.sendall(message)

    def send(self, connection: socket.socket, data: bytes) -> None:
        """Send, and count what was sent."""
        connection.sendall(data)
        self.sent += len(data)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                if connection.recv(1, socket.MSG_PEEK) == b"\x16":  # of TLS
                    connection.sendall(b"HTTP/1.1 400 No\r\n\r\n")
                    return
                while request := stream.readline().decode("latin-1"):
                    length = 0
                    while (line := stream.readline().strip().lower()) != b"":
                        if line.startswith(b"content-length:"):
                            length = int(line.partition(b":")[2])
                    stream.read(length)
                    self.requests.append(request.partition(" HTTP")[0])
                    if self.script(self, connection) is STOP:
                        return
        except OSError:
            return

    def close(self) -> None:
        """Stop, and wait until everybody has."""
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


STOP = object()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Listen for HTTP."""
    made = Receiver()
    yield made
    made.close()


def sent(endpoint: str, protocol: str = "http/protobuf", timeout: float = 20.0) -> Answer:
    """What became of a batch that was sent to somebody."""
    exporter = otlp_exporter(protocol, endpoint, timeout)
    try:
        return Sender(exporter).send(SPANS)
    finally:
        exporter.shutdown()


# HTTP


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        ("200", (), Answer(DELIVERED)),
        ("202", (), Answer(DELIVERED)),
        ("400", (PROTOBUF,), Answer(REFUSED)),
        ("422", ("Content-Type: application/json",), Answer(REFUSED)),
        ("400", ("Content-Type: text/html",), Answer(UNKNOWN)),
        ("408", ("Retry-After: 30",), Answer(UNAVAILABLE, 30.0)),
        ("413", (), Answer(TOO_LARGE)),
        ("429", ("Retry-After: 30",), Answer(UNAVAILABLE, 30.0)),
        ("500", ("Retry-After: 30",), Answer(UNKNOWN, 30.0)),
        ("502", ("Retry-After: 30",), Answer(UNAVAILABLE, 30.0)),
        ("503", ("Retry-After: 30",), Answer(UNAVAILABLE, 30.0)),
        ("529", ("Retry-After: soon",), Answer(UNAVAILABLE)),
    ],
)
def test_statuses(
    status: str, headers: Sequence[str], expected: Answer, receiver: Receiver
) -> None:
    """The status, and who says it, decide whether to forget, repeat, halve or drop the batch."""
    receiver.answers(status, *headers)

    assert sent(receiver.address) == expected


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("401", "over HTTP it answers 401: it wants other credentials"),
        ("403", "over HTTP it answers 403: it wants other credentials"),
        ("404", "over HTTP it answers 404: it takes none of them there"),
        ("405", "over HTTP it answers 405: it takes none of them there"),
        ("415", "over HTTP it answers 415: it takes no such encoding"),
        ("501", "over HTTP it answers 501: it takes none of them there"),
        ("307", "over HTTP it answers 307: it has moved"),
    ],
)
def test_what_somebody_has_to_mend(
    status: str, advice: str, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the configuration loses nothing: the batch waits, and the log says what to do."""
    receiver.answers(status, "Location: /other")
    answers = [sent(receiver.address) for _ in range(2)]
    warnings = [each.getMessage() for each in caplog.records if each.name == "cxtrace"]

    assert {each.verdict for each in answers} == {UNAVAILABLE}
    assert answers[0].advice.startswith(advice)
    assert len(warnings) == 1
    assert f"the receiver of spans does not take them: {answers[0].advice}. Until" in warnings[0]


def test_a_redirect_that_forgets_the_batch(receiver: Receiver) -> None:
    """A redirect is no delivery, whether the exporter stops at it or follows it with empty hands.

    OpenTelemetry calls both a success.
    """

    def redirect(receiver: Receiver, connection: socket.socket) -> None:
        moved = b"302 Found\r\nLocation: /login" if len(receiver.requests) == 1 else b"200 OK"
        connection.sendall(b"HTTP/1.1 " + moved + b"\r\nContent-Length: 0\r\n\r\n")

    receiver.script = redirect
    stopping = sent(receiver.address)
    receiver.requests.clear()
    notes = Notes(5.0)
    with watched_session(notes) as session:
        followed = session.post(receiver.address, data=b"batch")

    assert stopping.verdict is UNAVAILABLE
    assert "it has moved" in stopping.advice
    assert receiver.requests == ["POST /", "GET /login"]
    assert (followed.status_code, notes.answer) == (200, stopping)


def test_a_page_is_no_delivery(receiver: Receiver) -> None:
    """Success with a page in hand is that of a proxy or a login, not of a receiver of OTLP."""
    receiver.answers("200", "Content-Type: text/html; charset=utf-8", body=b"<html>")
    answer = sent(receiver.address)

    assert answer.verdict is UNAVAILABLE
    assert answer.advice.startswith("over HTTP it answers 200 and a page: it takes none of them")


def partial_success(rejected: int) -> ExportTraceServiceResponse:
    """What a receiver says that takes only some."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = "too old"
    return response


@pytest.mark.parametrize(("rejected", "counted"), [(1, 1), (9, 2), (-1, 0), (0, 0)])
def test_rejected_items_are_counted(rejected: int, counted: int, receiver: Receiver) -> None:
    """What a receiver rejects of a batch that it takes is counted, never more than was sent."""
    body = partial_success(rejected).SerializeToString()
    receiver.answers("200", PROTOBUF, body=body)

    assert sent(receiver.address) == Answer(DELIVERED, rejected=counted)


def test_an_answer_in_noise(receiver: Receiver) -> None:
    """A body that cannot be read rejects nothing."""
    receiver.answers("200", PROTOBUF, body=b"\xff\xff")

    assert sent(receiver.address) == Answer(DELIVERED)


def test_log_records_are_watched_too(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Log records that a store of spans does not take wait too, and the log names them."""
    receiver.answers("404")
    exporter = otlp_log_exporter("http/protobuf", receiver.address)
    answer = Sender(exporter).send([])

    assert answer.verdict is UNAVAILABLE
    assert "the receiver of log records does not take them" in caplog.text
    assert "OTEL_LOGS_EXPORTER=none" in caplog.text


def test_nobody_listens() -> None:
    """Nobody at home is a reason to try again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert sent(f"http://127.0.0.1:{port}", timeout=0.5) == Answer(UNAVAILABLE)


def test_no_agreement_on_tls(receiver: Receiver) -> None:
    """TLS that fails is for somebody to mend, and until then a reason to try again."""
    answer = sent(receiver.address.replace("http", "https"))

    assert answer.verdict is UNAVAILABLE
    assert answer.advice.startswith("TLS fails: see to OTEL_EXPORTER_OTLP_CERTIFICATE")


# Deadlines


def silent(receiver: Receiver, connection: socket.socket) -> object:
    """Take the request and never answer."""
    receiver.over.wait()
    return STOP


def half_closing(receiver: Receiver, connection: socket.socket) -> object:
    """Close one's own half and stay."""
    connection.shutdown(socket.SHUT_WR)
    return silent(receiver, connection)


def trickling(receiver: Receiver, connection: socket.socket) -> object:
    """Send the head of an answer so slowly that it never ends, and no piece takes long."""
    receiver.send(connection, b"HTTP/1.1 200 OK\r\nX: ")
    while not receiver.over.wait(0.05):
        receiver.send(connection, b"x")
    return STOP


@pytest.mark.parametrize("script", [silent, half_closing, trickling])
def test_no_answer_in_time(script: Script, receiver: Receiver) -> None:
    """A receiver that never answers, or never comes to an end of it, is away."""
    receiver.script = script

    assert sent(receiver.address, timeout=1.0) == Answer(UNAVAILABLE)


def trickling_body(receiver: Receiver, connection: socket.socket) -> object:
    """Answer at once, and send the rest so slowly that it never ends."""
    receiver.send(connection, HEAD)
    while not receiver.over.wait(0.05):
        receiver.send(connection, b"x")
    return STOP


def endless_body(receiver: Receiver, connection: socket.socket) -> object:
    """Answer at once, and never stop."""
    receiver.send(connection, b"HTTP/1.1 200 OK\r\n\r\n")
    while not receiver.over.is_set():
        receiver.send(connection, b"x" * 65_536)
    return STOP


@pytest.mark.parametrize("script", [trickling_body, endless_body])
def test_an_answer_without_end(script: Script, receiver: Receiver) -> None:
    """The status counts: the rest is not waited for, not kept in memory, and nothing sent twice."""
    receiver.script = script
    answer = sent(receiver.address, timeout=3.0)

    assert answer == Answer(DELIVERED)
    assert receiver.requests == ["POST /v1/traces"]
    assert receiver.sent < 50_000_000


def test_a_receiver_behind_a_proxy(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a proxy the same holds: answers are noted, and those without end are left."""
    monkeypatch.setenv("http_proxy", receiver.address)
    exporter = otlp_exporter("http/protobuf", "http://collector.example:4318", 3.0)
    sender = Sender(exporter)
    receiver.answers("413")
    first = sender.send(SPANS)
    receiver.script = trickling
    second = sender.send(SPANS)
    exporter.shutdown()

    assert (first, second) == (Answer(TOO_LARGE), Answer(UNAVAILABLE))
    assert receiver.requests[0] == "POST http://collector.example:4318/v1/traces"


def test_all_requests_of_an_export_share_its_time() -> None:
    """A request for which no time is left is not made; one of nobody's export has its own time."""
    notes = Notes(0.0)
    session = watched_session(notes)
    notes.begin()
    with pytest.raises(ConnectTimeout):
        session.post("http://127.0.0.1:9", data=b"", timeout=60)

    assert notes.answer is None
    assert notes.deadline(60.0) < math.inf
    notes.end()
    assert notes.deadline(None) <= notes.deadline(60.0)


def test_nothing_is_read_after_the_deadline(receiver: Receiver) -> None:
    """A receiver that is quick with each piece, but never at the end, is left all the same."""
    with socket.create_connection(receiver.listens) as sock, sock.makefile("rb") as file:
        token = _deadline.set(monotonic() - 1)
        reader = _Until(sock, file)
        _deadline.reset(token)

        with pytest.raises(TimeoutError):
            reader.read(1)


# Retry-After


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("5", 5.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("1e9", LONGEST_WAIT),
        ("inf", LONGEST_WAIT),
        ("nan", None),
        ("", None),
        ("soon", None),
        (formatdate(1_700_000_030, usegmt=True), 30.0),
        (formatdate(1_600_000_000, usegmt=True), 0.0),
        (formatdate(1_800_000_000, usegmt=True), LONGEST_WAIT),
        ("Mon, 99 Foo 2024 00:00:00 GMT", None),
    ],
)
def test_how_long_to_wait(
    header: str | None, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds or a date, an hour at most; what cannot be read asks for nothing."""
    monkeypatch.setattr(_clock, "wall_ns", lambda: 1_700_000_000_000_000_000)

    assert wait_of(header) == expected


# gRPC


class Answering(TraceServiceServicer):
    """Answers as it is told."""

    def __init__(self) -> None:
        self.address = ""
        self.code: Any = None
        self.details = ""
        self.metadata: tuple[tuple[str, bytes], ...] = ()
        self.response = ExportTraceServiceResponse()
        self.calls = 0

    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
        self.calls += 1
        if self.code is not None:
            context.set_trailing_metadata(self.metadata)
            context.abort(self.code, self.details)
        return self.response


@pytest.fixture
def service() -> Iterator[Answering]:
    """Listen for gRPC."""
    made = Answering()
    options = [("grpc.max_receive_message_length", 10_000)]
    server = grpc.server(ThreadPoolExecutor(2), options=options)
    add_TraceServiceServicer_to_server(made, server)  # type: ignore[no-untyped-call,unused-ignore]
    made.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield made
    server.stop(None).wait()


def retry_info(seconds: int) -> RetryInfo:
    """How a receiver asks for time."""
    info = RetryInfo()
    info.retry_delay.seconds = seconds
    return info


def with_details(seconds: int) -> tuple[str, bytes]:
    """The same as OTLP has it: among the details of the status."""
    packed = AnyMessage()
    packed.Pack(retry_info(seconds))
    return "grpc-status-details-bin", Status(details=[packed]).SerializeToString()


WAIT = ("google.rpc.retryinfo-bin", retry_info(30).SerializeToString())
"""Where OpenTelemetry's exporter looks, so that it does not try again by itself."""


@pytest.mark.parametrize(
    ("code", "metadata", "expected"),
    [
        ("UNAVAILABLE", (WAIT,), Answer(UNAVAILABLE, 30.0)),
        ("RESOURCE_EXHAUSTED", (WAIT, with_details(40)), Answer(UNAVAILABLE, 40.0)),
        ("RESOURCE_EXHAUSTED", (WAIT, with_details(99_999)), Answer(UNAVAILABLE, LONGEST_WAIT)),
        ("ABORTED", (WAIT, ("grpc-status-details-bin", b"\xff")), Answer(UNAVAILABLE)),
        ("INVALID_ARGUMENT", (), Answer(REFUSED)),
        ("INTERNAL", (with_details(40),), Answer(UNKNOWN, 40.0)),
        ("UNKNOWN", (), Answer(UNKNOWN)),
    ],
)
def test_codes(code: str, metadata: Any, expected: Answer, service: Answering) -> None:
    """The code decides what to do with the batch, and its details when."""
    service.code, service.metadata = grpc.StatusCode[code], metadata

    assert sent(service.address, "grpc", timeout=10.0) == expected


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("UNAUTHENTICATED", "it wants other credentials"),
        ("PERMISSION_DENIED", "it wants other credentials"),
        ("UNIMPLEMENTED", "it takes none of them there"),
        ("NOT_FOUND", "it takes none of them there"),
    ],
)
def test_what_somebody_has_to_mend_of_grpc(code: str, advice: str, service: Answering) -> None:
    """A fault of the configuration loses nothing over gRPC either."""
    service.code = grpc.StatusCode[code]
    answer = sent(service.address, "grpc", timeout=10.0)

    assert answer.verdict is UNAVAILABLE
    assert answer.advice.startswith(f"over gRPC it answers {code}: {advice}")


def test_a_message_over_the_limit_of_grpc(service: Answering) -> None:
    """A batch that the receiver's gRPC library does not read is to be sent in halves."""
    exporter = otlp_exporter("grpc", service.address, 3.0)
    large = ReadableSpan("pay", SpanContext(1, 2, False), attributes={"text": "x" * 20_000})
    answer = Sender(exporter).send([large])
    exporter.shutdown()

    assert answer == Answer(TOO_LARGE)
    assert service.calls == 0


@pytest.mark.parametrize(
    "details",
    [
        "grpc: received message larger than max (5 vs. 4)",
        "grpc: message after decompression larger than max (5 vs. 4)",
        "gRPC message exceeds maximum size 4: 5",
    ],
)
def test_limits_in_the_words_of_each_library(details: str) -> None:
    """Go and Java say it in their own words, with the code that overload has too."""
    assert of_grpc("RESOURCE_EXHAUSTED", details) == Answer(TOO_LARGE)
    assert of_grpc("RESOURCE_EXHAUSTED", "busy") == Answer(UNAVAILABLE)
    assert of_grpc("OK", "") == Answer(DELIVERED)


def test_items_rejected_over_grpc(service: Answering) -> None:
    """What a receiver rejects of a batch that it takes is counted."""
    service.response = partial_success(1)

    assert sent(service.address, "grpc", timeout=10.0) == Answer(DELIVERED, rejected=1)


def test_a_receiver_of_grpc_that_comes_back(service: Answering) -> None:
    """Nobody at home is away; what the exporter makes anew after that is watched too."""
    exporter = otlp_exporter("grpc", service.address, 10.0)
    sender = Sender(exporter)
    service.code, service.metadata = grpc.StatusCode.UNAVAILABLE, (WAIT,)
    first = sender.send(SPANS)
    service.code = grpc.StatusCode.INVALID_ARGUMENT
    second = sender.send(SPANS)
    after_fork()
    exporter.shutdown()

    assert (first.verdict, second.verdict) == (UNAVAILABLE, REFUSED)
    assert sender.send(SPANS) == Answer(UNKNOWN)


def test_a_silent_receiver_of_grpc(receiver: Receiver) -> None:
    """A receiver that takes connections and says nothing is away."""
    receiver.script = silent

    assert sent(receiver.address, "grpc", timeout=0.5) == Answer(UNAVAILABLE)


# Any exporter


class Scripted(SpanExporter):
    """Says what it is told to say."""

    def __init__(self, result: SpanExportResult | None, answer: Answer | None = None) -> None:
        self._result = result
        self._client = object()
        self._notes = Notes()
        self._answer = answer
        if answer is not None:
            keep(self, self._notes)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._notes.answer = self._answer
        if self._result is None:
            raise ValueError("secret")
        return self._result


class Unhashable(Scripted):
    """An exporter that no dictionary takes."""

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("make", [Scripted, Unhashable])
def test_exporters_that_nobody_watches(make: type[Scripted]) -> None:
    """Of any exporter a success is a delivery; a failure says nothing of the batch."""
    good, bad = make(SpanExportResult.SUCCESS), make(SpanExportResult.FAILURE)
    keep(good, Notes())

    assert Sender(good).send(SPANS) == Answer(DELIVERED)
    assert Sender(bad).send(SPANS) == Answer(UNKNOWN)
    assert not watch_stub(bad, Notes())


def test_too_large_is_the_last_word_but_one() -> None:
    """Of the tries of one export the one that said "too large" counts, unless one delivers."""
    notes = Notes()
    heard = []
    for answer in (Answer(UNAVAILABLE), Answer(TOO_LARGE), Answer(UNAVAILABLE), Answer(DELIVERED)):
        notes.hear(answer)
        heard.append(notes.answer)

    assert heard == [
        Answer(UNAVAILABLE),
        Answer(TOO_LARGE),
        Answer(TOO_LARGE),
        Answer(DELIVERED),
    ]


def test_an_exporter_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """An exception says nothing of the batch; it is counted, and logged without its text."""
    assert Sender(Scripted(None)).send(SPANS) == Answer(UNKNOWN)
    assert _guard.counts()["errors.export"] == 1
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_a_failure_after_a_delivery() -> None:
    """An exporter that fails although the receiver took something is not believed to have done."""
    exporter = Scripted(SpanExportResult.FAILURE, Answer(DELIVERED))

    assert Sender(exporter).send(SPANS) == Answer(UNKNOWN)


def test_a_child_has_connections_of_its_own(receiver: Receiver) -> None:
    """Until a fork a connection is kept; after it there is a new one, and the old one is let be."""
    receiver.answers("200")
    exporter = otlp_exporter("http/protobuf", receiver.address, 5.0)
    sender = Sender(exporter)
    before = [sender.send(SPANS).verdict for _ in range(2)]
    kept = len(receiver.connections)
    after_fork()
    after = sender.send(SPANS).verdict
    first, second = receiver.connections
    still_open = first.fileno() != -1 and second.fileno() != -1
    exporter.shutdown()

    assert (before, after) == ([DELIVERED, DELIVERED], DELIVERED)
    assert (kept, still_open) == (1, True)


@pytest.mark.parametrize("word", ["", "TRACES_"])
def test_a_package_that_knows_the_credentials(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a package is named that makes the connections, they are its own."""
    module = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    handed: list[dict[str, Any]] = []
    monkeypatch.setattr(module, "OTLPSpanExporter", lambda **given: handed.append(given))
    otlp_exporter("http/protobuf")
    monkeypatch.setenv(f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{word}CREDENTIAL_PROVIDER", "gcp")
    otlp_exporter("http/protobuf")

    assert ["session" in given for given in handed] == [True, False]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        *((of_http(status, {}), status in {500, 504}) for status in (400, 413, 429, 500, 503, 504)),
        *((of_grpc(code, ""), False) for code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "OK")),
        *((of_grpc(code, ""), True) for code in ("DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL")),
    ],
)
def test_doubt(answer: Answer, expected: bool) -> None:
    """Whoever says that he has not taken a batch has not; who breaks off may have."""
    assert answer.is_doubtful is expected


def test_doubt_about_a_receiver_that_is_not_there() -> None:
    """Where there was no connection nothing can have arrived; where there was one, it may."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    refused = otlp_exporter("http/protobuf", f"http://127.0.0.1:{port}", timeout=0.5)
    assert not Sender(refused).send(SPANS).is_doubtful
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert Sender(otlp_exporter("http/protobuf", address, timeout=0.5)).send(SPANS).is_doubtful
