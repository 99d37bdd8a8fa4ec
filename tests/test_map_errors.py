"""Every mistake in a journey map has a message: file, line, key, wrong value, what to write."""

import contextlib
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
        (
            f'{PAY}.channel[0]: "teleportation" is not a channel;'
            " write one of: web, mobile_app, email, phone, chat, messenger, store, social, …"
        ),
    ),
    (
        '["web"]',
        "[1]",
        (
            f"{PAY}.channel[0]: 1 is not a channel;"
            " write one of: web, mobile_app, email, phone, chat, messenger, store, social, …"
        ),
    ),
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
        (
            'promise.pay_fast.metric: "touchpoint.time" is not a metric of promises;'
            ' did you mean "touchpoint.wait_time"?'
        ),
    ),
    (
        '"critical"',
        '"urgent"',
        f'{PAY}.importance: "urgent" is not an importance; write one of: normal, critical',
    ),
    (
        "{ slow =",
        "{ slwo =",
        f'{PAY}.friction.slwo: "slwo" is not a key of friction; did you mean "slow"?',
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
        (
            'journey[first_order].routes.express[0]: "cart.veiw" is not a touchpoint of this map;'
            ' did you mean "cart.view"?'
        ),
    ),
    (
        'goal = "checkout.pay"',
        'goal = "checkout.paid"',
        (
            'journey[first_order].goal: "checkout.paid" is not a touchpoint of this map;'
            ' did you mean "checkout.pay"?'
        ),
    ),
    (
        'express = ["cart.view", "checkout.pay"]',
        'express = ["cart.view"]',
        (
            'journey[first_order].goal: "checkout.pay" is on no route of this journey;'
            " write one of: cart.view"
        ),
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
        (
            "promise.pay_fast.objective: 1 is not between 0 and 1, both excluded;"
            " write a share such as 0.99"
        ),
    ),
    (
        "objective = 0.99",
        "objective = 99.0",
        (
            "promise.pay_fast.objective: 99.0 is not between 0 and 1, both excluded;"
            " write a share such as 0.99"
        ),
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
        (
            'promise.pay_fast.unit: "sec" is not a unit of time, which touchpoint.duration needs;'
            " write one of: ms, s, min, h, d, wk"
        ),
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
        'name = "first_order"',
        'name = "First Order"',
        f'journey[#1].name: "First Order" is not a name ({RULE}); did you mean "first_order"?',
    ),
    (
        'interactions = ["confirm"]',
        'interactions = ["Eingabe bestätigen!"]',
        (
            f'{PAY}.interactions[0]: "Eingabe bestätigen!" is not a name ({RULE});'
            ' did you mean "eingabe_bestatigen"?'
        ),
    ),
    (
        'interactions = ["confirm"]',
        'interactions = ["确认"]',
        (
            f'{PAY}.interactions[0]: "确认" is not a name ({RULE});'
            ' write a name such as "enter_card_number"'
        ),
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
        (
            f'functions."Call Centre": "Call Centre" is not a name ({RULE});'
            ' did you mean "call_centre"?'
        ),
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
    (
        "context =",
        "contexts =",
        'contexts: "contexts" is not a key of a journey map; did you mean "context"?',
    ),
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
        (
            'schema: "cxtrace.map/2" is not a grammar that this version of cxtrace reads;'
            ' write "cxtrace.map/1"'
        ),
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
        (
            "journey[first_order].routes.long: [] is empty; write at least one,"
            ' such as ["checkout.pay"]'
        ),
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
        "{ backtrack = 1, slow = { after",
        f"{PAY}.friction.backtrack: 1 is not a table; write {{}}",
    ),
    # rules for friction
    (
        "slow = {",
        "validation_rejected = { count = 3 }, slow = {",
        (
            f'{PAY}.friction.validation_rejected: "validation_rejected" is not a key of friction;'
            ' did you mean "validation_loop"?'
        ),
    ),
    (
        'after = "1s"',
        'count = 3, after = "1s"',
        (
            f'{PAY}.friction.slow.count: "count" is not a key of the rule slow;'
            " write one of: after, severity"
        ),
    ),
    (
        'after = "1s"',
        "after = 1",
        (
            f"{PAY}.friction.slow.after: 1 is not a duration; write a number and one of"
            ' ms, s, min, h, d, wk, such as "1s"'
        ),
    ),
    (
        'after = "1s"',
        'after = "1 second"',
        (
            f'{PAY}.friction.slow.after: "1 second" is not a duration; write a number and one of'
            ' ms, s, min, h, d, wk, such as "1s"'
        ),
    ),
    (
        'after = "1s"',
        'after = "0s"',
        f'{PAY}.friction.slow.after: "0s" is not between 1ms and 366d; write "1s"',
    ),
    (
        'after = "1s"',
        'after = "53wk"',
        f'{PAY}.friction.slow.after: "53wk" is not between 1ms and 366d; write "1s"',
    ),
    (
        'after = "1s"',
        'after = "1s", severity = "hihg"',
        f'{PAY}.friction.slow.severity: "hihg" is not a severity; did you mean "high"?',
    ),
    (
        "slow = {",
        "backtrack = {}, repeat_action = { count = 0 }, slow = {",
        f"{PAY}.friction.repeat_action.count: 0 is not between 1 and 100; write a number such as 3",
    ),
    (
        "slow = {",
        "repeat_action = { count = 3.5 }, slow = {",
        f"{PAY}.friction.repeat_action.count: 3.5 is not a whole number; write one such as 3",
    ),
    (
        "slow = {",
        'suppress = ["backtrak"], slow = {',
        (
            f'{PAY}.friction.suppress[0]: "backtrak" is not a rule for friction;'
            ' did you mean "backtrack"?'
        ),
    ),
    (
        'promises = ["pay_fast"]\nfriction = { slow = { after = "1s" } }',
        "friction = { slow = {} }",
        (
            f"{PAY}.friction.slow.after: no promise about touchpoint.duration says when it is slow;"
            ' add after = "1s", or such a promise'
        ),
    ),
    (
        "[[stage]]",
        "friction = 3\n[[stage]]",
        "functions.friction: 3 is not a table; write {}",
    ),
    (
        "[functions]",
        "[friction]\nbacktrak = {}\n[functions]",
        'friction.backtrak: "backtrak" is not a key of friction; did you mean "backtrack"?',
    ),
    # promises
    (
        '"touchpoint.duration"',
        '"touchpoint.wait"',
        (
            'promise.pay_fast.metric: "touchpoint.wait" is not a metric of promises;'
            ' did you mean "touchpoint.wait_time"?'
        ),
    ),
    (
        '"touchpoint.duration"\nop = "<="\ntarget = 2.0\nunit = "s"',
        '"touchpoint.wait_time"\nop = "<="\ntarget = 2.0\nunit = "%"',
        (
            'promise.pay_fast.unit: "%" is not a unit of time, which touchpoint.wait_time needs;'
            " write one of: ms, s, min, h, d, wk"
        ),
    ),
    (
        'unit = "s"',
        'unit = "s"\nends = "checkout.pay"',
        (
            "promise.pay_fast.ends: a promise about touchpoint.duration is measured at one"
            ' touchpoint; remove it, or write metric = "journey.duration"'
        ),
    ),
    (
        '"touchpoint.duration"',
        '"journey.duration"\nbegins = "cart.veiw"',
        (
            'promise.pay_fast.begins: "cart.veiw" is not a touchpoint of this map;'
            ' did you mean "cart.view"?'
        ),
    ),
    (
        '"touchpoint.duration"',
        '"journey.duration"\nbegins = "cart.view"\nends = "cart.view"',
        (
            'promise.pay_fast.ends: "cart.view" is where the time begins too;'
            " write a touchpoint that comes later"
        ),
    ),
    (
        'unit = "s"',
        'unit = "s"\nexceeded_at = 2.0',
        (
            "promise.pay_fast.exceeded_at: 2.0 is no better than the target, for which <= 2.0"
            " is enough; write a smaller number"
        ),
    ),
    (
        'op = "<="\ntarget = 2.0',
        'op = ">"\nexceeded_at = 1\ntarget = 2.0',
        (
            "promise.pay_fast.exceeded_at: 1.0 is no better than the target, for which > 2.0"
            " is enough; write a larger number"
        ),
    ),
    # what happy means
    (
        'contact = "#it"',
        "happy = \"touchpoint.outcome == 'complete'\"",
        (
            "functions.it.happy: \"touchpoint.outcome == 'complete'\" cannot be evaluated:"
            " character 23: 'complete' is never a value of touchpoint.outcome;"
            " did you mean 'completed'?"
        ),
    ),
    (
        'contact = "#it"',
        "happy = 3",
        'functions.it.happy: 3 is not text; write "3"',
    ),
    (
        'match = [{ route = "POST /pay" }]',
        'match = [{ route = "" }]',
        f'{PAY}.match[#1].route: "" is empty; write text such as "POST /basket/add/{{pk}}"',
    ),
    # about somebody
    (
        'interactions = ["confirm"]',
        'interactions = ["call_015228817386"]',
        (
            f"{PAY}.interactions[0]: the text looks like a telephone number, and would be sent;"
            ' write one that is nobody\'s, such as "enter_card_number"'
        ),
    ),
    (
        'unit = "s"',
        'unit = "jane@example.com"',
        (
            "promise.pay_fast.unit: the text looks like an e-mail address, and would be sent;"
            ' write one that is nobody\'s, such as "s"'
        ),
    ),
    (
        'name = "shop"',
        'name = "Jane, +49 152 28817386"',
        (
            "name: the text looks like a telephone number, and would be sent; write one that is"
            ' nobody\'s, such as "shop"'
        ),
    ),
    # defined twice
    (
        'phase = "customer"',
        'phase = "customer"\n[[stage]]\nname = "browse"\nphase = "customer"',
        'stage[browse].name: "browse" is defined twice, first at m.toml:8; remove or rename one',
    ),
    (
        'phase = "customer"',
        'phase = "customer"\norder = 1',
        'stage[purchase].order: 1 is already the order of "browse"; give each stage its own',
    ),
]


