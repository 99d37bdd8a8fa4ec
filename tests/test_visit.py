"""A request that the journey map knows, from its arrival to its answer."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current, get_value, set_value
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

import cxtrace
from cxtrace import _guard, _runtime, _touchpoint, _visit, privacy, touchpoint
from cxtrace import attributes as names
from cxtrace._bound import Bound
from cxtrace._scope import MAX_ENDED_SPANS, RequestScope
from cxtrace._touchpoint import outermost
from cxtrace._visit import Visit
from cxtrace.binding import bindings
from cxtrace.context import LINKING, CXContext, cx_of, with_cx
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import Key
from cxtrace.propagation import CXPropagator
from tests.conftest import Capture, Meters

HEAD = """\
schema = "cxtrace.map/1"
name = "shop"
functions = { it = {} }
[[stage]]
name = "purchase"
phase = "customer"
[[journey]]
name = "order"
goal = "pay"
routes = { only = ["pay", "look"] }
[[journey]]
name = "return"
goal = "send_back"
routes = { only = ["send_back", "pay"] }
"""
POINT = '[[touchpoint]]\nname = "{}"\nstage = "purchase"\nowner = "it"\n'
MATCHES = {
    "look": 'match = { route = "GET /look" }',
    "pay": 'match = [{ route = "POST /pay/{order}" }, { task = "pay" }]',
    "send_back": 'match = { consume = "returns" }',
    "outside": 'match = [{ rpc = "shop.Orders/Place" }, { route = "GET /outside" }]',
}
ROUTE = 'route = "POST /pay/{order}"'
SERVER = SpanKind.SERVER


def shop(request: str = "", **matches: str) -> JourneyMap:
    """A map with these rules for requests, and these matches in the place of the usual ones."""
    points = [POINT.format(name) + text + "\n" for name, text in {**MATCHES, **matches}.items()]
    return JourneyMap.loads(f"{HEAD}[request]\n{request}\n{''.join(points)}")


class Asked:
    """A request that was written for a test, and what it was asked."""

    source: object = None

    def __init__(self, **known: Mapping[str, object]) -> None:
        self.known: dict[str, Mapping[str, object]] = {**known}
        self.questions: list[str] = []

    def __getattr__(self, way: str) -> Any:
        def ask(name: str) -> object:
            self.questions.append(f"{way}:{name}")
            return self.known.get(way, {}).get(name)

        return ask


def no_header(name: str) -> None:
    """An answer without headers."""


def arrive(
    cx: Capture, journey_map: JourneyMap, request: Any = None, route: str = "POST /pay/7"
) -> Visit:
    """Open the visit of a request, under decisions with this map."""
    cx.use(journey_map=journey_map)
    return again(request, route)


def again(request: Any = None, route: str = "POST /pay/7") -> Visit:
    """Open the visit of a request under the decisions in force."""
    method, _, path = route.partition(" ")
    known = bindings()
    assert known is not None
    visit = known.route(Asked() if request is None else request, method, path)
    assert visit is not None
    return visit


def customer_of(tags: Mapping[str, Any]) -> Any:
    """The pseudonym on a span."""
    return tags.get(names.CUSTOMER_PSEUDONYM)


# The touchpoint


def test_a_request_is_its_touchpoint(cx: Capture) -> None:
    """It begins at once, is a span of its own, and afterwards all is as before."""
    before = get_current()
    visit = arrive(cx, shop())
    assert cxtrace.current_touchpoint() is visit.handle
    visit.answer(200, no_header)
    visit.leave()

    assert get_current() is before
    assert cx.names == ["pay"]
    assert cx.outcome("pay") == "completed"
    assert cx.tags("pay")["cx.stage.name"] == "purchase"


def test_a_request_is_the_span_of_the_server(cx: Capture) -> None:
    """Where the server has a span, that span is the touchpoint, and there is no other."""
    with cx.tracer.start_as_current_span("POST", kind=SERVER):
        visit = arrive(cx, shop())
        visit.answer(302, no_header)
        visit.leave()

    assert cx.names == ["POST"]
    assert cx.tags("POST")["cx.touchpoint.name"] == "pay"
    assert cx.outcome("POST") == "completed"


def test_what_the_framework_does_inside_is_tagged(cx: Capture) -> None:
    """Spans of others under the visit bear its tags, also where its context is attached later."""
    visit = arrive(cx, shop())
    context = visit.context
    assert context is get_current()
    visit.leave()
    assert visit.context is None
    visit = again()
    mine = get_current()
    token = attach(Context())
    assert token is not None
    attach(visit.context or Context())
    with cx.tracer.start_as_current_span("SELECT"):
        pass
    attach(mine)
    visit.leave()

    assert cx.tags("SELECT")["cx.touchpoint.name"] == "pay"


def test_tasks_messages_and_calls_are_touchpoints_too(cx: Capture) -> None:
    """They are found by their names."""
    cx.use(journey_map=shop())
    known = bindings()
    assert known is not None
    for way, name in (("task", "pay"), ("consume", "returns"), ("rpc", "shop.Orders/Place")):
        visit = known.named(way, name, Asked())  # type: ignore[arg-type]
        assert visit is not None
        visit.leave()

    assert cx.names == ["pay", "send_back", "outside"]
    assert known.named("task", "returns", Asked()) is None


def test_finishing_ends_the_touchpoint_and_no_more(cx: Capture) -> None:
    """What a framework does after the answer is still done for the customer of the visit."""
    journey_map = shop('customer = { header = "X-Id" }\njourney = { header = "X-Journey" }')
    visit = arrive(
        cx,
        journey_map,
        Asked(header={"X-Id": "c-1", "X-Journey": "0af7651916cd43dd8448eb211c80319c"}),
    )
    visit.finish()
    assert cx.names == ["pay"]
    with cx.tracer.start_as_current_span("background"):
        pass
    visit.finish()
    visit.leave()
    visit.leave()
    tags = cx.tags("background")

    assert cx.names == ["pay", "background"]
    assert customer_of(tags) == cx.pseudonym("c-1")
    assert tags["cx.journey.id"] == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("late", [True, False])
def test_an_exception_is_a_failure(cx: Capture, late: bool) -> None:
    """Whether the visit is finished with it or left with it; its text stays here."""
    visit = arrive(cx, shop())
    error = ValueError("text of a customer")
    if late:
        visit.leave(error)
    else:
        visit.finish(error)
        visit.leave(error)

    assert cx.outcome("pay") == "failed"
    assert cx.tags("pay")["error.type"] == "ValueError"
    assert "text of a customer" not in str(cx.span("pay").to_json())


def test_a_customer_who_hangs_up_has_abandoned(cx: Capture) -> None:
    """The first word of the framework counts: complete or abandoned."""
    for say in (Visit.abandon, Visit.complete):
        visit = arrive(cx, shop())
        say(visit)
        visit.abandon()
        visit.complete()
        visit.leave()
        say(visit)

    assert [(s.attributes or {})["cx.touchpoint.outcome"] for s in cx.spans] == [
        "abandoned",
        "completed",
    ]


def test_where_there_is_no_touchpoint_nothing_is_judged(cx: Capture) -> None:
    """A request that is none has no outcome, and needs no care."""
    visit = arrive(cx, shop('customer = { user = "pk" }'), route="GET /else")
    visit.answer(500, no_header)
    visit.complete()
    visit.abandon()
    visit.finish(ValueError())
    visit.leave()

    assert visit.handle is None
    assert cx.spans == []


# The outcome


THANKS = 'redirect = "/thanks", is = "deferred"'
ORDER = 'redirect = "/o/{id}/end", is = "deferred"'


@pytest.mark.parametrize(
    ("rules", "status", "headers", "expected"),
    [
        # without rules
        ("", 200, {}, "completed"),
        ("", 302, {"location": "/x"}, "completed"),
        ("", 404, {}, "failed"),
        ("", 500, {}, "failed"),
        # status
        ('{ status = "200", is = "failed" }', 200, {}, "failed"),
        ('{ status = "200", is = "failed" }', 201, {}, "completed"),
        ('{ status = "2xx", is = "deferred" }', 202, {}, "deferred"),
        ('{ status = "404", is = "completed" }', 404, {}, "completed"),
        ('{ status = "4xx", is = "abandoned" }', 500, {}, "failed"),
        # redirects
        (f"{{ {THANKS} }}", 302, {"location": "/thanks"}, "deferred"),
        (f"{{ {THANKS} }}", 303, {"location": "/thanks/"}, "deferred"),
        (f"{{ {THANKS} }}", 303, {"location": "/thanks?a=b#c"}, "deferred"),
        (f"{{ {THANKS} }}", 307, {"location": "https://shop.example/thanks"}, "deferred"),
        (f"{{ {THANKS} }}", 302, {"location": "/else"}, "completed"),
        (f"{{ {THANKS} }}", 302, {"location": "http://[x"}, "completed"),
        (f"{{ {THANKS} }}", 302, {}, "completed"),
        (f"{{ {THANKS} }}", 201, {"location": "/thanks"}, "completed"),
        (f"{{ {ORDER} }}", 302, {"location": "/o/7/end"}, "deferred"),
        (f"{{ {ORDER} }}", 302, {"location": "/o/7/8/end"}, "completed"),
        (f"{{ {ORDER} }}", 302, {"location": f"/o/{'x' * 600}/end"}, "completed"),
        # headers
        ('{ header = "X-Out", is = "deferred" }', 200, {"x-out": "any"}, "deferred"),
        ('{ header = "X-Out", is = "deferred" }', 200, {}, "completed"),
        ('{ header = "X-Out", value = "no", is = "failed" }', 200, {"x-out": "no"}, "failed"),
        ('{ header = "X-Out", value = "no", is = "failed" }', 200, {"x-out": "No"}, "completed"),
        # several
        ('[{ status = "2xx", is = "deferred" }, { is = "failed" }]', 200, {}, "deferred"),
        ('[{ status = "201", is = "deferred" }, { is = "abandoned" }]', 500, {}, "abandoned"),
        (f'{{ status = "302", {THANKS} }}', 303, {"location": "/thanks"}, "completed"),
        ('{ status = "200", header = "A", is = "deferred" }', 200, {}, "completed"),
    ],
)  # fmt: skip
def test_the_answer_says_how_it_ended(
    cx: Capture, rules: str, status: int, headers: dict[str, str], expected: str
) -> None:
    """The first rule that holds counts, and all of it must hold; else the status tells."""
    outcome = f", outcome = {rules}" if rules else ""
    visit = arrive(cx, shop(pay=f'match = {{ route = "POST /pay/{{order}}"{outcome} }}'))
    visit.answer(status, headers.get)
    visit.leave()

    assert cx.outcome("pay") == expected
    assert _guard.counts() == {}


@pytest.mark.parametrize(("status", "error"), [(404, "404"), (503, "503")])
def test_a_status_is_the_reason(cx: Capture, status: int, error: str) -> None:
    """A failed answer says its status, where the application says nothing else."""
    visit = arrive(cx, shop())
    visit.answer(status, no_header)
    visit.leave()

    assert cx.tags("pay")["error.type"] == error
    assert cx.span("pay").status.status_code is StatusCode.ERROR


def test_an_error_is_a_better_reason(cx: Capture) -> None:
    """Where an exception led to the answer, the reason is the exception."""
    visit = arrive(cx, shop())
    error = KeyError("x")
    visit.answer(500, no_header, error)
    visit.leave(error)

    assert cx.tags("pay")["error.type"] == "KeyError"
    assert cx.outcome("pay") == "failed"


def test_a_rule_may_call_a_good_answer_failed(cx: Capture) -> None:
    """A form that comes back with 200 has failed, and no status is the reason."""
    rule = '{ status = "200", is = "failed" }'
    visit = arrive(cx, shop(pay=f"match = {{ {ROUTE}, outcome = {rule} }}"))
    visit.answer(200, no_header)
    visit.leave()

    assert cx.outcome("pay") == "failed"
    assert "200" not in str(cx.tags("pay"))


def test_the_word_of_the_code_comes_first(cx: Capture) -> None:
    """What the application has said of the outcome is not said again by the answer."""
    visit = arrive(cx, shop())
    cxtrace.current_touchpoint().outcome("handed_off")
    visit.answer(500, no_header)
    visit.abandon()
    visit.leave()

    assert cx.outcome("pay") == "handed_off"


def test_after_the_end_no_answer_counts(cx: Capture) -> None:
    """A framework that answers twice, or too late, changes nothing."""
    visit = arrive(cx, shop())
    visit.answer(500, no_header)
    visit.answer(200, no_header)
    visit.finish()
    visit.answer(200, no_header)
    visit.leave()

    assert cx.outcome("pay") == "failed"


# The customer


@pytest.mark.parametrize(
    ("way", "name"),
    [("header", "X-Id"), ("cookie", "id"), ("query", "id"), ("session", "id"), ("user", "pk"),
     ("claim", "sub")],
)  # fmt: skip
def test_any_part_of_a_request_can_tell(cx: Capture, way: str, name: str) -> None:
    """The request is asked in the way of the rule, and only its pseudonym is sent."""
    request = Asked(**{way: {name: "c-1"}})
    visit = arrive(cx, shop(f'customer = {{ {way} = "{name}", kind = "account" }}'), request)
    visit.leave()

    assert customer_of(cx.tags("pay")) == cx.pseudonym("c-1")
    assert cx.tags("pay")["cx.customer.kind"] == "account"
    assert set(request.questions) == {f"{way}:{name}"}


def test_a_parameter_of_the_route_can_tell(cx: Capture) -> None:
    """The part of the path is taken from the route, and the request is not asked."""
    request = Asked()
    arrive(cx, shop('customer = { path = "order" }'), request).leave()

    assert customer_of(cx.tags("pay")) == cx.pseudonym("7")
    assert request.questions == []


@pytest.mark.parametrize("told", [3, UUID(int=5), "x" * 5000], ids=["number", "uuid", "long"])
def test_an_id_may_be_a_number_or_a_uuid(cx: Capture, told: Any) -> None:
    """What ids are made of is taken."""
    arrive(cx, shop('customer = { user = "pk" }'), Asked(user={"pk": told})).leave()

    expected = cx.pseudonym(told if isinstance(told, int) else str(told))
    assert customer_of(cx.tags("pay")) == expected


@pytest.mark.parametrize("told", [None, "", True, 1.5, b"c-1", object(), ["c-1"]])
def test_what_is_no_id_tells_nothing(cx: Capture, told: object) -> None:
    """An empty or strange value is passed over, and the next rule is asked."""
    rules = 'customer = [{ user = "pk" }, { cookie = "visitor", kind = "anonymous" }]'
    request = Asked(user={"pk": told}, cookie={"visitor": "v-1"})
    arrive(cx, shop(rules), request).leave()

    assert customer_of(cx.tags("pay")) == cx.pseudonym("anonymous:v-1")


def test_the_first_rule_that_tells_counts(cx: Capture) -> None:
    """The rules of the match come before those for every request."""
    own = f'match = {{ {ROUTE}, customer = [{{ header = "A" }}, {{ header = "B" }}] }}'
    journey_map = shop('customer = { header = "C" }', pay=own)
    for known in ({"C": "3"}, {"B": "2", "C": "3"}, {"A": "1", "B": "2", "C": "3"}):
        arrive(cx, journey_map, Asked(header=known)).leave()

    found = [customer_of(span.attributes or {}) for span in cx.spans]
    assert found == [cx.pseudonym("3"), cx.pseudonym("2"), cx.pseudonym("1")]


def test_who_logs_in_is_known_from_then_on(cx: Capture) -> None:
    """A better rule that can tell only later is asked again; a worse one is not."""
    rules = 'customer = [{ user = "pk" }, { cookie = "v" }, { query = "q" }]'
    request = Asked(cookie={"v": "v-1"})
    visit = arrive(cx, shop(rules), request)
    with touchpoint("before"):
        pass
    request.known["user"] = {"pk": 9}
    visit.learn()
    request.known["user"] = {"pk": 10}
    visit.leave()

    assert customer_of(cx.tags("pay")) == cx.pseudonym(9)
    assert customer_of(cx.tags("before")) == cx.pseudonym(9)
    assert "query:q" not in request.questions
    assert request.questions.count("user:pk") == 2


def test_the_answer_and_the_end_ask_again(cx: Capture) -> None:
    """An integration need not know when the application learns who the customer is."""
    for end in ("answer", "finish", "leave"):
        request = Asked()
        visit = arrive(cx, shop('customer = { session = "id" }'), request)
        request.known["session"] = {"id": end}
        if end == "answer":
            visit.answer(200, no_header)
            request.known.clear()
        if end == "finish":
            visit.finish()
        visit.leave()

    found = [customer_of(span.attributes or {}) for span in cx.spans]
    assert found == [cx.pseudonym("answer"), cx.pseudonym("finish"), cx.pseudonym("leave")]


def test_a_request_without_touchpoint_has_a_customer(cx: Capture) -> None:
    """The server's span, which began before, and those within it bear the pseudonym."""
    request = Asked(user={"pk": 1})
    with cx.tracer.start_as_current_span("GET", kind=SERVER):
        visit = arrive(cx, shop('customer = { user = "pk" }'), request, "GET /else")
        with cx.tracer.start_as_current_span("SELECT"):
            pass
        visit.leave()

    assert customer_of(cx.tags("GET")) == customer_of(cx.tags("SELECT")) == cx.pseudonym(1)
    assert "cx.touchpoint.name" not in cx.tags("GET")


