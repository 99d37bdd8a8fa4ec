"""What kind of process this is: sub-interpreters, greenlets, uWSGI, and whose signals are whose."""

import importlib
import os
import signal
import sys
import threading
from importlib import import_module
from types import ModuleType, SimpleNamespace

import pytest

import cxtrace
from cxtrace import _deadline, _guard, _process, _runtime
from cxtrace.exceptions import ConfigurationError
from cxtrace.exporters import otlp_exporter


def module(monkeypatch, name, **contents):
    """Let a module be there."""
    made = ModuleType(name)
    made.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, name, made)
    return made


# Sub-interpreters


def test_the_main_interpreter_is_not_refused():
    """Where there is one interpreter, nothing is wrong."""
    assert _process.refuse_sub_interpreters() is None


@pytest.mark.parametrize(
    ("name", "main", "here"), [("_interpreters", (0, 1), (1, 2)), ("_xxsubinterpreters", 0, 1)]
)
def test_another_interpreter_is_refused(monkeypatch, name, main, here):
    """The message says what to do under mod_wsgi and under uWSGI."""
    for other in ("_interpreters", "_xxsubinterpreters"):
        monkeypatch.setitem(sys.modules, other, None)
    module(monkeypatch, name, get_main=lambda: main, get_current=lambda: here)

    with pytest.raises(ConfigurationError, match=r"WSGIApplicationGroup.*single-interpreter"):
        _process.refuse_sub_interpreters()


