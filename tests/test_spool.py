"""The spool: what is put is taken, once, in order, by one process, whatever happens to the disk."""

import errno
import fcntl
import itertools
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxtrace import _guard
from cxtrace._spool import format as spool_format
from cxtrace._spool import segments, shelf
from cxtrace.exceptions import ConfigurationError
from cxtrace.spool import Spool, Spooled

DAY = 86_400.0


class Time:
    """A clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Let every test begin without counters and warnings."""
    _guard.reset()
    yield
    _guard.reset()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a spool may be."""
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    """A spool of this process."""
    made = Spool(folder)
    yield made
    made.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a segment be full with one block."""
    monkeypatch.setattr(shelf, "_SEGMENT", segments.BLOCK)


def taken(spool: Spool) -> list[Spooled]:
    """Everything that a spool gives out, all of it received."""
    found = []
    while (batch := spool.take()) is not None:
        found.append(batch)
        spool.done(batch)
    return found


def payloads(spool: Spool) -> list[bytes]:
    """What is in everything that a spool gives out."""
    return [batch.payload for batch in taken(spool)]


def files(folder: Path) -> list[Path]:
    """The segments, oldest first."""
    return sorted(folder.glob("*.seg"))


def failing(monkeypatch: pytest.MonkeyPatch, call: str, code: int, times: int = 1) -> None:
    """Let a call of the system fail a few times."""
    real, left = getattr(os, call), itertools.count(1)

    def fails(*arguments: Any, **named: Any) -> Any:
        if next(left) <= times:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **named)

    monkeypatch.setattr(os, call, fails)


# In and out


def test_what_is_put_is_taken(folder: Path) -> None:
    """A batch comes back as it was, and is gone when it was received."""
    time = Time()
    spool = Spool(folder, clock=time)

    assert spool.put("spans", 3, b"three spans")
    time.now += 60
    batch = spool.take()

    assert batch is not None
    assert (batch.signal, batch.items, batch.payload) == ("spans", 3, b"three spans")
    assert (batch.written, batch.is_own, batch.maybe_sent) == (time.now - 60, True, False)
    spool.done(batch)
    assert spool.take() is None
    assert list(folder.iterdir()) == []


def test_a_batch_does_not_show_what_is_in_it(spool: Spool) -> None:
    """What is printed of a batch holds nothing of its payload."""
    spool.put("logs", 1, b"a secret")

    assert "secret" not in repr(spool.take())


def test_order(folder: Path, small: None) -> None:
    """The oldest comes first, over all signals and segments, even if the clock stands still."""
    spool = Spool(folder, clock=Time())
    put = [f"{number}".encode() * 900 for number in range(20)]
    for number, payload in enumerate(put):
        assert spool.put("spans" if number % 2 else "logs", 1, payload)
    assert len(files(folder)) > 3

    assert payloads(spool) == put


def test_order_when_the_clock_is_set_back(folder: Path) -> None:
    """A clock that is set back changes nothing for one process."""
    time = Time()
    spool = Spool(folder, clock=time)
    spool.put("spans", 1, b"first")
    batch = spool.take()
    time.now -= 3600
    spool.put("spans", 1, b"second")
    assert batch is not None
    spool.release(batch)

    assert payloads(spool) == [b"first", b"second"]


def test_one_batch_is_out_at_a_time(spool: Spool) -> None:
    """While a batch is out there is no other; then the next one comes."""
    spool.put("spans", 1, b"a")
    spool.put("spans", 1, b"b")
    first = spool.take()

    assert first is not None
    assert spool.take() is None
    spool.done(first)
    assert payloads(spool) == [b"b"]


def test_a_released_batch_comes_again(spool: Spool) -> None:
    """What was not sent comes again, before all others and as if it had never been out."""
    spool.put("spans", 1, b"a")
    spool.put("spans", 1, b"b")
    for _ in range(3):
        batch = spool.take()
        assert batch is not None
        assert (batch.payload, batch.maybe_sent) == (b"a", False)
        spool.release(batch)

    assert payloads(spool) == [b"a", b"b"]


def test_a_doubtful_batch_stays_doubtful(spool: Spool) -> None:
    """What may have been received says so ever after."""
    spool.put("spans", 1, b"a")
    first = spool.take()
    assert first is not None
    spool.release(first, maybe_sent=True)
    second = spool.take()
    assert second is not None
    spool.release(second)

    assert [batch.maybe_sent for batch in taken(spool)] == [True]


def test_a_batch_is_given_back_once(spool: Spool) -> None:
    """A batch that is not out cannot be given back."""
    spool.put("spans", 1, b"a")
    spool.put("spans", 1, b"b")
    first = spool.take()
    assert first is not None
    spool.release(first)
    spool.done(first)
    spool.release(first)
    again = spool.take()
    assert again is not None
    spool.done(first)
    spool.done(again)

    assert payloads(spool) == [b"b"]


def test_a_closed_spool_begins_anew(spool: Spool) -> None:
    """A spool that was closed gives up what was out, and can be used again."""
    spool.put("spans", 1, b"a")
    spool.take()
    spool.close()
    spool.close()

    assert spool.put("spans", 1, b"b")
    assert [(batch.payload, batch.maybe_sent) for batch in taken(spool)] == [
        (b"a", True),
        (b"b", False),
    ]


def test_another_spool_goes_on(folder: Path) -> None:
    """What one process leaves another one sends, and knows that it is not its own."""
    before = Spool(folder)
    before.put("logs", 2, b"a")
    before.close()
    after = Spool(folder)
    after.put("spans", 1, b"b")

    assert [(batch.payload, batch.is_own) for batch in taken(after)] == [
        (b"a", False),
        (b"b", True),
    ]


