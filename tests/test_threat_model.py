"""What ``SECURITY.md`` and the threat model claim names the tests that show it, and they exist."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECURITY = ROOT / "SECURITY.md"
MODEL = ROOT / "docs" / "explanation" / "threat-model.md"
PROMISES = Path(__file__).with_name("test_default_promises.py")
TEST = re.compile(r"`(?:pytest )?(tests/\w+\.py::test_\w+)`")

pytestmark = pytest.mark.skipif(
    not (SECURITY.is_file() and MODEL.is_file()), reason="the pages are not part of what is tested"
)


def section(page: Path, heading: str) -> str:
    """What stands under a heading."""
    text = page.read_text(encoding="utf-8")
    assert f"\n## {heading}\n" in text
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[str]:
    """The rows of the tables in a text, but for their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line for at, line in enumerate(lines) if at > 1]


def items(text: str) -> list[str]:
    """The items of the lists in a text."""
    return [line for line in text.splitlines() if line.startswith("- ")]


def claims() -> list[str]:
    """Whatever has to be shown: by row, by item, and by what is not promised."""
    found = rows(section(SECURITY, "What is promised")) + items(section(SECURITY, "What is not"))
    people = re.split(r"^## ", MODEL.read_text(encoding="utf-8"), flags=re.MULTILINE)[2:-1]
    for each in people:
        found += items(each)
        found += [line for line in each.splitlines() if line.startswith("**Not promised.**")]
    return [*found, *rows(section(MODEL, "What holds by default"))]


UNSHOWN = ("**Not promised.** Versions are not pinned",)
"""What says only whose matter something is."""


def test_every_claim_names_a_test() -> None:
    """No row and no item of the pages goes without one, but for those that promise nothing."""
    unshown = [claim for claim in claims() if TEST.search(claim) is None]

    assert [claim for claim in unshown if not claim.startswith(UNSHOWN)] == []
    assert len(unshown) == len(UNSHOWN)
    assert len(claims()) > 50


def test_every_named_test_is_collected() -> None:
    """Pytest finds each of them by the name that stands on the pages."""
    text = SECURITY.read_text(encoding="utf-8") + MODEL.read_text(encoding="utf-8")
    named = sorted(set(TEST.findall(text)))
    assert len(re.findall(r"::test_", text)) == len(TEST.findall(text)), "one is misspelt"
    command = ["-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *named]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(named) > 60


def test_the_twelve_promises_are_listed_once() -> None:
    """In their order, one test each, and no test of the module is left out."""
    table = rows(section(MODEL, "What holds by default"))
    listed = [TEST.findall(row) for row in table]
    made = [
        f"tests/{PROMISES.name}::{node.name}"
        for node in ast.parse(PROMISES.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]

    assert [row.split("|")[1].strip() for row in table] == [str(each) for each in range(1, 13)]
    assert listed == [[name] for name in made]
    assert [name.partition("::test_")[2][:2] for name in made] == [f"{n:02}" for n in range(1, 13)]
