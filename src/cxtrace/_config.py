"""``configure()``, ``flush()`` and ``shutdown()``: assemble the parts, join what is there."""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, Literal

from attrs import evolve
from opentelemetry import propagate, trace
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from cxtrace import (
    _auto,
    _ending,
    _guard,
    _instruments,
    _measures,
    _metering,
    _runtime,
    _self_metrics,
    _wiring,
    binding,
)
from cxtrace import attributes as names
from cxtrace._deadline import DEADLINE, at_exit, prepare
from cxtrace._keys import KeyGiven, Sealed, bare
from cxtrace._pipelines import log_pipeline, metric_pipeline
from cxtrace._process import refuse_sub_interpreters
from cxtrace._scrubbing import Scrubber
from cxtrace._settings import Settings, settle
from cxtrace._tracing import tracing_of
from cxtrace._turn import Turn
from cxtrace._version import version
from cxtrace._wiring import Wiring
from cxtrace.delivery import SpanDelivery
from cxtrace.exceptions import ConfigurationError, CXTraceError
from cxtrace.exporters import TreeExporter, span_exporter
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import HmacPseudonymiser
from cxtrace.processors import StampProcessor
from cxtrace.propagation import CXPropagator
from cxtrace.sampling import DestinationSampler
from cxtrace.typing import Pseudonymiser

_CONSOLE_DELAY: Final = 0.2

_LOADED: Final = (_ending, _instruments, _measures)
"""What a first touchpoint imports: a fork at that moment would leave the child half of it."""

_logger = logging.getLogger("cxtrace")
_turn: Final = Turn()

wiring: Wiring | None = None
"""What is configured now, or None."""


def configure(
    *,
    service_name: str | None = None,
    journey_map: JourneyMap | str | os.PathLike[str] | Sequence[str] | None = None,
    exporter: str | SpanExporter | None = None,
    sample: float | None = None,
    key: KeyGiven | None = None,
    pseudonymiser: Pseudonymiser | None = None,
    trusted_hosts: Sequence[str] | None = None,
    trust_inbound: _runtime.TrustInbound | None = None,
    unknown_destination: _runtime.UnknownDestination | None = None,
    public_endpoint: bool | None = None,
    consent_required: bool | None = None,
    event_signal: _runtime.EventSignal | None = None,
    signals_off: Sequence[str] | None = None,
    metrics_opt_in: Sequence[str] | None = None,
    record_exceptions: _runtime.RecordExceptions | None = None,
    spool: str | os.PathLike[str] | None = None,
    spool_max_bytes: int | str | None = None,
    spool_max_age: float | str | None = None,
    scrub: bool | Sequence[str] | None = None,
    on_friction: Callable[[Any], object] | None = None,
) -> None:
    """Set cxtrace up, once, in an application. Libraries never call it.

    Builds providers of traces, metrics and logs, or joins those that are there, and replaces none.
    What is not given comes from ``CXTRACE_<ARGUMENT>``, then from ``[tool.cxtrace]`` in
    ``pyproject.toml``, then from a default. ``OTEL_*`` keep their meaning. Later calls do nothing.

    Args:
        service_name: Name of this service in every backend. Default: ``OTEL_SERVICE_NAME``.
        journey_map: A map, its file, a folder, or several files. The variable is ``CXTRACE_MAP``.
        exporter: ``otlp``, ``console``, ``file:PATH``, ``none`` or a ``SpanExporter``. Default:
            what ``OTEL_*`` say, or ``console`` on a terminal. One that is joined keeps its own.
        sample: Share of new traces that is kept, from 0 to 1. Default: ``OTEL_TRACES_SAMPLER``.
        key: Secret of at least 32 bytes, the same in all services, or several, newest first: for
            pseudonyms and signatures. Also in ``CXTRACE_KEY_FILE``. Default: random.
        pseudonymiser: Another than that which hashes with the key.
        trusted_hosts: Hosts that may be told of the journey, as your network: ``*.example.com``.
        trust_inbound: Whose word about it counts: ``signed`` (with our key), ``always``, ``never``.
        unknown_destination: ``nothing`` or ``names``, never an id, where the host cannot be told.
        public_endpoint: Strangers call: an unsigned request starts a new trace, linked to theirs.
        consent_required: Treat consent that is unknown as denied.
        event_signal: Signals are events of the ``span``, ``log`` records, or ``both``, if taken.
        signals_off: Kinds of signals that are not sent: ``emotion``, ``value`` and so on.
        metrics_opt_in: Metrics and labels of metrics to have beside those that are always there.
        record_exceptions: Text and stack of exceptions: ``scrubbed``, or ``full``. Default: class.
        spool: Folder for spans and log records that cannot be sent now. Default: memory alone.
        spool_max_bytes: Of spans, and again of log records, such as ``64MiB``, the default.
        spool_max_age: Seconds for which they are worth sending, or ``2h``. Default: ``1d``.
        scrub: Take out of all spans what may name somebody, such as queries: True, or what to keep.
        on_friction: Called with each friction that is sent, but its own, in a thread of cxtrace.

    Raises:
        ConfigurationError: A setting cannot be what it is. Nothing has been changed, except that
            no customer is named from here on: the settings might have forbidden it.
        MapError: The journey map is wrong; likewise.
    """
    key = _sealed(key)
    _configure({name: value for name, value in locals().items() if value is not None})


