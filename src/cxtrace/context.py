"""What is true now: one immutable value under one OpenTelemetry key.

The value travels wherever OpenTelemetry's context travels.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.context import Context, create_key, get_current
from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context

from cxtrace import attributes as names

if TYPE_CHECKING:
    from cxtrace._scope import RequestScope
    from cxtrace.attributes import Consent, CustomerKind

KEY: Final = create_key("cxtrace")
"""The one key of ours in an OpenTelemetry context."""

(SPAN_KEY,) = set_span_in_context(INVALID_SPAN, Context())
"""OpenTelemetry's key of the current span, learnt through its public functions."""

LINKING: Final = (
    names.CUSTOMER_PSEUDONYM,
    names.CUSTOMER_KEY_ID,
    names.JOURNEY_ID,
    names.SESSION_ID,
)
"""Attributes that tell one customer from another: gone where consent is denied or withdrawn."""

make: Final[Any] = tuple.__new__
"""Makes a named tuple in half the time that its own class takes."""

_NOTHING: Final[Mapping[str, str]] = {}


class Block:
    """A stretch of code under one context: a touchpoint, interaction, journey or customer block."""

    __slots__ = ("ended", "previous")

    def __init__(self, previous: Context) -> None:
        self.previous = previous
        self.ended = False

    def end(self, error: BaseException | None) -> None:
        """Close the block; ``error`` is what flew out of it."""
        self.ended = True

    def settle(self) -> Context:
        """What is to be current after this block: the nearest block before it that is open.

        Lets go of those that have ended: a job that schedules itself again from within its block
        would else keep them all alive.
        """
        cx: CXContext | None = self.previous.get(KEY)  # type: ignore[assignment]
        while cx is not None and cx.block is not None and cx.block.ended and cx.block is not self:
            self.previous = cx.block.previous
            cx = self.previous.get(KEY)  # type: ignore[assignment]
        return self.previous


class _Identity(NamedTuple):
    consent: "Consent"
    kind: "CustomerKind | None"
    pseudonym: str | None
    key_id: str | None
    segment: str | None
    linkable: bool
    epochs: Mapping[str, str]
    marks: Mapping[str, str]
    tags: Mapping[str, str]
    details: Mapping[str, str]


class Identity(_Identity):
    """Who the customer is, as far as it may leave the process.

    Attributes:
        consent: State of the consent under which spans are tagged.
        linkable: Whether consent allows the pseudonym and the journey id.
        epochs: The pseudonym under each key that is believed, by key id, as far as it is known.
        marks: What says that this is no customer but a walkthrough; empty for customers.
        tags: Stamped on every span: the pseudonym, and the marks of a walkthrough.
        details: Set on touchpoint spans: the tags, key id, kind, segment and consent.
    """

    __slots__ = ()

    def __new__(  # noqa: D102
        cls,
        consent: "Consent" = "unknown",
        kind: "CustomerKind | None" = None,
        pseudonym: str | None = None,
        key_id: str | None = None,
        segment: str | None = None,
        linkable: bool = True,
        epochs: Mapping[str, str] = _NOTHING,
        marks: Mapping[str, str] = _NOTHING,
    ) -> "Identity":
        tags: dict[str, str] = {**marks}
        details: dict[str, str] = {names.CONSENT_STATE: consent, **marks}
        if linkable and pseudonym is not None:
            tags[names.CUSTOMER_PSEUDONYM] = details[names.CUSTOMER_PSEUDONYM] = pseudonym
            if key_id is not None:
                details[names.CUSTOMER_KEY_ID] = key_id
        if kind is not None:
            details[names.CUSTOMER_KIND] = kind
        if segment is not None:
            details[names.CUSTOMER_SEGMENT] = segment
        found = (consent, kind, pseudonym, key_id, segment, linkable, epochs, marks, tags, details)
        made: Identity = make(cls, found)
        return made

    @property
    def pseudonyms(self) -> frozenset[str]:
        """All that the customer is known by, under whichever key."""
        known = self.epochs.values()
        return frozenset(known if self.pseudonym is None else (self.pseudonym, *known))

    def under(self, key_id: str | None) -> "Identity":
        """The same customer under another key, if the pseudonym under that is known."""
        pseudonym = None if key_id in (None, self.key_id) else self.epochs.get(key_id)
        if pseudonym is None:
            return self
        consent, kind, _, _, segment, linkable, epochs, marks, *_ = self
        return Identity(consent, kind, pseudonym, key_id, segment, linkable, epochs, marks)

    def refused(self, consent: "Consent" = "withdrawn") -> "Identity":
        """The same, without what tells one customer from another."""
        return Identity(consent, self.kind, segment=self.segment, linkable=False, marks=self.marks)

    def marked(self, marks: Mapping[str, str]) -> "Identity":
        """The same, as one who walks through the journey and is no customer."""
        consent, kind, pseudonym, key_id, segment, linkable, epochs, *_ = self
        return Identity(consent, kind, pseudonym, key_id, segment, linkable, epochs, marks)


