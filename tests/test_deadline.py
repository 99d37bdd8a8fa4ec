"""Work with a deadline: what it says when it fails, is not waited for, or is done twice at once."""

import threading
from types import SimpleNamespace

import pytest

from cxtrace import _deadline, _guard, _process
from cxtrace._deadline import within


def test_what_is_no_time(forgetful):
    """Whatever is given as a time-out can be waited for."""
    found = [_deadline.seconds(given) for given in (None, "1", -1, float("nan"), 1e9, object())]

    assert found == [2.0, 1.0, 0.0, 2.0, 3600.0, 2.0]


def test_work_that_fails(forgetful):
    """An error is counted, and the work was not done."""

    def work():
        raise KeyError("nothing")

    assert within(30, "_test", work) is False
    assert _guard.counts() == {"errors._test": 1}


@pytest.mark.parametrize("answer", [True, False])
def test_answer_of_the_work(answer):
    """What the work says is what its caller gets."""
    assert within(30, "_test", lambda: answer) is answer


def test_work_that_takes_too_long():
    """It goes on in its thread, and nobody waits for it."""
    go = threading.Event()

    assert within(0.01, "_slow", lambda: go.wait(30)) is False
    go.set()


def test_work_that_hangs_again_and_again():
    """Some threads may hang, and then no more are started until one of them is free."""
    go, begun = threading.Event(), []

    def hang():
        begun.append(threading.get_ident())
        return go.wait(60)

    answers = [within(0.05, "_hangs", hang) for _ in range(10)]
    go.set()
    assert within(60, "_hangs", lambda: True) is True
    assert (answers, len(begun)) == ([False] * 10, _deadline._MOST)


def test_who_comes_second_waits_for_the_first():
    """A second call of one kind, as out of a signal handler, ends when the first has, too."""
    let_go, begun, order = threading.Event(), threading.Event(), []

    def first():
        begun.set()
        let_go.wait(60)
        order.append("first")
        return True

    thread = threading.Thread(target=lambda: within(60, "_twice", first))
    thread.start()
    begun.wait(60)
    threading.Timer(0.05, let_go.set).start()

    assert within(60, "_twice", lambda: True) is True
    assert order == ["first"]
    thread.join()


def test_beside_greenlets(monkeypatch):
    """Where greenlets came late, the work is done in a thread of the system's."""
    monkeypatch.setattr(_process, "patched_by", lambda: "eventlet")
    monkeypatch.setattr(_deadline, "_PATCHED_BY", None)
    started = []

    def start_new_thread(work, arguments):
        started.append(work)
        work(*arguments)

    module = SimpleNamespace(original=lambda _: SimpleNamespace(start_new_thread=start_new_thread))
    monkeypatch.setattr(_process, "import_module", lambda _: module)

    assert within(30, "_test", lambda: True) is True
    assert len(started) == 1
