"""Checks of what is set: variables, files and the map."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from cxtrace._flights import BATCH, QUEUE
from cxtrace._map.lint import lint
from cxtrace._settings import _OTHER_VARIABLES, _parsers
from cxtrace._wiring_parts import without_secrets
from cxtrace.exceptions import MapError
from cxtrace.platform.doctor.subject import Finding, Findings, Subject, plural

REFUSALS: Final[Mapping[str, str]] = {
    r"has no scheme": "endpoint-scheme",
    r"^(line \d+: )?the key has|^the key is no text": "key-short",
    r"(?i)batch": "batch-sizes",
}
"""What a refusal is about, so that it is not told twice."""

_OLDEST: Final = (1, 40)
_LONGEST_NAME: Final = 64
"""Characters of the longest value that is ours and must not be cut: a name or a journey's id."""

_FEWEST_ATTRIBUTES: Final = 64
_FEWEST_EVENTS: Final = 16
_SIGNALS: Final = ("TRACES_", "METRICS_", "LOGS_", "")
_QUEUES: Final = ("OTEL_BSP", "OTEL_BLRP")
_LONG_DELAY_MS: Final = 60_000
_SHOWN: Final = 3
_BESIDE_A_FILE: Final = re.compile(
    r"OTEL_(EXPORTER_OTLP_|TRACES_|METRICS_|LOGS_|BSP_|BLRP_|SPAN_|ATTRIBUTE_|SERVICE_NAME"
    r"|RESOURCE_ATTRIBUTES|PROPAGATORS|METRIC_EXPORT)"
)


def refused(subject: Subject) -> Findings:
    """Whether ``configure()`` refused."""
    if subject.refusal is None:
        return
    text = str(subject.refusal)
    if isinstance(subject.refusal, MapError):
        yield Finding("map-wrong", "error", text, "Mend the map; `cxtrace check` shows the same.")
        return
    name = next((name for each, name in REFUSALS.items() if re.search(each, text)), "refused")
    yield Finding(name, "error", text, "Until then configure() raises, and nothing is traced.")


def switched_off(subject: Subject) -> Findings:
    """Whether OpenTelemetry is switched off."""
    if subject.variable("OTEL_SDK_DISABLED").lower() == "true":
        yield Finding(
            "disabled",
            "error",
            "OTEL_SDK_DISABLED is true: nothing is traced.",
            "Unset OTEL_SDK_DISABLED where this service should be seen.",
        )


def unknown_variables(subject: Subject) -> Findings:
    """Whether a variable of ours is misspelt."""
    known = [f"CXTRACE_{name.upper()}" for name in (*_parsers(), *_OTHER_VARIABLES)]
    for variable in sorted(subject.environ):
        if variable.startswith("CXTRACE_") and variable not in known:
            near = get_close_matches(variable, known, 1)
            yield Finding(
                "unknown-variable",
                "warning",
                f"{variable} is not a setting and is ignored.",
                f"Write {near[0]}." if near else "Remove it.",
            )


def config_file(subject: Subject) -> Findings:
    """Whether variables are set that OpenTelemetry's file makes void."""
    file = subject.variable("OTEL_CONFIG_FILE")
    beside = sorted(name for name in subject.environ if _BESIDE_A_FILE.match(name))
    if file and beside:
        yield Finding(
            "config-file",
            "warning",
            f"OTEL_CONFIG_FILE is set, so OpenTelemetry ignores {', '.join(beside)}.",
            "Say it in the file, which may refer to a variable as ${NAME}, or unset one of both.",
        )


def endpoint_scheme(subject: Subject) -> Findings:
    """Whether an endpoint lacks its scheme, for which OpenTelemetry takes the host's name."""
    for signal in _SIGNALS:
        name = f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT"
        value = subject.variable(name)
        insecure = subject.variable(f"OTEL_EXPORTER_OTLP_{signal}INSECURE")
        insecure = insecure or subject.variable("OTEL_EXPORTER_OTLP_INSECURE")
        if value and not insecure and not value.startswith(("http://", "https://")):
            host = without_secrets(f"//{value.rpartition('//')[2]}").removeprefix("//")
            yield Finding(
                "endpoint-scheme",
                "error",
                f"{name} has no http:// or https:// before {host}.",
                f"Write {name}=http://{host}, or https://{host} for TLS.",
            )


