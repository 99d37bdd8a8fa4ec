"""One description on every kind of callable, and as ``with`` and ``async with``."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import inspect
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, create_key, get_current, set_value
from opentelemetry.trace import StatusCode, get_current_span

import cxtrace
from cxtrace import customer, interaction, journey, touchpoint
from cxtrace._handles import NO_TOUCHPOINT

NAP = 0.02
MARK = touchpoint("x")


def drive(result: Any) -> Any:
    """Run what a call gave back to its end, whatever it is, and give what came out last."""
    if inspect.isasyncgen(result):
        return asyncio.run(last_of(result))
    if inspect.isawaitable(result):
        return asyncio.run(awaited(result))
    if inspect.isgenerator(result):
        items = list(result)
        return items[-1] if items else None
    return result


async def awaited(result: Any) -> Any:
    """Await anything that can be awaited."""
    return await result


async def last_of(result: Any) -> Any:
    """Consume an async generator."""
    items = [item async for item in result]
    return items[-1] if items else None


def function(body: Callable[[], Any]) -> Any:
    """Make a plain function."""

    @MARK
    def call() -> Any:
        return body()

    return call


def coroutine(body: Callable[[], Any]) -> Any:
    """Make a coroutine function."""

    @MARK
    async def call() -> Any:
        await asyncio.sleep(0)
        return body()

    return call


def generator(body: Callable[[], Any]) -> Any:
    """Make a generator function."""

    @MARK
    def call() -> Any:
        yield 0
        yield body()

    return call


def async_generator(body: Callable[[], Any]) -> Any:
    """Make an async generator function."""

    @MARK
    async def call() -> Any:
        yield 0
        await asyncio.sleep(0)
        yield body()

    return call


def instance_method(body: Callable[[], Any]) -> Any:
    """Make a method."""

    class Thing:
        @MARK
        def call(self) -> Any:
            assert isinstance(self, Thing)
            return body()

    return Thing().call


def async_method(body: Callable[[], Any]) -> Any:
    """Make a coroutine method."""

    class Thing:
        @MARK
        async def call(self) -> Any:
            assert isinstance(self, Thing)
            return body()

    return Thing().call


def outside_classmethod(body: Callable[[], Any]) -> Any:
    """Decorate a classmethod object."""

    class Thing:
        @MARK
        @classmethod
        def call(cls) -> Any:
            assert cls is Thing
            return body()

    return Thing().call


def inside_classmethod(body: Callable[[], Any]) -> Any:
    """Make a classmethod of what is decorated."""

    class Thing:
        @classmethod
        @MARK
        def call(cls) -> Any:
            assert cls is Thing
            return body()

    return Thing.call


def outside_staticmethod(body: Callable[[], Any]) -> Any:
    """Decorate a staticmethod object, of a coroutine function for good measure."""

    class Thing:
        @MARK
        @staticmethod
        async def call() -> Any:
            return body()

    return Thing.call


def inside_staticmethod(body: Callable[[], Any]) -> Any:
    """Make a staticmethod of what is decorated."""

    class Thing:
        @staticmethod
        @MARK
        def call() -> Any:
            return body()

    return Thing().call


def partial(body: Callable[[], Any]) -> Any:
    """Decorate a partial of a partial."""

    def call(first: int, second: int) -> Any:
        assert (first, second) == (1, 2)
        return body()

    return MARK(functools.partial(functools.partial(call, 1), 2))


def partial_coroutine(body: Callable[[], Any]) -> Any:
    """Decorate a partial of a coroutine function."""

    async def call(first: int) -> Any:
        return body()

    return MARK(functools.partial(call, 1))


def partial_generator(body: Callable[[], Any]) -> Any:
    """Decorate a partial of a generator function."""

    def call(first: int) -> Any:
        yield body()

    return MARK(functools.partial(call, 1))


def callable_object(body: Callable[[], Any]) -> Any:
    """Decorate an object that can be called."""

    class Thing:
        def __call__(self) -> Any:
            return body()

    return MARK(Thing())


def async_callable_object(body: Callable[[], Any]) -> Any:
    """Decorate an object whose ``__call__`` is a coroutine function."""

    class Thing:
        async def __call__(self) -> Any:
            return body()

    return MARK(Thing())


def generator_object(body: Callable[[], Any]) -> Any:
    """Decorate an object whose ``__call__`` is an async generator function."""

    class Thing:
        async def __call__(self) -> Any:
            yield body()

    return MARK(Thing())


def returns_coroutine(body: Callable[[], Any]) -> Any:
    """Make a plain function that hands back a coroutine."""

    async def later() -> Any:
        await asyncio.sleep(0)
        return body()

    return MARK(lambda: later())


def returns_generator(body: Callable[[], Any]) -> Any:
    """Make a plain function that hands back a generator."""
    return MARK(lambda: (body() for _ in range(1)))


def returns_async_generator(body: Callable[[], Any]) -> Any:
    """Make a plain function that hands back an async generator."""

    async def later() -> Any:
        yield body()

    return MARK(lambda: later())


def returns_types_coroutine(body: Callable[[], Any]) -> Any:
    """Make a plain function that hands back a coroutine of the old kind."""

    @types.coroutine
    def later() -> Any:
        yield
        return body()

    return MARK(lambda: later())


def over_types_coroutine(body: Callable[[], Any]) -> Any:
    """Decorate a coroutine of the old kind."""

    @MARK
    @types.coroutine
    def call() -> Any:
        yield
        return body()

    return call


def under_types_coroutine(body: Callable[[], Any]) -> Any:
    """Make a coroutine of the old kind of what is decorated."""

    @types.coroutine
    @MARK
    def call() -> Any:
        yield
        return body()

    return call


def over_wraps(body: Callable[[], Any]) -> Any:
    """Decorate what another decorator has wrapped, a plain function around a coroutine function."""

    async def inner() -> Any:
        return body()

    @MARK
    @functools.wraps(inner)
    def call() -> Any:
        return inner()

    return call


def lambda_(body: Callable[[], Any]) -> Any:
    """Decorate a lambda."""
    return MARK(lambda: body())


def bound_method(body: Callable[[], Any]) -> Any:
    """Decorate a method of one object."""

    class Thing:
        def call(self) -> Any:
            return body()

    return MARK(Thing().call)


def builtin(body: Callable[[], Any]) -> Any:
    """Decorate a function written in C."""
    return functools.partial(MARK((body() for _ in [0]).__next__))


def with_block(body: Callable[[], Any]) -> Any:
    """Use ``with``."""

    def call() -> Any:
        with MARK:
            return body()

    return call


def async_with_block(body: Callable[[], Any]) -> Any:
    """Use ``async with``."""

    async def call() -> Any:
        async with MARK:
            return body()

    return call


KINDS = [
    function,
    coroutine,
    generator,
    async_generator,
    instance_method,
    async_method,
    outside_classmethod,
    inside_classmethod,
    outside_staticmethod,
    inside_staticmethod,
    partial,
    partial_coroutine,
    partial_generator,
    callable_object,
    async_callable_object,
    generator_object,
    returns_coroutine,
    returns_generator,
    returns_async_generator,
    returns_types_coroutine,
    over_types_coroutine,
    under_types_coroutine,
    over_wraps,
    lambda_,
    bound_method,
    builtin,
    with_block,
    async_with_block,
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


class RefusedError(Exception):
    pass


@every_kind
def test_duration(cx, kind):
    """A span lasts from before the body to after it, whatever kind of callable it is."""
    drive(kind(lambda: time.sleep(NAP))())

    span = cx.span("x")
    assert NAP <= (span.end_time - span.start_time) / 1e9 < NAP + 1


@every_kind
def test_result(cx, kind):
    """What the body gives back is what the caller gets: the same object."""
    result = object()

    assert drive(kind(lambda: result)()) is result
    assert cx.outcome("x") == "completed"


@every_kind
def test_body_is_inside(cx, kind):
    """The body sees the touchpoint and its span; before and after it nobody does."""
    seen = []
    before = get_current()

    drive(kind(lambda: seen.append((cxtrace.current_context().place, get_current_span())))())

    ((place, span),) = seen
    assert place.touchpoint == "x"
    assert cx.span("x").context == span.get_span_context()
    assert before is get_current()


@every_kind
def test_exception(cx, kind):
    """The user's exception flies through as the same object, and its traceback ends in the body."""
    error = RefusedError("the card of Ms Ada Lovelace")

    def body() -> None:
        raise error

    with pytest.raises(RefusedError) as caught:
        drive(kind(body)())

    span = cx.span("x")
    assert error is caught.value
    assert error.__cause__ is None
    assert traceback.extract_tb(error.__traceback__)[-1].name == "body"
    assert (cx.outcome("x"), span.status.status_code) == ("failed", StatusCode.ERROR)
    assert f"{__name__}.RefusedError" == span.attributes["error.type"]
    assert "Lovelace" not in span.to_json()


