"""What Grafana does with a dashboard before it asks anybody: variables, ranges, links.

Grafana itself cannot be had in CI. What is done here follows its documentation and the source of
its Prometheus and Jaeger data sources, for what our boards make use of; where there is a Grafana,
tests/browser/test_grafana.py looks at the boards in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

SCRAPE_SECONDS = 15
"""Grafana's default for the interval at which Prometheus scrapes."""

_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w[\w.]*)(?::(\w+))?\}")
_SPECIAL = re.compile(r"[$^*{}\[\]'+?.()|]")

Choice = str | list[str]
"""What is chosen of a variable: one value, or several; ``$__all`` is all."""


class Target(NamedTuple):
    """A query of a panel."""

    board: str
    panel: str
    ref: str
    expr: str
    is_instant: bool
    step: int
    kind: str

    def __str__(self) -> str:
        return f"{self.board}: {self.panel} ({self.ref})"


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every panel but the headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def targets(dashboard: Mapping[str, Any]) -> Iterator[Target]:
    """Every query of every panel."""
    for panel in panels(dashboard):
        step = 60 * int(panel.get("interval", "0m").removesuffix("m"))
        for each in panel["targets"]:
            yield Target(
                dashboard["title"],
                panel["title"],
                each["refId"],
                each["expr"],
                each["instant"],
                step,
                panel["type"],
            )


def variables(dashboard: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The variables of a board by name, but for those that are data sources and filters."""
    listed = dashboard["templating"]["list"]
    return {each["name"]: each for each in listed if each["type"] in {"query", "custom"}}


def promql(
    text: str,
    dashboard: Mapping[str, Any],
    chosen: Mapping[str, Choice],
    seconds: int = 86_400,
    step: int = 0,
) -> str:
    """A query as Grafana sends it to Prometheus."""
    known = variables(dashboard)
    within = {
        "__range": f"{seconds}s",
        "__rate_interval": f"{max(step + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)}s",
    }

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name in within:
            return within[name]
        if name not in known:
            return match[0]
        return _in_promql(known[name], chosen[name])

    return _VARIABLE.sub(value, text)


def _in_promql(variable: Mapping[str, Any], choice: Choice) -> str:
    if choice == "$__all":
        return str(variable["allValue"])
    if not variable["multi"]:
        assert isinstance(choice, str)
        return choice.replace("\\", "\\\\")
    values = [choice] if isinstance(choice, str) else choice
    escaped = [_SPECIAL.sub(r"\\\\\g<0>", each.replace("\\", "\\\\\\\\")) for each in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def link(
    url: str,
    dashboard: Mapping[str, Any],
    chosen: Mapping[str, Choice],
    labels: Mapping[str, str] | None = None,
    value: str = "",
) -> str:
    """A link as Grafana opens it.

    Args:
        url: The link.
        dashboard: Where it is.
        chosen: What is chosen of each variable.
        labels: Of the line that is followed.
        value: Of the cell that is followed.
    """
    known = variables(dashboard)
    places = {
        "__value.raw": value,
        "__url_time_range": "from=now-24h&to=now",
        "__from": "now-24h",
        "__to": "now",
        **{f"__field.labels.{name}": each for name, each in (labels or {}).items()},
        **{f"{kind}_datasource": f"cx-{kind}" for kind in ("prometheus", "tempo", "jaeger")},
    }

    def found(match: re.Match[str]) -> str:
        name, form = match[1] or match[2], match[3]
        if name in places:
            return f"var-{name}={places[name]}" if form == "queryparam" else places[name]
        if name not in known:
            return match[0]
        choice = chosen[name]
        if choice == "$__all":
            return str(known[name]["allValue"])
        assert form == "pipe" or isinstance(choice, str)
        return choice if isinstance(choice, str) else "|".join(choice)

    return _VARIABLE.sub(found, url)


def explored(url: str) -> dict[str, Any]:
    """The query of a link to Explore."""
    parts = urlsplit(url)
    assert parts.path == "/explore"
    ((pane),) = json.loads(parse_qs(parts.query)["panes"][0]).values()
    (query,) = pane["queries"]
    assert query["datasource"]["uid"] == pane["datasource"]
    found: dict[str, Any] = query
    return found


def tags(logfmt: str) -> dict[str, str]:
    """The tags of a search in Jaeger, as Grafana reads them."""
    return dict(re.findall(r'(\S+?)="([^"]*)"(?: |$)', logfmt))


def links(panel: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Where each link of a panel is, its title and its address."""
    for each in panel.get("links", ()):
        yield "panel", each["title"], each["url"]
    for each in panel["fieldConfig"]["defaults"].get("links", ()):
        yield "line", each["title"], each["url"]
    for override in panel["fieldConfig"]["overrides"]:
        for setting in override["properties"]:
            if setting["id"] == "links":
                for each in setting["value"]:
                    yield override["matcher"]["options"], each["title"], each["url"]


def columns(panel: Mapping[str, Any]) -> dict[str, str]:
    """The names that a table shows, by those of what comes from the store."""
    (organised,) = (each for each in panel["transformations"] if each["id"] == "organize")
    names: dict[str, str] = organised["options"]["renameByName"]
    return names
