"""Two services under load, for ``test_key_rotation``: one calls the other, and their key changes.

Run as ``rotating.py FOLDER shop``; it starts ``rotating.py FOLDER stock`` and talks to it over
pipes. Each writes what it exported as one JSON object a line: service, journey, customer's
pseudonym, key id, and whose request it was.
"""

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

import cxtrace
from cxtrace import _key_file, _runtime, customer, identify, journey, touchpoint

THREADS = 3
JOURNEYS = 12
CHANGES = 4
NEW_EACH = 5
"""Requests after which a thread begins another journey."""

tracer = trace.get_tracer("host")


def key_of(number: int) -> str:
    """The secret of an epoch."""
    return f"{number}".zfill(40)


def write_keys(folder: Path, newest: int) -> None:
    """Put a new file of keys in the place of the old one."""
    lines = [f"q{number} = {key_of(number)}" for number in range(newest, -1, -1)]
    (folder / "keys.new").write_text("\n".join(lines) + "\n")
    (folder / "keys.new").replace(folder / "keys")


def configure(service: str) -> InMemorySpanExporter:
    """Keep every span of this process, whoever made it."""
    # Time goes by faster, in the same proportions.
    _key_file.LOOK_EVERY, _key_file.LEAD, _key_file._AGAIN = 0.05, 0.5, 0.0  # type: ignore[misc]
    _key_file._PATIENCE = 20.0  # type: ignore[misc]
    kept = InMemorySpanExporter()
    cxtrace.configure(service_name=service)
    provider: Any = trace.get_tracer_provider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return kept


def report(folder: Path, service: str, kept: InMemorySpanExporter) -> None:
    """Write down what was exported, and what went wrong."""
    lines = [
        {
            "service": service,
            "whose": span.attributes["whose"],
            "journey": span.attributes.get("cx.journey.id"),
            "pseudonym": span.attributes.get("enduser.pseudo.id"),
            "key_id": span.attributes.get("cx.customer.key_id"),
        }
        for span in kept.get_finished_spans()
        if span.attributes is not None and "whose" in span.attributes
    ]
    told = [json.dumps(line) for line in (*lines, {"counts": cxtrace.report().counts})]
    (folder / f"{service}.jsonl").write_text("\n".join(told))


# The service that is called


def stock(folder: Path) -> None:
    """Answer each line, which is a request, until there are no more."""
    kept = configure("stock")
    for line in sys.stdin:
        request = json.loads(line)
        token = attach(extract(request["headers"], Context()))
        try:
            with touchpoint("stock.reserve") as handle:
                handle.span.set_attribute("whose", request["whose"])
                identify(request["whose"])
        finally:
            detach(token)
        print("done", flush=True)
    report(folder, "stock", kept)


# The service that calls


class Visitor:
    """A thread whose customers go on with old journeys and begin new ones."""

    def __init__(self, number: int, pipe: "subprocess.Popen[str]", lock: threading.Lock) -> None:
        self.random = random.Random(number)
        self.number, self.pipe, self.lock = number, pipe, lock
        self.walks: list[tuple[str, str]] = []
        self.stop = threading.Event()
        self.count = 0

    def run(self) -> None:
        """One request after another, in every order in which a service can say who it is."""
        ways = [self.journey_first, self.customer_first, self.late, self.never_here]
        while not self.stop.is_set():
            if self.count % NEW_EACH == 0:
                whose = f"cust-{self.number}-{len(self.walks)}"
                with journey("first_order") as begun:
                    self.walks.append((whose, begun.id))
            is_new = self.count % NEW_EACH == 0
            some = self.walks[-1:] if is_new else self.walks[-JOURNEYS:] + self.walks[:JOURNEYS]
            whose, walk = self.random.choice(some)
            self.random.choice(ways)(whose, walk)
            self.count += 1

    def journey_first(self, whose: str, walk: str) -> None:
        """The session is known before the customer."""
        with journey("first_order", id=walk), customer(whose):
            self.visit(whose)

    def customer_first(self, whose: str, walk: str) -> None:
        """The customer is known before the session."""
        with customer(whose), journey("first_order", id=walk):
            self.visit(whose)

    def late(self, whose: str, walk: str) -> None:
        """The customer is known in the middle."""
        with journey("first_order", id=walk), touchpoint("cart.view") as handle:
            handle.span.set_attribute("whose", whose)
            identify(whose)
            self.visit(whose)

    def never_here(self, whose: str, walk: str) -> None:
        """Only the service that is called knows the customer."""
        with journey("first_order", id=walk):
            self.call(whose)

    def visit(self, whose: str) -> None:
        """A touchpoint, and a call to the other service in it."""
        with touchpoint("checkout.pay") as handle:
            handle.span.set_attribute("whose", whose)
            with tracer.start_as_current_span("SELECT") as span:
                span.set_attribute("whose", whose)
            self.call(whose)

    def call(self, whose: str) -> None:
        """Ask the other service, which is ours."""
        headers: dict[str, Any] = {}
        attributes = {"server.address": "localhost"}
        with tracer.start_as_current_span("POST", kind=SpanKind.CLIENT, attributes=attributes):
            inject(headers)
        to, back = _pipes(self.pipe)
        with self.lock:
            to.write(json.dumps({"headers": headers, "whose": whose}) + "\n")
            to.flush()
            assert back.readline() == "done\n"


def _pipes(process: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def shop(folder: Path) -> None:
    """Let customers come and go while the key is changed under them."""
    write_keys(folder, 0)
    kept = configure("shop")
    command = [sys.executable, __file__, str(folder), "stock"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        lock = threading.Lock()
        serve([Visitor(number, other, lock) for number in range(THREADS)], folder)
        _pipes(other)[0].close()
        assert other.wait(60) == 0
    report(folder, "shop", kept)


def serve(visitors: list[Visitor], folder: Path) -> None:
    """Change the key again and again, each time when the last change is in use."""
    threads = [threading.Thread(target=each.run) for each in visitors]
    for thread in threads:
        thread.start()
    for newest in range(1, CHANGES + 1):
        write_keys(folder, newest)
        while _runtime.key().key_id != f"q{newest}":
            time.sleep(0.01)
        wanted = [each.count + 3 * NEW_EACH for each in visitors]
        while any(each.count < least for each, least in zip(visitors, wanted, strict=True)):
            time.sleep(0.01)
    for visitor in visitors:
        visitor.stop.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    {"shop": shop, "stock": stock}[sys.argv[2]](Path(sys.argv[1]))
