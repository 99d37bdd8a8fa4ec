"""OpenFeature: the evaluation of a flag that decides on a nudge is the exposure to the nudge.

Nothing of the evaluation context is read: neither the targeting key nor any other attribute.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import frozen
from openfeature.flag_evaluation import FlagEvaluationDetails
from openfeature.hook import Hook, HookContext, HookHints

from cxtrace import _guard
from cxtrace import attributes as names
from cxtrace._closed_sets import code, refuse_for
from cxtrace._company_signals import NO_EXPOSURE, Exposure
from cxtrace._handles import TouchpointHandle, current_touchpoint
from cxtrace._lived import MAX_REMEMBERED
from cxtrace._signal import listens
from cxtrace.attributes import NudgeTechnique

__all__ = ["SHOWN_BEFORE", "Nudge", "NudgeHook", "exposure"]

_SHOWN_BEFORE: Final = "cx.nudge.shown_before"

SHOWN_BEFORE: Final[HookHints] = {_SHOWN_BEFORE: True}
"""Hook hints of an evaluation that shows nothing: the customer, who was shown the nudge in an
earlier request, answers now, and the code needs to know the variant again.
"""


@frozen
class Nudge:
    """What a flag shows, if it is a nudge.

    Attributes:
        technique: Such as ``incentive``, ``reminder``, ``social_proof``, ``scarcity``.
        id: Of the nudge: a short code; by default the key of the flag.
        disclosed: Whether the customer is told.
        reversible: Whether the customer can undo it or opt out.
    """

    technique: NudgeTechnique
    id: str | None = None
    disclosed: bool = True
    reversible: bool = True


class NudgeHook(Hook):
    """Tells the current touchpoint that the customer is exposed to a nudge, and to which variant.

    A flag counts if it is named here, or if its metadata holds ``cx.nudge.technique`` (and, if
    need be, ``cx.nudge.id``, ``cx.nudge.disclosed``, ``cx.nudge.reversible``). However often a
    visit of a touchpoint evaluates it, each variant is one exposure. A value that is false, such
    as ``False``, ``""`` or ``0``, shows no nudge.

    Args:
        nudges: The nudges by the keys of their flags; what stands here stands above metadata.
        control: Variants, or values that are text, with which no nudge is shown.
    """

    def __init__(
        self,
        nudges: Mapping[str, Nudge] | None = None,
        *,
        control: Iterable[str] = ("control", "off"),
    ) -> None:
        self._nudges = {} if nudges is None else dict(nudges)
        self._control = frozenset(control)

    # Not in ``after``: a hook of others that fails there changes the value once more, and what is
    # raised there would change it as well.
    def finally_after(
        self, hook_context: HookContext, details: FlagEvaluationDetails[Any], hints: HookHints
    ) -> None:
        """Count the exposure, now that the value is final."""
        try:
            self._evaluated(hook_context.flag_key, details, hints)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("openfeature", error)

    def _evaluated(
        self, flag: str, details: FlagEvaluationDetails[Any], hints: HookHints | None
    ) -> None:
        nudge = self._nudges.get(flag) or _declared(details.flag_metadata)
        if nudge is None:
            return
        touchpoint = current_touchpoint()
        if listens(touchpoint):
            before = bool(hints and hints.get(_SHOWN_BEFORE))
            _remember(touchpoint, flag, nudge, details.variant, self._shows(details), before)

    def _shows(self, details: FlagEvaluationDetails[Any]) -> bool:
        value = details.value
        if not value or details.variant in self._control:
            return False
        return not (isinstance(value, str) and value in self._control)


def exposure(flag: str) -> Exposure:
    """What the current touchpoint has shown by a flag: tell it what the customer did.

    It does nothing where the flag showed no nudge. Where it was not evaluated in this visit of the
    touchpoint, that is counted, and named once in the log.

    Args:
        flag: Key of the flag.
    """
    try:
        touchpoint = current_touchpoint()
        if not listens(touchpoint):
            return NO_EXPOSURE
        for key, shown in reversed(touchpoint.facts().exposures.copy().items()):
            if key[0] == flag:
                found: Exposure = shown.exposure
                return found
    except Exception as error:  # noqa: BLE001
        _guard.swallow("openfeature", error)
        return NO_EXPOSURE
    refuse_for("nudge.answered", "this visit of the touchpoint has not evaluated such a flag")
    return NO_EXPOSURE


class _Shown:
    __slots__ = ("exposure",)

    def __init__(self) -> None:
        self.exposure = NO_EXPOSURE


def _remember(
    touchpoint: TouchpointHandle,
    flag: str,
    nudge: Nudge,
    variant: str | None,
    shows: bool,
    before: bool,
) -> None:
    seen = touchpoint.facts().exposures
    key = (flag, variant, shows, before)
    if len(seen) >= MAX_REMEMBERED and key not in seen:
        refuse_for("nudge.evaluated", f"one visit has at most {MAX_REMEMBERED:,} exposures")
        return
    # Of two threads that evaluate the flag at once, one counts.
    mine = _Shown()
    if seen.setdefault(key, mine) is mine and shows:
        mine.exposure = _exposed(touchpoint, flag, nudge, variant, before)


def _exposed(
    touchpoint: TouchpointHandle, flag: str, nudge: Nudge, variant: str | None, before: bool
) -> Exposure:
    name = flag if nudge.id is None else nudge.id
    if before:
        found = code("nudge.id", name)
        shown = None if variant is None else code("nudge.variant", variant)
        return NO_EXPOSURE if found is None else Exposure(touchpoint, found, shown)
    return touchpoint.nudge(
        name,
        technique=nudge.technique,
        disclosed=nudge.disclosed,
        reversible=nudge.reversible,
        flag=flag,
        variant=variant,
    )


def _declared(metadata: Mapping[str, Any] | None) -> Nudge | None:
    technique: Any = None if metadata is None else metadata.get(names.NUDGE_TECHNIQUE)
    if metadata is None or technique is None:
        return None
    # A management console may hold truth values as text.
    return Nudge(
        technique,
        metadata.get(names.NUDGE_ID),
        metadata.get(names.NUDGE_DISCLOSED) not in (False, "false"),
        metadata.get(names.NUDGE_REVERSIBLE) not in (False, "false"),
    )
