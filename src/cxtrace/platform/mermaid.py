"""A journey map as a Mermaid journey diagram: the drawing on the wall, from the map itself.

GitHub, GitLab and most wikis draw the text when it stands in a ``mermaid`` code block.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

from cxtrace._model import Touchpoint
from cxtrace.journey_map import JourneyMap

UNMEASURED: Final = 3.0
"""Score of a touchpoint of which nothing is measured: neither smile nor frown."""

_LOOKALIKES: Final = str.maketrans("#:;%,<>", "＃∶；％‚‹›")  # noqa: RUF001
_KEYWORD: Final = re.compile(r"(journey|title|section|accTitle|accDescr)", re.IGNORECASE)
_NOT_A_KEYWORD: Final = "\N{ZERO WIDTH SPACE}"


def map_diagram(journey_map: JourneyMap, scores: Mapping[str, float] | None = None) -> str:
    """The whole map: a section for each stage, in order.

    Args:
        journey_map: The map to draw.
        scores: How it feels to be at each touchpoint, from 1 (bad) to 5 (good); 3 for the others.
    """
    stages = sorted(journey_map.stages.values(), key=lambda stage: stage.order)
    touchpoints = journey_map.touchpoints.values()
    sections = {
        stage.name: [item for item in touchpoints if item.stage == stage.name] for stage in stages
    }
    return _diagram(journey_map.name, sections, scores or {})


def journey_diagram(
    journey_map: JourneyMap, journey: str, scores: Mapping[str, float] | None = None
) -> str:
    """One journey: a section for each route, its touchpoints in order.

    Args:
        journey_map: The map to draw from.
        journey: Name of a journey of the map.
        scores: As for ``map_diagram``.

    Raises:
        KeyError: The map has no such journey.
    """
    routes = journey_map.journeys[journey].routes
    sections = {
        route: [journey_map.touchpoints[step] for step in steps] for route, steps in routes.items()
    }
    return _diagram(journey, sections, scores or {})


def _diagram(
    title: str, sections: Mapping[str, list[Touchpoint]], scores: Mapping[str, float]
) -> str:
    lines = ["journey", f"    title {plain_text(title)}"]
    for name, touchpoints in sections.items():
        lines.append(f"    section {plain_text(name)}")
        lines += (_task(item, scores.get(item.name, UNMEASURED)) for item in touchpoints)
    return "\n".join(lines) + "\n"


def _task(touchpoint: Touchpoint, score: float) -> str:
    name = plain_text(touchpoint.name)
    if _KEYWORD.match(name):
        name = _NOT_A_KEYWORD + name
    actors = ", ".join(plain_text(actor) for actor in _actors(touchpoint))
    return f"        {name}: {min(5, max(1, round(score)))}: {actors}"


def _actors(touchpoint: Touchpoint) -> Iterator[str]:
    """The owner, then who has influence, the most influential first."""
    yield touchpoint.owner
    weights = sorted(touchpoint.influence.items(), key=lambda item: -item[1])
    yield from (name for name, _ in weights if name != touchpoint.owner)


def plain_text(text: str) -> str:
    """The text without anything that means something to Mermaid's parser.

    Marks that it would take for its own become marks that look the same.
    """
    spaced = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    return " ".join(spaced.split()).translate(_LOOKALIKES) or "unnamed"
