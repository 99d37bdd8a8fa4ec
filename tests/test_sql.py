"""Statements of SQL without their values, and nothing at all of what is not understood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace._sql import LONGEST, without_values

KEPT = [
    ("SELECT * FROM users WHERE id=42 AND b <> 'x'", "SELECT * FROM users WHERE id=? AND b <> ?"),
    ("select count(*) from t where x in (1,2.5,-3e4)", "select count(*) from t where x in (?,?,?)"),
    ("INSERT INTO u (a, b) VALUES ('it''s', \"x\")", "INSERT INTO u (a, b) VALUES (?, ?)"),
    ("SELECT ?, ?1, %s, $1, :n, %(z)s, @p1, @@x", "SELECT ?, ?1, %s, $1, :n, %(z)s, @p1, @@x"),
    ("UPDATE t SET a = a + 1 -- ann\nWHERE b", "UPDATE t SET a = a + ? WHERE b"),
    ("SELECT /* ann */ 1 --", "SELECT ?"),
    ("SELECT $$ann$$, $q$ann's$q$", "SELECT ?, ?"),
    ("SELECT N'x', E'x', X'ff', 0xFF, .5, 1-1, U&'x', _utf8'x'", "SELECT ?, ?, ?, ?, ?, ?-?, ?, ?"),
    ("SELECT a->>'k' FROM t WHERE b::int = 5", "SELECT a->>? FROM t WHERE b::int = ?"),
    ("SELECT a[1:2] FROM `order` JOIN [Users] u", "SELECT a[?:?] FROM `order` JOIN [Users] u"),
    ("INSERT!7:p$", "INSERT!?:p$"),
    ("  WITH x AS (SELECT 1)\n\tSELECT * FROM x;", "WITH x AS (SELECT ?) SELECT * FROM x;"),
    ("PRAGMA table_info('x')", "PRAGMA table_info(?)"),
    ("BEGIN", "BEGIN"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "expected"), KEPT)
def test_shape_stays_and_values_go(statement: str, expected: str) -> None:
    """Names, operators and parameters stay; literals become ``?``; comments go."""
    assert without_values(statement) == expected


@pytest.mark.parametrize(("statement", "expected"), KEPT)
def test_twice_is_once(statement: str, expected: str) -> None:
    """A statement without values stays as it is."""
    assert without_values(expected) == expected


NOT_UNDERSTOOD = [
    "",
    "SET user:7 ann",
    "GET ann",
    '{"find": "ann"}',
    "MATCH (n {name: 'ann'}) RETURN n",
    "SELECT * FROM t WHERE e = ann@example.com",
    "SELECT 'unclosed",
    "SELECT 'C:\\', 'ann', 'x'",
    'SELECT "a\\", "ann", "x"',
    "SELECT q'[it's ann's]'",
    "SELECT 1--ann",
    "SELECT 1 # ann\n",
    "SELECT /* a /* b */ ann */ 1",
    "SELECT 1 */ ann",
    "SELECT 5ann",
    "SELECT ''ann",
    "SELECT é FROM t",
    "SELECT $ann",
    "SELECT 1 -- as some end a line:\r, 'x\n ann -- '",
    "SELECT:ann",
    "select.ann",
    f"SELECT {'a' * 65}",
    f"SELECT {'1, ' * LONGEST}",
]


@pytest.mark.parametrize("statement", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_not_passed_on(statement: str) -> None:
    """Commands of other stores, and what databases read in more than one way, are no SQL to us."""
    assert without_values(statement) is None


@pytest.mark.timeout(30)
@pytest.mark.parametrize("blanks", [" ", "(", "( ", " ("])
def test_blanks_before_a_statement_are_read_once(blanks: str) -> None:
    """As many blanks and parentheses as fit take no time worth speaking of, whatever follows."""
    many = (LONGEST // len(blanks) - 10) * blanks

    assert without_values(many) is None
    assert without_values(f"{many}SELECT 1") is not None


PLANTED = "zyxann"
QUOTED = st.text("ab\n'\"\\-/*#$;é%", max_size=6).map(lambda text: f"{text}{PLANTED}{text}")
LITERALS = (
    QUOTED.map(lambda text: "'" + text.replace("'", "''") + "'")
    | QUOTED.map(lambda text: '"' + text.replace('"', '""') + '"')
    | QUOTED.map(lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'")
    | QUOTED.map(lambda text: f"$q${text.replace('$', '')}$q$")
    | QUOTED.map(lambda text: f"/* {text.replace('*/', '')} */ 1")
    | QUOTED.map(lambda text: "-- " + text.replace("\n", "") + "\n1")
)
GLUE = st.sampled_from([", ", " AND a = ", " || ", "||", ")", "(", "\n", "*", "; SELECT "])


@given(st.lists(st.tuples(LITERALS, GLUE), min_size=1, max_size=6))
def test_no_value_comes_through(parts: list[tuple[str, str]]) -> None:
    """However texts and comments are put together: what a database reads as a value stays."""
    statement = "SELECT a FROM t WHERE b = " + "".join(part for pair in parts for part in pair)

    assert PLANTED not in (without_values(statement) or "")


@given(st.text(max_size=200) | st.text("SELECT '\"-/*$q1é\\", max_size=200))
def test_anything_is_read(text: str) -> None:
    """No text raises, and what is passed on is passed on again."""
    found = without_values(f"SELECT {text}")

    assert found is None or without_values(found) == found
