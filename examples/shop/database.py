"""One SQLite file a service, through SQLAlchemy."""

from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from sqlalchemy import Engine, MetaData, create_engine, text
from sqlalchemy.orm import Session


def open_database(name: str) -> Engine:
    """The database in a file of the current folder."""
    return create_engine(f"sqlite:///{name}.db", connect_args={"timeout": 30})


def prepare(engine: Engine, metadata: MetaData, *rows: object) -> None:
    """Make the tables, fill them, and from now on make a span of every statement."""
    metadata.create_all(engine)
    with Session(engine) as session:
        session.execute(text("PRAGMA journal_mode = WAL"))  # who reads keeps nobody from writing
        session.add_all(rows)
        session.commit()
    # Only now, so that setting up is no part of anybody's journey.
    SQLAlchemyInstrumentor().instrument(engine=engine)
