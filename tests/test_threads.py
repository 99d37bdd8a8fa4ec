"""``wrap`` and the pool that carries the context."""

import functools
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.context import attach, get_current, set_value

import cxtrace
from cxtrace import ContextThreadPoolExecutor, touchpoint, wrap


def place():
    """Where we are."""
    context = cxtrace.current_context()
    return None if context is None else context.place.touchpoint


def test_wrap(cx):
    """What is wrapped runs under the context of where it was wrapped; the thread's own is back."""
    with touchpoint("a"):
        carried = wrap(place)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(carried).result() == "a"
        assert pool.submit(place).result() is None


def test_wrap_in_the_same_thread(cx):
    """What is wrapped can run where another block is open, and leaves that as it was."""
    with touchpoint("a"):
        carried = wrap(place)
    with touchpoint("b"):
        before = get_current()
        assert carried() == "a"
        assert before is get_current()


def test_what_it_leaves_attached(cx):
    """What is attached in a wrapped call and left there does not stay in the thread."""
    before = get_current()

    wrap(lambda: attach(set_value("k", 1)))()

    assert before is get_current()


def test_exception_and_result(cx):
    """Arguments, result and exception pass unchanged, and the context is restored."""
    error, before = ValueError("no"), get_current()

    def work(result, fail=False):
        if fail:
            raise error
        return result

    marker = object()
    assert wrap(work)(marker) is marker
    with pytest.raises(ValueError, match="no") as caught:
        wrap(work)(1, fail=True)
    assert caught.value is error
    assert before is get_current()


def test_looks_the_same():
    """What is wrapped keeps its name and signature; a partial can be wrapped too."""

    def work(a: int, *, b: str) -> None:
        """Work."""

    assert (wrap(work).__name__, wrap(work).__doc__) == ("work", "Work.")
    assert inspect.signature(wrap(work)) == inspect.signature(work)
    assert wrap(functools.partial(int, "5"))() == 5


def test_pool(cx):
    """The pool runs each piece of work under the context of who submitted it."""
    with ContextThreadPoolExecutor(2, thread_name_prefix="ours") as pool:
        with touchpoint("a"):
            first = pool.submit(place)
            second = pool.map(lambda _: (place(), threading.current_thread().name), range(3))
        with touchpoint("b"):
            third = pool.submit(place)
        outside = pool.submit(place)

        assert (first.result(), third.result(), outside.result()) == ("a", "b", None)
        assert {(name, thread[:4]) for name, thread in second} == {("a", "ours")}


def test_touchpoint_in_a_pool(cx):
    """A touchpoint in a pool is a child of the one that submitted it."""

    @touchpoint("child")
    def work():
        pass

    with ContextThreadPoolExecutor(1) as pool, touchpoint("parent"):
        pool.submit(work).result()

    assert cx.span("child").parent.span_id == cx.span("parent").context.span_id
