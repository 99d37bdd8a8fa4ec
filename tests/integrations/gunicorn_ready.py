"""gunicorn's configuration: each worker says when it can be stopped."""

from typing import Any


def post_worker_init(worker: Any) -> None:
    """Say so in the log."""
    worker.log.info("Worker %s has booted", worker.pid)
