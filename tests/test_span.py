"""The lean span against the SDK's own: what is exported is the same, to the byte."""

import contextlib
import enum
import io
import itertools
import json
import threading
from typing import Any, ClassVar

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    TracerProvider,
    _disable_tracer_configurator,
)
from opentelemetry.sdk.trace import Span as SDKSpan
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

import cxtrace
from cxtrace import _journeys, _runtime, customer, identify, interaction, journey, touchpoint
from cxtrace._runtime import ApiTracing
from cxtrace._span import LeanSpan, write
from cxtrace._tracing import Binding, SDKTracing, tracing_of
from cxtrace.privacy import HmacPseudonymiser, Key
from cxtrace.processors import StampProcessor
from cxtrace.sampling import DestinationSampler

pytestmark = pytest.mark.usefixtures("forgetful", "clock")
KEY = Key(b"k" * 32)
RESOURCE = Resource({"service.name": "shop"})


class CountingIds(IdGenerator):
    """Ids in order, so that two runs can be compared."""

    def __init__(self):
        self._next = itertools.count(1)

    def generate_span_id(self):
        return next(self._next)

    def generate_trace_id(self):
        return next(self._next) << 64


class Bench:
    """A provider as a host would configure it, and cxtrace on it by one of the two paths."""

    def __init__(self, path, processors=(), **options):
        self.path = path
        _journeys.forget_all()
        self.exporter = InMemorySpanExporter()
        options = {"id_generator": CountingIds(), "resource": RESOURCE, **options}
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        for processor in (*processors, StampProcessor(), SimpleSpanProcessor(self.exporter)):
            self.provider.add_span_processor(processor)
        self.host = self.provider.get_tracer("host")
        self.tracing: Any = tracing_of(self.provider, "0")
        if path == "sdk":
            self.tracing = SDKTracing(self.provider.get_tracer("cxtrace", "0"))
        _runtime.use(
            _runtime.Runtime(tracing=self.tracing, key=KEY, pseudonymiser=HmacPseudonymiser(KEY))
        )

    @property
    def spans(self):
        return list(self.exporter.get_finished_spans())


def encoded(spans):
    """The spans as OTLP sends them, without times and with attributes in order."""
    request = encode_spans(spans)
    for span in (
        span
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ):
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano or "end" in span.name
        span.start_time_unix_nano = span.end_time_unix_nano = 0
        ordered(span.attributes)
        for event in span.events:
            event.time_unix_nano = 0
            ordered(event.attributes)
    return request.SerializeToString(deterministic=True)


def ordered(attributes):
    """Put attributes in order, for their order means nothing."""
    attributes.sort(key=lambda pair: pair.key)
    for pair in attributes:
        if pair.key == "exception.stacktrace":
            pair.value.string_value = pair.value.string_value.splitlines()[-1]


def described(spans):
    """Everything that an exporter can read of the spans, without times."""
    return [
        {
            "name": span.name,
            "context": (span.context.trace_id, span.context.span_id, span.context.is_remote),
            "flags": span.context.trace_flags,
            "state": dict(span.context.trace_state),
            "parent": span.parent,
            "kind": span.kind,
            "status": (span.status.status_code, span.status.description),
            "attributes": dict(span.attributes),
            "types": {key: type(value) for key, value in span.attributes.items()},
            "events": [(e.name, sorted(e.attributes or {})) for e in span.events],
            "links": [(link.context, dict(link.attributes or {})) for link in span.links],
            "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
            "resource": span.resource,
            "scope": span.instrumentation_scope,
            "json": as_json(span),
        }
        for span in spans
    ]


def as_json(span):
    """The span's JSON without times, or the error that the SDK makes of values such as bytes."""
    try:
        document = json.loads(span.to_json())
    except TypeError as error:
        return str(error)
    for event in document["events"]:
        del event["timestamp"]
        event["attributes"].pop("exception.stacktrace", None)
    return {**document, "start_time": None, "end_time": None}


