"""Flags of OpenFeature that decide on nudges: exposures, answers, and what stays the host's."""

import asyncio
import threading
from typing import Any

import pytest

import cxtrace
from cxtrace import _guard, touchpoint
from cxtrace._company_signals import NO_EXPOSURE
from tests.conftest import Capture, Meters

pytest.importorskip("openfeature")

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError
from openfeature.flag_evaluation import FlagEvaluationOptions
from openfeature.hook import Hook
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from cxtrace.integrations import openfeature as integration
from cxtrace.integrations.openfeature import (
    SHOWN_BEFORE,
    Nudge,
    NudgeHook,
    exposure,
)

ON_OFF = {"on": True, "off": False}
INCENTIVE = Nudge(technique="incentive")
SCARCITY = {"cx.nudge.technique": "scarcity"}
EXPOSED, ANSWERED = "cx.nudge.exposures", "cx.nudge.outcomes"
EVENT = "cx.nudge.exposure"


class Strange(InMemoryProvider):
    """A provider that fails in a way that it may not."""

    def resolve_boolean_details(self, *args: Any, **kwargs: Any) -> Any:
        """Fail."""
        raise FlagNotFoundError("jane@example.com")


def by_customer(flag: Any, context: EvaluationContext) -> Any:
    """Each customer has a variant."""
    variant = "b" if context.targeting_key == "jane@example.com" else "a"
    flag = InMemoryFlag(variant, flag.variants)
    return flag.resolve(None)


FLAGS: dict[str, InMemoryFlag[Any]] = {
    "bar": InMemoryFlag("on", ON_OFF),
    "bar_off": InMemoryFlag("off", ON_OFF),
    "unnamed": InMemoryFlag("on", ON_OFF),
    "text": InMemoryFlag("a", {"a": "gentle", "b": "bold"}),
    "held_out": InMemoryFlag("control", {"control": "plain"}),
    "in_control": InMemoryFlag("x", {"x": "control"}),
    "discount": InMemoryFlag("ten", {"ten": 10}),
    "no_discount": InMemoryFlag("none", {"none": 0}),
    "look": InMemoryFlag("red", {"red": {"colour": "red"}}),
    "share": InMemoryFlag("half", {"half": 0.5}),
    "spoken": InMemoryFlag("Variant B", {"Variant B": True}),
    "by_customer": InMemoryFlag(
        "a", {"a": "gentle", "b": "bold"}, context_evaluator=by_customer
    ),
    "declared": InMemoryFlag("on", ON_OFF, flag_metadata=SCARCITY),
    "hidden": InMemoryFlag(
        "on",
        ON_OFF,
        flag_metadata={
            **SCARCITY,
            "cx.nudge.id": "only_two_left",
            "cx.nudge.disclosed": False,
            "cx.nudge.reversible": "false",
        },
    ),
    "odd": InMemoryFlag("on", ON_OFF, flag_metadata={"cx.nudge.technique": "hypnosis"}),
    "other": InMemoryFlag("on", ON_OFF, flag_metadata={"team": "checkout"}),
}  # fmt: skip


def client_of(*hooks: Hook, provider: Any = InMemoryProvider) -> OpenFeatureClient:
    """A client of a provider of its own."""
    api.set_provider(provider(FLAGS), "shop")
    client = api.get_client("shop")
    client.add_hooks(list(hooks))
    return client


def client_for(*flags: str, **options: Any) -> OpenFeatureClient:
    """A client with the hook, and these flags as nudges."""
    return client_of(NudgeHook(dict.fromkeys(flags, INCENTIVE), **options))


def shown(nudge: str, variant: str | None = None) -> dict[str, str]:
    """The labels of an exposure."""
    variants = {} if variant is None else {"feature_flag.result.variant": variant}
    return {"cx.nudge.id": nudge, **variants}


# Exposure


