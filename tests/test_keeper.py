"""What cannot be sent goes to a spool on disk, and is sent from there when it can be."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from cxtrace import _guard, _shared_page
from cxtrace._answers import Answer, Verdict
from cxtrace._courier import Courier
from cxtrace._flights import Limits
from cxtrace._keeper import Disk
from cxtrace._ledger import Books, Ledger
from cxtrace.spool import Spool

DELIVERED = Answer(Verdict.DELIVERED)
UNAVAILABLE = Answer(Verdict.UNAVAILABLE)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a spool needs flock")


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    _guard.reset()
    yield
    _guard.reset()


class Receiver:
    """The other end, which can be away."""

    def __init__(self) -> None:
        self.is_up = True
        self.answers: list[Answer] = []
        self.has: list[str] = []
        self.sizes: list[int] = []

    def send(self, batch: Sequence[str]) -> Answer:
        """Answer as told, else by whether it is up."""
        self.sizes.append(len(batch))
        answer = self.answers.pop(0) if self.answers else self.usual(batch)
        if answer.verdict is Verdict.DELIVERED:
            self.has += batch[: len(batch) - answer.rejected]
        return answer

    def usual(self, batch: Sequence[str]) -> Answer:
        """What it answers where nothing was told."""
        return DELIVERED if self.is_up else UNAVAILABLE

    def end(self) -> None:
        """Nothing to do."""


class Threadless(Courier):
    """A courier that sends when it is told to."""

    def start(self) -> bool:
        return True


def encode(items: Sequence[str]) -> bytes:
    """Words and blanks; some words cannot be written."""
    if "unwritable" in items:
        raise ValueError
    return " ".join(items).encode()


def decode(payload: bytes) -> list[str]:
    """The words again."""
    if b"?" in payload:
        raise ValueError
    return payload.decode().split()


class Kit:
    """A courier with a spool, and a receiver, without threads."""

    def __init__(self, folder: Path, receiver: Receiver, kind: type[Courier] = Threadless) -> None:
        self.receiver = receiver
        spool = Spool(folder)
        self.courier = kind("spans", receiver.send, receiver.end, Limits(8, 4, 60), Books())
        self.disk = Disk(self.courier, spool, folder, encode, decode)
        self.courier.keeper = self.disk

    def put(self, *items: str) -> None:
        """Put in all of them."""
        for item in items:
            self.courier.put(item)

    def send(self) -> None:
        """Let the sender send, and the keeper keep."""
        self.courier.ask()
        self.courier._work()
        self.disk.keep()

    @property
    def ledger(self) -> Ledger:
        """That of the courier, which is balanced."""
        found = self.courier.ledger
        assert found.is_balanced
        return found


@pytest.fixture
def kit(tmp_path: Path) -> Any:
    """One process with a spool."""
    found = Kit(tmp_path, Receiver())
    yield found
    found.disk.stop(0)


def test_what_cannot_be_sent_is_kept_and_sent_later(kit: Kit) -> None:
    """During an outage everything goes to disk, and from there to the receiver, in order."""
    kit.receiver.is_up = False
    kit.put("a", "b")
    kit.send()
    assert kit.ledger == Ledger(created=2, spooled=2)
    kit.put("c")
    kit.disk.keep()
    assert kit.ledger == Ledger(created=3, spooled=3)

    kit.receiver.is_up = True
    kit.courier._retry_at = 0.0
    kit.courier._work()
    assert kit.receiver.has == ["a", "b", "c"]
    assert kit.ledger == Ledger(created=3, exported=3)


@pytest.mark.parametrize(
    ("comes", "somebody_waits", "first", "later"),
    [
        ("wxyz", False, "ab", "abwxyzcdef"),
        ("w", True, "ab", "abwcdef"),
        ("w", False, "abcdef", "abcdefw"),
    ],
)
def test_what_comes_meanwhile_does_not_wait_for_all_on_disk(
    kit: Kit, comes: str, somebody_waits: bool, first: str, later: str
) -> None:
    """Between two batches from disk the sender looks whether something fresh is due."""
    kit.receiver.is_up = False
    for words in ("a b", "c d", "e f"):
        kit.put(*words.split())
        kit.send()

    class Busy(Receiver):
        def usual(self, batch: Sequence[str]) -> Answer:
            if batch[0] == "a":
                kit.put(*comes)
                if somebody_waits:
                    kit.courier.ask()
            return super().usual(batch)

    kit.receiver = receiver = Busy()
    kit.courier._send = receiver.send
    kit.courier._retry_at = kit.courier._urgent = 0
    kit.courier._work()
    assert "".join(receiver.has) == first
    kit.courier._work()
    assert "".join(receiver.has) == later


def test_queue_that_fills_goes_to_disk(kit: Kit) -> None:
    """While the exporter is busy, the keeper makes room before there is none."""
    kit.put("a", "b", "c")
    kit.disk.keep()
    assert kit.ledger == Ledger(created=3, queued=3)
    kit.put("d", "e")
    kit.disk.keep()

    assert kit.ledger == Ledger(created=5, queued=1, spooled=4)


def test_last_moment(kit: Kit) -> None:
    """What is not sent by then goes to disk, also what an exporter has not answered for."""
    kit.put(*"abcdef")
    flight = kit.courier.take(4)
    assert flight is not None
    ticket = kit.courier.ask_to_close(time.monotonic())
    kit.disk.keep()

    assert kit.courier.close(ticket, time.monotonic())
    kit.courier.settle(flight, 0)
    assert kit.ledger == Ledger(created=6, spooled=6, sent_again=4)


def test_hung_flight_that_no_disk_takes(kit: Kit) -> None:
    """It stays with the sender, who may still deliver it."""
    kit.disk.spool.put = lambda *_: False  # type: ignore[method-assign]
    kit.put(*"ab")
    flight = kit.courier.take(4)
    assert flight is not None
    ticket = kit.courier.ask_to_close(time.monotonic())
    kit.disk.keep()
    assert kit.courier.take_back() is None
    kit.courier.deliver(flight)

    assert kit.courier.close(ticket, time.monotonic())
    assert kit.receiver.has == ["a", "b"]
    assert kit.ledger == Ledger(created=2, exported=2)


def test_another_process_sends_what_one_has_left(tmp_path: Path) -> None:
    """It counts as recovered there, and stays spooled in the books of the one that kept it."""
    one, two = Kit(tmp_path, Receiver()), Kit(tmp_path, Receiver())
    one.receiver.is_up = False
    one.put("a", "b")
    one.send()
    one.disk.stop(0)
    one.disk.spool.close()
    two.send()

    assert two.receiver.has == ["a", "b"]
    assert two.ledger == Ledger(recovered=2, exported=2)
    assert one.ledger == Ledger(created=2, spooled=2)
    two.disk.stop(0)


def test_receiver_that_is_still_away(kit: Kit) -> None:
    """What is sent in vain stays on disk, and says so when it is sent again."""
    kit.receiver.is_up = False
    kit.put("a")
    kit.send()
    assert kit.disk.replay() is False
    assert kit.ledger == Ledger(created=1, spooled=1)
    kit.receiver.is_up = True

    assert kit.disk.replay() is True
    assert kit.disk.replay() is False
    assert kit.ledger == Ledger(created=1, exported=1)


def test_what_may_have_arrived_already(kit: Kit) -> None:
    """Where a receiver broke off, what is sent again is counted, once it is delivered."""
    broke_off = Answer(Verdict.UNAVAILABLE, is_doubtful=True)
    kit.receiver.answers = [broke_off]
    kit.put("a", "b")
    kit.send()
    assert kit.ledger == Ledger(created=2, spooled=2, sent_again=2)
    kit.receiver.answers = [broke_off]
    assert not kit.disk.replay()

    assert kit.disk.replay()
    assert kit.ledger == Ledger(created=2, exported=2, sent_again=4)


@pytest.mark.parametrize(
    ("answers", "exported"),
    [
        ([Answer(Verdict.REFUSED)], 0),
        ([Answer(Verdict.DELIVERED, rejected=1)], 2),
        ([Answer(Verdict.TOO_LARGE), Answer(Verdict.TOO_LARGE)], 2),
    ],
)
def test_what_the_receiver_will_not_take(kit: Kit, answers: list[Answer], exported: int) -> None:
    """Of what is on disk, too, a receiver may refuse all, or a part, or what is too large."""
    kit.receiver.is_up = False
    kit.put("a", "b", "c")
    kit.send()
    kit.receiver.is_up, kit.receiver.answers = True, answers

    assert kit.disk.replay()
    assert kit.ledger.exported == exported
    assert kit.ledger.dropped == {"refused": 3 - exported}


def test_batch_that_is_too_large_while_the_receiver_goes_away(kit: Kit) -> None:
    """A batch of which a part was not taken stays on disk as a whole."""
    kit.receiver.is_up = False
    kit.put("a", "b")
    kit.send()
    kit.receiver.answers = [Answer(Verdict.TOO_LARGE), DELIVERED, UNAVAILABLE]

    assert kit.disk.replay() is False
    assert kit.ledger == Ledger(created=2, spooled=2)


def test_item_on_disk_that_no_receiver_takes(kit: Kit) -> None:
    """A batch that fails while others are delivered is split until the one to blame is found."""

    class Choking(Receiver):
        def usual(self, batch: Sequence[str]) -> Answer:
            return Answer(Verdict.UNKNOWN) if "poison" in batch else super().usual(batch)

    kit.receiver = receiver = Choking()
    kit.courier._send = receiver.send
    receiver.is_up = False
    kit.put("a", "poison", "b", "c")
    kit.send()
    receiver.is_up = True
    for _ in range(3):
        assert not kit.disk.replay()
    kit.put("d")
    kit.courier.ask()
    kit.courier._work()

    assert kit.receiver.has == ["d", "a", "b", "c"]
    assert kit.ledger.dropped == {"refused": 1}
    assert kit.ledger.exported == 4


def test_receiver_that_goes_while_the_one_to_blame_is_looked_for(kit: Kit) -> None:
    """Where nothing shows that the receiver is there, nothing is refused, and few are tried."""
    unknown = Answer(Verdict.UNKNOWN)
    kit.receiver.is_up = False
    kit.put("a", "b", "c", "d")
    kit.send()
    kit.receiver.is_up = True
    for _ in range(3):
        kit.receiver.answers = [unknown]
        assert not kit.disk.replay()
    kit.put("e")
    kit.receiver.answers = [DELIVERED, *[unknown] * 100]
    kit.courier.ask()
    kit.courier._work()

    assert 90 < len(kit.receiver.answers) < 100
    assert kit.ledger == Ledger(created=5, exported=1, spooled=4)
    kit.receiver.answers = []
    assert kit.disk.replay()
    assert kit.ledger == Ledger(created=5, exported=5)


def test_single_items_of_which_the_receiver_says_nothing(kit: Kit) -> None:
    """Two that fail by themselves are kept while nothing shows that the receiver is there."""
    unknown = Answer(Verdict.UNKNOWN)
    kit.receiver.is_up = False
    kit.put("a", "b")
    kit.send()
    kit.receiver.is_up = True
    for _ in range(3):
        kit.receiver.answers = [unknown]
        assert not kit.disk.replay()
    kit.courier.delivered += 1
    kit.receiver.answers = [unknown] * 3

    assert kit.disk.replay() is False
    assert kit.receiver.answers == []
    assert kit.ledger == Ledger(created=2, spooled=2)


def test_what_cannot_be_written_does_not_stop_the_rest(kit: Kit) -> None:
    """An item that no bytes can be made of is refused; the others of its batch are kept."""
    kit.receiver.is_up = False
    kit.put("a", "unwritable", "b")
    kit.send()

    assert kit.ledger == Ledger(created=3, spooled=2, dropped={"refused": 1})


def test_what_cannot_be_read_is_dropped(kit: Kit) -> None:
    """A batch whose bytes are none of ours is counted, and the next one is sent."""
    kit.receiver.is_up = False
    kit.put("?")
    kit.send()
    kit.receiver.is_up = True

    assert kit.disk.replay()
    assert kit.ledger == Ledger(created=1, dropped={"corrupt": 1})


def test_disk_that_takes_nothing(tmp_path: Path) -> None:
    """Where a disk is full or gone, memory is used as if there were no spool."""
    kit = Kit(tmp_path, Receiver())
    kit.disk.spool.put = lambda *_: False  # type: ignore[method-assign]
    kit.receiver.is_up = False
    kit.put("a", "b")
    kit.send()
    assert kit.ledger == Ledger(created=2, queued=2)
    kit.put(*"cdefghijklm")

    assert kit.ledger == Ledger(created=13, queued=12, dropped={"queue_full": 1})
    kit.receiver.is_up = True
    kit.send()
    assert kit.receiver.has == list("abcdefghijkl")
    kit.disk.stop(0)


@pytest.mark.parametrize(
    ("max_bytes", "max_age", "reason"), [(8_192, 60, "full"), (2**20, 0, "age")]
)
def test_limits_of_the_spool(tmp_path: Path, max_bytes: int, max_age: float, reason: str) -> None:
    """What goes because of a limit is counted, whoever wrote it, and the books balance."""
    from cxtrace.delivery import SpanDelivery, SpoolSettings

    class Away(Receiver):
        def export(self, spans: Any) -> Any:
            raise ConnectionError

        def shutdown(self) -> None:
            """Nothing to do."""

    exporter: Any = Away()
    settings = SpoolSettings(tmp_path, max_bytes, max_age or 1e-9)
    deliveries = [SpanDelivery(exporter, spool=settings) for _ in range(2)]
    for number in range(40):
        delivery = deliveries[number // 3 % 2]
        assert delivery.disk is not None
        with delivery.courier.lock:
            delivery.courier.count(0, 1)
            delivery.courier.count(3, 1)
        assert delivery.disk.spool.put("spans", 1, os.urandom(700))
        delivery.disk.spool.close()
    ledgers = [delivery.ledger for delivery in deliveries]

    assert all(ledger.is_balanced for ledger in ledgers)
    assert sum(ledger.dropped.get(f"spool_{reason}", 0) for ledger in ledgers) > 20
    assert sum(ledger.recovered for ledger in ledgers) > 0


def test_threads_of_its_own(tmp_path: Path) -> None:
    """From the first item on both threads run, and nothing more is to be called."""
    receiver = Receiver()
    receiver.is_up = False
    kit = Kit(tmp_path, receiver, Courier)
    kit.put(*"abcd")
    ticket = kit.courier.ask()
    assert kit.courier.wait(ticket, time.monotonic() + 30)
    assert kit.ledger.spooled == 4
    receiver.is_up = True
    until = time.monotonic() + 30
    kit.put("e")
    while kit.ledger.exported < 5 and time.monotonic() < until:
        kit.courier.wait(kit.courier.ask(), until)
    names = {thread.name for thread in threading.enumerate()}
    assert {"cxtrace_send_spans", "cxtrace_keep_spans"} <= names

    assert kit.courier.close(kit.courier.ask_to_close(until), until)
    assert set("abcde") == set(receiver.has)
    assert kit.ledger.queued == kit.ledger.spooled == kit.ledger.lost == 0


def test_error_of_the_keeper_does_not_end_it(tmp_path: Path) -> None:
    """Whatever goes wrong in a round is counted, and the next one is done."""
    kit = Kit(tmp_path, Receiver(), Courier)
    done = threading.Event()

    def fail() -> None:
        if _guard.counts().get("errors.delivery.keep", 0) > 1:
            done.set()
        raise RuntimeError("secret")

    kit.disk.keep = fail  # type: ignore[method-assign]
    kit.put("a")

    assert done.wait(30)
    del kit.disk.keep
    until = time.monotonic() + 30
    assert kit.courier.close(kit.courier.ask_to_close(until), until)


KILLED = """
import os, sys
from pathlib import Path
from cxtrace import _shared_page
from tests.test_keeper import Kit, Receiver

