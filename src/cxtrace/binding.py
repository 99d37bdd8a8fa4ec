"""Touchpoints that are declared in the journey map alone: by route, task, topic, call or function.

The integrations of the frameworks ask here what a request is; functions are wrapped when their
module is imported, or at once where it has been.
"""

import inspect
import sys
import threading
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, Literal, TypeAlias

from attrs import define, frozen

from cxtrace import _guard, _runtime
from cxtrace._bound import Asked, Bound, Judged
from cxtrace._model import Match, Requests, Teller
from cxtrace._routes import AllTemplates, Routes, Template, unknown
from cxtrace._touchpoint import touchpoint
from cxtrace._visit import Visit
from cxtrace.journey_map import JourneyMap
from cxtrace.typing import Request

State: TypeAlias = Literal["waiting", "bound", "missing"]
"""Whether a function's module has yet to be imported, the function is wrapped, or is not there.

A function is missing, too, once its module has been loaded again: that one is not wrapped.
"""

_NO_PARAMETERS: Final[Mapping[str, str]] = {}


class Bindings:
    """What a journey map says about requests, tasks, messages and calls."""

    def __init__(self, journey_map: JourneyMap) -> None:
        routes: list[tuple[str, Bound]] = []
        self._named: dict[tuple[str, str], Bound] = {}
        for name, planned in journey_map.touchpoints.items():
            for match in planned.match:
                bound = _bound(journey_map, name, match)
                if match.route is not None:
                    routes.append((match.route, bound))
                for way in _KINDS:
                    named = getattr(match, way)
                    if named is not None:
                        self._named[way, named] = bound
        self._routes = Routes(routes)
        rules = journey_map.request
        self._else = Bound(customer=_asked(rules.customer)) if rules.customer else None
        self.is_empty = not routes and not self._named and self._else is None

    def route(
        self,
        request: Request,
        method: str,
        path: str,
        template: Template = unknown,
        templates: AllTemplates = unknown,
    ) -> Visit | None:
        """Open the visit of a request, if the map knows anything about it.

        Args:
            request: How to ask it.
            method: In capitals; ``WEBSOCKET`` for a web socket.
            path: As the application sees it.
            template: Finds out the framework's own template of the route.
            templates: Gives those of all of its routes.
        """
        found = self._routes.find(method, path, template, templates)
        if found is not None:
            return Visit(found[0], request, found[1])
        return None if self._else is None else Visit(self._else, request, _NO_PARAMETERS)

    def named(
        self,
        way: Literal["task", "consume", "rpc"],
        name: str,
        request: Request,
        kind: str | None = None,
    ) -> Visit | None:
        """Open the visit of a task, message or call, if the map knows anything about it.

        Args:
            way: What it is.
            name: Of the task, the topic or the call.
            request: How to ask it.
            kind: Within one, no second of its kind opens; by default of each way one.
        """
        bound = self._named.get((way, name), self._else)
        if bound is None:
            return None
        return Visit(bound, request, _NO_PARAMETERS, kind or _KINDS[way])


_KINDS: Final = {"task": "task", "consume": "message", "rpc": "rpc"}
_NOTHING: Final[Any] = object()


def bindings() -> Bindings | None:
    """What the map in force says about requests; None where it says nothing."""
    runtime = _runtime.current
    found = runtime.bindings
    if found is None:
        journey_map = runtime.journey_map
        made = None if journey_map is None else Bindings(journey_map)
        found = runtime.bindings = _NOTHING if made is None or made.is_empty else made
    return None if found is _NOTHING else found


def _bound(journey_map: JourneyMap, name: str, match: Match) -> Bound:
    rules: Requests = journey_map.request
    on_the_way = (
        journey.name
        for journey in journey_map.journeys.values()
        if name == journey.goal or any(name in route for route in journey.routes.values())
    )
    customer = _asked((*match.customer, *rules.customer))
    secrets = {each.name.lower() for each in customer if each.way == "header"}
    return Bound(
        noun=touchpoint(name, attach=True),
        journeys=tuple(on_the_way),
        customer=customer,
        journey=tuple(Asked.of(each, secrets) for each in (*match.journey, *rules.journey)),
        outcomes=tuple(map(Judged, match.outcome)),
    )


def _asked(tellers: Iterable[Teller]) -> tuple[Asked, ...]:
    return tuple(map(Asked.of, tellers))


