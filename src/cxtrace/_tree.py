"""Draw finished spans as a tree that a person can read: pure text, no input or output.

A touchpoint shows how it ended, how long it took, its stage, owner and channel. Signals stand where
they happened, between the child spans. Spans of others (HTTP, SQL) are dimmed.
"""

import itertools
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, get_args

from attrs import field, frozen

from . import attributes as cx
from ._signal_words import hurts, signal_words


@frozen
class RecordedEvent:
    """One span event as it was exported; ``time_ns`` is nanoseconds since the Unix epoch."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any] = field(factory=dict, repr=False)


@frozen
class RecordedSpan:
    """One finished span, whether it comes from the SDK or was read back from a file.

    Identifiers are lower-case hex and ``parent_id`` is ``None`` for the root of a trace. ``kind``
    and ``status_code`` are OpenTelemetry's names in capitals (``SERVER``, ``ERROR``). Times are
    nanoseconds since the Unix epoch. ``links`` holds pairs of trace and span identifiers.
    """

    trace_id: str
    span_id: str
    name: str
    start_ns: int = field(repr=False)
    end_ns: int = field(repr=False)
    parent_id: str | None = None
    kind: str = "INTERNAL"
    status_code: str = "UNSET"
    service_name: str = ""
    attributes: Mapping[str, Any] = field(factory=dict, repr=False)
    events: tuple[RecordedEvent, ...] = field(default=(), repr=False)
    links: tuple[tuple[str, str], ...] = field(default=(), repr=False)


_Item: TypeAlias = RecordedSpan | RecordedEvent


@frozen
class _Glyphs:
    tee: str
    last: str
    bar: str
    signal: str
    more: str
    micro: str
    signs: Mapping[str, str]


def _signs(signs: str) -> Mapping[str, str]:
    return dict(zip(get_args(cx.Outcome), signs, strict=True))


_UNICODE: Final = _Glyphs("├─ ", "└─ ", "│  ", "▸ ", "…", "µ", _signs("✓○✗→…"))
_ASCII: Final = _Glyphs("|- ", "`- ", "|  ", "* ", "~", "u", _signs("+ox>."))
_STYLES: Final = {
    "head": "\x1b[1m",
    "dim": "\x1b[2m",
    "completed": "\x1b[32m",
    "failed": "\x1b[31m",
    "abandoned": "\x1b[33m",
    "handed_off": "\x1b[36m",
    "deferred": "\x1b[34m",
    "signal": "\x1b[36m",
    "hurt": "\x1b[33m",
}
_NARROWEST: Final = 40
_NARROWEST_LABEL: Final = 34


@frozen
class _Look:
    width: int
    colour: bool
    glyphs: _Glyphs

    def paint(self, style: str, text: str) -> str:
        code = _STYLES.get(style, "")
        return f"{code}{text}\x1b[0m" if self.colour and code and text else text

    def fit(self, text: str, width: int) -> str:
        if columns(text) <= width:
            return text
        taken = itertools.accumulate(map(columns, text))
        kept = "".join(char for char, used in zip(text, taken, strict=True) if used < width)
        return kept + self.glyphs.more if width > 0 else ""

    def short(self, identifier: str) -> str:
        # Both ends: a ULID begins with the time, so its head alone tells no two journeys apart.
        if len(identifier) <= 12:
            return identifier
        return f"{identifier[:6]}{self.glyphs.more}{identifier[-4:]}"

    def duration(self, nanoseconds: int) -> str:
        seconds = nanoseconds // 10**9
        if seconds >= 3600:
            return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
        if seconds >= 60:
            return f"{seconds // 60} min {seconds % 60:02d} s"
        for size, unit in ((10**9, "s"), (10**6, "ms")):
            if nanoseconds >= size:
                return f"{_digits(nanoseconds / size)} {unit}"
        return f"{_digits(max(nanoseconds, 0) / 1000)} {self.glyphs.micro}s"


def _digits(value: float) -> str:
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"


def columns(text: str) -> int:
    """Return how many terminal columns ``text`` takes: wide characters take two, accents none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def printable(value: object) -> str:
    r"""Return ``value`` as one line that cannot steer a terminal.

    Escape sequences, line breaks and characters that turn the reading direction are written out
    (``\x1b``), because span content may come from whoever called the service.
    """
    text = f"{round(value, 3):.9g}" if isinstance(value, float) else str(value)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def can_draw(encoding: str) -> bool:
    """Tell whether ``encoding`` has the signs and lines of the tree."""
    try:
        "├─└│▸…µ✓✗○→".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


