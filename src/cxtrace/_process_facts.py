"""The process that is looked at: its forks, its threads, and who else traces it."""

import os
import platform
import sys
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from opentelemetry import trace

from cxtrace import _guard, _runtime
from cxtrace._wiring_parts import attempt, owner_of

_PACKAGES: Final = ("cxtrace", "opentelemetry-api", "opentelemetry-sdk")
_UWSGI_THREADS: Final = ("enable-threads", b"enable-threads", "threads", b"threads")


@frozen
class ProcessFacts:
    """The process that is looked at.

    Attributes:
        pid: Its number.
        forks: How many forks lie between it and the process that imported cxtrace.
        server: What started it as a worker: ``gunicorn``, ``uwsgi``, ``celery``; None if unknown.
        has_threads: Whether threads of Python run in it; uWSGI stops them by default.
        patched: ``gevent`` or ``eventlet``, where one has replaced the standard library's threads.
        is_patched_late: Whether that came after the import of cxtrace, which has real locks then.
        versions: Of Python, cxtrace and OpenTelemetry.
    """

    pid: int
    forks: int
    server: str | None
    has_threads: bool
    patched: str | None
    is_patched_late: bool
    versions: Mapping[str, str]


def process() -> ProcessFacts:
    """What this process is."""
    patched = next(filter(_is_patched, ("gevent", "eventlet")), None)
    late = patched is not None and type(_guard._locks.lock) is not type(threading.RLock())  # noqa: SLF001
    uwsgi = sys.modules.get("uwsgi")
    options = getattr(uwsgi, "opt", {})
    return ProcessFacts(
        pid=os.getpid(),
        forks=_runtime.forks,
        server=_server(),
        has_threads=uwsgi is None or any(name in options for name in _UWSGI_THREADS),
        patched=patched,
        is_patched_late=late,
        versions={"python": platform.python_version(), **_versions()},
    )


def others() -> tuple[str, ...]:
    """Agents of others that trace this process too."""
    return tuple(name for name, is_active in _OTHERS.items() if attempt(is_active))


def _server() -> str | None:
    program = Path(sys.argv[0]).name if sys.argv else ""
    if "uwsgi" in sys.modules:
        return "uwsgi"
    return next((name for name in ("gunicorn", "celery") if program.startswith(name)), None)


def _is_patched(name: str) -> bool:
    if name == "gevent":
        monkey: Any = sys.modules.get("gevent.monkey")
        return bool(monkey and attempt(lambda: monkey.is_module_patched("threading")))
    patcher: Any = sys.modules.get("eventlet.patcher")
    return bool(patcher and attempt(lambda: patcher.is_monkey_patched("thread")))


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "0"
    return found


def _module(name: str) -> Any:
    return sys.modules.get(name)


def _is_sentry_tracing() -> bool:
    sentry = _module("sentry_sdk")
    if sentry is None:
        return False
    options = sentry.get_client().options
    traces = options.get("traces_sample_rate") or options.get("traces_sampler")
    return bool(traces) and options.get("instrumenter") != "otel"


def _is_datadog_tracing() -> bool:
    datadog = _module("ddtrace.trace") or _module("ddtrace")
    return datadog is not None and bool(datadog.tracer.enabled)


def _is_new_relic_tracing() -> bool:
    agent = _module("newrelic.agent")
    return agent is not None and bool(agent.global_settings().license_key)


def _is_elastic_tracing() -> bool:
    elastic = _module("elasticapm")
    return elastic is not None and elastic.get_client() is not None


def _is_logfire_left_out() -> bool:
    """Whether logfire came second: it then sends nothing of the provider that is there."""
    logfire = _module("logfire")
    if logfire is None or not logfire.DEFAULT_LOGFIRE_INSTANCE.config._initialized:  # noqa: SLF001
        return False
    return owner_of(trace.get_tracer_provider()) != "logfire"


_OTHERS: Final[Mapping[str, Callable[[], bool]]] = {
    "Datadog (ddtrace)": _is_datadog_tracing,
    "Sentry (sentry_sdk)": _is_sentry_tracing,
    "New Relic (newrelic)": _is_new_relic_tracing,
    "Elastic APM (elasticapm)": _is_elastic_tracing,
    "Logfire (logfire)": _is_logfire_left_out,
}
