"""SIGTERM, where nobody else sees to it that a process ends in good order."""

import os
import signal
from types import FrameType

from cxtrace import _config, _guard


def shutdown_on_sigterm() -> bool:
    """Let SIGTERM send what is waiting before it ends this process, and the children it will fork.

    By default SIGTERM kills, and no exit handler runs. From here on ``shutdown()`` comes first,
    which takes two seconds at most, and then the process ends as it would have: with the status of
    a process that SIGTERM has killed. A second SIGTERM ends it at once.

    A handler that is there already, or that comes later, is left alone: gunicorn, Celery, and
    whoever else stops in good order, let Python's exit handlers run. uvicorn, from
    0.47 on, hands the signal on to this one when it has stopped. Call it in the main thread;
    ``configure()`` never does. End pools of multiprocessing by ``close()`` and ``join()`` then: to
    terminate one whose workers have any handler in Python can take for ever.

    Returns:
        Whether it is this that SIGTERM will meet.
    """
    found = signal.getsignal(signal.SIGTERM)
    if found is signal.SIG_DFL:
        try:
            signal.signal(signal.SIGTERM, _end)
        except ValueError:
            _guard.warn_once(
                "sigterm",
                "cxtrace.shutdown_on_sigterm() does nothing outside of the main thread",
            )
            return False
        return True
    return found is _end


def _end(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    try:
        _config.shutdown()
    finally:
        signal.raise_signal(number)
        # The first process of a container lives on: its SIGTERM has no default.
        os._exit(128 + number)
