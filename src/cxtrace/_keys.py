"""Keys: the secrets that make pseudonyms and signatures, several of them while one is changed.

Text holds one key a line, the newest first; blank lines and lines that begin with ``#`` are not
counted. A line is the key, or ``id = key`` with a space on either side of the sign. Bytes are one
key as they stand.
"""

import hmac
import re
import secrets
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias, TypeVar

from cxtrace.exceptions import ConfigurationError

MIN_KEY_BYTES: Final = 32
"""Shortest key that is accepted, in bytes."""

MAX_KEYS: Final = 16
"""Most keys that one process believes at a time."""

EPHEMERAL: Final = "ephemeral"
"""Key id of a key that was drawn at random because none was given."""

KeyGiven: TypeAlias = str | bytes | Sequence[str | bytes]
"""A key, or several with the newest first."""

_Error = TypeVar("_Error", bound=BaseException)

_KEY_ID: Final = b"cxtrace/key-id/v1"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", re.ASCII)
_NAMED: Final = re.compile(rb"([^\s=]+)[ \t]+=[ \t]+(.*)", re.DOTALL)


class Key:
    """A secret of at least 32 bytes, used under a label so that its uses cannot be mixed up.

    It stands wherever several keys can, as a ring of one.

    Args:
        secret: At least 32 bytes.
        key_id: At most 32 letters, digits, ``.``, ``_`` and ``-``. Default: a fingerprint.

    Raises:
        ConfigurationError: The secret is too short, or no bytes, or the id is none.
    """

    __slots__ = ("_mac", "fingerprint", "key_id")

    def __init__(self, secret: bytes, key_id: str | None = None) -> None:
        self.key_id = ""
        if not isinstance(secret, bytes):
            del secret, key_id
            raise ConfigurationError("the secret of a key must be bytes")
        size, self._mac = len(secret), hmac.new(secret, digestmod="sha256")
        self.key_id = "" if key_id is None or not _ID.fullmatch(key_id) else key_id
        is_named = key_id is not None
        del secret, key_id  # which are local variables of every traceback from here
        if size < MIN_KEY_BYTES:
            raise ConfigurationError(
                f"the key has {size} bytes and must have at least {MIN_KEY_BYTES}; "
                "make one with: cxtrace keys new"
            )
        if is_named and not self.key_id:
            raise ConfigurationError(
                "the id of a key must be 1 to 32 letters, digits, . _ or -; it is not shown here, "
                "for it may be a part of a key"
            )
        self.fingerprint = self.digest(_KEY_ID, b"").hex()[:8]
        self.key_id = self.key_id or self.fingerprint

    def __repr__(self) -> str:
        return f"<Key {self.key_id}>"

    def __reduce__(self) -> str:
        raise TypeError("a cxtrace key cannot be pickled: it would leave the process")

    @property
    def keys(self) -> tuple["Key", ...]:
        """The key alone."""
        return (self,)

    @property
    def newest(self) -> "Key":
        """The key itself."""
        return self

    def find(self, key_id: str | None) -> "Key | None":
        """The key, if that is its id."""
        return self if key_id == self.key_id else None

    def refreshed(self) -> bool:
        """Whether there are other keys now: never."""
        return False

    def digest(self, label: bytes, message: bytes) -> bytes:
        """HMAC-SHA-256 of label and message."""
        mac = self._mac.copy()  # at two thirds of the time that a new one takes
        mac.update(label + b"\0" + message)
        return mac.digest()

    @classmethod
    def ephemeral(cls) -> "Key":
        """A key that only this process knows."""
        return cls(secrets.token_bytes(MIN_KEY_BYTES), EPHEMERAL)


class KeyRing:
    """Several keys: the first makes what is new, and what any of them made is believed.

    Args:
        keys: The newest first.

    Raises:
        ConfigurationError: There is none, too many, one twice, or two have the same id.
    """

    __slots__ = ("__weakref__", "_keys")

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = checked(keys)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(key.key_id for key in self._keys)}>"

    def __reduce__(self) -> str:
        raise TypeError("cxtrace keys cannot be pickled: they would leave the process")

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys that are believed; the first makes what is new."""
        return self._keys

    @property
    def newest(self) -> Key:
        """The key that makes what is new."""
        return self.keys[0]

    @property
    def key_id(self) -> str:
        """Of the key that makes what is new."""
        return self.newest.key_id

    def find(self, key_id: str | None) -> Key | None:
        """The key of that id, if it is believed."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def refreshed(self) -> bool:
        """Whether there are other keys now, where somebody used one that is not known."""
        return False


Keys: TypeAlias = Key | KeyRing


def read_keys(given: KeyGiven) -> tuple[Key, ...]:
    """The keys that text, bytes or a list of both hold, in their order.

    Raises:
        ConfigurationError: One of them is none. The message tells which, and shows nothing of it.
    """
    if isinstance(given, (str, bytes)):
        return _several(given) if isinstance(given, str) else (Key(given),)
    return tuple(key for each in given for key in read_keys(each))


def keys_in(content: bytes) -> tuple[Key, ...]:
    """The keys that the lines of a file, or of a variable, hold.

    Raises:
        ConfigurationError: As for ``read_keys``.
    """
    if b"\0" in content:
        raise ConfigurationError("the keys are no text; write them in ASCII or UTF-8")
    found = list(lines(content.removeprefix(BOM_UTF8)))
    return tuple(_key(number, key_id, secret) for number, key_id, secret in found) or (Key(b""),)


def lines(content: bytes) -> Iterator[tuple[int, str | None, bytes]]:
    """Each key of a text with the number of its line, and its id where it says one."""
    for number, line in enumerate(content.splitlines(), 1):
        told = line.strip()
        if told and not told.startswith(b"#"):
            named = _NAMED.fullmatch(told)
            key_id = None if named is None else named[1].decode("utf-8", "replace")
            yield number, key_id, told if named is None else named[2]


def checked(keys: Sequence[Key]) -> tuple[Key, ...]:
    """The keys, if they can stand beside one another."""
    if not 0 < len(keys) <= MAX_KEYS:
        raise ConfigurationError(f"there are {len(keys)} keys, and can be 1 to {MAX_KEYS}")
    if len({key.key_id for key in keys}) < len(keys):
        raise ConfigurationError("two of the keys have the same id, or are the same")
    if EPHEMERAL in {key.key_id for key in keys}:
        raise ConfigurationError(f"no key that is given can have the id {EPHEMERAL!r}")
    return tuple(keys)


def bare(error: _Error) -> _Error:
    """The error without the frames it came through, whose variables may hold a secret."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class Sealed:
    """What was given as key, on its way to where it is read: no traceback shows it."""

    __slots__ = ("_given",)

    def __init__(self, given: KeyGiven) -> None:
        self._given = given

    def __repr__(self) -> str:
        return "<key>"

    def __reduce__(self) -> str:
        raise TypeError("a cxtrace key cannot be pickled: it would leave the process")

    @staticmethod
    def of(given: KeyGiven | None) -> "Sealed | None":
        """The key, sealed; None where none is given."""
        return None if given is None else Sealed(given)

    def opened(self) -> KeyGiven:
        """What was given."""
        return self._given


def _several(text: str) -> tuple[Key, ...]:
    try:
        # Bytes of the environment that are no UTF-8 count as they would in a file.
        content = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ConfigurationError("the key is no text; give bytes") from None
    return keys_in(content)


def _key(number: int, key_id: str | None, secret: bytes) -> Key:
    try:
        return Key(secret, key_id)
    except ConfigurationError as error:
        place = "" if number == 1 else f"line {number}: "
        raise ConfigurationError(f"{place}{error}") from None
