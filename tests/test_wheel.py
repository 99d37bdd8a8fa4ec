"""What is installed: the wheel holds all that it should, and nothing else."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

import cxtrace
from cxtrace import cli
from cxtrace.propagation import CXPropagator

ROOT = Path(__file__).parents[1]
DIST = os.environ.get("CXTRACE_DIST")
"""Where nox put the sdist and the wheel that it tests; without it they are built here."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel."""
    if DIST is not None:
        return Path(DIST)
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("there is nothing to build here")
    pytest.importorskip("hatchling", reason="hatchling, of the test group, is not installed")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> set[str]:
    """The names of the files in the wheel."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def sdist(built: Path) -> set[str]:
    """The names of the files in the sdist, without the folder they lie in."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def files(folder: str, pattern: str = "*") -> set[str]:
    """The files below a folder of the checkout."""
    found = (ROOT / folder).rglob(pattern)
    return {
        path.relative_to(ROOT / folder).as_posix()
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_is_for_every_machine(built: Path) -> None:
    """There is one wheel, for every Python 3 and every system."""
    assert [path.name.split("-", 2)[2] for path in built.glob("*.whl")] == ["py3-none-any.whl"]


def test_the_wheel_holds_every_module(wheel: set[str]) -> None:
    """Each file of src/cxtrace is in the wheel, the mark for type checkers among them."""
    if not (ROOT / "src").is_dir():
        pytest.skip("src/ is out of the way")

    assert {f"cxtrace/{name}" for name in files("src/cxtrace")} - wheel == set()
    assert "cxtrace/py.typed" in wheel


def test_the_wheel_holds_the_shop(wheel: set[str]) -> None:
    """The demo's shop and its map are in the wheel, since there is no checkout to find them in."""
    shop = {f"cxtrace/_shop/{name}" for name in files("examples/shop")}

    assert "cxtrace/_shop/storefront.py" in shop
    assert shop - wheel == set()
    assert "cxtrace/_shop/journeys.toml" in wheel


def test_the_wheel_holds_the_licence_and_nothing_else(wheel: set[str]) -> None:
    """Besides the package and the plugin there are papers: no tests, no documentation, no build."""
    others = {name for name in wheel if not name.startswith("cxtrace/")}
    papers = {name.partition("/")[2] for name in others - {"_cxtrace_pytest.py"}}

    expected = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert papers == expected
    assert [name for name in wheel if "__pycache__" in name] == []


def test_the_sdist_can_be_tested(sdist: set[str]) -> None:
    """The sdist has what its tests need, and leaves the backends' generated sources out."""
    needed = {"pyproject.toml", "noxfile.py", "README.md", "LICENSE", "semconv/attributes.yaml"}

    assert needed - sdist == set()
    assert {f"tests/{path}" for path in files("tests", "*.py")} - sdist == set()
    assert [
        name for name in sdist if re.match(r"tools/backends/\w+/|\.nox|\.venv|dist/", name)
    ] == []


def test_entry_points_load() -> None:
    """The command and the propagator that the distribution announces are there."""
    (propagator,) = entry_points(group="opentelemetry_propagator", name="cxtrace")
    (command,) = entry_points(group="console_scripts", name="cxtrace")

    assert propagator.load() is CXPropagator
    assert command.load() is cli.main


def test_metadata_says_what_is_needed() -> None:
    """The distribution says its Python, its licence and that it is typed."""
    told = distribution("cxtrace").metadata

    assert told["Requires-Python"] == ">=3.10"
    assert told["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in told.get_all("Classifier", [])


@pytest.mark.skipif(DIST is None, reason="nox tests the wheel; here it is the checkout")
def test_what_is_tested_is_the_wheel() -> None:
    """In nox, cxtrace is imported from where the wheel was installed, not from src/."""
    assert "site-packages" in Path(cxtrace.__file__).parts
    assert [path for path in sys.path if Path(path).resolve() == ROOT / "src"] == []
