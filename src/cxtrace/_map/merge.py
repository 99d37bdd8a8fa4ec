"""One map from the files of several teams: definitions merge, references reach across files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, get_args

import attrs

from cxtrace import _routes
from cxtrace._map.place import At, is_name
from cxtrace._map.schema import FILE
from cxtrace._map.shapes import as_name
from cxtrace._map.source import Source
from cxtrace._map.tables import Found
from cxtrace._map.text import shown
from cxtrace._model import (
    FRICTION_RULES,
    TIME_METRICS,
    Friction,
    FrictionRule,
    Function,
    Journey,
    Match,
    Place,
    Promise,
    Requests,
    Stage,
    TimeUnit,
    Touchpoint,
)
from cxtrace.exceptions import Problem

Kind: TypeAlias = str
"""The top-level key that something is defined under, such as ``touchpoint``."""

_DEFINITIONS: Final = {
    "functions": "[functions]",
    "friction": "[friction]",
    "stage": "[[stage]]",
    "promise": "[promise.ID]",
    "touchpoint": "[[touchpoint]]",
    "journey": "[[journey]]",
}
_TOLERANCE: Final = 1e-6
_TARGETS: Final = ("route", "function", "task", "consume", "rpc")


def merge(sources: Sequence[Source], problems: list[Problem]) -> dict[str, Any]:
    """Read the files as one map and note what is wrong with it.

    Args:
        sources: The files that could be parsed.
        problems: Filled with what is wrong; if it is not empty at the start, a file is missing, and
            names that are not found are not noted, because that file may define them.

    Returns:
        The fields of a ``JourneyMap``; of use only if there are no problems.
    """
    complete = not problems
    files = [FILE.read(source.data, At(source, problems)) for source in sources]
    merged = _Merged()
    for file in files:
        merged.add(file)
    orders = merged.orders()
    for kind, found in merged.everything:
        if kind in _CHECKS:
            _CHECKS[kind](found, merged)
        if complete:
            _check_references(kind, found, merged)
            _check_slow(kind, found, merged)
    if complete and not any("name" in file.raw for file in files):
        files[0].at.key("name").wrong('the map has no name; add name = "shop" to one file')
    return {} if problems else merged.fields(orders)


class _Merged:
    """Everything that the files define, by kind and name."""

    def __init__(self) -> None:
        self.named: dict[Kind, dict[str, Found]] = {kind: {} for kind in _DEFINITIONS}
        self.everything: list[tuple[Kind, Found]] = []
        self.only: dict[str, Found] = {}
        self.context: dict[str, None] = {}
        self.suppress: dict[str, None] = {}
        self.targets: dict[tuple[str, str], Found] = {}

    def add(self, file: Found) -> None:
        """Take over what a file defines, noting what it says differently from an earlier one."""
        for key in ("name", "version", "request"):
            if key in file.values:
                self._add_only(key, file)
        self.context.update(dict.fromkeys(file.values.get("context", ())))
        friction = file.values.get("friction")
        self.suppress.update(dict.fromkeys(friction.values.get("suppress", ()) if friction else ()))
        for kind in _DEFINITIONS:
            for name, found in _definitions(file.values.get(kind, ())):
                self.everything.append((kind, found))
                if name is not None:
                    self._add_definition(kind, name, found)

    def _add_only(self, key: str, file: Found) -> None:
        first = self.only.setdefault(key, file)
        ours, theirs = file.raw[key], first.raw[key]
        if ours != theirs:
            where = first.at.key(key).place
            file.at.key(key).wrong(
                f"{shown(ours)} is not the {key} that {where} gives; write {shown(theirs)}"
            )

    def _add_definition(self, kind: Kind, name: str, found: Found) -> None:
        first = self.named[kind].setdefault(name, found)
        if first is found:
            return
        where = first.at.place
        if first.at.source is found.at.source:
            at = found.at.key("name")
            at.wrong(f'"{name}" is defined twice, first at {where}; remove or rename one')
        elif differing := _differing(first.raw, found.raw):
            message = f"defined differently at {where} ({', '.join(differing)})"
            found.at.wrong(f"{message}; make both the same, or remove one")

    def orders(self) -> dict[str, int]:
        """The place of each stage; without ``order``, one after the stage defined before it."""
        stages: dict[int, str] = {}
        order = 0
        for name, found in self.named["stage"].items():
            order = found.values.get("order", order + 1)
            first = stages.setdefault(order, name)
            if first != name:
                message = f'{order} is already the order of "{first}"'
                found.at.key("order").wrong(f"{message}; give each stage its own")
        return {name: order for order, name in stages.items()}

    def fields(self, orders: Mapping[str, int]) -> dict[str, Any]:
        """The fields of the map, once nothing is wrong."""
        named = self.named
        rules = _rules(named["friction"], FRICTION_RULES)
        places: dict[tuple[Kind, str], Place] = {
            (kind, name): found.at.place for kind in named for name, found in named[kind].items()
        }
        only = {key: file.values[key] for key, file in self.only.items()}
        if "request" in only:
            only["request"] = Requests(**only["request"].values)
        return {
            **only,
            "context": tuple(self.context),
            "functions": {n: Function(n, **f.values) for n, f in named["functions"].items()},
            "friction": Friction(rules, tuple(self.suppress)),
            "stages": {
                n: Stage(n, f.values["phase"], orders[n]) for n, f in named["stage"].items()
            },
            "promises": {n: Promise(n, **f.values) for n, f in named["promise"].items()},
            "touchpoints": {
                n: _touchpoint(f.values, rules) for n, f in named["touchpoint"].items()
            },
            "journeys": {n: Journey(**f.values) for n, f in named["journey"].items()},
            "places": places,
        }


def _definitions(found: Any) -> Iterator[tuple[str | None, Found]]:
    if isinstance(found, Found):
        found = _rule_tables(found)
    if isinstance(found, dict):
        yield from found.items()
        return
    for item in found:
        name = item.raw.get("name")
        # A name that is wrong is reported once; it still counts as defined for those who refer to
        # it, so that one mistake gives one problem.
        yield (name if isinstance(name, str) else None), item


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    differing = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    # The place of a stage is implied where it is not written, and differs from file to file.
    return [key for key in differing if key != "order" or (key in first and key in second)]


def _touchpoint(values: Mapping[str, Any], defaults: Mapping[str, FrictionRule]) -> Touchpoint:
    named = {"channels" if key == "channel" else key: item for key, item in values.items()}
    if "friction" in values:
        tables = _rule_tables(values["friction"])
        rules = _rules(tables, {**FRICTION_RULES, **defaults, "slow": _slow(defaults)})
        named["friction"] = Friction(rules, values["friction"].values.get("suppress", ()))
    return Touchpoint(**named)


def _rule_tables(friction: Found) -> dict[str, Found]:
    return {name: item for name, item in friction.values.items() if name in FRICTION_RULES}


def _rules(
    tables: Mapping[str, Found], defaults: Mapping[str, FrictionRule]
) -> dict[str, FrictionRule]:
    """The rules as the map says them; a key that is left out is that of the default."""
    return {name: attrs.evolve(defaults[name], **item.values) for name, item in tables.items()}


def _slow(defaults: Mapping[str, FrictionRule]) -> FrictionRule:
    # The promise of the touchpoint comes before the default of the map, and is looked up later.
    return attrs.evolve(defaults.get("slow", FRICTION_RULES["slow"]), after=None)


def _check_references(kind: Kind, found: Found, merged: _Merged) -> None:
    for key, target in _REFERENCES.get(kind, {}).items():
        for at, name in _names(found.values.get(key, ()), found.at.key(key)):
            if is_name(name) and name not in merged.named[target]:
                _unknown(at, name, target, merged.named[target])


def _unknown(at: At, name: str, target: Kind, known: Mapping[str, Found]) -> None:
    what = "function" if target == "functions" else target
    else_say = f"; define it under {_DEFINITIONS[target]}"
    # A definition may have a name that is none: what is advised there is advised here.
    names = [each if is_name(each) else as_name(each) for each in known]
    advice = at.advice(name, [each for each in names if each is not None])
    at.wrong(f"{shown(name)} is not a {what} of this map{advice or else_say}")


def _check_slow(kind: Kind, found: Found, merged: _Merged) -> None:
    """Something must say when it is slow: the rule, the rule for all touchpoints, or a promise."""
    if kind == "touchpoint" and "friction" in found.values:
        slow = found.values["friction"].values.get("slow")
        default = merged.named["friction"].get("slow")
        known = merged.named["promise"]
        promises = [known.get(name) for name in found.values.get("promises", ())]
        if default is not None and "after" in default.raw:
            return
    elif kind == "friction" and found.at.path[-1] == "slow":
        slow, promises = found, [*merged.named["promise"].values()]
    else:
        return
    if slow and "after" not in slow.raw and not any(map(_may_say_when, promises)):
        message = "no promise about touchpoint.duration says when it is slow"
        slow.at.key("after").wrong(f'{message}; add after = "1s", or such a promise')


def _may_say_when(promise: Found | None) -> bool:
    # What is wrong with a promise is reported once, and not a second time here.
    if promise is None:
        return True
    metric = promise.values.get("metric", "touchpoint.duration")
    return metric == "touchpoint.duration" and promise.values.get("op", "<=") in {"<=", "<"}


_REFERENCES: Final[Mapping[Kind, Mapping[str, Kind]]] = {
    "touchpoint": {
        "stage": "stage",
        "owner": "functions",
        "influence": "functions",
        "promises": "promise",
    },
    "promise": {"begins": "touchpoint", "ends": "touchpoint"},
    "journey": {"goal": "touchpoint", "routes": "touchpoint"},
}


def _names(value: Any, at: At) -> Iterator[tuple[At, str]]:
    """Every name in a value: the value, the elements of an array, the keys of a table."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, tuple):
        yield from ((at.element(index, name), name) for index, name in enumerate(value))
    else:
        for key, item in value.items():
            here = at.key(key)
            yield from _names(item, here) if isinstance(item, tuple) else [(here, key)]


