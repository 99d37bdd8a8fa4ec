"""The service once more, for prefork servers: WSGI, its telemetry set up before the fork."""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from tests.faults.telemetry import WORK, telemetry

_unwritten: list[Any] = []
# Registered first, so that it runs last, when the library has done what it does at the exit.
atexit.register(lambda: [each.write_books() for each in _unwritten])
_shop = telemetry()
_unwritten.append(_shop)


def _pay() -> dict[str, bool]:
    with _shop.payment():
        time.sleep(WORK)
    return {"paid": True}


_ROUTES: dict[str, Callable[[], object]] = {
    "/pay": _pay,
    "/pid": os.getpid,
    "/fork": _shop.fork,
    "/report": _shop.report,
}


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer a request."""
    answer = json.dumps(_ROUTES[environ["PATH_INFO"]](), default=str).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
