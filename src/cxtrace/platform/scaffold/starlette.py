"""Routes of Starlette and FastAPI."""

from collections.abc import Iterable, Iterator
from typing import Any

from cxtrace.platform.scaffold.facts import Follow, Found, is_a, qualified, route

DOCUMENTATION = "documentation of the API"


def read(app: Any, prefix: str, follow: Follow) -> Iterator[Found]:
    """The routes of an application or a router, those of mounted applications included."""
    for item, original in _flat(app.routes):
        path = prefix + _path(item)
        if is_a(original, "starlette", "Mount"):
            yield from follow(item.app, path)
        elif is_a(original, "starlette", "Host"):
            yield from follow(item.app, prefix)
        elif is_a(original, "starlette", "WebSocketRoute"):
            yield route("WEBSOCKET", path, hint=_hint(item))
        else:
            yield from _route(item, path)


def _flat(routes: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Each route as it is reached, and as it was written.

    FastAPI keeps an included router as it is, and since then tells itself what comes of it.
    """
    items = list(routes)
    if any(type(item).__module__.startswith("fastapi.") for item in items):
        from fastapi import routing

        contexts = getattr(routing, "iter_route_contexts", None)
        items = list(contexts(items)) if contexts else items
    for item in items:
        yield item, getattr(item, "original_route", item)


def _path(item: Any) -> str:
    # FastAPI 0.141 says of an included WebSocket only here where it is.
    mounted = getattr(item, "starlette_route", None)
    return getattr(item, "path", None) or getattr(mounted, "path", None) or ""


def _route(item: Any, path: str) -> Iterator[Found]:
    endpoint = getattr(item, "endpoint", None)
    own = getattr(endpoint, "__module__", "") == "fastapi.applications"
    tags = tuple(str(getattr(tag, "value", tag)) for tag in getattr(item, "tags", None) or ())
    for method in _methods(item, endpoint):
        technical = DOCUMENTATION if own else ""
        yield route(method, path, hint=_hint(item), about=tags, technical=technical)


def _methods(item: Any, endpoint: Any) -> list[str]:
    named = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
    methods = getattr(item, "methods", None)
    if not methods and isinstance(endpoint, type):
        methods = {name for name in named if hasattr(endpoint, name.lower())}
    return sorted(methods or {"*"}, key=lambda name: (*named, name).index(name))


def _hint(item: Any) -> str:
    operation = getattr(item, "operation_id", None)
    return str(operation or getattr(item, "name", None) or "")


def read_static(app: Any, prefix: str, _follow: Follow) -> Iterator[Found]:
    """Files that are served as they are."""
    yield route("GET", prefix + "/{path:path}", hint=qualified(app), technical="static files")
