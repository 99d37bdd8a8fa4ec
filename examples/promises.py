"""Promises kept and broken: ``python examples/promises.py``."""

from in_the_terminal import look, set_up

from cxtrace import interaction, journey, touchpoint


def pay() -> None:
    with touchpoint("checkout.pay"):
        for step in ("enter_card_number", "enter_card_number", "enter_card_number", "confirm"):
            with interaction(step):
                ...


def deliver() -> None:
    with touchpoint("order.confirm"):
        ...  # from here on, the parcel has 48 hours
    with touchpoint("delivery.ship"):
        ...  # and here it is


def refund() -> None:
    with touchpoint("return.refund") as tp:
        tp.deliver("refund_7d", 8.4)  # only the bank knows how long it took, in days


if __name__ == "__main__":
    set_up()
    with journey("first_order", route="express"):
        pay()
        deliver()
        refund()
    look("cx.promise.evalua")
