"""Cells that go straight to the SDK's aggregations count what the public calls count."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from cxtrace import _clock, _guard, _instruments, _metering, _runtime
from cxtrace.context import with_span

LABELS = (
    {"cx.touchpoint.name": "checkout.pay", "cx.stage.name": "purchase"},
    {"cx.touchpoint.name": "cart.view", "cx.stage.name": "purchase"},
    {},
)
KINDS = ("create_histogram", "create_counter", "create_up_down_counter")
SAMPLED = with_span(NonRecordingSpan(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))))
UNSAMPLED = with_span(
    NonRecordingSpan(SpanContext(1, 3, is_remote=False, trace_flags=TraceFlags(0)))
)
CONTEXTS = (SAMPLED, UNSAMPLED, Context())
DELTA = {Histogram: AggregationTemporality.DELTA, Counter: AggregationTemporality.DELTA}

Given = Sequence[tuple[int, int, int]]


def told(reader: InMemoryMetricReader) -> list[Any]:
    """What a reader collects, without the moments at which it happened."""
    data = reader.get_metrics_data()
    if data is None:
        return []
    return [
        (
            metric.name,
            type(metric.data).__name__,
            sorted(map(_point, metric.data.data_points), key=str),
        )
        for each in data.resource_metrics
        for scope in each.scope_metrics
        for metric in scope.metrics
    ]


def _point(point: Any) -> tuple[Any, ...]:
    exemplars = sorted(
        (e.value, e.trace_id, e.span_id, str(e.filtered_attributes)) for e in point.exemplars
    )
    kept = [
        getattr(point, name, None)
        for name in ("value", "count", "sum", "min", "max", "bucket_counts", "explicit_bounds")
    ]
    return dict(point.attributes), kept, exemplars


def fill(bind: Callable[..., Any], kind: str, given: Given, **options: Any) -> list[Any]:
    """Give the values to cells of one instrument, and collect twice."""
    temporality = options.pop("temporality", {})
    reader = InMemoryMetricReader(preferred_temporality=temporality)
    meter = MeterProvider([reader], shutdown_on_exit=False, **options).get_meter("test")
    instrument = getattr(meter, kind)("cx.test")
    cells = [bind(instrument, labels) for labels in LABELS]
    found = []
    for half in (given[: len(given) // 2], given[len(given) // 2 :]):
        for which, value, context in half:
            cells[which](value, CONTEXTS[context])
        found.append(told(reader))
    return found


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20_000), st.integers(0, 2)), max_size=30)
)
@settings(max_examples=25)
def test_cells_count_alike(kind: str, given: Given) -> None:
    """Whatever values come in whatever order, both ways give the same sums and buckets."""
    options = {"exemplar_filter": AlwaysOffExemplarFilter()}

    assert fill(_metering.bind, kind, given, **options) == fill(
        _instruments.bind, kind, given, **options
    )


GIVEN: Given = [(0, 3, 0), (0, 700, 1), (0, 4, 0), (1, 9, 2), (2, 1, 0), (0, 8, 0), (0, 7_000, 1)]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"temporality": DELTA}, id="delta"),
        pytest.param(
            {"views": [View(instrument_name="*", aggregation=DropAggregation())]}, id="dropped"
        ),
        pytest.param(
            {"views": [View(instrument_name="*", attribute_keys={"cx.stage.name"})]}, id="view"
        ),
        pytest.param({"views": [View(instrument_name="*", attribute_keys=set())]}, id="no labels"),
        pytest.param(
            {
                "views": [
                    View(
                        instrument_type=Histogram,
                        aggregation=ExponentialBucketHistogramAggregation(),
                    )
                ]
            },
            id="exponential",
        ),
        pytest.param({"exemplar_filter": AlwaysOnExemplarFilter()}, id="all exemplars"),
        pytest.param({"exemplar_filter": TraceBasedExemplarFilter()}, id="exemplars of traces"),
        pytest.param({"exemplar_filter": AlwaysOffExemplarFilter()}, id="no exemplars"),
    ],
)
def test_cells_obey_the_provider(options: dict[str, Any]) -> None:
    """Views, temporality and exemplar filters mean to a cell what they mean to the public calls."""
    ours = fill(_metering.bind, "create_histogram", GIVEN, **options)

    assert ours == fill(_instruments.bind, "create_histogram", GIVEN, **options)


def test_exemplars_are_offered_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bucket gets an exemplar at once, and a newer one when some time has gone by."""
    if not hasattr(MeterProvider().get_meter("test").create_counter("c"), "_is_enabled"):
        pytest.skip("with this OpenTelemetry every value goes the public way")
    now = 1_000_000_000
    monkeypatch.setattr(_clock, "wall_ns", lambda: now)
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("test")
    cell = _metering.bind(meter.create_histogram("h"), LABELS[0])
    shown = []
    for moment, value in ((0, 1), (1, 2), (1, 600), (50, 3), (51, 4), (52, 601), (20, 7)):
        now = 1_000_000_000 + moment * 1_000_000
        cell(value, SAMPLED)
        shown.append([value for value, *_ in told(reader)[0][2][0][2]])

    assert shown == [[1], [2], [600], [], [4], [601], [7]]


