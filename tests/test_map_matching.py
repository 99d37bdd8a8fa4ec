"""``match`` and ``[request]``: what a map may say of code that stays untouched."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace._map.matching import MATCH
from cxtrace._model import Match, OutcomeRule, Requests, Teller
from cxtrace.exceptions import MapError
from cxtrace.journey_map import JourneyMap, json_schema
from tests.strategies import identifiers, journey_maps

HEAD = """\
schema = "cxtrace.map/1"
name = "shop"
[functions]
it = {}
[[stage]]
name = "purchase"
phase = "customer"
"""
PAY = """\
[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "it"
"""
VIEW = PAY.replace("checkout.pay", "cart.view")
ASKED = "header, cookie, path, query, session, user, claim"
EARLY = "header, cookie, path, query"
TARGETS = "route, function, task, consume, rpc"


def matches(match: str, before: str = "") -> tuple[Match, ...]:
    """What a map says with this ``match`` in its one touchpoint."""
    text = f"{HEAD}{before}{PAY}match = {match}\n"
    return JourneyMap.loads(text, "m.toml").touchpoints["checkout.pay"].match


def problems(text: str) -> list[str]:
    """The problems of a text, each as its line."""
    with pytest.raises(MapError) as caught:
        JourneyMap.loads(text, "m.toml")
    return [str(problem) for problem in caught.value.problems]


def wrong(match: str) -> list[str]:
    """Key and message of each problem of a ``match``."""
    found = problems(f"{HEAD}{PAY}match = {match}\n")
    place = "m.toml:12: touchpoint[checkout.pay]."
    assert all(problem.startswith(place) for problem in found), found
    return [problem.removeprefix(place) for problem in found]


def asked_wrong(request: str) -> list[str]:
    """Key and message of each problem of ``[request]``."""
    found = problems(f'schema = "cxtrace.map/1"\nname = "shop"\n[request]\n{request}\n')
    return [problem.removeprefix("m.toml:4: request.") for problem in found]


# What is right


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{ route = "POST /basket/add/{pk}" }', Match(route="POST /basket/add/{pk}")),
        ('{ route = "* /{rest:path}" }', Match(route="* /{rest:path}")),
        ('{ route = "WEBSOCKET /chat" }', Match(route="WEBSOCKET /chat")),
        ('{ function = "shop.orders:Order.pay" }', Match(function="shop.orders:Order.pay")),
        ('{ task = "shop.tasks.ship" }', Match(task="shop.tasks.ship")),
        ('{ consume = "orders" }', Match(consume="orders")),
        ('{ rpc = "shop.Orders/Place" }', Match(rpc="shop.Orders/Place")),
    ],
)
def test_a_match_has_one_target(text: str, expected: Match) -> None:
    """A table is a match; in an array it says the same."""
    assert matches(text) == matches(f"[{text}]") == (expected,)


def test_a_touchpoint_can_be_in_several_places() -> None:
    """Each table of an array is a match, in their order."""
    assert matches('[{ route = "GET /a" }, { task = "ship" }]') == (
        Match(route="GET /a"),
        Match(task="ship"),
    )


def test_a_match_has_rules_of_its_own() -> None:
    """Outcome, customer and journey are a rule each, or several."""
    [found] = matches(
        """[{ route = "POST /pay/{order}",
        outcome = [{ redirect = "/thanks/{order}", is = "completed" },
                   { status = "4xx", header = "X-Outcome", value = "declined", is = "failed" }],
        customer = { path = "order", kind = "anonymous" },
        journey = [{ header = "X-Journey-Id" }, { cookie = "visitor" }] }]""".replace("\n", "")
    )

    assert found == Match(
        route="POST /pay/{order}",
        outcome=[
            OutcomeRule("completed", redirect="/thanks/{order}"),
            OutcomeRule("failed", status="4xx", header="X-Outcome", value="declined"),
        ],
        customer=[Teller(path="order", kind="anonymous")],
        journey=[Teller(header="X-Journey-Id"), Teller(cookie="visitor")],
    )


def test_every_request_can_be_asked() -> None:
    """``[request]`` asks in any way, and needs no touchpoint that lists it."""
    found = JourneyMap.loads(
        f"""{HEAD}[request]
        customer = [{{ user = "pk" }}, {{ claim = "sub" }}, {{ session = "id" }}, {{ query = "c" }}]
        journey = {{ path = "order" }}
        """
    )

    assert found.request == Requests(
        customer=[Teller(user="pk"), Teller(claim="sub"), Teller(session="id"), Teller(query="c")],
        journey=[Teller(path="order")],
    )


@given(journey_maps())
def test_what_is_written_is_what_was_read(journey_map: JourneyMap) -> None:
    """Loading what a map is written as gives the same map, its rules for requests included."""
    again = JourneyMap.loads(journey_map.dump())

    assert again.request == journey_map.request
    assert again == journey_map


def test_the_shortest_form_is_written() -> None:
    """What a rule does not say is not written; an outcome is called as in the file."""
    text = f"{HEAD}[request]\njourney = {{ cookie = 'v' }}\n{PAY}"
    text += 'match = { route = "GET /a", outcome = { status = "2xx", is = "completed" } }\n'
    written = JourneyMap.loads(text).dump()

    assert '[request]\njourney = [{ cookie = "v" }]\n' in written
    assert 'route = "GET /a", outcome = [{ is = "completed", status = "2xx" }]' in written


# What is wrong


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("3", 'match: 3 is not a table; write { route = "POST /basket/add/{pk}" }'),
        ("[]", f"match: [] is empty; write at least one, such as [{MATCH.example}]"),
        ('["a"]', 'match[0]: "a" is not a table; write {}'),
        ("{}", f"match: nothing is looked for; write exactly one of {TARGETS}"),
        ("[{}]", f"match[#1]: nothing is looked for; write exactly one of {TARGETS}"),
        (
            '{ route = "GET /a", task = "t" }',
            f"match: route and task stand together; write exactly one of {TARGETS}",
        ),
        (
            '[{ task = "t" }, { task = "t" }]',
            'match[#2]: { task = "t" } stands here twice; remove one',
        ),
        (
            "{ rout = 'GET /a', task = 't' }",
            'match.rout: "rout" is not a key of a match; did you mean "route"?',
        ),
        (
            '{ route = "/pay" }',
            (
                'match.route: "/pay" is not a method and a path;'
                ' write one such as "POST /basket/add/{pk}"'
            ),
        ),
        (
            '{ route = "post /pay" }',
            (
                'match.route: "post /pay" is not a method and a path;'
                ' write one such as "POST /basket/add/{pk}"'
            ),
        ),
        ("{ route = 7 }", 'match.route: 7 is not text; write "7"'),
        (
            '{ function = "shop.orders.pay" }',
            (
                'match.function: "shop.orders.pay" is not a module and a name;'
                ' write one such as "package.module:Class.method"'
            ),
        ),
        ('{ task = "" }', 'match.task: "" is empty; write text such as "shop.tasks.ship"'),
        ('{ consume = " " }', 'match.consume: " " is empty; write text such as "orders"'),
        (
            '{ rpc = "Place" }',
            (
                'match.rpc: "Place" is not a service and a method;'
                ' write one such as "shop.Orders/Place"'
            ),
        ),
        # tellers
        (
            '{ task = "t", customer = {} }',
            f"match.customer: nothing is looked for; write exactly one of {ASKED}",
        ),
        (
            '{ task = "t", customer = [{ header = "A", cookie = "b" }] }',
            f"match.customer[#1]: header and cookie stand together; write exactly one of {ASKED}",
        ),
        (
            '{ task = "t", customer = 3 }',
            'match.customer: 3 is not a table; write { header = "X-Customer-Id" }',
        ),
        (
            '{ task = "t", journey = { claim = "sub" } }',
            (
                'match.journey.claim: "claim" is not a key of a rule that finds the journey;'
                f" write one of: {EARLY}"
            ),
        ),
        (
            '{ task = "t", customer = { header = "X Id" } }',
            (
                'match.customer.header: "X Id" is not the name of a header;'
                ' write one such as "X-Customer-Id"'
            ),
        ),
        (
            '{ task = "t", customer = { cookie = "a b" } }',
            'match.customer.cookie: "a b" is not the name of a cookie; write one such as "visitor"',
        ),
        (
            '{ task = "t", customer = { user = "_state" } }',
            'match.customer.user: "_state" is not the name of an attribute; write one such as "pk"',
        ),
        (
            '{ route = "GET /{a}", customer = { path = "a-b" } }',
            (
                'match.customer.path: "a-b" is not the name of a parameter;'
                ' write one such as "customer_id"'
            ),
        ),
        (
            '{ task = "t", customer = { user = "pk", kind = "human" } }',
            (
                'match.customer.kind: "human" is not a kind of customer;'
                " write one of: person, account, household, anonymous, walkthrough"
            ),
        ),
        # outcomes
        (
            '{ task = "t", outcome = { status = "200" } }',
            'match.outcome.is: the key is missing; add is = "completed"',
        ),
        (
            '{ task = "t", outcome = { is = "complete" } }',
            'match.outcome.is: "complete" is not an outcome; did you mean "completed"?',
        ),
        (
            '{ task = "t", outcome = { status = "600", is = "failed" } }',
            'match.outcome.status: "600" is not a status code; write one such as "4xx"',
        ),
        (
            '{ task = "t", outcome = { redirect = "thanks", is = "failed" } }',
            (
                'match.outcome.redirect: "thanks" is not a path;'
                ' write one such as "/checkout/thank-you"'
            ),
        ),
        (
            '{ task = "t", outcome = { value = "no", is = "failed" } }',
            'match.outcome.value: value stands without header; add header = "X-Outcome"',
        ),
        (
            '{ task = "t", outcome = [] }',
            'match.outcome: [] is empty; write at least one, such as [{ is = "completed" }]',
        ),
        # what the parts say of each other
        (
            '{ route = "GET /orders/{order}", customer = { path = "odrer" } }',
            'match.customer: "odrer" is no parameter of the route; did you mean "order"?',
        ),
        (
            '[{ route = "GET /a/{x}" }, { route = "GET /b/{y}", journey = { path = "x" } }]',
            'match[#2].journey: "x" is no parameter of the route; write one of: y',
        ),
        (
            '{ task = "t", customer = { path = "order" } }',
            'match.customer: "order" is no parameter of the route',
        ),
        (
            '{ route = "GET /{a}-{b}-{c}" }',
            (
                'match.route: "GET /{a}-{b}-{c}" has more than two parameters in one part of the'
                " path, or more than one {name:path}; write fewer"
            ),
        ),
        (
            '{ task = "t", outcome = [{ redirect = "/{a}{b}{c}", is = "failed" }] }',
            (
                'match.outcome: "/{a}{b}{c}" has more than two parameters in one part,'
                " or more than one {name:path}; write fewer"
            ),
        ),
        (
            '[{ route = "GET /{a:path}/by/{b:path}" }]',
            (
                'match[#1].route: "GET /{a:path}/by/{b:path}" has more than two parameters in one'
                " part of the path, or more than one {name:path}; write fewer"
            ),
        ),
    ],
)  # fmt: skip
def test_a_mistake_has_one_message(match: str, message: str) -> None:
    """One thing wrong gives one problem, with key, value and what to write."""
    assert wrong(match) == [message]


@pytest.mark.parametrize("name", ["Authorization", "cookie", "Proxy-Authorization", "SET-COOKIE"])
@pytest.mark.parametrize("rules", ["customer", "journey"])
def test_a_header_that_holds_a_secret_is_refused(name: str, rules: str) -> None:
    """What is a secret by itself is never taken for an id."""
    assert asked_wrong(f'{rules} = {{ header = "{name}" }}') == [
        f'{rules}.header: "{name}" holds a secret; use cookie or claim, or another header'
    ]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ('customer = "me"', 'customer: "me" is not a table; write { header = "X-Customer-Id" }'),
        ("journey = {}", f"journey: nothing is looked for; write exactly one of {EARLY}"),
        (
            "outcome = {}",
            'outcome: "outcome" is not a key of request; write one of: customer, journey',
        ),
        (
            'customer = [{ claim = "" }]',
            'customer[#1].claim: "" is empty; write text such as "sub"',
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_request_has_one_message(request_: str, message: str) -> None:
    """``[request]`` is checked as a match is."""
    assert asked_wrong(request_) == [message]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ('route = "GET /a/{x}/"', 'route = "GET /a/{other}"'),
        ('function = "shop:pay"', 'function = "shop:pay"'),
        ('task = "pay"', 'task = "pay"'),
        ('consume = "orders"', 'consume = "orders"'),
        ('rpc = "shop.Orders/Place"', 'rpc = "shop.Orders/Place"'),
    ],
)
def test_no_target_is_two_touchpoints(one: str, two: str) -> None:
    """The second is told, with where the first is; names of parameters make no difference."""
    target = two.partition(" = ")[2]

    assert problems(f"{HEAD}{VIEW}match = {{ {one} }}\n{PAY}match = {{ {two} }}\n") == [
        (
            f"m.toml:17: touchpoint[checkout.pay].match: {target} is already the touchpoint"
            ' "cart.view" at m.toml:8; remove one'
        )
    ]


def test_one_of_several_that_is_taken_is_told() -> None:
    """In an array, the problem is at the table that is taken, and others are not."""
    found = problems(
        f'{HEAD}{VIEW}match = {{ task = "a" }}\n'
        f'{PAY}match = [{{ consume = "a" }}, {{ rpc = "a/b" }}, {{ task = "a" }}]\n'
    )

    assert [problem.partition(" is already")[0] for problem in found] == [
        'm.toml:17: touchpoint[checkout.pay].match[#3]: "a"'
    ]


def test_different_methods_are_different_routes() -> None:
    """To look at a form and to send it are two touchpoints."""
    text = f'{HEAD}{VIEW}match = {{ route = "GET /a" }}\n{PAY}match = {{ route = "POST /a" }}\n'

    assert len(JourneyMap.loads(text).touchpoints) == 2


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., JourneyMap]:
    """A function that loads files of these texts as one map."""
    monkeypatch.chdir(tmp_path)

    def load(*texts: str) -> JourneyMap:
        paths = [Path(f"{letter}.toml") for letter, _ in zip("abc", texts, strict=False)]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text, encoding="utf-8")
        return JourneyMap.load(*paths)

    return load


def test_files_agree_on_what_requests_tell(load: Callable[..., JourneyMap]) -> None:
    """``[request]`` may stand in several files if it says the same in each."""
    asks = '[request]\njourney = { cookie = "visitor" }\n'
    rest = f'schema = "cxtrace.map/1"\n{asks}'

    assert load(HEAD + asks, rest).request.journey == (Teller(cookie="visitor"),)
    with pytest.raises(MapError) as caught:
        load(HEAD + asks, rest.replace("visitor", "guest"))
    assert [str(problem) for problem in caught.value.problems] == [
        (
            'b.toml:2: request: { journey = { cookie = "guest" } } is not the request that'
            ' a.toml:8 gives; write { journey = { cookie = "visitor" } }'
        )
    ]


def test_one_file_may_say_what_requests_tell_for_all(load: Callable[..., JourneyMap]) -> None:
    """A file without ``[request]`` says nothing against that of another."""
    asks = 'schema = "cxtrace.map/1"\n[request]\ncustomer = { user = "pk" }\n'

    assert load(HEAD, asks).request == load(asks, HEAD).request == Requests([Teller(user="pk")])


def test_two_files_may_repeat_a_match(load: Callable[..., JourneyMap]) -> None:
    """A touchpoint that two files define in the same words is one, and its target is not taken."""
    found = load(
        f'{HEAD}{PAY}match = {{ task = "pay" }}\n',
        f'schema = "cxtrace.map/1"\n{PAY}match = {{ task = "pay" }}\n',
    )

    assert found.touchpoints["checkout.pay"].match == (Match(task="pay"),)


# Editors and noise


def test_the_schema_knows_what_stands_together() -> None:
    """Editors are told that a match has one target, and that a value needs its header."""
    match = json_schema()["properties"]["touchpoint"]["items"]["properties"]["match"]
    one, several = match["oneOf"]

    assert one["oneOf"] == [{"required": [target]} for target in TARGETS.split(", ")]
    assert several == {"type": "array", "minItems": 1, "uniqueItems": True, "items": one}
    assert one["properties"]["outcome"]["oneOf"][0]["dependencies"] == {"value": ["header"]}


def test_the_examples_in_messages_are_right() -> None:
    """What a message says to write can be written."""
    assert matches(MATCH.example) == (Match(route="POST /basket/add/{pk}"),)
    assert matches(f"[{MATCH.example}]") == matches(MATCH.example)


scalars: Any = st.sampled_from(
    ['"GET /{a}"', '"shop:pay"', '"x"', '""', "3", "[]", "true", '"2xx"', '"failed"', '"\\u0000"']
)
keys = st.sampled_from(f"{TARGETS}, {ASKED}, outcome, customer, journey, is, status".split(", "))
tables: Any = st.recursive(
    scalars,
    lambda inner: (
        st.dictionaries(keys | identifiers, inner, max_size=4).map(
            lambda table: "{" + ", ".join(f"{key} = {item}" for key, item in table.items()) + "}"
        )
        | st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
    ),
    max_leaves=8,
)


@given(tables, tables)
def test_whatever_is_written_it_is_a_map_or_a_list_of_problems(match: str, asks: str) -> None:
    """No table in place of a match or a rule raises anything but a ``MapError``."""
    text = f"{HEAD}[request]\ncustomer = {asks}\n{PAY}match = {match}\n"
    with contextlib.suppress(MapError):
        found = JourneyMap.loads(text)

        assert JourneyMap.loads(found.dump()) == found