def test_a_name_that_is_somebodys_is_not_shown() -> None:
    """A table whose name looks like a telephone number is called by its place among the others."""
    (found,) = problems(f'{MAP}[[journey]]\nname = "call_015228817386"\ngoal = "checkout.pay"\n')

    assert found.startswith("m.toml:46: journey[#2].name: the text looks like a telephone number")
    assert "0152" not in found


@pytest.mark.parametrize(("right", "wrong", "message"), ONE_PROBLEM)
def test_a_mistake_has_one_message(right: str, wrong: str, message: str) -> None:
    """One thing wrong gives one problem, on its line, with key, value and what to write."""
    assert right in MAP
    found = problems(MAP.replace(right, wrong, 1))

    assert [problem.split(": ", 1)[1] for problem in found] == [message]


def test_a_wrong_promise_is_told_once() -> None:
    """A rule that leaves it to a promise when a touchpoint is slow does not repeat the mistake."""
    text = MAP.replace('after = "1s"', "")

    assert JourneyMap.loads(text).friction_at("checkout.pay")[0].after == 2.0
    assert len(problems(text.replace('["pay_fast"]', '["pay_slow"]'))) == 1
    assert len(problems(text.replace('"touchpoint.duration"', '"touchpoint.time"'))) == 1
    assert len(problems(text.replace('"<="', '"=<"'))) == 1


