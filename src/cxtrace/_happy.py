"""What a happy customer means to a function of the business: comparisons of facts.

A predicate compares facts of one touchpoint, and joins comparisons with ``and``, ``or``, ``not``
and parentheses::

    touchpoint.outcome == 'completed' and effort.actions <= effort.expected_actions
    feedback.category in ['promoter', 'passive'] or not friction.severity == 'blocking'

The left side is a fact of ``FACTS``, the right side a number, a text in single quotes, ``true``,
``false`` or another fact. Nothing is executed: the text is read into comparisons once, in time that
grows with its length, and evaluating them takes no more than that.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NoReturn, TypeAlias, get_args

import attrs

from cxtrace import attributes as names
from cxtrace._map.text import choices, guess, shown

FactType: TypeAlias = Literal["number", "text", "boolean"]
"""What a fact is made of."""

FACTS: Final[Mapping[str, FactType]] = MappingProxyType(
    {
        "effort.actions": "number",
        "effort.expected_actions": "number",
        "effort.retries": "number",
        "effort.wait_time": "number",
        "touchpoint.outcome": "text",
        "touchpoint.duration": "number",
        "emotion.valence": "number",
        "emotion.label": "text",
        "value.type": "text",
        "value.amount": "number",
        "friction.type": "text",
        "friction.severity": "text",
        "friction.count": "number",
        "promise.result": "text",
        "promise.gap": "number",
        "complaint.state": "text",
        "feedback.type": "text",
        "feedback.category": "text",
        "feedback.score": "number",
        "nudge.result": "text",
        "handoff.to_function": "text",
    }
)
"""Every fact that a predicate may read. Times are in seconds, and ``promise.gap`` is positive where
a promise was missed.
"""

CLOSED_SETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "touchpoint.outcome": get_args(names.Outcome),
        "emotion.label": get_args(names.EmotionLabel),
        "value.type": get_args(names.ValueType),
        "friction.type": get_args(names.FrictionType),
        "friction.severity": get_args(names.FrictionSeverity),
        "promise.result": get_args(names.PromiseResult),
        "complaint.state": get_args(names.ComplaintState),
        "feedback.type": get_args(names.FeedbackType),
        "feedback.category": get_args(names.FeedbackCategory),
        "nudge.result": get_args(names.NudgeResult),
    }
)
"""The texts that a fact can be, where they are known."""

LONGEST: Final = 1000
"""Characters of a predicate."""

DEEPEST: Final = 20
"""Parentheses and ``not`` within one another."""


@attrs.frozen
class Predicate:
    """What a happy customer means to a function, ready to be asked."""

    text: str
    """As the map says it."""
    facts: frozenset[str] = attrs.field(eq=False)
    """The facts that the answer may depend on."""
    _node: "_Node" = attrs.field(eq=False, repr=False)

    def holds(self, facts: Mapping[str, object]) -> bool | None:
        """Whether the customer is happy by these facts; ``None`` where they do not tell.

        Args:
            facts: Values by name of ``FACTS``. What may occur several times is a tuple of values:
                one that fits is enough, and ``!=`` needs that none is equal. A fact that is left
                out, ``None``, NaN or of the wrong type is unknown.

        ``and``, ``or`` and ``not`` follow Kleene: unknown as long as what is unknown could change
        the answer.
        """
        return self._node.holds(facts)


def parse(text: str) -> Predicate:
    """Read a predicate.

    Raises:
        ValueError: It is wrong; the message says where, what, and what may be written instead.
    """
    if len(text) > LONGEST:
        message = f"the text has {len(text)} characters; shorten it to at most {LONGEST}"
        raise ValueError(message)
    parser = _Parser(_tokens(text))
    node = parser.predicate()
    return Predicate(text, frozenset(parser.facts), node)


# What a predicate is made of

_Compare: TypeAlias = Callable[[Any, Any], bool]
_ORDERS: Final[Mapping[str, _Compare]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUALS: Final = ("==", "!=", "in")


@attrs.frozen
class _Literals:
    values: tuple[Any, ...]

    def read(self, facts: Mapping[str, object]) -> tuple[Any, ...]:
        return self.values


@attrs.frozen
class _Fact:
    name: str

    def read(self, facts: Mapping[str, object]) -> tuple[Any, ...] | None:
        """The values of the fact; ``None`` if they are unknown."""
        value = facts.get(self.name)
        values = value if isinstance(value, tuple) else (value,)
        fitting = tuple(item for item in values if _type_of(item) == FACTS[self.name])
        return None if values and not fitting else fitting


@attrs.frozen
class _Comparison:
    left: _Fact
    op: str
    right: _Fact | _Literals

    def holds(self, facts: Mapping[str, object]) -> bool | None:
        lefts, rights = self.left.read(facts), self.right.read(facts)
        if lefts is None or rights is None:
            return None
        compare: _Compare = _ORDERS.get(self.op, operator.eq)
        found = any(compare(left, right) for left in lefts for right in rights)
        return found != (self.op == "!=")


@attrs.frozen
class _Not:
    part: "_Node"

    def holds(self, facts: Mapping[str, object]) -> bool | None:
        answer = self.part.holds(facts)
        return None if answer is None else not answer


@attrs.frozen
class _Joined:
    parts: "Sequence[_Node]"
    decides: bool
    """The answer of one part that settles the whole: false for ``and``, true for ``or``."""

    def holds(self, facts: Mapping[str, object]) -> bool | None:
        unknown = False
        for part in self.parts:
            answer = part.holds(facts)
            if answer is self.decides:
                return answer
            unknown = unknown or answer is None
        return None if unknown else not self.decides


_Node: TypeAlias = _Comparison | _Not | _Joined


def _type_of(value: object) -> FactType | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return None if math.isnan(value) else "number"
    return "text" if isinstance(value, str) else None


# Reading

# No two alternatives begin alike and none holds a repetition within a repetition, so that reading
# never goes back.
_TOKEN: Final = re.compile(
    r"""
      (?P<blank>[ \t\r\n]+)
    | (?P<text>'[^']*')
    | (?P<number>-?[0-9]+(?:\.[0-9]+)?)
    | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
    | (?P<mark>==|!=|<=|>=|<|>|\(|\)|\[|\]|,)
    """,
    re.VERBOSE,
)
_OPERATORS: Final = (*_EQUALS, *_ORDERS)
_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "true", "false"})


@attrs.frozen
class _Token:
    kind: str
    text: str
    at: int

    def wrong(self, message: str) -> NoReturn:
        error = f"character {self.at + 1}: {message}"
        raise ValueError(error)

    @property
    def what(self) -> str:
        return shown(self.text) if self.text else "the end"


_INSTEAD: Final = {
    "=": "write == to compare",
    "!": "write not, or != to compare",
    "&": "write and",
    "|": "write or",
    '"': "write text in single quotes",
    "'": "close the text with another '",
}


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            otherwise = "write facts, numbers, 'text', comparisons, and, or, not, ( )"
            wrong = text[at]
            _Token("", wrong, at).wrong(
                f"{shown(wrong)} means nothing here; {_INSTEAD.get(wrong, otherwise)}"
            )
        kind = str(match.lastgroup)
        if kind != "blank":
            keyword = match[0] if kind == "mark" or match[0] in _KEYWORDS else kind
            tokens.append(_Token(keyword, match[0], at))
        at = match.end()
    return [*tokens, _Token("end", "", len(text))]


class _Parser:
    """Reads tokens from left to right, each once."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self.facts: set[str] = set()
        self._tokens = tokens
        self._at = 0

    def predicate(self) -> _Node:
        """The whole."""
        node = self._either(0)
        if self._next.kind != "end":
            self._next.wrong(f"{self._next.what} follows a whole comparison; join with and, or")
        return node

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _took(self, kind: str) -> bool:
        found = self._next.kind == kind
        self._at += found
        return found

    def _need(self, kind: str) -> None:
        if not self._took(kind):
            self._next.wrong(f"{self._next.what} stands where {kind} is missing; write {kind}")

    def _either(self, depth: int) -> _Node:
        parts = [self._both(depth)]
        while self._took("or"):
            parts.append(self._both(depth))
        return _Joined(parts, decides=True) if len(parts) > 1 else parts[0]

    def _both(self, depth: int) -> _Node:
        parts = [self._one(depth)]
        while self._took("and"):
            parts.append(self._one(depth))
        return _Joined(parts, decides=False) if len(parts) > 1 else parts[0]

    def _one(self, depth: int) -> _Node:
        if depth > DEEPEST:
            self._next.wrong(
                f"more than {DEEPEST} parentheses and not within one another; use fewer"
            )
        if self._took("not"):
            return _Not(self._one(depth + 1))
        if self._took("("):
            node = self._either(depth + 1)
            self._need(")")
            return node
        return self._comparison()

    def _comparison(self) -> _Node:
        token = self._take()
        if token.kind != "word":
            token.wrong(f"{token.what} stands where a comparison begins; write a fact first")
        left = self._fact(token)
        sign = self._take()
        if sign.kind not in _OPERATORS:
            sign.wrong(f"{sign.what} is not a comparison; write one of: {', '.join(_OPERATORS)}")
        if sign.kind in _ORDERS and FACTS[left.name] != "number":
            message = f"{sign.kind} compares numbers, and {left.name} is {FACTS[left.name]}"
            sign.wrong(f"{message}; write one of: {', '.join(_EQUALS)}")
        if sign.kind == "in":
            return _Comparison(left, sign.kind, self._list(left))
        return _Comparison(left, sign.kind, self._operand(left))

    def _fact(self, token: _Token) -> _Fact:
        if token.text not in FACTS:
            near = guess(token.text, FACTS)
            advice = choices(FACTS) if near is None else f'; did you mean "{near}"?'
            token.wrong(f"{token.what} is not a fact{advice}")
        self.facts.add(token.text)
        return _Fact(token.text)

    def _operand(self, left: _Fact) -> _Fact | _Literals:
        token = self._take()
        if token.kind != "word":
            return _Literals((_literal(token, left),))
        right = self._fact(token)
        _check_type(token, left, FACTS[right.name])
        return right

    def _list(self, left: _Fact) -> _Literals:
        self._need("[")
        values = [_literal(self._take(), left)]
        while self._took(","):
            values.append(_literal(self._take(), left))
        self._need("]")
        return _Literals(tuple(values))


def _literal(token: _Token, left: _Fact) -> object:
    """The value of a token that can be compared with a fact."""
    value: object
    if token.kind == "number":
        value = float(token.text)
        if math.isinf(value):
            token.wrong(f"{token.what} is too large; write a smaller number")
    elif token.kind == "text":
        value = token.text[1:-1]
    elif token.kind in {"true", "false"}:
        value = token.kind == "true"
    else:
        token.wrong(f"{token.what} cannot be compared; write a number, 'text', or a fact")
    _check_type(token, left, _type_of(value))
    _check_member(token, left, value)
    return value


def _check_type(token: _Token, left: _Fact, found: FactType | None) -> None:
    wanted = FACTS[left.name]
    if found != wanted:
        example = {"number": "a number such as 1.5", "text": "text in single quotes"}
        advice = example.get(wanted, "true or false")
        token.wrong(f"{token.what} is {found}, and {left.name} is {wanted}; write {advice}")


def _check_member(token: _Token, left: _Fact, value: object) -> None:
    known = CLOSED_SETS.get(left.name)
    if known is not None and value not in known:
        near = guess(str(value), known)
        advice = choices(known) if near is None else f"; did you mean '{near}'?"
        token.wrong(f"{token.text} is never a value of {left.name}{advice}")
