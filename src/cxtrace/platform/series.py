"""How many time series the metrics of a journey map can become, in the worst case.

Each combination of labels is a series. What the map fixes does not multiply: a touchpoint has one
stage and one owner. What the map cannot know is assumed, see ``ASSUMED``. Only what the map plans
is counted: each touchpoint within the journeys on whose routes it is, and outside of any.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, product
from math import prod
from typing import Final, TypeAlias, get_args

import attrs

from cxtrace import _instruments
from cxtrace import attributes as names
from cxtrace._model import Journey, Touchpoint
from cxtrace.journey_map import JourneyMap

LIMIT: Final = 2_000
"""Series that OpenTelemetry keeps of an instrument; the rest become ``otel.metric.overflow``."""

ASSUMED: Final[Mapping[str, int]] = {
    names.ERROR_TYPE: 20,
    names.FRICTION_SEVERITY: 2,
    names.NUDGE_ID: 20,
    names.FEATURE_FLAG_VARIANT: 3,
    names.VALUE_CURRENCY: 3,
    names.CUSTOMER_SEGMENT: 10,
}
"""How many values a label has that only code chooses. Of the severities, two: that of the rule and
that of the code, for one kind of friction at one touchpoint.
"""

_AT: Final = (
    names.TOUCHPOINT_NAME,
    names.STAGE_NAME,
    names.OWNER_FUNCTION,
    names.JOURNEY_NAME,
)
_OWNED: Final = (names.OWNER_FUNCTION, names.STAGE_NAME)

LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    names.METRIC_TOUCHPOINT_DURATION: (*_AT, names.TOUCHPOINT_OUTCOME, names.ERROR_TYPE),
    names.METRIC_TOUCHPOINT_EFFORT: _AT,
    names.METRIC_TOUCHPOINT_INTERACTIONS: _AT,
    names.METRIC_TOUCHPOINT_FRICTIONS: (*_AT, names.FRICTION_TYPE, names.FRICTION_SEVERITY),
    names.METRIC_STAGE_TRANSITIONS: (
        names.JOURNEY_NAME,
        names.TRANSITION_FROM_STAGE,
        names.TRANSITION_TO_STAGE,
    ),
    names.METRIC_JOURNEY_ACTIVE: (names.JOURNEY_NAME,),
    names.METRIC_JOURNEY_DURATION: (names.JOURNEY_NAME, names.JOURNEY_OUTCOME),
    names.METRIC_PROMISE_EVALUATIONS: (*_OWNED, names.PROMISE_ID, names.PROMISE_RESULT),
    names.METRIC_PROMISE_DELIVERED_RATIO: (names.OWNER_FUNCTION, names.PROMISE_ID),
    names.METRIC_EMOTION_SIGNALS: (names.STAGE_NAME, names.EMOTION_LABEL, names.EMOTION_SOURCE),
    names.METRIC_NUDGE_EXPOSURES: (names.NUDGE_ID, names.FEATURE_FLAG_VARIANT),
    names.METRIC_NUDGE_OUTCOMES: (names.NUDGE_ID, names.FEATURE_FLAG_VARIANT, names.NUDGE_RESULT),
    names.METRIC_FEEDBACK_RESPONSES: (
        names.STAGE_NAME,
        names.FEEDBACK_TYPE,
        names.FEEDBACK_CATEGORY,
    ),
    names.METRIC_FEEDBACK_NORMALIZED_SCORE: (names.STAGE_NAME, names.FEEDBACK_TYPE),
    names.METRIC_COMPLAINT_UNRESOLVED: _OWNED,
    names.METRIC_COMPLAINT_RESOLUTION_DURATION: _OWNED,
    names.METRIC_MENTIONS: (names.STAGE_PHASE, names.MENTION_SOURCE),
    names.METRIC_HANDOFF_DURATION: (
        names.JOURNEY_NAME,
        names.HANDOFF_FROM_FUNCTION,
        names.HANDOFF_TO_FUNCTION,
    ),
    names.METRIC_VALUE_ATTRIBUTED: (*_OWNED, names.VALUE_TYPE, names.VALUE_CURRENCY),
    names.METRIC_FUNCTION_VERDICTS: (
        names.STAGE_NAME,
        names.FUNCTION_NAME,
        names.FUNCTION_VERDICT,
        names.PROMISE_RESULT,
    ),
}
"""The labels of each instrument, as the registry has them."""

_WHO: Final = (names.CHANNEL_NAME, names.CUSTOMER_SEGMENT)

OPT_IN: Final[Mapping[str, tuple[str, ...]]] = {
    names.METRIC_TOUCHPOINT_DURATION: _WHO,
    names.METRIC_TOUCHPOINT_EFFORT: _WHO,
    names.METRIC_TOUCHPOINT_INTERACTIONS: (names.INTERACTION_NAME,),
    names.METRIC_TOUCHPOINT_FRICTIONS: _WHO,
    names.METRIC_JOURNEY_DURATION: (names.JOURNEY_ROUTE,),
    names.METRIC_EMOTION_SIGNALS: (names.TOUCHPOINT_NAME,),
}
"""The labels that an instrument has only where somebody asks for them."""


@attrs.frozen
class Series:
    """The worst case of one instrument."""

    instrument: str
    count: int
    """Series as OpenTelemetry counts them: a histogram is one."""
    prometheus: int
    """Series in Prometheus: a classic histogram has one for each bucket, and sum and count."""

    @property
    def past_limit(self) -> bool:
        """Whether OpenTelemetry could not keep them apart."""
        return self.count > LIMIT


def worst_case(journey_map: JourneyMap, opt_in: Collection[str] = ()) -> list[Series]:
    """How many series each instrument can have, the largest number first.

    Args:
        journey_map: The map that plans what is measured.
        opt_in: The labels and metrics of ``metrics_opt_in`` that are switched on.
    """
    counted = []
    for instrument, labels in LABELS.items():
        if instrument == names.METRIC_JOURNEY_ACTIVE and instrument not in opt_in:
            continue
        more = (label for label in OPT_IN.get(instrument, ()) if label in opt_in)
        count = _count(journey_map, instrument, (*labels, *more))
        counted.append(Series(instrument, count, count * _in_prometheus(instrument, journey_map)))
    return sorted(counted, key=lambda series: -series.count)


def _in_prometheus(instrument: str, journey_map: JourneyMap) -> int:
    spec = _instruments.SPECS.get(instrument)
    if spec is None or spec.kind != "histogram":
        return 1
    return len(_instruments.boundaries(instrument, journey_map)) + 3


_CHOICES: Final[Mapping[str, int]] = {
    **ASSUMED,
    # A touchpoint that did not fail has no error.
    names.TOUCHPOINT_OUTCOME: len(get_args(names.Outcome)) - 1 + ASSUMED[names.ERROR_TYPE],
    names.ERROR_TYPE: 1,
    names.FRICTION_TYPE: len(get_args(names.FrictionType)),
    names.JOURNEY_OUTCOME: len(get_args(names.JourneyOutcome)),
    names.PROMISE_RESULT: len(get_args(names.PromiseResult)),
    names.EMOTION_LABEL: len(get_args(names.EmotionLabel)),
    names.EMOTION_SOURCE: len(get_args(names.EmotionSource)),
    names.NUDGE_RESULT: len(get_args(names.NudgeResult)),
    names.FEEDBACK_TYPE: len(get_args(names.FeedbackType)),
    names.FEEDBACK_CATEGORY: len(get_args(names.FeedbackCategory)),
    names.MENTION_SOURCE: len(get_args(names.MentionSource)),
    names.VALUE_TYPE: len(get_args(names.ValueType)),
    names.FUNCTION_VERDICT: len(get_args(names.Verdict)),
}
"""How many values a label has that does not depend on the map."""

_Place: TypeAlias = Mapping[str, Collection[str]]
"""Something that the map plans, as the values that labels can have there."""


def _count(journey_map: JourneyMap, instrument: str, labels: Sequence[str]) -> int:
    if instrument == names.METRIC_STAGE_TRANSITIONS:
        return sum(_transitions(journey, journey_map) for journey in journey_map.journeys.values())
    places = list(_places(journey_map, instrument))
    if not places:
        return 0
    planned = [label for label in labels if label in places[0]]
    combinations = {
        values for place in places for values in product(*(place[label] for label in planned))
    }
    others = (label for label in labels if label not in places[0])
    return len(combinations) * prod(_choices(journey_map, instrument, label) for label in others)


def _choices(journey_map: JourneyMap, instrument: str, label: str) -> int:
    if label in {names.HANDOFF_FROM_FUNCTION, names.HANDOFF_TO_FUNCTION}:
        return len(journey_map.functions)
    if label == names.FUNCTION_NAME:
        return len(journey_map.happiness)
    # A touchpoint without a promise has verdicts without a result.
    unpromised = label == names.PROMISE_RESULT and instrument == names.METRIC_FUNCTION_VERDICTS
    return _CHOICES[label] + unpromised


def _places(journey_map: JourneyMap, instrument: str) -> Iterator[_Place]:
    if instrument in {names.METRIC_JOURNEY_ACTIVE, names.METRIC_JOURNEY_DURATION}:
        for name, journey in journey_map.journeys.items():
            yield {names.JOURNEY_NAME: [name], names.JOURNEY_ROUTE: list(journey.routes) or [""]}
        return
    promised = instrument.startswith("cx.promise.")
    for touchpoint in journey_map.touchpoints.values():
        place = _at(touchpoint, journey_map)
        if instrument == names.METRIC_VALUE_ATTRIBUTED:
            # Value is shared out among all who have influence.
            place = {**place, names.OWNER_FUNCTION: {touchpoint.owner, *touchpoint.influence}}
        yield {**place, names.PROMISE_ID: _promises(touchpoint, journey_map)} if promised else place


def _at(touchpoint: Touchpoint, journey_map: JourneyMap) -> _Place:
    journeys = [
        name
        for name, journey in journey_map.journeys.items()
        if touchpoint.name in _touchpoints(journey)
    ]
    return {
        names.TOUCHPOINT_NAME: [touchpoint.name],
        names.STAGE_NAME: [touchpoint.stage],
        names.STAGE_PHASE: [journey_map.stages[touchpoint.stage].phase],
        names.OWNER_FUNCTION: [touchpoint.owner],
        names.JOURNEY_NAME: [*journeys, ""],
        names.CHANNEL_NAME: touchpoint.channels or get_args(names.Channel),
        names.INTERACTION_NAME: touchpoint.interactions or [""],
    }


def _promises(touchpoint: Touchpoint, journey_map: JourneyMap) -> list[str]:
    """The promises that can be measured there; a journey may end at each of its touchpoints."""
    here = {promise.id for promise in journey_map.promises_at(touchpoint.name)}
    if any(touchpoint.name in _touchpoints(item) for item in journey_map.journeys.values()):
        promises = journey_map.promises.values()
        here.update(
            promise.id
            for promise in promises
            if promise.metric == "journey.duration" and promise.ends is None
        )
    return sorted(here)


def _touchpoints(journey: Journey) -> set[str]:
    return {*chain(*journey.routes.values()), *([journey.goal] if journey.goal else [])}


def _transitions(journey: Journey, journey_map: JourneyMap) -> int:
    """Ways from one stage of a journey to another."""
    stages = {journey_map.touchpoints[name].stage for name in _touchpoints(journey)}
    return len(stages) * (len(stages) - 1)