def present(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of ``found``: all that is not None."""
    return {key: value for key, value in found.items() if value is not None}


class _Journey(NamedTuple):
    name: str
    id: str
    route: str | None
    named: Mapping[str, str]
    linked: Mapping[str, str]
    state: Any


class Journey(_Journey):
    """One customer on the way through one journey.

    Attributes:
        named: What is stamped where consent forbids the id.
        linked: What is stamped else.
        state: What this process remembers of it, or None.
    """

    __slots__ = ()

    def __new__(  # noqa: D102
        cls,
        name: str,
        id: str,  # noqa: A002
        route: str | None = None,
        state: Any = None,
    ) -> "Journey":
        named = {names.JOURNEY_NAME: name}
        # A calling service that may not tell the id still tells the name.
        linked = {**named, names.JOURNEY_ID: id} if id else named
        made: Journey = make(cls, (name, id, route, named, linked, state))
        return made

    def __repr__(self) -> str:
        return f"Journey(name={self.name!r}, id={self.id!r}, route={self.route!r})"


class _Place(NamedTuple):
    touchpoint: str
    stage: str | None
    owner: str | None
    tags: Mapping[str, str]


class Place(_Place):
    """Where in the journey we are: the touchpoint with its stage and its owning function.

    Attributes:
        tags: What is stamped on every span at this place.
    """

    __slots__ = ()

    def __new__(  # noqa: D102
        cls, touchpoint: str, stage: str | None = None, owner: str | None = None
    ) -> "Place":
        tags = present(
            {
                names.TOUCHPOINT_NAME: touchpoint,
                names.STAGE_NAME: stage,
                names.OWNER_FUNCTION: owner,
            }
        )
        return _Place.__new__(cls, touchpoint, stage, owner, tags)

    def __repr__(self) -> str:
        return f"Place(touchpoint={self.touchpoint!r}, stage={self.stage!r}, owner={self.owner!r})"


class CXContext(NamedTuple):
    """The customer's experience at this point of the code. Immutable; read it by attribute.

    Attributes:
        journey: The journey the customer is on, or None.
        place: The touchpoint the customer is at, here or in the calling service, or None.
        interaction: Name of the micro-interaction, or None.
    """

    scope: "RequestScope"
    journey: Journey | None = None
    place: Place | None = None
    interaction: str | None = None
    block: Block | None = None
    handle: Any = None

    def __repr__(self) -> str:
        shown = f"journey={self.journey!r}, place={self.place!r}, interaction={self.interaction!r}"
        return f"CXContext({shown})"

    @property
    def identity(self) -> Identity:
        """Who the customer is, as known by now in this request."""
        return self.scope.identity

    def tags(self) -> dict[str, str]:
        """The attributes that every span gets under this context."""
        identity = self.scope.identity
        place = _NOTHING if self.place is None else self.place.tags
        journey = self.journey
        if journey is None:
            return {**place, **identity.tags}
        linked = journey.linked if identity.linkable else journey.named
        return {**place, **linked, **identity.tags}


def cx_of(context: Context) -> CXContext | None:
    """Our value in an OpenTelemetry context."""
    return context.get(KEY)  # type: ignore[return-value]


def current_context() -> CXContext | None:
    """What is known about the customer's experience here, or None outside of any."""
    return cx_of(get_current())


def with_cx(context: Context, cx: CXContext) -> Context:
    """A copy of ``context`` that holds ``cx``."""
    copy = context.copy()  # a plain dict
    copy[KEY] = cx
    return Context(copy)


def with_cx_and_span(context: Context, cx: CXContext, span: Span) -> Context:
    """A copy of ``context`` that holds ``cx`` and makes ``span`` the current one."""
    copy = context.copy()
    copy[KEY] = cx
    copy[SPAN_KEY] = span
    return Context(copy)


def with_span(span: Span) -> Context:
    """A context that holds nothing but ``span``."""
    return Context({SPAN_KEY: span})
