"""A shop in which cards are declined, one after the other.

Spans and metrics go where ``OTEL_*`` says. One payment works before, for a counter needs two values
to grow.
"""

import sys

import cxtrace
from cxtrace import customer, journey, touchpoint

BROKEN = 20


def pay(*, declined: bool) -> None:
    """A payment of one customer."""
    with (
        journey("first_order"),
        customer("cust-42", consent="granted"),
        touchpoint("checkout.pay") as tp,
    ):
        if declined:
            tp.fail("card_declined")


if __name__ == "__main__":
    cxtrace.configure(service_name="till", journey_map="examples/journeys.toml")
    pay(declined=False)
    pay(declined=True)
    delivered = cxtrace.flush(60)
    for _ in range(BROKEN):
        pay(declined=True)
    if not (cxtrace.flush(60) and delivered):
        sys.exit("not everything was delivered")
