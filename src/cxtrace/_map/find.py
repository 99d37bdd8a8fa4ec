"""Where the journey map is: argument, environment, ``pyproject.toml``, installed packages."""

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

from cxtrace._map.text import shown
from cxtrace._project import tool_table
from cxtrace.exceptions import ConfigurationError, MapError, Problem

ENTRY_POINTS: Final = "cxtrace.journey_maps"
"""Group in which a package names its part of the map, as ``package:file.toml``."""

ENVIRONMENT: Final = "CXTRACE_MAP"
"""Variable that names the map: files or directories, separated as in ``PATH``."""

MapPath: TypeAlias = str | os.PathLike[str]
"""A file of a map, or a directory that holds such files."""


def locate(
    explicit: MapPath | Sequence[MapPath] | None, environ: Mapping[str, str], start: Path
) -> list[Path] | None:
    """The paths of the map from the first place that names any; ``None`` if no place does.

    Raises:
        MapError: ``pyproject.toml`` or an entry point is wrong.
    """
    if isinstance(explicit, str | os.PathLike):
        return [Path(explicit)]
    if explicit is not None:
        return [Path(path) for path in explicit]
    named = [Path(part) for part in environ.get(ENVIRONMENT, "").split(os.pathsep) if part]
    return named or _project(start) or _installed() or None


def files(path: Path) -> list[Path]:
    """The map files that a path stands for: itself, or the TOML files of the directory, by name.

    Hidden files and ``pyproject.toml`` are no maps.
    """
    if not path.is_dir():
        return [path]
    return sorted(
        file
        for file in path.glob("*.toml")
        if file.name != "pyproject.toml" and not file.name.startswith(".")
    )


def _project(start: Path) -> list[Path]:
    try:
        project, table = tool_table(start)
    except ConfigurationError as error:
        raise _error("the journey map", "", str(error)) from None
    value: Any = table.get("journey_map")
    if project is None or value is None:
        return []
    paths = [value] if isinstance(value, str) else value
    if isinstance(paths, list) and all(isinstance(path, str) for path in paths):
        return [project.parent / path for path in paths]
    message = f'{shown(value)} is not a path; write journey_map = "journeys.toml"'
    raise _error(str(project), "tool.cxtrace.journey_map", message)


def _installed() -> list[Path]:
    points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: (point.name, point.value))
    return [_resource(point) for point in points]


def _resource(point: EntryPoint) -> Path:
    package, _, file = point.value.partition(":")
    for folder in _folders(package):
        if (folder / file).is_file():
            return folder / file
    message = f"{shown(point.value)} is no file of an installed package"
    message = f"{message}; write package:file.toml"
    raise _error(f"entry point of {ENTRY_POINTS}", point.name, message)


def _folders(package: str) -> Iterator[Path]:
    # Only the outermost package is looked up, because looking up a package within a package would
    # import the outer one.
    top, *inner = package.split(".")
    spec = find_spec(top) if top else None
    for location in (spec and spec.submodule_search_locations) or ():
        yield Path(location, *inner)


def _error(file: str, key: str, message: str) -> MapError:
    return MapError([Problem(file, 0, key, message)])