def both(scenario, **options):
    """Run a scenario by both paths, compare all that is exported, and give the lean spans."""
    exported = []
    for path in ("lean", "sdk"):
        built = {name: make() if callable(make) else make for name, make in options.items()}
        bench = Bench(path, **built)
        before = get_current()
        scenario(bench)
        attach(before)
        exported.append(bench.spans)
    lean, sdk = exported

    assert described(lean) == described(sdk)
    assert encoded(lean) == encoded(sdk)
    return lean


# Scenarios


def remote(flags, state=None):
    """The context of a caller in another service."""
    return SpanContext(1 << 100, 1 << 50, True, TraceFlags(flags), TraceState(state or []))


def under(parent, scenario):
    """Run a scenario under a parent."""
    token = attach(set_span_in_context(NonRecordingSpan(parent), Context()))
    scenario()
    detach(token)


def root(bench):
    """A touchpoint with nothing above it."""
    with touchpoint("a", stage="s", owner="o"):
        pass


def child(bench):
    """Touchpoints, interactions and spans of others, one in the other."""
    span = bench.host.start_as_current_span
    with journey("j", id="w"), customer("A", kind="person"), touchpoint("a"), span("b"):
        inner = interaction("c"), touchpoint("d"), span("e", kind=SpanKind.CLIENT)
        for block in inner:
            block.__enter__()
        identify("B")
        for block in reversed(inner):
            block.__exit__(None, None, None)


def under_a_sampled_caller(bench):
    """A touchpoint under a span of another service."""
    under(remote(1, [("vendor", "x")]), lambda: root(bench))


def under_a_random_caller(bench):
    """A touchpoint under a span of another service, whose trace id is said to be random."""
    under(remote(3), lambda: child(bench))


def under_an_unsampled_caller(bench):
    """A touchpoint under a span of another service that is not sampled."""
    under(remote(0), lambda: child(bench))


def under_an_unsampled_span(bench):
    """A touchpoint under a span of this process that is not sampled."""
    under(SpanContext(1 << 100, 1 << 50, False, TraceFlags(0)), lambda: root(bench))


def under_an_invalid_span(bench):
    """A touchpoint under a span that is none."""
    under(INVALID_SPAN_CONTEXT, lambda: root(bench))


def that_fails(bench):
    """A touchpoint that fails, one that is abandoned, and one that says so."""
    for error in (KeyError("x"), KeyboardInterrupt()):
        with contextlib.suppress(type(error)), touchpoint("a"), interaction("b"):
            raise error
    with touchpoint("c") as handle:
        handle.fail("declined").set({"cx.quality.speed": 0.5, "session.id": "s"})


class Colour(enum.Enum):
    RED = "red"


class Word(str, enum.Enum):
    YES = "yes"


class Unspeakable:
    """An object that has no text."""


class Speaking:
    def __str__(self):
        return "spoken"


ODD = [
    None,
    "",
    "a\nb",
    True,
    0,
    -(2**63),
    1.5,
    float("inf"),
    b"bytes",
    Colour.RED,
    Word.YES,
    ["a", "b"],
    ("a", None),
    ["a", 1, True, None, 1.5],
    [],
    [["nested"], {"k": [1]}],
    {"k": {"n": 1}, 5: "five", "": "empty"},
    {1, 2},
    range(3),
    bytearray(b"x"),
    Unspeakable(),
    Speaking(),
    object,
]


def odd_values(bench):
    """The host sets odd values on the current span."""
    with touchpoint("a") as handle:
        for number, value in enumerate(ODD):
            handle.span.set_attribute(f"one.{number}", value)
            handle.span.set_attributes({f"many.{number}": value, "plain": number})


def a_list_that_changes(bench):
    """The host changes a list after it has set it."""
    with touchpoint("a") as handle:
        values = ["a"]
        handle.span.set_attribute("list", values)
        values.append("b")


def overwriting(bench):
    """The host sets a key again, and ours too."""
    with touchpoint("a") as handle:
        handle.span.set_attribute("k", 1)
        handle.span.set_attribute("k", 2)
        handle.span.set_attribute("cx.touchpoint.name", "theirs")


