"""``touchpoint()`` and ``interaction()``: each use of the description opens a block."""

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from attrs import field, frozen
from opentelemetry.context import Context, get_current
from opentelemetry.trace import SpanKind, get_current_span

from cxtrace import _guard, _runtime
from cxtrace import attributes as names
from cxtrace._handles import (
    NO_INTERACTION,
    NO_TOUCHPOINT,
    AttachedTouchpoint,
    SpanHandle,
    TouchpointHandle,
    refuse,
)
from cxtrace._wrap import Noun
from cxtrace.attributes import Channel
from cxtrace.context import (
    CXContext,
    Identity,
    Journey,
    Place,
    RequestScope,
    cx_of,
    with_cx_and_span,
)

_CHANNELS: Final = frozenset(get_args(Channel))
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_INVALID: Final = "invalid_name"
_EDGE_KINDS: Final = (SpanKind.SERVER, SpanKind.CONSUMER)
_MAX_PLANS: Final = 2_000


def checked_name(name: object, what: str) -> str:
    """``name`` if it can stand in a span, else ``invalid_name``, counted and warned about once.

    Raises:
        TypeError: ``name`` is a function: the parentheses of the decorator are missing.
    """
    if callable(name):
        raise TypeError(f'write @{what}("name"): the name of the {what} is missing')
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    _guard.count(f"refused.{what}_name")
    _guard.warn_once(
        f"refused.{what}_name",
        "cxtrace: a %s's name must be text of 1 to 64 characters without control characters; "
        "one that is not is sent as 'invalid_name'",
        what,
    )
    return _INVALID


@frozen(eq=False)
class _Plan:
    """All about a touchpoint that does not change from call to call."""

    runtime: _runtime.Runtime
    place: Place
    attributes: Mapping[str, Any]
    name: str = field(init=False)

    @name.default
    def _make_name(self) -> str:
        return self.place.touchpoint

    def open(self) -> Context | None:
        """Start a span of its own."""
        context = get_current()
        cx = cx_of(context) or outermost(context)
        scope = cx.scope
        attributes = _start_attributes(self.attributes, scope.identity, cx.journey)
        span = self.runtime.tracing.start(self.name, attributes, context, scope.take_origin())
        if span is None:
            return None
        handle = TouchpointHandle(context, span, self.place, scope, attributes)
        return self._enter(context, cx, handle)

    def open_attached(self) -> Context | None:
        """Be the span of the server or consumer that is current, where there is one."""
        context = get_current()
        span = get_current_span(context)
        if not span.is_recording() or getattr(span, "kind", None) not in _EDGE_KINDS:
            return self.open()
        cx = cx_of(context) or outermost(context)
        attributes = _start_attributes(self.attributes, cx.scope.identity, cx.journey)
        span.set_attributes(attributes)
        handle = AttachedTouchpoint(context, span, self.place, cx.scope, attributes)
        return self._enter(context, cx, handle)

    def _enter(self, context: Context, cx: CXContext, handle: TouchpointHandle) -> Context:
        span = handle.span
        if span.is_recording():
            cx.scope.adopt_touchpoint(span.get_span_context().span_id, span)
        inner = CXContext(cx.scope, cx.journey, self.place, None, handle, handle)
        return with_cx_and_span(context, inner, span)


def _start_attributes(
    own: Mapping[str, Any], identity: Identity, journey: Journey | None
) -> dict[str, Any]:
    if journey is None:
        return {**own, **identity.details, **identity.tags}
    linked = journey.linked if identity.linkable else journey.named
    found = {**own, **linked, **identity.details, **identity.tags}
    if journey.route is not None:
        found[names.JOURNEY_ROUTE] = journey.route
    return found


def outermost(context: Context) -> CXContext:
    """The start of a request of which nobody has told us: its scope adopts the current span."""
    scope = RequestScope(_runtime.current.anonymous)
    span = get_current_span(context)
    if span.is_recording():
        scope.adopt(span.get_span_context().span_id, span)
    return CXContext(scope)


def _plan(runtime: _runtime.Runtime, wanted: "_Wanted") -> _Plan:
    plan: _Plan | None = runtime.plans.get(wanted)
    if plan is None:
        plan = _make_plan(runtime, wanted)
        if len(runtime.plans) < _MAX_PLANS:
            runtime.plans[wanted] = plan
        else:
            _guard.count("touchpoint.names_past_limit")
    return plan


