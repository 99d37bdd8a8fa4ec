"""The books: what a ledger says, and what is left of one whose process was killed."""

import os
import sys
from pathlib import Path

import pytest

from cxtrace._ledger import CREATED, DROPPED, EXPORTED, RECOVERED, Books, Ledger, settle_dead

needs_flock = pytest.mark.skipif(sys.platform == "win32", reason="a spool needs flock")


def test_balance() -> None:
    """Each item is in exactly one place."""
    right = Ledger(created=9, recovered=1, exported=4, queued=3, spooled=2, dropped={"refused": 1})
    wrong = Ledger(created=9, exported=4)

    assert (right.is_balanced, right.lost) == (True, 1)
    assert (wrong.is_balanced, wrong.lost) == (False, 0)


def test_every_reason_has_a_slot() -> None:
    """Books show each reason by its name, and only those for which something was dropped."""
    books = Books()
    for number, slot in enumerate(DROPPED.values()):
        books.slots[slot] = number

    assert books.ledger(7) == Ledger(
        queued=7,
        dropped={
            "refused": 1,
            "shutdown": 2,
            "spool_full": 3,
            "spool_age": 4,
            "corrupt": 5,
        },
    )


@needs_flock
def test_books_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    """Nobody takes a process for dead that holds its books open."""
    books = Books(tmp_path)
    books.slots[CREATED] = 3

    assert settle_dead(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 1
    books.close()
    assert list(tmp_path.iterdir()) == []
    assert books.ledger(0).created == 3


@needs_flock
def test_books_of_a_dead_process(tmp_path: Path) -> None:
    """What it had in memory is told once; then the file is gone."""
    books = Books(tmp_path)
    books.slots[CREATED], books.slots[RECOVERED], books.slots[EXPORTED] = 9, 1, 4
    books.slots[DROPPED["refused"]] = 2
    assert books._file is not None
    os.close(books._file)
    del books.slots

    assert settle_dead(tmp_path) == 4
    assert settle_dead(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


@needs_flock
def test_files_that_are_no_books(tmp_path: Path) -> None:
    """What is too short, a link or a folder is left alone, and nothing is raised."""
    (tmp_path / "1.books").write_bytes(b"short")
    (tmp_path / "2.books").symlink_to("/etc/hostname")
    (tmp_path / "3.books").mkdir()
    (tmp_path / "4.books").write_bytes(bytes(80))

    assert settle_dead(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 4


@needs_flock
def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Then the books are in memory, as without a spool."""
    books = Books(tmp_path / "missing")
    books.slots[CREATED] += 1

    assert books.ledger(1) == Ledger(created=1, queued=1)
    books.close()


@needs_flock
def test_child_has_books_of_its_own(tmp_path: Path) -> None:
    """It counts from zero, in a file of its own, and the parent's stays as it is."""
    books = Books(tmp_path)
    books.slots[CREATED] = 5
    child = os.fork()
    if not child:
        books.begin_anew()
        books.slots[CREATED] += 1
        files = len(list(tmp_path.iterdir()))
        os._exit(0 if (books.slots[CREATED], files) == (1, 2) else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert books.slots[CREATED] == 5
    assert settle_dead(tmp_path) == 1
    books.close()
    memory = Books()
    memory.slots[CREATED] = 2
    memory.begin_anew()
    assert memory.ledger(0) == Ledger()
