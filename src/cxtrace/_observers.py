"""Tell functions of the host's what has happened, where they are in nobody's way.

One thread tells them all, in the order in which it happened. A function that is slow delays the
next ones, and one that never returns keeps that thread: never a customer. What waits is bounded.

Such a function runs at the touchpoint that it is told of: its logs bear the same trace, and
``current_context()`` says whose journey it was and who the customer was. But nothing that it finds
there is alive. The span cannot be written to, what is said of the customer reaches nobody else,
and variables of the host's request, which two threads must not share, are not there.
"""

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic, sleep
from typing import Any, Final, NamedTuple, TypeAlias

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from cxtrace import _guard
from cxtrace._process import patched_by
from cxtrace._scope import RequestScope
from cxtrace._withdrawals import has_withdrawn
from cxtrace._worker import Worker
from cxtrace.context import CXContext, Identity, Journey, Place, with_cx

MAX_WAITING: Final = 1_000
"""What waits to be told in one process; what comes past it is dropped, and counted."""

_PATCHED_BY: Final = patched_by()
_STEP: Final = 0.005

Hook: TypeAlias = Callable[[Any], object]


class Whereabouts(NamedTuple):
    """Where something happened, in values that do not change any more."""

    place: Place
    journey: Journey | None
    interaction: str | None
    identity: Identity
    span: SpanContext

    def context(self) -> Context:
        """A context like the one there, in which nothing is open."""
        journey, identity = self.journey, self.identity
        if any(map(has_withdrawn, identity.pseudonyms)):
            identity = identity.refused()
        if journey is not None:
            refused = journey.state is not None and journey.state.refused
            keeps_id = identity.linkable and not refused
            journey = Journey(journey.name, journey.id if keeps_id else "", journey.route)
        scope = RequestScope(identity, settled=True)
        cx = CXContext(scope, journey, self.place, self.interaction)
        return with_cx(set_span_in_context(NonRecordingSpan(self.span), Context()), cx)


class _Told(NamedTuple):
    hook: Hook
    fact: object
    where: Whereabouts


class _Line:
    """What waits to be told, and the thread that tells it, once there is something to tell.

    Attributes:
        work: What is to be told next. Of the standard library's queues it is the one that a signal
            handler or a finaliser may write to while we do.
        waiting: The same, until its function has returned.
        done: How many functions have returned.
    """

    def __init__(self) -> None:
        self.work: SimpleQueue[_Told] = SimpleQueue()
        self.waiting: deque[_Told] = deque()
        self.done = 0
        self._worker = Worker(lambda: _tell_all(self), "cxtrace_observers", _PATCHED_BY)

    def put(self, told: _Told) -> None:
        self.waiting.append(told)
        self.work.put(told)
        if not self._worker.has_begun:
            self.has_thread()

    def has_thread(self) -> bool:
        """Whether there is a thread by now; the next one who asks tries again."""
        try:
            self._worker.start()
        except RuntimeError as error:  # the process has too many, or is about to end
            _guard.swallow("observers", error)
        return self._worker.has_begun


_line = _Line()
_here = threading.local()


def tell(hook: Hook, fact: object, where: Whereabouts) -> None:
    """Let a function know, soon and in another thread. Never waits and never raises.

    What happens because of a function that is being told is not told.

    Args:
        hook: Of the host's.
        fact: An immutable value.
        where: At which touchpoint it happened.
    """
    if _is_telling():
        return
    line = _line
    if len(line.waiting) < MAX_WAITING:
        line.put(_Told(hook, fact, where))
        return
    _guard.count("on_friction.dropped")
    _guard.warn_once(
        "on_friction.dropped",
        "cxtrace: on_friction is slower than friction is found, or does not return: it is not told "
        "of what comes while %d wait",
        MAX_WAITING,
    )


def tell_at_once(hook: Hook, fact: object, where: Whereabouts) -> None:
    """Let a function know here and now, for tests that look at what it did."""
    if _is_telling():
        return
    before = get_current()
    try:
        _call(hook, fact, where)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("on_friction", error)
    finally:
        attach(before)


def drain(timeout: float) -> bool:
    """Wait until all that had happened before has been told.

    Args:
        timeout: Seconds; the call returns by then.

    Returns:
        Whether all of it has been told.
    """
    line, until = _line, monotonic() + timeout
    if line.waiting and not line.has_thread():
        return False
    last = len(line.waiting) + line.done  # in this order: better one too many than one too few
    while line.waiting and line.done < last:
        if monotonic() >= until:
            return False
        sleep(_STEP)
    return True


def waiting() -> int:
    """How many facts have not been told yet, or are being told."""
    return len(_line.waiting)


def _is_telling() -> bool:
    """Whether a function is being told in this thread: it would hear of itself for ever."""
    if getattr(_here, "is_telling", False):
        _guard.count("on_friction.within_itself")
        return True
    return False


def _call(hook: Hook, fact: object, where: Whereabouts) -> None:
    _here.is_telling = True
    try:
        attach(where.context())
        hook(fact)
    finally:
        _here.is_telling = False


def _tell_all(line: _Line) -> None:
    # A function that forks goes on in the child, where what waits is not the child's to tell.
    while line is _line:
        told = line.work.get()
        try:
            _call(*told)
        except BaseException as error:  # noqa: BLE001  also SystemExit: there is nobody to exit
            _guard.swallow("on_friction", error)
        attach(Context())
        line.done += 1
        line.waiting.popleft()
        del told


def _after_fork() -> None:
    global _line  # noqa: PLW0603
    _line = _Line()


_guard.in_child(_after_fork)