def batch_sizes(subject: Subject) -> Findings:
    """Whether the sizes of the queues defeat them."""
    for prefix in _QUEUES:
        queue = _whole(subject, f"{prefix}_MAX_QUEUE_SIZE", QUEUE)
        batch = _whole(subject, f"{prefix}_MAX_EXPORT_BATCH_SIZE", min(BATCH, queue or QUEUE))
        delay = _whole(subject, f"{prefix}_SCHEDULE_DELAY", 0)
        if queue is None or batch is None or delay is None:
            yield Finding(
                "batch-sizes",
                "warning",
                f"One of {prefix}_* is no whole number, so OpenTelemetry takes its default.",
                "Write a number without unit; times are milliseconds.",
            )
        elif batch > queue:
            yield Finding(
                "batch-sizes",
                "error",
                f"{prefix}_MAX_EXPORT_BATCH_SIZE ({batch}) is larger than "
                f"{prefix}_MAX_QUEUE_SIZE ({queue}): no batch can ever fill.",
                "Make the queue at least four times as large as the batch.",
            )
        elif delay > _LONG_DELAY_MS:
            yield Finding(
                "batch-sizes",
                "warning",
                f"{prefix}_SCHEDULE_DELAY lets items wait for {delay} ms.",
                "It is in milliseconds; OpenTelemetry's default is 5000.",
            )


def _whole(subject: Subject, name: str, default: int) -> int | None:
    value = subject.variable(name)
    try:
        return int(value) if value else default
    except ValueError:
        return None


def limits(subject: Subject) -> Findings:
    """Whether so little fits on a span that our tags are lost or cut."""
    found = subject.facts.limits
    if found is None:
        return
    if found.attributes is not None and found.attributes < _FEWEST_ATTRIBUTES:
        yield Finding(
            "attribute-limit",
            "warning",
            f"A span keeps {plural(found.attributes, 'attribute')}; past that the oldest are "
            "dropped, which are journey, stage and owner.",
            f"Set OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT to {_FEWEST_ATTRIBUTES} or more; 128 is usual.",
        )
    if found.attribute_length is not None and found.attribute_length < _LONGEST_NAME:
        yield Finding(
            "attribute-length",
            "error",
            f"Values are cut after {plural(found.attribute_length, 'character')}: ids of "
            "journeys and customers no longer match.",
            "Set OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT (or OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT) to "
            f"{_LONGEST_NAME} or more, or unset it.",
        )
    fewest = [each for each in (found.events, found.event_attributes) if each is not None]
    if fewest and min(fewest) < _FEWEST_EVENTS:
        yield Finding(
            "event-limit",
            "warning",
            f"A span keeps {found.events} events, and an event {found.event_attributes} "
            "attributes: signals such as frictions are lost.",
            "Set OTEL_SPAN_EVENT_COUNT_LIMIT and OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT to 128.",
        )


def service_name(subject: Subject) -> Findings:
    """Whether the service has a name."""
    name = subject.facts.service_name
    if name is not None and (not name or name.startswith("unknown_service")):
        yield Finding(
            "service-name",
            "warning",
            f"The service has no name: backends show {name or 'nothing'!r}.",
            "Set OTEL_SERVICE_NAME, or service_name of configure().",
        )


def versions(subject: Subject) -> Findings:
    """Whether OpenTelemetry is old, or of two versions."""
    found = subject.facts.process.versions
    api, sdk = found["opentelemetry-api"], found["opentelemetry-sdk"]
    if min(_numbers(api), _numbers(sdk)) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        yield Finding(
            "opentelemetry-old",
            "error",
            f"OpenTelemetry is {min(api, sdk, key=_numbers)}; cxtrace is tested from {oldest} on.",
            f"Install opentelemetry-api and opentelemetry-sdk {oldest} or later.",
        )
    elif _numbers(api) != _numbers(sdk):
        yield Finding(
            "opentelemetry-mixed",
            "warning",
            f"opentelemetry-api is {api}, but opentelemetry-sdk {sdk}.",
            "Install both in the same version, in one call of the installer.",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def journey_map(subject: Subject) -> Findings:
    """Whether there is a map, and whether it deserves a second look."""
    if subject.journey_map is None:
        if subject.refusal is None and subject.facts.state == "configured":
            yield Finding(
                "map-missing",
                "note",
                "There is no journey map: stage, owner and promises come from the code alone.",
                "Set CXTRACE_MAP; `cxtrace scaffold` writes a first map.",
            )
        return
    found = [each for each in lint(subject.journey_map) if each.level != "note"]
    if found:
        shown = "; ".join(str(each.problem) for each in found[:_SHOWN])
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        yield Finding(
            "map-warnings",
            "warning",
            f"The journey map has {plural(len(found), 'warning')}: {shown}{more}.",
            "`cxtrace check` lists them; it can leave some out with --ignore.",
        )


def bindings(subject: Subject) -> Findings:
    """Whether every function that the map binds is there."""
    lost = [each for each in subject.bindings if each.state == "missing"]
    waiting = [each for each in subject.bindings if each.state == "waiting"]
    if lost:
        yield Finding(
            "function-missing",
            "error",
            "The map binds functions that are not there: "
            f"{', '.join(f'{each.target} ({each.touchpoint})' for each in lost)}.",
            "Mend `match.function` in the map. A module that was reloaded is not bound again.",
        )
    if waiting and subject.is_app:
        yield Finding(
            "function-waiting",
            "note",
            "The application has not imported the modules of "
            f"{', '.join(each.target for each in waiting)}.",
            "If it never does, these touchpoints never happen: mend `match.function` in the map.",
        )
