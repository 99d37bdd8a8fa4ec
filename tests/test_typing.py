"""What type checkers tell users: the files in ``tests/typing/`` are checked, never run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "tests" / "typing").glob("*.py"))

pytest.importorskip("mypy", reason="mypy, of the typing group, is not installed")
if not FILES:
    pytest.skip("there is no tests/typing/ here", allow_module_level=True)


def mypy(folder: Path, *paths: Path) -> "subprocess.CompletedProcess[str]":
    """Run mypy as strictly as pyproject.toml says."""
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores"]
    return subprocess.run(
        [*command, "--cache-dir", str(folder), *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_users_see_the_right_types(tmp_path: Path) -> None:
    """Every line is accepted, but those that say ``type: ignore[…]``, which must be rejected."""
    done = mypy(tmp_path, *FILES)

    assert done.returncode == 0, done.stdout


def test_wrong_types_are_rejected(tmp_path: Path) -> None:
    """The check above would notice: a wrong channel and a wrong argument are errors."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from cxtrace import touchpoint\n"
        '@touchpoint("checkout.pay", channel="fax")\n'
        "def pay(amount: float) -> bool: return True\n"
        'pay("much")\n',
        encoding="utf-8",
    )

    done = mypy(tmp_path / "cache", wrong)

    assert done.returncode == 1
    assert "wrong.py:2" in done.stdout
    assert "wrong.py:4" in done.stdout
