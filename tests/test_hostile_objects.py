"""Whatever object a call is given, none of its own code runs, and nothing of ours is raised."""

import enum
import io
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import SpanProcessor

import cxtrace
from cxtrace import (
    _closed_sets,
    _guard,
    customer,
    identify,
    interaction,
    journey,
    touchpoint,
)
from cxtrace._outcome import type_of
from cxtrace.integrations.messages import carrying, consuming
from cxtrace.integrations.wsgi import CXMiddleware
from cxtrace.journey_map import JourneyMap
from tests.conftest import Capture

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"
context = ["colour"]
functions = { it = {} }
[[stage]]
name = "first"
phase = "customer"
[[touchpoint]]
name = "page.one"
stage = "first"
owner = "it"
match = [{ route = "GET /one" }, { consume = "orders" }]
""")
_ASKED = (
    *("__bool__", "__contains__", "__eq__", "__float__", "__format__", "__fspath__", "__ge__"),
    *("__getattr__", "__getitem__", "__gt__", "__hash__", "__index__", "__int__", "__iter__"),
    *("__le__", "__len__", "__lt__", "__ne__", "__repr__", "__str__", "__trunc__", "encode"),
    *("isprintable", "items", "lower", "partition", "rpartition", "startswith", "strip"),
)


class Ran(BaseException):
    """Code of the object has run; no ``except Exception`` of ours hides it."""


def hostile(kind: type, *value: Any) -> Any:
    """An object all of whose methods raise, the one behind ``isinstance`` included."""

    def ran(*_: Any) -> Any:
        raise Ran

    return type("Hostile", (kind,), {**dict.fromkeys(_ASKED, ran), "__class__": property(ran)})(
        *value
    )


MAKERS: dict[str, Callable[[], Any]] = {
    "object": lambda: hostile(object),
    "text": lambda: hostile(str, "text"),
    "whole number": lambda: hostile(int, 7),
    "number": lambda: hostile(float, 0.5),
    "bytes": lambda: hostile(bytes, b"text"),
    "tuple": lambda: hostile(tuple, (0, 5)),
    "list": lambda: hostile(list, [0, 5]),
}


@pytest.fixture(params=sorted(MAKERS))
def thing(request: pytest.FixtureRequest) -> Any:
    """Something that nobody may ask anything."""
    return MAKERS[request.param]()


@pytest.fixture(autouse=True)
def shop(cx: Capture) -> Iterator[None]:
    """Have a map, and an unchanged context in the end."""
    cx.use(journey_map=MAP)
    before = get_current()
    yield

    assert get_current() is before


# What a call is given


def test_a_name_is_asked_nothing(cx: Capture, thing: Any) -> None:
    """Names of touchpoints and all around them are sent as plain text, or not at all."""
    with journey(thing, route=thing, id=thing) as walk, touchpoint(thing), interaction(thing):
        pass
    with touchpoint("b", stage=thing, owner=thing, channel=thing):
        pass

    expected = "text" if issubclass(type(thing), str) else "invalid_name"
    assert walk.name == expected
    assert cx.names == [expected, expected, "b"]
    assert cx.tags("b")["cx.stage.name"] == expected
    assert all(type(each) is str for each in (walk.name, walk.id, *cx.names))


def test_a_handle_asks_nothing(cx: Capture, thing: Any) -> None:
    """How a touchpoint or a journey has ended, and what is set."""
    with journey("walk") as walk, touchpoint("a") as tp:
        tp.outcome(thing).fail(thing)
        tp.set({"cx.context.colour": thing, "session.id": thing, "cx.quality.x": thing})
        tp.set({"cx.touchpoint.first_contact": thing})
        walk.outcome(thing)

    assert cx.outcome("a") == "failed"
    assert all(
        type(value) in (str, int, float, bool) for value in (cx.span("a").attributes or {}).values()
    )


def test_the_key_of_an_attribute_is_asked_nothing(cx: Capture, thing: Any) -> None:
    """Not even what an attribute is called, by a mapping that is one of the host's."""

    class Pairs(dict[Any, Any]):
        def items(self) -> Any:
            return [(thing, "x")]

    with touchpoint("a") as tp:
        tp.set(Pairs())

    assert _guard.counts()["refused.attribute"] == 1


