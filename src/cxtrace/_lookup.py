"""Questions to a store, which may be slow or hang: each is answered in time, or not at all."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final, TypeAlias

from cxtrace import _clock, _guard
from cxtrace._process import shielded
from cxtrace.typing import Store

MAX_REMEMBERED: Final = 10_000
"""Answers that one process remembers."""

MAX_WAITING: Final = 1_000
"""Questions that wait for a store; those that come next have no answer."""

_PATIENCE: Final = 1.0
"""Seconds for which nobody waits for a store that has just been late."""


class _Question:
    __slots__ = ("answer", "done", "names", "value")

    def __init__(self, names: Sequence[str], value: str) -> None:
        self.names = names
        self.value = value
        self.answer: str | None = None
        self.done = threading.Event()


class Lookup:
    """Asks a store in a thread of its own, and remembers what it said.

    Args:
        store: Who is asked.
        make: A new value, for a name that the store does not have yet.
        timeout: Seconds to wait for an answer. One that comes later is there the next time.
        remember: Seconds for which an answer holds: a value that another process has deleted is
            used for no longer.
    """

    __slots__ = (
        "__weakref__", "_asked", "_known", "_late_until", "_lock", "_make", "_questions",
        "_remember", "_store", "_thread", "_timeout",
    )  # fmt: skip

    def __init__(
        self, store: Store, make: Callable[[], str], timeout: float, remember: float
    ) -> None:
        self._store = store
        self._make = make
        self._timeout = timeout
        self._remember = remember
        self._begin()
        _guard.in_child_of(self, Lookup._begin)

    def _begin(self) -> None:
        """Begin with nothing, in this process."""
        # Reentrant, for a signal handler may name a customer while we look.
        self._lock = threading.RLock()
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._asked: dict[str, _Question] = {}
        self._questions: SimpleQueue[_Asked | None] = SimpleQueue()
        # Its thread keeps no Lookup alive, and ends with it.
        weakref.finalize(self, self._questions.put, None).atexit = False
        self._thread: threading.Thread | None = None
        self._late_until = 0.0

    def value(self, names: Sequence[str]) -> str | None:
        """The value under the first name that has one, or a new one; None if it is not to be had.

        Args:
            names: Of the same customer. The first is that under which the value is kept from now.
        """
        now = _clock.steady()
        with self._lock:
            known = self._known.get(names[0])
            if known is not None and now < known[1]:
                self._known.move_to_end(names[0])
                return known[0]
            question = self._ask(names)
        if question is None:
            _missing("store_busy")
            return None
        seconds = 0.0 if now < self._late_until else self._timeout
        if question.done.wait(seconds):
            return question.answer
        if seconds:
            self._late_until = now + _PATIENCE
        _missing("store_late")
        return None

    def _ask(self, names: Sequence[str]) -> _Question | None:
        question = self._asked.get(names[0])
        if question is None and len(self._asked) < MAX_WAITING:
            question = self._asked[names[0]] = _Question(names, self._make())
            self._questions.put((self, question))
            if self._thread is None:
                thread = threading.Thread(
                    target=_answer_all, args=(self._questions,), name="cxtrace_store", daemon=True
                )
                with shielded():
                    thread.start()
                self._thread = thread
        return question

    def answer(self, question: _Question) -> None:
        """Ask the store."""
        try:
            question.answer = self._store.keep(question.names, question.value)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("store", error)
        self._learn(question)
        question.done.set()

    def _learn(self, question: _Question) -> None:
        name = question.names[0]
        with self._lock:
            if self._asked.get(name) is not question:
                return  # somebody has forgotten the customer in the meantime
            del self._asked[name]
            if question.answer is not None:
                self._known[name] = question.answer, _clock.steady() + self._remember
                self._known.move_to_end(name)
                if len(self._known) > MAX_REMEMBERED:
                    self._known.popitem(last=False)

    def forget(self, names: Sequence[str]) -> bool:
        """Delete the value from the store, and from here; whether there was one.

        Waits for the store as long as it takes, and lets its errors through.
        """
        deleted = self._store.delete(names)
        with self._lock:
            for name in names:
                self._known.pop(name, None)
                self._asked.pop(name, None)
        return deleted > 0


_Asked: TypeAlias = tuple[Lookup, _Question]


def _answer_all(questions: "SimpleQueue[_Asked | None]") -> None:
    while (asked := questions.get()) is not None:
        asked[0].answer(asked[1])
        del asked


def _missing(why: str) -> None:
    _guard.count(f"pseudonymiser.{why}")
    _guard.warn_once(
        "pseudonymiser.store",
        "cxtrace: the store of the pseudonymiser does not answer in time. Until it does, customers "
        "who are not remembered have no pseudonym",
    )
