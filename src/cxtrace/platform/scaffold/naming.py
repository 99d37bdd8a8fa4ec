"""Names of touchpoints, from the view of the customer, guessed from routes and tasks."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cxtrace._map.lint import SYSTEM_PHRASES
from cxtrace._map.place import LONGEST_NAME
from cxtrace.platform.scaffold.facts import Found
from cxtrace.platform.scaffold.words import (
    ALSO_NOUNS,
    DEEDS,
    NOISE,
    OF_SOMETHING,
    PLAIN_VERBS,
    VERBS,
    is_inside,
    is_plural,
    split,
)

_VERB_OF: Final = {
    "PUT": "replace",
    "PATCH": "change",
    "DELETE": "remove",
    "WEBSOCKET": "connect",
    "HEAD": "peek",
    "OPTIONS": "options",
}
_QUIET: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that leave the plain name to one that does something."""
_ROOM: Final = 8
"""Characters for a number that tells names apart."""
_CUT: Final = 20
"""Characters that stay of a single word that is too long."""
_VERSION: Final = re.compile(r"v\d+([._]\d+)*")
_PARAMETER: Final = re.compile(r"\{([^{}:]*)(?::[^{}]*)?\}")


def names(every: Sequence[Found]) -> list[str]:
    """A name for each, all different and all such that a map takes them."""
    order = sorted(range(len(every)), key=lambda n: _method(every[n]) in _QUIET)
    chosen: dict[int, str] = {}
    taken: set[str] = set()
    for index in order:
        name = next(name for name in _ways(every[index]) if name not in taken)
        taken.add(name)
        chosen[index] = name
    return [chosen[index] for index in range(len(every))]


def words(found: Found) -> tuple[list[str], ...]:
    """The words that tell what a route or a task is about, from where they tell most."""
    path = _PARAMETER.sub(" ", found.targets[0].partition(" ")[2] or found.targets[0])
    return split(path), split(found.hint), split(" ".join(found.about))


def _method(found: Found) -> str:
    return found.targets[0].partition(" ")[0] if found.kind == "route" else ""


def _ways(found: Found) -> Iterator[str]:
    """Names for one, the best first, without end."""
    base, others = _of_route(found) if found.kind == "route" else _of_task(found)
    for name in (base, *others):
        yield _fit(_clean(name), LONGEST_NAME)
    number = 2
    while True:
        yield f"{_fit(_clean(base), LONGEST_NAME - _ROOM)}_{number}"
        number += 1


def _of_route(found: Found) -> tuple[str, list[str]]:
    method, _, path = found.targets[0].partition(" ")
    parts = [words for part in path.split("/") if (words := _static(part))]
    parameters = [name for name in _PARAMETER.findall(path) if name != "part"]
    hint = split(found.hint)
    nouns = [word for word in hint if word not in NOISE | PLAIN_VERBS | DEEDS]
    if not parts:
        parts = [_of_nothing(path, nouns, parameters)]
    elif nouns and len(parts) == 1 and OF_SOMETHING.issuperset(parts[0]):
        parts = [nouns, *parts]
    said = {word for part in parts for word in part}
    noun = ".".join(map("_".join, parts))
    verb = _verb(method, path, parts[-1], [word for word in hint if word not in said])
    acts = parts[-1][0] in DEEDS or parts[-1][-1] in DEEDS
    base = noun if acts else f"{noun}.{verb}"
    known = {*said, *(word.removesuffix("s") for word in said), verb} | NOISE | PLAIN_VERBS
    extra = [word for word in hint if word not in known]
    others = [f"{noun}.{verb}"]
    others += [f"{base}_{'_'.join(extra)}"] if extra else []
    others += [f"{base}_by_{'_'.join(split(name))}" for name in parameters[-1:] if split(name)]
    return base, others


def _static(part: str) -> list[str]:
    """The words of one part of a path that tell something."""
    plain = _PARAMETER.sub(" ", part)
    if _VERSION.fullmatch(plain.lower()):
        return []
    return [word for word in split(plain) if not is_inside(word)]


def _of_nothing(path: str, nouns: list[str], parameters: list[str]) -> list[str]:
    """What to call a path without a word."""
    if path == "/":
        return ["home"]
    named = [word for name in parameters[:1] for word in split(name) if not is_inside(word)]
    return nouns or named or ["page"]


def _verb(method: str, path: str, last: list[str], hint: list[str]) -> str:
    near = hint[:1] if method in _QUIET else [*hint[:1], *hint[-1:]]
    told = next((word for word in near if word in VERBS - ALSO_NOUNS), None)
    if told is not None and method not in {"HEAD", "OPTIONS"}:
        return told
    several = is_plural(last[-1]) and not path.endswith("}")
    if method == "POST":
        return "create" if several else "submit"
    return _VERB_OF.get(method, "browse" if several and method == "GET" else "view")


def _of_task(found: Found) -> tuple[str, list[str]]:
    *modules, last = found.targets[0].split(".")
    said = [word for word in split(last) if not is_inside(word)]
    if len(said) > 1 and said[0] in VERBS | PLAIN_VERBS:
        rest = said[1:]
        while len(rest) > 1 and rest[0] in NOISE:
            rest = rest[1:]
        base = f"{'_'.join(rest)}.{said[0]}"
    else:
        base = "_".join(said)
    above = ["_".join(split(module)) for module in modules if not NOISE.issuperset(split(module))]
    return base, [f"{'.'.join(above[-n:])}.{base}" for n in range(1, len(above) + 1)]


def _clean(name: str) -> str:
    """Leave out words of the inside, and mend parts that could not stand in a name."""
    parts = (_part(part) for part in name.split("."))
    return ".".join(part for part in parts if part) or "page"


def _part(part: str) -> str:
    kept = "_".join(_apart(word for word in split(part) if not is_inside(word)))
    return f"page_{kept}" if kept[:1].isdigit() else kept


def _apart(every: Iterable[str]) -> list[str]:
    """The words, but for those that make a phrase of the inside with the one before."""
    kept: list[str] = []
    for word in every:
        if not any(phrase in "_".join([*kept, word]) for phrase in SYSTEM_PHRASES):
            kept.append(word)
    return kept


def _fit(name: str, longest: int) -> str:
    """As much of a name as there is room for; its end tells most."""
    parts = name.split(".")
    while len(".".join(parts)) > longest:
        if len(parts) > 2:
            del parts[0]
        else:
            at = max(range(len(parts)), key=lambda n: len(parts[n]))
            parts[at] = parts[at].rpartition("_")[0] or parts[at][:_CUT]
    return ".".join(parts)
