"""What one request knows of its customer: the one mutable thing in our context.

Every context of a request refers to the same scope, copied contexts too, so that an identity found
late in a thread reaches the spans that are open in the request.
"""

import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from opentelemetry.trace import Span, SpanContext

from cxtrace import _guard
from cxtrace import attributes as names
from cxtrace.context import LINKING, Identity, Journey, Place

MAX_OPEN_SPANS: Final = 1_000
"""Open spans that one request scope remembers for ``identify``; later ones are only counted."""

MAX_ENDED_SPANS: Final = 200
"""Ended spans that a request keeps until it is known who the customer is."""


_FEWEST_TO_CLEAR: Final = 1_000

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


_OpenSpan: TypeAlias = "tuple[Span, Journey | None]"
_Told: TypeAlias = "tuple[Place | None, Journey | None, Identity | None, dict[str, str]]"
_NOTHING_TOLD: Final[_Told] = (None, None, None, {})


class _Naming:
    """All scopes that know a customer by a pseudonym: of this request and of every other.

    A customer's block is opened often, and a withdrawal is rare: scopes that are gone are only
    cleared away once they may be half of all.
    """

    def __init__(self) -> None:
        self._scopes: list[weakref.ref[RequestScope]] = []
        self._most = _FEWEST_TO_CLEAR
        self.clearing = threading.Lock()

    def add(self, scope: "RequestScope") -> None:
        self._scopes.append(weakref.ref(scope))
        if len(self._scopes) > self._most and self.clearing.acquire(blocking=False):
            try:
                self._clear(len(self._scopes))
            finally:
                self.clearing.release()

    def _clear(self, known: int) -> None:
        alive = [each for each in self._scopes[:known] if each() is not None]
        self._scopes[:known] = alive  # what others add meanwhile stands behind
        self._most = max(2 * len(alive), _FEWEST_TO_CLEAR)

    def all(self) -> "Iterator[RequestScope]":
        for each in self._scopes.copy():
            scope = each()
            if scope is not None:
                yield scope


