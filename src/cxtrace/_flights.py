"""Batches on their way, what limits them, and who keeps them."""

from typing import Any, Final, NamedTuple, Protocol

from attrs import frozen

QUEUE: Final = 2_048
"""Items that may wait in memory, where no variable says otherwise; as with OpenTelemetry."""

BATCH: Final = 512
"""Items of one sending, likewise; fewer where the queue is smaller."""


@frozen
class Limits:
    """How much waits, and how long.

    Attributes:
        queue: Items that may wait in memory.
        batch: Items of one sending.
        delay: Seconds between two sendings, if there is less than a batch.
    """

    queue: int
    batch: int
    delay: float


class Ticket(NamedTuple):
    """What somebody waits for, and how things stood when he began."""

    last: int
    setbacks: int
    given_up: int


class Flight:
    """A batch that has left the queue and is not settled.

    Attributes:
        items: What is in it.
        first: Which item of all that were queued is the first in it, counted from 1.
        attempts: How often it failed.
        witnessed: How many batches had been delivered when it first did.
        is_doubtful: Whether the receiver may have it already.
        is_settled: Whether it stands in the books.
    """

    __slots__ = ("attempts", "first", "is_doubtful", "is_settled", "items", "witnessed")

    def __init__(self, items: list[Any], first: int) -> None:
        self.items = items
        self.first = first
        self.attempts = 0
        self.witnessed = 0
        self.is_doubtful = False
        self.is_settled = False

    def halves(self) -> "list[Flight]":
        """Two flights that together are this one."""
        middle = len(self.items) // 2
        return [Flight(part, self.first) for part in (self.items[:middle], self.items[middle:])]


class Keeper(Protocol):
    """Where a courier leaves what it cannot send: ``_keeper.Disk``."""

    def start(self) -> None:
        """Begin to work, in this process."""

    def call(self) -> None:
        """There may be something to do."""

    def replay(self) -> object:
        """Send the oldest batch that was kept; true if there was one, and it is settled."""

    def ask_to_close(self, until: float) -> None:
        """Keep all that is left by then."""

    def stop(self, until: float) -> None:
        """End, by then."""

    def after_fork(self) -> None:
        """Begin anew in a child."""
