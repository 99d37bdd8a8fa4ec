"""Hypothesis strategies for journey maps."""

from typing import Any, get_args

from hypothesis import strategies as st

from cxtrace import _happy, _model, _routes, attributes
from cxtrace._map.shapes import LONGEST_DURATION, MOST_COUNTED
from cxtrace.journey_map import JourneyMap

words = st.builds("{}{}".format, st.sampled_from("adkpz"), st.text("ab_09", max_size=5))
names = st.lists(words, min_size=1, max_size=3).map(".".join)
"""Names that a map accepts."""

texts = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20
).filter(str.strip)
"""One line of words in any script."""

prose = st.text(
    st.characters(exclude_categories=("Cs", "Zl", "Zp", "Cc")) | st.sampled_from("\n\t")
)
"""Words over many lines."""

numbers = st.floats(allow_nan=False, allow_infinity=False)
tokens = st.text("abcXYZ019_-", min_size=1, max_size=9)
"""Names of headers and cookies."""

identifiers = st.text("abcdxyz_", min_size=1, max_size=5).filter(lambda text: text[0] != "_")


def one_of(literal: Any) -> st.SearchStrategy[Any]:
    """Any value of a closed set."""
    return st.sampled_from(get_args(literal))


def some(values: Any, least: int = 0) -> st.SearchStrategy[Any]:
    """Different values out of a collection, in any order."""
    values = list(values)
    if not values:
        return st.just(())
    return st.lists(st.sampled_from(values), unique=True, min_size=least, max_size=5).map(tuple)


@st.composite
def shares(draw: Any, functions: list[str]) -> dict[str, float]:
    """No weights, or weights that sum to 1."""
    owners = draw(some(functions))
    parts = [draw(st.integers(1, 9)) for _ in owners]
    return {owner: part / sum(parts) for owner, part in zip(owners, parts, strict=True)}


def _literals(fact: str) -> st.SearchStrategy[str]:
    if _happy.FACTS[fact] == "number":
        return st.decimals(-1000, 1000, places=2).map(str)
    known = _happy.CLOSED_SETS.get(fact)
    return (words if known is None else st.sampled_from(known)).map("'{}'".format)


@st.composite
def _comparisons(draw: Any) -> str:
    fact = draw(st.sampled_from(sorted(_happy.FACTS)))
    if draw(st.booleans()):
        listed = draw(st.lists(_literals(fact), min_size=1, max_size=3))
        return f"{fact} in [{', '.join(listed)}]"
    alike = [name for name, kind in _happy.FACTS.items() if kind == _happy.FACTS[fact]]
    orders = ["<", "<=", ">", ">="] if _happy.FACTS[fact] == "number" else []
    sign = draw(st.sampled_from(["==", "!=", *orders]))
    return f"{fact} {sign} {draw(_literals(fact) | st.sampled_from(alike))}"


def predicates() -> st.SearchStrategy[str]:
    """What a happy customer means to a function."""
    return st.recursive(
        _comparisons(),
        lambda inner: (
            inner.map("not ({})".format)
            | st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
                lambda parts: "({}) {} ({})".format(*parts)
            )
        ),
        max_leaves=3,
    ).filter(lambda text: len(text) <= _happy.LONGEST // 3)


@st.composite
def promises(draw: Any, name: str, points: list[str]) -> _model.Promise:
    """A promise about anything that can be measured, at a touchpoint or between two."""
    metric = draw(one_of(_model.PromiseMetric))
    op, target = draw(one_of(_model.PromiseOp)), draw(numbers)
    better = {"max_value": target, "exclude_max": True}
    if op in {">=", ">"}:
        better = {"min_value": target, "exclude_min": True}
    exceeded = st.floats(allow_nan=False, allow_infinity=False, **better)
    begins, ends = None, None
    if metric == "journey.duration":
        begins, ends = draw(
            st.lists(st.none() | st.sampled_from(points or [None]), min_size=2, max_size=2)
        )  # type: ignore[list-item]
    return _model.Promise(
        id=name,
        claim=draw(texts),
        source=draw(one_of(attributes.PromiseSource)),
        metric=metric,
        op=op,
        target=target,
        unit=draw(one_of(_model.TimeUnit)),
        objective=draw(st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True)),
        begins=begins,
        ends=None if ends == begins else ends,
        exceeded_at=draw(st.none() | exceeded) if abs(target) < 1e300 else None,
    )


durations = st.floats(0.001, LONGEST_DURATION) | st.sampled_from([0.5, 1.0, 90.0, 86_400.0])
"""Seconds that a rule may look back."""


@st.composite
def _rules(draw: Any, name: str) -> _model.FrictionRule:
    counts = _model.FRICTION_RULES[name].count is not None
    return _model.FrictionRule(
        name,
        count=draw(st.integers(1, MOST_COUNTED)) if counts else None,
        within=draw(durations) if counts else None,
        after=draw(durations) if name == "slow" else None,
        severity=draw(one_of(attributes.FrictionSeverity)),
    )


@st.composite
def frictions(draw: Any) -> _model.Friction:
    """Rules that find friction, some of them switched off."""
    found = draw(some(_model.FRICTION_RULES))
    return _model.Friction(
        {name: draw(_rules(name)) for name in found}, draw(some(_model.FRICTION_RULES))
    )


_SEGMENTS = ("basket", "v1.0", "A-b", "{pk}", "{year}-{month}", "item-{item}.html")
_METHODS = ("GET", "POST", "WEBSOCKET", "*")

paths = st.builds(
    "/{}{}".format,
    st.lists(st.sampled_from(_SEGMENTS), max_size=3, unique=True).map("/".join),
    st.sampled_from(["", "/", "/{rest:path}"]),
)
"""Templates of paths with parameters of every kind."""

