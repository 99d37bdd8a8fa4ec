"""Signals about the company: what it nudges to, delivers, hands over, gains and expects.

What cannot be sent is counted, named once in the log, and dropped. Where consent is refused, value
and forecast are not recorded at all.
"""

from typing import TYPE_CHECKING, Any

from cxtrace import _clock, _guard
from cxtrace import attributes as names
from cxtrace._closed_sets import checked, code, iso_code, number, refuse_for, text
from cxtrace._signal import AT_STAGE, T, listens, signal
from cxtrace.attributes import ForecastType, NudgeResult, NudgeTechnique, ValueType
from cxtrace.context import present

if TYPE_CHECKING:
    from decimal import Decimal


class Exposure:
    """A nudge that a customer was exposed to. Tell what they did; each answer counts once."""

    __slots__ = ("_nudge", "_said", "_touchpoint", "_variant")

    def __init__(self, touchpoint: Any, nudge: str, variant: str | None) -> None:
        self._touchpoint = touchpoint
        self._nudge = nudge
        self._variant = variant
        self._said: dict[str, object] = {}

    @property
    def labels(self) -> dict[str, str]:
        """Nudge and variant, as attributes."""
        found = {names.NUDGE_ID: self._nudge, names.FEATURE_FLAG_VARIANT: self._variant}
        return present(found)

    def accepted(self) -> "Exposure":
        """The customer did what the nudge was for."""
        return self._answer("accepted")

    def declined(self) -> "Exposure":
        """The customer said no."""
        return self._answer("declined")

    def ignored(self) -> "Exposure":
        """The customer did nothing."""
        return self._answer("ignored")

    def reversed(self) -> "Exposure":
        """The customer took back what the nudge had led to."""
        return self._answer("reversed")

    def _answer(self, result: NudgeResult) -> "Exposure":
        touchpoint = self._touchpoint
        mine = object()
        if touchpoint is None or self._said.setdefault(result, mine) is not mine:
            return self
        try:
            told = {**self.labels, names.NUDGE_RESULT: result}
            if touchpoint.measures.say(touchpoint, "nudge", names.EVENT_NUDGE_OUTCOME, told):
                touchpoint.facts().say({"nudge.result": result})
                touchpoint.measures.count(touchpoint, names.METRIC_NUDGE_OUTCOMES, told)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("nudge", error)
        return self


NO_EXPOSURE = Exposure(None, "", None)
"""Of a nudge that was not recorded: every method does nothing."""


