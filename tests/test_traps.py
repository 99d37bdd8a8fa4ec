"""The traps of OpenTelemetry Python that cxtrace must not fall into, one by one.

Their numbers are those of the list that the project was designed with.
"""

import ast
import asyncio
import functools
import gc
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

import cxtrace
from cxtrace import _runtime, customer, identify, interaction, journey, touchpoint
from cxtrace._tracing import SDKTracing, tracing_of
from cxtrace.privacy import HmacPseudonymiser, Key

NAP = 0.02

TRAPS = {
    1: ["test_traps.py::test_trap_01_durations", "test_wrap.py::test_duration"],
    2: [
        "test_traps.py::test_trap_02_generators_leak_their_context",
        "test_wrap.py::test_the_consumer_is_outside",
        "test_wrap.py::test_break_of_async_for",
    ],
    3: ["test_traps.py::test_trap_03_cancellation", "test_handles.py::test_abandoned"],
    4: ["test_traps.py::test_trap_04_text_of_exceptions", "test_handles.py::test_no_text_anywhere"],
    7: ["test_traps.py::test_trap_07_attribute_limit", "test_span.py::test_attribute_limit"],
    8: ["test_traps.py::test_trap_08_odd_values", "test_span.py::test_odd_keys"],
    9: ["test_span.py::test_late_writes"],
    10: [
        "test_traps.py::test_trap_10_processors_that_raise",
        "test_processors.py::test_broken_processor_of_others",
        "test_processors.py::test_garbage",
    ],
    11: ["test_traps.py::test_trap_11_what_is_dropped", "test_span.py::test_same_samplers"],
    12: ["test_propagation.py::test_strangers_do_not_decide_what_is_sampled"],
    13: [
        "test_baggage.py::test_properties_are_left_aside",
        "test_propagation.py::test_noise_never_raises",
    ],
    14: ["test_propagation.py::test_strangers_get_nothing"],
    15: ["test_traps.py::test_trap_15_pools", "test_journey.py::test_identify_elsewhere"],
    16: [
        "test_fork.py::test_trap_16_fork",
        "test_fork.py::test_multiprocessing",
        "test_fork.py::test_locks",
    ],
    21: ["test_config.py::test_dead_collector_does_not_hold_the_exit"],
    23: ["test_exporters.py::test_an_endpoint_without_scheme"],
    24: ["test_exporters.py::test_http_endpoint_is_a_base"],
}
"""Which tests hold which trap."""


def names_in(file):
    """The names of the tests in a file of this folder."""
    tree = ast.parse((Path(__file__).parent / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize("trap", TRAPS)
def test_table(trap):
    """Each test that is said to hold a trap exists."""
    for reference in TRAPS[trap]:
        file, _, name = reference.partition("::")
        assert name in names_in(file)


def test_table_is_complete():
    """Each test of this file that is named after a trap is in the table."""
    here = {name for name in names_in("test_traps.py") if name.startswith("test_trap_")}
    listed = {ref.partition("::")[2] for held in TRAPS.values() for ref in held}

    assert here <= listed


def took(span):
    """How long a span lasted, in seconds."""
    return (span.end_time - span.start_time) / 1e9


def test_trap_01_durations(cx):
    """A generator, an async generator and a returned coroutine last as long as they run."""

    @touchpoint("generator")
    def generator():
        yield 1
        time.sleep(NAP)
        yield 2

    @touchpoint("async generator")
    async def async_generator():
        yield 1
        await asyncio.sleep(NAP)
        yield 2

    async def later():
        await asyncio.sleep(NAP)

    class Thing:
        async def __call__(self):
            await asyncio.sleep(NAP)

    async def main():
        async for _ in async_generator():
            pass
        await touchpoint("returned")(lambda: later())()
        await touchpoint("object")(Thing())()
        await touchpoint("partial")(functools.partial(later))()

    list(generator())
    asyncio.run(main())

    assert len(cx.spans) == 5
    for span in cx.spans:
        assert NAP <= took(span) < NAP + 1


def test_trap_02_generators_leak_their_context(cx):
    """The consumer of a generator never has its context, not even after leaving the loop."""

    @touchpoint("stream")
    async def stream():
        with interaction("inner"):
            yield 1
            yield 2

    async def main():
        before = get_current()
        async for _ in stream():
            assert get_current() is before
            break
        assert get_current() is before
        gc.collect()
        await asyncio.sleep(0)
        assert get_current() is before

    asyncio.run(main())

    assert sorted(cx.names) == ["inner", "stream"]


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError, GeneratorExit, SystemExit, KeyboardInterrupt]
)
def test_trap_03_cancellation(cx, error):
    """What is cancelled is abandoned: told by the outcome, as OpenTelemetry says nothing."""
    with pytest.raises(error), touchpoint("a"):
        raise error

    span = cx.span("a")
    assert span.attributes["cx.touchpoint.outcome"] == "abandoned"
    assert span.status.status_code is StatusCode.UNSET
    assert [event.name for event in span.events] == ["cx.touchpoint.abandoned"]
    assert dict(span.events[0].attributes) == {"cx.touchpoint.name": "a"}


