"""The storefront: what customers see. FastAPI; asks payments over HTTP, tells fulfilment by queue.

With `attach=True` a touchpoint is the request's own span. What is not attached is a span below it.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Annotated, Literal

import httpx
import structlog
import uvicorn
from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, StreamingResponse
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

import cxtrace
from cxtrace import current_touchpoint, interaction, touchpoint
from cxtrace.attributes import EmotionLabel, MentionSource, NudgeResult

from . import logs, warehouse
from .settings import PAYMENTS, STOREFRONT
from .tables import Address, CartLine, Customer, Order, Product, engine, open_and_fill
from .visits import Visiting, Visits

MONTH = 30 * 86_400.0

payments = httpx.AsyncClient(base_url=PAYMENTS.url)
log = structlog.get_logger("shop.storefront")


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
        found = session.scalar(select(Customer).where(Customer.letter == code))
    if found is not None:
        visit.customer, visit.segment = found.id, found.segment
        visit.identify()
    return RedirectResponse("/", status_code=303)


@app.get("/")
@touchpoint("home.visit", attach=True)
def home(heard_of_us: MentionSource | None = None) -> list[str]:
    """The link tells who spoke about the shop, before it had a customer."""
    if heard_of_us is not None:
        cxtrace.mention(heard_of_us)
    with Session(engine) as session:
        return list(session.scalars(select(Product.name).limit(3)))


SEARCH = text("SELECT id, name FROM product WHERE name LIKE :words ORDER BY popularity(id)")


@app.get("/products")
@touchpoint("catalogue.search", attach=True)
def search(words: str) -> dict[int, str]:
    """The slow query: whose experience it spoils is on its span. That it is slow, the map's rule
    finds, and that it breaks a promise, cxtrace."""
    with Session(engine) as session, interaction("filter_results"):
        found = session.execute(SEARCH, {"words": f"%{words}%"})
        return {row.id: row.name for row in found}


@app.get("/products/{product}")
@touchpoint("product.view", attach=True)
def view(product: int, heard_of_us: MentionSource | None = None) -> dict[str, str | int]:
    if heard_of_us is not None:
        cxtrace.mention(heard_of_us)
    with Session(engine) as session:
        found = session.get(Product, product)
    if found is None:
        current_touchpoint().fail("no_such_product")
        raise HTTPException(404)
    return {"name": found.name, "cents": found.cents}


# The cart


@app.post("/cart/{product}")
@touchpoint("cart.add", attach=True)
def add_to_cart(product: int, visit: Visiting) -> None:
    visit.buys()
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


@app.post("/coupon")
@touchpoint("cart.view", attach=True)
def apply_coupon(code: Annotated[str, Body(embed=True)]) -> bool:
    """A friction that only this code knows of. Who tries again and again, a rule finds."""
    with interaction("apply_coupon"):
        valid = code == "WELCOME"
    if not valid:
        tp = current_touchpoint()
        tp.friction("validation_rejected", severity="low")
        tp.forecast("abandonment", probability=0.4, horizon=3_600.0, model="coupons@1")
    return valid


@app.delete("/cart")
def leave(visit: Visiting) -> None:
    """The browser says that its window was closed on a full cart."""
    with touchpoint("cart.view", attach=True) as tp:
        products, cents = cart_of(visit.token, empty=True)
        tp.outcome("abandoned").value(cents / 100, "EUR", type="at_risk")
        visit.ends("abandoned")
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
        found = session.scalar(select(Customer).where(Customer.email == email))
    if found is None:
        current_touchpoint().friction("validation_rejected").fail("unknown_customer")
        raise HTTPException(401)
    visit.customer, visit.segment = found.id, found.segment
    visit.identify()
    return visit


@app.post("/account/login", dependencies=[Depends(logged_in)])
async def log_in() -> str:
    return "welcome"


@app.post("/account/link")
@touchpoint("account.login", attach=True)
def send_link() -> None:
    """A link to log in is in the mail: they will be back."""
    with interaction("reset_password"):
        current_touchpoint().outcome("deferred")


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


@app.post("/account/invoices/{order}/question")
@touchpoint("invoice.download", attach=True)
def ask_about_invoice() -> str:
    """Finance cannot answer. How long the customer waits for service, cxtrace measures."""
    current_touchpoint().handoff(to="service").outcome("handed_off")
    return "/chat"


def order_of(order: str) -> Order:
    with Session(engine) as session:
        return session.get_one(Order, order)


@app.post("/account/returns/{order}")
@touchpoint("return.request", attach=True)
async def request_return(order: str) -> None:
    """It did not fit: the money goes back, and so does the parcel."""
    with interaction("choose_reason"):
        found = await run_in_threadpool(order_of, order)
    with interaction("print_label"):
        await run_in_threadpool(warehouse.send, "put_back", products=[1])
    days = (date.today() - (found.sent_back or date.today())).days
    wanted = {"order": order, "cents": found.cents, "days": days}
    refund = await payments.post("/refunds", json=wanted)
    refund.raise_for_status()


# Somebody is angry


@app.post("/chat/{order}")
@touchpoint("return.request", channel="chat", attach=True)
def chat(
    order: str, says: Annotated[Literal["broken", "agreed", "again"], Body(embed=True)]
) -> str:
    """What is said stays here. That it is a complaint, and what became of it, does not."""
    tp = current_touchpoint()
    if says == "broken":
        log.warning("complaint", order=order)
        tp.complaint("opened", friction="error")
        tp.friction("repeated_question", source="agent")  # their order's number is in the link
        tp.complaint("acknowledged")
        return "We are sorry. Would 10 EUR make up for it?"
    if says == "agreed":
        tp.complaint("resolved").value(10.0, "EUR", type="credit")
        return "It is on its way."
    tp.complaint("reopened").emotion("anger", source="text", valence=-0.8, confidence=0.7)
    tp.forecast("churn", probability=0.6, horizon=MONTH, model="complaints@1")
    return "Somebody will call you."


@app.post("/chat/{order}/stars")
@touchpoint("return.request", channel="chat", attach=True)
def rate_chat(stars: Annotated[int, Body(embed=True)]) -> None:
    cxtrace.feedback("csat", stars, scale=(1, 5))


# Buying


@app.post("/checkout/address")
@touchpoint("checkout.address", attach=True)
def set_address(
    lines: Annotated[str, Body()], green: Annotated[NudgeResult, Body()], visit: Visiting
) -> None:
    """Bodies and bound parameters are in no span, so this stays between customer and shop.

    The page has ticked the box for green delivery. The browser says what the customer did to it.
    """
    with interaction("enter_address"), Session(engine) as session:
        session.merge(Address(customer=visit.customer or visit.visitor, lines=lines))
        session.commit()
    box = cxtrace.nudge(
        "green_delivery", technique="default", flag="green-delivery", variant="ticked"
    )
    tell = {
        "accepted": box.accepted,
        "declined": box.declined,
        "ignored": box.ignored,
        "reversed": box.reversed,
    }
    tell[green]()


@app.post("/checkout")
@touchpoint("checkout.pay", attach=True)
async def pay(
    card: Annotated[str, Body()], visit: Visiting, typed: Annotated[int, Body()] = 1
) -> dict[str, str | None]:
    """The browser says how many times they typed the card's number until it was one."""
    for _ in range(typed):
        with interaction("enter_card_number"):
            pass
    products, cents = await run_in_threadpool(cart_of, visit.token)
    order = secrets.token_hex(4)
    with interaction("confirm"):
        wanted = {"order": order, "cents": cents, "card": card}
        answer = await payments.post("/payments", json=wanted, timeout=10)
    if not answer.json()["approved"]:
        await run_in_threadpool(decline, visit, cents)
        return {"order": None}
    # A customer who was won back brings what would have been lost.
    won_back = visit.journey == "win_back"
    cxtrace.value(cents / 100, "EUR", type="retained" if won_back else "revenue")
    await run_in_threadpool(confirm, order, visit.customer or visit.visitor, cents)
    await run_in_threadpool(cart_of, visit.token, empty=True)
    await run_in_threadpool(warehouse.send, "deliver", order=order, products=products)
    return {"order": order}