class CompanySignals:
    """What is said of the company at a touchpoint."""

    __slots__ = ()

    def nudge(
        self: Any,
        id: str,  # noqa: A002  the registry's word
        *,
        technique: NudgeTechnique,
        disclosed: bool = True,
        reversible: bool = True,
        flag: str | None = None,
        variant: str | None = None,
    ) -> Exposure:
        """The customer is exposed to a nudge. What they do then is told to what this returns.

        Args:
            id: Of the nudge: a short code such as ``free_shipping_bar``.
            technique: Such as ``incentive``, ``reminder``, ``social_proof``, ``scarcity``.
            disclosed: Whether the customer is told. ``cxtrace check`` lists each one that is not.
            reversible: Whether the customer can undo it or opt out.
            flag: Key of the feature flag that chose the variant.
            variant: The variant that was shown.
        """
        if not listens(self):
            return NO_EXPOSURE
        try:
            made: Exposure = _nudge(self, id, technique, disclosed, reversible, flag, variant)
            return made
        except Exception as error:  # noqa: BLE001
            _guard.swallow("nudge", error)
            return NO_EXPOSURE

    @signal
    def value(
        self: T,
        amount: "float | Decimal | None" = None,
        currency: str | None = None,
        *,
        type: ValueType,  # noqa: A002  the registry's word
    ) -> T:
        """Value is gained, lost or put at risk here; it is shared out by the map's influence.

        Args:
            amount: Not negative; the type says in which direction it goes.
            currency: ISO 4217 code, such as ``EUR``; needed with an amount.
            type: ``revenue``, ``margin``, ``refund``, ``credit``, ``cost_to_serve``, ``retained``,
                ``referred`` or ``at_risk``.
        """
        kind = checked("value.type", type, ValueType)
        money = number("value.amount", amount, 0, 1e15)
        coin = None if money is None else iso_code("value.currency", currency)
        if money is not None and coin is None:
            return self
        told = {names.VALUE_TYPE: kind, names.VALUE_AMOUNT: money, names.VALUE_CURRENCY: coin}
        if kind is not None and self.measures.say(self, "value", names.EVENT_VALUE, told):
            self.facts().say({"value.type": kind, "value.amount": money})
            if money is not None:
                _attribute(self, kind, money, coin)
        return self

    @signal
    def deliver(self: T, promise: str, value: float) -> T:
        """Hand in what was delivered of a promise; it is compared when the touchpoint ends.

        Args:
            promise: Its id in the journey map.
            value: In the unit of the promise. For a promise that cxtrace measures, this value
                counts instead.
        """
        named = text(promise)
        if named is None or named not in self.measures.expected.promises:
            refuse_for("promise", "deliver() takes the id of a promise of the journey map")
            return self
        self.facts().delivered[named] = number("promise.delivered", value, -1e15, 1e15)
        return self

    @signal
    def handoff(self: T, to: str, *, waited: float | None = None) -> T:
        """Another function takes over the customer.

        Args:
            to: The function, as the map names it.
            waited: Seconds that the customer has waited for it. Without it, cxtrace measures the
                time until the journey reaches a touchpoint of that function.
        """
        giver, taker = self.measures.place.owner, code("handoff.to", to)
        if taker is None or giver is None:
            refuse_for("handoff", "the touchpoint needs an owner, and `to` the name of a function")
            return self
        seconds = number("handoff.waited", waited, 0, 1e10)
        told = {
            names.HANDOFF_FROM_FUNCTION: giver,
            names.HANDOFF_TO_FUNCTION: taker,
            names.EFFORT_WAIT_TIME: seconds,
        }
        if not self.measures.say(self, "handoff", names.EVENT_HANDOFF, told):
            return self
        self.facts().say({"handoff.to_function": taker})
        if seconds is not None:
            self.facts().measured["handoff.duration"] = seconds
            labels = {names.HANDOFF_FROM_FUNCTION: giver, names.HANDOFF_TO_FUNCTION: taker}
            if self.journey is not None:
                labels[names.JOURNEY_NAME] = self.journey.name
            self.measures.count(self, names.METRIC_HANDOFF_DURATION, labels, amount=seconds)
        elif self.journey is not None and self.journey.state is not None:
            self.journey.state.handoff = (giver, taker, _clock.wall())
        return self

    @signal
    def forecast(
        self: T,
        type: ForecastType,  # noqa: A002  the registry's word
        *,
        probability: float,
        model: str,
        horizon: float | None = None,
    ) -> T:
        """What a model or a rule expects of this customer or journey.

        Args:
            type: ``churn``, ``complaint``, ``abandonment``, ``repeat_purchase``, ``expansion`` or
                ``referral``.
            probability: From 0 to 1.
            model: Name and version, such as ``rule@1``.
            horizon: Seconds ahead.
        """
        told = {
            names.FORECAST_TYPE: checked("forecast.type", type, ForecastType),
            names.FORECAST_PROBABILITY: number("forecast.probability", probability, 0, 1),
            names.FORECAST_HORIZON: number("forecast.horizon", horizon, 0, 1e10),
            names.FORECAST_MODEL: code("forecast.model", model),
        }
        needed = (names.FORECAST_TYPE, names.FORECAST_PROBABILITY, names.FORECAST_MODEL)
        if all(told[name] is not None for name in needed):
            self.measures.say(self, "forecast", names.EVENT_FORECAST, told)
        return self


def _attribute(touchpoint: Any, kind: str, money: float, coin: str | None) -> None:
    measures = touchpoint.measures
    owner = measures.place.owner
    shares = measures.expected.influence or ({} if owner is None else {owner: 1.0})
    for function, share in shares.items():
        labels = {
            names.VALUE_TYPE: kind,
            names.VALUE_CURRENCY: coin,
            names.OWNER_FUNCTION: function,
        }
        measures.count(touchpoint, names.METRIC_VALUE_ATTRIBUTED, labels, AT_STAGE, money * share)


def _nudge(
    touchpoint: Any,
    nudge: Any,
    technique: Any,
    disclosed: Any,
    reversible: Any,
    flag: Any,
    variant: Any,
) -> Exposure:
    found = code("nudge.id", nudge)
    how = checked("nudge.technique", technique, NudgeTechnique)
    if found is None or how is None:
        return NO_EXPOSURE
    shown = None if variant is None else code("nudge.variant", variant)
    told = {
        names.NUDGE_ID: found,
        names.NUDGE_TECHNIQUE: how,
        names.NUDGE_DISCLOSED: disclosed is not False,
        names.NUDGE_REVERSIBLE: reversible is not False,
        names.FEATURE_FLAG_KEY: None if flag is None else code("nudge.flag", flag),
        names.FEATURE_FLAG_VARIANT: shown,
    }
    if not touchpoint.measures.say(touchpoint, "nudge", names.EVENT_NUDGE_EXPOSURE, told):
        return NO_EXPOSURE
    exposure = Exposure(touchpoint, found, shown)
    touchpoint.measures.count(touchpoint, names.METRIC_NUDGE_EXPOSURES, exposure.labels)
    return exposure
