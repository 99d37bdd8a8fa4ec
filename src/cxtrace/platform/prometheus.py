"""Names of metrics and labels as Prometheus has them, and the pieces that queries are made of.

Source: https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from cxtrace import _instruments
from cxtrace import attributes as names

_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_]+")
_UNITS: Final[Mapping[str, str]] = {"s": "_seconds", "By": "_bytes", "%": "_percent"}


def label(attribute: str) -> str:
    """An attribute as a label: ``cx.touchpoint.name`` is ``cx_touchpoint_name``."""
    return _NOT_IN_A_NAME.sub("_", attribute)


def metric(instrument: str) -> str:
    """The name under which a counter is kept, or to which a histogram adds ``_bucket`` and others.

    Args:
        instrument: Its name in OpenTelemetry, one of ``cxtrace``'s own.

    Raises:
        KeyError: cxtrace has no such instrument.
    """
    spec = _instruments.SPECS[instrument]
    return name_of(instrument, spec.unit, spec.kind)


def name_of(instrument: str, unit: str, kind: str) -> str:
    """The same for any instrument.

    Args:
        instrument: Its name in OpenTelemetry.
        unit: In UCUM.
        kind: ``counter``, ``gauge`` and others, as the registry has them.
    """
    ratio = "_ratio" if unit == "1" and kind == "gauge" else ""
    total = "_total" if kind == "counter" else ""
    return label(instrument) + _UNITS.get(unit, "") + ratio + total


def series(name: str, *conditions: str) -> str:
    """A metric, of which some conditions on labels hold; empty ones do not count."""
    return f"{name}{{{', '.join(filter(None, conditions))}}}"


def selector(labels: Mapping[str, str]) -> str:
    """What stands between braces: ``{"cx.stage.name": "pay"}`` is ``cx_stage_name="pay"``."""
    return ", ".join(equal(name, value) for name, value in labels.items())


def equal(attribute: str, value: str) -> str:
    """The condition that a label has a value."""
    return f"{label(attribute)}={quoted(value)}"


def unequal(attribute: str, value: str) -> str:
    """The condition that a label has another value; none is the empty one."""
    return f"{label(attribute)}!={quoted(value)}"


def one_of(attribute: str, values: Iterable[str]) -> str:
    """The condition that a label has one of some values."""
    return f"{label(attribute)}=~{quoted('|'.join(map(re.escape, values)))}"


def quoted(value: str) -> str:
    """A text as a string of PromQL."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def number(value: float) -> str:
    """A number as people write it."""
    return f"{value:.12g}"


def total(by: Iterable[str], expression: str) -> str:
    """The sum for each set of these labels, or over everything."""
    labels = ", ".join(map(label, by))
    return f"sum by ({labels}) ({expression})" if labels else f"sum ({expression})"


def increase(by: Iterable[str], counter: str, window: str) -> str:
    """By how much counters have grown within a window, for each set of labels."""
    return total(by, f"increase({counter}[{window}])")


VISITS: Final = metric(names.METRIC_TOUCHPOINT_DURATION) + "_count"
"""The visits of touchpoints."""
EVALUATIONS: Final = metric(names.METRIC_PROMISE_EVALUATIONS)
MEASURED: Final = unequal(names.PROMISE_RESULT, "unmeasured")
"""The evaluations of promises that have come to something."""
