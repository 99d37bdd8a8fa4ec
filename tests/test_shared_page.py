"""Memory that outlives the process which writes it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxtrace import _shared_page
from cxtrace._shared_page import SharedPage, read, remove

pytestmark = pytest.mark.skipif(
    not _shared_page.FOLDER.is_dir(), reason="this system shares no memory in /dev/shm"
)


def test_what_a_killed_process_wrote() -> None:
    """Who knows the name reads it when the process is gone, and can let it go."""
    program = (
        "import os, signal\n"
        "from cxtrace._shared_page import SharedPage\n"
        "page = SharedPage(16)\n"
        "print(page.name, flush=True)\n"
        "page.bytes[:6] = b'before'\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    name = done.stdout.decode().strip()

    assert read(name, 16) == b"before" + bytes(10)
    remove(name)
    assert read(name, 16) is None


def test_nobody_else_may_read_it() -> None:
    """A page is its user's alone, and is reserved before anybody writes to it."""
    page = SharedPage(16)
    found = (_shared_page.FOLDER / page.name).stat()
    remove(page.name)

    assert (found.st_mode & 0o777, found.st_size) == (0o600, 16)
    assert found.st_blocks > 0


def test_a_page_that_is_let_go_is_still_written_to() -> None:
    """Whoever cleans up does not harm the process that writes."""
    page = SharedPage(16)
    remove(page.name)
    page.bytes[:2] = b"on"

    assert bytes(page.bytes[:2]) == b"on"


@pytest.mark.parametrize("name", ["", "../etc/passwd", "cxtrace-", "cxtrace-" + "g" * 32])
def test_a_name_that_is_none_of_ours(name: str) -> None:
    """A file of the spool cannot make us read, or remove, anything else."""
    remove(name)

    assert read(name, 16) is None


def test_a_page_that_is_too_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not as large as it must be is not read."""
    monkeypatch.setattr(_shared_page, "FOLDER", tmp_path)
    page = SharedPage(8)

    assert (read(page.name, 8), read(page.name, 16)) == (bytes(8), None)


def test_a_page_of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another user has put there is not believed."""
    page = SharedPage(8)
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    found = read(page.name, 8)
    remove(page.name)

    assert found is None


def test_no_memory_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing can be reserved, nothing is left behind."""

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_shared_page, "FOLDER", tmp_path)
    monkeypatch.setattr(os, "posix_fallocate", full)

    with pytest.raises(OSError, match="No space"):
        SharedPage(8)
    assert list(tmp_path.iterdir()) == []