@frozen
class _Wanted:
    """What the code says about a touchpoint; the map says the rest."""

    name: str
    stage: str | None = None
    owner: str | None = None
    channel: str | None = None


def _make_plan(runtime: _runtime.Runtime, wanted: _Wanted) -> _Plan:
    name = checked_name(wanted.name, "touchpoint")
    stage = wanted.stage and checked_name(wanted.stage, "stage")
    owner = wanted.owner and checked_name(wanted.owner, "owner")
    channel = wanted.channel
    if channel is not None and channel not in _CHANNELS:
        refuse("channel", _CHANNELS)
        channel = None
    own: dict[str, Any] = {}
    journey_map = runtime.journey_map
    if journey_map is not None:
        planned = journey_map.touchpoints.get(name)
        own = _from_map(journey_map, name)
        if planned is not None:
            stage, owner = stage or planned.stage, owner or planned.owner
            if channel is None and len(planned.channels) == 1:
                channel = planned.channels[0]
        if stage is not None and stage in journey_map.stages:
            own[names.STAGE_PHASE] = journey_map.stages[stage].phase
    if channel is not None:
        own[names.CHANNEL_NAME] = channel
    place = Place(name, stage, owner)
    return _Plan(runtime, place, {**place.tags, **own})


def _from_map(journey_map: Any, name: str) -> dict[str, Any]:
    planned = journey_map.touchpoints.get(name)
    own: dict[str, Any] = {
        names.MAP_VERSION: journey_map.version,
        names.TOUCHPOINT_PLANNED: planned is not None,
    }
    if planned is None:
        _guard.count("touchpoint.not_in_map")
        _guard.warn_once(
            f"touchpoint.not_in_map:{name}",
            "cxtrace: the journey map %r has no touchpoint %r; its spans say "
            "cx.touchpoint.planned=false. `cxtrace check` lists all of them",
            journey_map.name,
            name,
        )
        return own
    found = {
        names.TOUCHPOINT_TYPE: planned.type,
        names.TOUCHPOINT_INITIATOR: planned.initiator,
        names.EFFORT_EXPECTED_ACTIONS: planned.expected_actions,
    }
    own.update({key: value for key, value in found.items() if value is not None})
    for function, weight in planned.influence.items():
        own[f"{names.OWNER_INFLUENCE}.{function}"] = weight
    return own


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
        if callable(name):
            checked_name(name, "touchpoint")
        self._wanted = _Wanted(name, stage, owner, channel)
        self._attach = attach
        self._plan: _Plan | None = None

    def _open(self) -> Context | None:
        try:
            plan = self._plan
            runtime = _runtime.current
            if plan is None or plan.runtime is not runtime:
                plan = self._plan = _plan(runtime, self._wanted)
            return plan.open_attached() if self._attach else plan.open()
        except Exception as error:  # noqa: BLE001
            _guard.swallow("touchpoint", error)
            return None

    def _handle(self, context: Context | None) -> TouchpointHandle:
        return NO_TOUCHPOINT if context is None else _block_of(context)


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
        self._name = checked_name(name, "interaction")

    def _open(self) -> Context | None:
        try:
            return _open_interaction(self._name)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("interaction", error)
            return None

    def _handle(self, context: Context | None) -> SpanHandle:
        return NO_INTERACTION if context is None else _block_of(context)


def _block_of(context: Context) -> Any:
    return cx_of(context).block  # type: ignore[union-attr]


def _open_interaction(name: str) -> Context | None:
    context = get_current()
    cx = cx_of(context) or outermost(context)
    attributes: dict[str, Any] = {names.INTERACTION_NAME: name, **cx.tags()}
    tracing = _runtime.current.tracing
    span = tracing.start(name, attributes, context, cx.scope.take_origin())
    if span is None:
        return None
    handle = SpanHandle(context, span, cx.place, cx.scope, attributes)
    if span.is_recording():
        cx.scope.adopt(span.get_span_context().span_id, span)
    inner = CXContext(cx.scope, cx.journey, cx.place, name, handle, cx.handle)
    return with_cx_and_span(context, inner, span)
