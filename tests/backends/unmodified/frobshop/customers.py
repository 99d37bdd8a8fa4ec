"""The customers of the shop, each in a browser of their own: what they do, and what came of it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

from ..browser import Browser

ADDRESS = {"first_name": "Ann", "last_name": "Leigh-Quatermain", "line1": "7 Orchard Terrace"}
ADDRESS |= {"line4": "Winterbourne", "postcode": "GB1 2AB"}
PASSWORD = "a long enough passphrase"
THANK_YOU = "/checkout/thank-you/"


@dataclass
class Visit:
    """One visit: the browser's cookie, the customer's address if they said it, and the order."""

    story: str
    visitor: str
    email: str | None = None
    order: str | None = None


class Customer:
    """Somebody who looks around the shop."""

    def __init__(self, url: str, story: str) -> None:
        self.visit = Visit(story, f"visitor-{uuid4()}")
        self.browser = Browser(url, self.visit.visitor)

    def look(self, words: str = "boots") -> None:
        """Search, open what is found, and put it into the basket."""
        self.browser.go("/")
        self.browser.go("/search/", q=words)
        product = re.search(r'href="(/catalogue/[\w-]+_(\d+)/)"', self.browser.page.text)
        assert product, self.browser.page.text
        self.browser.go(product[1])
        self.browser.submit(f"/basket/add/{product[2]}/", quantity="1")
        self.browser.go("/basket/")

    def as_guest(self) -> None:
        """Go to the checkout with no account."""
        self.visit.email = new_email()
        self.browser.go("/checkout/")
        self.browser.submit("/checkout/", options="anonymous", username=self.visit.email)

    def register(self, then: str = "/") -> None:
        """Open an account; the shop logs its customer in."""
        self.visit.email = new_email()
        self.browser.go("/accounts/login/", next=then)
        names = ("email", "password1", "password2")
        values = (self.visit.email, PASSWORD, PASSWORD)
        fields = {f"registration-{name}": value for name, value in zip(names, values, strict=True)}
        self.browser.submit("/accounts/login/", registration_submit="1", **fields)

    def log_in(self, email: str, password: str = PASSWORD) -> None:
        """Come back into an account."""
        self.visit.email = email
        self.browser.go("/accounts/login/")
        fields = {"login-username": email, "login-password": password}
        self.browser.submit("/accounts/login/", login_submit="1", **fields)

    def give_address(self, **other: str) -> None:
        """Say where the goods shall go; the shop has one way to send them."""
        self.browser.go("/checkout/shipping-address/")
        self.browser.submit("/checkout/shipping-address/", **{**ADDRESS, **other})

    def order(self) -> None:
        """Look at the payment page, where this shop asks for nothing, and confirm the preview."""
        assert self.browser.path == "/checkout/payment-details/", self.browser.path
        self.browser.go("/checkout/preview/")
        self.browser.submit("/checkout/preview/", action="place_order")
        assert self.browser.path == THANK_YOU, self.browser.path
        number = re.search(r"\b1\d{5}\b", self.browser.page.text)
        assert number, self.browser.page.text
        self.visit.order = number[0]


def new_email() -> str:
    """An address that nobody has."""
    return f"ann.{uuid4().hex[:12]}@customer.example"


def guest(url: str) -> Visit:
    """Order without an account."""
    customer = Customer(url, "orders as a guest")
    customer.look()
    customer.as_guest()
    customer.give_address()
    customer.order()
    return customer.visit


def member(url: str) -> Visit:
    """Open an account first, then order."""
    customer = Customer(url, "has an account and orders")
    customer.register()
    customer.look("jacket")
    customer.browser.go("/checkout/")
    customer.give_address()
    customer.order()
    return customer.visit


def halfway(url: str) -> Visit:
    """Fill the basket unknown, open an account at the till, and order."""
    customer = Customer(url, "registers halfway")
    customer.look("mug")
    customer.register(then="/checkout/")
    customer.give_address()
    customer.order()
    return customer.visit


def careless(url: str) -> Visit:
    """Forget the postcode, see the error, and order after all."""
    customer = Customer(url, "forgets the postcode")
    customer.look()
    customer.as_guest()
    customer.give_address(postcode="")
    assert customer.browser.path == "/checkout/shipping-address/"
    customer.give_address()
    customer.order()
    return customer.visit


def leaver(url: str) -> Visit:
    """Fill the basket, and never come back."""
    customer = Customer(url, "abandons the basket")
    customer.look("jacket")
    return customer.visit


def return_of(url: str, order: Visit) -> Visit:
    """Look the order up in the account, weeks later, in another browser."""
    assert order.email
    customer = Customer(url, "sends goods back")
    customer.log_in(order.email)
    customer.browser.go("/accounts/orders/")
    customer.browser.go(f"/accounts/orders/{order.order}/")
    customer.visit.order = order.order
    return customer.visit


def staff_takes_back(url: str, visit: Visit, customer_id: str, staff: tuple[str, str]) -> None:
    """Staff marks the goods as returned and the money as refunded, in oscar's dashboard.

    The back office's browser says for whom it works: a header of its own names the customer.
    """
    desk = Customer(url, "staff")
    desk.log_in(*staff)
    desk.browser.client.headers["X-Customer-Id"] = customer_id
    page = f"/dashboard/orders/{visit.order}/"
    for action, event, code in (
        ("create_shipping_event", "shipping_event_type", "returned"),
        ("create_payment_event", "payment_event_type", "refunded"),
    ):
        desk.browser.go(page)
        line = re.search(r'name="selected_line" value="(\d+)"', desk.browser.page.text)
        assert line, desk.browser.page.text
        fields = {"line_action": action, event: code, "selected_line": line[1]}
        desk.browser.submit(page, **fields)


STORIES = (guest, member, halfway, careless, leaver, guest, member, leaver)


def shop(url: str) -> list[Visit]:
    """Let all customers in at once."""
    with ThreadPoolExecutor(len(STORIES)) as pool:
        return list(pool.map(lambda story: story(url), STORIES))
