"""Django: a request that the journey map knows becomes its touchpoint, under WSGI and ASGI.

The touchpoint is the server's own span where OpenTelemetry's instrumentation has made one, and a
span of its own else. Sessions and users are looked at only once the application has loaded them.
"""

import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import wrapt
from opentelemetry.context import Context, attach, get_current

from cxtrace import _guard
from cxtrace._visit import Visit
from cxtrace._wrap import _Steps
from cxtrace.binding import Bindings, bindings
from cxtrace.integrations import _http
from cxtrace.integrations._django_request import Request, template_of, templates_of
from cxtrace.integrations.wsgi import GETTER

__all__ = ["CXMiddleware"]

_HANDLERS: Final = "django.core.handlers.base"
_OURS: Final = "cxtrace.integrations.django.CXMiddleware"
_OPENTELEMETRY: Final = (
    "opentelemetry.instrumentation.django.middleware.otel_middleware._DjangoMiddleware"
)
_SERVER_SPAN: Final = "opentelemetry-instrumentor-django.span_key"
_SERVER_ERROR: Final = 500
_MARK: Final = "_cxtrace"
"""Attribute of a request: who watches it."""


class CXMiddleware:
    """Makes a touchpoint of each request that the journey map binds by ``match = { route = … }``.

    It stands first in ``MIDDLEWARE``; OpenTelemetry's instrumentation puts its own before it. The
    touchpoint ends with the answer, and that of a streamed answer with its last byte, unless it is
    the span of OpenTelemetry's Django instrumentation, which ends before the first. Answers,
    exceptions, queries and sessions stay as they are.

    Args:
        get_response: The next middleware, or the view; a coroutine function or a plain one.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        coroutines: Any = import_module("asgiref.sync")
        self._is_async: bool = coroutines.iscoroutinefunction(get_response)
        if self._is_async:
            coroutines.markcoroutinefunction(self)
        _listen()

    def __call__(self, request: Any) -> Any:
        """Pass the request on."""
        known = bindings()
        if known is None:
            return self.get_response(request)
        if self._is_async:
            return self._call_async(known, request)
        watch = _Watch(known, request)
        try:
            response = self.get_response(request)
        except BaseException as error:
            watch.leave(error)
            raise
        watch.answered(response)
        return response

    async def _call_async(self, known: Bindings, request: Any) -> Any:
        watch = _Watch(known, request)
        try:
            response = await self.get_response(request)
        except BaseException as error:
            watch.leave(error)
            raise
        watch.answered(response)
        return response


class _Watch:
    """Sees one request go through the application."""

    __slots__ = ("_before", "_request", "error", "visit")

    def __init__(self, known: Bindings, request: Any) -> None:
        self._request = request
        self._before: Context = get_current()
        self.error: BaseException | None = None
        self.visit: Visit | None = None
        try:
            _http.go_on_from(request.META, GETTER)
            template, templates = partial(template_of, request), partial(templates_of, request)
            asked, path = Request(request), request.path_info
            self.visit = known.route(asked, request.method, path, template, templates)
            if self.visit is not None:
                vars(request).setdefault(_MARK, self)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("django", error)
        except BaseException:
            self._restore()
            raise

    def __reduce__(self) -> Any:
        return type(None), ()  # a copy of the request is watched by nobody

    def answered(self, response: Any) -> None:
        """The application has answered; the body of a streamed answer is still to come."""
        visit = self.visit
        try:
            if response.status_code < _SERVER_ERROR:
                self.error = None  # a middleware has made something else of it
            if visit is not None:
                visit.answer(response.status_code, response.get, self.error)
                if response.streaming and visit.context is not None:
                    self._stream(response, visit, visit.context)
                    self._restore()
                    return
        except Exception as error:  # noqa: BLE001
            _guard.swallow("django.answer", error)
        self.leave(self.error)

    def _stream(self, response: Any, visit: Visit, context: Context) -> None:
        closers, iterator = response._resource_closers, response._iterator  # noqa: SLF001
        stream = _Stream(self, visit, context, iterator)
        body = (_AsyncBody if response.is_async else _Body)(stream)
        # A server that breaks off without closing leaves the body to the garbage collector.
        weakref.finalize(body, stream.forgotten).atexit = False
        # The server's span is about to end, and with it what can be said on it.
        span = None if visit.handle is None else visit.handle.span
        if span is not None and span is self._request.META.get(_SERVER_SPAN):
            visit.finish(self.error)
        response._iterator = body  # noqa: SLF001
        closers[:] = [*map(stream.within, closers), stream.close]

    def leave(self, error: BaseException | None) -> None:
        """End it all."""
        if self.visit is not None:
            self.visit.leave(error)
        self.forget()
        self._restore()

    def forget(self) -> None:
        """Let go of the request and of the exception, whose frames know the request."""
        self.error = None
        if vars(self._request).get(_MARK) is self:
            delattr(self._request, _MARK)

    def _restore(self) -> None:
        if get_current() is not self._before:
            attach(self._before)


class _Stream:
    """A body that is still to be produced, under the context of its request."""

    __slots__ = ("_ended", "_iterator", "_steps", "_visit", "_watch", "has_begun")

    def __init__(self, watch: _Watch, visit: Visit, context: Context, iterator: Any) -> None:
        self._watch = watch
        self._visit = visit
        self._iterator = iterator
        self._steps = _Steps(context)
        self._ended = False
        self.has_begun = False

    def next(self) -> Any:
        self.has_begun = True
        try:
            return self._steps.run(next, self._iterator)
        except StopIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise

    async def next_async(self) -> Any:
        self.has_begun = True
        try:
            return await self._steps.run_async(self._iterator.__anext__)
        except StopAsyncIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise

    def within(self, closer: Callable[[], Any]) -> Callable[[], Any]:
        """The same closer, for what the application does last."""
        return partial(self._steps.run, closer)

    def close(self) -> None:
        """The server wants no more of it."""
        # A file that the server sends by itself is closed without having been read here.
        self._end(GeneratorExit() if self.has_begun else None)

    def forgotten(self) -> None:
        """Nobody will ask for more; a generator that ends with that ends in its own context."""
        self._steps.run(setattr, self, "_iterator", None)
        self.close()

    def _end(self, error: BaseException | None) -> None:
        if not self._ended:
            self._ended = True
            self._visit.leave(error)
            self._watch.forget()


class _Body:
    """The body of a streamed answer, chunk by chunk as the application makes them."""

    __slots__ = ("__weakref__", "_stream")

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def __iter__(self) -> "_Body":
        return self

    def __next__(self) -> Any:
        return self._stream.next()


class _AsyncBody:
    """The same for an asynchronous iterator."""

    __slots__ = ("__weakref__", "_stream")

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def __aiter__(self) -> "_AsyncBody":
        return self

    def __anext__(self) -> Awaitable[Any]:
        return self._stream.next_async()


def instrument(module: ModuleType) -> None:
    """Stand directly inside of OpenTelemetry's middleware, or first, in every handler.

    Args:
        module: ``django.core.handlers.base``.
    """
    wrapt.wrap_function_wrapper(module, "BaseHandler.load_middleware", _load_middleware)


class _Settings:
    """The application's settings, with a middleware more."""

    def __init__(self, settings: Any, middleware: list[str]) -> None:
        self._settings = settings
        self.MIDDLEWARE = middleware

    def __getattr__(self, name: str) -> Any:
        return getattr(self._settings, name)


