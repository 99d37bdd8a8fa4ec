"""What a Collector lets pass: a list of attributes, and what may not stand in their values.

The second line behind the SDK. It fails closed: an attribute that is not on the list is removed.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from cxtrace import _scrubbing
from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.explain.registry import registry

Part: TypeAlias = dict[str, Any]
"""A part of a configuration."""

OF_RESOURCES: Final = (
    *("service.name", "service.namespace", "service.version", "service.instance.id"),
    *("deployment.environment", "deployment.environment.name"),
    *("telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version"),
    *("telemetry.auto.version", "telemetry.distro.name", "telemetry.distro.version"),
    *("process.pid", "process.runtime.name", "process.runtime.version", "os.type", "host.name"),
    *("container.id", "container.name", "container.image.name", "container.image.tags"),
    *("k8s.cluster.name", "k8s.namespace.name", "k8s.node.name", "k8s.pod.name", "k8s.pod.uid"),
    *("k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name", "k8s.job.name"),
    *("k8s.cronjob.name", "k8s.container.name", "k8s.replicaset.name"),
    *("cloud.provider", "cloud.platform", "cloud.region", "cloud.availability_zone"),
)
"""Where a service runs; nothing of this is about a customer."""

OF_THE_SDK: Final = ("otel.metric.overflow", "sampling.method")
"""What OpenTelemetry itself puts on metrics."""

QUALITIES: Final = r"^cx\.quality\.[a-z][a-z_]{0,31}$$"
"""Keys of ``cx.quality``, which code chooses and no map names. The Collector does not look into the
values of such a pattern; the SDK sends numbers.
"""

BLOCKED: Final = (
    # An e-mail address, also as it stands in a URL.
    r"[A-Za-z0-9._%+-]+(?:@|%40)(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}",
    # A card number, in one piece or in its usual groups. Other groups are those of a UUID.
    r"\b[2-6][0-9]{12,18}\b",
    r"\b[2-6][0-9]{3}(?:[ -][0-9]{4}){3}\b",
    r"\b3[47][0-9]{2}[ -][0-9]{6}[ -][0-9]{5}\b",
    # An IBAN.
    r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
    # A telephone number with its country.
    r"\+[1-9][0-9]{0,2}[ ().-]*(?:[0-9][ ().-]*){6,12}[0-9]",
    # A JSON Web Token.
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
)
"""What is masked in a value, as patterns of RE2. Random ids and pseudonyms never match."""

_MASK: Final = "****"


def allowed_keys(journey_map: JourneyMap) -> list[str]:
    """The attributes that pass, in the order of the alphabet.

    Our own, but for free text; with the keys that the map gives; those of OpenTelemetry's
    instrumentations that the SDK lets pass whole; and where a service runs.
    """
    known = registry().attributes
    keys = {*OF_RESOURCES, *OF_THE_SDK, *_scrubbing.STOCK}
    for name, attribute in known.items():
        if attribute.is_template:
            keys.update(f"{name}.{key}" for key in _keys_of(name, journey_map))
        elif attribute.pii_class != "free_text":
            keys.add(name)
    return sorted(keys)


def _keys_of(template: str, journey_map: JourneyMap) -> Iterator[str]:
    if template == names.CONTEXT:
        yield from journey_map.context
    elif template != names.QUALITY:
        yield from journey_map.functions


def attributes(journey_map: JourneyMap) -> Part:
    """The processor ``redaction``: it removes what is not listed, and masks what it must not say.

    Without a summary: the names of what it removed can say something themselves. Numbers are not
    looked into: the digits of a time would be taken for a card.
    """
    return {
        "allow_all_keys": False,
        "allowed_keys": [literal(key) for key in allowed_keys(journey_map)],
        "ignored_key_patterns": [QUALITIES],
        "blocked_values": list(BLOCKED),
        "summary": "silent",
    }


def texts() -> Part:
    """A ``transform`` that masks the same where ``redaction`` does not look: beside attributes."""
    return {
        "error_mode": "propagate",
        "trace_statements": [
            f"replace_pattern({field}, {ottl(pattern)}, {ottl(_MASK)})"
            for field in ("span.name", "span.status.message")
            for pattern in BLOCKED
        ],
    }


def literal(text: str) -> str:
    """A text in a configuration of the Collector, which would read ``$`` as a variable's."""
    return text.replace("$", "$$")


def ottl(text: str) -> str:
    """A text as a string of OTTL, in a configuration."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{literal(escaped)}"'