def test_someone_must_say_when_it_is_slow() -> None:
    """The rule of a whole map needs a promise somewhere, or a time of its own."""
    general = MAP.replace("[functions]", "[friction]\nslow = {}\n[functions]")
    timed = general.replace("slow = {}", 'slow = { after = "3s" }').replace('after = "1s"', "")
    nowhere = '"touchpoint.effort"'

    assert JourneyMap.loads(general).friction_at("checkout.pay")[0].after == 1.0
    assert JourneyMap.loads(timed.replace('"touchpoint.duration"', nowhere)).friction.rules
    assert problems(general.replace('"touchpoint.duration"', nowhere)) == [
        (
            "m.toml:6: friction.slow.after: no promise about touchpoint.duration says when it is"
            ' slow; add after = "1s", or such a promise'
        )
    ]


def test_what_can_be_exceeded_needs_a_target_to_exceed() -> None:
    """Where the target is wrong, nobody compares it with anything."""
    text = MAP.replace('unit = "s"', 'unit = "s"\nexceeded_at = 2.0')

    assert len(problems(text.replace("target = 2.0", "target = nan"))) == 1


def test_an_array_of_tables_is_written_with_headers() -> None:
    """A single table where many are expected is told from its header."""
    text = MAP.split("[[stage]]")[0]

    assert problems(text + "[stage]\nname = 'x'\n") == [
        (
            'm.toml:8: stage: { name = "x" } is not an array of tables;'
            " write [[stage]] above the keys of each"
        )
    ]
    assert problems(text + "stage = [3]\n".join(["", ""])) == [
        "m.toml:8: functions.stage: [3] is not a table; write {}"
    ]