_naming = _Naming()


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
        "__weakref__",
        "_ended",
        "_is_naming",
        "_open",
        "_parent",
        "_touchpoints",
        "_views",
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
        self.told: _Told = _NOTHING_TOLD
        self._parent = parent
        self._open: dict[int, _OpenSpan] = {}
        self._touchpoints: dict[int, _OpenSpan] = {}
        self._ended: list[Callable[[], Any]] | None = None
        self._views: dict[int, weakref.ref[_View]] | None = None
        self._is_naming = identity.pseudonym is not None
        if self._is_naming:
            _naming.add(self)

    def under(self, key_id: str | None) -> "RequestScope":
        """The scope for a journey under another key, where the customer's pseudonym is known.

        Whatever is said of the customer in one of both counts in both.
        """
        view = _View(self.identity.under(key_id), self, settled=self.settled)
        if self._ended is not None:
            view.expect()
        if self._views is None:
            self._views = {}
        views, number = self._views, id(view)
        views[number] = weakref.ref(view, lambda _: views.pop(number, None))
        return view

    def expect(self) -> None:
        """Keep the spans that end from now on: they wait to be sent, and can be told by then."""
        self._ended = self._ended or []

    def adopt(self, span_id: int, span: Span, journey: Journey | None = None) -> bool:
        """Remember an open span of anyone, so that a late identity reaches it."""
        if len(self._open) >= MAX_OPEN_SPANS:
            _guard.count("scope.spans_not_remembered")
            return False
        self._open[span_id] = span, journey
        return True

    def release(self, span_id: int, ended: object) -> None:
        """Forget a span that has ended; ``ended`` is what is sent of it."""
        if self._open.pop(span_id, None) is not None and self._ended is not None:
            # Of many spans in a long request, those that have been sent are gone by themselves.
            self._keep(self._ended, weakref.ref(ended))

    def _keep(self, kept: list[Callable[[], Any]], ended: Callable[[], Any]) -> None:
        if len(kept) >= MAX_ENDED_SPANS:
            kept = self._ended = [each for each in kept if each() is not None]
        if len(kept) < MAX_ENDED_SPANS:
            kept.append(ended)
        else:
            _guard.count("scope.spans_not_remembered")

    def adopt_touchpoint(self, span: Span, journey: Journey | None = None) -> None:
        """Remember the open span of a touchpoint: it gets the details of a late identity too."""
        if len(self._touchpoints) < MAX_OPEN_SPANS:
            self._touchpoints[id(span)] = span, journey
        else:
            _guard.count("scope.spans_not_remembered")

    def release_touchpoint(self, span: Span) -> None:
        """Forget that a span was a touchpoint's."""
        if self._touchpoints.pop(id(span), None) is not None and self._ended is not None:
            self._keep(self._ended, partial(_itself, span))

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
        before, settled = self.identity, self.settled
        self._take(identity, editor)
        self._tell_views(identity, editor)
        parent = self._parent
        if parent is None:
            return
        found = not parent.settled and (not settled or _is_nobody(before))
        same = not before.pseudonyms.isdisjoint(parent.identity.pseudonyms)
        if found or (same and not identity.linkable):
            parent.identify(identity, editor)

    def _tell_views(self, identity: Identity, editor: Editor) -> None:
        if self._views is not None:
            views = [reference() for reference in self._views.copy().values()]
            for view in filter(None, views):
                view.follow(identity, editor)

    def _take(self, identity: Identity, editor: Editor) -> None:
        # Identity first, spans second: a span that starts in between sees the identity itself.
        before, settled = self.identity, self.settled
        self.identity = identity
        self.settled = True
        if identity.pseudonym is not None and not self._is_naming:
            self._is_naming = True
            _naming.add(self)
        if identity != before or not settled:
            self._tell_all(identity, before, editor)

    def _tell_all(self, identity: Identity, before: Identity, editor: Editor) -> None:
        is_allowed = identity.linkable and not before.linkable
        for span, journey in self._open.copy().values():
            if span is not self.spared or names.CUSTOMER_PSEUDONYM not in identity.tags:
                tags = _with_id(identity.tags, journey) if is_allowed else identity.tags
                _tell(span, identity, tags, editor)
        for span, journey in self._touchpoints.copy().values():
            details = _with_id(identity.details, journey) if is_allowed else identity.details
            _tell(span, identity, details, editor)
        for waiting in self._ended or ():
            ended = waiting()
            if ended is not None:
                _amend(ended, identity, editor)

    def spare_no_more(self, editor: Editor) -> None:
        """Write to the spared span after all, for nobody else has."""
        span: Any = self.spared
        self.spared = None
        self.catch_up(span, editor)

    def catch_up(self, span: Span, editor: Editor) -> None:
        """Tell a span of ours what was said while it started."""
        identity = self.identity
        _tell(span, identity, identity.details, editor)


class _View(RequestScope):
    """A request within a journey that is under another key than the request."""

    __slots__ = ("_base", "_key_id")

    def __init__(self, identity: Identity, base: RequestScope, *, settled: bool) -> None:
        super().__init__(identity, base, settled=settled)
        self._base = base
        self._key_id = identity.key_id

    def identify(self, identity: Identity, editor: Editor) -> None:
        """Let the request take the identity, and with it all that belongs to it."""
        self._base.identify(identity, editor)

    def follow(self, identity: Identity, editor: Editor) -> None:
        """Take what the request has taken, under the key of the journey."""
        self._take(identity.under(self._key_id), editor)
        self._tell_views(identity, editor)


def withdraw(pseudonyms: Collection[str], editor: Editor) -> None:
    """Take a customer's withdrawal to every scope of this process that knows them.

    Args:
        pseudonyms: Of the customer, under each key.
        editor: Takes from a span what consent no longer allows.
    """
    for scope in _naming.all():
        if not scope.identity.pseudonyms.isdisjoint(pseudonyms):
            scope.identify(scope.identity.refused(), editor)


def _itself(span: Span) -> Span:
    return span


def _with_id(tags: Mapping[str, str], journey: Journey | None) -> Mapping[str, str]:
    """The tags, and the journey's id, which was kept back until now."""
    return tags if journey is None else {**tags, **journey.linked}


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


def _after_fork() -> None:
    _naming.clearing = threading.Lock()


_guard.in_child(_after_fork)
