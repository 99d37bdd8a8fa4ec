"""Who has withdrawn a consent: remembered for a while, for others may still tell what was before.

A withdrawal is said once, in one request. Requests that are under way, and callers that were told
of a consent before, do not know of it. So what they say, and what nobody says, does not undo it in
this process: only code does that says ``granted`` or ``not_required``.
"""

from typing import TYPE_CHECKING, Final

from cxtrace import _clock

if TYPE_CHECKING:
    from collections.abc import Collection

    from cxtrace.attributes import Consent

MAX_AGE: Final = 3_600.0
"""Seconds for which a withdrawal is remembered. By then the application's own record is read."""

MAX_NAMES: Final = 20_000
"""Names of customers whose withdrawals are remembered, of each the one that stays while the process
does, and one for each key; the first to withdraw is forgotten first.
"""

YES: Final = ("granted", "not_required")
NO: Final = ("denied", "withdrawn")
"""States of consent that somebody has to say."""


class _Word:
    """One customer's withdrawal, under whatever names.

    Attributes:
        since: When it was said last, by the steady clock.
    """

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since = _clock.steady()

    def holds(self) -> bool:
        """Whether it was said not long ago, and not taken back."""
        return _clock.steady() - self.since < MAX_AGE


# Without a lock: each step is one call on a dict, and a signal handler may withdraw as well.
_words: dict[str, _Word] = {}


def _remember(name: str, word: _Word) -> None:
    _words.pop(name, None)
    _words[name] = word
    if len(_words) > MAX_NAMES:
        for longest in list(_words)[:-MAX_NAMES]:
            _words.pop(longest, None)


def consent_of(known_by: "Collection[str]", given: "Consent | None", known: "Consent") -> "Consent":
    """The consent that counts for a customer.

    Args:
        known_by: What one customer is known by. Others may tell any of these names, so what was
            said under one of them holds for all.
        given: What the code says here; None for nothing.
        known: What counts without a withdrawal.
    """
    words = {name: word for name in known_by if (word := _words.get(name)) and word.holds()}
    if given in YES:
        for name, word in words.items():
            word.since -= MAX_AGE
            _words.pop(name, None)
        return known
    if given == "withdrawn":
        word = next(iter(words.values()), None) or _Word()
        word.since = _clock.steady()
        words = {}
    elif words:
        word = next(iter(words.values()))
    else:
        return known
    for name in known_by:
        if name not in words:
            _remember(name, word)
    return "withdrawn"


def are_any() -> bool:
    """Whether anybody may have withdrawn."""
    return bool(_words)


def has_withdrawn(pseudonym: str) -> bool:
    """Whether this customer has withdrawn here, not long ago, and has not agreed again."""
    if not _words:
        return False  # as nearly always
    word = _words.get(pseudonym)
    return word is not None and word.holds()


def forget_all() -> None:
    """Begin anew, for tests."""
    _words.clear()