def events(bench):
    """The host adds events."""
    with touchpoint("a") as handle:
        handle.span.add_event("plain")
        handle.span.add_event("full", {"k": ["v"], "none": None, "more": 2}, timestamp=5)
        for number in range(5):
            handle.span.add_event(f"e{number}", {"a": 1, "b": "long text", "c": 3, "d": 4})


def links(bench):
    """The host adds links."""
    with touchpoint("a") as handle:
        for number in range(1, 6):
            handle.span.add_link(remote(number % 2), {"a": 1, "b": "long text", "c": 3, "d": 4})
        handle.span.add_link(remote(1))
        handle.span.add_link(INVALID_SPAN_CONTEXT)
        handle.span.add_link(INVALID_SPAN_CONTEXT, {"k": "v"})


def origin(bench):
    """A touchpoint that is linked to a caller that was not continued."""
    context = Context()
    attributes = {"cx.touchpoint.name": "a"}
    span = bench.tracing.start("a", attributes, context, remote(1, [("v", "x")]))
    bench.tracing.finish(span, attributes, {"cx.touchpoint.outcome": "completed"})


def statuses(bench):
    """The host sets the status in every way."""
    ok, error, unset = StatusCode.OK, StatusCode.ERROR, StatusCode.UNSET
    for number, steps in enumerate(
        [
            [(ok,)],
            [(error, "text")],
            [(error, "one"), (error, "two")],
            [(error, "text"), (ok,)],
            [(ok,), (error, "text")],
            [(error,), (unset,)],
            [(Status(error, "text"),)],
            [(Status(error), "ignored")],
            [(Status(unset),), (Status(ok),), (Status(error),)],
        ]
    ):
        with touchpoint(f"s{number}") as handle:
            for step in steps:
                handle.span.set_status(*step)


def failing_after_ok(bench):
    """The host says OK, and then the touchpoint fails."""
    with touchpoint("a") as handle:
        handle.span.set_status(StatusCode.OK)
        handle.fail("declined")


def renaming(bench):
    """The host renames the current span, also after its end."""
    with touchpoint("a") as handle:
        handle.span.update_name("b")
    handle.span.update_name("c")


def recording_exceptions(bench):
    """The host records exceptions itself."""
    with touchpoint("a") as handle:
        handle.span.record_exception(ValueError("text"))
        handle.span.record_exception(KeyError("k"), {"more": 1}, timestamp=5, escaped=True)


def ending_twice(bench):
    """The host ends the span itself, and we do it again."""
    with touchpoint("a") as handle:
        handle.span.end()
        handle.span.end(5)
        assert not handle.span.is_recording()
    handle.span.end()


def ending_at(bench):
    """The host says when the span ended."""
    with touchpoint("end at 7") as handle:
        handle.span.end(7)
    with touchpoint("end at 0") as handle:
        handle.span.end(0)


def writing_after_the_end(bench):
    """The host goes on writing when the span has ended."""
    with touchpoint("a") as handle:
        pass
    handle.span.set_attribute("late", 1)
    handle.span.set_attributes({"late": 1})
    handle.span.add_event("late")
    handle.span.add_link(remote(1))
    handle.span.set_status(StatusCode.ERROR, "late")
    handle.span.record_exception(ValueError("late"))


def span_as_context_manager(bench):
    """The host uses the span of a touchpoint in a ``with`` of its own."""
    try:
        with touchpoint("a") as handle, handle.span:
            raise ValueError("text")
    except ValueError:
        pass


def writing_while_reading(bench):
    """The host goes through the attributes and adds to them."""
    with touchpoint("a", owner="o") as handle:
        for key in handle.span.attributes:
            handle.span.set_attribute(f"copy.{key}", 1)
        for key, value in handle.span.attributes.items():
            handle.span.set_attribute(key, str(value))