@every_kind
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_leaving(cx, kind, error):
    """An exception that is no error means that the touchpoint was abandoned, not that it failed."""

    def body() -> None:
        raise error

    call = kind(body)
    with pytest.raises(error):
        drive_by_hand(call)

    span = cx.span("x")
    assert (cx.outcome("x"), span.status.status_code) == ("abandoned", StatusCode.UNSET)
    assert "error.type" not in span.attributes


def drive_by_hand(call: Callable[[], Any]) -> None:
    """Step a callable without asyncio, which has its own mind about SystemExit, and cycles."""
    result = call()
    if inspect.isasyncgen(result):
        with contextlib.suppress(StopAsyncIteration):
            while True:
                step(result.asend(None))
    elif inspect.isawaitable(result):
        step(result)
    elif inspect.isgenerator(result):
        list(result)


def step(awaitable: Any) -> None:
    """Run something that waits for nobody."""
    try:
        iterator = awaitable.__await__() if hasattr(awaitable, "__await__") else awaitable
        while True:
            iterator.send(None)
    except StopIteration:
        pass


@every_kind
def test_fresh_state(cx, kind):
    """Each call of one description is a span of its own."""
    call = kind(lambda: None) if kind is not builtin else None
    if call is None:
        pytest.skip("an iterator can be called once")

    for _ in range(3):
        drive(call())

    assert cx.names == ["x"] * 3
    assert len({span.context.span_id for span in cx.spans}) == 3


