"""A WSGI service whose touchpoints stand in a map alone: ``python examples/wsgi_service.py``."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.request import Request, urlopen
from wsgiref.simple_server import WSGIRequestHandler, make_server

import cxtrace
from cxtrace import JourneyMap
from cxtrace.integrations.wsgi import CXMiddleware

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = { contact = "#team-sales" }

[request]
customer = [{ user = "name" }, { header = "X-Customer-Id" }]
journey = [{ cookie = "visitor" }]

[[stage]]
name = "consideration"
phase = "pre_customer"

[[touchpoint]]
name = "catalogue.download"
stage = "consideration"
owner = "sales"
match = { route = "GET /catalogue/{season}" }

[[journey]]
name = "first_order"
goal = "catalogue.download"
""")


def pages() -> Iterator[bytes]:
    yield b"hats, "
    yield b"coats"


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/catalogue/winter":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return pages()
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"no such catalogue"]


service = CXMiddleware(application)


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def main() -> None:
    """A server, and two requests of one browser."""
    os.environ.setdefault("CXTRACE_EXPORTER", "console")
    cxtrace.configure(service_name="shop", journey_map=MAP)
    with make_server("127.0.0.1", 0, service, handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        browser = {"Cookie": "visitor=v-1", "X-Customer-Id": "cust-42"}
        with urlopen(Request(f"{address}/catalogue/winter", headers=browser)) as answer:
            print(answer.read().decode())
        try:
            urlopen(Request(f"{address}/catalogue/monsoon", headers=browser))
        except OSError as error:
            print(error)
        server.shutdown()
    cxtrace.shutdown()


if __name__ == "__main__":
    main()
