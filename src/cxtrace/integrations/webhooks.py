"""Webhooks of a CRM, a help desk, surveys, loyalty, social media or advertising, as signals.

Make one ``Receiver`` for each system, and hand it what comes in::

    desk = Receiver(
        touchpoint="support.ticket",
        check=HmacSignature(os.environ["DESK_SECRET"], header="X-Signature"),
        translate=tickets,  # a payload in, Visits out
        delivery_id=lambda event: event["id"],
    )

    receipt = desk.receive(body, headers)  # answer the request with receipt.status

A delivery counts at most once. A complaint that is counted twice stays open for ever, and nobody
can tell it from a real one; one that is lost is seen in ``cxtrace.report()``, and most systems send
it again. So its id is remembered before the first signal is said, and where it cannot be
remembered, nothing is said, and the sender is asked to come back.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, Protocol

from cxtrace import _guard
from cxtrace.attributes import Channel
from cxtrace.integrations._webhooks.receipts import Reason, Receipt, count, refused
from cxtrace.integrations._webhooks.serving import ASGI, WSGI
from cxtrace.integrations._webhooks.signatures import (
    Check,
    Delivery,
    HmacSignature,
    Secret,
    SharedToken,
)
from cxtrace.integrations._webhooks.visits import Signal, Visit, say

__all__ = [
    "Check",
    "Delivery",
    "Headers",
    "HmacSignature",
    "Reason",
    "Receipt",
    "Receiver",
    "RecentDeliveries",
    "Secret",
    "SeenDeliveries",
    "SharedToken",
    "Signal",
    "Visit",
    "read_json",
]

MAX_VISITS: Final = 1_000
"""Most visits that one delivery may tell of."""

_lock = threading.RLock()


class _Refused(Exception):  # noqa: N818  it is no error
    def __init__(self, reason: Reason) -> None:
        self.reason: Reason = reason


class Headers(Protocol):
    """The headers of a request, as any framework has them."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Every name, and its value."""
        ...


class SeenDeliveries(Protocol):
    """A store of your own for the deliveries that have come, shared by all your processes."""

    def add(self, delivery_id: str, /) -> bool | None:
        """Remember an id and say whether it is new, in one step that nothing can come between.

        Args:
            delivery_id: 64 characters, which do not tell the id that the sender gave.
        """
        ...


class RecentDeliveries:
    """The last deliveries that came to this process; the oldest is forgotten first.

    Args:
        limit: How many.
    """

    __slots__ = ("_ids", "_limit")

    def __init__(self, limit: int = 10_000) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._limit = limit

    def add(self, delivery_id: str, /) -> bool:
        """Remember an id, and say whether it is new."""
        with _lock:
            if delivery_id in self._ids:
                return False
            self._ids[delivery_id] = None
            is_full = len(self._ids) > self._limit
            if is_full:
                self._ids.popitem(last=False)
        if is_full:
            count("forgotten")
        return True


def read_json(body: bytes) -> Any:
    """What the JSON of a body says.

    Raises:
        ValueError: It is no JSON in UTF-8.
    """
    return json.loads(body.decode("utf-8"))


