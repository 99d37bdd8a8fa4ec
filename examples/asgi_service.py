"""A FastAPI service with touchpoints in a map alone: ``python examples/asgi_service.py``."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse

import cxtrace
from cxtrace import JourneyMap
from cxtrace.integrations.asgi import CXMiddleware

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = { contact = "#team-sales" }
product = { contact = "#team-checkout" }

[request]
customer = [{ cookie = "account" }]
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

app = FastAPI()
app.add_middleware(CXMiddleware)


@app.get("/")
def home(response: Response) -> str:
    response.set_cookie("visitor", uuid4().hex, httponly=True, samesite="lax")
    return "Welcome."


@app.get("/cart")
def cart() -> list[str]:
    return ["Rain coat"]


@app.post("/sign-in")
def sign_in(response: Response) -> str:
    response.set_cookie("account", "cust-42", httponly=True, samesite="lax")
    return "Welcome back."


@app.post("/pay/{order}", response_model=None)
def pay(order: int) -> Response | str:
    return RedirectResponse("/thank-you", 303) if order < 100 else "Your card was declined."


@contextlib.contextmanager
def serving(service: FastAPI) -> Iterator[str]:
    """A server on this machine, for the time of a ``with``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(service, log_level="warning"))
        thread = threading.Thread(target=server.run, args=[[listening]])
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield "http://{}:{}".format(*listening.getsockname())
        server.should_exit = True
        thread.join()


def main() -> None:
    """A server, and one browser that comes, signs in and pays."""
    os.environ.setdefault("CXTRACE_EXPORTER", "console")
    cxtrace.configure(service_name="shop", journey_map=MAP)
    with serving(app) as address, httpx.Client(base_url=address) as browser:
        print(browser.get("/").json())
        print(browser.get("/cart").json())
        print(browser.post("/sign-in").json())
        print(browser.post("/pay/777").json())
        print(browser.post("/pay/7").headers["location"])
    cxtrace.shutdown()


if __name__ == "__main__":
    main()
