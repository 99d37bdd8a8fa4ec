"""The customer becomes known in the middle of a request; the spans still open learn it."""

from opentelemetry import trace
from opentelemetry.trace import SpanKind

import cxtrace
from cxtrace import touchpoint

tracer = trace.get_tracer("shop")


def log_in(name: str, password: str) -> str:
    with tracer.start_as_current_span("SELECT shop.users"):
        account = "cust-42"
    cxtrace.identify(account, kind="person", consent="granted")
    return account


if __name__ == "__main__":
    cxtrace.configure(service_name="shop", exporter="console")
    # An instrumented web framework makes this span for you.
    with tracer.start_as_current_span("POST /login", kind=SpanKind.SERVER):
        with touchpoint("account.login", stage="purchase", owner="it"):
            log_in("ann", "secret")
