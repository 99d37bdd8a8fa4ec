"""Finished traces as trees on the console, for the developer who is looking."""

import functools
import os
import shutil
import sys
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import TextIO

from opentelemetry.sdk.resources import SERVICE_NAME
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import INVALID_SPAN_CONTEXT, format_span_id, format_trace_id

from cxtrace._tree import RecordedEvent, RecordedSpan, can_draw, draw_trace


class TreeExporter(SpanExporter):
    """Print each local trace as a tree once its root has ended.

    A root is a span without a parent, or whose parent is in another process. Spans still waiting
    for their root are printed on ``force_flush`` and ``shutdown``, and, those of the oldest trace
    first, when more than ``max_spans`` wait.

    Args:
        stream: Where to print; standard error by default, since output is the host's.
        colour: Paint or not. By default only on a terminal, and not where ``NO_COLOR`` is set.
        width: Columns; by default those of the terminal, else 100.
        max_spans: Bound on the spans kept in memory.

    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        colour: bool | None = None,
        width: int | None = None,
        max_spans: int = 2000,
    ) -> None:
        self._stream = stream
        self._colour = colour
        self._width = width
        self._max_spans = max_spans
        self._open = True
        self._lock = threading.Lock()
        self._waiting: dict[str, list[RecordedSpan]] = {}

    def after_fork(self) -> None:
        """Begin anew in a child: what waits is the parent's, and so may be the lock."""
        self._lock = threading.Lock()
        self._waiting = {}

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take the spans and print the trees that are whole; a broken stream is a ``FAILURE``."""
        if not self._open:
            return SpanExportResult.FAILURE
        with self._lock:
            roots = [self._keep(span) for span in spans]
            trees = [tree for root in roots if root and (tree := self._tree(root))]
            while sum(map(len, self._waiting.values())) > self._max_spans:
                trees.append(self._waiting.pop(next(iter(self._waiting))))
            printed = self._print(trees)
        return SpanExportResult.SUCCESS if printed else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Print what waits for its root; return whether the stream took it."""
        with self._lock:
            trees = list(self._waiting.values())
            self._waiting.clear()
            return self._print(trees)

    def shutdown(self) -> None:
        """Print what waits and refuse later spans; the stream stays open."""
        self._open = False
        self.force_flush()

    def _keep(self, span: ReadableSpan) -> RecordedSpan | None:
        """Put the span with those that wait; return it if it is a local root."""
        seen = _seen(span)
        self._waiting.setdefault(seen.trace_id, []).append(seen)
        return seen if span.parent is None or span.parent.is_remote else None

    def _tree(self, root: RecordedSpan) -> list[RecordedSpan]:
        """Take what hangs from ``root``; a trace may have other roots in this process.

        Nothing where another root has taken it: a worker may run in the process of its caller.
        """
        waiting = self._waiting.pop(root.trace_id, [])
        below: dict[str | None, list[str]] = defaultdict(list)
        for span in waiting:
            below[span.parent_id].append(span.span_id)
        taken = [root.span_id]
        for span_id in taken:
            taken += below.pop(span_id, ())
        tree = set(taken)
        if rest := [span for span in waiting if span.span_id not in tree]:
            self._waiting[root.trace_id] = rest
        return [span for span in waiting if span.span_id in tree]

    def _print(self, trees: list[list[RecordedSpan]]) -> bool:
        try:
            stream = sys.stderr if self._stream is None else self._stream
            encoding = getattr(stream, "encoding", None) or "utf-8"
            draw = functools.partial(
                draw_trace,
                width=self._width or shutil.get_terminal_size((100, 24)).columns,
                colour=_wants_colour(stream) if self._colour is None else self._colour,
                ascii_only=not can_draw(encoding),
            )
            text = "".join(f"{draw(tree)}\n" for tree in trees)
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except Exception:  # noqa: BLE001 - whatever a stream does, the host goes on
            return False
        return True


def _wants_colour(stream: TextIO) -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and stream.isatty()


def _seen(span: ReadableSpan) -> RecordedSpan:
    context = span.get_span_context() or INVALID_SPAN_CONTEXT
    return RecordedSpan(
        trace_id=format_trace_id(context.trace_id),
        span_id=format_span_id(context.span_id),
        parent_id=format_span_id(span.parent.span_id) if span.parent else None,
        name=span.name,
        kind=span.kind.name,
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        status_code=span.status.status_code.name,
        service_name=str(span.resource.attributes.get(SERVICE_NAME, "")),
        attributes=dict(span.attributes or {}),
        events=tuple(
            RecordedEvent(event.name, event.timestamp, dict(event.attributes or {}))
            for event in span.events
        ),
        links=tuple(
            (format_trace_id(link.context.trace_id), format_span_id(link.context.span_id))
            for link in span.links
        ),
    )
