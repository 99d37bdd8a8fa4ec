"""What a segment of the spool looks like, and how records are told from noise.

A segment is a header and records. A record is a marker, the length of its payload, the number of
items, the time, the signal, the payload's CRC-32, the CRC-32 of all these, a state of four letters,
and the payload. Only the state is ever written over. The marker is random, and other in each
segment: no payload can hold a record that is taken for one of ours.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import Final, Literal

from attrs import frozen

Signal = Literal["spans", "logs"]
"""What a batch is made of."""

WAITING: Final = b"WAIT"
SENDING: Final = b"SEND"
DONE: Final = b"DONE"
DROPPED: Final = b"DROP"

VERSION: Final = 1
"""Of the format. Another one gets another ending of the file name, and is left alone."""

_SIGNALS: Final[dict[int, Signal]] = {1: "spans", 2: "logs"}
_NUMBERS: Final = {signal: number for number, signal in _SIGNALS.items()}
_HEADER: Final = struct.Struct(">7sB8s")
_FACTS: Final = struct.Struct(">8sIIQBI")
_CHECK: Final = struct.Struct(">I")
_STATE: Final = len(WAITING)
_BEFORE_PAYLOAD: Final = _FACTS.size + _CHECK.size + _STATE
_CHUNK: Final = 2**16


@frozen
class Record:
    """A record whose header is whole; its payload has not been looked at.

    Attributes:
        start: Where it begins in the segment.
        length: Of the payload, in bytes.
        items: Spans or log records in it.
        written_ns: When it was written, in nanoseconds since 1970.
        signal: What the items are.
        check: CRC-32 of the payload.
        state: What had become of it when it was looked at.
    """

    start: int
    length: int
    items: int
    written_ns: int
    signal: Signal
    check: int
    state: bytes

    @property
    def state_start(self) -> int:
        """Where its state is."""
        return self.start + _FACTS.size + _CHECK.size

    @property
    def payload_start(self) -> int:
        """Where its payload is."""
        return self.start + _BEFORE_PAYLOAD

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.payload_start + self.length


@frozen
class Damage:
    """A piece of a segment in which there is no record, or only a part of one.

    Attributes:
        size: In bytes.
        signal: What was in it; None where that cannot be known.
        items: How many of these were in it; 0 where that cannot be known.
    """

    size: int
    signal: Signal | None = None
    items: int = 0


def header(marker: bytes) -> bytes:
    """What a segment begins with."""
    return _HEADER.pack(b"cxspool", VERSION, marker)


def packed(marker: bytes, signal: Signal, items: int, written_ns: int, payload: bytes) -> bytes:
    """A record that waits to be sent."""
    length, check = len(payload), zlib.crc32(payload)
    facts = _FACTS.pack(marker, length, items, written_ns, _NUMBERS[signal], check)
    return b"".join((facts, _CHECK.pack(zlib.crc32(facts)), WAITING, payload))


def size_of(length: int, *, is_first: bool) -> int:
    """The bytes that a payload takes in a segment, with the segment's header if it is the first."""
    return length + _BEFORE_PAYLOAD + (_HEADER.size if is_first else 0)


def is_waiting(state: bytes) -> bool:
    """Whether a record is still to be sent; a state that was torn does not say that it is done."""
    return state not in (DONE, DROPPED)


def contents(descriptor: int, marker: bytes) -> Iterator[Record | Damage]:
    """Everything in a segment, in order; after damage it goes on with the next whole header."""
    size = os.fstat(descriptor).st_size
    begin = header(marker)
    start = len(begin) if os.pread(descriptor, len(begin), 0) == begin else 0
    while start < size:
        record = _record(descriptor, marker, start)
        if record is not None and record.end <= size:
            yield record
            start = record.end
            continue
        following = _following(descriptor, marker, start + 1, size)
        size_lost = following - start
        torn = record is not None and Damage(size_lost, record.signal, record.items)
        yield torn or Damage(size_lost)
        start = following


def payload_of(descriptor: int, record: Record) -> bytes | None:
    """What a record holds; None where it is not what was written."""
    payload = os.pread(descriptor, record.length, record.payload_start)
    return payload if zlib.crc32(payload) == record.check else None


def _record(descriptor: int, marker: bytes, start: int) -> Record | None:
    found = os.pread(descriptor, _BEFORE_PAYLOAD, start)
    facts, check = found[: _FACTS.size], found[_FACTS.size : -_STATE]
    if len(found) < _BEFORE_PAYLOAD or _CHECK.pack(zlib.crc32(facts)) != check:
        return None
    mark, length, items, written_ns, number, of_payload = _FACTS.unpack(facts)
    if mark != marker or number not in _SIGNALS:
        return None
    state = found[-_STATE:]
    return Record(start, length, items, written_ns, _SIGNALS[number], of_payload, state)


def _following(descriptor: int, marker: bytes, start: int, size: int) -> int:
    """Where the next whole header is, or the end of the segment."""
    while start < size:
        chunk = os.pread(descriptor, _CHUNK, start)
        at = chunk.find(marker)
        while at >= 0:
            if _record(descriptor, marker, start + at) is not None:
                return start + at
            at = chunk.find(marker, at + 1)
        start += max(len(chunk) - len(marker) + 1, 1)
    return size
