"""Reading a trace back: Jaeger, VictoriaTraces and Tempo, each by its own interface.

Which one it is, is found out by asking. A trace that is not there yet is asked for again, ever more
slowly, until the time is over.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from attrs import frozen

from cxtrace._wiring_parts import without_secrets
from cxtrace.platform.doctor.asking import Answer, ask

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 2.0
_SECONDS: Final = 5.0
_FOUND: Final = 200
_VALUES: Final = ("stringValue", "boolValue", "intValue", "doubleValue")

Tags: TypeAlias = Mapping[str, Any]
Spans: TypeAlias = Iterator[tuple[str, Tags]]


@frozen
class Backend:
    """A backend that can be asked for a trace.

    Attributes:
        name: As people know it.
        path: Of a trace, behind the address, with ``{}`` for its id.
        url: The address; may hold a password.
        spans: Reads names and attributes of spans from an answer.
        skew: Seconds by which its clock is ahead; None where it does not tell.
    """

    name: str
    path: str
    url: str
    spans: Callable[[Any], Spans]
    skew: float | None = None


def jaeger_spans(answer: Any) -> Spans:
    """The spans of Jaeger's own JSON, which VictoriaTraces writes too."""
    for trace in answer["data"] or ():
        for span in trace["spans"]:
            tags = {tag["key"]: tag["value"] for tag in span.get("tags") or ()}
            yield span["operationName"], tags


def otlp_spans(answer: Any) -> Spans:
    """The spans of OTLP JSON, as Jaeger's newer interface and Tempo wrap it."""
    inner = answer.get("result") or answer.get("trace") or answer
    for resource in inner.get("resourceSpans") or inner.get("batches") or ():
        scopes = resource.get("scopeSpans") or resource.get("instrumentationLibrarySpans") or ()
        for scope in scopes:
            for span in scope.get("spans") or ():
                pairs = span.get("attributes") or ()
                yield span["name"], {pair["key"]: _value(pair.get("value")) for pair in pairs}


def _value(value: Any) -> Any:
    known = value if isinstance(value, dict) else {}
    return next((known[kind] for kind in _VALUES if kind in known), "")


def find(url: str, wait: float = _SECONDS) -> Backend | str:
    """What answers at an address; where it is none of ours, what it said instead.

    Args:
        url: The address of the query side, as ``http://jaeger:16686``.
        wait: Seconds for each of at most five attempts.
    """
    base = url.rstrip("/")
    said = []
    for name, question, is_it, path, spans in _KINDS:
        answer = ask(f"{base}{question}", wait)
        if answer.status == _FOUND and is_it(answer):
            if "/select/jaeger" in f"{base}{path}":
                name = "VictoriaTraces"  # noqa: PLW2901
            return Backend(name, path, base, spans, answer.skew)
        if not answer.status:
            return f"{without_secrets(base)} does not answer: {answer.problem}"
        said.append(str(answer.status))
    return f"{without_secrets(base)} is no Jaeger, Tempo or VictoriaTraces ({', '.join(said)})"


def _is_list_of_services(answer: Answer) -> bool:
    found = answer.json()
    return isinstance(found, dict) and "data" in found


def _has_services(answer: Answer) -> bool:
    found = answer.json()
    return isinstance(found, dict) and (not found or "services" in found)


def _says_echo(answer: Answer) -> bool:
    return answer.body.strip() == b"echo"


_Kind: TypeAlias = tuple[str, str, Callable[[Answer], bool], str, Callable[[Any], Spans]]

_KINDS: Final[tuple[_Kind, ...]] = (
    ("Jaeger", "/api/services", _is_list_of_services, "/api/traces/{}", jaeger_spans),
    ("Jaeger", "/api/v3/services", _has_services, "/api/v3/traces/{}", otlp_spans),
    ("Tempo", "/api/echo", _says_echo, "/api/traces/{}", otlp_spans),
    (
        "VictoriaTraces",
        "/select/jaeger/api/services",
        _is_list_of_services,
        "/select/jaeger/api/traces/{}",
        jaeger_spans,
    ),
)


def read_back(backend: Backend, trace_id: str, span: str, timeout: float) -> Tags | None:
    """The attributes of a span of a trace, as soon as the backend has it; None if it never does.

    Args:
        backend: Where to look.
        trace_id: In hexadecimal digits.
        span: Its name.
        timeout: Seconds, in which the backend is asked at least once.
    """
    until = time.monotonic() + timeout
    wait = _FIRST_WAIT
    while True:
        found = _once(backend, trace_id, span)
        left = until - time.monotonic()
        if found is not None or left <= 0:
            return found
        time.sleep(min(wait, left))
        wait = min(wait * 2, _LONGEST_WAIT)


def _once(backend: Backend, trace_id: str, name: str) -> Tags | None:
    url = f"{backend.url}{backend.path.format(trace_id)}"
    answer = ask(url, _SECONDS, headers={"Accept": "application/json"})
    if answer.status != _FOUND:
        return None
    try:
        return next((tags for each, tags in backend.spans(answer.json()) if each == name), None)
    except (LookupError, TypeError, AttributeError):
        return None