def test_where_nobody_knows_of_interpreters(monkeypatch):
    """Without the modules that know of sub-interpreters there are none."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        monkeypatch.setitem(sys.modules, name, None)

    assert _process.refuse_sub_interpreters() is None


def test_what_stands_in_where_nothing_can_be_configured(monkeypatch):
    """In a sub-interpreter ``configure()`` says why, and there is nothing to flush."""

    def refuse():
        raise ConfigurationError("a sub-interpreter")

    assert _process.stand_in("configure") is None
    monkeypatch.setattr(_process, "refuse_sub_interpreters", refuse)
    configure, flush, shutdown, report = map(
        _process.stand_in, ("configure", "flush", "shutdown", "report")
    )

    with pytest.raises(ConfigurationError, match="a sub-interpreter"):
        configure(exporter="none")
    assert (flush(1.0), shutdown(), report) == (True, True, None)


def test_what_is_imported_where_nothing_can_be_configured(monkeypatch):
    """The name leads to what stands in for it, and the SDK is not imported."""

    def refuse():
        raise ConfigurationError("a sub-interpreter")

    monkeypatch.setattr(_process, "refuse_sub_interpreters", refuse)
    monkeypatch.delitem(vars(cxtrace), "flush", raising=False)
    monkeypatch.setattr(
        importlib, "import_module", lambda name: {"cxtrace._process": _process}[name]
    )
    found = cxtrace.flush
    monkeypatch.delitem(vars(cxtrace), "flush")

    assert found() is True


# Greenlets


@pytest.fixture
def nobody_patches(monkeypatch):
    """Let no module of gevent or eventlet be there."""
    for name in ("gevent.monkey", "eventlet.patcher"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def getattr_of(name, attribute):
    """What a module has."""
    return getattr(import_module(name), attribute)


def gevent(monkeypatch, is_patched=True):
    """Let gevent be there."""
    original = {"is_module_patched": lambda _: is_patched, "get_original": getattr_of}
    module(monkeypatch, "gevent.monkey", **original)


def eventlet(monkeypatch, is_patched=True):
    """Let eventlet be there."""
    original = {"is_monkey_patched": lambda _: is_patched, "original": import_module}
    module(monkeypatch, "eventlet.patcher", **original)


def test_who_has_patched(nobody_patches, monkeypatch):
    """Gevent or eventlet, where it is imported and has patched the threads."""
    found = [_process.patched_by()]
    gevent(monkeypatch, is_patched=False)
    eventlet(monkeypatch, is_patched=False)
    found.append(_process.patched_by())
    eventlet(monkeypatch)
    found.append(_process.patched_by())
    gevent(monkeypatch)
    found.append(_process.patched_by())

    assert found == [None, None, "eventlet", "gevent"]


@pytest.mark.parametrize("patch", [gevent, eventlet])
def test_grpc_among_greenlets_is_refused(nobody_patches, monkeypatch, patch):
    """An exporter that would hold up every greenlet is not built; over HTTP it is."""
    assert otlp_exporter("grpc", "http://127.0.0.1:4317") is not None
    patch(monkeypatch)

    with pytest.raises(ConfigurationError, match=rf"{patch.__name__} has patched.*http/protobuf"):
        otlp_exporter("grpc", "http://127.0.0.1:4317")
    assert otlp_exporter("http/protobuf", "http://127.0.0.1:4318") is not None


@pytest.mark.parametrize("patch", [gevent, eventlet])
def test_who_patches_late(nobody_patches, forgetful, monkeypatch, caplog, patch):
    """A process that is patched after ``configure()`` is told once, and flushes in real threads."""
    monkeypatch.setattr(_deadline, "_PATCHED_BY", None)
    patch(monkeypatch)
    threads = set()

    def work():
        threads.add(threading.get_ident())
        return True

    for _ in range(2):
        assert _deadline.within(30, "_test", work)

    assert threading.get_ident() not in threads
    assert [record.getMessage()[:40] for record in caplog.records] == [
        f"cxtrace was configured before {patch.__name__} patched"[:40]
    ]


# uWSGI


@pytest.fixture
def worker(monkeypatch, forgetful):
    """Let this be a worker of whose fork Python does not know."""
    monkeypatch.setattr(_guard, "_begins", [lambda: begun.append(1), fails])
    monkeypatch.setattr(_process, "_pid", os.getpid() + 1)
    monkeypatch.setitem(sys.modules, "uwsgidecorators", None)
    begun = []
    return begun


def fails():
    """Fail, as a part that cannot begin anew."""
    raise KeyError("nothing")


def test_a_worker_of_uwsgi_begins_anew(worker, monkeypatch, caplog):
    """All begin anew of whom none was told, whoever fails; the next hook runs; and it is said."""
    theirs = []
    uwsgi = module(
        monkeypatch, "uwsgi", worker_id=lambda: 0, post_fork_hook=lambda: theirs.append(1)
    )
    _process.watch_uwsgi()
    uwsgi.post_fork_hook()

    assert (worker, theirs) == ([1], [1])
    assert _guard.counts() == {"errors.fork": 1}
    assert "py-call-uwsgi-fork-hooks" in caplog.text


def test_a_worker_without_other_hooks(worker, monkeypatch):
    """Where nobody else waits for the fork, ours is the only hook."""
    uwsgi = module(monkeypatch, "uwsgi", worker_id=lambda: 0)
    _process.watch_uwsgi()
    uwsgi.post_fork_hook()

    assert worker == [1]


def test_with_the_decorators_of_uwsgi(worker, monkeypatch):
    """Where uWSGI has a list of hooks, ours is in it."""
    hooks = []
    module(monkeypatch, "uwsgidecorators", postfork=hooks.append)
    uwsgi = module(monkeypatch, "uwsgi", worker_id=lambda: 0)
    _process.watch_uwsgi()
    for hook in hooks:
        hook()

    assert worker == [1]
    assert not hasattr(uwsgi, "post_fork_hook")


def test_a_worker_of_which_python_was_told(worker, monkeypatch):
    """Where Python knows of the fork, or there was none, nothing begins twice."""
    _process._after_fork()
    uwsgi = module(monkeypatch, "uwsgi", worker_id=lambda: 0)
    _process.watch_uwsgi()
    uwsgi.post_fork_hook()

    assert worker == []


def test_without_uwsgi(monkeypatch):
    """A module that merely has the name is left alone."""
    monkeypatch.delitem(sys.modules, "uwsgi", raising=False)
    _process.watch_uwsgi()
    uwsgi = module(monkeypatch, "uwsgi")
    _process.watch_uwsgi()

    assert not hasattr(uwsgi, "post_fork_hook")


# Signals


def test_a_thread_of_ours_takes_no_signals():
    """SIGTERM is blocked in it, faults are not, and in this thread all is as it was."""
    told = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with _process.shielded():
        thread = threading.Thread(
            target=lambda: told.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        )
        thread.start()
    thread.join()

    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert signal.SIGTERM in told[0]
    assert signal.SIGSEGV not in told[0]


def test_where_signals_cannot_be_blocked(monkeypatch):
    """On Windows there is nothing to block."""
    monkeypatch.setattr(_process, "signal", SimpleNamespace())
    with _process.shielded():
        found = _process.shield()

    assert found == set()


def test_forks_are_counted_as_before():
    """The number of forks of this process is still none."""
    assert _runtime.forks == 0
