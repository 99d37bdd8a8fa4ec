"""Every name that cxtrace sends, once: attributes, events, metrics and the values of closed sets.

The published contract is the registry in ``semconv/``; a test holds this module against it in both
directions. ``cx.*`` names are ours. The few others are OpenTelemetry's own and are listed last.
"""

from typing import Final, Literal

# Attributes

CUSTOMER_KIND: Final = "cx.customer.kind"
"""Kind of party the experience belongs to."""
CUSTOMER_SEGMENT: Final = "cx.customer.segment"
"""Organisation-defined customer segment."""
CUSTOMER_KEY_ID: Final = "cx.customer.key_id"
"""Identifier of the pseudonymisation key (and epoch) that produced ``enduser.pseudo.id``."""
CONSENT_STATE: Final = "cx.consent.state"
"""Consent state under which this item was recorded."""
JOURNEY_NAME: Final = "cx.journey.name"
"""Name of the journey definition in the journey map."""
JOURNEY_ID: Final = "cx.journey.id"
"""Identifier of one customer going through one journey; random, not derived from the customer
identity.
"""
JOURNEY_ROUTE: Final = "cx.journey.route"
"""Named route (path variant) taken through the journey."""
JOURNEY_OUTCOME: Final = "cx.journey.outcome"
"""How the journey ended."""
MAP_NAME: Final = "cx.map.name"
"""Name of the journey map the service was built against."""
MAP_VERSION: Final = "cx.map.version"
"""Version or digest of the journey map."""
STAGE_NAME: Final = "cx.stage.name"
"""Journey stage, as named in the journey map."""
STAGE_PHASE: Final = "cx.stage.phase"
"""Canonical phase of the relationship that the stage belongs to."""
TRANSITION_FROM_STAGE: Final = "cx.transition.from_stage"
"""Stage left by a stage transition."""
TRANSITION_TO_STAGE: Final = "cx.transition.to_stage"
"""Stage entered by a stage transition."""
TOUCHPOINT_NAME: Final = "cx.touchpoint.name"
"""Name of the touchpoint in the journey map."""
TOUCHPOINT_TYPE: Final = "cx.touchpoint.type"
"""Type of touchpoint (after CJML)."""
TOUCHPOINT_INITIATOR: Final = "cx.touchpoint.initiator"
"""Who started the touchpoint."""
TOUCHPOINT_OUTCOME: Final = "cx.touchpoint.outcome"
"""How the touchpoint ended for the customer."""
TOUCHPOINT_FIRST_CONTACT: Final = "cx.touchpoint.first_contact"
"""Whether this is the first known touchpoint of this customer (first impression)."""
TOUCHPOINT_PLANNED: Final = "cx.touchpoint.planned"
"""Whether the touchpoint is in the journey map at this place (planned) or not (ad hoc)."""
CHANNEL_NAME: Final = "cx.channel.name"
"""Channel the touchpoint happened on."""
INTERACTION_NAME: Final = "cx.interaction.name"
"""Name of a micro-interaction inside a touchpoint."""
CONTEXT: Final = "cx.context"
"""Allow-listed context of the experience, ``<key>`` being the context key."""
QUALITY: Final = "cx.quality"
"""Quality from 0 (worst) to 1 (best) on a named dimension, ``<key>`` being the dimension."""
OWNER_FUNCTION: Final = "cx.owner.function"
"""Business function accountable for the touchpoint."""
OWNER_INFLUENCE: Final = "cx.owner.influence"
"""Share of influence, from 0 to 1, of a business function on the touchpoint, ``<key>`` being the
function. The shares of one touchpoint sum to 1.
"""
FUNCTION_NAME: Final = "cx.function.name"
"""Business function that judges whether the customer is happy."""
FUNCTION_HAPPY: Final = "cx.function.happy"
"""Whether the customer was happy in the eyes of a business function, ``<key>`` being the
function.
"""
FUNCTION_VERDICT: Final = "cx.function.verdict"
"""What a business function found, by its own definition of a happy customer."""
HANDOFF_FROM_FUNCTION: Final = "cx.handoff.from_function"
"""Function that hands the customer over."""
HANDOFF_TO_FUNCTION: Final = "cx.handoff.to_function"
"""Function that takes the customer over."""
EFFORT_ACTIONS: Final = "cx.effort.actions"
"""Customer actions used in the touchpoint."""
EFFORT_EXPECTED_ACTIONS: Final = "cx.effort.expected_actions"
"""Customer actions the journey map expects."""
EFFORT_RETRIES: Final = "cx.effort.retries"
"""Repeated attempts by the customer."""
EFFORT_SERVICE_RETRIES: Final = "cx.effort.service_retries"
"""Repeated attempts by the service itself, while the customer waited."""
EFFORT_WAIT_TIME: Final = "cx.effort.wait_time"
"""Seconds the customer waited."""
FRICTION_TYPE: Final = "cx.friction.type"
"""Kind of friction."""
FRICTION_SEVERITY: Final = "cx.friction.severity"
"""How much the friction hindered the customer."""
FRICTION_DETECTOR: Final = "cx.friction.detector"
"""Name and version of the rule that detected the friction."""
FRICTION_SOURCE: Final = "cx.friction.source"
"""What detected the friction."""
EMOTION_VALENCE: Final = "cx.emotion.valence"
"""Valence from -1 (negative) to 1 (positive)."""
EMOTION_AROUSAL: Final = "cx.emotion.arousal"
"""Arousal from 0 (calm) to 1 (excited)."""
EMOTION_LABEL: Final = "cx.emotion.label"
"""Named emotion."""
EMOTION_SOURCE: Final = "cx.emotion.source"
"""Where the emotion signal comes from. Biometric sources are not defined on purpose."""
EMOTION_CONFIDENCE: Final = "cx.emotion.confidence"
"""Confidence from 0 to 1."""
PROMISE_ID: Final = "cx.promise.id"
"""Identifier of the promise in the journey map."""
PROMISE_SOURCE: Final = "cx.promise.source"
"""Where the promise comes from."""
PROMISE_TARGET: Final = "cx.promise.target"
"""Promised value, in ``cx.promise.unit``."""
PROMISE_DELIVERED: Final = "cx.promise.delivered"
"""Delivered value, in ``cx.promise.unit``."""
PROMISE_UNIT: Final = "cx.promise.unit"
"""UCUM unit of target and delivered value."""
PROMISE_GAP: Final = "cx.promise.gap"
"""Relative gap between delivered and promised; positive is worse than promised."""
PROMISE_RESULT: Final = "cx.promise.result"
"""Result of the comparison."""
NUDGE_ID: Final = "cx.nudge.id"
"""Identifier of the nudge."""
NUDGE_TECHNIQUE: Final = "cx.nudge.technique"
"""Behavioural technique."""
NUDGE_RESULT: Final = "cx.nudge.result"
"""What the customer did."""
NUDGE_DISCLOSED: Final = "cx.nudge.disclosed"
"""Whether the customer is told about the nudge."""
NUDGE_REVERSIBLE: Final = "cx.nudge.reversible"
"""Whether the customer can undo or opt out."""
FEEDBACK_TYPE: Final = "cx.feedback.type"
"""Instrument the feedback was collected with."""
FEEDBACK_SCORE: Final = "cx.feedback.score"
"""Score on the scale of the instrument."""
FEEDBACK_SCORE_MIN: Final = "cx.feedback.score_min"
"""Lowest score of the scale."""
FEEDBACK_SCORE_MAX: Final = "cx.feedback.score_max"
"""Highest score of the scale."""
FEEDBACK_CATEGORY: Final = "cx.feedback.category"
"""Category the score falls in."""
COMPLAINT_STATE: Final = "cx.complaint.state"
"""State of a complaint."""
MENTION_SOURCE: Final = "cx.mention.source"
"""Where the customer first heard of, or spoke about, the company."""
VALUE_AMOUNT: Final = "cx.value.amount"
"""Monetary amount in ``cx.value.currency``."""
VALUE_CURRENCY: Final = "cx.value.currency"
"""ISO 4217 code."""
VALUE_TYPE: Final = "cx.value.type"
"""Type of value."""
FORECAST_TYPE: Final = "cx.forecast.type"
"""What is forecast."""
FORECAST_PROBABILITY: Final = "cx.forecast.probability"
"""Probability from 0 to 1."""
FORECAST_HORIZON: Final = "cx.forecast.horizon"
"""Horizon in seconds."""
FORECAST_MODEL: Final = "cx.forecast.model"
"""Name and version of the model or rule."""
WALKTHROUGH_ID: Final = "cx.walkthrough.id"
"""Run of a walkthrough by staff or a script acting as a customer."""
WALKTHROUGH_PERSONA: Final = "cx.walkthrough.persona"
"""Persona of the walkthrough."""
SAMPLING_UNIT: Final = "cx.sampling.unit"
"""Unit that the sampling decision is coherent for."""

