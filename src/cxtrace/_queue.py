"""A bounded queue whose books balance: what waits, what is under way, what became of the rest."""

from collections import deque
from typing import Any, Final

from cxtrace._flights import Flight, Limits
from cxtrace._ledger import CREATED, DROPPED, EXPORTED, SENT_AGAIN, SPOOLED, Books, Ledger
from cxtrace._locks import Locks
from cxtrace._shared_page import SharedPage

FULL: Final = DROPPED["queue_full"]
REFUSED: Final = DROPPED["refused"]
SHUTDOWN: Final = DROPPED["shutdown"]

_SENT: Final = (EXPORTED, SPOOLED)
_LOSSES: Final = (FULL, REFUSED, SHUTDOWN)


class Queue(Locks):
    """Takes items from any thread, and hands them out in batches.

    A signal handler or a finaliser may end a span anywhere in here. So amounts are computed before
    a slot is read, and no call stands between two steps that belong together.

    Args:
        limits: How many may wait.
        books: Where it is counted.
    """

    def __init__(self, limits: Limits, books: Books) -> None:
        self.limits = limits
        self.books = books
        self.is_closing = False
        self._begin_queue()

    def _begin_queue(self) -> None:
        Locks.__init__(self)
        self.queue: deque[Any] = deque()
        self._returned: deque[Flight] = deque()
        self._flying: list[Flight] = []
        self._slots = self.books.slots
        self._room = 0 if self.is_closing else self.limits.queue
        self._taken = 0
        self._given_up = 0

    def share_books(self, page: SharedPage) -> None:
        """Count in a page that outlives this process."""
        with self.lock:
            self.books.share(page)
            self._slots = self.books.slots

    def _add(self, item: Any) -> int:
        """How many had waited before this one; less than none where there was no room for it."""
        with self.lock:
            slots = self._slots
            append = self.queue.append
            waiting = len(self.queue)
            if waiting >= self._room:
                reason = SHUTDOWN if self.is_closing else FULL
                slots[CREATED] += 1
                slots[reason] += 1
                return -1
            slots[CREATED] += 1
            append(item)
        return waiting

    @property
    def ledger(self) -> Ledger:
        """The books, and what waits."""
        with self.lock:
            return self.books.ledger(self._waiting())

    def _waiting(self) -> int:
        flights = (*self._flying, *self._returned)
        return len(self.queue) + sum(len(flight.items) for flight in flights)

    def _is_settled(self, last: int) -> bool:
        flights = (*self._flying, *self._returned)
        return self._taken >= last and not any(flight.first <= last for flight in flights)

    def _give_all_up(self) -> None:
        """Count all that is left as lost, because the process ends."""
        with self.lock:
            for flight in (*self._flying, *self._returned):
                self.settle(flight, SHUTDOWN)
            lost = len([self.queue.popleft() for _ in range(len(self.queue))])
            self._slots[SHUTDOWN] += lost
            self._taken += lost
            self.change.notify_all()

    def take(self, most: int) -> Flight | None:
        """A batch from the queue, which counts as waiting until it is settled."""
        with self.lock:
            count = min(len(self.queue), most)
            if not count:
                return None
            flight = Flight([self.queue.popleft() for _ in range(count)], self._taken + 1)
            self._taken += count
            self._flying.append(flight)
            self._make_room()
            return flight

    def take_back(self) -> Flight | None:
        """The flight that came back first."""
        with self.lock:
            if not self._returned:
                return None
            flight = self._returned.popleft()
            self._flying.append(flight)
            self._make_room()
            return flight

    def hung(self) -> Flight | None:
        """A flight that the exporter has not answered for yet."""
        with self.lock:
            return self._flying[0] if self._flying else None

    def give_back(self, flight: Flight) -> None:
        """Let a flight wait for another try: there is room, or it would not have been taken."""
        with self.lock:
            if flight.is_settled or flight not in self._flying:
                return
            self._flying.remove(flight)
            self._returned.append(flight)
            self._make_room()
            self.change.notify_all()

    def settle(self, flight: Flight, slot: int, refused: int = 0) -> None:
        """Count a flight, but for what was refused, unless somebody who could not wait did."""
        with self.lock:
            if flight.is_settled:
                return
            flight.is_settled = True
            if flight in self._flying:
                self._flying.remove(flight)
            else:
                self._returned.remove(flight)
            self._make_room()
            items = len(flight.items)
            taken = items - refused
            self._slots[slot] += taken
            self._slots[REFUSED] += refused
            if flight.is_doubtful and slot in _SENT:
                self._slots[SENT_AGAIN] += items
            self._given_up += slot in _LOSSES or refused > 0
            self.change.notify_all()

    def divide(self, flight: Flight, witnessed: int) -> list[Flight]:
        """Two flights instead of one that is too large; a single item is refused.

        Args:
            flight: That one.
            witnessed: How many batches have been delivered by now.
        """
        with self.lock:
            if len(flight.items) == 1:
                self.settle(flight, REFUSED)
            if flight.is_settled:
                return []
            flight.is_settled = True
            self._flying.remove(flight)
            parts = flight.halves()
            for part in parts:
                is_one = len(part.items) == 1  # which has to fail as often by itself
                part.attempts = 0 if is_one else flight.attempts
                part.witnessed = witnessed
                part.is_doubtful = flight.is_doubtful
            self._flying += parts
            return parts

    def count(self, slot: int, items: int) -> None:
        """Write in the books."""
        with self.lock:
            self._slots[slot] += items

    def _make_room(self) -> None:
        if not self.is_closing:
            held = sum(len(flight.items) for flight in (*self._flying, *self._returned))
            # Beside the queue there is room for one batch on its way, be it a small one.
            beside = self.limits.batch - held if held else 0
            self._room = max(self.limits.queue + beside, 0)
