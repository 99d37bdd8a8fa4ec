"""The work on a message as a touchpoint of the map: ``python examples/message_consumer.py``.

A list stands for the broker, and its records for those of kafka-python.
"""

import os
from typing import NamedTuple

import cxtrace
from cxtrace import JourneyMap, current_touchpoint, customer, journey, touchpoint
from cxtrace.integrations.messages import carrying, consuming

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = { contact = "#team-sales" }
product = { contact = "#team-checkout" }

[[stage]]
name = "purchase"
phase = "customer"

[[stage]]
name = "delivery"
phase = "customer"

[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "product"

[[touchpoint]]
name = "delivery.pack"
stage = "delivery"
owner = "sales"
initiator = "company"
match = { consume = "orders" }

[[journey]]
name = "first_order"
goal = "delivery.pack"
routes = { direct = ["checkout.pay", "delivery.pack"] }
""")


class Record(NamedTuple):
    topic: str
    value: bytes
    headers: list[tuple[str, bytes]]


broker: list[Record] = []


@touchpoint("checkout.pay")
def pay(order: bytes) -> None:
    headers = [("content-type", b"text/plain")]
    broker.append(Record("orders", order, carrying(headers)))


def pack(order: bytes) -> None:
    if order == b"umbrella":
        current_touchpoint().friction("unavailable")
        raise LookupError(order)


def consume() -> None:
    for record in broker:
        try:
            with consuming(record.topic, record.headers):
                pack(record.value)
        except LookupError:
            print("not packed")


if __name__ == "__main__":
    os.environ.setdefault("CXTRACE_EXPORTER", "console")
    cxtrace.configure(service_name="shop", journey_map=MAP)
    for name, goods in (("cust-1", b"rain coat"), ("cust-2", b"umbrella")):
        with journey("first_order"), customer(name):
            pay(goods)
    consume()
    cxtrace.shutdown()
