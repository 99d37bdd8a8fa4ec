"""``capture()``: put private parts in the place of cxtrace's own, and put these back."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from os import PathLike
from typing import Any, Final

from opentelemetry.context import Context, attach, get_current
from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from cxtrace import _clock, _config, _guard, _journey, _journeys, _observers, _runtime
from cxtrace import attributes as names
from cxtrace._config import runtime_of
from cxtrace._settings import Settings, settle
from cxtrace._wiring import Wiring
from cxtrace.journey_map import JourneyMap
from cxtrace.testing._capture import Capture
from cxtrace.testing._fixed import Clock, CountedIds
from cxtrace.testing._providers import Providers

_DEFAULTS: Final = {"sample": 1.0, "key": "a key that is known to everybody, for tests alone"}
_SERVICE: Final = "test"

_inside: ContextVar[Capture | None] = ContextVar("cxtrace.testing", default=None)


@contextmanager
def capture(
    *,
    journey_map: JourneyMap | str | PathLike[str] | Sequence[str] | None = None,
    consent_required: bool | None = None,
    sample: float | None = None,
    key: str | bytes | None = None,
    trusted_hosts: Sequence[str] | None = None,
    trust_inbound: _runtime.TrustInbound | None = None,
    unknown_destination: _runtime.UnknownDestination | None = None,
    public_endpoint: bool | None = None,
    event_signal: _runtime.EventSignal | None = None,
    signals_off: Sequence[str] | None = None,
    metrics_opt_in: Sequence[str] | None = None,
    on_friction: Callable[[Any], object] | None = None,
    real_time: bool = False,
) -> Iterator[Capture]:
    """Keep all that cxtrace sends in this process, until the end of the ``with``.

    OpenTelemetry's global providers are neither used nor changed, and the context begins empty.
    Afterwards everything is as it was. Captures may be nested: the innermost gets it all. Code
    that calls ``configure()`` meanwhile changes nothing; ``flush()`` and ``shutdown()`` do no harm.

    What is not given comes from ``[tool.cxtrace]`` in ``pyproject.toml``, or is ``configure()``'s
    default: a test is not to depend on the machine's variables. But all is sampled, and the key is
    a known one, so that pseudonyms are the same in every run.

    Args:
        journey_map: This and all but the last mean what they do in ``configure()``.
        consent_required: Treat consent that is unknown as denied.
        sample: Share of new traces that is kept. Metrics and signals are captured all the same.
        key: For pseudonyms and signatures.
        trusted_hosts: Hosts that may be told of journey and customer.
        trust_inbound: Whose word about the journey counts.
        unknown_destination: What a request carries whose host cannot be told.
        public_endpoint: Start a new trace for a request that is not signed.
        event_signal: With ``span``, signals on spans that are not sampled are lost.
        signals_off: Kinds of signals that are not sent.
        metrics_opt_in: Metrics and labels beside those that are always there.
        on_friction: Called with each friction, at once and in the thread that has found it.
        real_time: Let the clock go, instead of standing still until ``cx.clock.advance()``.

    Raises:
        ConfigurationError: A setting cannot be what it is.
        MapError: The journey map is wrong.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    del given["real_time"]
    cx, parts = _private(settle({**_DEFAULTS, **given}, {}), Clock(real_time=real_time))
    with ExitStack() as undo:
        for module, name, part in parts:
            undo.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, part)
        undo.enter_context(_empty_context(cx))
        yield cx


def _private(settings: Settings, clock: Clock) -> tuple[Capture, list[tuple[Any, str, Any]]]:
    """A capture, and the parts of its own: each with the module and the name where it belongs."""
    ids, counts = CountedIds(), dict[str, int]()
    providers = Providers(_resource(settings), settings.sample or 0.0, ids)
    runtime = runtime_of(settings, providers.tracing)
    runtime.meter_provider, runtime.logger_provider = providers.meter, providers.event_provider
    # Joined, and without exporters of ours: nothing to flush, and nothing that can be shut down.
    wiring = Wiring(settings, providers.tracer, "joined", None, providers.stamp)
    return Capture(providers, runtime, clock, counts), [
        (_clock, "wall_ns", clock.wall_ns),
        (_clock, "wall", clock.wall),
        (_clock, "steady", clock.steady),
        (_journey, "new_id", ids.journey_id),
        (_journeys, "memory", _journeys.JourneyMemory()),
        (_guard, "_counts", counts),
        (_guard, "_said", set()),
        (_observers, "tell", _observers.tell_at_once),
        (_config, "wiring", wiring),
        (_runtime, "current", runtime),
    ]


def _resource(settings: Settings) -> Resource:
    found = {SERVICE_NAME: settings.service_name or _SERVICE}
    if settings.journey_map is not None:
        found[names.MAP_NAME] = settings.journey_map.name
        found[names.MAP_VERSION] = settings.journey_map.version
    return Resource({**found})


@contextmanager
def _empty_context(cx: Capture) -> Iterator[None]:
    before, outer = get_current(), _inside.get()
    _inside.set(cx)
    attach(Context())
    try:
        yield
    finally:
        # A fixture may end in a task that does not come from the one in which it began.
        if _inside.get() is cx:
            _inside.set(outer)
            attach(before)
