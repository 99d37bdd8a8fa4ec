"""One wrapper for function, coroutine, generator and async generator; one shape for ``with``.

A generator's body runs under the context only while it runs: attach, step, restore. So the consumer
never inherits it, and nothing is ever restored in a task in which it was not attached.
"""

import functools
import inspect
import sys
import types
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import ContextVar
from typing import Any, Final, TypeAlias, TypeVar, cast

from opentelemetry.context import Context, attach, get_current

from cxtrace import _guard
from cxtrace._leave import comes_from, leave
from cxtrace.context import KEY

F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, Any, Any] | staticmethod[Any, Any]")
"""What a decorator takes and gives back: the same thing, its signature included."""

Open: TypeAlias = Callable[[], Context | None]
"""Starts a block and returns the context to attach, or None where there is nothing to do."""

_running: ContextVar[object] = ContextVar("cxtrace-step", default=None)


def close(context: Context, error: BaseException | None) -> None:
    """Leave and end the block of ``context``."""
    try:
        block = block_of(context)
        before = block.settle()
        if get_current() is context:
            attach(before)
        else:
            leave(context)
        block.end(error)
    except Exception as failure:  # noqa: BLE001
        _guard.swallow("close", failure)


def _return(context: Context, error: BaseException | None) -> None:
    """Close the block of a call, in which no block can still be open, whoever forgot to close it.

    Without this, a customer whose block was entered by hand would go on to the next request.
    """
    now = get_current()
    if now is context:
        try:
            block = context[KEY].block  # type: ignore[attr-defined]
            before = block.previous
            outer = before.get(KEY)
            # Almost always the block before is open, and there is nothing to settle.
            if outer is not None and outer.block is not None and outer.block.ended:
                before = block.settle()
            attach(before)
            block.end(error)
        except Exception as failure:  # noqa: BLE001
            _guard.swallow("close", failure)
        return
    if now.get(KEY) is not context[KEY] and comes_from(now, block_of(context)):
        attach(context)
    close(context, error)


def end(context: Context, error: BaseException | None) -> None:
    """End the block of ``context``, which is attached nowhere."""
    block = block_of(context)
    block.settle()
    block.end(error)


def block_of(context: Context) -> Any:
    """The block that ``context`` was made for."""
    return context[KEY].block  # type: ignore[attr-defined]


def decorate(fn: F, open_block: Open) -> F:
    """Wrap ``fn`` so that each call, or each iteration, is a block of its own.

    Raises:
        TypeError: ``fn`` is a class or cannot be called.
    """
    if isinstance(fn, (classmethod, staticmethod)):
        wrapped = type(fn)(decorate(fn.__func__, open_block))
        return cast("F", wrapped)
    if isinstance(fn, type) or not callable(fn):
        raise TypeError(f"cannot decorate {fn!r}: decorate a function, a method or a coroutine")
    make = _maker(_body_of(fn))
    return functools.update_wrapper(make(fn, open_block), fn)  # type: ignore[return-value]