def _sealed(key: KeyGiven | None) -> Any:
    """The key, which is a local variable of every traceback that comes through, out of sight."""
    return Sealed.of(key)


def _configure(arguments: Mapping[str, Any]) -> None:
    if not _turn.take(lambda: _configure_once(arguments)):
        # Once, for whoever is told of it may be who calls.
        _guard.warn_once(
            "configure.within",
            "cxtrace.configure() was called by what it calls, which changes nothing",
        )


def _configure_once(arguments: Mapping[str, Any]) -> None:
    global wiring  # noqa: PLW0603
    if wiring is not None:
        _logger.warning("cxtrace.configure() was called again, which changes nothing")
    elif os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        _runtime.use(_runtime.Runtime(tracing=_runtime.NoTracing()))
        _logger.warning("cxtrace is off, because OTEL_SDK_DISABLED is set")
    else:
        wiring = _wire_or_close(arguments)


def _wire_or_close(arguments: Mapping[str, Any]) -> Wiring:
    try:
        return _wire(settle(arguments))
    except Exception as error:
        _runtime.use(_runtime.Runtime(consent_required=True))
        if isinstance(error, CXTraceError):
            raise bare(error) from None
        if isinstance(error, ValueError):
            raise ConfigurationError(f"OpenTelemetry refuses a setting: {error}") from error
        raise


def _wire(settings: Settings) -> Wiring:
    refuse_sub_interpreters()
    found = trace.get_tracer_provider()
    resource = _resource(settings, found)
    with ExitStack() as undo:
        metrics = metric_pipeline(settings, resource)
        if metrics is not None:
            undo.callback(metrics.discard)
        logs = log_pipeline(settings, resource)
        wired = evolve(_wire_spans(settings, found, resource), metrics=metrics, logs=logs)
        undo.pop_all()
    for pipeline in wired.pipelines:
        pipeline.install()
    _runtime.use(runtime_of(settings, tracing_of(wired.provider, version())))
    if metrics is not None:
        _guard.attempt("metrics", lambda: _self_metrics.observe(wired.ledgers))
        _runtime.current.instruments()  # now: a fork may come while a thread makes them
    _use_propagator()
    _bind(settings.journey_map)
    _flush_at_exit()
    for delivery in wired.deliveries:
        delivery.begin()
    _warn_of_no_effect(settings, wired)
    return wired


def _warn_of_no_effect(settings: Settings, wired: Wiring) -> None:
    if settings.spool is not None and all(each.disk is None for each in wired.deliveries):
        _logger.warning(
            "cxtrace: spool has no effect: it is for an exporter of cxtrace that sends elsewhere"
        )
    if settings.scrub is not None and (wired.mode != "built" or not wired.spans):
        _logger.warning(
            "cxtrace: scrub has no effect on exporters that others have set up: put "
            "cxtrace.exporters.ScrubbingSpanExporter around them"
        )


def _bind(journey_map: JourneyMap | None) -> None:
    if journey_map is not None:
        binding.bind_functions(journey_map)
        if binding.bindings() is not None:
            _auto.instrument()


def _wire_spans(settings: Settings, found: Any, resource: Resource) -> Wiring:
    if type(found) is trace.ProxyTracerProvider:
        return _build(settings, resource)
    if hasattr(found, "add_span_processor"):
        return _join(settings, found)
    return _stay_apart(settings, found)


