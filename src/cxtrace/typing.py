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
