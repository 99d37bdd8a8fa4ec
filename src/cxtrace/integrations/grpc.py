"""gRPC: a call that the journey map names becomes its touchpoint, in threads and with asyncio.

The touchpoint is the server's own span where OpenTelemetry's interceptor has made one, and a span
of its own else.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Final, TypeAlias

import grpc  # type: ignore[import-untyped,unused-ignore]
import grpc.aio  # type: ignore[import-untyped,unused-ignore]
from opentelemetry.context import Context, attach, get_current
from opentelemetry.propagators.textmap import Getter

from cxtrace import _guard
from cxtrace._touchpoint import outermost
from cxtrace._visit import Visit
from cxtrace._wrap import _body_of, _maker
from cxtrace.binding import bindings
from cxtrace.context import Block, cx_of, with_cx
from cxtrace.integrations import _grpc_channels, _http

__all__ = ["AioCXInterceptor", "CXInterceptor"]

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
Method: TypeAlias = Callable[[Any, Any], Any]
"""What answers a call: takes the request, or all of them, and the servicer's context."""

_GIVEN_UP: Final = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
_RPC_ERROR: Final[type[Exception]] = grpc.RpcError
_GOOD: Final = (None, grpc.StatusCode.OK)
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_INTERCEPTORS: Final = 2
_FACTORIES: Final = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


class CXInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Makes a touchpoint of each call that the map binds by ``match = { rpc = … }``.

    It has to stand behind OpenTelemetry's interceptor, so that the server's span is there. The
    touchpoint ends when the method has answered, or with the last message of its stream. The
    customer's context is there while the method or a step of its stream runs, and never in the
    server's own code.
    """

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """Pass the call on."""
        return _remade(continuation(handler_call_details), handler_call_details)


class AioCXInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """The same for servers of ``grpc.aio``."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Pass the call on."""
        return _remade(await continuation(handler_call_details), handler_call_details)