def test_trap_04_text_of_exceptions(cx):
    """The text of an exception is in no span of ours, neither of the child nor of any ancestor."""

    @touchpoint("outer")
    def outer():
        with interaction("middle"):
            return inner()

    @touchpoint("inner")
    def inner():
        raise ValueError("4111 1111 1111 1111")

    with pytest.raises(ValueError, match="4111"):
        outer()

    for span in cx.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert span.events == ()
        assert "4111 1111" not in span.to_json()


def flood(span, count):
    """Set more attributes than a span may have."""
    for number in range(count):
        span.set_attribute(f"host.{number}", number)


@pytest.mark.parametrize("late", [False, True], ids=["identified before", "identified after"])
def test_trap_07_attribute_limit(late, forgetful):
    """At the attribute limit our tags stay, and tell the last customer that was named."""
    key = Key(b"k" * 32)
    for path in (lambda p: tracing_of(p, "0"), lambda p: SDKTracing(p.get_tracer("cxtrace"))):
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        pseudonymiser = HmacPseudonymiser(key)
        _runtime.use(_runtime.Runtime(tracing=path(provider), key=key, pseudonymiser=pseudonymiser))
        around = journey("j", id="w"), customer("A", consent="unknown")
        with around[0], around[1], touchpoint("a", stage="s", owner="o") as handle:
            flood(handle.span, 300 if late else 0)
            identify("B", consent="granted")
            flood(handle.span, 0 if late else 300)
            handle.set({"cx.quality.speed": 0.5})

        (span,) = exporter.get_finished_spans()
        expected = {
            "cx.touchpoint.name": "a",
            "cx.stage.name": "s",
            "cx.owner.function": "o",
            "cx.journey.name": "j",
            "cx.journey.id": "w",
            "cx.consent.state": "granted",
            "cx.touchpoint.outcome": "completed",
            "cx.quality.speed": 0.5,
            "enduser.pseudo.id": pseudonymiser.pseudonym("B"),
        }
        assert {name: span.attributes.get(name) for name in expected} == expected
        assert len(span.attributes) <= 128


def test_trap_08_odd_values(cx, caplog):
    """None of our own attributes is None, an enum or a mapping, whatever is known or not."""
    select = cx.tracer.start_as_current_span("SELECT")
    with journey("j"), customer("A"), touchpoint("a"), interaction("b"), select:
        pass

    for span in cx.spans:
        assert {type(value) for value in span.attributes.values()} <= {str, bool, int, float}
    assert caplog.records == []


@pytest.mark.parametrize("method", ["on_start", "on_end"])
def test_trap_10_processors_that_raise(cx, method):
    """A processor of others that raises reaches neither the body of a touchpoint nor its caller."""

    def broken(self, *args, **kwargs):
        raise OSError

    cx.provider.add_span_processor(type("Broken", (SpanProcessor,), {method: broken})())
    ran = []

    @touchpoint("a")
    def work():
        ran.append(1)
        return 5

    assert work() == 5
    assert ran == [1]


def test_trap_11_what_is_dropped(forgetful):
    """A touchpoint that the sampler drops is a touchpoint all the same: handle, tags, result."""
    provider = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    _runtime.use(_runtime.Runtime(tracing=tracing_of(provider, "0")))
    with journey("j", id="w"), touchpoint("a") as handle:
        assert cxtrace.current_context().journey.id == "w"
        handle.fail("declined").outcome("failed").set({"session.id": "x"})
        with touchpoint("b"), interaction("c"):
            pass

    assert cxtrace.report().counts == {}


def test_trap_15_pools(cx):
    """A plain pool loses the context; ``wrap`` and our pool keep it."""

    def place():
        found = cxtrace.current_context()
        return found and found.place.touchpoint

    with touchpoint("a"):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(place).result() is None
            assert pool.submit(cxtrace.wrap(place)).result() == "a"
        with cxtrace.ContextThreadPoolExecutor(1) as pool:
            assert pool.submit(place).result() == "a"
