"""Who the customer is, out of what the code says: checked, and without the raw identifier."""

import re
from typing import Any, Final, get_args

from cxtrace import _guard, _runtime
from cxtrace._closed_sets import integer, member, refuse, text
from cxtrace.attributes import Consent, CustomerKind
from cxtrace.context import Identity
from cxtrace.typing import CustomerId

_CONSENTS: Final = frozenset(get_args(Consent))
_KINDS: Final = frozenset(get_args(CustomerKind))
_SEGMENT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,63}")


def identity_of(
    customer_id: CustomerId | None,
    kind: CustomerKind | None,
    segment: str | None,
    consent: Consent | None,
    outer: Identity,
) -> Identity:
    """The identity of a customer of whom the code, or a request, says this much."""
    state = _consent(consent, outer)
    linkable = _runtime.is_linkable(state)
    pseudonym = key_id = None
    if linkable and customer_id is not None:
        pseudonym, key_id = _pseudonym(_usable(customer_id))
    return Identity(
        consent=state,
        kind=_one_of(kind, _KINDS, "kind"),
        pseudonym=pseudonym,
        key_id=key_id,
        segment=_checked_segment(segment),
        linkable=linkable,
    )


def is_same(customer_id: CustomerId | None, known: Identity) -> bool:
    """Whether this is the id of the customer who is known here."""
    if customer_id is None or not known.tags:
        return False
    return _pseudonym(_usable(customer_id))[0] == known.pseudonym


def _consent(given: Consent | None, outer: Identity) -> Consent:
    if given is None:
        return outer.consent
    # What cannot be understood is not a yes.
    return _one_of(given, _CONSENTS, "consent") or "denied"


def _pseudonym(customer_id: CustomerId | None) -> tuple[str | None, str | None]:
    if customer_id is None:
        return None, None
    # A pseudonymiser of the user's may fail: then this customer is nobody, not the one before.
    try:
        pseudonymiser = _runtime.pseudonymiser()
        return text(pseudonymiser.pseudonym(customer_id)), text(pseudonymiser.key_id)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("pseudonymiser", error)
        return None, None


def _one_of(value: Any, allowed: frozenset[str], what: str) -> Any:
    if value is None:
        return None
    found = member(value, allowed)
    if found is None:
        refuse(what, allowed)
    return found


def plain_id(given: object) -> CustomerId | None:
    """An identifier as plain text or as a plain number; None for what is neither, or empty."""
    return text(given) or integer(given)


def _usable(customer_id: object) -> CustomerId | None:
    found = plain_id(customer_id)
    if found is not None:
        return found
    _guard.count("refused.customer_id")
    _guard.warn_once(
        "refused.customer_id",
        "cxtrace: a customer's id must be text or a whole number; this customer has no pseudonym",
    )
    return None


def _checked_segment(segment: object) -> str | None:
    if segment is None:
        return None
    found = text(segment)
    if found is not None and _SEGMENT.fullmatch(found):
        return found
    _guard.count("refused.segment")
    _guard.warn_once(
        "refused.segment",
        "cxtrace: a segment must be 1 to 64 letters, digits, spaces, _ or -; it is not sent",
    )
    return None
