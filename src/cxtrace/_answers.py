"""What a receiver of telemetry answered: whether to try again, to split the batch or to give up."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from enum import Enum
from time import monotonic
from typing import Any, Final
from weakref import WeakKeyDictionary

from attrs import evolve, field, frozen

from cxtrace import _clock, _guard
from cxtrace._gate import gate

LONGEST_WAIT: Final = 3_600.0
"""Seconds that a receiver may ask us to wait; more is taken for this much."""


class Verdict(Enum):
    """What to do with the batch that was sent."""

    DELIVERED = "delivered"
    """Forget it: the receiver has it, but for what it rejected."""
    UNAVAILABLE = "unavailable"
    """Try again later: nobody has looked at it."""
    TOO_LARGE = "too large"
    """Send it in two halves; one item alone that is too large will never be taken."""
    REFUSED = "refused"
    """Drop it: the receiver has looked at it and will never take it."""
    UNKNOWN = "unknown"
    """Try again a few times. What still fails while others are delivered will never be taken."""


@frozen
class Answer:
    """What became of one batch.

    Attributes:
        verdict: What to do with it.
        retry_after: Seconds that the receiver asks us to wait, 3,600 at most; None if it does not
            say.
        rejected: Items of a delivered batch that the receiver did not take, and never will.
        advice: What somebody has to mend before anything is delivered; "" if nothing.
        is_doubtful: Whether the receiver may have the batch all the same.
    """

    verdict: Verdict
    retry_after: float | None = None
    rejected: int = 0
    advice: str = ""
    is_doubtful: bool = field(default=False, eq=False)


_DELIVERED: Final = Answer(Verdict.DELIVERED)
UNAVAILABLE: Final = Answer(Verdict.UNAVAILABLE, is_doubtful=True)
"""Nobody has answered."""
UNREACHED: Final = Answer(Verdict.UNAVAILABLE)
"""Nobody has been asked: there was no connection."""
_UNKNOWN: Final = Answer(Verdict.UNKNOWN, is_doubtful=True)

_VARIABLES: Final = "OTEL_EXPORTER_OTLP"
_HEADERS: Final = f"it wants other credentials: see to {_VARIABLES}_HEADERS"
_ELSEWHERE: Final = (
    f"it takes none of them there: see to {_VARIABLES}_ENDPOINT and _PROTOCOL, and set "
    "OTEL_LOGS_EXPORTER=none if it takes spans alone"
)
_MEND: Final[Mapping[object, str]] = {
    **dict.fromkeys((401, 403, 407, "UNAUTHENTICATED", "PERMISSION_DENIED"), _HEADERS),
    415: f"it takes no such encoding: see to {_VARIABLES}_COMPRESSION and _PROTOCOL",
    **dict.fromkeys((301, 302, 303, 307, 308), f"it has moved: see to {_VARIABLES}_ENDPOINT"),
}
_LATER: Final = {408, 425, 429}
_OF_THE_BATCH: Final = {400, 422}
_BY_AN_OTLP_RECEIVER: Final = ("application/x-protobuf", "application/json")

_LATER_CODES: Final = {
    *("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED"),
    *("OUT_OF_RANGE", "DATA_LOSS"),
}
_NOT_TAKEN: Final = {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}
_ELSEWHERE_CODES: Final = {"UNIMPLEMENTED", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED"}
_TOO_LARGE: Final = re.compile(r"larger than max|exceeds maximum size")
"""What the gRPC libraries say of a message over their limit; the code is that of overload too."""


def of_http(status: int, headers: Mapping[str, str], rejected: int = 0) -> Answer:
    """What an answer over HTTP means for the batch.

    Of the 4xx only 400, 413 and 422 speak of the batch. The others recover when somebody mends the
    configuration of the service or of the receiver; so does a page where OTLP was expected.
    """
    kind = headers.get("Content-Type", "").strip().lower()
    wait = wait_of(headers.get("Retry-After"))
    if 200 <= status < 300:
        if kind.startswith("text/html"):
            return _to_mend("HTTP", f"{status} and a page")
        return Answer(Verdict.DELIVERED, rejected=rejected)
    if status == 413:
        return Answer(Verdict.TOO_LARGE, wait)
    if status in _OF_THE_BATCH:
        # A proxy says so too, of a request that it does not understand.
        knows = kind.startswith(_BY_AN_OTLP_RECEIVER)
        return Answer(Verdict.REFUSED) if knows else Answer(Verdict.UNKNOWN, wait)
    if status == 500:
        return Answer(Verdict.UNKNOWN, wait, is_doubtful=True)
    if status in _LATER or (status > 500 and status not in {501, 505}):
        return Answer(Verdict.UNAVAILABLE, wait, is_doubtful=status == 504)
    return _to_mend("HTTP", status, wait)


def of_grpc(code: str, details: str, wait: float | None = None) -> Answer:
    """What a status of gRPC means for the batch.

    Args:
        code: Its name, such as ``UNAVAILABLE``.
        details: The text that came with it.
        wait: Seconds after which to try again, if the receiver said so.

    """
    if code == "OK":
        return _DELIVERED
    if code == "RESOURCE_EXHAUSTED" and _TOO_LARGE.search(details):
        return Answer(Verdict.TOO_LARGE, wait)
    is_doubtful = code not in _NOT_TAKEN
    if code in _LATER_CODES:
        return Answer(Verdict.UNAVAILABLE, wait, is_doubtful=is_doubtful)
    if code in _ELSEWHERE_CODES:
        return _to_mend("gRPC", code, wait)
    if code == "INVALID_ARGUMENT":
        return Answer(Verdict.REFUSED, wait)
    return Answer(Verdict.UNKNOWN, wait, is_doubtful=is_doubtful)


def _to_mend(protocol: str, said: object, wait: float | None = None) -> Answer:
    advice = f"over {protocol} it answers {said}: {_MEND.get(said, _ELSEWHERE)}"
    return Answer(Verdict.UNAVAILABLE, wait, advice=advice)


def of_tls() -> Answer:
    """Nobody was reached, because the two ends do not agree on TLS."""
    advice = f"TLS fails: see to {_VARIABLES}_CERTIFICATE, and to http or https in _ENDPOINT"
    return Answer(Verdict.UNAVAILABLE, advice=advice)


def wait_of(retry_after: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, given in seconds or as a date."""
    if retry_after is None:
        return None
    try:
        return within_reason(float(retry_after))
    except ValueError:
        pass
    try:
        return within_reason(parsedate_to_datetime(retry_after).timestamp() - _clock.wall())
    except (TypeError, ValueError, OverflowError):
        return None


