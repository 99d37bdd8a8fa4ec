"""Who sent a delivery: signatures and tokens of webhooks, checked in constant time."""

import base64
import functools
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen

from cxtrace import _clock
from cxtrace.exceptions import ConfigurationError

Secret: TypeAlias = str | bytes
"""What only the sender and you know; text counts as its UTF-8."""

_MOST_SIGNATURES: Final = 8
_DECODERS: Final[dict[str, Callable[[str], bytes]]] = {
    "hex": bytes.fromhex,
    "base64": functools.partial(base64.b64decode, validate=True),
}
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_NUMBER: Final = re.compile(r"[0-9]{1,16}")
_ISO: Final = re.compile(r"([0-9-]{10}[T ][0-9:]{8})(?:\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")
_LAST_IN_SECONDS: Final = 10**11
"""A larger number of a timestamp is one of milliseconds."""


@frozen
class Delivery:
    """What came in, for those who check it.

    Attributes:
        body: The bytes as they came: a signature is of these.
        headers: By their names in lower case.
    """

    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, hash=False)


Check: TypeAlias = Callable[[Delivery], bool]
"""Says whether a delivery is from whom it says it is. One that raises says no."""


class HmacSignature:
    """A check of an HMAC with SHA-256 that stands in a header.

    Args:
        secrets: One; or while you change it, the new one and the old one.
        header: Where the signature is. There may be several, with blanks between them.
        encoding: ``hex`` or ``base64``.
        prefix: What stands before the signature, such as ``sha256=``.
        signed: What is signed: ``{body}``, ``{timestamp}``, any ``{name-of-a-header}``, and text
            between them: ``"{timestamp}.{body}"``.
        timestamp: The header that says when it was signed: in seconds or milliseconds since 1970,
            or as in ISO 8601 with its time zone.
        max_age: Seconds that this may be ago, or ahead.

    Raises:
        ConfigurationError: There is no secret, or what is signed leaves out body or timestamp.
    """

    __slots__ = ("_decode", "_header", "_max_age", "_parts", "_prefix", "_secrets", "_timestamp")

    def __init__(
        self,
        *secrets: Secret,
        header: str,
        encoding: Literal["hex", "base64"] = "hex",
        prefix: str = "",
        signed: str = "{body}",
        timestamp: str | None = None,
        max_age: float = 300.0,
    ) -> None:
        if encoding not in _DECODERS:
            raise ConfigurationError(f"encoding is {encoding!r}; it can be 'hex' or 'base64'")
        self._secrets = _checked_secrets(secrets)
        self._header = header.lower()
        self._decode = _DECODERS[encoding]
        self._prefix = prefix
        self._parts = _parts(signed, timestamp)
        self._timestamp = None if timestamp is None else timestamp.lower()
        self._max_age = max_age

    def __repr__(self) -> str:
        return f"<HmacSignature in {self._header}>"

    def __call__(self, delivery: Delivery) -> bool:
        """Whether the signature is right and not too old."""
        message = self._message(delivery)
        if message is None or not self._is_recent(delivery):
            return False
        given = self._given(delivery.headers.get(self._header, ""))
        right = [hmac.digest(secret, message, "sha256") for secret in self._secrets]
        return any(hmac.compare_digest(one, other) for one in given for other in right)

    def _given(self, header: str) -> list[bytes]:
        found = []
        for text in header.split()[:_MOST_SIGNATURES]:
            if text.startswith(self._prefix):
                try:
                    found.append(self._decode(text[len(self._prefix) :]))
                except ValueError:  # no signature of this encoding
                    continue
        return found

    def _message(self, delivery: Delivery) -> bytes | None:
        message = b""
        for text, name in self._parts:
            value = delivery.headers.get(name) if name else ""
            if name == "body":
                message += text + delivery.body
            elif value is None:
                return None
            else:
                message += text + value.encode("latin-1", "replace")
        return message

    def _is_recent(self, delivery: Delivery) -> bool:
        if self._timestamp is None:
            return True
        sent = _seconds(delivery.headers.get(self._timestamp, ""))
        return sent is not None and abs(_clock.wall() - sent) <= self._max_age


class SharedToken:
    """A check of a header that holds the secret itself, for systems that sign nothing.

    It proves less than a signature: whoever has seen one request can make others.

    Args:
        secrets: One; or while you change it, the new one and the old one.
        header: Where it is.
        prefix: What stands before it.

    Raises:
        ConfigurationError: There is no secret.
    """

    __slots__ = ("_header", "_right")

    def __init__(
        self, *secrets: Secret, header: str = "Authorization", prefix: str = "Bearer "
    ) -> None:
        self._header = header.lower()
        self._right = [prefix.encode() + secret for secret in _checked_secrets(secrets)]

    def __repr__(self) -> str:
        return f"<SharedToken in {self._header}>"

    def __call__(self, delivery: Delivery) -> bool:
        """Whether the header is right."""
        given = delivery.headers.get(self._header, "").encode("utf-8", "replace")
        return any(hmac.compare_digest(given, right) for right in self._right)


def _checked_secrets(given: tuple[Any, ...]) -> tuple[bytes, ...]:
    found = tuple(each.encode() if isinstance(each, str) else each for each in given)
    if not found or not all(isinstance(each, bytes) and each.strip() for each in found):
        raise ConfigurationError(
            "a webhook needs a secret, and one that is empty or None lets everybody in; "
            "is the variable set that you read it from?"
        )
    return found


def _parts(signed: str, timestamp: str | None) -> tuple[tuple[bytes, str], ...]:
    """What is signed, as pairs of a text and the name of what follows it."""
    pieces = [*_FIELD.split(signed), ""]
    texts, fields = pieces[::2], [name.lower() for name in pieces[1::2]]
    if fields.count("body") != 1:
        raise ConfigurationError(f"signed is {signed!r}; it must have {{body}} once")
    if timestamp is None:
        if "timestamp" in fields:
            raise ConfigurationError("give `timestamp`, the name of the header of {timestamp}")
    else:
        header = timestamp.lower()
        fields = [header if name == "timestamp" else name for name in fields]
        if header not in fields:
            raise ConfigurationError(
                f"signed is {signed!r}; without {{timestamp}} anybody could change the time"
            )
    return tuple(zip((text.encode() for text in texts), fields, strict=True))


def _seconds(text: str) -> float | None:
    """Seconds since 1970, or None where it cannot be told."""
    if _NUMBER.fullmatch(text):
        number = int(text)
        return float(number) if number <= _LAST_IN_SECONDS else number / 1_000
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    try:
        # Python 3.10 knows neither Z nor fractions of nine digits.
        return datetime.fromisoformat(found[1] + found[2].replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return None
