"""What is measured while a touchpoint is visited: milestones, interactions, friction, signals.

What the map and the registry say about a touchpoint is resolved when it is first used. ``_ending``
measures what is known only when the visit is over.
"""

from copy import copy
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import Span

from cxtrace import _clock, _events, _guard, _milestones, _observers, _runtime
from cxtrace import attributes as names
from cxtrace._closed_sets import number
from cxtrace._expectations import expectations_of
from cxtrace._friction import Watch, watch_of
from cxtrace._instruments import Instruments, Labels
from cxtrace._lived import Lived
from cxtrace._milestones import Spot
from cxtrace.context import Identity, Journey, Place, current_context, present

if TYPE_CHECKING:
    from cxtrace._model import FrictionRule
    from cxtrace.attributes import FrictionSeverity, FrictionSource, FrictionType

_HURTS: Final = ("high", "blocking")
GATED: Final = ("emotion", "value", "feedback", "forecast")
"""Kinds of signals that a refused consent forbids."""


class Friction(NamedTuple):
    """Something that hindered a customer, as ``on_friction`` is told of it. Names nobody.

    Attributes:
        detector: Rule and version, where a rule has found it: ``slow@1``.
    """

    touchpoint: str
    stage: str | None
    owner: str | None
    type: "FrictionType"
    severity: "FrictionSeverity"
    source: "FrictionSource"
    detector: str | None = None


class Visit(Protocol):
    """An open touchpoint, as the measures see it."""

    span: Span
    journey: Journey | None
    lived: Lived | None

    @property
    def identity(self) -> Identity:
        """Who the customer is, as known by now."""
        ...

    @property
    def context(self) -> Context:
        """A context that holds the span."""
        ...

    @property
    def whose(self) -> Any:
        """Whose visits are watched as one with this one."""
        ...

    def facts(self) -> Lived:
        """What was lived through, to be written to."""
        ...