def test_a_request_without_touchpoint_may_tell_late(cx: Capture) -> None:
    """Who logs in during such a request reaches its spans too, at the latest as it is left."""
    request = Asked()
    with cx.tracer.start_as_current_span("GET", kind=SERVER):
        visit = arrive(cx, shop('customer = { user = "pk" }'), request, "GET /else")
        with cx.tracer.start_as_current_span("SELECT"):
            pass
        request.known["user"] = {"pk": 1}
        visit.leave()

    assert customer_of(cx.tags("GET")) == customer_of(cx.tags("SELECT")) == cx.pseudonym(1)


def test_a_span_of_our_own_is_not_tagged_for_the_server(cx: Capture) -> None:
    """Without a server's span there is none to tag."""
    with cx.tracer.start_as_current_span("job"):
        visit = arrive(
            cx, shop('customer = { cookie = "c" }'), Asked(cookie={"c": "1"}), "GET /else"
        )
        visit.leave()

    assert cx.names == ["job"]


# What was said before


def test_a_customer_of_a_calling_service_stays(cx: Capture) -> None:
    """Who has been told and signed by one of ours is not asked for again."""
    request = Asked(header={"X-Id": "other", "X-Journey": "other"})
    rules = 'customer = [{ header = "X-Id" }, { user = "pk" }]\njourney = { header = "X-Journey" }'
    cx.use(journey_map=shop(rules), trusted_hosts=("orders.internal",))
    attributes = {"url.full": "http://orders.internal/"}
    carrier: dict[str, str] = {}
    with (
        cxtrace.customer("c-1"),
        cxtrace.journey("order", id="j-1"),
        cx.tracer.start_as_current_span("POST", kind=SpanKind.CLIENT, attributes=attributes),
    ):
        CXPropagator().inject(carrier)
    before = get_current()
    attach(CXPropagator().extract(carrier, Context()))
    again(request).leave()
    attach(before)
    tags = cx.tags("pay")

    assert carrier
    assert customer_of(tags) == cx.pseudonym("c-1")
    assert tags["cx.journey.id"] == "j-1"
    assert request.questions == []


