"""What a happy customer means: read safely, and answered even where facts are missing."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace import attributes
from cxtrace._happy import CLOSED_SETS, DEEPEST, FACTS, LONGEST, parse
from tests.strategies import predicates

ANSWERS = (True, False, None)
HAPPY = {"effort.actions": 3, "touchpoint.outcome": "completed", "friction.type": ()}
PARTS = {
    True: "touchpoint.outcome == 'completed'",
    False: "touchpoint.outcome == 'failed'",
    None: "emotion.valence > 0",
}
"""Comparisons with each of the three answers by these facts."""


def answer(text: str, **facts: object) -> bool | None:
    """The answer by facts whose names have two underscores where ours have a dot."""
    return parse(text).holds({name.replace("__", "."): value for name, value in facts.items()})


# Comparisons


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("effort.actions == 3", 3, True),
        ("effort.actions == 3", 3.5, False),
        ("effort.actions != 3", 3, False),
        ("effort.actions != 3", 4, True),
        ("effort.actions < 3", 2, True),
        ("effort.actions < 3", 3, False),
        ("effort.actions <= 3", 3, True),
        ("effort.actions <= 3", 3.01, False),
        ("effort.actions > 3", 3.01, True),
        ("effort.actions > 3", 3, False),
        ("effort.actions >= 3", 3, True),
        ("effort.actions >= 3.5", 3, False),
        ("effort.actions > -1", 0, True),
        ("effort.actions in [1, 3]", 3, True),
        ("effort.actions in [1, 3]", 2, False),
        ("not effort.actions in [1, 3]", 2, True),
        ("\t( effort.actions==3 )\n", 3, True),
    ],
)
def test_numbers_are_compared(text: str, value: float, expected: bool) -> None:
    """Every comparison, at its border and beside it."""
    assert answer(text, effort__actions=value) is expected


def test_texts_are_compared() -> None:
    """Texts are equal, or not, or one of several."""
    assert answer("touchpoint.outcome == 'failed'", touchpoint__outcome="failed") is True
    assert answer("handoff.to_function != 'it'", handoff__to_function=("sales",)) is True
    assert answer("value.type in ['revenue', 'margin']", value__type=("margin",)) is True


def test_facts_are_compared_with_facts() -> None:
    """The right side may be a fact; it too may be unknown."""
    text = "effort.actions <= effort.expected_actions"

    assert answer(text, effort__actions=3, effort__expected_actions=3) is True
    assert answer(text, effort__actions=4, effort__expected_actions=3) is False
    assert answer(text, effort__actions=4) is None
    assert parse(text).facts == {"effort.actions", "effort.expected_actions"}


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("friction.type == 'slow'", ("error", "slow"), True),
        ("friction.type == 'slow'", ("error",), False),
        ("friction.type == 'slow'", (), False),
        ("friction.type in ['slow']", (), False),
        ("friction.type != 'slow'", ("error", "slow"), False),
        ("friction.type != 'slow'", ("error",), True),
        ("friction.type != 'slow'", (), True),
    ],
)
def test_what_occurs_several_times_fits_if_one_fits(
    text: str, values: tuple[str, ...], expected: bool
) -> None:
    """Equality asks for one that fits, inequality for none that is equal; none at all is known."""
    assert answer(text, friction__type=values) is expected


@pytest.mark.parametrize("value", [None, float("nan"), "3", True, [3], object(), (None, "3")])
def test_what_is_no_value_of_a_fact_is_unknown(value: object) -> None:
    """A fact that is missing, or of the wrong type, gives no answer, and no error."""
    assert answer("effort.actions <= 3", effort__actions=value) is None
    assert answer("effort.actions <= 3") is None


def test_values_of_the_wrong_type_are_passed_over_among_right_ones() -> None:
    """One value that nobody can compare does not hide the others."""
    assert answer("value.amount > 10", value__amount=("much", 20.0)) is True


# Three values


@pytest.mark.parametrize("left", ANSWERS)
@pytest.mark.parametrize("right", ANSWERS)
def test_and_or_not_follow_kleene(left: bool | None, right: bool | None) -> None:
    """Unknown counts as what may be true or false: an answer stands if it holds either way."""

    def every(join: Callable[[bool, bool], bool]) -> bool | None:
        possible = {
            join(one, two)
            for one in ([left] if left is not None else [True, False])
            for two in ([right] if right is not None else [True, False])
        }
        return possible.pop() if len(possible) == 1 else None

    one, two = PARTS[left], PARTS[right]

    assert parse(f"{one} and {two}").holds(HAPPY) is every(lambda a, b: a and b)
    assert parse(f"{one} or {two}").holds(HAPPY) is every(lambda a, b: a or b)
    assert parse(f"not {one}").holds(HAPPY) is (None if left is None else not left)


def test_and_binds_more_tightly_than_or() -> None:
    """Parentheses say otherwise, and not belongs to what stands right behind it."""
    yes, no = PARTS[True], PARTS[False]

    assert parse(f"{yes} or {no} and {no}").holds(HAPPY) is True
    assert parse(f"({yes} or {no}) and {no}").holds(HAPPY) is False
    assert parse(f"not {no} and {no}").holds(HAPPY) is False
    assert parse(f"not ({no} and {no})").holds(HAPPY) is True


facts_of_all_kinds = st.dictionaries(
    st.sampled_from(sorted(FACTS)),
    st.none()
    | st.floats()
    | st.integers()
    | st.booleans()
    | st.text("ab", max_size=3)
    | st.sampled_from(sorted({value for values in CLOSED_SETS.values() for value in values}))
    | st.tuples(st.floats())
    | st.just(()),
)


@given(predicates(), predicates(), facts_of_all_kinds)
def test_de_morgan_holds(one: str, two: str, facts: dict[str, object]) -> None:
    """Not both is one or the other not, for whatever facts."""
    neither = parse(f"not (({one}) and ({two}))")
    either = parse(f"not ({one}) or not ({two})")

    assert neither.holds(facts) is either.holds(facts)


@given(predicates(), facts_of_all_kinds, facts_of_all_kinds)
def test_what_is_learned_later_never_turns_an_answer(
    text: str, facts: dict[str, object], more: dict[str, object]
) -> None:
    """An answer given while facts are unknown stays when they become known."""
    predicate = parse(text)
    early = predicate.holds(facts)
    late = predicate.holds({**more, **{k: v for k, v in facts.items() if v is not None}})

    assert early in {None, late}


@given(predicates(), facts_of_all_kinds)
def test_only_the_facts_it_names_matter(text: str, facts: dict[str, object]) -> None:
    """A predicate says which facts its answer depends on."""
    predicate = parse(text)

    known = {name: value for name, value in facts.items() if name in predicate.facts}
    assert predicate.holds(known) is predicate.holds(facts)


# Mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 1: the end stands where a comparison begins; write a fact first"),
        (
            "emotion.valance > 0",
            'character 1: "emotion.valance" is not a fact; did you mean "emotion.valence"?',
        ),
        (
            "zzz > 0",
            (
                'character 1: "zzz" is not a fact; write one of: effort.actions,'
                " effort.expected_actions, effort.retries, effort.wait_time, touchpoint.outcome,"
                " touchpoint.duration, emotion.valence, emotion.label, …"
            ),
        ),
        (
            "touchpoint.outcome == 'complete'",
            (
                "character 23: 'complete' is never a value of touchpoint.outcome;"
                " did you mean 'completed'?"
            ),
        ),
        (
            "promise.result in ['kept', 'zzz']",
            (
                "character 28: 'zzz' is never a value of promise.result;"
                " write one of: exceeded, kept, broken, unmeasured"
            ),
        ),
        (
            "effort.actions == 'many'",
            (
                "character 19: \"'many'\" is text, and effort.actions is number;"
                " write a number such as 1.5"
            ),
        ),
        (
            "value.type == 3",
            'character 15: "3" is number, and value.type is text; write text in single quotes',
        ),
        (
            "value.type == true",
            'character 15: "true" is boolean, and value.type is text; write text in single quotes',
        ),
        (
            "value.type == value.amount",
            (
                'character 15: "value.amount" is number, and value.type is text;'
                " write text in single quotes"
            ),
        ),
        (
            "value.type > 'refund'",
            "character 12: > compares numbers, and value.type is text; write one of: ==, !=, in",
        ),
        (
            "effort.actions = 3",
            'character 16: "=" means nothing here; write == to compare',
        ),
        (
            'value.type == "refund"',
            'character 15: "\\"" means nothing here; write text in single quotes',
        ),
        (
            "value.type == 'refund",
            "character 15: \"'\" means nothing here; close the text with another '",
        ),
        (
            "effort.actions > 3 && effort.retries > 1",
            'character 20: "&" means nothing here; write and',
        ),
        (
            "effort.actions > 3; import os",
            (
                'character 19: ";" means nothing here;'
                " write facts, numbers, 'text', comparisons, and, or, not, ( )"
            ),
        ),
        (
            "effort.actions",
            "character 15: the end is not a comparison; write one of: ==, !=, in, <, <=, >, >=",
        ),
        (
            "effort.actions >",
            "character 17: the end cannot be compared; write a number, 'text', or a fact",
        ),
        (
            "3 < effort.actions",
            'character 1: "3" stands where a comparison begins; write a fact first',
        ),
        (
            "1 < effort.actions < 3",
            'character 1: "1" stands where a comparison begins; write a fact first',
        ),
        (
            "effort.actions < 3 effort.retries < 1",
            ('character 20: "effort.retries" follows a whole comparison; join with and, or'),
        ),
        (
            "(effort.actions < 3",
            "character 20: the end stands where ) is missing; write )",
        ),
        (
            "effort.actions in 3",
            'character 19: "3" stands where [ is missing; write [',
        ),
        (
            "effort.actions in [3",
            "character 21: the end stands where ] is missing; write ]",
        ),
        (
            f"effort.actions < {'9' * 400}",
            f'character 18: "{"9" * 58}… is too large; write a smaller number',
        ),
        (
            "effort.actions < 3" + " " * LONGEST,
            f"the text has {LONGEST + 18} characters; shorten it to at most {LONGEST}",
        ),
        (
            "(" * 30 + "effort.actions < 3" + ")" * 30,
            (
                f"character {DEEPEST + 2}: more than {DEEPEST} parentheses and not"
                " within one another; use fewer"
            ),
        ),
        (
            "not " * 30 + "effort.actions < 3",
            (
                f"character {4 * (DEEPEST + 1) + 1}: more than {DEEPEST} parentheses and not"
                " within one another; use fewer"
            ),
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, message: str) -> None:
    """The message says where, what is wrong, and what to write."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse(text)

    assert str(caught.value) == message