def _check_touchpoint(found: Found, merged: _Merged) -> None:
    _check_weights(found)
    for index, match in enumerate(found.values.get("match", ())):
        at, raw = found.at.key("match"), found.raw["match"]
        at = at.element(index, raw[index]) if isinstance(raw, list) else at
        _check_match(match, at)
        _check_taken(match, at, found, merged)


def _check_match(match: Match, at: At) -> None:
    if match.route is not None and not _routes.is_quick(match.route.partition(" ")[2]):
        message = f"{shown(match.route)} has more than two parameters in one part of the path"
        at.key("route").wrong(f"{message}, or more than one {{name:path}}; write fewer")
    for rule in match.outcome:
        if rule.redirect is not None and not _routes.is_quick(rule.redirect):
            message = f"{shown(rule.redirect)} has more than two parameters in one part"
            at.key("outcome").wrong(f"{message}, or more than one {{name:path}}; write fewer")
    known = [] if match.route is None else _routes.parameters(match.route)
    for key in ("customer", "journey"):
        for teller in getattr(match, key):
            if teller.path is not None and teller.path not in known:
                message = f"{shown(teller.path)} is no parameter of the route"
                at.key(key).wrong(message + at.advice(teller.path, known))


def _check_taken(match: Match, at: At, found: Found, merged: _Merged) -> None:
    """No request, function, task, topic or call is two touchpoints."""
    for kind in _TARGETS:
        target = getattr(match, kind)
        if target is None:
            continue
        same = _routes.shape(target) if kind == "route" else target
        first = merged.targets.setdefault((kind, same), found)
        if first.raw.get("name") != found.raw.get("name"):
            message = f'{shown(target)} is already the touchpoint "{first.raw.get("name")}"'
            at.wrong(f"{message} at {first.at.place}; remove one")


