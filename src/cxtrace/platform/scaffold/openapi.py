"""Routes of an OpenAPI file."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cxtrace.platform.scaffold.facts import Found, ScaffoldError, route
from cxtrace.platform.trouble import why

SUFFIXES: Final = (".json", ".yaml", ".yml")
"""How the names of such files end."""

_METHODS: Final = ("get", "post", "put", "patch", "delete", "head", "options", "trace", "query")


def load(path: Path) -> dict[str, Any]:
    """The document in a file.

    Raises:
        ScaffoldError: It cannot be read, or it is no OpenAPI 3.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else _yaml(text, path)
    except OSError as error:
        raise ScaffoldError(f"{path} cannot be read: {why(error)}") from error
    except UnicodeDecodeError as error:
        raise ScaffoldError(f"{path} is no text in UTF-8; name an OpenAPI file") from error
    except ValueError as error:
        raise ScaffoldError(f"{path} cannot be read ({error}); name an OpenAPI file") from error
    version = document.get("openapi") if isinstance(document, dict) else None
    if not str(version).startswith("3."):
        old = isinstance(document, dict) and "swagger" in document
        what = "is of Swagger 2" if old else "is no OpenAPI file"
        raise ScaffoldError(f"{path} {what}; give an OpenAPI 3 file, or convert it to one")
    return dict(document)


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        message = f"to read {path} PyYAML is needed; install it, or give the file as JSON"
        raise ScaffoldError(message) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScaffoldError(f"{path} is no YAML: {error}") from error


def title(document: Mapping[str, Any]) -> str:
    """What the document calls the application."""
    info = document.get("info")
    return str(info.get("title") or "") if isinstance(info, dict) else ""


def read(document: Mapping[str, Any]) -> Iterator[Found]:
    """Every operation of the document; each path is below that of the first server."""
    prefix = _prefix(document)
    for path, item in _table(document.get("paths")).items():
        operations = _table(item)
        for method in _METHODS:
            if method in operations:
                operation = _table(operations[method])
                hint = operation.get("operationId") or operation.get("summary") or ""
                tags = operation.get("tags")
                about = tuple(map(str, tags)) if isinstance(tags, list) else ()
                yield route(method.upper(), prefix + path, hint=str(hint), about=about)


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _prefix(document: Mapping[str, Any]) -> str:
    servers = document.get("servers")
    first = _table(servers[0]) if isinstance(servers, list) and servers else {}
    url = str(first.get("url") or "")
    return "" if "{" in url else urlsplit(url).path.rstrip("/")