def test_a_customer_is_asked_nothing(cx: Capture, thing: Any) -> None:
    """An identifier, the kind, the segment and the consent of a customer."""
    with customer(thing), touchpoint("a"):
        identify(thing)
    with customer("A", kind=thing, segment=thing), touchpoint("b"):
        pass
    with customer("A", consent=thing), touchpoint("c"):
        pass

    is_id = issubclass(type(thing), (str, int))
    plain = "text" if issubclass(type(thing), str) else 7
    assert cx.tags("a").get("enduser.pseudo.id") == (cx.pseudonym(plain) if is_id else None)
    assert "enduser.pseudo.id" in cx.tags("b")
    assert "enduser.pseudo.id" not in cx.tags("c")


def test_a_signal_asks_nothing(cx: Capture, thing: Any) -> None:
    """All that the ten signals and the count of retries take."""
    with touchpoint("a") as tp:
        tp.friction(thing).friction("slow", severity=thing, source=thing)
        tp.emotion(thing, source=thing, valence=thing, arousal=thing, confidence=thing)
        tp.emotion("anger", source="text", valence=thing)
        tp.feedback(thing, thing, scale=thing, category=thing)
        tp.feedback("nps", thing, scale=(thing, thing)).feedback("csat", 3, scale=(0, thing))
        tp.complaint(thing, friction=thing, open_for=thing).complaint("resolved", open_for=thing)
        tp.mention(thing, valence=thing, phase=thing).mention("friends", phase="customer")
        tp.value(thing, thing, type=thing).value(5, thing, type="revenue")
        tp.deliver(thing, thing).handoff(thing, waited=thing).handoff("it", waited=thing)
        tp.forecast(thing, probability=thing, model=thing, horizon=thing).retry(thing)
        tp.nudge(thing, technique=thing, disclosed=thing, flag=thing, variant=thing).accepted()
        tp.nudge("bar", technique="reminder", reversible=thing, flag=thing, variant=thing)

    assert not [each for each in _guard.counts() if each.startswith("errors.")]


def test_a_message_is_asked_nothing_but_its_headers(cx: Capture, thing: Any) -> None:
    """The topic of a message is not asked; what are no headers goes on as it is."""
    with consuming(thing, None):
        pass

    assert carrying(None) is None  # type: ignore[type-var]
    assert _guard.counts() == {"errors.carrying": 1}


@given(st.sampled_from(sorted(MAKERS)))
def test_what_is_plain(kind: str) -> None:
    """What is given on is of no subclass, and equal to what was given."""
    thing = MAKERS[kind]()
    found = [_closed_sets.text(thing), _closed_sets.integer(thing), _closed_sets.finite(thing)]

    assert all(type(each) in (str, int, float, type(None)) for each in found)
    assert [each for each in found if each is not None] == {
        "text": ["text"], "whole number": [7], "number": [0.5],
    }.get(kind, [])  # fmt: skip


# What is like text, and like a number


class Names(str, enum.Enum):
    """Names as many keep them."""

    PAY = "checkout.pay"
    FAILED = "failed"
    DECLINED = "card_declined"


class Ids(enum.IntEnum):
    """Numbers of customers."""

    ADA = 7


def test_enumerations_are_what_they_stand_for(cx: Capture) -> None:
    """A member of an enumeration is sent as its text, and is the same customer as its number."""
    with customer(Ids.ADA), touchpoint(Names.PAY) as tp:
        tp.fail(Names.DECLINED).outcome(Names.FAILED)  # type: ignore[arg-type]

    tags = cx.tags("checkout.pay")
    assert (tags["error.type"], tags["cx.touchpoint.outcome"]) == ("card_declined", "failed")
    assert tags["enduser.pseudo.id"] == cx.pseudonym(7)
    assert {type(each) for each in tags.values()} <= {str, bool, int, float}


def test_what_sleeps_is_not_woken(cx: Capture) -> None:
    """A lazy user who is taken for an id stays asleep, and is refused."""
    proxy = pytest.importorskip("werkzeug.local").LocalProxy
    woken: list[bool] = []

    def wake() -> str:
        woken.append(True)
        return "A"

    lazy = proxy(wake)
    with customer(lazy), touchpoint("a") as tp:
        tp.outcome(lazy).fail(lazy)
        identify(lazy)

    assert woken == []
    assert _guard.counts()["refused.customer_id"] == 2
    assert cx.tags("a")["error.type"] == "unspecified"


# Exceptions


