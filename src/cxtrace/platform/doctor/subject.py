"""What the checks look at, and what they have to say."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

from attrs import asdict, field, frozen

from cxtrace._wiring_facts import WiringFacts
from cxtrace.binding import BoundFunction
from cxtrace.delivery import SpoolSettings
from cxtrace.exceptions import CXTraceError
from cxtrace.journey_map import JourneyMap

Level: TypeAlias = Literal["error", "warning", "note"]
"""With an error something is lost or wrong; a warning deserves a look; a note is to be known."""


@frozen
class Finding:
    """Something that a check has found.

    Attributes:
        id: What it is, in a word that does not change.
        level: How bad.
        found: What is so, with its place.
        advice: What to do about it.
    """

    id: str
    level: Level
    found: str
    advice: str

    def to_dict(self) -> dict[str, str]:
        """The finding as plain data, for JSON."""
        return asdict(self)


Findings: TypeAlias = Iterator[Finding]


@frozen
class Subject:
    """A process after ``configure()``, or after it refused.

    Attributes:
        facts: What is at work.
        environ: Its environment.
        refusal: Why ``configure()`` or the application did not come up.
        said: What cxtrace and OpenTelemetry logged meanwhile.
        is_app: Whether an application was imported, which had to call ``configure()`` itself.
        app: The application, where it could be found.
        keeps_nothing: Whether the sampler drops every trace it is asked about.
        journey_map: The map in force.
        bindings: Functions that it binds.
        spool: Its settings, where there is one.
        is_exporter_open: Whether nobody has said where spans go.
        record_exceptions: What is recorded of exceptions beside their class.
        blocked: How many values of people were held back so far, by kind.
        headers: What exporters send along, by endpoint; secret.
    """

    facts: WiringFacts
    environ: Mapping[str, str] = field(factory=dict)
    refusal: CXTraceError | None = None
    said: tuple[str, ...] = ()
    is_app: bool = False
    app: Any = None
    keeps_nothing: bool = False
    journey_map: JourneyMap | None = None
    bindings: tuple[BoundFunction, ...] = ()
    spool: SpoolSettings | None = None
    is_exporter_open: bool = False
    record_exceptions: str | None = None
    blocked: Mapping[str, int] = field(factory=dict)
    headers: Mapping[str, Mapping[str, str]] = field(factory=dict, repr=False)

    def variable(self, name: str) -> str:
        """A variable of the environment, "" where it is not set."""
        return self.environ.get(name, "").strip()


def plural(number: int, word: str) -> str:
    """The number and the word, as English has it."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def verdict(findings: list[Finding]) -> str:
    """The one line that says how the patient is."""
    count = {level: sum(each.level == level for each in findings) for level in _LEVELS}
    words = [plural(count[level], level) for level in ("error", "warning") if count[level]]
    if words:
        return ", ".join(words)
    return f"Healthy, {plural(count['note'], 'note')}" if count["note"] else "Healthy"


_LEVELS: tuple[Level, ...] = ("error", "warning", "note")


def by_level(finding: Finding) -> int:
    """What is worst comes first."""
    return _LEVELS.index(finding.level)
