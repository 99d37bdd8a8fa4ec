"""The storefront: what customers see. FastAPI; asks payments over HTTP, tells fulfilment by queue.

With `attach=True` a touchpoint is the request's own span. What is not attached is a span below it.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import uvicorn
from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, StreamingResponse
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import cxtrace
from cxtrace import interaction, touchpoint

from . import warehouse
from .database import open_database, prepare
from .people import DORA, PEOPLE
from .settings import PAYMENTS, STOREFRONT
from .visits import Visiting, Visits

engine = open_database("storefront")
payments = httpx.AsyncClient(base_url=PAYMENTS.url)


class Base(DeclarativeBase):
    """What is in the database of this service."""


class Customer(Base):
    __tablename__ = "customer"
    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    segment: Mapped[str]
    letter: Mapped[str]


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    cents: Mapped[int]


class CartLine(Base):
    __tablename__ = "cart_line"
    id: Mapped[int] = mapped_column(primary_key=True)
    visit: Mapped[str]
    product: Mapped[int]


class Address(Base):
    __tablename__ = "address"
    customer: Mapped[str] = mapped_column(primary_key=True)
    lines: Mapped[str]


class Order(Base):
    __tablename__ = "order"
    id: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str]
    cents: Mapped[int]
    parcel: Mapped[int | None]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """A server that is told to stop may be gone before Python's exit handlers run."""
    yield
    await run_in_threadpool(cxtrace.flush)


app = FastAPI(lifespan=lifespan)
app.add_middleware(Visits)


# Looking around


@app.post("/letter")
@touchpoint("newsletter.winback", attach=True)
def follow_letter(code: Annotated[str, Body(embed=True)], visit: Visiting) -> RedirectResponse:
    """The code in the letter tells who comes, without any login."""
    with Session(engine) as session:
        visit.customer = session.scalar(select(Customer.id).where(Customer.letter == code))
    visit.identify()
    return RedirectResponse("/", status_code=303)


@app.get("/")
@touchpoint("home.visit", attach=True)
def home() -> list[str]:
    with Session(engine) as session:
        return list(session.scalars(select(Product.name).limit(3)))


# Every shop has one: no index helps a ranking that is computed anew for everyone.
SEARCH = text("""
    WITH RECURSIVE day(age, weight) AS (
        SELECT 0, 1.0 UNION ALL SELECT age + 1, weight * 0.99999 FROM day WHERE age < 2400000
    )
    SELECT id, name FROM product WHERE name LIKE :words
    ORDER BY (SELECT sum(weight) FROM day) / cents
""")


@app.get("/products")
@touchpoint("catalogue.search", attach=True)
def search(words: str) -> dict[int, str]:
    """The slow query: whose experience it spoils is on its span."""
    with Session(engine) as session, interaction("filter_results"):
        found = session.execute(SEARCH, {"words": f"%{words}%"})
        return {row.id: row.name for row in found}


@app.get("/products/{product}")
@touchpoint("product.view", attach=True)
def view(product: int) -> dict[str, str | int]:
    with Session(engine) as session:
        found = session.get(Product, product)
    if found is None:
        cxtrace.current_touchpoint().fail("no_such_product")
        raise HTTPException(404)
    return {"name": found.name, "cents": found.cents}


# The cart


@app.post("/cart/{product}")
@touchpoint("cart.add", attach=True)
def add_to_cart(product: int, visit: Visiting) -> None:
    with Session(engine) as session:
        session.add(CartLine(visit=visit.token, product=product))
        session.commit()
    warehouse.send("reserve", product=product)


@app.get("/cart")
@touchpoint("cart.view", attach=True)
async def view_cart(visit: Visiting) -> dict[str, object]:
    products, cents = await run_in_threadpool(cart_of, visit.token)
    offers = await payments.get("/offers", params={"cents": cents})
    return {"products": products, "cents": cents, "pay_by": offers.json()}


@app.delete("/cart")
def leave(visit: Visiting) -> None:
    """The browser says that its window was closed on a full cart."""
    with touchpoint("cart.view", attach=True) as tp:
        tp.outcome("abandoned")
        products, _ = cart_of(visit.token, empty=True)
        warehouse.send("put_back", products=products)


def cart_of(token: str, *, empty: bool = False) -> tuple[list[int], int]:
    """The products in a cart and what they cost."""
    mine = CartLine.visit == token
    with Session(engine) as session:
        products = list(session.scalars(select(CartLine.product).where(mine)))
        cents = session.scalar(select(func.sum(Product.cents)).where(Product.id.in_(products)))
        if empty:
            session.execute(delete(CartLine).where(mine))
            session.commit()
    return products, cents or 0