@frozen
class BoundFunction:
    """A function that the map says is a touchpoint.

    Attributes:
        touchpoint: Its name.
        target: ``package.module:Class.method``.
        state: ``waiting``, ``bound`` or ``missing``.
    """

    touchpoint: str
    target: str
    state: State


@define
class _Function:
    """A target, and what stood there before it was wrapped."""

    touchpoint: str
    target: str
    state: State = "waiting"
    owner: Any = None
    original: Any = None
    wrapper: Any = None
    is_inherited: bool = False

    def bind(self, module: ModuleType) -> None:
        try:
            self._bind(module)
        except Exception as error:  # noqa: BLE001
            self.state = "missing"
            _guard.swallow("bind", error)

    def _bind(self, module: ModuleType) -> None:
        if self.state == "bound" or _functions.get(self.target) is not self:
            return
        owner, name = self._place(module)
        found = inspect.getattr_static(owner, name, None)
        if not _is_function_of(owner, found, name):
            self.state = "missing"
            _guard.count("binding.function_not_found")
            _guard.warn_once(
                f"binding:{self.target}",
                "cxtrace: the journey map binds %r to %r, which is no function",
                self.touchpoint,
                self.target,
            )
            return
        self.owner, self.original, self.is_inherited = owner, found, name not in vars(owner)
        self.wrapper = _wrapped(touchpoint(self.touchpoint), found)
        setattr(owner, name, self.wrapper)
        self.state = "bound"

    def _place(self, module: ModuleType | None) -> tuple[Any, str]:
        *path, name = self.target.partition(":")[2].split(".")
        owner: Any = module
        for part in path:
            owner = getattr(owner, part, None)
        return owner, name

    def now(self) -> State:
        """What has become of it: a module that is loaded again has a function without wrapper."""
        if self.state != "bound":
            return self.state
        try:
            owner, name = self._place(sys.modules.get(self.target.partition(":")[0]))
            found = inspect.getattr_static(owner, name, None)
            around = inspect.unwrap(found, stop=lambda each: each is self.wrapper)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("bind.state", error)
            return "missing"
        return "bound" if around is self.wrapper else "missing"

    def release(self) -> None:
        name = self.target.rpartition(":")[2].rpartition(".")[2]
        if self.state == "bound":
            self.state = "waiting"
            if inspect.getattr_static(self.owner, name, None) is not self.wrapper:
                return  # somebody else's, or that of a module that was loaded again
            if self.is_inherited:
                delattr(self.owner, name)
            else:
                setattr(self.owner, name, self.original)


def _is_function_of(owner: object, found: object, name: str) -> bool:
    """Whether a wrapper in its place would be called as it is: no object binds what it holds."""
    if isinstance(owner, type):
        is_own = any(name in vars(each) for each in owner.__mro__)
    else:
        is_own = isinstance(owner, ModuleType)
    is_callable = callable(found) or isinstance(found, classmethod)
    return is_own and is_callable and not isinstance(found, type)


_PLAIN: Final = (FunctionType, BuiltinFunctionType, classmethod, staticmethod)


def _wrapped(noun: touchpoint, found: Any) -> Any:
    if isinstance(found, _PLAIN):
        return noun(found)
    from cxtrace import _transparent  # rarely needed

    return _transparent.wrapped(noun, found)


_functions: dict[str, _Function] = {}
_binding = threading.RLock()  # an import in a hook may come back here


def bind_functions(journey_map: JourneyMap) -> None:
    """Wrap the functions that the map names, now or when their modules are imported."""
    for name, planned in journey_map.touchpoints.items():
        for match in planned.match:
            if match.function is not None:
                _bind_function(name, match.function)


def _bind_function(name: str, target: str) -> None:
    import wrapt  # only for those who bind functions

    with _binding:
        if target in _functions:
            return
        function = _functions[target] = _Function(name, target)
    wrapt.register_post_import_hook(function.bind, target.partition(":")[0])


def bound_functions() -> tuple[BoundFunction, ...]:
    """Every function that the map binds, and what has become of it."""
    return tuple(BoundFunction(f.touchpoint, f.target, f.now()) for f in _functions.values())


def release_functions() -> None:
    """Put every function back as it was. For tests: what others have imported stays wrapped."""
    for function in _functions.values():
        function.release()
    _functions.clear()


def _after_fork() -> None:
    global _binding  # noqa: PLW0603
    _binding = threading.RLock()


_guard.in_child(_after_fork)
