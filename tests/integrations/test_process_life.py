"""The ways in which servers start, replace and stop their processes, and greenlets."""

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import pytest

from cxtrace.exporters import RecordedSpan
from tests.integrations.brokers import free_ports
from tests.integrations.servers import Gate, gunicorn, program, server, wait_for_workers
from tests.life.programs import Receiver, environment, receiver, sent

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]

APP = """
import os, time
import cxtrace
from cxtrace import current_context, customer, journey, touchpoint

if AT_IMPORT:
    cxtrace.configure(service_name="life", exporter="file:" + os.environ["OUT"], key="k" * 32)


def application(environ, start_response):
    path = environ["PATH_INFO"]
    before = current_context()
    name = path.strip("/")
    with journey("order", id=name), customer(name, consent="granted"), touchpoint("visit"):
        mine = current_context()
        time.sleep(0.05)
        alone = before is None and current_context() is mine
    if name == "hang":
        while True:
            pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {alone}".encode()]
"""


def serve(folder: Path, at_import: bool = True) -> dict[str, str]:
    """Write the application, and give its settings."""
    text = APP.replace("AT_IMPORT", str(at_import))
    (folder / "app.py").write_text(text, encoding="utf-8")
    return {"OUT": str(folder / "spans.jsonl"), "OTEL_METRICS_EXPORTER": "none"}


def ask(address: tuple[str, int], path: str) -> tuple[str, str]:
    """Which process answered, and whether the request saw no customer but its own."""
    with urlopen(f"http://{address[0]}:{address[1]}/{path}", timeout=60) as answer:
        pid, alone = answer.read().decode().split()
    return pid, alone


