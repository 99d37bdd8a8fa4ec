"""A process that is configured as a service would be, and tells what is in force in it."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import PurePath
from typing import Any, Final

from attrs import fields
from opentelemetry import _logs, metrics, trace

from cxtrace import _config, _runtime, _wiring_facts
from cxtrace._settings import Settings
from cxtrace._wiring_facts import ExporterFacts, ProcessorFacts, WiringFacts
from cxtrace._wiring_parts import attempt, within
from cxtrace.exceptions import CXTraceError
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.doctor.patient import configured
from cxtrace.platform.explain.live import Destination, Live, MapFacts, Signal

_NOT_PLAIN: Final = ("key", "journey_map")
"""Settings that are told in other ways, or not at all."""


def diagnose(
    asked: Mapping[str, Any],
    app: Any,  # noqa: ARG001  for other patients
    refusal: CXTraceError | None,
    said: Iterable[str],  # noqa: ARG001
) -> dict[str, Any]:
    """What is in force, or why nothing is, as plain data.

    Args:
        asked: ``app``: whether one was imported.
        app: Not looked at.
        refusal: What ``configure()`` raised in it.
        said: Not looked at.
    """
    if not asked["app"]:
        refusal = configured()
    if refusal is not None:
        return {"trouble": str(refusal)}
    return {"live": look().to_dict()}


def look() -> Live:
    """What is in force in the process that calls."""
    facts, runtime = _wiring_facts.read(), _runtime.current
    return Live(
        state=facts.state,
        service=facts.service_name,
        settings=_settings(runtime),
        key=facts.key.state,
        key_id=facts.key.key_id,
        older_keys=facts.key.older,
        journey_map=None if runtime.journey_map is None else map_facts(runtime.journey_map),
        destinations=tuple(destinations(facts)),
        propagators=tuple(each.short for each in facts.propagators),
        sampler=None if facts.sampler is None else facts.sampler.description or facts.sampler.short,
        resource=tuple(_resource()),
        is_measuring_by_trace=attempt(_has_exemplars, True),
    )


def _settings(runtime: _runtime.Runtime) -> dict[str, Any]:
    """As they were given; what the runtime has is what is in force."""
    wired = _config.wiring
    given = Settings() if wired is None else wired.settings
    kept = [each.name for each in fields(Settings) if each.name not in _NOT_PLAIN]
    return {name: plain(getattr(runtime, name, getattr(given, name))) for name in kept}


def plain(value: Any) -> Any:
    """A setting as JSON has it; of an object, its name."""
    if isinstance(value, (frozenset, tuple)):
        return sorted(value)
    if isinstance(value, PurePath):
        return str(value)
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    known = value is None or isinstance(value, (str, bool, int, float))
    return value if known else type(value).__qualname__


def map_facts(journey_map: JourneyMap) -> MapFacts:
    """What a map makes possible."""
    planned = journey_map.touchpoints.values()
    has = {
        "context": bool(journey_map.context),
        "promises": bool(journey_map.promises),
        "happy": bool(journey_map.happiness),
        "influence": any(each.influence for each in planned),
        "type": any(each.type for each in planned),
        "initiator": any(each.initiator for each in planned),
        "expected_actions": any(each.expected_actions is not None for each in planned),
        "friction": any(journey_map.friction_at(each.name) for each in planned),
    }
    return MapFacts(
        journey_map.name,
        journey_map.version,
        journey_map.context,
        frozenset(name for name, is_there in has.items() if is_there),
    )


def destinations(facts: WiringFacts) -> Iterator[Destination]:
    """Who takes what, as far as it can be seen."""
    by_signal: dict[Signal, _wiring_facts.ProviderFacts] = {
        "traces": facts.traces,
        "metrics": facts.metrics,
        "logs": facts.logs,
    }
    has_spool = _has_spool()
    for signal, provider in by_signal.items():
        for part in provider.processors:
            if part.exporter is not None:
                is_ours = part.owner == "cxtrace" and signal != "metrics"
                yield _destination(signal, part, part.exporter, is_ours and has_spool)
            elif _may_send(part):
                yield Destination(signal, part.short, part.owner)
        if provider.origin == "others" and not provider.processors:
            yield Destination(signal, provider.short, provider.owner)


def _destination(
    signal: Signal, part: ProcessorFacts, exporter: ExporterFacts, is_spooled: bool
) -> Destination:
    """What an exporter tells; what writes on this machine needs no spool."""
    is_here = exporter.short.startswith(("Console", "Tree", "File"))
    waits = is_spooled and not is_here
    said = (exporter.short, exporter.owner, exporter.endpoint, exporter.headers)
    return Destination(signal, *said, waits, part.scrub)


def _may_send(part: ProcessorFacts) -> bool:
    """Whether a part that shows no exporter may hand on what it sees, in its own way."""
    return part.owner != "cxtrace"


def _has_spool() -> bool:
    wired = _config.wiring
    return wired is not None and wired.settings.spool is not None


def _resource() -> list[str]:
    getters = (trace.get_tracer_provider, metrics.get_meter_provider, _logs.get_logger_provider)
    found: set[str] = set()
    for get in getters:
        provider = within(get())
        for holder in (provider, getattr(provider, "_sdk_config", None)):
            found.update(attempt(partial(_keys, holder), ()))
    return sorted(found)


def _keys(holder: Any) -> list[str]:
    return list(holder.resource.attributes)


def _has_exemplars() -> bool:
    config: Any = getattr(metrics.get_meter_provider(), "_sdk_config", None)
    return type(config.exemplar_filter).__name__ != "AlwaysOffExemplarFilter"