# The rows of one trace


@frozen
class _Row:
    branch: str
    title: str
    title_style: str
    mark: str = ""
    style: str = ""
    """Style of the mark and of the outcome."""
    note: str = ""
    cells: tuple[str, ...] = ()
    """Duration, stage, owner, channel, outcome; empty for a signal."""


@frozen
class _Node:
    item: _Item
    branch: str
    below: str
    caller: str
    """Service of the span above."""


def _moment(item: _Item) -> int:
    return item.start_ns if isinstance(item, RecordedSpan) else item.time_ns


def _nodes(spans: Mapping[str, RecordedSpan], glyphs: _Glyphs) -> Iterator[_Node]:
    children: dict[str, list[RecordedSpan]] = defaultdict(list)
    for span in spans.values():
        parent = span.parent_id or ""
        children[parent if parent in spans else ""].append(span)
    seen: set[str] = set()
    # Spans whose parents form a loop hang from no root, so at last every span is tried as one.
    for root in (*children[""], *spans.values()):
        stack = [_Node(root, "", "", root.service_name)]
        while stack:
            node = stack.pop()
            if isinstance(node.item, RecordedEvent):
                yield node
            elif node.item.span_id not in seen:
                seen.add(node.item.span_id)
                stack += _below(node, node.item, children[node.item.span_id], glyphs)
                yield node


def _below(
    node: _Node, span: RecordedSpan, children: list[RecordedSpan], glyphs: _Glyphs
) -> Iterator[_Node]:
    signals = [event for event in span.events if event.name.startswith("cx.")]
    items: list[_Item] = [*children, *signals]
    items.sort(key=_moment, reverse=True)
    for place, item in enumerate(items):
        branch, bar = (glyphs.tee, glyphs.bar) if place else (glyphs.last, "   ")
        yield _Node(item, node.below + branch, node.below + bar, span.service_name)


def _span_row(span: RecordedSpan, node: _Node, look: _Look) -> _Row:
    title, title_style, facts, outcome = _role(span)
    style = outcome if outcome in look.glyphs.signs else ""
    if span.status_code == "ERROR":
        title_style, style, outcome = "failed", "failed", outcome or "error"
    return _Row(
        branch=node.branch,
        title=title,
        title_style=title_style,
        mark=f"{look.glyphs.signs[style]} " if style else "",
        style=style,
        note="".join(f"  {fact}" for fact in _asides(span, title, node.caller)),
        cells=(look.duration(span.end_ns - span.start_ns), *facts, outcome),
    )


def _role(span: RecordedSpan) -> tuple[str, str, tuple[str, ...], str]:
    """Return title, style, the facts (stage, owner, channel) and the outcome of a span."""
    found = span.attributes
    if cx.INTERACTION_NAME in found:
        return printable(found[cx.INTERACTION_NAME]), "", ("", "", ""), ""
    # The name alone tells nothing: every span below a touchpoint is stamped with it too.
    if cx.TOUCHPOINT_OUTCOME not in found and found.get(cx.TOUCHPOINT_NAME) != span.name:
        return printable(span.name), "dim", ("", "", ""), ""
    keys = (cx.STAGE_NAME, cx.OWNER_FUNCTION, cx.CHANNEL_NAME)
    facts = tuple(printable(found.get(key, "")) for key in keys)
    outcome = printable(found.get(cx.TOUCHPOINT_OUTCOME, ""))
    return printable(found.get(cx.TOUCHPOINT_NAME, span.name)), "head", facts, outcome


def _asides(span: RecordedSpan, title: str, caller: str) -> Iterator[str]:
    if cx.ERROR_TYPE in span.attributes:
        yield printable(span.attributes[cx.ERROR_TYPE])
    if printable(span.name) != title:
        yield printable(span.name)
    if span.service_name != caller:
        yield f"@{printable(span.service_name)}"


def _signal_row(event: RecordedEvent, node: _Node, look: _Look) -> _Row:
    style = "hurt" if hurts(event) else "signal"
    title = " ".join(map(printable, signal_words(event)))
    return _Row(node.branch, title, style, look.glyphs.signal, style)


def in_order(spans: Iterable[RecordedSpan]) -> Iterator[tuple[int, RecordedSpan | RecordedEvent]]:
    """Yield spans of a trace and their signals as the tree has them, each with its depth."""
    for node in _nodes({span.span_id: span for span in spans}, _UNICODE):
        yield len(node.branch) // len(_UNICODE.tee), node.item


