"""Integrations are hooked once, imported when their framework is, and never in the way."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cxtrace import _auto, _guard

pytestmark = pytest.mark.usefixtures("forgetful")

MAP = """\
schema = "cxtrace.map/1"
name = "shop"
functions = { it = {} }
[[stage]]
name = "purchase"
phase = "customer"
[[touchpoint]]
name = "home"
stage = "purchase"
owner = "it"
match = { MATCH }
"""


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What is hooked, as nobody has hooked anything before."""
    import wrapt

    found: list[tuple[str, Any]] = []
    monkeypatch.setattr(_auto, "_hooked", False)
    monkeypatch.setattr(
        wrapt, "register_post_import_hook", lambda hook, name: found.append((name, hook))
    )
    return found


def run(folder: Path, script: str, match: str = 'route = "GET /"') -> list[str]:
    """What a process prints that is configured with a map."""
    (folder / "m.toml").write_text(MAP.replace("MATCH", match), encoding="utf-8")
    begin = 'import sys, cxtrace\ncxtrace.configure(journey_map="m.toml", exporter="none")\n'
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    done = subprocess.run(
        [sys.executable, "-c", begin + script],
        cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_every_framework_is_hooked_once(hooks: list[tuple[str, Any]]) -> None:
    """A second call hooks nothing."""
    _auto.instrument()
    _auto.instrument()

    assert [name for name, _ in hooks] == list(_auto.INTEGRATIONS)


@pytest.mark.parametrize("integration", sorted(set(_auto.INTEGRATIONS.values())))
def test_every_integration_is_there(integration: str) -> None:
    """Each that the table names has a function that takes the framework's module."""
    spec = find_spec(f"cxtrace.integrations.{integration}")
    assert spec is not None
    assert spec.origin is not None

    assert "def instrument(module: ModuleType) -> None:" in Path(spec.origin).read_text("utf-8")


def test_an_integration_gets_the_module(
    hooks: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook hands over what has been imported."""
    _auto.instrument()
    seen: list[ModuleType] = []
    ours = ModuleType("ours")
    ours.instrument = seen.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cxtrace.integrations.flask", ours)
    framework = ModuleType("flask.app")
    dict(hooks)["flask.app"](framework)

    assert seen == [framework]
    assert _guard.counts() == {}


@pytest.mark.parametrize("broken", [None, ModuleType("empty")], ids=["not there", "too old"])
def test_an_integration_that_fails_harms_nothing(
    hooks: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, broken: ModuleType | None
) -> None:
    """It is counted, and the import of the framework goes on."""
    _auto.instrument()
    monkeypatch.setitem(sys.modules, "cxtrace.integrations.flask", broken)  # type: ignore[arg-type]
    dict(hooks)["flask.app"](ModuleType("flask.app"))

    assert _guard.counts() == {"errors.instrument.flask": 1}


def test_a_framework_is_imported_as_before(tmp_path: Path) -> None:
    """In a process of its own, with an integration that cannot be imported."""
    pytest.importorskip("flask", reason="flask is not installed")
    script = """
sys.modules["cxtrace.integrations.flask"] = None
import flask
print(flask.Flask("x").name, dict(cxtrace.report().counts))
"""

    assert run(tmp_path, script) == ["x", "{'errors.instrument.flask':", "1}"]


@pytest.mark.parametrize(
    ("match", "expected"), [('route = "GET /"', "True"), ('function = "later:home"', "False")]
)
def test_only_a_map_with_rules_for_requests_hooks(
    tmp_path: Path, match: str, expected: str
) -> None:
    """Who binds functions alone gets no integration, and nobody gets one before its framework."""
    script = """
from cxtrace import _auto
print(_auto._hooked, any(name.startswith("cxtrace.integrations.") for name in sys.modules))
"""

    assert run(tmp_path, script, match) == [expected, "False"]
