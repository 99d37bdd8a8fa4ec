"""A first journey map, guessed from what is in applications."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from cxtrace import _routes
from cxtrace.platform.scaffold import naming, words
from cxtrace.platform.scaffold.facts import Found
from cxtrace.platform.scaffold.targets import Application
from cxtrace.platform.scaffold.templates import tidy
from cxtrace.platform.scaffold.words import Guess

_AUTOMATIC: Final = "answered like the other methods of the path"
_UNWANTED: Final = "named by --without"
_JOURNEYS: Final = (
    ("buy", ("awareness", "consideration", "purchase")),
    ("join", ("onboarding",)),
    ("use", ("usage",)),
    ("get_help", ("service",)),
    ("stay", ("loyalty",)),
    ("leave", ("former_customer",)),
)
_NEED_A_DEED: Final = frozenset({"join", "use"})
"""Journeys of which a page that is looked at is no goal."""


@attrs.frozen
class Step:
    """A touchpoint as it is guessed."""

    name: str
    stage: Guess
    owner: Guess
    found: Found
    by_system: bool = False
    """Whether it looks as if another system called it, and not a customer."""
    is_access: bool = False
    """Whether it only leads to something, as a login does."""

    @property
    def targets(self) -> tuple[str, ...]:
        """How the map finds it."""
        return self.found.targets

    @property
    def can_be_goal(self) -> bool:
        """Whether a customer may come for it."""
        return not (self.found.kind == "task" or self.by_system or self.is_access)

    @property
    def does(self) -> bool:
        """Whether it can be a goal, and a customer does more here than look."""
        return self.can_be_goal and not self.targets[0].startswith(("GET ", "HEAD ", "OPTIONS "))

    def to_dict(self) -> dict[str, Any]:
        """The step as plain data, for JSON."""
        guessed = {"stage": self.stage, "owner": self.owner}
        return {
            "name": self.name,
            **{key: guess.value for key, guess in guessed.items()},
            "match": [{self.found.kind: target} for target in self.targets],
            "guessed_from": {key: guess.word or None for key, guess in guessed.items()},
        }


@attrs.frozen
class Way:
    """A journey as it is guessed."""

    name: str
    goal: str
    steps: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The journey as plain data, for JSON."""
        return attrs.asdict(self)


@attrs.frozen
class Draft:
    """A first map, and what was left out of it."""

    name: str
    applications: Sequence[Application]
    steps: Sequence[Step]
    """In the order of the stages."""
    journeys: Sequence[Way]
    left_out: Sequence[Found]
    """What no customer meets, each with its reason."""

    @property
    def stages(self) -> list[str]:
        """The stages that have a touchpoint."""
        used = {step.stage.value for step in self.steps}
        return [stage for stage in words.PHASES if stage in used]

    @property
    def owners(self) -> list[str]:
        """The functions that own a touchpoint."""
        return sorted({step.owner.value for step in self.steps})

    def reasons(self) -> dict[str, dict[str, list[str]]]:
        """What was left out: by reason, the methods of each path, or the names of tasks."""
        found: dict[str, dict[str, list[str]]] = {}
        for each in self.left_out:
            paths = found.setdefault(each.technical, {})
            for target in each.targets:
                method, _, path = (
                    target.rpartition(" ") if each.kind == "route" else ("", "", target)
                )
                paths.setdefault(path, []).append(method)
        return dict(sorted(found.items()))

    def to_dict(self) -> dict[str, Any]:
        """The draft as plain data, for JSON."""
        left_out = [
            {found.kind: target, "reason": found.technical}
            for found in self.left_out
            for target in found.targets
        ]
        return {
            "name": self.name,
            "targets": [attrs.asdict(app, filter=_is_told) for app in self.applications],
            "touchpoints": [step.to_dict() for step in self.steps],
            "journeys": [way.to_dict() for way in self.journeys],
            "left_out": left_out,
        }


def _is_told(field: Any, _: Any) -> bool:
    return field.name in {"target", "kind"}


def draft(
    applications: Sequence[Application],
    name: str,
    *,
    without: Sequence[str] = (),
    everything: bool = False,
) -> Draft:
    """Guess a map.

    Args:
        applications: What was read.
        name: What to call the map.
        without: Paths, and beginnings of names of tasks, to leave out with all that is below.
        everything: Take in what no customer meets, too.
    """
    every = _merged(found for application in applications for found in application.found)
    judged = _judged(every, without)
    kept = [
        found
        for found in judged
        if not found.technical or (everything and found.technical != _UNWANTED)
    ]
    left_out = [found for found in judged if found not in kept]
    steps = [_step(found, name) for found, name in zip(kept, naming.names(kept), strict=True)]
    order = list(words.PHASES)
    steps.sort(key=lambda step: (order.index(step.stage.value), step.stage.rank))
    return Draft(name, applications, steps, _ways(steps), left_out)


def _merged(every: Iterable[Found]) -> list[Found]:
    """What a map can tell apart: paths that differ in names of parameters alone are one."""
    merged: list[tuple[Found, list[str]]] = []
    homes: dict[tuple[str, str], list[str]] = {}
    for found in every:
        targets: list[str] = []
        for target in (_target(found, target) for target in found.targets):
            home = homes.setdefault((found.kind, _same(found, target)), targets)
            if target not in home:
                home.append(target)
        if targets:
            merged.append((found, targets))
    return [attrs.evolve(found, targets=tuple(targets)) for found, targets in merged]


def _target(found: Found, target: str) -> str:
    method, _, path = target.partition(" ")
    return f"{method} {tidy(path)}" if found.kind == "route" else target


def _same(found: Found, target: str) -> str:
    return _routes.shape(target) if found.kind == "route" else target


def _judged(every: Sequence[Found], without: Sequence[str]) -> list[Found]:
    """The same, with the reason to leave it out, where there is one."""
    served = {
        path
        for found in every
        for method, _, path in (target.partition(" ") for target in found.targets)
        if method not in {"HEAD", "OPTIONS"}
    }
    return [attrs.evolve(found, technical=_reason(found, served, without)) for found in every]


def _reason(found: Found, served: set[str], without: Sequence[str]) -> str:
    method, _, path = found.targets[0].partition(" ")
    called = path if found.kind == "route" else found.targets[0]
    if any(re.match(re.escape(each.rstrip("/.")) + r"(?!\w)", called) for each in without):
        return _UNWANTED
    if found.technical:
        return found.technical
    if found.kind == "task":
        return words.technical_task(called)
    automatic = method == "OPTIONS" or (method == "HEAD" and path in served)
    return words.technical(path) or (_AUTOMATIC if automatic else "")


def _step(found: Found, name: str) -> Step:
    told = (words.split(name), *naming.words(found))
    by_system = words.is_of_a_system(told[1])
    is_access = words.is_access(told[0], told[1])
    return Step(name, words.stage(*told), words.owner(*told), found, by_system, is_access)


def _ways(steps: Sequence[Step]) -> list[Way]:
    ways = []
    for name, stages in _JOURNEYS:
        mine = [step for step in steps if step.stage.value in stages]
        goals = [step for step in mine if step.does]
        if not goals and name not in _NEED_A_DEED:
            goals = [step for step in mine if step.can_be_goal]
        if goals:
            ways.append(Way(name, goals[-1].name, tuple(step.name for step in mine)))
    return ways
