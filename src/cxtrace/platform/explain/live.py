"""What is in force in a process, as plain data: where things go, and what settings and map say."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from attrs import asdict, field, frozen
from attrs.converters import optional

from cxtrace import attributes as names

Signal: TypeAlias = Literal["traces", "metrics", "logs"]
Encryption: TypeAlias = Literal["tls", "none", "loopback", "disk", "terminal", "unknown"]

TEXTS: Final = (names.EXCEPTION_MESSAGE, names.EXCEPTION_STACKTRACE)
"""Attributes whose text is anybody's."""

_HERE: Final = ("localhost",)
_TERMINAL: Final = ("Console", "Tree")


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _facets(value: Iterable[str]) -> frozenset[str]:
    return frozenset(value)


@frozen
class Destination:
    """Somebody who takes spans, metrics or log records.

    Attributes:
        signal: What it takes.
        name: Class of the exporter, or of a part of others that shows no exporter.
        owner: The package that has it.
        endpoint: Where to, without user, password and query; None where that is not known.
        headers: Names of the headers that are sent along.
        is_spooled: Whether what cannot be sent waits on disk.
        scrub: What leaves beside the list that `scrub` lets through; None where all leaves.
    """

    signal: Signal
    name: str
    owner: str
    endpoint: str | None = None
    headers: tuple[str, ...] = field(default=(), converter=_names)
    is_spooled: bool = False
    scrub: tuple[str, ...] | None = field(default=None, converter=optional(_names))

    def lets_through(self, attribute: str) -> bool:
        """Whether an attribute that cxtrace sets gets there: of those, scrubbing stops texts."""
        if self.scrub is None or attribute not in TEXTS:
            return True
        starts = tuple(each[:-1] for each in self.scrub if each.endswith(".*"))
        return attribute in self.scrub or attribute.startswith(starts)

    @property
    def encryption(self) -> Encryption:
        """How what is sent is kept from others on the way."""
        if self.endpoint is None:
            return "terminal" if self.name.startswith(_TERMINAL) else "unknown"
        parts = urlsplit(self.endpoint)
        if parts.scheme == "file":
            return "disk"
        if parts.scheme == "https":
            return "tls"
        return "loopback" if _is_loopback(parts.hostname or "") else "none"


def _is_loopback(host: str) -> bool:
    try:
        return host in _HERE or ip_address(host).is_loopback
    except ValueError:
        return False


@frozen
class MapFacts:
    """What the journey map makes possible.

    Attributes:
        name: Of the map.
        version: Of the map.
        context: Keys of ``cx.context`` that code may set.
        has: Facets of it that add something to what is sent: ``promises``, ``happy`` and so on.
    """

    name: str
    version: str
    context: tuple[str, ...] = field(default=(), converter=_names)
    has: frozenset[str] = field(default=frozenset(), converter=_facets)


@frozen
class Live:
    """What is in force.

    Attributes:
        state: Whether ``configure()`` was called, or OpenTelemetry is switched off.
        service: Name of the service; None where it is not known.
        settings: Those of ``configure()`` by name, without the key.
        key: ``given``, ``ephemeral`` or ``missing``.
        key_id: Its fingerprint, or the name that it was given.
        older_keys: Ids of the other keys that are believed.
        journey_map: The map in force.
        destinations: Who takes what.
        propagators: Short names, in order.
        sampler: What the sampler says of itself; None where it is not known.
        resource: Names of the attributes of the resource.
        is_measuring_by_trace: Whether metrics may carry the id of a trace as an example.
    """

    state: Literal["configured", "disabled", "not_configured"]
    service: str | None = None
    settings: Mapping[str, Any] = field(factory=dict)
    key: Literal["given", "ephemeral", "missing"] = "missing"
    key_id: str | None = None
    older_keys: tuple[str, ...] = field(default=(), converter=_names, kw_only=True)
    journey_map: MapFacts | None = None
    destinations: tuple[Destination, ...] = ()
    propagators: tuple[str, ...] = field(default=(), converter=_names)
    sampler: str | None = None
    resource: tuple[str, ...] = field(default=(), converter=_names)
    is_measuring_by_trace: bool = True

    def of(self, signal: Signal) -> list[Destination]:
        """Who takes a signal."""
        return [each for each in self.destinations if each.signal == signal]

    @property
    def carries_spans(self) -> bool:
        """Whether spans, with their events, go anywhere."""
        return bool(self.of("traces"))

    @property
    def joins_requests(self) -> bool:
        """Whether requests that go out carry ``traceparent``."""
        return "TraceContextTextMapPropagator" in self.propagators

    @property
    def has_span_events(self) -> bool:
        """Whether signals become events of spans that go somewhere."""
        return self.carries_spans and self.settings.get("event_signal") != "log"

    @property
    def has_log_events(self) -> bool:
        """Whether signals become log records that go somewhere."""
        return bool(self.of("logs")) and self.settings.get("event_signal") != "span"

    @property
    def has_exceptions(self) -> bool:
        """Whether text and stack of exceptions stand on spans that go somewhere."""
        return self.carries_spans and self.settings.get("record_exceptions") is not None

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON has them."""
        return asdict(self, value_serializer=_plain)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Live":
        """The facts, as ``to_dict`` gave them."""
        journey_map = found["journey_map"]
        return cls(
            **{
                **found,
                "journey_map": None if journey_map is None else MapFacts(**journey_map),
                "destinations": tuple(Destination(**each) for each in found["destinations"]),
            }
        )


def _plain(_owner: object, _field: object, value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value