def _remade(handler: Any, details: Any) -> Any:
    """The handler of a call, with its method made a touchpoint."""
    if handler is None or bindings() is None:
        return handler
    try:
        way = next(way for way in _FACTORIES if getattr(handler, way) is not None)
        return _FACTORIES[way](
            _wrapped(getattr(handler, way), _Call(details), streams=handler.response_streaming),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
    except Exception as error:  # noqa: BLE001
        _guard.swallow("grpc", error)
        return handler


def _wrapped(method: Method, call: "_Call", *, streams: bool) -> Method:
    body, shape = call.seen_by(method), _body_of(method)
    is_plain = not (inspect.iscoroutinefunction(shape) or inspect.isasyncgenfunction(shape))
    if is_plain and streams:
        # Whatever kind of iterator the method returns, it ends with its last message.
        wrapped: Any = _maker(_each_of)(functools.partial(_each_of, body), call.open)
    else:
        wrapped = _maker(shape)(body, call.open)
        if is_plain:
            wrapped = _left_alone(wrapped)
    return functools.update_wrapper(wrapped, method)


def _each_of(method: Method, request: Any, servicer: Any) -> Iterator[Any]:
    yield from method(request, servicer)


def _left_alone(wrapped: Method) -> Method:
    """A thread goes on to the next call as it was, whatever a method has left attached."""

    def call(request: Any, servicer: Any) -> Any:
        before = get_current()
        try:
            return wrapped(request, servicer)
        finally:
            if get_current() is not before:
                attach(before)

    return call


class _Call(Block):
    """One call: the block of its method's body, with which the visit ends."""

    __slots__ = ("_details", "_servicer", "_told", "_visit", "_within")

    def __init__(self, details: Any) -> None:
        super().__init__(get_current())
        self._details = details
        self._servicer: Any = None
        self._visit: Visit | None = None
        self._within = self._told = self.previous

    def seen_by(self, method: Method) -> Method:
        """The method, which leaves us the servicer's context: there the status is."""

        def body(request: Any, servicer: Any) -> Any:
            self._servicer = servicer
            return method(request, servicer)

        return body

    def open(self) -> Context | None:
        """Open the visit, and leave what is current to whoever runs the method."""
        self._within = before = get_current()
        try:
            return self._open()
        except Exception as error:  # noqa: BLE001
            _guard.swallow("grpc", error)
            return None
        finally:
            if get_current() is not before:
                attach(before)

    def _open(self) -> Context | None:
        known, metadata = bindings(), self._details.invocation_metadata or ()
        if known is None:
            return None
        _http.go_on_from(metadata, _GETTER)
        self._told = get_current()
        name = self._details.method.lstrip("/")
        self._visit = known.named("rpc", name, _Request(metadata))
        now = get_current()
        if now is self._within:
            return None
        self.previous = now
        return with_cx(now, (cx_of(now) or outermost(now))._replace(block=self))

    def end(self, error: BaseException | None) -> None:
        """End the visit: the method has answered, or will no more."""
        super().end(error)
        if self._visit is not None:
            self._visit.leave(self._judge(self._visit, error))
        if get_current() is self._told:
            attach(self._within)

    def _judge(self, visit: Visit, error: BaseException | None) -> BaseException | None:
        """What the status means to the customer. Gives the exception, if it is more than that."""
        try:
            code, handle = _code_of(self._servicer), visit.handle
            # To read more requests of a client that is gone raises an error of gRPC.
            if not _is_status(error, code) and not isinstance(error, _RPC_ERROR):
                return error
            is_gone = _is_gone(self._servicer)
            if isinstance(error, _RPC_ERROR) and not is_gone:
                return error  # of a call that the method has made
            if code in _GIVEN_UP or is_gone:
                visit.abandon()
            elif code not in _GOOD and handle is not None and not handle.has_been_judged:
                handle.fail(code.name)
            return None
        except Exception as failure:  # noqa: BLE001
            _guard.swallow("grpc.end", failure)
            return error


def _is_status(error: BaseException | None, code: Any) -> bool:
    """Whether a method has ended with a status: ``abort`` raises one out of the method."""
    aborts = type(error) is Exception or isinstance(error, grpc.aio.AbortError)
    return error is None or (aborts and code not in _GOOD)


def _code_of(servicer: Any) -> Any:
    # A method in a thread of an asyncio server sets a status that nobody can read.
    code = getattr(servicer, "code", int)()
    return _CODES.get(code) if isinstance(code, int) else code


def _is_gone(servicer: Any) -> bool:
    """Whether the client has cancelled or waits no longer. With asyncio, that cancels the task."""
    is_active = getattr(servicer, "is_active", None)
    return is_active is not None and not is_active()


class _Request:
    """Answers the rules of the map out of the metadata of a call."""

    __slots__ = ("_metadata",)

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def header(self, name: str) -> str | None:
        wanted = name.lower()
        found = (value for key, value in self._metadata if key == wanted)
        return next((value for value in found if isinstance(value, str)), None)

    def cookie(self, name: str) -> str | None:
        return None

    query = cookie

    def session(self, name: str) -> object:
        return None

    user = claim = session


class _Getter(Getter[Metadata]):
    """Reads the metadata of a call for OpenTelemetry's propagators."""

    def get(self, carrier: Metadata, key: str) -> list[str] | None:
        found = [value for at, value in carrier if at == key.lower() and isinstance(value, str)]
        return found or None

    def keys(self, carrier: Metadata) -> list[str]:
        return [key for key, _ in carrier]


_GETTER: Final = _Getter()


def instrument(module: ModuleType) -> None:
    """Stand behind OpenTelemetry's interceptors in every server, and see where channels lead.

    Args:
        module: ``grpc``.
    """
    _grpc_channels.wrap(module, "server", _server)
    _grpc_channels.wrap(module.aio, "server", _aio_server)
    _grpc_channels.instrument()


def _server(original: Any, _: Any, args: Any, kwargs: Any) -> Any:
    return original(*_with(CXInterceptor, args, kwargs), **kwargs)


def _aio_server(original: Any, _: Any, args: Any, kwargs: Any) -> Any:
    return original(*_with(AioCXInterceptor, args, kwargs), **kwargs)


def _with(ours: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments of a server, and among its interceptors one of ours."""
    is_named = len(args) <= _INTERCEPTORS
    given = list((kwargs.get("interceptors") if is_named else args[_INTERCEPTORS]) or ())
    if not any(isinstance(each, ours) for each in given):
        theirs = map(_grpc_channels.is_of_opentelemetry, given)
        at = max((number for number, is_theirs in enumerate(theirs, 1) if is_theirs), default=0)
        given.insert(at, ours())
    if is_named:
        kwargs["interceptors"] = given
        return args
    return (*args[:_INTERCEPTORS], given, *args[_INTERCEPTORS + 1 :])
