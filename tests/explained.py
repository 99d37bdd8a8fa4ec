"""A shop that says everything there is to say, as the tests of ``cxtrace explain`` have it."""

from typing import Final

MAP: Final = """\
schema = "cxtrace.map/1"
name = "shop"
version = "7"
context = ["weather"]
[functions]
sales = { happy = "touchpoint.outcome == 'completed'" }
it = {}
[friction]
repeat_action = { count = 3, within = "60s" }
[[stage]]
name = "choice"
phase = "pre_customer"
[[stage]]
name = "purchase"
phase = "customer"
[promise.fast]
claim = "Your cart in a minute"
source = "sla"
metric = "touchpoint.duration"
op = "<="
target = 60
unit = "s"
[[touchpoint]]
name = "cart.view"
stage = "choice"
owner = "sales"
channel = ["web"]
initiator = "customer"
type = "action"
influence = { sales = 0.6, it = 0.4 }
expected_actions = 2
promises = ["fast"]
[[touchpoint]]
name = "pay"
stage = "purchase"
owner = "it"
[[journey]]
name = "order"
goal = "pay"
[journey.routes]
direct = ["cart.view", "pay"]
"""

PLAIN_MAP: Final = """\
schema = "cxtrace.map/1"
name = "plain"
[functions]
sales = {}
[[stage]]
name = "choice"
phase = "pre_customer"
[[touchpoint]]
name = "cart.view"
stage = "choice"
owner = "sales"
"""

SERVICE: Final = '''\
"""Says everything of a customer whose consent is the argument; prints the headers of calls."""

import json
import sys

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

import cxtrace
from cxtrace import customer, interaction, journey, touchpoint, walkthrough

cxtrace.configure()
consent = sys.argv[1] if len(sys.argv) > 1 else None
headers = []


def call(host):
    tracer = trace.get_tracer("http")
    where = {"server.address": host}
    with tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=where):
        carrier = {}
        propagate.inject(carrier)
        headers.append([host, carrier])


def everything(tp):
    tp.set({
        "cx.context.weather": "rainy",
        "cx.quality.speed": 0.5,
        "cx.touchpoint.first_contact": True,
        "session.id": "s-1",
        "favourite.colour": "blue",
    })
    for _ in range(4):
        with interaction("search") as found:
            found.set({
                "cx.context.weather": "rainy",
                "cx.quality.depth": 0.5,
                "cx.touchpoint.first_contact": False,
                "session.id": "s-1",
            })
            tp.friction("no_response")
    with interaction("upload") as found:
        found.fail("too_large")
    tp.retry(0.1)
    tp.friction("slow", severity="high")
    tp.emotion("anger", source="text", valence=-0.5, arousal=0.5, confidence=0.5)
    tp.feedback("nps", 3)
    tp.complaint("opened", friction="slow")
    tp.complaint("resolved")
    tp.mention("friends", valence=0.5, phase="customer")
    tp.handoff(to="it", waited=2.0)
    tp.value(49.9, "EUR", type="revenue")
    tp.forecast("churn", probability=0.3, model="rule@1", horizon=60)
    bar = tp.nudge("bar", technique="reminder", flag="bar", variant="b")
    bar.accepted()
    call("127.0.0.1")
    call("api.stranger.example")


one = customer("cust-42", kind="person", segment="smb", consent=consent)
with one, journey("order", route="direct"):
    with touchpoint("cart.view", owner="sales", channel="web") as tp:
        everything(tp)
    with touchpoint("cart.view", owner="sales") as tp:
        with interaction("look"):
            pass
        tp.outcome("abandoned")
    with touchpoint("pay", owner="it") as tp:
        tp.fail("card_declined")
    try:
        with touchpoint("pay", owner="it"):
            raise LookupError("no account for eve@example.com")
    except LookupError:
        pass
    with touchpoint("pay", owner="it") as tp:
        cxtrace.flush()
with one, journey("order"):
    with touchpoint("elsewhere"):
        pass
with one, walkthrough("2026-09-ceo-1", persona="first-time buyer"), journey("order"):
    with touchpoint("cart.view", owner="sales"):
        with interaction("look"):
            pass
        call("localhost")
cxtrace.shutdown()
print(json.dumps(dict(headers)))
'''