def runtime_of(settings: Settings, tracing: _runtime.Tracing) -> _runtime.Runtime:
    """The decisions that the settings make, for spans that ``tracing`` makes."""
    key = settings.key
    return _runtime.Runtime(
        tracing=tracing,
        journey_map=settings.journey_map,
        key=key,
        pseudonymiser=settings.pseudonymiser or (None if key is None else HmacPseudonymiser(key)),
        consent_required=settings.consent_required,
        trusted_hosts=settings.trusted_hosts,
        trust_inbound=settings.trust_inbound,
        unknown_destination=settings.unknown_destination,
        public_endpoint=settings.public_endpoint,
        event_signal=settings.event_signal,
        signals_off=settings.signals_off,
        metrics_opt_in=settings.metrics_opt_in,
        on_friction=settings.on_friction,
        record_exceptions=settings.record_exceptions,
        bind=_metering.bind,
    )


def _build(settings: Settings, resource: Resource) -> Wiring:
    wanted = settings.exporter or _default_exporter(os.environ)
    exporters = _exporters(wanted)
    sampler = None if settings.sample is None else ParentBased(TraceIdRatioBased(settings.sample))
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
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
    return Wiring(settings, provider, "apart", None, StampProcessor())


def _assemble(
    settings: Settings,
    provider: Any,
    mode: Literal["built", "joined"],
    wanted: str | SpanExporter | None,
    exporters: Sequence[tuple[str, SpanExporter]],
) -> Wiring:
    stamp = StampProcessor()
    # First, because nothing may have changed where one of OTEL_BSP_* is refused.
    deliveries = tuple(
        _delivery(settings, name, exporter, number)
        for number, (name, exporter) in enumerate(exporters)
    )
    for processor in (stamp, *deliveries):
        provider.add_span_processor(processor)
    named = wanted if wanted is None or isinstance(wanted, str) else type(wanted).__qualname__
    return Wiring(settings, provider, mode, named, stamp, deliveries)


def _delivery(settings: Settings, name: str, exporter: SpanExporter, number: int) -> SpanDelivery:
    delay = _CONSOLE_DELAY if isinstance(exporter, TreeExporter) else None
    spool = settings.spool_for(name, number)
    scrub = None if settings.scrub is None else Scrubber(settings.scrub)
    return SpanDelivery(exporter, delay=delay, spool=spool, scrub=scrub)


def _exporters(wanted: str | SpanExporter) -> list[tuple[str, SpanExporter]]:
    """The exporters that are named, as OpenTelemetry does it: a list with commas, or none."""
    if not isinstance(wanted, str):
        return [("", wanted)]
    found = [name.strip() for name in wanted.split(",")]
    return [(name, span_exporter(name)) for name in found if name not in {"", "none"}]


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


def _resource(settings: Settings, provider: Any) -> Resource:
    """That of the tracer provider that is there, so that metrics and logs have the same."""
    there = getattr(provider, "resource", None)
    if isinstance(there, Resource):
        return there
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
    at_exit(shutdown, _after_fork)


def _after_fork() -> None:
    if wiring is not None:
        wiring.stamp.after_fork()
        for part in (*wiring.deliveries, *wiring.pipelines):
            _guard.attempt("fork", part.after_fork)
    prepare(shutdown)


def flush(timeout: float = DEADLINE) -> bool:
    """Send what is waiting.

    Args:
        timeout: Seconds; the call returns by then, whatever the exporter does.

    Returns:
        True only if all spans and log records that waited were delivered or are on disk, and the
        newest state of every metric was delivered, as far as the exporters are ours.
    """
    return True if wiring is None else _wiring.flush(wiring, timeout)


def shutdown(timeout: float = DEADLINE) -> bool:
    """Send what is waiting and stop. Runs by itself where the interpreter exits normally.

    Args:
        timeout: Seconds; the call returns by then, whatever the exporter does.

    Returns:
        True only if every span and log record was delivered or is on disk, and every metric
        was delivered.
    """
    if wiring is None:
        return True
    done = _wiring.shut_down(wiring, timeout)
    _say_what_was_lost(wiring)
    return done


def _say_what_was_lost(wired: Wiring) -> None:
    for delivery in wired.deliveries:
        word, ledger = delivery.courier.word, delivery.ledger
        if ledger.lost:
            reasons = ", ".join(f"{reason} {count}" for reason, count in ledger.dropped.items())
            _guard.warn_once(
                f"lost:{word}",
                "cxtrace: %s of %s %s were lost: %s",
                ledger.lost,
                ledger.created + ledger.recovered,
                word,
                reasons,
            )
