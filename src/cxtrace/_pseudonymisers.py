"""What is sent in place of a customer's identifier: by a key, by a key and a salt, or at random.

The form tells which: ``v1.`` is a keyed hash, ``s1.`` a keyed hash with a salt of the customer's,
``r1.`` a random id.
"""

import os
import re
import secrets
from abc import ABC, abstractmethod
from binascii import b2a_base64
from typing import ClassVar, Final

from cxtrace import _guard
from cxtrace._key_file import load_keys
from cxtrace._keys import Key, KeyGiven, Keys, Sealed, bare
from cxtrace._lookup import Lookup
from cxtrace.exceptions import ConfigurationError
from cxtrace.typing import CustomerId, Store

VAULT: Final = "vault"
"""Key id of pseudonyms that no key has made."""

TIMEOUT: Final = 0.05
"""Seconds that a request waits for a store, at most."""

REMEMBER: Final = 60.0
"""Seconds after which a customer who was forgotten in one process is forgotten in all."""

_PSEUDONYM: Final = b"cxtrace/pseudo/v1"
_OF_TENANT: Final = b"cxtrace/pseudo-of-tenant/v1"
_SALTED: Final = b"cxtrace/pseudo-salted/v1"
_NAME: Final = b"cxtrace/store-name/v1"
_HASHED: Final = "v1."
_SALTED_HASH: Final = "s1."
_RANDOM: Final = "r1."
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{16,61}", re.ASCII)


