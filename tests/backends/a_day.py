"""One day of the shop in a moment: whoever sends its metrics knows what PromQL must answer.

``python tests/backends/a_day.py`` sends them where ``OTEL_*`` says. Durations are those of a clock
that this program sets. Morning and afternoon are alike: 40 people come, 20 want to pay, and nothing
is left to chance. Each is sent when it is over, for a counter needs two values to grow. With
``stay`` the process goes on telling its metrics, as that of a service does.
"""

from __future__ import annotations

import sys
import time
from typing import NamedTuple

import cxtrace
from cxtrace import _clock, interaction, journey, touchpoint


class Payment(NamedTuple):
    """Seconds that the customer waited, actions that it took, and why it failed, if it did."""

    seconds: float
    actions: int = 2
    reason: str | None = None


PAYMENTS = (
    *[Payment(0.4)] * 3,
    *[Payment(1.5)] * 9,
    *[Payment(5.0, actions=4)] * 4,
    *[Payment(12.0, actions=5)] * 2,
    *[Payment(1.0, reason="card_declined")] * 2,
)
NPS = (9, 9, 10, 10, 10, 7, 8, 8, 3, 6)
WAITS_FOR_FINANCE = (1_800.0,) * 6 + (7_200.0,) * 3 + (172_800.0,)

BEGUN = time.time() - 3 * 3_600
"""It is over by now, and not yet long ago, for whoever looks for traces and exemplars."""

now = 0.0


def spend(seconds: float) -> None:
    """Let time pass."""
    global now
    now += seconds


def browse(number: int) -> None:
    """Everybody looks, three quarters look closer, half want to buy."""
    with touchpoint("home.visit") as tp:
        spend(0.2)
        if number % 4 == 0:
            tp.mention("friends" if number % 8 else "advertising")
    if number < 30:
        with touchpoint("product.view") as tp:
            spend(0.3)
            bar = tp.nudge("free_shipping_bar", technique="incentive", variant="ab"[number % 2])
            likes_it = number % 3 == 0 or (number % 2 and number % 5 == 0)
            bar.accepted() if likes_it else bar.ignored()


def pay(payment: Payment) -> None:
    """A payment; slow ones annoy."""
    with touchpoint("checkout.pay") as tp:
        for step in range(payment.actions):
            with interaction("confirm" if step else "enter_card_number"):
                spend(payment.seconds / payment.actions)
        if payment.seconds > 2:
            tp.emotion("frustration", source="self_reported", valence=-0.6)
        if payment.reason is not None:
            tp.fail(payment.reason)
    if payment.reason is None:
        with touchpoint("order.confirm") as tp:
            spend(0.1)
            tp.value(50.0, "EUR", type="revenue")


def after_sales() -> None:
    """What comes later: opinions, complaints, refunds."""
    for score in NPS:
        with touchpoint("delivery.track") as tp:
            tp.feedback("nps", score)
    for number in range(4):
        with touchpoint("return.request") as tp:
            tp.complaint("opened")
        if number:
            with touchpoint("return.request") as tp:
                tp.complaint("resolved", open_for=number * 86_400.0)
    with touchpoint("order.confirm") as tp:
        tp.complaint("opened")
    for seconds in WAITS_FOR_FINANCE:
        with journey("return_goods"), touchpoint("return.request") as tp:
            tp.handoff("finance", waited=seconds).outcome("handed_off")
    for days in (2.0, 3.0, 5.0, 6.5, 9.0):
        with touchpoint("return.refund") as tp:
            tp.deliver("refund_7d", days)


def half_a_day() -> None:
    """The morning, and the afternoon."""
    for number in range(40):
        with journey("first_order"):
            browse(number)
            if number < len(PAYMENTS):
                pay(PAYMENTS[number])
        spend(60)
    after_sales()


def live() -> None:
    """The whole day, and send it."""
    _clock.steady = lambda: now
    _clock.wall_ns = lambda: int((BEGUN + now) * 1e9)
    cxtrace.configure(service_name="shop", journey_map="examples/journeys.toml")
    for half in (half_a_day, half_a_day):
        half()
        if not cxtrace.flush(60):
            sys.exit("the metrics were not delivered")
        time.sleep(0.1)  # a store keeps one value of a series for each moment


if __name__ == "__main__":
    live()
    while "stay" in sys.argv:
        cxtrace.flush(5)
        time.sleep(1)
