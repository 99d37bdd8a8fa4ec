"""Python imports this at its start where ``cxtrace run`` has put this folder on its path."""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  this early, import little


def _begin() -> None:
    """Start OpenTelemetry's automatic instrumentation, which calls us, or only us."""
    if sys.modules.get("opentelemetry.instrumentation.auto_instrumentation") is not None:
        return  # its own sitecustomize, which this one hid, has done so
    try:
        from opentelemetry.instrumentation.auto_instrumentation import initialize
    except ImportError:
        from cxtrace._zero_code import begin

        begin()
    else:
        initialize()


def _go_on() -> None:
    """Run the ``sitecustomize`` that this one hides."""
    others = [entry for entry in sys.path if os.path.abspath(entry) != _HERE]  # noqa: PTH100
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


try:
    _go_on()
finally:
    try:
        _begin()
    except ImportError as error:
        sys.stderr.write(f"cxtrace run: {sys.executable} goes on without cxtrace: {error}\n")
