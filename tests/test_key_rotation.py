"""A key is changed while customers are on their way: each journey keeps one pseudonym."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import SpanKind

import cxtrace
from cxtrace import (
    _baggage,
    _guard,
    _journeys,
    _key_file,
    _runtime,
    customer,
    identify,
    journey,
    touchpoint,
)
from cxtrace._bound import Asked, Bound
from cxtrace._key_file import LEAD, LOOK_EVERY
from cxtrace._visit import Visit
from cxtrace.privacy import (
    HmacPseudonymiser,
    Key,
    KeyFile,
    KeyRing,
    VaultPseudonymiser,
    hashed_journey_id,
    journey_id,
)
from cxtrace.propagation import CXPropagator
from tests import rotating
from tests.conftest import Capture, Clock

ONE, TWO, THREE = (Key(f"{number}".zfill(40).encode(), f"q{number}") for number in (1, 2, 3))
PSEUDONYM, KEY_ID = "enduser.pseudo.id", "cx.customer.key_id"
TO_US = {"server.address": "localhost"}
PATIENT = 20.0


def under(cx: Capture, *keys: Key, **more: Any) -> None:
    """Put keys in force, the newest first."""
    ring = KeyRing(keys)
    cx.use(**{"key": ring, "pseudonymiser": HmacPseudonymiser(ring), **more})


def named(key: Key, whose: str = "cust-42") -> tuple[str, str]:
    """Pseudonym and key id of a customer under a key."""
    return HmacPseudonymiser(key).pseudonym(whose), key.key_id


def shown(cx: Capture, touchpoint: str) -> tuple[Any, Any]:
    """Pseudonym and key id on a span."""
    tags = cx.tags(touchpoint)
    return tags.get(PSEUDONYM), tags.get(KEY_ID)


# Within a process


def test_a_new_key_names_whoever_comes(cx: Capture) -> None:
    """Without a journey, the newest key makes the pseudonym."""
    under(cx, TWO, ONE)
    with customer("cust-42"), touchpoint("a"):
        pass

    assert shown(cx, "a") == named(TWO)


@pytest.mark.parametrize("first", ["journey", "customer", "late", "journey only"])
def test_a_journey_keeps_the_pseudonym_of_its_beginning(cx: Capture, first: str) -> None:
    """It goes on under the key it began with, in whatever order customer and journey are told."""
    under(cx, ONE)
    with journey("order") as walk:
        if first != "journey only":
            identify("cust-42")
        with touchpoint("before"):
            pass
    under(cx, TWO, ONE)
    if first == "customer":
        with customer("cust-42"), journey("order", id=walk.id), touchpoint("after"):
            pass
    elif first == "late":
        with journey("order", id=walk.id), touchpoint("after"):
            identify("cust-42")
    else:
        with journey("order", id=walk.id), customer("cust-42"), touchpoint("after"):
            pass
    with journey("order"), customer("cust-42"), touchpoint("another"):
        pass

    assert shown(cx, "after") == named(ONE)
    assert shown(cx, "another") == named(TWO)


def test_a_customer_who_is_named_again_in_a_request_stays(cx: Capture) -> None:
    """A key that is changed in the middle of a request does not split it."""
    under(cx, ONE)
    with customer("cust-42"), touchpoint("before"):
        under(cx, TWO, ONE)
        with customer("cust-42"), touchpoint("again"):
            pass
        with customer("cust-43"), touchpoint("other"):
            pass

    assert shown(cx, "again") == named(ONE)
    assert shown(cx, "other") == named(ONE, "cust-43")


def test_a_journey_that_begins_takes_the_key_of_its_customer(cx: Capture) -> None:
    """A customer who is known by an older key begins a journey under that."""
    under(cx, ONE)
    with customer("cust-42"):
        under(cx, TWO, ONE)
        with journey("order") as walk, touchpoint("a"):
            pass
    with journey("order", id=walk.id), customer("cust-42"), touchpoint("b"):
        pass

    assert shown(cx, "a") == shown(cx, "b") == named(ONE)


def test_a_key_that_is_gone_names_nobody_any_more(cx: Capture) -> None:
    """Without its key a journey goes on under the newest one, for the old one is not there."""
    under(cx, ONE)
    with journey("order") as walk, customer("cust-42"):
        pass
    under(cx, TWO)
    for name, order in (("a", True), ("b", False)):
        if order:
            with journey("order", id=walk.id), customer("cust-42"), touchpoint(name):
                pass
        else:
            with customer("cust-42"), journey("order", id=walk.id), touchpoint(name):
                pass

    assert shown(cx, "a") == shown(cx, "b") == named(TWO)


def test_two_journeys_of_one_customer_stay_apart(cx: Capture) -> None:
    """Each goes on under its own key, also one within the other, in the same request."""
    under(cx, ONE)
    with journey("order") as old:
        identify("cust-42")
    under(cx, TWO, ONE)
    with journey("return") as new:
        identify("cust-42")
    under(cx, THREE, TWO, ONE)
    with customer("cust-42"):
        with touchpoint("outside"):
            pass
        with journey("order", id=old.id):
            with touchpoint("old"):
                pass
            with journey("return", id=new.id), touchpoint("new"):
                pass
            with touchpoint("old again"):
                pass

    assert [shown(cx, name) for name in ("outside", "old", "new", "old again")] == [
        *(named(THREE), named(ONE)),
        *(named(TWO), named(ONE)),
    ]


def test_what_is_said_in_a_journey_counts_for_the_request(cx: Capture) -> None:
    """A withdrawal reaches the request from its journey and the journey from its request."""
    under(cx, ONE)
    walks = []
    for _ in range(2):
        with journey("order") as begun, customer("cust-42"):
            walks.append(begun.id)
    under(cx, TWO, ONE)
    with touchpoint("outside"):
        identify("cust-42")
        scope = cxtrace.current_context().scope  # type: ignore[union-attr]
        with journey("order", id=walks[0]), touchpoint("inside"):
            assert shown_now() == named(ONE)
            with journey("return"), touchpoint("within"):
                identify("cust-42", consent="withdrawn")
    with touchpoint("outside 2"):
        identify("cust-42")
        scope = cxtrace.current_context().scope  # type: ignore[union-attr]
        with journey("order", id=walks[1]), touchpoint("inside 2"):
            withdrawn = _runtime.current.anonymous.under(None)
            scope.identify(
                type(withdrawn)(consent="withdrawn", linkable=False), _runtime.current.tracing
            )

    for name in ("outside", "inside", "within", "outside 2", "inside 2"):
        assert shown(cx, name) == (None, None), name


def shown_now() -> tuple[Any, Any]:
    """Pseudonym and key id that a span would get here."""
    current = cxtrace.current_context()
    assert current is not None
    return current.identity.pseudonym, current.identity.key_id


def test_a_withdrawal_within_counts_for_the_block_around(cx: Capture) -> None:
    """Also where both know the customer by pseudonyms of two keys."""
    under(cx, ONE)
    with journey("order") as walk, customer("cust-42"):
        pass
    under(cx, TWO, ONE)
    with (
        customer("cust-42"),
        touchpoint("around"),
        journey("order", id=walk.id),
        customer("cust-42"),
        touchpoint("within"),
    ):
        identify("cust-42", consent="withdrawn")

    assert shown(cx, "around") == shown(cx, "within") == (None, None)


@pytest.mark.parametrize("after", [(TWO, ONE), (TWO,)])
def test_a_withdrawal_outlives_a_change_of_keys(cx: Capture, after: tuple[Key, ...]) -> None:
    """Who withdrew under one key is named under no other, also where the old one is gone."""
    under(cx, ONE)
    identify("cust-42", consent="withdrawn")
    under(cx, *after)
    with journey("order"), customer("cust-42"), touchpoint("later"):
        pass
    with customer("cust-43"), touchpoint("another"):
        pass

    assert shown(cx, "later") == (None, None)
    assert shown(cx, "another") == named(TWO, "cust-43")


def test_a_withdrawal_outlives_a_salt_that_is_forgotten(cx: Capture) -> None:
    """A random id that is deleted with the withdrawal does not come back as another one."""
    vault = VaultPseudonymiser(NewIds(), key="0" * 40, timeout=PATIENT)
    cx.use(pseudonymiser=vault)
    identify("cust-42", consent="withdrawn")
    vault.forget("cust-42")
    with customer("cust-42"), touchpoint("later"):
        pass

    assert shown(cx, "later") == (None, None)


def test_a_withdrawal_is_of_one_tenants_customer(cx: Capture) -> None:
    """The customer of another tenant with the same id has withdrawn nothing."""
    under(cx, ONE)
    identify("cust-42", tenant="acme", consent="withdrawn")
    with customer("cust-42", tenant="acme"), touchpoint("acme"):
        pass
    with customer("cust-42", tenant="globex"), touchpoint("globex"):
        pass

    assert shown(cx, "acme") == (None, None)
    assert shown(cx, "globex")[1] == "q1"


@pytest.mark.parametrize("key", [ONE, TWO])
def test_a_withdrawal_holds_for_every_pseudonym(cx: Capture, key: Key) -> None:
    """A caller that has not heard of it is not believed, by whichever key it names the customer."""
    under(cx, ONE)
    headers = {}
    for each in ((ONE,), (TWO, ONE)):
        under(cx, *each)
        with journey("order"), customer("cust-42", consent="granted"), touchpoint("there"):
            headers[each[0].key_id] = carried(cx)
    identify("cust-42", consent="withdrawn")
    token = attach(CXPropagator().extract(headers[key.key_id], Context()))
    with touchpoint("here"):
        pass
    detach(token)

    assert headers[key.key_id]["baggage"].count(named(key)[0]) == 1
    assert shown(cx, "here") == (None, None)


def test_a_withdrawal_under_the_old_key_reaches_callers_with_the_new_one(cx: Capture) -> None:
    """Once the customer was here after the change, what callers say under the new key is known."""
    under(cx, TWO, ONE)
    with journey("order"), customer("cust-42", consent="granted"), touchpoint("there"):
        header = carried(cx)
    under(cx, ONE)
    identify("cust-42", consent="withdrawn")
    under(cx, TWO, ONE)
    with customer("cust-42"):
        pass
    token = attach(CXPropagator().extract(header, Context()))
    with touchpoint("here"):
        pass
    detach(token)

    assert shown(cx, "here") == (None, None)


def test_a_withdrawal_reaches_requests_under_another_key(cx: Capture) -> None:
    """Open requests hear it, whichever key named their customer; a yes counts for all keys."""
    under(cx, ONE)
    with customer("cust-42", consent="granted"), touchpoint("old"):
        under(cx, TWO, ONE)
        token = attach(Context())
        with customer("cust-42", consent="granted"), touchpoint("new"):
            other = attach(Context())
            identify("cust-42", consent="withdrawn")
            detach(other)
        detach(token)
    under(cx, ONE)
    identify("cust-42", consent="granted")
    under(cx, THREE, TWO)
    with customer("cust-42"), touchpoint("agreed"):
        pass

    assert shown(cx, "old") == shown(cx, "new") == (None, None)
    assert shown(cx, "agreed") == named(THREE)


def carried(cx: Capture) -> dict[str, str]:
    """The headers of a request to a host of ours, from here."""
    headers: dict[str, str] = {}
    with cx.tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=TO_US):
        CXPropagator().inject(headers)
    return headers


def test_spans_that_wait_are_told_in_a_journey_too(cx: Capture) -> None:
    """Where a request keeps its spans that have ended, its journey under another key does."""
    under(cx, ONE)
    with journey("order") as walk, customer("cust-42"):
        pass
    under(cx, TWO, ONE)
    with touchpoint("outside"):
        identify("cust-42")
        scope = cxtrace.current_context().scope  # type: ignore[union-attr]
        scope.expect()
        with journey("order", id=walk.id):
            view = cxtrace.current_context().scope  # type: ignore[union-attr]

    assert view is not scope
    assert view._ended == []


def test_journeys_leave_nothing_behind_in_a_long_request(cx: Capture) -> None:
    """A worker that goes through many journeys in one block keeps none of them."""
    under(cx, ONE)
    with journey("order") as walk, customer("cust-42"):
        pass
    under(cx, TWO, ONE)
    with customer("cust-42"):
        scope = cxtrace.current_context().scope  # type: ignore[union-attr]
        for _ in range(10):
            with journey("order", id=walk.id):
                assert len(scope._views or ()) == 1

        assert scope._views == {}


def test_the_id_of_a_journey_stays_too(cx: Capture) -> None:
    """An id that is hashed with the key is the same journey after the change, in this process."""
    under(cx, ONE)
    with journey("order", id="ann@example.com") as before:
        pass
    under(cx, TWO, ONE)
    with journey("order", id="ann@example.com") as after, journey("order", id="b@c.d") as new:
        pass
    with journey("order", id="b@c.d") as again:
        pass

    assert before.id == after.id == journey_id("ann@example.com", lambda: ONE)
    assert new.id == again.id == journey_id("b@c.d", lambda: TWO)


class Request:
    """A request with two headers."""

    def __init__(self, **headers: str) -> None:
        self._headers = headers

    def header(self, name: str) -> str | None:
        """As integrations have it."""
        return self._headers.get(name)


BOUND = Bound(
    noun=touchpoint("pay"),
    journeys=("order",),
    customer=(Asked("header", "who"),),
    journey=(Asked("header", "walk"),),
)


def test_a_request_that_the_map_knows_keeps_its_journey(cx: Capture) -> None:
    """A cookie that was hashed with the old key tells the same journey and the same customer."""
    for keys in ((ONE,), (TWO, ONE)):
        under(cx, *keys)
        Visit(BOUND, Request(who="cust-42", walk="w-1"), {}).leave()  # type: ignore[arg-type]
    Visit(BOUND, Request(who="cust-42", walk="w-2"), {}).leave()  # type: ignore[arg-type]
    found = [dict(span.attributes or {}) for span in cx.spans if span.name == "pay"]

    assert [(each[PSEUDONYM], each[KEY_ID]) for each in found] == [
        *(named(ONE), named(ONE)),
        named(TWO),
    ]
    assert [each["cx.journey.id"] for each in found] == [
        hashed_journey_id("order", "w-1", ONE),
        hashed_journey_id("order", "w-1", ONE),
        hashed_journey_id("order", "w-2", TWO),
    ]


def test_nobody_listening_means_no_key_is_drawn(nobody: None) -> None:
    """A journey that begins where nobody listens needs no key."""
    with journey("order"), touchpoint("a"):
        pass

    assert _runtime.current.key is None


def test_a_journey_draws_no_key_either(cx: Capture) -> None:
    """Where nobody gave a key, one is drawn for the first customer, not for a journey."""
    cx.use(key=None, pseudonymiser=None)
    with journey("order"):
        assert _runtime.current.key is None


ORDERS = st.sampled_from(["journey", "customer", "late"])
STEP = st.one_of(
    st.tuples(st.just("rotate")),
    st.tuples(st.just("visit"), st.integers(0, 3), ORDERS),
)


@given(st.lists(STEP, max_size=25))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_visits_and_changes(forgetful: None, steps: list[tuple[Any, ...]]) -> None:
    """Whatever happens when: a pseudonym on each span, the right one, and one for each journey."""
    cx, newest = Capture("lean"), 0
    _journeys.forget_all()
    every = [Key(rotating.key_of(number).encode(), f"q{number}") for number in range(26)]
    under(cx, every[0])
    for step in steps:
        if step[0] == "rotate":
            newest += 1
            if newest < 16:
                under(cx, *reversed(every[: newest + 1]))
            continue
        walk, order = f"walk-{step[1]}", step[2]
        blocks = [journey("order", id=walk), customer(f"cust-{step[1]}")]
        if order == "late":
            with blocks[0], touchpoint("t"):
                identify(f"cust-{step[1]}")
            continue
        one, two = blocks if order == "journey" else blocks[::-1]
        with one, two, touchpoint("t"):
            pass
    of: dict[Any, set[Any]] = defaultdict(set)
    for span in cx.spans:
        tags: Mapping[str, Any] = span.attributes or {}
        whose = f"cust-{str(tags['cx.journey.id']).rpartition('-')[2]}"
        key = next(each for each in every if each.key_id == tags[KEY_ID])
        assert tags[PSEUDONYM] == HmacPseudonymiser(key).pseudonym(whose)
        of[tags["cx.journey.id"]].add(tags[PSEUDONYM])

    assert all(len(pseudonyms) == 1 for pseudonyms in of.values())


# From service to service


def headers_of(cx: Capture) -> dict[str, str]:
    """What goes out to a service of ours."""
    headers: dict[str, str] = {}
    with cx.tracer.start_as_current_span("POST", kind=SpanKind.CLIENT, attributes=TO_US):
        CXPropagator().inject(headers)
    return headers


def arrives(headers: dict[str, str]) -> Any:
    """Make what a request says the current context; gives the way back."""
    _journeys.forget_all()
    return attach(CXPropagator().extract(headers, Context()))


def test_the_signature_tells_the_key_of_the_journey(cx: Capture) -> None:
    """A service that is called names the same customer under the same key, whatever is newest."""
    under(cx, ONE)
    with journey("order") as walk, customer("cust-42"):
        pass
    under(cx, TWO, ONE)
    with journey("order", id=walk.id), customer("cust-42"), touchpoint("a"):
        headers = headers_of(cx)
    token = arrives(headers)
    try:
        with touchpoint("b"):
            identify("cust-42")
        onwards = headers_of(cx)
    finally:
        detach(token)

    assert _baggage.key_id_of(_baggage.parse(headers["baggage"]).ours) == "q1"
    assert _baggage.key_id_of(_baggage.parse(onwards["baggage"]).ours) == "q1"
    assert shown(cx, "b") == named(ONE)


def test_a_journey_without_a_customer_tells_its_key(cx: Capture) -> None:
    """Where only the service that is called knows the customer, both use the same key later."""
    under(cx, ONE)
    with journey("order") as walk:
        pass
    under(cx, TWO, ONE)
    with journey("order", id=walk.id):
        headers = headers_of(cx)
        token = arrives(headers)
        try:
            with customer("cust-42"), touchpoint("there"):
                pass
        finally:
            detach(token)
    _journeys.forget_all()

    assert shown(cx, "there") == named(ONE)


def test_a_place_without_a_journey_is_signed_with_the_newest(cx: Capture) -> None:
    """Where there is neither journey nor customer, the newest key signs."""
    under(cx, TWO, ONE)
    with touchpoint("a"):
        headers = headers_of(cx)

    assert _baggage.key_id_of(_baggage.parse(headers["baggage"]).ours) == "q2"


def test_what_an_old_key_has_signed_is_believed(cx: Capture) -> None:
    """As long as the key is there; without it the request is one of a stranger."""
    under(cx, ONE)
    with journey("order"), customer("cust-42"):
        headers = headers_of(cx)
    for keys, believed in (((TWO, ONE), True), ((TWO,), False)):
        under(cx, *keys)
        token = arrives(headers)
        try:
            assert (shown_now() == named(ONE)) is believed
        finally:
            detach(token)

    assert _guard.counts()["baggage.other_key"] == 1


def test_a_pseudonym_whose_key_is_gone_is_not_passed_on(cx: Capture) -> None:
    """Under another key's signature it would be taken for that key's."""
    under(cx, ONE)
    with journey("order"), customer("cust-42"):
        under(cx, TWO)
        members = _baggage.parse(headers_of(cx)["baggage"]).ours

    assert PSEUDONYM not in members
    assert "cx.journey.id" in members
    assert _guard.counts() == {"baggage.key_is_gone": 1}


class Ids:
    """A store that gives everybody the same id."""

    def keep(self, names: Any, value: str) -> str:
        """As the protocol says."""
        return "i" * 22

    def delete(self, names: Any) -> int:
        """As the protocol says."""
        return 0


class NewIds(Ids):
    """A store that has just been emptied, whenever it is asked."""

    def keep(self, names: Any, value: str) -> str:
        """As the protocol says."""
        return value


@pytest.mark.parametrize(("pseudonym", "key_id"), [("r1." + "i" * 22, "vault"), ("tok-1", None)])
def test_a_pseudonym_that_no_key_has_made_says_so_at_the_next_service(
    cx: Capture, pseudonym: str, key_id: str | None
) -> None:
    """The key of the signature is not taken for the maker of what has another form."""

    class Own:
        key_id = "mine"

        def pseudonym(self, customer_id: object) -> str:
            return "tok-1"

    vault = VaultPseudonymiser(Ids(), key="0" * 40, timeout=PATIENT)
    under(cx, TWO, ONE, pseudonymiser=vault if key_id else Own())
    with journey("order"), customer("cust-42"):
        headers = headers_of(cx)
        assert shown_now() == (pseudonym, key_id or "mine")
    token = arrives(headers)
    try:
        assert shown_now() == (pseudonym, key_id)
    finally:
        detach(token)


def test_a_sender_who_has_read_of_a_key_before_us(
    cx: Capture, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature under a key that is new in the file makes us look, and is believed at once."""
    monkeypatch.setattr(_key_file, "_PATIENCE", 20)
    file = tmp_path / "keys"
    file.write_text(f"q1 = {1:040}")
    keys = KeyFile(file)
    under(cx, TWO)
    with journey("order"), customer("cust-42"):
        headers = headers_of(cx)
    cx.use(key=keys, pseudonymiser=HmacPseudonymiser(keys))
    file.write_text(f"q2 = {2:040}\nq1 = {1:040}")
    token = arrives(headers)
    try:
        assert shown_now() == named(TWO)
    finally:
        detach(token)

    assert LOOK_EVERY < LEAD
    assert keys.key_id == "q1"
    assert _guard.counts() == {}


