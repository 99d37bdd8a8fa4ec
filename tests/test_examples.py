"""The examples run, say what they should, and stand in the documentation."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SAYS = {
    "consent.py": "denied       cart.view []",
    "every_kind_of_function.py": "✓ invoice.download",
    "fastapi_service.py": "└─ ✓ checkout.pay",
    "first_touchpoint.py": "✗ checkout.pay  card_declined",
    "join_a_provider.py": "SELECT shop.orders at checkout.pay\n",
    "late_identity.py": "customer v1.",
    "own_tests.py": "2 passed",
    "read_a_recording.py": "delivered: True\ncart.view completed\n",
    "threads.py": "└─ check_stock",
    "two_services.py": "to a stranger: ['traceparent']\n",
}
"""A part of what each example prints."""

if not EXAMPLES:
    pytest.skip("the examples are not part of what is tested here", allow_module_level=True)


def missing_packages(example: Path) -> list[str]:
    """The packages that an example imports and that are not installed."""
    tree = ast.parse(example.read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    return [name for name in sorted(filter(None, names)) if not is_installed(name)]


def is_installed(name: str) -> bool:
    """Whether a module can be found."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_says_what_it_should(example: Path) -> None:
    """Each is a program; the one with tests is run by pytest."""
    missing = missing_packages(example)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if "tests" in example.stem else []
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}

    done = subprocess.run(
        [sys.executable, *runner, str(example)],
        cwd=ROOT,
        env={**kept, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert SAYS[example.name] in done.stdout
    assert "swallowed" not in done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_stands_in_the_documentation(example: Path) -> None:
    """Each is included by a page, so none is forgotten."""
    pages = (ROOT / "docs").rglob("*.md")

    assert any(f"/examples/{example.name}\n" in page.read_text(encoding="utf-8") for page in pages)
