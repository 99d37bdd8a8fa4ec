"""Payments: asks the bank, and pays back. Flask."""

import logging
import signal
import sys
import time
from typing import Any

import structlog
from flask import Flask, request
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import cxtrace
from cxtrace import touchpoint

from . import logs
from .database import open_database, prepare
from .people import DECLINED, SLOW
from .settings import PAYMENTS

app = Flask(__name__)
engine = open_database("payments")
log = structlog.get_logger("shop.payments")


class Base(DeclarativeBase):
    """What is in the database of this service."""


class Offer(Base):
    """A way to pay, from some amount on."""

    __tablename__ = "offer"
    name: Mapped[str] = mapped_column(primary_key=True)
    from_cents: Mapped[int]


class Payment(Base):
    """What the bank said about an order, or what was paid back."""

    __tablename__ = "payment"
    id: Mapped[int] = mapped_column(primary_key=True)
    order: Mapped[str]
    cents: Mapped[int]
    approved: Mapped[bool]


@app.get("/offers")
def offers() -> list[str]:
    """Ways to pay. There is no cxtrace here: the customer is at a touchpoint of the storefront,
    and what the database does for it carries that touchpoint's tags."""
    cents = request.args.get("cents", 0, type=int)
    with Session(engine) as session:
        return list(session.scalars(select(Offer.name).where(Offer.from_cents <= cents)))


@app.post("/payments")
@touchpoint("payment.authorise")
def authorise() -> dict[str, bool]:
    """The bank says yes or no: with 200 OK in both cases, but not to the customer."""
    wanted: dict[str, Any] = request.get_json()
    time.sleep(2.2 if wanted["card"] == SLOW else 0.15)  # the bank thinks
    approved = wanted["card"] != DECLINED
    if not approved:
        cxtrace.current_touchpoint().fail("card_declined")
    _book(wanted["order"], wanted["cents"], approved=approved)
    return {"approved": approved}


@app.post("/refunds")
@touchpoint("return.refund")
def refund() -> dict[str, int]:
    """Money back. Only the books know since when it was due, so they say what became of it."""
    wanted: dict[str, Any] = request.get_json()
    _book(wanted["order"], -wanted["cents"], approved=True)
    cxtrace.deliver("refund_7d", wanted["days"])
    cxtrace.value(wanted["cents"] / 100, "EUR", type="refund")
    log.info("refunded", order=wanted["order"], days=wanted["days"])
    return {"cents": wanted["cents"]}


def _book(order: str, cents: int, *, approved: bool) -> None:
    with Session(engine) as session:
        session.add(Payment(order=order, cents=cents, approved=approved))
        session.commit()


def main() -> None:
    """Serve until the process is stopped."""
    cxtrace.configure(service_name="payments")
    logs.set_up()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    FlaskInstrumentor().instrument_app(app)  # type: ignore[no-untyped-call]
    prepare(
        engine,
        Base.metadata,
        Offer(name="card", from_cents=0),
        Offer(name="instalments", from_cents=10_000),
    )
    # Leave by the front door: cxtrace sends what is waiting when Python exits.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    app.run(PAYMENTS.host, PAYMENTS.port)


if __name__ == "__main__":
    main()
