"""Addresses that open a trace, or a search, in the page of a store of traces.

Sources, read and where possible run: https://www.jaegertracing.io/docs/2.13/architecture/apis/ and
https://docs.victoriametrics.com/victoriatraces/querying/
"""

from datetime import datetime, timezone
from typing import Final
from urllib.parse import quote

from attrs import frozen

from cxtrace.platform.links import explore, queries
from cxtrace.platform.links.encoding import encoded, place, text
from cxtrace.platform.links.searches import DAYS, MOST, Search

_MILLIS: Final = 1_000
_MICROS: Final = 1_000_000
_SECONDS_A_DAY: Final = 86_400


@frozen
class Period:
    """The time in which traces are looked for.

    Attributes:
        start: Its beginning, in seconds since 1970.
        end: Its end, likewise.
    """

    start: int
    end: int

    @classmethod
    def until(cls, end: int, days: int) -> "Period":
        """So many days, until a moment in seconds since 1970."""
        return cls(end - days * _SECONDS_A_DAY, end)


def jaeger(base: str, search: Search, service: str, period: Period | None = None) -> str:
    """The search in Jaeger's page.

    Args:
        base: Where the page is, as ``http://localhost:16686``.
        search: What is looked for.
        service: The one where it happens: Jaeger searches the spans of one at a time.
        period: When; without it, the two days before somebody opens the address.
    """
    return f"{place(base)}/search?{jaeger_query(search, service, period)}"


def jaeger_query(search: Search, service: str, period: Period | None = None) -> str:
    """What comes behind ``?``, for the page and for ``/api/traces`` alike."""
    tags = queries.tags(search)
    asked: dict[str, str | int] = {"service": text(service), "tags": tags, "lookback": f"{DAYS}d"}
    if period is not None:
        # The page sends what it is given: without a beginning, Jaeger takes two days.
        times = {"start": period.start * _MICROS, "end": period.end * _MICROS}
        asked = {**asked, "lookback": "custom", **times}
    return encoded({**asked, "limit": MOST})


def jaeger_trace(base: str, trace_id: str) -> str:
    """One trace in Jaeger's page.

    Args:
        base: Where the page is, as ``http://localhost:16686``.
        trace_id: In hexadecimal digits.
    """
    return f"{place(base)}/trace/{quote(trace_id, safe='')}"


def grafana(base: str, search: Search, datasource: str, period: Period | None = None) -> str:
    """The search in Grafana's Explore, with Tempo.

    Args:
        base: Where Grafana is, as ``http://localhost:3000``.
        search: What is looked for.
        datasource: The uid of the Tempo data source in this Grafana.
        period: When; without it, the two days before somebody opens the address.
    """
    if period is None:
        return explore.tempo(base, search, datasource)
    times = (str(period.start * _MILLIS), str(period.end * _MILLIS))
    return explore.tempo(base, search, datasource, times)


def victoriatraces(base: str, search: Search, period: Period | None = None) -> str:
    """The search in the page of VictoriaTraces, which searches spans and not their events.

    Args:
        base: Where VictoriaTraces is, as ``http://localhost:10428``.
        search: What is looked for, in spans.
        period: When; without it, the two days before somebody opens the address.

    Raises:
        ValueError: It is in events.
    """
    asked: dict[str, str | int] = {"query": queries.logsql(search), "g0.relative_time": "none"}
    asked["g0.range_input"] = f"{DAYS}d"
    if period is not None:
        asked["g0.range_input"] = f"{(period.end - period.start) // _SECONDS_A_DAY}d"
        end = datetime.fromtimestamp(period.end, timezone.utc)
        asked["g0.end_input"] = end.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{place(base)}/select/vmui/#/?{encoded({**asked, 'limit': MOST})}"
