"""``configure()``, ``flush()`` and ``shutdown()``: assemble the parts, join what is there."""

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final, Literal

from attrs import field, frozen
from opentelemetry import propagate, trace
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from cxtrace import _guard, _runtime
from cxtrace import attributes as names
from cxtrace._settings import Settings, settle
from cxtrace._tracing import tracing_of
from cxtrace._version import version
from cxtrace.exceptions import ConfigurationError
from cxtrace.exporters import CountingExporter, TreeExporter, span_exporter
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import HmacPseudonymiser
from cxtrace.processors import StampProcessor
from cxtrace.propagation import CXPropagator
from cxtrace.sampling import DestinationSampler

DEADLINE: Final = 2.0
"""Seconds that the exit of the process may take for telemetry."""

_CONSOLE_DELAY_MS: Final = 200
_LONGEST: Final = 3_600.0
_STEP: Final = 0.02

_EXITS_WITHOUT_NEW_THREADS: Final = sys.version_info[:2] == (3, 12)

_logger = logging.getLogger("cxtrace")
_lock = threading.Lock()
_standby: "_Standby | None" = None
_watches_children = False


@frozen
class Wiring:
    """What ``configure()`` put together in this process."""

    settings: Settings
    provider: Any = field(repr=False)
    mode: Literal["built", "joined", "apart"]
    named: str | None
    stamp: StampProcessor = field(repr=False)
    exporters: tuple[CountingExporter, ...] = field(repr=False)
    processors: tuple[BatchSpanProcessor, ...] = field(repr=False)


wiring: Wiring | None = None
"""What is configured now, or None."""


def configure(
    *,
    service_name: str | None = None,
    journey_map: JourneyMap | str | os.PathLike[str] | Sequence[str] | None = None,
    exporter: str | SpanExporter | None = None,
    sample: float | None = None,
    key: str | bytes | None = None,
    trusted_hosts: Sequence[str] | None = None,
    trust_inbound: _runtime.TrustInbound | None = None,
    unknown_destination: _runtime.UnknownDestination | None = None,
    public_endpoint: bool | None = None,
    consent_required: bool | None = None,
) -> None:
    """Set cxtrace up, once, in an application. Libraries never call it.

    Builds a tracer provider, or joins the one that ``opentelemetry-instrument``, logfire or your
    own code has set, and never replaces it. Each argument that is not given comes from
    ``CXTRACE_<ARGUMENT>``, then from ``[tool.cxtrace]`` in ``pyproject.toml``, then from its
    default. ``OTEL_*`` variables keep their meaning. A second call changes nothing and says so.

    Args:
        service_name: Name of this service in every backend. Default: ``OTEL_SERVICE_NAME``.
        journey_map: A map, its file, a folder, or several files. The variable is ``CXTRACE_MAP``.
        exporter: ``otlp``, ``console``, ``file:PATH``, ``none`` or a ``SpanExporter``. Default:
            ``OTEL_TRACES_EXPORTER``; ``otlp`` where an OTLP endpoint is set; ``console`` on a
            terminal; else ``none``. A provider that is joined keeps its own exporters.
        sample: Share of new traces that is kept, from 0 to 1. Default: ``OTEL_TRACES_SAMPLER``.
        key: Secret of at least 32 bytes, the same in all your services: makes pseudonyms, and
            signs what services tell each other. Also read from the file ``CXTRACE_KEY_FILE``.
            Without one, a random key is used, and services cannot be joined.
        trusted_hosts: Hosts that may be told of journey and customer, beside those of your own
            network: ``api.example.com``, ``*.example.com``.
        trust_inbound: Whose word about the journey counts: ``signed`` (with our key), ``always``
            or ``never``.
        unknown_destination: What a request carries whose host cannot be told: ``nothing``, or
            ``names`` of journey, stage and touchpoint, never an id.
        public_endpoint: Strangers call this service: start a new trace, linked to theirs, for
            every request that is not signed. So nobody outside decides what you sample.
        consent_required: Treat consent that is unknown as denied.

    Raises:
        ConfigurationError: A setting cannot be what it is. Nothing has been changed, except that
            no customer is named from here on: the settings might have forbidden it.
        MapError: The journey map is wrong; likewise.
    """
    global wiring  # noqa: PLW0603
    arguments = {name: value for name, value in locals().items() if value is not None}
    with _lock:
        if wiring is not None:
            _logger.warning("cxtrace.configure() was called again, which changes nothing")
            return
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            _runtime.use(_runtime.Runtime(tracing=_runtime.NoTracing()))
            _logger.warning("cxtrace is off, because OTEL_SDK_DISABLED is set")
            return
        wiring = _wire_or_close(arguments)


