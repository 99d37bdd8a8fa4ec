"""Webhooks of other systems become signals: genuine ones, once, and nobody is told more."""

import asyncio
import base64
import hashlib
import hmac
import http.client
import inspect
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxtrace import ConfigurationError, JourneyMap, TouchpointHandle, _guard, signals
from cxtrace.integrations import webhooks
from cxtrace.integrations._webhooks import serving
from cxtrace.integrations.webhooks import (
    Delivery,
    HmacSignature,
    Receipt,
    Receiver,
    RecentDeliveries,
    SharedToken,
    Signal,
    Visit,
)
from cxtrace.testing import Capture, capture

MAP = JourneyMap.loads(
    """
schema = "cxtrace.map/1"
name = "shop"

[functions]
service = {}
finance = {}

[[stage]]
name = "service"
phase = "customer"

[promise.refund]
claim = "Your money back within 7 days"
source = "regulation"
metric = "delivered"
op = "<="
target = 7.0
unit = "d"

[[touchpoint]]
name = "support.ticket"
stage = "service"
owner = "service"
influence = { service = 1.0 }
promises = ["refund"]

[[touchpoint]]
name = "survey.answer"
stage = "service"
owner = "service"

[[journey]]
name = "get_help"
"""
)
SECRET = "s3cret"
OLD_SECRET = "older"
SIGNED = HmacSignature(SECRET, header="X-Signature")
WORDS = "Dear Ada Lovelace, it is late"

KINDS: dict[str, tuple[Signal, str, str | None]] = {
    "complaint": (Signal.complaint("opened"), "cx.complaint", "cx.complaint.unresolved"),
    "deliver": (Signal.deliver("refund", 6), "cx.promise.evaluated", "cx.promise.evaluations"),
    "emotion": (
        Signal.emotion("anger", source="text"),
        "cx.emotion",
        "cx.emotion.signals",
    ),
    "feedback": (Signal.feedback("csat", 4), "cx.feedback", "cx.feedback.responses"),
    "forecast": (
        Signal.forecast("churn", probability=0.5, model="rule@1"),
        "cx.forecast",
        None,
    ),
    "friction": (Signal.friction("slow"), "cx.friction", "cx.touchpoint.frictions"),
    "handoff": (Signal.handoff("finance", waited=3), "cx.handoff", "cx.handoff.duration"),
    "mention": (Signal.mention("friends", valence=0.5), "cx.mention", "cx.mentions"),
    "nudge": (
        Signal.nudge("points", technique="reminder").answered("accepted"),
        "cx.nudge.outcome",
        "cx.nudge.outcomes",
    ),
    "value": (Signal.value(10, "EUR", type="referred"), "cx.value", "cx.value.attributed"),
}
"""Each signal, its event, and a metric that counts it; a forecast has none."""


def visits(payload: Any) -> Iterator[Visit]:
    """A translator: what the payload says is said, of the customer that it names."""
    kinds = payload["say"]
    yield Visit([KINDS[kind][0] for kind in kinds], customer=payload.get("customer"))


def receiver(**other: Any) -> Receiver:
    """A receiver of such payloads."""
    usual: dict[str, Any] = {
        "touchpoint": "support.ticket",
        "check": SIGNED,
        "translate": visits,
        "delivery_id": lambda payload: payload.get("id"),
    }
    return Receiver(**{**usual, **other})


def body_of(*kinds: str, **other: Any) -> bytes:
    """A payload that says these kinds."""
    return json.dumps({"say": kinds, "text": WORDS, **other}).encode()


