"""Messages to and from the warehouse, each in a span, with the context in its headers.

No instrumentation exists for a queue of one's own, so this is what a library for one would do: a
PRODUCER span around sending, a CONSUMER span around processing, `inject` and `extract` between.
cxtrace is not mentioned, because its propagator is one of OpenTelemetry's.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind

from . import broker

tracer: Final = trace.get_tracer(__name__)
queue = functools.cache(broker.connect)
ABOUT: Final = {"messaging.system": "python", "messaging.destination.name": "warehouse"}


def send(task: str, **details: Any) -> None:
    """Leave a task for the warehouse."""
    attributes = {**ABOUT, "messaging.operation.type": "send", "messaging.operation.name": task}
    name = f"send {task}"
    with tracer.start_as_current_span(name, kind=SpanKind.PRODUCER, attributes=attributes):
        headers: dict[str, str] = {}
        propagate.inject(headers)
        queue().put({"task": task, "details": details, "headers": headers})


def receive(timeout: float) -> broker.Message | None:
    """The next task, or None if there is none for a while."""
    waiting: Queue[broker.Message] = queue()
    try:
        return waiting.get(timeout=timeout)
    except Empty:
        return None


@contextmanager
def processing(message: broker.Message) -> Iterator[None]:
    """What the sender was doing goes on here."""
    task = message["task"]
    attributes = {**ABOUT, "messaging.operation.type": "process", "messaging.operation.name": task}
    # To name it as the parent of the span is not enough: baggage and journey must be current too.
    token = context.attach(propagate.extract(message["headers"]))
    try:
        name = f"process {task}"
        with tracer.start_as_current_span(name, kind=SpanKind.CONSUMER, attributes=attributes):
            yield
    finally:
        context.detach(token)