def test_consent_that_was_refused_stays_refused(cx: Capture) -> None:
    """A rule that tells who the customer is grants nothing."""
    cx.use(journey_map=shop('customer = { header = "X-Id" }\njourney = { header = "X-J" }'))
    with cxtrace.customer(None, consent="denied"):
        again(Asked(header={"X-Id": "c-1", "X-J": "j-1"})).leave()
    tags = cx.tags("pay")

    assert customer_of(tags) is None
    assert tags["cx.consent.state"] == "denied"
    assert tags["cx.journey.name"] == "order"
    assert "cx.journey.id" not in tags


# The journey


def test_a_cookie_gives_a_journey_that_it_cannot_be_told_from(cx: Capture) -> None:
    """A cookie is hashed with the key, and two journeys of one visitor have two ids."""
    request = Asked(cookie={"v": "visitor-1"})
    cx.use(journey_map=shop('journey = { cookie = "v" }'))
    again(request).leave()
    again(request, "GET /look").leave()
    known = bindings()
    assert known is not None
    other = known.named("consume", "returns", request)
    assert other is not None
    other.leave()
    pay, look, send_back = (cx.tags(name) for name in ("pay", "look", "send_back"))
    key = Key(b"k" * 32)

    assert pay["cx.journey.id"] == look["cx.journey.id"]
    assert pay["cx.journey.id"] == privacy.hashed_journey_id("order", "visitor-1", key)
    assert send_back["cx.journey.id"] == privacy.hashed_journey_id("return", "visitor-1", key)
    assert send_back["cx.journey.id"] != pay["cx.journey.id"]
    assert "visitor-1" not in str([span.to_json() for span in cx.spans])


