"""``touchpoint()`` and ``interaction()``: what their spans say."""

import difflib
import logging
import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.trace import SpanKind, StatusCode

import cxtrace
from cxtrace import _guard, _plan, _runtime, _touchpoint, customer, interaction, journey, touchpoint
from cxtrace.journey_map import JourneyMap

MAP = JourneyMap.loads(
    """
schema = "cxtrace.map/1"
name = "shop"
version = "7"
context = ["weather"]

[functions]
product = {}
finance = {}

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
channel = ["web"]
owner = "product"
initiator = "customer"
type = "communication"
influence = { product = 0.75, finance = 0.25 }
expected_actions = 3

[[touchpoint]]
name = "cart.view"
stage = "purchase"
channel = ["web", "mobile_app"]
owner = "product"
influence = { product = 1.0 }

[[journey]]
name = "first_order"
goal = "checkout.pay"
[journey.routes]
express = ["cart.view", "checkout.pay"]
"""
)


def counts():
    """What has been refused and swallowed so far."""
    return dict(cxtrace.report().counts)


def warnings(caplog):
    """What cxtrace has written to the log."""
    return [r.getMessage() for r in caplog.records if r.name.startswith("cxtrace")]


def test_without_a_map(cx):
    """Without a map the span says what the code says, and nothing else."""
    with touchpoint("checkout.pay", stage="purchase", owner="payments", channel="web"):
        pass

    assert cx.tags("checkout.pay") == {
        "cx.touchpoint.name": "checkout.pay",
        "cx.stage.name": "purchase",
        "cx.owner.function": "payments",
        "cx.channel.name": "web",
        "cx.consent.state": "unknown",
        "cx.touchpoint.outcome": "completed",
    }
    assert cx.span("checkout.pay").kind is SpanKind.INTERNAL


def test_with_a_map(cx, clock):
    """With a map the span says what the map says about the touchpoint, and what it cost."""
    cx.use(journey_map=MAP)
    with touchpoint("checkout.pay"):
        clock.tick(0.5)

    assert cx.tags("checkout.pay") == {
        "cx.touchpoint.name": "checkout.pay",
        "cx.touchpoint.planned": True,
        "cx.touchpoint.type": "communication",
        "cx.touchpoint.initiator": "customer",
        "cx.map.version": "7",
        "cx.stage.name": "purchase",
        "cx.stage.phase": "customer",
        "cx.owner.function": "product",
        "cx.owner.influence.product": 0.75,
        "cx.owner.influence.finance": 0.25,
        "cx.effort.expected_actions": 3,
        "cx.channel.name": "web",
        "cx.consent.state": "unknown",
        "cx.touchpoint.outcome": "completed",
        "cx.effort.actions": 1,
        "cx.effort.retries": 0,
        "cx.effort.wait_time": 0.5,
    }


def test_the_code_has_the_last_word(cx):
    """What the decorator says stands above the map."""
    cx.use(journey_map=MAP)
    with touchpoint("checkout.pay", stage="trial", owner="sales", channel="store"):
        pass

    tags = cx.tags("checkout.pay")
    assert (
        tags["cx.stage.name"],
        tags["cx.owner.function"],
        tags["cx.channel.name"],
    ) == ("trial", "sales", "store")
    assert "cx.stage.phase" not in tags


def test_several_channels(cx):
    """A touchpoint that is planned on several channels has none until the code names it."""
    cx.use(journey_map=MAP)
    with touchpoint("cart.view"):
        pass

    assert "cx.channel.name" not in cx.tags("cart.view")


def test_not_in_the_map(cx, caplog):
    """A touchpoint that the map does not have is sent, marked, counted, and named once."""
    cx.use(journey_map=MAP)
    for _ in range(3):
        with touchpoint("nope"):
            pass
    with touchpoint("nope", stage="purchase"):
        pass

    assert {False} == {span.attributes["cx.touchpoint.planned"] for span in cx.spans}
    assert cx.spans[-1].attributes["cx.stage.phase"] == "customer"
    (warning,) = warnings(caplog)
    assert "'nope'" in warning
    assert counts()["touchpoint.not_in_map"] >= 1


