"""What is in force: swapped whole, right with no provider at all, and fresh after a fork."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, TraceFlags

import cxtrace
from cxtrace import _guard, _runtime
from cxtrace._runtime import ApiTracing, Runtime
from cxtrace.privacy import HmacPseudonymiser, Key

KEY = Key(b"0123456789abcdef0123456789abcdef")


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is configured, and no key is in the environment."""
    for name in ("CXTRACE_KEY", "CXTRACE_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    runtime, context = _runtime.current, get_current()
    _runtime.use(Runtime())
    _guard.reset()
    yield
    _runtime.use(runtime)
    _guard.reset()
    attach(context)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What a global provider that others set exports."""
    found = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return found


def test_without_a_provider_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody has configured OpenTelemetry, no span is made and code runs as ever."""
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    assert ApiTracing().idle()

    @cxtrace.touchpoint("t")
    def pay() -> int:
        return 3

    assert pay() == 3


def test_without_configure_the_provider_of_others_is_used(memory: InMemorySpanExporter) -> None:
    """A library that only marks its touchpoints gives them to the provider of the application."""
    with cxtrace.journey("first_order"), cxtrace.touchpoint("checkout.pay", stage="purchase"):
        pass
    (span,) = memory.get_finished_spans()

    assert span.name == "checkout.pay"
    assert span.attributes is not None
    assert span.attributes["cx.journey.name"] == "first_order"
    assert span.attributes["cx.touchpoint.outcome"] == "completed"
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "cxtrace"


def test_exceptions_are_not_recorded_by_opentelemetry(memory: InMemorySpanExporter) -> None:
    """The text of an exception, which may hold what a customer typed, is on no span."""
    with pytest.raises(ValueError, match="john"), cxtrace.touchpoint("checkout.pay"):
        raise ValueError("john@example.com")
    (span,) = memory.get_finished_spans()

    assert "john" not in span.to_json()
    assert span.events == ()


def test_origin_becomes_a_link(memory: InMemorySpanExporter) -> None:
    """The span of a caller that is not continued is linked."""
    origin = SpanContext(7, 8, True, TraceFlags(0))
    span = ApiTracing().start("t", {"a": 1}, Context(), origin)
    ApiTracing().finish(span, {"b": 2}, dict)
    (found,) = memory.get_finished_spans()

    assert [link.context.span_id for link in found.links] == [8]
    assert dict(found.attributes or {}) == {"a": 1, "b": 2}


@pytest.mark.parametrize("foreign", [0, 100, 111, 112, 120, 127, 128, 500])
def test_our_tags_survive_the_limit_of_attributes(
    memory: InMemorySpanExporter, foreign: int
) -> None:
    """However many attributes the host sets, those of ours are still there at the end."""
    first, last = {"cx.a": 1, "cx.b": 2}, {"cx.last": 3}
    span = ApiTracing().start("t", dict(first), Context(), None)
    for number in range(foreign):
        span.set_attribute(f"theirs.{number}", number)
    ApiTracing().finish(span, last, lambda: first)
    (found,) = memory.get_finished_spans()

    assert {**first, **last}.items() <= dict(found.attributes or {}).items()


def test_attributes_are_blanked(memory: InMemorySpanExporter) -> None:
    """What must be forgotten is empty at the end; what was never there is not made."""
    span = ApiTracing().start("t", {"cx.journey.id": "7", "a": 1}, Context(), None)
    ApiTracing().forget(span, ("cx.journey.id", "enduser.pseudo.id"))
    ApiTracing().finish(span, {}, dict)
    ApiTracing().forget(span, ("a",))
    ApiTracing().forget(trace.INVALID_SPAN, ("a",))
    (found,) = memory.get_finished_spans()

    assert dict(found.attributes or {}) == {"cx.journey.id": "", "a": 1}


def test_provider_of_others_is_asked(memory: InMemorySpanExporter) -> None:
    """With a provider somebody listens, and whether a span is sampled is the provider's matter."""
    assert not ApiTracing().idle()
    assert ApiTracing().unsampled(Context()) is None


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    ("consent", "linkable"),
    [("granted", True), ("not_required", True), ("denied", False), ("withdrawn", False)],
)
def test_consent_that_is_known(consent: str, linkable: bool, required: bool) -> None:
    """What the customer decided counts, whatever the setting."""
    _runtime.use(Runtime(consent_required=required))

    assert _runtime.is_linkable(consent) is linkable


