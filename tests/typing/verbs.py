"""Never run: what mypy and pyright must accept and what they must reject in the verbs.

A line that must be rejected carries an ignore with its codes, mypy's and pyright's. It is an error
of its own, by ``warn_unused_ignores`` and ``reportUnnecessaryTypeIgnoreComment``, once it is
accepted.
"""

# ruff: noqa: D103
# pyright: reportUnnecessaryTypeIgnoreComment=true

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from typing import Any

from typing_extensions import assert_type

import cxtrace
from cxtrace import (
    ContextThreadPoolExecutor,
    CustomerHandle,
    CXContext,
    JourneyHandle,
    SpanHandle,
    TouchpointHandle,
    customer,
    identify,
    interaction,
    journey,
    touchpoint,
    wrap,
)

# Signatures survive


@touchpoint("a", stage="purchase", owner="it", channel="web", attach=True)
def function(order: int, *, fast: bool = False) -> str:
    return str(order)


assert_type(function(5, fast=True), str)
function("5")  # type: ignore[arg-type]
function(5, slow=True)  # type: ignore[call-arg]
function()  # type: ignore[call-arg]


@touchpoint("a")
async def coroutine(order: int) -> str:
    return str(order)


@interaction("a")
def generator(order: int) -> Generator[int, str, bytes]:
    yield order
    return b""


@journey("a", id="x", route="express")
async def async_generator(order: int) -> AsyncGenerator[int, str]:
    yield order


@customer("a", kind="person", segment="smb", consent="granted")
def iterator(order: int) -> Iterator[int]:
    yield order


@touchpoint("a")
@interaction("b")
@journey("c")
@customer("d")
async def async_iterator(order: int) -> AsyncIterator[int]:
    yield order


assert_type(generator(5), Generator[int, str, bytes])
assert_type(async_generator(5), AsyncGenerator[int, str])
assert_type(iterator(5), Iterator[int])
assert_type(async_iterator(5), AsyncIterator[int])
generator("5")  # type: ignore[arg-type]
async_generator("5")  # type: ignore[arg-type]


async def awaiting() -> None:
    assert_type(await coroutine(5), str)
    assert_type(await Thing().async_method(5), str)
    await coroutine("5")  # type: ignore[arg-type]
    await function(5)  # type: ignore[misc]
    async for item in async_iterator(5):
        assert_type(item, int)


takes_a_coroutine: Callable[[int], Coroutine[Any, Any, str]] = coroutine
takes_a_function: Callable[[int], str] = coroutine  # type: ignore[assignment]


class Thing:
    @touchpoint("a")
    def method(self, order: int) -> str:
        return str(order)

    @touchpoint("a")
    async def async_method(self, order: int) -> str:
        return str(order)

    @classmethod
    @touchpoint("a")
    def inside(cls, order: int) -> "Thing":
        return cls()

    @touchpoint("a")
    @classmethod
    def outside(cls, order: int) -> "Thing":
        return cls()

    @staticmethod
    @touchpoint("a")
    def static_inside(order: int) -> str:
        return str(order)

    @touchpoint("a")
    @staticmethod
    def static_outside(order: int) -> str:
        return str(order)


assert_type(Thing().method(5), str)
assert_type(Thing.inside(5), Thing)
assert_type(Thing.outside(5), Thing)
assert_type(Thing.static_inside(5), str)
assert_type(Thing.static_outside(5), str)
Thing().method("5")  # type: ignore[arg-type]
Thing.inside("5")  # type: ignore[arg-type]
Thing.outside("5")  # type: ignore[arg-type]
Thing.static_outside("5")  # type: ignore[arg-type]

assert_type(touchpoint("a")(functools.partial(int, "5"))(), int)
typed: Callable[[int], str] = touchpoint("a")(lambda order: str(order))

# Blocks

with touchpoint("a") as tp, interaction("b") as part, journey("c") as walk, customer("d") as who:
    assert_type(tp, TouchpointHandle)
    assert_type(part, SpanHandle)
    assert_type(walk, JourneyHandle)
    assert_type(who, CustomerHandle)
    assert_type(tp.outcome("deferred").fail("x").set({"session.id": "s"}), TouchpointHandle)
    assert_type(part.fail("x").set({}), SpanHandle)
    assert_type(walk.id, str)
    assert_type(who.pseudonym, str | None)
    tp.outcome("success")  # type: ignore[arg-type]
    tp.outcome()  # type: ignore[call-arg]
    tp.fail()  # type: ignore[call-arg]
    tp.fail(5)  # type: ignore[arg-type]
    tp.set("x")  # type: ignore[arg-type]
    part.outcome("failed")  # type: ignore[attr-defined]


async def asynchronously() -> None:
    async with touchpoint("a") as handle, journey("b") as on_the_way:
        assert_type(handle, TouchpointHandle)
        assert_type(on_the_way, JourneyHandle)


def exceptions_are_not_swallowed() -> int:
    with touchpoint("a"):
        return 5


# Signals