routes = st.builds("{} {}".format, st.sampled_from(_METHODS), paths)
"""Methods with templates."""

dotted = st.lists(identifiers, min_size=1, max_size=2).map(".".join)
kinds = st.none() | one_of(attributes.CustomerKind)

_EARLY = {"header": tokens, "cookie": tokens, "query": texts}
_WAYS = {**_EARLY, "session": texts, "user": identifiers, "claim": texts}
_TELLERS = st.one_of(
    [st.builds(_model.Teller, **{way: name}, kind=kinds) for way, name in _WAYS.items()]
)
_EARLY_TELLERS = st.one_of(
    [st.builds(_model.Teller, **{way: name}) for way, name in _EARLY.items()]
)


def tellers(parameters: list[str], *, late: bool) -> st.SearchStrategy[list[_model.Teller]]:
    """Rules that ask a request, or one of the parameters of its route."""
    found = _TELLERS if late else _EARLY_TELLERS
    if parameters:
        found |= st.builds(_model.Teller, path=st.sampled_from(parameters))
    return st.lists(found, max_size=2, unique=True)


outcome_rules = st.builds(
    _model.OutcomeRule,
    one_of(attributes.Outcome),
    status=st.none() | st.sampled_from(["200", "2xx", "303", "4xx", "5xx"]),
    redirect=st.none() | paths,
    header=tokens,
    value=st.none() | texts,
) | st.builds(
    _model.OutcomeRule, one_of(attributes.Outcome), status=st.sampled_from(["302", "5xx"])
)
"""What an answer means, by any of its signs."""

_TARGETS: dict[str, st.SearchStrategy[str]] = {
    "route": routes,
    "function": st.builds("{}:{}".format, dotted, dotted),
    "task": texts,
    "consume": texts,
    "rpc": st.builds("{}/{}".format, dotted, identifiers),
}


@st.composite
def matches(draw: Any) -> _model.Match:
    """A place in code that stays untouched."""
    way = draw(st.sampled_from(sorted(_TARGETS)))
    target = draw(_TARGETS[way])
    known = _routes.parameters(target) if way == "route" else []
    return _model.Match(
        **{way: target},
        outcome=draw(st.lists(outcome_rules, max_size=2, unique=True)),
        customer=draw(tellers(known, late=True)),
        journey=draw(tellers(known, late=False)),
    )


requests = st.builds(
    _model.Requests, tellers(["customer_id"], late=True), tellers(["order"], late=False)
)
"""What every request tells."""


def target_of(match: _model.Match) -> tuple[str, str]:
    """What no second touchpoint may have: a route counts without the names of its parameters."""
    way = next(way for way in _TARGETS if getattr(match, way) is not None)
    target = getattr(match, way)
    return way, _routes.shape(target) if way == "route" else target


def touchpoints(
    name: str,
    stages: list[str],
    functions: list[str],
    promise_ids: list[str],
    found_at: list[_model.Match],
) -> st.SearchStrategy[_model.Touchpoint]:
    """A touchpoint that refers to what the map has."""
    return st.builds(
        _model.Touchpoint,
        name=st.just(name),
        stage=st.sampled_from(stages),
        owner=st.sampled_from(functions),
        channels=some(get_args(attributes.Channel)),
        initiator=st.none() | one_of(attributes.Initiator),
        type=st.none() | one_of(attributes.TouchpointType),
        influence=shares(functions),
        interactions=st.lists(names, unique=True, max_size=3),
        expected_actions=st.none() | st.integers(0, 9),
        promises=some(promise_ids),
        friction=frictions(),
        match=st.just(found_at),
        importance=st.none() | one_of(_model.Importance),
        description=st.none() | prose.filter(str.strip),
    )


@st.composite
def journeys(draw: Any, name: str, points: list[str]) -> _model.Journey:
    """A journey over touchpoints that the map has, its goal on a route."""
    routes = draw(st.dictionaries(names, some(points, least=1), max_size=3)) if points else {}
    steps = [step for route in routes.values() for step in route]
    goal = draw(st.none() | st.sampled_from(steps or points)) if points else None
    return _model.Journey(name, goal, routes, draw(st.none() | prose.filter(str.strip)))


@st.composite
def journey_maps(draw: Any) -> JourneyMap:
    """A map in which every reference holds."""

    def some_names(least: int = 0) -> list[str]:
        chosen: list[str] = draw(st.lists(names, unique=True, min_size=least, max_size=4))
        return chosen

    functions, stages, promise_ids, points = (
        some_names(1),
        some_names(1),
        some_names(),
        some_names(),
    )
    orders = draw(st.permutations(range(len(stages))))
    version = draw(st.none() | texts)
    found_at = draw(st.lists(matches(), max_size=3, unique_by=target_of)) if points else []
    at = {n: found_at[number :: len(points)] for number, n in enumerate(points)}
    return JourneyMap(
        name=draw(texts),
        **({} if version is None else {"version": version}),
        context=some_names(),
        request=draw(requests),
        functions={
            n: _model.Function(n, draw(st.none() | texts), draw(st.none() | predicates()))
            for n in functions
        },
        stages={
            n: _model.Stage(n, draw(one_of(attributes.Phase)), order)
            for n, order in zip(stages, orders, strict=True)
        },
        friction=draw(frictions()),
        promises={n: draw(promises(n, points)) for n in promise_ids},
        touchpoints={
            n: draw(touchpoints(n, stages, functions, promise_ids, at[n])) for n in points
        },
        journeys={n: draw(journeys(n, points)) for n in some_names()},
    )
