"""What runs ``cxtrace scaffold`` in the folder of an application: fixtures of all tests."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cxtrace.journey_map import JourneyMap

LEFT_TO_PEOPLE = [
    f"--ignore={rule}" for rule in ("one-function-journey", "journey-not-told", "outside-journeys")
]
"""Warnings about what only a person who knows the customers can put into the map."""

COMMAND = "import sys; from cxtrace.cli import main; sys.exit(main())"


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]
Write = Callable[..., Path]
Scaffold = Callable[..., dict[str, str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes a file of an application."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A function that runs ``cxtrace`` in the folder of the application, in its own process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CXTRACE_", "DJANGO_"))}

    def run(*arguments: str, **environ: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            cwd=tmp_path,
            env={**kept, **environ, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def scaffold(tmp_path: Path, run: Run) -> Scaffold:
    """A function that scaffolds a map, checks it, and gives its targets with their names."""

    def scaffold(*arguments: str, **environ: str) -> dict[str, str]:
        done = run("scaffold", *arguments, "-o", "journeys.toml", "--force", **environ)
        assert (done.code, done.out) == (0, ""), done.err
        checked = run("check", "--strict", *LEFT_TO_PEOPLE, "journeys.toml")
        assert checked.code == 0, checked.out
        journey_map = JourneyMap.load(tmp_path / "journeys.toml")
        return {
            str(match.route or match.task): touchpoint.name
            for touchpoint in journey_map.touchpoints.values()
            for match in touchpoint.match
        }

    return scaffold