def signature(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """The headers of a genuine delivery."""
    return {"X-Signature": hmac.digest(secret.encode(), body, "sha256").hex()}


def deliver(to: Receiver, body: bytes) -> Receipt:
    """Hand in a genuine delivery."""
    return to.receive(body, signature(body))


@pytest.fixture
def cx(forgetful: None) -> Iterator[Capture]:
    """Capture what is said under a map that has the touchpoints."""
    with capture(journey_map=MAP) as captured:
        yield captured


# What is said


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_of_signal_arrives(cx: Capture, kind: str) -> None:
    """What a translator says is an event of the touchpoint, and a number in its metric."""
    _, event, metric = KINDS[kind]

    receipt = deliver(receiver(), body_of(kind, id="1"))

    assert receipt == Receipt("accepted", 200, visits=1)
    assert event in [signal.name for signal in cx.touchpoint("support.ticket").signals]
    assert metric is None or len(cx.metric(metric).points) == 1
    assert not any(name.startswith(("errors", "refused")) for name in _guard.counts())


def signature_of(function: Any) -> Any:
    """The parameters of a function."""
    return inspect.signature(function).parameters


def test_every_signal_can_be_said_later() -> None:
    """``Signal`` has what ``cxtrace`` has, with the same parameters."""
    assert sorted(KINDS) == sorted(signals.__all__)
    for name in KINDS:
        method, later = getattr(TouchpointHandle, name), getattr(Signal, name)
        assert list(signature_of(later)) == list(signature_of(method))[1:], name
        assert later.__doc__ == method.__doc__


def test_signals_that_say_the_same_are_equal() -> None:
    """A translator is tested by comparing what it gives."""
    one = Visit(Signal.complaint("opened", friction="slow", open_for=2), customer="a")
    other = Visit([Signal.complaint("opened", open_for=2, friction="slow")], customer="a")

    assert one == other
    assert one != Visit(Signal.complaint("opened"), customer="a")


def test_a_visit_says_who_where_and_on_which_journey(cx: Capture) -> None:
    """Customer, journey, touchpoint and channel of a visit are those of what is sent."""
    said = [
        Visit(
            Signal.complaint("opened"),
            customer="cust-42",
            kind="person",
            segment="smb",
            journey="get_help",
            journey_id="ticket-81",
        ),
        Visit(
            Signal.feedback("nps", 9),
            customer=7,
            journey="get_help",
            journey_id=81,
            touchpoint="survey.answer",
            channel="chat",
        ),
        Visit((), journey="get_help"),
    ]

    deliver(receiver(translate=lambda _: said, channel="email"), b"{}")

    ticket, survey, anonymous = cx.touchpoints
    assert (ticket.name, ticket.journey, ticket.journey_id) == (
        "support.ticket",
        "get_help",
        "ticket-81",
    )
    assert ticket.customer == cx.pseudonym("cust-42")
    assert ticket.attributes["cx.customer.segment"] == "smb"
    assert ticket.attributes["cx.channel.name"] == "email"
    assert (survey.name, survey.journey_id) == ("survey.answer", "81")
    assert survey.customer == cx.pseudonym(7)
    assert survey.attributes["cx.channel.name"] == "chat"
    assert (anonymous.name, anonymous.customer) == ("support.ticket", None)


def test_nothing_personal_is_sent(cx: Capture) -> None:
    """Neither words nor ids of a payload leave, an e-mail address least of all."""
    body = body_of("complaint", "value", customer="ada@example.com", id="ada@example.com")

    deliver(receiver(), body)

    cx.assert_nothing_personal("ada@example.com", WORDS)
    assert cx.touchpoint("support.ticket").customer == cx.pseudonym("ada@example.com")


def test_consent_of_a_payload_holds(cx: Capture) -> None:
    """A survey whose customer has refused is not recorded."""
    said = Visit(Signal.feedback("nps", 2), customer="cust-42", consent="denied")

    deliver(receiver(translate=lambda _: [said]), b"{}")

    assert cx.signals("feedback") == []
    assert cx.touchpoint("support.ticket").customer is None


def test_a_payload_that_tells_nothing_is_accepted(cx: Capture) -> None:
    """Events that the translator passes over make no touchpoint, and the sender is content."""
    receipt = deliver(receiver(translate=lambda _: ()), b"{}")

    assert receipt == Receipt("accepted", 200)
    assert cx.touchpoints == []


def test_a_signal_that_cannot_be_said_takes_no_other_along(cx: Capture) -> None:
    """What the verbs refuse is counted; the rest of the visit is said."""
    wrong: Any = Signal.nudge
    said = [
        wrong("points", tecnique="reminder"),
        wrong("points", technique="reminder").answered("shrugged"),
        Signal.complaint("opened"),
    ]

    receipt = deliver(receiver(translate=lambda _: [Visit(said)]), b"{}")

    assert receipt.outcome == "accepted"
    cx.assert_outcome("support.ticket", "completed")
    assert [signal.kind for signal in cx.signals()] == ["nudge", "complaint"]
    assert _guard.counts() == {"errors.webhooks": 1, "refused.nudge.result": 1}


def test_a_visit_that_cannot_be_made_is_counted(cx: Capture) -> None:
    """A touchpoint that is no name ends this visit, and not the next."""
    wrong: Any = print
    said = [Visit((), touchpoint=wrong), Visit(Signal.complaint("opened"))]

    receipt = deliver(receiver(translate=lambda _: said), b"{}")

    assert receipt.outcome == "accepted"
    assert len(cx.touchpoints) == 1
    assert _guard.counts() == {"errors.webhooks": 1}


# Who may say it


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Signature": ""},
        {"X-Signature": "00" * 32},
        {"X-Signature": "not hexadecimal"},
        {"X-Signature": "é" * 64},
        {"X-Signature": "\udcff"},
        {"X-Other": hmac.digest(b"s3cret", b"{}", "sha256").hex()},
        signature(b"{}", "another secret"),
        signature(b"{ }"),
        {"X-Signature": hmac.digest(b"s3cret", b"{}", "sha256").hex()[:-2]},
    ],
)
def test_a_delivery_of_somebody_else_is_refused(cx: Capture, headers: dict[str, str]) -> None:
    """Without a right signature nothing is read, and the answer tells nothing but 401."""
    receipt = receiver(translate=never).receive(b"{}", headers)

    assert receipt == Receipt("refused", 401, "signature")
    assert receipt.headers == {"Content-Type": "text/plain", "Content-Length": "0"}
    assert _guard.counts() == {"webhooks.signature": 1}


def never(_payload: Any) -> list[Visit]:
    """A translator that nothing may reach."""
    raise AssertionError("a delivery that is not genuine was translated")


def test_a_body_that_was_changed_or_cut_is_refused(cx: Capture) -> None:
    """Each byte is signed."""
    body = body_of("complaint")
    for other in (body[:-1], body + b" ", body.replace(b"complaint", b"feedback "), b""):
        assert receiver(translate=never).receive(other, signature(body)).status == 401