def test_two_spools_take_different_batches(folder: Path) -> None:
    """What is open or out at one is not given to the other, and neither waits."""
    one, other = Spool(folder), Spool(folder)
    one.put("spans", 1, b"a")
    assert other.take() is None
    first = one.take()
    assert first is not None
    assert other.take() is None
    one.put("spans", 1, b"b")
    one.release(first)

    assert payloads(other) == [b"a"]
    assert payloads(one) == [b"b"]


def test_two_spools_take_turns_within_a_segment(folder: Path) -> None:
    """A process sees what another one has sent of a segment that it has looked into before."""
    one, other = Spool(folder), Spool(folder)
    for payload in (b"a", b"b", b"c", b"d"):
        one.put("spans", 1, payload)
    found = []
    for spool in (one, other, one, other):
        batch = spool.take()
        assert batch is not None
        found.append(batch.payload)
        spool.done(batch)

    assert found == [b"a", b"b", b"c", b"d"]
    assert one.take() is None
    assert list(folder.iterdir()) == []


def test_what_another_has_finished_meanwhile_is_removed(folder: Path) -> None:
    """A segment in which nothing is left, though it was not removed, is removed by the next one."""
    one, other = Spool(folder), Spool(folder)
    one.put("spans", 1, b"a")
    one.put("spans", 1, b"b")
    batch = one.take()
    assert batch is not None
    one.release(batch)
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, "unlink", errno.EROFS)
        assert payloads(other) == [b"a", b"b"]

    assert one.take() is None
    assert list(folder.iterdir()) == []


def test_threads(folder: Path) -> None:
    """Several threads may put while another one takes."""
    spool = Spool(folder)
    found: list[bytes] = []
    over = threading.Event()

    def put(name: str) -> None:
        for number in range(30):
            assert spool.put("spans", 1, f"{name}{number}".encode())

    def take() -> None:
        while not over.is_set():
            found.extend(payloads(spool))
        found.extend(payloads(spool))

    threads = [threading.Thread(target=put, args=(name,)) for name in "abc"]
    taker = threading.Thread(target=take)
    for thread in (taker, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    taker.join()

    assert sorted(found) == sorted(f"{name}{n}".encode() for name in "abc" for n in range(30))


def test_few_descriptors_are_open(folder: Path, small: None) -> None:
    """Two descriptors are open between calls, however many segments there are."""
    spool, other = Spool(folder), Spool(folder)
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list descriptors")

    here = str(folder.resolve())

    def ours() -> int:
        return sum(os.path.realpath(each).startswith(here) for each in descriptors.iterdir())

    before = ours()
    for number in range(20):
        spool.put("spans", 1, f"{number}".encode() * 3000)
    batch = spool.take()

    assert ours() == before + 2
    assert batch is not None
    spool.release(batch)
    spool.close()
    assert len(payloads(other)) == 20
    assert ours() == before


# The folder


def test_nobody_else_can_read(folder: Path) -> None:
    """Folder and files are for their owner alone, whatever the umask says."""
    umask = os.umask(0)
    try:
        spool = Spool(folder / "of" / "a shop")
        spool.put("spans", 1, b"a")
    finally:
        os.umask(umask)

    (file,) = files(folder / "of" / "a shop")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(each.stat().st_mode) for each in (folder, *file.parents[:2])} == {0o700}