def test_an_element_of_an_array_of_tables_is_a_table() -> None:
    """A number among the stages is told what a stage looks like."""
    assert problems(f"stage = [3]\n{MAP.split('[[stage]]')[0]}") == [
        'm.toml:1: stage[0]: 3 is not a table; write { name = "purchase", phase = "pre_customer" }'
    ]


def test_all_mistakes_are_listed_at_once() -> None:
    """Problems come in the order of lines under a header that counts them."""
    text = MAP.replace('"7"', "7").replace('["web"]', '["wbe"]').replace("objective", "objectiv")
    with pytest.raises(MapError) as caught:
        JourneyMap.loads(text)

    assert str(caught.value).splitlines() == [
        "the journey map has 3 problems:",
        '<string>:3: version: 7 is not text; write "7"',
        (
            '<string>:21: promise.pay_fast.objectiv: "objectiv" is not a key of a promise;'
            ' did you mean "objective"?'
        ),
        f'<string>:29: {PAY}.channel[0]: "wbe" is not a channel; did you mean "web"?',
    ]


def test_a_name_that_is_none_is_not_advised() -> None:
    """Who refers to what has a wrong name is told the name that is advised for it."""
    spoiled = MAP.replace('name = "cart.view"', 'name = "Cart View"')
    spoiled = spoiled.replace('["cart.view"', '["cart_veiw"')

    assert [each.rpartition("; ")[2] for each in problems(spoiled)] == [
        'did you mean "cart_view"?',
        'did you mean "cart_view"?',
    ]

    spoiled = MAP.replace('name = "cart.view"', 'name = "???"')
    assert problems(spoiled)[-1].endswith("; write one of: checkout.pay")


def test_one_mistake_is_counted_as_one() -> None:
    """The header speaks of one problem."""
    with pytest.raises(MapError, match="the journey map has 1 problem:\n"):
        JourneyMap.loads(MAP.replace('"7"', "7"))


def test_a_wrong_definition_still_defines_its_name() -> None:
    """A mistake within a stage does not make everybody who refers to it wrong."""
    found = problems(MAP.replace('phase = "customer"', 'phase = "custmer"'))

    assert len(found) == 1


