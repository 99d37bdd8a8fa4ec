"""Hypothesis strategies for journey maps."""

from typing import Any, get_args

from hypothesis import strategies as st

from cxtrace import _happy, _model, attributes
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
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | texts
settings = st.dictionaries(names, scalars | st.lists(scalars, max_size=3), max_size=3)
"""What a match may say."""


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


def touchpoints(
    name: str, stages: list[str], functions: list[str], promise_ids: list[str]
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
        match=st.lists(settings, max_size=2, unique_by=repr),
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
    return JourneyMap(
        name=draw(texts),
        **({} if version is None else {"version": version}),
        context=some_names(),
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
        touchpoints={n: draw(touchpoints(n, stages, functions, promise_ids)) for n in points},
        journeys={n: draw(journeys(n, points)) for n in some_names()},
    )
