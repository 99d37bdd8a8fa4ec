"""Touchpoints in the tests of your own service. Run with ``pytest examples/own_tests.py``."""

from collections.abc import Callable

import pytest

import cxtrace
from cxtrace import customer, interaction, journey, touchpoint
from cxtrace.testing import Capture

pytestmark = pytest.mark.cxtrace(journey_map="examples/journeys.toml")


# The code under test


def bank(card: str) -> bool:
    """Whether the card is good for it."""
    return not card.endswith("0002")


@touchpoint("checkout.pay")
def pay(card: str, ask: Callable[[str], bool]) -> bool:
    """Ask the bank, while the customer waits."""
    with interaction("confirm"), touchpoint("payment.authorise"):
        is_paid = ask(card)
    if not is_paid:
        cxtrace.current_touchpoint().fail("card_declined")
    return is_paid


@touchpoint("order.confirm")
def confirm() -> None:
    """Say thank you."""


def order(email: str, card: str, ask: Callable[[str], bool] = bank) -> None:
    """Order and pay."""
    with journey("first_order"), customer(email):
        with touchpoint("cart.view"):
            pass
        if pay(card, ask):
            confirm()


# The tests


def test_a_paid_order_goes_its_way(cxtrace_capture: Capture) -> None:
    """Whoever pays reaches the goal of the journey, and nothing is in the way."""
    order("jane@example.com", "4111 1111 1111 1111")

    cxtrace_capture.assert_route(
        "first_order", ["cart.view", "checkout.pay", "payment.authorise", "order.confirm"]
    )
    assert cxtrace_capture.journey("first_order").outcome == "achieved"
    cxtrace_capture.assert_no_friction()


def test_a_declined_card_is_a_failure_of_the_touchpoint(cxtrace_capture: Capture) -> None:
    """A declined card fails the touchpoint, although no exception flies."""
    order("jane@example.com", "4000 0000 0000 0002")

    cxtrace_capture.assert_outcome("checkout.pay", "failed", error="card_declined")
    assert cxtrace_capture.touchpoint("checkout.pay").owner == "product"
    assert cxtrace_capture.visits("order.confirm") == []


def test_a_slow_bank_breaks_our_promise(cxtrace_capture: Capture) -> None:
    """Three seconds are too long for the customer; the clock moves, and the test does not wait."""

    def slow_bank(card: str) -> bool:
        cxtrace_capture.clock.advance(3)
        return bank(card)

    order("jane@example.com", "4111 1111 1111 1111", slow_bank)

    cxtrace_capture.assert_promise("pay_fast", "broken")
    cxtrace_capture.assert_promise("pay_works")
    assert [slow.touchpoint for slow in cxtrace_capture.signals("friction", type="slow")] == [
        "checkout.pay"
    ]


def test_neither_customer_nor_card_is_sent(cxtrace_capture: Capture) -> None:
    """Nothing that is sent tells who has paid, and with what."""
    order("jane@example.com", "4111 1111 1111 1111")

    cxtrace_capture.assert_nothing_personal("jane@example.com", "4111 1111 1111 1111")
    paid = cxtrace_capture.touchpoint("checkout.pay")
    assert paid.customer == cxtrace_capture.pseudonym("jane@example.com")
