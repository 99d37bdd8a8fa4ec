"""Audit what users install with cxtrace: ``nox -s audit``.

pip-audit looks for known weaknesses, and one that it finds is a failure. Where its service does not
answer, what is installed is compared with ``tools/dependencies.txt``, the versions that were looked
up last, and what differs is told: no machine without the Internet fails for it. The first line of
the output says which of both was done.

    python tools/audit.py --list > FILE     what is installed beside cxtrace here
    python tools/audit.py FILE              audit it
    python tools/audit.py FILE --write      and put it on the list
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

LIST = Path(__file__).with_name("dependencies.txt")
OURS = {"cxtrace", "pip", "setuptools", "wheel"}
"""What is audited elsewhere, or is no dependency."""
NEVER = "never in these versions"
HEAD = """\
# What pip installs with cxtrace, without extras, on any supported Python, newest or oldest.
# `nox -s audit -- --write` writes it, with the day on which pip-audit knew of no weakness.
# audited: """
PATIENCE = "5"
"""Seconds for each answer of the service."""


def installed() -> dict[str, str]:
    """Name and version of what is installed here, but for ourselves and for tools."""
    found = {
        each.metadata["Name"].lower().replace("_", "-"): each.version for each in distributions()
    }
    return {name: found[name] for name in sorted(found.keys() - OURS)}


def lines(versions: Mapping[str, str]) -> str:
    """A package a line, as pip reads it."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))


def read(text: str) -> dict[str, str]:
    """Name and version of each line that is no comment."""
    pairs = (
        line.strip().partition("==") for line in text.splitlines() if line[:1] not in ("#", "")
    )
    return {name: version for name, _, version in pairs}


def audited(text: str) -> str:
    """What a list says of when it was audited."""
    return text.partition("# audited: ")[2].partition("\n")[0]


def ask(file: Path) -> list[dict[str, Any]] | None:
    """What pip-audit knows of each package; None where it is missing or learns nothing.

    Who stands between us and its service may answer that it has none of the packages. pip-audit
    skips them, and calls that no known weakness: to us it is no answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "audit.json"
        what = ["-r", str(file), "--no-deps", "--disable-pip"]
        how = ["--progress-spinner", "off", "--timeout", PATIENCE, "-f", "json", "-o", str(out)]
        command = [sys.executable, "-m", "pip_audit", *what, *how]
        try:
            subprocess.run(command, capture_output=True, timeout=100, check=False)  # noqa: S603
            found: list[dict[str, Any]] = json.loads(out.read_bytes())["dependencies"]
        except (OSError, ValueError, LookupError, subprocess.TimeoutExpired):
            return None
    return found if any("skip_reason" not in each for each in found) else None


def weaknesses(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is known against each package, and in which version it is mended."""
    return [
        f"{each['name']} {each['version']}: {known['id']}, "
        f"mended in {', '.join(known['fix_versions']) or 'no version'}"
        for each in answers
        for known in each.get("vulns", ())
    ]


def told(
    here: Mapping[str, str], text: str, answers: Sequence[Mapping[str, Any]] | None
) -> list[str]:
    """What was done, and what it did not reach.

    Args:
        here: What is installed.
        text: Of the list.
        answers: Of pip-audit's service, or None where there were none.
    """
    known = read(text)
    new = [f"{name} {here[name]}: not on the list" for name in here if name not in known]
    if answers is not None:
        skipped = [each["name"] for each in answers if "skip_reason" in each]
        said = [f"audited with pip-audit: {len(answers) - len(skipped)} of {len(here)} packages"]
        return [*said, *(f"{name}: not known to the service" for name in skipped), *new]
    said = [
        "NOT audited: pip-audit's service does not answer; compared with the list alone",
        f"the list was audited: {audited(text)}",
    ]
    other = [name for name in here if known.get(name, here[name]) != here[name]]
    return [*said, *(f"{name} {here[name]}: the list has {known[name]}" for name in other), *new]


def written(here: Mapping[str, str], text: str, when: str | None) -> str:
    """The list with what is installed; what other Pythons need stays.

    Args:
        here: What is installed.
        text: Of the list as it was.
        when: The day on which it was audited; None where that is not today.
    """
    return f"{HEAD}{when or NEVER}\n{lines({**read(text), **here})}"


def main(arguments: Sequence[str]) -> int:
    """1 where a weakness is known, else 0."""
    if list(arguments) == ["--list"]:
        sys.stdout.write(lines(installed()))
        return 0
    file = Path(arguments[0])
    here = read(file.read_text(encoding="utf-8"))
    answers = ask(file)
    found = weaknesses(answers or ())
    if "--write" in arguments:
        today = None if found or answers is None else datetime.now(timezone.utc).date().isoformat()
        LIST.write_text(written(here, LIST.read_text(encoding="utf-8"), today), encoding="utf-8")
    said = told(here, LIST.read_text(encoding="utf-8"), answers)
    sys.stdout.write("".join(f"{line}\n" for line in (*said, *found)))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
