"""Forks and exports keep out of each other's way.

A fork in the midst of an export leaves the child half of it: gRPC's handlers for forks then step
aside, and the child never sends anything, or hangs within ``os.fork`` itself.
"""

import os
import threading
from time import monotonic
from typing import Any, Final

from cxtrace import _guard, _process
from cxtrace._locks import Locks

PATIENCE: Final = 0.5
"""Seconds from its beginning that an export may hold up a fork."""


class Gate:
    """Lets exports through, but none at the moment of a fork: ``with gate:`` around each.

    The thread that forks waits for the exports that are under way, and those that are about to
    begin wait for the fork. Nobody waits for longer than ``PATIENCE``.
    """

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget who is under way: in a child they are threads of its parent's."""
        self._locks = Locks()
        self._under_way: dict[int, float] = {}
        self._forks = 0

    def __enter__(self) -> None:
        with self._locks.lock:
            self._locks.change.wait_for(lambda: not self._forks, PATIENCE)
            self._under_way[threading.get_ident()] = monotonic()

    def __exit__(self, *_: object) -> None:
        with self._locks.lock:
            self._under_way.pop(threading.get_ident(), None)
            self._locks.change.notify_all()

    def close(self) -> None:
        """Wait for what is under way, and let nothing begin."""
        with self._locks.lock:
            self._forks += 1
            while (left := self._left()) is not None and left > 0:
                self._locks.change.wait(left)
        if left is not None:
            _guard.count("fork.during_export")

    def open(self) -> None:
        """Let exports begin."""
        with self._locks.lock:
            self._forks -= 1
            self._locks.change.notify_all()

    def _left(self) -> float | None:
        """Seconds that the export which began last may still take; None where there is none."""
        me = threading.get_ident()  # an exporter that forks cannot wait for itself
        begun = [at for thread, at in self._under_way.items() if thread != me]
        return max(begun) + PATIENCE - monotonic() if begun else None


gate: Final = Gate()
"""Around everything that exporters of ours do."""

_masks: Final[dict[int, set[Any]]] = {}
"""Signals that were blocked in each thread that is about to fork."""


def keep_apart() -> None:
    """Close the gate at each fork from now on.

    Called when the exporters and their processors are there: of those who prepare for a fork, the
    last that came is the first that is asked, and gRPC must find nothing under way. In a child, the
    last that came is the last: threads that others begin anew there are shielded too.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    gate.close()
    _masks[threading.get_ident()] = _process.shield()


def _in_parent() -> None:
    _unshield()
    gate.open()


def _in_child() -> None:
    _unshield()
    _masks.clear()
    gate.begin_anew()


def _unshield() -> None:
    before = _masks.pop(threading.get_ident(), None)
    if before is not None:
        _process.unshield(before)
