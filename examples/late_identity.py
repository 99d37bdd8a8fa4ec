"""The customer becomes known in the middle of a request; the spans still open learn it."""

from opentelemetry import trace
from opentelemetry.trace import SpanKind

import cxtrace
from cxtrace import touchpoint

tracer = trace.get_tracer("shop")


ACCOUNTS = {"ann": "cust-42"}


@touchpoint("account.login", stage="purchase", owner="it")
def log_in(name: str) -> str:
    with tracer.start_as_current_span("SELECT shop.users"):
        account = ACCOUNTS[name]
    cxtrace.identify(account, kind="person", consent="granted")
    return account


if __name__ == "__main__":
    cxtrace.configure(service_name="shop", exporter="console")
    # An instrumented web framework makes this span for you.
    with tracer.start_as_current_span("POST /login", kind=SpanKind.SERVER):
        log_in("ann")
