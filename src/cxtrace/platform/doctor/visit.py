"""A visit to the doctor: the patient is a process of its own, which may hang, print and die."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, Final, cast

from attrs import asdict, field, frozen

from cxtrace.platform.doctor.subject import Finding, verdict

_FIRST: Final = Path(__file__).with_name("_first.py")
_START: Final = (
    "import sys, importlib.util as u; s = u.spec_from_file_location(*sys.argv[1:3]);"
    " m = u.module_from_spec(s); s.loader.exec_module(m); m.main()"
)
_IMPORT_SECONDS: Final = 60.0
_ASKING_SECONDS: Final = 30.0
_LEAVING_SECONDS: Final = 3.0


@frozen
class Question:
    """What the doctor is asked.

    Attributes:
        app: ``MODULE`` or ``MODULE:ATTR`` to be imported; None for what a new service would be.
        query: Address of a backend to read the probe back from; secret, as it may hold a password.
        timeout: Seconds for the probe to arrive.
        probe: Whether anything is sent or asked over the network at all.
    """

    app: str | None = None
    query: str | None = field(default=None, repr=False)
    timeout: float = 10.0
    probe: bool = True


@frozen
class Diagnosis:
    """What was found.

    Attributes:
        findings: The worst first.
        wiring: The facts, as plain data; None where the patient did not come up.
        probe: What became of the probe, as plain data; None where none was sent.
    """

    findings: tuple[Finding, ...]
    wiring: dict[str, Any] | None = None
    probe: dict[str, Any] | None = None

    @property
    def verdict(self) -> str:
        """The one line that says how the patient is."""
        return verdict(list(self.findings))

    def count(self, level: str) -> int:
        """How many findings are of a level."""
        return sum(each.level == level for each in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis as plain data, for JSON."""
        counts = {f"{level}s": self.count(level) for level in ("error", "warning", "note")}
        return {"verdict": self.verdict, **counts, **asdict(self)}


def visit(question: Question) -> Diagnosis:
    """Start a patient, examine it, and let it go."""
    longest = question.timeout + _IMPORT_SECONDS + _ASKING_SECONDS
    command = [sys.executable, "-c", _START, "cxtrace.platform.doctor._first", str(_FIRST)]
    patient = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    timer = threading.Timer(longest, patient.kill)
    timer.start()
    try:
        answer = _answer(patient, question)
    finally:
        timer.cancel()
        _leave(patient)
    return _diagnosis(answer, question, longest)


def _answer(patient: "subprocess.Popen[bytes]", question: Question) -> bytes:
    pipes = cast("tuple[IO[bytes], IO[bytes]]", (patient.stdin, patient.stdout))
    with pipes[0] as to_patient, pipes[1] as from_patient:
        try:
            to_patient.write(json.dumps(asdict(question)).encode())
            to_patient.close()
        except OSError:  # it has died already
            return b""
        return from_patient.read()


def _leave(patient: "subprocess.Popen[bytes]") -> None:
    """An exporter of others may hold an exit up for half a minute: the answer is there."""
    try:
        patient.wait(_LEAVING_SECONDS)
    except subprocess.TimeoutExpired:
        patient.kill()
        patient.wait()


def _diagnosis(answer: bytes, question: Question, longest: float) -> Diagnosis:
    try:
        found: dict[str, Any] = json.loads(answer)
    except ValueError:
        what = question.app or "A service that is configured as here"
        return Diagnosis(
            (
                Finding(
                    "no-answer",
                    "error",
                    f"{what} died, or did not come up in {longest:.0f} s.",
                    "Name to --app a module that can be imported without serving.",
                ),
            )
        )
    if "trouble" in found:
        return Diagnosis(
            (
                Finding(
                    "app-not-imported",
                    "error",
                    f"{question.app} could not be imported: {found['trouble']}.",
                    "Run the command where the application is started, with its environment.",
                ),
            )
        )
    findings = tuple(Finding(**each) for each in found["findings"])
    return Diagnosis(findings, found["wiring"], found["probe"])