@every_kind
def test_shared_by_threads(cx, kind):
    """Threads use one description at the same time, and each gets a trace of its own."""
    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=meet, args=(kind, barrier)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [span.attributes["cx.touchpoint.outcome"] for span in cx.spans] == ["completed"] * 4
    assert len({span.context.trace_id for span in cx.spans}) == 4


def meet(kind: Any, barrier: threading.Barrier) -> None:
    """Be inside of the block while all others are."""
    drive(kind(barrier.wait)())


def some_function(a: int, /, b: str = "b", *args: int, c: float, **kwargs: bool) -> list[int]:
    """Do something."""


async def some_coroutine(a: int, /, b: str = "b", *args: int, c: float, **kw: bool) -> list[int]:
    """Do something."""


def some_generator(a: int, /, b: str = "b", *args: int, c: float, **kwargs: bool) -> list[int]:
    """Do something."""
    yield 1


async def some_async_generator(a: int, /, b: str = "b", *, c: float, **kw: bool) -> list[int]:
    """Do something."""
    yield 1


PLAIN = [some_function, some_coroutine, some_generator, some_async_generator]
every_plain = pytest.mark.parametrize("fn", PLAIN, ids=lambda fn: fn.__name__)
NOUNS = [touchpoint("x"), interaction("x"), journey("x"), customer("x")]


@every_plain
@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: type(noun).__name__)
def test_looks_the_same(fn, noun):
    """What is decorated keeps its name, documentation, annotations and signature."""
    decorated = noun(fn)

    for attribute in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
        assert getattr(fn, attribute) == getattr(decorated, attribute)
    assert inspect.signature(fn) == inspect.signature(decorated)
    assert fn is decorated.__wrapped__


@every_plain
@pytest.mark.parametrize(
    "question",
    [
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        inspect.isfunction,
    ],
    ids=lambda question: question.__name__,
)
def test_is_the_same_kind(fn, question):
    """Frameworks that ask what kind of function it is get the same answer as before."""
    assert question(fn) == question(touchpoint("x")(fn))


def test_types_coroutine_keeps_its_kind():
    """A coroutine of the old kind can still be awaited, and inspect knows it."""

    @types.coroutine
    def old():
        yield

    assert inspect.isawaitable(old())
    assert inspect.isawaitable(touchpoint("x")(old)())


def test_attributes_of_functions():
    """What other decorators have stored on the function is still there."""

    def view():
        pass

    view.csrf_exempt = True

    assert touchpoint("x")(view).csrf_exempt


