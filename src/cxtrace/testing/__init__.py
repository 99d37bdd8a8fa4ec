"""Touchpoints, signals and promises in your own tests, in the words of the customer's experience.

``capture()`` gives cxtrace private providers for the time of a ``with``, and takes them away::

    from cxtrace.testing import capture

    with capture(journey_map="journeys.toml") as cx:
        place_order()

    cx.assert_outcome("checkout.pay", "completed")
    cx.assert_route("first_order", ["cart.view", "checkout.pay", "order.confirm"])

Under pytest, the fixture ``cxtrace_capture`` is the same.
"""

from cxtrace.testing._capture import Capture
from cxtrace.testing._fixed import Clock
from cxtrace.testing._records import (
    Effort,
    Journey,
    Metric,
    MetricPoint,
    Promise,
    Signal,
    Touchpoint,
)
from cxtrace.testing._swap import capture

__all__ = [
    "Capture",
    "Clock",
    "Effort",
    "Journey",
    "Metric",
    "MetricPoint",
    "Promise",
    "Signal",
    "Touchpoint",
    "capture",
]
