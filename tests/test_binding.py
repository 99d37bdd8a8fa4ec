"""Touchpoints that are declared in the map alone: functions are wrapped, requests are found."""

import asyncio
import functools
import importlib
import json
import logging
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cxtrace
from cxtrace import _guard, binding
from cxtrace.binding import BoundFunction, bind_functions, bindings, bound_functions
from cxtrace.journey_map import JourneyMap
from tests.conftest import Capture

HEAD = """\
schema = "cxtrace.map/1"
name = "shop"
functions = { it = {} }
[[stage]]
name = "purchase"
phase = "customer"
"""
POINT = '[[touchpoint]]\nname = "{}"\nstage = "purchase"\nowner = "it"\nmatch = {}\n'
CODE = '''
"""A service that knows nothing of cxtrace."""

import functools


def pay(amount: int = 1) -> int:
    """Take the money."""
    return amount


async def ship(parcel):
    return parcel


def pages():
    received = yield 1
    yield received


async def events():
    yield 1
    yield 2


class Order:
    number = 7

    class Line:
        def price(self):
            return 3

    def place(self, *items):
        return len(items)

    @classmethod
    def load(cls, pk):
        return cls.__name__, pk

    @staticmethod
    def tax(amount):
        return amount / 5

    @property
    def total(self):
        return 9


class Gift(Order):
    pass


cancel = functools.partial(pay, 0)
'''


def shop(**targets: str) -> JourneyMap:
    """A map with a touchpoint of each name, at a function of ``service``."""
    points = [
        POINT.format(name, f'{{ function = "{target}" }}') for name, target in targets.items()
    ]
    return JourneyMap.loads(HEAD + "".join(points))


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    """Put every function back."""
    yield
    binding.release_functions()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """A module that can be imported, and a function that imports it."""
    (tmp_path / "service.py").write_text(CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield lambda: importlib.import_module("service")
    sys.modules.pop("service", None)


OBJECTS = '''
import functools


class Task:
    """As libraries make them of functions."""

    def __init__(self, function):
        self.function = function
        self.retries = 3

    def __call__(self, *given):
        return self.function(*given)

    def __get__(self, owner, kind=None):
        return self if owner is None else functools.partial(self.function, owner)

    def delay(self, *given):
        return "put off", given

    def __reduce__(self):
        return "ship"


class Slotted:
    __slots__ = ("rate",)

    def __call__(self):
        return self.rate


class Counting(type):
    def make(cls):
        return cls.__name__


class Client(metaclass=Counting):
    def send(self, what):
        return what

    def hold(self):
        return "held"

    pack = Task(lambda self: type(self).__name__)


class Door:
    def __call__(self):
        return "open"


@functools.lru_cache
def price(item):
    return 2 * item


ship = Task(lambda parcel: parcel)
rate = Slotted()
rate.rate = 7
half = functools.partial(divmod, 9)
client = Client()
client.call = lambda: "called"
door = Door()
'''


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module with callables that are more than functions."""
    (tmp_path / "objects.py").write_text(OBJECTS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("objects")
    sys.modules.pop("objects", None)


def states() -> dict[str, str]:
    """What has become of each function that the map names."""
    return {each.target: each.state for each in bound_functions()}


# Functions


def test_a_function_is_wrapped_when_it_is_imported(cx: Capture, service: Callable[[], Any]) -> None:
    """Before, it waits; nothing is imported for it."""
    bind_functions(shop(pay="service:pay"))
    assert bound_functions() == (BoundFunction("pay", "service:pay", "waiting"),)
    assert "service" not in sys.modules
    module = service()

    assert module.pay(5) == 5
    assert cx.names == ["pay"]
    assert bound_functions() == (BoundFunction("pay", "service:pay", "bound"),)
    assert module.pay.__doc__ == "Take the money."


def test_a_function_that_has_been_imported_is_wrapped_at_once(
    cx: Capture, service: Callable[[], Any]
) -> None:
    """``configure()`` may come late; a name that others have taken by then stays as it was."""
    module = service()
    taken = module.pay
    bind_functions(shop(pay="service:pay"))
    taken()
    assert cx.names == []
    module.pay()

    assert cx.names == ["pay"]


def test_every_kind_of_function_can_be_bound(cx: Capture, service: Callable[[], Any]) -> None:
    """Methods, coroutines and generators give and take what they did before."""
    targets = {
        "place": "Order.place", "load": "Order.load", "tax": "Order.tax",
        "price": "Order.Line.price", "ship": "ship", "pages": "pages", "events": "events",
        "cancel": "cancel",
    }  # fmt: skip
    bind_functions(shop(**{name: f"service:{target}" for name, target in targets.items()}))
    module = service()

    async def consume() -> list[int]:
        return [event async for event in module.events()]

    pages = module.pages()

    assert set(states().values()) == {"bound"}
    assert module.Order().place("a", "b") == 2
    assert module.Order.load(3) == module.Order().load(3) == ("Order", 3)
    assert module.Order.tax(10) == module.Order().tax(10) == 2
    assert module.Order.Line().price() == 3
    assert asyncio.run(module.ship("p")) == "p"
    assert (next(pages), pages.send("x"), next(pages, "end")) == (1, "x", "end")
    assert asyncio.run(consume()) == [1, 2]
    assert module.cancel() == 0
    assert cx.names == [
        "place", "load", "load", "tax", "tax", "price", "ship", "pages", "events", "cancel",
    ]  # fmt: skip


def test_an_exception_of_the_function_flies_on(cx: Capture, service: Callable[[], Any]) -> None:
    """The touchpoint has failed, and the caller gets the same exception."""
    bind_functions(shop(pay="service:pay"))
    with pytest.raises(TypeError, match="unexpected keyword argument 'sum'"):
        service().pay(sum=3)

    assert cx.outcome("pay") == "failed"


def test_what_a_class_inherits_is_bound_for_it_alone(
    cx: Capture, service: Callable[[], Any]
) -> None:
    """The class that has the method stays as it was, and so does the heir once it is released."""
    module = service()
    bind_functions(shop(gift="service:Gift.place"))
    module.Order().place()
    assert cx.names == []
    module.Gift().place()
    binding.release_functions()

    assert cx.names == ["gift"]
    assert "place" not in vars(module.Gift)


def test_a_function_of_c_can_be_bound(cx: Capture) -> None:
    """A module takes any function in the place of its own."""
    original = math.cos
    bind_functions(shop(look="math:cos"))

    assert math.cos(0) == 1
    assert cx.names == ["look"]
    binding.release_functions()
    assert math.cos is original


@pytest.mark.parametrize(
    "target",
    ["service:pya", "service:Order.plce", "service:Oder.place", "service:pay.inner",
     "service:Order", "service:Order.number", "service:Order.total", "service:Order.Line"],
)  # fmt: skip
def test_what_is_no_function_is_missing(
    cx: Capture, service: Callable[[], Any], target: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, told once, and the module is imported as if nothing had been."""
    before = {**vars(service())}
    bind_functions(shop(pay=target))
    module = service()

    assert states() == {target: "missing"}
    assert _guard.counts() == {"binding.function_not_found": 1}
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        f"cxtrace: the journey map binds 'pay' to {target!r}, which is no function"
    ]
    assert vars(module) == before


