"""Values as code gives them: what is fit to be sent, and what is refused."""

from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace import _closed_sets, _guard
from cxtrace._closed_sets import checked, code, finite, iso_code, member, number

pytestmark = pytest.mark.usefixtures("forgetful")
Colour = Literal["red", "green"]
objects: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.none()),
)


def test_a_word_of_the_set_passes() -> None:
    """What is one of the words, or None, is as it was given, and nothing is counted."""
    found = [checked("colour", word, Colour) for word in ("red", "green", None)]

    assert found == ["red", "green", None]
    assert _guard.counts() == {}


@given(objects.filter(lambda value: value is not None))
def test_any_other_word_is_refused(value: Any) -> None:
    """Whatever else is given becomes None and is counted."""
    _guard.reset()

    assert checked("colour", value, Colour) is None
    assert _guard.counts() == {"refused.colour": 1}
    assert member(value, frozenset(("red", "green"))) is None


def test_a_refusal_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Refusals of a kind are named once in the log, with the words that are allowed."""
    for _ in range(3):
        checked("colour", "blue", Colour)

    assert [r.getMessage() for r in caplog.records] == [
        "cxtrace: a value given as colour is not allowed and is not sent; it can be green, red"
    ]
    assert _guard.counts() == {"refused.colour": 3}


def test_a_refused_value_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What was given may be about a person, so no message repeats it."""
    checked("colour", "jane@example.com", Colour)
    number("size", "jane@example.com", 0, 1)
    code("id", "jane@example.com jane")
    iso_code("coin", "jane@example.com")

    assert len(caplog.records) == 4
    assert "jane" not in caplog.text


@pytest.mark.parametrize("value", [True, False, "1", None, float("nan"), float("inf"), 1j, [1]])
def test_what_is_no_number(value: object) -> None:
    """Truth values, texts and what is not finite are no numbers."""
    assert finite(value) is None


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(10**400))
def test_what_is_a_number(value: float) -> None:
    """Every finite int and float is a number, however large."""
    assert finite(value) == value


def test_money_may_be_decimal() -> None:
    """An amount as accountants keep it is taken; one that is no number is not."""
    assert number("value.amount", Decimal("49.90"), 0, 100) == 49.9
    assert number("value.amount", Decimal("NaN"), 0, 100) is None


def test_a_float_of_others_is_a_number() -> None:
    """A float of another class, as models of numpy and scikit-learn give it, is sent as a float."""

    class Float64(float):
        pass

    assert type(number("share", Float64(0.5), 0, 1)) is float
    assert type(finite(Float64(0.5))) is float
    assert finite(Float64("nan")) is None


@pytest.mark.parametrize(("value", "found"), [(0, 0.0), (1, 1.0), (0.25, 0.25), (None, None)])
def test_a_number_within_its_bounds(value: Any, found: float | None) -> None:
    """From the lowest to the highest a number is sent, as a float."""
    got = number("share", value, 0, 1)

    assert got == found
    assert type(got) is type(found)
    assert _guard.counts() == {}


@pytest.mark.parametrize("value", [-0.001, 1.001, 10**400, float("nan"), "0.5", True, [0.5]])
def test_a_number_out_of_its_bounds(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What is out of bounds, or no number, is refused with the bounds."""
    assert number("share", value, 0, 1) is None
    assert _guard.counts() == {"refused.share": 1}
    assert "it must be a number from 0 to 1" in caplog.text


@pytest.mark.parametrize(
    "value", ["a", "_", "free_shipping_bar", "rule@1", "Model-4.2/b:x", "churn@v1.2", "a" * 64]
)
def test_codes(value: str) -> None:
    """A short code passes as it is."""
    assert code("id", value) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1a",
        "a" * 65,
        "a b",
        "a\n",
        "\u00e4",
        "@a",
        "a@example.com",
        "a@b.example.com/",
        "DE89370400440532013000",
        "order-1234.567-890",
        "a1.000.000.000",
        None,
        5,
        b"a",
        ["a"],
    ],
)
def test_what_is_no_code(value: Any) -> None:
    """Free text, an e-mail address, an account's number and what is no text is refused."""
    assert code("id", value) is None
    assert _guard.counts()["refused.id"] == 1


@pytest.mark.parametrize("value", ["eur", "EU", "EURO", "EUR\n", "\u00c4UR", None, 978, ["EUR"]])
def test_what_is_no_currency(value: Any) -> None:
    """A currency has three capital letters of the Latin alphabet."""
    assert iso_code("coin", value) is None
    assert iso_code("coin", "EUR") == "EUR"
    assert _guard.counts() == {"refused.coin": 1}


def test_the_members_of_a_set_are_looked_up_once() -> None:
    """The words of a Literal are kept, in a memory that is bounded."""
    first = _closed_sets._members(Colour)

    assert _closed_sets._members(Colour) is first
    assert _closed_sets._members.cache_info().maxsize is not None
