"""Addresses that open a search in Grafana's Explore, in the form of its panes.

Source: https://grafana.com/docs/grafana/latest/explore/get-started-with-explore/
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from cxtrace.platform.links import queries
from cxtrace.platform.links.encoding import as_json, encoded, place, text
from cxtrace.platform.links.searches import DAYS, MOST, Search

Times: TypeAlias = tuple[str, str]
"""From when until when, in Grafana's words or in milliseconds since 1970."""

RECENT: Final[Times] = (f"now-{DAYS}d", "now")

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def tempo(
    base: str,
    search: Search,
    datasource: str,
    times: Times = RECENT,
    matching: Mapping[str, str] = _NOTHING,
) -> str:
    """The search in Tempo.

    Args:
        base: Where Grafana is, as ``http://localhost:3000``; empty within Grafana itself.
        search: What is looked for.
        datasource: The uid of the data source in this Grafana.
        times: When.
        matching: More attributes, each with a regular expression for its value.
    """
    asked = {
        "queryType": "traceql",
        "query": queries.traceql(search, matching),
        "limit": MOST,
        "tableType": "traces",
    }
    return _address(base, "tempo", datasource, asked, times)


def jaeger(base: str, search: Search, service: str, datasource: str, times: Times = RECENT) -> str:
    """The search in Jaeger, through Grafana.

    Args:
        base: Where Grafana is, as ``http://localhost:3000``; empty within Grafana itself.
        search: What is looked for.
        service: The one where it happens: Jaeger searches the spans of one at a time.
        datasource: The uid of the data source in this Grafana.
        times: When.
    """
    asked = {
        "queryType": "search",
        "service": text(service),
        "tags": queries.logfmt(search),
        "limit": MOST,
    }
    return _address(base, "jaeger", datasource, asked, times)


def _address(
    base: str, kind: str, datasource: str, asked: Mapping[str, object], times: Times
) -> str:
    uid, (start, end) = text(datasource), times
    query = {"refId": "A", "datasource": {"type": kind, "uid": uid}, **asked}
    when = {"from": text(start), "to": text(end)}
    panes = as_json({"cx": {"datasource": uid, "queries": [query], "range": when}})
    return f"{place(base)}/explore?{encoded({'schemaVersion': 1, 'panes': panes})}"
