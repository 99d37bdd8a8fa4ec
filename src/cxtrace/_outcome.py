"""How a touchpoint ended: read off an exception, or off a developer's short code."""

import re
from typing import Final

from cxtrace import _guard
from cxtrace._closed_sets import is_coded, refuse_for, text

_REASON: Final = r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}|[1-5][0-9]{2}"
_UNSPECIFIED: Final = "unspecified"

_GIVEN_UP: Final = frozenset(
    {
        "concurrent.futures._base.CancelledError",
        "starlette.requests.ClientDisconnect",
        "starlette.websockets.WebSocketDisconnect",
        "websockets.exceptions.ConnectionClosedOK",
        "websockets.exceptions.ConnectionClosedError",
    }
)
"""Ordinary exceptions by which frameworks say that the customer has gone."""


def outcome_of(error: BaseException) -> str:
    """How a touchpoint ended out of which this flew."""
    if type_of(error) in _GIVEN_UP:
        return "abandoned"
    return "failed" if isinstance(error, Exception) else "abandoned"


def type_of(error: BaseException) -> str:
    """The class of an error, as ``error.type`` has it."""
    return _guard.class_name(type(error))


def checked_reason(reason: object) -> str:
    """A short code that may be sent, else ``unspecified``, counted and warned about."""
    found = text(reason)
    if found is not None and re.fullmatch(_REASON, found):
        return found if is_coded("reason", found) else _UNSPECIFIED
    refuse_for(
        "reason",
        "fail() takes a short code such as 'card_declined', of letters, digits and _ . : - and at "
        "most 64 of them",
    )
    return _UNSPECIFIED