def _body_of(fn: Any) -> Any:
    """The Python function that runs in the end: behind partials and ``__call__``."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.isroutine(fn):
        return fn
    return type(fn).__call__


def _maker(body: Any) -> Callable[[Any, Open], Callable[..., Any]]:
    if inspect.isasyncgenfunction(body):
        return _async_generator
    if inspect.iscoroutinefunction(body):
        return _coroutine
    if inspect.isgeneratorfunction(body):
        return _generator
    return _function


def _function(fn: Any, open_block: Open) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        context = open_block()
        if context is None:
            return fn(*args, **kwargs)
        try:
            attach(context)
            result = fn(*args, **kwargs)
        except BaseException as error:
            _return(context, error)
            raise
        if type(result) in _DEFERRED:
            return _deferred(result, context)
        _return(context, None)
        return result

    return wrapper


def _coroutine(fn: Any, open_block: Open) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        context = open_block()
        if context is None:
            return await fn(*args, **kwargs)
        try:
            attach(context)
            result = await fn(*args, **kwargs)
        except BaseException as error:
            _return(context, error)
            raise
        _return(context, None)
        return result

    return wrapper


def _generator(fn: Any, open_block: Open) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        body = fn(*args, **kwargs)
        context = open_block()
        steps = None if context is None else _Steps(context)
        send = body.send
        step, value = send, None
        while True:
            try:
                item = step(value) if steps is None else steps.run(step, value)
            except StopIteration as stop:
                _end(steps, None)
                return stop.value
            except BaseException as error:
                value = None  # the error refers to this frame: no cycle
                _end(steps, error)
                raise
            try:
                value = yield item
                step = send
            except GeneratorExit as error:
                close = body.close
                returned = close() if steps is None else steps.closing(close, error)
                if returned is not None:
                    return returned
                raise
            except BaseException as error:  # noqa: BLE001  it belongs to the body, whatever it is
                step, value = body.throw, error

    if _is_iterable_coroutine(getattr(_body_of(fn), "__code__", None)):
        return types.coroutine(wrapper)
    return wrapper


def _is_iterable_coroutine(code: types.CodeType | None) -> bool:
    return code is not None and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _async_generator(fn: Any, open_block: Open) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        body = fn(*args, **kwargs)
        context = open_block()
        steps = None if context is None else _Steps(context)
        send = body.asend
        step, value = _unhooked(send), None
        while True:
            try:
                item = await (step(value) if steps is None else steps.run_async(step, value))
            except StopAsyncIteration:
                _end(steps, None)
                return
            except BaseException as error:
                value = None
                _end(steps, error)
                raise
            try:
                value = yield item
                step = send
            except GeneratorExit as error:
                close = body.aclose
                await (close() if steps is None else steps.closing_async(close, error))
                raise
            except BaseException as error:  # noqa: BLE001  it belongs to the body, whatever it is
                step, value = body.athrow, error

    return wrapper


class _Steps:
    """Runs the steps of one generator, each under the context that the step before left."""

    __slots__ = ("_block_context", "_context")

    def __init__(self, context: Context) -> None:
        self._block_context = context
        self._context = context

    def run(self, step: Callable[..., Any], *value: Any) -> Any:
        previous, outer = get_current(), _running.get()
        attach(self._context)
        _running.set(self)
        try:
            return step(*value)
        finally:
            del value
            self._leave(previous, outer)

    async def run_async(self, step: Callable[..., Any], *value: Any) -> Any:
        previous, outer = get_current(), _running.get()
        attach(self._context)
        _running.set(self)
        try:
            return await step(*value)
        finally:
            del value
            self._leave(previous, outer)

    def _leave(self, previous: Context, outer: object) -> None:
        # A step that is torn down by the garbage collector ends in a stranger's context.
        if _running.get() is self:
            self._context = get_current()
            attach(previous)
            _running.set(outer)

    def end(self, error: BaseException | None) -> None:
        try:
            end(self._block_context, error)
        except Exception as failure:  # noqa: BLE001
            _guard.swallow("close", failure)

    def closing(self, close_body: Callable[[], Any], exit_: GeneratorExit) -> Any:
        try:
            returned = self.run(close_body)
        except BaseException as error:
            self.end(error)
            raise
        self.end(exit_)
        return returned

    async def closing_async(self, close_body: Callable[[], Any], exit_: GeneratorExit) -> None:
        try:
            await self.run_async(close_body)
        except BaseException as error:
            self.end(error)
            raise
        self.end(exit_)


def _end(steps: _Steps | None, error: BaseException | None) -> None:
    if steps is not None:
        steps.end(error)


_DEFERRED: Final = {
    types.CoroutineType: _coroutine,
    types.GeneratorType: _generator,
    types.AsyncGeneratorType: _async_generator,
}
"""What a plain function may hand back that has not run yet, and who drives it."""


def _deferred(result: Any, context: Context) -> Any:
    """The block goes on until the coroutine or generator that the function returned has run."""
    leave(context)

    def reopen() -> Context:
        block = block_of(context)
        if not comes_from(get_current(), block):
            block.previous = get_current()
        return context

    again: Callable[[], Any] = _DEFERRED[type(result)](lambda: result, reopen)
    if _is_iterable_coroutine(getattr(result, "gi_code", None)):
        again = types.coroutine(again)
    driven: Any = again()
    driven.__name__, driven.__qualname__ = result.__name__, result.__qualname__
    # One that is never started never ends by itself.
    weakref.finalize(driven, _give_up, context).atexit = False
    return driven


def _give_up(context: Context) -> None:
    end(context, GeneratorExit())


def _unhooked(asend: Callable[..., Any]) -> Callable[..., Any]:
    """The first step of an async generator's body, unknown to the event loop.

    The loop closes at its end every generator that it knows. It knows ours, which closes the body;
    closing both at once fails.
    """

    def first(value: Any) -> Any:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            return asend(value)
        finally:
            sys.set_asyncgen_hooks(*hooks)

    return first
