"""What is somebody's is held back wherever text is given, and never breaks the call."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cxtrace
from cxtrace import _baggage, _closed_sets, _guard, _runtime, customer, interaction, journey
from cxtrace import attributes as names
from cxtrace._closed_sets import block, block_name
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import Key, allowed, journey_id
from tests.conftest import Capture

pytestmark = pytest.mark.usefixtures("forgetful")
MAP = JourneyMap.loads("""\
schema = "cxtrace.map/1"
name = "shop"
context = ["weather"]
[functions]
sales = {}
""")
PERSONAL = {
    "email": "jane.doe@example.com",
    "phone": "0152 28817386",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "ip": "203.0.113.197",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqIn0.c2ln",
    "digits": "491522881738",
}
RESTS = ("jane", "28817386", "1111 1111", "3704 0044", "113.197", "eyJ", "491522881")
"""Parts of each, none of which may be anywhere, and none of which comes by chance."""


def touch(name: str = "pay", **more: Any) -> None:
    """Visit a touchpoint."""
    with cxtrace.touchpoint(name, **more):
        pass


def with_touchpoint(say: Callable[[Any], object]) -> None:
    """Say something of a touchpoint."""
    with journey("first_order"), cxtrace.touchpoint("pay", owner="sales") as handle:
        say(handle)


def interact(name: str) -> None:
    """Take a micro-interaction."""
    with cxtrace.touchpoint("pay"), interaction(name):
        pass


def travel(name: str = "first_order", **more: Any) -> None:
    """Go on a journey."""
    with journey(name, **more):
        touch()


def serve(**more: Any) -> None:
    """Serve a customer."""
    with customer("cust-42", consent="granted", **more):
        touch()


CALLS: dict[str, Callable[[str], object]] = {
    "touchpoint": touch,
    "stage": lambda text: touch(stage=text),
    "owner": lambda text: touch(owner=text),
    "channel": lambda text: touch(channel=text),
    "interaction": interact,
    "journey": travel,
    "journey id": lambda text: travel(id=text),
    "route": lambda text: travel(route=text),
    "segment": lambda text: serve(segment=text),
    "kind": lambda text: serve(kind=text),
    "identify": lambda text: cxtrace.identify("cust-42", segment=text),
    "reason": lambda text: with_touchpoint(lambda tp: tp.fail(text)),
    "outcome": lambda text: with_touchpoint(lambda tp: tp.outcome(text)),
    "context": lambda text: with_touchpoint(lambda tp: tp.set({"cx.context.weather": text})),
    "session": lambda text: with_touchpoint(lambda tp: tp.set({"session.id": text})),
    "key": lambda text: with_touchpoint(lambda tp: tp.set({text: "rain"})),
    "quality": lambda text: with_touchpoint(lambda tp: tp.set({f"cx.quality.{text}": 0.5})),
    "friction": lambda text: with_touchpoint(lambda tp: tp.friction(text)),
    "emotion": lambda text: with_touchpoint(lambda tp: tp.emotion(text, source="text")),
    "nudge": lambda text: with_touchpoint(lambda tp: tp.nudge(text, technique="incentive")),
    "variant": lambda text: with_touchpoint(
        lambda tp: tp.nudge("bar", technique="incentive", flag=text, variant=text)
    ),
    "currency": lambda text: with_touchpoint(lambda tp: tp.value(1, text, type="revenue")),
    "feedback": lambda text: with_touchpoint(lambda tp: tp.feedback(text, 1)),
    "promise": lambda text: with_touchpoint(lambda tp: tp.deliver(text, 1)),
    "complaint": lambda text: with_touchpoint(lambda tp: tp.complaint(text)),
    "mention": lambda text: with_touchpoint(lambda tp: tp.mention(text, phase="customer")),
    "hand-off": lambda text: with_touchpoint(lambda tp: tp.handoff(to=text)),
    "model": lambda text: with_touchpoint(
        lambda tp: tp.forecast("churn", probability=0.5, model=text)
    ),
}


@pytest.mark.parametrize("kind", PERSONAL)
@pytest.mark.parametrize("call", CALLS)
def test_no_call_sends_what_is_somebodys(
    cx: Capture, caplog: pytest.LogCaptureFixture, call: str, kind: str
) -> None:
    """Whatever is given as whatever: no part of it is on a span, in an event, or in the log."""
    cx.use(journey_map=MAP)
    with caplog.at_level(logging.DEBUG):
        CALLS[call](PERSONAL[kind])
    sent = "".join(span.to_json() for span in cx.spans)

    for text in (sent, caplog.text):
        assert [rest for rest in RESTS if rest in text] == []


@pytest.mark.parametrize("kind", PERSONAL)
def test_what_is_held_back_is_counted_and_named_once(
    caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Each place and each kind has a counter, and one line in the log that does not show it."""
    for _ in range(3):
        assert block("segment", f"to {PERSONAL[kind]}")
    (record,) = caplog.records

    assert _guard.counts() == {"refused.segment": 3, f"personal.{kind}": 3}
    assert "a value given as segment looks like " in record.getMessage()
    assert [rest for rest in RESTS if rest in caplog.text] == []


