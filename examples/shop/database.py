"""One SQLite file a service, through SQLAlchemy."""

from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from sqlalchemy import Engine, MetaData
from sqlalchemy.orm import Session


def prepare(engine: Engine, metadata: MetaData, *rows: object) -> None:
    """Make the tables, fill them, and from now on make a span of every statement."""
    metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(rows)
        session.commit()
    # Only now, so that setting up is no part of anybody's journey.
    SQLAlchemyInstrumentor().instrument(engine=engine)