def decline(visit: Visiting, cents: int) -> None:
    """All that HTTP knows is 200 OK. After the third time, they are asked to come another day."""
    tp = current_touchpoint()
    tp.fail("card_declined")
    visit.declined += 1
    log.warning("card declined", times=visit.declined)
    if visit.declined == 3:
        tp.emotion("frustration", source="behavioral", confidence=0.6)
        tp.value(cents / 100, "EUR", type="at_risk")
        visit.ends("failed")
        products, _ = cart_of(visit.token, empty=True)
        warehouse.send("put_back", products=products)


@touchpoint("order.confirm", channel="email")
def confirm(order: str, customer: str, cents: int) -> None:
    """From here on the promise of the map runs that the parcel will be there in 48 hours."""
    with Session(engine) as session:
        session.add(Order(id=order, customer=customer, cents=cents))
        session.commit()
    log.info("order confirmed", order=order, cents=cents)


# Waiting for it


@app.get("/orders/{order}")
@touchpoint("delivery.track", attach=True)
def track(order: str) -> dict[str, bool]:
    return {"shipped": order_of(order).parcel is not None}


@app.post("/orders/{order}/opinion")
@touchpoint("delivery.track", channel="email", attach=True)
def give_opinion(
    kind: Annotated[Literal["nps", "ces"], Body()],
    points: Annotated[int, Body()],
    face: Annotated[EmotionLabel | None, Body()] = None,
) -> None:
    """What the mail asks: would you recommend us, was it easy, and which face is yours?"""
    tp = current_touchpoint()
    tp.feedback(kind, points)
    if face is not None:
        tp.emotion(face, source="self_reported")


@app.put("/orders/{order}/parcel")
def set_parcel(order: str, parcel: Annotated[int, Body(embed=True)]) -> None:
    """Fulfilment calls. No touchpoint is here, but the tags of fulfilment's touchpoint are."""
    with Session(engine) as session:
        session.get_one(Order, order).parcel = parcel
        session.commit()


def main() -> None:
    """Serve until the process is stopped."""
    cxtrace.configure(service_name="storefront")
    logs.set_up()
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])
    HTTPXClientInstrumentor().instrument_client(payments)
    open_and_fill(engine)
    uvicorn.run(app, host=STOREFRONT.host, port=STOREFRONT.port)


if __name__ == "__main__":
    main()
