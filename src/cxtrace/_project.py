"""The ``[tool.cxtrace]`` table of the nearest ``pyproject.toml``."""

import sys
from pathlib import Path
from typing import Any

from cxtrace.exceptions import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def tool_table(start: Path) -> tuple[Path | None, dict[str, Any]]:
    """The file and its table; an empty table where there is none at or above ``start``.

    Raises:
        ConfigurationError: The file cannot be read, or ``tool.cxtrace`` is no table.
    """
    for folder in (start.absolute(), *start.absolute().parents):
        path = folder / "pyproject.toml"
        if _is_there(path):
            return path, _table(path)
    return None, {}


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder above that this user may not look into
        return False


def _table(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} cannot be read: it is no text in UTF-8") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    tools = document.get("tool", {})
    table = tools.get("cxtrace", {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise ConfigurationError(f"{path}: tool.cxtrace must be a table")
    return table
