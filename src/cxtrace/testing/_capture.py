"""What was captured: looked up, and asserted."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry._logs import LoggerProvider
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import TracerProvider

from cxtrace import attributes as names
from cxtrace._runtime import Runtime
from cxtrace.attributes import Outcome, PromiseResult
from cxtrace.testing import _personal
from cxtrace.testing._fixed import Clock
from cxtrace.testing._providers import Providers
from cxtrace.testing._reading import (
    KINDS,
    Reading,
    checked_keys,
    has,
    metric_of,
    promise_of,
)
from cxtrace.testing._records import Journey, Metric, Promise, Signal, Touchpoint
from cxtrace.typing import CustomerId

if TYPE_CHECKING:
    from cxtrace.journey_map import JourneyMap

_MOST_SHOWN: Final = 20


class Capture:
    """What cxtrace has sent since ``capture()`` began. It can still be read after it has ended.

    Attributes:
        clock: What cxtrace reads: ``cx.clock.advance(2.5)``.
        counts: Input that was refused and errors that were swallowed, by kind.
    """

    def __init__(
        self, providers: Providers, runtime: Runtime, clock: Clock, counts: Mapping[str, int]
    ) -> None:
        self._providers = providers
        self._runtime = runtime
        self._began = clock.wall_ns()
        self.clock = clock
        self.counts = counts

    def __repr__(self) -> str:
        return f"<Capture of {len(self.touchpoints)} touchpoints>"

    @property
    def tracer_provider(self) -> TracerProvider:
        """For other libraries, whose spans are not captured unless they are given this."""
        return self._providers.tracer

    @property
    def meter_provider(self) -> MeterProvider:
        """The same for metrics."""
        return self._providers.meter

    @property
    def logger_provider(self) -> LoggerProvider:
        """The same for log records."""
        return self._providers.logger

    @property
    def spans(self) -> list[ReadableSpan]:
        """Every span that has ended, interactions and other libraries' included, as exported."""
        return [span for span in self._providers.spans.all() if span.end_time is not None]

    @property
    def touchpoints(self) -> list[Touchpoint]:
        """Every visit that has ended and was sampled, in the order in which they began."""
        return self._read().touchpoints

    @property
    def journeys(self) -> list[Journey]:
        """Every walk through a journey, in the order in which they began."""
        return self._read().journeys()

    def visits(self, name: str) -> list[Touchpoint]:
        """Every visit of one touchpoint."""
        return [each for each in self.touchpoints if each.name == name]

    def touchpoint(self, name: str) -> Touchpoint:
        """The one visit of a touchpoint.

        Raises:
            AssertionError: There was none, or more than one. It says what there was.
        """
        __tracebackhide__ = True
        found = self.visits(name)
        if len(found) == 1:
            return found[0]
        number = f"{len(found)} visits of" if found else "no visit of"
        raise AssertionError(f"{number} {name!r}{self._touchpoints_shown()}")

    def journey(self, name_or_id: str) -> Journey:
        """The one walk through a journey.

        Raises:
            AssertionError: There was none, or more than one of that name. It says what there was.
        """
        __tracebackhide__ = True
        journeys = self.journeys
        found = [each for each in journeys if name_or_id in (each.name, each.id)]
        if len(found) == 1:
            return found[0]
        number = f"{len(found)} journeys" if found else "no journey"
        lines = [f"{each.name} {each.id}: {_way(each.route)}" for each in journeys]
        raise AssertionError(f"{number} {name_or_id!r}{self._shown('journeys', lines)}")

    def signals(self, kind: str | None = None, **attributes: Any) -> list[Signal]:
        """What was said, found and reached, in that order.

        Args:
            kind: ``friction``, ``emotion``, ``nudge``, ``promise``, ``feedback``, ``complaint``,
                ``mention``, ``handoff``, ``value``, ``forecast``, ``journey``, ``stage`` or
                ``touchpoint``. Default: all.
            attributes: Only those that have these, as in ``signals("friction", type="slow")``.

        Raises:
            ValueError: The registry has no such kind or attribute.
        """
        if kind is not None and kind not in KINDS:
            raise ValueError(f"there are no signals {kind!r}: it can be {', '.join(KINDS)}")
        prefixes = checked_keys(attributes, "attribute", kind or "")
        return [
            signal
            for signal in self._read().signals
            if kind in (None, signal.kind) and has(signal.attributes, attributes, prefixes)
        ]

    def promises(self, id: str | None = None) -> list[Promise]:  # noqa: A002  the registry's word
        """Every evaluation of a promise, or of all."""
        found = map(promise_of, self.signals("promise"))
        return [promise for promise in found if id in (None, promise.id)]

    def metric(self, name: str, **labels: Any) -> Metric:
        """A metric as it stands now, exact whatever is sampled.

        Args:
            name: Of the registry: ``cx.touchpoint.duration``.
            labels: Only what has these, with ``_`` for each dot, as in PromQL; ``cx_`` may be left
                out: ``touchpoint_name="checkout.pay"``.

        Raises:
            ValueError: The registry has no such metric or label.
        """
        return metric_of(self._providers.reader.get_metrics_data(), name, labels)

    def pseudonym(self, customer: CustomerId) -> str:
        """What is sent in place of a customer's id."""
        return self._runtime.pseudonymiser.pseudonym(customer)  # type: ignore[union-attr]

    def assert_outcome(self, touchpoint: str, outcome: Outcome, error: str | None = None) -> None:
        """A touchpoint was visited once, and ended so.

        Args:
            touchpoint: Its name.
            outcome: ``completed``, ``failed``, ``abandoned``, ``handed_off`` or ``deferred``.
            error: The class of the exception, or the reason given to ``fail``. Default: any.
        """
        __tracebackhide__ = True
        found = self.touchpoint(touchpoint)
        expected = _ending(outcome, error)
        actual = _ending(found.outcome, None if error is None else found.error)
        if actual != expected:
            actual = _ending(found.outcome, found.error)
            raise AssertionError(f"{touchpoint!r} should have {expected}, but {actual}")

    def assert_route(self, journey: str, route: Sequence[str] | str) -> None:
        """A journey went through these touchpoints, in the order in which they began.

        Args:
            journey: Its name, or its id.
            route: Names of touchpoints; or the name of a route of the map.
        """
        __tracebackhide__ = True
        walk = self.journey(journey)
        expected = tuple(self._planned(walk.name, route) if isinstance(route, str) else route)
        if walk.route == expected:
            return
        same = (wanted == went for wanted, went in zip(expected, walk.route, strict=False))
        step = next(
            (number for number, is_same in enumerate(same) if not is_same),
            min(len(expected), len(walk.route)),
        )
        raise AssertionError(
            f"{journey!r} went another way from step {step + 1} on\n"
            f"  expected: {_way(expected)}\n"
            f"  went:     {_way(walk.route)}{self._still_open()}"
        )

    def assert_promise(self, id: str, result: PromiseResult | None = None) -> None:  # noqa: A002
        """A promise was evaluated, each time with this result.

        Args:
            id: Of the map.
            result: ``kept``, ``broken``, ``exceeded`` or ``unmeasured``. Default: kept or exceeded.
        """
        __tracebackhide__ = True
        expected = ("kept", "exceeded") if result is None else (result,)
        found = self.promises(id)
        others = [promise for promise in found if promise.result not in expected]
        if others:
            shown = _list(map(_measured, others))
            raise AssertionError(f"{id!r} should be {' or '.join(expected)}, but:{shown}")
        if not found:
            lines = [f"{promise.id}: {promise.result}" for promise in self.promises()]
            raise AssertionError(
                f"{id!r} was not evaluated{self._shown('promises', lines)}{self._still_open()}"
            )

    def assert_no_friction(self, touchpoint: str | None = None) -> None:
        """Nothing has hindered the customer, at one touchpoint or at any.

        Args:
            touchpoint: Its name. Default: any.
        """
        __tracebackhide__ = True
        found = [
            f"{signal.touchpoint}: {signal.attributes[names.FRICTION_TYPE]}, "
            f"{signal.attributes[names.FRICTION_SEVERITY]}, found by "
            f"{signal.attributes.get(names.FRICTION_DETECTOR, 'the code')}"
            for signal in self.signals("friction")
            if touchpoint in (None, signal.touchpoint)
        ]
        if found:
            raise AssertionError(f"there was friction:{_list(found)}")

    def assert_nothing_personal(self, *ids: CustomerId) -> None:
        """None of these ids is in anything that was captured, nor can be recovered from it.

        Looks through spans, events, log records, metrics and exemplars, keys included, for each id
        as it is, escaped for a URL, in base64, and under the usual hashes without a key.

        Args:
            ids: Identifiers, addresses, names: whatever must not leave the process.

        Raises:
            ValueError: There is no id, or it is empty.
        """
        __tracebackhide__ = True
        if not ids:
            raise ValueError("give the ids that must not be there")
        sent = self._providers
        records = [*sent.told, *sent.records.all]
        captured = list(_personal.texts(sent.spans.all(), records, sent.reader.get_metrics_data()))
        for each in ids:
            places = _personal.places_of(each, iter(captured))
            if places:
                raise AssertionError(f"{each!r} was sent:{_list(places)}")

    def _read(self) -> Reading:
        records = None if self._runtime.event_signal == "span" else self._providers.told
        return Reading(self._providers.spans.all(), records, self._began)

    def _planned(self, journey: str, route: str) -> Sequence[str]:
        journey_map: JourneyMap | None = self._runtime.journey_map
        planned = None if journey_map is None else journey_map.journeys.get(journey)
        if planned is None or route not in planned.routes:
            known = () if planned is None else planned.routes
            raise ValueError(
                f"the map has no route {route!r} of {journey!r}, only: {', '.join(known) or 'none'}"
            )
        return planned.routes[route]

    def _touchpoints_shown(self) -> str:
        lines = [
            f"{each.name} {_ending(each.outcome, each.error)}"
            + ("" if each.journey is None else f", in {each.journey}")
            for each in self.touchpoints
        ]
        return self._shown("touchpoints", lines) + self._still_open()

    def _shown(self, what: str, lines: Sequence[str]) -> str:
        counted = [f"{key}: {number}" for key, number in self.counts.items()]
        told = f"; the {what} were:{_list(lines)}" if lines else f"; there were no {what} at all"
        return told + (f"\nrefused or swallowed:{_list(counted)}" if counted else "")

    def _still_open(self) -> str:
        found = self._read().open
        return f"\nstill open: {', '.join(found)}" if found else ""


def _ending(outcome: str, error: str | None) -> str:
    return outcome if error is None else f"{outcome} with {error}"


def _measured(promise: Promise) -> str:
    if promise.delivered is None:
        return promise.result
    unit = promise.unit
    return f"{promise.result}: {promise.delivered:g} {unit}, promised {promise.target:g} {unit}"


def _way(route: Sequence[str]) -> str:
    return " → ".join(route) or "nowhere"


def _list(lines: Iterable[str]) -> str:
    found = list(lines)
    more = [f"and {len(found) - _MOST_SHOWN} more"] if len(found) > _MOST_SHOWN else []
    return "".join(f"\n  {line}" for line in (*found[:_MOST_SHOWN], *more))
