"""What one request knows of its customer: the one mutable thing in our context.

Every context of a request refers to the same scope, copied contexts too, so that an identity found
late in a thread reaches the spans that are open in the request.
"""

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

from opentelemetry.trace import Span, SpanContext

from cxtrace import _guard
from cxtrace import attributes as names
from cxtrace.context import LINKING, Identity, Journey, Place

MAX_OPEN_SPANS: Final = 1_000
"""Open spans that one request scope remembers for ``identify``; later ones are only counted."""

MAX_ENDED_SPANS: Final = 200
"""Ended spans that a request keeps until it is known who the customer is."""


_WHO: Final = (
    names.CUSTOMER_PSEUDONYM,
    names.CUSTOMER_KEY_ID,
    names.CUSTOMER_KIND,
    names.CUSTOMER_SEGMENT,
)
"""What is one customer's alone: nothing of it may stay when another takes the place."""


class Editor(Protocol):
    """Changes spans in ways that OpenTelemetry's API does not know."""

    def forget(self, span: Span, keys: tuple[str, ...]) -> None:
        """Take attributes from an open span."""
        ...

    def write(self, span: Span, attributes: dict[str, Any]) -> None:
        """Set attributes, which are valid, on an open span."""
        ...

    def amend(self, span: Span, tags: Mapping[str, str], details: Mapping[str, str]) -> None:
        """Change a span that has ended and may still wait: ``details`` only what it has already."""
        ...


_Told: TypeAlias = "tuple[Place | None, Journey | None, Identity | None, dict[str, str]]"
_NOTHING_TOLD: Final[_Told] = (None, None, None, {})


class RequestScope:
    """What one request knows about its customer, and the spans still open in it.

    Attributes:
        identity: Who the customer is.
        settled: Whether somebody has said so.
        spared: An open span that is about to be written all that is known: no need to do it twice.
        origin: The caller's span that was not continued.
        told: What the tags that spans got last were made of, and the tags.
    """

    __slots__ = (
        "_ended",
        "_open",
        "_parent",
        "_touchpoints",
        "identity",
        "origin",
        "settled",
        "spared",
        "told",
    )

    def __init__(
        self, identity: Identity, parent: "RequestScope | None" = None, *, settled: bool = False
    ) -> None:
        self.identity = identity
        self.settled = settled
        self.origin: SpanContext | None = None
        self.spared: Span | None = None
        self.told = _NOTHING_TOLD
        self._parent = parent
        self._open: dict[int, Span] = {}
        self._touchpoints: dict[int, Span] = {}
        self._ended: list[Callable[[], Any]] | None = None

    def expect(self) -> None:
        """Keep the spans that end from now on: they wait to be sent, and can be told by then."""
        self._ended = self._ended or []

    def adopt(self, span_id: int, span: Span) -> bool:
        """Remember an open span of anyone, so that a late identity reaches it."""
        if len(self._open) >= MAX_OPEN_SPANS:
            _guard.count("scope.spans_not_remembered")
            return False
        self._open[span_id] = span
        return True

    def release(self, span_id: int, ended: object) -> None:
        """Forget a span that has ended; ``ended`` is what is sent of it."""
        if self._open.pop(span_id, None) is not None:
            # Of many spans in a long request, those that have been sent are gone by themselves.
            self._keep(weakref.ref(ended))

    def _keep(self, ended: Callable[[], Any]) -> None:
        if self._ended is None:
            return
        if len(self._ended) >= MAX_ENDED_SPANS:
            self._ended = [each for each in self._ended if each() is not None]
        if len(self._ended) < MAX_ENDED_SPANS:
            self._ended.append(ended)
        else:
            _guard.count("scope.spans_not_remembered")

    def adopt_touchpoint(self, span: Span) -> None:
        """Remember the open span of a touchpoint: it gets the details of a late identity too."""
        if len(self._touchpoints) < MAX_OPEN_SPANS:
            self._touchpoints[id(span)] = span
        else:
            _guard.count("scope.spans_not_remembered")

    def release_touchpoint(self, span: Span) -> None:
        """Forget that a span was a touchpoint's."""
        if self._touchpoints.pop(id(span), None) is not None:
            self._keep(lambda: span)

    def take_origin(self) -> "SpanContext | None":
        """The caller's span that we did not continue, once: the first touchpoint links to it."""
        origin, self.origin = self.origin, None
        if origin is None and self._parent is not None:
            return self._parent.take_origin()
        return origin

    def identify(self, identity: Identity, editor: Editor) -> None:
        """Take the identity and write it to the open spans.

        Enclosing scopes take it too, up to one that somebody has already spoken for: a customer
        who logs in inside a block for an anonymous visitor is known to the whole request. What is
        said inside a block for a known customer stays in it, but for a withdrawn consent, which
        counts wherever the same customer is meant.

        Args:
            identity: Who the customer is.
            editor: Takes from a span what consent no longer allows.
        """
        # Identity first, spans second: a span that starts in between sees the identity itself.
        before, settled = self.identity, self.settled
        self.identity = identity
        self.settled = True
        for span in self._open.copy().values():
            if span is not self.spared or not identity.tags:
                _tell(span, identity, identity.tags, editor)
        for span in self._touchpoints.copy().values():
            _tell(span, identity, identity.details, editor)
        for waiting in self._ended or ():
            ended = waiting()
            if ended is not None:
                _amend(ended, identity, editor)
        parent = self._parent
        if parent is None:
            return
        found = not parent.settled and (not settled or _is_nobody(before))
        same = before.pseudonym is not None and parent.identity.pseudonym == before.pseudonym
        if found or (same and not identity.linkable):
            parent.identify(identity, editor)

    def spare_no_more(self, editor: Editor) -> None:
        """Write to the spared span after all, for nobody else has."""
        span: Any = self.spared
        self.spared = None
        self.catch_up(span, editor)

    def catch_up(self, span: Span, editor: Editor) -> None:
        """Tell a span of ours what was said while it started."""
        identity = self.identity
        _tell(span, identity, identity.details, editor)


def _is_nobody(identity: Identity) -> bool:
    """Whether a customer block is about an anonymous visitor, and not one who refused."""
    return identity.kind == "anonymous" or (
        identity.pseudonym is None and identity.consent == "unknown"
    )


def _outdated(identity: Identity) -> tuple[str, ...]:
    """What spans may still say of whoever was the customer before."""
    if not identity.linkable:
        return LINKING
    return tuple(key for key in _WHO if key not in identity.details)


def _tell(span: Span, identity: Identity, tags: Mapping[str, str], editor: Editor) -> None:
    # One span of others that fails must not keep the others from being told.
    try:
        outdated = _outdated(identity)
        if outdated:
            editor.forget(span, outdated)
        if span.is_recording():
            editor.write(span, {**tags})
    except Exception as error:  # noqa: BLE001
        _guard.swallow("identify.span", error)


def _amend(span: Span, identity: Identity, editor: Editor) -> None:
    # A key that vanished while the span is being encoded would cost the whole batch.
    blank = dict.fromkeys(_outdated(identity), "")
    try:
        editor.amend(span, identity.tags, {**blank, **identity.details})
    except Exception as error:  # noqa: BLE001
        _guard.swallow("identify.ended_span", error)