def test_a_folder_that_is_there_stays_as_it_is(folder: Path) -> None:
    """A folder that somebody has made keeps its permissions."""
    folder.mkdir(0o750)
    Spool(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_foreign_files_are_left_alone(folder: Path, tmp_path: Path) -> None:
    """What is not a segment of ours is not read, not counted as ours, and not removed."""
    spool = Spool(folder, max_bytes=2 * segments.BLOCK)
    spool.put("spans", 1, b"a")
    spool.close()
    (file,) = files(folder)
    outside = tmp_path / "outside"
    outside.write_bytes(file.read_bytes())
    (folder / "README").write_text("mine")
    (folder / "1-2-3.seg").write_text("mine")
    (folder / ("0" * 20 + "-1-" + "a" * 16 + ".seg")).symlink_to(outside)
    (folder / ("0" * 20 + "-2-" + "b" * 16 + ".seg")).mkdir()
    os.mkfifo(folder / ("0" * 20 + "-3-" + "c" * 16 + ".seg"))
    before = {each.name for each in folder.iterdir()}

    for _ in range(3):
        assert spool.put("spans", 1, b"b" * segments.BLOCK)
    assert spool.state().strangers == 3
    assert payloads(spool) == [b"b" * segments.BLOCK]
    assert {each.name for each in folder.iterdir()} == before - {file.name}


def test_segments_of_another_user_are_left_alone(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment of another user is neither sent nor removed."""
    spool.put("spans", 1, b"a")
    spool.close()
    user = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: user + 1)
        assert spool.take() is None
        assert spool.state().strangers == 1
        assert not spool.put("spans", 1, b"b")

    assert b"a" in payloads(spool)


def test_a_link_that_takes_the_place_of_a_segment_is_not_followed(
    folder: Path, spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that becomes a link between look and touch is passed over."""
    spool.put("spans", 1, b"a")
    spool.close()
    (file,) = files(folder)
    found = spool._folder.scan()
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(spool._folder, "scan", lambda: found)

    assert spool.take() is None
    assert spool.state().problem == os.strerror(errno.ELOOP)


def test_a_removed_folder_is_made_again(folder: Path, spool: Spool) -> None:
    """Somebody who removes the folder has what was in it removed; what comes later is kept."""
    spool.put("spans", 1, b"a")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()

    assert spool.take() is None
    assert spool.put("spans", 1, b"b")
    assert payloads(spool) == [b"b"]


def test_a_removed_segment_is_not_written_to(folder: Path, spool: Spool) -> None:
    """Where somebody has removed the segment that is open, the next batch goes to another one."""
    spool.put("spans", 1, b"a")
    files(folder)[0].unlink()

    assert spool.put("spans", 1, b"b")
    assert payloads(spool) == [b"b"]


def test_a_segment_that_goes_while_we_look(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that another process removes under our eyes is no error."""
    spool.put("spans", 1, b"a")
    spool.close()
    found = spool._folder.scan()
    with monkeypatch.context() as patch:
        failing(patch, "stat", errno.ENOENT)
        assert spool.state().segments == 0
    with monkeypatch.context() as patch:
        patch.setattr(spool._folder, "scan", lambda: found)
        files(folder)[0].unlink()
        assert spool.take() is None
        assert spool.state().items == {}

    assert dict(_guard.counts()) == {}


def test_a_new_segment_that_is_taken_for_a_leftover(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may hold or remove a segment before its maker holds it: there are others."""
    real, calls = fcntl.flock, itertools.count()

    def flock(descriptor: int, how: int) -> None:
        call = next(calls)
        if call == 0:
            raise BlockingIOError
        if call == 1:
            for file in files(folder):
                file.unlink()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)

    assert spool.put("spans", 1, b"a")
    assert payloads(spool) == [b"a"]


def test_new_segments_that_are_always_taken_away(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no new segment can be had, the batch is refused and nothing is left but empty files."""

    def flock(descriptor: int, how: int) -> None:
        raise BlockingIOError

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        assert not spool.put("spans", 4, b"a")

    assert spool.refused == {("spans", "spool_unwritable"): 4}
    assert {file.stat().st_size for file in files(folder)} == {0}
    assert spool.take() is None
    assert list(folder.iterdir()) == []


def test_file_systems_without_locks(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system has no locks batches are refused, and no empty files pile up."""

    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)

    assert not spool.put("spans", 1, b"a")
    assert spool.take() is None
    assert spool.state().problem == os.strerror(errno.ENOLCK)
    assert list(folder.iterdir()) == []


def test_systems_without_flock_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no flock, as on Windows, the spool says so when it is made."""
    monkeypatch.setitem(sys.modules, "fcntl", None)

    with pytest.raises(ConfigurationError, match="flock"):
        Spool(folder)


# What is damaged


def flip(file: Path, at: int) -> None:
    """Change a byte of a file."""
    content = bytearray(file.read_bytes())
    content[at] ^= 0xFF
    file.write_bytes(content)


def three(folder: Path) -> tuple[Path, list[int]]:
    """A segment with three batches of 1, 2 and 4 items, and where each of them begins."""
    spool = Spool(folder)
    starts = []
    for signal_, items, payload in (("spans", 1, b"a"), ("logs", 2, b"bb"), ("spans", 4, b"ccc")):
        assert spool.put(signal_, items, payload * 50)  # type: ignore[arg-type]
        size = spool_format.size_of(50 * len(payload), is_first=False)
        starts.append(files(folder)[0].stat().st_size - size)
    spool.close()
    return files(folder)[0], starts


def test_a_damaged_payload(folder: Path) -> None:
    """A batch that is not what was written is not given out; its items are counted."""
    file, starts = three(folder)
    flip(file, starts[2] - 1)
    spool = Spool(folder)

    assert payloads(spool) == [b"a" * 50, b"ccc" * 50]
    assert spool.dropped == {("logs", "corrupt"): 2}
    assert spool.unreadable == {"records": 0, "bytes": 0}
    assert list(folder.iterdir()) == []


def test_a_damaged_head(folder: Path) -> None:
    """Where the head of a batch is damaged the next one is found, and bytes are counted."""
    file, starts = three(folder)
    flip(file, starts[1] + 9)
    spool = Spool(folder)

    assert payloads(spool) == [b"a" * 50, b"ccc" * 50]
    assert spool.dropped == {}
    assert spool.unreadable == {"records": 1, "bytes": starts[2] - starts[1]}


def test_a_damaged_beginning(folder: Path) -> None:
    """A segment whose own head is damaged still has its batches: its name says what to look for."""
    file, starts = three(folder)
    flip(file, 3)
    spool = Spool(folder)

    assert len(payloads(spool)) == 3
    assert spool.unreadable == {"records": 1, "bytes": starts[0]}


def test_a_torn_payload(folder: Path) -> None:
    """A batch whose end is missing is not given out; its items are known."""
    file, _ = three(folder)
    os.truncate(file, file.stat().st_size - 1)
    spool = Spool(folder)

    assert spool.state().items == {"spans": 1, "logs": 2}
    assert payloads(spool) == [b"a" * 50, b"bb" * 50]
    assert spool.dropped == {("spans", "corrupt"): 4}


def test_a_torn_head(folder: Path) -> None:
    """A batch of which only a piece of the head is there is counted by its bytes."""
    file, starts = three(folder)
    os.truncate(file, starts[2] + 5)
    spool = Spool(folder)

    assert len(payloads(spool)) == 2
    assert spool.unreadable == {"records": 1, "bytes": 5}


def test_a_torn_state(folder: Path) -> None:
    """A batch of which it is not clear whether it was sent is given out as a possible duplicate."""
    file, starts = three(folder)
    flip(file, starts[1] - 50 - 2)

    assert [batch.maybe_sent for batch in taken(Spool(folder))] == [True, False, False]


def test_a_signal_that_does_not_exist(folder: Path) -> None:
    """A batch of a signal that this version does not know is not given out."""
    file, starts = three(folder)
    content = bytearray(file.read_bytes())
    facts = struct.Struct(">8sIIQBI")
    fields = list(facts.unpack_from(content, starts[0]))
    fields[4] = 77
    packed = facts.pack(*fields)
    content[starts[0] : starts[0] + len(packed) + 4] = packed + struct.pack(
        ">I", zlib.crc32(packed)
    )
    file.write_bytes(content)
    spool = Spool(folder)

    assert len(payloads(spool)) == 2
    assert spool.unreadable["records"] == 1


def test_a_payload_that_looks_like_a_batch(folder: Path) -> None:
    """A whole segment inside of a payload stays what it is, even where the head is damaged."""
    file, starts = three(folder)
    inner = file.read_bytes()
    spool = Spool(folder)
    taken(spool)
    spool.put("spans", 1, inner)
    spool.put("spans", 1, b"after")
    spool.close()
    (file,) = files(folder)
    flip(file, starts[0] + 9)

    assert payloads(spool) == [b"after"]


@pytest.mark.parametrize("noise", [65_530, 65_536, 65_545, 200_000])
def test_a_long_piece_of_noise(folder: Path, noise: int) -> None:
    """What comes after noise is found, wherever it lies, and a stray marker leads nowhere."""
    file, starts = three(folder)
    content = file.read_bytes()
    marker = segments.marker_of(file.name)
    stray = content[: starts[1]] + b"?" * (noise // 2) + marker
    file.write_bytes(stray + b"?" * (noise - noise // 2) + content[starts[1] :])
    spool = Spool(folder)

    assert payloads(spool) == [b"a" * 50, b"bb" * 50, b"ccc" * 50]
    assert spool.unreadable == {"records": 1, "bytes": noise + len(marker)}


def test_markers_without_records(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment full of markers is read about as often as one that has none."""
    file, starts = three(folder)
    content = file.read_bytes()
    noise = segments.marker_of(file.name) * 20_000
    file.write_bytes(content[: starts[1]] + noise + content[starts[1] :])
    real, read = os.pread, []
    monkeypatch.setattr(os, "pread", lambda *given: read.append(len(real(*given))) or real(*given))

    assert len(payloads(Spool(folder))) == 3
    assert sum(read) < 20 * len(noise)


@pytest.mark.parametrize("noise", range(65_526, 65_542))
def test_noise_that_ends_where_a_piece_is_read(folder: Path, noise: int) -> None:
    """A batch is found too where the pieces in which a segment is read cut its marker in two."""
    file, starts = three(folder)
    content = file.read_bytes()
    file.write_bytes(content[: starts[1]] + b"?" * noise + content[starts[1] :])

    assert len(payloads(Spool(folder))) == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    noise=st.lists(
        st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=60)), min_size=1, max_size=4
    ),
    cut=st.floats(0, 1),
)
def test_noise(
    tmp_path_factory: pytest.TempPathFactory, noise: list[tuple[float, bytes]], cut: float
) -> None:
    """Whatever is written over a segment, what is given out is what was put, once and in order."""
    folder = tmp_path_factory.mktemp("noise")
    file, starts = three(folder)
    content = bytearray(file.read_bytes())
    for place, data in noise:
        at = round(place * (len(content) - len(data)))
        content[at : at + len(data)] = data
    del content[round(len(content) * cut) :]
    file.write_bytes(content)
    spool = Spool(folder)
    found = payloads(spool)

    assert found == [each for each in (b"a" * 50, b"bb" * 50, b"ccc" * 50) if each in found]
    assert list(folder.iterdir()) == []
    lost = sum(spool.dropped.values()) + spool.unreadable["records"]
    assert len(found) + lost > 0 or len(content) <= starts[0]


