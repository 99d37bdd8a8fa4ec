"""Scripted customers, each with a browser. They know nothing of cxtrace or of OpenTelemetry.

    python -m shop.customers http://127.0.0.1:8000

Prints a line of JSON for every person who has left the shop.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Final

import httpx

from .people import ANN, BOB, CARLA, DORA, EMIL, Person
from .settings import STOREFRONT


class Browser(httpx.Client):
    """Keeps cookies, follows links, and its user looks at every page for a moment."""

    def __init__(self, shop: str) -> None:
        super().__init__(base_url=shop, follow_redirects=True, timeout=10)
        self.journey = ""

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        time.sleep(0.05)
        response = super().send(request, **options)
        response.raise_for_status()
        self.journey = response.headers["journey-id"]
        return response


def first_order(ann: Person, browser: Browser) -> str:
    """Nobody knows her until she logs in; the search is slow; the parcel arrives."""
    browser.get("/")
    browser.get("/products", params={"words": "rain"})
    browser.get("/products/1")
    browser.post("/cart/1")
    browser.get("/cart")
    browser.post("/account/login", json={"email": ann.email})
    browser.post("/checkout/address", json={"lines": ann.address})
    order = browser.post("/checkout", json={"card": ann.card}).json()["order"]
    for _ in range(40):
        if browser.get(f"/orders/{order}").json()["shipped"]:
            return "logged in halfway, paid, and the parcel is on its way"
        time.sleep(0.2)
    raise TimeoutError("the parcel was never shipped")


def card_declined(bob: Person, browser: Browser) -> str:
    """His bank says no."""
    browser.get("/")
    browser.get("/products/3")
    browser.post("/cart/3")
    browser.post("/account/login", json={"email": bob.email})
    order = browser.post("/checkout", json={"card": bob.card}).json()["order"]
    return "the card was declined" if order is None else "the card was taken, to our surprise"


def full_cart_left(carla: Person, browser: Browser) -> str:
    """A letter brought her back, the price made her leave."""
    browser.post("/letter", json={"code": carla.letter})
    browser.get("/products/2")
    browser.post("/cart/2")
    browser.get("/cart")
    browser.delete("/cart")
    return "followed a letter, filled a cart and left it behind"


def return_goods(dora: Person, browser: Browser) -> str:
    """An invoice that takes too long at first, and money back in the end."""
    browser.post("/account/login", json={"email": dora.email})
    with browser.stream("GET", "/account/invoices/0d7a5c19") as pages:
        next(pages.iter_lines())
    invoice = browser.get("/account/invoices/0d7a5c19").text
    browser.post("/account/returns/0d7a5c19")
    pages_read = len(invoice.splitlines())
    return f"gave up a download, then read all {pages_read} pages, and got the money back"


def won_back(emil: Person, browser: Browser) -> str:
    """A letter brought him back, and he stays."""
    browser.post("/letter", json={"code": emil.letter})
    browser.get("/products/4")
    browser.post("/cart/4")
    browser.post("/checkout/address", json={"lines": emil.address})
    order = browser.post("/checkout", json={"card": emil.card}).json()["order"]
    browser.get(f"/orders/{order}")
    return "followed a letter and bought again"


Walk = Callable[[Person, Browser], str]
WALKS: Final[tuple[tuple[Person, str, Walk], ...]] = (
    (ANN, "first_order", first_order),
    (BOB, "first_order", card_declined),
    (CARLA, "win_back", full_cart_left),
    (EMIL, "win_back", won_back),
    (DORA, "return_goods", return_goods),
)


def walk(shop: str, person: Person, journey: str, story: Walk) -> dict[str, Any]:
    """What came of one person's way through the shop."""
    found: dict[str, Any] = {"person": person._asdict(), "journey": journey}
    with Browser(shop) as browser:
        try:
            found["story"] = story(person, browser)
        except (httpx.HTTPError, TimeoutError, LookupError) as error:
            found["error"] = f"{type(error).__name__}: {error}"
        found["id"] = browser.journey
    return found


def main() -> None:
    """Let all of them into the shop at once."""
    shop = sys.argv[1] if len(sys.argv) > 1 else STOREFRONT.url
    with ThreadPoolExecutor(len(WALKS)) as pool:
        for done in as_completed(pool.submit(walk, shop, *each) for each in WALKS):
            print(json.dumps(done.result()), flush=True)


if __name__ == "__main__":
    main()
