"""The health of the SDK: whether what was measured has arrived."""

from typing import Final

from cxtrace import attributes as names
from cxtrace.platform.dashboards import promql, words
from cxtrace.platform.dashboards.facts import Board, Panel, Query, Row, falling, rising
from cxtrace.platform.dashboards.promql import RANGE, STEP
from cxtrace.platform.prometheus import increase, label, total

NAME: Final = "sdk-health"

_SIGNAL: Final = (names.SDK_SIGNAL,)


def board() -> Board:
    """The board of every service that cxtrace is in."""
    return Board(
        NAME,
        "SDK health",
        "Whether what cxtrace measures arrives: created, delivered, waiting, lost. And how many"
        " series it is.",
        (),
        (
            Row("Now", _numbers()),
            Row("Over time", _lines()),
            Row("Series", (_series(), _folded())),
        ),
    )


def _counted(instrument: str, by: tuple[str, ...] = (), within: str = RANGE) -> str:
    return increase(by, f"{label(instrument)}_total", within)


def _level(instrument: str, by: tuple[str, ...] = ()) -> str:
    return total(by, label(instrument))


def _numbers() -> tuple[Panel, ...]:
    created, dropped = _counted(names.METRIC_SDK_CREATED), _counted(names.METRIC_SDK_DROPPED)
    again = f"({promql.or_zero(_counted(names.METRIC_SDK_RECOVERED))})"
    return (
        words.number("Created", "Spans, logs and metric points to be delivered.", created, "short"),
        words.number(
            "Delivered",
            "What the receiver has taken, of what was created or recovered.",
            promql.share(_counted(names.METRIC_SDK_EXPORTED), f"({created} + {again})"),
            "percentunit",
            falling(0.95, 0.99),
        ),
        words.number("Lost", "Items that are lost for good.", dropped, "short", rising(1, 100)),
        words.number(
            "In memory",
            "Items that wait in memory, or are under way.",
            _level(names.METRIC_SDK_QUEUED),
            "short",
        ),
        words.number(
            "On disk",
            "Items that wait in the spool until the receiver answers; 0 without a spool.",
            promql.or_zero(_level(names.METRIC_SDK_SPOOLED)),
            "short",
        ),
        words.number(
            "Recovered",
            "Items of processes that ended before they could deliver them.",
            promql.or_zero(_counted(names.METRIC_SDK_RECOVERED)),
            "short",
        ),
    )


def _lines() -> tuple[Panel, ...]:
    signal = words.line_of(names.SDK_SIGNAL)
    reasons = (names.SDK_SIGNAL, names.ERROR_TYPE)
    delivered = Panel(
        "series",
        "Created and delivered",
        "Where the lines part, something waits or is lost.",
        (
            Query(_counted(names.METRIC_SDK_CREATED, _SIGNAL, STEP), f"created: {signal}"),
            Query(_counted(names.METRIC_SDK_EXPORTED, _SIGNAL, STEP), f"delivered: {signal}"),
        ),
    )
    waiting = Panel(
        "series",
        "Waiting",
        "Items in memory, and on disk where there is a spool.",
        (
            Query(_level(names.METRIC_SDK_QUEUED, _SIGNAL), f"in memory: {signal}"),
            Query(_level(names.METRIC_SDK_SPOOLED, _SIGNAL), f"on disk: {signal}"),
        ),
    )
    lost = words.lines(
        "Lost, by reason",
        "What is lost for good. What each reason means is in the page about `cxtrace.report()`.",
        promql.top(words.MOST_LINES, _counted(names.METRIC_SDK_DROPPED, reasons, STEP)),
        " · ".join(map(words.line_of, reasons)),
    )
    back = words.lines(
        "Recovered",
        "Items that were read from the spool of processes that have ended.",
        _counted(names.METRIC_SDK_RECOVERED, _SIGNAL, STEP),
        signal,
    )
    return delivered, waiting, lost, back


def _series() -> Panel:
    count = 'count by (__name__) ({__name__=~"cx(trace)?_.+"})'
    return Panel(
        "bars",
        "Series, by metric",
        "The metrics with most series. `cxtrace check --series` says how many there can be.",
        (Query(f"sort_desc({promql.top(words.MOST_LINES * 2, count)})", "{{__name__}}"),),
        height=10,
    )


def _folded() -> Panel:
    folded = 'count by (__name__) ({__name__=~"cx_.+", otel_metric_overflow="true"})'
    return Panel(
        "stat",
        "Metrics with more series than fit",
        "OpenTelemetry keeps 2,000 series of an instrument for each process, and folds the rest"
        " into one.",
        (Query(promql.or_zero(f"count({folded})")),),
        steps=rising(1, 1),
        height=10,
    )
