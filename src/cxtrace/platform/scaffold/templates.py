"""Path templates of frameworks, written as a journey map writes them."""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from cxtrace import _routes

LONGEST: Final = 400
"""Characters of a path that a map is given; what follows becomes one parameter."""
MOST_WAYS: Final = 8
"""Ways that a regular expression is spelled out in."""

_ANGLE: Final = re.compile(
    r"<(?:(?P<kind>[A-Za-z_]\w*)(?:\((?:[^()'\"]|'[^']*'|\"[^\"]*\")*\))?:)?(?P<name>\w+)>"
)
_BRACE: Final = re.compile(r"\{(?P<name>[^{}:]*)(?P<kind>:[^{}]*)?\}")
_QUANTIFIER: Final = re.compile(r"(?:(?P<none>[?*])|\+|\{(?P<least>\d*),?\d*\})[?+]?")
_MANY: Final = "{part:path}"
_ONE: Final = "{part}"


def from_angles(template: str, is_many: Callable[[str, str], bool]) -> str:
    """The template of Flask or of Django's ``path()``.

    Args:
        template: ``/items/<int:id>``.
        is_many: Whether a parameter, by converter and name, can hold a slash.
    """

    def brace(match: "re.Match[str]") -> str:
        many = is_many(match["kind"] or "", match["name"])
        return f"{{{match['name']}{':path' if many else ''}}}"

    return _ANGLE.sub(brace, template)


def tidy(path: str) -> str:
    """A template with braces, as the grammar of the map allows it.

    What that cannot say, such as three parameters in one part of the path, becomes one parameter
    that takes it all.
    """
    parts = [_part(part) for part in path.split("/") if part]
    many = next((n for n, part in enumerate(parts) if part.endswith(":path}")), None)
    if many is not None and any(part.endswith(":path}") for part in parts[many + 1 :]):
        parts = parts[: many + 1]
    while len("/".join(parts)) > LONGEST:
        parts = [*parts[:-2], _MANY] if len(parts) > 1 else [_MANY]
    tidied = "/" + "/".join(parts)
    return tidied if _routes.is_quick(tidied) else tidied.partition("{")[0] + _MANY


def _part(part: str) -> str:
    """One part of a path; one parameter of any number of parts stands alone in it."""
    names = [match["name"] for match in _BRACE.finditer(part)]
    if any(match["kind"] == ":path" for match in _BRACE.finditer(part)):
        return f"{{{_parameter(names[0])}:path}}"
    plain = _BRACE.sub("", part)
    if len(names) > 2 or not _can_stand(plain):
        return f"{{{_parameter('_'.join(names))}}}"
    return _BRACE.sub(lambda match: f"{{{_parameter(match['name'])}}}", part)


def _can_stand(text: str) -> bool:
    odd = any(char in "{}<>\\^" or char.isspace() or not char.isprintable() for char in text)
    return not odd and not text.endswith("$") and "(?" not in text


def _parameter(name: str) -> str:
    return re.sub(r"\W+", "_", name) or "part"


def from_regex(expression: str) -> list[str]:
    """The ways to spell out a regular expression of paths, at most a few; the shortest first."""
    ways = (re.sub(r"(\{part(:path)?\})+", _joined, way) for way in _ways(expression))
    return sorted(dict.fromkeys(ways), key=len)


def _joined(match: "re.Match[str]") -> str:
    return _MANY if ":path" in match[0] else _ONE


def can_hold_a_slash(expression: str) -> bool:
    """Whether what a regular expression finds may reach over several parts of a path."""
    if "/" in re.sub(r"\[(?:\\.|[^\]\\])*\]", "", expression):
        return True
    try:
        return any(re.fullmatch(expression, text) for text in ("a/a", "1/1"))
    except re.error:
        return False


def _ways(expression: str) -> list[str]:
    found = chain.from_iterable(_sequence(branch) for branch in _branches(expression))
    return list(found)[:MOST_WAYS]


def _sequence(branch: str) -> list[str]:
    ways = [""]
    for options in _tokens(branch):
        ways = [way + option for way in ways for option in options][:MOST_WAYS]
    return ways


def _tokens(branch: str) -> Iterator[list[str]]:
    """What each token of an expression can be."""
    at = 0
    while at < len(branch):
        end = _end(branch, at)
        options = _options(branch[at:end])
        quantifier = _QUANTIFIER.match(branch, end)
        if quantifier:
            end = quantifier.end()
            optional = quantifier["none"] or quantifier["least"] == "0"
            several = not quantifier[0].startswith("?")
            options = [_MANY] if several and branch[at] == "." else options
            if optional and options != [_MANY]:
                options = [*options, ""] if options[0].strip("/") else [""]
        yield options
        at = end


def _options(token: str) -> list[str]:
    if token[0] == "(":
        return _group(token[1:-1])
    if token in {"^", "$"} or re.fullmatch(r"\\[AZzbB]", token):
        return [""]
    if token[0] in "[." or re.fullmatch(r"\\[dDwWsS]", token):
        return [_ONE]
    return [token[1:] if token[0] == "\\" else token]


def _group(body: str) -> list[str]:
    named = re.match(r"\?P<(\w+)>", body)
    inner = body[named.end() :] if named else body
    if not named and body.startswith("?"):
        plain = re.match(r"\?[aiLmsux-]*:", body)
        return _ways(body[plain.end() :]) if plain else [""]
    kind = ":path" if can_hold_a_slash(inner) else ""
    return [f"{{{named[1] if named else 'part'}{kind}}}"]


def _end(text: str, at: int) -> int:
    """Where the token ends that begins at a place."""
    if text[at] == "\\":
        return at + 2
    if text[at] == "[":
        found = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]").match(text, at)
        return found.end() if found else at + 1
    if text[at] != "(":
        return at + 1
    at += 1
    while at < len(text) and text[at] != ")":
        at = _end(text, at)
    return at + 1


def _branches(expression: str) -> list[str]:
    found, at, start = [], 0, 0
    while at < len(expression):
        end = _end(expression, at)
        if expression[at] == "|":
            found.append(expression[start:at])
            start = end
        at = end
    return [*found, expression[start:]]
