"""``shutdown_on_sigterm``: what the handler does. Real processes are in ``tests/life``."""

import os
import signal

import pytest

import cxtrace
from cxtrace import _config, _guard, _sigterm


@pytest.fixture
def done(monkeypatch, forgetful):
    """Write down what is done, in place of doing it."""
    found = []
    monkeypatch.setattr(_config, "shutdown", lambda: found.append("shutdown"))
    monkeypatch.setattr(signal, "raise_signal", lambda number: found.append(("raise", number)))
    monkeypatch.setattr(os, "_exit", lambda code: found.append(("exit", code)))
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield found
    signal.signal(signal.SIGTERM, before)


def test_what_happens_at_sigterm(done):
    """First what is waiting is sent, then the signal has its way, which is the default's."""
    assert cxtrace.shutdown_on_sigterm() is True
    assert cxtrace.shutdown_on_sigterm() is True
    signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)

    assert done == ["shutdown", ("raise", signal.SIGTERM), ("exit", 143)]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_another_handler(done):
    """Who has a handler keeps it."""
    theirs = lambda *_: None  # noqa: E731
    signal.signal(signal.SIGTERM, theirs)

    assert cxtrace.shutdown_on_sigterm() is False
    assert signal.getsignal(signal.SIGTERM) is theirs


def test_out_of_a_thread(done, monkeypatch, caplog):
    """Python lets only the main thread install handlers: it is said, and nothing raises."""

    def refuse(*_):
        raise ValueError("signal only works in main thread of the main interpreter")

    monkeypatch.setattr(signal, "signal", refuse)
    refused = cxtrace.shutdown_on_sigterm()
    monkeypatch.undo()

    assert refused is False
    assert "outside of the main thread" in caplog.text
    assert _guard.counts() == {}
    assert _sigterm.shutdown_on_sigterm is cxtrace.shutdown_on_sigterm
