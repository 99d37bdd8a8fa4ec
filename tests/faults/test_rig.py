"""The rig tells the truth: its generator, its proxy, its accounts and its table."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults import load, proxy
from tests.faults.accounts import Books, Latency, books_of, harmed, noted
from tests.faults.load import Request
from tests.faults.proxy import Behaviour
from tests.faults.rig import Result
from tests.faults.soak import Sample, trend, trends
from tests.faults.table import put_into, table

REPORT = {
    "spans": {
        "created": 10,
        "recovered": 1,
        "exported": 5,
        "queued": 1,
        "spooled": 2,
        "dropped": {"queue_full": 3, "fork": 0},
    }
}


class Answers(BaseHTTPRequestHandler):
    """Answers each request with a status, which its path names, after the seconds that it names."""

    protocol_version = "HTTP/1.1"
    status = 200

    def do_GET(self) -> None:
        self._answer(b"{}")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, body: bytes) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def answering(status: int = 200) -> Iterator[int]:
    """A server that answers with that status; gives its port."""
    handler = type("Handler", (Answers,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def between() -> Iterator[proxy.Proxy]:
    """A proxy before a server that gives back what it was sent."""
    with answering() as port, proxy.running("127.0.0.1", port) as made:
        yield made


def post(port: int, body: bytes = b"spans", timeout: float = 20) -> tuple[int, Any, bytes]:
    """What is answered: status, Retry-After and body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", "/v1/traces", body)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Retry-After"), answer.read()
    finally:
        connection.close()


def asked(port: int, rate: float = 50.0, seconds: float = 0.5) -> list[Request]:
    """What the generator tells of so many seconds."""
    with load.running(port, rate) as asking:
        time.sleep(seconds)
        return asking.stop()


def a_result(**given: Any) -> Result:
    """A result, with what a test is about."""
    usual: dict[str, Any] = {
        **dict.fromkeys(("requests", "failed", "killed", "made", "arrived", "twice"), 0),
        **dict.fromkeys(("strange", "crashes", "met"), 0),
        "fault": "killed",
        "way": "cxtrace",
        "books": Books(),
        "calm": Latency(1.0, 2.0),
        "faulty": Latency(3.0, 4.0),
        "exit": 0.25,
    }
    return Result(**{**usual, **given})


# The load


def test_load_comes_at_a_fixed_rate() -> None:
    """Requests are due at equal distances, whatever becomes of them."""
    with answering() as port:
        requests = sorted(asked(port))

    gaps = [round(b.due - a.due, 6) for a, b in pairwise(requests)]
    assert set(gaps) == {0.02}
    assert {each.status for each in requests} == {200}


def test_load_notices_what_fails() -> None:
    """Another status than 200, and no answer at all, are requests that failed."""
    with answering(500) as port:
        refused = asked(port)
    nobody = asked(port)

    assert {each.status for each in refused} == {500}
    assert {each.status for each in nobody} == {0}
    assert all(each.failed for each in refused + nobody)


# The proxy


def test_the_proxy_passes_requests_on(between: proxy.Proxy) -> None:
    """Unless it is told otherwise, what comes is passed on, and the answer back."""
    assert post(between.port) == (200, None, b"spans")


def test_the_proxy_answers_itself(between: proxy.Proxy) -> None:
    """It gives an answer of its own, and says afterwards how many got it."""
    between.behave(Behaviour("answer", status=429, retry_after=2))

    assert post(between.port)[:2] == (429, "2")
    assert between.behave(Behaviour()) == 1
    assert post(between.port)[0] == 200


def test_the_proxy_refuses_what_is_too_large(between: proxy.Proxy) -> None:
    """Only requests with more bytes than it was told meet the behaviour."""
    between.behave(Behaviour("answer", status=413, larger=1_000))

    assert post(between.port, bytes(2_000))[0] == 413
    assert post(between.port, bytes(100))[0] == 200


def test_the_proxy_refuses_connections(between: proxy.Proxy) -> None:
    """Nobody listens while it refuses, and afterwards somebody does on the same port."""
    between.behave(Behaviour("refuse"))

    with pytest.raises(ConnectionRefusedError):
        post(between.port)

    between.behave(Behaviour())
    assert post(between.port)[0] == 200


@pytest.mark.parametrize(
    ("kind", "error", "timeout"), [("silent", TimeoutError, 3), ("half_closed", HTTPException, 20)]
)
def test_the_proxy_keeps_an_answer_back(
    between: proxy.Proxy, kind: Any, error: Any, timeout: float
) -> None:
    """It says nothing, with its side of the connection open or closed."""
    between.behave(Behaviour(kind))

    with pytest.raises(error):
        post(between.port, timeout=timeout)

    assert between.behave(Behaviour()) == 1


