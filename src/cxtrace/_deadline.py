"""Work that must be over by a deadline, at the end of the process too."""

import atexit
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Final

from cxtrace import _gate, _guard, _process

DEADLINE: Final = 2.0
"""Seconds that the exit of the process may take for telemetry."""

_LONGEST: Final = 3_600.0
_STEP: Final = 0.005
_MOST: Final = 4
"""Threads that may hang at the same work; who comes then waits for one of them."""

_PATCHED_BY: Final = _process.patched_by()
_EXITS_WITHOUT_NEW_THREADS: Final = sys.version_info[:2] == (3, 12)

_standby: "_Standby | None" = None
_watches_children = False
_under_way: Final[dict[str, list["_Task"]]] = {}
"""What is being done, or was when it was last looked at."""


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
        where: Names the thread, and an error in ``report()``. A signal handler may flush while its
            thread does: who comes second under one name waits for the first.
        work: Says whether it was done.
    """
    until = monotonic() + seconds(timeout)
    before = [task for task in _under_way.get(where, ()) if not task.is_over]
    if len(before) >= _MOST and not _wait(before, until):
        return False
    mine = _Task(where, work)
    _under_way[where] = [*before, mine]
    if _do(mine, until):
        _wait([*before, mine], until)
    return mine.answer


def alone_within(timeout: float, where: str, work: Callable[[], bool]) -> bool | None:
    """Do the work likewise, and wait for nobody else who does such work at the same time.

    Returns:
        Whether it was done; None where it could not begin, and never will.
    """
    mine = _Task(where, work)
    return mine.answer if _do(mine, monotonic() + seconds(timeout)) else None


class _Task:
    """Work that somebody waits for."""

    def __init__(self, where: str, work: Callable[[], bool]) -> None:
        self.is_over = False
        self.answer = False
        self.finished = threading.Event()
        self.where = where
        self._work = work

    def run(self) -> None:
        try:
            self.answer = self._work()
        except Exception as error:  # noqa: BLE001
            _guard.swallow(self.where, error)
        finally:
            self.is_over = True
            self.finished.set()


def _do(task: _Task, until: float) -> bool:
    """Start the work and wait for it; whether it could be started."""
    late = _process.patched_late(_PATCHED_BY)
    if not _start(task.run, task.where):
        task.is_over = True
        return False
    if late is None:
        # No join: on Python 3.13 eventlet's raises where the time is over.
        task.finished.wait(max(until - monotonic(), 0.0))
    _wait([task], until)
    return True


def _wait(tasks: list[_Task], until: float) -> bool:
    """Whether all were over in time."""
    while not (done := all(task.is_over for task in tasks)) and monotonic() < until:
        time.sleep(_STEP)
    return done


def _start(run: Callable[[], None], where: str) -> bool:
    try:
        _process.start(run, f"cxtrace{where}", _PATCHED_BY)
    except RuntimeError as error:
        if _standby is None:
            _guard.swallow(where, error)
            return False
        _standby.take(run)
    return True


def at_exit(last: Callable[[], bool], after_fork: Callable[[], None]) -> None:
    """Call ``last`` where the process ends, and where a child of multiprocessing does."""
    atexit.register(last)
    _gate.keep_apart()
    _process.watch_uwsgi()
    prepare(last)
    _guard.in_child(after_fork)


def prepare(last: Callable[[], bool]) -> None:
    """Get ready for the exit of this process, be it the first one or a forked child."""
    global _standby, _watches_children  # noqa: PLW0603
    _under_way.clear()
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
        _process.start(self._run, "cxtrace_exit", _PATCHED_BY)

    def _run(self) -> None:
        while True:
            self._work.get()()

    def take(self, work: Callable[[], None]) -> None:
        """Let the thread do ``work`` next."""
        self._work.put(work)


def _finalise(last: Callable[[], bool]) -> None:
    from multiprocessing import parent_process, util

    if parent_process() is not None:
        util.Finalize(None, last, exitpriority=100)
