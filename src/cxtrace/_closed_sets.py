"""Values as code gives them: fit to be sent, or refused, counted, and named once in the log.

Whatever is given, none of its own code runs. To compare, hash or print an object of the host's may
take long, ask a database, or fail, and ``isinstance`` wakes a lazy object. So only the type is
asked, and a subclass of text or numbers is read past its methods.
"""

import math
import re
import sys
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final, get_args

from cxtrace import _guard

if TYPE_CHECKING:
    from cxtrace._blockers import Kind

# Compiled when first used, for most who import this never do.
_CODE: Final = r"[A-Za-z_][A-Za-z0-9_.:@/-]{0,63}"
_MANY_DIGITS: Final = r"(?:[0-9][._:/-]*){10}"
"""As many as a telephone, a card or an account has: too many for a code, whatever they are."""

_MOST_NAMES: Final = 4_096
_names: set[str] = set()
"""Names that were found to be nobody's, and come again and again."""


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
    found = value if type(value) is str else text(value)
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


@cache
def _blockers() -> Any:
    # Heavy to import for those who never give a text, and to import it each time takes 1 µs.
    from cxtrace import _blockers

    return _blockers


def block(what: str, found: str) -> bool:
    """Whether a text holds an address or a number of somebody; then it is counted, and named once.

    Args:
        what: The text was given as, for the counter and the log.
        found: Of a bounded length. It is not shown.
    """
    kind = _blockers().is_personal(found)
    if kind is None:
        return False
    refuse_personal(what, kind)
    return True


def block_name(what: str, found: str) -> bool:
    """The same of a name that may come again and again: one that is let through is remembered."""
    if found in _names:
        return False
    if block(what, found):
        return True
    if len(_names) < _MOST_NAMES:
        _names.add(found)
    return False


def refuse_personal(what: str, kind: "Kind") -> None:
    """Count an address or a number of somebody that is not sent, and say once where it was."""
    _guard.count(f"refused.{what}")
    _guard.count(f"personal.{kind}")
    _guard.warn_once(
        f"personal.{what}.{kind}",
        "cxtrace: a value given as %s looks like %s and is not sent",
        what,
        _blockers().WORDS[kind],
    )


def is_coded(what: str, found: str) -> bool:
    """Whether a short code holds nothing of somebody; else it is counted, and named once."""
    if block(what, found):
        return False
    if re.search(_MANY_DIGITS, found) is None:
        return True
    refuse_personal(what, "digits")
    return False


def code(what: str, value: object) -> str | None:
    """``value`` if it is a short code such as ``free_shipping_bar`` or ``rule@1``, else None.

    What may be the address or the number of somebody is none.
    """
    found = text(value)
    if found is not None and re.fullmatch(_CODE, found):
        return found if is_coded(what, found) else None
    refuse_for(what, "it must be a code of at most 64 letters, digits and _ . : / @ -")
    return None


def iso_code(what: str, value: object) -> str | None:
    """``value`` if it has the form of an ISO 4217 code, else None."""
    found = text(value)
    if found is not None and re.fullmatch(r"[A-Z]{3}", found):
        return found
    refuse_for(what, "it must be an ISO 4217 code such as 'EUR'")
    return None
