"""A journey across its traces: what happened when, with its signals and changes of hands."""

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Final

from cxtrace import attributes as names
from cxtrace._signal_words import hurts, signal_words
from cxtrace._tree import RecordedEvent, RecordedSpan, in_order, printable
from cxtrace.platform.links import urls
from cxtrace.platform.live.measured import HURT
from cxtrace.platform.live.recordings import is_visit
from cxtrace.platform.live.words import SIGNS, duration
from cxtrace.platform.pages.markup import Html, Part, join, link, tag
from cxtrace.platform.view.ways import Trace, Way

MOST_ROWS: Final = 1_000
"""Lines of one journey."""

_LONG_PAUSE: Final = 1_000_000_000


def waterfall(way: Way, jaeger: str | None) -> Html:
    """The traces of a journey, each on its own scale of time, and the pauses between them."""
    givers = _givers(way)
    left = MOST_ROWS
    parts: list[Part] = []
    before: int | None = None
    for trace in way.traces:
        begin = trace[0].start_ns
        if before is not None and begin - before > _LONG_PAUSE:
            parts.append(tag("p", f"{duration((begin - before) / 1e9)} later", class_="later"))
        rows = list(_rows(trace, givers))
        parts += [_heading(trace, jaeger), tag("ol", rows[:left], class_="wf")]
        if len(rows) > left:
            parts.append(_cut(len(rows) - left))
        left = max(0, left - len(rows))
        before = max(span.end_ns for span in trace)
    return join(parts)


def _cut(number: int) -> Html:
    return tag(
        "p", f"{number:,} more spans and signals of this trace are not shown.", class_="soft"
    )


def moment(nanoseconds: int) -> str:
    """A point in time, for people."""
    try:
        found = datetime.fromtimestamp(nanoseconds // 10**9, tz=timezone.utc)
    except (OSError, OverflowError, ValueError):
        return "at no time that there is"
    return f"{found:%Y-%m-%d %H:%M:%S}.{nanoseconds // 10**6 % 1000:03} UTC"


def _heading(trace: Trace, jaeger: str | None) -> Html:
    trace_id = trace[0].trace_id
    shown = f"trace {trace_id[:8]}"
    services = ", ".join(dict.fromkeys(span.service_name for span in trace if span.service_name))
    took = max(span.end_ns for span in trace) - trace[0].start_ns
    where = link(urls.jaeger_trace(jaeger, trace_id), shown) if jaeger else shown
    more = f" · {duration(took / 1e9)} · {moment(trace[0].start_ns)} · {services}"
    return tag("h3", where, tag("span", more), class_="trace", title=trace_id)


def _givers(way: Way) -> dict[str, str]:
    """For each visit at which another function takes over: the function before it."""
    found: dict[str, str] = {}
    owner = ""
    for visit in way.visits:
        now = str(visit.attributes.get(names.OWNER_FUNCTION, ""))
        if owner and now and now != owner:
            found[visit.span_id] = owner
        owner = now or owner
    return found


def _rows(trace: Trace, givers: dict[str, str]) -> Iterator[Html]:
    begin = trace[0].start_ns
    whole = max(max(span.end_ns for span in trace) - begin, 1)
    caller = ""
    for depth, item in in_order(trace):
        if isinstance(item, RecordedEvent):
            yield _signal(item, depth, 100 * (item.time_ns - begin) / whole)
            continue
        at = 100 * (item.start_ns - begin) / whole
        wide = 100 * (item.end_ns - item.start_ns) / whole
        service = item.service_name if item.service_name != caller else ""
        caller = item.service_name
        yield _span(item, _style(depth, at, wide), givers.get(item.span_id), service)


def _style(depth: int, at: float, wide: float | None = None) -> str:
    place = f"--d:{min(depth, 12)};--a:{min(max(at, 0), 100):.2f}"
    return place if wide is None else f"{place};--w:{min(max(wide, 0), 100):.2f}"


def _span(span: RecordedSpan, style: str, giver: str | None, service: str) -> Html:
    told = span.attributes
    took = tag("em", duration((span.end_ns - span.start_ns) / 1e9), class_="when")
    if not is_visit(span):
        kind = "" if names.INTERACTION_NAME in told else "other"
        title = str(told.get(names.INTERACTION_NAME, span.name))
        wrong = f"✗ {told.get(names.ERROR_TYPE, 'error')} " if span.status_code == "ERROR" else ""
        who = tag("em", wrong, f"@{service}" if service else "", class_="who")
        return tag("li", tag("b", title), who, took, tag("i"), class_=kind or None, style=style)
    outcome = str(told[names.TOUCHPOINT_OUTCOME])
    owner = str(told.get(names.OWNER_FUNCTION, ""))
    hands = tag("mark", f"{giver} → {owner}", class_="x") if giver else owner
    stage = str(told.get(names.STAGE_NAME, ""))
    who = tag("em", f"{outcome} · {stage} · ", hands, class_="who")
    name = str(told.get(names.TOUCHPOINT_NAME, span.name))
    tone = "tp hurt" if outcome in HURT else "tp"
    title = tag("b", f"{SIGNS.get(outcome, '·')} {name}")
    return tag("li", title, who, took, tag("i"), class_=tone, style=style)


def _signal(event: RecordedEvent, depth: int, at: float) -> Html:
    sign, tone = ("▲", "sig hurt") if hurts(event) else ("◆", "sig")
    said = tag("u", f"{sign} {' '.join(map(printable, signal_words(event)))}")
    blank = tag("em", class_="when")
    return tag("li", said, blank, tag("i"), class_=tone, style=_style(depth, at))