def test_a_class_is_not_decorated():
    """A class is refused at once, where the mistake is made."""
    with pytest.raises(TypeError, match="decorate a function"):
        touchpoint("x")(int)
    with pytest.raises(TypeError, match="decorate a function"):
        touchpoint("x")(5)


def test_recursion(cx):
    """A decorated function that calls itself makes a span for each call, one in the other."""

    @touchpoint("x")
    def factorial(n):
        return n * factorial(n - 1) if n else 1

    assert factorial(5) == 120
    parents = [span.parent and span.parent.span_id for span in cx.spans]
    assert [span.context.span_id for span in cx.spans[1:]] == parents[:-1]
    assert parents[-1] is None


def test_nested_in_itself(cx):
    """One description can be entered while it is open, and each exit ends the innermost."""
    shared = touchpoint("x")

    with shared as outer, shared as inner:
        assert outer is not inner
        assert cxtrace.current_touchpoint() is inner

    innermost, outermost = cx.spans
    assert outermost.context.span_id == innermost.parent.span_id


def test_shared_by_tasks(cx):
    """Tasks that interleave inside of one shared description end their own spans."""
    shared = touchpoint("x")

    async def visit(number):
        async with shared as handle:
            handle.span.set_attribute("number", number)
            await asyncio.sleep(0.001 * (number % 5))
            assert cxtrace.current_touchpoint() is handle
            assert not handle.ended
        assert handle.ended

    async def main():
        await asyncio.gather(*map(visit, range(50)))

    asyncio.run(main())

    assert set(range(50)) == {span.attributes["number"] for span in cx.spans}


def test_shared_by_tasks_with_inner_blocks_left_open(cx):
    """A block left open inside does not make one task end the span of another."""
    shared = touchpoint("x")

    async def visit(number):
        with shared as handle:
            journey("left_open").__enter__()
            await asyncio.sleep(0.005 * number)
            assert not handle.ended
        assert handle.ended

    async def main():
        await asyncio.gather(*map(visit, (1, 2, 3)))

    asyncio.run(main())

    assert cx.names == ["x"] * 3


def test_exit_without_entry(cx):
    """An exit too many is not an error of the host's."""
    shared = touchpoint("x")

    with shared:
        pass
    shared.__exit__(None, None, None)

    assert cx.names == ["x"]


def test_wrong_arguments(cx):
    """A call with wrong arguments raises what it would raise, and leaves nothing open."""
    for fn in PLAIN:
        with pytest.raises(TypeError):
            drive(touchpoint("x")(fn)())

    assert cx.started == len(cx.spans)
    assert all(span.attributes["cx.touchpoint.outcome"] == "failed" for span in cx.spans)


def test_nobody_listens(nobody):
    """Where nobody listens, all kinds still run, and give back what they should."""
    for kind in KINDS:
        result = object()
        before = get_current()

        assert drive(kind(lambda result=result: result)()) is result
        assert before is get_current()


def test_nobody_listens_to_nested_entries(nobody):
    """Where nobody listens, entering one description twice gives handles that do nothing."""
    with MARK as outer, MARK as inner:
        pass

    assert NO_TOUCHPOINT is outer is inner


def test_provider_that_comes_while_a_block_is_open(cx, monkeypatch):
    """An entry that nobody listened to does not end a span that began later."""
    listening = cxtrace._runtime.current
    shared = touchpoint("x")
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    cxtrace._runtime.use(cxtrace._runtime.Runtime())
    with shared:
        cxtrace._runtime.use(listening)
        with shared as inner:
            pass

        assert inner.ended
    assert cx.names == ["x"]


def test_entry_elsewhere_is_left_alone(cx, monkeypatch):
    """Leaving an entry that nobody listened to does not end the span of another thread."""
    listening = cxtrace._runtime.current
    shared = touchpoint("x")
    inside, leave = threading.Event(), threading.Event()

    def work():
        with shared as handle:
            inside.set()
            leave.wait(10)
            assert not handle.ended

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(10)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    cxtrace._runtime.use(cxtrace._runtime.Runtime())
    with shared:
        pass
    cxtrace._runtime.use(listening)
    assert cx.names == []
    leave.set()
    thread.join()

    assert cx.names == ["x"]


def test_closed_where_nothing_is_known(cx):
    """A block that is closed in an empty context, as a callback may be, ends all the same."""
    before = get_current()
    shared = touchpoint("x")
    shared.__enter__()
    attach(Context())
    shared.__exit__(None, None, None)
    attach(before)

    assert cx.names == ["x"]