def _check_weights(found: Found) -> None:
    weights = found.values.get("influence")
    if weights is None or len(weights) != len(found.raw["influence"]):
        return
    total = sum(weights.values())
    if abs(total - 1) > _TOLERANCE:
        message = f"the weights {shown(weights)} sum to {total:.7g}; make them sum to 1"
        found.at.key("influence").wrong(message)


def _check_promise(found: Found, _: _Merged) -> None:
    metric, unit = found.values.get("metric"), found.values.get("unit")
    units = get_args(TimeUnit)
    if metric in TIME_METRICS and unit is not None and unit not in units:
        at = found.at.key("unit")
        message = f"{shown(unit)} is not a unit of time, which {metric} needs"
        at.wrong(message + at.advice(unit, units))
    for key in ("begins", "ends"):
        if key in found.values and metric not in {"journey.duration", None}:
            message = f"a promise about {metric} is measured at one touchpoint"
            found.at.key(key).wrong(f'{message}; remove it, or write metric = "journey.duration"')
    begins, ends = found.values.get("begins"), found.values.get("ends")
    if begins is not None and begins == ends:
        message = f"{shown(ends)} is where the time begins too"
        found.at.key("ends").wrong(f"{message}; write a touchpoint that comes later")
    _check_exceeded(found)


def _check_exceeded(found: Found) -> None:
    op, target, better = (found.values.get(key) for key in ("op", "target", "exceeded_at"))
    if op is None or target is None or better is None:
        return
    low = op in {"<=", "<"}
    if not (better < target if low else better > target):
        message = f"{shown(better)} is no better than the target, for which {op} {shown(target)}"
        side = "smaller" if low else "larger"
        found.at.key("exceeded_at").wrong(f"{message} is enough; write a {side} number")


def _check_journey(found: Found, merged: _Merged) -> None:
    goal, routes = found.values.get("goal"), found.values.get("routes", {})
    steps = dict.fromkeys(step for route in routes.values() for step in route)
    complete = routes and len(routes) == len(found.raw["routes"])
    if complete and goal in merged.named["touchpoint"] and goal not in steps:
        at = found.at.key("goal")
        at.wrong(f"{shown(goal)} is on no route of this journey{at.advice(goal, steps)}")


_CHECKS: Final[Mapping[Kind, Callable[[Found, _Merged], None]]] = {
    "promise": _check_promise,
    "touchpoint": _check_touchpoint,
    "journey": _check_journey,
}
