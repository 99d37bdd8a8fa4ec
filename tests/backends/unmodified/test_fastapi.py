"""An application of FastAPI's documentation, unmodified, under uvicorn: heroes in a database."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx
import pytest

from cxtrace.cli import main

from ..metric_stores import VictoriaMetrics
from ..servers import Jaeger, Span
from .running import (
    FIVE_TAGS,
    OFTEN,
    OUTCOME,
    PSEUDONYM,
    TOUCHPOINT,
    Platform,
    Trace,
    doors,
    incomplete,
    pseudonym,
    traces_of,
)

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

MAP = Path(__file__).with_name("heroes.toml")
SERVICE = "heroes"
SECRET_NAME = "Tommy Sharp of Winterbourne"
KEEPS = ["hero.browse", "hero.create", "hero.create", "hero.view", "hero.change"]
DISMISSES = [*KEEPS, "hero.dismiss", "hero.view"]


class Customer(NamedTuple):
    """Somebody whom the gateway knows."""

    id: str
    journey: str
    way: list[str]
    """The touchpoints on their way."""

    @classmethod
    def new(cls, way: list[str]) -> Customer:
        """Somebody whom nobody has seen before."""
        return cls(f"customer-{uuid4()}", uuid4().hex, way)

    def visit(self, url: str) -> None:
        """Look around, forget a field, get a hero and change it; keep it, or want another one."""
        headers = {"X-Customer-Id": self.id, "X-Journey-Id": self.journey}
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
            client.get("/heroes/")
            assert client.post("/heroes/", json={"name": "Nobody"}).status_code == 422
            hero = client.post("/heroes/", json={"name": "Rusty", "secret_name": SECRET_NAME})
            path = f"/heroes/{hero.json()['id']}"
            client.get(path)
            client.patch(path, json={"age": 48})
            if self.way is DISMISSES:
                client.delete(path)
                assert client.get("/heroes/999999").status_code == 404


class Day(NamedTuple):
    """Who came, and how many heroes there are in the evening."""

    customers: list[Customer]
    heroes: int


@pytest.fixture(scope="module")
def day(
    platform: Platform, victoriametrics: VictoriaMetrics, tmp_path_factory: pytest.TempPathFactory
) -> Day:
    """Six customers, three at a time; the service has ended when this returns."""
    folder = tmp_path_factory.mktemp("heroes")
    published = platform.installed.example("fastapi") / "sql_databases" / "tutorial002.py"
    shutil.copy(published, folder / "heroes.py")
    customers = [Customer.new(way) for way in [KEEPS, DISMISSES] * 3]
    with platform.serve(
        *("uvicorn", "heroes:app", "--port={port}"),
        folder=folder,
        # uvicorn lets SIGTERM kill it, and with it what is queued.
        environment=platform.environment(SERVICE, MAP, **OFTEN),
        ready="/openapi.json",
    ) as url:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda customer: customer.visit(url), customers))
        visits = sum(len(customer.way) for customer in customers)
        victoriametrics.wait_for(lambda: counted(victoriametrics) == visits)
        platform.collector.wait_for(lambda: len(ended(platform)) >= visits)
    with closing(sqlite3.connect(folder / "database.db")) as connection:
        ((heroes,),) = connection.execute("select count(*) from hero").fetchall()
    platform.collector.settle(SERVICE)
    return Day(customers, heroes)


def ended(platform: Platform) -> list[Span]:
    """The visits whose spans have come to the Collector."""
    return [each for each in platform.collector.spans(SERVICE) if OUTCOME in each["attributes"]]


def counted(store: VictoriaMetrics, *labels: str) -> float:
    """How many visits of touchpoints are counted."""
    where = ",".join([f'service_name="{SERVICE}"', *labels])
    return store.value(f"sum(cx_touchpoint_duration_seconds_count{{{where}}})")


@pytest.fixture(scope="module")
def journeys(day: Day, jaeger: Jaeger) -> list[tuple[Customer, list[Trace]]]:
    """The requests of each customer, as Jaeger finds them by the id of the journey."""
    return [(each, traces_of(jaeger, SERVICE, each.journey)) for each in day.customers]


Journeys = list[tuple[Customer, list[Trace]]]


def test_the_map_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    """`cxtrace check` has nothing against the map."""
    assert main(["check", str(MAP)]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_each_journey_is_found_by_its_id(journeys: Journeys) -> None:
    """Jaeger shows what each customer went through, in order, and no request of anybody else."""
    for customer, traces in journeys:
        assert [door.get(TOUCHPOINT) for door in doors(traces)] == customer.way


def test_every_span_carries_its_tags(journeys: Journeys) -> None:
    """Journey, stage, touchpoint, owner and customer stand on every span, of SQLAlchemy's too."""
    found = [trace for _, traces in journeys for trace in traces]

    assert incomplete(found, {*FIVE_TAGS, PSEUDONYM}) == []
    assert all(
        span.get(key) == trace[0].get(key) for trace in found for span in trace for key in FIVE_TAGS
    )
    assert {span.get("otel.scope.name") for trace in found for span in trace} == {
        "opentelemetry.instrumentation.fastapi",
        "opentelemetry.instrumentation.sqlalchemy",
        "opentelemetry.instrumentation.sqlite3",
    }


def test_the_customer_is_known_by_a_pseudonym(journeys: Journeys) -> None:
    """The header of the gateway becomes the same pseudonym on every span of the customer."""
    for customer, traces in journeys:
        said = {span.get(PSEUDONYM) for trace in traces for span in trace}
        assert said == {pseudonym(customer.id)}


def test_a_refusal_is_a_failure(journeys: Journeys) -> None:
    """What FastAPI answers with 422 or 404 has failed; the rest is completed."""
    failed = Counter(
        (door.get(TOUCHPOINT), door.get("http.status_code"))
        for _, traces in journeys
        for door in doors(traces)
        if door.get(OUTCOME) != "completed"
    )

    assert failed == {("hero.create", 422): 6, ("hero.view", 404): 3}


def test_metrics_agree_with_the_table(day: Day, victoriametrics: VictoriaMetrics) -> None:
    """Heroes created, less those dismissed, are those in the table."""
    done = 'cx_touchpoint_outcome="completed"'
    created = counted(victoriametrics, 'cx_touchpoint_name="hero.create"', done)
    dismissed = counted(victoriametrics, 'cx_touchpoint_name="hero.dismiss"', done)

    assert created - dismissed == day.heroes == 3


def test_nothing_personal_has_been_sent(day: Day, platform: Platform) -> None:
    """In all that reached the Collector is no customer's id, and nothing that they typed."""
    sent = platform.collector.everything()
    personal = [customer.id for customer in day.customers] + [SECRET_NAME]

    assert len(sent) > 100_000
    assert [text for text in personal if text in sent] == []
