"""An exporter of others, whatever it does."""

import logging
from collections.abc import Callable
from typing import Any

_logger = logging.getLogger("cxtrace")


class Watched:
    """An exporter that is called, but never believed to behave.

    The first exception is logged, by its class alone: its text may quote an item.
    The first refusal over OTLP is too, with what to set: not every store of traces takes more.

    Args:
        exporter: Of any kind.
        items: What it exports, in words.
        word: The same in the names of OpenTelemetry's variables; "" for spans.
    """

    def __init__(self, exporter: Any, items: str, word: str = "") -> None:
        self._exporter = exporter
        self._items = items
        self._word = word
        self._has_warned = False

    def call(self, method: Callable[..., Any], *args: object, **more: object) -> Any:
        """What the method returns; None if it raised."""
        try:
            return method(*args, **more)
        except Exception as error:  # noqa: BLE001 - an exporter of others may not break the host
            if not self._has_warned:
                self._has_warned = True
                _logger.warning(
                    "cxtrace: %s raised %s over %s; later failures are only counted",
                    type(self._exporter).__name__,
                    type(error).__name__,
                    self._items,
                )
            return None

    def advise(self) -> None:
        """Something was not delivered: say what may be set."""
        over_otlp = type(self._exporter).__module__.startswith("opentelemetry.exporter.otlp.")
        if self._word and over_otlp and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "cxtrace: %s were not delivered; later failures are only counted. If the endpoint "
                "takes spans alone, as Jaeger does, set OTEL_%s_EXPORTER=none, or "
                "OTEL_EXPORTER_OTLP_%s_ENDPOINT to one that takes them",
                self._items,
                self._word,
                self._word,
            )

    def after_fork(self) -> None:
        """Tell an exporter that cares that it lives in a child now."""
        method = getattr(self._exporter, "after_fork", None)
        if method is not None:
            self.call(method)
