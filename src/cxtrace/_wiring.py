"""What ``configure()`` put together, and how it is flushed and shut down."""

from collections.abc import Sequence
from time import monotonic
from typing import Any, Literal

from attrs import field, frozen

from cxtrace import _guard, _observers
from cxtrace._deadline import seconds, within
from cxtrace._ledger import Ledger
from cxtrace._pipelines import LogPipeline, MetricPipeline, flush_of_others
from cxtrace._settings import Settings
from cxtrace.delivery import LogDelivery, SpanDelivery
from cxtrace.processors import StampProcessor


@frozen
class Wiring:
    """What ``configure()`` put together in this process."""

    settings: Settings
    provider: Any = field(repr=False)
    mode: Literal["built", "joined", "apart"]
    named: str | None
    stamp: StampProcessor = field(repr=False)
    spans: tuple[SpanDelivery, ...] = field(default=(), repr=False)
    metrics: MetricPipeline | None = field(default=None, repr=False)
    logs: LogPipeline | None = field(default=None, repr=False)

    @property
    def pipelines(self) -> list[MetricPipeline | LogPipeline]:
        """What takes metrics and log records."""
        return [each for each in (self.metrics, self.logs) if each is not None]

    @property
    def deliveries(self) -> list[SpanDelivery | LogDelivery]:
        """What we deliver ourselves."""
        return [*self.spans, *(() if self.logs is None else self.logs.deliveries)]

    def ledgers(self) -> list[tuple[str, Ledger]]:
        """What became of spans, log records and data points; of several exporters, the slowest."""
        found: list[tuple[str, Ledger]] = []
        for word, deliveries in (
            ("spans", self.spans),
            ("logs", self.logs and self.logs.deliveries),
        ):
            if deliveries:
                found.append((word, furthest_behind(deliveries)))
        if self.metrics is not None and self.metrics.exporters:
            exported, failed = self.metrics.exported, self.metrics.failed
            dropped = {"failed": failed} if failed else {}
            found.append(("metrics", Ledger(exported + failed, 0, exported, dropped=dropped)))
        return found

    @property
    def has_parts_of_others(self) -> bool:
        """Whether telemetry leaves by anything but our own deliveries."""
        joined_logs = self.logs is not None and not self.logs.deliveries
        return self.metrics is not None or joined_logs or not self.spans


def furthest_behind(deliveries: Sequence[SpanDelivery | LogDelivery]) -> Ledger:
    """The ledger of the exporter that has delivered least."""
    return min((each.ledger for each in deliveries), key=lambda ledger: ledger.exported)


def flush(wired: Wiring, timeout: float) -> bool:
    """Whether all that waits was delivered or is on disk, within so many seconds."""
    until = monotonic() + seconds(timeout)
    told = _observers.drain(seconds(timeout))  # First: a hook may open touchpoints.
    # Our threads work while this one waits for OpenTelemetry's.
    asked = [(each.courier, each.courier.ask()) for each in wired.deliveries]
    done = not wired.has_parts_of_others or within(
        until - monotonic(), "_flush", lambda: _flush_others(wired, timeout)
    )
    delivered = [courier.wait(ticket, until) for courier, ticket in asked]
    return told and done and all(delivered)


def shut_down(wired: Wiring, timeout: float) -> bool:
    """Whether everything was delivered, or is on disk, before our parts, and no others, stopped."""
    until = monotonic() + seconds(timeout)
    told = _observers.drain(seconds(timeout) / 2)
    if not told:
        _guard.count("on_friction.dropped", _observers.waiting())
    couriers = [each.courier for each in wired.deliveries]
    asked = [(courier, courier.ask_to_close(until)) for courier in couriers]
    done = within(until - monotonic(), "_shutdown", lambda: _shut_others_down(wired, timeout))
    delivered = [courier.close(ticket, until) for courier, ticket in asked]
    return told and done and all(delivered)


def _flush_others(wired: Wiring, timeout: float) -> bool:
    done = [pipeline.flush(timeout) for pipeline in wired.pipelines]
    return all([*done, _flush_provider(wired, timeout)])


def _flush_provider(wired: Wiring, timeout: float) -> bool:
    if wired.mode == "built" or wired.spans:
        return True
    can_flush = hasattr(wired.provider, "force_flush")
    return can_flush and flush_of_others(wired.provider, timeout)


def _shut_others_down(wired: Wiring, timeout: float) -> bool:
    done = [pipeline.shutdown(timeout) for pipeline in wired.pipelines]
    if wired.mode == "built":
        done.append(_guard.attempt("shutdown", wired.provider.shutdown))
    return all([*done, _flush_provider(wired, timeout)])