def test_many_mistakes_are_found_fast() -> None:
    """After a hundred problems the guesses stop, and names are listed instead."""
    journeys = "".join(
        f'[[journey]]\nname = "j{n}"\n[journey.routes]\nr = ["cart.veiw"]\n' for n in range(150)
    )
    found = problems(MAP + journeys)

    assert found[0].endswith('did you mean "cart.view"?')
    assert found[-1].endswith("write one of: cart.view, checkout.pay")


# Lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x.y.z = 1", 1),
        ("\r\n\r\nx = 1\r\n", 3),
        ("# [[x]]\n\n  x  =  1 # x", 3),
        ("a = \"[\"\nb = '{'\nx = 1", 3),
        ('a = """\nx = 1\n\\"""\n"""\nx = 1', 5),
        ("a = '''\nx = 1\n'''\nx = 1", 4),
        ('a = """""""\nx = 1', 2),
        ("a = [\n [1, 2],\n # ]\n 3,\n]\nx = 1", 6),
        ("[a]\nb = { c = 1, x = 2 }\n[x]", 3),
        ('[a."x"]\n["x"]\n', 2),
        ("a = 1979-05-27 07:32:00\nx = 1", 2),
        ("newline = 1\nword = 2\nx = 3", 3),
        ("[[a]]\n[[a.b]]\n[[a]]\n[a.b]\nx = 1\n[x]", 6),
    ],
)
def test_lines_are_counted_through_all_of_toml(text: str, expected: int) -> None:
    """Strings, comments, arrays and tables over many lines do not shift the line of a key."""
    with pytest.raises(MapError) as caught:
        JourneyMap.loads(text)

    assert [problem.line for problem in caught.value.problems if problem.key == "x"] == [expected]


def test_an_element_is_found_on_its_own_line() -> None:
    """In an array or an inline table over many lines, the element is named with its line."""
    text = MAP.replace('["web"]', '[\n  "web",\n  "wbe",  # here\n]')

    assert problems(text)[0].startswith(f"m.toml:31: {PAY}.channel[1]: ")


def test_a_missing_key_is_missed_at_the_head_of_its_table() -> None:
    """There is no line for what is not there, so the line is that of the table."""
    assert problems(MAP.replace('owner = "it"\n', ""))[0].startswith(f"m.toml:26: {PAY}.owner: ")


def test_a_key_may_be_quoted_and_dotted() -> None:
    """Keys are called as TOML writes them."""
    found = problems(f"\"a b\".'c'.d = 1\n{MAP}")

    assert found == [
        (
            'm.toml:1: "a b": "a b" is not a key of a journey map; write one of:'
            " schema, name, version, context, request, functions, friction, stage, …"
        )
    ]


# Files


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", '1: the file holds no map; begin it with schema = "cxtrace.map/1"'),
        (b"# only a comment\n", '1: the file holds no map; begin it with schema = "cxtrace.map/1"'),
        (
            b"\xef\xbb\xbfschema = 'x'",
            "1: the file begins with a byte order mark; save it as UTF-8 without BOM",
        ),
        (b"a = 1\nb = '\xe4'", "2: byte 0xe4 is not UTF-8; save the file as UTF-8"),
        (b"\xff\xfea\x00", "1: byte 0xff is not UTF-8; save the file as UTF-8"),
        (
            b"a = 1\nstage = purchase\n",
            '2: not valid TOML in "stage = purchase": Invalid value; text needs double quotes',
        ),
        (
            b"a = 1\na = 2\n",
            (
                '2: not valid TOML in "a = 2": Cannot overwrite a value;'
                " this key stands twice in its table; remove one"
            ),
        ),
        (
            b"[a]\n[a]\n",
            (
                "2: not valid TOML in \"[a]\": Cannot declare ('a',) twice;"
                " this table is already there; write its keys together"
            ),
        ),
        (
            b"\nstage purchase\n",
            (
                "2: not valid TOML in \"stage purchase\": Expected '=' after a key"
                ' in a key/value pair; write key = "value"'
            ),
        ),
        (
            b'a = "x\nb = 1\n',
            (
                '1: not valid TOML in "a = \\"x": Illegal character \'\\n\';'
                " the text has no closing quote on its line"
            ),
        ),
        (b"a = [1,\n2", '2: not valid TOML in "2": Unclosed array; close it with ]'),
    ],
)
def test_a_file_that_is_no_toml_says_where(tmp_path: Path, raw: bytes, message: str) -> None:
    """Encoding and syntax are told with the line, and with its text."""
    path = tmp_path / "m.toml"
    path.write_bytes(raw)
    with pytest.raises(MapError) as caught:
        JourneyMap.load(path)

    assert [str(problem) for problem in caught.value.problems] == [f"{path}:{message}"]