def test_a_refusal_is_named_once_in_the_log(cx: Capture, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody can send wrong signatures; the log is not theirs to fill, nor to read."""
    desk = receiver()
    for guess in ("00", "01", "02"):
        desk.receive(b'{"a": "b"}', {"X-Signature": guess})

    (message,) = caplog.messages
    assert message == (
        "cxtrace: a webhook for support.ticket was refused: its signature is missing, wrong or "
        "too old; are the secrets the same?"
    )


def test_secrets_are_changed_without_a_gap(cx: Capture) -> None:
    """While two secrets are given, both are right; afterwards the old one is not."""
    body = b'{"say": []}'
    turns: list[tuple[tuple[Any, ...], list[int]]] = [
        ((OLD_SECRET,), [401, 200]),
        ((SECRET, OLD_SECRET), [200, 200]),
        ((SECRET.encode(),), [200, 401]),
    ]
    for secrets, statuses in turns:
        check = HmacSignature(*secrets, header="x-signature")
        answers = [
            receiver(check=check).receive(body, signature(body, secret)).status
            for secret in (SECRET, OLD_SECRET)
        ]
        assert answers == statuses


@pytest.mark.parametrize("secrets", [(), ("",), (SECRET, ""), (" ",), (None,), (b"",), (7,)])
def test_a_receiver_without_a_secret_is_refused(secrets: Any) -> None:
    """An empty secret, as of a variable that is not set, would let everybody in."""
    with pytest.raises(ConfigurationError, match="needs a secret"):
        HmacSignature(*secrets, header="X-Signature")
    with pytest.raises(ConfigurationError, match="needs a secret"):
        SharedToken(*secrets)


def test_secrets_are_in_no_repr() -> None:
    """What a log or a traceback may show of a receiver and a visit names nobody, and no secret."""
    token = SharedToken(SECRET)
    shown = [SIGNED, token, receiver(), Delivery(SECRET.encode(), {"a": SECRET})]
    shown.append(Visit((), customer=SECRET, journey="get_help", journey_id=SECRET))

    assert SECRET not in repr(shown)
    assert repr(shown).startswith("[<HmacSignature in x-signature>, <SharedToken in authorization>")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer s3cret"}, 200),
        ({"AUTHORIZATION": "Bearer older"}, 200),
        ({"Authorization": "s3cret"}, 401),
        ({"Authorization": "Bearer s3cre"}, 401),
        ({"Authorization": "Bearer \udcff"}, 401),
        ({}, 401),
    ],
)
def test_a_token_stands_in_for_a_signature(
    cx: Capture, headers: dict[str, str], status: int
) -> None:
    """A system that signs nothing sends the secret itself."""
    desk = receiver(check=SharedToken(SECRET, OLD_SECRET))

    assert desk.receive(b'{"say": []}', headers).status == status


async def asynchronous(_delivery: Delivery) -> bool:
    """A check that nobody waits for."""
    return False


@pytest.mark.parametrize("check", [lambda _: "yes", lambda _: None, lambda _: 1 / 0])
def test_only_a_plain_yes_is_a_yes(cx: Capture, check: Any) -> None:
    """A check that raises, or says something else than True, says no."""
    assert receiver(check=check).receive(b'{"say": []}', {}).status == 401


def test_a_check_that_is_a_coroutine_is_no_yes(cx: Capture) -> None:
    """A coroutine is true, and would let everybody in."""
    made = []

    def check(delivery: Delivery) -> Any:
        made.append(asynchronous(delivery))
        return made[0]

    assert receiver(check=check).receive(b'{"say": []}', {}).status == 401
    made[0].close()


# When it was said


def timed(
    cx: Capture,
    text: str | None = None,
    *,
    ago: float = 0,
    signed: str = "{timestamp}{body}",
    encoding: Any = "base64",
    prefix: str = "",
    max_age: float = 300.0,
) -> Receipt:
    """Hand in a delivery that was signed with its time, now or a while ago."""
    now = cx.clock.now - timedelta(seconds=ago)
    text = now.strftime("%Y-%m-%dT%H:%M:%SZ") if text is None else text
    body = b'{"say": []}'
    message = signed.replace("{timestamp}", text).replace("{body}", body.decode())
    digest = hmac.digest(SECRET.encode(), message.encode(), "sha256")
    written = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    check = HmacSignature(
        SECRET,
        header="X-Signature",
        encoding=encoding,
        prefix=prefix,
        signed=signed,
        timestamp="X-Time",
        max_age=max_age,
    )
    headers = {"x-signature": prefix + written, "X-TIME": text}
    return receiver(check=check).receive(body, headers)


@pytest.mark.parametrize(
    ("ago", "status"), [(0, 200), (300, 200), (301, 401), (-300, 200), (-301, 401), (1e7, 401)]
)
def test_an_old_delivery_is_refused(cx: Capture, ago: float, status: int) -> None:
    """Whoever has recorded a delivery cannot play it back later, nor keep one for next year."""
    assert timed(cx, ago=ago).status == status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("1767225600", 200),
        ("1767225600000", 200),
        ("2026-01-01T00:00:00Z", 200),
        ("2026-01-01T00:00:00.123456789Z", 200),
        ("2026-01-01 01:00:00+01:00", 200),
        ("2026-01-01T00:00:00", 401),
        ("2026-13-01T00:00:00Z", 401),
        ("0001-01-01T00:00:00+14:00", 401),
        ("9999-99-99T99:99:99Z", 401),
        ("----------T::::::::Z", 401),
        ("-1767225600", 401),
        ("1e9", 401),
        ("nan", 401),
        ("9" * 16, 401),
        ("9" * 5_000, 401),
        ("", 401),
        ("yesterday", 401),
    ],
)
def test_times_are_read_as_senders_write_them(cx: Capture, text: str, status: int) -> None:
    """Seconds, milliseconds, or ISO 8601 with its time zone; what cannot be read is too old."""
    assert timed(cx, text).status == status


@pytest.mark.parametrize(
    ("signed", "encoding", "prefix"),
    [
        ("v0:{timestamp}:{body}", "hex", "v0="),
        ("{timestamp}.{body}", "base64", "sha256="),
        ("POSThttps://shop.example.com/{body}{timestamp}", "base64", ""),
        ("{X-Time}.{body}", "hex", ""),
    ],
)
def test_what_is_signed_can_be_said(cx: Capture, signed: str, encoding: str, prefix: str) -> None:
    """Time, body and fixed text stand in the order that the sender's documentation gives."""
    now = "1767225600"
    if "X-Time" in signed:
        signed = signed.replace("X-Time", "timestamp")

    assert timed(cx, now, signed=signed, encoding=encoding, prefix=prefix).status == 200


def test_other_headers_can_be_signed_too(cx: Capture) -> None:
    """As the Standard Webhooks have it: id, time and body, and several signatures in one header."""
    check = HmacSignature(
        SECRET,
        header="webhook-signature",
        encoding="base64",
        prefix="v1,",
        signed="{webhook-id}.{webhook-timestamp}.{body}",
        timestamp="webhook-timestamp",
    )
    digest = hmac.digest(SECRET.encode(), b'msg_1.1767225600.{"say": []}', "sha256")
    right = f"v1a,AAAA v1,AAAA v1,%% v1,{base64.b64encode(digest).decode()}"
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1767225600",
        "webhook-signature": right,
    }
    desk = receiver(check=check, delivery_id="Webhook-Id")

    assert desk.receive(b'{"say": []}', {**headers, "webhook-id": "msg_2"}).status == 401
    del headers["webhook-id"]
    assert desk.receive(b'{"say": []}', headers).status == 401
    headers["webhook-id"] = "msg_1"
    assert desk.receive(b'{"say": []}', headers).outcome == "accepted"
    assert desk.receive(b'{"say": []}', headers).outcome == "duplicate"