def test_names_that_nobody_is_told_of_cost_no_search(cx, monkeypatch):
    """Where no warning follows, the map is not searched for a name that is like the unknown one."""
    cx.use(journey_map=MAP)
    monkeypatch.setattr(_guard, "MOST_OF_A_KIND", 1)
    with touchpoint("nope"):
        pass
    monkeypatch.setattr(difflib, "get_close_matches", lambda *_: pytest.fail("searched"))
    with touchpoint("never"):
        pass

    assert counts()["touchpoint.not_in_map"] >= 2
    assert "errors.touchpoint" not in counts()


def test_map_that_comes_later(cx):
    """A touchpoint declared at import is resolved again when ``configure`` brings a map."""
    declared = touchpoint("checkout.pay")
    with declared:
        pass
    cx.use(journey_map=MAP)
    with declared:
        pass

    before, after = cx.spans
    assert "cx.owner.function" not in before.attributes
    assert after.attributes["cx.owner.function"] == "product"


@pytest.mark.parametrize("bare", [touchpoint, interaction, journey])
def test_missing_name(bare):
    """A decorator without its name is a mistake that shows at import, with what to write."""
    with pytest.raises(TypeError, match=rf'write @{bare.__name__}\("name"\)'):

        @bare
        def pay():
            pass


@pytest.mark.parametrize(
    "name", ["", " \n", "x" * 65, None, 5, ["a"], b"a", "a\x7f", "a\ud800", {}, 1.5]
)
def test_wrong_name(cx, caplog, name):
    """A name that cannot be sent is replaced, counted and warned about once, never raised."""
    for _ in range(2):
        with touchpoint(name):
            pass
        with interaction(name):
            pass

    assert cx.names == ["invalid_name"] * 4
    assert counts()["refused.touchpoint_name"] >= 1
    assert counts()["refused.interaction_name"] == 2
    assert len(warnings(caplog)) == 2


@pytest.mark.parametrize("name", ["a", "ä" * 64, "a b", "日本"])
def test_right_name(cx, name):
    """A name is any short text."""
    with touchpoint(name):
        pass

    assert cx.tags(name)["cx.touchpoint.name"] == name


@pytest.mark.parametrize("value", ["", 5, ["a"], "x" * 65, "a\nb", "\ud800"])
@pytest.mark.parametrize("argument", ["stage", "owner"])
def test_wrong_stage_and_owner(cx, argument, value):
    """A stage or an owner that cannot be sent does not cost the span, and is never sent."""
    with touchpoint("a", **{argument: value}):
        pass

    sent = {"stage": "cx.stage.name", "owner": "cx.owner.function"}[argument]
    assert cx.tags("a").get(sent) in (None, "invalid_name")


@pytest.mark.parametrize("channel", ["fax", "", 5, ["web"], {}])
def test_wrong_channel(cx, caplog, channel):
    """A channel outside of the closed set is refused, counted, and the log says what it can be."""
    for _ in range(2):
        with touchpoint("a", channel=channel):
            pass

    assert ["cx.channel.name" in span.attributes for span in cx.spans] == [False, False]
    assert counts()["refused.channel"] >= 1
    (warning,) = warnings(caplog)
    assert "word_of_mouth" in warning


def test_journey_and_customer(cx):
    """A touchpoint carries journey, route, customer and all that is known about them."""
    with (
        journey("first_order", id="walk-1", route="express"),
        customer("cust-42", kind="person", segment="smb", consent="granted"),
        touchpoint("cart.view"),
    ):
        pass

    assert cx.tags("cart.view") == {
        "cx.touchpoint.name": "cart.view",
        "cx.journey.name": "first_order",
        "cx.journey.id": "walk-1",
        "cx.journey.route": "express",
        "cx.customer.kind": "person",
        "cx.customer.segment": "smb",
        "cx.customer.key_id": _runtime.key().key_id,
        "cx.consent.state": "granted",
        "enduser.pseudo.id": cx.pseudonym("cust-42"),
        "cx.touchpoint.outcome": "completed",
    }


def test_interaction(cx):
    """An interaction carries its name and the tags of where it happens, and no outcome."""
    where = touchpoint("pay", stage="s", owner="o")
    with journey("first_order", id="walk-1"), where, interaction("enter_card"):
        pass

    assert cx.tags("enter_card") == {
        "cx.interaction.name": "enter_card",
        "cx.touchpoint.name": "pay",
        "cx.stage.name": "s",
        "cx.owner.function": "o",
        "cx.journey.name": "first_order",
        "cx.journey.id": "walk-1",
    }
    assert cx.span("pay").context.span_id == cx.span("enter_card").parent.span_id


