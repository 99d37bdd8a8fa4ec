"""A clock that a test moves, and ids that are the same in every run."""

import itertools
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Final

from opentelemetry.sdk.trace.id_generator import IdGenerator

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_BEGINNING: Final = 1_767_225_600_000_000_000
_GOLDEN: Final = 0x9E3779B97F4A7C15
_64_BITS: Final = (1 << 64) - 1


class _Instant(float):
    """Seconds whose difference is exact: what the test wrote, and not 0.09999999999999998."""

    _ns: int

    def __new__(cls, ns: int) -> "_Instant":
        made = super().__new__(cls, ns / 1e9)
        made._ns = ns
        return made

    def __sub__(self, other: float) -> float:
        if isinstance(other, _Instant):
            return (self._ns - other._ns) / 1e9
        return float(self) - other


class Clock:
    """The time that cxtrace sees: it stands still until it is moved.

    It begins at 2026-01-01, 00:00 UTC. With ``capture(real_time=True)`` it goes by itself, and
    moving it adds to that.
    """

    def __init__(self, *, real_time: bool = False) -> None:
        self._source: Callable[[], int] = time.time_ns if real_time else lambda: _BEGINNING
        self._steady: Callable[[], int] = time.perf_counter_ns if real_time else lambda: 0
        self._moved = 0

    def __repr__(self) -> str:
        return f"<Clock {self.now.isoformat()}>"

    @property
    def now(self) -> datetime:
        """The time, in UTC, to the microsecond."""
        return _EPOCH + timedelta(microseconds=self.wall_ns() // 1_000)

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: The time is negative: no clock of a machine that measures is set back.
        """
        if seconds < 0:
            raise ValueError(f"a clock is not set back: advance({seconds})")
        self._moved += round(seconds * 1e9)

    def wall_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self._source() + self._moved

    def wall(self) -> float:
        """Seconds since 1970."""
        return _Instant(self.wall_ns())

    def steady(self) -> float:
        """Seconds from anywhere, for durations."""
        return _Instant(self._steady() + self._moved)


class CountedIds(IdGenerator):
    """Ids that are counted up: the first trace of every test has the same.

    Their lower half is spread over all numbers, since samplers decide by it: one trace in two is
    kept with ``sample=0.5``, and in every run the same ones.
    """

    def __init__(self) -> None:
        self._traces = itertools.count(1)
        self._spans = itertools.count(1)
        self._journeys = itertools.count(1)

    def generate_trace_id(self) -> int:
        """The next trace's."""
        return _spread(next(self._traces))

    def generate_span_id(self) -> int:
        """The next span's: 1, 2, 3."""
        return next(self._spans)

    def journey_id(self) -> str:
        """The next journey's."""
        return f"{_spread(next(self._journeys)):032x}"


def _spread(number: int) -> int:
    return number << 64 | number * _GOLDEN & _64_BITS