def test_the_first_journey_of_the_map_gives_the_name(cx: Capture) -> None:
    """A touchpoint of two journeys is taken for part of the first."""
    arrive(cx, shop('journey = { header = "X-J" }'), Asked(header={"X-J": "j-1"})).leave()

    assert cx.tags("pay")["cx.journey.name"] == "order"


@pytest.mark.parametrize(
    ("told", "plain"), [("0af7651916cd43dd", True), ("anna@example.com", False)]
)
def test_a_header_gives_a_journey_as_it_stands(cx: Capture, told: str, plain: bool) -> None:
    """An opaque token is sent as it stands, and what is none as a hash."""
    arrive(cx, shop('journey = { header = "X-J" }'), Asked(header={"X-J": told})).leave()

    assert (cx.tags("pay")["cx.journey.id"] == told) is plain


@pytest.mark.parametrize(
    ("own", "expected"),
    [('{ query = "q" }', "q-1"), ('[{ header = "X-None" }, { path = "order" }]', "7")],
)
def test_the_rules_of_the_match_come_first(cx: Capture, own: str, expected: str) -> None:
    """For the journey as for the customer: the first rule that tells something counts."""
    journey_map = shop('journey = { cookie = "v" }', pay=f"match = {{ {ROUTE}, journey = {own} }}")
    arrive(cx, journey_map, Asked(query={"q": "q-1"}, cookie={"v": "v-1"})).leave()
    key = Key(b"k" * 32)

    found = cx.tags("pay")["cx.journey.id"]
    assert found == privacy.hashed_journey_id("order", expected, key)


@pytest.mark.parametrize("route", ["POST /pay/7", "GET /outside"])
def test_without_a_rule_that_tells_there_is_no_journey(cx: Capture, route: str) -> None:
    """No id is invented; and a touchpoint that is on no journey is on none."""
    asked = Asked(header={"X-J": "j-1"} if route == "GET /outside" else {})
    arrive(cx, shop('journey = { header = "X-J" }'), asked, route).leave()
    [span] = cx.spans

    assert "cx.journey.name" not in (span.attributes or {})


def test_the_journey_of_the_code_stays(cx: Capture) -> None:
    """A journey that is open already is not replaced by one of a rule."""
    cx.use(journey_map=shop('journey = { header = "X-J" }'))
    with cxtrace.journey("return", id="r-1"):
        again(Asked(header={"X-J": "j-1"})).leave()

    assert cx.tags("pay")["cx.journey.id"] == "r-1"


# Inside of itself


