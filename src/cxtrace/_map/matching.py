"""The part of the grammar that finds touchpoints in code that stays untouched."""

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

import attrs

from cxtrace import attributes as names
from cxtrace._map.place import BAD, At
from cxtrace._map.shapes import OneOf, Shape, Text
from cxtrace._map.tables import Found, Key, Many, Record
from cxtrace._map.text import literal, shown
from cxtrace._model import Match, OutcomeRule, Teller

_SECRET_HEADERS: Final = (
    *("authorization", "cookie", "proxy-authorization", "set-cookie"),
    *("x-amz-security-token", "x-api-key", "x-auth-token", "x-csrf-token", "x-session-id"),
)


@attrs.frozen
class Pattern:
    """Text of a fixed form."""

    what: str
    form: str
    sample: str

    @property
    def example(self) -> str:
        """The sample, quoted."""
        return literal(self.sample)

    def read(self, value: Any, at: At) -> Any:
        """Refuse what is no text or has another form."""
        text = Text(self.sample).read(value, at)
        if text is BAD or re.fullmatch(self.form, text):
            return text
        return at.wrong(f"{shown(text)} is not {self.what}; write one such as {self.example}")

    def schema(self) -> dict[str, Any]:
        """A string of that form."""
        return {"type": "string", "pattern": f"^(?:{self.form})$"}


@attrs.frozen
class _Header:
    """The name of a header whose value is not a secret by itself."""

    sample: str

    @property
    def example(self) -> str:
        return literal(self.sample)

    def read(self, value: Any, at: At) -> Any:
        text = Pattern("the name of a header", r"[A-Za-z0-9_-]+", self.sample).read(value, at)
        if text is not BAD and text.lower() in _SECRET_HEADERS:
            return at.wrong(f"{shown(text)} holds a secret; use cookie or claim, or another header")
        return text

    def schema(self) -> dict[str, Any]:
        return Pattern("the name of a header", r"[A-Za-z0-9_-]+", self.sample).schema()


@attrs.frozen
class OneOrMany:
    """A table, or an array of tables, each made into an object of the model."""

    record: Record
    make: type
    exactly: tuple[str, ...] = ()
    """Keys of which each table has just one."""
    needs: Mapping[str, str] = attrs.field(factory=dict)
    """Keys that mean nothing without another."""
    rename: Mapping[str, str] = attrs.field(factory=dict)
    """Names of fields that differ from their keys."""

    @property
    def example(self) -> str:
        """One table."""
        key = (*self.record.required, *self.exactly)[0]
        return f"{{ {key} = {self.record.keys[key].shape.example} }}"

    def read(self, value: Any, at: At) -> Any:
        """Refuse what is neither, what is empty or stands twice, and tables that say too much."""
        if isinstance(value, dict):
            return self._all((self._one(value, at),))
        if not isinstance(value, list):
            return at.wrong(f"{shown(value)} is not a table; write {self.example}")
        found = Many(_Each(self), least=1).read(value, at)
        return BAD if found is BAD else self._all(found)

    def _all(self, found: tuple[Any, ...]) -> Any:
        return BAD if any(item is BAD for item in found) else found

    def _one(self, value: Any, at: At) -> Any:
        before = len(at.problems)
        found = self.record.read(value, at)
        if len(at.problems) == before:
            self._check(found, at)
        if len(at.problems) > before:
            return BAD
        return self.make(**{self.rename.get(k, k): item for k, item in found.values.items()})

    def _check(self, found: Found, at: At) -> None:
        given = [key for key in self.exactly if key in found.raw]
        if self.exactly and len(given) != 1:
            said = f"{' and '.join(given)} stand together" if given else "nothing is looked for"
            at.wrong(f"{said}; write exactly one of {', '.join(self.exactly)}")
        for key, other in self.needs.items():
            if key in found.raw and other not in found.raw:
                example = self.record.keys[other].shape.example
                at.key(key).wrong(f"{key} stands without {other}; add {other} = {example}")

    def schema(self) -> dict[str, Any]:
        """An object or an array of objects."""
        one = _Each(self)
        return {"oneOf": [one.schema(), Many(one, least=1).schema()]}