def test_few_signatures_of_a_header_are_looked_at(cx: Capture) -> None:
    """A header full of guesses costs no more than a few comparisons."""
    body = b'{"say": []}'
    (right,) = signature(body).values()

    assert receiver().receive(body, {"x-signature": "00 " * 7 + right}).status == 200
    assert receiver().receive(body, {"x-signature": "00 " * 8 + right}).status == 401


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"encoding": "rot13"}, "it can be 'hex' or 'base64'"),
        ({"signed": "{timestamp}", "timestamp": "X-Time"}, "must have {body} once"),
        ({"signed": "{body}{body}"}, "must have {body} once"),
        ({"signed": "{timestamp}{body}"}, "give `timestamp`"),
        ({"timestamp": "X-Time"}, "anybody could change the time"),
    ],
)
def test_a_check_that_cannot_work_is_refused(wrong: dict[str, Any], message: str) -> None:
    """The message says what to write, while the service starts."""
    with pytest.raises(ConfigurationError, match=message):
        HmacSignature(SECRET, header="X-Signature", **wrong)


# What cannot be read


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"say=complaint", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000, b"1" * 5_000],
    ids=["empty", "cut", "a form", "no UTF-8", "a byte order mark", "deep", "a long number"],
)
def test_what_is_no_json_is_refused(cx: Capture, body: bytes) -> None:
    """A genuine delivery that is no JSON in UTF-8 gets 400, or 422, and is counted."""
    receipt = deliver(receiver(), body)

    assert receipt.outcome == "refused"
    assert receipt.status in (400, 422)
    assert cx.touchpoints == []


@pytest.mark.parametrize("body", [b"null", b"[]", b'"say"', b"{}", b'{"say": ["x"]}', b"NaN"])
def test_a_payload_of_another_shape_is_refused(cx: Capture, body: bytes) -> None:
    """A translator that raises is counted and answered with 422, and nothing of it is said."""
    receipt = deliver(receiver(), body)

    assert receipt == Receipt("refused", 422, "untranslated")
    assert _guard.counts() == {"webhooks.untranslated": 1, "errors.webhooks.translate": 1}
    assert cx.touchpoints == []


def endless(_payload: Any) -> Iterator[Visit]:
    """A translator that never stops."""
    while True:
        yield Visit(())


def halfway(_payload: Any) -> Iterator[Visit]:
    """A translator that raises after its first visit."""
    yield Visit(Signal.complaint("opened"))
    raise KeyError("Ada Lovelace")


@pytest.mark.parametrize(
    "translate",
    [endless, halfway, lambda _: None, lambda _: ["complaint"], lambda _: Visit(())],
)
def test_a_translator_that_is_wrong_says_nothing(
    cx: Capture, caplog: pytest.LogCaptureFixture, translate: Any
) -> None:
    """All visits are made before the first is said, so that there are no halves."""
    receipt = deliver(receiver(translate=translate), b"{}")

    assert receipt.status == 422
    assert cx.touchpoints == []
    assert "Ada" not in caplog.text


