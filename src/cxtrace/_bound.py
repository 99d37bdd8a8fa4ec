"""What the map says about the requests of one kind, made ready to be asked at each of them."""

import re
from collections.abc import Callable, Container
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import Factory, field, frozen

from cxtrace import _routes
from cxtrace._model import OutcomeRule, Teller
from cxtrace._touchpoint import touchpoint
from cxtrace.attributes import Outcome

FAILURES: Final = 400
LATE: Final = ("session", "user", "claim")
"""What the application finds out while it works on the request."""

WAYS: Final = ("header", "cookie", "path", "query", *LATE)


@frozen
class Asked:
    """One question to a request.

    Attributes:
        is_plain: Whether the answer may be sent as it stands, if it is an opaque token.
    """

    way: str
    name: str
    kind: Any = None
    is_plain: bool = False

    @classmethod
    def of(cls, teller: Teller, secrets: Container[str] | None = None) -> "Asked":
        """The question that a rule of the map stands for.

        Args:
            teller: The rule.
            secrets: Headers, in small letters, that tell the customer's id; None for all there are.
        """
        way = next(way for way in WAYS if getattr(teller, way) is not None)
        name = getattr(teller, way)
        is_plain = secrets is not None and way == "header" and name.lower() not in secrets
        return cls(way, name, teller.kind, is_plain)


@frozen
class Bound:
    """What the map says about the requests of one kind.

    Attributes:
        noun: Opens the touchpoint; None for requests that are none.
        journeys: Names of the journeys that the touchpoint is part of.
        customer: Questions to which an answer is the customer's id.
        journey: Questions to which an answer identifies the journey.
        outcomes: Rules for the outcome.
    """

    noun: touchpoint | None = None
    journeys: tuple[str, ...] = ()
    customer: tuple[Asked, ...] = ()
    journey: tuple[Asked, ...] = ()
    outcomes: tuple["Judged", ...] = ()

    def outcome(self, status: int, header: Callable[[str], str | None]) -> Outcome | None:
        """What an answer means to the customer; None where it means that all went well."""
        for rule in self.outcomes:
            if rule.holds(status, header):
                return rule.outcome
        return "failed" if status >= FAILURES else None


@frozen
class Judged:
    """A rule for the outcome, made ready."""

    rule: OutcomeRule
    _redirect: re.Pattern[str] | None = field(
        init=False, repr=False, default=Factory(lambda self: self._wanted(), takes_self=True)
    )

    def _wanted(self) -> re.Pattern[str] | None:
        redirect = self.rule.redirect
        return None if redirect is None else _routes.pattern(redirect)

    @property
    def outcome(self) -> Outcome:
        """What it means."""
        return self.rule.outcome

    def holds(self, status: int, header: Callable[[str], str | None]) -> bool:
        """Whether all that the rule asks for is so."""
        rule = self.rule
        if rule.status is not None or self._redirect is not None:
            code = str(status)
            if rule.status not in (None, code, f"{code[:1]}xx"):
                return False
            wanted = self._redirect
            if wanted is not None and not _leads_to(wanted, code, header("location")):
                return False
        if rule.header is None:
            return True
        said = header(rule.header.lower())
        return said is not None and rule.value in (None, said)


def _leads_to(wanted: re.Pattern[str], code: str, location: str | None) -> bool:
    if location is None or not code.startswith("3"):
        return False
    try:
        path = urlsplit(location).path
    except ValueError:
        return False
    return len(path) <= _routes.LONGEST_PATH and wanted.fullmatch(path) is not None
