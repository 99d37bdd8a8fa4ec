"""Private parts of OpenTelemetry's SDK that a fork copies and that nobody there makes anew.

The SDK lets a child send the sums of its parent a second time, and leaves it the parent's locks,
held or not. None of them has a public name; where a version has other ones, a test fails.
"""

# ruff: noqa: SLF001

import threading
from typing import Any

from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from cxtrace._counting import CountingMetricExporter
from cxtrace._process import shielded


class ForkableReader(PeriodicExportingMetricReader):
    """A reader whose thread begins in a forked child only when the parent's sums are gone."""

    def __init__(self, counting: CountingMetricExporter) -> None:
        self.counting = counting
        with shielded():
            super().__init__(counting)

    def _at_fork_reinit(self) -> None:
        """Wait for ``begin_anew``."""

    def begin_anew(self) -> None:
        """Go on in a child, whose parent may have been exporting."""
        self._export_lock = threading.Lock()
        self._shutdown_event = threading.Event()
        if self._daemon_thread is not None:
            with shielded():
                super()._at_fork_reinit()  # type: ignore[no-untyped-call,unused-ignore]


def forget_sums(provider: Any) -> None:
    """Let a meter provider begin at zero, with locks of its own; its instruments stay."""
    provider._meter_lock = threading.Lock()
    for meter in provider._meters.values():
        meter._instrument_registration_lock = threading.Lock()
        meter._instrument_ids_lock = threading.Lock()
        # What another thread was about to make is registered, and nobody will ever make it.
        ids, made = meter._instrument_ids, meter._instrument_id_instrument
        meter._instrument_ids = {each: ids[each] for each in ids if each in made}
    consumer = provider._measurement_consumer
    consumer._lock = threading.Lock()
    for storage in consumer._reader_storages.values():
        storage._lock = threading.RLock()
        storage._instrument_view_instrument_matches = {}


def renew_locks(provider: Any) -> None:
    """Give a logger provider a lock of its own."""
    provider._logger_cache_lock = threading.Lock()
