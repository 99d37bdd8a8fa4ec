"""Path templates: those of the map, and those of frameworks, as one form that can be compared."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from cxtrace import _guard

T = TypeVar("T")

_PARAMETER: Final = re.compile(
    r"""
      \{(?P<brace>\w+)(?::(?P<kind>[^{}]*))?\}
    | <(?:(?P<converter>[\w.]+)(?:\([^)]*\))?:)?(?P<angle>\w+)>
    | \(\?P<(?P<group>\w+)>(?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)
    """,
    re.VERBOSE,
)
_ANYTHING: Final = "path"
_SOME: Final = "[^/]+"
_SEGMENTS: Final = re.compile(r"((?<!\^)/)")

LONGEST_PATH: Final = 512
"""Characters of a path that is compared with templates; to compare a longer one could take long."""


Template: TypeAlias = Callable[[], str | None]
"""Finds out the framework's own template of a request."""

AllTemplates: TypeAlias = "Callable[[], Templates | None]"
"""Gives those of every route of the application; None where it has some that cannot be told."""


class Piece(NamedTuple):
    """A parameter of a template, or the text before one."""

    text: str
    name: str | None = None
    many: bool = False


def pieces(template: str) -> list[Piece]:
    """The template of any framework, in its parts.

    Args:
        template: ``/items/{id}``, ``/items/<int:id>`` or ``^items/(?P<id>[0-9]+)/$``.
    """
    plain = template.removeprefix("^").removesuffix("$").removesuffix(r"\Z").replace(r"\-", "-")
    plain = "/" + plain.strip("/")
    found: list[Piece] = []
    end = 0
    for match in _PARAMETER.finditer(plain):
        if match.start() > end:
            found.append(Piece(plain[end : match.start()]))
        name = match["brace"] or match["angle"] or match["group"]
        kind = match["kind"] or match["converter"]
        found.append(Piece("", name, kind == _ANYTHING or kind == ".*"))
        end = match.end()
    if end < len(plain):
        found.append(Piece(plain[end:]))
    return found


@lru_cache(maxsize=1_024)
def shape(template: str) -> str:
    """The template without the names of its parameters, so that two can be compared."""
    return "".join("{}" if piece.name else piece.text for piece in pieces(template))


def is_quick(template: str) -> bool:
    """Whether to compare a path with it takes no more than a moment, however strange the path."""
    parts = pieces(template)
    crowded = re.search(r"\{\}[^/]*\{\}[^/]*\{\}", shape(template))
    return crowded is None and sum(piece.many for piece in parts) <= 1


def parameters(template: str) -> list[str]:
    """The names of the parts that vary."""
    return [piece.name for piece in pieces(template) if piece.name]


@lru_cache(maxsize=1_024)
def pattern(template: str) -> re.Pattern[str]:
    """What a path must look like, each parameter a group of its own name."""
    seen: set[str] = set()
    parts = _SEGMENTS.split("".join(_expression(piece, seen) for piece in pieces(template)))
    return re.compile("".join(map(_once, parts)) + "/?")


def _once(part: str) -> str:
    """What is between two slashes: where it holds two parameters, it is tried in one way only."""
    if part.count(_SOME) < 2 or ".+" in part:
        return part
    return f"(?={part}(?:/|$))[^/]+"


def _expression(piece: Piece, seen: set[str]) -> str:
    if piece.name is None:
        return re.escape(piece.text)
    what = ".+" if piece.many else _SOME
    if piece.name in seen or not piece.name.isidentifier():
        return f"(?:{what})"
    seen.add(piece.name)
    return f"(?P<{piece.name}>{what})"


def unknown() -> None:
    """For a framework that cannot tell."""


class Templates:
    """The templates of every route of an application, and which of them stand in a route's way.

    Args:
        templates: In the framework's own words.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        self.all = tuple(dict.fromkeys(templates))
        self._patterns: tuple[tuple[str, re.Pattern[str]], ...] | None = None
        self._rivals: dict[str, tuple[re.Pattern[str], ...]] = {}

    def fitting(self, path: str) -> list[str]:
        """Those that a path fits."""
        if self._patterns is None:
            # Kept here: an application may have more templates than `pattern` remembers.
            self._patterns = tuple((each, pattern(each)) for each in self.all)
        return [each for each, form in self._patterns if form.fullmatch(path)]

    def has_rival(self, route: str, path: str) -> bool:
        """Whether a path fits a template of another form as well.

        Args:
            route: The shape of a route that the path fits.
            path: Without a slash at its end.
        """
        rivals = self._rivals.get(route)
        if rivals is None:
            rivals = self._rivals[route] = tuple(
                pattern(each) for each in self.all if _may_meet(route, each)
            )
        return bool(rivals) and any(rival.fullmatch(path) for rival in rivals)


def _may_meet(route: str, template: str) -> bool:
    """Whether there may be a path that fits both, although they are of different shapes."""
    other = shape(template)
    if other == route or any(piece.many for piece in pieces(template)):
        return other != route
    mine, theirs = route.split("/"), other.split("/")
    return len(mine) == len(theirs) and all(
        a == b or "{}" in a or "{}" in b for a, b in zip(mine, theirs, strict=True)
    )


class _Route(NamedTuple):
    vagueness: tuple[bool, int, int]
    shape: str
    pattern: re.Pattern[str]
    target: Any


class Routes(Generic[T]):
    """Finds what a request's method and path lead to.

    Args:
        routes: Pairs of ``METHOD /path/{parameter}`` and what it leads to.
    """

    def __init__(self, routes: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[tuple[str, str], T] = {}
        self._open: dict[str, list[_Route]] = {}
        for route, target in routes:
            method, _, template = route.partition(" ")
            if parameters(template):
                found = _Route(_vagueness(template), shape(template), pattern(template), target)
                self._open.setdefault(method, []).append(found)
            else:
                self._exact.setdefault((method, _trimmed(template)), target)
        for several in self._open.values():
            several.sort(key=lambda route: route.vagueness)

    def find(
        self,
        method: str,
        path: str,
        template: Template = unknown,
        templates: AllTemplates = unknown,
    ) -> tuple[T, Mapping[str, str]] | None:
        """What a request leads to, and the parameters in its path.

        Args:
            method: In capitals; ``WEBSOCKET`` for a web socket.
            path: As the application sees it.
            template: Gives the framework's own, or None. It is asked for only where a route with
                parameters fits, and has the last word on a path that it describes wholly:
                ``/users/me`` is no ``/users/{id}``. A route with ``{name:path}`` means whatever
                is there.
            templates: Gives those of all of its routes: where none of another form fits, the
                framework's own need not be found out.
        """
        trimmed = path.rstrip("/") or "/"
        for way in (method, "*"):
            exact = self._exact.get((way, trimmed))
            if exact is not None:
                return exact, {}
            for route in self._open.get(way, ()) if len(path) <= LONGEST_PATH else ():
                match = route.pattern.fullmatch(trimmed)
                if match is not None and _agrees(route, trimmed, template, templates):
                    return route.target, match.groupdict()
        return None


def _trimmed(path: str) -> str:
    return path.rstrip("/") or "/"


def _vagueness(template: str) -> tuple[bool, int, int]:
    """Routes with more text of their own come first, and those for paths of any length last."""
    parts = pieces(template)
    return any(part.many for part in parts), len(parameters(template)), -len(shape(template))


def _agrees(route: _Route, path: str, template: Template, templates: AllTemplates) -> bool:
    takes_any_path, _, _ = route.vagueness
    if takes_any_path:
        return True
    try:
        every = templates()
        if every is not None and not every.has_rival(route.shape, path):
            return True
        known = template()
        if known is None or shape(known) == route.shape:
            return True
        return pattern(known).fullmatch(path) is None
    except Exception as error:  # noqa: BLE001  whatever a framework takes for a template
        _guard.swallow("template", error)
        return True
