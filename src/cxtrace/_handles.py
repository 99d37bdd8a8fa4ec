"""The handles of open touchpoints and interactions: what a developer says about the customer."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, Status, StatusCode

from cxtrace import _clock, _guard, _runtime
from cxtrace import attributes as names
from cxtrace._closed_sets import member, refuse
from cxtrace._company_signals import CompanySignals
from cxtrace._customer_signals import CustomerSignals
from cxtrace._lived import Lived
from cxtrace._outcome import checked_reason, outcome_of, type_of
from cxtrace._scope import RequestScope
from cxtrace.attributes import Outcome
from cxtrace.context import (
    KEY,
    LINKING,
    Block,
    CXContext,
    Identity,
    Journey,
    Place,
    with_span,
)

if TYPE_CHECKING:
    from cxtrace._ending import Endings
    from cxtrace._measures import Measures

_OUTCOMES: Final = frozenset(get_args(Outcome))
_COMPLETED: Final[dict[str, Any]] = {names.TOUCHPOINT_OUTCOME: "completed"}
_ERROR: Final = Status(StatusCode.ERROR)
_ALONE: Final = object()
_making = threading.RLock()  # a signal handler or a finaliser may speak of a visit as well

S = TypeVar("S", bound="SpanHandle")


class SpanHandle(Block):
    """The open span of a touchpoint or interaction. No method raises; after the end all do nothing.

    Attributes:
        span: The OpenTelemetry span.
        place: Touchpoint, stage and owner.
    """

    __slots__ = ("_error", "_first", "_forks", "_outcome", "_scope", "_tracing", "place", "span")

    def __init__(
        self,
        previous: Context,
        span: Span,
        place: Place | None,
        scope: RequestScope,
        first: dict[str, Any],
    ) -> None:
        self.previous = previous
        self.ended = False
        self.span = span
        self.place = place
        self._scope = scope
        self._first = first
        self._error: str | None = None
        self._outcome: str | None = None
        self._tracing = _runtime.current.tracing
        self._forks = _runtime.forks

    def fail(self: S, reason: str) -> S:
        """Say that the customer failed here, although the code did not.

        Args:
            reason: A short code such as ``card_declined``; becomes ``error.type``.
        """
        if not self.ended:
            self._error = checked_reason(reason)
        return self

    def set(self: S, values: Mapping[str, Any]) -> S:
        """Set attributes of the experience; only keys on the allow-list are sent.

        Args:
            values: ``cx.context.<key>`` for the keys that the map lists under ``context``,
                ``cx.quality.<dimension>`` from 0 to 1, ``cx.touchpoint.first_contact`` and
                ``session.id``. Anything else is dropped and counted.
        """
        if not self.ended:
            try:
                self._set(values)
            except Exception as error:  # noqa: BLE001
                _guard.swallow("set", error)
        return self

    def _set(self, values: Mapping[str, Any]) -> None:
        # Rarely used, and heavy to import for those who never call it.
        from cxtrace.privacy import allowed

        journey_map = _runtime.current.journey_map
        context_keys = () if journey_map is None else journey_map.context
        kept = allowed(values, context_keys)
        if not self._scope.identity.linkable:
            kept.pop(names.SESSION_ID, None)
        if self.span.is_recording():
            self.span.set_attributes(kept)

    def end(self, error: BaseException | None) -> None:
        """Close the block; ``error`` is what flew out of it."""
        if self.ended:
            return
        self.ended = True
        # A forked child has a copy of this span; the parent's is the one that counts.
        if self._forks == _runtime.forks:
            self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        self._finish_span(self._last(error))

    def _finish_span(self, last: dict[str, Any]) -> None:
        span = self.span
        if type(span) is NonRecordingSpan:
            return  # it may bear the id of its parent, which goes on
        self._tracing.finish(span, last, self._all)
        self._scope.release(span.get_span_context().span_id, span)

    def _all(self) -> dict[str, Any]:
        """What the span started with, as it must be now that more is known."""
        identity = self._scope.identity
        found = {**self._first, **identity.tags}
        if not identity.linkable:
            found = {key: value for key, value in found.items() if key not in LINKING}
        return found

    def _last(self, error: BaseException | None) -> dict[str, Any]:
        if self._error is None and isinstance(error, Exception):
            self._error = type_of(error)
        if self._error is None:
            return {}
        self._mark()
        how = _runtime.current.record_exceptions
        if how is not None and isinstance(error, Exception) and self.span.is_recording():
            try:
                self._record(error, how)
            except Exception as failure:  # noqa: BLE001
                _guard.swallow("exception", failure)
        return {names.ERROR_TYPE: self._error}

    def _record(self, error: Exception, how: _runtime.RecordExceptions) -> None:
        # Heavy to import for those who do not ask for it.
        from cxtrace import _exceptions

        told = _exceptions.told(error, how)
        self._tracing.tell(self.span, names.EXCEPTION, told)

    def _mark(self) -> None:
        # The span of an attached touchpoint may have ended, and the SDK warns of late words.
        if self.span.is_recording():
            self.span.set_status(_ERROR)


class InteractionHandle(SpanHandle):
    """An open micro-interaction: one action of the customer, and time that it takes."""

    __slots__ = ("_started", "_touchpoint")

    def begin(self, name: str, touchpoint: "TouchpointHandle | None") -> None:
        """Count the interaction in the touchpoint that it is part of."""
        self._started = _clock.steady()
        self._touchpoint = touchpoint
        if touchpoint is not None:
            touchpoint.act(name)

    def _finish(self, error: BaseException | None) -> None:
        touchpoint = self._touchpoint
        if touchpoint is not None and touchpoint.lived is not None:
            touchpoint.lived.wait(_clock.steady() - self._started)
        super()._finish(error)


class TouchpointHandle(CustomerSignals, CompanySignals, SpanHandle):
    """An open touchpoint. No method raises; each returns the handle, so that calls chain.

    Attributes:
        journey: The journey that the touchpoint is part of, or None.
    """

    __slots__ = ("_context", "_endings", "_started", "_whose", "journey", "lived")

    def __init__(
        self,
        previous: Context,
        span: Span,
        place: Place | None,
        scope: RequestScope,
        first: dict[str, Any],
        endings: "Endings | None" = None,
        journey: Journey | None = None,
    ) -> None:
        # Not through the class above: a call more for every touchpoint.
        self.previous = previous
        self.ended = False
        self.span = span
        self.place = place
        self._scope = scope
        self._first = first
        self._error = None
        self._outcome = None
        self._tracing = _runtime.current.tracing
        self._forks = _runtime.forks
        self._endings = endings
        self.journey = journey
        self.lived: Lived | None = None
        self._context: Context | None = None
        self._whose: Any = None
        self._started = _clock.steady()

    @property
    def endings(self) -> "Endings | None":
        """What is measured at the end: nothing of a walkthrough, however late it is known."""
        found = self._endings
        return found.unmeasured if found is not None and self._scope.identity.marks else found

    @property
    def measures(self) -> "Measures | None":
        """What is measured on the way."""
        endings = self.endings
        return None if endings is None else endings.measures

    @property
    def identity(self) -> Identity:
        """Who the customer is, as known by now."""
        return self._scope.identity

    @property
    def context(self) -> Context:
        """A context that holds the span: for exemplars and log records."""
        found = self._context
        if found is None:
            found = self._context = with_span(self.span)
        return found

    @property
    def whose(self) -> Any:
        """Whose visits are watched as one: the journey's, the customer's, or this one alone.

        Decided once, at the first use. Of a customer who refused, by then or later, no two visits
        are joined.
        """
        if self._whose is None:
            identity, journey = self.identity, self.journey
            joined = (journey is not None and journey.id) or identity.pseudonym
            self._whose = (identity.linkable and joined) or _ALONE
        refused = self._whose is _ALONE or not self.identity.linkable
        return self if refused else self._whose

    def facts(self) -> Lived:
        """What the customer lived through here, to be written to."""
        found = self.lived
        if found is None:
            with _making:
                made = Lived()
                found = self.lived = self.lived or made
        return found

    @property
    def is_open(self) -> bool:
        """Whether there is still something to be said here; not in a forked child's copy."""
        return not self.ended and self._forks == _runtime.forks

    @property
    def has_been_judged(self) -> bool:
        """Whether the code has said how it ended, or it has ended."""
        return self.ended or self._outcome is not None

    def arrive(self) -> None:
        """Measure what a visit means as soon as it begins."""
        try:
            self.endings.measures.arrive(self)  # type: ignore[union-attr]
        except Exception as error:  # noqa: BLE001
            _guard.swallow("arrive", error)

    def act(self, interaction: str) -> None:
        """Count a micro-interaction."""
        if self.measures is not None and self.is_open:
            try:
                self.measures.act(self, interaction)
            except Exception as error:  # noqa: BLE001
                _guard.swallow("act", error)

    def retry(self, wait: float = 0.0) -> "TouchpointHandle":
        """Count an attempt that the service makes again by itself; the customer only waits.

        Args:
            wait: Seconds until then.
        """
        if self.measures is not None and self.is_open:
            try:
                self.measures.retry(self, wait)
            except Exception as error:  # noqa: BLE001
                _guard.swallow("retry", error)
        return self

    def outcome(self, outcome: Outcome) -> "TouchpointHandle":
        """Say how the touchpoint ended for the customer. The last word before the end counts.

        Args:
            outcome: ``completed``, ``abandoned``, ``failed``, ``handed_off`` or ``deferred``.
                Without a word: ``completed``, or ``failed`` by an exception, or ``abandoned``
                by a cancellation.
        """
        if self.ended:
            return self
        found = member(outcome, _OUTCOMES)
        if found is None:
            refuse("outcome", _OUTCOMES)
        else:
            self._outcome = found
        return self

    def fail(self, reason: str) -> "TouchpointHandle":
        """Say that the customer failed, although the code did not: ``fail("card_declined")``.

        The outcome becomes ``failed``, the status ERROR, and ``error.type`` the reason.
        """
        super().fail(reason)
        return self.outcome("failed")

    def _all(self) -> dict[str, Any]:
        return {**super()._all(), **self._scope.identity.details}

    def _finish(self, error: BaseException | None) -> None:
        endings = self.endings
        said = error is not None or self._outcome is not None or self.lived is not None
        if not said and endings is not None and endings.are_for_span:  # as most end
            if endings.are_plain:
                self._finish_span(_COMPLETED)
            else:
                self._finish_span(endings.unsaid(_clock.steady() - self._started))
            return
        last = self._last(error)
        self._finish_span(last if endings is None else self._measured(endings, last))

    def _finish_span(self, last: dict[str, Any]) -> None:
        span = self.span
        if type(span) is not NonRecordingSpan:
            self._scope.release_touchpoint(span)
            self._tracing.finish(span, last, self._all)

    def _measured(self, endings: "Endings", last: dict[str, Any]) -> dict[str, Any]:
        duration = _clock.steady() - self._started
        try:
            reason = last.get(names.ERROR_TYPE)
            more = endings.leave(self, last[names.TOUCHPOINT_OUTCOME], reason, duration)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("leave", error)
            return last
        return {**last, **more} if more else last

    def _last(self, error: BaseException | None) -> dict[str, Any]:
        outcome = self._outcome
        if outcome is None:
            if error is None:
                return _COMPLETED
            outcome = outcome_of(error)
        if outcome != "failed":
            return {names.TOUCHPOINT_OUTCOME: outcome}
        last = super()._last(error)
        if not last:
            self._mark()
        last[names.TOUCHPOINT_OUTCOME] = outcome
        return last


NO_TOUCHPOINT: Final = TouchpointHandle(
    Context(), INVALID_SPAN, None, RequestScope(_runtime.current.anonymous), {}
)
"""What ``current_touchpoint()`` gives outside of any: every method does nothing."""
NO_TOUCHPOINT.ended = True

NO_INTERACTION: Final = InteractionHandle(
    Context(), INVALID_SPAN, None, RequestScope(_runtime.current.anonymous), {}
)
"""The handle of an interaction to which nobody listens."""
NO_INTERACTION.ended = True


def current_touchpoint() -> TouchpointHandle:
    """The touchpoint that is open here, or one whose methods do nothing."""
    cx: CXContext | None = get_current().get(KEY)  # type: ignore[assignment]
    return NO_TOUCHPOINT if cx is None or cx.handle is None else cx.handle


def _after_fork() -> None:
    global _making  # noqa: PLW0603
    _making = threading.RLock()


_guard.in_child(_after_fork)
