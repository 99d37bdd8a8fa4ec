"""What is recorded of an exception, where ``configure(record_exceptions=…)`` asks for it.

The text of an exception is made by code of the host, which may fail, take for ever, or be of any
length; and it can hold what a customer typed. Text that is there already is read at once. What has
to be made is made in a thread that nobody waits for long, and a class that kept us waiting is not
asked again for a while.
"""

import traceback
import weakref
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, TypeAlias

from cxtrace import _clock, _guard
from cxtrace import attributes as names
from cxtrace._blockers import scrub
from cxtrace._closed_sets import text
from cxtrace._deadline import alone_within
from cxtrace._runtime import RecordExceptions

PATIENCE: Final = 0.1
"""Seconds that a failing request waits for the text of its exception."""

MOST_CHARACTERS: Final = 4_096
"""Of a message."""
MOST_OF_A_STACK: Final = 32_768
MOST_FRAMES: Final = 64
MOST_CAUSES: Final = 8
_PAUSE: Final = 60.0
"""Seconds for which a class that kept us waiting is not asked again."""
_MOST_ASKED: Final = 4
"""Exceptions that are asked for their text at the same time; one that never ends stays one."""

_CAUSE: Final[Any] = vars(BaseException)["__cause__"]
_CONTEXT: Final[Any] = vars(BaseException)["__context__"]
_SUPPRESSES: Final[Any] = vars(BaseException)["__suppress_context__"]
_TRACEBACK: Final[Any] = vars(BaseException)["__traceback__"]
_ARGS: Final[Any] = vars(BaseException)["args"]
_DICT: Final[Any] = vars(BaseException)["__dict__"]
_OF_SYSTEM: Final[Any] = tuple(
    vars(OSError)[name] for name in ("errno", "strerror", "filename", "filename2")
)
_PLAIN: Final = (str, int, float, bool, bytes, type(None))
_READS_ARGS: Final = (BaseException.__str__, KeyError.__str__)

_BECAUSE: Final = (
    "\nThe above exception was the direct cause of the following exception:\n\n",
    "\nDuring handling of the above exception, another exception occurred:\n\n",
)

_slow: dict[int, tuple["weakref.ref[type]", float]] = {}
"""Classes that kept us waiting, by identity, and until when: none is kept alive."""


def _all_places() -> "SimpleQueue[None]":
    """A place for each that may be asked at once, to be taken and given back.

    No semaphore: its lock is no good for a signal handler that fails while its thread takes one.
    """
    places: SimpleQueue[None] = SimpleQueue()
    for _ in range(_MOST_ASKED):
        places.put(None)
    return places


_places = _all_places()


def told(error: BaseException, how: RecordExceptions) -> dict[str, str]:
    """The attributes of the event: class, text and stack; of one that keeps us waiting, its class.

    Args:
        error: What flew out of a block.
        how: ``scrubbed``: without addresses and numbers of people and without lines of code; or
            ``full``.
    """
    kind = type(error)
    found = {names.EXCEPTION_TYPE: _guard.class_name(kind)}
    chain = list(_chain(error))
    goes_on = how == "full" and chain[-1][1]  # to causes that nobody has looked at
    if not goes_on and all(_is_written(each) for each, _ in chain):
        return {**found, **_texts(chain, how)}
    return {**found, **_asked(kind, chain, how)}


def _asked(kind: type, chain: "_Chain", how: RecordExceptions) -> dict[str, str]:
    """What the code of the host tells, if it does so soon."""
    places = _places
    made: list[dict[str, str]] = []

    def ask() -> bool:
        try:
            made.append(_texts(chain, how))
        finally:
            places.put(None)
        return True

    if not _is_slow(kind) and _took(places):
        is_done = alone_within(PATIENCE, "exception", ask)
        if is_done:
            return made[0]
        if is_done is None:
            places.put(None)
        else:
            _remember(kind)
    _guard.count("exception.without_text")
    return {}


def _took(places: "SimpleQueue[None]") -> bool:
    try:
        places.get_nowait()
    except Empty:
        return False
    return True


def _is_slow(kind: type) -> bool:
    found = _slow.get(id(kind))
    return found is not None and _clock.steady() < found[1]


def _remember(kind: type) -> None:
    key, forget = id(kind), _slow.pop
    _slow[key] = weakref.ref(kind, lambda _: forget(key, None)), _clock.steady() + _PAUSE


_Chain: TypeAlias = list[tuple[BaseException, str]]
"""Exceptions, the last one first, each with the words that lead from its cause to it."""


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    known: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in known and len(known) < MOST_CAUSES:
        known.add(id(now))
        cause = _CAUSE.__get__(now)
        hidden = cause is None and _SUPPRESSES.__get__(now)
        before = cause if cause is not None or hidden else _CONTEXT.__get__(now)
        yield now, "" if before is None else _BECAUSE[cause is None]
        now = before


def _is_written(error: BaseException) -> bool:
    """Whether no code of the host runs when the text is read."""
    reads = type(error).__str__
    if _DICT.__get__(error).get("__notes__"):
        return False
    if reads in _READS_ARGS:
        return all(type(each) in _PLAIN for each in _ARGS.__get__(error))
    if reads is OSError.__str__:
        return all(type(each.__get__(error)) in _PLAIN for each in _OF_SYSTEM)
    return False


def _texts(chain: _Chain, how: RecordExceptions) -> dict[str, str]:
    error = chain[0][0]
    if how == "full":
        message = _message(error)[:MOST_CHARACTERS]
        stack = "".join(traceback.format_exception(error, limit=-MOST_FRAMES))
    else:
        message = scrub(_message(error), MOST_CHARACTERS)
        stack = "".join(_scrubbed(each, because) for each, because in reversed(chain))
    return {names.EXCEPTION_MESSAGE: message, names.EXCEPTION_STACKTRACE: _end_of(stack)}


def _message(error: BaseException) -> str:
    """The start of the text, which an exporter can encode; empty where there is none."""
    try:
        found = text(str(error)) or ""
    except Exception as failure:  # noqa: BLE001
        _guard.swallow("exception", failure)
        return ""
    return _encodable(found[: 2 * MOST_CHARACTERS])


def _end_of(stack: str) -> str:
    kept = stack if len(stack) <= MOST_OF_A_STACK else f"…{stack[-MOST_OF_A_STACK:]}"
    return _encodable(kept)


def _encodable(found: str) -> str:
    return found.encode("utf-8", "replace").decode()


def _scrubbed(error: BaseException, because: str) -> str:
    """Places and text of one exception. Lines of code are left out: they can hold anything."""
    lines = [because, "Traceback (most recent call last):\n"]
    for frame, line in _frames(_TRACEBACK.__get__(error)):
        code = frame.f_code
        lines.append(f'  File "{scrub(code.co_filename)}", line {line}, in {scrub(code.co_name)}\n')
    lines.append(f"{_guard.class_name(type(error))}: {scrub(_message(error), MOST_CHARACTERS)}\n")
    return "".join(lines)


def _frames(trace: TracebackType | None) -> list[tuple[Any, int]]:
    found = []
    while trace is not None:
        found.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return found[-MOST_FRAMES:]


def _after_fork() -> None:
    global _places  # noqa: PLW0603
    _places = _all_places()


_guard.in_child(_after_fork)
