"""The files of the spool: made, locked, read, marked and removed.

Each open segment is held by an exclusive ``flock``, which the kernel gives back when its holder is
killed. It belongs to the open file and not to the process: a forked child that closes its copy
takes nothing from its parent.
"""

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from attrs import define, frozen

from cxtrace._spool import format as spool_format
from cxtrace._spool.format import Damage, Record

BLOCK: Final = 4096
"""What is a whole number of these takes no more than it says on most file systems."""

DESCRIPTORS = Path("/proc/self/fd")
"""Where Linux lists what a process has open."""

_NAME: Final = re.compile(r"(\d{20})-\d+-([0-9a-f]{16})\.seg")
_ATTEMPTS: Final = 8


def on_disk(size: int) -> int:
    """What a file of that many bytes takes."""
    return -(-size // BLOCK) * BLOCK


def segment_name(born_ns: int, identity: str) -> str:
    """The name of a new segment, of which nobody can foresee the last half.

    Args:
        born_ns: Nanoseconds since 1970; segments are sent in this order.
        identity: Eight hexadecimal digits, those of whoever writes it.
    """
    return f"{born_ns:020}-{os.getpid()}-{identity}{os.urandom(4).hex()}.seg"


def is_written_by(identity: str, name: str) -> bool:
    """Whether a segment has the name that this writer gives."""
    return _split(name)[1].startswith(identity)


def marker_of(name: str) -> bytes:
    """What the records of a segment begin with."""
    return bytes.fromhex(_split(name)[1])


@frozen
class Found:
    """A segment of ours, as it lies in the folder.

    Attributes:
        name: Of the file.
        size: In bytes.
        changed_ns: When it was last written to, in nanoseconds since 1970.
    """

    name: str
    size: int
    changed_ns: int

    @property
    def born_ns(self) -> int:
        """When it was begun."""
        return int(_split(self.name)[0])


class Folder:
    """The folder of a spool. Every method but ``inherited`` may raise ``OSError``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._real = path

    def make(self) -> None:
        """Make the folder, for its owner alone, so that it is there after a power cut."""
        missing = [self.path, *self.path.parents]
        while missing and missing[-1].is_dir():
            missing.pop()
        for each in reversed(missing):
            with suppress(FileExistsError):
                each.mkdir(0o700)
            _sync(each.parent)
        self._real = self.path.resolve()

    def scan(self) -> tuple[list[Found], int]:
        """The segments, oldest first, and how many there are that are not ours to touch."""
        found, strangers = [], 0
        with self._opened() as folder, os.scandir(folder) as entries:
            for entry in entries:
                if not _NAME.fullmatch(entry.name):
                    continue
                with suppress(FileNotFoundError):  # another process has just removed it
                    now = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                    if _is_ours(now):
                        found.append(Found(entry.name, now.st_size, now.st_mtime_ns))
                    else:
                        strangers += 1
        return sorted(found, key=lambda each: each.name), strangers

    def create(self, name_of: Callable[[], str]) -> "Writer":
        """Make a segment and hold it."""
        with self._opened() as folder:
            for _ in range(_ATTEMPTS):  # one that is not yet held may be taken for a leftover
                name = name_of()
                try:
                    descriptor = _hold(name, os.O_CREAT | os.O_EXCL, folder)
                except OSError:  # as where the file system has no locks: leave no empty files
                    with suppress(OSError):
                        os.unlink(name, dir_fd=folder)
                    raise
                if descriptor is not None:
                    return Writer(self, name, descriptor)
        raise OSError(errno.EAGAIN, "new files are taken away at once")

    def claim(self, name: str) -> int | None:
        """Hold a segment; None where another process holds it or it is gone."""
        with self._opened() as folder, suppress(FileNotFoundError):
            return _hold(name, 0, folder)
        return None

    def look(self, name: str) -> list[Record]:
        """The records of a segment that whoever writes or sends it may change meanwhile."""
        with self._opened() as folder:
            descriptor = os.open(name, os.O_RDONLY | _CAREFULLY, dir_fd=folder)
        try:
            found = list(spool_format.contents(descriptor, marker_of(name)))
        finally:
            close(descriptor)
        return [each for each in found if isinstance(each, Record)]

    def remove(self, name: str) -> None:
        """Remove a segment that is held; after ``sync`` for good."""
        with self._opened() as folder:
            os.unlink(name, dir_fd=folder)

    def sync(self) -> None:
        """Make sure that new names are there after a power cut."""
        _sync(self.path)

    def inherited(self, held: Mapping[int, str]) -> list[int]:
        """The descriptors of segments that are open here; those of ``held`` if nobody lists them.

        A fork may come when a thread has opened a segment and has not yet taken note of it.
        """
        try:
            links = list(DESCRIPTORS.iterdir())
        except OSError:
            return [number for number, name in held.items() if self._is_open(number, name)]
        return [int(link.name) for link in links if self._is_segment(link)]

    def _is_segment(self, link: Path) -> bool:
        try:
            target = link.readlink()
        except OSError:  # the listing had one of its own
            return False
        return target.parent == self._real and _NAME.match(target.name) is not None

    def _is_open(self, number: int, name: str) -> bool:
        with suppress(OSError):
            return os.path.samestat(os.fstat(number), (self.path / name).lstat())
        return False

    @contextmanager
    def _opened(self) -> Iterator[int]:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            close(descriptor)


@define
class Writer:
    """A segment that is being written, by this process alone.

    Attributes:
        end: How many of its bytes are good; what lies beyond was never acknowledged.
    """

    folder: Folder
    name: str
    descriptor: int
    end: int = 0

    def append(self, record: bytes) -> None:
        """Write a record and wait until the disk has it; what cannot be had whole is taken back.

        Raises:
            OSError: It was not written. The segment must be closed: after a failed ``fsync``
                nobody knows what the next one would be worth.
        """
        data = record if self.end else spool_format.header(marker_of(self.name)) + record
        try:
            _write(self.descriptor, data, self.end)
            os.fsync(self.descriptor)
            if not self.end:
                self.folder.sync()
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.descriptor, self.end)
                if not self.end:
                    self.folder.remove(self.name)
            raise
        self.end += len(data)

    def close(self) -> None:
        """Let others have it."""
        close(self.descriptor)


@define
class Segment:
    """A segment that nobody writes any more, and that this process holds.

    Attributes:
        waiting: Its records that may still be sent, in order.
        damage: What in it cannot be read.
    """

    name: str
    descriptor: int
    waiting: deque[Record]
    damage: tuple[Damage, ...]

    @classmethod
    def read(cls, name: str, descriptor: int) -> "Segment":
        """Look through a segment that is held."""
        found = list(spool_format.contents(descriptor, marker_of(name)))
        return cls(
            name,
            descriptor,
            deque(
                each
                for each in found
                if isinstance(each, Record) and spool_format.is_waiting(each.state)
            ),
            tuple(each for each in found if isinstance(each, Damage)),
        )

    def still_waiting(self) -> list[Record]:
        """Those of its records that nobody has finished with by now."""
        return [each for each in self.waiting if spool_format.is_waiting(self.state(each))]

    def state(self, record: Record) -> bytes:
        """What has become of a record by now."""
        return os.pread(self.descriptor, len(record.state), record.state_start)

    def mark(self, record: Record, state: bytes) -> None:
        """Say what has become of a record."""
        _write(self.descriptor, state, record.state_start)

    def sync(self) -> None:
        """Wait until the disk has what was marked."""
        os.fsync(self.descriptor)

    def close(self) -> None:
        """Let others have it."""
        close(self.descriptor)


_CAREFULLY: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Go where no link leads, and wait for nobody: what has our name might be a pipe."""


def close(descriptor: int) -> None:
    """Close a descriptor, which closes it even where it complains."""
    with suppress(OSError):
        os.close(descriptor)


def _split(name: str) -> tuple[str, str]:
    born, _, end = name.split("-")
    return born, end.partition(".")[0]


def _is_ours(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def _hold(name: str, flags: int, folder: int) -> int | None:
    descriptor = os.open(name, os.O_RDWR | _CAREFULLY | flags, 0o600, dir_fd=folder)
    is_held = False
    try:
        is_held = _is_locked(descriptor, name, folder)
    finally:
        if not is_held:
            close(descriptor)
    return descriptor if is_held else None


def _is_locked(descriptor: int, name: str, folder: int) -> bool:
    """Lock what was opened, if it still is what the name stands for, and ours."""
    import fcntl  # Windows has none, and is told so when a spool is made

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        named = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (BlockingIOError, FileNotFoundError):
        return False
    return os.path.samestat(named, os.fstat(descriptor)) and _is_ours(named)


def _write(descriptor: int, data: bytes, start: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left, start)
        start, left = start + written, left[written:]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot, and need not
            raise
    finally:
        close(descriptor)
