"""Channels of gRPC clients: where a call goes, which OpenTelemetry's spans of it do not say."""

import importlib
import re
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import grpc.aio  # type: ignore[import-untyped,unused-ignore]
import wrapt
from opentelemetry import propagate
from opentelemetry.context import get_current
from opentelemetry.propagators.textmap import Setter

from cxtrace import _destination, _guard, _runtime
from cxtrace.context import cx_of
from cxtrace.integrations import _outgoing
from cxtrace.propagation import HEADER

Pairs: TypeAlias = list[tuple[str, Any]]

_WAYS: Final = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
_METADATA: Final = 2
_INTERCEPTORS: Final = 4
_SCHEME: Final = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|xds|google-c2p|vsock):")
_HERE: Final = ("unix", "unix-abstract")
_HOST: Final = re.compile(r"\[([^\]]*)\](?::\w+)?|([^:]*)(?::\w+)?|(.*)")


def goes_to_us(target: object) -> bool | None:
    """Whether a channel leads to a host that is ours; None where its target does not say.

    Args:
        target: As gRPC has it: ``payments:50051``, ``dns:///host:443``, ``unix:/path``.
    """
    text = target.decode() if isinstance(target, bytes) else str(target)
    found = _SCHEME.match(text)
    scheme = found[1] if found else "dns"
    rest = text[found.end() :] if found else text
    if scheme in _HERE:
        return True
    if scheme not in ("dns", "ipv4", "ipv6"):
        return None
    addresses = rest.rpartition("/")[2].split(",") if scheme == "dns" else rest.split(",")
    return all(_is_ours(address) for address in addresses)


def _is_ours(address: str) -> bool:
    found = _HOST.fullmatch(address)
    host = next(filter(None, found.groups()), "") if found else ""
    attributes = {"server.address": host.partition("%")[0]}
    return _destination.is_ours(attributes, _runtime.current.trusted_hosts) is True


class _Setter(Setter[Pairs]):
    """Writes metadata, where a key may stand more than once."""

    def set(self, carrier: Pairs, key: str, value: str) -> None:
        carrier[:] = [pair for pair in carrier if pair[0] != key]
        carrier.append((key.lower(), value))


_SETTER: Final = _Setter()


def _told(metadata: Any, target: object) -> Pairs | None:
    """Metadata that carry the journey, where an instrumentation has written them; else None."""
    try:
        if not metadata or cx_of(get_current()) is None:
            return None
        pairs = list(metadata)
        if not _has_been_told(key for key, _ in pairs):
            return None
        _outgoing.inject(pairs, _SETTER, goes_to_us=goes_to_us(target))
    except Exception as error:  # noqa: BLE001
        _guard.swallow("grpc.call", error)
        return None
    return pairs


def _has_been_told(keys: Iterable[str]) -> bool:
    return not (propagate.get_global_textmap().fields - {HEADER}).isdisjoint(keys)


# In threads: what a channel makes for a method is called with the metadata


class _Method(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """A method of a service, as a client calls it."""

    def __init__(self, method: Any, target: object) -> None:
        super().__init__(method)
        self._self_target = target

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._self_call(self.__wrapped__, args, kwargs)

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        """Give the call beside its answer."""
        return self._self_call(self.__wrapped__.with_call, args, kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        """Do not wait for the answer."""
        return self._self_call(self.__wrapped__.future, args, kwargs)

    def _self_call(self, call: Any, args: Any, kwargs: Any) -> Any:
        is_named = len(args) <= _METADATA
        given = kwargs.get("metadata") if is_named else args[_METADATA]
        told = _told(given, self._self_target)
        if told is None:
            return call(*args, **kwargs)
        if is_named:
            return call(*args, **{**kwargs, "metadata": tuple(told)})
        return call(*args[:_METADATA], tuple(told), *args[_METADATA + 1 :], **kwargs)


def _made(original: Any, channel: Any, args: Any, kwargs: Any) -> None:
    original(*args, **kwargs)
    channel._cxtrace_target = args[0] if args else kwargs.get("target")  # noqa: SLF001


def _method(original: Any, channel: Any, args: Any, kwargs: Any) -> Any:
    return _Method(original(*args, **kwargs), getattr(channel, "_cxtrace_target", ""))


# With asyncio: the last of the interceptors is called with the metadata


class _Teller:
    """Stands behind OpenTelemetry's interceptors."""

    def __init__(self, target: object) -> None:
        self._target = target

    async def _go_on(self, continuation: Any, details: Any, request: Any) -> Any:
        told = _told(details.metadata, self._target)
        if told is not None:
            details = details._replace(metadata=grpc.aio.Metadata(*told))
        return await continuation(details, request)


class _UnaryUnary(_Teller, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return await self._go_on(continuation, client_call_details, request)


class _UnaryStream(_Teller, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return await self._go_on(continuation, client_call_details, request)


class _StreamUnary(_Teller, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._go_on(continuation, client_call_details, request_iterator)


class _StreamStream(_Teller, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._go_on(continuation, client_call_details, request_iterator)


_TELLERS: Final = (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)


def _aio_made(original: Any, _: Any, args: Any, kwargs: Any) -> None:
    is_named = len(args) <= _INTERCEPTORS
    given = (kwargs.get("interceptors") if is_named else args[_INTERCEPTORS]) or ()
    if any(is_of_opentelemetry(each) for each in given):
        target = args[0] if args else kwargs.get("target")
        interceptors = [*given, *(teller(target) for teller in _TELLERS)]
        if is_named:
            kwargs = {**kwargs, "interceptors": interceptors}
        else:
            args = (*args[:_INTERCEPTORS], interceptors, *args[_INTERCEPTORS + 1 :])
    original(*args, **kwargs)


def is_of_opentelemetry(interceptor: object) -> bool:
    """Whether an interceptor is one of OpenTelemetry's instrumentation."""
    return any(
        kind.__module__.startswith("opentelemetry.instrumentation.grpc")
        for kind in type(interceptor).__mro__
    )


def instrument() -> None:
    """See where the channels lead that are made from now on. A second call does nothing."""
    # Whoever wraps the functions that make channels, and when, these classes are beneath.
    in_threads = importlib.import_module("grpc._channel").Channel
    wrap(in_threads, "__init__", _made)
    for way in _WAYS:
        wrap(in_threads, way, _method)
    wrap(importlib.import_module("grpc.aio._channel").Channel, "__init__", _aio_made)


def wrap(owner: Any, name: str, wrapper: Any) -> None:
    """Wrap a function, if it has not been wrapped so already."""
    if getattr(getattr(owner, name), "_self_wrapper", None) is not wrapper:
        wrapt.wrap_function_wrapper(owner, name, wrapper)
