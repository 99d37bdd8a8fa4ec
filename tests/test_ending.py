"""When a visit is over: promises kept and broken, the happiness of functions, and metrics."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxtrace import _ending, _guard, customer, identify, interaction, journey, touchpoint
from cxtrace._model import Friction
from cxtrace._promises import evaluate
from cxtrace.journey_map import JourneyMap
from tests.conftest import Capture, Clock, Meters

PLACE = {"cx.touchpoint.name": "cart.pay", "cx.stage.name": "buy", "cx.owner.function": "shop"}


def map_with(
    metric: str = "touchpoint.duration",
    target: float = 2.0,
    unit: str = "s",
    *,
    op: str = "<=",
    more: str = "",
    happy: str = "",
    initiator: str = "company",
) -> JourneyMap:
    """A map with one touchpoint, one promise about it, and one opinion."""
    opinion = f'happy = "{happy}"' if happy else ""
    return JourneyMap.loads(f"""
schema = "cxtrace.map/1"
name = "shop"
[functions]
shop = {{ {opinion} }}
[[stage]]
name = "buy"
phase = "customer"
[promise.it]
claim = "It"
source = "brand_claim"
metric = "{metric}"
op = "{op}"
target = {target}
unit = "{unit}"
{more}
[[touchpoint]]
name = "cart.pay"
stage = "buy"
owner = "shop"
initiator = "{initiator}"
expected_actions = 2
promises = ["it"]
""")


def result(cx: Capture) -> tuple[Any, Any, Any]:
    """Result, delivered value and gap of the one promise that was evaluated."""
    event = cx.event("cx.promise.evaluated")
    found = (event["cx.promise.result"], event.get("cx.promise.delivered"))
    return *found, event.get("cx.promise.gap")


# Promises


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1.0, ("exceeded", 1.0, -0.5)),
        (1.5, ("kept", 1.5, -0.25)),
        (2.0, ("kept", 2.0, 0.0)),
        (3.0, ("broken", 3.0, 0.5)),
    ],
)
def test_duration(cx: Capture, meters: Meters, clock: Clock, seconds: float, expected: Any) -> None:
    """How long it took is compared with what was promised, as event and in two metrics."""
    cx.use(journey_map=map_with(more="exceeded_at = 1.0"))
    with touchpoint("cart.pay"):
        clock.tick(seconds)
    owner = {"cx.promise.id": "it", "cx.owner.function": "shop"}

    assert cx.event("cx.promise.evaluated") == {
        **PLACE,
        "cx.promise.id": "it",
        "cx.promise.result": expected[0],
        "cx.promise.target": 2.0,
        "cx.promise.delivered": expected[1],
        "cx.promise.unit": "s",
        "cx.promise.gap": expected[2],
        "cx.promise.source": "brand_claim",
    }
    assert meters.values("cx.promise.evaluations") == [
        ({**owner, "cx.promise.result": expected[0], "cx.stage.name": "buy"}, 1)
    ]
    assert meters.values("cx.promise.delivered_ratio") == [(owner, (1, 1 + expected[2]))]


@pytest.mark.parametrize(
    ("unit", "target", "delivered"),
    [("ms", 500.0, 250.0), ("s", 0.5, 0.25), ("min", 1.0, 0.25 / 60), ("h", 1.0, 0.25 / 3_600)],
)
def test_units(cx: Capture, clock: Clock, unit: str, target: float, delivered: float) -> None:
    """What was measured in seconds is told in the unit of the promise."""
    cx.use(journey_map=map_with(target=target, unit=unit))
    with touchpoint("cart.pay"):
        clock.tick(0.25)

    assert result(cx)[:2] == ("kept", delivered)
    assert cx.event("cx.promise.evaluated")["cx.promise.unit"] == unit


@pytest.mark.parametrize("outcome", ["abandoned", "failed", "handed_off", "deferred"])
@pytest.mark.parametrize(("seconds", "expected"), [(2.0, "unmeasured"), (2.5, "broken")])
def test_a_time_of_who_did_not_get_there(
    cx: Capture, meters: Meters, clock: Clock, outcome: Any, seconds: float, expected: str
) -> None:
    """A visit that was not completed keeps no promise about time, but can break one."""
    cx.use(journey_map=map_with())
    with touchpoint("cart.pay") as tp:
        clock.tick(seconds)
        tp.outcome(outcome)

    assert result(cx)[0] == expected
    ratios = meters.values("cx.promise.delivered_ratio")
    assert len(ratios) == (0 if expected == "unmeasured" else 1)
    assert [
        labels["cx.promise.result"] for labels, _ in meters.values("cx.promise.evaluations")
    ] == [expected]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (None, ("kept", 1.0, 0.0)),
        ("failed", ("broken", 0.0, 1.0)),
        ("abandoned", ("broken", 0.0, 1.0)),
    ],
)
def test_success(cx: Capture, outcome: Any, expected: Any) -> None:
    """Whether the customer got there is 1 or 0."""
    cx.use(journey_map=map_with("touchpoint.success", 1.0, "1", op=">="))
    with touchpoint("cart.pay") as tp:
        if outcome is not None:
            tp.outcome(outcome)

    assert result(cx) == expected


def act(times: int) -> None:
    """So many different interactions."""
    for number in range(times):
        with interaction(f"a{number}"):
            pass


@pytest.mark.parametrize(
    ("initiator", "actions", "expected"),
    [
        ("customer", 0, ("kept", 1.0)),
        ("customer", 2, ("kept", 2.0)),
        ("customer", 3, ("broken", 3.0)),
        ("company", 0, ("unmeasured", None)),
        ("company", 3, ("broken", 3.0)),
    ],
)
def test_effort(cx: Capture, initiator: str, actions: int, expected: Any) -> None:
    """Actions are compared; where nobody counts any and the company begins, nobody knows."""
    cx.use(journey_map=map_with("touchpoint.effort", 2.0, "{action}", initiator=initiator))
    with touchpoint("cart.pay"):
        act(actions)

    assert result(cx)[:2] == expected


@pytest.mark.parametrize(("actions", "expected"), [(0, "kept"), (2, "kept"), (3, "broken")])
def test_interactions(cx: Capture, actions: int, expected: str) -> None:
    """Interactions are counted as such, and none are none."""
    cx.use(journey_map=map_with("touchpoint.interactions", 2.0, "{interaction}"))
    with touchpoint("cart.pay"):
        act(actions)

    assert result(cx)[:2] == (expected, float(actions))


@pytest.mark.parametrize(("frictions", "expected"), [(0, "kept"), (1, "broken")])
def test_frictions(cx: Capture, frictions: int, expected: str) -> None:
    """A target of 0 is kept by 0; the gap is then the difference itself."""
    cx.use(journey_map=map_with("touchpoint.frictions", 0.0, "{friction}"))
    with touchpoint("cart.pay") as tp:
        for _ in range(frictions):
            tp.friction("error")

    assert result(cx) == (expected, float(frictions), float(frictions))


@pytest.mark.parametrize(
    ("initiator", "waited", "expected"),
    [
        ("company", 0.5, ("kept", 500.0)),
        ("company", 0.75, ("broken", 750.0)),
        ("company", None, ("unmeasured", None)),
        ("customer", None, ("broken", 1_000.0)),
    ],
)
def test_waiting(
    cx: Capture, clock: Clock, initiator: str, waited: float | None, expected: Any
) -> None:
    """Seconds in interactions are waiting; where the customer begins, all of the visit is."""
    cx.use(journey_map=map_with("touchpoint.wait_time", 500.0, "ms", initiator=initiator))
    with touchpoint("cart.pay"):
        clock.tick(1)
        if waited is not None:
            with interaction("a"):
                clock.tick(waited)

    assert result(cx)[:2] == expected


SAID: list[tuple[str, str, float, str, Callable[[Any], Any], Any]] = [
    (
        "feedback.normalized_score",
        ">=",
        0.5,
        "1",
        lambda tp: tp.feedback("csat", 5),
        ("kept", 1.0),
    ),
    (
        "complaint.resolution.duration",
        "<=",
        2.0,
        "min",
        lambda tp: tp.complaint("resolved", open_for=240),
        ("broken", 4.0),
    ),
    (
        "handoff.duration",
        "<=",
        1.0,
        "min",
        lambda tp: tp.handoff("service", waited=30),
        ("kept", 0.5),
    ),
]
"""Promises about what a signal says, and how they end."""


@pytest.mark.parametrize(("metric", "op", "target", "unit", "say", "expected"), SAID)
def test_what_signals_measure(
    cx: Capture, metric: str, op: str, target: float, unit: str, say: Any, expected: Any
) -> None:
    """A promise about a signal is compared with what the signal said, and else not mentioned."""
    cx.use(journey_map=map_with(metric, target, unit, op=op))
    with touchpoint("cart.pay"):
        pass
    assert cx.events("cx.promise.evaluated") == []
    with touchpoint("cart.pay") as tp:
        say(tp)

    assert result(cx)[:2] == expected


@pytest.mark.parametrize(
    ("metric", "unit"),
    [("touchpoint.duration", "s"), ("delivered", "d"), ("journey.duration", "h")],
)
@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, ("kept", 1.0)), (2.5, ("broken", 2.5)), (None, ("unmeasured", None))],
)
def test_deliver(
    cx: Capture, clock: Clock, metric: str, unit: str, value: Any, expected: Any
) -> None:
    """What the code hands in counts, in the promise's unit, instead of what was measured."""
    cx.use(journey_map=map_with(metric, 2.0, unit))
    with touchpoint("cart.pay") as tp:
        clock.tick(9)
        tp.deliver("it", 7).deliver("it", value)

    assert result(cx)[:2] == expected


