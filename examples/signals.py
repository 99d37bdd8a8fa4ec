"""What happened to the customer: ``python examples/signals.py emotion``, or any other signal."""

import sys

from in_the_terminal import look, set_up

import cxtrace
from cxtrace import interaction, journey, touchpoint


@touchpoint("return.request")
def emotion() -> None:
    # The customer has tapped the sad face below the form.
    cxtrace.emotion("disappointment", source="self_reported", valence=-0.7)


@touchpoint("cart.view")
def nudge() -> None:
    bar = cxtrace.nudge("free_shipping_bar", technique="incentive", flag="cart_bar", variant="b")
    with interaction("change_quantity"):
        ...  # a second one of the same
    bar.accepted()


@touchpoint("delivery.track")
def feedback() -> None:
    cxtrace.feedback("nps", 9)
    cxtrace.feedback("csat", 2)
    cxtrace.feedback("suggestion")  # that there was one; its words are not taken


def complaint() -> None:
    with touchpoint("return.request") as tp:
        tp.complaint("opened", friction="repeated_question")
    with touchpoint("return.request") as tp:
        tp.complaint("resolved", open_for=3 * 86_400)
    with touchpoint("invoice.download") as tp:
        tp.complaint("opened", friction="error")


@touchpoint("home.visit")
def mention() -> None:
    # The answer to: how have you heard of us?
    cxtrace.mention("friends", valence=0.8)


def handoff() -> None:
    with touchpoint("return.request") as tp:
        tp.handoff(to="finance")
        tp.outcome("handed_off")
    with touchpoint("return.refund"):  # finance has taken over, so the waiting is over
        ...


@touchpoint("order.confirm")
def value() -> None:
    cxtrace.value(49.90, "EUR", type="revenue")


@touchpoint("newsletter.winback")
def forecast() -> None:
    cxtrace.forecast("churn", probability=0.31, model="rule@1", horizon=30 * 86_400)


SIGNALS = (emotion, nudge, feedback, complaint, mention, handoff, value, forecast)

if __name__ == "__main__":
    wanted = sys.argv[1:] or [signal.__name__ for signal in SIGNALS]
    set_up()
    for signal in SIGNALS:
        if signal.__name__ in wanted:
            with journey("return_goods"):
                signal()
    look(f"cx.{wanted[0]}" if len(wanted) == 1 else "cx.")