# Generators


@touchpoint("stream")
def stream(count=3):
    """Yield numbers, and what is sent."""
    for number in range(count):
        got = yield number
        if got is not None:
            yield got
    return "done"


def test_the_consumer_is_outside(cx):
    """Between two items the consumer has the context that it had before."""
    before = get_current()

    for _ in stream():
        assert before is get_current()
        assert cxtrace.current_context() is None

    assert cx.outcome("stream") == "completed"


def test_the_generator_keeps_its_context(cx):
    """Between two steps the body keeps what it had, spans that it opened included."""
    seen = []

    @touchpoint("stream")
    def body():
        with interaction("chunk"):
            seen.append(get_current_span().get_span_context())
            yield 1
            seen.append(get_current_span().get_span_context())
            yield 2
        seen.append(get_current_span().get_span_context())

    with touchpoint("other"):
        assert list(body()) == [1, 2]

    chunk, outer = cx.span("chunk").context, cx.span("stream").context
    assert [chunk, chunk, outer] == seen


def test_two_generators_in_turn(cx):
    """Two generators that are stepped in turn never see each other."""

    @touchpoint("stream")
    def body(name):
        with interaction(name):
            for _ in range(3):
                yield cxtrace.current_context().interaction

    assert list(zip(body("a"), body("b"), strict=False)) == [("a", "b")] * 3


def test_generator_in_a_generator(cx):
    """A decorated generator that delegates to another one is its parent."""

    @touchpoint("outer")
    def outer():
        result = yield from stream()
        yield result

    assert list(outer()) == [0, 1, 2, "done"]
    assert cx.span("outer").context.span_id == cx.span("stream").parent.span_id


def test_send(cx):
    """What is sent arrives."""
    items = stream()

    assert next(items) == 0
    assert items.send("hello") == "hello"
    items.close()


def test_return_value(cx):
    """What a generator returns is what ``yield from`` gives."""
    result = []

    def delegating():
        result.append((yield from stream()))

    list(delegating())

    assert result == ["done"]


def test_throw_caught(cx):
    """An exception thrown in is the body's to catch."""

    @touchpoint("stream")
    def body():
        try:
            yield 1
        except RefusedError as error:
            yield error

    items, error = body(), RefusedError()
    next(items)

    assert items.throw(error) is error
    assert list(items) == []
    assert cx.outcome("stream") == "completed"


def test_throw_not_caught(cx):
    """An exception thrown in that the body does not catch flies out as the same object."""
    items, error = stream(), RefusedError()
    next(items)

    with pytest.raises(RefusedError) as caught:
        items.throw(error)

    assert error is caught.value
    assert cx.outcome("stream") == "failed"


def test_throw_before_the_first_step(cx):
    """An exception thrown into a generator that has not begun starts nothing."""
    items = stream()

    with pytest.raises(RefusedError):
        items.throw(RefusedError())

    assert cx.names == []


def test_break(cx):
    """A consumer that leaves the loop abandons the touchpoint."""
    for _ in stream():
        break
    gc.collect()

    assert cx.outcome("stream") == "abandoned"
    assert StatusCode.UNSET is cx.span("stream").status.status_code


def test_close_before_the_first_step(cx):
    """A generator that never began emits nothing, closed or not."""
    stream().close()
    stream()

    assert cx.names == []


def test_exception_in_finally(cx):
    """An exception that the body raises while it is closed is the caller's."""
    error = RefusedError()

    @touchpoint("stream")
    def body():
        try:
            yield 1
        finally:
            raise error

    items = body()
    next(items)
    with pytest.raises(RefusedError) as caught:
        items.close()

    assert error is caught.value
    assert cx.outcome("stream") == "failed"


def test_finally_is_inside(cx):
    """The body's ``finally`` runs under the touchpoint, also when it is closed from outside."""
    seen = []

    @touchpoint("stream")
    def body():
        try:
            yield 1
        finally:
            seen.append(cxtrace.current_context().place.touchpoint)

    items = body()
    next(items)
    items.close()

    assert seen == ["stream"]


def test_close_is_ignored(cx):
    """A generator that goes on after close() is the RuntimeError that it always was."""

    @touchpoint("stream")
    def body():
        with contextlib.suppress(GeneratorExit):
            yield 1
        yield 2

    items = body()
    next(items)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        items.close()

    assert cx.outcome("stream") == "failed"


