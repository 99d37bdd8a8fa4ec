"""The journey map: what a company plans its customers to experience, as a file that services run.

A map is one TOML file or many. Load it, look things up, write it out again::

    from cxtrace.journey_map import JourneyMap

    shop = JourneyMap.load("journeys.toml")
    shop.touchpoints["checkout.pay"].owner
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import attrs

from cxtrace import _happy
from cxtrace._map import dump as _map_dump
from cxtrace._map import find as _map_find
from cxtrace._map import source as _map_source
from cxtrace._map.merge import merge
from cxtrace._map.schema import SCHEMA, json_schema
from cxtrace._model import (
    FRICTION_RULES,
    Friction,
    FrictionRule,
    Function,
    Journey,
    Place,
    Promise,
    Requests,
    Stage,
    Touchpoint,
)
from cxtrace.exceptions import MapError, Problem

__all__ = ["JourneyMap", "json_schema"]

_T = TypeVar("_T")


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _read_only(value: Mapping[str, _T]) -> Mapping[str, _T]:
    return MappingProxyType(dict(value))


def _named(**options: Any) -> Any:
    return attrs.field(factory=dict, converter=_read_only, hash=False, **options)


def _digest(journey_map: "JourneyMap") -> str:
    document = journey_map.to_dict()
    ordered = {key: _sorted(value) for key, value in document.items() if key != "version"}
    return "sha256:" + hashlib.sha256(_map_dump.toml(ordered).encode()).hexdigest()[:12]


def _happiness(journey_map: "JourneyMap") -> Mapping[str, _happy.Predicate]:
    parsed = {}
    for name, function in journey_map.functions.items():
        # Only a map that was built in code can hold what does not parse.
        with contextlib.suppress(ValueError):
            if function.happy is not None:
                parsed[name] = _happy.parse(function.happy)
    return MappingProxyType(parsed)


@attrs.frozen(kw_only=True, repr=False)
class JourneyMap:
    """Everything that the files of a map say, merged and checked."""

    name: str
    context: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """Keys of ``cx.context`` that code may set."""
    request: Requests = Requests()
    """What requests, tasks and messages tell of customer and journey."""
    functions: Mapping[str, Function] = _named()
    friction: Friction = Friction()
    """The rules for friction at every touchpoint; ``friction_at`` gives those that take effect."""
    stages: Mapping[str, Stage] = _named()
    promises: Mapping[str, Promise] = _named()
    touchpoints: Mapping[str, Touchpoint] = _named()
    journeys: Mapping[str, Journey] = _named()
    places: Mapping[tuple[str, str], Place] = attrs.field(factory=dict, eq=False)
    """Where each definition is, by top-level key and name, as in ``("touchpoint", "cart.add")``."""
    version: str = attrs.field(default=attrs.Factory(_digest, takes_self=True))
    """As the map says, or a digest of what it says."""
    happiness: Mapping[str, _happy.Predicate] = attrs.field(
        init=False, eq=False, default=attrs.Factory(_happiness, takes_self=True)
    )
    """What a happy customer means, parsed, for each function that says so."""

    def __repr__(self) -> str:
        return (
            f"<JourneyMap {self.name} {self.version}: {len(self.stages)} stages,"
            f" {len(self.touchpoints)} touchpoints, {len(self.journeys)} journeys>"
        )

    @classmethod
    def load(cls, *paths: str | os.PathLike[str]) -> "JourneyMap":
        """Read a map from files, or from directories that hold ``*.toml`` files.

        Hidden files and ``pyproject.toml`` in a directory are passed over.

        Raises:
            MapError: Something is wrong; it lists every problem of every file.
        """
        problems: list[Problem] = []
        if not paths:
            message = "no file is given; name one, such as journeys.toml"
            problems.append(Problem("the journey map", 0, "", message))
        contents: dict[str, bytes] = {}
        for path in map(Path, paths):
            found = _map_find.files(path)
            if not found:
                message = "the directory holds no map; put a .toml file into it"
                problems.append(Problem(str(path), 0, "", message))
            for file in found:
                _read_file(file, contents, problems)
        return cls._parse(contents, problems)

    @classmethod
    def loads(cls, text: str, name: str = "<string>") -> "JourneyMap":
        """Read a map from a text, calling it ``name`` in messages.

        Raises:
            MapError: Something is wrong; it lists every problem.
        """
        return cls._parse({name: text.encode("utf-8", "surrogatepass")}, [])

    @classmethod
    def _parse(cls, contents: Mapping[str, bytes], problems: list[Problem]) -> "JourneyMap":
        parsed = [_parse_file(name, raw, problems) for name, raw in contents.items()]
        sources = [source for source in parsed if source is not None]
        fields = merge(sources, problems)
        if problems:
            raise MapError(sorted(problems, key=_reading_order(contents)))
        return cls(**fields)

    @classmethod
    def find(
        cls,
        explicit: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        environ: Mapping[str, str] = os.environ,
        start: str | os.PathLike[str] = ".",
    ) -> "JourneyMap | None":
        """Load the map from the first of these that names one; ``None`` if none does.

        1. ``explicit``: a path or several.
        2. ``CXTRACE_MAP``: paths, separated as in ``PATH``.
        3. ``journey_map`` under ``[tool.cxtrace]`` in the nearest ``pyproject.toml`` at or above
           ``start``: a path or an array of paths, relative to that file.
        4. Entry points of installed packages in the group ``cxtrace.journey_maps``, merged. The
           value is ``package:file.toml``, a file inside the package; nothing is imported::

               [project.entry-points."cxtrace.journey_maps"]
               checkout = "shop_checkout:journeys.toml"

        Raises:
            MapError: A map is named and something is wrong with it.
        """
        paths = _map_find.locate(explicit, environ, Path(start))
        return None if paths is None else cls.load(*paths)

    def promises_at(self, touchpoint: str) -> tuple[Promise, ...]:
        """The promises that are made at a touchpoint, and those whose time ends there."""
        planned = self.touchpoints.get(touchpoint)
        made = planned.promises if planned is not None else ()
        ending = (name for name, promise in self.promises.items() if promise.ends == touchpoint)
        every = dict.fromkeys((*made, *ending))
        return tuple(self.promises[name] for name in every if name in self.promises)

    def friction_at(self, touchpoint: str) -> tuple[FrictionRule, ...]:
        """The rules that find friction at a touchpoint, planned or not.

        They are those of the map; ``slow`` too where a promise says how long the touchpoint may
        take; the touchpoint's own in place of either; and none that is suppressed.
        """
        planned = self.touchpoints.get(touchpoint)
        own = planned.friction if planned is not None else Friction()
        targets = [p.seconds for p in self.promises_at(touchpoint) if _limits_duration(p)]
        target = min((seconds for seconds in targets if seconds is not None), default=None)
        common = {n: r for n, r in self.friction.rules.items() if n not in self.friction.suppress}
        slow = self.friction.rules.get("slow", FRICTION_RULES["slow"])
        if target is not None and "slow" not in self.friction.suppress:
            common["slow"] = attrs.evolve(slow, after=target)
        rules = {**common, **own.rules}
        if "slow" in own.rules and own.rules["slow"].after is None:
            rules["slow"] = attrs.evolve(
                own.rules["slow"], after=slow.after if target is None else target
            )
        return tuple(
            rule
            for name, rule in rules.items()
            if name not in own.suppress and (name != "slow" or rule.after is not None)
        )

    def dump(self) -> str:
        """The map as the text of one TOML file; ``JourneyMap.loads`` gives an equal map.

        A version that is a digest is left out, so that the digest follows later changes.
        """
        document = self.to_dict()
        if self.version == _digest(self):
            del document["version"]
        return _map_dump.toml(document)

    def to_dict(self) -> dict[str, Any]:
        """The map as plain data of the form of its file, for JSON."""
        functions = {n: _map_dump.unnamed(f, "name") for n, f in self.functions.items()}
        promises = {n: _map_dump.unnamed(p, "id") for n, p in self.promises.items()}
        document = {
            "schema": SCHEMA,
            "name": self.name,
            # While the digest is computed, there is no version yet.
            "version": getattr(self, "version", None),
            "context": list(self.context),
            "request": _map_dump.thaw(self.request),
            "functions": functions,
            "friction": _map_dump.thaw(self.friction),
            "stage": [_map_dump.record(stage) for stage in self.stages.values()],
            "promise": promises,
            "touchpoint": [_map_dump.record(item) for item in self.touchpoints.values()],
            "journey": [_map_dump.record(journey) for journey in self.journeys.values()],
        }
        return {key: value for key, value in document.items() if value not in (None, [], {})}


def _limits_duration(promise: Promise) -> bool:
    return promise.metric == "touchpoint.duration" and promise.op in {"<=", "<"}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(sorted(value.items()))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return sorted(value, key=lambda item: str(item["name"]))
    return value


def _reading_order(contents: Mapping[str, bytes]) -> Any:
    order = {name: number for number, name in enumerate(contents)}
    return lambda problem: (order.get(problem.file, -1), problem.line)


def _read_file(file: Path, contents: dict[str, bytes], problems: list[Problem]) -> None:
    try:
        contents[str(file)] = file.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"cannot be read ({reason}); check the path"
        problems.append(Problem(str(file), 0, "", message))


def _parse_file(name: str, raw: bytes, problems: list[Problem]) -> _map_source.Source | None:
    try:
        return _map_source.read(name, raw)
    except MapError as error:
        problems.extend(error.problems)
        return None