def test_a_delivery_that_was_not_translated_may_come_again(cx: Capture) -> None:
    """It is not remembered: once the translator is mended, the sender's next try counts."""
    ready: list[Visit] = []
    desk = receiver(translate=lambda _: ready if ready else 1 / 0)

    assert deliver(desk, b"{}").status == 422
    ready.append(Visit(Signal.complaint("opened")))
    assert deliver(desk, b"{}").outcome == "accepted"


def test_an_oversized_body_is_refused_unread(cx: Capture) -> None:
    """Its signature is not even computed."""
    desk = receiver(max_bytes=100, check=never)

    assert desk.receive(b"x" * 101, {}) == Receipt("refused", 413, "too_large")


@pytest.mark.parametrize("wrong", ["text", None, 7, memoryview(b"{}")])
def test_a_body_that_is_no_bytes_is_refused(cx: Capture, wrong: Any) -> None:
    """A host that hands in text has decoded it, and a signature is of bytes."""
    assert receiver().receive(wrong, {}) == Receipt("refused", 400, "unreadable")


def test_headers_that_are_none_are_survived(cx: Capture) -> None:
    """What has no items(), or raises, is counted."""
    nothing: Any = None

    assert receiver().receive(b"{}", nothing).status == 400
    assert _guard.counts() == {"errors.webhooks": 1, "webhooks.unreadable": 1}


def test_other_formats_can_be_read(cx: Capture) -> None:
    """A system that posts forms has a reader of its own."""
    desk = receiver(read=lambda body: {"say": body.decode().split("=")[1:]})

    assert deliver(desk, b"say=complaint").outcome == "accepted"
    assert len(cx.signals("complaint")) == 1


def test_only_names_and_bodies_of_its_own_make_a_receiver() -> None:
    """A touchpoint that is no name is refused while the service starts."""
    with pytest.raises(TypeError, match='touchpoint="name"'):
        receiver(touchpoint=visits)
    with pytest.raises(TypeError, match="signals such as"):
        Visit(["complaint"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="needs the name of the journey"):
        Visit((), journey_id="81")


# Once


def test_a_delivery_that_comes_again_is_said_once(cx: Capture) -> None:
    """The sender is told that all is well, so that it stops."""
    desk, body = receiver(), body_of("complaint", id="1")

    receipts = [deliver(desk, body) for _ in range(3)]

    assert [receipt.outcome for receipt in receipts] == ["accepted", "duplicate", "duplicate"]
    assert [receipt.status for receipt in receipts] == [200, 200, 200]
    assert cx.metric("cx.complaint.unresolved").sum == 1
    assert _guard.counts() == {"webhooks.duplicate": 2}


def test_the_same_id_with_another_body_is_the_same_delivery(cx: Capture) -> None:
    """Senders count their tries in the body; what tells deliveries apart is the id."""
    desk = receiver()

    assert deliver(desk, body_of("complaint", id="1", attempt=1)).outcome == "accepted"
    assert deliver(desk, body_of("complaint", id="1", attempt=2)).outcome == "duplicate"
    assert deliver(desk, body_of("complaint", id="2", attempt=1)).outcome == "accepted"


@pytest.mark.parametrize("delivery_id", [None, "X-Delivery", lambda payload: payload.get("id")])
def test_without_an_id_the_body_tells_deliveries_apart(cx: Capture, delivery_id: Any) -> None:
    """A delivery that has no id is not the same as another that has none."""
    desk = receiver(delivery_id=delivery_id)

    outcomes = [
        deliver(desk, body).outcome
        for body in (body_of("complaint"), body_of("value"), body_of("complaint"))
    ]

    assert outcomes == ["accepted", "accepted", "duplicate"]


def test_an_id_that_raises_is_refused(cx: Capture) -> None:
    """A payload without the id that it must have is of another shape."""
    desk = receiver(delivery_id=lambda payload: payload["id"])

    assert deliver(desk, b'{"say": []}').status == 422


def test_one_delivery_to_many_threads_is_said_once(cx: Capture) -> None:
    """Of threads that get it in the same moment, one says it."""
    desk, body = receiver(), body_of("complaint", id="1")
    start = threading.Barrier(8)

    def at_once(_: int) -> str:
        start.wait()
        return deliver(desk, body).outcome

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(at_once, range(8)))

    assert outcomes == ["accepted", *["duplicate"] * 7]


def test_the_oldest_deliveries_are_forgotten(cx: Capture) -> None:
    """Memory is bounded; what is forgotten is counted, and would be said again."""
    desk = receiver(seen=RecentDeliveries(2))

    outcomes = [deliver(desk, body_of(id=one)).outcome for one in "abacab"]

    assert outcomes == ["accepted", "accepted", "duplicate", "accepted", "accepted", "accepted"]
    assert _guard.counts() == {"webhooks.duplicate": 1, "webhooks.forgotten": 3}


