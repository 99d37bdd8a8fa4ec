"""A FastAPI service whose journeys last for several requests. Needs ``cxtrace[demo]``."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
from fastapi import BackgroundTasks, Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import cxtrace
from cxtrace import journey, touchpoint


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    cxtrace.configure(service_name="shop", journey_map="examples/journeys.toml")
    yield
    cxtrace.shutdown()  # a server that is told to stop runs no exit handlers


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def keep_journey(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    with journey("first_order", id=request.cookies.get("journey")) as walk:
        response = await call_next(request)
    response.set_cookie("journey", walk.id, httponly=True, samesite="lax")
    return response


FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])


def signed_in() -> str:
    """FastAPI runs this in a thread, in a copied context. The request's spans learn it still."""
    cxtrace.identify("cust-42", consent="granted")
    return "cust-42"


@app.get("/cart")
@touchpoint("cart.view")
def view_cart() -> list[str]:
    return ["Rain coat"]


@touchpoint("order.confirm", channel="email")
def send_mail() -> None:
    """Runs after the response has been sent."""


@app.post("/pay")
@touchpoint("checkout.pay")
async def pay(later: BackgroundTasks, account: str = Depends(signed_in)) -> dict[str, str]:
    later.add_task(send_mail)
    return {"paid by": account}


@touchpoint("invoice.download")
async def pages() -> AsyncIterator[bytes]:
    yield b"first page, "
    yield b"second page"


@app.get("/invoice")
def invoice() -> StreamingResponse:
    return StreamingResponse(pages())


async def main() -> None:
    """Three requests of one browser. Your server runs the lifespan by itself."""
    transport = httpx.ASGITransport(app=app)
    browser = httpx.AsyncClient(transport=transport, base_url="http://shop.example.com")
    async with lifespan(app), browser:
        print((await browser.get("/cart")).json())
        print((await browser.post("/pay")).json())
        print((await browser.get("/invoice")).text)


if __name__ == "__main__":
    os.environ.setdefault("CXTRACE_EXPORTER", "console")
    asyncio.run(main())
