"""What is looked for in a store of traces."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from attrs import frozen

from cxtrace import attributes as names

Kind: TypeAlias = Literal["journey", "customer", "stage", "touchpoint", "owner", "promise"]
"""What a search can be for."""

ATTRIBUTE: Final[Mapping[Kind, str]] = {
    "journey": names.JOURNEY_ID,
    "customer": names.CUSTOMER_PSEUDONYM,
    "stage": names.STAGE_NAME,
    "touchpoint": names.TOUCHPOINT_NAME,
    "owner": names.OWNER_FUNCTION,
    "promise": names.PROMISE_ID,
}
"""The attribute that holds what is looked for, in each kind of search."""

DAYS: Final = 2
"""How far a search looks back that names no period: as far as Jaeger does by itself."""

MOST: Final = 200
"""Traces that are shown."""

_BROKEN: Final = "broken"

_OF_EVENTS: Final = (
    *("cx.complaint.", "cx.emotion.", "cx.feedback.", "cx.forecast.", "cx.friction."),
    *("cx.handoff.", "cx.mention.", "cx.nudge.", "cx.promise.", "cx.transition.", "cx.value."),
    *("feature_flag.", names.JOURNEY_OUTCOME),
)


def is_of_events(attribute: str) -> bool:
    """Whether only the events of a span have an attribute, and never the span itself."""
    return attribute.startswith(_OF_EVENTS)


@frozen
class Search:
    """Spans that have all these attributes, or an event that has those of events.

    Attributes:
        attributes: Name and value.
    """

    attributes: Mapping[str, str]

    @property
    def is_of_events(self) -> bool:
        """Whether an event of the span must be looked at."""
        return any(map(is_of_events, self.attributes))


def search_for(kind: Kind, value: str) -> Search:
    """The search for what a journey, a customer, a name of the map is; a promise: where it broke.

    Args:
        kind: What the value is.
        value: The id of a journey, a pseudonym, or the name that the map has.
    """
    found = {ATTRIBUTE[kind]: value}
    return Search(found if kind != "promise" else {**found, names.PROMISE_RESULT: _BROKEN})
