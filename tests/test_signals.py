"""The ten signals: as methods and as functions, their events and metrics, and what is refused."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cxtrace
from cxtrace import _guard, attributes, customer, journey, signals, touchpoint
from cxtrace._company_signals import NO_EXPOSURE
from cxtrace.journey_map import JourneyMap
from tests.conftest import Capture, Clock, Meters

MAP = JourneyMap.loads(
    """
schema = "cxtrace.map/1"
name = "shop"
version = "7"

[functions]
product = {}
finance = {}
service = {}

[[stage]]
name = "awareness"
phase = "pre_customer"

[[stage]]
name = "purchase"
phase = "customer"

[promise.refund]
claim = "Your money back within 7 days"
source = "regulation"
metric = "delivered"
op = "<="
target = 8.0
unit = "d"

[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "product"
influence = { product = 0.75, finance = 0.25 }

[[touchpoint]]
name = "home.visit"
stage = "awareness"
owner = "product"
influence = { product = 1.0 }

[[touchpoint]]
name = "desk.call"
stage = "purchase"
owner = "service"
influence = { service = 1.0 }

[[journey]]
name = "first_order"
"""
)
STAGE = {"cx.stage.name": "purchase"}
PLACE = {"cx.touchpoint.name": "checkout.pay", "cx.owner.function": "product", **STAGE}
OWNED = {"cx.owner.function": "product", **STAGE}
NAMES = sorted(signals.__all__)
RIGHT: dict[str, Callable[[Any], Any]] = {
    "complaint": lambda to: to.complaint("opened", friction="slow"),
    "deliver": lambda to: to.deliver("refund", 6),
    "emotion": lambda to: to.emotion("anger", source="text", valence=-1, arousal=1, confidence=0.5),
    "feedback": lambda to: to.feedback("csat", 4, scale=(1, 5)),
    "forecast": lambda to: to.forecast("churn", probability=0.25, horizon=60, model="rule@1"),
    "friction": lambda to: to.friction("slow", severity="low", source="client"),
    "handoff": lambda to: to.handoff("service", waited=30),
    "mention": lambda to: to.mention("friends", valence=0.5),
    "nudge": lambda to: to.nudge(
        "free_shipping_bar", technique="incentive", flag="bars", variant="b"
    ),
    "value": lambda to: to.value(100, "EUR", type="revenue"),
}
"""Each signal with every argument that it has, said to a handle or to the package."""

EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "complaint": (
        "cx.complaint",
        {**PLACE, "cx.complaint.state": "opened", "cx.friction.type": "slow"},
    ),
    "deliver": (
        "cx.promise.evaluated",
        {
            **PLACE,
            "cx.promise.id": "refund",
            "cx.promise.result": "kept",
            "cx.promise.target": 8.0,
            "cx.promise.delivered": 6.0,
            "cx.promise.unit": "d",
            "cx.promise.gap": -0.25,
            "cx.promise.source": "regulation",
        },
    ),
    "emotion": (
        "cx.emotion",
        {
            **PLACE,
            "cx.emotion.source": "text",
            "cx.emotion.label": "anger",
            "cx.emotion.valence": -1.0,
            "cx.emotion.arousal": 1.0,
            "cx.emotion.confidence": 0.5,
        },
    ),
    "feedback": (
        "cx.feedback",
        {
            **PLACE,
            "cx.feedback.type": "csat",
            "cx.feedback.score": 4.0,
            "cx.feedback.score_min": 1.0,
            "cx.feedback.score_max": 5.0,
            "cx.feedback.category": "satisfied",
        },
    ),
    "forecast": (
        "cx.forecast",
        {
            **PLACE,
            "cx.forecast.type": "churn",
            "cx.forecast.probability": 0.25,
            "cx.forecast.horizon": 60.0,
            "cx.forecast.model": "rule@1",
        },
    ),
    "friction": (
        "cx.friction",
        {
            **PLACE,
            "cx.friction.type": "slow",
            "cx.friction.severity": "low",
            "cx.friction.source": "client",
        },
    ),
    "handoff": (
        "cx.handoff",
        {
            **PLACE,
            "cx.handoff.from_function": "product",
            "cx.handoff.to_function": "service",
            "cx.effort.wait_time": 30.0,
        },
    ),
    "mention": (
        "cx.mention",
        {"cx.mention.source": "friends", "cx.stage.phase": "customer", "cx.emotion.valence": 0.5},
    ),
    "nudge": (
        "cx.nudge.exposure",
        {
            **PLACE,
            "cx.nudge.id": "free_shipping_bar",
            "cx.nudge.technique": "incentive",
            "cx.nudge.disclosed": True,
            "cx.nudge.reversible": True,
            "feature_flag.key": "bars",
            "feature_flag.result.variant": "b",
        },
    ),
    "value": (
        "cx.value",
        {
            **PLACE,
            "cx.value.type": "revenue",
            "cx.value.amount": 100.0,
            "cx.value.currency": "EUR",
        },
    ),
}
"""What each of them says on the span, to the letter."""

PAID = {"cx.value.type": "revenue", "cx.value.currency": "EUR", **STAGE}
METRICS: dict[str, dict[str, list[tuple[dict[str, Any], Any]]]] = {
    "complaint": {"cx.complaint.unresolved": [(OWNED, 1)]},
    "deliver": {
        "cx.promise.delivered_ratio": [
            ({"cx.promise.id": "refund", "cx.owner.function": "product"}, (1, 0.75))
        ],
        "cx.promise.evaluations": [
            ({"cx.promise.id": "refund", "cx.promise.result": "kept", **OWNED}, 1)
        ],
    },
    "emotion": {
        "cx.emotion.signals": [
            ({"cx.emotion.label": "anger", "cx.emotion.source": "text", **STAGE}, 1)
        ]
    },
    "feedback": {
        "cx.feedback.normalized_score": [({"cx.feedback.type": "csat", **STAGE}, (1, 0.75))],
        "cx.feedback.responses": [
            ({"cx.feedback.type": "csat", "cx.feedback.category": "satisfied", **STAGE}, 1)
        ],
    },
    "forecast": {},
    "friction": {
        "cx.touchpoint.frictions": [
            ({**PLACE, "cx.friction.type": "slow", "cx.friction.severity": "low"}, 1)
        ]
    },
    "handoff": {
        "cx.handoff.duration": [
            (
                {"cx.handoff.from_function": "product", "cx.handoff.to_function": "service"},
                (1, 30.0),
            )
        ]
    },
    "mention": {
        "cx.mentions": [({"cx.mention.source": "friends", "cx.stage.phase": "customer"}, 1)]
    },
    "nudge": {
        "cx.nudge.exposures": [
            ({"cx.nudge.id": "free_shipping_bar", "feature_flag.result.variant": "b"}, 1)
        ]
    },
    "value": {
        "cx.value.attributed": [
            ({"cx.owner.function": "finance", **PAID}, 25.0),
            ({"cx.owner.function": "product", **PAID}, 75.0),
        ]
    },
}
"""What each of them adds to metrics, with its labels and no others."""


@pytest.fixture
def shop(cx: Capture, meters: Meters, clock: Clock) -> Capture:
    """Put a map in force whose touchpoints the company begins."""
    cx.use(journey_map=MAP)
    return cx


def said(meters: Meters) -> dict[str, Any]:
    """All that was measured beside the visit of the touchpoint itself."""
    found = meters.everything()
    found.pop("cx.touchpoint.duration", None)
    return found


def new_counts() -> dict[str, int]:
    """What has been counted of what could not be sent."""
    return _guard.counts()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What cxtrace has written to the log."""
    return [r.getMessage() for r in caplog.records if r.name == "cxtrace"]


# Right calls


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_is_a_method(shop: Capture, meters: Meters, name: str) -> None:
    """A signal is one event with the attributes of the registry, and its metrics."""
    with touchpoint("checkout.pay") as tp:
        RIGHT[name](tp)

    event, attributes = EVENTS[name]
    assert shop.event(event) == attributes
    assert said(meters) == METRICS[name]
    assert new_counts() == {}


@pytest.mark.parametrize("to", [cxtrace, signals], ids=["package", "module"])
@pytest.mark.parametrize("name", NAMES)
def test_a_signal_is_a_function(shop: Capture, meters: Meters, name: str, to: Any) -> None:
    """As a function a signal is said of the current touchpoint, and does the same."""
    with touchpoint("home.visit"), touchpoint("checkout.pay"), cxtrace.interaction("look"):
        RIGHT[name](to)
    found = said(meters)
    del found["cx.touchpoint.interactions"], found["cx.touchpoint.effort"]

    event, attributes = EVENTS[name]
    where = {"cx.interaction.name": "look"} if name == "friction" else {}
    assert shop.events(event, "checkout.pay") == [{**attributes, **where}]
    assert shop.events(event, "home.visit") == []
    assert found == METRICS[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_names_the_journey(shop: Capture, meters: Meters, name: str) -> None:
    """On a journey the event has its name and never its id, and so have two of the metrics."""
    with journey("first_order", id="w-1"), touchpoint("checkout.pay") as tp:
        RIGHT[name](tp)

    event, attributes = EVENTS[name]
    way = {"cx.journey.name": "first_order"}
    also = way if name in {"friction", "handoff"} else {}
    assert shop.event(event) == {**attributes, **({} if name == "mention" else way)}
    assert said(meters) == {
        metric: [({**labels, **also}, value) for labels, value in points]
        for metric, points in METRICS[name].items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_signals_chain(shop: Capture, name: str) -> None:
    """Every signal gives the handle, but for a nudge, which gives the exposure."""
    with touchpoint("checkout.pay") as tp:
        got = RIGHT[name](tp), RIGHT[name](cxtrace)

    assert [type(each) for each in got] == [cxtrace.Exposure if name == "nudge" else type(tp)] * 2
    assert name == "nudge" or got == (tp, tp)


@pytest.mark.parametrize("name", NAMES)
def test_a_function_looks_like_its_method(name: str) -> None:
    """The function has the name, the docstring and the signature of the method, without self."""
    function, method = getattr(signals, name), getattr(cxtrace.TouchpointHandle, name)
    parameters = list(inspect.signature(method).parameters.values())

    assert function is getattr(cxtrace, name)
    assert (function.__name__, function.__doc__) == (name, method.__doc__)
    assert list(inspect.signature(function).parameters.values()) == parameters[1:]


@pytest.mark.parametrize("name", NAMES)
def test_without_a_meter_provider_there_are_events(cx: Capture, name: str) -> None:
    """Where nobody measures, a signal still stands on the span."""
    cx.use(journey_map=MAP)
    with touchpoint("checkout.pay") as tp:
        RIGHT[name](tp)

    assert cx.event(EVENTS[name][0]) == EVENTS[name][1]
    assert new_counts() == {}


def test_the_least_that_can_be_said(shop: Capture) -> None:
    """What is left out is not sent; a friction is of medium severity and declared by the code."""
    with touchpoint("checkout.pay") as tp:
        tp.friction("slow").emotion(source="text", valence=0).feedback("review").complaint("opened")
        tp.mention("friends", phase="post_customer").handoff("service")
        tp.value(type="retained").forecast("churn", probability=0, model="m")
        tp.nudge("bar", technique="reminder", disclosed=False, reversible=False)

    assert shop.event("cx.friction")["cx.friction.severity"] == "medium"
    assert shop.event("cx.friction")["cx.friction.source"] == "declared"
    assert shop.event("cx.emotion") == {
        **PLACE,
        "cx.emotion.source": "text",
        "cx.emotion.valence": 0.0,
    }
    assert shop.event("cx.feedback") == {**PLACE, "cx.feedback.type": "review"}
    assert shop.event("cx.complaint") == {**PLACE, "cx.complaint.state": "opened"}
    assert shop.event("cx.mention") == {
        "cx.mention.source": "friends",
        "cx.stage.phase": "post_customer",
    }
    assert "cx.effort.wait_time" not in shop.event("cx.handoff")
    assert shop.event("cx.value") == {**PLACE, "cx.value.type": "retained"}
    assert "cx.forecast.horizon" not in shop.event("cx.forecast")
    assert shop.event("cx.nudge.exposure") == {
        **PLACE,
        "cx.nudge.id": "bar",
        "cx.nudge.technique": "reminder",
        "cx.nudge.disclosed": False,
        "cx.nudge.reversible": False,
    }
    assert new_counts() == {}


def test_an_emotion_without_a_name_is_not_counted_by_name(shop: Capture, meters: Meters) -> None:
    """The metric counts named emotions; a valence alone has none."""
    with touchpoint("checkout.pay") as tp:
        tp.emotion(source="text", valence=0.5)

    assert said(meters) == {}


def test_value_without_a_map_is_the_owners(cx: Capture, meters: Meters) -> None:
    """Without influences the whole amount goes to the owner, and to nobody where there is none."""
    cx.use()
    with touchpoint("a", owner="it", stage="s") as tp:
        tp.value(10, "EUR", type="refund")
    with touchpoint("b") as tp:
        tp.value(10, "EUR", type="refund")
    labels = {"cx.value.type": "refund", "cx.value.currency": "EUR"}

    assert meters.values("cx.value.attributed") == [
        ({**labels, "cx.owner.function": "it", "cx.stage.name": "s"}, 10.0)
    ]
    assert [event["cx.value.amount"] for event in cx.events("cx.value")] == [10.0, 10.0]


# Feedback


@pytest.mark.parametrize(
    ("kind", "score", "category"),
    [
        *[("nps", score, "detractor") for score in (0, 6, 6.9)],
        *[("nps", score, "passive") for score in (7, 8, 8.9)],
        *[("nps", score, "promoter") for score in (9, 10)],
        *[("csat", 1, "dissatisfied"), ("csat", 2, "dissatisfied"), ("csat", 3, "neutral")],
        *[("csat", 3.6, "neutral"), ("csat", 4, "satisfied"), ("csat", 5, "satisfied")],
        *[("ces", 1, "dissatisfied"), ("ces", 3, "dissatisfied"), ("ces", 4, "neutral")],
        *[("ces", 5, "satisfied"), ("ces", 7, "satisfied")],
        *[("csi", 33, "dissatisfied"), ("csi", 34, "neutral"), ("csi", 66, "neutral")],
        *[("csi", 67, "satisfied"), ("rating", 2, "dissatisfied"), ("rating", 4, "satisfied")],
    ],
)
def test_a_score_has_its_category(
    shop: Capture, meters: Meters, kind: Any, score: float, category: str
) -> None:
    """Without a word, the category follows from the score, by the definition of the instrument."""
    with touchpoint("checkout.pay") as tp:
        tp.feedback(kind, score)

    labels = {"cx.feedback.type": kind, "cx.feedback.category": category, **STAGE}
    assert shop.event("cx.feedback")["cx.feedback.category"] == category
    assert meters.values("cx.feedback.responses") == [(labels, 1)]


def test_a_category_that_is_given_counts(shop: Capture, meters: Meters) -> None:
    """A category can be said instead of a score, and stands above the score's."""
    with touchpoint("checkout.pay") as tp:
        tp.feedback("review", category="neutral").feedback("csat", 5, category="dissatisfied")

    found = [event["cx.feedback.category"] for event in shop.events("cx.feedback")]
    assert found == ["neutral", "dissatisfied"]


def test_feedback_on_another_scale(shop: Capture, meters: Meters) -> None:
    """A scale that is given replaces the usual one, also for what is measured."""
    with touchpoint("checkout.pay") as tp:
        tp.feedback("csat", 7, scale=(0, 8))

    event = shop.event("cx.feedback")
    assert (event["cx.feedback.score_min"], event["cx.feedback.score_max"]) == (0.0, 8.0)
    assert meters.values("cx.feedback.normalized_score") == [
        ({"cx.feedback.type": "csat", **STAGE}, (1, 0.875))
    ]


@given(
    st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.floats(0, 1), st.sampled_from(["nps", "csat"])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_normalised_score_is_a_share(
    forgetful: None, low: float, width: float, part: float, kind: Any
) -> None:
    """Whatever the scale, what is measured lies between 0 and 1, and the category is one."""
    cx = Capture()
    with touchpoint("a") as tp:
        tp.feedback(kind, min(low + part * width, low + width), scale=(low, low + width))
        measured = tp.facts().measured["feedback.normalized_score"]

    assert 0 <= measured <= 1
    category = cx.event("cx.feedback")["cx.feedback.category"]
    assert category in get_args(attributes.FeedbackCategory)


# Nudges


@pytest.mark.parametrize("answer", ["accepted", "declined", "ignored", "reversed"])
def test_an_answer_to_a_nudge_counts_once(shop: Capture, meters: Meters, answer: str) -> None:
    """What the customer did is told to the exposure; said twice it counts once."""
    with touchpoint("checkout.pay") as tp:
        exposure = tp.nudge("bar", technique="incentive", variant="b")
        assert getattr(getattr(exposure, answer)(), answer)() is exposure

    labels = {
        "cx.nudge.id": "bar",
        "cx.nudge.result": answer,
        "feature_flag.result.variant": "b",
    }
    assert shop.event("cx.nudge.outcome") == {**PLACE, **labels}
    assert meters.values("cx.nudge.outcomes") == [(labels, 1)]


def test_a_nudge_can_be_accepted_and_then_reversed(shop: Capture, meters: Meters) -> None:
    """Answers that differ are both told."""
    with touchpoint("checkout.pay") as tp:
        tp.nudge("bar", technique="incentive").accepted().reversed()

    found = [event["cx.nudge.result"] for event in shop.events("cx.nudge.outcome")]
    assert found == ["accepted", "reversed"]


def test_a_nudge_that_was_refused_has_no_answer(shop: Capture, meters: Meters) -> None:
    """What was not shown cannot be accepted."""
    with touchpoint("checkout.pay") as tp:
        exposure = tp.nudge("bar", technique="hypnosis")  # type: ignore[arg-type]
        exposure.accepted().declined().ignored().reversed()

    assert exposure is NO_EXPOSURE
    assert said(meters) == {}
    assert shop.events("cx.nudge.outcome") == []


def test_an_answer_may_fail_in_silence(
    shop: Capture, monkeypatch: pytest.MonkeyPatch, meters: Meters
) -> None:
    """An error of ours while an answer is told is counted, and does not reach the host."""
    with touchpoint("checkout.pay") as tp:
        exposure = tp.nudge("bar", technique="incentive")
        monkeypatch.setattr(tp.measures, "say", None)
        exposure.accepted()

    assert new_counts() == {"errors.nudge": 1}


def test_an_answer_after_the_end_counts(shop: Capture, meters: Meters, records: Any) -> None:
    """What the customer does about a nudge later is counted and logged; the span is closed."""
    with touchpoint("checkout.pay") as tp:
        exposure = tp.nudge("bar", technique="incentive")
    exposure.reversed()
    labels = {"cx.nudge.id": "bar", "cx.nudge.result": "reversed"}

    assert shop.events("cx.nudge.outcome") == []
    assert [dict(record.attributes) for record in records.named("cx.nudge.outcome")] == [
        {**PLACE, **labels}
    ]
    assert meters.values("cx.nudge.outcomes") == [(labels, 1)]


def test_an_answer_that_nobody_wants(
    shop: Capture, meters: Meters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer to a nudge that is switched off meanwhile is not told."""
    with touchpoint("checkout.pay") as tp:
        exposure = tp.nudge("bar", technique="incentive")
        monkeypatch.setattr(tp.measures, "off", frozenset({"nudge"}))
        exposure.accepted()

    assert shop.events("cx.nudge.outcome") == []
    assert meters.values("cx.nudge.outcomes") == []


# Complaints


def test_complaints_are_unresolved_until_they_are_resolved(shop: Capture, meters: Meters) -> None:
    """Opened and reopened add one, resolved takes one, acknowledged leaves it as it is."""
    with touchpoint("checkout.pay") as tp:
        tp.complaint("opened").complaint("opened").complaint("acknowledged")
        tp.complaint("resolved").complaint("reopened").complaint("resolved")

    assert meters.values("cx.complaint.unresolved") == [(OWNED, 1)]
    assert meters.values("cx.complaint.resolution.duration") == []


def test_a_resolution_takes_time(shop: Capture, meters: Meters, clock: Clock) -> None:
    """On one journey cxtrace knows how long a complaint was open; else the code says it."""
    with journey("first_order"):
        with touchpoint("checkout.pay") as tp:
            tp.complaint("opened")
        clock.tick(64)
        with touchpoint("checkout.pay") as tp:
            tp.complaint("resolved")
    with touchpoint("checkout.pay") as tp:
        tp.complaint("resolved", open_for=100)

    assert meters.values("cx.complaint.resolution.duration") == [(OWNED, (2, 164.0))]


def test_what_the_code_says_of_a_resolution_counts(
    shop: Capture, meters: Meters, clock: Clock
) -> None:
    """A time that is given stands above the one that was measured; clocks set back give 0."""
    with journey("first_order"), touchpoint("checkout.pay") as tp:
        tp.complaint("opened")
        clock.tick(8)
        tp.complaint("resolved", open_for=2)
        clock.set_back(16)
        tp.complaint("resolved")

    assert meters.values("cx.complaint.resolution.duration") == [(OWNED, (2, 2.0))]


def test_a_complaint_that_nobody_saw_opened_has_no_time(shop: Capture, meters: Meters) -> None:
    """A resolution on a journey on which nothing was opened is not measured."""
    with journey("first_order"), touchpoint("checkout.pay") as tp:
        tp.complaint("resolved")

    assert meters.values("cx.complaint.resolution.duration") == []
    assert meters.values("cx.complaint.unresolved") == [(OWNED, -1)]


# Hand-offs


def test_a_handoff_is_measured_where_the_customer_arrives(
    shop: Capture, meters: Meters, clock: Clock
) -> None:
    """Without a time, the wait ends when the journey reaches a touchpoint of that function."""
    with journey("first_order"):
        with touchpoint("checkout.pay") as tp:
            tp.handoff("service")
        clock.tick(8)
        with touchpoint("home.visit"):
            clock.tick(8)
        with touchpoint("desk.call"):
            clock.tick(8)
        with touchpoint("desk.call"):
            clock.tick(8)

    labels = {
        "cx.handoff.from_function": "product",
        "cx.handoff.to_function": "service",
        "cx.journey.name": "first_order",
    }
    assert meters.values("cx.handoff.duration") == [(labels, (1, 16.0))]


def test_a_handoff_needs_an_owner(
    shop: Capture, meters: Meters, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can hand over a customer who is with nobody."""
    with touchpoint("nowhere") as tp:
        tp.handoff("service")

    assert new_counts()["refused.handoff"] == 1
    assert any("needs an owner" in line for line in messages(caplog))
    assert shop.events("cx.handoff") == []


def test_a_mention_needs_a_phase(shop: Capture, caplog: pytest.LogCaptureFixture) -> None:
    """Where no map names the stage, a mention has to name the phase."""
    with touchpoint("nowhere") as tp:
        tp.mention("friends").mention("friends", phase="pre_customer")

    assert new_counts()["refused.mention"] == 1
    assert any("phase" in line for line in messages(caplog))
    assert len(shop.events("cx.mention")) == 1


# What is refused

WORDS: list[tuple[str, Callable[[Any, Any], Any], Any]] = [
    ("friction.type", lambda to, bad: to.friction(bad), attributes.FrictionType),
    ("emotion.source", lambda to, bad: to.emotion("joy", source=bad), attributes.EmotionSource),
    ("emotion.label", lambda to, bad: to.emotion(bad, source="text"), attributes.EmotionLabel),
    ("feedback.type", lambda to, bad: to.feedback(bad, 5), attributes.FeedbackType),
    ("complaint.state", lambda to, bad: to.complaint(bad), attributes.ComplaintState),
    ("mention.source", lambda to, bad: to.mention(bad), attributes.MentionSource),
    ("nudge.technique", lambda to, bad: to.nudge("a", technique=bad), attributes.NudgeTechnique),
    ("value.type", lambda to, bad: to.value(5, "EUR", type=bad), attributes.ValueType),
    (
        "forecast.type",
        lambda to, bad: to.forecast(bad, probability=0.5, model="m"),
        attributes.ForecastType,
    ),
]
"""Words without which a signal makes no sense, and what they can be."""


@pytest.mark.parametrize(("what", "say", "allowed"), WORDS, ids=[word[0] for word in WORDS])
@pytest.mark.parametrize("wrong", ["wrong", "", 5, ["slow"], b"slow", object()], ids=repr)
def test_a_wrong_word_is_dropped(
    shop: Capture,
    meters: Meters,
    caplog: pytest.LogCaptureFixture,
    what: str,
    say: Any,
    allowed: Any,
    wrong: Any,
) -> None:
    """A signal with a word outside of the closed set is counted, and named once with the set."""
    with touchpoint("checkout.pay") as tp:
        say(tp, wrong)
        say(tp, wrong)
    lines = [line for line in messages(caplog) if f" {what} " in line]

    assert new_counts()[f"refused.{what}"] == 2
    assert len(lines) == 1
    assert ", ".join(sorted(get_args(allowed))) in lines[0]
    assert shop.span("checkout.pay").events == ()
    assert said(meters) == {}


ASIDES: list[tuple[str, Callable[[Any], Any], str, str]] = [
    ("friction.severity", lambda to: to.friction("slow", severity="x"), "cx.friction", "low"),
    ("friction.source", lambda to: to.friction("slow", source="x"), "cx.friction", "declared"),
    ("feedback.category", lambda to: to.feedback("nps", 9, category="x"), "cx.feedback", "passive"),
    ("friction.type", lambda to: to.complaint("opened", friction="x"), "cx.complaint", "slow"),
    ("mention.phase", lambda to: to.mention("friends", phase="x"), "cx.mention", "customer"),
    (
        "emotion.valence",
        lambda to: to.emotion("anger", source="text", valence=1.5),
        "cx.emotion",
        "from -1 to 1",
    ),
    (
        "emotion.valence",
        lambda to: to.mention("friends", valence=True),
        "cx.mention",
        "from -1 to 1",
    ),
    (
        "emotion.arousal",
        lambda to: to.emotion("anger", source="text", arousal=-0.1),
        "cx.emotion",
        "from 0 to 1",
    ),
    (
        "emotion.confidence",
        lambda to: to.emotion("anger", source="text", confidence=float("nan")),
        "cx.emotion",
        "from 0 to 1",
    ),
    ("feedback.score", lambda to: to.feedback("csat", 6), "cx.feedback", "from 1 to 5"),
    ("feedback.score", lambda to: to.feedback("nps", 10**400), "cx.feedback", "from 0 to 10"),
    ("feedback.scale", lambda to: to.feedback("csat", 5, scale=(5, 1)), "cx.feedback", "(1, 5)"),
    ("feedback.scale", lambda to: to.feedback("csat", 5, scale=5), "cx.feedback", "(1, 5)"),
    ("feedback.scale", lambda to: to.feedback("csat", 5, scale="15"), "cx.feedback", "(1, 5)"),
    (
        "feedback.scale",
        lambda to: to.feedback("csat", 5, scale=(-1e308, 1e308)),
        "cx.feedback",
        "(1, 5)",
    ),
    (
        "feedback.scale",
        lambda to: to.feedback("csat", 5, scale=(0, 10**400)),
        "cx.feedback",
        "(1, 5)",
    ),
    (
        "complaint.open_for",
        lambda to: to.complaint("resolved", open_for=-1),
        "cx.complaint",
        "from 0",
    ),
    ("handoff.waited", lambda to: to.handoff("service", waited="long"), "cx.handoff", "from 0"),
    (
        "forecast.horizon",
        lambda to: to.forecast("churn", probability=0.5, model="m", horizon=-1),
        "cx.forecast",
        "from 0",
    ),
    (
        "nudge.flag",
        lambda to: to.nudge("a", technique="reminder", flag=""),
        "cx.nudge.exposure",
        "code",
    ),
    (
        "nudge.variant",
        lambda to: to.nudge("a", technique="reminder", variant="b c"),
        "cx.nudge.exposure",
        "code",
    ),
    ("promise.delivered", lambda to: to.deliver("refund", "soon"), "cx.promise.evaluated", "from"),
]
"""Words that a signal can do without, the event that it then is, and what the warning says."""


@pytest.mark.parametrize(("what", "say", "event", "instead"), ASIDES)
def test_a_wrong_aside_is_left_out(
    shop: Capture,
    caplog: pytest.LogCaptureFixture,
    what: str,
    say: Any,
    event: str,
    instead: str,
) -> None:
    """A signal that makes sense without the wrong value is sent without it."""
    with touchpoint("checkout.pay") as tp:
        say(tp)
        say(tp)
    lines = messages(caplog)

    assert new_counts() == {f"refused.{what}": 2}
    assert len(lines) == 1
    assert what in lines[0]
    assert instead in lines[0]
    assert len(shop.events(event)) == (1 if event == "cx.promise.evaluated" else 2)


NEEDED: list[tuple[str, Callable[[Any], Any], str]] = [
    ("emotion", lambda to: to.emotion(source="text"), "a label or a valence"),
    ("value.amount", lambda to: to.value(-1, "EUR", type="refund"), "from 0"),
    ("value.currency", lambda to: to.value(5, type="refund"), "'EUR'"),
    ("value.currency", lambda to: to.value(5, "euro", type="refund"), "'EUR'"),
    ("nudge.id", lambda to: to.nudge("Dear Mr X", technique="reminder"), "code"),
    ("promise", lambda to: to.deliver("unknown", 5), "journey map"),
    ("promise", lambda to: to.deliver(["refund"], 5), "journey map"),
    ("handoff", lambda to: to.handoff(""), "name of a function"),
    ("forecast.model", lambda to: to.forecast("churn", probability=1, model="a b"), "code"),
    (
        "forecast.probability",
        lambda to: to.forecast("churn", probability=1.1, model="m"),
        "from 0 to 1",
    ),
]
"""Values without which a signal makes no sense."""


@pytest.mark.parametrize(("what", "say", "instead"), NEEDED)
def test_a_needed_value_that_is_wrong(
    shop: Capture,
    meters: Meters,
    caplog: pytest.LogCaptureFixture,
    what: str,
    say: Any,
    instead: str,
) -> None:
    """Without a value that it needs, a signal is dropped, counted and named once."""
    with touchpoint("checkout.pay") as tp:
        say(tp)
        say(tp)
    lines = [line for line in messages(caplog) if f" {what} " in line]

    assert new_counts()[f"refused.{what}"] == 2
    assert len(lines) == 1
    assert instead in lines[0]
    assert "cx.value.amount" not in str(shop.span("checkout.pay").events)
    assert said(meters) == {}


@pytest.mark.parametrize("missing", ["type", "probability", "model"])
def test_a_forecast_needs_three_words(shop: Capture, missing: str) -> None:
    """A forecast of which one of type, probability and model is None is not sent."""
    words = {"type": "churn", "probability": 0.5, "model": "m", missing: None}
    with touchpoint("checkout.pay") as tp:
        tp.forecast(**words)  # type: ignore[arg-type]

    assert shop.events("cx.forecast") == []


# Never in the way


class Evil:
    """An object that fails whatever is asked of it."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("iter")

    def __float__(self) -> float:
        raise RuntimeError("float")


class EvilText(str):
    """Text that cannot be looked up."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError("hash")


right_words = st.sampled_from(
    sorted(
        {word for name in vars(attributes) for word in get_args(getattr(attributes, name))}
        | {"EUR", "refund", "service", "bar"}
    )
)
anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.just(10**400),
        st.floats(),
        st.text(max_size=80),
        st.binary(max_size=5),
        st.complex_numbers(),
        st.builds(object),
        st.builds(Evil),
        st.builds(EvilText),
        right_words,
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
"""What a host may hand in by mistake, and some of what is right."""


@pytest.mark.parametrize("path", ["lean", "sdk"])
@pytest.mark.parametrize("name", NAMES)
@given(st.data())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
def test_no_signal_raises(
    forgetful: None, caplog: pytest.LogCaptureFixture, path: str, name: str, data: st.DataObject
) -> None:
    """Whatever is given to a signal, the host goes on, and OpenTelemetry has no complaint."""
    cx = Capture(path)
    cx.use(journey_map=MAP)
    parameters = inspect.signature(getattr(signals, name)).parameters
    given_ = {word: data.draw(anything | right_words, label=word) for word in parameters}
    caplog.clear()
    with touchpoint("checkout.pay") as tp:
        got = getattr(tp, name)(**given_)
        getattr(cxtrace, name)(**given_)

    assert type(got) in (type(tp), cxtrace.Exposure)
    assert [r.getMessage() for r in caplog.records if r.name.startswith("opentelemetry")] == []
    for event in cx.span("checkout.pay").events:
        assert {type(value) for value in (event.attributes or {}).values()} <= {str, float, bool}


def test_a_call_that_python_refuses(shop: Capture) -> None:
    """Arguments that the signal does not have are a mistake too, and do not reach the host."""
    with touchpoint("checkout.pay") as tp:
        tp.friction()  # type: ignore[call-arg]
        tp.friction("slow", colour="red")  # type: ignore[call-arg]

    assert new_counts() == {"errors.friction": 2}
    assert shop.outcome("checkout.pay") == "completed"


def test_a_signal_that_fails_inside_is_counted(
    shop: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours in a signal is swallowed and counted."""
    with touchpoint("checkout.pay") as tp:
        monkeypatch.setattr(tp.measures, "say", None)
        tp.value(type="refund")
        assert tp.nudge("a", technique="reminder") is NO_EXPOSURE

    assert new_counts() == {"errors.value": 1, "errors.nudge": 1}


@pytest.mark.parametrize("name", NAMES)
def test_too_late(shop: Capture, meters: Meters, name: str) -> None:
    """A signal after the end of its touchpoint is counted, and that is all."""
    with touchpoint("checkout.pay") as tp:
        pass
    got = RIGHT[name](tp)

    assert new_counts() == {"signal.after_end": 1}
    assert got is (NO_EXPOSURE if name == "nudge" else tp)
    assert said(meters) == {}
    assert shop.span("checkout.pay").events == ()


@pytest.mark.parametrize("name", NAMES)
def test_outside_of_any_touchpoint(shop: Capture, meters: Meters, name: str) -> None:
    """Outside of a touchpoint a signal is counted, and that is all."""
    RIGHT[name](cxtrace)

    assert new_counts() == {"signal.outside_of_touchpoint": 1}
    assert meters.everything() == {}


@pytest.mark.parametrize("name", NAMES)
def test_with_nobody_listening(nobody: None, name: str) -> None:
    """Where nobody has configured anything, a signal in a touchpoint does nothing and is right."""
    with touchpoint("checkout.pay") as tp:
        RIGHT[name](tp)
        RIGHT[name](cxtrace)

    assert not any(key.startswith(("errors", "refused")) for key in new_counts())


# Consent, and kinds that are switched off

GATED = ("emotion", "value", "feedback", "forecast")


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
@pytest.mark.parametrize("name", NAMES)
def test_a_refused_consent_stops_four_signals(
    shop: Capture, meters: Meters, name: str, consent: Any
) -> None:
    """Emotion, value, feedback and forecast need a customer who has not refused."""
    with customer("A", consent=consent), touchpoint("checkout.pay") as tp:
        RIGHT[name](tp)

    if name in GATED:
        assert shop.span("checkout.pay").events == ()
        assert said(meters) == {}
        assert new_counts() == {f"consent.suppressed.{name}": 1}
    else:
        told = EVENTS[name][1]
        assert shop.event(EVENTS[name][0]) == {k: told[k] for k in told if "emotion" not in k}
        assert said(meters) == METRICS[name]


@pytest.mark.parametrize("name", GATED)
def test_who_refused_is_not_heard_at_a_touchpoint_of_others(
    shop: Capture, meters: Meters, name: str
) -> None:
    """A touchpoint that was open before the customer was known does not speak for them."""
    with touchpoint("checkout.pay") as tp, customer("A", consent="denied"):
        RIGHT[name](tp)
        RIGHT[name](cxtrace)

    assert shop.span("checkout.pay").events == ()
    assert said(meters) == {}
    assert new_counts() == {f"consent.suppressed.{name}": 2}


def test_what_a_mention_feels_like_is_an_emotion(shop: Capture) -> None:
    """Who refused, or where emotions are off, is heard to mention, and not how it felt."""
    with customer("A", consent="denied"), touchpoint("checkout.pay") as tp:
        tp.mention("friends", valence=-1)
    shop.use(journey_map=MAP, signals_off=frozenset({"emotion"}))
    with touchpoint("checkout.pay") as tp:
        tp.mention("friends", valence=-1)

    assert ["cx.emotion.valence" in event for event in shop.events("cx.mention")] == [False, False]
    assert new_counts() == {"consent.suppressed.emotion": 1}


@pytest.mark.parametrize("consent", ["granted", "not_required", "unknown"])
@pytest.mark.parametrize("name", GATED)
def test_other_states_of_consent_stop_none(
    shop: Capture, meters: Meters, name: str, consent: Any
) -> None:
    """Who has not refused is heard."""
    with customer("A", consent=consent), touchpoint("checkout.pay") as tp:
        RIGHT[name](tp)

    assert shop.event(EVENTS[name][0]) == EVENTS[name][1]
    assert said(meters) == METRICS[name]


@pytest.mark.parametrize(("consent", "heard"), [("unknown", 0), (None, 0), ("granted", 1)])
@pytest.mark.parametrize("name", GATED)
def test_where_consent_is_required(cx: Capture, name: str, consent: Any, heard: int) -> None:
    """Where consent is required, what is unknown counts as refused."""
    cx.use(journey_map=MAP, consent_required=True)
    with customer("A", consent=consent), touchpoint("checkout.pay") as tp:
        RIGHT[name](tp)

    assert len(cx.events(EVENTS[name][0])) == heard


def test_a_late_refusal_counts_from_then_on(shop: Capture) -> None:
    """A consent that is withdrawn inside of the touchpoint stops what is said after it."""
    with customer("A", consent="granted"), touchpoint("checkout.pay") as tp:
        RIGHT["value"](tp)
        cxtrace.identify("A", consent="withdrawn")
        RIGHT["value"](tp)

    assert len(shop.events("cx.value")) == 1


@pytest.mark.parametrize("name", [name for name in NAMES if name != "deliver"])
def test_a_kind_can_be_switched_off(cx: Capture, meters: Meters, name: str) -> None:
    """A kind in ``signals_off`` is silent, on spans and in metrics, and all others go on."""
    cx.use(journey_map=MAP, signals_off=frozenset({name}))
    with touchpoint("checkout.pay") as tp:
        RIGHT[name](tp)
    alone = said(meters), cx.span("checkout.pay").events
    with touchpoint("home.visit") as tp:
        for other in NAMES:
            RIGHT[other](tp)

    assert alone == ({}, ())
    assert {event.name for event in cx.span("home.visit").events} == {
        EVENTS[other][0] for other in NAMES if other != name
    }
    assert new_counts() == {}


def test_promises_can_be_switched_off(cx: Capture, meters: Meters) -> None:
    """With ``promise`` in ``signals_off`` no comparison is told."""
    cx.use(journey_map=MAP, signals_off=frozenset({"promise"}))
    with touchpoint("checkout.pay") as tp:
        tp.deliver("refund", 5)

    assert cx.span("checkout.pay").events == ()
    assert said(meters) == {}


# Severity is of the log record's business


@pytest.mark.parametrize(
    ("say", "event", "severity"),
    [
        (lambda to: to.friction("slow", severity="low"), "cx.friction", "INFO"),
        (lambda to: to.friction("slow", severity="medium"), "cx.friction", "INFO"),
        (lambda to: to.friction("slow", severity="high"), "cx.friction", "WARN"),
        (lambda to: to.friction("slow", severity="blocking"), "cx.friction", "WARN"),
        (lambda to: to.complaint("opened"), "cx.complaint", "WARN"),
        (lambda to: to.complaint("reopened"), "cx.complaint", "WARN"),
        (lambda to: to.complaint("acknowledged"), "cx.complaint", "INFO"),
        (lambda to: to.complaint("resolved"), "cx.complaint", "INFO"),
        (lambda to: to.deliver("refund", 9), "cx.promise.evaluated", "WARN"),
        (lambda to: to.deliver("refund", 8), "cx.promise.evaluated", "INFO"),
        (lambda to: to.value(type="at_risk"), "cx.value", "INFO"),
    ],
)
def test_what_hurts_is_a_warning(
    shop: Capture, records: Any, say: Any, event: str, severity: str
) -> None:
    """As log events, bad friction, broken promises and open complaints are warnings."""
    with touchpoint("checkout.pay") as tp:
        say(tp)

    (record,) = records.named(event)
    assert (record.severity_text, record.severity_number.name) == (severity, severity)
    assert dict(record.attributes) == shop.event(event)