# Limits


def test_the_oldest_makes_way(folder: Path) -> None:
    """A spool that is full drops its oldest segment, and says whose items these were."""
    told: list[tuple[str, str, int, bool]] = []
    spool = Spool(
        folder,
        max_bytes=4 * segments.BLOCK,
        on_drop=lambda *what: told.append(what),
    )
    put = [bytes([number]) * 3000 for number in range(7)]
    for number, payload in enumerate(put):
        assert spool.put("logs" if number == 1 else "spans", 10, payload)

    assert told == [
        ("spans", "spool_full", 10, True),
        ("logs", "spool_full", 10, True),
        ("spans", "spool_full", 10, True),
    ]
    assert spool.dropped == {("spans", "spool_full"): 20, ("logs", "spool_full"): 10}
    assert payloads(spool) == put[3:]


def test_what_is_told_of_drops_may_fail(folder: Path) -> None:
    """An error in what is told of drops is swallowed and counted."""

    def fail(*what: object) -> None:
        raise ValueError

    spool = Spool(folder, max_bytes=segments.BLOCK, on_drop=fail)
    spool.put("spans", 1, b"a" * 3000)

    assert spool.put("spans", 1, b"b" * 3000)
    assert _guard.counts() == {"errors.spool": 1}


def test_a_batch_that_never_fits(folder: Path) -> None:
    """A batch that is larger than the spool drops no other."""
    spool = Spool(folder, max_bytes=2 * segments.BLOCK)
    spool.put("spans", 1, b"a")

    assert not spool.put("spans", 5, b"b" * 3 * segments.BLOCK)
    assert spool.refused == {("spans", "spool_full"): 5}
    assert payloads(spool) == [b"a"]


def test_the_last_segment_makes_way_for_itself(folder: Path) -> None:
    """Where the open segment is the only one, it is the one that goes."""
    spool = Spool(folder, max_bytes=2 * segments.BLOCK)
    for number in range(5):
        assert spool.put("spans", 1, bytes([number]) * 1500)

    assert spool.put("spans", 1, b"a" * 7000)
    assert payloads(spool) == [b"a" * 7000]
    assert sum(spool.dropped.values()) == 5


