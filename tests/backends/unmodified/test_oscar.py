"""django-oscar, unmodified: a whole shop under gunicorn with two workers, and a map beside it."""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

from cxtrace.cli import main

from ..metric_stores import VictoriaMetrics
from ..servers import Jaeger
from .frobshop import customers, seed_data, shop
from .frobshop.customers import Visit
from .running import (
    FIVE_TAGS,
    OUTCOME,
    PSEUDONYM,
    TOUCHPOINT,
    Platform,
    Span,
    Trace,
    doors,
    incomplete,
    journey_id,
    pseudonym,
    traces_of,
)

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

MAP = Path(__file__).with_name("oscar.toml")
SERVICE = "frobshop"
LOOK = ["home.visit", "search.find", "product.view", "basket.add", "product.view", "basket.view"]
TILL = ["checkout.begin", "checkout.address", "checkout.shipping", "checkout.payment"]
ORDER = ["checkout.preview", "checkout.order", "order.thanks"]
WAYS = {
    "orders as a guest": [*LOOK, *TILL, *ORDER],
    "has an account and orders": ["account.login", *LOOK, *TILL, *ORDER],
    "registers halfway": [*LOOK, "account.login", *TILL, *ORDER],
    "forgets the postcode": [*LOOK, *TILL, *ORDER],
    "abandons the basket": LOOK,
}
"""What the customers of each story went through, one after the other."""


class Day(NamedTuple):
    """A day of the shop: who came, and what stands in its tables in the evening."""

    visits: list[Visit]
    returned: Visit
    orders: set[str]
    accounts: dict[str, int]
    """The id of each account, by its e-mail address."""


