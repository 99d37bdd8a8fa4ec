"""How a rule of the journey map asks a request of Django: nothing that sleeps is woken."""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final
from weakref import WeakKeyDictionary

from cxtrace import _guard
from cxtrace._routes import Templates
from cxtrace.integrations import _http
from cxtrace.integrations.wsgi import WSGIRequest

_HARMLESS: Final = "drf_format_suffix"
"""How Django REST framework's names for its own converters begin."""


class Request(WSGIRequest):
    """Answers the rules of the map, and wakes nothing that sleeps; under ASGI as well.

    Django gives both kinds of requests the same META.
    """

    __slots__ = ("_request",)

    def __init__(self, request: Any) -> None:
        super().__init__(request.META)
        self._request = request

    @property
    def source(self) -> object:
        """What stays the same object through every middleware, of either protocol."""
        scope = getattr(self._request, "scope", None)
        return super().source if scope is None else scope.get("headers")

    def session(self, name: str) -> object:
        """A value of the session, if the application has loaded it."""
        # To ask the session itself would mark it as accessed, which is a header of the answer.
        session = getattr(vars(self._request).get("session"), "__dict__", {})
        loaded = session.get("_session_cache")
        return loaded.get(name) if isinstance(loaded, Mapping) else None

    def user(self, name: str) -> object:
        """A column of the user, if the application has looked for who it is."""
        known = vars(self._request)
        for key in ("user", "_cached_user", "_acached_user"):
            user = _awake(known.get(key))
            if user is not None:
                return _attribute(user, name)
        return None

    def claim(self, name: str) -> object:
        """A claim of the token that Django REST framework, or another, has verified."""
        token = _awake(vars(self._request).get("auth"))
        return None if hasattr(type(token), "_meta") else _http.claim(token, name)


def _awake(value: Any) -> Any:
    """What a lazy object stands for, where the application has found it out."""
    functional: Any = sys.modules["django.utils.functional"]
    # Not isinstance(), for which a lazy object wakes up.
    while issubclass(type(value), functional.LazyObject):
        value = vars(value)["_wrapped"]
    return None if value is functional.empty else value


def _attribute(user: Any, name: str) -> object:
    meta = getattr(type(user), "_meta", None)
    if meta is None:
        return _http.attribute(user, name)
    # Only columns that are loaded: what is computed or deferred could cost a query.
    return vars(user).get(meta.pk.attname if name == "pk" else name)


def template_of(request: Any) -> str | None:
    """Django's own template of the route, where to find it out has no side effect.

    What the path means may depend on a language that is not chosen yet, and a converter of the
    application's own may do anything.
    """
    urls: Any = import_module("django.urls")
    converters: Any = import_module("django.urls.converters")
    urlconf = getattr(request, "urlconf", None) or urls.get_urlconf()
    try:
        if _calls_the_application(converters) or _has_languages(urls, urlconf):
            return None
        route: str = urls.resolve(request.path_info, urlconf).route
    except urls.Resolver404:
        return None
    except Exception as error:  # noqa: BLE001
        _guard.swallow("django.urls", error)
        return None
    return route


def templates_of(request: Any) -> Templates | None:
    """Those of all routes, as ``template_of`` would give them; to read them has no side effect.

    None where they depend on the language, or the application resolves in a way of its own.
    """
    try:
        urls: Any = sys.modules["django.urls"]
        resolver = urls.get_resolver(getattr(request, "urlconf", None) or urls.get_urlconf())
        if resolver not in _known:
            _known[resolver] = _templates(resolver)
        return _known[resolver]
    except Exception:  # noqa: BLE001  to ask Django itself will fail as well, and be counted
        return None


_known: WeakKeyDictionary[Any, Templates | None] = WeakKeyDictionary()


def _templates(resolver: Any) -> Templates | None:
    found = list(_routes(resolver, ""))
    known = [each for each in found if each is not None]
    return Templates(known) if len(known) == len(found) else None


def _routes(resolver: Any, before: str) -> Iterator[str | None]:
    """Every route below; None for one that is not known for good."""
    kinds: Any = sys.modules["django.urls.resolvers"]
    for each in resolver.url_patterns:
        pattern = each.pattern
        is_plain = type(pattern) in (kinds.RoutePattern, kinds.RegexPattern)
        # Django keeps there what is not translated, once it has been asked for.
        if not is_plain or pattern.regex is not vars(pattern).get("regex"):
            yield None
            return
        route = before + (str(pattern).removeprefix("^") if before else str(pattern))
        if type(each) is kinds.URLPattern:
            yield route
        elif type(each) is kinds.URLResolver:
            yield from _routes(each, route)
        else:
            yield None


def _calls_the_application(converters: Any) -> bool:
    own = converters.get_converters().keys() - converters.DEFAULT_CONVERTERS.keys()
    return not all(name.startswith(_HARMLESS) for name in own)


def _has_languages(urls: Any, urlconf: Any) -> bool:
    prefix = urls.LocalePrefixPattern
    patterns = urls.get_resolver(urlconf).url_patterns
    return any(isinstance(each.pattern, prefix) for each in patterns)
