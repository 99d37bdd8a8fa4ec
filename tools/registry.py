"""Write what `cxtrace explain` ships of the registry: ``python tools/registry.py``.

YAML is not read at run time. So the package has a JSON file with what ``semconv/`` says, and with
which of its names the code of this version sends. A test holds it against both.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
SEMCONV: Final = ROOT / "semconv"
SOURCE: Final = ROOT / "src" / "cxtrace"
SHIPPED: Final = SOURCE / "platform" / "explain" / "registry.json"

_LEVELS: Final = {
    "required": "",
    "recommended": "if it is known",
    "opt_in": "if somebody asks for it",
}


def content() -> dict[str, Any]:
    """What is shipped."""
    groups = [
        *({"kind": "span", "name": each["type"], **_group(each)} for each in _read("spans")),
        *({"kind": "event", "name": each["name"], **_group(each)} for each in _read("events")),
        *({"kind": "metric", "name": each["name"], **_group(each)} for each in _read("metrics")),
    ]
    attributes = {each["key"]: _attribute(each) for each in _read("attributes")}
    sent = _sent()
    groups = [each for each in groups if each["kind"] == "span" or each["name"] in sent]
    return {"attributes": attributes, "groups": groups, "sent": sorted(sent)}


def written() -> str:
    """What is shipped, as the text of the file."""
    return json.dumps(content(), indent=1, ensure_ascii=False) + "\n"


def _read(name: str) -> list[dict[str, Any]]:
    text = (SEMCONV / f"{name}.yaml").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = yaml.safe_load(text)[name]
    return found


def _attribute(each: dict[str, Any]) -> dict[str, Any]:
    is_template = str(each["type"]).startswith("template")
    return {
        "meaning": _plain(each["brief"]),
        "is_template": is_template,
        **each["annotations"]["cx"],
    }


def _group(each: dict[str, Any]) -> dict[str, Any]:
    refs = {ref["ref"]: _condition(ref["requirement_level"]) for ref in each["attributes"]}
    return {"meaning": _plain(each["brief"]), "attributes": refs}


def _condition(level: Any) -> str:
    if not isinstance(level, dict):
        return _LEVELS[level]
    (text,) = level.values()
    return _plain(text[:1].lower() + text[1:]).rstrip(".")


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())


def _sent() -> set[str]:
    """The names that the code can set: those that it uses."""
    constants = dict(
        re.findall(r'^([A-Z_]+): Final = "(.+)"$', _text("attributes.py"), re.MULTILINE)
    )
    used = {name for path in _modules() for name in _used(path)}
    return {constants[name] for name in used if name in constants}


def _modules() -> Iterator[Path]:
    return (path for path in SOURCE.glob("*.py") if path.name != "attributes.py")


def _used(path: Path) -> list[str]:
    return re.findall(r"\bnames\.([A-Z_]+)\b", path.read_text(encoding="utf-8"))


def _text(name: str) -> str:
    return (SOURCE / name).read_text(encoding="utf-8")


if __name__ == "__main__":
    SHIPPED.write_text(written(), encoding="utf-8")