@pytest.fixture(scope="module")
def day(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Day:
    """Eight customers at once, and then a return; the shop has closed when this returns."""
    folder = tmp_path_factory.mktemp("frobshop")
    with shop.opened(platform, SERVICE, MAP, folder) as url:
        visits = customers.shop(url)
        member = next(visit for visit in visits if visit.story == "has an account and orders")
        returned = customers.return_of(url, member)
        accounts = dict(shop.rows(folder, "select email, id from auth_user"))
        customer = str(accounts[member.email])
        customers.staff_takes_back(url, returned, customer, seed_data.STAFF)
    orders = {number for (number,) in shop.rows(folder, "select number from order_order")}
    platform.collector.settle(SERVICE)
    return Day(visits, returned, orders, accounts)


@pytest.fixture(scope="module")
def journeys(day: Day, jaeger: Jaeger) -> dict[str, list[Trace]]:
    """The requests of each customer on the way to an order, as Jaeger finds them by the journey."""
    return {
        visit.visitor: traces_of(jaeger, SERVICE, journey_id("first_order", visit.visitor))
        for visit in day.visits
    }


@pytest.fixture(scope="module")
def the_return(day: Day, jaeger: Jaeger) -> list[Trace]:
    """The requests of the return, the customer's and those of the staff."""
    return traces_of(jaeger, SERVICE, journey_id("return", str(day.returned.order)))


def way(traces: list[Trace]) -> list[str]:
    """The touchpoints that a customer went through, less those that followed themselves."""
    return [name for name, _ in groupby(str(door.get(TOUCHPOINT)) for door in doors(traces))]


def test_the_map_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    """`cxtrace check` has nothing against the shop's map."""
    assert main(["check", str(MAP)]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_each_journey_is_found_by_its_id(day: Day, journeys: dict[str, list[Trace]]) -> None:
    """Jaeger shows what each customer went through, in order, and no request of anybody else."""
    assert {visit.visitor: way(journeys[visit.visitor]) for visit in day.visits} == {
        visit.visitor: WAYS[visit.story] for visit in day.visits
    }


def test_every_span_of_a_journey_carries_its_tags(journeys: dict[str, list[Trace]]) -> None:
    """Journey, stage, touchpoint and owner stand on every span, each SQL statement included."""
    found = [trace for traces in journeys.values() for trace in traces]
    statements = [span for trace in found for span in trace if span.get("db.statement")]

    assert incomplete(found, FIVE_TAGS) == []
    assert len(statements) > 1_000
    assert {span.kind for trace in found for span in trace} == {"server", "client"}


def test_an_sql_statement_has_the_tags_of_its_request(journeys: dict[str, list[Trace]]) -> None:
    """All spans of a request agree on the journey, the stage, the touchpoint and the owner."""
    found = [trace for traces in journeys.values() for trace in traces]

    assert all(
        span.get(key) == trace[0].get(key) for trace in found for span in trace for key in FIVE_TAGS
    )


def test_owner_and_stage_are_those_of_the_map(journeys: dict[str, list[Trace]]) -> None:
    """The order is the product team's, in the stage of purchase; the search is marketing's."""
    found = {
        (str(door.get(TOUCHPOINT)), door.get("cx.stage.name"), door.get("cx.owner.function"))
        for traces in journeys.values()
        for door in doors(traces)
    }

    assert ("checkout.order", "purchase", "product") in found
    assert ("search.find", "consideration", "marketing") in found
    assert len(found) == len({name for name, _, _ in found})


def test_who_has_an_account_is_known_by_a_pseudonym(
    day: Day, journeys: dict[str, list[Trace]]
) -> None:
    """From the request that logs them in, every request of theirs has their pseudonym."""
    for visit in day.visits:
        found = doors(journeys[visit.visitor])
        known = [door.get(PSEUDONYM) for door in found]
        if visit.email not in day.accounts:
            assert set(known) == {None}, visit.story
            continue
        first = [door.name for door in found].index("POST accounts/login/")
        expected = pseudonym(day.accounts[visit.email])
        assert known == [None] * first + [expected] * (len(known) - first), visit.story


def test_sql_carries_the_pseudonym_once_it_is_known(journeys: dict[str, list[Trace]]) -> None:
    """Within a request of a known customer, no statement after the first that has it lacks it."""
    known = [
        [span.get(PSEUDONYM) == trace[0].get(PSEUDONYM) for span in trace[1:]]
        for traces in journeys.values()
        for trace in traces
        if trace[0].get(PSEUDONYM)
    ]

    assert [said for said in known if said != sorted(said) or not any(said)] == []
    assert sum(map(sum, known)) > 500


def test_the_touchpoint_says_how_it_ended(day: Day, journeys: dict[str, list[Trace]]) -> None:
    """Each request has an outcome: a form that comes back with an error is a failure, with 200."""
    failed = [
        (visit.story, door.get(TOUCHPOINT), door.get("http.status_code"))
        for visit in day.visits
        for door in doors(journeys[visit.visitor])
        if door.get(OUTCOME) != "completed"
    ]

    assert failed == [("forgets the postcode", "checkout.address", 200)]
    assert incomplete([doors(traces) for traces in journeys.values()], {OUTCOME}) == []


def test_orders_in_jaeger_are_those_of_the_table(
    day: Day, journeys: dict[str, list[Trace]]
) -> None:
    """As many orders are completed in Jaeger as stand in the shop's table, of the same people."""
    placed = {
        visitor
        for visitor, traces in journeys.items()
        for door in doors(traces)
        if (door.get(TOUCHPOINT), door.get(OUTCOME)) == ("checkout.order", "completed")
    }

    assert placed == {visit.visitor for visit in day.visits if visit.order}
    assert day.orders == {visit.order for visit in day.visits if visit.order}


def test_the_return_is_one_journey(day: Day, the_return: list[Trace]) -> None:
    """The customer looks, the staff receives and refunds: one journey, of one customer."""
    touchpoints = [
        (str(span.get(TOUCHPOINT)), span.get(OUTCOME))
        for trace in the_return
        for span in trace
        if span.get(OUTCOME)
    ]
    expected = pseudonym(day.accounts[str(day.returned.email)])

    assert Counter(touchpoints) == {
        ("return.look", "completed"): 1,
        ("return.desk", "completed"): 6,
        ("return.receive", "completed"): 1,
        ("return.refund", "completed"): 1,
    }
    assert incomplete(the_return, FIVE_TAGS) == []
    assert {door.get(PSEUDONYM) for door in doors(the_return)} == {expected}


def test_a_function_of_the_shop_is_a_touchpoint(the_return: list[Trace]) -> None:
    """SQL of a function that the map names is tagged with that touchpoint and its owner."""
    statements: list[Span] = [
        span
        for trace in the_return
        for span in trace
        if span.get(TOUCHPOINT) == "return.refund" and span.get("db.statement")
    ]

    assert any("order_paymentevent" in str(span.get("db.statement")) for span in statements)
    assert {span.get("cx.owner.function") for span in statements} == {"finance"}


def test_nothing_personal_has_been_sent(day: Day, platform: Platform) -> None:
    """In all that reached the Collector is no account's id, e-mail address, cookie or address."""
    sent = platform.collector.everything()
    visits = [*day.visits, day.returned]
    personal = [visit.visitor for visit in visits] + [*day.accounts, *customers.ADDRESS.values()]
    personal += [visit.email for visit in visits]
    # Of seven digits: within a longer number, as that of a time, they come by chance.
    ids = "|".join(str(id_) for id_ in day.accounts.values())

    assert len(sent) > 1_000_000
    assert [text for text in personal if text is not None and text in sent] == []
    assert re.findall(rf"(?<![0-9a-f])(?:{ids})(?![0-9a-f])", sent) == []


def test_metrics_agree_with_the_orders(day: Day, victoriametrics: VictoriaMetrics) -> None:
    """The completed orders that two workers have counted are those of the order table."""
    of = f'service_name="{SERVICE}"'
    count = "cx_touchpoint_duration_seconds_count"
    done = 'cx_touchpoint_name="checkout.order",cx_touchpoint_outcome="completed"'

    assert victoriametrics.value(f"sum({count}{{{of},{done}}})") == len(day.orders)
    assert victoriametrics.value(f"count(sum by (service_instance_id) ({count}{{{of}}}))") == 2


def test_metrics_agree_with_the_spans(
    journeys: dict[str, list[Trace]], victoriametrics: VictoriaMetrics
) -> None:
    """Of each touchpoint as many are counted as Jaeger has, by outcome."""
    labels = "cx_touchpoint_name, cx_touchpoint_outcome"
    of = f'service_name="{SERVICE}",cx_stage_name!="service"'
    counted = victoriametrics.query(
        f"sum by ({labels}) (cx_touchpoint_duration_seconds_count{{{of}}})"
    )
    seen = Counter(
        (str(door.get(TOUCHPOINT)), str(door.get(OUTCOME)))
        for traces in journeys.values()
        for door in doors(traces)
    )

    in_metrics = {
        (sample.labels["cx_touchpoint_name"], sample.labels["cx_touchpoint_outcome"]): sample.value
        for sample in counted
    }
    # Who returned goods, and the staff, logged in on journeys of their own.
    assert in_metrics.pop(("account.login", "completed")) == (
        seen.pop(("account.login", "completed")) + 4
    )
    assert in_metrics == seen
