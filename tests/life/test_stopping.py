"""SIGTERM: what is waiting is sent first where it was asked for, and the process ends as ever."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.life.programs import LONGEST, START, Receiver, environment, names, run, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to speak of")

VISIT = """
configure()
with touchpoint("visit"):
    pass
"""
# Not by print: the signal can come before it has ended, and a handler that prints would fail.
WAIT = """
os.write(1, b"ready\\n")
while True:
    time.sleep(0.05)
"""


def stopped(folder, body, **settings):
    """Start a program, send it SIGTERM when it is ready, and give its status and its output."""
    running = start(folder, body, **settings)
    try:
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
        printed, complaints = running.communicate(timeout=LONGEST)
    finally:
        running.kill()
    assert [line for line in complaints.splitlines() if "were lost" not in line] == []
    return running.returncode, printed


def test_sigterm_sends_first(tmp_path):
    """What is waiting is sent, and the status is that of a process that SIGTERM has killed."""
    status, _ = stopped(tmp_path, VISIT + "assert cxtrace.shutdown_on_sigterm() is True\n" + WAIT)

    assert status == -signal.SIGTERM
    assert names(tmp_path) == ["visit"]


def test_nobody_asked(tmp_path):
    """``configure()`` installs no handler of its own."""
    status, printed = stopped(
        tmp_path, VISIT + "assert signal.getsignal(15) is signal.SIG_DFL\n" + WAIT
    )

    assert (status, printed) == (-signal.SIGTERM, "")


def test_a_handler_of_the_hosts_is_left_alone(tmp_path):
    """Where somebody else handles SIGTERM, nothing changes, and exit handlers send."""
    status, printed = stopped(
        tmp_path,
        VISIT
        + """
def stop(*_):
    print("theirs")
    sys.exit(3)

signal.signal(signal.SIGTERM, stop)
assert cxtrace.shutdown_on_sigterm() is False
"""
        + WAIT,
    )

    assert (status, printed) == (3, "theirs\n")
    assert names(tmp_path) == ["visit"]


def test_a_handler_that_comes_later_and_hands_on(tmp_path):
    """Who restores ours and raises the signal again, as uvicorn does, lets it end the process."""
    status, printed = stopped(
        tmp_path,
        VISIT
        + """
cxtrace.shutdown_on_sigterm()
ours = signal.getsignal(signal.SIGTERM)

def stop(*_):
    print("draining", flush=True)
    with touchpoint("last"):
        pass
    signal.signal(signal.SIGTERM, ours)
    signal.raise_signal(signal.SIGTERM)

signal.signal(signal.SIGTERM, stop)
"""
        + WAIT,
    )

    assert (status, printed) == (-signal.SIGTERM, "draining\n")
    assert names(tmp_path) == ["last", "visit"]


def test_an_exporter_that_hangs(tmp_path):
    """SIGTERM ends the process by the deadline, whatever the exporter does."""
    status, _ = stopped(
        tmp_path,
        """
from opentelemetry.sdk.trace.export import SpanExporter

class Hangs(SpanExporter):
    def export(self, spans):
        threading.Event().wait()

configure(exporter=Hangs())
with touchpoint("visit"):
    pass
cxtrace.shutdown_on_sigterm()
"""
        + WAIT,
    )

    assert status == -signal.SIGTERM


def test_a_second_call_and_a_thread(tmp_path):
    """A second call says that all is well; out of a thread the first one cannot be made."""
    status, printed = stopped(
        tmp_path,
        """
import logging
logging.disable()
found = []
thread = threading.Thread(target=lambda: found.append(cxtrace.shutdown_on_sigterm()))
thread.start()
thread.join()
found += [cxtrace.shutdown_on_sigterm(), cxtrace.shutdown_on_sigterm()]
assert found == [False, True, True], found
"""
        + WAIT,
    )

    assert (status, printed) == (-signal.SIGTERM, "")


def test_the_first_process_of_a_container(tmp_path):
    """Process 1, which SIGTERM does not end by default, ends with the status of a shell."""
    unshare = shutil.which("unshare")
    namespace = [unshare or "", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if unshare is None or subprocess.run([*namespace, "true"], check=False).returncode:
        pytest.skip("no namespace of processes can be made here")
    ends = "threading.Timer(0.5, lambda: os.kill(1, signal.SIGTERM)).start()\n"
    body = START + VISIT + "assert os.getpid() == 1\ncxtrace.shutdown_on_sigterm()\n" + ends + WAIT
    (tmp_path / "program.py").write_text(body, encoding="utf-8")

    done = subprocess.run(
        [*namespace, sys.executable, str(tmp_path / "program.py")],
        env=environment(tmp_path),
        timeout=LONGEST,
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, b"")
    assert names(tmp_path) == ["visit"]


def test_a_program_that_falls_off_its_end(tmp_path):
    """A process that ends by itself, by ``sys.exit`` or by an exception sends what is waiting."""
    for number, end in enumerate(("pass", "sys.exit(0)", "raise SystemExit")):
        folder = tmp_path / str(number)
        folder.mkdir()
        running = start(folder, VISIT + end)
        assert running.communicate(timeout=LONGEST) == ("", "")
        assert (running.returncode, names(folder)) == (0, ["visit"])


def test_a_process_that_is_killed(tmp_path):
    """With a spool, the next process knows to a span what the killed one had in memory."""
    nowhere = Receiver(9).settings()
    spool = {"CXTRACE_SPOOL": str(tmp_path / "spool"), "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    killed = start(
        tmp_path,
        """
configure()
with touchpoint("first"):
    pass
while not any(name.endswith(".books") for *_, names in os.walk(os.environ["CXTRACE_SPOOL"])
              for name in names):
    time.sleep(0.01)
for number in range(100):
    with touchpoint("visit"):
        pass
os.kill(os.getpid(), signal.SIGKILL)
""",
        **nowhere,
        **spool,
    )
    assert killed.communicate(timeout=LONGEST) == ("", "")
    assert killed.returncode == -signal.SIGKILL
    printed = run(
        tmp_path,
        """
import logging
logging.disable()
configure()
with touchpoint("next"):
    pass
while not cxtrace.report().spans.died:
    time.sleep(0.01)
print(cxtrace.report().spans.died)
""",
        **nowhere,
        **spool,
    )

    assert printed == "101\n"
