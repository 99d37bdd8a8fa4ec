"""Values as code gives them: fit to be sent, or refused, counted, and named once in the log."""

import math
import re
from functools import lru_cache
from typing import Any, Final, get_args

from cxtrace import _guard

# Compiled when first used, for most who import this never do.
_CODE: Final = r"[A-Za-z_][A-Za-z0-9_.:@/-]{0,63}"
_OF_SOMEBODY: Final = r"@.*\.[A-Za-z]{2}|(?:[0-9][._:/-]*){10}"
"""A mail address; or as many digits as a telephone, a card or an account has."""


def is_one_of(value: object, allowed: frozenset[str]) -> bool:
    """Whether ``value`` is in a closed set, whatever it is: a list cannot be looked up in one."""
    return isinstance(value, str) and value in allowed


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
    allowed = _members(literal)
    if value is None or is_one_of(value, allowed):
        return value
    refuse(what, allowed)
    return None


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite number, and not a truth value."""
    # An int may be too large to be asked whether it is finite.
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


def number(what: str, value: Any, low: float, high: float) -> float | None:
    """``value`` as a float if it is from ``low`` to ``high``, else None."""
    if value is None:
        return None
    if type(value).__name__ == "Decimal":  # how money is kept; not imported for those who do not
        value = float(value)
    if is_number(value) and low <= value <= high:
        return float(value)
    refuse_for(what, f"it must be a number from {low:g} to {high:g}")
    return None


def is_of_somebody(text: str) -> bool:
    """Whether a code may be an e-mail address, or the number of a telephone, card or account."""
    return re.search(_OF_SOMEBODY, text) is not None


def code(what: str, value: object) -> str | None:
    """``value`` if it is a short code such as ``free_shipping_bar`` or ``rule@1``, else None.

    What may be the address or the number of somebody is none.
    """
    if isinstance(value, str) and re.fullmatch(_CODE, value) and not is_of_somebody(value):
        return value
    refuse_for(what, "it must be a code of at most 64 letters, digits and _ . : / @ -")
    return None


def iso_code(what: str, value: object) -> str | None:
    """``value`` if it has the form of an ISO 4217 code, else None."""
    if isinstance(value, str) and re.fullmatch(r"[A-Z]{3}", value):
        return value
    refuse_for(what, "it must be an ISO 4217 code such as 'EUR'")
    return None
