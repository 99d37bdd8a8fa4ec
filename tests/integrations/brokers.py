"""Real brokers, for the tests of messages: RabbitMQ where it is installed, Kafka where one runs."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KAFKA = "CXTRACE_TEST_KAFKA"
"""Names a broker of Kafka to test with: ``127.0.0.1:9092``."""


def kafka() -> str:
    """Where Kafka listens. Skips a test where none does."""
    found = os.environ.get(KAFKA)
    if found is None:
        pytest.skip(f"{KAFKA} names no broker of Kafka")
    return found


@contextmanager
def rabbitmq(folder: Path) -> Iterator[int]:
    """Run RabbitMQ with its files in a folder; gives its port. Skips where it is not installed."""
    server = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin:/usr/local/sbin")
    if server is None:
        pytest.skip("RabbitMQ is not installed")
    port, between, names = free_ports(3)
    environ = {
        **os.environ,
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names),
        "RABBITMQ_NODENAME": "shop@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(between),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    log = folder / "server.log"
    with log.open("w", encoding="utf-8") as output:
        running = subprocess.Popen(
            [server], env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_for(log, running)
        yield port
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(60)
        subprocess.run(["epmd", "-kill"], env=environ, check=False, capture_output=True)


def wait_for(log: Path, running: "subprocess.Popen[bytes]") -> None:
    """Wait until a server has said that it is up."""
    for _ in range(600):
        if "completed with" in log.read_text(encoding="utf-8"):
            return
        if running.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"RabbitMQ did not start: {log.read_text(encoding='utf-8')}")


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
