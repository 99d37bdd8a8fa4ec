"""The queue between the services: it lives in a process of its own, and is reached by a socket."""

import functools
from multiprocessing.managers import BaseManager
from queue import Queue
from typing import Any, cast

from .settings import BROKER, BROKER_KEY

Message = dict[str, Any]


class _Broker(BaseManager):
    """Python's own way to share an object between processes."""


def connect() -> "Queue[Message]":
    """The queue of the warehouse, as seen from another process."""
    _Broker.register("warehouse")
    broker = _Broker(BROKER, BROKER_KEY)
    broker.connect()
    return cast("Queue[Message]", broker.warehouse())  # type: ignore[attr-defined]


def main() -> None:
    """Hold the queue until the process is stopped."""
    warehouse: Queue[Message] = Queue()
    _Broker.register("warehouse", functools.partial(lambda: warehouse))
    server = _Broker(BROKER, BROKER_KEY).get_server()
    print("open", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
