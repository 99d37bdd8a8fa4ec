"""What a signal says, in the order in which people say it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from . import attributes as cx

if TYPE_CHECKING:
    from ._tree import RecordedEvent

_SIGNALS: Final[Mapping[str, tuple[str, ...]]] = {
    cx.EVENT_JOURNEY_START: (cx.JOURNEY_NAME,),
    cx.EVENT_JOURNEY_END: (cx.JOURNEY_NAME, cx.JOURNEY_OUTCOME),
    cx.EVENT_STAGE_TRANSITION: (cx.TRANSITION_FROM_STAGE, "to", cx.TRANSITION_TO_STAGE),
    cx.EVENT_FRICTION: (cx.FRICTION_TYPE, cx.FRICTION_SEVERITY),
    cx.EVENT_EMOTION: (cx.EMOTION_LABEL, cx.EMOTION_VALENCE),
    cx.EVENT_PROMISE_EVALUATED: (
        *(cx.PROMISE_ID, cx.PROMISE_RESULT),
        *(cx.PROMISE_DELIVERED, "of", cx.PROMISE_TARGET, cx.PROMISE_UNIT),
    ),
    cx.EVENT_NUDGE_EXPOSURE: (cx.NUDGE_ID, cx.NUDGE_TECHNIQUE),
    cx.EVENT_NUDGE_OUTCOME: (cx.NUDGE_ID, cx.NUDGE_RESULT),
    cx.EVENT_FEEDBACK: (cx.FEEDBACK_TYPE, cx.FEEDBACK_SCORE, "of", cx.FEEDBACK_SCORE_MAX),
    cx.EVENT_COMPLAINT: (cx.COMPLAINT_STATE,),
    cx.EVENT_MENTION: (cx.MENTION_SOURCE,),
    cx.EVENT_HANDOFF: (cx.HANDOFF_FROM_FUNCTION, "to", cx.HANDOFF_TO_FUNCTION),
    cx.EVENT_VALUE: (cx.VALUE_TYPE, cx.VALUE_AMOUNT, cx.VALUE_CURRENCY),
    cx.EVENT_FORECAST: (cx.FORECAST_TYPE, cx.FORECAST_PROBABILITY),
}
_HURTS: Final = {cx.EVENT_FRICTION, cx.EVENT_TOUCHPOINT_ABANDONED, cx.EVENT_COMPLAINT}


def hurts(event: "RecordedEvent") -> bool:
    """Tell whether a signal says that something went wrong for the customer."""
    return event.name in _HURTS or event.attributes.get(cx.PROMISE_RESULT) == "broken"


def unit_word(unit: str) -> str:
    """A unit as people read it behind a number; nothing for ``1``, which is no unit for them."""
    return "" if unit == "1" else unit.strip("{}")


def signal_words(event: "RecordedEvent") -> Iterator[object]:
    """Yield what a signal says: its name, and the values that matter most."""
    yield event.name.removeprefix("cx.")
    own = tuple(key for key in event.attributes if key.startswith(f"{event.name}."))
    glue = ""
    for part in _SIGNALS.get(event.name, own):
        if not part.startswith("cx."):
            glue = part
            continue
        if (value := event.attributes.get(part)) not in (None, "1"):  # "1" is no unit for people
            yield from ([glue] if glue else [])
            yield value.strip("{}") if isinstance(value, str) else value
        glue = ""