def test_nobody_delivers_nothing(cx: Capture) -> None:
    """A promise that only the code can measure is not mentioned until it does."""
    cx.use(journey_map=map_with("delivered", 2.0, "d"))
    with touchpoint("cart.pay"):
        pass

    assert cx.events("cx.promise.evaluated") == []


def test_a_promise_can_be_delivered_elsewhere(cx: Capture, meters: Meters) -> None:
    """A touchpoint that the map does not know may hand in what was delivered."""
    cx.use(journey_map=map_with("delivered", 2.0, "d"))
    with touchpoint("back.office") as tp:
        tp.deliver("it", 1)

    assert cx.event("cx.promise.evaluated")["cx.touchpoint.name"] == "back.office"
    assert meters.values("cx.promise.delivered_ratio") == [({"cx.promise.id": "it"}, (1, 0.5))]
    assert meters.values("cx.promise.evaluations") == [
        ({"cx.promise.id": "it", "cx.promise.result": "kept"}, 1)
    ]


def test_a_share_is_never_negative(cx: Capture, meters: Meters) -> None:
    """What is far better than promised counts as 0, for histograms drop what is below."""
    cx.use(journey_map=map_with("delivered", 2.0, "1", op=">="))
    with touchpoint("cart.pay") as tp:
        tp.deliver("it", 200)

    assert [value for _, value in meters.values("cx.promise.delivered_ratio")] == [(1, 0.0)]


