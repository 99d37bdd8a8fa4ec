"""What one service tells the next: everything to a host of ours, nothing to a stranger.

Both ends are in one process here. In real services the instrumentation of the HTTP client calls
``inject``, and that of the web framework calls ``extract``.
"""

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import SpanKind

import cxtrace
from cxtrace import customer, journey, touchpoint

tracer = trace.get_tracer("http-client")


def headers_for(url: str) -> dict[str, str]:
    """What an instrumented HTTP client adds to a request."""
    headers: dict[str, str] = {}
    attributes = {"url.full": url}
    with tracer.start_as_current_span("POST", kind=SpanKind.CLIENT, attributes=attributes):
        inject(headers)
    return headers


def serve(headers: dict[str, str]) -> None:
    """What an instrumented web framework does with them."""
    token = attach(extract(headers))
    try:
        context = cxtrace.current_context()
        known = context.journey.name if context and context.journey else "no journey"
        print("the next service knows:", known)
    finally:
        detach(token)


if __name__ == "__main__":
    cxtrace.configure(exporter="none", key="an example key of 32 bytes, no more")
    with (
        journey("first_order"),
        customer("cust-42", consent="granted"),
        touchpoint("checkout.pay", stage="purchase", owner="product"),
    ):
        to_us = headers_for("http://payments.internal/authorise")
        to_a_stranger = headers_for("https://bank.example.com/charge")

    for member in to_us["baggage"].split(","):
        print(member.partition("=")[0])
    serve(to_us)
    print("to a stranger:", sorted(to_a_stranger))
    to_us["baggage"] = to_us["baggage"].replace("first_order", "another_one")
    serve(to_us)
    print("refused:", cxtrace.report().counts["baggage.forged"])
