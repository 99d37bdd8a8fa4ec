"""Celery's and Flask's own examples of tasks, unmodified: a worker of two processes, and a map."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx
import pytest

from cxtrace.cli import main

from ..metric_stores import VictoriaMetrics
from ..servers import Jaeger
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

WIDGETS = Path(__file__).with_name("widgets.toml")
SUMS = Path(__file__).with_name("sums.toml")


@pytest.mark.parametrize("map_", [WIDGETS, SUMS], ids=lambda path: path.stem)
def test_the_map_is_sound(map_: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cxtrace check` has nothing against the maps."""
    assert main(["check", str(map_)]) == 0
    assert "nothing found" in capsys.readouterr().out


# Tasks that a script sends: Celery's example with Django


class Customer(NamedTuple):
    """Somebody whose widget is renamed."""

    id: str
    journey: str


class Batch(NamedTuple):
    """Whose widgets were to be renamed, and how many were, in the table."""

    customers: list[Customer]
    renamed: int


@pytest.fixture(scope="module")
def batch(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """Three tasks for each of three customers; the worker has ended when this returns."""
    folder = tmp_path_factory.mktemp("celery") / "django"
    shutil.copytree(platform.installed.example("celery") / "django", folder)
    (folder / "queue").mkdir()
    customers = [Customer(f"customer-{uuid4()}", uuid4().hex) for _ in range(3)]
    django = {"DJANGO_SETTINGS_MODULE": "widgets.settings"}
    environment = platform.environment("widgets", WIDGETS, **django)
    run(platform.installed.bin / "python", "manage.py", "migrate", cwd=folder, env=environment)
    with platform.run(
        *("celery", "--app=proj", "worker", "--concurrency=2", "--loglevel=INFO"),
        folder=folder,
        environment=environment,
    ) as worker:
        worker.wait_for(lambda: " ready." in worker.log.read_text())
        arguments = [part for customer in customers for part in customer]
        script = platform.environment("script", WIDGETS, **django)
        client = ["opentelemetry-instrument", "python", "-m", "widgets.customers", *arguments]
        run(platform.installed.bin / client[0], *client[1:], cwd=folder, env=script)
    with closing(sqlite3.connect(folder / "db.sqlite3")) as connection:
        ((renamed,),) = connection.execute(
            "select count(*) from demoapp_widget where name = 'renamed'"
        ).fetchall()
    platform.collector.settle("widgets")
    return Batch(customers, renamed)


Journeys = list[tuple[Customer, list[Trace]]]


@pytest.fixture(scope="module")
def journeys(batch: Batch, jaeger: Jaeger) -> Journeys:
    """The tasks of each customer, as Jaeger finds them by the id of the journey."""
    return [(each, traces_of(jaeger, "widgets", each.journey)) for each in batch.customers]


def test_tasks_are_found_by_the_journey(journeys: Journeys) -> None:
    """Jaeger shows the tasks of each customer, with their outcome: an exception is a failure."""
    for _, traces in journeys:
        found = Counter((door.get(TOUCHPOINT), door.get(OUTCOME)) for door in doors(traces))
        assert found == {
            ("widget.rename", "completed"): 1,
            ("widget.rename", "failed"): 1,
            ("widget.count", "completed"): 1,
        }


def test_what_a_task_does_carries_its_tags(journeys: Journeys) -> None:
    """Every span of the worker has journey, stage, touchpoint, owner and customer, SQL included."""
    for customer, traces in journeys:
        worked = [[span for span in trace if span.service == "widgets"] for trace in traces]
        statements = [span for spans in worked for span in spans if span.get("db.statement")]

        assert incomplete(worked, {*FIVE_TAGS, PSEUDONYM}) == []
        assert any("UPDATE" in str(span.get("db.statement")) for span in statements)
        assert {span.get(PSEUDONYM) for spans in worked for span in spans} == {
            pseudonym(customer.id)
        }


def test_metrics_agree_with_the_widgets(batch: Batch, victoriametrics: VictoriaMetrics) -> None:
    """The names that the worker's processes have counted are those in the table."""
    of = 'service_name="widgets",cx_touchpoint_name="widget.rename"'
    count = "sum(cx_touchpoint_duration_seconds_count"

    done = victoriametrics.value(f'{count}{{{of},cx_touchpoint_outcome="completed"}})')
    failed = victoriametrics.value(f'{count}{{{of},cx_touchpoint_outcome="failed"}})')

    assert (done, failed) == (batch.renamed, len(batch.customers)) == (3, 3)


def test_nothing_personal_of_the_batch_has_been_sent(batch: Batch, platform: Platform) -> None:
    """In all that reached the Collector is no customer's id."""
    sent = platform.collector.everything()

    assert len(sent) > 10_000
    assert [customer.id for customer in batch.customers if customer.id in sent] == []


# Tasks that a web application sends: Flask's example with Celery


@pytest.fixture(scope="module")
def visitor(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The cookie of somebody who has ordered a sum and fetched it; everything has ended."""
    folder = tmp_path_factory.mktemp("sums") / "example"
    shutil.copytree(platform.installed.example("flask") / "celery", folder)
    for each in ("queue", "results"):
        (folder / each).mkdir()
    broker = {
        "FLASK_CELERY__broker_url": "filesystem://",
        "FLASK_CELERY__result_backend": f"file://{folder}/results",
        "FLASK_CELERY__broker_transport_options__data_folder_in": str(folder / "queue"),
        "FLASK_CELERY__broker_transport_options__data_folder_out": str(folder / "queue"),
    }
    web = platform.environment("sums", SUMS, **broker)
    work = platform.environment("adder", SUMS, **broker)
    for environment in (web, work):
        environment["PYTHONPATH"] += f":{folder / 'src'}"
    cookie = f"visitor-{uuid4()}"
    with (
        platform.run(
            *("celery", "--app=make_celery", "worker", "--concurrency=2", "--loglevel=INFO"),
            folder=folder,
            environment=work,
        ) as worker,
        platform.serve(
            *("gunicorn", "--bind=127.0.0.1:{port}", "--no-control-socket"),
            "task_app:create_app()",
            folder=folder,
            environment=web,
        ) as url,
        httpx.Client(
            base_url=url, cookies={"visitor": cookie}, trust_env=False, timeout=60
        ) as browser,
    ):
        worker.wait_for(lambda: " ready." in worker.log.read_text())
        order = browser.post("/tasks/add", data={"a": "40", "b": "2"}).json()["result_id"]
        fetch_until_ready(browser, order)
    for service in ("sums", "adder"):
        platform.collector.settle(service)
    return cookie


def fetch_until_ready(browser: httpx.Client, order: str) -> None:
    """Ask for the sum, as the page of the example does, until it is there."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        result = browser.get(f"/tasks/result/{order}").json()
        if result["ready"]:
            assert result["value"] == 42
            return
        time.sleep(0.2)
    raise AssertionError("the worker has made no sum")


def test_a_journey_goes_on_in_the_worker(visitor: str, jaeger: Jaeger) -> None:
    """The request and the task it leads to are one trace, of one customer on one journey."""
    traces = traces_of(jaeger, "sums", journey_id("have_a_sum", visitor))
    ordered = [span for span in traces[0] if span.get(OUTCOME)]

    assert [(span.service, span.get(TOUCHPOINT), span.get(OUTCOME)) for span in ordered] == [
        ("sums", "sum.order", "completed"),
        ("adder", "sum.make", "completed"),
    ]
    assert incomplete(traces, {*FIVE_TAGS, PSEUDONYM}) == []
    assert {span.get(PSEUDONYM) for trace in traces for span in trace} == {
        pseudonym(f"anonymous:{visitor}")
    }
    assert {door.get(TOUCHPOINT) for trace in traces[1:] for door in doors([trace])} == {
        "sum.fetch"
    }


def test_the_worker_finds_the_journey_too(visitor: str, jaeger: Jaeger) -> None:
    """The search by journey works whichever of the two services is chosen in Jaeger."""
    (trace,) = traces_of(jaeger, "adder", journey_id("have_a_sum", visitor))

    assert {span.service for span in trace} == {"sums", "adder"}


def test_no_cookie_of_the_visitor_has_been_sent(visitor: str, platform: Platform) -> None:
    """In all that reached the Collector the cookie is nowhere."""
    assert visitor not in platform.collector.everything()
