"""What is measured when a visit of a touchpoint is over: effort, promises, happiness, metrics."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cxtrace import _clock, _events, _milestones, _promises
from cxtrace import attributes as names
from cxtrace._friction import Watch
from cxtrace._instruments import Cell, Instruments, Labels
from cxtrace._lived import Lived
from cxtrace._measures import GATED, Measures, Visit
from cxtrace._milestones import Spot
from cxtrace.context import Journey, make

if TYPE_CHECKING:
    from cxtrace._model import Promise
    from cxtrace._promises import Evaluation

_MOST_KEPT: Final = 2_000
_NONE_IS_NONE: Final[dict[str, Any]] = {
    "friction.type": (),
    "friction.severity": (),
    "complaint.state": (),
}
"""Facts of which nothing said means that there was none; of others it means that nobody knows."""

_VARYING: Final = frozenset({"touchpoint.duration", "effort.wait_time", "promise.gap"})
"""Facts that are another number each time."""


class _Ending(NamedTuple):
    visit: Visit
    outcome: str
    error: str | None
    duration: float
    actions: int | None
    waited: float


class _Verdicts(NamedTuple):
    shown: Mapping[str, bool]
    cells: list[Cell]


class Endings:
    """How the visits of one touchpoint end.

    Attributes:
        measures: What is measured at the touchpoint.
        are_for_span: Whether only the span hears of a visit of which nothing is said.
        are_plain: Whether not even the span is told more than the outcome.
    """

    def __init__(self, measures: Measures) -> None:
        self.measures = measures
        self._durations: dict[Any, Cell] = {}
        self._efforts: dict[Any, Cell] = {}
        self._kept: dict[tuple[str, str], tuple[Cell, Cell]] = {}
        self._unmeasured: Endings | None = None
        self._verdicts: dict[Any, _Verdicts] = {}
        at = measures.expected
        self.are_for_span = measures.meters is None and not (
            measures.watch or at.measured or at.begun or at.goal_of or at.happiness
        )
        self.are_plain = self.are_for_span and not at.by_customer
        self._lasting = all(not _VARYING & p.facts for _, p in measures.expected.happiness)

    @property
    def unmeasured(self) -> "Endings":
        """The same for visits that are no customer's: told on spans, and in no metric."""
        found = self._unmeasured
        if found is None:
            found = self._unmeasured = Endings(self.measures.unmeasured())
        return found

    def unsaid(self, duration: float) -> dict[str, Any]:
        """What the span is to say of a visit that was completed in one action, at its end."""
        return {names.TOUCHPOINT_OUTCOME: "completed", **_effort_on_span(1, 0, duration)}

    def leave(
        self, visit: Visit, outcome: str, error: str | None, duration: float
    ) -> dict[str, Any]:
        """A visit ends; what its span is to say of it."""
        lived = visit.lived
        if lived is not None and not visit.identity.linkable:
            lived.forget(GATED)
        effort = self._effort(lived, duration)
        actions, waited = (None, 0.0) if effort is None else effort
        ending = make(_Ending, (visit, outcome, error, duration, actions, waited))
        if self.measures.watch is not None:
            self._look_back(self.measures.watch, ending)
        last: dict[str, Any] = {}
        if actions is not None:
            last = _effort_on_span(actions, 0 if lived is None else lived.retries, waited)
        if lived is not None and lived.service_retries:
            last[names.EFFORT_SERVICE_RETRIES] = lived.service_retries
        promised = lived is not None or self.measures.expected.measured
        evaluations = self._evaluate(ending) if promised else []
        if outcome == "abandoned":
            self._tell_abandoned(ending)
        if self.measures.expected.happiness:
            last.update(self._judge(ending, evaluations))
        if self.measures.meters is not None:
            self._record(self.measures.meters, ending)
        if outcome == "completed" and visit.journey is not None:
            self._advance_promises(visit, visit.journey)
        return last

    def _effort(self, lived: Lived | None, duration: float) -> tuple[int, float] | None:
        if lived is not None and lived.actions:
            return lived.actions, min(lived.waited, duration)
        return (1, duration) if self.measures.expected.by_customer else None

    def _look_back(self, watch: Watch, ending: _Ending) -> None:
        visit = ending.visit
        rejected = 0 if visit.lived is None else visit.lived.rejected
        now = _clock.steady()
        for rule in watch.leave(visit.whose, now, ending.duration, ending.outcome, rejected):
            self.measures.found(visit, rule)

    def _tell_abandoned(self, ending: _Ending) -> None:
        lived = ending.visit.lived
        told = self.measures.told(ending.visit, {
            names.INTERACTION_NAME: None if lived is None else lived.last,
            names.EFFORT_ACTIONS: ending.actions,
            names.EFFORT_WAIT_TIME: None if ending.actions is None else ending.waited,
        })  # fmt: skip
        visit = ending.visit
        _events.tell(visit.span, visit.context, names.EVENT_TOUCHPOINT_ABANDONED, told)

    def _record(self, meters: Instruments, ending: _Ending) -> None:
        visit = ending.visit
        journey = visit.journey
        segment = visit.identity.segment if self.measures.by_segment else None
        way = None if journey is None else journey.name
        key = (way, ending.outcome, ending.error, segment)
        cell = self._durations.get(key)
        if cell is None:
            labels = self.measures.labels(visit)
            labels[names.TOUCHPOINT_OUTCOME] = ending.outcome
            if ending.error is not None:
                labels[names.ERROR_TYPE] = meters.free(names.ERROR_TYPE, ending.error)
            cell = _kept(self._durations, key, meters, names.METRIC_TOUCHPOINT_DURATION, labels)
        cell(ending.duration, visit.context)
        if ending.actions is not None:
            effort = self._efforts.get((way, segment))
            if effort is None:
                name, labels = names.METRIC_TOUCHPOINT_EFFORT, self.measures.labels(visit)
                effort = _kept(self._efforts, (way, segment), meters, name, labels)
            effort(ending.actions, visit.context)

    def _evaluate(self, ending: _Ending) -> "list[Evaluation]":
        visit = ending.visit
        lived = visit.lived
        delivered = {} if lived is None else lived.delivered.copy()
        found = []
        for promise in self.measures.expected.measured:
            if promise.id in delivered:
                continue
            measured, value = self._value(promise, ending)
            if measured:
                found.append(_promises.evaluate(promise, value))
        for name, value in delivered.items():
            found.append(_promises.evaluate(self.measures.expected.promises[name], value))
        for evaluation in found:
            self._tell_promise(visit, evaluation)
        return found

    def _value(self, promise: "Promise", ending: _Ending) -> tuple[bool, float | None]:
        """Whether the promise is measured at this ending, and the value, if it is known."""
        reader = _READERS.get(promise.metric)
        if reader is not None:
            return True, reader(promise, ending)
        lived = ending.visit.lived
        if lived is not None and promise.metric in lived.measured:
            value = lived.measured[promise.metric]
            return True, value if promise.seconds is None else _in_unit(promise, value)
        if promise.metric == "journey.duration" and ending.outcome == "completed":
            journey = ending.visit.journey
            state = None if journey is None else journey.state
            seconds = None if state is None else _milestones.take_time(state, promise)
            return True, _in_unit(promise, seconds)
        return False, None

    def _tell_promise(self, visit: Visit, evaluation: "Evaluation") -> None:
        if "promise" in self.measures.off:
            return
        promise = evaluation.promise
        if _events.is_heard(visit.span):
            self._say_promise(visit, evaluation)
        if self.measures.meters is not None:
            kept = self._kept.get((promise.id, evaluation.result))
            count, share = kept or self._keep(self.measures.meters, promise.id, evaluation.result)
            count(1, visit.context)
            if evaluation.gap is not None:
                share(max(1 + evaluation.gap, 0.0), visit.context)

    def _say_promise(self, visit: Visit, evaluation: "Evaluation") -> None:
        promise, journey = evaluation.promise, visit.journey
        told = {
            **self.measures.place.tags,
            **({} if journey is None else journey.named),
            names.PROMISE_ID: promise.id,
            names.PROMISE_RESULT: evaluation.result,
            names.PROMISE_TARGET: promise.target,
            names.PROMISE_DELIVERED: evaluation.delivered,
            names.PROMISE_UNIT: promise.unit,
            names.PROMISE_GAP: evaluation.gap,
            names.PROMISE_SOURCE: promise.source,
        }
        if evaluation.delivered is None:
            del told[names.PROMISE_DELIVERED], told[names.PROMISE_GAP]
        hurts = evaluation.result == "broken"
        _events.tell(visit.span, visit.context, names.EVENT_PROMISE_EVALUATED, told, hurts=hurts)

    def _keep(self, meters: Instruments, promise: str, result: str) -> tuple[Cell, Cell]:
        at = self.measures.labels_at
        share = meters.cell(
            names.METRIC_PROMISE_DELIVERED_RATIO,
            {names.PROMISE_ID: promise, **at((names.OWNER_FUNCTION,))},
        )
        count = meters.cell(
            names.METRIC_PROMISE_EVALUATIONS,
            {
                names.PROMISE_ID: promise,
                names.PROMISE_RESULT: result,
                **at((names.OWNER_FUNCTION, names.STAGE_NAME)),
            },
        )
        cells = self._kept[promise, result] = count, share
        return cells

    def _advance_promises(self, visit: Visit, journey: Journey) -> None:
        state = journey.state
        if state is None:
            return
        _milestones.begin_promises(state, self.measures.expected.begun)
        if journey.name in self.measures.expected.goal_of:
            self.end_journey(visit, journey, "achieved")

    def end_journey(self, visit: Visit, journey: Journey, outcome: str) -> None:
        """The journey ends at this touchpoint."""
        spot = Spot(journey, visit.identity, visit.span, visit.context)
        if not _milestones.end(
            journey.state, outcome, self.measures.place.stage, spot, self.measures.meters
        ):
            return
        delivered = () if visit.lived is None else visit.lived.delivered
        for promise in self.measures.expected.whole:
            seconds = _milestones.take_time(journey.state, promise)
            if outcome == "achieved" and promise.id not in delivered:
                self._tell_promise(visit, _promises.evaluate(promise, _in_unit(promise, seconds)))

    def _judge(self, ending: _Ending, evaluations: "list[Evaluation]") -> Mapping[str, bool]:
        # Of a visit of which nothing was said, the same facts come again and again.
        known = self._lasting and ending.visit.lived is None
        key = (ending.outcome, *(each.result for each in evaluations)) if known else None
        verdicts = None if key is None else self._verdicts.get(key)
        if verdicts is None:
            verdicts = self._verdicts_on(self._facts(ending, evaluations), evaluations)
            if key is not None:
                self._verdicts[key] = verdicts
        for cell in verdicts.cells:
            cell(1, ending.visit.context)
        return verdicts.shown

    def _verdicts_on(self, facts: dict[str, Any], evaluations: "list[Evaluation]") -> "_Verdicts":
        shown, cells = {}, []
        for function, predicate in self.measures.expected.happiness:
            happy = predicate.holds(facts)
            if happy is None:
                continue
            shown[f"{names.FUNCTION_HAPPY}.{function}"] = happy
            if self.measures.meters is not None:
                labels = self._labels_of_verdict(function, happy, _promises.worst(evaluations))
                name = names.METRIC_FUNCTION_VERDICTS
                cells.append(self.measures.meters.cell(name, labels))
        return _Verdicts(shown, cells)

    def _labels_of_verdict(self, function: str, happy: bool, worst: str | None) -> Labels:
        labels: Labels = {
            names.FUNCTION_NAME: function,
            names.FUNCTION_VERDICT: "happy" if happy else "unhappy",
            **self.measures.labels_at((names.STAGE_NAME,)),
        }
        if worst is not None:
            labels[names.PROMISE_RESULT] = worst
        return labels

    def _facts(self, ending: _Ending, evaluations: "list[Evaluation]") -> dict[str, Any]:
        lived = ending.visit.lived
        found: dict[str, Any] = {
            **_NONE_IS_NONE,
            "touchpoint.outcome": ending.outcome,
            "touchpoint.duration": ending.duration,
            "friction.count": 0 if lived is None else lived.frictions,
        }
        if self.measures.expected.actions is not None:
            found["effort.expected_actions"] = self.measures.expected.actions
        if ending.actions is not None:
            found["effort.actions"] = ending.actions
            found["effort.retries"] = 0 if lived is None else lived.retries
            found["effort.wait_time"] = ending.waited
        if evaluations:
            found["promise.result"] = tuple(each.result for each in evaluations)
            found["promise.gap"] = tuple(e.gap for e in evaluations if e.gap is not None)
        if lived is not None:
            found.update(lived.said)
        return found