SCENARIOS = [
    root,
    child,
    under_a_sampled_caller,
    under_a_random_caller,
    under_an_unsampled_caller,
    under_an_unsampled_span,
    under_an_invalid_span,
    that_fails,
    odd_values,
    a_list_that_changes,
    overwriting,
    events,
    links,
    origin,
    statuses,
    failing_after_ok,
    renaming,
    recording_exceptions,
    ending_twice,
    ending_at,
    writing_after_the_end,
    span_as_context_manager,
    writing_while_reading,
]
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda fn: fn.__name__)


@every_scenario
def test_same_as_the_sdk(scenario):
    """What a host does to the span of a touchpoint has the effect that it has on any span."""
    lean = both(scenario)

    assert all(type(span) in (LeanSpan, ReadableSpan) for span in lean)


@every_scenario
@pytest.mark.parametrize(
    "limits",
    [
        {"max_events": 2, "max_links": 2},
        {"max_events": 0, "max_links": 0},
        {"max_event_attributes": 1, "max_link_attributes": 3},
        {"max_attribute_length": 4, "max_span_attribute_length": SpanLimits.UNSET},
        {"max_attribute_length": 4},
        {"max_attributes": 3},
        {"max_span_attributes": SpanLimits.UNSET, "max_events": SpanLimits.UNSET},
    ],
    ids=str,
)
def test_same_limits(scenario, limits):
    """The provider's limits hold for the span of a touchpoint as for any span."""
    both(scenario, span_limits=SpanLimits(**limits))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "1"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "1"),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "1"),
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "1"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "5"),
        ("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true"),
    ],
)
def test_same_limits_from_the_environment(monkeypatch, name, value):
    """Limits that the environment sets hold as well."""
    monkeypatch.setenv(name, value)
    for scenario in (events, links, odd_values, child):
        both(scenario, span_limits=SpanLimits)


def test_attribute_limit():
    """At the limit of attributes ours stay, and what is dropped is counted."""
    for path in ("lean", "sdk"):
        bench = Bench(path)
        with touchpoint("a", owner="it") as handle:
            for number in range(300):
                handle.span.set_attribute(f"k{number}", number)

        (span,) = bench.spans
        assert len(span.attributes) <= 128
        assert span.attributes["cx.touchpoint.name"] == "a"
        assert span.attributes["cx.owner.function"] == "it"
        assert span.attributes["cx.touchpoint.outcome"] == "completed"
        assert span.dropped_attributes >= 300 + 4 - 128


@pytest.mark.parametrize("key", ["", 5, None, True, b"k", ("t",), Unspeakable()], ids=repr)
def test_odd_keys(key):
    """A key that is no text never reaches an exporter as it is; what stands beside it does."""
    bench = Bench("lean")
    with touchpoint("a") as handle:
        handle.span.set_attribute(key, "plain")
        handle.span.set_attribute(key, ["list"])
        handle.span.set_attributes({key: "plain", "fine": 1})

    (span,) = bench.spans
    assert span.attributes["fine"] == 1
    assert all(isinstance(name, str) and name for name in span.attributes)
    assert span.dropped_attributes >= 2
    assert encoded([span])


class FixedSampler(Sampler):
    """Decides as it is told, and adds what it is told."""

    def __init__(self, decision, attributes=None, state=None, description="fixed"):
        self._decision, self._attributes, self._state = decision, attributes, state
        self._description = description

    def should_sample(
        self, parent_context, trace_id, name, kind=None, attributes=None, links=None, state=None
    ):
        given = dict(attributes or {})
        if self._attributes is not None:
            given.update(self._attributes)
        decision = Decision.DROP if name == "drop" else self._decision
        return SamplingResult(decision, given, self._state)

    def get_description(self):
        return self._description


class TaggingParentBased(ParentBased):
    """Looks like the SDK's own sampler and is another."""

    def should_sample(self, *args, **kwargs):
        result = super().should_sample(*args, **kwargs)
        result.attributes = {**result.attributes, "by": "me"}
        return result