# Happiness


def happy(cx: Capture, predicate: str, say: Callable[[Any], Any], **more: Any) -> Any:
    """The verdict of the function on a visit in which this was said."""
    cx.use(journey_map=map_with(happy=predicate, **more))
    with touchpoint("cart.pay") as tp:
        say(tp)
    return cx.tags("cart.pay").get("cx.function.happy.shop")


FACTS: list[tuple[str, Callable[[Any], Any], bool | None]] = [
    ("touchpoint.outcome == 'completed'", lambda tp: tp, True),
    ("touchpoint.outcome == 'completed'", lambda tp: tp.fail("x"), False),
    ("touchpoint.duration < 1", lambda tp: tp, True),
    ("effort.actions <= effort.expected_actions", lambda tp: act(2), True),
    ("effort.actions <= effort.expected_actions", lambda tp: act(3), False),
    ("effort.actions <= effort.expected_actions", lambda tp: tp, None),
    ("effort.retries == 0 and effort.wait_time == 0", lambda tp: act(2), True),
    ("emotion.valence > 0", lambda tp: tp.emotion(source="text", valence=0.5), True),
    ("emotion.valence > 0", lambda tp: tp, None),
    ("emotion.label != 'anger'", lambda tp: tp.emotion("anger", source="text"), False),
    ("value.type == 'revenue'", lambda tp: tp.value(type="revenue"), True),
    ("value.amount > 5", lambda tp: tp.value(4, "EUR", type="revenue"), False),
    ("friction.type != 'slow'", lambda tp: tp, True),
    ("friction.type != 'slow'", lambda tp: tp.friction("slow"), False),
    (
        "friction.severity == 'high'",
        lambda tp: tp.friction("slow").friction("error", severity="high"),
        True,
    ),
    ("friction.count <= 1", lambda tp: tp.friction("slow").friction("slow"), False),
    ("friction.count == 0", lambda tp: tp, True),
    ("promise.result == 'kept'", lambda tp: tp, True),
    ("promise.gap <= 0", lambda tp: tp.deliver("it", 3), False),
    ("complaint.state != 'opened'", lambda tp: tp, True),
    ("complaint.state != 'opened'", lambda tp: tp.complaint("opened"), False),
    ("feedback.type == 'nps'", lambda tp: tp.feedback("nps", 9), True),
    ("feedback.category == 'promoter'", lambda tp: tp.feedback("nps", 9), True),
    ("feedback.score >= 9", lambda tp: tp.feedback("nps", 8), False),
    (
        "nudge.result == 'accepted'",
        lambda tp: tp.nudge("a", technique="reminder").accepted(),
        True,
    ),
    ("handoff.to_function == 'service'", lambda tp: tp.handoff("service"), True),
]
"""Every fact that a predicate may read, as a visit says it."""


