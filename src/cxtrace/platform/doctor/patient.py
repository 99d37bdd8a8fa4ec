"""The patient: a process that is configured as a service would be, and examined from within."""

import os
import secrets
import time
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Final

from attrs import evolve
from opentelemetry import _logs, metrics, trace
from opentelemetry.trace import SpanKind

from cxtrace import _config, _guard, _runtime, _wiring_facts
from cxtrace._settings import Settings
from cxtrace._wiring_parts import (
    attempt,
    endpoint_of,
    exporter_of,
    headers_of,
    processors_of,
    sampler_of,
)
from cxtrace.binding import bound_functions
from cxtrace.delivery import SpoolSettings
from cxtrace.exceptions import CXTraceError
from cxtrace.platform.doctor import probe as probes
from cxtrace.platform.doctor.checks import ASKING, LOOKING, examine, tidy
from cxtrace.platform.doctor.endpoints import skewed
from cxtrace.platform.doctor.folder import contents
from cxtrace.platform.doctor.queries import find
from cxtrace.platform.doctor.subject import Finding, Subject

_LOWEST: Final = 1
_HIGHEST: Final = 2**128 - 1
_TRIES: Final = 30


def diagnose(
    asked: Mapping[str, Any],
    app: Any = None,
    refusal: CXTraceError | None = None,
    said: Iterable[str] = (),
) -> dict[str, Any]:
    """Everything that is found, as plain data.

    Args:
        asked: ``app`` (was one imported), ``query``, ``timeout`` and ``probe`` of the command.
        app: The application that was imported, if it could be found.
        refusal: What ``configure()`` raised in it.
        said: What was logged meanwhile; read when everything has been started.
    """
    if not asked["app"]:
        refusal = configured()
    looked_at = subject(app=app, is_app=bool(asked["app"]), refusal=refusal, said=tuple(said))
    found = examine(looked_at, LOOKING)
    wiring = None if refusal is not None else looked_at.facts.to_dict()
    probe = None
    if asked["probe"]:
        found = tidy([*found, *examine(looked_at, ASKING)])
        if looked_at.facts.state == "configured":
            is_taken = any(each.exporter for each in looked_at.facts.traces.processors)
            probe, told = _probed(asked["query"], asked["timeout"], is_taken)
            found = tidy([*found, *told])
    if wiring is not None:
        wiring["spool"] = looked_at.spool and contents(looked_at.spool)
    return {
        "findings": [each.to_dict() for each in found],
        "wiring": wiring,
        "probe": None if probe is None else probe.to_dict(),
    }


def configured() -> CXTraceError | None:
    """Configure as a service would, unless its zero-code start has done so."""
    if _config.wiring is None:
        try:
            _config.configure()
        except CXTraceError as error:
            return error
    return None


def subject(
    app: Any = None,
    is_app: bool = False,
    refusal: CXTraceError | None = None,
    said: tuple[str, ...] = (),
    environ: Mapping[str, str] = os.environ,
) -> Subject:
    """What the checks look at, of the process that calls."""
    wired, provider = _config.wiring, trace.get_tracer_provider()
    return Subject(
        facts=_wiring_facts.read(),
        environ=dict(environ),
        refusal=refusal,
        said=said,
        is_app=is_app,
        app=app,
        keeps_nothing=attempt(lambda: _keeps_nothing(sampler_of(provider)), False),
        journey_map=_runtime.current.journey_map,
        bindings=bound_functions(),
        spool=None if wired is None else _spool(wired.settings),
        is_exporter_open=wired is not None and _is_open(wired.settings.exporter, environ),
        record_exceptions=_runtime.current.record_exceptions,
        blocked=_blocked(_guard.counts()),
        headers=attempt(_headers, {}),
    )


def _blocked(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if name.startswith("personal.")}


def _keeps_nothing(sampler: Any) -> bool:
    """Whether a sampler drops every root; one by a ratio above 0 keeps one of the two ends."""
    if sampler is None:
        return False
    ids = [_LOWEST, _HIGHEST, *(secrets.randbits(128) for _ in range(_TRIES))]
    asked = (
        sampler.should_sample(None, trace_id, probes.TOUCHPOINT, SpanKind.SERVER, {}, ())
        for trace_id in ids
    )
    return all(result.decision.name == "DROP" for result in asked)


def _spool(settings: Settings) -> SpoolSettings | None:
    if settings.spool is None:
        return None
    return SpoolSettings(settings.spool, settings.spool_max_bytes, settings.spool_max_age)


def _is_open(exporter: object, environ: Mapping[str, str]) -> bool:
    return exporter is None and not environ.get("OTEL_TRACES_EXPORTER", "").strip()


def _headers() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    getters = (trace.get_tracer_provider, metrics.get_meter_provider, _logs.get_logger_provider)
    for processor in chain.from_iterable(processors_of(get()) for get in getters):
        exporter = exporter_of(processor)
        endpoint = None if exporter is None else endpoint_of(exporter)
        if endpoint is not None:
            found.setdefault(endpoint, {}).update(headers_of(exporter))
    return found


def _probed(
    query: str | None, timeout: float, is_taken: bool
) -> tuple[probes.Probe, list[Finding]]:
    until = time.monotonic() + timeout
    probe, ended = probes.send(timeout, is_taken=is_taken)
    if query is None:
        return probe, list(probes.findings(probe))
    probe = evolve(probe, is_asked_for=True)
    backend = find(query)
    if isinstance(backend, str):
        advice = "Give --query the address of Jaeger, Tempo or VictoriaTraces, as people open it."
        told = Finding("query-unknown", "error", f"{backend}.", advice)
        return probe, [*probes.findings(probe), told]
    skew = list(skewed(backend.skew, backend.name)) if backend.skew is not None else []
    if probe.is_sampled:
        probe = probes.look_for(probe, ended, backend, max(until - time.monotonic(), 0.0))
    return probe, [*probes.findings(probe), *skew]
