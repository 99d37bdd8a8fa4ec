"""Scripted customers, each with a browser. They know nothing of cxtrace or of OpenTelemetry.

    python -m shop.customers http://127.0.0.1:8000

Prints a line of JSON for every person who has left the shop.
"""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final

import httpx

from .people import ANN, BOB, CARLA, DORA, EMIL, FAY, GIL, Person
from .settings import STOREFRONT


class Browser(httpx.Client):
    """Keeps cookies, follows links, and its user looks at every page for a moment.

    Attributes:
        journey: What the shop calls their way through it.
        diary: What was done how many times: `POST /cart/…`.
    """

    def __init__(self, shop: str) -> None:
        super().__init__(base_url=shop, follow_redirects=True, timeout=10)
        self.journey = ""
        self.diary: Counter[str] = Counter()

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        time.sleep(0.05)
        response = super().send(request, **options)
        for each in (*response.history, response):
            path = re.sub(r"/(\d+|[0-9a-f]{8})\b", "/…", each.request.url.path)
            self.diary[f"{each.request.method} {path}"] += 1
        if response.status_code != 401:
            response.raise_for_status()
        self.journey = response.headers["journey-id"] or self.journey
        return response

    def buy(self, card: str, **more: Any) -> str:
        """The order, or an empty text where the bank says no."""
        order = self.post("/checkout", json={"card": card, **more}).json()["order"]
        self.diary["bought" if order else "declined"] += 1
        return order or ""


def wait_for_mail(order: str) -> None:
    """Do something else until the shop writes that the parcel is on its way."""
    for _ in range(200):
        if Path(f"{order}.mail").exists():
            return
        time.sleep(0.05)
    raise TimeoutError("the parcel was never shipped")


def first_order(ann: Person, browser: Browser) -> str:
    """Friends sent her. Nobody knows her until she logs in; the search is slow."""
    browser.get("/", params={"heard_of_us": "friends"})
    browser.get("/products", params={"words": "rain"})
    browser.get("/products/1")
    browser.post("/cart/1")
    browser.get("/cart")
    browser.post("/account/login", json={"email": ann.email})
    browser.post("/checkout/address", json={"lines": ann.address, "green": "accepted"})
    order = browser.buy(ann.card)
    wait_for_mail(order)
    for _ in range(2):
        browser.get(f"/orders/{order}")
    opinion = {"kind": "nps", "points": 9, "face": "delight"}
    browser.post(f"/orders/{order}/opinion", json=opinion)
    return "logged in halfway, paid, and the parcel is on its way"


def card_declined(bob: Person, browser: Browser) -> str:
    """His bank says no, and no again."""
    browser.get("/")
    browser.get("/products/3")
    browser.post("/cart/3")
    browser.post("/account/login", json={"email": bob.email})
    browser.post("/checkout/address", json={"lines": bob.address, "green": "declined"})
    for _ in range(3):
        if browser.buy(bob.card):
            return "the card was taken, to our surprise"
        time.sleep(0.5)
    return "the card was declined three times"


def full_cart_left(carla: Person, browser: Browser) -> str:
    """A letter brought her back, the price made her leave, and no coupon helped."""
    browser.post("/letter", json={"code": carla.letter})
    browser.get("/products/2")
    browser.post("/cart/2")
    browser.get("/cart")
    for code in ("SUMMER", "BACK10", "PLEASE"):
        browser.post("/coupon", json={"code": code})
    browser.post("/checkout/address", json={"lines": carla.address, "green": "ignored"})
    browser.get("/products/2")
    browser.delete("/cart")
    return "followed a letter, filled a cart and left it behind"


def return_goods(dora: Person, browser: Browser) -> str:
    """She mistypes her address, an invoice takes too long, and her money nine days."""
    for typo in ("exmaple.com", "example.con", "example"):
        browser.post("/account/login", json={"email": f"dora@{typo}"})
        browser.diary["unknown"] += 1
    browser.post("/account/link")
    browser.post("/account/login", json={"email": dora.email})
    with browser.stream("GET", f"/account/invoices/{dora.order}") as pages:
        next(pages.iter_lines())
        browser.diary["given up"] += 1
    invoice = browser.get(f"/account/invoices/{dora.order}").text
    browser.post(f"/account/returns/{dora.order}")
    pages_read = len(invoice.splitlines())
    return f"gave up a download, then read all {pages_read} pages, and got the money back"


def won_back(emil: Person, browser: Browser) -> str:
    """A letter brought him back, and he stays, although his card has many digits."""
    browser.post("/letter", json={"code": emil.letter})
    browser.get("/products/4")
    browser.post("/cart/4")
    browser.post("/checkout/address", json={"lines": emil.address, "green": "reversed"})
    order = browser.buy(emil.card, typed=3)
    wait_for_mail(order)
    browser.get(f"/orders/{order}")
    browser.post(f"/orders/{order}/opinion", json={"kind": "ces", "points": 3})
    return "followed a letter and bought again"


def complain(fay: Person, browser: Browser) -> str:
    """What she sent back was broken. Finance sends her to service, which does not help for long."""
    browser.post("/account/login", json={"email": fay.email})
    browser.post(f"/account/invoices/{fay.order}/question")
    for words in ("broken", "agreed", "again"):
        browser.post(f"/chat/{fay.order}", json={"says": words})
    browser.post(f"/chat/{fay.order}/stars", json={"stars": 2})
    browser.post(f"/account/returns/{fay.order}")
    return "complained, was soothed, complained again and got the money back"


def guest(gil: Person, browser: Browser) -> str:
    """An advertisement made him look, he bought as a guest, and his bank is slow."""
    browser.get("/products/4", params={"heard_of_us": "advertising"})
    browser.post("/cart/4")
    browser.get("/cart")
    browser.post("/checkout/address", json={"lines": gil.address, "green": "accepted"})
    browser.buy(gil.card)
    return "only looked, then bought as a guest, and waited for the bank"


Walk = Callable[[Person, Browser], str]
WALKS: Final[tuple[tuple[Person, str, Walk], ...]] = (
    (ANN, "first_order", first_order),
    (BOB, "first_order", card_declined),
    (CARLA, "win_back", full_cart_left),
    (EMIL, "win_back", won_back),
    (DORA, "return_goods", return_goods),
    (FAY, "return_goods", complain),
    (GIL, "first_order", guest),
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
        found["diary"] = browser.diary
    return found


def main() -> None:
    """Let all of them into the shop at once."""
    shop = sys.argv[1] if len(sys.argv) > 1 else STOREFRONT.url
    with ThreadPoolExecutor(len(WALKS)) as pool:
        for done in as_completed(pool.submit(walk, shop, *each) for each in WALKS):
            print(json.dumps(done.result()), flush=True)


if __name__ == "__main__":
    main()
