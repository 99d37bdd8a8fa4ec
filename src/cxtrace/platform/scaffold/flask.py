"""Routes of Flask, blueprints included."""

from collections.abc import Iterator
from typing import Any

from cxtrace.platform.scaffold.facts import Follow, Found, is_a, route
from cxtrace.platform.scaffold.templates import from_angles


def read(app: Any, prefix: str, follow: Follow) -> Iterator[Found]:
    """The routes of an application, and of those that a dispatcher puts below it."""

    def is_many(kind: str, _: str) -> bool:
        converter = app.url_map.converters.get(kind or "default")
        return not getattr(converter, "part_isolating", True)

    for rule in app.url_map.iter_rules():
        if rule.build_only or rule.alias:
            continue
        path = prefix + from_angles(rule.rule, is_many)
        *blueprints, hint = rule.endpoint.split(".")
        technical = "static files" if hint == "static" else ""
        for method in _methods(rule):
            yield route(method, path, hint=hint, about=tuple(blueprints), technical=technical)
    yield from _below(app.wsgi_app, prefix, follow)


def _methods(rule: Any) -> list[str]:
    if rule.websocket:
        return ["WEBSOCKET"]
    return sorted(rule.methods or {"*"}, key=lambda name: (name in {"HEAD", "OPTIONS"}, name))


def _below(wsgi: Any, prefix: str, follow: Follow) -> Iterator[Found]:
    """What middleware around the application answers itself."""
    while wsgi is not None:
        if is_a(wsgi, "werkzeug", "DispatcherMiddleware"):
            yield from read_mounts(wsgi, prefix, follow)
        wsgi = getattr(wsgi, "app", None)


def read_mounts(dispatcher: Any, prefix: str, follow: Follow) -> Iterator[Found]:
    """The applications that Werkzeug's dispatcher puts below prefixes."""
    for path, app in dispatcher.mounts.items():
        yield from follow(app, prefix + path)


def read_dispatcher(dispatcher: Any, prefix: str, follow: Follow) -> Iterator[Found]:
    """The same, and the application that answers everything else."""
    yield from follow(dispatcher.app, prefix)
    yield from read_mounts(dispatcher, prefix, follow)