def test_an_evaluation_is_an_exposure(cx: Capture, meters: Meters) -> None:
    """The customer is exposed to the variant that the flag gave."""
    client = client_for("bar")
    with touchpoint("cart.view"):
        assert client.get_boolean_value("bar", False) is True

    event = cx.event(EVENT)
    del event["cx.touchpoint.name"]
    assert event == {
        "cx.nudge.id": "bar",
        "cx.nudge.technique": "incentive",
        "cx.nudge.disclosed": True,
        "cx.nudge.reversible": True,
        "feature_flag.key": "bar",
        "feature_flag.result.variant": "on",
    }
    assert meters.values(EXPOSED) == [(shown("bar", "on"), 1)]


def test_what_was_declared_is_said(cx: Capture) -> None:
    """Id, technique and whether it is disclosed and reversible are those of the declaration."""
    nudge = Nudge(technique="scarcity", id="only_two_left", disclosed=False, reversible=False)
    client = client_of(NudgeHook({"bar": nudge}))
    with touchpoint("cart.view"):
        client.get_boolean_value("bar", False)

    event = cx.event(EVENT)
    assert event["cx.nudge.id"] == "only_two_left"
    assert event["cx.nudge.technique"] == "scarcity"
    assert (event["cx.nudge.disclosed"], event["cx.nudge.reversible"]) == (False, False)
    assert event["feature_flag.key"] == "bar"


def test_an_async_evaluation_is_an_exposure(cx: Capture, meters: Meters) -> None:
    """Each task tells the touchpoint that it works for."""
    client = client_for("bar", "text")

    async def visit(name: str, flag: str) -> None:
        async with touchpoint(name):
            await asyncio.sleep(0)
            if flag == "bar":
                await client.get_boolean_value_async(flag, False)
            else:
                await client.get_string_value_async(flag, "")

    async def both() -> None:
        await asyncio.gather(visit("cart.view", "bar"), visit("home.visit", "text"))

    asyncio.run(both())

    assert [e["cx.nudge.id"] for e in cx.events(EVENT, "cart.view")] == ["bar"]
    assert [e["cx.nudge.id"] for e in cx.events(EVENT, "home.visit")] == ["text"]


@pytest.mark.parametrize(
    ("flag", "kind", "default", "variant"),
    [
        ("bar", "boolean", False, "on"),
        ("text", "string", "", "a"),
        ("discount", "integer", 0, "ten"),
        ("share", "float", 0.0, "half"),
        ("look", "object", {}, "red"),
        ("bar_off", "boolean", True, None),
        ("held_out", "string", "", None),
        ("in_control", "string", "", None),
        ("no_discount", "integer", 5, None),
    ],
)
def test_only_what_is_shown_is_an_exposure(
    cx: Capture, meters: Meters, flag: str, kind: str, default: Any, variant: str | None
) -> None:
    """Flags of all types count; a value that is false, and a control group, show nothing."""
    client = client_for(flag)
    with touchpoint("cart.view"):
        getattr(client, f"get_{kind}_details")(flag, default)

    expected = [] if variant is None else [(shown(flag, variant), 1)]
    assert (meters.values(EXPOSED) if expected else cx.events(EVENT)) == expected


def test_variants_of_the_control_group_are_chosen(cx: Capture, meters: Meters) -> None:
    """Which variants show nothing can be said."""
    client = client_for("text", "held_out", control=["a"])
    with touchpoint("cart.view"):
        client.get_string_value("text", "")
        client.get_string_value("held_out", "")

    assert meters.values(EXPOSED) == [(shown("held_out", "control"), 1)]


def test_a_flag_that_is_no_nudge_is_none(cx: Capture) -> None:
    """Flags that nobody has declared are not recorded, whatever their metadata is."""
    client = client_for("bar")
    with touchpoint("cart.view"):
        for flag in ("unnamed", "other", "no_such_flag"):
            client.get_boolean_value(flag, True)

    assert cx.events(EVENT) == []
    assert _guard.counts() == {}