class Measures:
    """What is measured at one touchpoint, for all its visits."""

    def __init__(self, runtime: _runtime.Runtime, place: Place, channel: str | None) -> None:
        self.place = place
        self._stage = place.stage
        self.meters: Instruments | None = runtime.instruments()
        self.expected = expectations_of(runtime.journey_map, place)
        opt_in = runtime.metrics_opt_in
        self._on_friction = runtime.on_friction
        self.off = runtime.signals_off
        self.watch: Watch | None = watch_of(self.expected.rules)
        if self.watch is not None:
            self.watch = runtime.watches.setdefault(place.touchpoint, self.watch)
        self._backtrack = None if self.watch is None else self.watch.backtrack
        self._channel = channel if names.CHANNEL_NAME in opt_in else None
        self.by_segment = names.CUSTOMER_SEGMENT in opt_in
        self._by_interaction = names.INTERACTION_NAME in opt_in
        self.place_labels = _labels_of(place, self.meters)

    def unmeasured(self) -> "Measures":
        """The same without metrics."""
        made = copy(self)
        made.meters = None
        return made

    def attends(self, journey: Journey | None) -> bool:
        """Whether there is anything to be done when a visit begins."""
        if self.watch is not None:
            return True
        state = None if journey is None else journey.state
        if state is None:
            return False
        known = state.stage == self._stage and not state.begins_here
        return not known or state.handoff is not None

    def arrive(self, visit: Visit) -> None:
        """A visit begins."""
        journey = visit.journey
        if journey is not None and journey.state is not None:
            self._advance(visit, journey)
        if self.watch is not None:
            identity = visit.identity
            customer = identity.pseudonym if identity.linkable else None
            for rule in self.watch.enter(visit.whose, customer, _clock.steady()):
                self.found(visit, rule)

    def _advance(self, visit: Visit, journey: Journey) -> None:
        state = journey.state
        if state.stage != self.place.stage or state.begins_here or state.handoff is not None:
            spot = Spot(journey, visit.identity, visit.span, visit.context)
            wait = _milestones.arrive(state, self.place, spot, self.meters, self.expected.version)
            # Who handed the customer over may be another service, where they are not off.
            if wait is not None and "handoff" not in self.off:
                _milestones.waited(self.meters, spot, wait)
                visit.facts().measured["handoff.duration"] = wait.seconds
        if self._backtrack is not None and visit.identity.linkable:
            step = self.expected.step(journey)
            if step is not None and state.turns_back(journey.route, step):
                self.found(visit, self._backtrack)

    def act(self, visit: Visit, interaction: str) -> None:
        """A micro-interaction begins."""
        visit.facts().act(interaction)
        if self.meters is not None:
            labels = self.labels(visit, segmented=False)
            if self._by_interaction:
                labels[names.INTERACTION_NAME] = self.meters.free(
                    names.INTERACTION_NAME, interaction
                )
            self.meters.cell(names.METRIC_TOUCHPOINT_INTERACTIONS, labels)(1, visit.context)
        if self.watch is not None:
            for rule in self.watch.act(visit.whose, interaction, _clock.steady()):
                self.found(visit, rule)

    def retry(self, visit: Visit, wait: float) -> None:
        """The service tries again by itself, ``wait`` seconds from now."""
        seconds = number("effort.wait_time", wait, 0, 1e10)
        cx = current_context()
        # The time of an interaction is measured already.
        is_timed = cx is not None and cx.handle is visit and cx.interaction is not None
        visit.facts().retry(0.0 if is_timed or seconds is None else seconds)

    def found(self, visit: Visit, rule: "FrictionRule") -> None:
        """A rule of the map has found friction."""
        self.suffer(visit, rule.type, rule.severity, "rule", detector=rule.detector)

    def suffer(
        self,
        visit: Visit,
        kind: "FrictionType",
        severity: "FrictionSeverity",
        source: "FrictionSource",
        *,
        detector: str | None = None,
        interaction: str | None = None,
    ) -> None:
        """A friction was declared, or found by a rule."""
        if "friction" in self.off:
            return
        lived = visit.facts()
        lived.suffer(kind)
        lived.say({"friction.type": kind, "friction.severity": severity})
        labels = self.labels(visit)
        labels[names.FRICTION_TYPE], labels[names.FRICTION_SEVERITY] = kind, severity
        told = self.told(visit, {
            names.FRICTION_TYPE: kind,
            names.FRICTION_SEVERITY: severity,
            names.FRICTION_SOURCE: source,
            names.FRICTION_DETECTOR: detector,
            names.INTERACTION_NAME: interaction,
        })  # fmt: skip
        hurts = severity in _HURTS
        _events.tell(visit.span, visit.context, names.EVENT_FRICTION, told, hurts=hurts)
        if self.meters is not None:
            self.meters.cell(names.METRIC_TOUCHPOINT_FRICTIONS, labels)(1, visit.context)
        if self._on_friction is not None:
            place = (self.place.touchpoint, self.place.stage, self.place.owner)
            _observers.tell(
                self._on_friction,
                Friction(*place, kind, severity, source, detector),
                self._whereabouts(visit, interaction),
            )

    def _whereabouts(self, visit: Visit, interaction: str | None) -> _observers.Whereabouts:
        return _observers.Whereabouts(
            self.place, visit.journey, interaction, visit.identity, visit.span.get_span_context()
        )

    def may_say(self, visit: Visit, kind: str) -> bool:
        """Whether signals of a kind are on, and consent allows them at the visit and here."""
        if kind in self.off:
            return False
        if kind in GATED and not (visit.identity.linkable and _is_linkable_here()):
            _guard.count(f"consent.suppressed.{kind}")
            return False
        return True

    def say(
        self, visit: Visit, kind: str, event: str, more: dict[str, Any], *, hurts: bool = False
    ) -> bool:
        """Emit the event of a signal; whether it may be counted as well.

        Args:
            visit: Of this touchpoint.
            kind: Of the signal, as in ``signals_off``.
            event: Its name.
            more: Its attributes beside those of the place; None is left out.
            hurts: Whether it is a warning.
        """
        if not self.may_say(visit, kind):
            return False
        # A mention is made of the company, wherever it is heard of, and not of a touchpoint.
        told = present(more) if kind == "mention" else self.told(visit, more)
        _events.tell(visit.span, visit.context, event, told, hurts=hurts)
        return True

    def count(
        self,
        visit: Visit,
        metric: str,
        more: dict[str, Any],
        place: tuple[str, ...] = (),
        amount: float = 1,
    ) -> None:
        """Add to a metric, with the labels ``more`` and those of the place that it has."""
        if self.meters is None:
            return
        labels = {key: self.meters.fit(key, value) for key, value in more.items()}
        labels.update(self.labels_at(place))
        self.meters.cell(metric, labels)(amount, visit.context)

    def labels_at(self, place: tuple[str, ...]) -> Labels:
        """Those labels of the place that a metric has."""
        return {key: value for key, value in self.place_labels.items() if key in place}

    def told(self, visit: Visit, more: dict[str, Any]) -> dict[str, Any]:
        """The attributes of an event here: where it happens, and what is known of ``more``."""
        journey = visit.journey
        named = {} if journey is None else journey.named
        return {**self.place.tags, **named, **present(more)}

    def journey_label(self, name: str) -> str:
        """The name of a journey; of one that no map knows, only as far as it fits."""
        return name if self.meters is None else self.meters.free(names.JOURNEY_NAME, name)

    def labels(self, visit: Visit, *, segmented: bool = True) -> Labels:
        """The labels of a metric here, those that somebody opted in for included."""
        journey = visit.journey
        found = self.place_labels.copy()
        if journey is not None:
            found[names.JOURNEY_NAME] = self.journey_label(journey.name)
        if not segmented:
            return found
        if self._channel is not None:
            found[names.CHANNEL_NAME] = self._channel
        segment = visit.identity.segment if self.by_segment else None
        if segment is not None and self.meters is not None:
            found[names.CUSTOMER_SEGMENT] = self.meters.free(names.CUSTOMER_SEGMENT, segment)
        return found


def _is_linkable_here() -> bool:
    """Whether the customer of this block, who may be named within the visit, has not refused."""
    cx = current_context()
    return cx is None or cx.identity.linkable


def _labels_of(place: Place, meters: Instruments | None) -> Labels:
    """Touchpoint, stage and owner; what no map knows, only as far as it fits."""
    if meters is None:
        return dict(place.tags)
    return {label: meters.free(label, value) for label, value in place.tags.items()}