class Store:
    """A store of somebody's own, which answers as it was told to."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer
        self.ids: list[str] = []

    def add(self, delivery_id: str, /) -> Any:
        """Note the id, and answer."""
        self.ids.append(delivery_id)
        return self.answer()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        *((True, "accepted"), (1, "accepted"), (False, "duplicate"), (0, "duplicate")),
        (None, "duplicate"),
    ],
)
def test_a_store_of_ones_own_decides(cx: Capture, answer: Any, outcome: str) -> None:
    """As Redis says it, True, 1, 0 or nothing."""
    store = Store(lambda: answer)

    assert deliver(receiver(seen=store), body_of(id="ada@example.com")).outcome == outcome
    (remembered,) = store.ids
    assert len(remembered) == 64
    assert "ada" not in remembered


def test_what_a_store_remembers_is_the_same_in_every_process() -> None:
    """The id that a store gets depends on touchpoint and id alone."""
    store = Store(lambda: True)
    deliver(receiver(seen=store), body_of(id="1"))
    deliver(receiver(seen=store, touchpoint="survey.answer"), body_of(id="1"))

    assert store.ids == [
        hashlib.sha256(b"support.ticket\nid\n1").hexdigest(),
        hashlib.sha256(b"survey.answer\nid\n1").hexdigest(),
    ]


@pytest.mark.parametrize("answer", [lambda: 1 / 0, lambda: "new", lambda: (_ for _ in ())])
def test_a_store_that_fails_lets_nothing_through(cx: Capture, answer: Any) -> None:
    """Counted twice is worse than late: nothing is said, and the sender is asked to come back."""
    receipt = deliver(receiver(seen=Store(answer)), body_of("complaint"))

    assert receipt == Receipt("refused", 503, "unremembered")
    assert receipt.headers["Retry-After"] == "30"
    assert cx.touchpoints == []
    assert _guard.counts()["webhooks.unremembered"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_not_locked_out() -> None:
    """A child remembers what its parent did, and does not wait for a lock that nobody opens."""
    program = """
import os, signal, sys, threading
from cxtrace.integrations import webhooks
from cxtrace.integrations._webhooks import serving
seen = webhooks.RecentDeliveries()
seen.add("a")
holding = threading.Event()
def hold():
    with webhooks._lock:
        holding.set()
        threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
holding.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    sys.exit((seen.add("a"), seen.add("b")) != (False, True))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")


# Whatever comes in


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.text(), max_size=2),
)
HEADERS = st.dictionaries(
    st.one_of(st.text(), st.sampled_from(["X-Signature", "x-time", "Authorization"])),
    st.one_of(st.text(), ANYTHING),
    max_size=4,
)
CHECKS = [
    SIGNED,
    SharedToken(SECRET),
    HmacSignature(
        SECRET,
        header="X-Signature",
        encoding="base64",
        signed="{timestamp}{body}",
        timestamp="X-Time",
    ),
]