# The account


@touchpoint("account.login", attach=True)
def logged_in(email: Annotated[str, Body(embed=True)], visit: Visiting) -> Visiting:
    """A dependency that is no coroutine runs in a thread, in a copy of the context. All the same,
    the span of the request learns who the customer is."""
    with Session(engine) as session:
        visit.customer = session.scalar(select(Customer.id).where(Customer.email == email))
    if visit.customer is None:
        cxtrace.current_touchpoint().fail("unknown_customer")
        raise HTTPException(401)
    cxtrace.identify(visit.customer, kind="person")
    return visit


@app.post("/account/login", dependencies=[Depends(logged_in)])
async def log_in() -> str:
    return "welcome"


@app.get("/account/invoices/{order}")
def download(order: str) -> StreamingResponse:
    return StreamingResponse(invoice(order), media_type="text/plain")


@touchpoint("invoice.download", attach=True)
async def invoice(order: str) -> AsyncIterator[str]:
    """A stream: the touchpoint lasts until its last page, or until the customer gives up."""
    found = await run_in_threadpool(order_of, order)
    for page in range(1, 13):
        await asyncio.sleep(0.05)  # the printer needs a moment
        yield f"Order {order}, page {page} of 12, {found.cents / 12 / 100:.2f} EUR\n"


def order_of(order: str) -> Order:
    with Session(engine) as session:
        return session.get_one(Order, order)


@app.post("/account/returns/{order}")
@touchpoint("return.request", attach=True)
async def request_return(order: str) -> None:
    """It did not fit: the money goes back, and so does the parcel."""
    found = await run_in_threadpool(order_of, order)
    with interaction("print_label"):
        await run_in_threadpool(warehouse.send, "put_back", products=[1])
    refund = await payments.post("/refunds", json={"order": order, "cents": found.cents})
    refund.raise_for_status()


# Buying


@app.post("/checkout/address")
@touchpoint("checkout.address", attach=True)
def set_address(lines: Annotated[str, Body(embed=True)], visit: Visiting) -> None:
    """Bodies and bound parameters are in no span, so this stays between customer and shop."""
    with Session(engine) as session:
        session.merge(Address(customer=visit.customer or visit.visitor, lines=lines))
        session.commit()


@app.post("/checkout")
@touchpoint("checkout.pay", attach=True)
async def pay(card: Annotated[str, Body(embed=True)], visit: Visiting) -> dict[str, str | None]:
    products, cents = await run_in_threadpool(cart_of, visit.token, empty=True)
    order = secrets.token_hex(4)
    with interaction("confirm"):
        wanted = {"order": order, "cents": cents, "card": card}
        answer = await payments.post("/payments", json=wanted)
    if not answer.json()["approved"]:
        # All that HTTP knows is 200 OK.
        cxtrace.current_touchpoint().fail("card_declined")
        await run_in_threadpool(warehouse.send, "put_back", products=products)
        return {"order": None}
    await run_in_threadpool(confirm, order, visit.customer or visit.visitor, cents, products)
    return {"order": order}


@touchpoint("order.confirm", channel="email")
def confirm(order: str, customer: str, cents: int, products: list[int]) -> None:
    with Session(engine) as session:
        session.add(Order(id=order, customer=customer, cents=cents))
        session.commit()
    warehouse.send("deliver", order=order, products=products)


# Waiting for it


@app.get("/orders/{order}")
@touchpoint("delivery.track", attach=True)
def track(order: str) -> dict[str, bool]:
    return {"shipped": order_of(order).parcel is not None}


@app.put("/orders/{order}/parcel")
def set_parcel(order: str, parcel: Annotated[int, Body(embed=True)]) -> None:
    """Fulfilment calls. No touchpoint is here, but the tags of fulfilment's touchpoint are."""
    with Session(engine) as session:
        session.get_one(Order, order).parcel = parcel
        session.commit()


def main() -> None:
    """Serve until the process is stopped."""
    cxtrace.configure(service_name="storefront")
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])
    HTTPXClientInstrumentor().instrument_client(payments)
    products = {"Rain coat": 12_900, "Wool hat": 2_900, "Hiking boots": 18_900, "Rain hat": 3_900}
    prepare(
        engine,
        Base.metadata,
        *(Customer(id=p.id, email=p.email, segment=p.segment, letter=p.letter) for p in PEOPLE),
        *(Product(name=name, cents=cents) for name, cents in products.items()),
        Order(id="0d7a5c19", customer=DORA.id, cents=12_900, parcel=1),
    )
    uvicorn.run(app, host=STOREFRONT.host, port=STOREFRONT.port)


if __name__ == "__main__":
    main()
