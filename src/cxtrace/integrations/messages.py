"""Messages of any broker: the work on one that the journey map knows becomes its touchpoint.

The touchpoint is the consumer's own span where OpenTelemetry's instrumentation has made one, and
a span of its own else. Each message has a customer of its own: the one whom its headers tell.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType, TracebackType
from typing import Any, Final, TypeAlias, TypeVar

import wrapt
from opentelemetry import propagate
from opentelemetry.context import Context, attach, get_current
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanKind,
    get_current_span,
    set_span_in_context,
)

from cxtrace import _guard
from cxtrace import attributes as names
from cxtrace._closed_sets import text
from cxtrace._handles import NO_TOUCHPOINT, TouchpointHandle
from cxtrace._leave import without_ours
from cxtrace._visit import Visit, open_visit
from cxtrace.binding import bindings
from cxtrace.context import cx_of, with_cx
from cxtrace.integrations import _outgoing

__all__ = ["carrying", "consuming"]

Headers: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Any]] | None
"""Headers as a client has them: pairs or a mapping; values are text, bytes or attributes."""

H = TypeVar("H", bound="dict[str, Any] | list[tuple[str, Any]]")

_TEXT_OF_ATTRIBUTES: Final = ("StringValue", "stringValue", "Value")
"""Where the text of an attribute is: as SQS gives it, as AWS Lambda does, and as SNS does."""


class consuming:  # noqa: N801  used as a verb, like ``suppress``
    """The work on one message: ``with consuming("orders", headers):``, or ``async with``.

    What the producer has told goes on inside. If the map binds the topic by
    ``match = { consume = … }``, the block is the touchpoint: an exception is ``failed``, a
    cancelled task ``abandoned``. Entered, it gives the handle of the touchpoint. Never raises by
    itself, and lets all exceptions fly.

    Args:
        topic: The topic, queue or subscription, as the map names it.
        headers: Of the message.
    """

    __slots__ = ("_before", "_handle", "_headers", "_topic", "_visit")

    def __init__(self, topic: str, headers: Headers = None) -> None:
        self._topic = text(topic) or ""
        self._headers = headers
        self._visit: Visit | None = None
        self._handle: TouchpointHandle | None = None

    def __enter__(self) -> TouchpointHandle:
        self._before = get_current()
        try:
            self._open(self._before)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("consuming", error)
        return self._handle or NO_TOUCHPOINT

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if self._visit is not None:
            self._visit.leave(error)
        if get_current() is not self._before:
            attach(self._before)

    async def __aenter__(self) -> TouchpointHandle:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _open(self, before: Context) -> None:
        kind = f"message {self._topic}"
        outer = open_visit(cx_of(before), kind)
        if outer is not None:  # whoever calls us has opened it
            self._handle = outer.handle
            return
        attach(_told(self._headers, before))
        known = bindings()
        if known is not None:
            request = _Request(self._headers)
            self._visit = known.named("consume", self._topic, request, kind)
        if self._visit is not None:
            self._handle = self._visit.handle


def _told(headers: Headers, now: Context) -> Context:
    """What the producer has told; nothing of the message before goes on."""
    span, cx, bare = get_current_span(now), cx_of(now), without_ours(now)
    found = propagate.extract(headers, bare, _GETTER)
    if not span.is_recording() or getattr(span, "kind", None) is not SpanKind.CONSUMER:
        return found
    if names.TOUCHPOINT_OUTCOME in (getattr(span, "attributes", None) or {}):
        # The consumer's span is that of a batch, and was the touchpoint of another message.
        bare = set_span_in_context(NonRecordingSpan(span.get_span_context()), bare)
    elif cx is not None and cx.block is None:
        return now  # the instrumentation has just read the headers
    told = cx_of(found)
    return bare if told is None else with_cx(bare, told)


def carrying(headers: H) -> H:
    """A copy of headers that carries the journey to whoever consumes the message. Never raises.

    For producers that no instrumentation of OpenTelemetry sees: those write the headers by
    themselves. No span is made.

    Args:
        headers: A list of pairs, whose values are bytes as Kafka has them, or a dict, whose values
            are text.
    """
    try:
        copy: Any = headers.copy()
        _outgoing.inject(copy, _SETTER, goes_to_us=True)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("carrying", error)
        return headers
    return copy  # type: ignore[no-any-return]


class _Setter(Setter[Any]):
    """Writes headers over those of the same name: a message may be sent on with what it had."""

    def set(self, carrier: Any, key: str, value: str) -> None:
        if isinstance(carrier, list):
            carrier[:] = [pair for pair in carrier if pair[0] != key]
            carrier.append((key, value.encode()))
        else:
            carrier[key] = value


_SETTER: Final = _Setter()


def _pairs(headers: Headers) -> Iterator[tuple[str, str]]:
    """Those headers that are text."""
    if headers is None:
        return
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    for key, value in pairs:
        found = _text(value)
        if found is not None:
            yield key, found


def _text(value: object) -> str | None:
    if isinstance(value, Mapping):
        value = next((value[key] for key in _TEXT_OF_ATTRIBUTES if key in value), None)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


class _Getter(Getter[Headers]):
    """Reads the headers of a message for OpenTelemetry's propagators."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        found = [value for at, value in _pairs(carrier) if at.lower() == key.lower()]
        return found[:1] or None

    def keys(self, carrier: Headers) -> list[str]:
        return [key for key, _ in _pairs(carrier)]


_GETTER: Final = _Getter()


class _Request:
    """Answers the rules of the map out of the headers of a message."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def header(self, name: str) -> str | None:
        found = _GETTER.get(self._headers, name)
        return None if found is None else found[0]

    def cookie(self, name: str) -> str | None:
        return None

    query = cookie

    def session(self, name: str) -> object:
        return None

    user = claim = session


def instrument(module: ModuleType) -> None:
    """Stand inside of what OpenTelemetry's instrumentation puts around pika's callbacks.

    Args:
        module: ``pika.adapters.blocking_connection``.
    """
    method = module.BlockingChannel.basic_consume
    if getattr(method, "_self_wrapper", None) is not _basic_consume:
        wrapt.wrap_function_wrapper(module, "BlockingChannel.basic_consume", _basic_consume)


def _basic_consume(original: Any, _: Any, args: Any, kwargs: Any) -> Any:
    queue = args[0] if args else kwargs.get("queue")
    if len(args) > 1:
        args = (args[0], _consumer(args[1], queue), *args[2:])
    elif "on_message_callback" in kwargs:
        kwargs = {**kwargs, "on_message_callback": _consumer(kwargs["on_message_callback"], queue)}
    return original(*args, **kwargs)


def _consumer(callback: Any, queue: Any) -> Any:
    if not callable(callback) or not isinstance(queue, str):
        return callback

    def consume(original: Any, _: Any, args: Any, kwargs: Any) -> Any:
        if bindings() is None:
            return original(*args, **kwargs)
        with consuming(queue, _headers_of(args)):
            return original(*args, **kwargs)

    return wrapt.FunctionWrapper(callback, consume)


def _headers_of(args: Any) -> Headers:
    """Of the four things that pika gives a callback, the third is the message's properties."""
    try:
        headers: Headers = getattr(args[2] if len(args) > 2 else None, "headers", None)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("consuming", error)
        return None
    return headers