def test_several_readers() -> None:
    """Each reader of a provider gets every value."""
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    counter = MeterProvider(readers, shutdown_on_exit=False).get_meter("test").create_counter("c")
    cell = _metering.bind(counter, LABELS[0])
    for _ in range(3):
        cell(2, Context())

    assert [told(reader)[0][2][0][1][0] for reader in readers] == [6, 6]


def test_first_value_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell finds its aggregation anew in a child, where the parent's sums are gone."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    cell = _metering.bind(provider.get_meter("test").create_counter("c"), LABELS[0])
    cell(5, Context())
    cell(5, Context())
    (storage,) = provider._measurement_consumer._reader_storages.values()
    storage._instrument_view_instrument_matches = {}
    monkeypatch.setattr(_runtime, "forks", _runtime.forks + 1)
    cell(1, Context())
    cell(1, Context())

    assert told(reader)[0][2][0][1][0] == 2


def test_strangers_are_left_alone() -> None:
    """An instrument that is not the SDK's own is used by its public calls."""
    counter = NoOpMeterProvider().get_meter("test").create_counter("c")

    assert type(_metering.bind(counter, LABELS[0])) is type(_instruments.bind(counter, LABELS[0]))


def test_overflow_stays_the_public_way() -> None:
    """Labels past the SDK's limit lose no count, whether or not there is a limit."""
    reader = InMemoryMetricReader()
    counter = MeterProvider([reader], shutdown_on_exit=False).get_meter("test").create_counter("c")
    for number in range(2_000):
        counter.add(1, {"n": number})
    cell = _metering.bind(counter, LABELS[0])
    for _ in range(3):
        cell(1, Context())

    assert sum(kept[0] for _, kept, _ in told(reader)[0][2]) == 2_003


def test_a_disabled_meter_takes_nothing() -> None:
    """A meter that is switched off while the service runs is off for cells too."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("test")
    counter: Any = meter.create_counter("c")
    if not hasattr(counter, "_is_enabled"):
        pytest.skip("this OpenTelemetry cannot switch a meter off")
    cell = _metering.bind(counter, LABELS[0])
    cell(1, Context())
    cell(1, Context())
    counter._meter_config = SimpleNamespace(is_enabled=False)
    for each in (cell, _metering.bind(counter, LABELS[0])):
        each(1, Context())

    assert told(reader)[0][2][0][1][0] == 2


def test_a_cell_whose_sum_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the SDK has put a value cannot be told: all later ones go the public way as well."""
    reader = InMemoryMetricReader()
    counter = MeterProvider([reader], shutdown_on_exit=False).get_meter("test").create_counter("c")
    monkeypatch.setattr(_metering, "_aggregation", lambda match, labels: None)
    cell = _metering.bind(counter, LABELS[0])
    for _ in range(3):
        cell(2, Context())

    assert told(reader)[0][2][0][1][0] == 6


def test_a_provider_without_readers() -> None:
    """Where nobody reads, values go nowhere, and nothing fails."""
    counter = MeterProvider([], shutdown_on_exit=False).get_meter("test").create_counter("c")
    cell = _metering.bind(counter, LABELS[0])
    for _ in range(2):
        cell(2, Context())

    assert _guard.counts() == {}


def test_without_readers_the_sdk_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that comes late gets every later value."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    consumer, asked = provider._measurement_consumer, []
    storages, consumer._reader_storages = consumer._reader_storages, {}
    counter = provider.get_meter("test").create_counter("c")
    if not hasattr(counter, "_is_enabled"):
        pytest.skip("this OpenTelemetry has no cells of ours")

    def put(value: float, context: Context) -> None:
        asked.append(value)
        counter.add(value, LABELS[0], context)

    cell = _metering._SDKCell(counter, LABELS[0], put)
    for _ in range(3):
        cell(2, Context())
    consumer._reader_storages = storages
    for _ in range(3):
        cell(3, Context())

    assert asked == [2, 3]
    assert told(reader)[0][2][0][1][0] == 9


def test_sums_that_are_made_anew_are_not_kept() -> None:
    """A sum that the SDK drops with each collection is looked for with each value."""
    assert _metering._aggregation(SimpleNamespace(_reset_on_collect=True), LABELS[0]) is None


def test_a_reader_that_comes_between() -> None:
    """A reader that is added while a cell is bound gets every later value."""
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    provider = MeterProvider(readers, shutdown_on_exit=False)
    consumer = provider._measurement_consumer
    both = consumer._reader_storages
    consumer._reader_storages = {readers[0]: both[readers[0]]}
    counter = provider.get_meter("test").create_counter("c")

    if not hasattr(counter, "_is_enabled"):
        pytest.skip("this OpenTelemetry has no cells of ours")

    def put(value: float, context: Context) -> None:
        counter.add(value, LABELS[0], context)
        consumer._reader_storages = both

    cell = _metering._SDKCell(counter, LABELS[0], put)
    for _ in range(3):
        cell(2, Context())

    assert [told(reader)[0][2][0][1][0] for reader in readers] == [6, 4]
