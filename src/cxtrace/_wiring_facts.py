"""The health of the wiring: what is at work in this process, in which order, and whose it is.

Read from the live objects and not from the settings, so that what others have changed since
``configure()`` is seen too. Names, numbers and places alone: no key, no value of a header, no
password of an address.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from attrs import asdict, frozen
from opentelemetry import _logs, metrics, propagate, trace

from cxtrace import _config, _runtime
from cxtrace._keys import EPHEMERAL
from cxtrace._process_facts import ProcessFacts, others, process
from cxtrace._wiring_parts import (
    attempt,
    endpoint_of,
    exporter_of,
    headers_of,
    name_of,
    owner_of,
    processors_of,
    sampler_of,
    scrub_of,
    within,
)

Origin: TypeAlias = Literal["built", "joined", "apart", "others", "none"]
"""Of a provider: ours; of others and joined, untouched or unknown to us; or nobody has set one."""

_PROXIES: Final = ("ProxyTracerProvider", "_ProxyMeterProvider", "ProxyLoggerProvider")


@frozen
class PartFacts:
    """Something that is at work.

    Attributes:
        name: Its class, with its module.
        owner: The package that has it: ``cxtrace``, ``opentelemetry`` or that of others.
    """

    name: str
    owner: str

    @property
    def short(self) -> str:
        """The class without its module."""
        return self.name.rpartition(".")[2]


@frozen
class ExporterFacts(PartFacts):
    """What sends.

    Attributes:
        endpoint: Where to, without user, password and query; None where that is not known.
        protocol: ``grpc`` or ``http/protobuf`` of OTLP, else None.
        headers: Names of the headers that are sent along.
    """

    endpoint: str | None = None
    protocol: Literal["grpc", "http/protobuf"] | None = None
    headers: tuple[str, ...] = ()


@frozen
class ProcessorFacts(PartFacts):
    """What spans or log records pass through, or what reads metrics.

    Attributes:
        exporter: What it hands them to, if anything.
        scrub: What leaves beside the list that `scrub` lets through; None where all leaves.
    """

    exporter: ExporterFacts | None = None
    scrub: tuple[str, ...] | None = None


@frozen
class ProviderFacts(PartFacts):
    """Where spans, metrics or log records begin.

    Attributes:
        origin: Whose it is.
        processors: In the order in which they are called.
    """

    origin: Origin
    processors: tuple[ProcessorFacts, ...] = ()


@frozen
class SamplerFacts(PartFacts):
    """What decides which traces are kept.

    Attributes:
        description: What it says of itself.
    """

    description: str


@frozen
class LimitFacts:
    """How much fits on a span; None means without limit."""

    attributes: int | None
    attribute_length: int | None
    events: int | None
    event_attributes: int | None


@frozen
class KeyFacts:
    """The key of pseudonyms and signatures; never the key itself.

    Attributes:
        state: ``given``; ``ephemeral``, drawn at random because none was given; or ``missing``,
            where nothing has needed one so far.
        key_id: Its fingerprint, or the name that it was given.
        older: Ids of the other keys that are believed.
        fault: Why the file of keys, as it is now, is not used.
    """

    state: Literal["given", "ephemeral", "missing"]
    key_id: str | None
    older: tuple[str, ...] = ()
    fault: str | None = None


@frozen
class WiringFacts:
    """All that is at work.

    Attributes:
        state: Whether ``configure()`` was called, or OpenTelemetry is switched off.
        traces: Where spans begin.
        metrics: Where metrics begin.
        logs: Where log records begin.
        is_replaced: Whether spans begin elsewhere now than ``configure()`` has seen.
        sampler: None where it is not known.
        limits: None where they are not known.
        propagators: In the order in which they are called.
        service_name: As backends show it; None where it is not known.
        journey_map: Name and version, or None.
        key: Its state.
        others: Other agents that trace this process.
        process: The process itself.
    """

    state: Literal["configured", "disabled", "not_configured"]
    traces: ProviderFacts
    metrics: ProviderFacts
    logs: ProviderFacts
    is_replaced: bool
    sampler: SamplerFacts | None
    limits: LimitFacts | None
    propagators: tuple[PartFacts, ...]
    service_name: str | None
    journey_map: str | None
    key: KeyFacts
    others: tuple[str, ...]
    process: ProcessFacts

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain dictionaries, for a health page."""
        return asdict(self, value_serializer=plain)


