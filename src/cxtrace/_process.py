"""What kind of process this is: what cannot work in it is refused, what needs help gets it."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Final

from cxtrace import _guard
from cxtrace.exceptions import ConfigurationError

_IN_A_SUB_INTERPRETER: Final = (
    "cxtrace cannot be configured in a sub-interpreter: Python would end the whole process where "
    "a thread of ours outlives it. Under mod_wsgi set WSGIApplicationGroup %{GLOBAL}; under uWSGI "
    "set single-interpreter = true; elsewhere use processes or threads"
)
_OF_THE_FAULT: Final = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV")

_pid = os.getpid()


def refuse_sub_interpreters() -> None:
    """Raise where this is not the main interpreter of the process.

    Raises:
        ConfigurationError: It is another one.
    """
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            found: Any = import_module(name)
        except ImportError:
            continue
        if _number(found.get_current()) != _number(found.get_main()):
            raise ConfigurationError(_IN_A_SUB_INTERPRETER)
        return


def _number(interpreter: Any) -> int:
    # Since Python 3.13 a pair of the number and of who has made it.
    return int(interpreter[0] if isinstance(interpreter, tuple) else interpreter)


def stand_in(name: str) -> Callable[..., Any] | None:
    """What ``cxtrace.<name>`` is in a sub-interpreter, where nothing can be configured."""
    if name not in {"configure", "flush", "shutdown"}:
        return None
    try:
        refuse_sub_interpreters()
    except ConfigurationError as refusal:
        return partial(_refuse, refusal) if name == "configure" else _with_nothing_to_send
    return None


def _refuse(refusal: ConfigurationError, **_: object) -> None:
    raise refusal


def _with_nothing_to_send(timeout: float = 0.0) -> bool:  # noqa: ARG001  as the real ones
    return True


def patched_by() -> str | None:
    """Who has put greenlets in the place of threads: ``gevent``, ``eventlet``, or nobody."""
    gevent: Any = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return "gevent"
    eventlet: Any = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return "eventlet"
    return None


def patched_late(before: str | None) -> str | None:
    """Who has patched this process since a module of ours was imported.

    Its locks and queues are then of the system's kind, and a greenlet that waits for one holds up
    all others: what waits has to be a real thread.

    Args:
        before: What ``patched_by()`` said when the module was imported.
    """
    now = patched_by()
    if now is None or now == before:
        return None
    _guard.warn_once(
        "patched-late",
        "cxtrace was configured before %s patched this process, and sends from threads beside the "
        "greenlets. Patch first",
        now,
    )
    return now


def start(run: Callable[[], None], name: str, before: str | None) -> None:
    """Start a thread that takes no signals, and does not hold up the end of the process.

    Args:
        run: What it does.
        name: Of the thread.
        before: As for ``patched_late``.

    Raises:
        RuntimeError: The process has too many, or is about to end.
    """
    late = patched_late(before)
    with shielded():
        if late is None:
            threading.Thread(target=run, name=name, daemon=True).start()
        else:
            _start_beside(late, run)


def _start_beside(patched_by: str, run: Callable[[], None]) -> None:
    """Start a thread of the system's where greenlets have taken the place of threads."""
    if patched_by == "gevent":
        start_new = import_module("gevent.monkey").get_original("_thread", "start_new_thread")
    else:
        start_new = import_module("eventlet.patcher").original("_thread").start_new_thread
    start_new(run, ())


def refuse_grpc_among_greenlets() -> None:
    """Raise where an export over gRPC would stop every greenlet of the process.

    Raises:
        ConfigurationError: gevent or eventlet has patched the process.
    """
    found = patched_by()
    if found is not None:
        raise ConfigurationError(
            f"{found} has patched this process, in which OTLP over gRPC would hold up everybody "
            "for as long as an export takes: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, and "
            "the endpoint to the receiver's port for HTTP, which is usually 4318"
        )


@contextmanager
def shielded() -> Iterator[None]:
    """Threads that start in here get none of the process's signals: they are the host's.

    A host that blocks a signal in its main thread would else get it all the same: the kernel gives
    it to a thread of ours, and Python runs the handler in the main thread. Celery's pool hangs
    after a hard time limit where a process of it has any such thread.
    """
    before = shield()
    try:
        yield
    finally:
        unshield(before)


def shield() -> set[Any]:
    """Block the signals of this thread, and give those that were blocked before."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return set()
    faults = {getattr(signal, name) for name in _OF_THE_FAULT}
    return signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - faults)


def unshield(before: set[Any]) -> None:
    """Block what was blocked before, and no more."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def watch_uwsgi() -> None:
    """Begin anew in uWSGI's workers too: it tells Python of their fork only if it is asked to."""
    uwsgi: Any = sys.modules.get("uwsgi")
    if not hasattr(uwsgi, "worker_id"):
        return
    try:
        import_module("uwsgidecorators").postfork(_begin_in_uwsgi)
    except Exception:  # noqa: BLE001  it refuses to be imported where there is no master
        theirs = getattr(uwsgi, "post_fork_hook", None)

        def hook() -> None:
            _begin_in_uwsgi()
            if theirs is not None:
                theirs()

        uwsgi.post_fork_hook = hook


def _begin_in_uwsgi() -> None:
    if os.getpid() == _pid:
        return
    _guard.begin_child()
    _guard.warn_once(
        "uwsgi",
        "cxtrace: uWSGI has forked without telling Python, so that the threads and locks of other "
        "libraries may be dead in its workers: set py-call-uwsgi-fork-hooks = true, or lazy-apps = "
        "true",
    )


def _after_fork() -> None:
    global _pid  # noqa: PLW0603
    _pid = os.getpid()


_guard.in_child(_after_fork)
