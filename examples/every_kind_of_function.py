"""One decorator for every kind of function; the same object in ``with`` and ``async with``."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import cxtrace
from cxtrace import touchpoint


@touchpoint("cart.view")
def view_cart() -> int:
    return 3


@touchpoint("checkout.pay")
async def pay() -> str:
    await asyncio.sleep(0.01)
    return "paid"


@touchpoint("invoice.download")
def download_invoice() -> Iterator[bytes]:
    yield b"first page"
    yield b"second page"


@touchpoint("delivery.track")
async def track_parcel() -> AsyncIterator[str]:
    yield "packed"
    yield "on its way"


class Returns:
    @touchpoint("return.request")
    def request(self) -> None: ...

    @classmethod
    @touchpoint("return.refund")
    def refund(cls) -> None: ...


async def main() -> None:
    view_cart()
    await pay()
    print([len(page) for page in download_invoice()])
    print([place async for place in track_parcel()])
    Returns().request()
    Returns.refund()
    with touchpoint("home.visit"):
        pass
    async with touchpoint("product.view"):
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    cxtrace.configure(service_name="shop", journey_map="examples/journeys.toml", exporter="console")
    asyncio.run(main())
