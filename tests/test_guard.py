"""Our own errors: swallowed, counted, named once, and never with what a customer typed."""

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
    before = _guard._lock
    with before:
        _guard.after_fork()
        _guard.count("b")

    assert _guard.counts() == {"b": 1}
