"""The pages in a real browser: accessible, readable on a phone, without a network, by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

SIZES = {"desktop": (1280, 900), "phone": (360, 740)}
each_page = pytest.mark.parametrize("name", ["map", "view"])
each_size = pytest.mark.parametrize("size", sorted(SIZES))
each_scheme = pytest.mark.parametrize("scheme", ["light", "dark"])


class Seen:
    """A page that was opened, and what it asked for and complained of."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.asked: list[str] = []
        self.complaints: list[str] = []
        tab.on("request", lambda request: self.asked.append(request.url))
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, file: Path) -> None:
        """Go to a page, and unfold all that it has."""
        self.tab.goto(file.as_uri())
        self.tab.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")


@pytest.fixture
def seen(chromium: Any, size: str, scheme: str) -> Iterator[Seen]:
    """A tab of a size and a colour scheme."""
    width, height = SIZES[size]
    # The policy of the pages would not let axe in; all else is as it is for readers.
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
    )
    yield Seen(context.new_page())
    context.close()


@each_page
@each_size
@each_scheme
def test_axe_finds_nothing(seen: Seen, pages: dict[str, Path], name: str) -> None:
    """With everything unfolded, axe-core has no finding of any weight."""
    from axe_playwright_python.sync_playwright import Axe

    seen.open(pages[name])

    found = Axe().run(seen.tab).response["violations"]

    assert [(each["impact"], each["id"], each["nodes"][0]["html"]) for each in found] == []


@each_page
@each_size
@pytest.mark.parametrize("scheme", ["light"])
def test_nothing_is_asked_of_a_network(seen: Seen, pages: dict[str, Path], name: str) -> None:
    """The page is one file: nothing else is loaded, and the browser complains of nothing."""
    seen.open(pages[name])

    assert [url for url in seen.asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert seen.complaints == []


@each_page
@each_size
@pytest.mark.parametrize("scheme", ["dark"])
def test_nothing_is_wider_than_the_page(seen: Seen, pages: dict[str, Path], name: str) -> None:
    """Tables and lanes scroll within their frames, and the page itself only downwards."""
    seen.open(pages[name])

    assert seen.tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.fixture
def journeys(chromium: Any, pages: dict[str, Path]) -> Iterator[Any]:
    """The page of journeys under its own policy."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.goto(pages["view"].as_uri())
    yield tab
    context.close()


def visible(tab: Any) -> int:
    """How many journeys are shown."""
    return int(tab.locator("details.j:visible").count())


def test_the_filter_works_by_keyboard(journeys: Any) -> None:
    """Tab reaches the filters, a letter chooses, the count is told; a button shows all again."""
    every = visible(journeys)
    journeys.keyboard.press("Tab")
    assert journeys.evaluate("document.activeElement.className") == "skip"
    for _ in range(2):
        journeys.keyboard.press("Tab")
    journeys.keyboard.press("f")

    chosen = journeys.evaluate("document.activeElement.selectedOptions[0].text")
    assert chosen == "former_customer"
    assert 0 < visible(journeys) < every
    assert journeys.text_content("#count") == f"{visible(journeys)} of {every} are shown"

    journeys.get_by_role("button", name="Show all").press("Enter")
    journeys.get_by_text(f"{every} of {every} are shown").wait_for()
    assert visible(journeys) == every


def test_words_find_journeys(journeys: Any) -> None:
    """What is typed is looked for in ids and touchpoints."""
    journeys.get_by_label("Id or touchpoint").fill("no such thing")

    assert visible(journeys) == 0


def test_a_journey_opens_by_keyboard(journeys: Any) -> None:
    """Enter on a journey unfolds its traces."""
    journeys.locator("summary").first.press("Enter")

    assert journeys.locator("details.j[open] ol.wf").first.is_visible()


def test_a_link_opens_the_touchpoint(chromium: Any, pages: dict[str, Path]) -> None:
    """From the lanes a link leads into the details of a touchpoint, which unfold."""
    tab = chromium.new_page()
    tab.goto(pages["map"].as_uri())

    tab.get_by_role("link", name="checkout.pay").first.press("Enter")

    tab.wait_for_function(
        "document.querySelector('details[open] .name').textContent == 'checkout.pay'"
    )
    assert tab.evaluate("location.hash").startswith("#t")
    tab.close()


def test_without_scripts_only_the_filters_are_missing(
    chromium: Any, pages: dict[str, Path]
) -> None:
    """Every journey can be read where scripts are forbidden."""
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(pages["view"].as_uri())

    assert not tab.locator("form").is_visible()
    assert visible(tab) > 0
    context.close()
