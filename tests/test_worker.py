"""A thread that begins once, and whose end can be waited for."""

import threading
from time import monotonic

import pytest

from cxtrace._worker import Worker


def soon():
    """A moment by which all is over that ever will be."""
    return monotonic() + 30


def test_it_begins_once():
    """However often it is asked to start, also when it is over, its work is done once."""
    done = []
    worker = Worker(lambda: done.append(1), "cxtrace_test", None)
    worker.start()
    worker.start()
    worker.wait(soon())
    worker.start()

    assert (done, worker.has_begun, worker.is_over) == ([1], True, True)


def test_work_that_raises_is_over(monkeypatch):
    """An error ends the thread, and nobody waits for it."""
    found = []
    monkeypatch.setattr(threading, "excepthook", lambda given: found.append(given.exc_type))

    def fail():
        raise KeyError("nothing")

    worker = Worker(fail, "cxtrace_test", None)
    worker.start()
    worker.wait(soon())

    assert worker.is_over
    assert found in ([], [KeyError])  # told when the thread is over for us already


def test_what_has_not_begun_is_not_waited_for():
    """There is no end of what has no beginning."""
    worker = Worker(lambda: None, "cxtrace_test", None)
    worker.wait(soon())

    assert not worker.is_over


def test_the_wait_ends_by_its_time():
    """Work that goes on is waited for until then, and no longer."""
    go = threading.Event()
    worker = Worker(lambda: go.wait(60), "cxtrace_test", None)
    worker.start()
    worker.wait(monotonic() + 0.02)
    before = worker.is_over
    go.set()
    worker.wait(soon())

    assert (before, worker.is_over) == (False, True)


def test_who_asks_from_within():
    """The thread knows that it is itself."""
    found = []
    worker = Worker(lambda: found.append(worker.is_this), "cxtrace_test", None)
    worker.start()
    worker.wait(soon())

    assert (found, worker.is_this) == ([True], False)


def test_a_signal_handler_that_asks_meanwhile(monkeypatch):
    """Whoever asks again while the thread starts does not start another."""
    start, begun = threading.Thread.start, []

    def start_twice(self):
        begun.append(self.name)
        worker.start()
        start(self)

    monkeypatch.setattr(threading.Thread, "start", start_twice)
    worker = Worker(lambda: None, "cxtrace_test", None)
    worker.start()
    worker.wait(soon())

    assert begun == ["cxtrace_test"]


def test_another_thread_that_asks_meanwhile(monkeypatch):
    """Two that ask at once get one thread."""
    start, begun, second = threading.Thread.start, [], []

    def start_slowly(self):
        if self.name == "cxtrace_test":
            begun.append(self.name)
            worker.has_begun = False  # as a thread saw it that asked a moment before
            second.append(threading.Thread(target=worker.start))
            start(second[0])
            worker.has_begun = True
        start(self)

    monkeypatch.setattr(threading.Thread, "start", start_slowly)
    worker = Worker(lambda: None, "cxtrace_test", None)
    worker.start()
    second[0].join(30)
    worker.wait(soon())

    assert begun == ["cxtrace_test"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_where_no_thread_can_be_had(monkeypatch, error):
    """The error reaches who has asked, and the next one who asks tries again."""

    def refuse(self):
        raise error("can't start new thread")

    done = []
    worker = Worker(lambda: done.append(1), "cxtrace_test", None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(error):
            worker.start()
    worker.start()
    worker.wait(soon())

    assert done == [1]


def test_interrupted_when_the_thread_is_there():
    """The thread that is there ends without any work, and the next one does it."""
    done, threads = [], []
    start = threading.Thread.start

    def interrupt(self):
        threads.append(self)
        start(self)
        raise KeyboardInterrupt

    worker = Worker(lambda: done.append(threading.current_thread()), "cxtrace_test", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            worker.start()
    threads[0].join(30)
    before = list(done)
    worker.start()
    worker.wait(soon())

    assert before == []
    assert len(done) == 1
