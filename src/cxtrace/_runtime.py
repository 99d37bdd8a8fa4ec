"""What ``configure()`` decided, as one value that is swapped whole.

The layers above read ``current`` and never ask who set it. Until somebody configures, spans go to
whatever provider OpenTelemetry has, and to nobody where it has none.
"""

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Link, Span, SpanContext

from cxtrace import _guard
from cxtrace._leave import without_ours
from cxtrace.context import Identity
from cxtrace.exceptions import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider

    from cxtrace._instruments import Bind, Instruments
    from cxtrace._keys import Key, Keys
    from cxtrace.journey_map import JourneyMap
    from cxtrace.typing import Pseudonymiser

TrustInbound: TypeAlias = Literal["signed", "always", "never"]
"""Which inbound baggage may set the journey: signed with our key, any, or none."""

UnknownDestination: TypeAlias = Literal["nothing", "names"]
"""What goes out where the destination is unknown: nothing, or names without any id."""

EventSignal: TypeAlias = Literal["span", "log", "both"]
"""Where a signal goes: to an event of the span, to a log record, or to both."""

RecordExceptions: TypeAlias = Literal["scrubbed", "full"]
"""What is recorded of an exception beside its class: text and stack, scrubbed or as they are."""

Attributes: TypeAlias = dict[str, Any]

_NEAR_THE_LIMIT: Final = 112
_LINKABLE: Final = ("granted", "not_required")


class Tracing(Protocol):
    """How a touchpoint's span is made and ended."""

    @property
    def idle(self) -> Callable[[], bool] | None:
        """Tells whether nobody listens; None where somebody always does."""
        ...

    def unsampled(self, context: Context) -> Span | None:
        """The current span, where it is certain that no span under it is recorded."""
        ...

    def start(
        self, name: str, attributes: Attributes, context: Context, origin: SpanContext | None
    ) -> Span:
        """A started span. ``origin`` becomes a link."""
        ...

    def finish(self, span: Span, last: Attributes, ours: Callable[[], Attributes]) -> None:
        """Set the ``last`` attributes and end the span; ``ours`` gives all others of ours."""
        ...

    def forget(self, span: Span, keys: tuple[str, ...]) -> None:
        """Take attributes from an open span."""
        ...

    def amend(self, span: Span, tags: Mapping[str, str], details: Mapping[str, str]) -> None:
        """Change a span that has ended and may still wait: ``details`` only what it has already."""
        ...

    def tell(self, span: Span, name: str, attributes: Attributes) -> None:
        """Add an event, whose attributes are valid, to an open span."""
        ...

    def write(self, span: Span, attributes: Attributes) -> None:
        """Set attributes, which are valid, on an open span of anyone."""
        ...


class ApiTracing:
    """Spans through OpenTelemetry's public API: right with every provider, fast with none."""

    def idle(self) -> bool:
        """Whether nobody has set a provider."""
        return type(trace.get_tracer_provider()) is trace.ProxyTracerProvider

    def unsampled(self, context: Context) -> Span | None:
        """Left to the provider."""
        return None

    def start(
        self, name: str, attributes: Attributes, context: Context, origin: SpanContext | None
    ) -> Span:
        """A span of the global provider."""
        return start_span(trace.get_tracer("cxtrace"), name, attributes, context, origin)

    def finish(self, span: Span, last: Attributes, ours: Callable[[], Attributes]) -> None:
        """End the span."""
        finish_span(span, last, ours)

    def forget(self, span: Span, keys: tuple[str, ...]) -> None:
        """Blank the attributes: the API has no way to delete one."""
        blank(span, keys)

    def amend(self, span: Span, tags: Mapping[str, str], details: Mapping[str, str]) -> None:
        """Nothing: the API has no way to change a span that has ended."""

    def tell(self, span: Span, name: str, attributes: Attributes) -> None:
        """Add an event."""
        span.add_event(name, attributes)

    def write(self, span: Span, attributes: Attributes) -> None:
        """Set attributes."""
        span.set_attributes(attributes)


class NoTracing(ApiTracing):
    """Nothing at all, because somebody has switched OpenTelemetry off."""

    def idle(self) -> bool:
        """Always."""
        return True


def start_span(
    tracer: trace.Tracer,
    name: str,
    attributes: Attributes,
    context: Context,
    origin: SpanContext | None,
) -> Span:
    """A span that records no exception by itself: its text may hold what a customer typed."""
    return tracer.start_span(
        name,
        context,
        attributes=attributes,
        links=None if origin is None else [Link(origin)],
        record_exception=False,
        set_status_on_exception=False,
    )


def finish_span(span: Span, last: Attributes, ours: Callable[[], Attributes]) -> None:
    """Set the last attributes and end the span.

    At its limit of 128 attributes OpenTelemetry drops the oldest first, which would be ours, set
    at the start. So near the limit they are all set again.
    """
    present = getattr(span, "attributes", None)
    if present is not None and len(present) >= _NEAR_THE_LIMIT:
        last = {**ours(), **last}
    span.set_attributes(last)
    span.end()


def blank(span: Span, keys: tuple[str, ...]) -> None:
    """Make attributes of an open span empty."""
    present = getattr(span, "attributes", None)
    if span.is_recording() and present is not None:
        span.set_attributes({key: "" for key in keys if key in present})


