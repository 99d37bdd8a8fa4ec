"""Tickets of a help desk as complaints: ``python examples/webhooks_helpdesk.py``.

The requests have the shape and the signature of Zendesk's ticket events.
"""

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from wsgiref.simple_server import WSGIRequestHandler, make_server

from in_the_terminal import look, reader, spans
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider

import cxtrace
from cxtrace import JourneyMap
from cxtrace.attributes import ComplaintState
from cxtrace.integrations.webhooks import HmacSignature, Receiver, Signal, Visit

SECRET = "from your environment, not from your code"
CUSTOMERS = {"8447388090494": "cust-42"}  # the desk's ids and yours: a table of your own
STATES: dict[tuple[str, str], ComplaintState] = {
    ("NEW", "OPEN"): "acknowledged",
    ("OPEN", "SOLVED"): "resolved",
    ("PENDING", "SOLVED"): "resolved",
    ("SOLVED", "OPEN"): "reopened",
}


def tickets(event: dict[str, Any]) -> Iterator[Visit]:
    """What became of a complaint. Subject, description and names stay where they are."""
    ticket, change = event["detail"], event["event"]
    state: ComplaintState | None = None
    if event["type"] == "zen:event-type:ticket.created":
        state = "opened"
    elif event["type"] == "zen:event-type:ticket.status_changed":
        state = STATES.get((change["previous"], change["current"]))
    if state is not None and "complaint" in ticket["tags"]:
        yield Visit(
            Signal.complaint(state),
            customer=CUSTOMERS.get(ticket["requester_id"]),
            journey="get_help",
            journey_id=f"ticket-{ticket['id']}",
            channel="email" if ticket["via"]["channel"] == "email" else None,
        )


desk = Receiver(
    touchpoint="support.ticket",
    check=HmacSignature(
        SECRET,
        header="X-Zendesk-Webhook-Signature",
        encoding="base64",
        signed="{timestamp}{body}",
        timestamp="X-Zendesk-Webhook-Signature-Timestamp",
    ),
    translate=tickets,
    delivery_id=lambda event: event["id"],
)

MAP = """
schema = "cxtrace.map/1"
name = "shop"

[functions]
service = { contact = "service@example.com" }

[[stage]]
name = "service"
phase = "customer"

[[touchpoint]]
name = "support.ticket"
stage = "service"
owner = "service"

[[journey]]
name = "get_help"
"""


def ticket_event(number: int, what: str, **change: str) -> bytes:
    """A body as the help desk sends it, but for properties that nobody here reads."""
    event = {
        "type": f"zen:event-type:ticket.{what}",
        "account_id": 4711,
        "id": f"5c1f0000-0000-4000-8000-{number:012}",
        "time": "2026-01-05T10:12:07.672717030Z",
        "zendesk_event_version": "2022-11-06",
        "subject": "zen:ticket:81",
        "detail": {
            "id": "81",
            "requester_id": "8447388090494",
            "status": change.get("current", "NEW"),
            "subject": "My coat is still not here, says Ada Lovelace",
            "tags": ["complaint", "parcel"],
            "via": {"channel": "email"},
        },
        "event": change,
    }
    return json.dumps(event).encode()


def post(address: str, body: bytes, secret: str = SECRET) -> int:
    """Do what the help desk does, and say what it was answered."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    signature = hmac.digest(secret.encode(), now.encode() + body, "sha256")
    headers = {
        "Content-Type": "application/json",
        "X-Zendesk-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Zendesk-Webhook-Signature-Timestamp": now,
    }
    try:
        with urlopen(Request(address, body, headers), timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code


class Quiet(WSGIRequestHandler):
    """Logs no requests."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


if __name__ == "__main__":
    metrics.set_meter_provider(MeterProvider([reader]))
    cxtrace.configure(service_name="desk", journey_map=JourneyMap.loads(MAP), exporter=spans)
    with make_server("127.0.0.1", 0, desk.wsgi, handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        created = ticket_event(1, "created")
        print("created  ", post(url, created))
        print("again    ", post(url, created))
        print("forged   ", post(url, ticket_event(2, "created"), "a guess"))
        print(
            "answered ",
            post(url, ticket_event(3, "status_changed", previous="NEW", current="OPEN")),
        )
        print(
            "solved   ",
            post(url, ticket_event(4, "status_changed", previous="OPEN", current="SOLVED")),
        )
        server.shutdown()
    look("cx.complaint")
    print(cxtrace.report().counts)
