"""A statement of SQL without what somebody has put into it: its shape, and no value.

OpenTelemetry asks for this where a statement is recorded: "literals SHOULD be replaced with ?".
What is not understood to the last character is not passed on at all.

Source: https://opentelemetry.io/docs/specs/semconv/db/database-spans/#sanitization-of-dbquerytext
"""

import re
from typing import Final

LONGEST: Final = 16_384
"""Characters of a statement that is read; a longer one is not passed on."""

_BEGINNING: Final = re.compile(
    r"[\s(]*(?:SELECT|INSERT|UPDATE|DELETE|MERGE|REPLACE|WITH|VALUES|CREATE|ALTER|DROP|TRUNCATE"
    r"|BEGIN|START|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|PRAGMA|EXPLAIN|CALL|EXEC|EXECUTE|LOCK|ANALYZE"
    r"|VACUUM|DECLARE|FETCH|CLOSE|REFRESH|UPSERT)(?![\w.:=])",
    re.IGNORECASE,
)
"""How statements begin. Commands of other stores have values where SQL has names."""

_AMBIGUOUS: Final = re.compile(r"\\['\"]|\r(?!\n)")
"""Ends a text, or a comment, in one database and not in another."""

# Each alternative is a run of one kind of character, or ends at a mark: none goes back. What reads
# otherwise in some database, such as a comment within a comment, is none of them.
_TOKEN: Final = re.compile(
    r"""
      (?P<blank>\s+ | --(?=\s|\Z)[^\n]* | /\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/)
    | (?P<text>(?:(?:[EeNnXxBb]|[Uu]&|_[A-Za-z0-9]+)?'(?:[^']|'')*'
        | "(?:[^"]|"")*"
        | \$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$
        | (?<![\w$@])[+-]?
          (?:0[xX][0-9A-Fa-f]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      )(?![\w$@]))
    | (?P<kept>`[A-Za-z_][A-Za-z0-9_$]{0,63}`|\[[A-Za-z_][A-Za-z0-9_$]{0,63}\]
        | %\([A-Za-z_][A-Za-z0-9_]{0,63}\)s|%s|\$[0-9]{1,4}(?!\w)|\?[0-9]{0,4}(?!\w)
        | (?<![\w:@?]):[A-Za-z_][A-Za-z0-9_]{0,63}(?!@)
        | (?<![\w@.-])@{1,2}[A-Za-z_][A-Za-z0-9_]{0,63}(?![@.-])
        | (?<![\w$@])[A-Za-z_][A-Za-z0-9_$]{0,63}(?![\w$@'"])
        | ::|:=|<=>|<>|<=|>=|!=|\|\||&&|->>|->|@>|<@
        | [(),;.=<>+%|&^~!:{}] | \[ | \] | -(?!-) | \*(?!/) | /(?!\*))
    """,
    re.VERBOSE | re.DOTALL,
)


def without_values(statement: str) -> str | None:
    """The statement with ``?`` for each literal and without comments; None where it is no SQL.

    Names and parameters stay. In double quotes stands a name or, in some databases, a text: both
    become ``?``.
    """
    if len(statement) > LONGEST or not statement.isascii():
        return None
    if not _BEGINNING.match(statement) or _AMBIGUOUS.search(statement):
        return None
    parts: list[str] = []
    at = 0
    while at < len(statement):
        found = _TOKEN.match(statement, at)
        if found is None:
            return None
        parts.append(" " if found["blank"] else "?" if found["text"] else found[0])
        at = found.end()
    return re.sub(" +", " ", "".join(parts)).strip()