class HmacPseudonymiser:
    """Pseudonym = ``v1.`` and 132 bits of HMAC-SHA-256 over the identifier, in base64url.

    Args:
        keys: A key, or several: the newest makes pseudonyms.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    @property
    def key_id(self) -> str:
        """Of the newest key: its fingerprint, its name, or ``ephemeral``."""
        return self._keys.newest.key_id

    def pseudonym(self, customer_id: CustomerId, tenant: CustomerId | None = None) -> str:
        """The same for the same customer, of the same tenant, wherever the newest key is."""
        return _hashed(self._keys.newest, customer_id, tenant)

    def pseudonyms(
        self, customer_id: CustomerId, tenant: CustomerId | None = None
    ) -> dict[str, str]:
        """The pseudonym under each key, by key id, the newest first."""
        key, *older = self._keys.keys
        found = {key.key_id: _hashed(key, customer_id, tenant)}
        for key in older:
            found[key.key_id] = _hashed(key, customer_id, tenant)
        return found


class StoredPseudonymiser(ABC):
    """What the two that ask a store have in common."""

    _KIND: ClassVar[bytes]
    _BYTES: ClassVar[int]

    def __init__(
        self,
        store: Store,
        *,
        key: KeyGiven | None = None,
        timeout: float = TIMEOUT,
        remember: float = REMEMBER,
    ) -> None:
        sealed, key = Sealed.of(key), None  # or tracebacks from here would show it
        self._has_own = sealed is not None
        self._keys: Keys | None = None if sealed is None else _loaded(sealed)
        self._lookup = Lookup(store, self._drawn, timeout, remember)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> str:
        raise TypeError("a pseudonymiser cannot be pickled: its key would leave the process")

    def use(self, keys: Keys | None) -> None:
        """Take the keys of ``configure()``, unless it was given some of its own.

        Raises:
            ConfigurationError: There are none: a key of this process would be lost with it.
        """
        if not self._has_own:
            self._keys = keys
            self._ring()

    def forget(self, customer_id: CustomerId, tenant: CustomerId | None = None) -> bool:
        """Delete what links the customer to the past; whether there was anything.

        Other processes follow within the time for which they remember: 60 seconds.

        Raises:
            ConfigurationError: There is no key.
            Exception: Whatever the store raises. Nothing is forgotten then: try again.
        """
        return self._lookup.forget(self._names(customer_id, tenant))

    def pseudonym(self, customer_id: CustomerId, tenant: CustomerId | None = None) -> str:
        """The pseudonym of now.

        Raises:
            TimeoutError: The store does not answer.
        """
        found = next(iter(self.pseudonyms(customer_id, tenant).values()), None)
        if found is None:
            raise TimeoutError("the store of the pseudonymiser does not answer")
        return found

    def pseudonyms(
        self, customer_id: CustomerId, tenant: CustomerId | None = None
    ) -> dict[str, str]:
        """The pseudonym under each key, by key id, the newest first; none without the store."""
        value = self._lookup.value(self._names(customer_id, tenant))
        if value is None:
            return {}
        if not _VALUE.fullmatch(value):
            _guard.count("pseudonymiser.store_value")
            return {}
        return self._made(value, customer_id, tenant)

    @abstractmethod
    def _made(
        self, value: str, customer_id: CustomerId, tenant: CustomerId | None
    ) -> dict[str, str]: ...

    def _drawn(self) -> str:
        return secrets.token_urlsafe(self._BYTES)

    def _ring(self) -> Keys:
        if self._keys is None:
            self._keys = _loaded(None)
        return self._keys

    def _names(self, customer_id: CustomerId, tenant: CustomerId | None) -> list[str]:
        message = _joined(self._KIND, *_message(customer_id, tenant))
        return [encoded(key.digest(_NAME, message)) for key in self._ring().keys]


class SaltedPseudonymiser(StoredPseudonymiser):
    """Pseudonym = ``s1.`` and a keyed hash over the identifier and a random salt of the customer's.

    Forget the salt, and nobody can link what was sent to the customer any more, with the key or
    without it.

    Args:
        store: Keeps the salts.
        key: As for ``configure()``. Default: what was given there, or is in the environment.
        timeout: Seconds that a call waits for the store; then the customer has no pseudonym.
        remember: Seconds for which a salt is used without asking the store again.

    Raises:
        ConfigurationError: The key is none.
    """

    _KIND = b"salt"
    _BYTES = 24

    @property
    def key_id(self) -> str:
        """Of the newest key."""
        return self._ring().newest.key_id

    def _made(
        self, value: str, customer_id: CustomerId, tenant: CustomerId | None
    ) -> dict[str, str]:
        message = _joined(value.encode(), *_message(customer_id, tenant))
        return {
            key.key_id: f"{_SALTED_HASH}{encoded(key.digest(_SALTED, message))[:22]}"
            for key in self._ring().keys
        }


class VaultPseudonymiser(StoredPseudonymiser):
    """Pseudonym = ``r1.`` and a random id, which a store keeps for the customer.

    It outlives the keys, as long as each old key is believed until its customers have come by.
    Forget the id, and nothing links what was sent to the customer.

    Args:
        store: Keeps the ids.
        key: Hides the customers in the store. As for ``SaltedPseudonymiser``.
        timeout: As for ``SaltedPseudonymiser``.
        remember: As for ``SaltedPseudonymiser``.

    Raises:
        ConfigurationError: The key is none.
    """

    _KIND = b"vault"
    _BYTES = 16

    @property
    def key_id(self) -> str:
        """``vault``."""
        return VAULT

    def _made(
        self,
        value: str,
        customer_id: CustomerId,
        tenant: CustomerId | None,
    ) -> dict[str, str]:
        return {VAULT: f"{_RANDOM}{value}"}


def encoded(digest: bytes) -> str:
    """Bytes in base64url."""
    return b2a_base64(digest, newline=False).translate(_URL_SAFE).decode("ascii")


def maker_of(pseudonym: str, key: Key) -> str | None:
    """The key id of a pseudonym under a signature with ``key``; None for one of another's form."""
    made = {_HASHED: key.key_id, _SALTED_HASH: key.key_id, _RANDOM: VAULT}
    return made.get(pseudonym[: len(_RANDOM)])


def _hashed(key: Key, customer_id: CustomerId, tenant: CustomerId | None) -> str:
    if tenant is None:
        digest = key.digest(_PSEUDONYM, str(customer_id).encode("utf-8", "surrogatepass"))
    else:
        digest = key.digest(_OF_TENANT, _joined(*_message(customer_id, tenant)))
    return f"{_HASHED}{encoded(digest)[:22]}"


def _message(customer_id: CustomerId, tenant: CustomerId | None) -> tuple[bytes, ...]:
    whose = _bytes_of(customer_id)
    return (whose,) if tenant is None else (_bytes_of(tenant), whose)


def _bytes_of(given: CustomerId) -> bytes:
    return str(given).encode("utf-8", "surrogatepass")


def _joined(*parts: bytes) -> bytes:
    """Parts that nobody can shift: before each stands how long it is."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _loaded(sealed: Sealed | None) -> Keys:
    try:
        found = load_keys(None if sealed is None else sealed.opened(), os.environ)
    except ConfigurationError as error:
        raise bare(error) from None
    if found is None:
        raise ConfigurationError(
            "a pseudonymiser with a store needs a key that stays: give one, or set CXTRACE_KEY"
        )
    return found
