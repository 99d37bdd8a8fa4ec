"""The audit of what is installed with cxtrace: it says what it did, and fails for a weakness."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PATH = ROOT / "tools" / "audit.py"
HERE = {"attrs": "26.1.0", "wrapt": "2.5.2"}
LIST = "# a comment\n# audited: 2026-11-22\nattrs==26.1.0\nwrapt==2.5.2\n"
GOOD = [{"name": name, "version": version, "vulns": []} for name, version in HERE.items()]
SKIPPED = [{"name": name, "skip_reason": "not found"} for name in HERE]

pytestmark = pytest.mark.skipif(not PATH.is_file(), reason="tools/ is not part of what is tested")


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``tools/audit.py`` with a list of its own."""
    spec = importlib.util.spec_from_file_location("audit_tool", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LIST", tmp_path / "dependencies.txt")
    module.LIST.write_text(LIST, encoding="utf-8")
    return module


@pytest.fixture
def file(tmp_path: Path, audit: ModuleType) -> str:
    """What is installed."""
    path = tmp_path / "installed.txt"
    path.write_text(audit.lines(HERE), encoding="utf-8")
    return str(path)


def answering(audit: ModuleType, monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    """Let pip-audit write this; nothing where it is None."""

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        if found is not None:
            text = json.dumps({"dependencies": found, "fixes": []})
            Path(command[-1]).write_text(text, encoding="utf-8")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(audit.subprocess, "run", run)


@pytest.mark.parametrize("found", [None, SKIPPED, []])
def test_no_answer_is_told_and_no_failure(
    audit: Any, file: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, found: Any
) -> None:
    """Where the service is away, or a proxy knows none of the packages, nothing was audited."""
    answering(audit, monkeypatch, found)

    assert audit.main([file]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("NOT audited")
    assert said[1:] == ["the list was audited: 2026-11-22"]


def test_what_is_not_as_on_the_list_is_told(
    audit: Any, file: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A package of another version, and one that nobody has looked at."""
    answering(audit, monkeypatch, None)
    audit.LIST.write_text("# audited: never\nattrs==22.2.0\n", encoding="utf-8")

    assert audit.main([file]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[2:] == ["attrs 26.1.0: the list has 22.2.0", "wrapt 2.5.2: not on the list"]


def test_an_audit_is_told(
    audit: Any, file: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """How many were audited, and which the service does not know."""
    answering(audit, monkeypatch, [GOOD[0], SKIPPED[1]])

    assert audit.main([file]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["audited with pip-audit: 1 of 2 packages", "wrapt: not known to the service"]


def test_a_weakness_fails(
    audit: Any, file: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """It is named with the version in which it is mended."""
    known = {"id": "PYSEC-2026-1", "fix_versions": ["2.5.3"]}
    answering(audit, monkeypatch, [GOOD[0], {**GOOD[1], "vulns": [known]}])

    assert audit.main([file]) == 1
    assert "wrapt 2.5.2: PYSEC-2026-1, mended in 2.5.3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "day"), [(GOOD, r"\d{4}-\d\d-\d\d(?<!2026-11-01)"), (None, "never in these versions")]
)
def test_the_list_is_written(
    audit: Any, file: str, monkeypatch: pytest.MonkeyPatch, found: Any, day: str
) -> None:
    """With the day of the audit, if there was one; what other Pythons need stays."""
    answering(audit, monkeypatch, found)
    audit.LIST.write_text("# audited: 2026-11-01\nattrs==22.2.0\nzipp==4.1.0\n", encoding="utf-8")

    assert audit.main([file, "--write"]) == 0
    text = audit.LIST.read_text(encoding="utf-8")
    assert audit.read(text) == {**HERE, "zipp": "4.1.0"}
    assert re.fullmatch(day, audit.audited(text))


def test_pip_audit_that_cannot_be_started_is_no_answer(
    audit: Any, file: str, tmp_path: Any
) -> None:
    """Who has none, or one that breaks off, is told so by the first line."""
    audit.sys = SimpleNamespace(executable=str(tmp_path / "nothing"))

    assert audit.ask(Path(file)) is None


def test_what_is_installed_is_found(audit: Any, capsys: Any) -> None:
    """Every package of this environment has a line, but for cxtrace itself and for pip."""
    assert audit.main(["--list"]) == 0
    found = audit.read(capsys.readouterr().out)
    assert {"attrs", "wrapt", "opentelemetry-sdk"} <= set(found)
    assert {"cxtrace", "pip"}.isdisjoint(found)


def test_the_list_has_every_dependency() -> None:
    """A new dependency of ``pyproject.toml`` is put on it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = {re.split(r"[^\w-]", each)[0] for each in project["dependencies"]}
    listed = (ROOT / "tools" / "dependencies.txt").read_text(encoding="utf-8")

    assert direct <= {line.partition("==")[0] for line in listed.splitlines()}
    assert len(direct) >= 5