@pytest.mark.parametrize("required", [False, True])
def test_consent_that_is_unknown(required: bool) -> None:
    """Unknown consent counts as denied only where consent is required."""
    _runtime.use(Runtime(consent_required=required))

    assert _runtime.is_linkable("unknown") is not required
    assert _runtime.current.anonymous.linkable is not required


def test_key_of_the_environment_without_configure(monkeypatch: pytest.MonkeyPatch) -> None:
    """``CXTRACE_KEY`` counts where nothing is configured too."""
    monkeypatch.setenv("CXTRACE_KEY", "0123456789abcdef0123456789abcdef")

    assert _runtime.key().key_id == KEY.key_id
    assert _runtime.pseudonymiser().key_id == KEY.key_id
    assert _guard.counts() == {}


def test_key_in_force_is_kept() -> None:
    """A key without a pseudonymiser gets one, and is not replaced."""
    _runtime.use(Runtime(key=KEY))

    assert _runtime.pseudonymiser().pseudonym("a") == HmacPseudonymiser(KEY).pseudonym("a")
    assert _runtime.key() is KEY


def test_settling_twice_changes_nothing() -> None:
    """A second thread that waited for the key takes the one that the first has drawn."""
    first = _runtime.key()
    _runtime._settle()

    assert _runtime.key() is first


def test_what_a_forked_child_does_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has a lock of its own, empty counters and no customer, and keeps all of others."""
    monkeypatch.setattr(_runtime, "forks", 0)
    monkeypatch.setattr(_runtime, "_settling", threading.Lock())
    _runtime._settling.acquire()
    _guard.count("parents")
    attach(Context({"theirs": 1}))
    with cxtrace.journey("first_order"):
        _runtime._after_fork()

        assert get_current() == {"theirs": 1}
    assert _runtime.forks == 1
    assert _guard.counts() == {}
    assert _runtime.key().key_id == "ephemeral"


FORK = """
import os, threading
import cxtrace
from cxtrace import _guard, _runtime
from opentelemetry.context import attach, get_current
_guard.count("parents")
with cxtrace.journey("first_order", id="7"), cxtrace.customer("cust-42"):
    _runtime._settling.acquire()
    _guard._locks.lock.acquire()
    child = os.fork()
    if not child:
        assert cxtrace.current_context() is None
        assert _runtime.forks == 1
        assert _guard.counts() == {}
        _runtime._settle()
        with cxtrace.journey("first_order") as handle:
            assert handle.id != "7"
        os._exit(7)
    _guard._locks.lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert cxtrace.current_context().journey.id == "7"
    assert _runtime.forks == 0
    assert _guard.counts() == {"parents": 1}
print("good")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_child_starts_afresh(tmp_path: Path) -> None:
    """A child has neither customer nor counters of its parent, nor a lock that nobody opens."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    found = subprocess.run(
        [sys.executable, "-c", FORK],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert found.stdout == "good\n"


def test_key_and_pseudonymiser_are_not_shown() -> None:
    """The repr of what is in force names neither the key nor what holds it."""
    shown = repr(Runtime(key=KEY, pseudonymiser=HmacPseudonymiser(KEY)))

    assert "key=" not in shown
    assert "pseudonymiser=" not in shown


def test_types_of_the_choices() -> None:
    """The words that settings take are those of the types."""
    import typing

    words: Any = typing.get_args(_runtime.TrustInbound)
    assert words == ("signed", "always", "never")
    assert typing.get_args(_runtime.UnknownDestination) == ("nothing", "names")


def test_log_handler_that_asks_for_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning that there is no key is logged when there is one: no handler waits for it."""
    asked = []

    class Shipper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            asked.append(_runtime.key().key_id)

    handler = Shipper()
    logging.getLogger("cxtrace").addHandler(handler)
    try:
        key = _runtime.key()
    finally:
        logging.getLogger("cxtrace").removeHandler(handler)

    assert asked == [key.key_id]


def test_nothing_is_traced_where_all_is_off() -> None:
    """With tracing switched off, touchpoints are no-ops whatever provider there is."""
    assert _runtime.NoTracing().idle()
