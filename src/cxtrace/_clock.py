"""The clocks that cxtrace reads, in one place, so that ``cxtrace.testing`` can set them."""

import time

wall_ns = time.time_ns
"""Nanoseconds since 1970: for spans, and for what other services compare."""

steady = time.perf_counter
"""Seconds from anywhere, never set back: for durations."""


def wall() -> float:
    """Seconds since 1970."""
    return wall_ns() / 1e9
