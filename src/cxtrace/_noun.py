"""What the words that open a block have in common: ``touchpoint``, ``journey`` and the like."""

import sys
import types
from abc import abstractmethod
from typing import Generic, TypeVar

from opentelemetry.context import Context, attach, get_current

from cxtrace import _guard
from cxtrace._wrap import F, close, decorate
from cxtrace.context import KEY, Block, cx_of

B = TypeVar("B", bound=Block)


class Noun(Generic[B]):
    """A word that decorates, and that opens a block in ``with`` and ``async with``.

    The object is a description: every call and every entry opens a block of its own, so recursion,
    threads and tasks can share it.
    """

    __slots__ = ("_entered", "_idle")

    def __init__(self) -> None:
        self._entered: dict[int, tuple[Context, int]] = {}
        self._idle = 0

    @abstractmethod
    def _open(self) -> Context | None: ...

    @abstractmethod
    def _handle(self, context: Context | None) -> B: ...

    def __call__(self, fn: F) -> F:
        """Decorate a function, coroutine, generator, async generator or method."""
        return decorate(fn, self._open)

    def _enter_from(self, frame: int) -> B:
        context = self._open()
        if context is None:
            self._idle += 1
        else:
            self._entered[id(context[KEY])] = context, frame
            attach(context)
        return self._handle(context)

    def __enter__(self) -> B:
        return self._enter_from(id(sys._getframe(1)))  # noqa: SLF001

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self._exit_to(id(sys._getframe(1)), error)  # noqa: SLF001

    def _exit_to(self, frame: int, error: BaseException | None) -> None:
        context = self._leaving(frame)
        if context is not None:
            close(context, error)

    async def __aenter__(self) -> B:
        return self._enter_from(id(sys._getframe(1)))  # noqa: SLF001

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self._exit_to(id(sys._getframe(1)), error)  # noqa: SLF001

    def _leaving(self, frame: int) -> Context | None:
        """The entry that is left now: the one that is current here, else of the same ``with``.

        A framework may enter and leave a ``with`` in contexts of their own.
        """
        entered = self._entered
        if not entered:
            self._idle -= self._idle > 0
            return None
        cx, seen = cx_of(get_current()), None
        while cx is not None and cx.block is not seen:
            found = entered.pop(id(cx), None)
            if found is not None:
                return found[0]
            seen = cx.block
            cx = None if seen is None else cx_of(seen.previous)
        if self._idle:
            self._idle -= 1
            return None
        return self._elsewhere(frame)

    def _elsewhere(self, frame: int) -> Context | None:
        entries = list(self._entered.items())
        same = [key for key, (_, entered_from) in entries if entered_from == frame]
        if not same and len(entries) > 1:
            # Any of them would be a guess, and might be somebody else's.
            _guard.count("with.left_open")
            return None
        return self._entered.pop(same[-1] if same else entries[0][0])[0]


class Surroundings(Noun[B]):
    """A noun that makes no span, and says what holds inside: ``journey``, ``customer``."""

    __slots__ = ()

    @abstractmethod
    def _enter(self) -> Context | None: ...

    def _open(self) -> Context | None:
        try:
            return self._enter()
        except Exception as error:  # noqa: BLE001
            _guard.swallow(type(self).__name__, error)
            return None
