"""Values as code gives them: fit to be sent, or refused, counted, and named once in the log.

Whatever is given, none of its own code runs. To compare, hash or print an object of the host's may
take long, ask a database, or fail, and ``isinstance`` wakes a lazy object. So only the type is
asked, and a subclass of text or numbers is read past its methods.
"""

import math
import re
import sys
from functools import lru_cache
from typing import Any, Final, get_args

from cxtrace import _guard

# Compiled when first used, for most who import this never do.
_CODE: Final = r"[A-Za-z_][A-Za-z0-9_.:@/-]{0,63}"
_OF_SOMEBODY: Final = r"@.*\.[A-Za-z]{2}|(?:[0-9][._:/-]*){10}"
"""A mail address; or as many digits as a telephone, a card or an account has."""


def text(value: object) -> str | None:
    """``value`` if it is text, as a ``str`` and of no subclass, else None."""
    kind: Any = type(value)
    found: Any = value
    if kind is str:
        return found  # type: ignore[no-any-return]
    return str.__str__(found) if issubclass(kind, str) else None


def integer(value: object) -> int | None:
    """``value`` if it is a whole number, as an ``int`` and of no subclass, else None."""
    kind: Any = type(value)
    found: Any = value
    if kind is int:
        return found  # type: ignore[no-any-return]
    return int.__int__(found) if issubclass(kind, int) and kind is not bool else None


def member(value: object, allowed: frozenset[str]) -> str | None:
    """``value`` as text if it is in a closed set, else None."""
    found = text(value)
    return found if found in allowed else None


def refuse(what: str, allowed: frozenset[str]) -> None:
    """Count a value outside of a closed set, and say once what is allowed."""
    refuse_for(what, f"it can be {', '.join(sorted(allowed))}")


def refuse_for(what: str, instead: str) -> None:
    """Count a value that cannot be sent, and say once what to give instead."""
    _guard.count(f"refused.{what}")
    _guard.warn_once(
        f"refused.{what}",
        "cxtrace: a value given as %s is not allowed and is not sent; %s",
        what,
        instead,
    )


@lru_cache(maxsize=64)
def _members(literal: Any) -> frozenset[str]:
    return frozenset(get_args(literal))


def checked(what: str, value: Any, literal: Any) -> Any:
    """``value`` if it is one of a ``Literal``, else None; None itself is not refused."""
    if value is None:
        return None
    allowed = _members(literal)
    found = member(value, allowed)
    if found is None:
        refuse(what, allowed)
    return found


def finite(value: object) -> float | None:
    """``value`` if it is a finite number and no truth value, as an ``int`` or ``float``."""
    kind: Any = type(value)
    found: Any = value
    if kind is int:  # may be too large for a float
        return found  # type: ignore[no-any-return]
    if not issubclass(kind, float):
        return None
    plain = float.__float__(found)
    return plain if math.isfinite(plain) else None


def number(what: str, value: Any, low: float, high: float) -> float | None:
    """``value`` as a float if it is from ``low`` to ``high``, else None."""
    if value is None:
        return None
    decimal = sys.modules.get("decimal")  # how money is kept; not imported for those who do not
    if decimal is not None and type(value) is decimal.Decimal:
        value = float(value)
    found = finite(value)
    if found is not None and low <= found <= high:
        return float(found)
    refuse_for(what, f"it must be a number from {low:g} to {high:g}")
    return None


def is_of_somebody(given: str) -> bool:
    """Whether a code may be an e-mail address, or the number of a telephone, card or account."""
    return re.search(_OF_SOMEBODY, given) is not None


def code(what: str, value: object) -> str | None:
    """``value`` if it is a short code such as ``free_shipping_bar`` or ``rule@1``, else None.

    What may be the address or the number of somebody is none.
    """
    found = text(value)
    if found is not None and re.fullmatch(_CODE, found) and not is_of_somebody(found):
        return found
    refuse_for(what, "it must be a code of at most 64 letters, digits and _ . : / @ -")
    return None


def iso_code(what: str, value: object) -> str | None:
    """``value`` if it has the form of an ISO 4217 code, else None."""
    found = text(value)
    if found is not None and re.fullmatch(r"[A-Z]{3}", found):
        return found
    refuse_for(what, "it must be an ISO 4217 code such as 'EUR'")
    return None
