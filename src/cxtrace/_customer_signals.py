"""Signals about the customer: what hinders them, what they feel, say and complain about.

What cannot be sent is counted, named once in the log, and dropped. Where consent is refused,
emotion and feedback are not recorded at all.
"""

from typing import Any, Final

from cxtrace import _clock
from cxtrace import attributes as names
from cxtrace._closed_sets import checked, finite, number, refuse_for
from cxtrace._signal import AT_STAGE, BY_OWNER_AT_STAGE, T, signal
from cxtrace.attributes import (
    ComplaintState,
    EmotionLabel,
    EmotionSource,
    FeedbackCategory,
    FeedbackType,
    FrictionSeverity,
    FrictionSource,
    FrictionType,
    MentionSource,
    Phase,
)
from cxtrace.context import current_context

_SCALES: Final[dict[str, tuple[float, float]]] = {
    "nps": (0, 10), "csat": (1, 5), "ces": (1, 7), "csi": (0, 100), "rating": (1, 5),
}  # fmt: skip
_FARTHEST: Final = 1e15


class CustomerSignals:
    """What is said of the customer at a touchpoint."""

    __slots__ = ()

    @signal
    def friction(
        self: T,
        type: FrictionType,  # noqa: A002  the registry's word
        *,
        severity: FrictionSeverity = "medium",
        source: FrictionSource = "declared",
    ) -> T:
        """Something hinders the customer. Rules of the map find friction without this call.

        Args:
            type: Such as ``validation_rejected``, ``slow``, ``repeated_question``.
            severity: ``low``, ``medium``, ``high`` or ``blocking``.
            source: Who noticed: ``declared`` by the code, the ``client``, an ``agent``.
        """
        kind = checked("friction.type", type, FrictionType)
        if kind is not None:
            how_bad = checked("friction.severity", severity, FrictionSeverity) or "medium"
            who = checked("friction.source", source, FrictionSource) or "declared"
            where = _interaction_in(self)
            self.measures.suffer(self, kind, how_bad, who, interaction=where)
        return self

    @signal
    def emotion(
        self: T,
        label: EmotionLabel | None = None,
        *,
        source: EmotionSource,
        valence: float | None = None,
        arousal: float | None = None,
        confidence: float | None = None,
    ) -> T:
        """How the customer feels, as far as it was said or shown. No biometric source exists.

        Args:
            label: ``delight``, ``satisfaction``, ``neutral``, ``confusion``, ``disappointment``,
                ``frustration``, ``anger`` or ``anxiety``. Without one, a valence is needed.
            source: ``self_reported``, ``behavioral``, ``text`` or ``agent_assessed``.
            valence: From -1, bad, to 1, good.
            arousal: From 0, calm, to 1, excited.
            confidence: From 0 to 1.
        """
        told = {
            names.EMOTION_SOURCE: checked("emotion.source", source, EmotionSource),
            names.EMOTION_LABEL: checked("emotion.label", label, EmotionLabel),
            names.EMOTION_VALENCE: number("emotion.valence", valence, -1, 1),
            names.EMOTION_AROUSAL: number("emotion.arousal", arousal, 0, 1),
            names.EMOTION_CONFIDENCE: number("emotion.confidence", confidence, 0, 1),
        }
        named, felt = told[names.EMOTION_LABEL], told[names.EMOTION_VALENCE]
        if told[names.EMOTION_SOURCE] is None:
            return self
        if named is None and felt is None:
            refuse_for("emotion", "give a label or a valence from -1 to 1")
        elif self.measures.say(self, "emotion", names.EVENT_EMOTION, told):
            self.facts().say({"emotion.label": named, "emotion.valence": felt})
            if named is not None:
                how = {names.EMOTION_LABEL: named, names.EMOTION_SOURCE: told[names.EMOTION_SOURCE]}
                self.measures.count(self, names.METRIC_EMOTION_SIGNALS, how, AT_STAGE)
        return self

    @signal
    def feedback(
        self: T,
        type: FeedbackType,  # noqa: A002  the registry's word
        score: float | None = None,
        *,
        scale: tuple[float, float] | None = None,
        category: FeedbackCategory | None = None,
    ) -> T:
        """The customer has given feedback. Its words are not taken.

        Args:
            type: ``nps``, ``csat``, ``ces``, ``csi``, ``rating``, ``review``, ``referral`` or
                ``suggestion``.
            score: On the scale of the instrument.
            scale: Lowest and highest score; by default 0 to 10 for ``nps``, 1 to 5 for ``csat``
                and ``rating``, 1 to 7 for ``ces``, 0 to 100 for ``csi``.
            category: By default from the score: for ``nps`` by its definition (9 and 10 promoter,
                7 and 8 passive, else detractor), for others the upper third satisfied, the lower
                third dissatisfied.
        """
        kind = checked("feedback.type", type, FeedbackType)
        if kind is None:
            return self
        low, high = _scale(kind, scale)
        points = number("feedback.score", score, low, high)
        part = None if points is None else (points - low) / (high - low)
        group = checked("feedback.category", category, FeedbackCategory)
        if group is None and part is not None:
            group = _category(kind, part)
        told = {
            names.FEEDBACK_TYPE: kind,
            names.FEEDBACK_SCORE: points,
            names.FEEDBACK_SCORE_MIN: None if points is None else float(low),
            names.FEEDBACK_SCORE_MAX: None if points is None else float(high),
            names.FEEDBACK_CATEGORY: group,
        }
        if self.measures.say(self, "feedback", names.EVENT_FEEDBACK, told):
            said = {"feedback.type": kind, "feedback.category": group, "feedback.score": points}
            self.facts().say(said)
            _count_feedback(self, kind, group, part)
        return self

    @signal
    def complaint(
        self: T,
        state: ComplaintState,
        *,
        friction: FrictionType | None = None,
        open_for: float | None = None,
    ) -> T:
        """A complaint changes its state.

        Args:
            state: ``opened``, ``acknowledged``, ``resolved`` or ``reopened``.
            friction: What it is about.
            open_for: Seconds since it was opened, for ``resolved``; where it was opened on the
                same journey in this process, cxtrace knows by itself.
        """
        now = checked("complaint.state", state, ComplaintState)
        about = checked("friction.type", friction, FrictionType)
        told = {names.COMPLAINT_STATE: now, names.FRICTION_TYPE: about}
        hurts = now in ("opened", "reopened")
        if now is None or not self.measures.say(
            self, "complaint", names.EVENT_COMPLAINT, told, hurts=hurts
        ):
            return self
        self.facts().say({"complaint.state": now})
        change = {"opened": 1, "reopened": 1, "resolved": -1}.get(now)
        if change is not None:
            self.measures.count(
                self, names.METRIC_COMPLAINT_UNRESOLVED, {}, BY_OWNER_AT_STAGE, change
            )
        _time_complaint(self, now, number("complaint.open_for", open_for, 0, 1e10))
        return self

    @signal
    def mention(
        self: T,
        source: MentionSource,
        *,
        valence: float | None = None,
        phase: Phase | None = None,
    ) -> T:
        """The customer has heard of the company, or speaks about it.

        Args:
            source: ``friends``, ``internet``, ``advertising``, ``social_media``, ``press``,
                ``review_site``, ``employee`` or ``unknown``.
            valence: From -1, bad, to 1, good.
            phase: Before, during or after the relationship; by default that of the stage.
        """
        where = checked("mention.source", source, MentionSource)
        when = checked("mention.phase", phase, Phase) or self.measures.expected.phase
        if where is not None and when is None:
            refuse_for("mention", "give the phase, or name the stage in the journey map")
            return self
        told = {names.MENTION_SOURCE: where, names.STAGE_PHASE: when}
        felt = number("emotion.valence", valence, -1, 1)
        if felt is not None and not self.measures.may_say(self, "emotion"):
            felt = None
        more = {**told, names.EMOTION_VALENCE: felt}
        if where is not None and self.measures.say(self, "mention", names.EVENT_MENTION, more):
            self.measures.count(self, names.METRIC_MENTIONS, told)
        return self