@attrs.frozen
class _Each:
    """One table of the array."""

    whole: OneOrMany

    @property
    def example(self) -> str:
        return self.whole.example

    def read(self, value: Any, at: At) -> Any:
        return self.whole._one(value, at)  # noqa: SLF001  a part of the same shape

    def schema(self) -> dict[str, Any]:
        one = self.whole.record.schema()
        if self.whole.exactly:
            one["oneOf"] = [{"required": [key]} for key in self.whole.exactly]
        if self.whole.needs:
            one["dependencies"] = {key: [other] for key, other in self.whole.needs.items()}
        return one


_KIND: Final = Key(
    OneOf("a kind of customer", get_args(names.CustomerKind)), "What kind of customer this tells."
)
_EARLY: Final[dict[str, Key]] = {
    "header": Key(_Header("X-Customer-Id"), "Name of a header of the request."),
    "cookie": Key(Pattern("the name of a cookie", r"[^\s;,=\"]+", "visitor"), "Name of a cookie."),
    "path": Key(
        Pattern("the name of a parameter", r"\w+", "customer_id"), "Parameter of the route."
    ),
    "query": Key(Text("customer"), "Parameter of the query string."),
}
_LATE: Final[dict[str, Key]] = {
    "session": Key(Text("customer_id"), "Key of the session, where the application loads it."),
    "user": Key(
        Pattern("the name of an attribute", r"[A-Za-z]\w*", "pk"),
        "Attribute of the user whom the application has authenticated.",
    ),
    "claim": Key(Text("sub"), "Claim of a token that the application has verified."),
}

CUSTOMER: Final = OneOrMany(
    Record("a rule that finds the customer", {**_EARLY, **_LATE, "kind": _KIND}),
    Teller,
    exactly=(*_EARLY, *_LATE),
)
JOURNEY: Final = OneOrMany(
    Record("a rule that finds the journey", _EARLY), Teller, exactly=tuple(_EARLY)
)
OUTCOME: Final = OneOrMany(
    Record(
        "a rule for the outcome",
        {
            "is": Key(OneOf("an outcome", get_args(names.Outcome)), "What it means."),
            "status": Key(
                Pattern("a status code", r"[1-5](?:xx|[0-9][0-9])", "4xx"),
                "Status code, or all that begin with the same digit.",
            ),
            "redirect": Key(
                Pattern("a path", r"/\S*", "/checkout/thank-you"), "Path that it redirects to."
            ),
            "header": Key(_Header("X-Outcome"), "Name of a header of the answer."),
            "value": Key(Text("declined"), "What that header says."),
        },
        required=("is",),
    ),
    OutcomeRule,
    needs={"value": "header"},
    rename={"is": "outcome"},
)

_TARGETS: Final[dict[str, Key]] = {
    "route": Key(
        Pattern("a method and a path", r"(?:[A-Z]+|\*) /\S*", "POST /basket/add/{pk}"),
        "Method and path of a request; {name} stands for a part that varies.",
    ),
    "function": Key(
        Pattern(
            "a module and a name",
            r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*",
            "package.module:Class.method",
        ),
        "Module and qualified name of a function or a method.",
    ),
    "task": Key(Text("shop.tasks.ship"), "Name of a Celery task."),
    "consume": Key(Text("orders"), "Name of a topic or a queue."),
    "rpc": Key(
        Pattern("a service and a method", r"[\w.]+/\w+", "shop.Orders/Place"),
        "Service and method of gRPC.",
    ),
}

MATCH: Final[Shape] = OneOrMany(
    Record(
        "a match",
        {
            **_TARGETS,
            "outcome": Key(OUTCOME, "What an answer means; the first rule that holds counts."),
            "customer": Key(CUSTOMER, "Who the customer is; the first that tells counts."),
            "journey": Key(JOURNEY, "Which journey this is; the first that tells counts."),
        },
    ),
    Match,
    exactly=tuple(_TARGETS),
)

REQUEST: Final = Record(
    "request",
    {
        "customer": Key(CUSTOMER, "Who the customer is, in every request, task and message."),
        "journey": Key(JOURNEY, "Which journey a request, task or message belongs to."),
    },
)
