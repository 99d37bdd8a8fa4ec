"""``configure()``, ``flush()`` and ``shutdown()``: assemble the parts, join what is there."""

import logging
import os
import sys
import threading
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
from cxtrace._pipelines import log_pipeline, metric_pipeline
from cxtrace._settings import Settings, settle
from cxtrace._tracing import tracing_of
from cxtrace._version import version
from cxtrace._wiring import Wiring
from cxtrace.delivery import SpanDelivery
from cxtrace.exceptions import ConfigurationError
from cxtrace.exporters import TreeExporter, span_exporter
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import HmacPseudonymiser
from cxtrace.processors import StampProcessor
from cxtrace.propagation import CXPropagator
from cxtrace.sampling import DestinationSampler

_CONSOLE_DELAY: Final = 0.2

_LOADED: Final = (_ending, _instruments, _measures)
"""What a first touchpoint imports: a fork at that moment would leave the child half of it."""

_logger = logging.getLogger("cxtrace")
_lock = threading.Lock()


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
    event_signal: _runtime.EventSignal | None = None,
    signals_off: Sequence[str] | None = None,
    metrics_opt_in: Sequence[str] | None = None,
    spool: str | os.PathLike[str] | None = None,
    spool_max_bytes: int | str | None = None,
    spool_max_age: float | None = None,
    on_friction: Callable[[Any], object] | None = None,
) -> None:
    """Set cxtrace up, once, in an application. Libraries never call it.

    Builds providers of traces, metrics and logs, or joins those that are there, and never replaces
    one. What is not given comes from ``CXTRACE_<ARGUMENT>``, then from ``[tool.cxtrace]`` in
    ``pyproject.toml``, then from its default. ``OTEL_*`` variables keep their meaning. A second
    call changes nothing and says so.

    Args:
        service_name: Name of this service in every backend. Default: ``OTEL_SERVICE_NAME``.
        journey_map: A map, its file, a folder, or several files. The variable is ``CXTRACE_MAP``.
        exporter: ``otlp``, ``console``, ``file:PATH``, ``none`` or a ``SpanExporter``. Default:
            ``OTEL_TRACES_EXPORTER``; ``otlp`` where an OTLP endpoint is set; ``console`` on a
            terminal; else ``none``. A provider that is joined keeps its own exporters.
        sample: Share of new traces that is kept, from 0 to 1. Default: ``OTEL_TRACES_SAMPLER``.
        key: Secret of at least 32 bytes, the same in all your services: makes pseudonyms, and
            signs what services tell each other. Also in ``CXTRACE_KEY_FILE``. Default: random.
        trusted_hosts: Hosts that may be told of journey and customer, beside those of your own
            network: ``api.example.com``, ``*.example.com``.
        trust_inbound: Whose word about the journey counts: ``signed`` (with our key), ``always``
            or ``never``.
        unknown_destination: What a request carries whose host cannot be told: ``nothing``, or
            ``names`` of journey, stage and touchpoint, never an id.
        public_endpoint: Strangers call this service: a request that is not signed starts a new
            trace, linked to theirs. So nobody outside decides what you sample.
        consent_required: Treat consent that is unknown as denied.
        event_signal: Signals become events of the ``span``, ``log`` records, or ``both``. The
            default is ``both``, if somebody takes log records.
        signals_off: Kinds of signals that are not sent: ``emotion``, ``value`` and so on.
        metrics_opt_in: Metrics and labels of metrics to have beside those that are always there.
        spool: Folder for spans and log records that cannot be sent now. Default: memory alone.
        spool_max_bytes: Of spans, and again of log records, such as ``64MiB``, the default.
        spool_max_age: Seconds for which they are worth sending. Default: a day.
        on_friction: Called with each friction that is sent, but its own, in a thread of cxtrace.

    Raises:
        ConfigurationError: A setting cannot be what it is. Nothing has been changed, except that
            no customer is named from here on: the settings might have forbidden it.
        MapError: The journey map is wrong; likewise.
    """
    _configure({name: value for name, value in locals().items() if value is not None})


def _configure(arguments: Mapping[str, Any]) -> None:
    global wiring  # noqa: PLW0603
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
    found = trace.get_tracer_provider()
    resource = _resource(settings, found)
    with ExitStack() as undo:
        metrics = metric_pipeline(settings, resource)
        if metrics is not None:
            undo.callback(metrics.discard)
        logs = log_pipeline(settings, resource)
        if logs is not None:
            undo.callback(logs.discard)
        wired = evolve(_wire_spans(settings, found, resource), metrics=metrics, logs=logs)
        undo.pop_all()
    for pipeline in wired.pipelines:
        pipeline.install()
    if metrics is not None:
        _self_metrics.observe(wired.ledgers)
    _runtime.use(runtime_of(settings, tracing_of(wired.provider, version())))
    _use_propagator()
    _bind(settings.journey_map)
    _flush_at_exit()
    for delivery in wired.deliveries:
        delivery.begin()
    if settings.spool is not None and all(each.spool is None for each in wired.deliveries):
        _logger.warning(
            "cxtrace: spool has no effect: it is for an exporter of cxtrace that sends elsewhere"
        )
    return wired


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
        pseudonymiser=None if key is None else HmacPseudonymiser(key),
        consent_required=settings.consent_required,
        trusted_hosts=settings.trusted_hosts,
        trust_inbound=settings.trust_inbound,
        unknown_destination=settings.unknown_destination,
        public_endpoint=settings.public_endpoint,
        event_signal=settings.event_signal,
        signals_off=settings.signals_off,
        metrics_opt_in=settings.metrics_opt_in,
        on_friction=settings.on_friction,
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
    return SpanDelivery(exporter, delay=delay, spool=settings.spool_for(name, number))


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
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
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
