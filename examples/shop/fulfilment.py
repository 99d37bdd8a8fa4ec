"""Fulfilment: a worker that packs and ships what the queue brings."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import structlog
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from sqlalchemy import update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import cxtrace
from cxtrace import touchpoint

from . import logs, warehouse
from .database import open_database, prepare
from .settings import STOREFRONT

engine = open_database("fulfilment")
storefront = httpx.Client(base_url=STOREFRONT.url)
log = structlog.get_logger("shop.fulfilment")


class Base(DeclarativeBase):
    """What is in the database of this service."""


class Stock(Base):
    """How many of a product lie in the warehouse."""

    __tablename__ = "stock"
    product: Mapped[int] = mapped_column(primary_key=True)
    pieces: Mapped[int]


class Parcel(Base):
    """A box with one product."""

    __tablename__ = "parcel"
    id: Mapped[int] = mapped_column(primary_key=True)
    order: Mapped[str]
    product: Mapped[int]


def reserve(product: int) -> None:
    """Someone put it into their cart."""
    _change_stock(product, -1)


def put_back(products: list[int]) -> None:
    """Someone left without it, or brought it back."""
    for product in products:
        _change_stock(product, +1)


def deliver(order: str, products: list[int]) -> None:
    """Someone bought it."""
    for parcel in pack(order, products):
        ship(parcel)


@touchpoint("delivery.pack")
def pack(order: str, products: list[int]) -> Iterator[int]:
    """Pack one box after the other. The touchpoint lasts until the last one is packed, and what is
    done with a box in between is no part of it."""
    with Session(engine) as session:
        for product in products:
            parcel = Parcel(order=order, product=product)
            session.add(parcel)
            session.commit()
            yield parcel.id


@touchpoint("delivery.ship")
def ship(parcel: int) -> None:
    """Hand a box over, and tell the storefront and the customer."""
    with Session(engine) as session:
        order = session.get_one(Parcel, parcel).order
    storefront.put(f"/orders/{order}/parcel", json={"parcel": parcel}).raise_for_status()
    Path(f"{order}.mail").touch()  # all that a mail is here: it comes, and makes people look
    log.info("shipped", order=order, parcel=parcel)


def _change_stock(product: int, by: int) -> None:
    with Session(engine) as session:
        session.execute(
            update(Stock).where(Stock.product == product).values(pieces=Stock.pieces + by)
        )
        session.commit()


TASKS: Final[dict[str, Callable[..., None]]] = {
    "reserve": reserve,
    "put_back": put_back,
    "deliver": deliver,
}


def main() -> None:
    """Work until the process is stopped, and what is in the queue is done."""
    cxtrace.configure(service_name="fulfilment")
    logs.set_up()
    HTTPXClientInstrumentor().instrument_client(storefront)
    prepare(engine, Base.metadata, *(Stock(product=n, pieces=100) for n in range(1, 9)))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    while True:
        message: dict[str, Any] | None = warehouse.receive(timeout=0.2)
        if message is not None:
            with warehouse.processing(message):
                TASKS[message["task"]](**message["details"])
        elif stop.is_set():
            break


if __name__ == "__main__":
    main()
