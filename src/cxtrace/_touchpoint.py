"""``touchpoint()`` and ``interaction()``: each use of the description opens a block."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, SpanKind, get_current_span

from cxtrace import _guard, _runtime
from cxtrace import attributes as names
from cxtrace._handles import (
    NO_INTERACTION,
    NO_TOUCHPOINT,
    InteractionHandle,
    SpanHandle,
    TouchpointHandle,
)
from cxtrace._noun import Noun
from cxtrace._plan import Plan, Wanted, checked_name, plan_of, refuse_function, wanted_of
from cxtrace._scope import RequestScope
from cxtrace._wrap import block_of
from cxtrace.attributes import Channel
from cxtrace.context import (
    KEY,
    SPAN_KEY,
    CXContext,
    Identity,
    Journey,
    cx_of,
    make,
    with_cx_and_span,
)

if TYPE_CHECKING:
    from cxtrace._ending import Endings

_NOTHING: Final[dict[str, Any]] = {}
_EDGE_KINDS: Final = (SpanKind.SERVER, SpanKind.CONSUMER)


class touchpoint(Noun[TouchpointHandle]):  # noqa: N801  used as a verb, like ``suppress``
    """One occasion on which a customer and the company meet, as the journey map names it.

    Works as decorator of any function, coroutine, generator, async generator or method, as
    ``with`` and as ``async with``. The object is a description: each call and each entry is a
    span of its own, so it can be shared by threads, tasks and recursive calls.

    Args:
        name: As in the journey map: ``checkout.pay``. A name that the map does not have is
            sent with ``cx.touchpoint.planned=false``.
        stage: Stage of the journey; by default what the map says.
        owner: The accountable business function; by default what the map says.
        channel: Where it happens; by default what the map says, if it names one only.
        attach: Be the current SERVER or CONSUMER span instead of a span of its own.

    Raises:
        TypeError: The name is missing, or what is decorated is not a function.
    """

    __slots__ = ("_attach", "_plan", "_wanted")

    def __init__(
        self,
        name: str,
        *,
        stage: str | None = None,
        owner: str | None = None,
        channel: Channel | None = None,
        attach: bool = False,
    ) -> None:
        super().__init__()
        refuse_function(name, "touchpoint")
        self._wanted: Wanted = wanted_of(name, stage, owner, channel)
        self._attach = attach
        self._plan: Plan | None = None

    def apart(self) -> "touchpoint":
        """The same touchpoint with a span of its own."""
        name, stage, owner, channel = self._wanted
        return touchpoint(name, stage=stage, owner=owner, channel=channel)  # type: ignore[arg-type]

    def span_of(self, context: Context) -> Span | None:
        """The span of others that it would be under this context."""
        return _edge_of(context) if self._attach else None

    def be(self, span: Span, context: Context) -> Context | None:
        """Be this span of others, which is the current one of a context. Never raises."""
        try:
            plan = self._plan
            runtime = _runtime.current
            if plan is None or plan.runtime is not runtime:
                plan = self._plan = plan_of(runtime, self._wanted)
            return _open_attached(plan, context, span)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("touchpoint", error)
            return None

    def _open(self) -> Context | None:
        try:
            plan = self._plan
            runtime = _runtime.current
            idle = runtime.tracing.idle
            if idle is not None and idle():
                return None
            if plan is None or plan.runtime is not runtime:
                plan = self._plan = plan_of(runtime, self._wanted)
            context = get_current()
            parent = runtime.tracing.unsampled(context)
            if parent is not None:
                return _open_unsampled(plan, context, parent)
            span = _edge_of(context) if self._attach else None
            if span is not None:
                return _open_attached(plan, context, span)
            return _open_touchpoint(plan, context)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("touchpoint", error)
            return None

    def _handle(self, context: Context | None) -> TouchpointHandle:
        return NO_TOUCHPOINT if context is None else block_of(context)


class interaction(Noun[SpanHandle]):  # noqa: N801  used as a verb
    """A micro-interaction with a duration, inside a touchpoint: ``enter_card_number``.

    Works in the same places as ``touchpoint``.

    Args:
        name: As in the journey map, under ``interactions`` of the touchpoint.

    Raises:
        TypeError: The name is missing, or what is decorated is not a function.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        refuse_function(name, "interaction")
        self._name = checked_name(name, "interaction")

    def _open(self) -> Context | None:
        try:
            return _open_interaction(self._name)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("interaction", error)
            return None

    def _handle(self, context: Context | None) -> SpanHandle:
        return NO_INTERACTION if context is None else block_of(context)


