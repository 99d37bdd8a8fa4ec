"""The benchmarks run and write what they measured. What they measured is not judged here."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the command writes, with numbers so small that they mean nothing."""
    path = tmp_path_factory.mktemp("benchmarks") / "found.json"
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "function, sampled root" in done.stdout
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_case_has_both_sides(found: dict) -> None:
    """Each case says what ours and the hand-written one cost, as finite numbers."""
    for line in found["lines"]:
        for side in ("ours", "hand_written"):
            assert math.isfinite(line[side]), line["case"]


def test_cases_are_told_apart(found: dict) -> None:
    """No two cases have the same name, and all forms are measured in all states."""
    cases = [line["case"] for line in found["lines"]]

    assert len(cases) == len(set(cases))
    for form in ("function", "coroutine", "generator of 10", "async generator of 10", "with"):
        for state in ("sampled root", "sampled child", "unsampled parent", "no SDK"):
            assert f"{form}, {state}" in cases


def test_requests_are_measured_or_what_they_need_is_named(found: dict) -> None:
    """Each framework and each server has its cases, or it is said which package is missing."""
    cases = [line["case"] for line in found["lines"]]
    skipped = {skip["section"]: skip["why"] for skip in found["skipped"]}

    for name in ("FastAPI", "Django", "uvicorn", "gunicorn"):
        is_measured = any(case.startswith(f"{name}: bound by route, ") for case in cases)
        assert is_measured is (name.lower() not in skipped)
    assert all(why.endswith(" is not installed") for why in skipped.values())


def test_a_target_is_judged(found: dict) -> None:
    """A case with a target says whether it holds, by the ratio that is shown."""
    judged = [line for line in found["lines"] if line["target_first"] is not None]

    assert judged
    for line in judged:
        assert line["holds"] is (line["ratio"] <= line["target_first"])


def test_a_machine_is_not_named(found: dict) -> None:
    """The environment names versions and the number of processors, and no path."""
    assert set(found["environment"]) == {"python", "system", "cpus", "packages"}
    assert str(ROOT) not in json.dumps(found)
