"""A Flask service whose touchpoints stand in a map alone: ``python examples/flask_service.py``."""

import os

from flask import Flask, g, redirect, session
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from werkzeug.wrappers import Response

import cxtrace
from cxtrace import JourneyMap
from cxtrace.integrations.flask import instrument_app

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = { contact = "#team-sales" }
product = { contact = "#team-checkout" }

[request]
customer = [{ user = "id" }, { session = "customer_id" }]
journey = [{ cookie = "visitor" }]

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "cart.view"
stage = "purchase"
owner = "sales"
match = { route = "GET /cart" }

[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "product"
match = { route = "POST /pay/{order}", outcome = [
  { redirect = "/thank-you", is = "completed" },
  { status = "200", is = "failed" },
] }

[[journey]]
name = "first_order"
goal = "checkout.pay"
routes = { direct = ["cart.view", "checkout.pay"] }
""")


def create_app() -> Flask:
    app = Flask(__name__)
    app.secret_key = os.environ.get("SHOP_SECRET", "only for this example")

    @app.before_request
    def load_user() -> None:
        g.user = {"id": "cust-42"}

    @app.get("/cart")
    def cart() -> list[str]:
        goods: list[str] = session.get("cart", ["Rain coat"])
        return goods

    @app.post("/pay/<int:order>")
    def pay(order: int) -> Response | str:
        return redirect("/thank-you") if order < 100 else "Your card was declined."

    instrument_app(app)
    return app


def main() -> None:
    """Three requests of one browser."""
    os.environ.setdefault("CXTRACE_EXPORTER", "console")
    cxtrace.configure(service_name="shop", journey_map=MAP)
    app = create_app()
    FlaskInstrumentor.instrument_app(app)
    browser = app.test_client()
    browser.set_cookie("visitor", "v-1")
    print(browser.get("/cart").json)
    for order in (7, 777):
        print(browser.post(f"/pay/{order}").status)
    cxtrace.shutdown()


if __name__ == "__main__":
    main()
