"""A real Chromium, without a network: the one of the system, driven by Playwright."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxtrace import attributes as names
from tests.living import lived, visit, write_spans

ROOT = Path(__file__).parents[2]
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
NAMES = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str | None:
    """What is not there of what these tests need."""
    if not any(map(shutil.which, NAMES)):
        return "no Chromium is installed (Debian's package chromium)"
    for module in ("playwright", "axe_playwright_python"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed (dependency group browser)"
    return None


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running browser with a new profile; what is missing fails with CI=true, else it skips."""
    lacking = missing()
    if lacking is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(lacking)
        pytest.skip(lacking)
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(OPTIONS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The living map of the shop in full use, and the journeys that it was made from."""
    from cxtrace.cli import main
    from cxtrace.journey_map import JourneyMap

    folder = tmp_path_factory.mktemp("pages")
    example = ROOT / "examples" / "journeys.toml"
    recording = folder / "shop.jsonl"
    short = visit(900, **{names.JOURNEY_ID: "short", names.JOURNEY_NAME: "first_order"})
    write_spans(recording, iter([*lived(JourneyMap.load(example), 200), short]))
    found = {"map": folder / "map.html", "view": folder / "view.html"}
    arguments = ["--format", "html", "-o", str(found["map"])]
    assert main(["map", str(example), "--live", str(recording), *arguments]) == 0
    assert main(["view", str(recording), "-o", str(found["view"])]) == 0
    return found
