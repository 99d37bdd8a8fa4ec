"""How spans and log records leave: queued, sent in batches, kept where that fails, and counted.

OpenTelemetry's batch processors lose a batch that fails and count nothing. These lose only what
finds no room, and say how much. Their settings are OpenTelemetry's: ``OTEL_BSP_…`` for spans,
``OTEL_BLRP_…`` for log records.
"""

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeAlias, TypeVar

from attrs import frozen
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import TraceFlags

from cxtrace import _guard, _records
from cxtrace._answers import Sender
from cxtrace._courier import Courier
from cxtrace._deadline import DEADLINE, seconds
from cxtrace._flights import BATCH, QUEUE, Limits
from cxtrace._keeper import Disk
from cxtrace._ledger import DROPPED, RECOVERED, SPOOLED, Books, Ledger
from cxtrace._spool.format import Signal
from cxtrace.exceptions import ConfigurationError
from cxtrace.spool import Spool

T = TypeVar("T")
Scrub: TypeAlias = Callable[[Sequence[Any]], list[Any]]
"""Makes new spans for these, that may leave the process."""

_SAMPLED: Final = TraceFlags.SAMPLED
_DELAYS: Final = {"BSP": 5_000, "BLRP": 1_000}


@frozen
class SpoolSettings:
    """Where a spool is, and its limits.

    Attributes:
        folder: Of all processes of the host that are to share it.
        max_bytes: Of all spans in it, and again of all log records.
        max_age: Seconds.
    """

    folder: Path
    max_bytes: int
    max_age: float


class _Delivery:
    """What both kinds share: one exporter, its queue and its books."""

    def __init__(
        self,
        word: Signal,
        exporter: Any,
        limits: Limits,
        spool: SpoolSettings | None,
        scrub: Scrub | None = None,
    ) -> None:
        self.exporter = exporter
        self._scrub = scrub
        send = self._scrubbed(Sender(exporter).send)
        self.courier = Courier(word, send, self._end, limits, Books())
        self.disk = None if spool is None else self._disk(spool, spool.folder / word)
        self.courier.keeper = self.disk

    def _scrubbed(self, way: Callable[[Sequence[Any]], T]) -> Callable[[Sequence[Any]], T]:
        """A way out of the process, to the exporter or to the disk, that takes nothing unscrubbed.

        What comes from the disk may be of a time when nothing was: it is scrubbed, once more.
        """
        scrub = self._scrub
        return way if scrub is None else lambda items: way(scrub(items))

    def _disk(self, settings: SpoolSettings, folder: Path) -> Disk:
        spool = Spool(
            folder,
            max_bytes=settings.max_bytes,
            max_age=settings.max_age,
            on_drop=self._dropped,
        )
        encode, decode = _CODECS[self.courier.word]
        return Disk(self.courier, spool, folder, self._scrubbed(encode), decode)

    def _dropped(self, signal: str, reason: str, items: int, is_own: bool) -> None:
        courier = self.courier
        with courier.lock:
            courier.count(*((SPOOLED, -items) if is_own else (RECOVERED, items)))
            courier.count(DROPPED[reason], items)

    @property
    def ledger(self) -> Ledger:
        """What became of everything so far."""
        return self.courier.ledger

    def begin(self) -> None:
        """Send what other processes have left in the spool; else the first item begins it all."""
        if self.disk is not None and not self.disk.spool.is_empty():
            self.courier.start()
            self.courier.ask()

    def after_fork(self) -> None:
        """Begin anew in a child, which sends nothing of its parent's."""
        self._call("after_fork")
        self.courier.after_fork()

    def _end(self) -> None:
        self._call("shutdown")

    def _call(self, name: str) -> None:
        """Call a method of the exporter, if it has it; what it raises stays here."""
        method = getattr(self.exporter, name, None)
        if method is not None:
            _guard.attempt(f"exporter.{name}", method)

    def force_flush(self, timeout_millis: int | None = 30_000) -> bool:
        """As OpenTelemetry calls it."""
        timeout = seconds(30.0 if timeout_millis is None else timeout_millis / 1_000)
        return self.courier.wait(self.courier.ask(), monotonic() + timeout)

    def shutdown(self) -> None:
        """As OpenTelemetry calls it: ends within two seconds."""
        if not self.courier.is_closing:
            until = monotonic() + DEADLINE
            self.courier.close(self.courier.ask_to_close(until), until)


