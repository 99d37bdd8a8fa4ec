"""See a run as an SRE will see it: touchpoints as a tree, events, and metrics as in Prometheus."""

import sys
from collections.abc import Iterator
from typing import Any

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric, Sum
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import cxtrace
from cxtrace import interaction, journey, touchpoint
from cxtrace.exporters import TreeExporter

spans = InMemorySpanExporter()
reader = InMemoryMetricReader()


def set_up() -> None:
    metrics.set_meter_provider(MeterProvider([reader]))
    cxtrace.configure(service_name="shop", journey_map="examples/journeys.toml", exporter=spans)


def look(about: str) -> None:
    """Print the tree, and the events and metrics whose names begin like this."""
    cxtrace.flush()
    TreeExporter(sys.stdout).export(spans.get_finished_spans())
    for span in spans.get_finished_spans():
        for event in span.events:
            if event.name.startswith(about):
                print(f"event {event.name}")
                print_own(event.attributes or {})
    for metric in measured():
        if metric.name.startswith(about):
            print(*series(metric), sep="\n")


def print_own(attributes: Any) -> None:
    """What an event says beside the place, which all events have."""
    place = ("cx.touchpoint.name", "cx.stage.name", "cx.owner.function", "cx.journey.name")
    for key, value in attributes.items():
        if key not in place:
            print(f"  {key:<28}{round(value, 6) if isinstance(value, float) else value}")


def measured() -> Iterator[Metric]:
    """All metrics by now."""
    data = reader.get_metrics_data()
    for of_resource in [] if data is None else data.resource_metrics:
        for of_scope in of_resource.scope_metrics:
            yield from of_scope.metrics


def series(metric: Metric) -> Iterator[str]:
    """The lines of a metric as Prometheus shows them; of a histogram without its buckets."""
    name = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
    if isinstance(metric.data, Sum) and metric.data.is_monotonic:
        name += "_total"
    for point in metric.data.data_points:
        if hasattr(point, "value"):
            yield f"{name} {point.value:g}"
        else:
            yield f"{name}_count {point.count}\n{name}_sum {point.sum:g}"
        for key, value in sorted((point.attributes or {}).items()):
            yield f'  {key.replace(".", "_")}="{value}"'


if __name__ == "__main__":
    set_up()
    with journey("first_order"), touchpoint("cart.view"), interaction("change_quantity"):
        ...
    look("cx.touchpoint.")
