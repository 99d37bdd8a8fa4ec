"""Whatever a service does in whatever order, the telemetry says what a plain model says."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

import cxtrace
from cxtrace import JourneyMap, _journeys, _metering, _runtime
from cxtrace._tracing import tracing_of

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "lifecycle"
[functions]
it = { happy = "touchpoint.outcome == 'completed'" }
sales = { happy = "friction.count == 0" }
[[stage]]
name = "look"
phase = "pre_customer"
[[stage]]
name = "buy"
phase = "customer"
[promise.works]
claim = "It works"
source = "sla"
metric = "touchpoint.success"
op = ">="
target = 1.0
unit = "1"
[[touchpoint]]
name = "home.visit"
stage = "look"
owner = "sales"
initiator = "customer"
[[touchpoint]]
name = "cart.view"
stage = "buy"
owner = "it"
[[touchpoint]]
name = "checkout.pay"
stage = "buy"
owner = "it"
initiator = "customer"
promises = ["works"]
[[journey]]
name = "order"
goal = "checkout.pay"
[journey.routes]
all = ["home.visit", "cart.view", "checkout.pay"]
""")
TOUCHPOINTS = tuple(MAP.touchpoints)
BY_CUSTOMER = ("home.visit", "checkout.pay")
INTERACTIONS = ("type", "click")
ENDS = ("well", "error", "cancelled", "given up")
SIGNALS: Mapping[str, tuple[Any, str]] = {
    "friction": (lambda tp: tp.friction("slow"), "cx.friction"),
    "emotion": (lambda tp: tp.emotion("delight", source="self_reported"), "cx.emotion"),
    "nudge": (lambda tp: tp.nudge("bar", technique="reminder"), "cx.nudge.exposure"),
    "feedback": (lambda tp: tp.feedback("csat", 4), "cx.feedback"),
    "complaint": (lambda tp: tp.complaint("opened"), "cx.complaint"),
    "mention": (lambda tp: tp.mention("friends"), "cx.mention"),
    "handoff": (lambda tp: tp.handoff(to="nobody"), "cx.handoff"),
    "value": (lambda tp: tp.value(1.0, "EUR", type="revenue"), "cx.value"),
    "forecast": (lambda tp: tp.forecast("churn", probability=0.1, model="rule@1"), "cx.forecast"),
    "wrong": (lambda tp: tp.friction("nonsense"), ""),
}
COUNTED = {
    "friction": "cx.touchpoint.frictions",
    "emotion": "cx.emotion.signals",
    "nudge": "cx.nudge.exposures",
    "feedback": "cx.feedback.responses",
    "complaint": "cx.complaint.unresolved",
    "mention": "cx.mentions",
    "value": "cx.value.attributed",
}


@define
class Open:
    """A block of the model that is open, and what its span must say in the end."""

    name: str
    block: Any
    journey: str | None
    touchpoint: "Open | None"
    events: list[str] = field(factory=list)
    outcome: str | None = None
    error: str | None = None
    actions: int = 0
    distinct: set[str] = field(factory=set)
    frictions: int = 0

    @property
    def is_touchpoint(self) -> bool:
        return self.touchpoint is None


