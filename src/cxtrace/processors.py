"""Stamp the context on every span that starts under it, whoever makes it."""

from typing import Any, Final

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from cxtrace import _guard
from cxtrace._scope import RequestScope
from cxtrace._span import LeanSpan, stamp
from cxtrace.context import KEY, CXContext

_NOTHING: Final[dict[str, str]] = {}

MAX_WATCHED: int = 10_000
"""Open spans of others that late identity can reach, over all requests."""


class StampProcessor(SpanProcessor):
    """Puts the six tags of the context on each span that starts, except where it has them already.

    Also remembers which spans are open in a request, so that ``identify()`` reaches them. Spans of
    cxtrace itself have their tags from birth.
    """

    def __init__(self) -> None:
        self._watched: dict[int, RequestScope] = {}

    def after_fork(self) -> None:
        """Begin anew in a child: the open spans are the parent's."""
        self._watched = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Stamp the span; an error of ours never reaches the host."""
        # To ask isinstance means to ask an abstract base class, at ten times the cost.
        if type(span) is LeanSpan:  # type: ignore[comparison-overlap]
            return
        try:
            context = get_current() if parent_context is None else parent_context
            cx: Any = context.get(KEY)
            if cx is None:
                return
            # First remember, then read the identity: one that arrives in between is not missed.
            scope, span_id = cx.scope, span.get_span_context()[1]
            if len(self._watched) >= MAX_WATCHED:
                _guard.count("scope.spans_not_remembered")
            elif scope.adopt(span_id, span, cx.journey):
                self._watched[span_id] = scope
            tags = _tags(cx, scope)
            if tags:
                stamp(span, tags)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("stamp.on_start", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Forget the span; an error of ours never reaches the host."""
        if type(span) is LeanSpan:
            return
        try:
            identity = span.get_span_context()
            scope = None if identity is None else self._watched.pop(identity[1], None)
            if identity is not None and scope is not None:
                scope.release(identity[1], span)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("stamp.on_end", error)

    def shutdown(self) -> None:
        """Nothing to close."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True


def _tags(cx: CXContext, scope: RequestScope) -> dict[str, str]:
    """The tags of the context; all spans under one touchpoint but the first find them made."""
    if cx.place is None and cx.journey is None and not scope.identity.tags:
        return _NOTHING  # as of most requests when they begin
    place, journey, identity, told = scope.told
    if place is not cx.place or journey is not cx.journey or identity is not scope.identity:
        place, journey, identity = cx.place, cx.journey, scope.identity
        told = cx.tags()
        scope.told = (place, journey, identity, told)
    return told
