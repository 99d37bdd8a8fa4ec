"""What is measured: a touchpoint in all its forms, and the same by hand."""

import json
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import evolve
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

import cxtrace
from cxtrace._model import Friction
from cxtrace.journey_map import JourneyMap

NAME: Final = "payment.authorise"
OUTCOME: Final = "cx.touchpoint.outcome"
ITEMS: Final = 10
MAP: Final = Path(__file__).parent.parent / "examples" / "journeys.toml"
KEY: Final = "a key that is only used in the benchmarks"

Attributes: TypeAlias = dict[str, str | bool | int | float]
Repeat: TypeAlias = Callable[[int], object]


class Discard(SpanExporter):
    """Takes every span and does nothing with it."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def configure(exporter: str | SpanExporter) -> TracerProvider:
    """Set cxtrace up as an application does, and return the provider that it built."""
    quiet()
    cxtrace.configure(service_name="benchmark", journey_map=plain_map(), exporter=exporter, key=KEY)
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        raise TypeError("cxtrace.configure() built no provider")
    return provider


def example_map() -> JourneyMap:
    """The map of the examples, whole."""
    return JourneyMap.load(MAP)


def plain_map() -> JourneyMap:
    """The same with touchpoints, stages and owners alone: nothing to be measured against."""
    whole = example_map()
    functions = {name: evolve(each, happy=None) for name, each in whole.functions.items()}
    touchpoints = {
        name: evolve(each, friction=Friction(), promises=())
        for name, each in whole.touchpoints.items()
    }
    spans = {
        name: each for name, each in whole.promises.items() if each.metric != "journey.duration"
    }
    return evolve(
        whole,
        functions=functions,
        touchpoints=touchpoints,
        promises=spans,
        friction=Friction(),
    )


def stock(exporter: SpanExporter) -> TracerProvider:
    """The pipeline of hand-written code: not the global one, so that both fit in one process."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def quiet() -> None:
    """Keep the SDK from logging, which would be measured as well."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


def a_request(number: int = 0) -> Context:
    """The context of a request with a customer on the way. Its blocks stay open."""
    token = attach(Context())
    cxtrace.journey("first_order", id=f"{number:032x}", route="guest").__enter__()
    cxtrace.customer(f"cust-{number}", kind="person", segment="smb", consent="granted").__enter__()
    context = get_current()
    detach(token)
    return context


def under_unsampled(context: Context) -> Context:
    """``context`` in a trace that is not sampled."""
    dropped = SpanContext(0xABC << 64, 0xDEF, is_remote=False, trace_flags=TraceFlags(0))
    return set_span_in_context(NonRecordingSpan(dropped), context)


def tags(context: Context) -> Attributes:
    """The attributes of a touchpoint's span, but for the outcome that is set at its end."""
    token = attach(context)
    with cxtrace.touchpoint(NAME) as handle:
        found = dict(getattr(handle.span, "attributes", None) or {})
    detach(token)
    return {key: value for key, value in found.items() if key != OUTCOME}


def tags_of_another_process() -> Attributes:
    """The same, for a process without an SDK, where no span has any."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.subjects"], stdout=subprocess.PIPE, check=True
    )
    found: Attributes = json.loads(done.stdout)
    return found


# Ours


@cxtrace.touchpoint(NAME)
def ours() -> None:
    """A touchpoint that is a function."""


@cxtrace.touchpoint(NAME)
async def ours_async() -> None:
    """A touchpoint that is a coroutine."""


@cxtrace.touchpoint(NAME)
def ours_generator() -> Generator[int, None, None]:
    """A touchpoint that is a generator."""
    for item in range(ITEMS):  # noqa: UP028  each item is to be a step
        yield item


@cxtrace.touchpoint(NAME)
async def ours_async_generator() -> AsyncGenerator[int, None]:
    """A touchpoint that is an async generator."""
    for item in range(ITEMS):
        yield item


def ours_with() -> None:
    """A touchpoint that is a block."""
    with cxtrace.touchpoint(NAME):
        pass


def our_forms() -> dict[str, Repeat]:
    """All forms of a touchpoint, each to be called with a number of repetitions."""
    return {
        "function": calling(ours),
        "coroutine": awaiting(ours_async),
        "generator of 10": looping(ours_generator),
        "async generator of 10": looping_async(ours_async_generator),
        "with": calling(ours_with),
    }


# The same by hand


def by_hand(tracer: trace.Tracer, attributes: Attributes) -> Callable[[], None]:
    """A function that is a span."""

    def function() -> None:
        with tracer.start_as_current_span(NAME, attributes=attributes) as span:
            span.set_attribute(OUTCOME, "completed")

    return function


def hand_forms(tracer: trace.Tracer, attributes: Attributes) -> dict[str, Repeat]:
    """All forms of a span made by hand."""
    function = by_hand(tracer, attributes)

    async def coroutine() -> None:
        with tracer.start_as_current_span(NAME, attributes=attributes) as span:
            span.set_attribute(OUTCOME, "completed")

    def generator() -> Generator[int, None, None]:
        with tracer.start_as_current_span(NAME, attributes=attributes) as span:
            for item in range(ITEMS):  # noqa: UP028  each item is to be a step
                yield item
            span.set_attribute(OUTCOME, "completed")

    async def async_generator() -> AsyncGenerator[int, None]:
        with tracer.start_as_current_span(NAME, attributes=attributes) as span:
            for item in range(ITEMS):
                yield item
            span.set_attribute(OUTCOME, "completed")

    return {
        "function": calling(function),
        "coroutine": awaiting(coroutine),
        "generator of 10": looping(generator),
        "async generator of 10": looping_async(async_generator),
        "with": calling(function),
    }


# Repetitions


def calling(function: Callable[[], object]) -> Repeat:
    def run(calls: int) -> None:
        for _ in repeat(None, calls):
            function()

    return run


def awaiting(function: Callable[[], Awaitable[object]]) -> Repeat:
    async def main(calls: int) -> None:
        for _ in repeat(None, calls):
            await function()

    return lambda calls: _drive(main(calls))


def looping(function: Callable[[], Generator[Any, None, None]]) -> Repeat:
    def run(calls: int) -> None:
        for _ in repeat(None, calls):
            for _item in function():
                pass

    return run


def looping_async(function: Callable[[], AsyncGenerator[Any, None]]) -> Repeat:
    async def main(calls: int) -> None:
        for _ in repeat(None, calls):
            async for _item in function():
                pass

    return lambda calls: _drive(main(calls))


def _drive(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits, without the cost of an event loop."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("the coroutine waits")


if __name__ == "__main__":
    configure(Discard())
    print(json.dumps(tags(a_request())))