def test_interaction_alone(cx):
    """An interaction outside of any touchpoint is a span all the same."""
    with interaction("enter_card"):
        pass

    assert cx.tags("enter_card") == {"cx.interaction.name": "enter_card"}


def test_interaction_that_fails(cx):
    """An interaction that fails says so by status and class of the error."""
    with pytest.raises(KeyError), interaction("enter_card"):
        raise KeyError("4111 1111 1111 1111")

    span = cx.span("enter_card")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert span.attributes["error.type"] == "KeyError"
    assert "4111 1111" not in span.to_json()


def test_touchpoint_in_a_touchpoint(cx):
    """A touchpoint inside of another has its own place, also in the tags of its children."""
    with touchpoint("outer", stage="one", owner="it"):
        with touchpoint("inner"), interaction("click"):
            pass
        with interaction("later"):
            pass

    assert cx.tags("click") == {"cx.interaction.name": "click", "cx.touchpoint.name": "inner"}
    assert cx.tags("later")["cx.touchpoint.name"] == "outer"
    assert cx.span("outer").context.span_id == cx.span("inner").parent.span_id


def test_attach_to_a_server_span(cx):
    """With ``attach`` the touchpoint is the server's own span, which goes on after the block."""
    with cx.tracer.start_as_current_span("GET /pay", kind=SpanKind.SERVER) as server:
        with touchpoint("checkout.pay", owner="product", attach=True) as handle:
            assert handle.span is server
            with cx.tracer.start_as_current_span("SELECT"):
                pass
        assert server.is_recording()

    assert cx.names == ["SELECT", "GET /pay"]
    assert cx.tags("SELECT")["cx.owner.function"] == "product"
    assert cx.tags("GET /pay") == {
        "cx.touchpoint.name": "checkout.pay",
        "cx.owner.function": "product",
        "cx.consent.state": "unknown",
        "cx.touchpoint.outcome": "completed",
    }


def test_attach_fails(cx):
    """A touchpoint that is the server's own span fails it without any text."""
    with (
        cx.tracer.start_as_current_span(
            "GET /", kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ),
        pytest.raises(ValueError, match="secret"),
        touchpoint("a", attach=True),
    ):
        raise ValueError("secret")

    span = cx.span("GET /")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert (
        span.attributes["error.type"],
        span.attributes["cx.touchpoint.outcome"],
    ) == ("ValueError", "failed")
    assert "secret" not in span.to_json()


@pytest.mark.parametrize("kind", [SpanKind.INTERNAL, SpanKind.CLIENT, None])
def test_attach_to_nothing(cx, kind):
    """Where no server's or consumer's span is current, ``attach`` makes a span of its own."""
    if kind is None:
        with touchpoint("a", attach=True):
            pass
    else:
        with cx.tracer.start_as_current_span("work", kind=kind), touchpoint("a", attach=True):
            pass

    assert cx.outcome("a") == "completed"


def test_identity_after_an_attached_touchpoint(cx):
    """A customer who is known only after the attached touchpoint still reaches the server span."""
    with cx.tracer.start_as_current_span("GET /", kind=SpanKind.SERVER), journey("j"):
        with touchpoint("a", attach=True):
            pass
        cxtrace.identify("x")

    assert cx.tags("GET /")["enduser.pseudo.id"] == cx.pseudonym("x")


def refuse(*args, **kwargs):
    """Stand in for something that is broken."""
    raise OSError("Ada Lovelace")


def test_start_that_raises(cx, monkeypatch):
    """A start that raises costs the span, never the call."""
    monkeypatch.setattr(cx.tracing, "start", refuse)
    before = get_current()
    with touchpoint("a") as handle, interaction("b") as inner:
        assert handle.outcome("completed") is handle
        assert inner.fail("x") is inner
        assert before is get_current()

    assert counts() == {"errors.touchpoint": 1, "errors.interaction": 1}


def test_end_that_raises(cx, caplog, monkeypatch):
    """An end that raises is counted and named once, without its text; the result stands."""
    monkeypatch.setattr(cx.tracing, "finish", refuse)

    @touchpoint("a")
    def work():
        return 5

    @touchpoint("a")
    def stream():
        yield 5

    assert (work(), work(), list(stream())) == (5, 5, [5])
    assert counts()["errors.close"] == 3
    assert "Ada" not in caplog.text
    assert len(warnings(caplog)) == 1