def test_close_returns(cx):
    """A generator that returns a value when closed hands it on, where Python knows that."""

    @touchpoint("stream")
    def body():
        try:
            yield 1
        except GeneratorExit:
            return "late"

    items = body()
    next(items)

    assert items.close() == ("late" if sys.version_info >= (3, 13) else None)
    assert cx.outcome("stream") == "abandoned"


def test_stop_iteration_in_the_body(cx):
    """A StopIteration that escapes from the body is the RuntimeError that it always was."""

    @touchpoint("stream")
    def body():
        yield next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(body())

    assert cx.outcome("stream") == "failed"


def test_what_the_body_attaches(cx):
    """What the body attaches and leaves stays in the body, even a context without anything ours."""
    key = create_key("hosts")
    seen = []

    @touchpoint("stream")
    def body():
        attach(set_value(key, 1, Context()))
        yield 1
        seen.append(dict(get_current()))
        attach(set_value(key, 2))
        yield 2
        seen.append(get_current()[key])

    before = get_current()
    for _ in body():
        assert before is get_current()

    assert before is get_current()
    assert [seen[0][key], seen[1]] == [1, 2]


def test_thrown_exceptions_leave_no_cycle(cx):
    """An exception thrown into a generator leaves nothing behind for the garbage collector."""

    def once():
        items = stream()
        next(items)
        with contextlib.suppress(RefusedError):
            items.throw(RefusedError())

    assert garbage_of(once) == 0


def garbage_of(once: Callable[[], Any]) -> int:
    """Count what only the garbage collector frees after some runs."""
    once()
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            once()
        return gc.collect()
    finally:
        gc.enable()


@every_kind
def test_no_cyclic_garbage(cx, kind):
    """A block that has ended leaves nothing behind for the garbage collector."""
    if kind is builtin:
        pytest.skip("an iterator can be called once")
    call = kind(lambda: None)

    assert garbage_of(lambda: drive_by_hand(call)) == 0


def test_finalised_in_a_strangers_context(cx):
    """A generator that is collected while another block is current leaves that block alone."""
    items = stream()
    next(items)

    with touchpoint("other") as other:
        items = None
        gc.collect()
        assert cxtrace.current_touchpoint() is other

    assert [cx.outcome("stream"), cx.outcome("other")] == ["abandoned", "completed"]


def test_generator_as_a_context_manager(cx):
    """Contextlib's generators still work: the block is the touchpoint, its body is outside."""

    @contextlib.contextmanager
    @touchpoint("stream")
    def session():
        yield cxtrace.current_touchpoint()

    with session() as handle:
        assert cxtrace.current_context() is None
        assert not handle.ended

    assert cx.outcome("stream") == "completed"


def test_generator_stepped_in_threads(cx):
    """A generator can be stepped by another thread each time."""
    items = stream()
    got = []

    for _ in range(3):
        thread = threading.Thread(target=lambda: got.append(next(items)))
        thread.start()
        thread.join()
    assert list(items) == []

    assert got == [0, 1, 2]
    assert cx.outcome("stream") == "completed"


# Async generators


@touchpoint("stream")
async def astream(count=3):
    """Yield numbers, and what is sent."""
    for number in range(count):
        await asyncio.sleep(0)
        got = yield number
        if got is not None:
            yield got


def test_the_async_consumer_is_outside(cx):
    """Between two items the consumer of an async generator has the context that it had before."""

    async def main():
        before = get_current()
        async for _ in astream():
            assert before is get_current()

    asyncio.run(main())

    assert cx.outcome("stream") == "completed"


def test_break_of_async_for(cx):
    """A consumer that leaves an ``async for`` abandons the touchpoint, when the loop ends it."""

    async def main():
        before = get_current()
        async for _ in astream():
            break
        assert before is get_current()

    asyncio.run(main())

    assert cx.outcome("stream") == "abandoned"


def test_asend(cx):
    """What is sent into an async generator arrives."""

    async def main():
        items = astream()
        assert await items.__anext__() == 0
        assert await items.asend("hello") == "hello"
        await items.aclose()

    asyncio.run(main())

    assert cx.outcome("stream") == "abandoned"


