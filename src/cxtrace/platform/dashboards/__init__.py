"""Grafana dashboards of a journey map, and the files by which Grafana finds them."""

from typing import Final

from cxtrace.journey_map import JourneyMap
from cxtrace.platform.dashboards import (
    function,
    health,
    living_journey,
    promise,
    stage,
    touchpoint,
)
from cxtrace.platform.dashboards.facts import Board
from cxtrace.platform.dashboards.grafana import dashboard_text
from cxtrace.platform.dashboards.provisioning import (
    Places,
    datasources,
    lint_exclusions,
    providers,
)
from cxtrace.platform.links.boards import uid
from cxtrace.platform.writing import Files, made_by, yaml_text

_OF_THE_MAP: Final = (living_journey, stage, touchpoint, function, promise)


def boards(journey_map: JourneyMap) -> tuple[Board, ...]:
    """The boards of a map: their number does not depend on what is in it."""
    uids = {each.NAME: uid(journey_map, each.NAME) for each in _OF_THE_MAP}
    return (*(each.board(journey_map, uids) for each in _OF_THE_MAP), health.board())


def dashboard_files(journey_map: JourneyMap, places: Places) -> Files:
    """Six dashboards and what provisions them, ready to be mounted.

    Args:
        journey_map: Its stages, promises, objectives and plans are in the dashboards.
        places: Where Grafana finds its data, and the dashboards.

    Raises:
        MissingExtraError: A package of the extra ``platform`` is not installed.
    """
    first = made_by("dashboards", journey_map.name)
    files = {
        f"dashboards/{each.name}.json": dashboard_text(each, uid(journey_map, each.name), first)
        for each in boards(journey_map)
    }
    comment = f"{first}\nWhere Grafana finds"
    return {
        **files,
        "dashboards/.lint": yaml_text(lint_exclusions(), f"{first}\nFor dashboard-linter."),
        "provisioning/datasources/cxtrace.yaml": yaml_text(
            datasources(places), f"{comment} its data."
        ),
        "provisioning/dashboards/cxtrace.yaml": yaml_text(
            providers(places), f"{comment} the dashboards."
        ),
    }