def test_a_type_of_c_that_takes_nothing_is_missing(cx: Capture) -> None:
    """A built-in class cannot be changed; the error is ours, and counted."""
    bind_functions(shop(look="datetime:datetime.now"))
    importlib.import_module("datetime")

    assert states() == {"datetime:datetime.now": "missing"}
    assert _guard.counts() == {"errors.bind": 1}


def test_a_module_that_is_never_imported_waits(cx: Capture) -> None:
    """Nobody misses what nobody uses."""
    bind_functions(shop(pay="no_such_module_of_ours:pay"))

    assert states() == {"no_such_module_of_ours:pay": "waiting"}
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_of_ours")
    assert states() == {"no_such_module_of_ours:pay": "waiting"}


def test_an_import_that_fails_fails_as_before(
    cx: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module's own error reaches whoever imports it."""
    (tmp_path / "broken_service.py").write_text("raise OSError('of its own')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    bind_functions(shop(pay="broken_service:pay"))
    with pytest.raises(OSError, match="of its own"):
        importlib.import_module("broken_service")

    assert states() == {"broken_service:pay": "waiting"}


def test_to_bind_again_changes_nothing(cx: Capture, service: Callable[[], Any]) -> None:
    """A second map, or the same one once more, does not wrap what is wrapped."""
    bind_functions(shop(pay="service:pay"))
    wrapped = service().pay
    bind_functions(shop(pay="service:pay"))
    bind_functions(shop(other="service:pay"))

    assert service().pay is wrapped
    assert bound_functions() == (BoundFunction("pay", "service:pay", "bound"),)


def test_a_hook_that_comes_twice_wraps_once(cx: Capture, service: Callable[[], Any]) -> None:
    """A module that is loaded again, or a hook of a map that is gone, changes nothing."""
    bind_functions(shop(pay="service:pay"))
    module = service()
    [function] = binding._functions.values()
    wrapped = module.pay
    function.bind(module)
    assert module.pay is wrapped
    binding.release_functions()
    function.bind(module)

    assert not hasattr(module.pay, "__wrapped__")


def test_released_functions_are_as_they_were(service: Callable[[], Any]) -> None:
    """Functions, class methods and static methods are put back; a waiting one stays away."""
    module = service()
    before = [vars(module)["pay"], *(vars(module.Order)[name] for name in ("load", "tax"))]
    bind_functions(
        shop(pay="service:pay", load="service:Order.load", tax="service:Order.tax", late="later:f")
    )
    assert vars(module)["pay"] is not before[0]
    binding.release_functions()
    after = [vars(module)["pay"], *(vars(module.Order)[name] for name in ("load", "tax"))]

    assert after == before
    assert bound_functions() == ()


def test_a_module_that_binds_on_import_waits_for_nobody(
    cx: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import within a hook may bind another function."""
    (tmp_path / "outer_service.py").write_text(
        "import inner_service\ndef pay(): return inner_service.pay()\n", encoding="utf-8"
    )
    (tmp_path / "inner_service.py").write_text("def pay(): return 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    bind_functions(shop(outer="outer_service:pay", inner="inner_service:pay"))

    assert importlib.import_module("outer_service").pay() == 1
    assert cx.names == ["inner", "outer"]


def test_only_functions_are_bound_as_functions(cx: Capture) -> None:
    """A touchpoint at a route, and a touchpoint without a match, wait for no import."""
    bind_functions(mapped('[{ route = "GET /" }, { function = "later:pay" }]'))
    bind_functions(mapped())

    assert states() == {"later:pay": "waiting"}


def test_a_lock_is_new_after_a_fork() -> None:
    """Whoever held it in the parent is not there to give it back."""
    held = binding._binding
    binding._after_fork()

    assert binding._binding is not held


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_binds_on(tmp_path: Path) -> None:
    """A lock that another thread of the parent holds at the fork is not the child's."""
    (tmp_path / "service.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "m.toml").write_text(shop(pay="service:pay").dump(), encoding="utf-8")
    (tmp_path / "main.py").write_text(
        """
import os, signal, threading
import cxtrace
from cxtrace import binding
from cxtrace.journey_map import JourneyMap

held, go_on = threading.Event(), threading.Event()

def hold():
    with binding._binding:
        held.set()
        go_on.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    binding.bind_functions(JourneyMap.load("m.toml"))
    import service
    print(binding.bound_functions()[0].state, flush=True)
    os._exit(0)
go_on.set()
thread.join()
os.waitpid(child, 0)
""",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "main.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert done.stdout == "bound\n"


def test_the_report_shows_every_function(cx: Capture, service: Callable[[], Any]) -> None:
    """A health page sees, as plain data, which functions are bound, missing or waiting."""
    bind_functions(shop(pay="service:pay", look="service:lok", late="later:pay"))
    service()
    found = cxtrace.report().to_dict()["bindings"]

    assert found == json.loads(json.dumps(found))
    assert found == [
        {"touchpoint": "pay", "target": "service:pay", "state": "bound"},
        {"touchpoint": "look", "target": "service:lok", "state": "missing"},
        {"touchpoint": "late", "target": "later:pay", "state": "waiting"},
    ]


# Callables that are more than functions


def test_a_cached_function_keeps_its_cache(cx: Capture, objects: Any) -> None:
    """Each call is a touchpoint, and the cache can be looked into and cleared."""
    bind_functions(shop(price="objects:price"))

    assert [objects.price(3), objects.price(3), objects.price(item=4)] == [6, 6, 8]
    assert objects.price.cache_info().hits == 1
    objects.price.cache_clear()
    assert objects.price.cache_info().currsize == 0
    assert cx.names == ["price"] * 3


def test_a_task_can_be_put_off_as_before(cx: Capture, objects: Any) -> None:
    """What libraries make of a function has its methods, its attributes and its class."""
    original = objects.ship
    bind_functions(shop(ship="objects:ship"))
    objects.ship.retries += 1

    assert objects.ship is not original
    assert isinstance(objects.ship, objects.Task)
    assert objects.ship.__class__ is objects.Task
    assert objects.ship.delay(1) == ("put off", (1,))
    assert original.retries == objects.ship.retries == 4
    assert cx.names == []
    assert objects.ship("parcel") == "parcel"
    assert cx.names == ["ship"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_bound_object_can_be_pickled_as_before(cx: Capture, objects: Any, protocol: int) -> None:
    """Who sends it to another process sends the bytes that they sent before."""
    before = pickle.dumps(objects.price, protocol)
    bind_functions(shop(price="objects:price"))

    assert pickle.dumps(objects.price, protocol) == before
    assert pickle.loads(before) is objects.price


def test_an_object_with_a_reduction_of_its_own_is_pickled_by_it(cx: Capture, objects: Any) -> None:
    """What the object says about itself counts, not what stands around it."""
    bind_functions(shop(ship="objects:ship"))

    assert objects.ship.__reduce_ex__(4) == "ship"


def test_an_object_without_room_for_attributes_can_be_bound(cx: Capture, objects: Any) -> None:
    """Nothing is put on the object itself."""
    bind_functions(shop(rate="objects:rate", door="objects:door", half="objects:half"))

    assert (objects.rate(), objects.rate.rate) == (7, 7)
    assert (objects.half(2), objects.half.func, objects.half.args) == ((4, 1), divmod, (9,))
    assert objects.door() == "open"
    assert cx.names == ["rate", "half", "door"]


def test_an_object_that_is_a_method_is_still_one(cx: Capture, objects: Any) -> None:
    """It gets its owner as before, from the class and from an instance."""
    unbound = objects.Client.pack
    bind_functions(shop(pack="objects:Client.pack"))

    assert objects.Client().pack() == "Client"
    assert objects.Client.pack.__wrapped__ is unbound
    assert cx.names == ["pack"]


def test_a_failing_object_fails_the_touchpoint(cx: Capture, objects: Any) -> None:
    """Its exception flies on."""
    bind_functions(shop(half="objects:half"))
    with pytest.raises(ZeroDivisionError):
        objects.half(0)

    assert cx.outcome("half") == "failed"


def test_released_objects_are_as_they_were(cx: Capture, objects: Any) -> None:
    """The very objects are back in their places."""
    before = [objects.price, objects.ship, vars(objects.Client)["pack"]]
    bind_functions(shop(price="objects:price", ship="objects:ship", pack="objects:Client.pack"))
    assert set(states().values()) == {"bound"}
    binding.release_functions()
    after = [objects.price, objects.ship, vars(objects.Client)["pack"]]

    assert all(one is other for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("target", "use"),
    [
        ("client.send", lambda objects: objects.client.send("a") == "a"),
        ("client.call", lambda objects: objects.client.call() == "called"),
        ("Client.make", lambda objects: objects.Client.make() == "Client"),
        ("Client.__call__", lambda objects: isinstance(objects.Client(), objects.Client)),
        ("price.cache_clear", lambda objects: objects.price.cache_clear() is None),
    ],
)
def test_what_an_object_holds_is_not_bound(
    cx: Capture, objects: Any, target: str, use: Callable[[Any], bool]
) -> None:
    """A wrapper on an instance, or of a metaclass, would be called without its owner."""
    bind_functions(shop(send=f"objects:{target}"))

    assert states() == {f"objects:{target}": "missing"}
    assert use(objects)
    assert cx.names == []


# What becomes of it


def test_a_module_that_is_loaded_again_is_not_bound(
    cx: Capture, service: Callable[[], Any]
) -> None:
    """Its new function has no wrapper: the report says so, and a release leaves it alone."""
    bind_functions(shop(pay="service:pay", place="service:Order.place"))
    module = importlib.reload(service())
    new = module.pay
    module.pay()
    assert cx.names == []
    assert set(states().values()) == {"missing"}
    binding.release_functions()

    assert module.pay is new


def test_a_module_that_is_imported_anew_is_not_bound(
    cx: Capture, service: Callable[[], Any]
) -> None:
    """Neither while it is away nor once it is there again."""
    bind_functions(shop(pay="service:pay"))
    old = service()
    sys.modules.pop("service")
    assert states() == {"service:pay": "missing"}
    assert service() is not old

    assert states() == {"service:pay": "missing"}


def test_what_others_put_around_it_is_bound_still(cx: Capture, service: Callable[[], Any]) -> None:
    """A decorator of another library calls ours; a release does not take the other away."""
    bind_functions(shop(pay="service:pay"))
    module = service()
    inner = module.pay

    @functools.wraps(inner)
    def around(*given: Any) -> Any:
        return inner(*given)

    module.pay = around
    assert states() == {"service:pay": "bound"}
    binding.release_functions()

    assert module.pay is around
    assert bound_functions() == ()


def test_what_cannot_be_looked_at_any_more_is_missing(
    cx: Capture, service: Callable[[], Any]
) -> None:
    """A failure of the host's own object is counted, and the report is made."""
    bind_functions(shop(pay="service:pay"))
    module = service()
    module.pay = type("Endless", (), {})()
    module.pay.__wrapped__ = module.pay

    assert states() == {"service:pay": "missing"}
    assert _guard.counts() == {"errors.bind.state": 1}


# Requests


class Silent:
    """A request that tells nothing."""

    def __getattr__(self, way: str) -> Any:
        return lambda name: None


def mapped(match: str = "", request: str = "") -> JourneyMap:
    """A map with one touchpoint, and what it says of requests."""
    point = POINT.format("pay", match) if match else ""
    return JourneyMap.loads(f"{HEAD}[request]\n{request}\n{point}")


@pytest.mark.parametrize(
    "journey_map",
    [
        None,
        mapped(),
        mapped('{ function = "service:pay" }'),
        mapped(request='journey = { cookie = "v" }'),
    ],
)
def test_a_map_that_says_nothing_of_requests_has_no_bindings(
    cx: Capture, journey_map: JourneyMap | None
) -> None:
    """An integration then does nothing at all; to ask again costs nothing."""
    cx.use(journey_map=journey_map)

    assert bindings() is None
    assert bindings() is None


@pytest.mark.parametrize(
    "journey_map",
    [
        mapped('{ route = "GET /" }'), mapped('{ task = "t" }'), mapped('{ consume = "t" }'),
        mapped('{ rpc = "a.B/C" }'), mapped(request='customer = { user = "pk" }'),
    ],
)  # fmt: skip
def test_a_map_that_says_something_has_bindings(cx: Capture, journey_map: JourneyMap) -> None:
    """They are made once for each set of decisions."""
    cx.use(journey_map=journey_map)
    first = bindings()
    assert first is not None
    assert bindings() is first
    cx.use(journey_map=journey_map)

    assert bindings() is not first


def test_what_the_map_does_not_name_is_no_visit(cx: Capture) -> None:
    """Neither another path, nor another name, nor a name of another kind."""
    cx.use(journey_map=mapped('[{ route = "GET /a" }, { task = "t" }, { rpc = "a.B/C" }]'))
    known = bindings()
    assert known is not None

    assert known.route(Silent(), "GET", "/b") is None
    assert known.named("task", "a.B/C", Silent()) is None
    assert known.named("consume", "t", Silent()) is None
    assert known.named("task", "", Silent()) is None


def test_rules_for_every_request_make_every_request_a_visit(cx: Capture) -> None:
    """Tasks, messages and calls too; they are no touchpoints."""
    cx.use(journey_map=mapped(request='customer = { header = "X-Id" }'))
    known = bindings()
    assert known is not None
    visits = [known.route(Silent(), "GET", "/b")]
    visits += [known.named("task", "t", Silent()), known.named("consume", "t", Silent())]
    visits += [known.named("rpc", "a.B/C", Silent())]
    for visit in reversed(visits):
        assert visit is not None
        assert visit.context is not None
        visit.leave()

    assert cx.spans == []


def test_a_template_of_the_framework_is_asked(cx: Capture) -> None:
    """Where the framework means another route, the request is no visit."""
    cx.use(journey_map=mapped('{ route = "GET /users/{id}" }'))
    known = bindings()
    assert known is not None
    visit = known.route(Silent(), "GET", "/users/7", lambda: "/users/<int:pk>")
    assert visit is not None
    visit.leave()

    assert known.route(Silent(), "GET", "/users/me", lambda: "/users/me") is None