def plain(_owner: object, _field: object, value: Any) -> Any:
    """A value as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def read() -> WiringFacts:
    """What is at work now. Never raises."""
    wired, runtime = _config.wiring, _runtime.current
    provider = trace.get_tracer_provider()
    journey_map = runtime.journey_map
    parts = None if wired is None else (wired.metrics, wired.logs)
    of_metrics, of_logs = (None, None) if parts is None else parts
    return WiringFacts(
        state=_state(wired, runtime),
        traces=_provider(provider, None if wired is None else (wired.provider, wired.mode)),
        metrics=_provider(metrics.get_meter_provider(), _known(of_metrics)),
        logs=_provider(_logs.get_logger_provider(), _known(of_logs)),
        is_replaced=wired is not None and wired.provider is not provider,
        sampler=_sampler(provider),
        limits=_limits(provider),
        propagators=attempt(lambda: tuple(_propagators(propagate.get_global_textmap())), ()),
        service_name=_service_name(provider),
        journey_map=None if journey_map is None else f"{journey_map.name} {journey_map.version}",
        key=key_facts(runtime),
        others=others(),
        process=process(),
    )


def _known(pipeline: Any) -> tuple[Any, Origin] | None:
    return None if pipeline is None else (pipeline.provider, pipeline.mode)


def _state(wired: object, runtime: _runtime.Runtime) -> Any:
    if wired is not None:
        return "configured"
    return "disabled" if isinstance(runtime.tracing, _runtime.NoTracing) else "not_configured"


def _provider(provider: object, known: tuple[Any, Origin] | None) -> ProviderFacts:
    name, owner = name_of(provider), owner_of(provider)
    if owner == "opentelemetry" and type(provider).__name__ in _PROXIES:
        return ProviderFacts(name, owner, "none")
    origin: Origin = known[1] if known is not None and known[0] is provider else "others"
    return ProviderFacts(name, owner, origin, attempt(lambda: tuple(_processors(provider)), ()))


def _processors(provider: object) -> Iterator[ProcessorFacts]:
    for part in processors_of(provider):
        exporter = exporter_of(part)
        facts = None if exporter is None else exporter_facts(exporter)
        scrub = attempt(partial(scrub_of, part))
        yield ProcessorFacts(name_of(part), owner_of(part), facts, scrub)


def exporter_facts(exporter: object) -> ExporterFacts:
    """What an exporter tells of itself."""
    name = name_of(exporter)
    protocol: Any = "grpc" if ".proto.grpc." in name else None
    protocol = "http/protobuf" if ".proto.http." in name else protocol
    headers = attempt(lambda: tuple(headers_of(exporter)), ())
    return ExporterFacts(
        name, owner_of(exporter), attempt(lambda: endpoint_of(exporter)), protocol, headers
    )


def _sampler(provider: object) -> SamplerFacts | None:
    sampler = sampler_of(provider)
    if sampler is None:
        return None
    described = attempt(lambda: str(sampler.get_description()), "")
    return SamplerFacts(name_of(sampler), owner_of(sampler), described)


def _limits(provider: object) -> LimitFacts | None:
    limits = getattr(within(provider), "_span_limits", None)
    if limits is None:
        return None
    found: LimitFacts | None = attempt(
        lambda: LimitFacts(
            limits.max_span_attributes,
            limits.max_span_attribute_length,
            limits.max_events,
            limits.max_event_attributes,
        )
    )
    return found


def _service_name(provider: object) -> str | None:
    found = getattr(getattr(within(provider), "resource", None), "attributes", None)
    return None if found is None else attempt(lambda: str(found.get("service.name", "")))


def _propagators(propagator: Any) -> Iterator[PartFacts]:
    # Logfire puts one of its own around all others.
    wrapped = getattr(propagator, "wrapped", None)
    inner: Iterable[Any] | None = getattr(propagator, "_propagators", wrapped and (wrapped,))
    if inner is None:
        yield PartFacts(name_of(propagator), owner_of(propagator))
        return
    for each in inner:
        yield from _propagators(each)


def key_facts(runtime: _runtime.Runtime) -> KeyFacts:
    """What is to be known of the keys."""
    if runtime.key is None:
        return KeyFacts("missing", None)
    key_id, *older = (key.key_id for key in runtime.key.keys)
    state: Literal["given", "ephemeral"] = "ephemeral" if key_id == EPHEMERAL else "given"
    return KeyFacts(state, key_id, tuple(older), getattr(runtime.key, "fault", None))