def _wire_or_close(arguments: Mapping[str, Any]) -> Wiring:
    try:
        return _wire(settle(arguments))
    except Exception as error:
        _runtime.use(_runtime.Runtime(consent_required=True))
        if isinstance(error, ValueError):
            raise ConfigurationError(f"OpenTelemetry refuses a setting: {error}") from error
        raise


def _wire(settings: Settings) -> Wiring:
    key = settings.key
    found = trace.get_tracer_provider()
    if type(found) is trace.ProxyTracerProvider:
        wired = _build(settings)
    elif hasattr(found, "add_span_processor"):
        wired = _join(settings, found)
    else:
        wired = _stay_apart(settings, found)
    _runtime.use(
        _runtime.Runtime(
            tracing=tracing_of(wired.provider, version()),
            journey_map=settings.journey_map,
            key=key,
            pseudonymiser=None if key is None else HmacPseudonymiser(key),
            consent_required=settings.consent_required,
            trusted_hosts=settings.trusted_hosts,
            trust_inbound=settings.trust_inbound,
            unknown_destination=settings.unknown_destination,
            public_endpoint=settings.public_endpoint,
        )
    )
    _use_propagator()
    _flush_at_exit()
    return wired


def _build(settings: Settings) -> Wiring:
    wanted = settings.exporter or _default_exporter(os.environ)
    exporters = _exporters(wanted)
    sampler = None if settings.sample is None else ParentBased(TraceIdRatioBased(settings.sample))
    provider = TracerProvider(sampler, _resource(settings), shutdown_on_exit=False)
    provider.sampler = DestinationSampler(provider.sampler)
    wired = _assemble(settings, provider, "built", wanted, exporters)
    trace.set_tracer_provider(provider)
    return wired


def _join(settings: Settings, provider: Any) -> Wiring:
    exporters = [] if settings.exporter is None else _exporters(settings.exporter)
    return _assemble(settings, provider, "joined", settings.exporter, exporters)


def _stay_apart(settings: Settings, provider: trace.TracerProvider) -> Wiring:
    _logger.warning(
        "cxtrace cannot join the tracer provider %s, which takes no span processors: touchpoints "
        "become its spans, but spans of others are not tagged",
        type(provider).__qualname__,
    )
    return Wiring(settings, provider, "apart", None, StampProcessor(), (), ())


def _assemble(
    settings: Settings,
    provider: Any,
    mode: Literal["built", "joined"],
    wanted: str | SpanExporter | None,
    exporters: Sequence[SpanExporter],
) -> Wiring:
    stamp = StampProcessor()
    counting = tuple(map(CountingExporter, exporters))
    processors = tuple(map(_batch, counting))
    # Last, because nothing may have changed where one of OTEL_BSP_* is refused.
    for processor in (stamp, *processors):
        provider.add_span_processor(processor)
    named = wanted if wanted is None or isinstance(wanted, str) else type(wanted).__qualname__
    return Wiring(settings, provider, mode, named, stamp, counting, processors)


def _batch(exporter: CountingExporter) -> BatchSpanProcessor:
    delay = _CONSOLE_DELAY_MS if isinstance(exporter.inner, TreeExporter) else None
    return BatchSpanProcessor(exporter, schedule_delay_millis=delay)


def _exporters(wanted: str | SpanExporter) -> list[SpanExporter]:
    """The exporters that are named, as OpenTelemetry does it: a list with commas, or none."""
    if not isinstance(wanted, str):
        return [wanted]
    found = [name.strip() for name in wanted.split(",")]
    return [span_exporter(name) for name in found if name not in {"", "none"}]


def _default_exporter(environ: Mapping[str, str]) -> str:
    named = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if named:
        return named
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if any(environ.get(name) for name in endpoints):
        return "otlp"
    if sys.stderr is not None and sys.stderr.isatty():
        return "console"
    _logger.warning(
        "cxtrace sends nothing: no exporter is configured. Set OTEL_EXPORTER_OTLP_ENDPOINT, or "
        "CXTRACE_EXPORTER to otlp, console, file:PATH or none"
    )
    return "none"


def _resource(settings: Settings) -> Resource:
    found: dict[str, str] = {}
    if settings.service_name is not None:
        found[SERVICE_NAME] = settings.service_name
    if settings.journey_map is not None:
        found[names.MAP_NAME] = settings.journey_map.name
        found[names.MAP_VERSION] = settings.journey_map.version
    return Resource.create({**found})


