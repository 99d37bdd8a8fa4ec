"""One thread at a time does what may call itself."""

import threading
from collections.abc import Callable

from cxtrace import _guard


class Turn:
    """What is done in it is done by one thread at a time, and not within itself.

    What configures imports modules of the host, and writes to its log; either may configure too,
    and would wait for itself. A child that is forked meanwhile has a turn of its own.
    """

    __slots__ = ("__weakref__", "_is_taken", "_lock")

    def __init__(self) -> None:
        self._begin()
        _guard.in_child_of(self, Turn._begin)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._is_taken = False

    def take(self, work: Callable[[], object]) -> bool:
        """Do the work, unless this thread is at it; whether it was done."""
        with self._lock:
            if self._is_taken:
                return False
            self._is_taken = True
            try:
                work()
            finally:
                self._is_taken = False
        return True