# Closed sets

CustomerKind = Literal["person", "account", "household", "anonymous", "walkthrough"]
"""Values of ``cx.customer.kind``."""
Consent = Literal["granted", "denied", "withdrawn", "unknown", "not_required"]
"""Values of ``cx.consent.state``."""
JourneyOutcome = Literal["achieved", "abandoned", "failed", "superseded"]
"""Values of ``cx.journey.outcome``."""
Phase = Literal["pre_customer", "customer", "post_customer"]
"""Values of ``cx.stage.phase``."""
TouchpointType = Literal["communication", "action"]
"""Values of ``cx.touchpoint.type``."""
Initiator = Literal["customer", "company", "partner", "peer"]
"""Values of ``cx.touchpoint.initiator``."""
Outcome = Literal["completed", "abandoned", "failed", "handed_off", "deferred"]
"""Values of ``cx.touchpoint.outcome``."""
Channel = Literal[
    "web",
    "mobile_app",
    "email",
    "phone",
    "chat",
    "messenger",
    "store",
    "social",
    "post",
    "device",
    "partner",
    "advertising",
    "word_of_mouth",
]
"""Values of ``cx.channel.name``."""
Verdict = Literal["happy", "unhappy"]
"""Values of ``cx.function.verdict``."""
FrictionType = Literal[
    "error",
    "repeat_action",
    "no_response",
    "backtrack",
    "slow",
    "validation_rejected",
    "repeat_contact",
    "repeated_question",
    "channel_switch",
    "handoff",
    "wait",
    "unavailable",
]
"""Values of ``cx.friction.type``."""
FrictionSeverity = Literal["low", "medium", "high", "blocking"]
"""Values of ``cx.friction.severity``."""
FrictionSource = Literal["declared", "rule", "client", "agent"]
"""Values of ``cx.friction.source``."""
EmotionLabel = Literal[
    "delight",
    "satisfaction",
    "neutral",
    "confusion",
    "disappointment",
    "frustration",
    "anger",
    "anxiety",
]
"""Values of ``cx.emotion.label``."""
EmotionSource = Literal["self_reported", "behavioral", "text", "agent_assessed"]
"""Values of ``cx.emotion.source``."""
PromiseSource = Literal["brand_claim", "sla", "contract", "regulation", "expectation"]
"""Values of ``cx.promise.source``."""
PromiseResult = Literal["exceeded", "kept", "broken", "unmeasured"]
"""Values of ``cx.promise.result``."""
NudgeTechnique = Literal[
    "default",
    "reminder",
    "simplification",
    "social_proof",
    "framing",
    "commitment",
    "feedback",
    "incentive",
    "scarcity",
]
"""Values of ``cx.nudge.technique``."""
NudgeResult = Literal["accepted", "declined", "ignored", "reversed"]
"""Values of ``cx.nudge.result``."""
FeedbackType = Literal["nps", "csat", "ces", "csi", "rating", "review", "referral", "suggestion"]
"""Values of ``cx.feedback.type``."""
FeedbackCategory = Literal[
    "promoter", "passive", "detractor", "satisfied", "neutral", "dissatisfied"
]
"""Values of ``cx.feedback.category``."""
ComplaintState = Literal["opened", "acknowledged", "resolved", "reopened"]
"""Values of ``cx.complaint.state``."""
MentionSource = Literal[
    "friends",
    "internet",
    "advertising",
    "social_media",
    "press",
    "review_site",
    "employee",
    "unknown",
]
"""Values of ``cx.mention.source``."""
ValueType = Literal[
    "revenue", "margin", "refund", "credit", "cost_to_serve", "retained", "referred", "at_risk"
]
"""Values of ``cx.value.type``."""
ForecastType = Literal[
    "churn", "complaint", "abandonment", "repeat_purchase", "expansion", "referral"
]
"""Values of ``cx.forecast.type``."""
SamplingUnit = Literal["trace", "journey", "customer"]
"""Values of ``cx.sampling.unit``."""