def test_a_second_of_its_kind_does_not_open(cx: Capture) -> None:
    """A middleware that is there twice makes one touchpoint; the second is a visit of nothing."""
    outer = arrive(cx, shop())
    with touchpoint("between"):
        inner = again()
        assert (inner.handle, inner.context) == (None, None)
        inner.answer(500, no_header)
        inner.leave()
    outer.leave()

    assert sorted(cx.names) == ["between", "pay"]
    assert cx.outcome("pay") == "completed"


def test_another_kind_opens_inside(cx: Capture) -> None:
    """A task that runs within the request that asked for it is a touchpoint of its own."""
    outer = arrive(cx, shop())
    known = bindings()
    assert known is not None
    task = known.named("task", "pay", Asked())
    assert task is not None
    request = again(route="GET /look")
    request.leave()
    task.leave()
    outer.leave()

    assert cx.names == ["look", "pay", "pay"]


def test_after_the_end_the_next_one_opens(cx: Capture) -> None:
    """A context that was kept over the end of its request does not hold back another."""
    outer = arrive(cx, shop())
    kept = get_current()
    outer.leave()
    before = get_current()
    attach(kept)
    inner = again(route="GET /look")
    inner.leave()
    attach(before)

    assert cx.names == ["pay", "look"]


# Nobody listens, nobody samples


def test_without_sdk_nothing_happens(nobody: None) -> None:
    """Where nobody listens a visit opens nothing and asks nothing."""
    before = get_current()
    request = Asked(user={"pk": 1})
    visit = Visit(Bound(touchpoint("pay"), ("order",)), request, {})
    visit.learn()
    cxtrace.identify("c-1")
    visit.answer(500, no_header)
    visit.abandon()
    visit.leave()

    assert get_current() is before
    assert (visit.handle, visit.context, request.questions) == (None, None, [])


@pytest.mark.parametrize("path", ["lean", "sdk"])
@pytest.mark.parametrize("kind", [SERVER, SpanKind.INTERNAL])
def test_what_is_not_sampled_is_measured(
    path: str, kind: SpanKind, meters: Meters, forgetful: None
) -> None:
    """No span is recorded, and duration and outcome are counted all the same."""
    cx = Capture(path, sampler=ALWAYS_OFF)
    with cx.tracer.start_as_current_span("POST", kind=kind):
        visit = arrive(cx, shop('customer = { user = "pk" }'), Asked(user={"pk": 1}))
        visit.answer(500, no_header)
        visit.leave()
    [(labels, (count, _))] = meters.values("cx.touchpoint.duration")

    assert cx.spans == []
    assert count == 1
    assert (labels["cx.touchpoint.name"], labels["cx.touchpoint.outcome"]) == ("pay", "failed")


# Nothing raises


class Refusing:
    """A request of a framework that has broken down."""

    def __getattr__(self, way: str) -> Any:
        raise RuntimeError(way)


def test_a_request_that_refuses_to_tell_is_passed_over(cx: Capture) -> None:
    """Its errors are counted, the next rule is asked, and the touchpoint is there."""
    rules = 'customer = [{ user = "pk" }, { path = "order" }]\njourney = { cookie = "v" }'
    visit = arrive(cx, shop(rules), Refusing())
    visit.answer(200, no_header)
    visit.leave()

    assert customer_of(cx.tags("pay")) == cx.pseudonym("7")
    assert "cx.journey.name" not in cx.tags("pay")
    assert set(_guard.counts()) == {"errors.request.user", "errors.request.cookie"}


@pytest.mark.parametrize(
    ("module", "name", "counted"),
    [
        (_visit, "outermost", "errors.visit"),
        (_visit, "_identify", "errors.visit.learn"),
        (_visit, "end", "errors.visit.finish"),
        (_visit, "block_of", "errors.visit"),
    ],
)
def test_our_own_errors_stay_with_us(
    cx: Capture, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, counted: str
) -> None:
    """Whatever breaks in a visit, it is counted, and the context is restored."""

    def broken(*args: object) -> None:
        raise RuntimeError

    before = get_current()
    cx.use(journey_map=shop('customer = { path = "order" }'))
    with monkeypatch.context() as patch:
        patch.setattr(module, name, broken)
        visit = again()
        visit.learn()
        visit.answer(200, no_header)
        visit.finish()
    visit.leave()

    assert get_current() is before
    assert counted in _guard.counts()


def test_an_answer_that_breaks_says_nothing(cx: Capture) -> None:
    """Headers that cannot be read leave the outcome to the end of the visit."""

    def broken(name: str) -> str:
        raise RuntimeError(name)

    visit = arrive(
        cx, shop(pay=f'match = {{ {ROUTE}, outcome = {{ header = "X-O", is = "failed" }} }}')
    )
    visit.answer(200, broken)
    visit.leave()

    assert cx.outcome("pay") == "completed"
    assert _guard.counts() == {"errors.visit.answer": 1}