def within_reason(seconds: float) -> float | None:
    """Seconds to wait: not below zero, not above the longest wait, and None for no number."""
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_WAIT)


class Notes:
    """What the last export met.

    For one thread at a time: that which exports.

    Args:
        timeout: Seconds for one export.
        items: What it exports, in words.

    Attributes:
        answer: To the requests of this export; None if none was sent.
        renew: Gives the exporter connections of its own, in a forked child.
    """

    def __init__(self, timeout: float = math.inf, items: str = "telemetry") -> None:
        self.items = items
        self.answer: Answer | None = None
        self.renew: Callable[[], None] = _nothing
        self._timeout = timeout
        self._deadline = math.inf

    def begin(self) -> None:
        """Begin an export: there is no answer yet, and all its requests share one time-out."""
        self.answer = None
        self._deadline = monotonic() + self._timeout

    def end(self) -> None:
        """End it: what others send through the exporter has the time-out of each request."""
        self._deadline = math.inf

    def hear(self, answer: Answer) -> None:
        """Take down an answer. Of several tries one that said "too large" has said it all."""
        known = self.answer is not None and self.answer.verdict is Verdict.TOO_LARGE
        if not known or answer.verdict is Verdict.DELIVERED:
            self.answer = answer

    def deadline(self, timeout: float | None) -> float:
        """When a request that begins now must be over, on the clock of ``time.monotonic``."""
        own = self._timeout if timeout is None else timeout
        return min(self._deadline, monotonic() + own)


def _nothing() -> None:
    """Where nothing is shared with a parent."""


_notes: "WeakKeyDictionary[Any, Notes]" = WeakKeyDictionary()


def keep(exporter: Any, notes: Notes) -> None:
    """Remember who takes notes of an exporter of OpenTelemetry."""
    with suppress(TypeError):
        _notes[exporter] = notes


def after_fork() -> None:
    """Begin anew in a child, which must not write into its parent's connections."""
    for notes in [*_notes.values()]:
        notes.renew()


_guard.in_child(after_fork)


def notes_of(exporter: Any) -> Notes:
    """The notes of an exporter; new ones, which stay empty, of one that nobody watches."""
    with suppress(TypeError):  # It need not be hashable.
        return _notes.get(exporter) or Notes()
    return Notes()


class Sender:
    """Sends batches through an exporter, and says what the receiver answered.

    That of OTLP which cxtrace builds says all of it; of others ``FAILURE`` is ``UNKNOWN``.

    Args:
        exporter: Of spans or of log records.

    """

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        self._notes = notes_of(exporter)

    def send(self, batch: Sequence[Any]) -> Answer:
        """Export a batch; an exception of the exporter is counted and says nothing of the batch.

        What somebody has to mend is logged, once.
        """
        self._notes.begin()
        try:
            with gate:
                result = self._exporter.export(batch)
        except Exception as error:  # noqa: BLE001  an exporter of others may not break the host
            _guard.swallow("export", error)
            return _UNKNOWN
        finally:
            self._notes.end()
        answer = self._answer(getattr(result, "name", "") == "SUCCESS")
        if answer.advice:
            _guard.warn_once(
                f"answer:{self._notes.items}:{answer.advice}",
                "cxtrace: the receiver of %s does not take them: %s. Until then they wait, as far "
                "as there is room",
                self._notes.items,
                answer.advice,
            )
        return evolve(answer, rejected=min(answer.rejected, len(batch)))

    def _answer(self, is_success: bool) -> Answer:
        noted = self._notes.answer
        if noted is None:
            return _DELIVERED if is_success else _UNKNOWN
        if noted.verdict is Verdict.DELIVERED and not is_success:
            return _UNKNOWN
        return noted  # OpenTelemetry calls some successes that are none, as a redirect
