"""The stack in ``examples/stack/``: it is what the commands write, and nothing is missing."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from cxtrace.cli import main

ROOT = Path(__file__).parents[1]
STACK = ROOT / "examples" / "stack"
PAGE = ROOT / "docs" / "howto" / "stack.md"
COMMANDS = ("collector", "jaeger", "rules", "dashboards")


def command(name: str) -> list[str]:
    """The arguments that the page gives to a command that writes a part of the stack."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    (found,) = re.findall(rf"^cxtrace {name} .*$", text, re.MULTILINE)
    return shlex.split(found)[1:]


def read(name: str) -> Any:
    """A file of the stack, which is YAML or JSON."""
    return yaml.safe_load((STACK / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_stack_is_what_the_commands_write(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command of the page, with ``--check``, finds every byte as it would write it."""
    if name == "dashboards" and sys.version_info < (3, 11):
        pytest.skip("Grafana's SDK needs Python 3.11")
    monkeypatch.chdir(ROOT)

    assert main([*command(name), "--check"]) == 0, capsys.readouterr().out


def test_nothing_of_the_stack_is_left_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file below a folder that commands write is written by one, or by hand and said to be."""
    if sys.version_info < (3, 11):
        pytest.skip("Grafana's SDK needs Python 3.11")
    monkeypatch.chdir(ROOT)
    for name in COMMANDS:
        main([*command(name), "--check"])
    made = {ROOT / line[10:] for line in capsys.readouterr().out.splitlines()}
    by_hand = {STACK / "compose.yaml", STACK / "prometheus/prometheus.yaml"}

    there = {path for path in STACK.rglob("*") if path.is_file()}
    assert there - made == {*by_hand, STACK / "tempo/tempo.yaml"}


def test_spans_are_counted_in_one_place() -> None:
    """The Collector counts them and Jaeger does not; both would double each figure."""
    connectors = [
        name
        for file in ("collector/single.yaml", "jaeger/jaeger.yaml")
        for name in read(file).get("connectors", {})
    ]

    assert connectors == ["span_metrics"]


def test_tempo_searches_as_far_back_as_it_is_asked() -> None:
    """By itself it refuses more than a week, and ``cxtrace link --days`` may ask for more."""
    assert read("tempo/tempo.yaml")["query_frontend"]["search"]["max_duration"] == "0s"


def test_an_alert_opens_a_board_that_is_there() -> None:
    """The link of each promise's alerts is the address of the board that lies beside."""
    board = read("grafana/dashboards/promise.json")
    rules = [
        rule for group in read("prometheus/rules/alerts.yaml")["groups"] for rule in group["rules"]
    ]
    said = [rule["annotations"] for rule in rules if rule["alert"] == "CXPromiseBroken"]

    paths = {urlsplit(each["dashboard_url"]).path for each in said}
    assert paths == {f"/d/{board['uid']}"}
    assert "promise" in {each["name"] for each in board["templating"]["list"]}


def compose() -> dict[str, Any]:
    """The compose file."""
    return dict(yaml.safe_load((STACK / "compose.yaml").read_text(encoding="utf-8")))


def test_every_image_of_the_stack_is_pinned() -> None:
    """A tag of three numbers, so that tomorrow it is the same stack."""
    images = [service["image"] for service in compose()["services"].values()]

    assert len(images) == 5
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+$", image)] == []


def test_every_file_that_the_stack_names_is_there() -> None:
    """What a container reads below /stack, or has mounted, is in the folder."""
    text = (STACK / "compose.yaml").read_text(encoding="utf-8")
    files = re.findall(r"=/stack/(\S+?)\]|[=:] ?/stack/(\S+\.\w+)|- (\./\S+?):/", text)
    named = {name for found in files for name in found if name}

    assert len(named) >= 7
    assert {name for name in named if not (STACK / name).exists()} == set()


def test_versions_of_the_stack_are_those_that_are_tested() -> None:
    """Collector, Jaeger and Prometheus have the versions that the tests build."""
    readme = (ROOT / "tools" / "backends" / "README.md").read_text(encoding="utf-8")

    for name in ("collector", "jaeger", "prometheus"):
        (row,) = re.findall(rf"^\| `{name}` \|.*$", readme, re.MULTILINE)
        version = compose()["services"][name]["image"].rpartition(":")[2].removeprefix("v")
        assert f"| {version}" in row
