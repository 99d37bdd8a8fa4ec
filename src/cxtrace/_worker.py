"""A thread of ours that begins when there is something to do, and lets its end be waited for."""

import threading
import time
from collections.abc import Callable
from time import monotonic
from typing import Final

from cxtrace._locks import Locks
from cxtrace._process import start

_STEP: Final = 0.005


class Worker:
    """A thread that begins once, however often and from wherever it is asked to.

    Args:
        run: What it does.
        name: Of the thread.
        before: Who had patched this process when the module was imported whose locks and queues
            the thread waits for: ``_process.patched_by()``.
    """

    def __init__(self, run: Callable[[], object], name: str, before: str | None) -> None:
        self.has_begun = False
        self.is_over = False
        self._run = run
        self._name = name
        self._before = before
        self._attempt: object = None
        self._thread: int | None = None
        self._locks = Locks()

    def start(self) -> None:
        """Begin, where it has not begun yet.

        Raises:
            RuntimeError: The process has too many threads, or is about to end. The next call tries
                again.
        """
        if self.has_begun:
            return
        with self._locks.lock:
            if self.has_begun:
                return
            self.has_begun = True  # First: a signal handler must not start a second one.
            attempt = self._attempt = object()
            try:
                start(lambda: self._go(attempt), self._name, self._before)
            except BaseException:
                # A signal handler may have raised when the thread was there already: that one ends.
                self.has_begun, self._attempt = False, None
                raise

    def _go(self, attempt: object) -> None:
        with self._locks.lock:
            if self._attempt is not attempt:
                return
            self._thread = threading.get_ident()
        try:
            self._run()
        finally:
            self.is_over = True

    @property
    def is_this(self) -> bool:
        """Whether it is this thread that asks."""
        return self._thread == threading.get_ident()

    def wait(self, until: float) -> None:
        """Wait for its end, where it has begun.

        Without a lock: a signal handler may wait while its thread does, and eventlet's ``join``
        raises on Python 3.13 where the time is over.

        Args:
            until: When to give up, on the monotonic clock.
        """
        while self.has_begun and not self.is_over and monotonic() < until:
            time.sleep(_STEP)