def test_many_names(cx, monkeypatch):
    """Names made at run time do not fill the memory; past a limit they are only counted."""
    monkeypatch.setattr("cxtrace._plan._MAX_PLANS", 10, raising=False)
    if hasattr(_touchpoint, "_MAX_PLANS"):
        monkeypatch.setattr(_touchpoint, "_MAX_PLANS", 10)
    for number in range(15):
        with touchpoint(f"page-{number}"):
            pass

    assert len(cx.spans) == 15
    assert len(_runtime.current.plans) == 10
    assert counts()["touchpoint.names_past_limit"] == 5


def test_provider_of_others(forgetful, monkeypatch, cx, clock):
    """Without ``configure`` the spans go through the provider that somebody else has set."""
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: cx.provider)
    _runtime.use(_runtime.Runtime())

    with touchpoint("a", owner="it") as handle, interaction("b"):
        handle.fail("card_declined")
    with pytest.raises(ValueError, match="no"), touchpoint("c"):
        raise ValueError("no")

    assert cx.names == ["b", "a", "c"]
    assert cx.tags("a") == {
        "cx.touchpoint.name": "a",
        "cx.owner.function": "it",
        "cx.consent.state": "unknown",
        "cx.touchpoint.outcome": "failed",
        "error.type": "card_declined",
        "cx.effort.actions": 1,
        "cx.effort.retries": 0,
        "cx.effort.wait_time": 0.0,
    }
    assert cx.span("c").status.description is None
    assert cx.span("c").events == ()
    assert cx.span("a").instrumentation_scope.name == "cxtrace"


def test_no_provider(nobody, caplog):
    """With no SDK there is no span, no context and no word in the log."""
    before = get_current()
    caplog.set_level(logging.DEBUG)

    with touchpoint("a") as outer, interaction("b") as inner:
        assert before is get_current()
        assert cxtrace.current_context() is None
        outer.fail("x").outcome("failed").set({"a": 1})
        inner.fail("x").set({"a": 1})

    assert warnings(caplog) == []


NO_SDK = """
import asyncio, sys
import cxtrace
from cxtrace import customer, identify, interaction, journey, touchpoint
from opentelemetry import context, trace

before, span = context.get_current(), trace.get_current_span()


@touchpoint("a", stage="s")
def function(n):
    assert trace.get_current_span() is span
    assert context.get_current() is before
    return n


@interaction("b")
async def coroutine(n):
    return n


@touchpoint("c")
def generator(n):
    yield n


@touchpoint("d")
async def async_generator(n):
    yield n


async def main():
    return [item async for item in async_generator(4)]


assert function(1) == 1
assert asyncio.run(coroutine(2)) == 2
assert list(generator(3)) == [3]
assert asyncio.run(main()) == [4]
with journey("j") as walk, customer("A") as who, touchpoint("a") as handle:
    handle.fail("x").outcome("failed").set({"session.id": "s"})
    identify("B")
    assert len(walk.id) == 32
assert context.get_current() is before
assert "opentelemetry.sdk" not in sys.modules
try:
    with touchpoint("a"):
        raise KeyError("x")
except KeyError:
    pass
print("done")
"""


def test_no_sdk():
    """In a process without an SDK all works, nothing changes and the SDK is not even imported."""
    command = [sys.executable, "-W", "error", "-c", NO_SDK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout == "done\n"
    assert "Traceback" not in done.stderr


def test_words_after_the_span_of_an_attached_touchpoint(cx):
    """What is said when the server's span has ended comes too late for it, and nobody complains."""
    span = cx.tracer.start_span("GET /", kind=SpanKind.SERVER)
    with trace.use_span(span), touchpoint("a", attach=True) as handle:
        span.end()
        handle.set({"cx.quality.speed": 0.5}).friction("slow").fail("late")

    assert cx.outcome("GET /") is None


def test_names_that_were_found_fit_are_bounded(cx, monkeypatch):
    """Names past the limit are sent all the same, and looked through each time."""
    monkeypatch.setattr(_plan, "_fit", set())
    monkeypatch.setattr(_plan, "_MAX_PLANS", 2)
    given = ["a", "b", "c", "jane@example.com", "c", "a"]

    found = [_plan.checked_name(name, "journey") for name in given]

    assert found == ["a", "b", "c", "invalid_name", "c", "a"]
    assert _plan._fit == {"a", "b"}