RECORD = Decision.RECORD_AND_SAMPLE
SAMPLERS = {
    "on": lambda: ALWAYS_ON,
    "off": lambda: ALWAYS_OFF,
    "parent": lambda: ParentBased(ALWAYS_ON),
    "parent off": lambda: ParentBased(ALWAYS_OFF),
    "ratio": lambda: TraceIdRatioBased(0.5),
    "parent of a ratio": lambda: ParentBased(TraceIdRatioBased(0.0)),
    "local parents dropped": lambda: ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF),
    "local strangers kept": lambda: ParentBased(ALWAYS_ON, local_parent_not_sampled=ALWAYS_ON),
    "ours": lambda: DestinationSampler(ParentBased(ALWAYS_ON)),
    "ours over theirs": lambda: DestinationSampler(FixedSampler(RECORD, {"by": "me"})),
    "drop": lambda: FixedSampler(Decision.DROP),
    "record only": lambda: FixedSampler(Decision.RECORD_ONLY),
    "record only root": lambda: ParentBased(FixedSampler(Decision.RECORD_ONLY)),
    "adds": lambda: FixedSampler(RECORD, {"by": "me", "cx.owner.function": "theirs"}),
    "adds oddly": lambda: FixedSampler(RECORD, {"l": ["a"], "n": None, "s": {1}}),
    "state": lambda: FixedSampler(RECORD, state=TraceState([("v", "x")])),
    "wraps": lambda: FixedSampler(
        RECORD, {"by": "me"}, description=f"Mine({ParentBased(ALWAYS_ON).get_description()})"
    ),
    "extends": lambda: TaggingParentBased(ALWAYS_ON),
}


def dropped_child(bench):
    """A touchpoint that the sampler drops by its name, under one that it may keep."""
    with touchpoint("a"), touchpoint("drop"), bench.host.start_as_current_span("below"):
        pass


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    "scenario",
    [
        root,
        child,
        dropped_child,
        that_fails,
        under_a_sampled_caller,
        under_an_unsampled_caller,
        under_an_unsampled_span,
        origin,
    ],
    ids=lambda fn: fn.__name__,
)
def test_same_samplers(scenario, sampler):
    """The provider's sampler decides about touchpoints as about any span."""
    exported = []
    for path in ("lean", "sdk"):
        # Under a parent that is not sampled the lean path draws no span id: ids cannot be compared.
        bench = Bench(path, sampler=SAMPLERS[sampler]())
        scenario(bench)
        exported.append([forget_ids(span) for span in described(bench.spans)])

    assert exported[0] == exported[1]


def forget_ids(span):
    """A described span, but for what counts the ids that were drawn."""
    parent = span["parent"]
    return {
        **span,
        "context": span["context"][2],
        "parent": parent and (parent.is_remote, parent.trace_flags, parent.trace_state),
    }


def test_sampler_sees_what_it_always_sees():
    """A sampler is asked with the same words on both paths."""
    asked = []

    class Curious(Sampler):
        def should_sample(
            self, parent_context, trace_id, name, kind=None, attributes=None, links=None, state=None
        ):
            linked = [link.context for link in links or ()]
            asked.append((trace_id, name, kind, dict(attributes), linked))
            return SamplingResult(RECORD, attributes)

        def get_description(self):
            return "curious"

    for path in ("lean", "sdk"):
        bench = Bench(path, sampler=Curious())
        root(bench)
        origin(bench)
        under_a_sampled_caller(bench)

    assert asked[:3] == asked[3:]


def test_unsampled_child_leaves_its_parent_alone():
    """A touchpoint that is dropped does not take its parent out of the reach of an identity."""
    for path in ("lean", "sdk"):
        seen = []

        class Keep(SpanProcessor):
            def on_end(self, span, seen=seen):
                seen.append((span.name, "enduser.pseudo.id" in span.attributes))

        sampler = ParentBased(FixedSampler(Decision.RECORD_ONLY))
        bench = Bench(path, processors=[Keep()], sampler=sampler)
        with journey("j"), bench.host.start_as_current_span("GET /"):
            root(bench)
            identify("A")

        assert seen == [("GET /", True)]