class Lifecycle(RuleBasedStateMachine):
    """Opens, speaks, fails and closes, and keeps books of it by hand."""

    sampled = True

    @initialize()
    def begin(self) -> None:
        """Private providers for this run."""
        self.before = _runtime.current
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        sampler = ParentBased(ALWAYS_ON if self.sampled else ALWAYS_OFF)
        provider = TracerProvider(sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        runtime = _runtime.Runtime(tracing_of(provider, "0"), MAP, bind=_metering.bind)
        runtime.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False)
        _runtime.use(runtime)
        _journeys.forget_all()
        self.open: list[Open] = []
        self.journeys: list[tuple[Any, dict[str, Any]]] = []
        self.spans: list[tuple[Any, ...]] = []
        self.counted: Counter[tuple[str, ...]] = Counter()

    def teardown(self) -> None:
        """Close what is open and compare."""
        if not hasattr(self, "open"):
            return
        try:
            while self.open or self.journeys:
                self._close("well")
            self._compare()
        finally:
            _runtime.use(self.before)

    # What a service does

    @precondition(lambda self: len(self.open) < 6)
    @rule(name=st.sampled_from(TOUCHPOINTS))
    def touchpoint(self, name: str) -> None:
        """Open a touchpoint."""
        state = self.journeys[-1][1] if self.journeys else None
        block = cxtrace.touchpoint(name)
        block.__enter__()
        now = Open(name, block, None if state is None else "order", None)
        if state is not None:
            self._advance(now, state)
        self.open.append(now)

    def _advance(self, now: Open, state: dict[str, Any]) -> None:
        stage = MAP.touchpoints[now.name].stage
        if not state["told"]:
            state["told"] = True
            now.events.append("cx.journey.start")
        if state["stage"] not in (None, stage):
            now.events.append("cx.stage.transition")
            self.counted["cx.stage.transitions", "order"] += 1
        state["stage"] = stage

    @precondition(lambda self: 0 < len(self.open) < 6)
    @rule(name=st.sampled_from(INTERACTIONS))
    def interaction(self, name: str) -> None:
        """Open a micro-interaction in the touchpoint that is open."""
        touchpoint = self.open[-1].touchpoint or self.open[-1]
        block = cxtrace.interaction(name)
        block.__enter__()
        touchpoint.actions += 1
        touchpoint.distinct.add(name)
        self.counted["cx.touchpoint.interactions", touchpoint.name] += 1
        self.open.append(Open(name, block, touchpoint.journey, touchpoint))

    @precondition(lambda self: not self.journeys and not self.open)
    @rule()
    def journey(self) -> None:
        """Begin a journey."""
        block = cxtrace.journey("order")
        block.__enter__()
        self.journeys.append((block, {"told": False, "stage": None, "ended": False}))

    @precondition(lambda self: self.open)
    @rule(kind=st.sampled_from(sorted(SIGNALS)))
    def signal(self, kind: str) -> None:
        """Say something of the touchpoint that is open."""
        touchpoint = self.open[-1].touchpoint or self.open[-1]
        say, event = SIGNALS[kind]
        say(cxtrace.current_touchpoint())
        if event:
            touchpoint.events.append(event)
        if kind == "friction":
            touchpoint.frictions += 1
        if kind in COUNTED:
            self.counted[(COUNTED[kind],)] += 1

    @precondition(lambda self: self.open)
    @rule(outcome=st.sampled_from(("completed", "abandoned", "handed_off", "deferred", "failed")))
    def outcome(self, outcome: Any) -> None:
        """Say how the touchpoint ends."""
        touchpoint = self.open[-1].touchpoint or self.open[-1]
        cxtrace.current_touchpoint().outcome(outcome)
        touchpoint.outcome = outcome

    @precondition(lambda self: self.open)
    @rule()
    def fail(self) -> None:
        """Say that the customer failed."""
        touchpoint = self.open[-1].touchpoint or self.open[-1]
        cxtrace.current_touchpoint().fail("card_declined")
        touchpoint.outcome, touchpoint.error = "failed", "card_declined"

    @precondition(lambda self: self.open or self.journeys)
    @rule(how=st.sampled_from(ENDS))
    def close(self, how: str) -> None:
        """Leave the innermost block."""
        self._close(how)

    # What the books say

    def _close(self, how: str) -> None:
        error: BaseException | None = {
            "error": ValueError("of which nothing is sent"),
            "cancelled": asyncio.CancelledError(),
            "given up": GeneratorExit(),
        }.get(how)
        if not self.open:
            block, _ = self.journeys.pop()
            block.__exit__(None, None, None)
            return
        now = self.open.pop()
        now.block.__exit__(None if error is None else type(error), error, None)
        if now.is_touchpoint:
            self._leave(now, error)
        else:
            failed = "ValueError" if isinstance(error, ValueError) else None
            self.spans.append((now.name, None, failed, failed is not None, None, None, ()))

    def _leave(self, now: Open, error: BaseException | None) -> None:
        outcome, reason = self._verdict(now, error)
        actions = now.actions or (1 if now.name in BY_CUSTOMER else None)
        retries = None if actions is None else max(now.actions - len(now.distinct), 0)
        if now.name == "checkout.pay":
            now.events.append("cx.promise.evaluated")
            result = "kept" if outcome == "completed" else "broken"
            self.counted["cx.promise.evaluations", "works", result] += 1
        if outcome == "abandoned":
            now.events.append("cx.touchpoint.abandoned")
        self.counted["cx.touchpoint.duration", now.name, outcome, reason or ""] += 1
        if actions is not None:
            self.counted["cx.touchpoint.effort", now.name] += 1
        happy = {"it": outcome == "completed", "sales": now.frictions == 0}
        for function, verdict in happy.items():
            word = "happy" if verdict else "unhappy"
            self.counted["cx.function.verdicts", function, word] += 1
        self._reach_goal(now, outcome)
        failed = outcome == "failed"
        self.spans.append((now.name, outcome, reason, failed, actions, retries, tuple(now.events)))

    def _verdict(self, now: Open, error: BaseException | None) -> tuple[str, str | None]:
        outcome = now.outcome
        if outcome is None:
            outcome = "completed"
            if error is not None:
                outcome = "failed" if isinstance(error, Exception) else "abandoned"
        reason = now.error if outcome == "failed" else None
        if outcome == "failed" and reason is None and isinstance(error, Exception):
            reason = "ValueError"
        return outcome, reason

    def _reach_goal(self, now: Open, outcome: str) -> None:
        if now.journey is None or now.name != "checkout.pay" or outcome != "completed":
            return
        state = self.journeys[-1][1]
        if not state["ended"]:
            state["ended"] = True
            now.events.append("cx.journey.end")
            self.counted["cx.journey.duration", "order", "achieved"] += 1

    # What was emitted

    def _compare(self) -> None:
        assert trace.get_current_span() is trace.INVALID_SPAN
        assert cxtrace.current_context() is None
        emitted = [self._read(span) for span in self.exporter.get_finished_spans()]
        assert emitted == (self.spans if self.sampled else [])
        assert self._metrics() == self.counted

    def _read(self, span: Any) -> tuple[Any, ...]:
        found = span.attributes
        return (
            span.name,
            found.get("cx.touchpoint.outcome"),
            found.get("error.type"),
            not span.status.is_unset,
            found.get("cx.effort.actions"),
            found.get("cx.effort.retries"),
            tuple(event.name for event in span.events),
        )

    def _metrics(self) -> Counter[tuple[str, ...]]:
        told = {
            "cx.touchpoint.duration": ("cx.touchpoint.name", "cx.touchpoint.outcome", "error.type"),
            "cx.touchpoint.effort": ("cx.touchpoint.name",),
            "cx.touchpoint.interactions": ("cx.touchpoint.name",),
            "cx.promise.evaluations": ("cx.promise.id", "cx.promise.result"),
            "cx.function.verdicts": ("cx.function.name", "cx.function.verdict"),
            "cx.stage.transitions": ("cx.journey.name",),
            "cx.journey.duration": ("cx.journey.name", "cx.journey.outcome"),
            **dict.fromkeys(COUNTED.values(), ()),
        }
        found: Counter[tuple[str, ...]] = Counter()
        data = self.reader.get_metrics_data()
        for metric in [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points if metric.name in told else ():
                labels = (point.attributes.get(label, "") for label in told[metric.name])
                amount = point.value if hasattr(point, "value") else point.count
                found[(metric.name, *labels)] += amount
        return found


class UnsampledLifecycle(Lifecycle):
    """The same, where the sampler keeps no span: the books must agree all the same."""

    sampled = False


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=60, stateful_step_count=40)
TestUnsampledLifecycle = UnsampledLifecycle.TestCase
TestUnsampledLifecycle.settings = settings(max_examples=30, stateful_step_count=40)