# Events

EVENT_JOURNEY_START: Final = "cx.journey.start"
EVENT_JOURNEY_END: Final = "cx.journey.end"
EVENT_STAGE_TRANSITION: Final = "cx.stage.transition"
EVENT_FRICTION: Final = "cx.friction"
EVENT_EMOTION: Final = "cx.emotion"
EVENT_TOUCHPOINT_ABANDONED: Final = "cx.touchpoint.abandoned"
EVENT_PROMISE_EVALUATED: Final = "cx.promise.evaluated"
EVENT_NUDGE_EXPOSURE: Final = "cx.nudge.exposure"
EVENT_NUDGE_OUTCOME: Final = "cx.nudge.outcome"
EVENT_FEEDBACK: Final = "cx.feedback"
EVENT_COMPLAINT: Final = "cx.complaint"
EVENT_MENTION: Final = "cx.mention"
EVENT_HANDOFF: Final = "cx.handoff"
EVENT_VALUE: Final = "cx.value"
EVENT_FORECAST: Final = "cx.forecast"

# Metrics

METRIC_TOUCHPOINT_DURATION: Final = "cx.touchpoint.duration"
METRIC_TOUCHPOINT_EFFORT: Final = "cx.touchpoint.effort"
METRIC_TOUCHPOINT_INTERACTIONS: Final = "cx.touchpoint.interactions"
METRIC_TOUCHPOINT_FRICTIONS: Final = "cx.touchpoint.frictions"
METRIC_STAGE_TRANSITIONS: Final = "cx.stage.transitions"
METRIC_JOURNEY_ACTIVE: Final = "cx.journey.active"
METRIC_JOURNEY_DURATION: Final = "cx.journey.duration"
METRIC_PROMISE_EVALUATIONS: Final = "cx.promise.evaluations"
METRIC_PROMISE_DELIVERED_RATIO: Final = "cx.promise.delivered_ratio"
METRIC_EMOTION_SIGNALS: Final = "cx.emotion.signals"
METRIC_NUDGE_EXPOSURES: Final = "cx.nudge.exposures"
METRIC_NUDGE_OUTCOMES: Final = "cx.nudge.outcomes"
METRIC_FEEDBACK_RESPONSES: Final = "cx.feedback.responses"
METRIC_FEEDBACK_NORMALIZED_SCORE: Final = "cx.feedback.normalized_score"
METRIC_COMPLAINT_UNRESOLVED: Final = "cx.complaint.unresolved"
METRIC_COMPLAINT_RESOLUTION_DURATION: Final = "cx.complaint.resolution.duration"
METRIC_MENTIONS: Final = "cx.mentions"
METRIC_HANDOFF_DURATION: Final = "cx.handoff.duration"
METRIC_VALUE_ATTRIBUTED: Final = "cx.value.attributed"
METRIC_FUNCTION_VERDICTS: Final = "cx.function.verdicts"