def test_a_long_chain_is_not_deep() -> None:
    """Joining a hundred comparisons is no nesting."""
    text = " or ".join(["value.amount > 1"] * 50)

    assert answer(text, value__amount=(2.0,)) is True


words = st.sampled_from(
    [*FACTS, "and", "or", "not", "in", "(", ")", "[", "]", ",", "==", "<", "'x'", "1", "true", "e"]
)


@given(st.text() | st.lists(words).map(" ".join) | st.text("(')ntoe. =<0"))
def test_noise_is_refused_and_nothing_else_happens(text: str) -> None:
    """Whatever the text, it is a predicate or a ValueError."""
    with contextlib.suppress(ValueError):
        assert parse(text).holds({}) in ANSWERS


@given(predicates(), facts_of_all_kinds)
def test_every_predicate_has_an_answer(text: str, facts: dict[str, object]) -> None:
    """Nothing that is passed as a fact makes it fail."""
    assert parse(text).holds(facts) in ANSWERS


# Facts


def test_closed_sets_are_those_of_the_attributes() -> None:
    """Each closed set belongs to a fact that is text, and has what can be sent."""
    assert {FACTS[name] for name in CLOSED_SETS} == {"text"}
    assert CLOSED_SETS["touchpoint.outcome"] == get_args(attributes.Outcome)


def test_every_fact_is_described() -> None:
    """The reference of the map names each fact that a predicate may read."""
    page = Path(__file__).parents[1] / "docs" / "reference" / "map.md"
    text = page.read_text(encoding="utf-8")

    assert [name for name in FACTS if f"`{name}`" not in text] == []


def test_predicates_are_equal_if_their_texts_are() -> None:
    """What was parsed twice is the same."""
    assert parse("value.amount > 1") == parse("value.amount > 1")
    assert repr(parse("value.amount > 1")).startswith("Predicate(text='value.amount > 1'")
