"""Cells that reach the SDK's sum or buckets without checking their labels again on every value.

The SDK validates, copies and hashes the labels of each measurement; ours are valid and always the
same. So the first value goes the public way, and later ones straight to the aggregation that it
made. A provider, a reader or a setting that is not understood gets every value the public way.
"""

# ruff: noqa: SLF001  the SDK has no public way to bind an instrument to its labels

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import TraceBasedExemplarFilter
from opentelemetry.trace import TraceFlags

from cxtrace import _clock, _instruments, _runtime
from cxtrace._instruments import Cell, Labels
from cxtrace.context import SPAN_KEY

_MODULE: Final = "opentelemetry.sdk.metrics._internal.instrument"
_ONE_PER_BUCKET: Final = {"_ExplicitBucketHistogramAggregation", "_SumAggregation"}
_EXEMPLAR_EVERY: Final = 50_000_000
"""Nanoseconds until a bucket is offered an exemplar again."""

_LOCK: Final = type(threading.Lock())
_CONSUMER: Final = "SynchronousMeasurementConsumer"


class _Measurement(NamedTuple):
    """What an aggregation reads of the SDK's own measurement."""

    value: float
    time_unix_nano: int
    instrument: Any
    context: Context
    attributes: Labels


class _SDKCell:
    """One instrument of the SDK with one set of labels."""

    __slots__ = (
        "_aggregates", "_boundaries", "_consumer", "_filter", "_follows_trace", "_forks",
        "_instrument", "_is_enabled", "_is_sparing", "_labels", "_offered", "_public", "_storages",
    )  # fmt: skip

    def __init__(self, instrument: Any, labels: Labels, public: Cell) -> None:
        self._instrument = instrument
        self._labels = labels
        self._public = public
        self._consumer = instrument._measurement_consumer
        self._filter = self._consumer._sdk_config.exemplar_filter
        self._is_sparing = False
        self._follows_trace = type(self._filter) is TraceBasedExemplarFilter
        self._is_enabled = instrument._is_enabled
        self._storages: Any = None
        self._forks = -1
        self._aggregates: tuple[Callable[[Any, bool], None], ...] = ()
        self._boundaries: Sequence[float] = ()
        self._offered: list[int] = []

    def __call__(self, value: float, context: Context) -> None:
        """Take a value."""
        if self._consumer._reader_storages is not self._storages or self._forks != _runtime.forks:
            self._public(value, context)
            self._bind()
            return
        if not self._aggregates or not self._is_enabled():
            return
        now, labels = _clock.wall_ns(), self._labels
        measurement = _Measurement(value, now, self._instrument, context, labels)
        sampled = (
            _is_sampled(context) and self._is_due(value, now)
            if self._is_sparing
            else self._filter.should_sample(value, now, labels, context)
        )
        for aggregate in self._aggregates:
            aggregate(measurement, sampled)

    def _is_due(self, value: float, now: int) -> bool:
        """Whether the bucket of ``value`` has had no exemplar for a while.

        A bucket keeps one until it is collected, and to offer it costs more than all the rest.
        """
        bucket = bisect_left(self._boundaries, value)
        if 0 <= now - self._offered[bucket] < _EXEMPLAR_EVERY:
            return False
        self._offered[bucket] = now
        return True

    def _bind(self) -> None:
        """Find what the first value has made; where it cannot be told, stay with the public way."""
        storages, forks = self._consumer._reader_storages, _runtime.forks
        found = []
        for storage in storages.values():
            matches = storage._instrument_view_instrument_matches.get(self._instrument)
            if not matches:
                return  # did not take the value: the meter is disabled, or the reader came after it
            for match in matches:
                aggregation = _aggregation(match, self._labels)
                if aggregation is None:
                    return
                found.append(aggregation)
        # Without a reader there is nothing to count for, until one is added to a new dict of them.
        kinds = {type(each).__name__ for each in found}
        self._is_sparing = self._follows_trace and kinds <= _ONE_PER_BUCKET
        boundaries = getattr(found[0], "_boundaries", ()) if found else ()
        self._offered = [0] * (len(boundaries) + 1)
        self._boundaries = boundaries
        for each in found:
            _make_reentrant(each)
            _make_reentrant(getattr(each, "_reservoir", None))
        self._aggregates = tuple(each.aggregate for each in found)
        self._storages, self._forks = storages, forks


def _make_reentrant(part: Any) -> None:
    """Let a signal handler or a finaliser, which interrupts us while we count, count as well."""
    lock: Any = getattr(part, "_lock", None)
    if type(lock) is _LOCK:
        with lock:
            part._lock = threading.RLock()


def _is_sampled(context: Context) -> bool:
    """What the SDK's own filter by trace finds out, of a context that holds a span of ours."""
    span: Any = context.get(SPAN_KEY)
    return span is not None and bool(span.get_span_context().trace_flags & TraceFlags.SAMPLED)


def _aggregation(match: Any, labels: Labels) -> Any:
    if getattr(match, "_reset_on_collect", False):
        return None  # each collection begins with new aggregations
    keys = match._view._attribute_keys
    kept = labels if keys is None else {key: labels[key] for key in labels if key in keys}
    aggregations = list(match._attributes_aggregation.values())
    return next((each for each in aggregations if each._attributes == kept), None)


def bind(instrument: Any, labels: Labels) -> Cell:
    """The fastest cell that is surely right."""
    public = _instruments.bind(instrument, labels)
    if not _is_understood(instrument):
        return public
    return _SDKCell(instrument, labels, public)


def _is_understood(instrument: Any) -> bool:
    consumer = getattr(instrument, "_measurement_consumer", None)
    return (
        type(instrument).__module__ == _MODULE
        and type(consumer).__name__ == _CONSUMER
        and hasattr(instrument, "_is_enabled")
    )