def test_an_endless_number_is_refused() -> None:
    """What Python itself refuses has no line; what it accepts is shown shortened."""
    [decimal] = problems("a = " + "1" * 5000)
    [hexadecimal] = problems(MAP.replace("actions = 3", f"actions = 0x{'f' * 5000}"))

    assert decimal.startswith("m.toml: not valid TOML: Exceeds the limit")
    assert hexadecimal.startswith(f"m.toml:35: {PAY}.expected_actions: 0xfff")


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "[" * 60 + "]" * 60,
        "a" + ".a" * 60 + " = 1",
        "[a" + ".a" * 60 + "]",
    ],
)
def test_a_hostile_depth_is_refused(text: str) -> None:
    """A file cannot exhaust the stack of the service that reads it."""
    assert problems(text) == ["m.toml: arrays or tables are nested too deeply; flatten them"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message holds path and reason."""
    with pytest.raises(MapError) as caught:
        JourneyMap.load(tmp_path / "absent.toml")

    assert str(caught.value.problems[0]) == (
        f"{tmp_path / 'absent.toml'}: cannot be read (No such file or directory); check the path"
    )


def test_a_directory_without_maps_is_named(tmp_path: Path) -> None:
    """The message says what to put there."""
    with pytest.raises(MapError) as caught:
        JourneyMap.load(tmp_path)

    assert str(caught.value.problems[0]) == (
        f"{tmp_path}: the directory holds no map; put a .toml file into it"
    )


def test_to_load_nothing_is_an_error() -> None:
    """An empty list of paths names no map."""
    with pytest.raises(MapError) as caught:
        JourneyMap.load()

    assert str(caught.value.problems[0]) == (
        "the journey map: no file is given; name one, such as journeys.toml"
    )


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A function that loads files of these texts, ``a.toml`` and so on, and gives the problems."""
    monkeypatch.chdir(tmp_path)

    def load(*texts: str) -> list[str]:
        paths = [Path(f"{letter}.toml") for letter, _ in zip("abc", texts, strict=False)]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text, encoding="utf-8")
        with pytest.raises(MapError) as caught:
            JourneyMap.load(*paths)
        return [str(problem) for problem in caught.value.problems]

    return load


def test_two_files_that_disagree_are_both_named(load: Callable[..., list[str]]) -> None:
    """A conflict names both places and the keys that differ."""
    other = MAP.replace('owner = "it"', 'owner = "sales"').replace('["web"]', '["email"]')

    assert load(MAP, other) == [
        (
            f"b.toml:26: {PAY}: defined differently at a.toml:26 (channel, owner);"
            " make both the same, or remove one"
        )
    ]


def test_functions_and_promises_can_be_in_conflict(load: Callable[..., list[str]]) -> None:
    """What stands under a key instead of in an array is compared just the same."""
    assert load(MAP, MAP.replace("#it", "#ops").replace("target = 2.0", "target = 3.0")) == [
        (
            "b.toml:6: functions.it: defined differently at a.toml:6 (contact);"
            " make both the same, or remove one"
        ),
        (
            "b.toml:14: promise.pay_fast: defined differently at a.toml:14 (target);"
            " make both the same, or remove one"
        ),
    ]


