"""Clients that carry headers on to wherever they are redirected: strangers get none of ours.

requests, aiohttp and urllib send the headers of a request again when they follow a redirect, and
ask no propagator; httpx neither, where its instrumentation leaves a host out. So headers are looked
at once more in the one method that every hop passes, just before it is on the wire. The URL there
is the one that is opened, whatever a session, a hook or an adapter of the host has made of it.

That method is wrapped when members of ours are about to go out, if the client is loaded by then.
Nothing is imported for it, and where nothing of ours goes out, nothing is changed.
"""

import sys
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from types import FunctionType
from typing import Any, Final, NamedTuple

from cxtrace import _baggage, _destination, _guard, _runtime

HEADER: Final = "baggage"

_MARK: Final = "_cxtrace_wraps"
_ANYBODYS: Final = "builtins"
"""Where the types of headers are defined that any client may be given."""
_MOST_KINDS: Final = 64


class _Client(NamedTuple):
    name: str
    module: str
    owner: str
    method: str
    """Of the class ``owner``: what every hop passes."""
    position: int
    """Where the request stands among the arguments, ``self`` being the first."""
    keyword: str
    destination: Callable[[Any], Mapping[str, Any]]
    """Where the request goes, as the attributes of a span would say it."""
    home_of_headers: str
    """How the name of the module begins that defines the type of the headers."""


_CLIENTS: Final = (
    _Client(
        name="requests",
        module="requests.adapters",
        owner="HTTPAdapter",
        method="send",
        position=1,
        keyword="request",
        destination=lambda request: {"url.full": request.url},
        home_of_headers="requests.",
    ),
    _Client(
        name="aiohttp",
        module="aiohttp",
        owner="ClientRequest",
        method="send",
        position=0,
        keyword="self",
        destination=lambda request: {"server.address": request.url.raw_host},
        home_of_headers="multidict",
    ),
    _Client(
        name="httpx",
        module="httpcore",
        owner="ConnectionPool",
        method="handle_request",
        position=1,
        keyword="request",
        destination=lambda request: {"server.address": request.url.host.decode()},
        home_of_headers="httpx",
    ),
    _Client(
        name="httpx",
        module="httpcore",
        owner="AsyncConnectionPool",
        method="handle_async_request",
        position=1,
        keyword="request",
        destination=lambda request: {"server.address": request.url.host.decode()},
        home_of_headers="httpx",
    ),
    _Client(
        name="urllib",
        module="urllib.request",
        owner="AbstractHTTPHandler",
        method="do_open",
        position=2,
        keyword="req",
        destination=lambda request: {"url.full": request.full_url},
        home_of_headers=_ANYBODYS,
    ),
)


class _Place(NamedTuple):
    """Where a wrapper of ours stands, to see at a glance whether it still does."""

    module_name: str
    module: Any = None
    namespace: Mapping[str, Any] = {}
    method: str = ""
    wrapper: Any = None


_wrapping = threading.RLock()
_places: dict[type, tuple[tuple[Any, ...], ...]] = {}
"""By the type of the headers: which wrappers have to stand, as tuples that are quick to unpack."""


def are_safe_in(headers: object) -> bool:
    """Whether members of ours in these headers stay with us when the request is redirected.

    Wraps the clients that such headers may be for, if they are loaded and it is still to be done.
    Never raises. Headers of a client that cannot be wrapped are not safe, which is counted.
    """
    kind = type(headers)
    places = _places.get(kind)
    if places is None:
        return _watch_all(kind)
    loaded = sys.modules.get
    for module_name, module, namespace, method, wrapper in places:
        if loaded(module_name) is not module or namespace.get(method) is not wrapper:
            return _watch_all(kind)
    return True


def restore() -> None:
    """Give the clients their own methods back, except where others have wrapped ours since."""
    for client in _CLIENTS:
        owner = getattr(sys.modules.get(client.module), client.owner, None)
        method = getattr(owner, client.method, None)
        own = getattr(method, _MARK, None)
        if isinstance(own, FunctionType) and getattr(method, "__wrapped__", None) is own:
            setattr(owner, client.method, own)


def _watch_all(kind: type) -> bool:
    own = [client for client in _CLIENTS if kind.__module__.startswith(client.home_of_headers)]
    safe = True
    places = []
    for client in _CLIENTS if kind.__module__ == _ANYBODYS or not own else own:
        place = _Place(client.module)
        try:
            if client.module in sys.modules:
                place = _watch(client, sys.modules[client.module])
        except Exception as error:  # noqa: BLE001
            if client in own:
                safe = False
                _refuse(client, error)
        places.append(tuple(place))
    if len(_places) >= _MOST_KINDS:
        _places.clear()
    _places[kind] = tuple(places)
    return safe


def _refuse(client: _Client, error: Exception) -> None:
    _guard.swallow("redirects", error)
    _guard.count("baggage.not_sent_blindly")
    _guard.warn_once(
        f"redirects.{client.name}",
        "cxtrace cannot see where this version of %s is redirected to, so journeys do not go out "
        "through it",
        client.name,
    )


def _watch(client: _Client, module: Any) -> _Place:
    owner = getattr(module, client.owner)
    # Others may wrap ours, or put back what they found before us. A mock has every attribute that
    # it is asked for, but not in its dictionary.
    with _wrapping:
        if _MARK not in getattr(owner, client.method).__dict__:
            _wrap(owner, client)
    namespace = vars(owner)
    return _Place(client.module, module, namespace, client.method, namespace.get(client.method))


def _wrap(owner: type, client: _Client) -> None:
    methods = (vars(base)[client.method] for base in owner.__mro__ if client.method in vars(base))
    method = next(methods)
    if not isinstance(method, FunctionType):
        kind = type(method).__name__
        raise TypeError(kind)

    @wraps(method)
    def watched(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        given = (self, *args)
        here = client.position < len(given)
        _hold_back(given[client.position] if here else kwargs.get(client.keyword), client)
        # Bound as Python would, for wrappers of others that ask for the instance.
        return method.__get__(self, type(self))(*args, **kwargs)

    setattr(watched, _MARK, method)
    setattr(owner, client.method, watched)


def _hold_back(request: Any, client: _Client) -> None:
    try:
        if not _goes_to_us(request, client):
            _take_out(request.headers or {})
    except Exception as error:  # noqa: BLE001
        _guard.swallow("redirects", error)


def _goes_to_us(request: Any, client: _Client) -> bool:
    try:
        where = client.destination(request)
        return _destination.is_ours(where, _runtime.current.trusted_hosts) is True
    except Exception as error:  # noqa: BLE001
        _guard.swallow("redirects", error)
        return False


def _take_out(headers: Any) -> None:
    pairs = headers if isinstance(headers, list) else list(headers.items())
    lines = [(key, _text(value)) for key, value in pairs if _text(key).lower() == HEADER]
    header = _baggage.parse(",".join(line for _, line in lines))
    if not header.ours:
        return
    others = ",".join(header.others)
    if isinstance(headers, list):  # of bytes
        kept = [pair for pair in headers if _text(pair[0]).lower() != HEADER]
        headers[:] = [*kept, (HEADER.encode(), others.encode("latin-1"))] if others else kept
    else:
        for key, _ in lines:  # a multidict has a key as often as a value for it
            headers.pop(key, None)
        if others:
            headers[HEADER] = others
    _guard.count("baggage.not_sent_to_strangers")


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _after_fork() -> None:
    global _wrapping  # noqa: PLW0603
    _wrapping = threading.RLock()


_guard.in_child(_after_fork)
