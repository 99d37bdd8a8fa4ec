"""A page of memory that outlives the process which writes it, until the machine starts anew.

Not ``multiprocessing.shared_memory``: it keeps a process of its own, which removes the page when
ours is killed, and it does not reserve what it maps.
"""

import mmap
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/dev/shm")  # noqa: S108  not a temporary file: memory, on Linux alone
_NAME: Final = re.compile(r"cxtrace-[0-9a-f]{32}")


class SharedPage:
    """So many bytes of such memory, which only this user's processes may read.

    Attributes:
        name: By which another process finds it.
        bytes: To be written to. A broken disk cannot harm who writes, as there is none.

    Raises:
        OSError: The system has no such memory, or none left.
    """

    def __init__(self, size: int) -> None:
        self.name = f"cxtrace-{secrets.token_hex(16)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(FOLDER / self.name, flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)  # Else a full memory would kill who writes.
            self.bytes = memoryview(mmap.mmap(descriptor, size))
        except BaseException:
            remove(self.name)
            raise
        finally:
            os.close(descriptor)


def read(name: str, size: int) -> bytes | None:
    """What stands in a page; None where it is none of this user's, or gone."""
    if _NAME.fullmatch(name) is None:
        return None
    try:
        descriptor = os.open(FOLDER / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.pread(descriptor, size, 0)
        return found if len(found) == size and os.fstat(descriptor).st_uid == os.geteuid() else None
    finally:
        os.close(descriptor)


def remove(name: str) -> None:
    """Let the memory go when nobody writes to it any more."""
    if _NAME.fullmatch(name) is not None:
        with suppress(OSError):
            (FOLDER / name).unlink()