def test_athrow_caught(cx):
    """An exception thrown into an async generator is the body's to catch."""

    @touchpoint("stream")
    async def body():
        try:
            yield 1
        except RefusedError as error:
            yield error

    async def main():
        items, error = body(), RefusedError()
        await items.__anext__()
        assert await items.athrow(error) is error
        assert [item async for item in items] == []

    asyncio.run(main())

    assert cx.outcome("stream") == "completed"


def test_athrow_not_caught(cx):
    """An exception that an async generator does not catch flies out as the same object."""
    error = RefusedError()

    async def main():
        items = astream()
        await items.__anext__()
        with pytest.raises(RefusedError) as caught:
            await items.athrow(error)
        assert error is caught.value

    asyncio.run(main())

    assert cx.outcome("stream") == "failed"


def test_aclose_awaits_the_finally(cx):
    """Closing an async generator waits for what its ``finally`` awaits, under the touchpoint."""
    seen = []

    @touchpoint("stream")
    async def body():
        try:
            yield 1
        finally:
            await asyncio.sleep(0.001)
            seen.append(cxtrace.current_context().place.touchpoint)

    async def main():
        items = body()
        await items.__anext__()
        await items.aclose()

    asyncio.run(main())

    assert seen == ["stream"]
    assert cx.outcome("stream") == "abandoned"


def test_exception_in_an_async_finally(cx):
    """An exception that an async generator raises while it is closed is the caller's."""
    error = RefusedError()

    @touchpoint("stream")
    async def body():
        try:
            yield 1
        finally:
            raise error

    async def main():
        items = body()
        await items.__anext__()
        with pytest.raises(RefusedError) as caught:
            await items.aclose()
        assert error is caught.value

    asyncio.run(main())

    assert cx.outcome("stream") == "failed"


def test_never_started_async_generator(cx):
    """An async generator that never began emits nothing."""

    async def main():
        await astream().aclose()
        astream()

    asyncio.run(main())

    assert cx.names == []


def test_cancelled_coroutine(cx):
    """A coroutine that is cancelled at an ``await`` has been abandoned."""

    @touchpoint("wait")
    async def wait():
        await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(wait())
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    span = cx.span("wait")
    assert (cx.outcome("wait"), span.status.status_code) == ("abandoned", StatusCode.UNSET)


def test_cancelled_async_generator(cx):
    """An async generator whose consumer is cancelled at an ``await`` has been abandoned."""

    @touchpoint("stream")
    async def body():
        yield 1
        await asyncio.sleep(60)
        yield 2

    async def consume():
        before = get_current()
        try:
            async for _ in body():
                pass
        finally:
            assert before is get_current()

    async def main():
        task = asyncio.create_task(consume())
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert cx.outcome("stream") == "abandoned"


def test_timeout(cx):
    """The deadline of ``wait_for`` abandons the touchpoint inside and fails the one around it."""

    @touchpoint("slow")
    async def slow():
        await asyncio.sleep(60)

    @touchpoint("around")
    async def around():
        await asyncio.wait_for(slow(), 0.005)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(around())

    assert [cx.outcome("slow"), cx.outcome("around")] == ["abandoned", "failed"]


def test_stepped_in_other_tasks(cx):
    """An async generator may be stepped and closed by another task each time."""

    async def main():
        before = get_current()
        items = astream()
        for number in range(2):
            assert await asyncio.create_task(awaited(items.__anext__())) == number
            assert before is get_current()
        await asyncio.create_task(awaited(items.aclose()))
        assert before is get_current()

    asyncio.run(main())

    assert cx.outcome("stream") == "abandoned"


def test_left_over_at_the_end_of_the_loop(cx):
    """An async generator that the loop has to close is abandoned, and nobody hears of an error."""
    complaints = []
    keep = []

    @touchpoint("stream")
    async def body():
        try:
            yield 1
        finally:
            await asyncio.sleep(0.001)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, details: complaints.append(details))
        keep.append(body())
        await keep[0].__anext__()

    asyncio.run(main())

    assert complaints == []
    assert cx.outcome("stream") == "abandoned"


def test_collected_async_generator(cx):
    """An async generator that is dropped is closed by the loop, without an error."""
    complaints = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, details: complaints.append(details))
        items = astream()
        await items.__anext__()
        del items
        gc.collect()
        await asyncio.sleep(0.005)

    asyncio.run(main())

    assert complaints == []
    assert cx.outcome("stream") == "abandoned"


