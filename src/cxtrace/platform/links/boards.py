"""Addresses of the dashboards that ``cxtrace dashboards`` writes, for all that lead to one."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from cxtrace.journey_map import JourneyMap
from cxtrace.platform.links.encoding import encoded, place, text

PROMISE: Final = "promise"
"""The board of one promise, and the variable that chooses which."""

_LONGEST: Final = 40
"""Characters that Grafana takes as the address of a board."""


def uid(journey_map: JourneyMap, board: str) -> str:
    """The address of a board, which stays the same while the map has its name."""
    words = re.sub(r"[^a-z0-9]+", "-", journey_map.name.lower()).strip("-")
    plain = f"cx-{words}-{board}"
    if len(plain) <= _LONGEST and re.fullmatch(r"[a-z][a-z0-9-]*", journey_map.name):
        return plain
    digest = hashlib.sha256(journey_map.name.encode(errors="surrogatepass")).hexdigest()[:8]
    room = _LONGEST - len(f"cx--{digest}-{board}")
    return f"cx-{words[:room]}-{digest}-{board}"


def url(base: str, uid: str, variables: Mapping[str, str]) -> str:
    """A board with some of its variables set.

    Args:
        base: Where Grafana is, as ``http://localhost:3000``; empty within Grafana itself.
        uid: The address of the board.
        variables: Name and value.
    """
    chosen = {f"var-{name}": text(value) for name, value in variables.items()}
    return f"{place(base)}/d/{uid}?{encoded(chosen)}"
