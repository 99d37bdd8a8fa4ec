"""What cxtrace did in this process: spans delivered and lost, input refused, errors swallowed."""

from collections.abc import Mapping
from typing import Any, Literal

from attrs import Factory, asdict, field, frozen

from cxtrace import _config, _guard, _runtime


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
class Report:
    """The state of cxtrace in this process.

    Attributes:
        provider: ``built`` by cxtrace, ``joined``, ``apart`` (it takes no processors), or None
            where ``configure()`` was not called.
        exporter: The one in force, by name; None where it is the host's own.
        journey_map: Name and version, or None.
        key_id: Of the key for pseudonyms; ``ephemeral`` where none was given; None until used.
        spans: The ledger; None where no exporter is ours.
        counts: Input that was refused and errors that were swallowed, by kind.
    """

    provider: Literal["built", "joined", "apart"] | None
    exporter: str | None
    journey_map: str | None
    key_id: str | None
    spans: SpanLedger | None
    counts: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dictionaries, for a health page."""
        return asdict(self)


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
        spans=None if wired is None else _ledger(wired),
        counts=_guard.counts(),
    )


def _ledger(wired: _config.Wiring) -> SpanLedger | None:
    if not wired.exporters:
        return None
    ended = wired.stamp.ended
    behind = min(wired.exporters, key=lambda exporter: exporter.exported)
    return SpanLedger(ended, behind.exported, behind.failed)
