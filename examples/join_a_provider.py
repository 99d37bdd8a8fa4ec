"""Join a tracer provider that is there already: its exporters stay, its spans get the tags."""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import cxtrace
from cxtrace import touchpoint

theirs = InMemorySpanExporter()

if __name__ == "__main__":
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    trace.set_tracer_provider(provider)

    cxtrace.configure(journey_map="examples/journeys.toml")

    database = trace.get_tracer("database")
    with touchpoint("checkout.pay"), database.start_as_current_span("SELECT shop.orders"):
        pass

    for span in theirs.get_finished_spans():
        print(span.name, "at", span.attributes["cx.touchpoint.name"])
    print("provider:", cxtrace.report().provider)
