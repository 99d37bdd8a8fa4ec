"""What consent changes: the same touchpoint under four states."""

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import cxtrace
from cxtrace import customer, journey, touchpoint

LINKS_A_PERSON = ("enduser.pseudo.id", "cx.journey.id")

if __name__ == "__main__":
    sent = InMemorySpanExporter()
    cxtrace.configure(service_name="shop", exporter=sent)

    for consent in ("granted", "not_required", "denied", "withdrawn"):
        with (
            customer("cust-42", consent=consent),
            journey("first_order"),
            touchpoint("cart.view", stage="purchase", owner="sales"),
        ):
            pass

    cxtrace.flush()
    for span in sent.get_finished_spans():
        found = [key for key in LINKS_A_PERSON if key in span.attributes]
        print(f"{span.attributes['cx.consent.state']:<12}", span.name, found)