with touchpoint("a") as point:
    assert_type(point.friction("slow", severity="high", source="agent"), TouchpointHandle)
    assert_type(point.emotion("anger", source="text", valence=-1), TouchpointHandle)
    assert_type(point.emotion(source="self_reported", valence=0.5), TouchpointHandle)
    assert_type(point.feedback("csat", 4, scale=(1, 5)), TouchpointHandle)
    assert_type(point.complaint("resolved", open_for=60.0), TouchpointHandle)
    assert_type(point.mention("friends", phase="pre_customer"), TouchpointHandle)
    assert_type(point.value(5, "EUR", type="revenue"), TouchpointHandle)
    assert_type(point.deliver("delivery_48h", 51.0), TouchpointHandle)
    assert_type(point.handoff(to="service", waited=5), TouchpointHandle)
    assert_type(point.forecast("churn", probability=0.3, model="m"), TouchpointHandle)
    exposure = point.nudge("bar", technique="incentive", disclosed=False, variant="b")
    assert_type(exposure, cxtrace.Exposure)
    assert_type(exposure.accepted().declined().ignored().reversed(), cxtrace.Exposure)
    assert_type(point.friction("slow").value(type="refund").fail("x"), TouchpointHandle)

    point.friction("sluggish")  # type: ignore[arg-type]
    point.friction("slow", severity="fatal")  # type: ignore[arg-type]
    point.friction("slow", "high")  # type: ignore[call-arg]
    point.friction()  # type: ignore[call-arg]
    point.emotion("joy", source="text")  # type: ignore[arg-type]
    point.emotion("anger")  # type: ignore[call-arg]
    point.emotion("anger", source="biometric")  # type: ignore[arg-type]
    point.feedback("stars", 5)  # type: ignore[arg-type]
    point.feedback("csat", "5")  # type: ignore[arg-type]
    point.feedback("csat", 5, scale=5)  # type: ignore[arg-type]
    point.complaint("closed")  # type: ignore[arg-type]
    point.mention("radio")  # type: ignore[arg-type]
    point.value(5, "EUR")  # type: ignore[call-arg]
    point.value(5, "EUR", type="profit")  # type: ignore[arg-type]
    point.deliver("delivery_48h")  # type: ignore[call-arg]
    point.handoff(5)  # type: ignore[arg-type]
    point.forecast("churn", probability=0.3)  # type: ignore[call-arg]
    point.nudge("bar")  # type: ignore[call-arg]
    point.nudge("bar", technique="hypnosis")  # type: ignore[arg-type]
    exposure.bought()  # type: ignore[attr-defined]

assert_type(cxtrace.friction("slow", severity="low"), TouchpointHandle)
assert_type(cxtrace.nudge("bar", technique="reminder"), cxtrace.Exposure)
assert_type(cxtrace.feedback("nps", 9).complaint("opened"), TouchpointHandle)
cxtrace.friction("sluggish")  # type: ignore[arg-type]
cxtrace.value(5, "EUR")  # type: ignore[call-arg]
cxtrace.emotion("anger", source="biometric")  # type: ignore[arg-type]
cxtrace.nudge("bar", technique="hypnosis")  # type: ignore[arg-type]

with journey("a") as on_the_way_to_an_end:
    assert_type(on_the_way_to_an_end.outcome("abandoned"), JourneyHandle)
    on_the_way_to_an_end.outcome("completed")  # type: ignore[arg-type]

# Words that must be right

touchpoint()  # type: ignore[call-arg]
touchpoint(5)  # type: ignore[arg-type]
touchpoint("a", "purchase")  # type: ignore[call-arg]
touchpoint("a", channel="fax")  # type: ignore[arg-type]
touchpoint("a", stage=5)  # type: ignore[arg-type]
touchpoint("a", phase="x")  # type: ignore[call-arg]
interaction()  # type: ignore[call-arg]
journey()  # type: ignore[call-arg]
journey("a", id=5)  # type: ignore[arg-type]
customer()  # type: ignore[call-arg]
customer(1.5)  # type: ignore[arg-type]
customer("a", consent="yes")  # type: ignore[arg-type]
customer("a", consent=True)  # type: ignore[arg-type]
customer("a", kind="human")  # type: ignore[arg-type]
customer(5, consent="withdrawn")
customer(5, tenant="acme")
customer(5, tenant=7)
customer(5, tenant=1.5)  # type: ignore[arg-type]
identify(5, tenant="acme")
identify("a", kind="household", consent="not_required")
identify()  # type: ignore[call-arg]
identify("a", consent="no")  # type: ignore[arg-type]
identify(None)  # type: ignore[arg-type]


@touchpoint  # type: ignore[arg-type]
def without_a_name() -> None: ...


touchpoint("a")(5)  # type: ignore[type-var]

# The rest

assert_type(cxtrace.current_touchpoint(), TouchpointHandle)
assert_type(cxtrace.current_context(), CXContext | None)
assert_type(cxtrace.flush(), bool)
assert_type(cxtrace.shutdown(timeout=1.5), bool)
assert_type(cxtrace.report(), cxtrace.Report)
assert_type(wrap(function)(5), str)
wrap(function)("5")  # type: ignore[arg-type]

with ContextThreadPoolExecutor(2) as pool:
    assert_type(pool.submit(function, 5), Future[str])
    pool.submit(function, "5")  # type: ignore[arg-type]

cxtrace.configure(service_name="shop", sample=0.5, trust_inbound="signed")
cxtrace.configure("shop")  # type: ignore[call-arg]
cxtrace.configure(trust_inbound="sometimes")  # type: ignore[arg-type]
cxtrace.configure(colour="red")  # type: ignore[call-arg]
