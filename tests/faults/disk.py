"""A disk that can be filled: a small file system in memory. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

_SIZE: Final = "8m"


class Disk:
    """A disk, and the file that fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no room for anybody."""
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4_096))

    def clear(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """A disk at the folder, for as long as the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "tmpfs", str(folder))
    try:
        yield Disk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


@cache
def is_permitted() -> bool:
    """Whether this process may mount."""
    if os.geteuid() != 0:
        return False
    try:
        with TemporaryDirectory() as folder, disk(Path(folder)):
            return True
    except OSError:
        return False


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