# What cxtrace says of itself

SDK_SIGNAL: Final = "cxtrace.sdk.signal"
"""What is delivered."""
METRIC_SDK_CREATED: Final = "cxtrace.sdk.created"
METRIC_SDK_RECOVERED: Final = "cxtrace.sdk.recovered"
METRIC_SDK_EXPORTED: Final = "cxtrace.sdk.exported"
METRIC_SDK_QUEUED: Final = "cxtrace.sdk.queued"
METRIC_SDK_SPOOLED: Final = "cxtrace.sdk.spooled"
METRIC_SDK_DROPPED: Final = "cxtrace.sdk.dropped"

# OpenTelemetry's own names that we set

CUSTOMER_PSEUDONYM: Final = "enduser.pseudo.id"
"""Pseudonym of the customer: a keyed hash, never the raw identifier."""
SESSION_ID: Final = "session.id"
"""Session of the customer, copied where one is known."""
SYNTHETIC_TYPE: Final = "user_agent.synthetic.type"
"""``test`` for scripted or staff walkthroughs, ``bot`` for robots."""
ERROR_TYPE: Final = "error.type"
"""Class of the exception, or the reason given to ``fail``."""
EXCEPTION_TYPE: Final = "exception.type"
"""Class of an exception that is recorded because a setting asks for it."""
EXCEPTION_MESSAGE: Final = "exception.message"
"""Its text, scrubbed or as it is."""
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
"""Where it came from."""
EXCEPTION: Final = "exception"
"""The event of a span that has these three."""
FEATURE_FLAG_KEY: Final = "feature_flag.key"
"""Feature flag that selects the variant of a nudge."""
FEATURE_FLAG_VARIANT: Final = "feature_flag.result.variant"
"""Variant of a nudge, as the feature flag selected it."""

# Together

TAGS: Final = (
    JOURNEY_NAME,
    JOURNEY_ID,
    STAGE_NAME,
    TOUCHPOINT_NAME,
    OWNER_FUNCTION,
    CUSTOMER_PSEUDONYM,
)
"""What every span under a touchpoint carries, as far as it is known and consent allows."""
