"""Each decoder under fire for a moment; ``python -m tests.fuzz`` keeps on, guided by coverage."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from cxtrace import _baggage, _destination
from cxtrace._map import text as _text
from tests.fuzz.__main__ import NAMES
from tests.fuzz.engine import LONGEST, Tally, blind, mutated
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[1]


def test_every_target_is_named() -> None:
    """The command knows every target, and each says what it promises."""
    assert sorted(TARGETS) == sorted(NAMES)
    assert [name for name, each in TARGETS.items() if not each.says] == []


@pytest.mark.parametrize("name", NAMES)
def test_seeds_keep_the_promise(forgetful: None, name: str) -> None:
    """What fuzzing begins with breaks no promise, whole or cut anywhere."""
    runs = 0
    for seed in TARGETS[name].seeds:
        for end in range(0, len(seed) + 1, max(len(seed) // 40, 1)):
            TARGETS[name].run(seed[:end])
            runs += 1

    assert runs > 2


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=200), seed=st.integers(0, 2**32), is_noise=st.booleans())
def test_noise_keeps_the_promise(name: str, data: bytes, seed: int, is_noise: bool) -> None:
    """Random bytes and changed seeds raise nothing but what is documented."""
    target = TARGETS[name]
    given = data if is_noise else mutated(target.seeds, random.Random(seed))

    assert target.run(given) is None  # type: ignore[func-returns-value]


@given(st.integers(0, 2**32))
def test_changed_seeds_have_a_bound(seed: int) -> None:
    """No input is longer than is worth trying."""
    assert len(mutated(TARGETS["baggage"].seeds, random.Random(seed))) <= LONGEST


def hostname(url: str) -> str | None:
    """The host of a URL as it was once read."""
    return urlsplit(url).hostname


@pytest.mark.parametrize(
    ("name", "hole", "careless", "data"),
    [
        ("destination", (_destination, "_host"), hostname, b"http://[::1].evil.example.com/"),
        ("destination", (_destination, "_host"), hostname, b"http://localhost:.example.net:80/"),
        (
            "baggage",
            (_baggage, "fault"),
            lambda *given: None,
            b"cx.journey.name=evil,cx.sig=v1:a:1:b",
        ),
        ("trusted-baggage", (_baggage, "acceptable"), dict, b"cx.journey.name=%0d%0a"),
        ("map", (_text, "_ESCAPES"), {}, b'schema = "cxtrace.map/1"\nname = "\\u0007"'),
    ],
)
def test_a_hole_would_be_found(
    forgetful: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    hole: tuple[Any, str],
    careless: Any,
    data: bytes,
) -> None:
    """A decoder that is too trusting does not pass, and the input is told."""
    target = TARGETS[name]
    target.run(data)
    monkeypatch.setattr(*hole, careless)

    with pytest.raises(AssertionError):
        blind(evolve(target, seeds=(data,)), 20, Tally(tmp_path / "tally"), seed=1)


def test_blind_fuzzing_counts(tmp_path: Path) -> None:
    """What is written down: how many inputs, in how many seconds, and the slowest."""
    tally = Tally(tmp_path / "tally")
    blind(TARGETS["happy"], 0.05, tally, seed=1)
    runs, _, slowest, _ = (tmp_path / "tally").read_text().split(" ", 3)

    assert int(runs) == tally.runs > 0
    assert float(slowest) > 0


def test_the_command_tells_how_often_and_how_slow() -> None:
    """One line for each target: runs, runs a second, the slowest, and whether all was well."""
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "1", "--only", "happy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.startswith("happy ")
    assert " runs " in done.stdout
    assert " ok " in done.stdout