_loading = threading.RLock()


def _after_fork() -> None:
    global _loading  # noqa: PLW0603
    _loading = threading.RLock()


_guard.in_child(_after_fork)


def _load_middleware(original: Any, _: Any, args: Any, kwargs: Any) -> Any:
    module: Any = sys.modules[_HANDLERS]
    with _loading:
        settings = module.settings
        module.settings = _Settings(settings, _with_ours(settings.MIDDLEWARE))
        try:
            return original(*args, **kwargs)
        finally:
            module.settings = settings


def _with_ours(middleware: Any) -> list[str]:
    several = list(middleware)
    if _OURS not in several:
        outside = several.index(_OPENTELEMETRY) + 1 if _OPENTELEMETRY in several else 0
        several.insert(outside, _OURS)
    return several


_listens = False


def _listen() -> None:
    """Hear of exceptions, and of users as soon as the application has found them."""
    global _listens  # noqa: PLW0603
    if _listens:
        return
    _listens = True
    import_module("django.core.signals").got_request_exception.connect(_failed)
    for module, hear in _SOURCES.items():
        wrapt.register_post_import_hook(partial(_quietly, hear), module)


def _quietly(hear: Callable[[Any], None], module: ModuleType) -> None:
    try:
        hear(module)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("django.listen", error)


def _watch_of(request: Any) -> Any:
    return getattr(request, _MARK, None)


def _failed(request: Any = None, **_: Any) -> None:
    watch = _watch_of(request)
    if watch is not None:
        watch.error = sys.exc_info()[1]


def _learn(request: Any = None, **_: Any) -> None:
    watch = _watch_of(request)
    if watch is not None:
        watch.visit.learn()


def _of_users(module: Any) -> None:
    wrapt.wrap_function_wrapper(module, "get_user", _get_user)
    if hasattr(module, "auser"):  # from Django 5.0 on
        wrapt.wrap_function_wrapper(module, "auser", _get_user_async)


def _get_user(original: Any, _: Any, args: Any, kwargs: Any) -> Any:
    user = original(*args, **kwargs)
    _learn(*args, **kwargs)
    return user


async def _get_user_async(original: Any, _: Any, args: Any, kwargs: Any) -> Any:
    user = await original(*args, **kwargs)
    _learn(*args, **kwargs)
    return user


def _of_logins(module: Any) -> None:
    module.user_logged_in.connect(_learn)


def _of_tokens(module: Any) -> None:
    wrapt.wrap_function_wrapper(module, "Request._authenticate", _authenticate)


def _authenticate(original: Any, request: Any, args: Any, kwargs: Any) -> None:
    original(*args, **kwargs)
    _learn(request)


_SOURCES: Final[Mapping[str, Callable[[Any], None]]] = {
    "django.contrib.auth.middleware": _of_users,
    "django.contrib.auth.signals": _of_logins,
    "rest_framework.request": _of_tokens,
}
