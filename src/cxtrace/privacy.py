"""Keys and pseudonyms: what must happen before a customer identifier may leave the process."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from cxtrace import _guard
from cxtrace import attributes as names
from cxtrace._blockers import is_personal
from cxtrace._closed_sets import block, block_name, text
from cxtrace._key_file import KeyFile as KeyFile
from cxtrace._key_file import load_keys as load_keys
from cxtrace._keys import EPHEMERAL as EPHEMERAL
from cxtrace._keys import MIN_KEY_BYTES as MIN_KEY_BYTES
from cxtrace._keys import Key as Key
from cxtrace._keys import KeyGiven as KeyGiven
from cxtrace._keys import KeyRing as KeyRing
from cxtrace._keys import Keys as Keys
from cxtrace._pseudonymisers import HmacPseudonymiser as HmacPseudonymiser
from cxtrace._pseudonymisers import SaltedPseudonymiser as SaltedPseudonymiser
from cxtrace._pseudonymisers import StoredPseudonymiser as StoredPseudonymiser
from cxtrace._pseudonymisers import VaultPseudonymiser as VaultPseudonymiser
from cxtrace._pseudonymisers import encoded
from cxtrace._sqlite_store import SQLiteStore as SQLiteStore

_JOURNEY: Final = b"cxtrace/journey-id/v1"
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
_HEXADECIMAL: Final = re.compile(r"[0-9a-f]*")
_RANDOM: Final = {
    16: _HEXADECIMAL,
    26: re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]*"),
    32: _HEXADECIMAL,
    36: re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"),
}
"""What only machines give, by its length: to try one form after the other takes twice the time."""
_PLAIN_KEY: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_PLAIN_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f@\ud800-\udfff]{1,64}")
_PHONE_LIKE: Final = re.compile(r"[0-9][0-9.-]{6,}")


def is_random(given: str) -> bool:
    """Whether it has a form that only machines give: UUID, ULID, 16 or 32 hexadecimal digits."""
    form = _RANDOM.get(len(given))
    return form is not None and form.fullmatch(given) is not None and not given.isdecimal()


def is_plain(given: str) -> bool:
    """Whether it is an opaque token that may be sent as it stands, and no value of somebody."""
    if not _PLAIN_ID.fullmatch(given) or _PHONE_LIKE.fullmatch(given):
        return False
    return is_random(given) or is_personal(given) is None


def journey_id(given: str, key: Callable[[], Key]) -> str:
    """``given`` where it is a plain opaque token, else a hash of it under ``key()``.

    An e-mail address, a telephone number or text with a line break is never used as it stands, and
    neither is anything else that ``cxtrace`` takes for a value of somebody.
    """
    if is_plain(given):
        return given
    return encoded(key().digest(_JOURNEY, given.encode("utf-8", "surrogatepass")))[:22]


def hashed_journey_id(name: str, given: str, key: Key) -> str:
    """The id of the journey ``name`` of whoever has a secret, such as the cookie of a session."""
    return encoded(key.digest(_JOURNEY, f"{name}\0{given}".encode("utf-8", "surrogatepass")))[:22]


def allowed(values: Mapping[str, Any], context_keys: Collection[str]) -> dict[str, Any]:
    """The values that may be sent; the others are counted and warned about once a key.

    Args:
        values: Attributes as a developer gave them.
        context_keys: The ``<key>`` of every ``cx.context.<key>`` that the map allows.
    """
    kept: dict[str, Any] = {}
    for given, value in values.items():
        key = text(given)
        fit = None if key is None else _fit(key, value, context_keys)
        if key is not None and fit is not None:
            if type(fit) is str:
                is_blocked = block("attribute", fit)
            else:
                is_blocked = block_name("attribute", key)  # cx.quality.<dimension>
            if not is_blocked:
                kept[key] = fit
        else:
            _guard.count("refused.attribute")
            _guard.warn_once(
                f"refused.attribute:{key and _PLAIN_KEY.fullmatch(key) and key}",
                "cxtrace: set() does not send one of the given attributes. It takes "
                "cx.context.<key> with text of at most 64 characters, for keys in the map's "
                "`context` list; cx.quality.<dimension> from 0 to 1; "
                "cx.touchpoint.first_contact, true or false; and session.id",
            )
    return kept


def _fit(key: str, value: object, context_keys: Collection[str]) -> Any:
    """The value, of no subclass, if it may be sent under this key, else None."""
    if key == names.TOUCHPOINT_FIRST_CONTACT:
        return value if type(value) is bool else None
    said = text(value)
    if key == names.SESSION_ID:
        return said if said is not None and _PLAIN_ID.fullmatch(said) else None
    prefix, _, last = key.rpartition(".")
    if prefix == names.QUALITY:
        is_share = last and _PLAIN_KEY.fullmatch(key) and type(value) in (int, float)
        return value if is_share and 0 <= value <= 1 else None  # type: ignore[operator]
    if prefix != names.CONTEXT or last not in context_keys or said is None:
        return None
    return said if _PLAIN_TEXT.fullmatch(said) and said.isprintable() else None