class UnsampledTouchpoint(TouchpointHandle):
    """A touchpoint whose span the sampler dropped: its context goes on, and so do its metrics."""

    __slots__ = ()

    def end(self, error: BaseException | None) -> None:
        """Close the block; where nothing was said and nothing is measured, that is all."""
        said = error is not None or self._outcome is not None or self.lived is not None
        if said or not self.endings.are_for_span:  # type: ignore[union-attr]
            super().end(error)
        else:
            self.ended = True


class AttachedTouchpoint(TouchpointHandle):
    """A touchpoint that is the server's or consumer's own span, which ends by itself."""

    __slots__ = ()

    def _finish_span(self, last: dict[str, Any]) -> None:
        self._scope.release_touchpoint(self.span)
        if self.span.is_recording():
            self._tracing.write(self.span, last)


def outermost(context: Context) -> CXContext:
    """The start of a request of which nobody has told us: its scope adopts the current span."""
    scope = RequestScope(_runtime.current.anonymous)
    span = get_current_span(context)
    if span.is_recording() and span is not _runtime.inherited:
        scope.adopt(span.get_span_context().span_id, span)
    return CXContext(scope)


def _open_unsampled(plan: Plan, context: Context, parent: Span) -> Context:
    cx: Any = context.get(KEY) or outermost(context)
    scope, journey, place, endings = cx.scope, cx.journey, plan.place, plan.endings
    handle = UnsampledTouchpoint(context, parent, place, scope, _NOTHING, endings, journey)
    if endings.measures.attends(journey):
        handle.arrive()
    inner = context.copy()  # a plain dict
    inner[KEY] = make(CXContext, (scope, journey, place, None, handle, handle))
    return Context(inner)


def _open_touchpoint(plan: Plan, context: Context) -> Context:
    cx: Any = context.get(KEY) or outermost(context)
    scope, journey, place = cx.scope, cx.journey, plan.place
    identity = scope.identity
    attributes = _start_attributes(plan.attributes, identity, journey)
    tracing = plan.runtime.tracing
    span = tracing.start(place.touchpoint, attributes, context, scope.take_origin())
    handle = TouchpointHandle(context, span, place, scope, attributes, plan.endings, journey)
    return _enter(context, cx, handle, identity, plan.endings)


def _edge_of(context: Context) -> Span | None:
    """The span of the server or consumer, where it is current and open."""
    span: Any = context.get(SPAN_KEY)
    return span if getattr(span, "kind", None) in _EDGE_KINDS and span.is_recording() else None


def _open_attached(plan: Plan, context: Context, span: Span) -> Context:
    cx = cx_of(context) or outermost(context)
    identity = cx.scope.identity
    attributes = _start_attributes(plan.attributes, identity, cx.journey)
    plan.runtime.tracing.write(span, attributes)
    handle = AttachedTouchpoint(
        context, span, plan.place, cx.scope, attributes, plan.endings, cx.journey
    )
    return _enter(context, cx, handle, identity, plan.endings)


def _enter(
    context: Context,
    cx: CXContext,
    handle: TouchpointHandle,
    identity: Identity,
    endings: "Endings",
) -> Context:
    span, scope = handle.span, cx.scope
    if span.is_recording():
        scope.adopt_touchpoint(span, cx.journey)
        if scope.identity is not identity:
            scope.catch_up(span, _runtime.current.tracing)
    if endings.measures.attends(cx.journey):
        handle.arrive()
    inner = make(CXContext, (scope, cx.journey, handle.place, None, handle, handle))
    return with_cx_and_span(context, inner, span)


def _start_attributes(
    own: Mapping[str, Any], identity: Identity, journey: Journey | None
) -> dict[str, Any]:
    if journey is None:
        return {**own, **identity.details}
    linked = journey.linked if identity.linkable else journey.named
    found = {**own, **linked, **identity.details}
    if journey.route is not None:
        found[names.JOURNEY_ROUTE] = journey.route
    return found


def _open_interaction(name: str) -> Context | None:
    if _runtime.is_idle():
        return None
    context = get_current()
    cx = cx_of(context) or outermost(context)
    scope = cx.scope
    attributes: dict[str, Any] = {names.INTERACTION_NAME: name, **cx.tags()}
    tracing = _runtime.current.tracing
    span = tracing.start(name, attributes, context, scope.take_origin())
    handle = InteractionHandle(context, span, cx.place, scope, attributes)
    handle.begin(name, cx.handle)
    if span.is_recording():
        scope.adopt(span.get_span_context().span_id, span, cx.journey)
    inner = CXContext(scope, cx.journey, cx.place, name, handle, cx.handle)
    return with_cx_and_span(context, inner, span)