def test_a_flag_may_declare_itself(cx: Capture) -> None:
    """What the metadata of a flag says makes it a nudge, disclosed unless it says the contrary."""
    client = client_of(NudgeHook())
    with touchpoint("cart.view"):
        client.get_boolean_value("declared", False)
        client.get_boolean_value("hidden", False)

    plain, hidden = cx.events(EVENT)
    assert (plain["cx.nudge.id"], plain["cx.nudge.technique"]) == ("declared", "scarcity")
    assert (plain["cx.nudge.disclosed"], plain["cx.nudge.reversible"]) == (True, True)
    assert (hidden["cx.nudge.id"], hidden["feature_flag.key"]) == ("only_two_left", "hidden")
    assert (hidden["cx.nudge.disclosed"], hidden["cx.nudge.reversible"]) == (False, False)


def test_code_stands_above_metadata(cx: Capture) -> None:
    """A flag that is declared in both places is what the code says."""
    client = client_for("hidden")
    with touchpoint("cart.view"):
        client.get_boolean_value("hidden", False)

    assert cx.event(EVENT)["cx.nudge.technique"] == "incentive"
    assert cx.event(EVENT)["cx.nudge.id"] == "hidden"


def test_a_visit_is_exposed_once(cx: Capture, meters: Meters) -> None:
    """However often a visit evaluates a flag, a variant counts once; the next visit counts anew."""
    client = client_for("by_customer")
    contexts = [EvaluationContext("jane@example.com"), EvaluationContext("joe@example.com")]
    for _ in range(2):
        with touchpoint("cart.view"):
            for context in contexts * 3:
                client.get_string_value("by_customer", "", context)

    assert sorted(meters.values(EXPOSED), key=str) == [
        (shown("by_customer", "a"), 2),
        (shown("by_customer", "b"), 2),
    ]
    assert "example.com" not in repr([(s.attributes, s.events) for s in cx.spans])


