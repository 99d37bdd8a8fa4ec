"""The gate: no fork in the midst of an export, and nobody who waits for ever."""

import os
import signal
import threading

import pytest

from cxtrace import _gate, _guard
from cxtrace._gate import Gate


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """On a machine that has other work an export may take a while."""
    monkeypatch.setattr(_gate, "PATIENCE", 30)


def in_thread(work):
    """Start a thread."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_fork_waits_for_the_export_under_way(forgetful):
    """The gate closes when the export has come out, and nothing is counted."""
    gate, inside, leave = Gate(), threading.Event(), threading.Event()

    def export():
        with gate:
            inside.set()
            leave.wait(30)

    exporting = in_thread(export)
    inside.wait(30)
    forking = in_thread(gate.close)
    leave.set()
    forking.join(30)
    exporting.join(30)

    assert _guard.counts() == {}


def test_a_fork_does_not_wait_for_ever(forgetful, monkeypatch):
    """An export that takes too long is forked through, and counted."""
    monkeypatch.setattr(_gate, "PATIENCE", 0.05)
    gate, inside, leave = Gate(), threading.Event(), threading.Event()

    def export():
        with gate:
            inside.set()
            leave.wait(30)

    exporting = in_thread(export)
    inside.wait(30)
    gate.close()
    leave.set()
    exporting.join(30)

    assert _guard.counts() == {"fork.during_export": 1}


def test_an_export_waits_for_the_fork():
    """What is about to begin goes in when the fork is over."""
    gate, done = Gate(), threading.Event()
    gate.close()

    def export():
        with gate:
            done.set()

    exporting = in_thread(export)
    gate.open()
    exporting.join(30)

    assert done.is_set()


def test_an_export_does_not_wait_for_ever(monkeypatch):
    """A fork that never comes back holds nobody up."""
    monkeypatch.setattr(_gate, "PATIENCE", 0.01)
    gate = Gate()
    gate.close()
    with gate:
        went_in = True

    assert went_in


def test_an_exporter_that_forks(forgetful):
    """An export may fork: it does not wait for itself."""
    gate = Gate()
    with gate:
        gate.close()
        gate.open()

    assert _guard.counts() == {}


def test_a_child_knows_of_no_export(forgetful):
    """What was under way in the parent is not waited for in the child."""
    gate = Gate()
    gate.__enter__()
    gate.begin_anew()
    in_thread(gate.close).join(30)

    assert _guard.counts() == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_what_a_fork_does(monkeypatch):
    """The gate is shut and signals are blocked at the fork, and not after it, on either side."""
    asked = {}
    monkeypatch.setattr(os, "register_at_fork", lambda **given: asked.update(given))
    _gate.keep_apart()
    told = []

    def blocked():
        return signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())

    for side in ("after_in_parent", "after_in_child"):
        asked["before"]()
        told.append((_gate.gate._forks, blocked()))
        asked[side]()
        told.append((_gate.gate._forks, blocked()))
    asked["before"]()
    _gate._in_child()
    _gate._unshield()  # of a thread that has not forked

    assert told == [(1, True), (0, False)] * 2


def test_where_nothing_can_be_registered(monkeypatch):
    """Where there is no fork there is nothing to keep apart."""
    monkeypatch.delattr(os, "register_at_fork", raising=False)

    assert _gate.keep_apart() is None
