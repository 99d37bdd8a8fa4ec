"""Celery: a task that the journey map knows becomes its touchpoint, in a worker or in place.

The touchpoint is the consumer's own span where OpenTelemetry's instrumentation has made one, and
a span of its own else. Each task has a customer of its own: the one whom its message tells.
"""

import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary

import wrapt
from attrs import frozen
from opentelemetry import propagate
from opentelemetry.context import Context, attach, get_current
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from cxtrace import _guard, _runtime
from cxtrace._leave import without_ours
from cxtrace._scope import RequestScope
from cxtrace._visit import Visit
from cxtrace.binding import bindings
from cxtrace.context import CXContext, cx_of, with_cx

__all__ = ["instrument_app"]

_OF_OPENTELEMETRY: Final = "opentelemetry.instrumentation.celery"
_OURS: Final = "cxtrace"
_SUCCESS: Final = "SUCCESS"


def instrument_app(app: object) -> None:  # noqa: ARG001  Celery's signals are the process's
    """Make a touchpoint of each task that the map binds by ``match = { task = … }``.

    Call it where the application is made, before or after OpenTelemetry's
    ``CeleryInstrumentor().instrument()``. All applications of the process are seen; a second call
    does nothing. Never raises.

    Args:
        app: The ``Celery`` application.
    """
    try:
        _place()
        wrapt.register_post_import_hook(_imported, _OF_OPENTELEMETRY)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("celery", error)


def instrument(module: ModuleType) -> None:
    """Take part in what Celery does, and in what OpenTelemetry's instrumentation does with it.

    Args:
        module: ``celery.app.trace`` or ``opentelemetry.instrumentation.celery``.
    """
    if module.__name__ == _OF_OPENTELEMETRY and not isinstance(
        module.extract, wrapt.FunctionWrapper
    ):
        wrapt.wrap_function_wrapper(module, "CeleryInstrumentor._instrument", _instrument)
        wrapt.wrap_function_wrapper(module, "extract", _extract)
    _place()


def _imported(module: ModuleType) -> None:
    try:
        instrument(module)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("celery", error)


def _instrument(original: Any, _: Any, args: Any, kwargs: Any) -> Any:
    done = original(*args, **kwargs)
    try:
        _place()
    except Exception as error:  # noqa: BLE001
        _guard.swallow("celery", error)
    return done


def _extract(original: Any, _: Any, args: Any, kwargs: Any) -> Context:
    try:
        nothing = None if _carries(args[0]) else _nothing(args[0])
    except Exception as error:  # noqa: BLE001
        _guard.swallow("celery.extract", error)
        nothing = None
    return original(*args, **kwargs) if nothing is None else nothing


def _nothing(request: Any) -> Context:
    """What the caller's context is where a message carries none.

    Our propagator begins a request even then. The instrumentation would take that for the caller's
    context, and a task that runs in place would begin a trace of its own. In a worker, the context
    that is here may be left over from another task.
    """
    now = get_current()
    if request.is_eager or cx_of(now) is None:
        return Context()
    return with_cx(now, CXContext(RequestScope(_runtime.current.anonymous)))


def _carries(request: Any) -> bool:
    return any(request.get(field) is not None for field in propagate.get_global_textmap().fields)


# Where we stand among the receivers of Celery's signals


def _celery(name: str) -> Any:
    return importlib.import_module(f"celery.{name}")


def _place() -> None:
    """Stand inside of OpenTelemetry's span: begin after it has, and end before it does."""
    signals = _celery("signals")
    for signal, ours, is_first in (
        (signals.task_prerun, _begin, True),
        (signals.task_postrun, _end, False),
        (signals.before_task_publish, _publish, False),
        (signals.task_failure, _lose, False),
        (signals.worker_process_shutdown, _flush, False),
    ):
        signal.connect(ours, weak=False, dispatch_uid=_OURS)
        with signal.lock:
            found = [entry for entry in signal.receivers if entry[0][0] != _OURS]
            theirs = [at for at, entry in enumerate(found) if _is_of_opentelemetry(entry[1])]
            at = 0 if is_first else len(found)
            if theirs:
                at = theirs[0] if signal is signals.task_postrun else theirs[0] + 1
            mine = [entry for entry in signal.receivers if entry[0][0] == _OURS]
            # At once, and the same list: tasks that begin now look at it without the lock.
            signal.receivers[:] = [*found[:at], *mine, *found[at:]]


def _is_of_opentelemetry(receiver: Any) -> bool:
    owner = getattr(receiver, "__self__", None)
    return any(kind.__module__.startswith(_OF_OPENTELEMETRY) for kind in type(owner).__mro__)


def _is_instrumented() -> bool:
    receivers = _celery("signals").task_prerun.receivers
    return any(_is_of_opentelemetry(receiver) for _, receiver in receivers)


# What they receive


@frozen(eq=False)
class _Run:
    """A task that runs: its visit, if the map knows it, and what was current before."""

    visit: Visit | None
    before: Context


_runs: Final[WeakKeyDictionary[Any, _Run]] = WeakKeyDictionary()


def _begin(task: Any = None, **_: object) -> None:
    try:
        run = _open(task)
        if run is not None:
            _runs[task.request] = run
    except Exception as error:  # noqa: BLE001
        _guard.swallow("celery.begin", error)


