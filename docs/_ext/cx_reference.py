"""Reference pages made of what they describe: registry, settings, commands and map grammar.

Each directive writes Markdown and lets MyST read it, so that a page cannot say anything else than
the code does.
"""

import contextlib
import inspect
import io
import os
import re
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import cxtrace
from cxtrace import attributes as names
from cxtrace.cli import COMMANDS, main
from cxtrace.journey_map import json_schema
from cxtrace.platform import prometheus
from cxtrace.platform.explain.registry import OF_OPENTELEMETRY, registry

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = ROOT / "semconv"
STAMPED = (
    names.JOURNEY_NAME,
    names.JOURNEY_ID,
    names.STAGE_NAME,
    names.TOUCHPOINT_NAME,
    names.OWNER_FUNCTION,
    names.CUSTOMER_PSEUDONYM,
)


# Attributes


def sent_names() -> set[str]:
    """The names that the code of this version can send."""
    return set(registry().sent)


def _registered(kind: str) -> list[dict[str, Any]]:
    content = yaml.safe_load((REGISTRY / f"{kind}.yaml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = content[kind]
    return found


def _sent(kind: str) -> list[dict[str, Any]]:
    sent = sent_names()
    return [item for item in _registered(kind) if item["name"] in sent]


def attribute_table() -> str:
    """What each attribute means, from the registry."""
    registered = _registered("attributes")
    sent = sent_names()
    rows = [_attribute(item) for item in registered if item["key"] in sent]
    known = {item["key"] for item in registered}
    rows += [
        f"| `{name}` | {about.meaning} | string | {about.pii_class.replace('_', ' ')} |"
        for name, about in OF_OPENTELEMETRY.items()
        if name in sent - known
    ]
    head = "| Attribute | Meaning | Values | Privacy class |\n|---|---|---|---|"
    return "\n".join([head, *rows])


def _attribute(item: dict[str, Any]) -> str:
    kind = item["type"]
    key = item["key"]
    if isinstance(kind, dict):
        values = ", ".join(f"`{member['value']}`" for member in kind["members"])
    else:
        values = kind.removeprefix("template[").removesuffix("]")
        key += ".<key>" if kind.startswith("template") else ""
    privacy = item.get("annotations", {}).get("cx", {}).get("pii_class", "none")
    return f"| `{key}` | {_meaning(item)} | {values} | {privacy.replace('_', ' ')} |"


def _meaning(item: dict[str, Any]) -> str:
    """Brief and note in one line, without the warning: the privacy class says that."""
    lines = (line for line in item.get("note", "").splitlines() if not line.startswith(">"))
    return " ".join([item["brief"], *" ".join(lines).split()])


def stamped_list() -> str:
    """The tags of every span under a touchpoint."""
    return "\n".join(f"- `{name}`" for name in STAMPED)


# Events


def events() -> str:
    """Each event that this version sends: what it says, how loud it is, and its attributes."""
    return "\n\n".join(_event(item) for item in _sent("events"))


def _event(item: dict[str, Any]) -> str:
    words = [_meaning(item), _severity(item)]
    if item.get("requirement_level") == "opt_in":
        words.append("Opt-in: sent where the code calls it.")
    return f"## `{item['name']}`\n\n{' '.join(words)}\n\n{_levels(item, 'Attribute')}"


def _severity(item: dict[str, Any]) -> str:
    warnings = item.get("annotations", {}).get("cx", {}).get("warn_if", {})
    cases = [
        f"where `{key}` is {' or '.join(f'`{value}`' for value in values)}"
        for key, values in warnings.items()
    ]
    return f"Severity: `WARN` {', '.join(cases)}, else `INFO`." if cases else "Severity: `INFO`."


def _levels(item: dict[str, Any], head: str) -> str:
    rows = [f"| `{ref['ref']}` | {_level(ref)} |" for ref in item["attributes"]]
    return "\n".join([f"| {head} | Level |\n|---|---|", *rows])


def _level(ref: dict[str, Any]) -> str:
    level = ref["requirement_level"]
    if isinstance(level, dict):
        ((level, why),) = level.items()
        return f"{level.replace('_', ' ')}: {why}"
    return str(level).replace("opt_in", "opt-in")


# Metrics


def metric_table() -> str:
    """All metrics that this version sends, and what Prometheus calls them."""
    rows = [
        f"| `{it['name']}` | {it['instrument']} | `{it['unit']}` | `{_in_prometheus(it)}` |"
        for it in _sent("metrics")
    ]
    return "\n".join(["| Metric | Instrument | Unit | In Prometheus |\n|---|---|---|---|", *rows])


def _in_prometheus(item: dict[str, Any]) -> str:
    return prometheus.name_of(item["name"], item["unit"], item["instrument"])


def metrics() -> str:
    """Each metric that this version sends: what it counts, and its labels."""
    return "\n\n".join(_metric(item) for item in _sent("metrics"))


def _metric(item: dict[str, Any]) -> str:
    words = [_meaning(item)]
    if item.get("requirement_level") == "opt_in":
        words.append("Opt-in.")
    return f"## `{item['name']}`\n\n{' '.join(words)}\n\n{_levels(item, 'Label')}"


# Settings


def settings() -> str:
    """The arguments of ``configure()``, from its docstring."""
    return "\n\n".join(_setting(*item) for item in documented_arguments().items())


def documented_arguments() -> dict[str, str]:
    """Each argument of ``configure()`` and what its docstring says about it."""
    text = inspect.getdoc(cxtrace.configure) or ""
    part = text.partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", part, re.MULTILINE)
    return {name: " ".join(meaning.replace("``", "`").split()) for name, meaning in found}


def _setting(name: str, meaning: str) -> str:
    where = "An argument only." if name in ONLY_ARGUMENTS else f"Environment: `{variable(name)}`"
    return f"### `{name}`\n\n{meaning}\n\n{where}"


ONLY_ARGUMENTS = ("on_friction", "pseudonymiser")
"""Settings that are code."""


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return "CXTRACE_MAP" if name == "journey_map" else f"CXTRACE_{name.upper()}"


# Commands


def command_pages() -> str:
    """The help of each command."""
    parts = [f"## Overview\n\n```text\n{help_of()}```"]
    parts += [f"## `cxtrace {name}`\n\n```text\n{help_of(name)}```" for name in COMMANDS]
    return "\n\n".join(parts)


def help_of(*command: str) -> str:
    """What ``cxtrace COMMAND --help`` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), mock.patch.dict(os.environ, COLUMNS="88"):
        main([*command, "--help"])
    return printed.getvalue()


# Grammar of the map


def map_grammar() -> str:
    """The keys of a journey map, from its JSON Schema."""
    schema = json_schema()
    parts = [_keys("The top of a file", schema)]
    for key, part in schema["properties"].items():
        title, inner = _table_of(key, part)
        if inner is not None:
            parts.append(_keys(title, inner))
    return "\n\n".join(parts)


def _table_of(key: str, part: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    if "properties" in part.get("items", {}):
        return f"`[[{key}]]`", part["items"]
    inner = part.get("additionalProperties")
    if isinstance(inner, dict) and "properties" in inner:
        return f"`[{key}.NAME]`", inner
    return "", None


def _keys(title: str, table: dict[str, Any]) -> str:
    required = table.get("required", ())
    rows = [
        f"| `{key}` | {_type(part)} | {'yes' if key in required else ''} | {part['description']} |"
        for key, part in table["properties"].items()
    ]
    head = "| Key | Value | Required | Meaning |\n|---|---|---|---|"
    return "\n".join([f"## {title}\n", head, *rows])


def _type(part: dict[str, Any]) -> str:
    if "const" in part:
        return f'`"{part["const"]}"`'
    if "oneOf" in part:
        return "table, or array of table"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if part.get("type") == "array":
        return f"array of {_type(part['items'])}"
    if part.get("type") == "string":
        return "name" if "pattern" in part else "text"
    if part.get("type") == "object":
        return "table"
    return str(part.get("type", "anything"))


_MAKERS = {
    "cx-attributes": attribute_table,
    "cx-stamped": stamped_list,
    "cx-events": events,
    "cx-metrics": metrics,
    "cx-metric-names": metric_table,
    "cx-settings": settings,
    "cx-commands": command_pages,
    "cx-map-grammar": map_grammar,
}


class Generated(SphinxDirective):
    """Puts what one of the makers writes on the page."""

    def run(self) -> list[nodes.Node]:
        """The parsed Markdown."""
        return self.parse_text_to_nodes(_MAKERS[self.name](), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    for name in _MAKERS:
        app.add_directive(name, Generated)
    return {"parallel_read_safe": True}
