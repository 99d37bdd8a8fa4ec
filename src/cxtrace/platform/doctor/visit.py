"""A visit to the doctor: the patient is a process of its own, which may hang, print and die."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, cast

from attrs import asdict, field, frozen

from cxtrace._settings import SPOOLS
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
    asked = {**asdict(question), "is_silent": not question.probe}
    return _diagnosis(answer("cxtrace.platform.doctor.patient", asked, longest), question, longest)


def answer(
    patient: str, asked: Mapping[str, Any], longest: float = _IMPORT_SECONDS
) -> dict[str, Any] | None:
    """Start a process, ask a patient in it, and let it go.

    Args:
        patient: The module whose ``diagnose()`` answers.
        asked: ``app`` (what is imported, or None) and ``is_silent`` (nothing may be sent), and what
            the patient understands.
        longest: Seconds.

    Returns:
        What it says, or ``trouble``: why the application could not be imported. None where the
        process died, or did not answer in time.
    """
    command = [sys.executable, "-c", _START, "cxtrace.platform.doctor._first", str(_FIRST)]
    process = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, SPOOLS: "none" if asked["is_silent"] else "own"},
    )
    timer = threading.Timer(longest, process.kill)
    timer.start()
    try:
        said = _answer(process, json.dumps({**asked, "patient": patient}).encode())
    finally:
        timer.cancel()
        _leave(process)
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError:
        return None
    return found


def _answer(patient: "subprocess.Popen[bytes]", asked: bytes) -> bytes:
    pipes = cast("tuple[IO[bytes], IO[bytes]]", (patient.stdin, patient.stdout))
    with pipes[0] as to_patient, pipes[1] as from_patient:
        try:
            to_patient.write(asked)
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


def _diagnosis(found: dict[str, Any] | None, question: Question, longest: float) -> Diagnosis:
    if found is None:
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
