"""Who the customer is, out of what the code says: checked, and without the raw identifier."""

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

from cxtrace import _guard, _runtime, _scope, _withdrawals
from cxtrace import attributes as names
from cxtrace._closed_sets import block_name, integer, member, refuse, text
from cxtrace.attributes import Consent, CustomerKind
from cxtrace.context import Identity
from cxtrace.typing import CustomerId

if TYPE_CHECKING:
    from cxtrace._journeys import JourneyState

_Who: TypeAlias = tuple[CustomerId, CustomerId | None]
"""A customer, and the tenant whose customer it is."""

_NO_CHANCE: Final = 6
"""Characters of an identifier that do not stand in a pseudonym by chance."""

_CONSENTS: Final = frozenset(get_args(Consent))
_KINDS: Final = frozenset(get_args(CustomerKind))
_NOTHING: Final[Mapping[str, str]] = {}
_WALKED: Final[Mapping[str, str]] = {names.SYNTHETIC_TYPE: "test"}
"""What marks the spans of staff and scripts, who are no customers."""

_SEGMENT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,63}")


def identity_of(
    customer_id: CustomerId | None,
    kind: CustomerKind | None,
    segment: str | None,
    consent: Consent | None,
    outer: Identity,
    state: "JourneyState | None" = None,
    tenant: CustomerId | None = None,
) -> Identity:
    """The identity of a customer of whom the code, or a request, says this much.

    A journey that this process remembers keeps the key under which it began, and a request the
    key under which its customer was named before.
    """
    given = None if consent is None else _given(consent)
    of_kind = None if kind is None else _one_of(kind, _KINDS, "kind")
    agreed = outer.consent if given is None else given
    linkable = _runtime.is_linkable(agreed)
    epochs: Mapping[str, str] = _NOTHING
    if customer_id is not None and (linkable or given == "withdrawn"):
        who = _who(customer_id, tenant)
        epochs = _NOTHING if who is None else _pseudonyms(who)
        if who is not None and (given == "withdrawn" or _withdrawals.are_any()):
            agreed = _heard(who, epochs, given, agreed)
            linkable = _runtime.is_linkable(agreed)
    if not linkable:
        epochs = _NOTHING
    key_id = _epoch(epochs, state, outer) if epochs else None
    pseudonym = None if key_id is None else epochs[key_id]
    segment = None if segment is None else _checked_segment(segment)
    marks = outer.marks or (_WALKED if of_kind == "walkthrough" else _NOTHING)
    # By position: to be called by name costs a named tuple half as much again.
    return Identity(agreed, of_kind, pseudonym, key_id, segment, linkable, epochs, marks)


def withdraw(known: Identity) -> None:
    """Take the word of a customer who is known here, and was not named again."""
    if known.pseudonyms:
        _withdrawals.consent_of(known.pseudonyms, "withdrawn", known.consent)
        _scope.withdraw(known.pseudonyms, _runtime.current.tracing)


def is_same(customer_id: CustomerId | None, tenant: CustomerId | None, known: Identity) -> bool:
    """Whether this is the id of the customer who is known here."""
    if customer_id is None or names.CUSTOMER_PSEUDONYM not in known.tags:
        return False
    who = _who(customer_id, tenant)
    return who is not None and known.pseudonym in _pseudonyms(who).values()


def _given(consent: Consent) -> Consent:
    # What cannot be understood is not a yes.
    return _one_of(consent, _CONSENTS, "consent") or "denied"


def _epoch(epochs: Mapping[str, str], state: "JourneyState | None", outer: Identity) -> str | None:
    """The id of the key to name the customer under, which is the journey's from then on."""
    if state is not None and state.epoch in epochs:
        return state.epoch
    key_id = outer.key_id if outer.key_id in epochs else next(iter(epochs))
    if state is not None:
        state.epoch = key_id
    return key_id


def _heard(who: _Who, epochs: Mapping[str, str], given: Consent | None, known: Consent) -> Consent:
    """The consent that counts, after what this customer has said in this process before."""
    agreed = _withdrawals.consent_of((_own().pseudonym(*who), *epochs.values()), given, known)
    if given == "withdrawn":
        _scope.withdraw(frozenset(epochs.values()), _runtime.current.tracing)
    return agreed


@cache
def _own() -> Any:
    """Names customers for this process alone: keys are changed, and salts are forgotten."""
    # hmac and its OpenSSL would double the cost of importing cxtrace.
    from cxtrace.privacy import HmacPseudonymiser, Key

    return HmacPseudonymiser(Key.ephemeral())


def _who(customer_id: CustomerId, tenant: CustomerId | None) -> _Who | None:
    """Customer and tenant as plain values; None if one of them cannot be used."""
    usable = _usable(customer_id, "customer_id")
    if tenant is None:
        return None if usable is None else (usable, None)
    of = _usable(tenant, "tenant")
    return None if usable is None or of is None else (usable, of)


def _pseudonyms(who: _Who) -> dict[str, str]:
    """The customer's pseudonym under each key, by key id, the newest first."""
    # A pseudonymiser of the user's may fail: then this customer is nobody, not the one before.
    try:
        pseudonymiser = _runtime.pseudonymiser()
        every = getattr(pseudonymiser, "pseudonyms", None)
        if every is None:
            return _asked(pseudonymiser, *who)
        found: dict[str, str] = every(*who)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("pseudonymiser", error)
        return {}
    return found


def _asked(
    pseudonymiser: Any, customer_id: CustomerId, tenant: CustomerId | None
) -> dict[str, str]:
    # One of the user's that knows no tenants is not asked about them, and fails where it must.
    of = () if tenant is None else (tenant,)
    pseudonym, key_id = text(pseudonymiser.pseudonym(customer_id, *of)), text(pseudonymiser.key_id)
    if pseudonym is None or key_id is None or _shows(pseudonym, str(customer_id)):
        return {}
    return {key_id: pseudonym}


def _shows(pseudonym: str, raw: str) -> bool:
    """Whether a pseudonym is the identifier itself, or holds one that is no chance."""
    is_shown = raw == pseudonym or (len(raw) >= _NO_CHANCE and raw in pseudonym)
    if is_shown:
        _guard.count("refused.pseudonym")
        _guard.warn_once(
            "refused.pseudonym",
            "cxtrace: your pseudonymiser gave the customer's identifier itself, which does not "
            "leave: the customer stays unnamed",
        )
    return is_shown


def _one_of(value: Any, allowed: frozenset[str], what: str) -> Any:
    found = member(value, allowed)
    if found is None:
        refuse(what, allowed)
    return found


def plain_id(given: object) -> CustomerId | None:
    """An identifier as plain text or as a plain number; None for what is neither, or empty."""
    return text(given) or integer(given)


def _usable(given: object, what: str) -> CustomerId | None:
    if type(given) is str and given:  # as nearly always
        return given
    found = plain_id(given)
    if found is not None:
        return found
    _guard.count(f"refused.{what}")
    _guard.warn_once(
        f"refused.{what}",
        "cxtrace: a customer's id, and a tenant's, must be text or a whole number; this customer "
        "has no pseudonym",
    )
    return None


def _checked_segment(segment: object) -> str | None:
    found = text(segment)
    if found is not None and _SEGMENT.fullmatch(found):
        return None if block_name("segment", found) else found
    _guard.count("refused.segment")
    _guard.warn_once(
        "refused.segment",
        "cxtrace: a segment must be 1 to 64 letters, digits, spaces, _ or -; it is not sent",
    )
    return None