def test_async_generator_without_a_loop(cx):
    """An async generator that is stepped by hand and dropped ends its span all the same."""

    @touchpoint("stream")
    async def body():
        yield 1

    items = body()
    step(items.__anext__())
    del items
    gc.collect()

    assert cx.outcome("stream") == "abandoned"


def test_async_generator_dropped_at_an_await(cx):
    """An async generator that is dropped while it waits leaves the context of others alone."""

    @types.coroutine
    def wait():
        yield

    @touchpoint("stream")
    async def body():
        await wait()
        yield 1

    items = body()
    waiting = items.__anext__()
    contextvars.copy_context().run(waiting.send, None)  # as an event loop runs a task
    with touchpoint("other") as other:
        inside = get_current()
        del waiting, items
        gc.collect()
        assert get_current() is inside
        assert cxtrace.current_touchpoint() is other

    assert sorted(cx.names) == ["other", "stream"]


def test_what_an_async_body_attaches(cx):
    """What an async body attaches and leaves never reaches the consumer."""
    key = create_key("hosts")

    @touchpoint("stream")
    async def body():
        attach(set_value(key, 1, Context()))
        yield 1
        yield get_current()[key]

    async def main():
        before = get_current()
        async for item in body():
            assert item == 1
            assert before is get_current()

    asyncio.run(main())

    assert cx.outcome("stream") == "completed"


def test_async_generator_that_ignores_its_end(cx):
    """An async generator that goes on after aclose() is the RuntimeError that it always was."""

    @touchpoint("stream")
    async def body():
        with contextlib.suppress(GeneratorExit):
            yield 1
        yield 2

    async def main():
        items = body()
        await items.__anext__()
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            await items.aclose()

    asyncio.run(main())

    assert cx.outcome("stream") == "failed"


def test_async_generator_to_which_nobody_listens(nobody):
    """Where nobody listens, an async generator can be sent to, thrown into and closed as before."""

    async def main():
        items = astream()
        assert await items.__anext__() == 0
        assert await items.asend("hello") == "hello"
        await items.aclose()
        items, error = astream(), RefusedError()
        await items.__anext__()
        with pytest.raises(RefusedError) as caught:
            await items.athrow(error)
        assert error is caught.value

    asyncio.run(main())


def test_generator_to_which_nobody_listens(nobody):
    """Where nobody listens, a generator can be sent to, thrown into and closed as before."""
    items = stream()

    assert next(items) == 0
    assert items.send("hello") == "hello"
    with pytest.raises(RefusedError):
        items.throw(RefusedError())


# What a plain function hands back


def test_function_and_what_it_returns_are_one_touchpoint(cx):
    """The span of a function that returns a coroutine covers both, and ends once."""

    async def later():
        time.sleep(NAP)
        return cxtrace.current_touchpoint()

    @touchpoint("x")
    def now():
        time.sleep(NAP)
        return later()

    handle = asyncio.run(awaited(now()))

    span = cx.span("x")
    assert handle.ended
    assert (span.end_time - span.start_time) / 1e9 >= 2 * NAP


def test_returned_coroutine_keeps_its_name(cx):
    """The debug output of asyncio names the user's coroutine, not ours."""

    async def later():
        pass

    wrapped = touchpoint("x")(lambda: later())()
    name = wrapped.__name__, wrapped.__qualname__
    asyncio.run(awaited(wrapped))

    assert (later.__name__, later.__qualname__) == name


def test_returned_generator_that_is_never_started(cx):
    """A function ran, so its touchpoint ends, although nobody wants what it returned."""
    made = touchpoint("x")(lambda: (n for n in ()))()
    del made
    gc.collect()

    assert cx.outcome("x") == "abandoned"


def test_no_log_of_detaching(cx):
    """Blocks closed in any order, in another task or thread, never make OpenTelemetry complain."""
    blocks = [touchpoint("a"), journey("j"), interaction("i"), customer("c")]
    for block in blocks:
        block.__enter__()
    for block in (blocks[0], blocks[2]):
        block.__exit__(None, None, None)
    thread = threading.Thread(target=blocks[1].__exit__, args=(None, None, None))
    thread.start()
    thread.join()

    async def close():
        blocks[3].__exit__(None, None, None)

    asyncio.run(close())

    assert cx.names == ["a", "i"]
    blocks[3].__exit__(None, None, None)
    attach(Context())
