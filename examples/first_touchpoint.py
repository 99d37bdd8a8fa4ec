"""A first touchpoint: the terminal shows where the customer is, how long it took, how it ended."""

import cxtrace
from cxtrace import customer, journey, touchpoint


@touchpoint("checkout.pay", stage="purchase", owner="product", channel="web")
def pay(amount: float) -> bool:
    if amount > 100:
        cxtrace.current_touchpoint().fail("card_declined")
        return False
    return True


if __name__ == "__main__":
    cxtrace.configure(service_name="shop", exporter="console")
    with journey("first_order"), customer("cust-42", consent="granted"):
        pay(49.90)
        pay(149.90)
