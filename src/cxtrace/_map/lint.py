"""What is allowed in a map and still looks wrong."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, Literal, TypeAlias

import attrs

from cxtrace._blockers import WORDS, is_personal
from cxtrace._model import Match, Promise
from cxtrace.exceptions import Problem
from cxtrace.journey_map import JourneyMap

Level: TypeAlias = Literal["error", "warning", "note"]
"""An error fails a check, a warning fails a strict one, a note says what to know about."""

SYSTEM_WORDS: Final = frozenset(
    {
        "api", "backend", "callback", "consumer", "controller", "cron", "cronjob", "daemon",
        "database", "db", "endpoint", "frontend", "grpc", "handler", "http", "kafka", "lambda",
        "microservice", "middleware", "mutation", "redis", "rpc", "servlet", "sql", "webhook",
        "worker",
    }
)  # fmt: skip
"""Words of the inside of a company that no customer would use."""

SYSTEM_PHRASES: Final = ("service_call", "background_job", "batch_job")


@attrs.frozen
class Finding:
    """Something that a check has to say about a map or about code."""

    rule: str
    """Name of the rule, by which it can be ignored."""
    level: Level
    problem: Problem

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain data, for JSON."""
        return {"rule": self.rule, "level": self.level, **self.problem._asdict()}


def lint(journey_map: JourneyMap) -> list[Finding]:
    """Everything in a valid map that deserves a second look, in the order of its places."""
    rules = (
        _unused,
        _outside_journeys,
        _empty_stages,
        _owner_without_influence,
        _one_function_journeys,
        _system_words,
        _phases_backwards,
        _journeys_nobody_tells,
        _people,
    )
    found = chain.from_iterable(rule(journey_map) for rule in rules)
    return sorted(found, key=lambda finding: (finding.problem.file, finding.problem.line))


def _warning(journey_map: JourneyMap, rule: str, kind: str, name: str, message: str) -> Finding:
    place = journey_map.places.get((kind, name))
    file, line = (place.file, place.line) if place else (journey_map.name, 0)
    return Finding(rule, "warning", Problem(file, line, f"{kind}[{name}]", message))


def _unused(journey_map: JourneyMap) -> Iterator[Finding]:
    touchpoints = journey_map.touchpoints.values()
    owners = {item.owner for item in touchpoints}
    functions = owners.union(*(item.influence for item in touchpoints))
    for name in journey_map.functions.keys() - functions:
        message = "no touchpoint is owned or influenced by this function; use it or remove it"
        yield _warning(journey_map, "unused-function", "functions", name, message)
    promises = set(chain.from_iterable(item.promises for item in touchpoints))
    promises.update(p.id for p in journey_map.promises.values() if _is_of_journeys(p, journey_map))
    for name in journey_map.promises.keys() - promises:
        message = "no touchpoint makes this promise; add it to promises of one, or remove it"
        yield _warning(journey_map, "unused-promise", "promise", name, message)


def _is_of_journeys(promise: Promise, journey_map: JourneyMap) -> bool:
    """Whether the promise needs no touchpoint that makes it."""
    ends = promise.ends is not None or bool(journey_map.journeys)
    return promise.metric == "journey.duration" and ends


def _outside_journeys(journey_map: JourneyMap) -> Iterator[Finding]:
    journeys = journey_map.journeys.values()
    used = {journey.goal for journey in journeys}
    used.update(chain.from_iterable(chain(*journey.routes.values()) for journey in journeys))
    for name in journey_map.touchpoints.keys() - used:
        message = "the touchpoint is on no route of any journey; add it to one"
        yield _warning(journey_map, "outside-journeys", "touchpoint", name, message)


def _empty_stages(journey_map: JourneyMap) -> Iterator[Finding]:
    used = {touchpoint.stage for touchpoint in journey_map.touchpoints.values()}
    for name in journey_map.stages.keys() - used:
        message = "the stage has no touchpoint; add one or remove the stage"
        yield _warning(journey_map, "empty-stage", "stage", name, message)


def _owner_without_influence(journey_map: JourneyMap) -> Iterator[Finding]:
    for name, touchpoint in journey_map.touchpoints.items():
        if not touchpoint.influence.get(touchpoint.owner):
            owner = f'the owner "{touchpoint.owner}" has no influence on it'
            message = f"{owner}; give it a weight in influence"
            yield _warning(journey_map, "owner-without-influence", "touchpoint", name, message)


def _one_function_journeys(journey_map: JourneyMap) -> Iterator[Finding]:
    for name, journey in journey_map.journeys.items():
        steps = chain(*journey.routes.values())
        owners = {journey_map.touchpoints[step].owner for step in steps}
        if len(owners) == 1:
            only = f'all its touchpoints belong to "{owners.pop()}"'
            message = f"{only}; look for the parts of the journey that other functions own"
            yield _warning(journey_map, "one-function-journey", "journey", name, message)


def _system_words(journey_map: JourneyMap) -> Iterator[Finding]:
    for name in journey_map.touchpoints:
        word = _system_word(name)
        if word is not None:
            message = f'"{word}" is a word of the inside; say what the customer does'
            yield _warning(journey_map, "system-word", "touchpoint", name, message)


def _system_word(name: str) -> str | None:
    words = name.replace(".", "_").split("_")
    phrases = (phrase for phrase in SYSTEM_PHRASES if phrase in name)
    return next(chain((word for word in words if word in SYSTEM_WORDS), phrases), None)


def _phases_backwards(journey_map: JourneyMap) -> Iterator[Finding]:
    phases = ("pre_customer", "customer", "post_customer")
    latest = 0
    for stage in sorted(journey_map.stages.values(), key=lambda stage: stage.order):
        phase = phases.index(stage.phase)
        if phase < latest:
            message = f'a stage of phase "{stage.phase}" follows one of "{phases[latest]}"'
            message += "; check phase and order"
            yield _warning(journey_map, "phase-order", "stage", stage.name, message)
        latest = max(latest, phase)


def _journeys_nobody_tells(journey_map: JourneyMap) -> Iterator[Finding]:
    """Journeys that requests are part of, while no rule says which request belongs to which."""
    points = journey_map.touchpoints.values()
    matches = {point.name: point.match for point in points if any(map(_is_asked, point.match))}
    if journey_map.request.journey or any(m.journey for found in matches.values() for m in found):
        return
    for name, journey in journey_map.journeys.items():
        if not matches.keys().isdisjoint(chain({journey.goal}, *journey.routes.values())):
            message = "no rule tells which requests are part of it"
            message += '; add [request] with journey = { cookie = "visitor" }, or a header'
            yield _warning(journey_map, "journey-not-told", "journey", name, message)


def _people(journey_map: JourneyMap) -> Iterator[Finding]:
    """Words for people in which an address or a number stands; what is sent has none of them."""
    points, journeys = journey_map.touchpoints, journey_map.journeys
    texts = (
        *(("promise", each.id, "claim", each.claim) for each in journey_map.promises.values()),
        *(("touchpoint", name, "description", t.description) for name, t in points.items()),
        *(("journey", name, "description", j.description) for name, j in journeys.items()),
    )
    for kind, name, key, words in texts:
        found = None if words is None else is_personal(words)
        if found is not None:
            message = f"its {key} seems to hold {WORDS[found]}; keep people out of the map"
            message += ", but for the contact of a function"
            yield _warning(journey_map, "personal-value", kind, name, message)


def _is_asked(match: Match) -> bool:
    return match.function is None