def test_disabled_tracer():
    """A tracer configurator that switches cxtrace off switches touchpoints off."""
    both(root, _tracer_configurator=lambda: _disable_tracer_configurator)
    bench = Bench("lean", _tracer_configurator=_disable_tracer_configurator)
    root(bench)

    assert bench.spans == []


def test_random_ids():
    """Ids come from the provider's own generator, and random ones are said to be random."""
    for path in ("lean", "sdk"):
        bench = Bench(path, id_generator=None)
        child(bench)

        flags = {span.context.trace_flags for span in bench.spans}
        assert flags == {TraceFlags(TraceFlags.SAMPLED | getattr(TraceFlags, "RANDOM_TRACE_ID", 0))}


# Processors and exporters


class Writer(SpanProcessor):
    """Writes to every span that starts, as baggage processors do."""

    def on_start(self, span, parent_context=None):
        span.set_attribute("written", "on start")
        span.set_attributes({"list": ["a"], "cx.owner.function": "written"})
        span.update_name(span.name + "!")


class PrivateReader(SpanProcessor):
    """Reads private fields of spans, as some vendors' processors do."""

    FIELDS = (
        "_name",
        "_context",
        "_parent",
        "_kind",
        "_resource",
        "_instrumentation_scope",
        "_status",
    )

    def __init__(self):
        self.seen = []

    def on_start(self, span, parent_context=None):
        assert isinstance(span, Span)
        assert isinstance(span, ReadableSpan)
        limits = span._limits
        assert span._span_processor is not None
        self._look(span)
        self.seen.append((limits.max_span_attributes, limits.max_events, span.is_recording()))
        frozen = span._readable_span()
        assert type(frozen) is ReadableSpan
        assert frozen.end_time is None
        self._look(frozen)

    def _on_ending(self, span):
        self._look(span)

    def on_end(self, span):
        self._look(span)
        assert span._end_time >= span._start_time

    def _look(self, span):
        found = {name: getattr(span, name) for name in self.FIELDS}
        found["_status"] = span._status.status_code
        self.seen.append((found, dict(span._attributes), len(span._events), len(span._links)))


class Exporting(SpanProcessor):
    """Keeps JSON and OTLP of what has ended, at once."""

    def __init__(self):
        self.seen = []

    def on_end(self, span):
        document = json.loads(span.to_json())
        del document["start_time"], document["end_time"], document["events"]
        self.seen.append((document, encoded([span])))


@pytest.mark.parametrize("processor", [PrivateReader, Exporting])
@pytest.mark.parametrize(
    "scenario", [root, child, that_fails, events, links], ids=lambda fn: fn.__name__
)
def test_same_for_processors(scenario, processor):
    """A processor of a vendor's sees the same on both paths, in private fields as well."""
    seen = []
    for path in ("lean", "sdk"):
        looking = processor()
        scenario(Bench(path, processors=[looking]))
        seen.append(looking.seen)

    assert seen[0] == seen[1]
    assert dict(cxtrace.report().counts) == {}


@every_scenario
def test_same_for_a_writer(scenario):
    """A processor that writes when a span starts has the same effect on both paths."""
    both(scenario, processors=lambda: [Writer()])


def test_same_on_the_console():
    """The SDK's console exporter prints the same."""
    printed = []
    for path in ("lean", "sdk"):
        out = io.StringIO()
        exporter = ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None))
        child(Bench(path, processors=[SimpleSpanProcessor(exporter)]))
        decoder, rest, found = json.JSONDecoder(), out.getvalue(), []
        while rest:
            document, end = decoder.raw_decode(rest)
            rest = rest[end:].lstrip()
            del document["start_time"], document["end_time"]
            found.append(document)
        for document in found:
            document["attributes"] = dict(sorted(document["attributes"].items()))
        printed.append(found)

    assert len(printed[0]) == 5
    assert printed[0] == printed[1]


