"""Routes of Django, those of Django REST framework's routers included."""

import os
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, Final

import attrs

from cxtrace.platform.scaffold.facts import Follow, Found, ScaffoldError, is_a
from cxtrace.platform.scaffold.templates import can_hold_a_slash, from_angles, from_regex

VARIABLE: Final = "DJANGO_SETTINGS_MODULE"
_STAFF: Final = "pages of Django's admin, for staff"
_TECHNICAL: Final = {
    "django.views.static": "static files",
    "django.contrib.staticfiles": "static files",
    "django.views.i18n.JavaScriptCatalog": "texts for scripts",
    "django.views.i18n.JSONCatalog": "texts for scripts",
    "django.contrib.sitemaps": "for search engines",
    "rest_framework.routers.APIRootView": "documentation of the API",
    "rest_framework.schemas": "documentation of the API",
    "drf_spectacular": "documentation of the API",
    "drf_yasg": "documentation of the API",
    "debug_toolbar": "tools of developers",
}
"""Why no customer meets a view, by where it is defined."""
_UNASKED: Final = {
    "ProcessFormView": ("put",),
    "ProcessFormSetView": ("put",),
    "DeletionMixin": ("delete",),
    "RedirectView": ("post", "put", "patch", "delete"),
}
"""Methods that Django's own views answer as they answer another, and no page asks for."""
_SUFFIXES: Final = ("<drf_format_suffix", r"\.(?P<format>")
"""What Django REST framework ends patterns with that it adds for formats."""


@attrs.frozen
class _Above:
    """What the includes above a route say."""

    paths: tuple[str, ...] = ("",)
    names: tuple[str, ...] = ()


def set_up(settings: str) -> None:
    """Make Django ready, as its servers do.

    Args:
        settings: Module of the settings; empty for the one that the environment names.

    Raises:
        ScaffoldError: Neither names one.
    """
    if settings:
        os.environ[VARIABLE] = settings
    if not os.environ.get(VARIABLE):
        message = f"django: no settings are named; write django:project.settings, or set {VARIABLE}"
        raise ScaffoldError(message)
    import_module("django").setup()


def read(_app: Any, prefix: str, _follow: Follow) -> Iterator[Found]:
    """The routes of the settings that are in force, whatever the application object is."""
    resolver = import_module("django.urls").get_resolver()
    yield from _patterns(resolver.url_patterns, _Above((prefix + "/",)))


def _patterns(patterns: Iterable[Any], above: _Above) -> Iterator[Found]:
    for item in patterns:
        if not hasattr(item, "url_patterns"):
            yield from _view(item, _joined(above, item.pattern, item.name))
            continue
        below = _joined(above, item.pattern, item.namespace)
        if item.app_name == "admin":
            targets = tuple(f"* {path}{{path:path}}" for path in below.paths)
            yield Found("route", targets, hint="admin", technical=_STAFF)
        else:
            yield from _patterns(item.url_patterns, below)


def _joined(above: _Above, pattern: Any, name: str | None) -> _Above:
    paths = tuple(path + part for path in above.paths for part in _parts(pattern))
    return _Above(paths, (*above.names, name) if name else above.names)


def _parts(pattern: Any) -> list[str]:
    """The templates of one pattern."""
    if is_a(pattern, "django", "LocalePrefixPattern"):
        return ["{language}/"] if pattern.prefix_default_language else ["", "{language}/"]
    if is_a(pattern, "django", "RegexPattern"):
        return from_regex(str(pattern))

    def is_many(_: str, name: str) -> bool:
        converter = pattern.converters.get(name)
        return name != "format" and can_hold_a_slash(getattr(converter, "regex", "[^/]+"))

    return [from_angles(str(pattern), is_many)]


def _view(item: Any, place: _Above) -> Iterator[Found]:
    view = item.callback
    suffix = any(form in str(item.pattern) for form in _SUFFIXES)
    technical = "the same with a suffix for the format" if suffix else _technical(view)
    about = place.names[:-1] if item.name else place.names
    for method in _methods(view):
        targets = tuple(f"{method} {path}" for path in place.paths)
        yield Found(
            "route", targets, hint=item.name or _named(view), about=about, technical=technical
        )


def _class_of(view: Any) -> Any:
    return getattr(view, "cls", None) or getattr(view, "view_class", None)


def _named(view: Any) -> str:
    named = _class_of(view) or view
    return re.sub(r"(View|ViewSet|APIView)$", "", getattr(named, "__name__", type(view).__name__))


def _technical(view: Any) -> str:
    named = _class_of(view) or view
    where = f"{getattr(named, '__module__', '')}.{getattr(named, '__name__', '')}"
    return next((why for name, why in _TECHNICAL.items() if f"{where}.".startswith(f"{name}.")), "")


def _methods(view: Any) -> list[str]:
    """The methods that a view answers; ``*`` where it does not say."""
    actions = getattr(view, "actions", None)
    if actions:
        return [name.upper() for name in actions if name not in {"head", "options"}]
    cls = _class_of(view)
    if cls is None:
        return _required(view) or ["*"]
    names = (name for name in cls.http_method_names if name not in {"head", "options"})
    return [name.upper() for name in names if _answers(cls, name)] or ["*"]


def _answers(cls: Any, method: str) -> bool:
    handler = getattr(cls, method, None)
    owner, _, name = getattr(handler, "__qualname__", "").rpartition(".")
    return handler is not None and name not in _UNASKED.get(owner, ())


def _required(view: Any) -> list[str]:
    """The methods that ``require_http_methods`` allows, which it keeps to itself."""
    while view is not None:
        code = getattr(view, "__code__", None)
        names = code.co_freevars if code else ()
        if "request_method_list" in names:
            methods = view.__closure__[names.index("request_method_list")].cell_contents
            return [name for name in methods if name != "HEAD"] or list(methods)
        view = getattr(view, "__wrapped__", None)
    return []