def _table(rows: list[_Row], look: _Look) -> Iterator[str]:
    tabled = [row for row in rows if row.cells]
    label = max(columns(row.branch + row.mark + row.title + row.note) for row in tabled)
    widths = [max(map(columns, cells)) for cells in zip(*(r.cells for r in tabled), strict=True)]
    _drop_columns(widths, look.width - min(label, _NARROWEST_LABEL))
    label = min(label, look.width - _taken(widths))
    for row in rows:
        text = _label(row, label if row.cells else look.width, look)
        yield (text + _cells(row, widths, look)).rstrip()


def _taken(widths: list[int]) -> int:
    return sum(width + 2 for width in widths if width)


def _drop_columns(widths: list[int], room: int) -> None:
    """Drop columns until the rest fits: channel, outcome (the mark tells it), stage, owner."""
    for column in (3, 4, 1, 2):
        if _taken(widths) > room:
            widths[column] = 0


def _label(row: _Row, width: int, look: _Look) -> str:
    branch = row.branch
    if len(branch) > width // 2:
        branch = look.glyphs.more + branch[1 - width // 2 :]
    room = width - len(branch) - len(row.mark)
    title = look.fit(row.title, room)
    left = room - columns(title)
    aside = look.fit(row.note, left if left > 4 else 0)
    return (
        look.paint("dim", branch)
        + look.paint(row.style, row.mark)
        + look.paint(row.title_style, title)
        + look.paint("failed" if row.style == "failed" else "dim", aside)
        + " " * (room - columns(title + aside))
    )


def _cells(row: _Row, widths: list[int], look: _Look) -> str:
    styles = ("dim" if row.title_style == "dim" else "", "", "", "dim", row.style)
    text = ""
    for place, (cell, width) in enumerate(zip(row.cells, widths, strict=False)):
        if width:
            cut = look.fit(cell, width)
            space = " " * (width - columns(cut))
            painted = look.paint(styles[place], cut)
            text += f"  {space}{painted}" if place == 0 else f"  {painted}{space}"
    return text


def _header(spans: list[RecordedSpan], look: _Look) -> str:
    def first(key: str) -> str:
        return next((printable(s.attributes[key]) for s in spans if key in s.attributes), "")

    services = {printable(span.service_name) for span in spans}
    journey = f"{first(cx.JOURNEY_NAME)} {look.short(first(cx.JOURNEY_ID))}".strip()
    pseudonym = look.short(first(cx.CUSTOMER_PSEUDONYM))
    rest = [
        f"customer {pseudonym}" if pseudonym else "",
        *(services if len(services) == 1 else ()),
        f"trace {spans[0].trace_id}",
    ]
    facts = look.fit("   ".join(filter(None, rest)), look.width - columns(journey) - 3)
    return "   ".join(filter(None, (look.paint("head", journey), look.paint("dim", facts))))


def draw_trace(
    spans: Iterable[RecordedSpan],
    *,
    width: int = 100,
    colour: bool = False,
    ascii_only: bool = False,
) -> str:
    """Draw spans as one tree a trace, the earliest trace first.

    A span whose parent is not among ``spans`` stands at the left edge. Where a trace runs through
    several services, each hop shows the service it enters. Nothing of a span can steer the
    terminal: see ``printable``.

    Args:
        spans: Finished spans, in any order, of any number of traces and services.
        width: Columns of the terminal. Columns of the table are dropped and names cut to fit;
            below 40 the drawing no longer narrows.
        colour: Paint with ANSI colours.
        ascii_only: Draw with ASCII lines and signs.

    Returns:
        The lines of the drawing, each ended by a newline; empty without spans.

    """
    look = _Look(max(width, _NARROWEST), colour, _ASCII if ascii_only else _UNICODE)
    traces: dict[str, dict[str, RecordedSpan]] = defaultdict(dict)
    for span in sorted(spans, key=_moment):
        traces[span.trace_id][span.span_id] = span
    return "\n".join(_trace(trace, look) for trace in traces.values())


def _trace(trace: Mapping[str, RecordedSpan], look: _Look) -> str:
    rows = [
        _signal_row(node.item, node, look)
        if isinstance(node.item, RecordedEvent)
        else _span_row(node.item, node, look)
        for node in _nodes(trace, look.glyphs)
    ]
    lines = (_header(list(trace.values()), look), *_table(rows, look))
    return "".join(f"{line}\n" for line in lines)
