"""A FastAPI service with a touchpoint per route. Needs the packages of ``cxtrace[demo]``."""

import asyncio
from collections.abc import Iterator

import httpx
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import cxtrace
from cxtrace import journey, touchpoint

app = FastAPI()


def signed_in() -> str:
    """A dependency: FastAPI runs it in a thread, in a copied context."""
    cxtrace.identify("cust-42", consent="granted")
    return "cust-42"


@app.post("/pay")
@journey("first_order")
@touchpoint("checkout.pay")
async def pay(account: str = Depends(signed_in)) -> dict[str, str]:
    return {"paid by": account}


@touchpoint("invoice.download")
def pages() -> Iterator[bytes]:
    yield b"first page, "
    yield b"second page"


@app.get("/invoice")
def invoice() -> StreamingResponse:
    return StreamingResponse(pages())


async def main() -> None:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        print((await client.post("/pay")).json())
        print((await client.get("/invoice")).text)


if __name__ == "__main__":
    cxtrace.configure(service_name="shop", journey_map="examples/journeys.toml", exporter="console")
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])
    asyncio.run(main())
