"""A service of FastAPI that knows nothing of cxtrace, asked with or without a server."""

import asyncio
import os
from itertools import repeat
from time import process_time
from typing import Any

from fastapi import FastAPI

from benchmarks.load import COOKIES, PATH, SPENT

application = FastAPI()
"""What uvicorn serves."""


@application.get("/products/{number}")
async def product(number: int) -> dict[str, Any]:
    in_stock = await stock(number)
    days = await delivery(number) if in_stock else None
    return {"number": number, "price": await price(number), "days": days}


async def price(_: int) -> float:
    return 89.9


async def stock(_: int) -> int:
    return 3


async def delivery(_: int) -> int:
    return 2


@application.get(SPENT)
async def spent() -> float:
    return process_time()


def asking() -> Any:
    """A function that asks the application so many times, as a server would."""
    if "fastapi" in os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", ""):
        # The automatic instrumentation cannot be told to leave the spans of messages out.
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(application, exclude_spans=["receive", "send"])
    loop = asyncio.new_event_loop()
    scopes = [_scope(headers) for headers in COOKIES]

    async def main(calls: int) -> None:
        for number, _ in enumerate(repeat(None, calls)):
            await application(dict(scopes[number % len(scopes)]), _receive, _send)

    return lambda calls: loop.run_until_complete(main(calls))


def _scope(headers: dict[str, str]) -> dict[str, Any]:
    named = {"host": "shop.example.com", "user-agent": "benchmark", **headers}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in named.items()],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None:
    if message.get("status", 200) != 200:
        raise RuntimeError(f"the application answered {message['status']}")