def test_half_closed_is_not_closed(between: proxy.Proxy) -> None:
    """The other side may still send."""
    between.behave(Behaviour("half_closed"))
    with socket.create_connection(("127.0.0.1", between.port), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")

        assert connection.recv(1) == b""
        assert connection.send(b"more") == 4


# The accounts


def test_books_are_read_from_a_report() -> None:
    """Reasons that have no number are left out."""
    books = Books.read(REPORT)

    assert books == Books(10, 1, 5, 1, 2, {"queue_full": 3})
    assert books.lost == 3


def test_no_report_means_empty_books() -> None:
    """Who says nothing has counted nothing."""
    assert Books.read(None) == Books.read({"spans": None}) == Books()


def test_books_of_all_processes_are_added(tmp_path: Path) -> None:
    """What a process still had in memory when it closed its books is lost, and counted."""
    for pid in (1, 2):
        path = tmp_path / f"books-{pid}.json"
        path.write_text(json.dumps({"report": REPORT if pid == 1 else None}))

    assert books_of(tmp_path) == Books(10, 1, 5, 0, 2, {"left in memory": 1, "queue_full": 3})


def test_only_whole_lines_are_notes(tmp_path: Path) -> None:
    """A line that a killed process did not finish is no span."""
    (tmp_path / "notes").write_bytes(b"00000000000000aa\n00000000000000ab\n0000")

    assert noted(tmp_path) == {b"00000000000000aa", b"00000000000000ab"}


def test_what_a_killed_worker_took_with_it_is_told_apart() -> None:
    """A request that failed was harmed by us, unless its worker was killed meanwhile."""
    requests = [Request(1.0, 0.5, 0), Request(1.2, 0.5, 200), Request(3.0, 0.5, 503)]

    assert harmed(requests, [1.3]) == (1, 1)
    assert harmed(requests, []) == (2, 0)


def test_latency_is_that_of_a_time() -> None:
    """Only requests that were due in it count, in milliseconds."""
    requests = [Request(due, due / 100, 200) for due in range(1, 101)]

    assert Latency.of(requests, 1, 12) == Latency(60.0, 109.0)
    assert Latency.of(requests, 200, 300) == Latency(None, None)


def test_what_is_lost_and_not_in_the_books_is_uncounted() -> None:
    """Lost is what did not arrive; books that say more than that owe nothing."""
    result = a_result(made=10, arrived=4, books=Books(dropped={"spool_full": 5}))

    assert (result.lost, result.uncounted) == (6, 1)
    assert a_result(books=Books(dropped={"refused": 1})).uncounted == 0


def test_results_are_read_back() -> None:
    """What was written as JSON is the same result again."""
    result = a_result(made=3, books=Books(1, dropped={"fork": 2}))

    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result


# The table


def test_the_table_has_a_row_for_each_run() -> None:
    """A fault is named once; how a run ended that did not end is said."""
    rows = table([a_result(), a_result(way="cxtrace+spool", exit=None, killed=2)]).splitlines()

    assert rows[2] == "| `killed` | cxtrace | 0 | 0 | 0 | 0 | 0 | 0 | 1.0 → 3.0 | 2.0 → 4.0 | 0.2 |"
    assert rows[3].startswith("|  | cxtrace+spool | 0 | 0 (and 2 killed) |")
    assert rows[3].endswith("| did not end |")


def test_the_table_has_its_place_in_a_page(tmp_path: Path) -> None:
    """What stood between the two comments is replaced, and nothing else."""
    page = tmp_path / "page.md"
    begin, end = "<!-- results of tests/faults -->", "<!-- end of the results -->"
    page.write_text(f"A\n{begin}\nold\n{end}\nZ\n")

    put_into(page, "new")

    assert page.read_text() == f"A\n{begin}\n\nnew\n{end}\nZ\n"


def test_a_page_without_a_place_is_refused(tmp_path: Path) -> None:
    """Nothing is written into a page that has no such comments."""
    page = tmp_path / "page.md"
    page.write_text("A\n")

    with pytest.raises(ValueError, match="no place"):
        put_into(page, "new")


# The soak


def test_what_grows_is_not_flat() -> None:
    """A value that is higher at the end than in the beginning grows."""
    assert trend([float(each) for each in range(90)], allowed=10).flat is False


def test_what_an_outage_takes_and_gives_back_is_flat() -> None:
    """What is high in the middle alone does not grow, and its height is told."""
    found = trend([1.0] * 30 + [9.0] * 30 + [1.0] * 30, allowed=0)

    assert (found.flat, found.first, found.highest, found.last) == (True, 1.0, 9.0, 1.0)


def test_memory_handles_and_threads_are_looked_at() -> None:
    """Each has a trend of its own."""
    samples = [Sample(at, 50_000_000, 10 + at, 5, 0) for at in range(90)]

    assert {name: each.flat for name, each in trends(samples).items()} == {
        "memory": True,
        "handles": False,
        "threads": True,
    }