class _Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__module__", "__qualname__", "__name__"):
            raise Ran
        return super().__getattribute__(name)


class RudeError(Exception, metaclass=_Meta):
    """An exception that tells nothing of itself, and does not want to be looked at."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("__traceback__", "args", "__cause__", "__context__"):
            raise Ran
        return super().__getattribute__(name)

    def __str__(self) -> str:
        raise Ran

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise Ran

    __hash__ = Exception.__hash__


def test_an_exception_is_asked_nothing(cx: Capture) -> None:
    """Of what flies out of a touchpoint only the class is told, as Python itself knows it."""

    def fly() -> None:
        with touchpoint("a"):
            raise RudeError

    with pytest.raises(RudeError):
        fly()

    assert cx.tags("a")["error.type"] == f"{__name__}.RudeError"


def test_a_swallowed_exception_is_asked_nothing(
    cx: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor what a processor of the host raises."""

    class Processor(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            if cx.path == "lean":
                raise RudeError

    cx.provider.add_span_processor(Processor())
    with touchpoint("a"):
        pass

    assert ("RudeError" in caplog.text) is (cx.path == "lean")
    assert cx.names == ["a"]


def test_classes_without_a_module() -> None:
    """A class whose module is no text, or is gone, is told by its own name."""
    odd = type("Odd", (Exception,), {"__module__": 5})
    bare = eval("type('Bare', (Exception,), {})", {})

    assert [type_of(odd()), type_of(bare()), type_of(OSError())] == ["Odd", "Bare", "OSError"]


def test_recursion_without_an_end(cx: Capture) -> None:
    """A touchpoint that calls itself for ever fails as the bare function does; all is closed."""

    @touchpoint("a")
    def again() -> None:
        again()

    with pytest.raises(RecursionError):
        again()
    with touchpoint("after"):
        pass

    assert cxtrace.current_context() is None
    assert cx.span("after").parent is None


# Requests


def request() -> dict[str, Any]:
    """A request that the map knows."""
    return {"REQUEST_METHOD": "GET", "PATH_INFO": "/one", "wsgi.input": io.BytesIO()}


def answered(app: Any, **environ: Any) -> list[Any]:
    """What the server gets, which closes the body in the end."""
    body = CXMiddleware(app)({**request(), **environ}, lambda *_: None)
    sent = list(body)
    getattr(body, "close", lambda: None)()
    return sent


def test_a_chunk_is_asked_nothing(cx: Capture, thing: Any) -> None:
    """What an application sends instead of bytes goes on to the server as it is."""

    def app(_: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return iter([thing])

    (sent,) = answered(app)

    assert sent is thing
    assert cx.outcome("page.one") == "completed"


@pytest.mark.parametrize("headers", [[(None, "1")], [1], 5])
def test_odd_headers_of_an_answer(cx: Capture, headers: Any) -> None:
    """Headers that are none are the server's to refuse, also where it breaks off."""

    def app(_: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)
        return iter([b"a", b"b"])

    body: Any = CXMiddleware(app)(request(), lambda *_: None)
    next(body)
    body.close()

    assert cx.outcome("page.one") == "completed"
    assert _guard.counts()["errors.wsgi.headers"] == 1


def test_a_body_that_refuses_to_tell(cx: Capture) -> None:
    """A body of which one cannot ask whether it is a file is a body like any other."""

    class Body:
        def __getattr__(self, name: str) -> Any:
            raise ValueError(name)

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a"])

    def app(_: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Body()

    body: Any = CXMiddleware(app)({**request(), "wsgi.file_wrapper": len}, lambda *_: None)

    assert list(body) == [b"a"]
    assert _guard.counts() == {"errors.wsgi.body": 1}


@pytest.mark.parametrize(
    ("told", "customer_id"),
    [
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        ("A", "A"),
        (Ids.ADA, 7),
        (True, None),
        ("", None),
        (3.5, None),
    ],
)
def test_what_a_request_tells(cx: Capture, told: Any, customer_id: Any) -> None:
    """Of what an application knows of its user, text, numbers and UUIDs are identifiers."""
    from cxtrace._visit import _usable

    assert _usable(told) == customer_id


def test_what_a_request_tells_is_asked_nothing(thing: Any) -> None:
    """Whatever stands where the map looks for the customer."""
    from cxtrace._visit import _usable

    assert type(_usable(thing)) in (str, int, type(None))
