"""WSGI: a request that the journey map knows becomes its touchpoint.

Serves every application of the protocol. The touchpoint is the server's own span where
OpenTelemetry's middleware has made one, and a span of its own else.
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from functools import lru_cache
from types import ModuleType
from typing import Any, Final, TypeAlias

import wrapt
from opentelemetry.context import attach, get_current
from opentelemetry.propagators.textmap import Getter

from cxtrace import _guard
from cxtrace._visit import Visit
from cxtrace._wrap import _Steps
from cxtrace.binding import Bindings, bindings
from cxtrace.integrations import _http

__all__ = ["CXMiddleware"]

Environ: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[..., Iterable[bytes]]
"""An application: takes the environ and ``start_response``, and gives the body."""

_SERVER_ERROR: Final = 500
_WITHOUT_BODY: Final = (204, 304)
_WITHOUT_PREFIX: Final = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


class CXMiddleware:
    """Makes a touchpoint of each request that the journey map binds by ``match = { route = … }``.

    It has to stand inside of OpenTelemetry's middleware, so that the server's span is there. The
    touchpoint ends when the server has taken the last byte of the answer, or closes it before. The
    customer's context is there while the application or its body runs, and never in the server's
    own code. Bytes, headers, order and exceptions stay as they are.

    What the application gives back as a list, a tuple or the server's own kind of file goes on
    untouched, and the touchpoint ends then.

    Args:
        app: The application.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Pass the request on."""
        known = bindings()
        if known is None:
            return self.app(environ, start_response)
        before = get_current()
        try:
            visit = _visit(known, environ)
            if visit is None:
                return self.app(environ, start_response)
            watch = _Watch(visit, environ, start_response)
            try:
                result = self.app(environ, watch.start_response)
            except BaseException as error:
                watch.end(error)
                watch.leave()
                raise
            if _is_for_the_server_alone(result, environ):
                watch.end()
                watch.leave()
                return result
            return _Body(result, _Steps(get_current()), watch)
        finally:
            if get_current() is not before:
                attach(before)


def _visit(known: Bindings, environ: Environ) -> Visit | None:
    try:
        _http.go_on_from(environ, GETTER)
        visit = known.route(WSGIRequest(environ), environ["REQUEST_METHOD"], path(environ))
    except Exception as error:  # noqa: BLE001
        _guard.swallow("wsgi", error)
        return None
    return visit if visit is not None and visit.context is not None else None


def path(environ: Environ) -> str:
    """The path as the application's routes have it, in letters instead of bytes."""
    found: str = environ.get("PATH_INFO", "")
    # A middleware that takes a prefix away may take the slash as well.
    found = found if found.startswith("/") else f"/{found}"
    return found if found.isascii() else found.encode("latin-1").decode("utf-8", "replace")


def _is_for_the_server_alone(result: object, environ: Environ) -> bool:
    """Whether servers do with this kind of result what they do with no other.

    From a list of one they learn the length, and their own kind of file they send without us.
    """
    if hasattr(type(result), "__len__"):
        return True
    files = environ.get("wsgi.file_wrapper")
    try:
        if isinstance(files, type):
            return isinstance(result, files)
        return files is not None and hasattr(result, "read")
    except Exception as error:  # noqa: BLE001  an object of the host's may refuse to tell
        _guard.swallow("wsgi.body", error)
        return False


class _Watch:
    """Sees the answer to one request go by, and changes nothing."""

    __slots__ = ("_error", "_headers", "_is_head", "_pass_on", "_sent", "_status", "_visit")

    def __init__(self, visit: Visit, environ: Environ, start_response: Callable[..., Any]) -> None:
        self._visit = visit
        self._is_head = environ["REQUEST_METHOD"] == "HEAD"
        self._pass_on = start_response
        self._status = _SERVER_ERROR  # what servers answer for an application that says nothing
        self._headers: list[tuple[str, str]] = []
        self._error: BaseException | None = None
        self._sent = 0

    def start_response(self, status: str, headers: Any, *more: Any, **named: Any) -> Any:
        """Remember what is answered: the last word before the first byte counts."""
        try:
            self._status, self._headers = int(status[:3]), headers
            raised = more[0] if more else named.get("exc_info")
            self._error = raised[1] if raised else None
            self._visit.learn()
        except Exception as error:  # noqa: BLE001
            _guard.swallow("wsgi.start_response", error)
        return self._pass_on(status, headers, *more, **named)

    def count(self, chunk: object) -> None:
        """Count what has gone out. What is not bytes is the server's to refuse."""
        if issubclass(type(chunk), bytes):
            self._sent += bytes.__len__(chunk)  # type: ignore[arg-type]

    def end(self, error: BaseException | None = None) -> None:
        """End the touchpoint: the answer has gone out, or the application has failed."""
        if error is None:
            self._visit.answer(self._status, self._header, self._error)
            error = self._error
        self._visit.finish(error)
        self._error = None  # it refers to the frames that refer to us

    def break_off(self) -> None:
        """End the touchpoint of an answer of which the server wants no more."""
        try:
            if not self._is_whole():
                self._visit.abandon()
        except Exception as error:  # noqa: BLE001  the headers are the application's
            _guard.swallow("wsgi.headers", error)
        self.end()

    def leave(self) -> None:
        """Nothing more comes: neither bytes nor the server's ``close()``."""
        if self._visit.context is not None:
            self._visit.leave()

    def _is_whole(self) -> bool:
        if self._is_head or self._status in _WITHOUT_BODY:
            return True
        length = self._header("content-length")
        return length is not None and length.isdecimal() and self._sent >= int(length)

    def _header(self, name: str) -> str | None:
        found = [value for key, value in self._headers if key.lower() == name]
        return ", ".join(found) if found else None