_shared_page.FOLDER = Path(sys.argv[2])
kit = Kit(Path(sys.argv[1]), Receiver())
kit.receiver.is_up = False
kit.put("a", "b")
kit.disk._share_books()
kit.send()
kit.put("c", "d", "e")
kit.disk._write_books()
kit.put("f")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("shares", [True, False])
def test_process_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: bool
) -> None:
    """What it had on disk is sent by another; what it had in memory is counted, once.

    Where no memory outlives it, that is as of when its books were last written.
    """
    pages = tmp_path / "pages"
    if shares:
        pages.mkdir()
    monkeypatch.setattr(_shared_page, "FOLDER", pages)
    folder = tmp_path / "spool"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", dedent(KILLED), str(folder), str(pages)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    process.stdin.close()
    kit, other = Kit(folder, Receiver()), Kit(folder, Receiver())
    for each in (kit, other):
        each.disk._look_after_the_dead()
        each.disk._look_after_the_dead()
    kit.send()

    assert kit.receiver.has == ["a", "b"]
    assert kit.ledger == Ledger(recovered=2, exported=2, died=4 if shares else 3)
    assert other.ledger == Ledger()
    for each in (kit, other):
        each.disk.stop(0)


def test_system_that_shares_no_memory(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The books stay in memory of our own, and nothing is counted as an error."""
    monkeypatch.setattr(_shared_page, "FOLDER", tmp_path / "missing")
    kit.disk._share_books()
    kit.put("a")

    assert (kit.courier.books.shared, kit.ledger.created) == ("", 1)
    assert _guard.counts() == {}


def test_books_that_cannot_be_written(kit: Kit) -> None:
    """It is counted, and everything else goes on."""

    def fail(*_: object) -> None:
        raise OSError("full")

    kit.disk._file.write = fail  # type: ignore[method-assign]
    kit.disk._write_books()

    assert _guard.counts() == {"errors.spool": 1}


def test_what_a_child_begins_with(kit: Kit) -> None:
    """No items, no numbers, and a spool of its own to which it can write."""
    kit.put("a")
    kit.courier.after_fork()
    assert kit.ledger == Ledger()
    kit.receiver.is_up = False
    kit.put("b")
    kit.send()

    assert kit.ledger == Ledger(created=1, spooled=1)


def test_child_keeps_for_itself(tmp_path: Path) -> None:
    """A forked child counts from zero, and what it keeps is its own."""
    kit = Kit(tmp_path, Receiver())
    kit.put("a")
    child = os.fork()
    if not child:
        kit.courier.after_fork()
        kit.receiver.is_up = False
        kit.put("b")
        kit.send()
        good = kit.ledger == Ledger(created=1, spooled=1)
        kit.disk.stop(0)
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    kit.send()

    assert kit.receiver.has == ["a", "b"]
    assert kit.ledger == Ledger(created=1, recovered=1, exported=2)
    kit.disk.stop(0)