class Receiver:
    """Takes the webhooks of one system. Make it once; threads may share it.

    Args:
        touchpoint: Where that happened of which it tells, as in the journey map.
        check: Says whether a delivery is genuine: ``HmacSignature``, ``SharedToken``, or yours.
        translate: Makes ``Visit`` objects of a payload, and none of one that tells nothing.
        delivery_id: What tells a delivery from all others, and is the same when it comes again: a
            function of the payload, or the name of a header, which few senders sign. By default,
            and where it gives nothing, it is the body.
        seen: Remembers deliveries; by default the last 10,000, for this process alone.
        read: Makes a payload of a body; by default of JSON.
        channel: Through which channel, such as ``email``.
        max_bytes: Length of the longest body that is taken.

    Attributes:
        asgi: The receiver as an ASGI application, to be mounted or served. It calls your functions
            in a thread, and answers 503 where they have not returned after 10 seconds.
        wsgi: The receiver as a WSGI application.

    Raises:
        TypeError: The touchpoint is no name.
    """

    def __init__(
        self,
        *,
        touchpoint: str,
        check: Check,
        translate: Callable[[Any], Iterable[Visit]],
        delivery_id: Callable[[Any], object] | str | None = None,
        seen: SeenDeliveries | None = None,
        read: Callable[[bytes], Any] = read_json,
        channel: Channel | None = None,
        max_bytes: int = 1_048_576,
    ) -> None:
        if not isinstance(touchpoint, str):
            raise TypeError('write Receiver(touchpoint="name", ...), as the journey map names it')
        self._touchpoint = touchpoint
        self._check = check
        self._translate = translate
        self._delivery_id = delivery_id
        self._seen = RecentDeliveries() if seen is None else seen
        self._read = read
        self._channel: Channel | None = channel
        self._max_bytes = max_bytes
        self.asgi = ASGI(self.receive, touchpoint, max_bytes)
        self.wsgi = WSGI(self.receive, touchpoint, max_bytes)

    def __repr__(self) -> str:
        return f"<Receiver {self._touchpoint}>"

    def receive(self, body: bytes, headers: Headers) -> Receipt:
        """Check a delivery, and say what it tells if it is new. Never raises.

        Args:
            body: As it came: a signature is of the bytes, not of what was read from them.
            headers: Of the request.
        """
        try:
            return self._receive(body, headers)
        except _Refused as no:
            return refused(no.reason, self._touchpoint)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("webhooks", error)
            return refused("unreadable", self._touchpoint)

    def _receive(self, body: bytes, headers: Headers) -> Receipt:
        delivery = self._delivery(body, headers)
        if not self._is_genuine(delivery):
            raise _Refused("signature")
        try:
            payload = self._read(delivery.body)
        except Exception:  # noqa: BLE001
            raise _Refused("unreadable") from None
        visits, key = self._told(payload, delivery)
        if not self._is_new(key):
            count("duplicate")
            return Receipt("duplicate", 200)
        for visit in visits:
            say(visit, self._touchpoint, self._channel)
        return Receipt("accepted", 200, visits=len(visits))

    def _delivery(self, body: Any, headers: Headers) -> Delivery:
        if not isinstance(body, (bytes, bytearray)):
            raise _Refused("unreadable")
        if len(body) > self._max_bytes:
            raise _Refused("too_large")
        given = {
            name.lower(): text
            for name, text in headers.items()
            if isinstance(name, str) and isinstance(text, str)
        }
        return Delivery(bytes(body), given)

    def _is_genuine(self, delivery: Delivery) -> bool:
        try:
            # A check that is a coroutine by mistake would be true.
            return self._check(delivery) is True
        except Exception as error:  # noqa: BLE001
            _guard.swallow("webhooks.check", error)
            return False

    def _told(self, payload: Any, delivery: Delivery) -> tuple[list[Visit], str]:
        try:
            visits = list(islice(self._translate(payload), MAX_VISITS + 1))
            key = self._key(payload, delivery)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("webhooks.translate", error)
            raise _Refused("untranslated") from None
        if len(visits) > MAX_VISITS or not all(isinstance(each, Visit) for each in visits):
            raise _Refused("untranslated")
        return visits, key

    def _key(self, payload: Any, delivery: Delivery) -> str:
        """What is remembered of a delivery: always of one length, and nothing personal."""
        wanted = self._delivery_id
        if isinstance(wanted, str):
            found: object = delivery.headers.get(wanted.lower())
        else:
            found = None if wanted is None else wanted(payload)
        if found is None or found == "":
            what, told = "body", delivery.body
        else:
            what, told = "id", str(found).encode("utf-8", "surrogatepass")
        return hashlib.sha256(f"{self._touchpoint}\n{what}\n".encode() + told).hexdigest()

    def _is_new(self, key: str) -> bool:
        try:
            # For no, the client of Redis says None; a coroutine would be a yes.
            said: object = self._seen.add(key)
        except Exception as error:  # noqa: BLE001
            _guard.swallow("webhooks.seen", error)
            raise _Refused("unremembered") from None
        if said is not None and not isinstance(said, int):
            raise _Refused("unremembered")
        return bool(said)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


_guard.in_child(_after_fork)