def test_same_in_batches():
    """The SDK's batch processor exports the same, once."""
    sent = []
    for path in ("lean", "sdk"):
        exporter = InMemorySpanExporter()
        batch = BatchSpanProcessor(exporter)
        child(Bench(path, processors=[batch]))
        assert batch.force_flush()
        batch.shutdown()
        sent.append(encoded(exporter.get_finished_spans()))

    assert sent[0] == sent[1]


def test_same_for_concurrent_processors():
    """A provider whose processors run in threads gets the same."""
    sent = []
    for path in ("lean", "sdk"):
        many = ConcurrentMultiSpanProcessor(2)
        bench = Bench(path, active_span_processor=many)
        child(bench)
        many.shutdown()
        sent.append(encoded(bench.spans))

    assert sent[0] == sent[1]


def test_processor_that_comes_later():
    """A processor that is added when cxtrace is already running sees touchpoints too."""
    bench = Bench("lean")
    exporter = InMemorySpanExporter()
    bench.provider.add_span_processor(SimpleSpanProcessor(exporter))
    root(bench)

    assert len(exporter.get_finished_spans()) == 1


def test_after_the_provider_has_shut_down():
    """Touchpoints go on when the provider has shut down; nothing is exported or raised."""
    bench = Bench("lean")
    bench.provider.shutdown()
    root(bench)

    assert bench.spans == []


def test_which_path():
    """What the lean span does not understand goes to the SDK's tracer."""

    def path(**options):
        return type(tracing_of(TracerProvider(shutdown_on_exit=False, **options), "0"))

    assert path() is Binding
    assert path(span_limits=SpanLimits(max_span_attributes=SpanLimits.UNSET)) is Binding
    assert path(span_limits=SpanLimits(max_attribute_length=5)) is SDKTracing
    assert path(span_limits=SpanLimits(max_span_attributes=10)) is SDKTracing


def test_foreign_provider():
    """A provider that is not the SDK's is used through the API alone."""

    class ForeignSpan(NonRecordingSpan):
        def __init__(self):
            super().__init__(SpanContext(1, 2, False, TraceFlags(1)))
            self.said = {}
            self.ended = 0

        def is_recording(self):
            return True

        def set_attributes(self, attributes):
            self.said.update(attributes)

        def end(self, end_time=None):
            self.ended += 1

    span = ForeignSpan()

    class ForeignTracer:
        def start_span(self, name, context, **options):
            assert not options["record_exception"]
            assert not options["set_status_on_exception"]
            span.said.update(options["attributes"])
            return span

    class ForeignProvider:
        def get_tracer(self, *args):
            return ForeignTracer()

    _runtime.use(_runtime.Runtime(tracing=tracing_of(ForeignProvider(), "0")))
    with touchpoint("a") as handle:
        handle.fail("declined")

    assert span.ended == 1
    assert span.said["error.type"] == "declined"


# Threads


@pytest.mark.parametrize("path", ["lean", "sdk", "api"])
def test_withdrawn_under_any_provider(path, monkeypatch):
    """A consent that is withdrawn takes the customer off spans of every kind, or blanks them."""
    bench = Bench("lean" if path == "api" else path)
    if path == "api":
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: bench.provider)
        monkeypatch.setattr(trace, "get_tracer", bench.provider.get_tracer)
        _runtime.use(_runtime.Runtime(key=KEY, pseudonymiser=HmacPseudonymiser(KEY)))
    with journey("j", id="w"), customer("A", consent="granted"), touchpoint("a"):
        host, ended = bench.host.start_span("SELECT"), bench.host.start_span("GET")
        ended.end()
        identify("A", consent="withdrawn")
        host.end()

    for span in bench.spans:
        told = {"enduser.pseudo.id", "cx.journey.id"} & {k for k, v in span.attributes.items() if v}
        assert bool(told) == (span.name == "GET")


