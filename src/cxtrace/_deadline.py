"""Work that must be over by a deadline, at the end of the process too."""

import atexit
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from cxtrace import _guard

DEADLINE: Final = 2.0
"""Seconds that the exit of the process may take for telemetry."""

_LONGEST: Final = 3_600.0

_EXITS_WITHOUT_NEW_THREADS: Final = sys.version_info[:2] == (3, 12)

_standby: "_Standby | None" = None
_watches_children = False


def seconds(timeout: object) -> float:
    """A time-out that can be waited for, whatever was given."""
    try:
        found = float(timeout)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = DEADLINE
    return min(max(found, 0.0), _LONGEST) if found == found else DEADLINE


def within(timeout: float, where: str, work: Callable[[], bool]) -> bool:
    """Do the work in a thread of its own and wait for it, but never past the time-out.

    Args:
        timeout: Seconds.
        where: Names the thread, and an error in ``report()``.
        work: Says whether it was done.
    """
    done: list[bool] = []

    def run() -> None:
        try:
            done.append(work())
        except Exception as error:  # noqa: BLE001
            _guard.swallow(where, error)

    thread = threading.Thread(target=run, name=f"cxtrace{where}", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if _standby is None:
            _guard.swallow(where, error)
            return False
        thread = _standby.take(run)
    thread.join(seconds(timeout))
    return bool(done) and done[0]


def at_exit(last: Callable[[], bool], after_fork: Callable[[], None]) -> None:
    """Call ``last`` where the process ends, and where a child of multiprocessing does."""
    atexit.register(last)
    prepare(last)
    _guard.in_child(after_fork)


def prepare(last: Callable[[], bool]) -> None:
    """Get ready for the exit of this process, be it the first one or a forked child."""
    global _standby, _watches_children  # noqa: PLW0603
    if _EXITS_WITHOUT_NEW_THREADS:
        _standby = _Standby()
    # A process of multiprocessing leaves by os._exit and runs no atexit handler.
    if not _watches_children:
        from multiprocessing import util

        _watches_children = True
        util.register_after_fork(last, _finalise)
        _finalise(last)


class _Standby:
    """A thread that waits for the exit, for a Python that starts none by then."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cxtrace_exit", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._work.get()()

    def take(self, work: Callable[[], None]) -> threading.Thread:
        """The thread, which does ``work`` now; only the first work is done."""
        self._work.put(work)
        return self._thread


def _finalise(last: Callable[[], bool]) -> None:
    from multiprocessing import parent_process, util

    if parent_process() is not None:
        util.Finalize(None, last, exitpriority=100)