class Runtime:
    """The decisions in force. See ``cxtrace.configure`` for what each means.

    Attributes:
        anonymous: The identity of a customer of whom nothing is known.
        meter_provider: Takes our metrics; None is the global one.
        logger_provider: Takes our events as log records; None is the global one.
        plans: What touchpoints have been resolved to under these decisions.
        bindings: What the map says of requests and tasks, once it has been asked.
        watches: What finds friction at each touchpoint of the map, whichever channel leads there.
    """

    def __init__(
        self,
        tracing: Tracing | None = None,
        journey_map: "JourneyMap | None" = None,
        key: "Keys | None" = None,
        pseudonymiser: "Pseudonymiser | None" = None,
        consent_required: bool = False,
        trusted_hosts: tuple[str, ...] = (),
        trust_inbound: TrustInbound = "signed",
        unknown_destination: UnknownDestination = "nothing",
        public_endpoint: bool = False,
        event_signal: EventSignal | None = None,
        signals_off: frozenset[str] = frozenset(),
        metrics_opt_in: frozenset[str] = frozenset(),
        on_friction: Callable[[Any], object] | None = None,
        record_exceptions: RecordExceptions | None = None,
        bind: "Bind | None" = None,
    ) -> None:
        self.tracing: Tracing = ApiTracing() if tracing is None else tracing
        self.journey_map = journey_map
        self.key = key
        self.pseudonymiser = pseudonymiser
        self.consent_required = consent_required
        self.trusted_hosts = trusted_hosts
        self.trust_inbound: TrustInbound = trust_inbound
        self.unknown_destination: UnknownDestination = unknown_destination
        self.public_endpoint = public_endpoint
        self.event_signal: EventSignal | None = event_signal
        self.signals_off = signals_off
        self.metrics_opt_in = metrics_opt_in
        self.on_friction = on_friction
        self.record_exceptions: RecordExceptions | None = record_exceptions
        self.anonymous = Identity(linkable=not consent_required)
        self.meter_provider: MeterProvider | None = None
        self.logger_provider: LoggerProvider | None = None
        self.plans: dict[Any, Any] = {}
        self.watches: dict[str, Any] = {}
        self.bindings: Any = None
        self._bind = bind
        self._instruments: tuple[Instruments | None] | None = None

    def instruments(self) -> "Instruments | None":
        """The instruments of the meter provider; None if there was none at first, or it raised."""
        if self._instruments is None:
            # Metrics would make `import cxtrace` slower for those who never reach a touchpoint.
            from cxtrace import _instruments

            bind, found = self._bind or _instruments.bind, None
            try:
                found = _instruments.instruments_of(
                    self.meter_provider, bind, self.journey_map, self.metrics_opt_in
                )
            except Exception as error:  # noqa: BLE001  spans do without
                _guard.swallow("metrics", error)
            self._instruments = (found,)
        return self._instruments[0]


current: Runtime = Runtime()
"""The decisions in force now. Replaced whole; only a key that nobody gave is filled in late."""

_settling = threading.RLock()

forks: int = 0
"""How many forks lie between this process and the one that imported cxtrace."""


def is_linkable(consent: str) -> bool:
    """Whether consent allows what tells one customer from another."""
    return consent in _LINKABLE or (consent == "unknown" and not current.consent_required)


inherited: Span | None = None
"""The span that was current at the fork: the parent's, of whose copy a child keeps away."""


def is_idle() -> bool:
    """Whether nobody listens, so that nothing needs to be known."""
    idle = current.tracing.idle
    return idle is not None and idle()


def use(runtime: Runtime) -> None:
    """Put other decisions in force."""
    global current  # noqa: PLW0603
    current = runtime


def keys() -> "Keys":
    """The keys in force; the first use without one draws a key that only this process knows."""
    if current.key is None:
        _settle()
    return current.key  # type: ignore[return-value]


def key() -> "Key":
    """The key that makes what is new."""
    return keys().newest


def pseudonymiser() -> "Pseudonymiser":
    """The pseudonymiser in force."""
    if current.pseudonymiser is None:
        _settle()
    return current.pseudonymiser  # type: ignore[return-value]


def _settle() -> None:
    with _settling:
        if current.pseudonymiser is None or current.key is None:
            _settle_key()


def _settle_key() -> None:
    # hmac and its OpenSSL would double the cost of importing cxtrace.
    from cxtrace.privacy import HmacPseudonymiser, Key, load_keys

    try:
        found = current.key or load_keys(None, os.environ)
    except ConfigurationError as error:
        _guard.swallow("key", error)
        found = None
    given, found = found, found or Key.ephemeral()
    # First the key, then the warning: a log handler may ask for the key.
    current.key = found
    current.pseudonymiser = current.pseudonymiser or HmacPseudonymiser(found)
    if given is None:
        _guard.warn_once(
            "ephemeral-key",
            "cxtrace has no key: pseudonyms hold for this process only and services cannot be "
            "joined. Set CXTRACE_KEY to the same secret of 32 bytes or more in every service; "
            'python -c "import secrets; print(secrets.token_urlsafe(32))" makes one',
        )


def _after_fork() -> None:
    global forks, inherited, _settling  # noqa: PLW0603
    forks += 1
    _settling = threading.RLock()
    _guard.after_fork()
    inherited = trace.get_current_span()
    attach(without_ours(get_current()))


_guard.in_child(_after_fork)
