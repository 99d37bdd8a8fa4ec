"""``cxtrace run`` where OpenTelemetry's distribution is installed, which has a will of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxtrace.exporters import read_spans

pytest.importorskip("opentelemetry.distro", reason="OpenTelemetry's distro is not installed")

MAP = """\
schema = "cxtrace.map/1"
name = "kiosk"
functions = { sales = {} }
[[stage]]
name = "purchase"
phase = "customer"
[[touchpoint]]
name = "kiosk.buy"
stage = "purchase"
owner = "sales"
match = { function = "kiosk:sell" }
"""
PROJECT = '[tool.cxtrace]\njourney_map = "journeys.toml"\nexporter = "{}"\n'
COMMAND = "import sys; from cxtrace.cli import main; sys.exit(main())"
SHOW = """
import os
import kiosk
kiosk.sell()
print(os.environ["OTEL_TRACES_EXPORTER"])
"""


def run(folder: Path, exporter: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of a few milliseconds under ``cxtrace run``."""
    (folder / "journeys.toml").write_text(MAP, encoding="utf-8")
    (folder / "pyproject.toml").write_text(PROJECT.format(exporter), encoding="utf-8")
    (folder / "kiosk.py").write_text("def sell(): ...\n", encoding="utf-8")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "run", "--", sys.executable, "-c", SHOW],
        env={**clean, **environ}, cwd=folder,
        capture_output=True, text=True, encoding="utf-8", timeout=100, check=True,
    )  # fmt: skip


def test_the_exporter_of_the_project_gets_the_touchpoints(tmp_path: Path) -> None:
    """It is not overruled by OTLP, which the distribution would choose, and send in vain.

    The tree is there when the program has ended, however short it was.
    """
    done = run(tmp_path, "file:spans.jsonl, console")

    assert [span.name for span in read_spans(tmp_path / "spans.jsonl")] == ["kiosk.buy"]
    assert done.stdout == "none\n"
    assert [line.split()[1] for line in done.stderr.splitlines()[1:] if line] == ["kiosk.buy"]


def test_an_exporter_of_the_environment_stays_alone(tmp_path: Path) -> None:
    """Who names one for OpenTelemetry has overruled the project."""
    others = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    done = run(tmp_path, "file:spans.jsonl", OTEL_TRACES_EXPORTER="console", **others)

    assert not (tmp_path / "spans.jsonl").exists()
    assert done.stdout.startswith("console\n")
    assert '"kiosk.buy"' in done.stdout
