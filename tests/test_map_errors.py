"""Every mistake in a journey map has a message: file, line, key, wrong value, what to write."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace.exceptions import CXTraceError, MapError, Problem
from cxtrace.journey_map import JourneyMap

MAP = """\
schema = "cxtrace.map/1"
name = "shop"
version = "7"
context = ["weather"]
[functions]
it = { contact = "#it" }
sales = {}
[[stage]]
name = "browse"
phase = "pre_customer"
[[stage]]
name = "purchase"
phase = "customer"
[promise.pay_fast]
claim = "Pay fast"
source = "sla"
metric = "touchpoint.duration"
op = "<="
target = 2.0
unit = "s"
objective = 0.99
[[touchpoint]]
name = "cart.view"
stage = "browse"
owner = "sales"
[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
channel = ["web"]
initiator = "customer"
type = "action"
owner = "it"
influence = { it = 0.5, sales = 0.5 }
interactions = ["confirm"]
expected_actions = 3
promises = ["pay_fast"]
friction = { slow = { after = "1s" } }
match = [{ route = "POST /pay" }]
importance = "critical"
[[journey]]
name = "first_order"
goal = "checkout.pay"
[journey.routes]
express = ["cart.view", "checkout.pay"]
"""
PAY = "touchpoint[checkout.pay]"
RULE = "lower-case letters, digits and _, with dots between words"


def problems(text: str) -> list[str]:
    """The problems of a text, each as its line."""
    with pytest.raises(MapError) as caught:
        JourneyMap.loads(text, "m.toml")
    return [str(problem) for problem in caught.value.problems]


def line(written: str) -> int:
    """The line of the map on which something is written."""
    return MAP[: MAP.index(written)].count("\n") + 1


def test_the_map_of_these_tests_is_right() -> None:
    """Each test below spoils one thing of a valid map."""
    assert JourneyMap.loads(MAP).name == "shop"


# What is written, what is written instead, and key and message of the one problem.
ONE_PROBLEM = [
    # closed sets
    ('["web"]', '["wbe"]', f'{PAY}.channel[0]: "wbe" is not a channel; did you mean "web"?'),
    (
        '["web"]',
        '["teleportation"]',
        f'{PAY}.channel[0]: "teleportation" is not a channel;'
        " write one of: web, mobile_app, email, phone, chat, messenger, store, social, …",
    ),
    ('["web"]', "[1]", f"{PAY}.channel[0]: 1 is not a channel;"
     " write one of: web, mobile_app, email, phone, chat, messenger, store, social, …"),
    (
        '"pre_customer"',
        '"precustomer"',
        'stage[browse].phase: "precustomer" is not a phase; did you mean "pre_customer"?',
    ),
    (
        'initiator = "customer"',
        'initiator = "Customer"',
        f'{PAY}.initiator: "Customer" is not an initiator; did you mean "customer"?',
    ),
    (
        'type = "action"',
        'type = "thing"',
        f'{PAY}.type: "thing" is not a type of touchpoint; write one of: communication, action',
    ),
    ('"<="', '"=<"', 'promise.pay_fast.op: "=<" is not a comparison; did you mean "<="?'),
    (
        'source = "sla"',
        'source = "slogan"',
        'promise.pay_fast.source: "slogan" is not a source of promises; did you mean "sla"?',
    ),
    (
        '"touchpoint.duration"',
        '"touchpoint.time"',
        'promise.pay_fast.metric: "touchpoint.time" is not a metric of promises;'
        ' did you mean "touchpoint.duration"?',
    ),
    (
        '"critical"',
        '"urgent"',
        f'{PAY}.importance: "urgent" is not an importance; write one of: normal, critical',
    ),
    (
        "{ slow =",
        "{ slwo =",
        f'{PAY}.friction.slwo: "slwo" is not a kind of friction; did you mean "slow"?',
    ),
    # references
    (
        'stage = "purchase"',
        'stage = "purchse"',
        f'{PAY}.stage: "purchse" is not a stage of this map; did you mean "purchase"?',
    ),
    (
        'owner = "it"',
        'owner = "payments"',
        f'{PAY}.owner: "payments" is not a function of this map; write one of: it, sales',
    ),
    (
        "sales = 0.5",
        "saels = 0.5",
        f'{PAY}.influence.saels: "saels" is not a function of this map; did you mean "sales"?',
    ),
    (
        '["pay_fast"]',
        '["pay_slow"]',
        f'{PAY}.promises[0]: "pay_slow" is not a promise of this map; did you mean "pay_fast"?',
    ),
    (
        'express = ["cart.view"',
        'express = ["cart.veiw"',
        'journey[first_order].routes.express[0]: "cart.veiw" is not a touchpoint of this map;'
        ' did you mean "cart.view"?',
    ),
    (
        'goal = "checkout.pay"',
        'goal = "checkout.paid"',
        'journey[first_order].goal: "checkout.paid" is not a touchpoint of this map;'
        ' did you mean "checkout.pay"?',
    ),
    (
        'express = ["cart.view", "checkout.pay"]',
        'express = ["cart.view"]',
        'journey[first_order].goal: "checkout.pay" is on no route of this journey;'
        " write one of: cart.view",
    ),
    # numbers
    (
        "it = 0.5",
        "it = 0.6",
        f"{PAY}.influence: the weights {{ it = 0.6, sales = 0.5 }} sum to 1.1; make them sum to 1",
    ),
    (
        "{ it = 0.5, sales = 0.5 }",
        "{}",
        f"{PAY}.influence: the weights {{}} sum to 0; make them sum to 1",
    ),
    (
        "it = 0.5",
        "it = -0.5",
        f"{PAY}.influence.it: -0.5 is not between 0 and 1; write a share such as 0.5",
    ),
    (
        "it = 0.5",
        'it = "half"',
        f'{PAY}.influence.it: "half" is not a number; write one such as 0.5',
    ),
    (
        "it = 0.5",
        "it = true",
        f"{PAY}.influence.it: true is not a number; write one such as 0.5",
    ),
    (
        "objective = 0.99",
        "objective = 1",
        "promise.pay_fast.objective: 1 is not between 0 and 1, both excluded;"
        " write a share such as 0.99",
    ),
    (
        "objective = 0.99",
        "objective = 99.0",
        "promise.pay_fast.objective: 99.0 is not between 0 and 1, both excluded;"
        " write a share such as 0.99",
    ),
    (
        "objective = 0.99",
        "objective = '99%'",
        'promise.pay_fast.objective: "99%" is not a number; write one such as 0.99',
    ),
    (
        "target = 2.0",
        "target = nan",
        "promise.pay_fast.target: nan is not a finite number; write one such as 10.0",
    ),
    (
        "target = 2.0",
        "target = -inf",
        "promise.pay_fast.target: -inf is not a finite number; write one such as 10.0",
    ),
    (
        "target = 2.0",
        "target = false",
        "promise.pay_fast.target: false is not a number; write one such as 10.0",
    ),
    (
        "target = 2.0",
        f"target = {'9' * 400}",
        f"promise.pay_fast.target: {'9' * 59}… is not a finite number; write one such as 10.0",
    ),
    (
        "expected_actions = 3",
        "expected_actions = -1",
        f"{PAY}.expected_actions: -1 is not between 0 and 1000000; write a number such as 3",
    ),
    (
        "expected_actions = 3",
        "expected_actions = 2.5",
        f"{PAY}.expected_actions: 2.5 is not a whole number; write one such as 3",
    ),
    (
        "expected_actions = 3",
        "expected_actions = true",
        f"{PAY}.expected_actions: true is not a whole number; write one such as 3",
    ),
    (
        'unit = "s"',
        'unit = "sec"',
        'promise.pay_fast.unit: "sec" is not a unit of time, which touchpoint.duration needs;'
        " write one of: ms, s, min, h, d, wk",
    ),
    # text
    ('version = "7"', "version = 7", 'version: 7 is not text; write "7"'),
    ('version = "7"', "version = [7]", 'version: [7] is not text; write "7"'),
    ('name = "shop"', 'name = " "', 'name: " " is empty; write text such as "shop"'),
    (
        'claim = "Pay fast"',
        'claim = "Pay\\u0007fast"',
        'promise.pay_fast.claim: "Pay\\u0007fast" holds the control character U+0007; remove it',
    ),
    (
        'claim = "Pay fast"',
        'claim = "Pay\\u2028fast"',
        'promise.pay_fast.claim: "Pay\\u2028fast" holds the control character U+2028; remove it',
    ),
    (
        'contact = "#it"',
        f'contact = "{"x" * 1001}"',
        f'functions.it.contact: "{"x" * 58}… has 1001 characters; shorten it to at most 1000',
    ),
    # names
    (
        'name = "browse"',
        'name = "Look Around"',
        f'stage[#1].name: "Look Around" is not a name ({RULE}); did you mean "look_around"?',
    ),
    (
        'interactions = ["confirm"]',
        'interactions = ["Eingabe bestätigen!"]',
        f'{PAY}.interactions[0]: "Eingabe bestätigen!" is not a name ({RULE});'
        ' did you mean "eingabe_bestatigen"?',
    ),
    (
        'interactions = ["confirm"]',
        'interactions = ["确认"]',
        f'{PAY}.interactions[0]: "确认" is not a name ({RULE});'
        ' write a name such as "enter_card_number"',
    ),
    (
        'interactions = ["confirm"]',
        f'interactions = ["{"a" * 65}"]',
        f'{PAY}.interactions[0]: "{"a" * 58}… has 65 characters; shorten it to at most 64',
    ),
    (
        'interactions = ["confirm"]',
        "interactions = [5]",
        f'{PAY}.interactions[0]: 5 is not text; write a name such as "enter_card_number"',
    ),
    (
        'context = ["weather"]',
        'context = ["cx context"]',
        f'context[0]: "cx context" is not a name ({RULE}); did you mean "cx_context"?',
    ),
    (
        "sales = {}",
        'sales = {}\n"Call Centre" = {}',
        f'functions."Call Centre": "Call Centre" is not a name ({RULE});'
        ' did you mean "call_centre"?',
    ),
    # keys
    (
        "initiator =",
        "initator =",
        f'{PAY}.initator: "initator" is not a key of a touchpoint; did you mean "initiator"?',
    ),
    (
        "channel =",
        "channels =",
        f'{PAY}.channels: "channels" is not a key of a touchpoint; did you mean "channel"?',
    ),
    (
        'contact = "#it"',
        'phone = "1"',
        'functions.it.phone: "phone" is not a key of a function; write one of: contact, happy',
    ),
    (
        'phase = "customer"',
        'phase = "customer"\nordr = 1',
        'stage[purchase].ordr: "ordr" is not a key of a stage; did you mean "order"?',
    ),
    ("context =", "contexts =", 'contexts: "contexts" is not a key of a journey map;'
     ' did you mean "context"?'),
    (
        "[journey.routes]",
        "[journey.route]",
        'journey[first_order].route: "route" is not a key of a journey; did you mean "routes"?',
    ),
    (
        "[promise.pay_fast]\n",
        "[promise.pay_fast]\nunits = 1\n",
        'promise.pay_fast.units: "units" is not a key of a promise; did you mean "unit"?',
    ),
    # missing keys
    (
        'schema = "cxtrace.map/1"\n',
        "",
        'schema: the key is missing; add schema = "cxtrace.map/1"',
    ),
    ('name = "shop"\n', "", 'name: the map has no name; add name = "shop" to one file'),
    (
        'owner = "it"\n',
        "",
        f'{PAY}.owner: the key is missing; add owner = "product"',
    ),
    (
        'phase = "pre_customer"\n',
        "",
        'stage[browse].phase: the key is missing; add phase = "pre_customer"',
    ),
    (
        'op = "<="\n',
        "",
        'promise.pay_fast.op: the key is missing; add op = "<="',
    ),
    (
        'name = "first_order"\n',
        "",
        'journey[#1].name: the key is missing; add name = "first_order"',
    ),
    # versions
    (
        '"cxtrace.map/1"',
        '"cxtrace.map/2"',
        'schema: "cxtrace.map/2" is not a grammar that this version of cxtrace reads;'
        ' write "cxtrace.map/1"',
    ),
    # arrays and tables
    ('["web"]', '"web"', f'{PAY}.channel: "web" is not an array; write ["web"]'),
    ('["web"]', "3", f'{PAY}.channel: 3 is not an array; write ["web"]'),
    ('["web"]', "[]", f'{PAY}.channel: [] is empty; write at least one, such as ["web"]'),
    ('["web"]', '["web", "web"]', f'{PAY}.channel[1]: "web" stands here twice; remove one'),
    (
        '["confirm"]',
        '["confirm", "confirm"]',
        f'{PAY}.interactions[1]: "confirm" stands here twice; remove one',
    ),
    (
        'express = ["cart.view"',
        'express = ["cart.view", "cart.view"',
        'journey[first_order].routes.express[1]: "cart.view" stands here twice; remove one',
    ),
    (
        'express = ["cart.view", "checkout.pay"]',
        'express = ["checkout.pay"]\nlong = []',
        "journey[first_order].routes.long: [] is empty; write at least one,"
        ' such as ["checkout.pay"]',
    ),
    (
        "influence = { it = 0.5, sales = 0.5 }",
        'influence = "it"',
        f'{PAY}.influence: "it" is not a table; write {{ product = 0.5 }}',
    ),
    (
        "sales = {}",
        'sales = {}\nfinance = "#finance"',
        'functions.finance: "#finance" is not a table; write {}',
    ),
    (
        "{ slow = { after",
        "{ slow = 1, wait = { after",
        f'{PAY}.friction.slow: 1 is not a table; write {{ count = "1s" }}',
    ),
    (
        'after = "1s"',
        "after = 2020-01-01",
        f'{PAY}.friction.slow.after: 2020-01-01 is no text or number; write one such as "1s"',
    ),
    (
        'after = "1s"',
        'after = [""]',
        f'{PAY}.friction.slow.after[0]: "" is empty; write text such as "1s"',
    ),
    (
        'after = "1s"',
        "after = inf",
        f"{PAY}.friction.slow.after: inf is not a finite number; write one such as 1.0",
    ),
    (
        'match = [{ route = "POST /pay" }]',
        'match = [{ route = "" }]',
        f'{PAY}.match[#1].route: "" is empty; write text such as "POST /checkout/pay"',
    ),
    (
        'match = [{ route = "POST /pay" }]',
        'match = { route = "POST /pay" }',
        f'{PAY}.match: {{ route = "POST /pay" }} is not an array;'
        ' write [{ route = "POST /checkout/pay" }]',
    ),
    # defined twice
    (
        'phase = "customer"',
        'phase = "customer"\n[[stage]]\nname = "browse"\nphase = "customer"',
        'stage[browse].name: "browse" is defined twice, first at m.toml:8; remove or rename one',
    ),
    (
        'name = "cart.view"',
        'name = "checkout.pay"',
        None,
    ),
    (
        'phase = "customer"',
        'phase = "customer"\norder = 1',
        'stage[purchase].order: 1 is already the order of "browse"; give each stage its own',
    ),
]


@pytest.mark.parametrize(("right", "wrong", "message"), [c for c in ONE_PROBLEM if c[2]])
def test_a_mistake_has_one_message(right: str, wrong: str, message: str) -> None:
    """One thing wrong gives one problem, on its line, with key, value and what to write."""
    assert right in MAP
    found = problems(MAP.replace(right, wrong, 1))

    assert [problem.split(": ", 1)[1] for problem in found] == [message]