@given(st.text(max_size=200))
def test_any_key_id_in_a_signature(text: str) -> None:
    """Whatever a stranger writes for a key id, the ring finds a key of ours or none."""
    ring = KeyRing([TWO, ONE])
    members = {"cx.journey.name": "x", _baggage.SIGNATURE: f"v1:{text}:1:{'0' * 32}"}

    assert _baggage.fault(members, ring, 1) in {"other_key", "forged", "unsigned"}


# Under load


def test_keys_are_changed_under_load(tmp_path: Path) -> None:
    """Four changes, two services, three threads: a pseudonym on each span, right, one a journey."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", rotating.__file__, str(tmp_path), "shop"],
        env={**kept, "CXTRACE_KEY_FILE": str(tmp_path / "keys"), "CXTRACE_EXPORTER": "none"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    spans: list[dict[str, Any]] = []
    for service in ("shop", "stock"):
        *lines, last = map(json.loads, (tmp_path / f"{service}.jsonl").read_text().splitlines())
        spans += lines
        assert last == {"counts": {}}
    makers = {
        f"q{number}": HmacPseudonymiser(Key(rotating.key_of(number).encode()))
        for number in range(rotating.CHANGES + 1)
    }
    of_journey = defaultdict(set)
    services = defaultdict(set)
    for span in spans:
        every = {maker.pseudonym(span["whose"]): key_id for key_id, maker in makers.items()}
        assert span["pseudonym"] in every
        assert span["key_id"] in (None, every[span["pseudonym"]])  # a query's span has no key id
        of_journey[span["journey"]].add(span["pseudonym"])
        services[span["journey"]].add(span["service"])

    assert {span["key_id"] for span in spans} == {None, *makers}
    assert all(len(pseudonyms) == 1 for pseudonyms in of_journey.values())
    assert sum(len(each) == 2 for each in services.values()) > rotating.CHANGES
    assert None not in of_journey