def test_threads_of_a_visit_are_one_exposure(cx: Capture, meters: Meters) -> None:
    """Of many threads that evaluate a flag for one visit at once, one counts."""
    client, ready = client_for("bar"), threading.Barrier(4)

    def evaluate() -> None:
        ready.wait()
        client.get_boolean_value("bar", False)

    with touchpoint("cart.view"):
        threads = [threading.Thread(target=cxtrace.wrap(evaluate)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert meters.values(EXPOSED) == [(shown("bar", "on"), 1)]


def test_what_cannot_be_a_label_is_refused(cx: Capture, meters: Meters) -> None:
    """A variant that is free text is left out, and a technique that does not exist is no nudge."""
    client = client_for("spoken")
    with touchpoint("cart.view"):
        client.get_boolean_value("spoken", False)
        client.get_boolean_value("odd", False)
        exposure("odd").accepted()

    assert meters.values(EXPOSED) == [(shown("spoken"), 1)]
    assert _guard.counts() == {"refused.nudge.variant": 1, "refused.nudge.technique": 1}


def test_memory_of_a_visit_is_bounded(cx: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past a thousand exposures a visit takes no new ones; the ones it has can be answered."""
    monkeypatch.setattr(integration, "MAX_REMEMBERED", 2)
    client = client_for("bar", "text", "declared")
    with touchpoint("cart.view"):
        client.get_boolean_value("bar", False)
        client.get_string_value("text", "")
        client.get_boolean_value("declared", False)
        client.get_boolean_value("bar", False)
        exposure("bar").accepted()

    assert [event["cx.nudge.id"] for event in cx.events(EVENT)] == ["bar", "text"]
    assert cx.event("cx.nudge.outcome")["cx.nudge.id"] == "bar"
    assert _guard.counts() == {"refused.nudge.evaluated": 1}


# Answers


@pytest.mark.parametrize("answer", ["accepted", "declined", "ignored", "reversed"])
def test_an_answer_belongs_to_the_variant(cx: Capture, meters: Meters, answer: str) -> None:
    """What the customer did is told by the flag's key, and counts for the variant, once."""
    client = client_for("text")
    with touchpoint("cart.view"):
        client.get_string_value("text", "")
        getattr(exposure("text"), answer)()
        getattr(exposure("text"), answer)()

    assert meters.values(ANSWERED) == [({**shown("text", "a"), "cx.nudge.result": answer}, 1)]


def test_the_variant_shown_last_is_answered(cx: Capture) -> None:
    """Where a visit has shown two variants, the later one is what the customer answered to."""
    client = client_for("by_customer")
    with touchpoint("cart.view"):
        for name in ("joe@example.com", "jane@example.com"):
            client.get_string_value("by_customer", "", EvaluationContext(name))
        exposure("by_customer").declined()

    assert cx.event("cx.nudge.outcome")["feature_flag.result.variant"] == "b"


def test_nothing_shown_is_nothing_to_answer(cx: Capture) -> None:
    """Where the flag showed no nudge, an answer does nothing, and nobody is warned."""
    client = client_for("bar_off")
    with touchpoint("cart.view"):
        client.get_boolean_value("bar_off", True)
        assert exposure("bar_off").accepted() is NO_EXPOSURE

    assert cx.events("cx.nudge.outcome") == []
    assert _guard.counts() == {}


def test_a_flag_that_was_not_evaluated_has_no_exposure(cx: Capture) -> None:
    """An answer to a flag of another visit is lost, which is counted."""
    client = client_for("bar")
    with touchpoint("cart.view"):
        client.get_boolean_value("bar", False)
    with touchpoint("cart.add"):
        exposure("bar").accepted()

    assert cx.events("cx.nudge.outcome") == []
    assert _guard.counts() == {"refused.nudge.answered": 1}


@pytest.mark.parametrize("flags", [{"text": INCENTIVE}, {"text": Nudge("incentive", id="hint")}])
def test_an_answer_in_a_later_request(cx: Capture, meters: Meters, flags: Any) -> None:
    """An evaluation with a hint shows nothing again, and gives the variant that is answered."""
    client = client_of(NudgeHook(flags))
    options = FlagEvaluationOptions(hook_hints=SHOWN_BEFORE)
    with touchpoint("cart.view"):
        client.get_string_value("text", "")
    with touchpoint("cart.add"):
        client.get_string_value("text", "", flag_evaluation_options=options)
        exposure("text").accepted()

    labels = shown(flags["text"].id or "text", "a")
    assert meters.values(EXPOSED) == [(labels, 1)]
    assert meters.values(ANSWERED) == [({**labels, "cx.nudge.result": "accepted"}, 1)]


def test_a_hint_does_not_hide_an_exposure(cx: Capture, meters: Meters) -> None:
    """A visit that shows the nudge after it took an answer is exposed all the same."""
    client = client_for("bar")
    options = FlagEvaluationOptions(hook_hints=SHOWN_BEFORE)
    with touchpoint("cart.view"):
        client.get_boolean_value("bar", False, flag_evaluation_options=options)
        exposure("bar").declined()
        client.get_boolean_value("bar", False)

    assert meters.values(EXPOSED) == [(shown("bar", "on"), 1)]
    assert [labels["cx.nudge.result"] for labels, _ in meters.values(ANSWERED)] == ["declined"]


def test_a_later_answer_is_checked_too(cx: Capture, meters: Meters) -> None:
    """Without an exposure, id and variant are checked in the same way."""
    options = FlagEvaluationOptions(hook_hints=SHOWN_BEFORE)
    nudges = {"spoken": INCENTIVE, "bar": Nudge("incentive", id="free shipping")}
    nameless = InMemoryFlag("on", ON_OFF, context_evaluator=without_variant)
    client = client_of(NudgeHook({**nudges, "nameless": INCENTIVE}))
    api.set_provider(InMemoryProvider({**FLAGS, "nameless": nameless}), "shop")
    with touchpoint("cart.add"):
        for flag in ("spoken", "bar", "nameless"):
            client.get_boolean_value(flag, False, flag_evaluation_options=options)
            exposure(flag).accepted()

    assert sorted(labels["cx.nudge.id"] for labels, _ in meters.values(ANSWERED)) == [
        "nameless",
        "spoken",
    ]
    assert _guard.counts() == {"refused.nudge.variant": 1, "refused.nudge.id": 1}


def without_variant(flag: Any, context: EvaluationContext) -> Any:
    """A provider need not name variants."""
    details = InMemoryFlag("on", ON_OFF).resolve(None)
    details.variant = None
    return details


# The host


def test_without_a_touchpoint_the_flag_is_as_ever(cx: Capture) -> None:
    """Outside of any touchpoint the value is the same, and the exposure is counted as lost."""
    client = client_for("bar")

    assert client.get_boolean_value("bar", False) is True
    assert exposure("bar") is NO_EXPOSURE
    assert cx.spans == []
    assert _guard.counts() == {"signal.outside_of_touchpoint": 2}


def test_signals_that_are_off_stay_off(cx: Capture) -> None:
    """Where a fleet has switched nudges off, neither exposure nor answer is sent."""
    cx.use(signals_off=frozenset({"nudge"}))
    client = client_for("bar")
    with touchpoint("cart.view"):
        client.get_boolean_value("bar", False)
        exposure("bar").accepted()

    assert cx.span("cart.view").events == ()
    assert _guard.counts() == {}


@pytest.mark.parametrize(("default", "exposures"), [(True, [(shown("bar"), 1)]), (False, None)])
def test_a_failed_evaluation_shows_the_default(
    cx: Capture, meters: Meters, default: bool, exposures: Any
) -> None:
    """What the customer saw counts: the default, of which there is no variant."""
    hook = NudgeHook({"bar": INCENTIVE})
    client = client_of(hook, provider=Strange)
    with touchpoint("cart.view"):
        details = client.get_boolean_details("bar", default)

    assert (details.value, details.reason) == (default, "ERROR")
    assert (meters.values(EXPOSED) if exposures else cx.events(EVENT) or None) == exposures
    assert "example.com" not in repr([(s.attributes, s.events) for s in cx.spans])


class Failing(Hook):
    """A hook of the host that fails after the evaluation."""

    def after(self, *args: Any, **kwargs: Any) -> None:
        """Fail."""
        raise ValueError


def test_a_hook_of_others_that_fails(cx: Capture, meters: Meters) -> None:
    """Where a hook of others turns the value into the default, the default is what was shown."""
    client = client_of(Failing(), NudgeHook({"bar": INCENTIVE}))
    with touchpoint("cart.view"):
        assert client.get_boolean_value("bar", False) is False

    assert cx.events(EVENT) == []


def broken(*_: object) -> Any:
    """Stands for a fault of ours."""
    raise ZeroDivisionError


def test_our_errors_stay_ours(
    cx: Capture, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails in the hook, or in an answer, changes no value and reaches nobody."""
    client = client_for("bar")
    monkeypatch.setattr(integration, "current_touchpoint", broken)
    with touchpoint("cart.view"):
        details = client.get_boolean_details("bar", False)
        assert exposure("bar") is NO_EXPOSURE

    assert (details.value, details.variant, details.error_code) == (True, "on", None)
    assert _guard.counts() == {"errors.openfeature": 2}
    assert [record for record in caplog.records if record.name == "openfeature"] == []


def test_hooks_of_the_api_and_of_one_call(cx: Capture, meters: Meters) -> None:
    """The hook may be given to the whole API, to a client, or to one evaluation."""
    hook = NudgeHook({"bar": INCENTIVE})
    client = client_of()
    options = FlagEvaluationOptions(hooks=[hook])
    with touchpoint("cart.view"):
        client.get_boolean_value("bar", False, flag_evaluation_options=options)
    try:
        api.add_hooks([hook])
        with touchpoint("cart.view"):
            client.get_boolean_value("bar", False)
    finally:
        api.clear_hooks()

    assert meters.values(EXPOSED) == [(shown("bar", "on"), 2)]


def test_a_call_without_hints(cx: Capture) -> None:
    """A host that gives None for hints is served as if it had given none."""
    client = client_for("bar")
    options = FlagEvaluationOptions(hook_hints=None)  # type: ignore[arg-type]
    with touchpoint("cart.view"):
        client.get_boolean_value("bar", False, flag_evaluation_options=options)

    assert len(cx.events(EVENT)) == 1
