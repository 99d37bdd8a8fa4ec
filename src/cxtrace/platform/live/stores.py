"""Measurements out of a store of metrics that speaks Prometheus's HTTP API."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from cxtrace import attributes as names
from cxtrace._wiring_parts import without_secrets
from cxtrace.platform.doctor.asking import Answer, ask
from cxtrace.platform.live.spread import from_cumulative
from cxtrace.platform.live.tally import COUNTS, HISTOGRAMS, MEANS, SPREADS, Tally
from cxtrace.platform.prometheus import increase, label, metric

TIMEOUT: Final = 15.0
"""Seconds that each question may take."""

_WINDOW: Final = re.compile(r"([0-9]{1,6}(ms|s|m|h|d|w|y))+")
_OK: Final = 200


class StoreError(Exception):
    """The store does not answer, or not with what it was asked for; the text says why."""


def is_window(text: str) -> bool:
    """Whether a text is a duration of PromQL, such as ``1d`` or ``1h30m``."""
    return _WINDOW.fullmatch(text) is not None


def read(url: str, window: str, timeout: float = TIMEOUT) -> Tally:
    """Count what a store has of the last time.

    Args:
        url: Where its API begins, without ``/api/v1``; may hold user and password.
        window: How far to look back, as PromQL has it.
        timeout: Seconds for each of about ten questions.

    Raises:
        StoreError: It does not answer as such a store does.
    """
    store = _Store(url.rstrip("/"), window, timeout)
    tally = Tally(f"{without_secrets(url)}, the last {window}")
    for instrument, labels in COUNTS.items():
        suffix = "_count" if instrument in HISTOGRAMS else ""
        for found, value in store.increase(instrument, suffix, labels):
            tally.add(instrument, found, value)
    for instrument, labels in MEANS.items():
        totals = {str(found): value for found, value in store.increase(instrument, "_sum", labels)}
        for found, count in store.increase(instrument, "_count", labels):
            tally.add(instrument, found, count, totals.get(str(found), 0.0))
    for instrument, labels in SPREADS.items():
        _read_spreads(store, instrument, labels, tally)
    tally.traces.update(store.traces())
    tally.notes.append(
        "Numbers are increases over the time that was asked for, which the store extrapolates; "
        "percentiles are estimates within the buckets of histograms."
    )
    return tally


def _read_spreads(store: "_Store", instrument: str, labels: tuple[str, ...], tally: Tally) -> None:
    cumulative: dict[tuple[str, ...], dict[float, float]] = {}
    for found, value in store.increase(instrument, "_bucket", (*labels, "le")):
        key = tuple(found[name] for name in labels)
        cumulative.setdefault(key, {})[_boundary(found["le"])] = value
    for key, counts in cumulative.items():
        spread = from_cumulative(counts)
        if spread.count > 0:
            tally.spreads[instrument][key].append(spread)


def _boundary(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf


class _Store:
    def __init__(self, url: str, window: str, timeout: float) -> None:
        self._url = url
        self._window = window
        self._timeout = timeout

    def increase(
        self, instrument: str, suffix: str, by: tuple[str, ...]
    ) -> Iterator[tuple[dict[str, str], float]]:
        """How much an instrument has grown within the window, by attributes."""
        query = increase(by, f"{metric(instrument)}{suffix}", self._window)
        for sample in self._ask("query", {"query": query})["result"]:
            found = sample["metric"]
            value = float(sample["value"][1])
            yield {name: found.get(label(name), "") for name in by}, value

    def traces(self) -> dict[str, str]:
        """The trace of an exemplar for each touchpoint; none where the store keeps none."""
        series = f"{metric(names.METRIC_TOUCHPOINT_DURATION)}_bucket"
        answer = self._get("query_exemplars", {"query": series})
        try:
            return _worst_traces(answer.json()["data"])
        except (LookupError, TypeError, AttributeError, ValueError):
            return {}

    def _get(self, path: str, query: Mapping[str, str]) -> Answer:
        return ask(f"{self._url}/api/v1/{path}?{urlencode(query)}", self._timeout)

    def _ask(self, path: str, query: Mapping[str, str]) -> Any:
        answer = self._get(path, query)
        shown = without_secrets(self._url)
        if not answer.status:
            msg = f"{shown} does not answer: {answer.problem}"
            raise StoreError(msg)
        found = answer.json()
        is_ours = isinstance(found, dict) and isinstance(found.get("data"), dict)
        if answer.status != _OK or not is_ours or found["data"].get("resultType") != "vector":
            why = found.get("error") if isinstance(found, dict) else None
            msg = f"{shown} is no Prometheus API: {path} was answered with {answer.status}"
            raise StoreError(f"{msg}, {why}" if why else msg)
        return found["data"]


def _worst_traces(series: Any) -> dict[str, str]:
    """For each touchpoint a visit that did not end well, and among these the longest."""
    best: dict[str, tuple[bool, float, str]] = {}
    for each in series:
        labels = each["seriesLabels"]
        name = labels[label(names.TOUCHPOINT_NAME)]
        hurt = labels.get(label(names.TOUCHPOINT_OUTCOME)) in ("failed", "abandoned")
        for exemplar in each["exemplars"]:
            rank = (hurt, float(exemplar["value"]), exemplar["labels"]["trace_id"])
            best[name] = max(rank, best.get(name, rank))
    return {name: trace for name, (_, _, trace) in best.items()}
