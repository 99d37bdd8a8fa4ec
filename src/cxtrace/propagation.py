"""The propagator with its trust boundary: what comes in is checked, what goes out goes to us.

Use it after the standard ones: ``OTEL_PROPAGATORS=tracecontext,baggage,cxtrace``.
"""

import time
from collections.abc import Iterable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, Final, get_args

from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    SpanKind,
    get_current_span,
    set_span_in_context,
)

from cxtrace import (
    _baggage,
    _destination,
    _guard,
    _journeys,
    _marks,
    _redirects,
    _runtime,
    _withdrawals,
)
from cxtrace import attributes as names
from cxtrace._keys import Key
from cxtrace._pseudonymisers import maker_of
from cxtrace._scope import RequestScope
from cxtrace.context import (
    CXContext,
    Identity,
    Journey,
    Place,
    cx_of,
    make,
    with_cx,
)

HEADER: Final = "baggage"

(_BAGGAGE_KEY,) = baggage.set_baggage(HEADER, "", Context())
"""OpenTelemetry's key of the baggage in a context, learnt through its public functions."""

_OUTBOUND: Final = (SpanKind.CLIENT, SpanKind.PRODUCER)
_CONSENTS: Final = frozenset(get_args(names.Consent))


class CXPropagator(TextMapPropagator):
    """Carries the journey in signed ``baggage`` members, to hosts that are ours and from them.

    Inbound, members of the ``cx.`` and ``enduser.`` name spaces count only with a fresh signature
    of our key; else they are dropped and counted. Outbound, they go only where the current client
    span says that the host is ours. Members of others stay as they are.
    """

    @property
    def fields(self) -> set[str]:
        """The header that this propagator writes."""
        return {HEADER}

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """The context of a request that comes in. Never raises."""
        context = Context() if context is None else context
        try:
            values = getter.get(carrier, HEADER)
            if values is None and not context and cx_of(get_current()) is not None:
                return context  # a call within this process, such as an eager task: all is here
            return _extract(values, context)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("extract", error)
            return _extract(None, context)

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """Write our members for a request that goes out, if it goes to us. Never raises."""
        try:
            _inject(carrier, get_current() if context is None else context, setter)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("inject", error)


def _extract(values: Iterable[str] | None, context: Context) -> Context:
    runtime = _runtime.current
    header = None if values is None else _trusted(",".join(values), runtime)
    if _BAGGAGE_KEY in context:
        context = _without_baggage_of_ours(context)
    if header is None:
        scope = RequestScope(runtime.anonymous)
        if runtime.public_endpoint:
            context = _broken_off(context, scope)
        return with_cx(context, make(CXContext, (scope, None, None, None, None, None)))
    members = _baggage.acceptable(header)
    # Without a signature there is nothing to be told by, however much the sender is trusted.
    key = None
    if runtime.trust_inbound == "signed":
        key = _runtime.keys().find(_baggage.key_id_of(header))
    identity = _identity_of(members, key) if members else runtime.anonymous
    journey = _journey_of(members, "" if key is None else _baggage.clock_of(header), key)
    if journey is not None and journey.state is not None:
        identity = journey.state.consent(identity)
    known = identity.pseudonym is not None or identity.consent != "unknown"
    scope = RequestScope(identity, settled=known)
    return with_cx(context, CXContext(scope, journey, _place_of(members)))


def _trusted(text: str, runtime: _runtime.Runtime) -> dict[str, str] | None:
    """Our members as they came, or None where the sender did not prove to be one of us."""
    if len(text) > _baggage.MAX_HEADER_BYTES:
        _refuse("oversized")
        return None
    header = _baggage.parse(text)
    if not header.ours:
        return None
    if header.repeated:
        _refuse("repeated")
        return None
    if runtime.trust_inbound == "never":
        _refuse("never_trusted")
        return None
    if runtime.trust_inbound == "signed":
        keys = _runtime.keys()
        fault = _baggage.fault(header.ours, keys, time.time())
        if fault == "other_key" and keys.refreshed():  # the sender has read of it before us
            fault = _baggage.fault(header.ours, keys, time.time())
        if fault is not None:
            _refuse(fault)
            return None
    return dict(header.ours)


