"""Forked and spawned children: they inherit no customer, export their own, and never hang."""

import contextvars
import json
import os
import subprocess
import sys
from textwrap import dedent

import pytest

import cxtrace
from cxtrace import _guard, _runtime, current_context, customer, identify, touchpoint
from cxtrace.exporters import read_spans

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

START = """
import os, signal, sys, threading, time
import cxtrace
from cxtrace import customer, current_context, current_touchpoint, identify, touchpoint
signal.alarm(90)
"""
CONFIGURE = (
    'cxtrace.configure(service_name="t", exporter="file:" + sys.argv[1], key="k" * 32, '
    'event_signal="both")\n'
)


def run(tmp_path, body, configure=True, **environ):
    """Run a program of its own, and give what it printed and the spans that it exported."""
    script, out = tmp_path / "program.py", tmp_path / "spans.jsonl"
    script.write_text(START + (CONFIGURE if configure else "") + dedent(body), encoding="utf-8")
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(script), str(out)]
    done = subprocess.run(
        command,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, list(read_spans(out)) if out.exists() else []


FORK = """
def in_child(work, code=0):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            work()
            assert cxtrace.flush(50), "not flushed"
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 1
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
"""


def test_trap_16_fork(tmp_path):
    """A child has no customer of its parent's, and does not end the span that the parent opened."""
    _printed, spans = run(
        tmp_path,
        """
        block = touchpoint("parent")
        with customer("A", kind="person", consent="granted"), block:
            pid = os.fork()
            if pid == 0:
                assert current_context() is None
                current_touchpoint().fail("child")
                assert dict(cxtrace.report().counts) == {}
        if pid == 0:
            with touchpoint("child"):
                pass
            assert cxtrace.flush()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        cxtrace.shutdown()
        """,
    )

    tags = {span.name: span.attributes for span in spans}
    assert sorted(span.name for span in spans) == ["child", "parent"]
    assert "enduser.pseudo.id" in tags["parent"]
    assert {"enduser.pseudo.id", "cx.customer.kind"}.isdisjoint(tags["child"])
    assert tags["parent"]["cx.touchpoint.outcome"] == "completed"


@pytest.mark.parametrize("leaves", ["falls out", "exits", "raises"])
def test_child_that_leaves_the_block(tmp_path, leaves):
    """However a child leaves a block of its parent's, the parent's span is exported once."""
    leaving = {"falls out": "pass", "exits": "sys.exit(0)", "raises": 'raise SystemExit("")'}
    _, spans = run(
        tmp_path,
        f"""
        pid = 0
        try:
            with touchpoint("parent"), cxtrace.interaction("inner"):
                pid = os.fork()
                if pid == 0:
                    {leaving[leaves]}
        except SystemExit:
            pass
        if pid == 0:
            cxtrace.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        """,
    )

    assert sorted(span.name for span in spans) == ["inner", "parent"]


def test_generator_in_a_child(tmp_path):
    """A generator that the parent began is not ended a second time by the child."""
    _, spans = run(
        tmp_path,
        """
        @touchpoint("stream")
        def stream():
            yield 1
            yield 2

        items = stream()
        next(items)
        pid = os.fork()
        if pid == 0:
            list(items)
            cxtrace.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        items.close()
        """,
    )

    assert [span.name for span in spans] == ["stream"]
    assert spans[0].attributes["cx.touchpoint.outcome"] == "abandoned"


def test_identify_in_a_child(tmp_path):
    """Who becomes known in a child is known there, and not to the parent."""
    _, spans = run(
        tmp_path,
        FORK
        + dedent(
            """
            def work():
                with touchpoint("child"):
                    identify("B")

            with touchpoint("parent"):
                in_child(work)
            """
        ),
    )

    known = {span.name: "enduser.pseudo.id" in span.attributes for span in spans}
    assert known == {"parent": False, "child": True}


@pytest.mark.parametrize("imported", ["before", "after"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(tmp_path, method, imported):
    """The spans of a child process of multiprocessing are exported when it ends."""
    at_top = "import multiprocessing\n" if imported == "before" else ""
    _, spans = run(
        tmp_path,
        f"""
        {at_top}
        {CONFIGURE}
        import multiprocessing

        def work():
            with touchpoint("child"):
                pass

        if __name__ == "__main__":
            with touchpoint("parent"):
                child = multiprocessing.get_context("{method}").Process(target=work)
                child.start()
                child.join()
            assert child.exitcode == 0, child.exitcode
        """,
        configure=False,
    )

    assert sorted(span.name for span in spans) == ["child", "parent"]


def test_pool(tmp_path):
    """The spans of a pool of processes are exported when the pool is closed."""
    _, spans = run(
        tmp_path,
        f"""
        import multiprocessing
        {CONFIGURE}
        @touchpoint("child")
        def work(number):
            return number

        if __name__ == "__main__":
            pool = multiprocessing.get_context("fork").Pool(2)
            assert pool.map(work, range(6)) == list(range(6))
            pool.close()
            pool.join()
        """,
        configure=False,
    )

    assert [span.name for span in spans] == ["child"] * 6


LOCKS = {
    "counters": "cxtrace._guard._locks.lock",
    "key": "cxtrace._runtime._settling",
    "queue of spans": "cxtrace._config.wiring.spans[0].courier.lock",
    "span": "handle.span._lock",
    "metrics under way": "reader._export_lock",
    "collection": "meters._measurement_consumer._lock",
    "sums": "meters._measurement_consumer._reader_storages[reader]._lock",
    "meters": "meters._meter_lock",
    "queue of records": "cxtrace._config.wiring.logs.deliveries[0].courier.lock",
}


@pytest.mark.parametrize("lock", LOCKS)
def test_locks(tmp_path, lock):
    """A lock that another thread held at the moment of the fork does not stop the child."""
    run(
        tmp_path,
        FORK
        + dedent(
            f"""
            import cxtrace._config, cxtrace._guard, cxtrace._runtime
            from opentelemetry import _logs, metrics

            meters = metrics.get_meter_provider()
            reader = cxtrace._config.wiring.metrics.readers[0]

            def work():
                identify("B")
                with touchpoint("child"):
                    cxtrace._guard.count("x")
                metrics.get_meter("host").create_counter("orders").add(1)
                _logs.get_logger("host").emit(_logs.LogRecord(body="child"))
                identify("B")
                cxtrace.report()

            with touchpoint("parent") as handle:
                lock = {LOCKS[lock]}
                held, done = threading.Event(), threading.Event()

                def hold():
                    with lock:
                        held.set()
                        done.wait(80)

                thread = threading.Thread(target=hold)
                thread.start()
                held.wait()
                try:
                    in_child(work)
                finally:
                    done.set()
                    thread.join()
            """
        ),
    )


def lines_of(path, kind):
    """The lines of one kind in a file."""
    return [line for line in path.read_text().splitlines() if next(iter(json.loads(line))) == kind]


def test_metrics_and_log_records_of_a_child(tmp_path):
    """A child sends what it has counted and logged itself, and nothing of its parent's again."""
    run(
        tmp_path,
        FORK
        + dedent(
            """
            from opentelemetry import _logs, metrics
            counter = metrics.get_meter("host").create_counter("orders")
            logger = _logs.get_logger("host")

            def count(name):
                counter.add(1, {"by": name})
                logger.emit(_logs.LogRecord(body=name))

            count("parent")
            in_child(lambda: count("child"))
            assert cxtrace.flush()
            os._exit(0)
            """
        ),
    )
    out = tmp_path / "spans.jsonl"

    for kind in ("resourceMetrics", "resourceLogs"):
        child, parent = lines_of(out, kind)
        assert ('"child"' in child, '"parent"' in child) == (True, False)
        assert ('"child"' in parent, '"parent"' in parent) == (False, True)


def test_periodic_export_in_a_child(tmp_path):
    """The thread that exports metrics goes on in a child, from zero."""
    run(
        tmp_path,
        FORK.replace("cxtrace.flush(50)", "True")
        + dedent(
            """
            from opentelemetry import metrics
            counter = metrics.get_meter("host").create_counter("orders")
            counter.add(1, {"by": "parent"})
            assert cxtrace.flush()

            def work():
                counter.add(1, {"by": "child"})
                while '"child"' not in open(sys.argv[1]).read():
                    pass

            in_child(work)
            os._exit(0)
            """
        ),
        OTEL_METRIC_EXPORT_INTERVAL="100",
    )

    for line in lines_of(tmp_path / "spans.jsonl", "resourceMetrics"):
        assert ('"child"' in line) is not ('"parent"' in line)


def test_fork_while_an_instrument_is_made(tmp_path):
    """What a thread of the parent is about to make is made by the child, with locks of its own."""
    run(
        tmp_path,
        FORK.replace("cxtrace.flush(50)", "True")
        + dedent(
            """
            from opentelemetry import metrics
            from opentelemetry.sdk.metrics import _internal as sdk

            meter, counter = metrics.get_meter("host"), sdk._Counter
            begun, go = threading.Event(), threading.Event()

            def slow(*args, **options):
                if threading.current_thread() is thread:
                    begun.set()
                    go.wait()
                return counter(*args, **options)

            def work():
                meter.create_counter("orders").add(1, {"by": "child"})
                assert cxtrace.flush(50)

            slow.__name__, sdk._Counter = counter.__name__, slow
            thread = threading.Thread(target=meter.create_counter, args=["orders"])
            thread.start()
            begun.wait()
            with meter._instrument_ids_lock:
                in_child(work)
            go.set()
            """
        ),
    )

    counted = [
        line
        for line in lines_of(tmp_path / "spans.jsonl", "resourceMetrics")
        if '"orders"' in line and '"child"' in line
    ]
    assert len(counted) == 1


def test_instruments_are_there_before_a_fork_can_come(tmp_path):
    """Nothing is made at the first touchpoint, when a thread may fork the process."""
    run(
        tmp_path,
        """
        from opentelemetry import metrics
        made = dict(metrics.get_meter("cxtrace", cxtrace.__version__)._instrument_ids)
        assert len(made) > 15
        with touchpoint("first"):
            pass
        assert metrics.get_meter("cxtrace", cxtrace.__version__)._instrument_ids == made
        """,
    )


def test_fork_under_load(tmp_path):
    """Children that are forked while threads make touchpoints and count do not hang."""
    _, spans = run(
        tmp_path,
        FORK
        + dedent(
            """
            from cxtrace import _guard
            stop = threading.Event()

            def load():
                while not stop.is_set():
                    with touchpoint("load"):
                        _guard.count("load")
                    time.sleep(0.0005)

            def work():
                with touchpoint("child"):
                    _guard.count("child")

            threads = [threading.Thread(target=load) for _ in range(2)]
            for thread in threads:
                thread.start()
            try:
                for _ in range(10):
                    in_child(work)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            """
        ),
    )

    assert [span.name for span in spans].count("child") == 10


def test_what_a_child_begins_with(cx, monkeypatch):
    """Right after a fork nothing of the parent's is known, counted, or written to."""
    monkeypatch.setattr(_runtime, "forks", _runtime.forks)
    monkeypatch.setattr(_runtime, "_settling", _runtime._settling)
    monkeypatch.setattr(_runtime, "inherited", getattr(_runtime, "inherited", None), raising=False)
    _guard.count("parent")

    def child():
        with customer("A", consent="granted"), touchpoint("parent") as handle:
            _runtime._after_fork()
            assert current_context() is None
            assert dict(cxtrace.report().counts) == {}
            with touchpoint("child"):
                identify("B")
            assert handle.span.attributes["enduser.pseudo.id"] == cx.pseudonym("A")

    contextvars.copy_context().run(child)

    assert cx.names == ["child"]
    assert cx.tags("child")["enduser.pseudo.id"] == cx.pseudonym("B")


def test_fork_without_configure(tmp_path):
    """Where nobody configured, and nobody has an SDK, forking is as it was."""
    run(
        tmp_path,
        FORK
        + dedent(
            """
            def work():
                assert current_context() is None
                with touchpoint("child"):
                    pass

            with cxtrace.journey("j"), touchpoint("parent"):
                in_child(work)
            """
        ),
        configure=False,
    )