class SpanDelivery(_Delivery, SpanProcessor):
    """Delivers the sampled spans of a provider to one exporter.

    Args:
        exporter: Of OpenTelemetry's kind. It may raise, be slow or never answer.
        delay: Seconds between two sendings; default ``OTEL_BSP_SCHEDULE_DELAY``.
        spool: Where spans are kept that cannot be sent.
        scrub: Makes new spans for these, that may leave the process.

    Raises:
        ConfigurationError: One of ``OTEL_BSP_…`` cannot be what it is.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        delay: float | None = None,
        spool: SpoolSettings | None = None,
        scrub: Scrub | None = None,
    ) -> None:
        super().__init__("spans", exporter, limits("BSP", delay), spool, scrub)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span; an error of ours never reaches the host."""
        try:
            identity = span.get_span_context()
            if identity is not None and identity[3] & _SAMPLED:
                self.courier.put(span)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("delivery.spans", error)


class LogDelivery(_Delivery, LogRecordProcessor):
    """Delivers log records to one exporter.

    Args:
        exporter: Of OpenTelemetry's kind. It may raise, be slow or never answer.
        spool: Where records are kept that cannot be sent.

    Raises:
        ConfigurationError: One of ``OTEL_BLRP_…`` cannot be what it is.
    """

    def __init__(self, exporter: LogRecordExporter, *, spool: SpoolSettings | None = None) -> None:
        super().__init__("logs", exporter, limits("BLRP"), spool)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue the record; an error of ours never reaches the host."""
        try:
            self.courier.put(_readable(log_record))
        except Exception as error:  # noqa: BLE001
            _guard.swallow("delivery.logs", error)


def _readable(record: ReadWriteLogRecord) -> ReadableLogRecord:
    """What an exporter gets, without the context, which would be kept alive."""
    kept = copy.copy(record.log_record)
    kept.context = Context()
    return ReadableLogRecord(
        log_record=kept,
        resource=Resource.create({}) if record.resource is None else record.resource,
        instrumentation_scope=record.instrumentation_scope,
        limits=record.limits,
    )


_CODECS: Final[dict[str, tuple[Callable[[Sequence[Any]], bytes], Callable[[bytes], list[Any]]]]] = {
    "spans": (_records.encode_spans, _records.decode_spans),
    "logs": (_records.encode_logs, _records.decode_logs),
}


def limits(word: str, delay: float | None = None) -> Limits:
    """The limits that OpenTelemetry's variables set.

    Args:
        word: ``BSP`` or ``BLRP``.
        delay: Seconds, if the variable is not to decide.

    Raises:
        ConfigurationError: One of them is not above zero, or a batch is larger than the queue.
    """
    queue = _number(f"OTEL_{word}_MAX_QUEUE_SIZE", QUEUE)
    batch = _number(f"OTEL_{word}_MAX_EXPORT_BATCH_SIZE", min(BATCH, queue))
    if batch > queue:
        msg = (
            f"OTEL_{word}_MAX_EXPORT_BATCH_SIZE={batch} is more than "
            f"OTEL_{word}_MAX_QUEUE_SIZE={queue}: make the queue larger or the batch smaller"
        )
        raise ConfigurationError(msg)
    pause = _number(f"OTEL_{word}_SCHEDULE_DELAY", _DELAYS[word]) / 1_000
    return Limits(queue, batch, pause if delay is None else delay)


def _number(name: str, default: int) -> int:
    given = os.environ.get(name, "").strip()
    try:
        found = int(given or default)
    except ValueError:
        _guard.warn_once(name, "cxtrace: %s is no whole number; %s is used", name, default)
        return default
    if found <= 0:
        raise ConfigurationError(f"{name}={found} must be above zero")
    return found
