"""With a spool no fault harms a request, and none loses a span that is not counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxtrace._deadline import DEADLINE
from tests.faults.faults import FAULTS, Fault
from tests.faults.rig import Result, Timing, run

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

SHORT = Timing(fault=4, calm=2, warm=1.5, rate=50)
BATCH = 512
"""Spans that are sent at once, at most."""

SLACK = 0.5
"""Seconds that the end of the service may take beside what is given to telemetry."""


def done(name: str, way: str, folder: Path) -> Result:
    """A run; what the service printed is shown where a test fails."""
    result = run(name, way, SHORT, folder)
    print(result)
    for log in sorted(folder.glob("service/*.txt")):
        print(log.name, *log.read_text(errors="replace").splitlines()[-20:], sep="\n")
    return result


@pytest.fixture(scope="module", params=FAULTS)
def fault(request: pytest.FixtureRequest) -> Fault:
    """Each fault that this machine permits."""
    found = FAULTS[request.param]
    if found.not_permitted:
        pytest.skip(found.not_permitted)
    return found


@pytest.fixture(scope="module")
def result(
    fault: Fault, collector_binary: None, tmp_path_factory: pytest.TempPathFactory
) -> Result:
    """What became of the fault, which happens once for all tests."""
    return done(fault.name, "cxtrace+spool", tmp_path_factory.mktemp(fault.name))


def test_no_request_is_harmed(result: Result) -> None:
    """Every request is answered, but for those that a worker took with it when it was killed."""
    assert result.requests > SHORT.rate * SHORT.fault
    assert result.failed == 0


def test_no_span_is_lost_without_being_counted(result: Result, fault: Fault) -> None:
    """What does not arrive stands in the books.

    But for one that a killed worker had ended, and not yet handed over.
    """
    assert result.made > 0
    assert result.uncounted <= (result.crashes if fault.kills else 0)


def test_no_span_is_lost_that_the_spool_has_room_for(fault: Fault, result: Result) -> None:
    """All spans arrive, unless a process was killed with some of them or the disk was full."""
    assert fault.loses or result.lost == 0


def test_few_spans_come_twice(fault: Fault, result: Result) -> None:
    """Each crash makes at most one batch come again, with the same ids.

    A receiver that takes what the service has given up is another thing: there is no other way
    but to send it again.
    """
    assert fault.repeats or result.twice <= BATCH * result.crashes
    assert result.strange == 0


def test_the_books_are_those_of_the_service(result: Result, fault: Fault) -> None:
    """The library has counted each span that the service has noted.

    Of a worker that was killed, others know what it had in memory, and no more.
    """
    books = result.books
    assert books.created == result.made or (fault.kills and books.created < result.made)


def test_the_books_balance(result: Result) -> None:
    """What was created and recovered is exported, waiting or lost: no span is in two places."""
    books = result.books

    assert books.created + books.recovered == books.exported + books.spooled + books.lost


def test_the_service_ends_in_time(result: Result) -> None:
    """The end of the service takes no longer than telemetry may take, and half a second."""
    assert result.exit is not None
    assert result.exit <= DEADLINE + SLACK


@pytest.mark.parametrize("name", ["413", "429", "503", "half-closed", "slow"])
@pytest.mark.usefixtures("collector_binary")
def test_the_rig_sees_what_happens_to_opentelemetry(name: str, tmp_path: Path) -> None:
    """The SDK alone meets the same faults, which harm no request; and it counts no loss."""
    result = done(name, "opentelemetry", tmp_path)

    assert result.met > 0
    assert (result.failed, result.strange) == (0, 0)
    assert result.uncounted == result.lost


@pytest.mark.usefixtures("collector_binary")
def test_the_rig_sees_a_loss(tmp_path: Path) -> None:
    """What the SDK gives up on is missing in the Collector's files, and is found to be missing."""
    result = done("413", "opentelemetry", tmp_path)

    assert 0 < result.lost < result.made
