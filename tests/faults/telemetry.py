"""The spans of the service under test, made in one of three ways, and noted past all of them.

It runs in the service's processes. What it needs to know stands in the environment: ``FAULTS_WITH``
names the way, ``FAULTS_FOLDER`` is where the notes and the books are written.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace

WAYS: Final = ("opentelemetry", "cxtrace", "cxtrace+spool")
"""What makes and delivers the spans: the SDK with its own parts, or cxtrace."""

EACH: Final = 3
"""Spans of a request."""

WORK: Final = 0.002
"""Seconds that a request waits for somebody else, such as a database."""


class Telemetry:
    """What a service has of telemetry: spans, their end, and what the library says of them."""

    def __init__(self) -> None:
        self._folder = Path(os.environ["FAULTS_FOLDER"])
        # Processes share the file; what is appended in one call stays together.
        self._notes = os.open(self._folder / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._tracer = trace.get_tracer("shop")

    @contextmanager
    def payment(self) -> Iterator[None]:
        """Three spans around the work of a request; noted once all of them have ended."""
        with self._payment():
            made = [_current()]
            with self._card_number():
                made.append(_current())
            with self._tracer.start_as_current_span("charge"):
                made.append(_current())
                yield
        os.write(self._notes, "".join(f"{span:016x}\n" for span in made).encode())

    def fork(self) -> int:
        """Start a child that makes spans, sends them and ends; the id of its process."""
        child = os.fork()
        if child:
            threading.Thread(target=os.waitpid, args=(child, 0), daemon=True).start()
            return child
        try:
            with self.payment():
                pass
            self.stop()
            self.write_books()
        finally:
            os._exit(0)

    def write_books(self) -> None:
        """Leave what the library says in a file, at the end of a process."""
        books = self._folder / f"books-{os.getpid()}.json"
        said = {"pid": os.getpid(), "at": time.monotonic(), "report": self.report()}
        books.write_text(json.dumps(said, default=str), encoding="utf-8")

    def report(self) -> dict[str, Any] | None:
        """What the library says of itself, if it says anything."""
        return None

    def stop(self) -> None:
        """End as the library's documentation has it."""
        raise NotImplementedError

    def _payment(self) -> AbstractContextManager[Any]:
        raise NotImplementedError

    def _card_number(self) -> AbstractContextManager[Any]:
        raise NotImplementedError


class OpenTelemetry(Telemetry):
    """The SDK's own provider, processor and exporter."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider()
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(self._provider)
        super().__init__()

    def stop(self) -> None:
        self._provider.shutdown()

    def _payment(self) -> AbstractContextManager[Any]:
        return self._tracer.start_as_current_span("checkout.pay")

    def _card_number(self) -> AbstractContextManager[Any]:
        return self._tracer.start_as_current_span("enter_card_number")


class CXTrace(Telemetry):
    """cxtrace; with a spool, if there is one in the environment."""

    def __init__(self) -> None:
        import cxtrace

        self._cxtrace = cxtrace
        cxtrace.configure()
        super().__init__()

    def report(self) -> dict[str, Any]:
        return self._cxtrace.report().to_dict()

    def stop(self) -> None:
        self._cxtrace.shutdown()

    def _payment(self) -> AbstractContextManager[Any]:
        return self._cxtrace.touchpoint("checkout.pay")

    def _card_number(self) -> AbstractContextManager[Any]:
        return self._cxtrace.interaction("enter_card_number")


def telemetry() -> Telemetry:
    """That of this process."""
    return OpenTelemetry() if os.environ["FAULTS_WITH"] == "opentelemetry" else CXTrace()


def _current() -> int:
    return trace.get_current_span().get_span_context().span_id
