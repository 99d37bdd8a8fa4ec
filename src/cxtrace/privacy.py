"""Keys and pseudonyms: what must happen before a customer identifier may leave the process."""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from cxtrace import _guard
from cxtrace import attributes as names
from cxtrace._closed_sets import text
from cxtrace.exceptions import ConfigurationError
from cxtrace.typing import CustomerId

MIN_KEY_BYTES: Final = 32
"""Shortest key that is accepted, in bytes."""

EPHEMERAL: Final = "ephemeral"
"""Key id of a key that was drawn at random because none was given."""

_PSEUDONYM: Final = b"cxtrace/pseudo/v1"
_KEY_ID: Final = b"cxtrace/key-id/v1"
_JOURNEY: Final = b"cxtrace/journey-id/v1"
_MAKE_A_KEY: Final = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
_RANDOM: Final = re.compile(
    r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9a-f]{16}|[0-9a-f]{32}"
    r"|[0-7][0-9A-HJKMNP-TV-Z]{25}",
    re.ASCII,
)
_PLAIN_KEY: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_PLAIN_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f@\ud800-\udfff]{1,64}")
_PHONE_LIKE: Final = re.compile(r"[0-9][0-9.-]{6,}")


class Key:
    """A secret of at least 32 bytes, used under a label so that its uses cannot be mixed up."""

    __slots__ = ("_mac", "key_id")

    def __init__(self, secret: bytes, key_id: str | None = None) -> None:
        if len(secret) < MIN_KEY_BYTES:
            raise ConfigurationError(
                f"the key has {len(secret)} bytes and must have at least {MIN_KEY_BYTES}; "
                f"make one with: {_MAKE_A_KEY}"
            )
        self._mac = hmac.new(secret, digestmod="sha256")
        self.key_id = key_id or self.digest(_KEY_ID, b"").hex()[:8]

    def __repr__(self) -> str:
        return f"<Key {self.key_id}>"

    def __reduce__(self) -> str:
        raise TypeError("a cxtrace key cannot be pickled: it would leave the process")

    def digest(self, label: bytes, message: bytes) -> bytes:
        """HMAC-SHA-256 of label and message."""
        mac = self._mac.copy()  # at two thirds of the time that a new one takes
        mac.update(label + b"\0" + message)
        return mac.digest()

    @classmethod
    def ephemeral(cls) -> "Key":
        """A key that only this process knows."""
        return cls(secrets.token_bytes(MIN_KEY_BYTES), EPHEMERAL)


class HmacPseudonymiser:
    """Pseudonym = ``v1.`` and 132 bits of HMAC-SHA-256 over the identifier, in base64url."""

    __slots__ = ("_key",)

    def __init__(self, key: Key) -> None:
        self._key = key

    @property
    def key_id(self) -> str:
        """Fingerprint of the key, or ``ephemeral``."""
        return self._key.key_id

    def pseudonym(self, customer_id: CustomerId) -> str:
        """The same for the same customer in every process that has the key."""
        raw = str(customer_id).encode("utf-8", "surrogatepass")
        return "v1." + _encode(self._key.digest(_PSEUDONYM, raw))[:22]


def is_random(given: str) -> bool:
    """Whether it has a form that only machines give: UUID, ULID, 16 or 32 hexadecimal digits."""
    return _RANDOM.fullmatch(given) is not None and not given.isdecimal()


def journey_id(given: str, key: Callable[[], Key]) -> str:
    """``given`` where it is a plain opaque token, else a hash of it under ``key()``.

    An e-mail address, a telephone number or text with a line break is never used as it stands.
    """
    if _PLAIN_ID.fullmatch(given) and not _PHONE_LIKE.fullmatch(given):
        return given
    return _encode(key().digest(_JOURNEY, given.encode("utf-8", "surrogatepass")))[:22]


def hashed_journey_id(name: str, given: str, key: Key) -> str:
    """The id of the journey ``name`` of whoever has a secret, such as the cookie of a session."""
    return _encode(key.digest(_JOURNEY, f"{name}\0{given}".encode("utf-8", "surrogatepass")))[:22]


def load_key(given: str | bytes | None, environ: Mapping[str, str]) -> Key | None:
    """The key from the argument, else ``CXTRACE_KEY``, else the file ``CXTRACE_KEY_FILE`` names.

    Raises:
        ConfigurationError: The key is too short, or its file cannot be read.
    """
    if given is None:
        given = environ.get("CXTRACE_KEY") or _read(environ.get("CXTRACE_KEY_FILE"))
    if given is None:
        return None
    return Key(_bytes_of(given.strip()) if isinstance(given, str) else given)


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


def _bytes_of(text: str) -> bytes:
    try:
        # Bytes of the environment that are no UTF-8 count as they would in a file.
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ConfigurationError("the key is no text; give bytes") from None


def _read(path: str | None) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(
            f"CXTRACE_KEY_FILE names {path!r}, which cannot be read: {error.strerror}"
        ) from None


def _encode(digest: bytes) -> str:
    return urlsafe_b64encode(digest).decode("ascii")