def _refuse(why: str) -> None:
    _guard.count(f"baggage.{why}")
    if why == "other_key":
        _guard.warn_once(
            "baggage.other_key",
            "cxtrace: a request carries a journey signed with another key, which is ignored. "
            "Give every service the same CXTRACE_KEY",
        )


def _without_baggage_of_ours(context: Context) -> Context:
    for key in baggage.get_all(context):
        if _baggage.is_ours(key):
            context = baggage.remove_baggage(key, context)
    return context


def _broken_off(context: Context, scope: RequestScope) -> Context:
    remote = get_current_span(context).get_span_context()
    if not remote.is_valid or not remote.is_remote:
        return context
    scope.origin = remote
    return set_span_in_context(INVALID_SPAN, context)


def _identity_of(members: Mapping[str, str], key: Key | None) -> Identity:
    consent: Any = members.get(names.CONSENT_STATE)
    if consent not in _CONSENTS:
        consent = "unknown"
    pseudonym = members.get(names.CUSTOMER_PSEUDONYM)
    if pseudonym is not None and _withdrawals.has_withdrawn(pseudonym):
        consent = "withdrawn"  # which the caller has not heard of
    # Only the signature shows which key the pseudonym was made with.
    maker = None if pseudonym is None or key is None else maker_of(pseudonym, key)
    return Identity(
        consent=consent,
        pseudonym=pseudonym,
        key_id=maker,
        linkable=_runtime.is_linkable(consent),
        marks={} if key is None else _marks.told(members),
    )


def _journey_of(members: Mapping[str, str], clock: str, key: Key | None) -> Journey | None:
    name = members.get(names.JOURNEY_NAME)
    if name is None:
        return None
    journey_id = members.get(names.JOURNEY_ID, "")
    if not journey_id or _runtime.is_idle():
        return Journey(name, journey_id)
    state = _journeys.memory.state_of(name, journey_id)
    state.stage = members.get(names.STAGE_NAME, state.stage)
    if key is not None:
        state.epoch = key.key_id
    if clock:
        state.learn(clock)
    return Journey(name, journey_id, state=state)


def _place_of(members: Mapping[str, str]) -> Place | None:
    touchpoint = members.get(names.TOUCHPOINT_NAME)
    if touchpoint is None:
        return None
    return Place(touchpoint, members.get(names.STAGE_NAME), members.get(names.OWNER_FUNCTION))


def _inject(carrier: Any, context: Context, setter: Setter[Any]) -> None:
    existing = _existing(carrier, context)
    header = _baggage.parse(existing) if existing else None
    ours = _outbound(context)
    if ours is None and (header is None or not header.ours):
        return
    parts = [] if header is None else list(header.others)
    if ours is not None and _redirects.are_safe_in(carrier) and _fits(parts, ours):
        parts.append(ours)
    if isinstance(carrier, list):  # to which setters append, while readers take the first
        carrier[:] = [pair for pair in carrier if not _is_header(pair[0])]
    elif type(carrier) is dict:
        for key in [key for key in carrier if _is_header(key)]:
            del carrier[key]
    if parts:
        setter.set(carrier, HEADER, ",".join(parts))
    elif header is not None and isinstance(carrier, MutableMapping):
        carrier.pop(HEADER, None)


def _existing(carrier: Any, context: Context) -> str | None:
    """What another propagator has written before us, or a redirect has carried along."""
    found: Any = None
    if type(carrier) is dict:  # which takes ``Baggage`` for another key
        lines = [value for key, value in carrier.items() if _is_header(key)]
        found = ",".join(lines) if len(lines) > 1 else next(iter(lines), None)
    elif isinstance(carrier, Mapping):
        found = carrier.get(HEADER)
    elif isinstance(carrier, list):
        found = next((value for key, value in carrier if _is_header(key)), None)
    if isinstance(found, bytes):
        return found.decode("utf-8", "replace")
    if found is None or isinstance(found, str):
        return found
    # A shape of the carrier's own, such as a message attribute: write again what stands in it.
    written: dict[str, str] = {}
    W3CBaggagePropagator().inject(written, context)
    return written.get(HEADER, "")


