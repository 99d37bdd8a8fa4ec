"""Types that users of cxtrace implement or meet in signatures."""

from typing import Protocol, TypeAlias

from opentelemetry.util.types import AttributeValue as AttributeValue

CustomerId: TypeAlias = str | int
"""A raw customer identifier. It is turned into a pseudonym at once and never leaves the process."""


class Pseudonymiser(Protocol):
    """Turns a raw customer identifier into the pseudonym that may leave the process."""

    @property
    def key_id(self) -> str:
        """Names the key (and its epoch), so that pseudonyms of two keys are told apart."""
        ...

    def pseudonym(self, customer_id: CustomerId) -> str:
        """The pseudonym: the same for the same customer and key, useless without the key."""
        ...