@pytest.mark.parametrize(("predicate", "say", "expected"), FACTS)
def test_facts_of_a_visit(
    cx: Capture,
    meters: Meters,
    clock: Clock,
    predicate: str,
    say: Any,
    expected: bool | None,
) -> None:
    """What is said of a visit decides whether the function is happy; else it has no opinion."""
    verdict = happy(cx, predicate, say)
    found = [labels["cx.function.verdict"] for labels, _ in meters.values("cx.function.verdicts")]

    assert verdict is expected
    assert found == ([] if expected is None else ["happy" if expected else "unhappy"])


def test_a_verdict_as_metric(cx: Capture, meters: Meters, clock: Clock) -> None:
    """A verdict counts by function and stage, with the worst promise that was measured."""
    predicate = "touchpoint.outcome == 'completed'"
    for seconds in (1, 9, 9):
        cx.use(journey_map=map_with(happy=predicate))
        with touchpoint("cart.pay"):
            clock.tick(seconds)
    with touchpoint("else.where"):
        pass
    labels = {"cx.function.name": "shop", "cx.function.verdict": "happy"}

    assert meters.values("cx.function.verdicts") == [
        (labels, 1),
        ({**labels, "cx.stage.name": "buy", "cx.promise.result": "broken"}, 2),
        ({**labels, "cx.stage.name": "buy", "cx.promise.result": "kept"}, 1),
    ]
    assert cx.tags("else.where")["cx.function.happy.shop"] is True


def test_a_content_function_and_a_broken_promise(cx: Capture, clock: Clock) -> None:
    """A function can be happy while the customer's promise is broken, and both can be seen."""
    cx.use(journey_map=map_with(happy="touchpoint.outcome == 'completed'"))
    with touchpoint("cart.pay"):
        clock.tick(9)

    assert cx.tags("cart.pay")["cx.function.happy.shop"] is True
    assert result(cx)[0] == "broken"