def test_late_writes():
    """Writes that race with the end are in the export or nowhere; an export never changes."""
    exported = []

    class Snapshot(SpanProcessor):
        def on_end(self, span):
            exported.append((span, dict(span.attributes), len(span.events), span.to_json()))

    Bench("lean", processors=[Snapshot()])
    for _ in range(30):
        with touchpoint("a") as handle:
            barrier = threading.Barrier(4)

            def write(span=handle.span, barrier=barrier):
                barrier.wait()
                for number in range(50):
                    span.set_attribute(f"k{number % 7}", number)
                    span.add_event("e")
                    span.add_link(remote(1))
                    dict(span.attributes)

            threads = [threading.Thread(target=write) for _ in range(3)]
            for thread in threads:
                thread.start()
            barrier.wait()
        for thread in threads:
            thread.join()

    assert len(exported) == 30
    for span, attributes, count, text in exported:
        assert (dict(span.attributes), len(span.events), span.to_json()) == (
            attributes,
            count,
            text,
        )


def test_ended_by_many_threads():
    """A span that many threads end at once is handed to the processors once."""
    bench = Bench("lean")
    for _ in range(20):
        handle = touchpoint("a").__enter__()
        barrier = threading.Barrier(4)

        def end(span=handle.span, barrier=barrier):
            barrier.wait()
            span.end()

        threads = [threading.Thread(target=end) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    attach(Context())

    assert len(bench.spans) == 20


def test_reading_while_others_write():
    """Attributes can be gone through while another thread adds to them."""
    Bench("lean", span_limits=SpanLimits(max_span_attributes=SpanLimits.UNSET))
    stop = threading.Event()

    with touchpoint("a") as handle:

        def write():
            number = 0
            while not stop.is_set():
                handle.span.set_attribute(f"k{number % 5_000}", number)
                number += 1

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(300):
                for value in handle.span.attributes.values():
                    assert value is not None
        finally:
            stop.set()
            thread.join()


def test_it_is_a_span_of_the_sdk_in_all_but_class():
    """Whatever one can ask of the SDK's span, one can ask of ours."""
    Bench("lean")
    with touchpoint("a") as handle:
        asked = {name for name in dir(SDKSpan) if not name.startswith("_")}
        asked.discard("instrumentation_info")  # deprecated, and says so when it is read
        missing = [name for name in asked if not hasattr(handle.span, name)]
        assert "a" in repr(handle.span)

    assert missing in ([], ["start"])


# Written past the checks of the SDK


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (SpanLimits(), {"a": "1", "b": "2", "c": "3"}),
        (SpanLimits(max_span_attributes=2), {"b": "2", "c": "3"}),
        (SpanLimits(max_attribute_length=1), {"a": "1", "b": "2", "c": "3"}),
    ],
)
def test_what_is_written_keeps_to_the_providers_limits(
    limits: SpanLimits, kept: dict[str, str]
) -> None:
    """Valid attributes go straight to where the SDK keeps them, where there is room for them."""
    span = (
        TracerProvider(span_limits=limits).get_tracer("t").start_span("GET", attributes={"a": "1"})
    )

    write(span, {"b": "2", "c": "3"})

    assert dict(span.attributes) == kept


def test_a_span_that_has_ended_takes_no_more() -> None:
    """What comes too late is left to the SDK, which says so."""
    span = TracerProvider().get_tracer("t").start_span("GET")
    span.end()

    write(span, {"b": "2"})

    assert dict(span.attributes) == {}


def test_a_span_of_others_is_written_to_by_its_own_way() -> None:
    """Whatever is no span of the SDK is asked as OpenTelemetry's API has it."""

    class Theirs(NonRecordingSpan):
        told: ClassVar[dict[str, Any]] = {}

        def set_attributes(self, attributes: Any) -> None:
            self.told.update(attributes)

    tracer = TracerProvider().get_tracer("t")
    for number, tell in enumerate((write, ApiTracing().write, SDKTracing(tracer).write)):
        tell(Theirs(INVALID_SPAN_CONTEXT), {f"{number}": "1"})

    assert Theirs.told == {"0": "1", "1": "1", "2": "1"}