def test_what_set_takes_is_looked_through() -> None:
    """A value that the allow-list would take is held back for what it holds; others pass."""
    values = {"cx.context.weather": "rain, call 0152 28817386", "cx.quality.noise": 0.5}

    assert allowed(values, ["weather"]) == {"cx.quality.noise": 0.5}
    assert allowed({"cx.quality.t_015228817386": 0.5}, ()) == {}
    assert allowed({"session.id": "0152-28817386"}, ()) == {}
    assert _guard.counts()["refused.attribute"] == 3


def test_a_journey_id_that_holds_a_number_is_hashed() -> None:
    """A plain token in which somebody's number stands is not used as it stands; UUIDs are."""
    key = Key(b"k" * 32)
    plain = "123e4567-e89b-42d3-a456-426614174000"

    assert journey_id(plain, lambda: key) == plain
    for telling in ("cust.0152-28817386", "DE89370400440532013000", "ip-203.0.113.7"):
        assert len(journey_id(telling, lambda: key)) == 22
        assert journey_id(telling, lambda: key) != telling


def test_names_that_are_let_through_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A harmless name is looked through once; somebody's is each time, and never remembered."""
    monkeypatch.setattr(_closed_sets, "_names", set())
    monkeypatch.setattr(_closed_sets, "_MOST_NAMES", 1)
    found = [block_name("name", name) for name in ("cart", "cart", "pay", PERSONAL["email"])]

    assert found == [False, False, False, True]
    assert _closed_sets._names == {"cart"}


# Baggage


@pytest.mark.parametrize("kind", PERSONAL)
@pytest.mark.parametrize("name", [*_baggage.NAMES[:4], *_baggage.IDS])
def test_members_that_are_somebodys_are_dropped(name: str, kind: str) -> None:
    """A member of baggage that holds what is somebody's sets no tag, whoever is trusted."""
    members = {names.JOURNEY_NAME: "first_order", name: PERSONAL[kind]}

    assert name not in _baggage.acceptable(members)
    assert _guard.counts() == {f"refused.baggage.{name}": 1, f"personal.{kind}": 1}


def test_ids_that_cxtrace_made_are_taken(cx: Capture) -> None:
    """Ids of journeys and pseudonyms pass, whatever digits chance has put into them."""
    members = {
        names.JOURNEY_ID: "41111111111111110152288173860000",
        names.CUSTOMER_PSEUDONYM: "v1.0152-28817386_491522881",
    }

    assert _baggage.acceptable(members) == members
    assert _baggage.acceptable({names.JOURNEY_ID: "order-42"}) == {names.JOURNEY_ID: "order-42"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(min_size=8, max_size=24))
def test_every_pseudonym_of_ours_travels(cx: Capture, raw: bytes) -> None:
    """No pseudonym that cxtrace makes is taken for a number of somebody."""
    pseudonym = _runtime.pseudonymiser().pseudonym(raw.hex())
    members = {names.CUSTOMER_PSEUDONYM: pseudonym}

    assert _baggage.acceptable(members) == members