@given(st.lists(st.floats(0, 4).map(lambda seconds: round(seconds, 2)), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_each_visit_is_judged_by_its_own_facts(forgetful: None, seconds: list[float]) -> None:
    """However visits follow one another, promise and verdict are those of the visit itself."""
    with pytest.MonkeyPatch.context() as patch:
        clock, cx = Clock(patch), Capture()
        journey_map = map_with(happy="touchpoint.duration <= 1")
        cx.use(journey_map=journey_map)
        lasted = []
        for each in seconds:
            begun = clock.seconds
            with touchpoint("cart.pay"):
                clock.tick(each)
            lasted.append((1_000.0 + clock.seconds) - (1_000.0 + begun))
        promise = journey_map.promises["it"]

        told = [event["cx.promise.result"] for event in cx.events("cx.promise.evaluated")]
        assert told == [evaluate(promise, duration).result for duration in lasted]
        for span, duration in zip(cx.spans, lasted, strict=True):
            assert (span.attributes or {})["cx.function.happy.shop"] is (duration <= 1)


def test_verdicts_are_the_same_the_second_time(cx: Capture, meters: Meters) -> None:
    """A visit of which nothing is said is judged as the one before, by its own outcome."""
    cx.use(journey_map=map_with(happy="touchpoint.outcome == 'completed'"))
    for outcome in ("completed", "failed", "completed", "failed"):
        with touchpoint("cart.pay") as tp:
            tp.outcome(outcome)  # type: ignore[arg-type]

    found = [(span.attributes or {})["cx.function.happy.shop"] for span in cx.spans]
    assert found == [True, False, True, False]
    assert sum(value for _, value in meters.values("cx.function.verdicts")) == 4


# What only the span is told, abandoned visits, and durations


@pytest.mark.parametrize("initiator", ["company", "customer"])
def test_a_visit_of_which_nothing_is_said(cx: Capture, clock: Clock, initiator: str) -> None:
    """Where nothing is measured, the span says the same as of one that is said to be completed."""
    quiet = evolve(map_with(initiator=initiator), promises={}, friction=Friction())
    stripped = evolve(quiet.touchpoints["cart.pay"], promises=())
    cx.use(journey_map=evolve(quiet, touchpoints={"cart.pay": stripped}))
    with touchpoint("cart.pay"):
        clock.tick(0.5)
    with touchpoint("cart.pay") as tp:
        clock.tick(0.5)
        tp.outcome("completed")
    silent, told = (dict(span.attributes or {}) for span in cx.spans)
    cost = {"cx.effort.actions": 1, "cx.effort.retries": 0, "cx.effort.wait_time": 0.5}

    assert silent == told
    assert silent["cx.touchpoint.outcome"] == "completed"
    assert {key: silent[key] for key in cost if key in silent} == (
        cost if initiator == "customer" else {}
    )


@pytest.mark.parametrize("initiator", ["company", "customer"])
def test_an_abandoned_visit(cx: Capture, clock: Clock, initiator: str) -> None:
    """Who gives up leaves behind where they were, and what it had cost them."""
    cx.use(journey_map=map_with(initiator=initiator))
    with touchpoint("cart.pay") as tp:
        tp.outcome("abandoned")
    with journey("order"), touchpoint("cart.pay") as tp:
        for name in ("type", "confirm"):
            with interaction(name):
                clock.tick(0.5)
        tp.outcome("abandoned")
    cost = {"cx.effort.actions": 1, "cx.effort.wait_time": 0.0}

    assert cx.events("cx.touchpoint.abandoned") == [
        {**PLACE, **(cost if initiator == "customer" else {})},
        {
            **PLACE,
            "cx.journey.name": "order",
            "cx.interaction.name": "confirm",
            "cx.effort.actions": 2,
            "cx.effort.wait_time": 1.0,
        },
    ]


def test_durations_by_outcome(cx: Capture, meters: Meters, clock: Clock) -> None:
    """Each visit counts once, under its outcome, its journey and, if it failed, its reason."""
    cx.use()
    for word in ("completed", "abandoned", "deferred", "handed_off", "failed"):
        with touchpoint("a") as tp:
            clock.tick(1)
            tp.outcome(word)  # type: ignore[arg-type]
    with journey("j"), touchpoint("a") as tp:
        tp.fail("card_declined")
    with pytest.raises(KeyError), touchpoint("a"):
        raise KeyError
    name = {"cx.touchpoint.name": "a"}
    failed = {"cx.touchpoint.outcome": "failed"}

    found = meters.values("cx.touchpoint.duration")
    assert {tuple(sorted(labels.items())): value for labels, value in found} == {
        tuple(sorted(labels.items())): value
        for labels, value in [
            *[
                ({**name, "cx.touchpoint.outcome": word}, (1, 1.0))
                for word in ("completed", "abandoned", "deferred", "handed_off", "failed")
            ],
            ({**name, **failed, "cx.journey.name": "j", "error.type": "card_declined"}, (1, 0.0)),
            ({**name, **failed, "error.type": "KeyError"}, (1, 0.0)),
        ]
    }


def test_cells_that_are_kept_are_bounded(
    cx: Capture, meters: Meters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the limit visits count as well, and nothing more is kept for them."""
    monkeypatch.setattr(_ending, "_MOST_KEPT", 2)
    cx.use(journey_map=map_with(initiator="customer"))
    for _ in range(2):
        for name in ("a", "b", "c", "d"):
            with journey(name), touchpoint("cart.pay") as tp:
                pass

    assert tp.endings is not None
    assert (len(tp.endings._durations), len(tp.endings._efforts)) == (2, 2)
    assert [value[0] for _, value in meters.values("cx.touchpoint.duration")] == [2, 2, 2, 2]
    assert [value for _, value in meters.values("cx.touchpoint.effort")] == [(2, 2)] * 4


def test_plain_visits_say_nothing_more(cx: Capture) -> None:
    """Without meters and expectations a completed visit costs no attribute and no event."""
    cx.use()
    with touchpoint("a"):
        pass
    with touchpoint("a"), interaction("b"):
        pass

    first, second = (span for span in cx.spans if span.name == "a")
    assert "cx.effort.actions" not in (first.attributes or {})
    assert (second.attributes or {})["cx.effort.actions"] == 1
    assert _guard.counts() == {}


def test_a_segment_of_choice(cx: Capture, meters: Meters) -> None:
    """Cells that are kept for one segment are not those of another."""
    cx.use(
        journey_map=map_with(initiator="customer"),
        metrics_opt_in=frozenset({"cx.customer.segment"}),
    )
    for segment in ("smb", "large", "smb", None):
        with customer("A", segment=segment), touchpoint("cart.pay"):
            pass

    for metric in ("cx.touchpoint.duration", "cx.touchpoint.effort"):
        found = {
            labels.get("cx.customer.segment"): value[0] for labels, value in meters.values(metric)
        }
        assert found == {"smb": 2, "large": 1, None: 1}


@pytest.mark.parametrize(
    ("predicate", "say"),
    [
        ("emotion.label == 'anger'", lambda tp: tp.emotion("anger", source="text")),
        ("feedback.score < 3", lambda tp: tp.feedback("csat", 1)),
        ("value.amount > 1", lambda tp: tp.value(2, "EUR", type="revenue")),
    ],
)
def test_who_withdraws_is_not_judged_by_what_they_said(
    cx: Capture, meters: Meters, predicate: str, say: Callable[[Any], Any]
) -> None:
    """After consent was withdrawn no verdict follows from what was said before."""
    cx.use(journey_map=map_with("feedback.normalized_score", 0.5, "1", op=">=", happy=predicate))
    with customer("A", consent="granted"), touchpoint("cart.pay") as tp:
        say(tp)
        identify("A", consent="withdrawn")

    assert not any(key.startswith("cx.function.happy") for key in cx.tags("cart.pay"))
    assert cx.events("cx.promise.evaluated") == []
    assert meters.values("cx.function.verdicts") == []


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
def test_how_a_visit_of_who_refused_went_is_judged(
    cx: Capture, meters: Meters, consent: Any
) -> None:
    """A verdict that follows from how the touchpoint worked is the function's, and names nobody."""
    predicate = "touchpoint.outcome == 'completed' and effort.actions <= 2 and friction.count == 0"
    cx.use(journey_map=map_with(happy=predicate, initiator="customer"))
    with customer("A", consent=consent), journey("order"), touchpoint("cart.pay"):
        pass

    tags = cx.tags("cart.pay")
    assert tags["cx.function.happy.shop"] is True
    assert "enduser.pseudo.id" not in tags
    assert "cx.journey.id" not in tags
    assert [labels for labels, _ in meters.values("cx.function.verdicts")] == [
        {
            "cx.function.name": "shop",
            "cx.function.verdict": "happy",
            "cx.stage.name": "buy",
            "cx.promise.result": "kept",
        }
    ]


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
def test_what_who_refused_felt_is_judged_by_nobody(
    cx: Capture, meters: Meters, consent: Any
) -> None:
    """A verdict that needs what only the person can tell is not given, whatever else is known."""
    predicate = "touchpoint.outcome == 'completed' and feedback.score >= 3"
    cx.use(journey_map=map_with(happy=predicate))
    with customer("A", consent=consent), touchpoint("cart.pay") as tp:
        tp.feedback("csat", 5)

    assert "cx.function.happy.shop" not in cx.tags("cart.pay")
    assert meters.values("cx.function.verdicts") == []