class _Body:
    """The body of an answer: each step of it runs under the customer's context."""

    __slots__ = ("_has_ended", "_iterator", "_result", "_steps", "_watch")

    def __init__(self, result: Iterable[bytes], steps: _Steps, watch: _Watch) -> None:
        self._result = result
        self._steps = steps
        self._watch = watch
        self._iterator: Iterator[bytes] | None = None
        self._has_ended = False

    def __getattr__(self, name: str) -> Any:
        """What else the application's own object has, for middlewares that look for it."""
        return getattr(self._result, name)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk: bytes = self._steps.run(self._step)
        except StopIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise
        self._watch.count(chunk)
        return chunk

    def _step(self) -> bytes:
        if self._iterator is None:
            self._iterator = iter(self._result)
        return next(self._iterator)

    def close(self) -> None:
        """Close the application's own body, once for each time the server closes this one."""
        try:
            close_result = getattr(self._result, "close", None)
            if close_result is not None:
                self._steps.run(close_result)
        except BaseException as error:
            self._end(error)
            raise
        finally:
            self._break_off()

    def __del__(self) -> None:
        self._break_off()

    def _end(self, error: BaseException | None) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._watch.end(error)

    def _break_off(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._watch.break_off()
        self._watch.leave()


class WSGIRequest:
    """Answers the rules of the map out of the environ, in which servers leave what they know.

    A client can set headers only, and none of the keys that are asked here for user and claims.
    """

    __slots__ = ("_environ",)

    def __init__(self, environ: Environ) -> None:
        self._environ = environ

    @property
    def source(self) -> object:
        """What stays the same object through every middleware."""
        return self._environ.get("wsgi.input")

    def header(self, name: str) -> str | None:
        """A header of the request."""
        return self._environ.get(_key_of(name))

    def cookie(self, name: str) -> str | None:
        """The value of a cookie."""
        return _http.last(_http.cookies(self._environ.get("HTTP_COOKIE"), name))

    def query(self, name: str) -> str | None:
        """A parameter of the query string."""
        return _http.last(_http.parameters(self._environ.get("QUERY_STRING", ""), name))

    def session(self, name: str) -> object:
        """A value in Beaker's session, where the application has loaded it."""
        session = self._environ.get("beaker.session")
        return session.get(name) if session is not None and session.accessed() else None

    def user(self, name: str) -> object:
        """The ``name`` of the user whom the server has authenticated: ``REMOTE_USER``."""
        return self._environ.get("REMOTE_USER") if name == "name" else None

    def claim(self, name: str) -> object:
        """A claim that Apache's mod_auth_openidc has verified."""
        return self._environ.get(f"OIDC_CLAIM_{name}")


@lru_cache(maxsize=256)
def _key_of(name: str) -> str:
    return _WITHOUT_PREFIX.get(name.lower()) or "HTTP_" + name.upper().replace("-", "_")


class _EnvironGetter(Getter[Environ]):
    """Reads the headers of a request for OpenTelemetry's propagators."""

    def get(self, carrier: Environ, key: str) -> list[str] | None:
        found = WSGIRequest(carrier).header(key)
        return None if found is None else [found]

    def keys(self, carrier: Environ) -> list[str]:
        found = (key for key in carrier if key.startswith("HTTP_"))
        return [key.removeprefix("HTTP_").replace("_", "-").lower() for key in found]


GETTER: Final = _EnvironGetter()


def instrument(module: ModuleType) -> None:
    """Stand inside of every middleware that OpenTelemetry's instrumentation makes, or has made.

    Args:
        module: ``opentelemetry.instrumentation.wsgi``.
    """
    wrapt.wrap_function_wrapper(module, "OpenTelemetryMiddleware.__call__", _call)


def _call(original: Any, middleware: Any, args: Any, kwargs: Any) -> Any:
    if not isinstance(middleware.wsgi, CXMiddleware):
        middleware.wsgi = CXMiddleware(middleware.wsgi)
    return original(*args, **kwargs)
