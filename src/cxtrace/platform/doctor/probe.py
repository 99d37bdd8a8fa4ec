"""The probe: one touchpoint that is sent as any other, and what came back of it."""

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from attrs import asdict, evolve, field, frozen
from opentelemetry.context import attach, detach, get_current
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    format_trace_id,
    set_span_in_context,
)

from cxtrace import _config
from cxtrace import attributes as names
from cxtrace._journey import customer, journey
from cxtrace._touchpoint import touchpoint
from cxtrace.platform.doctor.queries import Backend, read_back
from cxtrace.platform.doctor.subject import Finding, Findings

TOUCHPOINT: Final = "cxtrace.doctor.probe"
JOURNEY: Final = "cxtrace_doctor"
_REPLAY_SECONDS: Final = 1.0
_PAUSE: Final = 0.02


@frozen
class Probe:
    """What became of the probe.

    Attributes:
        trace_id: By which it can be looked for.
        journey_id: Of its journey.
        is_sampled: Whether the sampler kept it.
        is_delivered: Whether all exporters that are ours say, in time, that they delivered it and
            the metrics and log records beside it.
        is_on_disk: Whether it is in the spool instead, to be sent later.
        is_taken: Whether there is an exporter at all.
        sent_seconds: How long that took.
        ledgers: What became of all that this process made, by signal, as in ``report()``.
        sent: The attributes that it was sent with.
        is_asked_for: Whether it was to be read back.
        backend: Where it was read back, as ``Jaeger``; None where nobody was asked.
        read_seconds: From the end of the probe until it was found there; None if it was not.
        arrived: Which of the six tags arrived as they were sent.
        lost: Attributes that did not arrive.
        changed: Attributes that arrived with another value.
    """

    trace_id: str
    journey_id: str
    is_sampled: bool
    is_delivered: bool
    sent_seconds: float
    is_on_disk: bool = False
    is_taken: bool = True
    ledgers: Mapping[str, Any] = field(factory=dict)
    sent: Mapping[str, Any] = field(factory=dict)
    is_asked_for: bool = False
    backend: str | None = None
    read_seconds: float | None = None
    arrived: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The probe as plain data, for JSON."""
        return asdict(self)


def _on_disk() -> int:
    """Spans that went to a spool, because nobody took them."""
    deliveries = () if _config.wiring is None else _config.wiring.spans
    return sum(delivery.ledger.spooled for delivery in deliveries)


def _let_replay(until: float) -> None:
    """Give what waited on disk a moment, so that the ledger can say how much of it was sent."""
    deliveries = () if _config.wiring is None else _config.wiring.deliveries
    spools = [each.disk.spool for each in deliveries if each.disk is not None]
    while any(spool.state().items for spool in spools) and time.monotonic() < until:
        time.sleep(_PAUSE)


def send(timeout: float, *, is_taken: bool) -> tuple[Probe, float]:
    """Send a probe, and flush it.

    Args:
        timeout: Seconds.
        is_taken: Whether there is an exporter, without which nothing can be delivered.

    Returns:
        It, and the moment of ``time.monotonic()`` at which it ended.
    """
    journey_id = f"probe-{secrets.token_hex(8)}"
    span = _walk(journey_id)
    if not span.get_span_context().trace_flags.sampled:
        span = _walk(journey_id, under=_sampled_parent())
    identity = span.get_span_context()
    ended, kept, wired = time.monotonic(), _on_disk(), _config.wiring
    is_delivered = _config.flush(timeout)
    is_on_disk, sent_seconds = _on_disk() > kept, time.monotonic() - ended
    if is_delivered and not is_on_disk:
        _let_replay(min(ended + timeout, time.monotonic() + _REPLAY_SECONDS))
    return Probe(
        trace_id=format_trace_id(identity.trace_id),
        journey_id=journey_id,
        is_sampled=identity.trace_flags.sampled,
        is_delivered=all((is_delivered, not is_on_disk, is_taken, identity.trace_flags.sampled)),
        sent_seconds=sent_seconds,
        is_on_disk=is_on_disk,
        is_taken=is_taken,
        ledgers={} if wired is None else {each: asdict(found) for each, found in wired.ledgers()},
        sent=dict(getattr(span, "attributes", None) or {}),
    ), ended


def _walk(journey_id: str, under: Any = None) -> Span:
    token = attach(get_current() if under is None else under)
    try:
        with (
            journey(JOURNEY, id=journey_id),
            customer(f"cxtrace-doctor-{journey_id}", kind="walkthrough", consent="not_required"),
            touchpoint(TOUCHPOINT, stage="doctor", owner="cxtrace") as handle,
        ):
            return handle.span
    finally:
        detach(token)


def _sampled_parent() -> Any:
    """A caller that keeps its trace, which a sampler follows that asks for the parent's word."""
    parent = SpanContext(
        secrets.randbits(128) | 1, secrets.randbits(64) | 1, True, TraceFlags(TraceFlags.SAMPLED)
    )
    return set_span_in_context(NonRecordingSpan(parent), get_current())


def look_for(probe: Probe, ended: float, backend: Backend, timeout: float) -> Probe:
    """Read the probe back, as soon as it is there.

    Args:
        probe: What was sent.
        ended: The moment at which it ended.
        backend: Where to look.
        timeout: Seconds.
    """
    found = read_back(backend, probe.trace_id, TOUCHPOINT, timeout)
    if found is None:
        return evolve(probe, backend=backend.name)
    seconds = time.monotonic() - ended
    same = [key for key, value in probe.sent.items() if _is_same(value, found.get(key))]
    lost = [key for key in probe.sent if key not in found]
    return evolve(
        probe,
        backend=backend.name,
        read_seconds=seconds,
        arrived=tuple(key for key in names.TAGS if key in same),
        lost=tuple(lost),
        changed=tuple(key for key in probe.sent if key not in same and key not in lost),
    )


def _is_same(sent: Any, found: Any) -> bool:
    if isinstance(sent, (list, tuple)):
        return True  # each backend writes lists in its own way
    return found is not None and str(found).lower() == str(sent).lower()


def findings(probe: Probe) -> Findings:
    """What the probe tells."""
    if not probe.is_sampled:
        yield Finding(
            "probe-dropped",
            "error",
            "The sampler dropped the probe, even under a caller that keeps its trace.",
            "Mend OTEL_TRACES_SAMPLER, or the sampler of the provider that was joined.",
        )
        return
    if not probe.is_delivered and probe.read_seconds is None:
        yield Finding(
            "probe-not-sent",
            "error",
            f"The probe, or a metric or log record beside it, was not delivered in "
            f"{probe.sent_seconds:.1f} s{'; it is on disk' if probe.is_on_disk else ''}.",
            "The Collector's log says why; cxtrace.report() counts what is lost.",
        )
    if probe.backend is None:
        return
    if probe.read_seconds is None:
        yield Finding(
            "probe-not-found",
            "error",
            f"{probe.backend} has no trace {probe.trace_id}.",
            "Does the Collector pass traces on to it? Some show them late: try --timeout 60.",
        )
        return
    for word, keys in (("lost", probe.lost), ("changed", probe.changed)):
        if keys:
            level = "error" if set(keys) & set(names.TAGS) else "warning"
            yield Finding(
                f"tags-{word}",
                level,  # type: ignore[arg-type]
                f"On the way to {probe.backend} these attributes of the probe were {word}: "
                f"{', '.join(keys)}.",
                "Look for a processor of the Collector that deletes, redacts or transforms "
                "attributes, and let cx.* and enduser.pseudo.id pass.",
            )
