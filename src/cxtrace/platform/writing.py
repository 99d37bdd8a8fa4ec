"""Generated files: their text, always the same for the same map, and their way to a folder."""

import difflib
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import frozen

Files: TypeAlias = Mapping[str, str]
"""The text of each file, by its path within a folder, with ``/`` between its parts."""

MOST_SHOWN: Final = 20
"""Lines of a difference that are shown of one file."""

EXTRA: Final = "pip install 'cxtrace[platform]'"


class MissingExtraError(Exception):
    """A package of the extra ``platform`` is not installed; the text says what to do."""


def needed(module: str) -> Any:
    """A module of the extra ``platform``.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError(f"{module} is needed for this and not installed: {EXTRA}") from None


def made_by(command: str, name: str) -> str:
    """The first line of a generated file, which no name of a map can end.

    Args:
        command: The command of ``cxtrace`` that writes it.
        name: Of the map.
    """
    # Only a map that was built in code can have a name that would be more than a comment.
    shown = " ".join("".join(each if each.isprintable() else " " for each in name).split())
    return f"Made by `cxtrace {command}` from the map {shown}; do not edit."


def yaml_text(document: object, comment: str = "") -> str:
    """A document as YAML, in the order of its keys; a text of several lines is a block.

    Args:
        document: Dictionaries, lists and scalars.
        comment: Lines to begin with, without ``#``.

    Raises:
        MissingExtraError: PyYAML is not installed.
    """
    needed("yaml")
    import yaml

    class Dumper(yaml.SafeDumper):
        """Without references, which few readers of such files expect."""

        def ignore_aliases(self, data: object) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, indentless=False)

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    body = yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1_000)
    return _comment(comment) + str(body)


def _comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def json_text(document: object) -> str:
    """A document as JSON that people can compare line by line."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


@frozen
class Written:
    """What became of files.

    Attributes:
        changed: Files that were not there, or had another text.
        same: Files that had this text.
    """

    changed: tuple[str, ...]
    same: tuple[str, ...]


def compare(files: Files, folder: Path) -> Written:
    """Which files a folder has already as they are to be, and which it has not."""
    same = [name for name, text in files.items() if _text_in(folder / name) == text]
    return Written(tuple(name for name in files if name not in same), tuple(same))


def difference(path: Path, text: str) -> list[str]:
    """How a file differs from what it is to be, as the first lines of a unified diff.

    It is empty where the file cannot be read as text.
    """
    found = _text_in(path)
    if found is None:
        return []
    lines = difflib.unified_diff(found.splitlines(), text.splitlines(), n=1, lineterm="")
    every = list(lines)[2:]  # The first two would name the files.
    more = len(every) - MOST_SHOWN
    return [*every[:MOST_SHOWN], *([f"… and {more} more lines"] if more > 0 else ())]


def _text_in(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def write(files: Files, folder: Path) -> Written:
    """Write the files that differ from those in a folder, and make the folders that are missing.

    Raises:
        OSError: A file cannot be written.
    """
    written = compare(files, folder)
    for name in written.changed:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[name], encoding="utf-8")
    return written
