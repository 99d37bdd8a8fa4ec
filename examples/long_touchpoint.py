"""A stream that is one long touchpoint: ``python examples/long_touchpoint.py``."""

import asyncio
import os
from collections.abc import AsyncIterator

import httpx
from asgi_service import serving
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import cxtrace
from cxtrace import JourneyMap, interaction
from cxtrace.integrations.asgi import CXMiddleware

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"

[functions]
service = { contact = "#team-help" }

[request]
customer = [{ cookie = "account" }]

[[stage]]
name = "support"
phase = "customer"

[[touchpoint]]
name = "help.ask"
stage = "support"
owner = "service"
match = { route = "GET /help/answer" }
""")

app = FastAPI()
app.add_middleware(CXMiddleware)


@interaction("find_order")
async def find_order() -> str:
    await asyncio.sleep(0.01)
    return "Your coat is on its way."


@interaction("find_courier")
async def find_courier() -> str:
    await asyncio.sleep(1)
    return "The courier is two streets away."


@app.get("/help/answer")
async def answer() -> StreamingResponse:
    async def events() -> AsyncIterator[str]:
        yield f"data: {await find_order()}\n\n"
        yield f"data: {await find_courier()}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def ask(address: str, patience: int) -> None:
    """Read that many lines of the answer, and hang up."""
    with httpx.stream("GET", f"{address}/help/answer") as stream:
        for number, line in enumerate(filter(None, stream.iter_lines()), 1):
            print(line)
            if number == patience:
                return


def main() -> None:
    """A customer who reads the whole answer, and one who does not wait for it."""
    os.environ.setdefault("CXTRACE_EXPORTER", "console")
    cxtrace.configure(service_name="help", journey_map=MAP)
    with serving(app) as address:
        ask(address, patience=100)
        ask(address, patience=1)
    cxtrace.shutdown()


if __name__ == "__main__":
    main()
