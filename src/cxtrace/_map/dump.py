"""A journey map as plain data, and plain data as the text of a TOML file."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from cxtrace._map.text import key_text, literal
from cxtrace._model import (
    SECONDS,
    Friction,
    FrictionRule,
    Match,
    OutcomeRule,
    Requests,
    Teller,
    in_seconds,
)


def thaw(value: Any) -> Any:
    """Give plain dicts and lists for read-only mappings and tuples, and for rules."""
    if isinstance(value, Friction):
        return {**thaw(value.rules), **({"suppress": [*value.suppress]} if value.suppress else {})}
    if isinstance(value, FrictionRule):
        return {key: _setting(item) for key, item in unnamed(value, "name").items()}
    if isinstance(value, Match | OutcomeRule | Requests | Teller):
        return record(value)
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    return value


def _setting(value: Any) -> Any:
    return duration(value) if isinstance(value, float) else value


def duration(seconds: float) -> str:
    """The time as a map says it, in the largest unit that says it in whole numbers."""
    for unit, factor in sorted(SECONDS.items(), key=lambda item: -item[1]):
        number = round(seconds / factor)
        if number and in_seconds(number, unit) == seconds:
            return f"{number}{unit}"
    return f"{seconds}s"


def record(item: attrs.AttrsInstance) -> dict[str, Any]:
    """The keys that a definition would have in a file, without those that say nothing."""
    fields = attrs.fields(type(item))
    values: dict[str, Any] = {field.name: thaw(getattr(item, field.name)) for field in fields}
    keys = {"channels": "channel", **({"outcome": "is"} if isinstance(item, OutcomeRule) else {})}
    return {
        keys.get(name, name): value
        for name, value in values.items()
        if value is not None and value not in ([], {})
    }


def unnamed(item: attrs.AttrsInstance, name: str) -> dict[str, Any]:
    """The same without the key that the table around it already says."""
    return {key: value for key, value in record(item).items() if key != name}


def toml(document: Mapping[str, Any]) -> str:
    """The text of a file that holds the document, a section for each definition."""
    plain = {k: v for k, v in document.items() if k not in _SECTIONS}
    lines = list(_pairs(plain))
    lines += _section("[request]", document.get("request", {}))
    lines += _section("[functions]", document.get("functions", {}))
    lines += _section("[friction]", document.get("friction", {}))
    for stage in document.get("stage", ()):
        lines += _section("[[stage]]", stage)
    for name, promise in document.get("promise", {}).items():
        lines += _section(f"[promise.{key_text(name)}]", promise)
    for touchpoint in document.get("touchpoint", ()):
        lines += _section("[[touchpoint]]", touchpoint)
    for journey in document.get("journey", ()):
        lines += _section("[[journey]]", {k: v for k, v in journey.items() if k != "routes"})
        lines += _section("[journey.routes]", journey.get("routes", {}))
    return "\n".join(lines) + "\n"


_SECTIONS = frozenset(
    {"request", "functions", "friction", "stage", "promise", "touchpoint", "journey"}
)


def _section(header: str, table: Mapping[str, Any]) -> list[str]:
    return ["", header, *_pairs(table)] if table else []


def _pairs(table: Mapping[str, Any]) -> Iterator[str]:
    return (f"{key_text(key)} = {literal(value)}" for key, value in table.items())
