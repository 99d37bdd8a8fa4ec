"""ihatemoney, unmodified: a Flask application under gunicorn with two workers, and a map."""

from __future__ import annotations

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from cxtrace.cli import main

from ..metric_stores import VictoriaMetrics
from ..servers import Jaeger
from .browser import Browser
from .installed import run
from .running import (
    FIVE_TAGS,
    OUTCOME,
    PSEUDONYM,
    TOUCHPOINT,
    Platform,
    Trace,
    doors,
    incomplete,
    journey_id,
    pseudonym,
    traces_of,
)

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

MAP = Path(__file__).with_name("budget.toml")
SERVICE = "budget"
SETTINGS = """
SQLALCHEMY_DATABASE_URI = "sqlite:///{database}"
SECRET_KEY = "only for tests: this application listens on this machine alone"
SESSION_COOKIE_SECURE = False
MAIL_SUPPRESS_SEND = True
"""
WAY = ["home.visit", "budget.create", "budget.view", "member.add", "budget.view", "member.add"]
WAY += ["budget.view", "bill.add", "budget.view", "bill.settle", "budget.leave", "home.visit"]
PERSONAL = ("Winterbourne", "Quatermain", "Lamp for Aunt Agatha", "an unusual passphrase")


class Household(NamedTuple):
    """People who share their costs, in one browser."""

    visitor: str
    email: str

    @classmethod
    def new(cls) -> Household:
        """People whom nobody has seen before."""
        return cls(f"visitor-{uuid4()}", f"ann.{uuid4().hex[:12]}@household.example")

    def visit(self, url: str) -> None:
        """Open a budget with a wrong address first, add two people and a bill, and settle it."""
        browser = Browser(url, self.visitor)
        name = f"Flat {uuid4().hex[:8]}"
        fields = {"name": name, "password": "an unusual passphrase"}
        browser.go("/")
        browser.submit("/create", **fields, contact_email="nowhere")
        browser.submit("/create", **fields, contact_email=self.email)
        budget = browser.path.rstrip("/")
        for person in ("Winterbourne", "Quatermain"):
            browser.submit(f"{budget}/members/add", name=person)
        people = re.findall(r'name="payed_for"[^>]*value="(\d+)"', browser.page.text)
        bill = {"what": "Lamp for Aunt Agatha", "payer": people[0], "payed_for": people}
        browser.submit(f"{budget}/add", **bill, amount="a lot")
        browser.submit(f"{budget}/add", **bill, amount="42")
        browser.go(f"{budget}/settle_bills")
        browser.submit("/exit")


class Day(NamedTuple):
    """Who came, and how many bills there are in the evening."""

    households: list[Household]
    bills: int


@pytest.fixture(scope="module")
def day(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Day:
    """Four households at once; the application has ended when this returns."""
    folder = tmp_path_factory.mktemp("budget")
    database, settings = folder / "budget.sqlite", folder / "settings.py"
    settings.write_text(SETTINGS.format(database=database))
    environment = platform.environment(SERVICE, MAP, IHATEMONEY_SETTINGS_FILE_PATH=str(settings))
    # Or else both workers would migrate the database, and one of them fail.
    run(platform.installed.bin / "python", "-c", "import ihatemoney.wsgi", env=environment)
    households = [Household.new() for _ in range(4)]
    with (
        platform.serve(
            *("gunicorn", "--workers=2", "--bind=127.0.0.1:{port}", "--no-control-socket"),
            "ihatemoney.wsgi:application",
            folder=folder,
            environment=environment,
            ready="/healthcheck",
        ) as url,
        ThreadPoolExecutor(len(households)) as pool,
    ):
        list(pool.map(lambda household: household.visit(url), households))
    with closing(sqlite3.connect(database)) as connection:
        ((bills,),) = connection.execute("select count(*) from bill").fetchall()
    platform.collector.settle(SERVICE)
    return Day(households, bills)


Journeys = list[tuple[Household, list[Trace]]]


@pytest.fixture(scope="module")
def journeys(day: Day, jaeger: Jaeger) -> Journeys:
    """The requests of each household, as Jaeger finds them by the id of the journey."""
    return [
        (each, traces_of(jaeger, SERVICE, journey_id("share_costs", each.visitor)))
        for each in day.households
    ]


def test_the_map_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    """`cxtrace check` has nothing against the map."""
    assert main(["check", str(MAP)]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_each_journey_is_found_by_its_id(journeys: Journeys) -> None:
    """Jaeger shows what each household went through, in order, and no request of another."""
    for _, traces in journeys:
        names = [str(door.get(TOUCHPOINT)) for door in doors(traces)]
        assert [name for name, _ in groupby(names)] == WAY


def test_every_span_carries_its_tags(journeys: Journeys) -> None:
    """Journey, stage, touchpoint, owner and customer stand on every span, SQL included."""
    found = [trace for _, traces in journeys for trace in traces]
    statements = [span for trace in found for span in trace if span.get("db.statement")]

    assert incomplete(found, {*FIVE_TAGS, PSEUDONYM}) == []
    assert all(
        span.get(key) == trace[0].get(key) for trace in found for span in trace for key in FIVE_TAGS
    )
    assert len(statements) > 100


def test_a_browser_is_known_by_a_pseudonym(journeys: Journeys) -> None:
    """The cookie becomes the same pseudonym on every span, of a customer who is anonymous."""
    for household, traces in journeys:
        assert {span.get(PSEUDONYM) for trace in traces for span in trace} == {
            pseudonym(f"anonymous:{household.visitor}")
        }
        assert {door.get("cx.customer.kind") for door in doors(traces)} == {"anonymous"}


def test_a_form_that_comes_back_is_a_failure(journeys: Journeys) -> None:
    """A wrong address and a wrong amount are failures, though the answer is 200."""
    for _, traces in journeys:
        failed = [
            (door.get(TOUCHPOINT), door.get("http.status_code"))
            for door in doors(traces)
            if door.get(OUTCOME) != "completed"
        ]
        assert failed == [("budget.create", 200), ("bill.add", 200)]


def test_metrics_agree_with_the_table(day: Day, victoriametrics: VictoriaMetrics) -> None:
    """The bills that two workers have counted are those of the table."""
    of = f'service_name="{SERVICE}",cx_touchpoint_name="bill.add",cx_touchpoint_outcome="completed"'

    counted = victoriametrics.value(f"sum(cx_touchpoint_duration_seconds_count{{{of}}})")

    assert counted == day.bills == 4


def test_nothing_personal_has_been_sent(day: Day, platform: Platform) -> None:
    """In all that reached the Collector is no cookie, no address, and nothing that they typed."""
    sent = platform.collector.everything()
    personal = [text for household in day.households for text in household]

    assert len(sent) > 100_000
    assert [text for text in (*personal, *PERSONAL) if text in sent] == []