def test_a_noun_that_does_not_open_leaves_the_journey(
    cx: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the touchpoint cannot open, what is said of the customer still is."""
    monkeypatch.setattr(touchpoint, "_open", lambda self: None)
    visit = arrive(cx, shop('customer = { path = "order" }'))
    with cx.tracer.start_as_current_span("SELECT"):
        pass
    visit.answer(200, no_header)
    visit.leave()

    assert visit.handle is None
    assert customer_of(cx.tags("SELECT")) == cx.pseudonym("7")


def test_a_touchpoint_that_does_not_open_leaves_what_is_known_on_the_servers_span(
    cx: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The span of the server says who the customer is, though it is no touchpoint."""
    monkeypatch.setattr(_touchpoint, "plan_of", lambda *_: 1 / 0)
    with cx.tracer.start_as_current_span("POST", kind=SERVER):
        visit = arrive(cx, shop('customer = { path = "order" }'))
        visit.answer(200, no_header)
        visit.leave()

    assert visit.handle is None
    assert customer_of(cx.tags("POST")) == cx.pseudonym("7")
    assert _guard.counts() == {"errors.touchpoint": 1}


def test_every_span_that_is_open_learns_who_the_customer_is(cx: Capture) -> None:
    """The server's own hears of it with its touchpoint, and those around it at once."""
    with cx.tracer.start_as_current_span("proxy") as outside:
        context = with_cx(get_current(), CXContext(RequestScope(_runtime.current.anonymous)))
        cx_of(context).scope.adopt(outside.get_span_context().span_id, outside)  # type: ignore[union-attr]
        token = attach(context)
        with cx.tracer.start_as_current_span("POST", kind=SERVER):
            visit = arrive(cx, shop('customer = { path = "order" }'))
            visit.leave()
        detach(token)

    assert cx.names == ["POST", "proxy"]
    assert {customer_of(cx.tags(name)) for name in cx.names} == {cx.pseudonym("7")}


def test_a_customer_who_has_not_agreed_is_nobody_on_the_servers_span(cx: Capture) -> None:
    """Where consent is required, what others have written there of a person is taken away."""
    cx.use(journey_map=shop('customer = { path = "order" }'), consent_required=True)
    with cx.tracer.start_as_current_span("POST", kind=SERVER) as server:
        token = attach(with_cx(get_current(), outermost(get_current())))
        server.set_attribute(names.CUSTOMER_PSEUDONYM, "somebody")
        again().leave()
        detach(token)

    assert customer_of(cx.tags("POST")) is None
    assert cx.tags("POST")["cx.touchpoint.name"] == "pay"


@pytest.mark.parametrize("finished", [False, True])
def test_what_the_host_has_left_attached_stays(cx: Capture, finished: bool) -> None:
    """Only what is ours is taken back at the end; the rest is somebody else's."""
    before = get_current()
    visit = arrive(cx, shop())
    attach(set_value("theirs", 1))
    if finished:
        visit.finish()
    visit.leave()
    left = get_current()
    attach(before)

    assert get_value("theirs", left) == 1
    assert cx_of(left) is None
    assert cx.names == ["pay"]


# Spans that ended before the customer was known


class Recorded(SpanProcessor):
    """Notes what has ended, and holds none of it."""

    def __init__(self, seen: list[weakref.ref[ReadableSpan]]) -> None:
        self.seen = seen

    def on_end(self, span: ReadableSpan) -> None:
        """Note a span."""
        self.seen.append(weakref.ref(span))


@pytest.fixture
def late(cx: Capture) -> Iterator[Callable[[str], None]]:
    """A request in which the customer is not known yet, and a function that makes it known."""
    request = Asked()
    rules = 'customer = { user = "pk" }\njourney = { header = "X-J" }'
    request.known["header"] = {"X-J": "0af7651916cd43dd8448eb211c80319c"}
    visit = arrive(cx, shop(rules), request)

    def log_in(who: str) -> None:
        request.known["user"] = {"pk": who}
        visit.learn()

    yield log_in
    visit.leave()


def test_spans_that_have_ended_are_told(cx: Capture, late: Callable[[str], None]) -> None:
    """Those of others and our own, while they wait to be sent."""
    with cx.tracer.start_as_current_span("SELECT"):
        pass
    with touchpoint("within"), cxtrace.interaction("click"):
        pass
    assert customer_of(cx.tags("SELECT")) is None
    late("c-1")
    found = {customer_of(cx.tags(name)) for name in ("SELECT", "within", "click")}

    assert found == {cx.pseudonym("c-1")}


def test_only_so_many_ended_spans_are_kept(cx: Capture, late: Callable[[str], None]) -> None:
    """Past the limit the earlier spans are told, and the others counted."""
    for number in range(MAX_ENDED_SPANS + 5):
        cx.tracer.start_span(str(number)).end()
    late("c-1")
    told = [span.name for span in cx.spans if customer_of(span.attributes or {})]

    assert told == [str(number) for number in range(MAX_ENDED_SPANS)]
    assert _guard.counts() == {"scope.spans_not_remembered": 5}


@pytest.mark.parametrize("cx", ["sdk"], indirect=True)
def test_spans_that_have_been_sent_are_gone(cx: Capture, late: Callable[[str], None]) -> None:
    """A long request holds no span that nobody else holds, and has room for those that wait."""
    seen: list[weakref.ref[ReadableSpan]] = []
    cx.provider.add_span_processor(Recorded(seen))
    for _ in range(3):
        for number in range(MAX_ENDED_SPANS):
            cx.tracer.start_span(str(number)).end()
        cx.exporter.clear()  # they are on their way
    assert [span() for span in seen] == [None] * len(seen)
    cx.tracer.start_span("waits").end()
    late("c-1")

    assert len(seen) == 3 * MAX_ENDED_SPANS + 1
    assert customer_of(cx.tags("waits")) == cx.pseudonym("c-1")
    assert _guard.counts() == {}


def test_a_span_that_is_sent_before_the_customer_is_known_stays_untold(
    cx: Capture, late: Callable[[str], None]
) -> None:
    """Those that still wait are told, whatever has become of the others."""
    for name in ("sent", "waits"):
        cx.tracer.start_span(name).end()
        if name == "sent":
            cx.exporter.clear()
    late("c-1")

    assert cx.names == ["waits"]
    assert customer_of(cx.tags("waits")) == cx.pseudonym("c-1")


def test_refused_consent_reaches_spans_that_have_ended(
    cx: Capture, late: Callable[[str], None]
) -> None:
    """What links a customer is blanked in what has ended; what was never there stays away."""
    with cx.tracer.start_as_current_span("SELECT"):
        pass
    with touchpoint("within"):
        pass
    assert cx.tags("SELECT")["cx.journey.id"] == "0af7651916cd43dd8448eb211c80319c"
    cxtrace.identify("c-1", consent="denied")

    for name in ("SELECT", "within"):
        tags = cx.tags(name)
        assert tags["cx.journey.id"] == ""
        assert customer_of(tags) is None


def test_where_all_is_known_at_once_no_span_is_kept(cx: Capture) -> None:
    """Rules that can tell only as the request arrives make nothing wait for them."""
    visit = arrive(cx, shop('customer = { header = "X-Id" }'))
    with cx.tracer.start_as_current_span("SELECT"):
        pass
    cxtrace.identify("c-1")
    visit.leave()

    assert customer_of(cx.tags("SELECT")) is None
    assert customer_of(cx.tags("pay")) == cx.pseudonym("c-1")


def test_to_expect_twice_forgets_nothing(cx: Capture, late: Callable[[str], None]) -> None:
    """A request within the request does not lose the spans that have ended before it."""
    with cx.tracer.start_as_current_span("SELECT"):
        pass
    known = bindings()
    now = cx_of(get_current())
    assert known is not None
    assert now is not None
    task = known.named("task", "pay", Asked())
    assert task is not None
    task.leave()
    late("c-1")

    assert customer_of(cx.tags("SELECT")) == cx.pseudonym("c-1")


def test_an_editor_that_fails_keeps_no_other_span_from_being_told(
    cx: Capture, late: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One span that cannot be changed is counted, and the next one is told."""
    real = type(cx.tracing).amend

    def amend(self: Any, span: Any, tags: Any, details: Any) -> None:
        if span.name == "first":
            raise RuntimeError
        real(self, span, tags, details)

    monkeypatch.setattr(type(cx.tracing), "amend", amend)
    for name in ("first", "second"):
        cx.tracer.start_span(name).end()
    late("c-1")

    assert customer_of(cx.tags("first")) is None
    assert customer_of(cx.tags("second")) == cx.pseudonym("c-1")
    assert _guard.counts() == {"errors.identify.ended_span": 1}


def test_an_exporter_never_misses_a_key(cx: Capture, late: Callable[[str], None]) -> None:
    """While spans that have ended are told, whoever reads them finds every key that was there."""
    cx.tracer.start_span("SELECT").end()
    with touchpoint("within"):
        pass
    spans = [cx.span("SELECT"), cx.span("within")]
    before = [set(span.attributes or {}) for span in spans]
    problems: list[object] = []
    stop = threading.Event()

    def export() -> None:
        while not stop.is_set():
            for span, keys in zip(spans, before, strict=True):
                try:
                    seen = {key: value for key, value in (span.attributes or {}).items()}  # noqa: C416  as exporters do
                except Exception as error:
                    problems.append(error)
                else:
                    problems.extend(keys - set(seen))

    reader = threading.Thread(target=export)
    reader.start()
    for number in range(300):
        cxtrace.identify(f"c-{number}", consent="denied" if number % 2 else "granted")
    stop.set()
    reader.join()
    late("c-1")

    assert problems == []


def test_without_an_sdk_span_there_is_nothing_to_change(nobody: None) -> None:
    """What is neither the SDK's span nor ours is left as it is, also by the API alone."""
    from cxtrace._runtime import ApiTracing
    from cxtrace._span import amend, forget

    span = trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)
    before = dict(vars(span))
    amend(span, {names.CUSTOMER_PSEUDONYM: "x"}, {})
    ApiTracing().amend(span, {names.CUSTOMER_PSEUDONYM: "x"}, {})
    forget(span, LINKING)

    assert vars(span) == before


# What strangers may not learn, and what a refusal reaches


@pytest.mark.parametrize(
    ("told", "is_sent"),
    [
        ("0af7651916cd43dd8448eb211c80319c", True),
        ("0AF76519-16CD-43DD-8448-EB211C80319C", True),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", True),
        ("1234567890123456", False),
        ("jane.doe", False),
        ("C-4711", False),
        ("eyJhbGciOi.eyJzdWIi.c2ln", False),
    ],
)
def test_only_what_a_machine_has_drawn_is_a_journeys_id_as_it_stands(
    cx: Capture, told: str, is_sent: bool
) -> None:
    """A browser may send a name or an account's number for a journey: it goes out as a hash."""
    arrive(cx, shop('journey = { header = "X-J" }'), Asked(header={"X-J": told})).leave()

    sent = cx.tags("pay")[names.JOURNEY_ID]
    assert (sent == told) is is_sent
    assert is_sent or told not in str(cx.tags("pay"))


def test_a_header_that_tells_the_customer_is_no_journeys_id_as_it_stands(cx: Capture) -> None:
    """The customer's own identifier never leaves, whatever its form."""
    rules = 'customer = { header = "X-Id" }\njourney = { header = "x-id" }'
    told = "0af7651916cd43dd8448eb211c80319c"

    arrive(cx, shop(rules), Asked(header={"X-Id": told, "x-id": told})).leave()

    assert customer_of(cx.tags("pay")) == cx.pseudonym(told)
    assert told not in str(cx.tags("pay"))


def test_a_visitor_is_nobody_with_the_same_number(cx: Capture) -> None:
    """The visitor of cookie 1 and the account of number 1 are two people."""
    rules = 'customer = [{ user = "pk" }, { cookie = "v", kind = "anonymous" }]'
    for request in (Asked(user={"pk": 1}), Asked(cookie={"v": "1"})):
        arrive(cx, shop(rules), request).leave()

    known, visitor = [customer_of(span.attributes or {}) for span in cx.spans]
    assert known == cx.pseudonym(1)
    assert visitor not in (None, known)


def test_who_logs_in_is_a_visitor_no_more(cx: Capture) -> None:
    """What was said of the visitor does not stay beside the pseudonym of the account."""
    request = Asked(cookie={"v": "v-1"})
    rules = 'customer = [{ user = "pk" }, { cookie = "v", kind = "anonymous" }]'
    visit = arrive(cx, shop(rules), request)
    with touchpoint("within"):
        pass
    request.known["user"] = {"pk": "c-1"}
    visit.leave()

    for name in ("pay", "within"):
        assert customer_of(cx.tags(name)) == cx.pseudonym("c-1")
        assert cx.tags(name).get(names.CUSTOMER_KIND, "") == ""


def test_a_refusal_reaches_what_has_ended_though_no_rule_is_late(cx: Capture) -> None:
    """Pseudonym and journey are taken from spans, and from their events, that wait to be sent."""
    rules = 'customer = { header = "X-Id" }\njourney = { cookie = "v" }'
    visit = arrive(cx, shop(rules), Asked(header={"X-Id": "c-1"}, cookie={"v": "v-1"}))
    cx.tracer.start_span("SELECT").end()
    with touchpoint("within") as inner:
        inner.mention("friends")
    cxtrace.identify("c-1", consent="denied")
    visit.leave()

    told = [span.attributes or {} for span in cx.spans]
    told += [event.attributes or {} for span in cx.spans for event in span.events]
    assert {tags.get(key, "") for tags in told for key in LINKING} == {""}


def test_a_refusal_in_a_block_for_the_same_customer_reaches_the_request(cx: Capture) -> None:
    """Who refuses in the code is the one whom the map has told of."""
    with cx.tracer.start_as_current_span("GET", kind=SpanKind.SERVER):
        visit = arrive(cx, shop('customer = { header = "X-Id" }'), Asked(header={"X-Id": "c-1"}))
        with cxtrace.customer("c-2", consent="denied"):
            pass
        assert visit.handle is not None
        assert customer_of(getattr(visit.handle.span, "attributes", {})) == cx.pseudonym("c-1")
        with cxtrace.customer("c-1", consent="denied"):
            pass
        visit.leave()

    assert customer_of(cx.tags("GET")) in (None, "")


def test_a_request_that_says_nothing_of_consent_changes_none(cx: Capture) -> None:
    """A refusal that was heard in one request of a journey holds in the next."""
    rules = 'customer = { header = "X-Id" }\njourney = { cookie = "v" }'
    journey_map = shop(rules)
    states = []
    for consent in ("denied", None):
        request = Asked(header={"X-Id": "c-1"}, cookie={"v": "v-1"})
        visit = arrive(cx, journey_map, request) if consent else again(request)
        journey = cx_of(get_current()).journey  # type: ignore[union-attr]
        if consent:
            cxtrace.identify("c-1", consent="denied")
        assert journey is not None
        states.append(journey.state.refused)
        visit.leave()

    assert states == ["denied", "denied"]


def test_what_the_code_says_comes_before_every_rule(cx: Capture) -> None:
    """A rule that finds somebody later does not take the place of whom the code has named."""
    request = Asked()
    visit = arrive(cx, shop('customer = { user = "pk" }'), request)
    cxtrace.identify("c-1", kind="person")
    request.known["user"] = {"pk": "service-account"}
    visit.leave()

    assert customer_of(cx.tags("pay")) == cx.pseudonym("c-1")
    assert cx.tags("pay")[names.CUSTOMER_KIND] == "person"


def test_a_request_within_a_request_tells_nothing_of_the_other(cx: Capture) -> None:
    """A service that calls an application within its own process serves two customers."""
    outer, inner = Asked(user={"pk": "c-1"}), Asked(user={"pk": "c-2"})
    outer.source, inner.source = object(), object()
    first = arrive(cx, shop('customer = { user = "pk" }'), outer)
    around = get_current()
    second = again(inner)
    second.answer(500, no_header, LookupError())
    second.leave()
    assert get_current() is around
    first.leave()

    told = [(span.attributes or {}) for span in cx.spans]
    assert [customer_of(tags) for tags in told] == [cx.pseudonym("c-2"), cx.pseudonym("c-1")]
    assert [tags["cx.touchpoint.outcome"] for tags in told] == ["failed", "completed"]


def test_a_request_below_a_span_of_another_is_a_child_of_that_span(cx: Capture) -> None:
    """A client's span between the two keeps its place; the customer does not pass through it."""
    outer, inner = Asked(header={"X-Id": "c-1"}), Asked()
    outer.source, inner.source = object(), object()
    first = arrive(cx, shop('customer = { header = "X-Id" }'), outer)
    with cx.tracer.start_as_current_span("call") as call:
        again(inner, "GET /look").leave()
    first.leave()

    parent = cx.span("look").parent
    assert parent is not None
    assert parent.span_id == call.get_span_context().span_id
    assert customer_of(cx.tags("look")) is None
    assert customer_of(cx.tags("call")) == cx.pseudonym("c-1")


@pytest.mark.parametrize(
    ("outer", "inner"), [(None, None), (None, object()), (object(), None), (MATCHES, MATCHES)]
)
def test_a_request_that_may_be_the_same_is_taken_for_it(
    cx: Capture, outer: object, inner: object
) -> None:
    """Only where both say what they came from, and it differs, are they two."""
    around, within = Asked(), Asked(user={"pk": "c-1"})
    around.source, within.source = outer, inner
    first = arrive(cx, shop('customer = { user = "pk" }'), around)
    again(within).leave()
    first.leave()

    assert cx.names == ["pay"]
    assert customer_of(cx.tags("pay")) == cx.pseudonym("c-1")


def test_a_message_that_a_request_has_left_behind_is_a_message_of_its_own(cx: Capture) -> None:
    """A worker that was started within a request reads messages for everybody."""
    first = arrive(cx, shop('customer = { header = "X-Id" }'), Asked(header={"X-Id": "c-1"}))
    behind = get_current()
    first.leave()
    attach(behind)
    known = bindings()
    assert known is not None
    message = known.named("consume", "returns", Asked())
    assert message is not None
    message.leave()
    attach(Context())

    assert customer_of(cx.tags("send_back")) is None


def test_what_a_request_has_left_behind_tells_nothing(cx: Capture) -> None:
    """A worker that was started within a request has its context, and not its customer."""
    first = arrive(cx, shop('customer = { header = "X-Id" }'), Asked(header={"X-Id": "c-1"}))
    behind = get_current()
    first.leave()
    before = get_current()
    attach(behind)
    again(Asked()).leave()
    assert get_current() is before

    told = [customer_of(span.attributes or {}) for span in cx.spans]
    assert told == [cx.pseudonym("c-1"), None]


def test_a_request_leaves_no_cycle_behind(cx: Capture) -> None:
    """What a request has held is gone with it, and does not wait for the garbage collector."""
    request = Asked()
    gone = weakref.ref(request)
    journey_map = shop('customer = { user = "pk" }')
    gc.collect()
    gc.disable()
    try:
        arrive(cx, journey_map, request).leave()
        del request
        assert gone() is None
    finally:
        gc.enable()
