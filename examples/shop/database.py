"""One SQLite file a service, through SQLAlchemy."""

from collections.abc import Callable
from typing import Any

from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from sqlalchemy import Engine, MetaData, create_engine, event, text
from sqlalchemy.orm import Session


def open_database(name: str, **functions: Callable[[Any], Any]) -> Engine:
    """The database in a file of the current folder; its SQL can call the functions."""
    engine = create_engine(f"sqlite:///{name}.db", connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        for function, code in functions.items():
            connection.create_function(function, 1, code)

    return engine


def prepare(engine: Engine, metadata: MetaData, *rows: object) -> None:
    """Make the tables, fill them, and from now on make a span of every statement."""
    metadata.create_all(engine)
    with Session(engine) as session:
        session.execute(text("PRAGMA journal_mode = WAL"))  # who reads keeps nobody from writing
        session.add_all(rows)
        session.commit()
    # Only now, so that setting up is no part of anybody's journey.
    SQLAlchemyInstrumentor().instrument(engine=engine)
