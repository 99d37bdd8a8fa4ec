"""Search everything that was captured for what must not leave the process."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

Place: TypeAlias = tuple[str, str]
"""Where something was found, and the text it was found in."""

_CERTAIN: Final = 6
"""From so many characters on, an id is not found in other words by chance."""


def places_of(given: object, captured: Iterator[Place]) -> list[str]:
    """Where an id stands: as it is, escaped, in base64, or under a hash without a key.

    Raises:
        ValueError: The id is empty.
    """
    forms = {how: _finder(form) for how, form in _forms(str(given)).items()}
    found = []
    for where, text in captured:
        folded = text.casefold()
        for how, is_in in forms.items():
            if is_in(folded):
                found.append(f"{where}{how}: {text[:200]!r}")
                break
    return found


def _forms(given: str) -> dict[str, str]:
    if not given:
        raise ValueError("an id to look for must not be empty")
    raw = given.encode("utf-8", "surrogatepass")
    found = {"": given, ", escaped": quote(raw, safe="")}
    found[", in base64"] = b64encode(raw).decode().rstrip("=")
    for name in ("md5", "sha1", "sha256"):
        digest = hashlib.new(name, raw, usedforsecurity=False)
        found[f", as {name} without a key"] = digest.hexdigest()
    return found


def _finder(form: str) -> Callable[[str], bool]:
    folded = form.casefold()
    if len(folded) >= _CERTAIN and not folded.isdigit():
        return lambda text: folded in text
    # A short one or a number may stand within a pseudonym or another number.
    whole = re.compile(rf"(?<![0-9a-z]){re.escape(folded)}(?![0-9a-z])")
    return lambda text: whole.search(text) is not None


def texts(spans: list[Any], records: list[Any], metrics: Any) -> Iterator[Place]:
    """Every text and every number that was captured, with its place; but for ids and times."""
    for span in spans:
        yield from _texts_of_span(span)
    for record in records:
        at = f"the log record {record.event_name or record.severity_text or ''!r}"
        yield from _texts(record.body, f"the body of {at}")
        yield from _texts(record.event_name, f"the name of {at}")
        yield from _texts(record.attributes, at)
    for resource in () if metrics is None else metrics.resource_metrics:
        yield from _texts(resource.resource.attributes, "the resource")
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                yield from _texts_of_metric(metric)


def _texts_of_span(span: Any) -> Iterator[Place]:
    at = f"the span {span.name!r}"
    yield from _texts(span.name, f"the name of {at}")
    yield from _texts(span.status.description, f"the status of {at}")
    yield from _texts(span.attributes, at)
    yield from _texts(span.get_span_context().trace_state, f"the trace state of {at}")
    for event in span.events:
        yield from _texts(event.name, f"the name of an event of {at}")
        yield from _texts(event.attributes, f"the event {event.name!r} of {at}")
    for link in span.links:
        yield from _texts(link.attributes, f"a link of {at}")
        yield from _texts(link.context.trace_state, f"the trace state of a link of {at}")


def _texts_of_metric(metric: Any) -> Iterator[Place]:
    at = f"the metric {metric.name!r}"
    yield from _texts((metric.name, metric.unit, metric.description), at)
    for point in metric.data.data_points:
        yield from _texts(point.attributes, at)
        for exemplar in point.exemplars:
            yield from _texts(exemplar.filtered_attributes, f"an exemplar of {at}")


def _texts(value: Any, at: str) -> Iterator[Place]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"a key of {at}", str(key)
            yield from _texts(inner, f"{key!r} of {at}")
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner, at)
    elif isinstance(value, bytes):
        yield at, value.decode("utf-8", "replace")
    elif value is not None:
        yield at, str(value)
