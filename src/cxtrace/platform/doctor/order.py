"""Checks of order: propagators, and the middlewares of the application."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from cxtrace._wiring_parts import attempt, name_of
from cxtrace.platform.doctor.subject import Finding, Findings, Subject

_OURS: Final = "cxtrace.propagation.CXPropagator"
_BEFORE_OURS: Final = ("TraceContextTextMapPropagator", "W3CBaggagePropagator")
_RIGHT: Final = "OTEL_PROPAGATORS=tracecontext,baggage,cxtrace"
_MIDDLEWARES: Final = tuple(
    f"cxtrace.integrations.{name}.CXMiddleware" for name in ("asgi", "wsgi", "django")
)
_OPENTELEMETRY: Final = "opentelemetry.instrumentation."
_INNER: Final = ("app", "wsgi_app", "_app", "wsgi", "_wsgi", "application")
_DEEPEST: Final = 40


def propagators(subject: Subject) -> Findings:
    """Whether ours is there, and after those whose work it checks."""
    if subject.facts.state != "configured":
        return
    found = [each.name for each in subject.facts.propagators]
    short = [each.short for each in subject.facts.propagators]
    if _OURS not in found:
        yield Finding(
            "propagator-missing",
            "error",
            "cxtrace is not among the propagators: journeys end at this service.",
            f"Write {_RIGHT}; set_global_textmap() has to come before cxtrace.configure().",
        )
        return
    late = [name for name in _BEFORE_OURS if name in short[found.index(_OURS) :]]
    if late:
        yield Finding(
            "propagator-order",
            "error",
            f"cxtrace comes before {' and '.join(late)} among the propagators, so what it decides "
            "is undone, and what strangers send is believed.",
            f"Write {_RIGHT}.",
        )
    lost = [name for name in _BEFORE_OURS if name not in short]
    if lost and not any(name_of_others in short for name_of_others in _CARRIERS):
        yield Finding(
            "propagator-lost",
            "warning",
            f"The propagators lack {' and '.join(lost)}: traces or journeys are torn between "
            "services.",
            f"Write {_RIGHT}.",
        )


_CARRIERS: Final = ("B3MultiFormat", "B3SingleFormat", "JaegerPropagator", "AwsXRayPropagator")
"""Of others, who carry the trace in their own way."""


def middlewares(subject: Subject) -> Findings:
    """Whether our middleware stands inside of OpenTelemetry's, where the server's span is."""
    for where, names in _chains(subject.app):
        ours = [at for at, name in enumerate(names) if name in _MIDDLEWARES]
        theirs = [at for at, name in enumerate(names) if name.startswith(_OPENTELEMETRY)]
        if not ours or not theirs or max(ours) > max(theirs):
            continue
        # Right around OpenTelemetry's, ours for ASGI moves into it by itself.
        if names[max(ours)] == _MIDDLEWARES[0] and max(ours) + 1 in theirs:
            continue
        yield Finding(
            "middleware-order",
            "error",
            f"In {where}, cxtrace's middleware stands outside of OpenTelemetry's, where the "
            "server's span is not there yet: each request gets a second span, around it.",
            "Put cxtrace's after OpenTelemetry's in a list that begins with the outermost, as "
            "Django's is; with add_middleware() and wrappers, add cxtrace's first.",
        )


def _chains(app: Any) -> Iterator[tuple[str, list[str]]]:
    """What a request goes through, from the outside, wherever that can be told."""
    if app is not None:
        around = attempt(lambda: list(_wrappers(app)), [])
        yield "the application's wrappers", around
        listed = attempt(lambda: [name_of(each.cls) for each in app.user_middleware], [])
        yield "app.user_middleware", listed
    yield "settings.MIDDLEWARE", attempt(lambda: list(_django()), [])


def _wrappers(app: Any) -> Iterable[str]:
    for _ in range(_DEEPEST):
        yield _name_of_wrapper(app)
        own = getattr(app, "__dict__", {})
        inner = [own[name] for name in _INNER if callable(own.get(name))]
        held = inner or list(_closed_over(app))
        if not held:
            return
        app = held[0]


def _name_of_wrapper(app: Any) -> str:
    if hasattr(app, "__code__"):
        return f"{app.__module__}.{app.__qualname__}"
    return name_of(app)


def _closed_over(app: Any) -> Iterator[Any]:
    """The application within a function that wraps it, as OpenTelemetry's for Flask does."""
    for name, cell in zip(
        getattr(getattr(app, "__code__", None), "co_freevars", ()),
        getattr(app, "__closure__", None) or (),
        strict=False,
    ):
        if name in _INNER:
            yield cell.cell_contents


def _django() -> Iterator[str]:
    conf: Any = sys.modules.get("django.conf")
    if conf is not None and conf.settings.configured:
        yield from conf.settings.MIDDLEWARE
