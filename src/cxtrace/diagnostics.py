"""What cxtrace did in this process: what was delivered and lost, refused and swallowed."""

from collections.abc import Mapping
from typing import Any, Literal

from attrs import asdict, field, fields, frozen

from cxtrace import _config, _guard, _runtime, _wiring_facts
from cxtrace._ledger import Ledger
from cxtrace._pipelines import LogPipeline, MetricPipeline
from cxtrace._wiring import Wiring, furthest_behind
from cxtrace._wiring_facts import WiringFacts, plain
from cxtrace.binding import BoundFunction, bound_functions
from cxtrace.spool import SpoolState


@frozen
class MetricLedger:
    """Metrics of this process, of all sources, since it was configured.

    Attributes:
        provider: ``built`` by cxtrace, or ``joined``: then the exporters are the host's own.
        exporter: Ours, by name; None where it is the host's own.
        exported: Data points that the exporters say they delivered; a sum counts each time.
        failed: Data points that an exporter gave up on. A cumulative sum comes again.
    """

    provider: Literal["built", "joined"]
    exporter: str | None = None
    exported: int = 0
    failed: int = 0


@frozen(kw_only=True)
class LogLedger(Ledger):
    """Log records of this process, of all sources, since it was configured.

    Attributes:
        provider: ``built`` by cxtrace, or ``joined``: then the exporters are the host's own, and
            nothing is counted.
        exporter: Ours, by name; None where it is the host's own.
    """

    provider: Literal["built", "joined"]
    exporter: str | None = None


@frozen
class Report:
    """The state of cxtrace in this process.

    Attributes:
        provider: ``built`` by cxtrace, ``joined``, ``apart`` (it takes no processors), or None
            where ``configure()`` was not called.
        exporter: The one in force, by name; None where it is the host's own.
        journey_map: Name and version, or None.
        key_id: Of the key for pseudonyms; ``ephemeral`` where none was given; None until used.
        older_keys: Ids of the other keys that are believed.
        key_fault: Why the file of keys, as it is now, is not used; None where all is well.
        spans: What became of spans, of all sources; None where no exporter is ours. Of several
            exporters, the one that is furthest behind.
        metrics: What became of metrics; None where nobody takes them.
        logs: What became of log records, likewise.
        counts: Input that was refused and errors that were swallowed, by kind.
        bindings: Functions that the map binds, and whether each is ``bound``, ``missing``, or
            ``waiting`` for its module to be imported.
        spool: What lies on disk, of all processes that share the spool, by ``spans`` and ``logs``;
            as it was when it was last looked at; left out until then.
        wiring: Which providers, processors, exporters, propagators and sampler are at work, and
            whose they are.
    """

    provider: Literal["built", "joined", "apart"] | None
    exporter: str | None
    journey_map: str | None
    key_id: str | None
    spans: Ledger | None
    metrics: MetricLedger | None
    logs: LogLedger | None
    counts: Mapping[str, int]
    bindings: tuple[BoundFunction, ...] = ()
    spool: Mapping[str, SpoolState] = field(factory=dict)
    wiring: WiringFacts | None = field(default=None, eq=False)
    older_keys: tuple[str, ...] = ()
    key_fault: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dictionaries, for a health page."""
        return asdict(self, value_serializer=plain)


def report() -> Report:
    """What cxtrace did in this process so far."""
    wired = _config.wiring
    runtime = _runtime.current
    journey_map = runtime.journey_map
    key = _wiring_facts.key_facts(runtime)
    return Report(
        provider=None if wired is None else wired.mode,
        exporter=None if wired is None else wired.named,
        journey_map=None if journey_map is None else f"{journey_map.name} {journey_map.version}",
        key_id=key.key_id,
        older_keys=key.older,
        key_fault=key.fault,
        spans=None if wired is None or not wired.spans else furthest_behind(wired.spans),
        metrics=None if wired is None else _metrics(wired.metrics),
        logs=None if wired is None else _logs(wired.logs),
        counts=_guard.counts(),
        bindings=bound_functions(),
        spool={} if wired is None else _spooled(wired),
        wiring=_wiring_facts.read(),
    )


def _spooled(wired: Wiring) -> dict[str, SpoolState]:
    disks = ((each.courier.word, each.disk) for each in wired.deliveries)
    states = ((word, disk.state) for word, disk in disks if disk is not None)
    return {word: state for word, state in states if state is not None}


def _metrics(pipeline: MetricPipeline | None) -> MetricLedger | None:
    if pipeline is None:
        return None
    return MetricLedger(pipeline.mode, pipeline.named, pipeline.exported, pipeline.failed)


def _logs(pipeline: LogPipeline | None) -> LogLedger | None:
    if pipeline is None:
        return None
    found = furthest_behind(pipeline.deliveries) if pipeline.deliveries else Ledger()
    counts = {each.name: getattr(found, each.name) for each in fields(Ledger)}
    return LogLedger(provider=pipeline.mode, exporter=pipeline.named, **counts)