def _effort_on_span(actions: int, retries: int, waited: float) -> dict[str, Any]:
    return {
        names.EFFORT_ACTIONS: actions,
        names.EFFORT_RETRIES: retries,
        names.EFFORT_WAIT_TIME: waited,
    }


def _kept(cells: dict[Any, Cell], key: Any, meters: Instruments, name: str, labels: Labels) -> Cell:
    cell = meters.cell(name, labels)
    if len(cells) < _MOST_KEPT:
        cells[key] = cell
    return cell


def _in_unit(promise: "Promise", seconds: float | None) -> float | None:
    return None if seconds is None else promise.in_unit(seconds)


def _if_completed(promise: "Promise", ending: _Ending, value: float | None) -> float | None:
    """A time counts for the promise if the customer got there, or if it is too long already."""
    if value is None or ending.outcome == "completed":
        return value
    return value if _promises.evaluate(promise, value).result == "broken" else None


def _duration(promise: "Promise", ending: _Ending) -> float | None:
    return _if_completed(promise, ending, _in_unit(promise, ending.duration))


def _wait(promise: "Promise", ending: _Ending) -> float | None:
    waited = None if ending.actions is None else ending.waited
    return _if_completed(promise, ending, _in_unit(promise, waited))


def _success(_: "Promise", ending: _Ending) -> float:
    return float(ending.outcome == "completed")


def _actions(promise: "Promise", ending: _Ending) -> float | None:
    return _if_completed(promise, ending, ending.actions)


def _interactions(promise: "Promise", ending: _Ending) -> float | None:
    lived = ending.visit.lived
    return _if_completed(promise, ending, 0 if lived is None else lived.actions)


def _frictions(_: "Promise", ending: _Ending) -> float:
    lived = ending.visit.lived
    return 0 if lived is None else lived.frictions


_READERS: Final["Mapping[str, Callable[[Promise, _Ending], float | None]]"] = {
    "touchpoint.duration": _duration,
    "touchpoint.wait_time": _wait,
    "touchpoint.success": _success,
    "touchpoint.effort": _actions,
    "touchpoint.interactions": _interactions,
    "touchpoint.frictions": _frictions,
}