def ask_at_once(address: tuple[str, int], number: int) -> set[str]:
    """Send many requests at once, and give what they said of being alone."""
    script = (
        "import sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from urllib.request import urlopen\n"
        "def ask(n):\n"
        "    return urlopen(sys.argv[1] + str(n), timeout=60).read().decode().split()[1]\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        f"    print(*pool.map(ask, range({number})))\n"
    )
    command = [sys.executable, "-c", script, f"http://{address[0]}:{address[1]}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def visits(folder: Path) -> Counter[str]:
    """How often each journey was sent; each visit belongs to one customer."""
    spans: list[RecordedSpan] = sent(folder)
    pairs = {(s.attributes["cx.journey.id"], s.attributes["enduser.pseudo.id"]) for s in spans}
    assert len(pairs) == len({journey for journey, _ in pairs})
    assert len({span.span_id for span in spans}) == len(spans)
    return Counter(str(span.attributes["cx.journey.id"]) for span in spans)


def preloaded(folder: Path, *lines: str) -> None:
    """Let gunicorn read a configuration."""
    (folder / "gunicorn.conf.py").write_text("\n".join(lines) + "\n", encoding="utf-8")


# gunicorn


@pytest.mark.parametrize("preload", [False, True], ids=["in the worker", "before the fork"])
def test_gunicorn_stops_in_good_order(tmp_path: Path, preload: bool) -> None:
    """Every worker sends what it has when SIGTERM stops the master, and nothing twice."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    preloaded(tmp_path, f"preload_app = {preload}")
    settings = serve(tmp_path)
    with gunicorn(tmp_path, "app:application", **settings) as address:
        assert ask_at_once(address, 20) == {"True"}

    assert visits(tmp_path) == {str(number): 1 for number in range(20)}


@pytest.mark.parametrize("preload", [False, True], ids=["in the worker", "before the fork"])
def test_gunicorn_replaces_its_workers(tmp_path: Path, preload: bool) -> None:
    """With ``max_requests`` each worker sends its visits before it goes."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    preloaded(tmp_path, f"preload_app = {preload}", "max_requests = 3")
    settings = serve(tmp_path)
    with gunicorn(tmp_path, "app:application", **settings) as address:
        workers = {ask(address, str(number))[0] for number in range(10)}

    assert len(workers) > 2
    assert visits(tmp_path) == {str(number): 1 for number in range(10)}


def test_gunicorn_kills_a_worker_that_hangs(tmp_path: Path) -> None:
    """The worker that is killed is replaced, and the one that follows sends its own visits."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    preloaded(tmp_path, "preload_app = True", "timeout = 4")
    settings = serve(tmp_path)
    with gunicorn(tmp_path, "app:application", **settings) as address:
        with pytest.raises(OSError):  # noqa: PT011  of many classes
            ask(address, "hang")
        for number in range(10):
            ask(address, str(number))
        wait_for_workers(tmp_path / "server.log", 3)

    sent_by_others = visits(tmp_path)
    assert {str(number): 1 for number in range(10)}.items() <= sent_by_others.items()


@pytest.mark.parametrize("kind", ["gthread", "gevent", "eventlet"])
@pytest.mark.parametrize("preload", [False, True], ids=["in the worker", "before the fork"])
def test_workers_of_many_requests(tmp_path: Path, kind: str, preload: bool) -> None:
    """Requests at once in one worker, be it threads or greenlets, keep their customers apart."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    if kind != "gthread":
        pytest.importorskip(kind, reason=f"{kind} is not installed")
        known = importlib.import_module("gunicorn.workers").SUPPORTED_WORKERS
        if kind not in known:
            pytest.skip(f"this gunicorn has no workers of {kind}")
    first = f"import {kind}.monkey as m; m.patch_all()" if kind == "gevent" else ""
    lines = ["preload_app = True", first] if preload else []
    preloaded(tmp_path, f"worker_class = '{kind}'", "threads = 8", *lines)
    settings = serve(tmp_path)
    with gunicorn(tmp_path, "app:application", **settings) as address:
        assert ask_at_once(address, 40) == {"True"}

    assert visits(tmp_path) == {str(number): 1 for number in range(40)}
    assert "Traceback" not in (tmp_path / "server.log").read_text(encoding="utf-8")


LATE = """
import json, os, sys, time
import cxtrace
from cxtrace import customer, journey, touchpoint

cxtrace.configure(service_name="life", exporter="file:" + os.environ["OUT"], key="k" * 32)
MONKEY


def visit(name):
    for number in range(10):
        with journey("order", id=f"{name}-{number}"), customer(str(name), consent="granted"):
            with touchpoint("visit"):
                time.sleep(0.02)


for greenlet in [SPAWN(visit, name) for name in range(40)]:
    WAIT(greenlet)
began = time.monotonic()
flushed = cxtrace.flush(20)
took = time.monotonic() - began
errors = [name for name in cxtrace.report().counts if name.startswith("errors")]
print(json.dumps([flushed, took < 10, cxtrace.shutdown(20), errors]))
"""
WORDS = {
    "gevent": (
        "import gevent.monkey; gevent.monkey.patch_all()",
        "gevent.spawn",
        "gevent.Greenlet.get",
    ),
    "eventlet": (
        "import eventlet; eventlet.monkey_patch()",
        "eventlet.spawn",
        "eventlet.greenthread.GreenThread.wait",
    ),
}


@pytest.mark.parametrize("kind", WORDS)
def test_what_is_patched_late(tmp_path: Path, kind: str) -> None:
    """What was configured before greenlets took over sends each span once, and flushes at once."""
    pytest.importorskip(kind, reason=f"{kind} is not installed")
    program = LATE
    for place, words in zip(("MONKEY", "SPAWN", "WAIT"), WORDS[kind], strict=True):
        program = program.replace(place, words)
    environ = {**os.environ, "OUT": str(tmp_path / "spans.jsonl"), "OTEL_METRICS_EXPORTER": "none"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == [True, True, True, []]
    assert set(visits(tmp_path).values()) == {1}


def test_gevent_that_patches_after_configuring(tmp_path: Path) -> None:
    """With ``preload_app`` gunicorn patches too late: all is sent, and the log says what to do."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    pytest.importorskip("gevent", reason="gevent is not installed")
    preloaded(tmp_path, "worker_class = 'gevent'", "preload_app = True")
    settings = serve(tmp_path)
    with gunicorn(tmp_path, "app:application", **settings) as address:
        assert ask_at_once(address, 20) == {"True"}

    log = (tmp_path / "server.log").read_text(encoding="utf-8")
    assert visits(tmp_path) == {str(number): 1 for number in range(20)}
    assert "cxtrace was configured before gevent patched this process" in log


# uWSGI

HOOKS = "--py-call-uwsgi-fork-hooks"


def uwsgi(folder: Path, *options: str, **settings: str) -> Gate:
    """Run uWSGI with two workers."""
    binary = Path(program("uwsgi"))
    if not binary.exists():
        pytest.skip("uWSGI is not installed")
    (port,) = free_ports(1)
    command = [str(binary), "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "2"]
    more = ["--virtualenv", sys.prefix, "--need-app", "--die-on-term", "--pythonpath", str(folder)]
    # It says where it listens in words of its own.
    said = ["--hook-accepting1", f"print:Listening at: http://127.0.0.1:{port} "]
    return server(folder, *command, *more, *said, *options, **settings)


@pytest.mark.parametrize("option", ["", HOOKS, "--lazy-apps"])
def test_uwsgi_stops_in_good_order(tmp_path: Path, option: str) -> None:
    """Every worker sends its own; the log says what to set where uWSGI tells Python nothing."""
    settings = serve(tmp_path)
    options = ["--module", "app:application", *([option] if option else [])]
    with uwsgi(tmp_path, *options, **settings) as address:
        assert ask_at_once(address, 20) == {"True"}

    log = (tmp_path / "server.log").read_text(encoding="utf-8")
    assert visits(tmp_path) == {str(number): 1 for number in range(20)}
    assert ("cxtrace: uWSGI has forked without telling Python" in log) is (option == "")


@pytest.mark.parametrize("option", ["", HOOKS])
def test_uwsgi_sends_while_it_runs(tmp_path: Path, option: str) -> None:
    """A worker sends on, although the threads that were there before the fork are gone."""
    settings = {**serve(tmp_path), "OTEL_BSP_SCHEDULE_DELAY": "100"}
    options = ["--module", "app:application", *([option] if option else [])]
    with uwsgi(tmp_path, *options, **settings) as address:
        ask(address, "first")
        for _ in range(600):
            if visits(tmp_path):
                break
            signal.sigtimedwait([], 0.1)
        seen = visits(tmp_path)

    assert seen == {"first": 1}


def test_uwsgi_with_two_applications(tmp_path: Path) -> None:
    """The second application has an interpreter of its own, in which the reason is told."""
    settings = serve(tmp_path)
    other = "import app\napplication = app.application\n"
    (tmp_path / "other.py").write_text(other, encoding="utf-8")
    mounts = ["--manage-script-name", "--mount", "/a=app:application"]
    with uwsgi(tmp_path, *mounts, "--mount", "/b=other:application", **settings) as address:
        assert ask(address, "a/first")[1] == "True"

    log = (tmp_path / "server.log").read_text(encoding="utf-8")
    assert "ConfigurationError: cxtrace cannot be configured in a sub-interpreter" in log
    assert visits(tmp_path) == {"first": 1}


# uvicorn

ASGI = """
import os
import cxtrace
from cxtrace import touchpoint

cxtrace.configure(service_name="life", exporter="file:" + os.environ["OUT"], key="k" * 32)
cxtrace.shutdown_on_sigterm()


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    with touchpoint("visit"):
        pass
    headers = [(b"content-length", b"6")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"1 True"})
"""


def test_uvicorn_without_a_lifespan(tmp_path: Path) -> None:
    """When it has stopped, uvicorn raises SIGTERM again, and ``shutdown_on_sigterm`` sends."""
    pytest.importorskip("uvicorn", "0.47", reason="older ones load the application too late")
    (tmp_path / "app.py").write_text(ASGI, encoding="utf-8")
    command = [program("uvicorn"), "--port", "0", "app:application"]
    settings = {"OUT": str(tmp_path / "spans.jsonl"), "OTEL_METRICS_EXPORTER": "none"}
    with server(tmp_path, *command, **settings) as address:
        ask(address, "")

    assert [span.name for span in sent(tmp_path)] == ["visit"]


# Greenlets

GREEN = {
    "gevent": "from gevent import monkey, sleep, spawn\nmonkey.patch_all()\n",
    "eventlet": "import eventlet\neventlet.monkey_patch()\nfrom eventlet import sleep, spawn\n",
}
GREENLETS = """
import os
import cxtrace
from cxtrace import current_context, customer, journey, touchpoint

cxtrace.configure(service_name="green", key="k" * 32)
wrong = []


def work(number):
    for _ in range(5):
        name = f"j{number}"
        with journey("order", id=name), customer(name, consent="granted"), touchpoint("visit"):
            mine = current_context()
            sleep(0.001)
            with touchpoint("inner"):
                sleep(0.001)
            if current_context() is not mine:
                wrong.append(number)


running = [spawn(work, number) for number in range(50)]
for each in running:
    (each.join if hasattr(each, "join") else each.wait)()
assert wrong == []
print("flushed", cxtrace.flush(50))
with touchpoint("last"):
    pass
"""


def run_green(folder: Path, kind: str, body: str, first: str = "", **settings: str) -> str:
    """Run a program in which greenlets are in the place of threads."""
    if importlib.util.find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed")
    script = folder / "green.py"
    script.write_text(first + GREEN[kind] + body, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment(folder, **settings),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", GREEN)
@pytest.mark.parametrize("first", ["", "import cxtrace\n"], ids=["patched", "imported"])
def test_greenlets_have_a_context_each(tmp_path: Path, kind: str, first: str) -> None:
    """Fifty greenlets at once keep their customers apart, and all is sent over HTTP, once."""
    with receiver() as found:
        printed = run_green(tmp_path, kind, GREENLETS, first, **found.settings())

    spans = [span for span in found.spans if span.name != "last"]
    pairs = {
        tuple(
            attribute.value.string_value
            for attribute in sorted(span.attributes, key=lambda each: str(each.key))
            if attribute.key in ("cx.journey.id", "enduser.pseudo.id")
        )
        for span in spans
    }
    assert printed == "flushed True\n"
    assert Counter(span.name for span in found.spans) == {"visit": 250, "inner": 250, "last": 1}
    assert len(pairs) == 50


@pytest.mark.parametrize("kind", GREEN)
def test_grpc_is_refused_among_greenlets(tmp_path: Path, kind: str) -> None:
    """``configure()`` says at once that gRPC would hold everybody up, and what to set."""
    body = """
import cxtrace
try:
    cxtrace.configure(service_name="green", exporter="otlp")
except cxtrace.ConfigurationError as error:
    print(error)
"""
    settings = Receiver(4317, "grpc").settings()

    assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in run_green(
        tmp_path, kind, body, **settings
    )


@pytest.mark.parametrize("kind", GREEN)
def test_a_receiver_that_is_silent(tmp_path: Path, kind: str) -> None:
    """While an export waits, other greenlets go on: none is held up for as long as it takes."""
    body = """
import socket, time
import cxtrace
silent = socket.create_server(("127.0.0.1", 0))
cxtrace.configure(service_name="green", key="k" * 32, exporter=cxtrace_exporter(silent))
longest = 0.0
for number in range(150):
    with cxtrace.touchpoint("visit"):
        pass
    before = time.monotonic()
    sleep(0.02)
    longest = max(longest, time.monotonic() - before)
print("longest", longest < 10)
print("flushed", cxtrace.flush(0.2))
"""
    make = """
from cxtrace.exporters import otlp_exporter
def cxtrace_exporter(silent):
    port = silent.getsockname()[1]
    return otlp_exporter("http/protobuf", f"http://127.0.0.1:{port}", timeout=20)
"""
    printed = run_green(tmp_path, kind, make + body, OTEL_BSP_SCHEDULE_DELAY="50")

    assert printed == "longest True\nflushed False\n"