def test_rules_for_friction_can_be_in_conflict(load: Callable[..., list[str]]) -> None:
    """Two files may not say different things of one rule."""
    one, two = (
        MAP.replace("[fun", f"[friction]\nslow = {{ after = '{n}s' }}\n[fun") for n in (1, 2)
    )

    assert load(one, two) == [
        (
            "b.toml:6: friction.slow: defined differently at a.toml:6 (after);"
            " make both the same, or remove one"
        )
    ]


def test_two_explicit_places_of_a_stage_are_a_conflict(load: Callable[..., list[str]]) -> None:
    """An order may be left out, not contradicted."""
    one, two = (MAP.replace('"customer"\n[p', f'"customer"\norder = {n}\n[p') for n in (5, 6))

    assert load(one, two) == [
        (
            "b.toml:11: stage[purchase]: defined differently at a.toml:11 (order);"
            " make both the same, or remove one"
        )
    ]


def test_files_of_one_map_agree_on_its_name_and_version(load: Callable[..., list[str]]) -> None:
    """The message names the other file and its value."""
    assert load(MAP, MAP.replace('"shop"', '"store"').replace('"7"', '"8"')) == [
        'b.toml:2: name: "store" is not the name that a.toml:2 gives; write "shop"',
        'b.toml:3: version: "8" is not the version that a.toml:3 gives; write "7"',
    ]


def test_a_reference_to_what_no_file_defines_says_where_to_define_it(
    load: Callable[..., list[str]],
) -> None:
    """Where there is nothing to choose from, the message gives the header."""
    text = 'schema = "cxtrace.map/1"\nname = "x"\n[[touchpoint]]\nname = "a"\nstage = "s"\n'

    assert load(text + 'owner = "it"\npromises = ["p"]\n') == [
        'a.toml:5: touchpoint[a].stage: "s" is not a stage of this map; define it under [[stage]]',
        (
            'a.toml:6: touchpoint[a].owner: "it" is not a function of this map;'
            " define it under [functions]"
        ),
        (
            'a.toml:7: touchpoint[a].promises[0]: "p" is not a promise of this map;'
            " define it under [promise.ID]"
        ),
    ]


def test_a_broken_file_does_not_make_others_wrong(load: Callable[..., list[str]]) -> None:
    """While a file cannot be read, nobody knows which names it defines; other mistakes are told."""
    uses = 'schema = "cxtrace.map/1"\n[[touchpoint]]\nname = "a"\nstage = "s"\nowner = "it"\n'

    assert load("name = ", uses + 'type = "thing"\n') == [
        'a.toml:1: not valid TOML in "name =": Invalid value; text needs double quotes',
        (
            'b.toml:6: touchpoint[a].type: "thing" is not a type of touchpoint;'
            " write one of: communication, action"
        ),
    ]


def test_an_error_is_data_too() -> None:
    """Tools get file, line, key and message apart; the error travels between processes."""
    with pytest.raises(CXTraceError) as caught:
        JourneyMap.loads(MAP.replace('"7"', "7"))
    again = pickle.loads(pickle.dumps(caught.value))

    assert again.problems == (Problem("<string>", 3, "version", '7 is not text; write "7"'),)
    assert str(again) == str(caught.value)


# Noise


@given(st.text())
def test_noise_is_refused_and_nothing_else_happens(text: str) -> None:
    """Whatever the text, it gives a list of problems."""
    assert problems(text)


@given(st.data())
def test_a_spoiled_map_is_a_map_or_a_list_of_problems(data: st.DataObject) -> None:
    """Exchanging a piece of a valid map for another never raises anything but MapError."""
    start = data.draw(st.integers(0, len(MAP)))
    end = data.draw(st.integers(start, min(len(MAP), start + 40)))
    other = data.draw(st.integers(0, len(MAP) - 20))
    text = MAP[:start] + MAP[other : other + data.draw(st.integers(0, 20))] + MAP[end:]
    with contextlib.suppress(MapError):
        JourneyMap.loads(text)
