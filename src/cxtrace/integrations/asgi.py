"""ASGI: a request or a web socket that the journey map knows becomes its touchpoint.

Serves FastAPI, Starlette, Django's ASGI handler, Quart, Litestar and every other application of
the protocol. The touchpoint is the server's own span where OpenTelemetry's instrumentation has
made one, and a span of its own else.
"""

import sys
from collections.abc import (
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from functools import partial
from types import ModuleType
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

import wrapt
from opentelemetry.context import Context, attach, get_current
from opentelemetry.propagators.textmap import Getter

from cxtrace import _guard
from cxtrace._config import flush
from cxtrace._routes import Templates
from cxtrace._visit import Visit
from cxtrace.binding import Bindings, bindings
from cxtrace.integrations import _http

__all__ = ["CXMiddleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""An application of ASGI 3."""

_KINDS: Final = ("http", "websocket")
_SERVER_ERROR: Final = 500
_STARTS: Final = ("http.response.start", "websocket.http.response.start")
_BODIES: Final = (
    "http.response.body",
    "http.response.zerocopysend",
    "websocket.http.response.body",
)
_ENDS: Final = ("websocket.close", "http.response.pathsend")
_CLOSED_NORMALLY: Final = 1000
_REFUSED: Final = 403
"""What a server answers where the application closes a web socket that it has not accepted."""

_DEFAULT_CODE: Final = 1005
"""What the protocol takes for the code where a server gives none."""


class CXMiddleware:
    """Makes a touchpoint of each request that the journey map binds by ``match = { route = … }``.

    It stands inside of OpenTelemetry's middleware, where the server's span is: put around it, it
    moves there. The touchpoint ends with the last byte of the answer, when the web socket closes,
    or when the client hangs up; what runs after that in the background belongs to the same
    customer. Bytes, headers, order and exceptions stay as they are. When the application shuts
    down, what is queued is sent, within the deadline of ``cxtrace.flush``.

    Args:
        app: The application.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self._passes = _has_ours_inside(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        kind = scope["type"]
        known = None if self._passes else bindings()
        if known is None or kind not in _KINDS:
            if known is not None and kind == "lifespan":
                send = _flushing(send)
            await self.app(scope, receive, send)
            return
        before = get_current()
        visit = watch = None
        try:
            visit = _visit(known, scope)
            if visit is not None:
                watch = _Watch(visit, receive, send, kind == "websocket")
                receive, send = watch.receive, watch.send
            await self.app(scope, receive, send)
            if watch is not None:
                watch.returned()
        except BaseException as error:
            _leave(visit, error, before)
            raise
        _leave(visit, None, before)


def _flushing(send: Send) -> Send:
    """Send what is queued when the application has shut down.

    A server that was stopped by a signal lets itself be killed after that, and no exit handler of
    Python's would run.
    """

    async def sending(message: Message) -> None:
        if message["type"] == "lifespan.shutdown.complete":
            flush()
        await send(message)

    return sending


def _has_ours_inside(app: Any) -> bool:
    """Move into OpenTelemetry's middleware or into Starlette, if the application is one."""
    if isinstance(app, CXMiddleware):
        return app._passes  # noqa: SLF001
    if type(app).__module__.startswith("opentelemetry.instrumentation.asgi"):
        _stand_inside(app)
        return True
    # FastAPI may make a span of the server itself, and extracts the caller's context anew.
    starlette = getattr(sys.modules.get("starlette.applications"), "Starlette", ())
    if not isinstance(app, starlette) or app.middleware_stack is not None:
        return False
    app.add_middleware(CXMiddleware)
    return True


def _stand_inside(middleware: Any) -> None:
    if not isinstance(middleware.app, CXMiddleware):
        middleware.app = CXMiddleware(middleware.app)


def _visit(known: Bindings, scope: Scope) -> Visit | None:
    try:
        _http.go_on_from(scope, _GETTER)
        method = "WEBSOCKET" if scope["type"] == "websocket" else scope["method"]
        template, templates = partial(_template, scope), partial(_templates, scope)
        return known.route(_Request(scope), method, _path(scope), template, templates)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("asgi", error)
        return None


def _leave(visit: Visit | None, error: BaseException | None, before: Context) -> None:
    if visit is not None:
        visit.leave(error)
    if get_current() is not before:
        attach(before)


def _path(scope: Scope) -> str:
    """The path as the application's routes have it: without the prefix that a proxy adds."""
    path: str = scope["path"]
    # A mount adds its own prefix to the root path, and is no proxy.
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _template(scope: Scope) -> str | None:
    """The route of Starlette or FastAPI that the request will take."""
    templates = _templates(scope)
    if templates is None:
        return None
    fitting = templates.fitting(scope["path"])
    if len(fitting) > 1:
        return _template_of(scope["app"].routes, scope)  # to ask the framework itself is slow
    return fitting[0] if fitting else None


_NONE_YET: Final = (0, Templates(()))
_known: WeakKeyDictionary[Any, tuple[int, Templates]] = WeakKeyDictionary()
"""The templates of each application, and how many routes it had when they were read."""


def _templates(scope: Scope) -> Templates | None:
    """Those of all routes of Starlette's or FastAPI's application."""
    app = scope.get("app")
    routes = getattr(app, "routes", None)
    if not routes:
        return None
    number, found = _known.get(app, _NONE_YET)
    if number != len(routes):
        found = Templates(_all_templates(routes, ""))
        _known[app] = len(routes), found
    return found


def _all_templates(routes: Any, prefix: str) -> Iterator[str]:
    for route in _flat(routes):
        path = prefix + getattr(route, "path", "")
        inner = getattr(route, "routes", None)
        yield from _all_templates(inner, path) if inner else (path,)


def _flat(routes: Any) -> Iterable[Any]:
    # FastAPI nests the routes of its routers, and has a function of its own to see them all.
    flatten = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", iter)
    found: Iterable[Any] = flatten(routes)
    return found


def _template_of(routes: Any, scope: Scope) -> str | None:
    for route in _flat(routes):
        match, child = route.matches(scope)
        if match.name == "FULL":
            inner = _template_of(getattr(route, "routes", None) or (), {**scope, **child})
            path: str = getattr(route, "path", "")
            return path if inner is None else path + inner
    return None


class _Watch:
    """Sees the messages of one request go by, and changes none."""

    __slots__ = (
        "_error", "_has_trailers", "_is_accepted", "_is_socket", "_is_whole", "_receive", "_send",
        "_visit",
    )  # fmt: skip

    def __init__(self, visit: Visit, receive: Receive, send: Send, is_socket: bool) -> None:
        self._visit = visit
        self._receive = receive
        self._send = send
        self._error: BaseException | None = None
        self._has_trailers = False
        self._is_accepted = False
        self._is_socket = is_socket
        self._is_whole = False

    async def receive(self) -> Message:
        message = await self._receive()
        try:
            self._received(message)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("asgi.receive", error)
        return message

    def _received(self, message: Message) -> None:
        kind, visit = message["type"], self._visit
        if kind == "http.disconnect":
            visit.abandon()
        elif kind == "websocket.disconnect":
            if message.get("code", _DEFAULT_CODE) == _CLOSED_NORMALLY:
                visit.complete()
            else:
                visit.abandon()

    def send(self, message: Message) -> Awaitable[None]:
        try:
            self._sending(message)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("asgi.send", error)
        return self._send(message)

    def _sending(self, message: Message) -> None:
        kind = message["type"]
        if kind in _STARTS:
            status = message["status"]
            if status >= _SERVER_ERROR:
                # What the framework is about to raise again, once it has answered for it.
                self._error = sys.exc_info()[1]
            self._has_trailers = bool(message.get("trailers"))
            headers = message.get("headers", ())
            if not isinstance(headers, (list, tuple)):
                headers = message["headers"] = list(headers)  # it can be walked through only once
            self._visit.answer(status, _header_of(headers), self._error)
        elif kind == "websocket.accept":
            self._is_accepted = True
        elif kind == "websocket.close":
            self._closing(message.get("code", _CLOSED_NORMALLY))
        # OpenTelemetry's middleware ends the server's span when it sees the last message.
        if self._is_last(kind, message):
            self._is_whole = True
            error, self._error = self._error, None  # it refers to the frames that refer to us
            self._visit.finish(error)

    def returned(self) -> None:
        """The application has returned: where it has not answered, servers answer 500."""
        if not self._is_whole and not self._is_socket:
            self._visit.answer(_SERVER_ERROR, _header_of(()))

    def _closing(self, code: int) -> None:
        handle = self._visit.handle
        if not self._is_accepted:
            self._visit.answer(_REFUSED, _header_of(()))
        elif code != _CLOSED_NORMALLY and handle is not None and not handle.has_been_judged:
            handle.fail("websocket_closed")

    def _is_last(self, kind: str, message: Message) -> bool:
        if kind in _BODIES:
            return not message.get("more_body") and not self._has_trailers
        if kind == "http.response.trailers":
            return not message.get("more_trailers")
        return kind in _ENDS


def _header_of(headers: Iterable[tuple[bytes, bytes]]) -> Callable[[str], str | None]:
    def find(name: str) -> str | None:
        wanted = _http.in_bytes(name)
        length = len(wanted)
        # Most are of another length, and need not be put into small letters.
        found = [value for key, value in headers if len(key) == length and key.lower() == wanted]
        return b", ".join(found).decode("latin-1") if found else None

    return find


class _Getter(Getter[Scope]):
    """Reads the headers of a request for OpenTelemetry's propagators."""

    def get(self, carrier: Scope, key: str) -> list[str] | None:
        found = _header_of(carrier.get("headers", ()))(key)
        return None if found is None else [found]

    def keys(self, carrier: Scope) -> list[str]:
        return [key.decode("latin-1") for key, _ in carrier.get("headers", ())]


_GETTER: Final = _Getter()


class _Request:
    """Answers the rules of the map out of the scope, in which middlewares leave what they know."""

    __slots__ = ("_fields", "_scope")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._fields: Mapping[bytes, bytes] | None = None

    @property
    def source(self) -> object:
        """What stays the same object through every middleware and mount."""
        return self._scope.get("headers")

    def _field(self, name: bytes) -> bytes | None:
        fields = self._fields
        if fields is None:
            fields = self._fields = _http.fields(self._scope.get("headers", ()))
        return fields.get(name)

    def header(self, name: str) -> str | None:
        found = self._field(_http.in_bytes(name))
        return None if found is None else found.decode("latin-1")

    def cookie(self, name: str) -> str | None:
        found = self._field(b"cookie")
        return None if found is None else _http.last(_http.cookies(found.decode("latin-1"), name))

    def query(self, name: str) -> str | None:
        query = self._scope.get("query_string", b"").decode("utf-8", "replace")
        return _http.last(_http.parameters(query, name))

    def session(self, name: str) -> object:
        found = self._scope.get("session")
        return found.get(name) if isinstance(found, Mapping) else None

    def user(self, name: str) -> object:
        return _http.attribute(self._known("user"), name)

    def claim(self, name: str) -> object:
        return _http.claim(self._known("claims") or self._known("auth"), name)

    def _known(self, name: str) -> object:
        """What a middleware has put into the scope, or into ``request.state``."""
        found = self._scope.get(name)
        state = self._scope.get("state")
        return state.get(name) if found is None and isinstance(state, Mapping) else found


def instrument(module: ModuleType) -> None:
    """Stand inside of every middleware that OpenTelemetry's instrumentation makes, or has made.

    Args:
        module: ``opentelemetry.instrumentation.asgi``.
    """
    wrapt.wrap_function_wrapper(module, "OpenTelemetryMiddleware.__call__", _call)


def _call(original: Any, middleware: Any, args: Any, kwargs: Any) -> Any:
    _stand_inside(middleware)
    return original(*args, **kwargs)
