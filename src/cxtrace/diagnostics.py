"""What cxtrace did in this process: what was delivered and lost, refused and swallowed."""

from collections.abc import Mapping
from typing import Any, Literal

from attrs import Factory, asdict, field, frozen

from cxtrace import _config, _guard, _runtime
from cxtrace._pipelines import LogPipeline, MetricPipeline
from cxtrace._wiring import Wiring
from cxtrace.binding import BoundFunction, bound_functions


@frozen
class SpanLedger:
    """Spans of this process, all sources together, since it was configured.

    Attributes:
        ended: Sampled spans that ended.
        exported: Spans that the exporter says it delivered.
        failed: Spans that the exporter gave up on.
        waiting: Spans not handed to the exporter: queued, or dropped by a full queue.
    """

    ended: int = 0
    exported: int = 0
    failed: int = 0
    waiting: int = field(
        init=False,
        default=Factory(lambda self: max(self.ended - self.exported - self.failed, 0), True),
    )


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


@frozen
class LogLedger:
    """Log records of this process, of all sources, since it was configured.

    Attributes:
        provider: ``built`` by cxtrace, or ``joined``: then the exporters are the host's own.
        exporter: Ours, by name; None where it is the host's own.
        emitted: Log records that were handed to a provider of ours.
        exported: Log records that the exporter says it delivered.
        failed: Log records that the exporter gave up on.
        waiting: Log records not handed to the exporter: queued, or dropped by a full queue.
    """

    provider: Literal["built", "joined"]
    exporter: str | None = None
    emitted: int = 0
    exported: int = 0
    failed: int = 0
    waiting: int = field(
        init=False,
        default=Factory(lambda self: max(self.emitted - self.exported - self.failed, 0), True),
    )


@frozen
class Report:
    """The state of cxtrace in this process.

    Attributes:
        provider: ``built`` by cxtrace, ``joined``, ``apart`` (it takes no processors), or None
            where ``configure()`` was not called.
        exporter: The one in force, by name; None where it is the host's own.
        journey_map: Name and version, or None.
        key_id: Of the key for pseudonyms; ``ephemeral`` where none was given; None until used.
        spans: The ledger; None where no exporter is ours.
        metrics: Theirs; None where nobody takes metrics.
        logs: Those of log records; None where nobody takes them.
        counts: Input that was refused and errors that were swallowed, by kind.
        bindings: Functions that the map binds, and whether each is ``bound``, ``missing``, or
            ``waiting`` for its module to be imported.
    """

    provider: Literal["built", "joined", "apart"] | None
    exporter: str | None
    journey_map: str | None
    key_id: str | None
    spans: SpanLedger | None
    metrics: MetricLedger | None
    logs: LogLedger | None
    counts: Mapping[str, int]
    bindings: tuple[BoundFunction, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dictionaries, for a health page."""
        return {**asdict(self), "bindings": [asdict(each) for each in self.bindings]}


def report() -> Report:
    """What cxtrace did in this process so far."""
    wired = _config.wiring
    runtime = _runtime.current
    journey_map = runtime.journey_map
    return Report(
        provider=None if wired is None else wired.mode,
        exporter=None if wired is None else wired.named,
        journey_map=None if journey_map is None else f"{journey_map.name} {journey_map.version}",
        key_id=None if runtime.key is None else runtime.key.key_id,
        spans=None if wired is None else _spans(wired),
        metrics=None if wired is None else _metrics(wired.metrics),
        logs=None if wired is None else _logs(wired.logs),
        counts=_guard.counts(),
        bindings=bound_functions(),
    )


def _spans(wired: Wiring) -> SpanLedger | None:
    if not wired.exporters:
        return None
    ended = wired.stamp.ended
    behind = min(wired.exporters, key=lambda exporter: exporter.exported)
    return SpanLedger(ended, behind.exported, behind.failed)


def _metrics(pipeline: MetricPipeline | None) -> MetricLedger | None:
    if pipeline is None:
        return None
    exported = sum(exporter.exported for exporter in pipeline.exporters)
    failed = sum(exporter.failed for exporter in pipeline.exporters)
    return MetricLedger(pipeline.mode, pipeline.named, exported, failed)


def _logs(pipeline: LogPipeline | None) -> LogLedger | None:
    if pipeline is None:
        return None
    if not pipeline.exporters:
        return LogLedger(pipeline.mode)
    emitted = pipeline.emitted
    behind = min(pipeline.exporters, key=lambda exporter: exporter.exported)
    return LogLedger(pipeline.mode, pipeline.named, emitted, behind.exported, behind.failed)
