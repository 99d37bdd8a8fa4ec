"""What cxtrace says of its own deliveries, as metrics: the ledgers, read when somebody asks."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from cxtrace import attributes as names
from cxtrace._ledger import REASONS, Ledger
from cxtrace._version import version

Ledgers = Callable[[], Iterable[tuple[str, Ledger]]]
"""What is delivered, and what became of it."""

_COUNTERS: Final[Mapping[str, str]] = {
    names.METRIC_SDK_CREATED: "created",
    names.METRIC_SDK_RECOVERED: "recovered",
    names.METRIC_SDK_EXPORTED: "exported",
}
_LEVELS: Final[Mapping[str, str]] = {
    names.METRIC_SDK_QUEUED: "queued",
    names.METRIC_SDK_SPOOLED: "spooled",
}
_UNIT: Final = "{item}"
_NOTHING: Final[Mapping[str, Mapping[str, int]]] = {
    "spans": dict.fromkeys(REASONS, 0),
    "logs": dict.fromkeys(REASONS, 0),
    "metrics": {"failed": 0},
}


def observe(ledgers: Ledgers) -> None:
    """Let the meter provider in force ask for the ledgers.

    Args:
        ledgers: Gives those of this moment.
    """
    meter = metrics.get_meter("cxtrace", version())
    for name, field in _COUNTERS.items():
        meter.create_observable_counter(name, [_each(ledgers, field)], _UNIT)
    for name, field in _LEVELS.items():
        meter.create_observable_up_down_counter(name, [_each(ledgers, field)], _UNIT)

    def dropped(_options: CallbackOptions) -> Iterable[Observation]:
        for signal, ledger in ledgers():
            # Those of nothing too: a rate needs a value before the first loss.
            for reason, count in {**_NOTHING[signal], **ledger.dropped}.items():
                yield Observation(count, {names.SDK_SIGNAL: signal, names.ERROR_TYPE: reason})

    meter.create_observable_counter(names.METRIC_SDK_DROPPED, [dropped], _UNIT)


def _each(ledgers: Ledgers, field: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observed(_options: CallbackOptions) -> Iterable[Observation]:
        for signal, ledger in ledgers():
            yield Observation(getattr(ledger, field), {names.SDK_SIGNAL: signal})

    return observed
