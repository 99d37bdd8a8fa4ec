"""What a dashboard shows, said without Grafana: boards, panels, queries, links, variables."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

Kind: TypeAlias = Literal["stat", "series", "bars", "table"]
"""One number, lines over time, bars by size, or a table."""

Steps: TypeAlias = tuple[tuple[float | None, str], ...]
"""From which value on which colour; the first begins at None, which is no value too low."""

GOOD: Final = "green"
NEAR: Final = "yellow"
BAD: Final = "red"
NEUTRAL: Final[Steps] = ((None, "blue"),)


def rising(near: float, bad: float) -> Steps:
    """More is worse."""
    return ((None, GOOD), (near, NEAR), (bad, BAD))


def falling(bad: float, near: float) -> Steps:
    """Less is worse: below the first it is bad, from the second on it is good."""
    return ((None, BAD), (bad, NEAR), (near, GOOD))


@frozen
class Link:
    """Where a value, a line or a panel leads."""

    title: str
    url: str


@frozen
class Query:
    """A query in PromQL and the name of what it gives."""

    expr: str
    legend: str = ""
    exemplars: bool = False


@frozen
class Column:
    """A measure in a table: a query that gives one value for each of the table's keys."""

    name: str
    expr: str
    unit: str = "short"
    steps: Steps = ()
    is_narrow: bool = False
    """Whether it has small whole numbers alone."""


@frozen
class Key:
    """A label by which a table has its rows, or a copy of one that shows other words."""

    label: str
    name: str
    links: tuple[Link, ...] = ()
    words: Mapping[str, str] = field(factory=dict, hash=False)
    """What to show in place of a value."""


@frozen
class Panel:
    """One picture of a board. Widths are of 24 columns, heights in rows of Grafana's grid."""

    kind: Kind
    title: str
    description: str
    queries: tuple[Query, ...] = ()
    unit: str = "short"
    steps: Steps = NEUTRAL
    width: int = 12
    height: int = 8
    links: tuple[Link, ...] = ()
    """In the corner of the panel."""
    value_links: tuple[Link, ...] = ()
    """On each line or bar."""
    stacked: bool = False
    keys: tuple[Key, ...] = ()
    columns: tuple[Column, ...] = ()
    sort_by: str = ""
    """The column by which a table is sorted; with a leading ``-``, the largest first."""


@frozen
class Row:
    """A heading, and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@frozen
class Variable:
    """What the reader of a board chooses at its top.

    Attributes:
        query: In Grafana's words for Prometheus, as in ``label_values(METRIC, LABEL)``.
        many: Whether several may be chosen, and all.
        values: What can be chosen, in this order, where no query says it.
        regex: Takes the value out of what the query gives.
    """

    name: str
    label: str
    query: str = ""
    many: bool = True
    values: tuple[str, ...] = ()
    regex: str = ""


@frozen
class Board:
    """One dashboard.

    Attributes:
        name: What it is about, as its file and its address have it.
    """

    name: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
