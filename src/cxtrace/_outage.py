"""While a receiver is away: how long to wait for it, and what to say."""

import logging
from random import SystemRandom
from time import monotonic
from typing import Final

from cxtrace import _guard

_FIRST: Final = 0.5
_LONGEST: Final = 15.0
_LONGEST_IN_MEMORY: Final = 2.0
_LONGEST_ASKED_FOR: Final = 300.0
_CHANCE: Final = SystemRandom()
"""Not that of the module, which the host may have seeded."""


def pause(failures: int, asked_for: float | None, *, is_kept: bool) -> float:
    """Seconds until the next try: longer each time, never the same for all.

    Args:
        failures: One after the other, up to now.
        asked_for: Seconds that the receiver asks for.
        is_kept: Whether there is a disk for what comes meanwhile. Memory is soon full, and what
            comes after the receiver is back is lost until it is asked.
    """
    longest = _LONGEST if is_kept else _LONGEST_IN_MEMORY
    seconds: float = min(_FIRST * 2 ** min(failures - 1, 10), longest)
    asked = min(asked_for or 0.0, _LONGEST_ASKED_FOR)
    return max(seconds * _CHANCE.uniform(0.5, 1.0), asked)


class Outage:
    """Says once that an outage begins, and once that it is over.

    Args:
        word: What is not delivered meanwhile.
    """

    def __init__(self, word: str) -> None:
        self._word = word
        self._since: float | None = None

    def note(self, *, is_over: bool, is_kept: bool) -> None:
        """Something was sent.

        Args:
            is_over: Whether the receiver has answered.
            is_kept: Whether there is a disk for what it does not take.
        """
        since = self._since
        if is_over and since is not None:
            self._since = None
            lasted = monotonic() - since
            _guard.say(
                logging.INFO, "cxtrace: %s are delivered again, after %.0f s", self._word, lasted
            )
        elif not is_over and since is None:
            self._since = monotonic()
            place = "on disk" if is_kept else "in memory, as far as there is room,"
            _guard.say(
                logging.WARNING,
                "cxtrace: %s are not taken by their receiver; they wait %s and are sent again",
                self._word,
                place,
            )
