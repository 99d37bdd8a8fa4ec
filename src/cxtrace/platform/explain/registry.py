"""What each name means, what it says about a person, and what it is for, as ``semconv/`` has it.

``registry.json`` is written by ``tools/registry.py``.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

from attrs import frozen

from cxtrace import attributes as names

Kind: TypeAlias = Literal["span", "stamp", "event", "metric", "baggage", "resource", "line"]
"""Where an attribute can stand: on spans of ours, on every span under a touchpoint, on events, as a
label of a metric, as a member of baggage, on the resource, or on a log line of the application.
"""

CLASSES: Final[Mapping[str, str]] = {
    "free_text": "free text, which may say anything",
    "linkable": "linkable pseudonym",
    "sensitive_inference": "sensitive inference",
    "profiling": "profiling",
    "quasi_identifier": "quasi-identifier",
    "commercial": "commercial",
    "none": "none",
}
"""What an attribute can say about a person, in words, the most personal first."""

PURPOSES: Final[Mapping[str, str]] = {
    "journey": "To see where on their way customers are, and how it ends.",
    "link": "To join what one customer did, without knowing who it is.",
    "segment": "To compare groups of customers.",
    "consent": "To show under which consent something was recorded.",
    "experience": "To measure how a touchpoint goes for the customer.",
    "friction": "To find what hinders customers.",
    "ownership": "To know which function of the business answers for it.",
    "happiness": "To see whether customers are happy, as each function of the business means it.",
    "promise": "To compare what was promised with what was delivered.",
    "voice": "To hear what customers feel and say.",
    "nudge": "To know where customers are influenced, and whether it is fair.",
    "value": "To know what a touchpoint is worth.",
    "forecast": "To act before something goes wrong.",
    "test": "To tell tests from customers.",
    "operation": "To know what fails, and whether the telemetry itself is right.",
}
"""Purposes of processing, in words."""


@frozen
class Attribute:
    """An attribute of the registry.

    Attributes:
        meaning: In a sentence.
        pii_class: One of ``CLASSES``.
        cardinality: How many values it has.
        purpose: One of ``PURPOSES``.
        is_template: Whether a key of the map or of the code follows the name.
    """

    meaning: str
    pii_class: str
    cardinality: str
    purpose: str
    is_template: bool = False


@frozen
class Group:
    """What attributes stand on together: a kind of span, an event, a metric.

    Attributes:
        kind: What it is.
        name: Of the registry, or in words.
        meaning: In a sentence.
        attributes: Of each, the condition under which it is there; empty is always.
    """

    kind: Kind
    name: str
    meaning: str
    attributes: Mapping[str, str]


@frozen
class Registry:
    """All that can be sent by this version.

    Attributes:
        attributes: By name; those of OpenTelemetry that we set are among them.
        groups: Spans, events and metrics that this version can send.
        sent: The names that this version can send; the others are reserved.
    """

    attributes: Mapping[str, Attribute]
    groups: tuple[Group, ...]
    sent: frozenset[str]


OF_OPENTELEMETRY: Final[Mapping[str, Attribute]] = {
    names.CUSTOMER_PSEUDONYM: Attribute(
        "Pseudonym of the customer: a keyed hash, or a random id.", "linkable", "high", "link"
    ),
    names.SESSION_ID: Attribute(
        "Session of the customer, where `set()` is given one.", "linkable", "high", "link"
    ),
    names.ERROR_TYPE: Attribute(
        "Class of the exception, or the reason given to `fail()`.", "none", "bounded", "friction"
    ),
    names.SYNTHETIC_TYPE: Attribute(
        "`test` for walkthroughs, `bot` for robots.", "none", "low", "test"
    ),
    names.EXCEPTION_TYPE: Attribute(
        "Class of an exception, where `record_exceptions` asks for it.",
        *("none", "bounded", "operation"),
    ),
    names.EXCEPTION_MESSAGE: Attribute(
        "Its text, scrubbed, or as it is.", "free_text", "unbounded", "operation"
    ),
    names.EXCEPTION_STACKTRACE: Attribute(
        "Where it came from, scrubbed, or as it is.", "free_text", "unbounded", "operation"
    ),
    names.FEATURE_FLAG_KEY: Attribute(
        "Feature flag that selects the variant of a nudge.", "none", "low", "nudge"
    ),
    names.FEATURE_FLAG_VARIANT: Attribute(
        "Variant of a nudge, as the flag selected it.", "none", "low", "nudge"
    ),
}
"""OpenTelemetry's own attributes that we set: what they mean here."""

_TEXT: Final = "if it could be had at once"
EXCEPTION: Final = Group(
    "event",
    names.EXCEPTION,
    "What ended a touchpoint or micro-interaction as failed.",
    {
        names.EXCEPTION_TYPE: "",
        names.EXCEPTION_MESSAGE: _TEXT,
        names.EXCEPTION_STACKTRACE: _TEXT,
    },
)
"""OpenTelemetry's own event that we set, on spans alone."""


@cache
def registry() -> Registry:
    """What the package has of the registry."""
    text = Path(__file__).with_name("registry.json").read_text(encoding="utf-8")
    found = json.loads(text)
    ours = {name: Attribute(**each) for name, each in found["attributes"].items()}
    groups = (*(Group(**each) for each in found["groups"]), EXCEPTION)
    return Registry({**ours, **OF_OPENTELEMETRY}, groups, frozenset(found["sent"]))
