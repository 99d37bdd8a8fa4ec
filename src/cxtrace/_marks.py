"""What marks the spans of a walkthrough, so that nobody takes staff and scripts for customers."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

from cxtrace import attributes as names
from cxtrace._blockers import is_personal
from cxtrace._closed_sets import member, refuse, refuse_for, text

Synthetic: TypeAlias = Literal["test", "bot"]
"""OpenTelemetry's values of ``user_agent.synthetic.type``."""

_TYPES: Final = frozenset(get_args(Synthetic))
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_PERSONA: Final = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,63}", re.ASCII)


def given(walk: object, persona: object, kind: object) -> dict[str, str]:
    """The marks of a walkthrough, as code gives them. Without a run and a persona, its type alone.

    Args:
        walk: Which run it is.
        persona: Whom it plays.
        kind: ``test`` or ``bot``.
    """
    found = member(kind, _TYPES)
    if found is None:
        refuse("walkthrough.type", _TYPES)
    marks = {names.SYNTHETIC_TYPE: found or "test"}
    run = _run(text(walk), text(persona))
    if not run:
        refuse_for("walkthrough", "its id is a code such as 2026-09-ceo-1, its persona a few words")
    return {**marks, **run}


def told(members: Mapping[str, str]) -> dict[str, str]:
    """The marks in the baggage of a caller that is one of us; none where it is no walkthrough."""
    kind = members.get(names.SYNTHETIC_TYPE, "")
    if kind not in _TYPES:
        return {}
    run = _run(members.get(names.WALKTHROUGH_ID), members.get(names.WALKTHROUGH_PERSONA))
    return {names.SYNTHETIC_TYPE: kind, **run}


def _run(walk: Any, persona: Any) -> dict[str, str]:
    if not (walk and _ID.fullmatch(walk) and persona and _PERSONA.fullmatch(persona)):
        return {}
    if is_personal(walk) or is_personal(persona):
        return {}
    return {names.WALKTHROUGH_ID: walk, names.WALKTHROUGH_PERSONA: persona}
