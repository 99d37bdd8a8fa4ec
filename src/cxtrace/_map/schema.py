"""The grammar of a journey map, once: what our checks read and what editors complete."""

from typing import Any, Final, get_args

import attrs

from cxtrace import attributes as names
from cxtrace._map.matching import MATCH, REQUEST
from cxtrace._map.place import At
from cxtrace._map.shapes import (
    Count,
    Duration,
    Happy,
    Name,
    Number,
    Objective,
    OneOf,
    Text,
    Weight,
    Whole,
)
from cxtrace._map.tables import Key, Many, Record, Records, Table
from cxtrace._map.text import literal, shown
from cxtrace._model import FRICTION_RULES, Importance, PromiseMetric, PromiseOp

SCHEMA: Final = "cxtrace.map/1"
"""The version of the grammar, written at the top of every file."""


@attrs.frozen
class _Version:
    example: str = literal(SCHEMA)

    def read(self, value: Any, at: At) -> Any:
        if value == SCHEMA:
            return value
        message = f"{shown(value)} is not a grammar that this version of cxtrace reads"
        return at.wrong(f"{message}; write {self.example}")

    def schema(self) -> dict[str, Any]:
        return {"const": SCHEMA}


_PROSE: Final = "\n\t"
_DESCRIPTION: Final = Key(Text("What happens here", _PROSE), "Words for people.")
_TOUCHPOINTS: Final = Many(Name("checkout.pay"), least=1)

FUNCTION: Final = Record(
    "a function",
    {
        "contact": Key(Text("#team-payments"), "Where to reach the people of this function."),
        "happy": Key(
            Happy(), "What a happy customer means to this function, as a comparison of facts."
        ),
    },
)

STAGE: Final = Record(
    "a stage",
    {
        "name": Key(Name("purchase"), "Name of the stage."),
        "phase": Key(
            OneOf("a phase", get_args(names.Phase)),
            "Before, during or after the time in which the person is a customer.",
        ),
        "order": Key(Whole(), "Place among the stages; by default the place in the file."),
    },
    required=("name", "phase"),
)

PROMISE: Final = Record(
    "a promise",
    {
        "claim": Key(Text("Pay in under ten seconds"), "The promise as the customer hears it."),
        "source": Key(
            OneOf("a source of promises", get_args(names.PromiseSource)),
            "Where the promise comes from.",
        ),
        "metric": Key(
            OneOf("a metric of promises", get_args(PromiseMetric)),
            "What is measured; delivered for a value that the code reports.",
        ),
        "op": Key(
            OneOf("a comparison", get_args(PromiseOp)),
            "How the delivered value must compare with the target.",
        ),
        "target": Key(Number(10.0), "What is promised, in the unit."),
        "unit": Key(Text("s", is_sent=True), "UCUM unit: s, h, d, %, {action} and others."),
        "objective": Key(Objective(), "Share of customers for whom the promise must hold."),
        "begins": Key(
            Name("order.confirm"),
            "Touchpoint at whose end a journey.duration begins; by default it is the journey's"
            " beginning.",
        ),
        "ends": Key(
            Name("delivery.ship"),
            "Touchpoint at whose end a journey.duration ends; by default it is the journey's end.",
        ),
        "exceeded_at": Key(
            Number(5.0), "What is delivered as good as this exceeds the promise; in the unit."
        ),
    },
    required=("claim", "source", "metric", "op", "target", "unit"),
)

_SEVERITY: Final = Key(
    OneOf("a severity", get_args(names.FrictionSeverity)), "How much it hinders the customer."
)
_COUNTED: Final = {
    "count": Key(Count(), "How often it must happen."),
    "within": Key(Duration("10s"), "The time within which it must happen that often."),
}
_AFTER: Final = Key(
    Duration("1s"), "When a touchpoint is slow; by default when it breaks its promise."
)


def _rule(name: str) -> Key:
    rule = FRICTION_RULES[name]
    keys = _COUNTED if rule.count else {"after": _AFTER} if name == "slow" else {}
    record = Record(f"the rule {name}", {**keys, "severity": _SEVERITY})
    return Key(record, f"Rule that finds {rule.type}.")


FRICTION: Final = Record(
    "friction",
    {
        **{name: _rule(name) for name in FRICTION_RULES},
        "suppress": Key(
            Many(OneOf("a rule for friction", tuple(FRICTION_RULES))),
            "Rules that are switched off.",
        ),
    },
)

TOUCHPOINT: Final = Record(
    "a touchpoint",
    {
        "name": Key(Name("checkout.pay"), "Name, from the view of the customer."),
        "description": _DESCRIPTION,
        "stage": Key(Name("purchase"), "Stage of the map."),
        "channel": Key(
            Many(OneOf("a channel", get_args(names.Channel)), least=1), "Where it can happen."
        ),
        "initiator": Key(OneOf("an initiator", get_args(names.Initiator)), "Who starts it."),
        "type": Key(
            OneOf("a type of touchpoint", get_args(names.TouchpointType)),
            "Communication with someone, or an action of one side.",
        ),
        "owner": Key(Name("product"), "The one function that answers for it."),
        "influence": Key(
            Table(Name("product"), Weight()), "Share of each function's influence; the sum is 1."
        ),
        "interactions": Key(Many(Name("enter_card_number")), "Planned micro-interactions."),
        "expected_actions": Key(Whole(), "How many actions the customer should need."),
        "promises": Key(Many(Name("pay_fast")), "Ids of the promises made here."),
        "friction": Key(FRICTION, "Rules that find friction here."),
        "match": Key(MATCH, "Where it is in code that stays untouched."),
        "importance": Key(
            OneOf("an importance", get_args(Importance)), "How much hangs on this touchpoint."
        ),
    },
    required=("name", "stage", "owner"),
)

JOURNEY: Final = Record(
    "a journey",
    {
        "name": Key(Name("first_order"), "Name of the journey."),
        "description": _DESCRIPTION,
        "goal": Key(Name("checkout.pay"), "Touchpoint at which the journey has succeeded."),
        "routes": Key(Table(Name("express"), _TOUCHPOINTS), "Touchpoints in order, by route."),
    },
    required=("name",),
)

FILE: Final = Record(
    "a journey map",
    {
        "schema": Key(_Version(), "Version of the grammar."),
        "name": Key(Text("shop", is_sent=True), "Name of the map; one file of a map says it."),
        "version": Key(
            Text("7", is_sent=True), "Version of the map; by default a digest of what it says."
        ),
        "context": Key(
            Many(Name("weather")), "Keys of cx.context that code may set; no other key is sent."
        ),
        "request": Key(REQUEST, "What requests, tasks and messages tell of the customer."),
        "functions": Key(Table(Name("product"), FUNCTION), "Functions of the business."),
        "friction": Key(FRICTION, "Rules that find friction at every touchpoint."),
        "stage": Key(Records(STAGE, "stage"), "Stages of the relationship, in order."),
        "promise": Key(Table(Name("pay_fast"), PROMISE), "Promises to the customer."),
        "touchpoint": Key(Records(TOUCHPOINT, "touchpoint"), "Where customers meet the company."),
        "journey": Key(Records(JOURNEY, "journey"), "Ways that customers go."),
    },
    required=("schema",),
)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of one file of a journey map, in the draft that TOML editors read."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "cxtrace journey map",
        "description": "Stages, touchpoints, promises, owners and journeys of customers.",
        **FILE.schema(),
    }
