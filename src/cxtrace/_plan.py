"""All about a touchpoint that does not change from call to call: from the code and the map."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

from cxtrace import _guard, _runtime
from cxtrace import attributes as names
from cxtrace._closed_sets import block_name, member, refuse, text
from cxtrace.attributes import Channel
from cxtrace.context import Place, present

if TYPE_CHECKING:
    from cxtrace._ending import Endings
    from cxtrace._model import Touchpoint
    from cxtrace.journey_map import JourneyMap

Wanted: TypeAlias = "tuple[str, str | None, str | None, str | None]"
"""What the code says about a touchpoint: name, stage, owner, channel. The map says the rest."""

_CHANNELS: Final = frozenset(get_args(Channel))
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,64}")
_INVALID: Final = "invalid_name"
_MAX_PLANS: Final = 2_000
_fit: Final[set[str]] = set()
"""Names that can stand in a span, and come again and again."""


class Plan:
    """What every span of a touchpoint has in common.

    Attributes:
        runtime: The decisions that this plan was made for.
        place: Touchpoint, stage and owner.
        attributes: What the span starts with, beside journey and customer.
        endings: What is measured at the touchpoint, while it is visited and in the end.
    """

    __slots__ = ("attributes", "endings", "place", "runtime")

    def __init__(
        self,
        runtime: _runtime.Runtime,
        place: Place,
        attributes: Mapping[str, Any],
        endings: "Endings",
    ) -> None:
        self.runtime = runtime
        self.place = place
        self.attributes = attributes
        self.endings = endings


def wanted_of(name: object, stage: object, owner: object, channel: object) -> Wanted:
    """What the code says, as text and None alone. What is no text will be refused as a name."""
    if type(name) is str and stage is owner is channel is None:
        return name, None, None, None
    return _said(name) or "", _said(stage), _said(owner), _said(channel)


def plan_of(runtime: _runtime.Runtime, wanted: Wanted) -> Plan:
    """The plan, made once for each description and kept."""
    plan: Plan | None = runtime.plans.get(wanted)
    if plan is None:
        plan = _make(runtime, *wanted)
        if len(runtime.plans) < _MAX_PLANS:
            runtime.plans[wanted] = plan
        else:
            _guard.count("touchpoint.names_past_limit")
    return plan


def checked_name(name: object, what: str) -> str:
    """``name`` if it can stand in a span, else ``invalid_name``, counted and warned about once.

    An address or a number of somebody cannot.
    """
    if type(name) is str and name in _fit:
        return name
    found = text(name)
    if found is not None and _NAME.fullmatch(found):
        if block_name(f"{what}_name", found):
            return _INVALID
        if len(_fit) < _MAX_PLANS:
            _fit.add(found)
        return found
    _guard.count(f"refused.{what}_name")
    _guard.warn_once(
        f"refused.{what}_name",
        "cxtrace: a %s's name must be text of 1 to 64 characters without control characters; "
        "one that is not is sent as 'invalid_name'",
        what,
    )
    return _INVALID


def refuse_function(name: object, what: str) -> None:
    """Catch the decorator whose parentheses were forgotten, while the module is imported.

    Raises:
        TypeError: ``name`` is a function.
    """
    if callable(name):
        raise TypeError(f'write @{what}("name"): the name of the {what} is missing')


def _make(
    runtime: _runtime.Runtime, name: str, stage: str | None, owner: str | None, channel: str | None
) -> Plan:
    name = checked_name(name, "touchpoint")
    stage = None if stage is None else checked_name(stage, "stage")
    owner = None if owner is None else checked_name(owner, "owner")
    if channel is not None and member(channel, _CHANNELS) is None:
        refuse("channel", _CHANNELS)
        channel = None
    own: dict[str, Any] = {}
    journey_map = runtime.journey_map
    if journey_map is not None:
        planned = journey_map.touchpoints.get(name)
        own[names.MAP_VERSION] = journey_map.version
        own[names.TOUCHPOINT_PLANNED] = planned is not None
        if planned is None:
            _warn_unplanned(journey_map, name)
        else:
            own.update(_planned(planned))
            stage, owner = stage or planned.stage, owner or planned.owner
            channel = channel or _only(planned.channels)
        if stage is not None and stage in journey_map.stages:
            own[names.STAGE_PHASE] = journey_map.stages[stage].phase
    if channel is not None:
        own[names.CHANNEL_NAME] = channel
    place = Place(name, stage, owner)
    # Heavy to import for those whose touchpoints nobody listens to.
    from cxtrace._ending import Endings
    from cxtrace._measures import Measures

    endings = Endings(Measures(runtime, place, channel))
    return Plan(runtime, place, {**place.tags, **own}, endings)


def _said(word: object) -> str | None:
    return None if word is None else text(word) or ""


def _only(channels: tuple[str, ...]) -> str | None:
    return channels[0] if len(channels) == 1 else None


def _planned(planned: "Touchpoint") -> dict[str, Any]:
    found = {
        names.TOUCHPOINT_TYPE: planned.type,
        names.TOUCHPOINT_INITIATOR: planned.initiator,
        names.EFFORT_EXPECTED_ACTIONS: planned.expected_actions,
        **{f"{names.OWNER_INFLUENCE}.{name}": part for name, part in planned.influence.items()},
    }
    return present(found)


def _warn_unplanned(journey_map: "JourneyMap", name: str) -> None:
    _guard.count("touchpoint.not_in_map")
    key = f"touchpoint.not_in_map:{name}"
    if not _guard.would_warn(key):
        return
    from difflib import get_close_matches  # slow, and for those only who have misspelt a name

    near = get_close_matches(name, journey_map.touchpoints, 1)
    _guard.warn_once(
        key,
        "cxtrace: the journey map %r has no touchpoint %r%s; its spans say "
        "cx.touchpoint.planned=false. `cxtrace check MAP CODE` finds all such names",
        journey_map.name,
        name,
        f", did you mean {near[0]!r}?" if near else "",
    )
