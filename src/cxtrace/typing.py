"""Types that users of cxtrace implement or meet in signatures."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from opentelemetry.util.types import AttributeValue as AttributeValue

CustomerId: TypeAlias = str | int
"""A raw customer identifier. It is turned into a pseudonym at once and never leaves the process."""


class Pseudonymiser(Protocol):
    """Turns a raw customer identifier into the pseudonym that may leave the process.

    One that changes its key while it works also has ``pseudonyms(customer_id, tenant)``, which
    gives the pseudonym under each key that is believed, by key id, the newest first.
    """

    @property
    def key_id(self) -> str:
        """Names the key (and its epoch), so that pseudonyms of two keys are told apart."""
        ...

    def pseudonym(self, customer_id: CustomerId, tenant: CustomerId | None = None) -> str:
        """The pseudonym: the same for the same customer and key, useless without the key.

        Args:
            customer_id: As the application has it.
            tenant: Of whom the customer is one; pseudonyms of two tenants cannot be linked.
        """
        ...


class Store(Protocol):
    """Keeps one short text for each customer: a salt, or a random id.

    Names are keyed digests, in which nobody without the key finds a customer. Values are secret.
    Calls may block, for they come from a thread of their own, one at a time in each process.
    """

    def keep(self, names: Sequence[str], value: str) -> str:
        """The value that is kept under the first name, from now on if it was not before.

        Where nothing is, that of the first of the other names that has one moves there; else
        ``value`` is kept. This must be one step, whatever other processes do meanwhile.
        """
        ...

    def delete(self, names: Sequence[str]) -> int:
        """Delete what is kept under any of the names, for good; how many there were."""
        ...


class Request(Protocol):
    """How a rule of the journey map asks a request, a task or a message.

    Each call gives None where there is no such thing, or where the application has not looked for
    it yet: to ask must cause nothing.
    """

    def header(self, name: str) -> str | None:
        """A header of the request, or of the message."""
        ...

    def cookie(self, name: str) -> str | None:
        """The value of a cookie."""
        ...

    def query(self, name: str) -> str | None:
        """A parameter of the query string."""
        ...

    def session(self, name: str) -> object:
        """A value in the session, where the application has loaded it."""
        ...

    def user(self, name: str) -> object:
        """An attribute of the user whom the application has authenticated."""
        ...

    def claim(self, name: str) -> object:
        """A claim of a token that the application has verified."""
        ...
