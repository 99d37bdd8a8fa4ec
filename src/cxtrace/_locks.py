"""Locks between the threads of the host and those of ours."""

import threading
from typing import Final

_RLock: Final = threading.RLock  # as it was at first: green where greenlets had replaced threads


class Locks:
    """A lock that a signal handler or a finaliser may take again, and its condition.

    Where eventlet patches a process that has imported cxtrace, it walks through all modules and
    puts locks of its own in the place of each ``RLock`` that it finds in an attribute, a list or a
    dictionary. Conditions keep the old one and raise from then on, and between real threads its own
    locks wake nobody. In a slot it finds nothing.
    """

    __slots__ = ("change", "lock")

    def __init__(self) -> None:
        self.lock = _RLock()
        self.change = threading.Condition(self.lock)
