"""The spool on a disk that crashes, fails and loses power at every boundary of a write.

The processes are simulated: each has a spool of its own over one folder of real files with real
locks, and a layer between the spool and the system that stops it before, in the middle of or after
any call that changes the disk. The layer also remembers what was synced, so that a power cut can
take the rest away.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import Factory, define
from hypothesis import currently_in_test_context, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

pytest.importorskip("fcntl", reason="this system has no flock")

from cxtrace import _guard
from cxtrace._spool import segments, shelf
from cxtrace.spool import Spool, Spooled

ERRORS = {"pwrite": errno.ENOSPC, "fsync": errno.EIO, "open": errno.EDQUOT, "unlink": errno.EROFS}


class Crashed(BaseException):
    """The process is no more."""


@define(eq=False)
class File:
    """What a disk knows of a file: what is safe, and what a power cut may take."""

    safe: bytes = b""
    pending: list[tuple[int, bytes | None]] = Factory(list)


@define
class Process:
    """A process that has a spool."""

    spool: Any = None
    is_alive: bool = True
    descriptors: set[int] = Factory(set)
    out: Spooled | None = None
    received: set[bytes] = Factory(set)


@define
class Fault:
    """What happens at the next boundaries of a process: a crash, or a few errors."""

    calls: int
    kind: str
    part: float
    errors: int


class System:
    """What the spool takes for ``os``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = Process()
        self.fault: Fault | None = None
        self.hits = 0
        self.files: dict[str, File] = {}
        self.safe_files: dict[str, File] = {}
        self.opened: dict[int, File | None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        is_new = bool(flags & os.O_CREAT)
        file, descriptor = self.files.get(path), -1

        def work() -> None:
            nonlocal descriptor, file
            descriptor = os.open(path, flags, mode, dir_fd=dir_fd)
            self.now.descriptors.add(descriptor)
            if is_new:
                file = self.files[path] = File()
            self.opened[descriptor] = file

        if is_new:
            self._boundary("open", work)
        else:
            self._check_alive()
            work()
        return descriptor

    def close(self, descriptor: int) -> None:
        self.now.descriptors.discard(descriptor)
        self.opened.pop(descriptor, None)
        os.close(descriptor)

    def pwrite(self, descriptor: int, data: bytes, start: int) -> int:
        def write(part: float) -> None:
            left = bytes(data)[: int(len(data) * part)]
            os.pwrite(descriptor, left, start)
            self._file(descriptor).pending.append((start, left))

        self._boundary("pwrite", lambda: write(1.0), write)
        return len(data)

    def ftruncate(self, descriptor: int, length: int) -> None:
        def work() -> None:
            os.ftruncate(descriptor, length)
            self._file(descriptor).pending.append((length, None))

        self._boundary("ftruncate", work)

    def fsync(self, descriptor: int) -> None:
        def work() -> None:
            file = self.opened[descriptor]
            if file is None:
                self.safe_files = dict(self.files)
            else:
                file.safe = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
                file.pending.clear()

        self._boundary("fsync", work)

    def unlink(self, name: str, *, dir_fd: int) -> None:
        def work() -> None:
            os.unlink(name, dir_fd=dir_fd)
            del self.files[name]

        self._boundary("unlink", work)

    def kill(self) -> None:
        """End the process that runs now, as the kernel does."""
        self.now.is_alive = False
        for descriptor in list(self.now.descriptors):
            self.close(descriptor)

    def cut_power(self, dice: "Dice") -> None:
        """Leave of the folder what was synced, and of the rest what the dice leave."""
        kept: dict[str, bytes] = {}
        for name in sorted({*self.files, *self.safe_files}):
            is_settled = name in self.files and name in self.safe_files
            if not is_settled and not dice.is_there(name):
                continue
            file = self.files.get(name) or self.safe_files[name]
            content = bytearray(file.safe)
            for start, data in file.pending:
                _replay(content, start, data, *dice.part())
            kept[name] = bytes(content)
        shutil.rmtree(self.folder)
        self.folder.mkdir(0o700)
        for name, left in kept.items():
            (self.folder / name).write_bytes(left)
        self.files = {name: File(left) for name, left in kept.items()}
        self.safe_files = dict(self.files)

    def _file(self, descriptor: int) -> File:
        file = self.opened[descriptor]
        assert file is not None
        return file

    def _check_alive(self) -> None:
        if not self.now.is_alive:
            raise Crashed

    def _boundary(self, call: str, work: Any, write: Any = None) -> None:
        self._check_alive()
        fault = self.fault
        if fault is not None:
            fault.calls -= 1
        if fault is None or fault.calls > 0:
            work()
            return
        self.hits += 1
        if currently_in_test_context():
            note(f"{fault.kind} at {call}")
        if fault.kind == "after":
            work()
        elif fault.kind in ("torn", "error") and write is not None:
            write(fault.part)
        if fault.kind != "error":
            self.now.is_alive = False
            raise Crashed
        fault.errors -= 1
        if not fault.errors:
            self.fault = None
        raise OSError(ERRORS.get(call, errno.EIO), "injected")


def _replay(
    content: bytearray, start: int, data: bytes | None, part: float, with_zeros: bool
) -> None:
    """Do again a part of a write or, where there is no data, a whole truncation."""
    if data is None:
        if part == 1.0:
            del content[start:]
        return
    left = data[: int(len(data) * part)]
    if with_zeros:  # the length of a file may be safe before what is in it
        content.extend(bytes(max(start + len(data) - len(content), 0)))
    if left:
        content.extend(bytes(max(start - len(content), 0)))
        content[start : start + len(left)] = left


@define
class Dice:
    """What a power cut leaves: of names, whether they are as they were last; of writes, a part."""

    is_there: Callable[[str], bool]
    part: Callable[[], tuple[float, bool]]


KEEPS_NOTHING = Dice(lambda name: False, lambda: (0.0, False))
KEEPS_LENGTHS = Dice(lambda name: True, lambda: (0.7, True))
KEEPS_ALL = Dice(lambda name: True, lambda: (1.0, False))


def dice_of(draw: Any) -> Dice:
    """Dice that are thrown by Hypothesis."""
    parts = st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
    return Dice(lambda name: draw(st.booleans(), name), lambda: draw(parts, "part of a write"))


faults = st.none() | st.builds(
    Fault,
    calls=st.integers(1, 9),
    kind=st.sampled_from(["before", "torn", "after", "error"]),
    part=st.floats(0.0, 1.0),
    errors=st.integers(1, 4),
)
"""Half of the time nothing happens."""


@define
class Batch:
    """What the world knows of a batch.

    Attributes:
        must: Whether it was acknowledged, and nobody said that it was received.
        may: Whether it may come out at all.
        mark: What ``maybe_sent`` must be; None where both are right.
    """

    signal: str
    items: int
    must: bool = False
    may: bool = True
    mark: bool | None = False
    out: bool = False


class World:
    """Two processes over a folder, each of which may be stopped anywhere and begins again.

    What it does with the spool it also notes, and complains about what should not be.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp()) / "spool"
        self.folder.mkdir(0o700)
        self.patch = pytest.MonkeyPatch()
        self.system = System(self.folder)
        self.patch.setattr(segments, "os", self.system)
        self.patch.setattr(shelf, "_SEGMENT", segments.BLOCK)
        self.batches: dict[bytes, Batch] = {}
        self.seconds = 1e9
        self.marks_to_come = 0
        self.had_trouble = False
        self.processes = [self._born(), self._born()]

    def _born(self) -> Process:
        process = self.system.now = Process()
        process.spool = Spool(self.folder, max_bytes=2**30, clock=self._clock)
        return process

    def _clock(self) -> float:
        self.seconds += 0.001
        return self.seconds

    def _run(self, number: int, fault: Fault | None, work: Any) -> Any:
        """What the work gives in one of the processes; ``Crashed`` if it was stopped."""
        self.system.now = self.processes[number]
        self.system.fault = fault
        self.system.hits = 0
        try:
            return work(self.processes[number].spool)
        except Crashed:
            self.kill(number)
            return Crashed
        finally:
            self.had_trouble |= bool(self.system.hits)
            self.system.fault = None

    def put(self, number: int, fault: Fault | None, signal: str, items: int, size: int) -> None:
        """Put a batch; it is acknowledged unless something is wrong."""
        payload = f"{len(self.batches)}:".encode() + os.urandom(8) * size
        batch = self.batches[payload] = Batch(signal, items)
        is_kept = self._run(number, fault, lambda spool: spool.put(signal, items, payload))
        if is_kept is True:
            batch.must = True
        else:
            assert self.system.hits, "not kept, and nothing was wrong"

    def take(self, number: int, fault: Fault | None = None) -> None:
        """Take a batch, if there is one for this process."""
        process = self.processes[number]
        had = process.out
        found = self._run(number, fault, lambda spool: spool.take())
        self.marks_to_come += self.system.hits
        if found is Crashed:
            return
        if had is not None:
            assert found is None
            return
        if found is None:
            waiting = [each for each in self.batches.values() if each.must and not each.out]
            assert self.system.hits or not waiting or self._other_holds(number)
            return
        self._check(found, process)
        process.out = found
        self.batches[found.payload].out = True

    def _other_holds(self, number: int) -> bool:
        other = self.processes[1 - number]
        return other.out is not None or other.spool._shelf.own is not None

    def _check(self, found: Spooled, process: Process) -> None:
        assert found.payload in self.batches, "what was never put, or is torn"
        batch = self.batches[found.payload]
        assert (found.signal, found.items) == (batch.signal, batch.items)
        assert not batch.out, "another process is sending it"
        assert batch.may, "it was received"
        assert found.payload not in process.received, "this very process had it received"
        if batch.mark is not None and found.maybe_sent is not batch.mark:
            assert found.maybe_sent, "this may be a duplicate and does not say so"
            assert self.marks_to_come, "nobody began to send this"
            self.marks_to_come -= 1
        batch.mark = None

    def done(self, number: int, fault: Fault | None = None) -> None:
        """Have a batch received: from now on it may come again only if that was disturbed."""
        process = self.processes[number]
        if process.out is None:
            return
        found, batch = process.out, self.batches[process.out.payload]
        result = self._run(number, fault, lambda spool: spool.done(found))
        process.received.add(found.payload)
        process.out, batch.out, batch.must, batch.mark = None, False, False, True
        batch.may = result is Crashed or bool(self.system.hits)

    def release(self, number: int, fault: Fault | None = None, maybe_sent: bool = False) -> None:
        """Give a batch back."""
        process = self.processes[number]
        if process.out is None:
            return
        found, batch = process.out, self.batches[process.out.payload]
        result = self._run(number, fault, lambda spool: spool.release(found, maybe_sent=maybe_sent))
        process.out, batch.out = None, False
        batch.mark = maybe_sent or found.maybe_sent
        if result is Crashed or self.system.hits:
            batch.mark = batch.mark or None

    def close(self, number: int) -> None:
        """Close a spool; what was out may have been sent."""
        process = self.processes[number]
        self._run(number, None, lambda spool: spool.close())
        self._forget_what_is_out(process)

    def kill(self, number: int) -> None:
        """End a process at once, and begin another in its place."""
        process = self.system.now = self.processes[number]
        self.system.kill()
        self._forget_what_is_out(process)
        self.processes[number] = self._born()

    def cut_power(self, dice: Dice) -> None:
        """End both processes, and lose what was not synced."""
        for process in self.processes:
            self.system.now = process
            self.system.kill()
            self._forget_what_is_out(process)
        self.had_trouble = True
        for batch in self.batches.values():
            batch.mark = batch.mark or None  # that it was given back need not be safe
        self.system.cut_power(dice)
        self.processes = [self._born(), self._born()]

    def _forget_what_is_out(self, process: Process) -> None:
        if process.out is not None:
            batch = self.batches[process.out.payload]
            process.out, batch.out, batch.mark = None, False, True

    def drain(self) -> None:
        """Find, in a last process, all that was acknowledged and not received, and no more."""
        self.kill(0)
        self.kill(1)
        last = self._born()
        while found := last.spool.take():
            self._check(found, last)
            last.spool.done(found)
            batch = self.batches[found.payload]
            batch.may = batch.must = False

        assert [batch for batch in self.batches.values() if batch.must] == []
        assert list(self.folder.iterdir()) == []
        assert last.descriptors == set()
        if not self.had_trouble:
            assert last.spool.dropped == {}
            assert last.spool.unreadable == {"records": 0, "bytes": 0}

    def end(self) -> None:
        """Put everything back."""
        for process in self.processes:
            self.system.now = process
            self.system.kill()
        self.patch.undo()
        shutil.rmtree(self.folder.parent)
        _guard.reset()


SCRIPT: tuple[Callable[[World, Fault | None], None], ...] = (
    lambda world, fault: world.put(0, fault, "spans", 3, 40),
    lambda world, fault: world.put(0, fault, "logs", 1, 0),
    lambda world, fault: world.put(0, fault, "spans", 7, 40),
    lambda world, fault: world.take(0, fault),
    lambda world, fault: world.done(0, fault),
    lambda world, fault: world.take(1, fault),
    lambda world, fault: world.release(1, fault),
    lambda world, fault: world.put(1, fault, "spans", 9, 600),
    lambda world, fault: world.put(1, fault, "logs", 2, 5),
    lambda world, fault: world.take(0, fault),
    lambda world, fault: world.release(0, fault, maybe_sent=True),
    lambda world, fault: world.take(0, fault),
    lambda world, fault: world.done(0, fault),
    lambda world, fault: world.take(0, fault),
    lambda world, fault: world.done(0, fault),
    lambda world, fault: world.take(1, fault),
    lambda world, fault: world.done(1, fault),
)
"""Segments that are begun, added to, left for being full, sent, given back and removed."""

AFTERWARDS: dict[str, tuple[Callable[[World], None], ...]] = {
    "nothing": (),
    "power cut": (lambda world: world.cut_power(KEEPS_NOTHING),),
    "lengths kept": (lambda world: world.cut_power(KEEPS_LENGTHS),),
    "all kept": (lambda world: world.cut_power(KEEPS_ALL),),
    "send, then power cut": (
        lambda world: world.take(0),
        lambda world: world.take(1),
        lambda world: world.cut_power(KEEPS_NOTHING),
    ),
    "receive, then power cut": (
        lambda world: world.take(1),
        lambda world: world.done(1),
        lambda world: world.cut_power(KEEPS_NOTHING),
    ),
}


def played(step: int, fault: Fault, afterwards: str) -> bool:
    """Play the script with a fault in one of its steps; whether that had so many boundaries."""
    world = World()
    try:
        for number, act in enumerate(SCRIPT):
            act(world, fault if number == step else None)
            if number == step:
                if not world.system.hits:
                    return False
                for after in AFTERWARDS[afterwards]:
                    after(world)
        world.drain()
    finally:
        world.end()
    return True


@pytest.mark.parametrize("afterwards", AFTERWARDS)
@pytest.mark.parametrize("kind", ["before", "torn", "after", "error", "errors"])
def test_every_boundary(kind: str, afterwards: str) -> None:
    """Whichever call is the last before the crash or fails, no batch is lost or sent unmarked."""
    tried = 0
    for step in range(len(SCRIPT)):
        calls = 1
        errors = 3 if kind == "errors" else 1
        while played(step, Fault(calls, kind.removesuffix("s"), 0.5, errors), afterwards):
            calls += 1
        tried += calls - 1

    assert tried > 2 * len(SCRIPT)


class Crashing(RuleBasedStateMachine):
    """The same world, in which anything happens in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(
        number=st.integers(0, 1),
        fault=faults,
        signal=st.sampled_from(["spans", "logs"]),
        items=st.integers(1, 512),
        size=st.sampled_from([0, 1, 40, 300, 1_000]),
    )
    def put(self, number: int, fault: Fault | None, signal: str, items: int, size: int) -> None:
        self.world.put(number, fault, signal, items, size)

    @rule(number=st.integers(0, 1), fault=faults)
    def take(self, number: int, fault: Fault | None) -> None:
        self.world.take(number, fault)

    @precondition(lambda self: any(process.out for process in self.world.processes))
    @rule(number=st.integers(0, 1), fault=faults)
    def done(self, number: int, fault: Fault | None) -> None:
        self.world.done(number, fault)

    @precondition(lambda self: any(process.out for process in self.world.processes))
    @rule(number=st.integers(0, 1), fault=faults, maybe_sent=st.booleans())
    def release(self, number: int, fault: Fault | None, maybe_sent: bool) -> None:
        self.world.release(number, fault, maybe_sent)

    @rule(number=st.integers(0, 1))
    def kill(self, number: int) -> None:
        self.world.kill(number)

    @rule(number=st.integers(0, 1))
    def close(self, number: int) -> None:
        self.world.close(number)

    @rule(data=st.data())
    def cut_power(self, data: Any) -> None:
        self.world.cut_power(dice_of(data.draw))

    def teardown(self) -> None:
        try:
            self.world.drain()
        finally:
            self.world.end()


TestCrashing = Crashing.TestCase
TestCrashing.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