@given(body=st.one_of(st.binary(), ANYTHING), headers=st.one_of(HEADERS, ANYTHING))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_bytes_and_no_headers_raise(forgetful: None, body: Any, headers: Any) -> None:
    """Whatever a stranger sends is refused, and that is all."""
    for check in CHECKS:
        receipt = receiver(check=check, translate=never).receive(body, headers)

        assert receipt.outcome == "refused"
        assert receipt.status in (400, 401)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@given(
    payload=st.one_of(
        JSON,
        st.fixed_dictionaries(
            {"say": st.lists(st.sampled_from(sorted(KINDS)))},
            optional={"id": JSON, "customer": JSON},
        ),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_genuine_payload_raises(cx: Capture, payload: Any) -> None:
    """Whatever the sender itself sends is accepted or refused, and is a duplicate thereafter."""
    desk, body = receiver(), json.dumps(payload).encode()

    first, second = deliver(desk, body), deliver(desk, body)

    assert (first.outcome, second.outcome) in [
        ("accepted", "duplicate"),
        ("refused", "refused"),
    ]


# Served


class Quiet(WSGIRequestHandler):
    """Logs no requests."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def post(port: int, body: Any, method: str = "POST", **headers: str) -> tuple[int, dict[str, str]]:
    """Send a request, and give status and headers of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request(method, "/", body, named)
    answer = connection.getresponse()
    assert answer.read() == b""
    connection.close()
    return answer.status, {name.lower(): text for name, text in answer.getheaders()}


def test_it_is_a_wsgi_application(cx: Capture) -> None:
    """A server of the standard library serves it, to the letter of PEP 3333."""
    desk, body = receiver(max_bytes=1_000), body_of("complaint", id="1")
    right = signature(body)["X-Signature"]
    with make_server("127.0.0.1", 0, validator(desk.wsgi), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.server_port
        answers = [
            post(port, body, x_signature=right),
            post(port, body, x_signature=right),
            post(port, body),
            post(port, b"x" * 2_000),
            post(port, None, "GET"),
        ]
        server.shutdown()
        thread.join()

    assert [status for status, _ in answers] == [200, 200, 401, 413, 405]
    assert answers[-1][1]["allow"] == "POST"
    assert len(cx.signals("complaint")) == 1


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({}, 401),
        ({"CONTENT_LENGTH": ""}, 401),
        ({"CONTENT_LENGTH": "many"}, 401),
        ({"CONTENT_LENGTH": "9" * 5_000}, 401),
        ({"CONTENT_LENGTH": "-1"}, 401),
        ({"wsgi.input_terminated": True}, 200),
    ],
)
def test_wsgi_reads_no_more_than_there_is(
    cx: Capture, environ: dict[str, Any], status: int
) -> None:
    """Without a length there is nothing to read, unless the server says where the body ends."""
    body = b'{"say": []}'
    answers: list[str] = []
    environ |= {
        "REQUEST_METHOD": "POST",
        "wsgi.input": io.BytesIO(body),
        "HTTP_X_SIGNATURE": signature(body)["X-Signature"],
    }

    receiver().wsgi(environ, lambda status, _headers: answers.append(status))

    assert answers[0].startswith(str(status))


def asgi(desk: Receiver, scope: dict[str, Any], *messages: dict[str, Any]) -> list[Any]:
    """Run it as an ASGI application, and give what it sent."""
    left, sent = iter(messages), []

    async def receive() -> Any:
        return next(left)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(desk.asgi(scope, receive, send))
    return sent


def test_asgi_reads_a_body_in_pieces(cx: Capture) -> None:
    """Pieces are joined before the signature is checked."""
    body = body_of("complaint")
    scope = {
        "type": "http",
        "method": "POST",
        "headers": [(b"x-signature", signature(body)["X-Signature"].encode())],
    }
    pieces: list[dict[str, Any]] = [
        {"type": "http.request", "body": body[:5], "more_body": True},
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": body[5:]},
    ]

    start, end = asgi(receiver(), scope, *pieces)

    assert (start["status"], start["headers"][1:]) == (200, [(b"content-length", b"0")])
    assert end == {"type": "http.response.body"}
    assert len(cx.signals("complaint")) == 1


def test_asgi_stops_reading_what_is_too_long(cx: Capture) -> None:
    """A body without an end is refused as soon as it is too long."""
    scope = {"type": "http", "method": "POST", "headers": []}
    piece = {"type": "http.request", "body": b"x" * 60, "more_body": True}

    start, _ = asgi(receiver(max_bytes=100), scope, piece, piece)

    assert start["status"] == 413


def test_asgi_takes_nothing_else(cx: Capture) -> None:
    """A sender that hangs up halfway has sent nothing, and nor has who does not post."""
    scope = {"type": "http", "method": "POST", "headers": []}
    half = {"type": "http.request", "body": b"{", "more_body": True}

    assert asgi(receiver(), scope, half, {"type": "http.disconnect"}) == []
    assert asgi(receiver(), {"type": "lifespan"}) == []
    assert asgi(receiver(), {**scope, "method": "GET"})[0]["status"] == 405
    assert cx.touchpoints == []


# In threads of ours


def posted() -> tuple[dict[str, Any], dict[str, Any]]:
    """A genuine delivery, as an ASGI server hands it in."""
    body = body_of("complaint")
    headers = [(b"x-signature", signature(body)["X-Signature"].encode())]
    scope = {"type": "http", "method": "POST", "headers": headers}
    return scope, {"type": "http.request", "body": body}


class Stuck:
    """A store that does not answer until it is let go."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.asked = threading.Semaphore(0)

    def add(self, delivery_id: str) -> bool:
        """Wait."""
        self.asked.release()
        self.may_go_on.wait(60)
        return True


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    """A store that is let go in the end, and with it all threads that wait for it."""
    store = Stuck()
    yield store
    let_go(store)

    assert serving._at_work == {}


async def together(desk: Receiver, number: int) -> list[int]:
    """The answers to several deliveries at once, in the order in which they come."""
    answers: list[int] = []

    async def one() -> None:
        scope, message = posted()

        async def receive() -> Any:
            return message

        async def send(sent: Any) -> None:
            if "status" in sent:
                answers.append(sent["status"])

        await desk.asgi(scope, receive, send)

    await asyncio.gather(*(one() for _ in range(number)))
    return answers


def let_go(stuck: Stuck) -> None:
    """Let the store answer, and wait until all threads have gone on from there."""
    stuck.may_go_on.set()
    for thread in threading.enumerate():
        if thread.name == "cxtrace_webhook":
            thread.join(60)


def test_the_event_loop_goes_on_while_a_store_waits(
    cx: Capture, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not return in time is answered 503; what it says then is said once all the same."""
    monkeypatch.setattr(serving, "PATIENCE", 0.1)
    desk = receiver(seen=stuck)

    async def main() -> tuple[list[int], int]:
        answers = await together(desk, 1)
        said = len(cx.signals("complaint"))
        await asyncio.to_thread(let_go, stuck)
        await asyncio.sleep(0)
        return answers, said

    assert asyncio.run(main()) == ([503], 0)
    assert cx.counts == {"webhooks.unfinished": 1}
    assert len(cx.signals("complaint")) == 1


def test_who_comes_too_early_is_asked_to_come_again() -> None:
    """A refusal that is not the sender's fault says when to come again."""
    again = [Receipt("refused", 503, why).headers for why in ("unremembered", "unfinished")]

    assert [headers["Retry-After"] for headers in again] == ["30", "30"]


def test_stores_that_wait_take_few_threads(
    cx: Capture, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many deliveries at once only some wait; the others are sent away at once."""
    monkeypatch.setattr(serving, "MOST_AT_WORK", 3)
    desk = receiver(seen=stuck)

    async def main() -> tuple[list[int], int]:
        first = asyncio.create_task(together(desk, 3))
        while len(serving._at_work) < 3:
            await asyncio.sleep(0)
        sent_away = await together(desk, 5)
        at_work = len(serving._at_work)
        stuck.may_go_on.set()
        return sent_away + await first, at_work

    assert asyncio.run(main()) == ([503] * 5 + [200] * 3, 3)
    assert cx.counts == {"webhooks.unfinished": 5}


def test_a_receiver_that_hangs_holds_up_no_other(
    cx: Capture, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all threads of one receiver wait, the deliveries of another are taken."""
    monkeypatch.setattr(serving, "MOST_AT_WORK", 3)
    desk, other = receiver(seen=stuck), receiver()

    async def main() -> list[int]:
        first = asyncio.create_task(together(desk, 3))
        while len(serving._at_work) < 3:
            await asyncio.sleep(0)
        answers = await together(other, 1)
        stuck.may_go_on.set()
        await first
        return answers

    assert asyncio.run(main()) == [200]


def test_a_function_that_ends_its_thread(cx: Capture) -> None:
    """SystemExit in a translator is counted, and the sender comes again."""

    def translate(_: Any) -> Any:
        raise SystemExit

    start, _ = asgi(receiver(translate=translate), *posted())

    assert start["status"] == 503
    assert cx.counts == {"errors.webhooks": 1, "webhooks.unfinished": 1}


def test_a_thread_that_cannot_begin(cx: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process can have no more threads, the sender comes again."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    start, _ = asgi(receiver(), *posted())

    assert start["status"] == 503
    assert cx.counts == {"errors.webhooks": 1, "webhooks.unfinished": 1}
    assert serving._at_work == {}


def test_a_thread_that_outlives_its_event_loop(cx: Capture, stuck: Stuck) -> None:
    """What is still at work when the server has gone tells nobody, and does not fail."""
    scope, message = posted()

    async def main() -> None:
        async def receive() -> Any:
            return message

        async def send(_: Any) -> None:
            raise AssertionError("there is nobody to answer")

        task = asyncio.ensure_future(receiver(seen=stuck).asgi(scope, receive, send))
        await asyncio.to_thread(stuck.asked.acquire)
        task.cancel()

    asyncio.run(main())
    let_go(stuck)

    assert len(cx.signals("complaint")) == 1
    assert cx.counts == {}


def test_signals_of_a_thread_are_in_the_trace_of_the_server(cx: Capture) -> None:
    """The span of the server, which is current in the event loop, is above the touchpoint."""
    tracer = cx.tracer_provider.get_tracer("server")
    with tracer.start_as_current_span("POST") as server:
        asgi(receiver(), *posted())

    (span,) = (each for each in cx.spans if each.name == "support.ticket")
    assert span.parent == server.get_span_context()


def test_another_kind_of_event_loop(cx: Capture) -> None:
    """Where no asyncio runs, as under trio, the functions run in the event loop."""
    scope, message = posted()
    sent: list[Any] = []

    async def receive() -> Any:
        return message

    async def send(each: Any) -> None:
        sent.append(each)

    driven = receiver(seen=RecentDeliveries()).asgi(scope, receive, send)
    with pytest.raises(StopIteration):
        driven.send(None)

    assert sent[0]["status"] == 200


UVICORN = """
import hmac, http.client, socket, threading
import uvicorn
from cxtrace.integrations.webhooks import HmacSignature, Receiver, Signal, Visit
from cxtrace.testing import capture

def translate(payload):
    yield Visit(Signal.complaint(payload["state"]), customer="cust-42")

desk = Receiver(
    touchpoint="support.ticket",
    check=HmacSignature("s", header="X-Signature"),
    translate=translate,
)
listening = socket.create_server(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(desk.asgi, log_level="error"))

def post(body, method="POST"):
    connection = http.client.HTTPConnection(*listening.getsockname(), timeout=20)
    headers = {"X-Signature": hmac.digest(b"s", b'{"state": "opened"}', "sha256").hex()}
    connection.request(method, "/", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status

def send():
    opened = b'{"state": "opened"}'
    print(post(opened), post(opened), post(opened[:-1]), post(iter([opened])), post(None, "GET"))
    server.should_exit = True

with capture() as cx:
    sender = threading.Thread(target=send)
    sender.start()
    server.run([listening])
    sender.join()
    print(len(cx.signals("complaint")))
"""


def test_uvicorn_serves_it() -> None:
    """A real server, with its lifespan, whole and chunked bodies; the signal is said once."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")

    done = subprocess.run(
        [sys.executable, "-c", UVICORN], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout == "200 200 401 200 405\n1\n"
    assert all(line.startswith("cxtrace: a webhook for") for line in done.stderr.splitlines())


def test_the_headers_of_frameworks_are_understood(cx: Capture) -> None:
    """Those of Werkzeug, Starlette and http.server differ in all but ``items()``."""
    body = b'{"say": []}'
    found: list[Any] = []
    message = http.client.HTTPMessage()
    message["X-Signature"] = signature(body)["X-Signature"]
    found.append(message)
    werkzeug = pytest.importorskip("werkzeug.datastructures", reason="Flask is not installed")
    found.append(werkzeug.Headers(signature(body)))
    starlette = pytest.importorskip("starlette.datastructures", reason="FastAPI is not installed")
    found.append(starlette.Headers(signature(body)))

    assert [receiver().receive(body, each).status for each in found] == [200, 200, 200]


def test_public_names_are_there() -> None:
    """``__all__`` is sorted, and each of its names exists and says what it is for."""
    assert sorted(webhooks.__all__) == webhooks.__all__
    assert [name for name in webhooks.__all__ if not hasattr(webhooks, name)] == []
