"""The first code of the patient, before anything of cxtrace or the application is imported.

An application may patch threads before it imports anything, as with gevent, and the order of what
it imports is a part of what is examined. So this module imports the standard library alone, and is
loaded without its package.
"""

import importlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

_HEARD_OF = ("cxtrace", "opentelemetry")
_ENOUGH = 1_000


class Heard(logging.Handler):
    """Keeps what is logged, and shows none of it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        if len(self.said) < _ENOUGH:
            self.said.append(record.getMessage())


class TroubleError(Exception):
    """The application did not come up; the message says why."""


def main() -> None:
    """Read on standard input what is asked, and answer on standard output, both in JSON."""
    asked: dict[str, Any] = json.loads(sys.stdin.read())
    # Whatever the application prints goes elsewhere.
    answer = os.dup(1)
    os.dup2(2, 1)
    heard = Heard()
    for name in _HEARD_OF:
        logging.getLogger(name).addHandler(heard)
    sys.argv[:] = [asked["app"] or "cxtrace"]
    result = _diagnosed(asked, heard)
    with os.fdopen(answer, "w", encoding="utf-8") as out:
        json.dump(result, out)
    if asked["is_silent"]:
        # Whoever exits sends what waits, and the newest metrics.
        os._exit(0)


def _diagnosed(asked: dict[str, Any], heard: Heard) -> dict[str, Any]:
    app = refusal = None
    if asked["app"]:
        try:
            app = application(asked["app"])
        except TroubleError as error:
            refusal = _refusal(error.__cause__)
            if refusal is None:
                return {"trouble": str(error)}
    patient = importlib.import_module(asked["patient"])
    found: dict[str, Any] = patient.diagnose(asked, app, refusal, heard.said)
    return found


def _refusal(cause: BaseException | None) -> Any:
    """The error, if it is one of cxtrace's own, which say what to do."""
    ours = sys.modules.get("cxtrace.exceptions")
    return cause if ours is not None and isinstance(cause, ours.CXTraceError) else None


def application(name: str) -> Any:
    """Import what ``MODULE:ATTR`` names, and give the application, or None for a module alone.

    Args:
        name: ``shop.main``, ``shop.main:app``, or ``shop.main:create_app()``, which is called.

    Raises:
        TroubleError: It cannot be had.
    """
    module_name, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.removesuffix("()").split(".") if path else ():
            found = getattr(found, part)
        if path.endswith("()"):
            found = found()
    except BaseException as error:  # it may leave the process, too
        raise TroubleError(_why(error)) from error
    return found if path else getattr(found, "app", getattr(found, "application", None))


def _why(error: BaseException) -> str:
    """What happened and where. The text of an error may hold a secret, except of a few kinds."""
    kind = type(error).__name__
    if isinstance(error, (ImportError, SyntaxError, AttributeError)):
        return f"{kind}: {error}"
    traceback = error.__traceback__
    place = ""
    while traceback is not None:
        place = f" in {Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return f"{kind}{place}"