def test_what_others_are_busy_with_does_not_make_way(folder: Path) -> None:
    """What another process is sending or writing is not dropped; the new batch is refused."""
    limit = 2 * segments.BLOCK
    one, other = Spool(folder, max_bytes=limit), Spool(folder, max_bytes=limit)
    one.put("spans", 1, b"a" * 3000)
    batch = one.take()
    one.put("spans", 1, b"b" * 3000)

    assert not other.put("logs", 3, b"c")
    assert other.refused == {("logs", "spool_full"): 3}
    assert batch is not None
    one.done(batch)
    assert other.put("logs", 3, b"c")
    assert one.dropped == other.dropped == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 1), st.integers(0, 9000)),
            st.tuples(st.just("take"), st.integers(0, 1), st.just(0)),
        ),
        max_size=60,
    )
)
def test_the_books_agree(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """What was put is what came out and what was dropped, and the limit holds all the time."""
    folder = tmp_path_factory.mktemp("books")
    limit = 6 * segments.BLOCK
    spools = [Spool(folder, max_bytes=limit) for _ in range(2)]
    put: Counter[str] = Counter()
    for number, (what, who, size) in enumerate(steps):
        if what == "put" and spools[who].put("spans", number, b"x" * size):
            put["in"] += number
        elif what == "take" and (batch := spools[who].take()) is not None:
            put["out"] += batch.items
            spools[who].done(batch)
        assert sum(segments.on_disk(file.stat().st_size) for file in files(folder)) <= limit
    for spool in spools:
        put["out"] += sum(batch.items for batch in taken(spool))
    dropped = sum(sum(spool.dropped.values()) for spool in spools)

    assert put["in"] == put["out"] + dropped


def test_what_is_too_old_is_dropped(folder: Path) -> None:
    """After max_age a batch is not given out; the younger ones of its segment are."""
    time = Time()
    spool = Spool(folder, max_age=DAY, clock=time)
    spool.put("spans", 1, b"a")
    time.now += DAY / 10
    spool.put("logs", 2, b"b")
    time.now += DAY / 10
    spool.put("spans", 4, b"c")

    time.now += DAY * 0.85
    batch = spool.take()

    assert batch is not None
    assert batch.payload == b"b"
    assert spool.dropped == {("spans", "spool_age"): 1}
    spool.release(batch)
    time.now += DAY * 0.3
    assert spool.take() is None
    assert spool.dropped == {
        ("spans", "spool_age"): 5,
        ("logs", "spool_age"): 2,
    }
    assert list(folder.iterdir()) == []


def test_what_is_too_old_goes_when_something_is_put(folder: Path) -> None:
    """Nobody need take anything for what is old to go."""
    time = Time()
    spool = Spool(folder, max_age=DAY, clock=time)
    spool.put("spans", 1, b"a")
    time.now += DAY + 1
    spool.put("spans", 1, b"b")

    assert spool.dropped == {("spans", "spool_age"): 1}
    assert payloads(spool) == [b"b"]


def test_what_another_process_has_sent_is_not_dropped(folder: Path) -> None:
    """What was sent by another process since we looked is not counted as dropped."""
    time = Time()
    one, other = Spool(folder, clock=time), Spool(folder, clock=time)
    one.put("spans", 1, b"a")
    one.put("spans", 2, b"b")
    batch = one.take()
    assert batch is not None
    one.release(batch)
    batch = other.take()
    assert batch is not None
    other.done(batch)
    time.now += 2 * DAY

    assert one.take() is None
    assert one.dropped == {("spans", "spool_age"): 2}


def test_a_segment_is_not_written_for_long(folder: Path) -> None:
    """After an eighth of max_age another segment is begun, so that old and new part ways."""
    time = Time()
    spool = Spool(folder, max_age=DAY, clock=time)
    for _ in range(3):
        spool.put("spans", 1, b"a")
        time.now += DAY / 9

    assert len(files(folder)) == 2


def test_what_another_process_holds_is_not_too_old(folder: Path) -> None:
    """An old batch that another process is sending is its matter."""
    time = Time()
    one, other = Spool(folder, clock=time), Spool(folder, clock=time)
    one.put("spans", 1, b"a")
    batch = one.take()
    time.now += 2 * DAY

    assert other.take() is None
    assert other.dropped == {}
    assert batch is not None
    one.done(batch)
    assert list(folder.iterdir()) == []


# A disk that fails


@pytest.mark.parametrize("call", ["pwrite", "fsync", "open", "scandir"])
def test_a_disk_that_fails_once(
    folder: Path, spool: Spool, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that cannot be written is refused, does not come back, and the next one is kept."""
    assert spool.put("spans", 1, b"a")
    with monkeypatch.context() as patch:
        failing(patch, call, errno.ENOSPC)
        assert not spool.put("spans", 3, b"b")
        assert spool.state().problem == os.strerror(errno.ENOSPC)

    assert spool.put("spans", 1, b"c")
    assert len(files(folder)) == 2, "the file that failed is not written to again"
    assert spool.state().problem == ""
    assert spool.refused == {("spans", "spool_unwritable"): 3}
    assert _guard.counts() == {"errors.spool": 1}
    assert payloads(spool) == [b"a", b"c"]


def test_a_disk_that_fails_for_the_first_batch(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a new segment cannot be made safe nothing of it is left."""
    for call, times in (("pwrite", 1), ("fsync", 1)):
        with monkeypatch.context() as patch:
            failing(patch, call, errno.EIO, times)
            assert not spool.put("spans", 1, b"b")

    assert list(folder.iterdir()) == []


def test_a_disk_that_fails_for_good(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be undone either, what was acknowledged is still there afterwards."""
    spool.put("spans", 1, b"a")
    with monkeypatch.context() as patch:
        for call in ("pwrite", "fsync", "ftruncate", "unlink"):
            failing(patch, call, errno.EIO, 100)
        assert not spool.put("spans", 1, b"b")
        assert spool.take() is None
        assert not spool.put("spans", 1, b"c")

    assert payloads(spool) == [b"a"]


def test_a_failing_disk_is_named_once(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says once what is wrong with which folder, and report() how often."""
    with monkeypatch.context() as patch:
        failing(patch, "pwrite", errno.ENOSPC, 3)
        for _ in range(3):
            spool.put("spans", 1, b"a")

    (said,) = caplog.messages
    assert str(folder) in said
    assert os.strerror(errno.ENOSPC) in said
    assert _guard.counts() == {"errors.spool": 3}


def test_a_folder_cannot_be_synced_everywhere(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that cannot sync folders, and says so, is good enough."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    assert spool.put("spans", 1, b"a")


def test_a_send_that_cannot_be_noted_is_not_begun(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk does not take the note that a send begins, nothing is given out."""
    spool.put("spans", 1, b"a")
    for call in ("pwrite", "fsync", "pread"):
        with monkeypatch.context() as patch:
            failing(patch, call, errno.EROFS)
            assert spool.take() is None

    assert payloads(spool) == [b"a"]


def test_a_receipt_that_cannot_be_noted(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was received does not come again in this process, though the disk did not take it."""
    spool.put("spans", 1, b"a")
    spool.put("spans", 1, b"b")
    batch = spool.take()
    assert batch is not None
    with monkeypatch.context() as patch:
        failing(patch, "pwrite", errno.EIO, 3)
        spool.done(batch)
        assert spool.take() is None
        assert spool.take() is None

    assert payloads(spool) == [b"b"]
    assert list(folder.iterdir()) == []


def test_a_receipt_that_is_noted_late(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was received does not come again either after the process has sent something else."""
    other = Spool(folder)
    other.put("spans", 1, b"other")
    held = other.take()
    spool.put("spans", 1, b"a")
    spool.put("spans", 1, b"b")
    batch = spool.take()
    assert held is not None
    assert batch is not None
    with monkeypatch.context() as patch:
        failing(patch, "pwrite", errno.EIO)
        spool.done(batch)
    other.release(held)

    assert payloads(spool) == [b"other", b"b"]


def test_a_receipt_that_others_note(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be noted is forgotten when the segment is gone: another process was there."""
    spool.put("spans", 1, b"a")
    batch = spool.take()
    assert batch is not None
    with monkeypatch.context() as patch:
        failing(patch, "pwrite", errno.EIO)
        spool.done(batch)
    (again,) = taken(Spool(folder))

    assert again.maybe_sent
    assert spool.take() is None
    assert spool._shelf._unrecorded == {}


def test_a_return_that_cannot_be_noted(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk does not take that a batch was not sent, it comes as a possible duplicate."""
    spool.put("spans", 1, b"a")
    batch = spool.take()
    assert batch is not None
    with monkeypatch.context() as patch:
        failing(patch, "pwrite", errno.EIO)
        spool.release(batch)

    assert [each.maybe_sent for each in taken(spool)] == [True]


def test_old_segments_that_cannot_be_dropped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the oldest segment cannot be removed, another one makes way."""
    spool = Spool(folder, max_bytes=2 * segments.BLOCK)
    spool.put("spans", 1, b"a" * 3000)
    spool.put("spans", 2, b"b" * 3000)
    with monkeypatch.context() as patch:
        failing(patch, "unlink", errno.EPERM)
        assert spool.put("spans", 1, b"c" * 3000)

    assert spool.dropped == {("spans", "spool_full"): 2}
    assert payloads(spool) == [b"a" * 3000, b"c" * 3000]


def test_a_descriptor_that_complains_when_closed(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of close, by which the descriptor is closed all the same, is nobody's matter."""
    real = os.close

    def close(descriptor: int) -> None:
        real(descriptor)
        raise OSError(errno.EIO, "late")

    spool.put("spans", 1, b"a")
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        spool.close()

    assert payloads(spool) == [b"a"]


def test_no_folder(tmp_path: Path) -> None:
    """Where no folder can be made nothing is kept, and nothing raised; it is tried again."""
    place = tmp_path / "place"
    place.write_text("a file")
    spool = Spool(place / "spool")

    assert not spool.put("spans", 2, b"a")
    assert spool.take() is None
    assert not spool.state().is_writable
    assert spool.state().problem == os.strerror(errno.ENOTDIR)
    assert spool.refused == {("spans", "spool_unwritable"): 2}
    place.unlink()
    assert spool.put("spans", 2, b"a")
    assert payloads(spool) == [b"a"]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount something, if this user may."""
    done = []

    def mount(*options: str) -> Path:
        place = tmp_path / "mounted"
        place.mkdir(exist_ok=True)
        command = ["mount", *options, str(place)]
        try:
            tried = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("this system has no mount")
        if tried.returncode:
            pytest.skip(f"this user may not mount: {tried.stderr.strip()}")
        done.append(place)
        return place

    yield mount
    for place in done:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(mount: Callable[..., Path]) -> None:
    """On a full disk what is there can be sent, and then there is room for more."""
    disk = mount("-t", "tmpfs", "-o", "size=256k", "tmpfs")
    spool = Spool(disk / "spool")
    put = []
    while spool.put("spans", 1, payload := os.urandom(9000)):
        put.append(payload)

    assert len(put) > 10
    assert spool.refused == {("spans", "spool_unwritable"): 1}
    assert spool.state().problem == os.strerror(errno.ENOSPC)
    assert payloads(spool) == put
    assert spool.put("spans", 1, b"a")
    assert payloads(spool) == [b"a"]


def test_a_read_only_disk(tmp_path: Path, mount: Callable[..., Path]) -> None:
    """On a read-only disk nothing is kept and nothing sent, and all of it when that is over."""
    disk = mount("-t", "tmpfs", "tmpfs")
    spool = Spool(disk / "spool")
    spool.put("spans", 1, b"a")
    spool.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

    assert spool.take() is None
    assert not spool.put("spans", 3, b"b")
    state = spool.state()
    assert (state.is_writable, state.items) == (False, {"spans": 1})
    assert state.problem == os.strerror(errno.EROFS)
    assert spool.refused == {("spans", "spool_unwritable"): 3}
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert spool.put("spans", 1, b"c")
    assert payloads(spool) == [b"a", b"c"]


# What lies there


def test_state(folder: Path, small: None) -> None:
    """The state tells what waits, of both signals, all segments and all processes."""
    time = Time()
    one, other = Spool(folder, clock=time), Spool(folder, clock=time)
    empty = one.state()
    one.put("spans", 3, b"a" * 3000)
    one.put("spans", 4, b"b" * 3000)
    time.now += 10
    other.put("logs", 5, b"c")
    time.now += 10

    assert (empty.items, empty.segments, empty.oldest, empty.bytes) == ({}, 0, None, 0)
    for state in (one.state(), other.state(), other.state()):
        assert state.items == {"spans": 7, "logs": 5}
        assert (state.segments, state.bytes) == (3, 3 * segments.BLOCK)
        assert (state.oldest, state.is_writable) == (20.0, True)
        assert (state.strangers, state.problem) == (0, "")


def test_state_follows(folder: Path) -> None:
    """The state counts what waits: not what was received, but what is out."""
    spool = Spool(folder)
    spool.put("spans", 3, b"a")
    spool.put("spans", 4, b"b")
    first = spool.take()

    assert spool.state().items == {"spans": 7}
    assert first is not None
    spool.done(first)
    assert spool.state().items == {"spans": 4}
    taken(spool)
    assert spool.state().items == {}


def test_state_reads_again_only_what_has_changed(
    folder: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that has not changed for some seconds is looked into once."""
    spool = Spool(folder, clock=Time())
    spool.put("spans", 3, b"a" * 3000)
    spool.put("spans", 4, b"b" * 3000)
    for file in files(folder):
        os.utime(file, (1, 1))
    first = spool.state()
    failing(monkeypatch, "pread", errno.EIO, 100)

    assert spool.state() == first
    assert first.items == {"spans": 7}


def test_state_does_not_trust_the_times_of_files(folder: Path) -> None:
    """A change is seen even if it comes in the same tick of the file system's clock."""
    spool = Spool(folder)
    spool.put("spans", 3, b"a")
    spool.put("spans", 4, b"b")
    batch = spool.take()
    (file,) = files(folder)
    changed = file.stat().st_mtime_ns
    before = spool.state()
    assert batch is not None
    spool.done(batch)
    os.utime(file, ns=(changed, changed))

    assert (before.items, spool.state().items) == ({"spans": 7}, {"spans": 4})


def test_empty_or_not(folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether something lies there is told without reading it; of a folder that is gone, too."""
    assert spool.is_empty()
    spool.put("spans", 3, b"a")
    failing(monkeypatch, "pread", errno.EIO)
    assert not spool.is_empty()
    shutil.rmtree(folder)

    assert spool.is_empty()
    assert _guard.counts() == {}


def test_state_of_what_cannot_be_read(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folder cannot be read the state says why."""
    spool.put("spans", 3, b"a")
    failing(monkeypatch, "pread", errno.EIO)

    assert spool.state().problem == os.strerror(errno.EIO)


def test_an_error_without_a_text(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that has no text of the system's is named by its class."""

    def scandir(path: Any) -> Any:
        raise OSError

    monkeypatch.setattr(os, "scandir", scandir)

    assert spool.state().problem == "OSError"


# Processes


def program(tmp_path: Path, body: str) -> list[str]:
    """The command of a program that has a spool in the folder that it is given."""
    script = tmp_path / "program.py"
    start = """
    import os, signal, sys, time
    from pathlib import Path
    from cxtrace.spool import Spool
    folder = Path(sys.argv[1])
    """
    script.write_text(dedent(start) + dedent(body), encoding="utf-8")
    return [sys.executable, "-W", "error", str(script)]


def test_kill(folder: Path, tmp_path: Path) -> None:
    """A process that is killed in the midst of its work loses nothing that was acknowledged."""
    command = program(
        tmp_path,
        """
        spool = Spool(folder)
        for number in range(1_000_000):
            payload = f"{number}:".encode() + os.urandom(20_000)
            assert spool.put("spans", 1, payload)
            print(number, flush=True)
        """,
    )
    acknowledged: list[int] = []
    for lines in (1, 7, 60):
        for file in folder.glob("*"):
            file.unlink()
        with subprocess.Popen([*command, str(folder)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(lines):
                child.stdout.readline()
            child.kill()
            acknowledged = list(range(lines + len(child.stdout.read().split())))
        spool = Spool(folder)
        found = [int(payload.partition(b":")[0]) for payload in payloads(spool)]

        assert found[: len(acknowledged)] == acknowledged
        assert len(found) <= len(acknowledged) + 1


def test_kill_while_sending(folder: Path, tmp_path: Path) -> None:
    """Of what a process sent that was killed, only the batch under way comes again, and says so."""
    spool = Spool(folder)
    for number in range(300):
        spool.put("spans", 1, str(number).encode())
    spool.close()
    command = program(
        tmp_path,
        """
        spool = Spool(folder)
        while batch := spool.take():
            print(batch.payload.decode(), flush=True)
            spool.done(batch)
        """,
    )
    with subprocess.Popen([*command, str(folder)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        sent = [int(child.stdout.readline()) for _ in range(20)]
        child.kill()
        sent += [int(line) for line in child.stdout.read().split()]
    left = taken(Spool(folder))
    twice = [batch for batch in left if int(batch.payload) in sent]

    assert sorted({*sent, *(int(batch.payload) for batch in left)}) == list(range(300))
    assert [batch.payload for batch in twice] in ([], [str(sent[-1]).encode()])
    assert all(batch.maybe_sent for batch in twice)
    assert sum(batch.maybe_sent for batch in left) <= 1


def test_processes_share(folder: Path, tmp_path: Path) -> None:
    """Four processes that put and take at the same time send every batch once."""
    command = program(
        tmp_path,
        """
        spool = Spool(folder, max_bytes=2**30)
        for number in range(60):
            assert spool.put("spans", 1, f"{sys.argv[2]}-{number}".encode() * 99)
            if number % 10 == 9:
                spool.close()
            for _ in range(number % 3):
                batch = spool.take()
                if batch and number % 5:
                    print(batch.payload.decode()[:len(batch.payload) // 99])
                    spool.done(batch)
                elif batch:
                    spool.release(batch)
        """,
    )
    children = [
        subprocess.Popen([*command, str(folder), name], stdout=subprocess.PIPE, text=True)
        for name in "abcd"
    ]
    sent = [line for child in children for line in child.communicate()[0].split()]
    left = [batch.payload[: len(batch.payload) // 99].decode() for batch in taken(Spool(folder))]

    assert [child.returncode for child in children] == [0] * 4
    assert sorted(sent + left) == sorted(f"{name}-{n}" for name in "abcd" for n in range(60))
    assert sent


def test_a_file_may_not_grow(folder: Path, tmp_path: Path) -> None:
    """Where the system lets no file grow further, the service goes on and batches are refused."""
    command = program(
        tmp_path,
        """
        import resource
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        spool = Spool(folder)
        kept = [number for number in range(8) if spool.put("spans", 1, bytes([number]) * 15_000)]
        assert not spool.put("spans", 1, bytes(60_000))
        assert spool.refused[("spans", "spool_unwritable")] == 9 - len(kept)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        print(*kept)
        """,
    )
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    kept = [int(word) for word in done.stdout.split()]
    assert 3 <= len(kept) < 8
    assert payloads(Spool(folder)) == [bytes([number]) * 15_000 for number in kept]


FORK = """
if sys.argv[2] == "does not list descriptors":
    from cxtrace._spool import segments
    segments.DESCRIPTORS = Path("/nowhere")
spool = Spool(folder)
spool.put("spans", 1, b"out")
batch = spool.take()

def in_child(work):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        spool.after_fork()
        work()
        sys.stdout.flush()
        os._exit(0)
    return pid
"""


in_both_ways = pytest.mark.parametrize("lists", ["lists descriptors", "does not list descriptors"])


@in_both_ways
def test_fork(folder: Path, tmp_path: Path, lists: str) -> None:
    """A forked child writes a segment of its own and cannot take what its parent holds."""
    command = program(
        tmp_path,
        FORK
        + """
spool.put("spans", 1, b"parent")

def work():
    assert spool.take() is None
    assert spool.put("spans", 1, b"child")
    assert spool.dropped == spool.refused == {}
    found = spool.take()
    assert (found.payload, found.is_own) == (b"child", True)
    spool.release(found)

assert os.waitpid(in_child(work), 0)[1] == 0
spool.put("spans", 1, b"parent too")
assert len(list(folder.iterdir())) == 3
spool.done(batch)
while found := spool.take():
    print(found.payload.decode(), found.is_own)
    spool.done(found)
""",
    )
    done = subprocess.run(
        [*command, str(folder), lists], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["parent True", "parent too True", "child False"]


@in_both_ways
def test_a_child_keeps_nothing_from_others(folder: Path, tmp_path: Path, lists: str) -> None:
    """When the parent is killed, what it held can be taken though its child lives on."""
    command = program(
        tmp_path,
        FORK
        + """
spool.put("spans", 1, b"open")
if sys.argv[2] == "lists descriptors":
    spool._shelf.own = None  # as if the fork had come before this was noted

def work():
    print("ready", flush=True)
    time.sleep(60)

in_child(work)
time.sleep(60)
""",
    )
    with subprocess.Popen(
        [*command, str(folder), lists], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        other = Spool(folder)
        before = other.take()
        parent.kill()
        parent.wait()
        found = taken(other)
        os.killpg(parent.pid, signal.SIGKILL)

    assert before is None
    assert [(batch.payload, batch.maybe_sent) for batch in found] == [
        (b"out", True),
        (b"open", False),
    ]


@pytest.mark.parametrize("listed", [segments.DESCRIPTORS, Path("/nowhere")])
def test_what_a_child_closes(folder: Path, listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child closes the segments that its parent writes and sends, and counts from zero."""
    monkeypatch.setattr(segments, "DESCRIPTORS", listed)
    spool, other = Spool(folder, max_bytes=4 * segments.BLOCK), Spool(folder)
    spool.put("spans", 1, b"a")
    spool.put("spans", 1, b"b" * 5 * segments.BLOCK)
    spool.take()
    spool.put("spans", 1, b"c")
    assert other.take() is None
    spool.after_fork()
    spool.after_fork()

    assert spool.refused == {}
    assert payloads(other) == [b"a", b"c"]


def test_a_lock_that_a_thread_of_the_parent_held(spool: Spool) -> None:
    """A child does not wait for a thread that it does not have."""
    spool._lock.acquire()
    spool.after_fork()

    assert spool.put("spans", 1, b"a")


def test_a_child_that_nobody_told(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spool that finds itself in another process than before begins anew by itself."""
    spool.put("spans", 1, b"a")
    batch = spool.take()
    monkeypatch.setattr(os, "getpid", lambda: 1)

    assert batch is not None
    spool.done(batch)
    assert [(each.payload, each.is_own) for each in taken(spool)] == [(b"a", False)]


def test_a_descriptor_that_now_stands_for_another_file(
    folder: Path, spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child closes only what is a segment: the number may have been given to another file."""
    monkeypatch.setattr(segments, "DESCRIPTORS", Path("/nowhere"))
    spool.put("spans", 1, b"a")
    spool.take()
    spool.put("spans", 1, b"b")
    assert spool._out is not None
    assert spool._shelf.own is not None
    number, removed = spool._out.segment.descriptor, spool._shelf.own.descriptor
    files(folder)[1].unlink()
    with (tmp_path / "another").open("w") as file:
        os.dup2(file.fileno(), number)
    spool.after_fork()

    os.write(number, b"still open")
    os.close(number)
    os.close(removed)
    assert (tmp_path / "another").read_text() == "still open"