def _is_header(key: object) -> bool:
    """Whether a key of a carrier is the header's, in capitals or not."""
    return isinstance(key, str) and len(key) == len(HEADER) and key.lower() == HEADER


def _fits(others: list[str], ours: str) -> bool:
    total = sum(map(len, others)) + len(others) + len(ours)
    if len(ours) <= _baggage.MAX_BYTES and total <= _baggage.MAX_HEADER_BYTES:
        return True
    _guard.count("baggage.no_room")
    _guard.warn_once(
        "baggage.no_room",
        "cxtrace: the names of a journey, its stage or touchpoint are too long for the baggage "
        "header, so the journey ends at this service; letters beyond ASCII take six bytes or more",
    )
    return False


def _outbound(context: Context) -> str | None:
    cx = cx_of(context)
    if cx is None or (cx.journey is None and cx.place is None and not cx.identity.marks):
        return None
    runtime = _runtime.current
    ours = _goes_to_us(get_current_span(context), runtime)
    if ours is None and runtime.unknown_destination == "names":
        allowed: tuple[str, ...] = _baggage.NAMES
    elif ours:
        allowed = _baggage.NAMES + _baggage.IDS
    else:
        _guard.count(
            "baggage.not_sent_to_strangers" if ours is False else "baggage.not_sent_blindly"
        )
        return None
    found = {names.CONSENT_STATE: cx.identity.consent, **cx.tags()}
    members = {key: found[key] for key in allowed if key in found}
    now, clock, key = time.time(), _clock_of(cx, members), _key_of(cx)
    pseudonym = members.get(names.CUSTOMER_PSEUDONYM)
    if pseudonym is not None and _is_outdated(pseudonym, cx.identity.key_id, key):
        del members[names.CUSTOMER_PSEUDONYM]
        _guard.count("baggage.key_is_gone")
    told = _baggage.signed(members, key, now, clock)
    if not clock or len(told) <= _baggage.MAX_BYTES:
        return told
    told = _baggage.signed(members, key, now)
    if len(told) <= _baggage.MAX_BYTES:
        _guard.count("baggage.no_room_for_clock")
    return told


def _key_of(cx: CXContext) -> Key:
    """The key under which the customer is named, or else the journey: the receiver is to stay."""
    state = None if cx.journey is None else cx.journey.state
    keys = _runtime.keys()
    named = keys.find(cx.identity.key_id)
    began = keys.find(state.epoch) if named is None and state is not None else named
    return began or keys.newest


def _is_outdated(pseudonym: str, key_id: str | None, key: Key) -> bool:
    """Whether the receiver would take it for one that another key has made."""
    return key_id is not None and maker_of(pseudonym, key) not in (None, key_id)


def _clock_of(cx: CXContext, members: Mapping[str, str]) -> str:
    """What the receiver needs to measure the journey, of which it may be told."""
    journey = cx.journey
    if journey is None or journey.state is None or names.JOURNEY_ID not in members:
        return ""
    clock: str = journey.state.clock()
    return clock


def _goes_to_us(span: Span, runtime: _runtime.Runtime) -> bool | None:
    if not span.is_recording():
        return getattr(span.get_span_context().trace_state, "goes_to_us", None)
    kind = getattr(span, "kind", None)
    if kind not in _OUTBOUND:
        return None
    attributes = getattr(span, "attributes", None) or {}
    if type(attributes) is MappingProxyType:
        # To look into the attributes of an SDK's span is slow, each time; to copy them is not.
        attributes = attributes.copy()
    ours = _destination.is_ours(attributes, runtime.trusted_hosts)
    # Producers write to brokers; some instrumentations say so only after the headers are written.
    return True if ours is None and kind is SpanKind.PRODUCER else ours