def _use_propagator() -> None:
    """Add ours to those in force; a list in ``OTEL_PROPAGATORS`` stays as it is."""
    listed = [name.strip() for name in os.environ.get("OTEL_PROPAGATORS", "").split(",") if name]
    if listed:
        _warn_of_order(listed)
        return
    found = propagate.get_global_textmap()
    propagate.set_global_textmap(CompositePropagator([found, CXPropagator()]))


def _warn_of_order(listed: list[str]) -> None:
    if "cxtrace" not in listed:
        fault = "cxtrace is not in OTEL_PROPAGATORS: journeys end at this service"
    elif {"baggage", "tracecontext"} & set(listed[listed.index("cxtrace") :]):
        fault = "baggage or tracecontext stands after cxtrace, and undoes what it decides"
    else:
        return
    _logger.warning("%s. Write OTEL_PROPAGATORS=tracecontext,baggage,cxtrace", fault)


def _flush_at_exit() -> None:
    atexit.register(shutdown)
    _prepare_exit()
    if hasattr(os, "register_at_fork"):  # pragma: no branch  Windows has no fork
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    if wiring is not None:
        wiring.stamp.after_fork()
        for exporter in wiring.exporters:
            exporter.after_fork()
    _prepare_exit()


def _prepare_exit() -> None:
    global _standby, _watches_children  # noqa: PLW0603
    if _EXITS_WITHOUT_NEW_THREADS:
        _standby = _Standby()
    # A process of multiprocessing leaves by os._exit and runs no atexit handler.
    if not _watches_children:
        from multiprocessing import util

        _watches_children = True
        util.register_after_fork(shutdown, _finalise)
        _finalise(shutdown)


class _Standby:
    """A thread that waits for the exit, for a Python that starts none by then."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cxtrace_exit", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._work.get()()

    def take(self, work: Callable[[], None]) -> threading.Thread:
        """The thread, which does ``work`` now; only the first work is done."""
        self._work.put(work)
        return self._thread


def _finalise(last: Callable[[], bool]) -> None:
    from multiprocessing import parent_process, util

    if parent_process() is not None:
        util.Finalize(None, last, exitpriority=100)


def flush(timeout: float = DEADLINE) -> bool:
    """Send what is waiting.

    Args:
        timeout: Seconds; the call returns by then, whatever the exporter does.

    Returns:
        True only if every span that had ended since ``configure()`` was delivered.
    """
    return _within(timeout, _flush)


def shutdown(timeout: float = DEADLINE) -> bool:
    """Send what is waiting and stop. Runs by itself where the interpreter exits normally.

    Args:
        timeout: Seconds; the call returns by then, whatever the exporter does.

    Returns:
        True only if every span was delivered.
    """
    return _within(timeout, _shutdown)


def _seconds(timeout: object) -> float:
    """A time-out that can be waited for, whatever was given."""
    try:
        seconds = float(timeout)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = DEADLINE
    return min(max(seconds, 0.0), _LONGEST) if seconds == seconds else DEADLINE


def _within(timeout: float, work: Callable[[Wiring, float], bool]) -> bool:
    wired = wiring
    if wired is None:
        return True
    done: list[bool] = []

    def run() -> None:
        try:
            done.append(work(wired, timeout))
        except Exception as error:  # noqa: BLE001
            _guard.swallow(work.__name__, error)

    thread = threading.Thread(target=run, name=f"cxtrace{work.__name__}", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if _standby is None:
            _guard.swallow(work.__name__, error)
            return False
        thread = _standby.take(run)
    ended, until = wired.stamp.ended, monotonic() + _seconds(timeout)
    while thread.is_alive() and monotonic() < until:
        thread.join(min(_STEP, max(until - monotonic(), 0.0)))
        # Under steady traffic OpenTelemetry's own flush goes on for as long as spans come.
        if work is _flush and wired.exporters and _delivered(wired, ended):
            return True
    return bool(done) and done[0]


def _flush(wired: Wiring, timeout: float) -> bool:
    if wired.mode == "built" or wired.processors:
        ended = wired.stamp.ended
        for processor in wired.processors:
            processor.force_flush()
        return _delivered(wired, ended)
    force_flush = getattr(wired.provider, "force_flush", None)
    return force_flush is not None and bool(force_flush(int(_seconds(timeout) * 1_000)))


def _shutdown(wired: Wiring, timeout: float) -> bool:
    if wired.mode == "built":
        wired.provider.shutdown()
        return _delivered(wired, wired.stamp.ended)
    if not wired.processors:
        return _flush(wired, timeout)
    for processor in wired.processors:
        processor.shutdown()  # type: ignore[no-untyped-call]
    return _delivered(wired, wired.stamp.ended)


def _delivered(wired: Wiring, ended: int) -> bool:
    return all(exporter.exported >= ended for exporter in wired.exporters)
