"""The unmodified applications, installed once for each set of pins, beside the built backends.

They lie in `$CXTRACE_BACKENDS`, or else in the user's cache folder: a virtual environment of their
own, and the examples that their frameworks' source distributions bring along. Nothing of cxtrace is
in there; its wheel lies in a folder of its own, made anew for each run of the tests.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
REQUIREMENTS = HERE / "requirements.txt"
EXAMPLES = {"celery": "examples", "fastapi": "docs_src", "flask": "examples"}
"""Frameworks, and the folder of their source distribution in which their examples lie."""


class Installed:
    """Where the applications are, installed by the first who asks."""

    def __init__(self) -> None:
        pins = f"{REQUIREMENTS.read_text()}{EXAMPLES}{sys.version}".encode()
        cache = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
        self.folder = Path(
            os.environ.get("CXTRACE_BACKENDS", Path(cache, "cxtrace", "backends")),
            f"unmodified-{sha256(pins).hexdigest()[:12]}",
        )
        self.bin = self.folder / "venv" / "bin"
        with once(self.folder) as missing:
            if missing:
                self._install()

    def example(self, framework: str) -> Path:
        """The folder of the examples that a framework publishes; to be copied, not changed."""
        return self.folder / "examples" / framework

    def _install(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        pip = [self.bin / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
        run(sys.executable, "-m", "venv", self.folder / "venv")
        run(*pip, "install", "--requirement", REQUIREMENTS)
        for framework, examples in EXAMPLES.items():
            sources = self.folder / "sources"
            lines = REQUIREMENTS.read_text().splitlines()
            (pin,) = (line for line in lines if line.startswith(f"{framework}=="))
            run(*pip, "download", "--no-deps", "--no-binary", framework, "--dest", sources, pin)
            (archive,) = sources.glob(f"{framework}-*.tar.gz")
            with tarfile.open(archive) as tar:
                tar.extractall(sources, filter="data")
            top = sources / archive.name.removesuffix(".tar.gz")
            shutil.copytree(top / examples, self.example(framework))


def wheel_of_cxtrace(folder: Path) -> Path:
    """A folder for `PYTHONPATH` that holds cxtrace as its wheel installs it, and nothing else."""
    if dist := os.environ.get("CXTRACE_DIST"):
        (wheel,) = Path(dist).glob("*.whl")
    else:
        run(sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "-w", folder / "dist", ROOT)
        (wheel,) = (folder / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    run(*pip, "install", "--no-deps", "--target", folder / "cxtrace", wheel)
    return folder / "cxtrace"


@contextmanager
def once(folder: Path) -> Iterator[bool]:
    """Whether the folder is still to be made: a second process waits until the first has done."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = folder / "done"
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not done.exists()
        yield missing
        if missing:
            done.touch()


def run(*command: str | Path, **more: object) -> None:
    """Run to the end; when that fails, it is an AssertionError with all that was printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
