"""The books: what a ledger says, and what is left of one whose process was killed."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from cxtrace import _ledger, _shared_page
from cxtrace._ledger import (
    CREATED,
    DROPPED,
    EXPORTED,
    RECOVERED,
    Books,
    BooksFile,
    Ledger,
    new_page,
    settle_dead,
)

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


def written(folder: Path, **slots: int) -> BooksFile:
    """Books that a living process has written down."""
    books, file = Books(), BooksFile(folder)
    for name, count in slots.items():
        books.slots[{"created": CREATED, "recovered": RECOVERED, "exported": EXPORTED}[name]] = (
            count
        )
    books.slots[DROPPED["refused"]] = 2
    file.write(books)
    return file


@needs_flock
def test_books_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    """Nobody takes a process for dead that holds its books open."""
    file = written(tmp_path, created=3)

    assert settle_dead(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 1
    file.close()
    assert list(tmp_path.iterdir()) == []
    file.close()


@needs_flock
def test_books_of_a_dead_process(tmp_path: Path) -> None:
    """What it had in memory is told once; then the file is gone."""
    written(tmp_path, created=9, recovered=1, exported=4).leave()

    assert settle_dead(tmp_path) == 4
    assert settle_dead(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


@needs_flock
def test_books_are_written_again(tmp_path: Path) -> None:
    """The file is as the books were when it was last written."""
    books, file = Books(), BooksFile(tmp_path)
    file.write(books)
    books.slots[CREATED] += 7
    file.write(books)
    file.leave()

    assert settle_dead(tmp_path) == 7


@needs_flock
def test_books_are_written_only_where_they_have_changed(tmp_path: Path) -> None:
    """A service that rests leaves the disk at rest."""
    books, file = Books(), BooksFile(tmp_path)
    file.write(books)
    (path,) = tmp_path.iterdir()
    os.utime(path, (1, 1))
    file.write(books)
    rested = path.stat().st_mtime
    books.slots[CREATED] += 1
    file.write(books)

    assert (rested, path.stat().st_mtime > 1) == (1, True)
    file.close()


@needs_flock
def test_books_of_which_a_part_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk has taken a part only, all is written next time."""
    books, file = Books(), BooksFile(tmp_path)
    books.slots[CREATED] = 3
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda number, data, start: real(number, data[:5], start))
    file.write(books)
    monkeypatch.undo()
    file.write(books)
    file.leave()

    assert settle_dead(tmp_path) == 3


@needs_flock
def test_child_that_begins_anew_writes_its_books(tmp_path: Path) -> None:
    """A file of its own begins empty, even where the books stand as those of its parent did."""
    books, parent = Books(), BooksFile(tmp_path)
    books.slots[CREATED] = 3
    parent.write(books)
    parent.leave()
    parent.write(books)
    parent.leave()

    assert settle_dead(tmp_path) == 6


@needs_flock
def test_books_in_a_page_that_is_shared(tmp_path: Path) -> None:
    """What was counted after the file was last written is known all the same."""
    books, file = Books(), BooksFile(tmp_path)
    books.slots[CREATED] += 3
    books.share(new_page())
    books.slots[CREATED] += 2
    file.write(books)
    before = books.ledger(0).created
    books.slots[CREATED] += 4
    books.slots[EXPORTED] += 1
    file.leave()

    assert before == 5
    assert settle_dead(tmp_path) == 8
    assert _shared_page.read(books.shared, 8) is None


@needs_flock
def test_books_that_another_settles_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second finds the file gone, and counts nothing."""
    written(tmp_path, created=9).leave()
    (path,) = tmp_path.iterdir()
    real = _ledger._read

    def read_late(file: int) -> object:
        path.unlink()
        return real(file)

    monkeypatch.setattr(_ledger, "_read", read_late)

    assert settle_dead(tmp_path) == 0


@needs_flock
def test_page_that_is_gone(tmp_path: Path) -> None:
    """After another start of the machine the copy counts, which is as of its last writing."""
    books, file = Books(), BooksFile(tmp_path)
    books.share(new_page())
    books.slots[CREATED] += 2
    file.write(books)
    books.slots[CREATED] += 4
    _shared_page.remove(books.shared)
    file.leave()

    assert settle_dead(tmp_path) == 2


@needs_flock
def test_page_of_a_process_that_ends_well(tmp_path: Path) -> None:
    """It goes with the file; what the process counts yet does no harm."""
    books, file = Books(), BooksFile(tmp_path)
    books.share(new_page())
    file.write(books)
    file.close()
    books.slots[CREATED] += 1

    assert _shared_page.read(books.shared, 8) is None
    assert books.ledger(1) == Ledger(created=1, queued=1)


@needs_flock
def test_page_of_books_that_no_disk_took(tmp_path: Path) -> None:
    """Where the file cannot be made, the page goes all the same when the process ends."""
    books, file = Books(), BooksFile(tmp_path / "missing")
    books.share(new_page())
    with pytest.raises(FileNotFoundError):
        file.write(books)
    file.close()

    assert _shared_page.read(books.shared, 8) is None


@needs_flock
def test_child_that_has_inherited_a_page(tmp_path: Path) -> None:
    """Its counts go elsewhere, and its end leaves the page to the parent."""
    books, file = Books(), BooksFile(tmp_path)
    books.share(new_page())
    file.write(books)
    name = books.shared
    file.leave()
    books.begin_anew()
    books.slots[CREATED] += 1
    file.close()

    assert _shared_page.read(name, 8) == bytes(8)
    _shared_page.remove(name)


@needs_flock
def test_books_with_a_strange_name_of_a_page(tmp_path: Path) -> None:
    """What cannot be the name of a page is left alone, with its file."""
    books, file = Books(), BooksFile(tmp_path)
    file.write(books)
    (path,) = tmp_path.iterdir()
    with path.open("ab") as more:
        more.write(b"\xff")
    file.leave()

    assert settle_dead(tmp_path) == 0
    assert path.exists()


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
def test_folder_that_is_not_there(tmp_path: Path) -> None:
    """The disk says no; whoever writes has to live with it."""
    file = BooksFile(tmp_path / "missing")

    with pytest.raises(FileNotFoundError):
        file.write(Books())
    file.close()


@needs_flock
@pytest.mark.parametrize("is_used_again", [False, True])
def test_descriptor_that_the_host_has_closed(tmp_path: Path, is_used_again: bool) -> None:
    """A host that becomes a daemon closes all it has: what it opens then is left alone."""
    file = written(tmp_path, created=3)
    assert file._file is not None
    os.close(file._file)
    other = os.open(os.devnull, os.O_WRONLY)
    os.dup2(other, file._file)
    if not is_used_again:
        os.close(file._file)
    with suppress(OSError):
        file.write(Books())
    number = file._file
    file.close()

    if is_used_again:
        assert os.fstat(number).st_rdev == Path(os.devnull).stat().st_rdev
        os.close(number)
    if number != other:
        os.close(other)
    assert list(tmp_path.iterdir()) == []


def test_child_counts_from_zero() -> None:
    """What the parent has counted is the parent's."""
    books = Books()
    books.slots[CREATED] = 2
    books.begin_anew()

    assert books.ledger(0) == Ledger()
