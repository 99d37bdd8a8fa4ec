"""Celery tasks whose touchpoints stand in a map alone: ``python examples/celery_tasks.py``."""

import os

from celery import Celery, Task
from celery.contrib.testing.worker import start_worker
from opentelemetry.instrumentation.celery import CeleryInstrumentor

import cxtrace
from cxtrace import JourneyMap, customer, journey, touchpoint
from cxtrace.integrations.celery import instrument_app

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"

[functions]
product = { contact = "#team-checkout" }
sales = { contact = "#team-sales" }

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "product"

[[touchpoint]]
name = "order.confirm"
stage = "purchase"
owner = "sales"
match = { task = "shop.confirm" }

[[touchpoint]]
name = "newsletter.winback"
stage = "purchase"
owner = "sales"
match = { task = "shop.invite", customer = { header = "X-Customer-Id" } }

[[journey]]
name = "first_order"
goal = "order.confirm"
routes = { direct = ["checkout.pay", "order.confirm"] }
""")

# In a service: broker="redis://…", and a worker in a process of its own.
app = Celery("shop", broker="memory://", backend="cache+memory://")


@app.task(name="shop.confirm", bind=True)
def confirm(self: Task, order: int) -> str:
    if self.request.retries == 0:
        raise self.retry(countdown=0.1)  # the mail server is busy
    return f"Order {order} is on its way."


@app.task(name="shop.invite")
def invite() -> None: ...


instrument_app(app)


def main() -> None:
    """A customer who pays, and another one to whom the shop writes by itself."""
    os.environ.setdefault("CXTRACE_EXPORTER", "console")
    cxtrace.configure(service_name="shop", journey_map=MAP)
    CeleryInstrumentor().instrument()
    with start_worker(app, perform_ping_check=False):
        with journey("first_order"), customer("cust-42"), touchpoint("checkout.pay"):
            confirmed = confirm.delay(7)
        print(confirmed.get(timeout=20))
        invite.apply_async(headers={"X-Customer-Id": "cust-7"}).get(timeout=20)
    cxtrace.shutdown()


if __name__ == "__main__":
    main()
