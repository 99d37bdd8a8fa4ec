"""A turn: one thread at a time, and nobody waits for itself."""

import os
import subprocess
import sys
import threading

from cxtrace._turn import Turn


def test_who_is_called_by_its_own_work_goes_on() -> None:
    """Work that comes back to its own turn is not done again, and does not wait."""
    turn, done = Turn(), []

    def work() -> None:
        done.append("began")
        turn.take(work)
        done.append("ended")

    turn.take(work)
    turn.take(work)

    assert done == 2 * ["began", "ended"]


def test_work_that_fails_gives_the_turn_back() -> None:
    """After an error the next one has its turn."""
    turn, done = Turn(), []
    try:
        turn.take(lambda: done.append(1 // 0))
    except ZeroDivisionError:
        turn.take(lambda: done.append(1))

    assert done == [1]


def test_a_child_has_a_turn_of_its_own() -> None:
    """Where a thread of the parent has its turn at the fork, the child does not wait for it."""
    turn, done = Turn(), []
    has_begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        has_begun.set()
        may_end.wait(60)

    thread = threading.Thread(target=turn.take, args=(work,))
    thread.start()
    has_begun.wait(60)
    turn._begin()  # as in a child
    turn.take(lambda: done.append(1))
    may_end.set()
    thread.join(60)

    assert done == [1]


def output_of(script: str) -> str:
    """What a program prints, which must end well."""
    kept = (name for name in os.environ if not name.startswith(("OTEL_", "CXTRACE_")))
    clean = {name: os.environ[name] for name in kept}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=clean,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    return done.stdout


def test_configure_may_be_called_by_what_it_calls() -> None:
    """A log handler that configures, while it is told of something by ``configure()``, goes on.

    It is told so once, and what it would have configured is left.
    """
    script = (
        "import logging, cxtrace\n"
        "class Handler(logging.Handler):\n"
        "    def emit(self, record):\n"
        "        print(record.getMessage())\n"
        "        cxtrace.configure(exporter='none')\n"
        "logging.getLogger('cxtrace').addHandler(Handler())\n"
        "cxtrace.configure(service_name='shop')\n"
        "cxtrace.configure(service_name='shop')\n"
    )
    said = output_of(script)

    assert said.count("configure() was called by what it calls") == 1
    assert said.count("configure() was called again") == 1


def test_a_child_forked_while_its_parent_configures_can_configure() -> None:
    """``configure()`` in a child does not wait for a thread that the child does not have."""
    script = (
        "import logging, os, signal, threading, cxtrace\n"
        "began = threading.Event()\n"
        "class Handler(logging.Handler):\n"
        "    def handle(self, record): began.set(); threading.Event().wait(60)\n"
        "logging.getLogger('cxtrace').addHandler(Handler())\n"
        "call = {'service_name': 'shop'}\n"
        "threading.Thread(target=cxtrace.configure, kwargs=call, daemon=True).start()\n"
        "began.wait(60)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    signal.alarm(20)\n"
        "    cxtrace.configure(exporter='none')\n"
        "    os._exit(0)\n"
        "os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)\n"
    )
    assert output_of(script) == ""
