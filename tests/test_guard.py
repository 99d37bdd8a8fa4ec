"""Our own errors: swallowed, counted, named once, and never with what a customer typed."""

import gc
import logging
import threading

import pytest

import cxtrace
from cxtrace import _guard

pytestmark = pytest.mark.usefixtures("forgetful")


def raised(error):
    """The error with a traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


def test_count():
    """Counters add up, and the copy that is given out is nobody else's."""
    _guard.count("a")
    _guard.count("a", 4)
    _guard.counts()["a"] = 0

    assert _guard.counts() == {"a": 5}
    assert cxtrace.report().to_dict()["counts"] == {"a": 5}


def test_count_from_many_threads():
    """No count is lost, whoever counts at the same time."""

    def work():
        for _ in range(2_000):
            _guard.count("a")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert _guard.counts() == {"a": 8_000}


def test_warn_once(caplog):
    """A warning is logged the first time only, each key for itself."""
    for key in ("a", "a", "b"):
        _guard.warn_once(key, "cxtrace: %s", key)

    assert [record.getMessage() for record in caplog.records] == ["cxtrace: a", "cxtrace: b"]


def test_warnings_are_bounded(caplog, monkeypatch):
    """Warnings about ever new keys do not fill log or memory."""
    monkeypatch.setattr(_guard, "MAX_WARNINGS", 3)
    for key in range(10):
        _guard.warn_once(str(key), "cxtrace: %s", key)

    assert len(caplog.records) == 3


def test_warnings_of_one_kind_silence_no_others(caplog, monkeypatch):
    """However many names one kind of warning is about, another kind is still logged."""
    monkeypatch.setattr(_guard, "MAX_WARNINGS", 5)
    monkeypatch.setattr(_guard, "MOST_OF_A_KIND", 2)
    for number in range(10):
        _guard.warn_once(f"name:{number}", "cxtrace: name %s", number)
    _guard.warn_once("store", "cxtrace: store")
    said = [record.getMessage() for record in caplog.records]

    assert said == ["cxtrace: name 0", "cxtrace: name 1", "cxtrace: store"]
    assert not _guard.would_warn("name:11")
    assert not _guard.would_warn("store")
    assert _guard.would_warn("other")
    _guard.reset()
    assert _guard.would_warn("name:11")


def test_log_filter_that_raises():
    """A log filter of the host's that raises does not reach the host through us."""

    def broken(record):
        raise OSError

    logger = logging.getLogger("cxtrace")
    logger.addFilter(broken)
    try:
        _guard.warn_once("a", "cxtrace: a")
    finally:
        logger.removeFilter(broken)

    assert _guard.counts() == {"errors.logging": 1}


def test_swallow(caplog):
    """A swallowed error is counted each time and named once, by class and place, without text."""
    for _ in range(3):
        _guard.swallow("here", raised(ValueError("Ada Lovelace")))

    assert _guard.counts() == {"errors.here": 3}
    (record,) = caplog.records
    assert "ValueError" in record.getMessage()
    assert "test_guard.py" in record.getMessage()
    assert "Ada" not in caplog.text
    assert record.exc_info is None


def test_swallow_without_a_place(caplog):
    """An error that was never raised has no place."""
    _guard.swallow("here", ValueError("Ada"))

    assert "an unknown place" in caplog.text


def test_logging_may_use_cxtrace():
    """A log handler that makes a touchpoint, or asks for the report, does not hang."""

    class Handler(logging.Handler):
        def emit(self, record):
            _guard.count("seen")
            _guard.warn_once("inner", "cxtrace: inner")
            with cxtrace.touchpoint("log"):
                cxtrace.report()

    handler, logger = Handler(), logging.getLogger("cxtrace")
    logger.addHandler(handler)
    try:
        _guard.warn_once("outer", "cxtrace: outer")
    finally:
        logger.removeHandler(handler)

    assert _guard.counts()["seen"] == 2


def test_reset(caplog):
    """After a reset nothing has been counted or said."""
    _guard.swallow("here", ValueError())
    _guard.reset()
    _guard.swallow("here", ValueError())

    assert _guard.counts() == {"errors.here": 1}
    assert len(caplog.records) == 2


def test_after_fork():
    """A forked child has a lock of its own, even if the parent held it, and counts from zero."""
    _guard.count("a")
    before = _guard._locks
    with before.lock:
        _guard.after_fork()
        _guard.count("b")

    assert _guard.counts() == {"b": 1}


class Owner:
    """Somebody who begins anew in a child."""


def test_owners_that_have_gone_are_forgotten():
    """What is made again and again leaves nothing behind that every fork would have to look at."""
    begins, owners, begun = len(_guard._begins), len(_guard._owners), []
    kept = Owner()
    for owner in (kept, *(Owner() for _ in range(10))):
        _guard.in_child_of(owner, begun.append)
    del owner
    gc.collect()

    assert len(_guard._begins) <= begins + 1
    assert len(_guard._owners) == owners + 1
    _guard._begin_owners()
    assert begun == [kept]


def test_an_owner_that_fails_keeps_no_other_from_beginning(monkeypatch):
    """An error in a child is counted, and the next one begins all the same."""
    monkeypatch.setattr(_guard, "_owners", {})
    owners, begun = (Owner(), Owner()), []
    _guard.in_child_of(owners[0], lambda _: 1 // 0)
    _guard.in_child_of(owners[1], begun.append)
    _guard._begin_owners()

    assert begun == [owners[1]]
    assert _guard.counts() == {"errors.fork": 1}


def test_an_owner_that_goes_during_the_fork(monkeypatch):
    """One that has gone just now is left out."""
    monkeypatch.setattr(_guard, "_owners", {0: (lambda: None, pytest.fail)})
    _guard._begin_owners()

    assert _guard.counts() == {}