def _interaction_in(touchpoint: Any) -> str | None:
    """The micro-interaction that is open here, if it is part of the touchpoint."""
    cx = current_context()
    return None if cx is None or cx.handle is not touchpoint else cx.interaction


def _scale(kind: str, given: tuple[float, float] | None) -> tuple[float, float]:
    """Lowest and highest score."""
    usual = _SCALES.get(kind, (0, 5))
    if given is None:
        return usual
    if type(given) in (tuple, list) and len(given) == 2:
        low, high = map(finite, given)
        if low is not None and high is not None and -_FARTHEST <= low < high <= _FARTHEST:
            return float(low), float(high)
    refuse_for("feedback.scale", "give the lowest and the highest score, such as (1, 5)")
    return usual


def _category(kind: str, part: float) -> str:
    if kind == "nps":
        # Reichheld: https://hbr.org/2003/12/the-one-number-you-need-to-grow
        return "promoter" if part >= 0.9 else "passive" if part >= 0.7 else "detractor"
    return "satisfied" if part >= 2 / 3 else "dissatisfied" if part <= 1 / 3 else "neutral"


def _count_feedback(touchpoint: Any, kind: str, group: str | None, part: float | None) -> None:
    labels = {names.FEEDBACK_TYPE: kind}
    if part is not None:
        touchpoint.facts().measured["feedback.normalized_score"] = part
        touchpoint.measures.count(
            touchpoint, names.METRIC_FEEDBACK_NORMALIZED_SCORE, labels, AT_STAGE, part
        )
    if group is not None:
        labels = {**labels, names.FEEDBACK_CATEGORY: group}
    touchpoint.measures.count(touchpoint, names.METRIC_FEEDBACK_RESPONSES, labels, AT_STAGE)


def _time_complaint(touchpoint: Any, now: str, seconds: float | None) -> None:
    state = None if touchpoint.journey is None else touchpoint.journey.state
    if state is not None:
        if now == "opened":
            state.complained = _clock.wall()
        elif now == "resolved" and seconds is None and state.complained is not None:
            seconds = max(_clock.wall() - state.complained, 0.0)
    if now == "resolved" and seconds is not None:
        touchpoint.facts().measured["complaint.resolution.duration"] = seconds
        touchpoint.measures.count(
            touchpoint,
            names.METRIC_COMPLAINT_RESOLUTION_DURATION,
            {},
            BY_OWNER_AT_STAGE,
            seconds,
        )
