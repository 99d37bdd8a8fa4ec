"""The storefront's database."""

import time
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .database import open_database, prepare
from .people import DORA, FAY, PEOPLE

PRODUCTS: Final = {
    "Rain coat": 12_900,
    "Wool hat": 2_900,
    "Hiking boots": 18_900,
    "Rain hat": 3_900,
}


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
    sent_back: Mapped[date | None]


def popularity(product: int) -> int:
    """For the ORDER BY of the search. It did no harm while the shop had two products."""
    time.sleep(0.6)
    return product


def open_and_fill(engine: Engine) -> None:
    """Make the tables, and put into them what the shop has before it opens."""

    def days_ago(days: int) -> date:
        return date.today() - timedelta(days=days)

    prepare(
        engine,
        Base.metadata,
        *(Customer(id=p.id, email=p.email, segment=p.segment, letter=p.letter) for p in PEOPLE),
        *(Product(name=name, cents=cents) for name, cents in PRODUCTS.items()),
        Order(id=DORA.order, customer=DORA.id, cents=12_900, parcel=1, sent_back=days_ago(9)),
        Order(id=FAY.order, customer=FAY.id, cents=2_900, parcel=2, sent_back=days_ago(3)),
    )


engine: Final = open_database("storefront", popularity=popularity)