def _end(task: Any = None, state: str | None = None, retval: object = None, **_: object) -> None:
    try:
        run = _runs.pop(task.request, None)
        if run is None:
            return
        if state is None:  # something flies that Celery does not catch
            _close(run, sys.exc_info()[1])
        elif state != _SUCCESS and isinstance(retval, BaseException):
            _close(run, retval)
        else:
            _close(run, None)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("celery.end", error)


def _lose(sender: Any = None, exception: Any = None, **_: object) -> None:
    """A process has died over its task, and with it the visit. Its parent tells of it."""
    try:
        if isinstance(exception, _celery("exceptions").WorkerLostError):
            run = _open(sender)
            if run is not None:
                _close(run, exception)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("celery.lose", error)


def _flush(**_: object) -> None:
    """A process of billiard ends here: it runs none of Python's exit handlers."""
    # Loads the SDK, which a process that sends has loaded.
    from cxtrace import _config

    _config.flush()


def _open(task: Any) -> _Run | None:
    known = bindings()
    if known is None:
        return None
    request, before = task.request, get_current()
    _go_on(request, before)
    # Within a task, another may run in place: it has a touchpoint of its own.
    visit = known.named("task", task.name, _Request(request), f"task {request.id}")
    if visit is None and request.is_eager:
        _restore(before)
    return None if get_current() is before else _Run(visit, before)


def _close(run: _Run, error: BaseException | None) -> None:
    if run.visit is not None:
        _judge(run.visit, error)
        run.visit.leave(None if isinstance(error, _celery("exceptions").Ignore) else error)
    _restore(run.before)


def _restore(before: Context) -> None:
    if get_current() is not before:
        attach(before)


def _judge(visit: Visit, error: Any) -> None:
    """What Celery's own exceptions mean to the customer, unless the task has said so."""
    handle, kinds = visit.handle, _celery("exceptions")
    if handle is None:
        return
    again = isinstance(error, kinds.Retry)
    if again:
        handle.retry()  # the customer waits from now on: no part of this visit
    if handle.has_been_judged:
        return
    if again or (isinstance(error, kinds.Reject) and error.requeue):
        handle.outcome("deferred")
    elif error is not None and not isinstance(error, Exception):
        # Somebody has stopped the process, or the time was up: the customer has not gone.
        handle.fail(type(error).__name__)


# The caller's context


def _go_on(request: Any, now: Context) -> None:
    """Attach what the message tells; nothing of the task before goes on."""
    cx = cx_of(now)
    if request.is_eager:
        if cx is not None:
            # As in a worker: whom the task finds to be its customer, the caller does not learn.
            scope = RequestScope(cx.identity, settled=cx.scope.settled)
            attach(with_cx(now, cx._replace(scope=scope)))
        return
    is_instrumented = _is_instrumented()
    if is_instrumented and cx is not None and cx.block is None:
        return  # the instrumentation has just read it
    bare = without_ours(now)
    told = propagate.extract(request, bare, _GETTER)
    found = cx_of(told)
    if not is_instrumented:
        attach(told)
    elif found is not None:
        # Where the instrumentation links to the caller's span, it stays so.
        attach(with_cx(bare, found))
    else:
        attach(bare)


class _Getter(Getter[Any]):
    """Reads a message for OpenTelemetry's propagators."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        found = carrier.get(key)
        return [found] if isinstance(found, str) else None

    def keys(self, carrier: Any) -> list[str]:
        return [*(carrier.headers or ())]


_GETTER: Final = _Getter()


class _OnTheBroker(TraceState):
    """A trace state by which the propagator knows that a message stays with us."""

    goes_to_us = True


def _publish(headers: Any = None, **_: object) -> None:
    """Let a message carry the journey, where the instrumentation has not seen to it."""
    try:
        # Without headers there is a message of the old protocol, which has no room.
        if not headers or bindings() is None:
            return
        span = get_current_span()
        # A span that is not sampled has no attributes to tell that this goes to a broker.
        if not span.is_recording() if _is_instrumented() else _is_ours_to_write(headers):
            propagate.inject(headers, set_span_in_context(_producer(span)))
    except Exception as error:  # noqa: BLE001
        _guard.swallow("celery.publish", error)


def _is_ours_to_write(headers: Mapping[str, Any]) -> bool:
    """Whether the host has written no context into the message; a retry repeats the last one."""
    task = _celery("_state").get_current_task()
    last = {} if task is None else task.request.headers or {}
    fields = propagate.get_global_textmap().fields
    return all(headers[field] == last.get(field) for field in fields if field in headers)


def _producer(span: Span) -> Span:
    told = span.get_span_context()
    state = _OnTheBroker(list(told.trace_state.items()))
    return NonRecordingSpan(
        SpanContext(told.trace_id, told.span_id, told.is_remote, told.trace_flags, state)
    )


class _Request:
    """Answers the rules of the map out of the headers of a task's message."""

    __slots__ = ("_request",)

    def __init__(self, request: Any) -> None:
        self._request = request

    def header(self, name: str) -> str | None:
        wanted = name.lower()
        for key, value in (self._request.headers or {}).items():
            if key.lower() == wanted and isinstance(value, (str, int)):
                return str(value)
        return None

    def cookie(self, name: str) -> str | None:
        return None

    query = cookie

    def session(self, name: str) -> object:
        return None

    user = claim = session
