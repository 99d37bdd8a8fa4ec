"""Forks, many and under load: no child hangs, inherits a customer, or sends what is not its own.

The programs here fork by hundreds, while threads of theirs are in the midst of touchpoints.
"""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.life.programs import Receiver, names, receiver, run, sent

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

STORM = """
import logging
# A fork may cost gRPC a stream, in the parent: its exporter says so, and sends again.
logging.getLogger("opentelemetry.exporter").setLevel("ERROR")
from cxtrace import _gate
_gate.PATIENCE = 30  # on a machine that has other work
configure()
stop = threading.Event()
made = [0, 0, 0]


def load(number):
    while not stop.is_set():
        with journey("order", id=f"j{number}"), customer(f"c{number}", consent="granted"):
            with touchpoint("load"), interaction("click"):
                cxtrace.identify(f"d{number}")
        made[number] += 1
        time.sleep(0.001)


def child():
    signal.alarm(60)
    code = 1
    try:
        assert current_context() is None, current_context()
        with touchpoint("child"):
            pass
        assert cxtrace.flush(50), cxtrace.report()
        code = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        os._exit(code)


threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
try:
    for _ in range(FORKS):
        with journey("order", id="p"), customer("p", consent="granted"), touchpoint("parent"):
            pid = os.fork()
            if pid == 0:
                child()
        wait_for(pid)
finally:
    stop.set()
    for thread in threads:
        thread.join()
assert cxtrace.flush(50), cxtrace.report()
print(sum(made))
"""

PATIENT = {"OTEL_BSP_MAX_QUEUE_SIZE": "1000000", "OTEL_EXPORTER_OTLP_TIMEOUT": "50"}
"""Nothing is to be dropped, or sent twice, because the machine has other work."""


def storm(forks: int) -> str:
    """The program, with so many forks."""
    return STORM.replace("FORKS", str(forks))


@contextmanager
def grpc_receiver() -> Iterator[Receiver]:
    """Receive spans over gRPC for the time of a ``with``."""

    class Servicer(service.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
            found.take(request)
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(4))
    service.add_TraceServiceServicer_to_server(Servicer(), server)
    found = Receiver(server.add_insecure_port("127.0.0.1:0"), "grpc")
    server.start()
    try:
        yield found
    finally:
        server.stop(None).wait()


def test_a_storm_of_forks(tmp_path):
    """Two hundred children send their own span each, without a customer, and nothing of others."""
    made = int(run(tmp_path, storm(200), **PATIENT))

    spans = sent(tmp_path)
    children = [span for span in spans if span.name == "child"]
    ours = {"enduser.pseudo.id", "cx.journey.id", "cx.journey.name"}
    assert Counter(span.name for span in spans) == {
        "child": 200,
        "parent": 200,
        "load": made,
        "click": made,
    }
    assert len({span.span_id for span in spans}) == len(spans)
    assert [ours & set(span.attributes) for span in children] == [set()] * 200


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc", "grpc, asked for forks"])
def test_a_storm_of_forks_while_exports_are_under_way(tmp_path, protocol):
    """Children share no connection with their parent, and each span arrives once and whole."""
    settings = {"OTEL_BSP_SCHEDULE_DELAY": "20", **PATIENT}
    if protocol.endswith("forks"):
        settings["GRPC_ENABLE_FORK_SUPPORT"] = "1"
    with receiver() if protocol.startswith("http") else grpc_receiver() as found:
        made = int(run(tmp_path, storm(100), **found.settings(), **settings))

    assert found.faults == []
    assert Counter(span.name for span in found.spans) == {
        "child": 100,
        "parent": 100,
        "load": made,
        "click": made,
    }
    assert len({span.span_id for span in found.spans}) == len(found.spans)


def test_a_fork_out_of_a_thread(tmp_path):
    """A thread that forks within a visit leaves its child no customer either."""
    run(
        tmp_path,
        """
        configure()

        def work():
            with journey("order"), customer("a", consent="granted"), touchpoint("thread"):
                pid = os.fork()
                if pid == 0:
                    fresh = current_context() is None
                    with touchpoint("child"):
                        pass
                    os._exit(0 if fresh and cxtrace.flush(50) else 1)
                wait_for(pid)

        threads = [threading.Thread(target=work) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        """,
    )

    assert names(tmp_path) == ["child"] * 20 + ["thread"] * 20


def test_a_fork_out_of_a_task(tmp_path):
    """A task of asyncio that forks within a visit leaves its child no customer, nor do others."""
    run(
        tmp_path,
        """
        import asyncio
        configure()

        async def work(name):
            with journey("order"), customer(name, consent="granted"), touchpoint("task"):
                await asyncio.sleep(0)
                pid = os.fork()
                if pid == 0:
                    fresh = current_context() is None

                    async def later():
                        return current_context() is None

                    os._exit(0 if fresh and drive(later()) else 1)
                return pid

        def drive(coroutine):
            try:
                coroutine.send(None)
            except StopIteration as stop:
                return stop.value

        async def main():
            for pid in await asyncio.gather(*(work(name) for name in "abc")):
                wait_for(pid)

        asyncio.run(main())
        """,
    )

    assert names(tmp_path) == ["task"] * 3


def test_children_of_children(tmp_path):
    """A grandchild that ends like any program sends its own span, and its ancestors' never."""
    run(
        tmp_path,
        """
        configure()
        line = ["first"]
        while len(line) < 4:
            with customer("a", consent="granted"), touchpoint(line[-1]):
                pass
            pid = os.fork()
            if pid:
                wait_for(pid)
                break
            line.append(f"child {len(line)}")
        """,
    )

    assert names(tmp_path) == ["child 1", "child 2", "first"]


def test_a_child_that_leaves_at_once(tmp_path):
    """A child that leaves by ``os._exit`` has sent what it flushed, and the parent all it had."""
    run(
        tmp_path,
        """
        configure()
        with touchpoint("parent"):
            pass
        pid = os.fork()
        if pid == 0:
            with touchpoint("child"):
                pass
            cxtrace.flush(50)
            os._exit(0)
        wait_for(pid)
        """,
    )

    assert names(tmp_path) == ["child", "parent"]


def test_a_fork_before_configuring(tmp_path):
    """A child that configures itself is a process like any other."""
    run(
        tmp_path,
        """
        pids = []
        for number in range(3):
            pid = os.fork()
            if pid == 0:
                configure()
                with touchpoint(f"child {number}"):
                    pass
                sys.exit(0)
            pids.append(pid)
        for pid in pids:
            wait_for(pid)
        """,
    )

    assert names(tmp_path) == ["child 0", "child 1", "child 2"]
