"""What the customer lived through in one visit of a touchpoint, as far as the code has told."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

MAX_REMEMBERED: Final = 1_000
"""Distinct interactions, and signals of a kind, that one visit remembers one by one."""


class Lived:
    """Counts and signals of one visit. All threads that work for the visit write here.

    Attributes:
        actions: Micro-interactions begun.
        retries: Those among them that had been done in this visit before.
        service_retries: Attempts that the service made again by itself.
        waited: Seconds inside of micro-interactions, and outside of them until the service tried
            again.
        last: The micro-interaction begun last.
        frictions: Frictions of this visit, declared and found.
        rejected: How many of them are of type ``validation_rejected``.
        said: What predicates of the map may ask for: values of each fact, as signals gave them.
        delivered: Values handed in for promises, in their units.
        measured: Values that signals gave for metrics that promises are about; times in seconds.
        exposures: To nudges of feature flags, as an integration remembers them.
    """

    __slots__ = (
        "_lock", "_seen", "actions", "delivered", "exposures", "frictions", "last", "measured",
        "rejected", "retries", "said", "service_retries", "waited",
    )  # fmt: skip

    def __init__(self) -> None:
        # Reentrant, for a signal handler or a finaliser may speak of the visit while we do.
        self._lock = threading.RLock()
        self._seen: set[str] = set()
        self.actions = 0
        self.retries = 0
        self.service_retries = 0
        self.waited = 0.0
        self.last: str | None = None
        self.frictions = 0
        self.rejected = 0
        self.said: dict[str, tuple[Any, ...]] = {}
        self.delivered: dict[str, float | None] = {}
        self.measured: dict[str, float] = {}
        self.exposures: dict[tuple[Any, ...], Any] = {}

    def act(self, interaction: str) -> None:
        """A micro-interaction begins."""
        with self._lock:
            self.actions += 1
            self.last = interaction
            if interaction in self._seen:
                self.retries += 1
            elif len(self._seen) < MAX_REMEMBERED:
                self._seen.add(interaction)

    def wait(self, seconds: float) -> None:
        """A micro-interaction has ended after ``seconds``."""
        with self._lock:
            self.waited += seconds

    def retry(self, seconds: float) -> None:
        """The service tries again by itself, and the customer waits ``seconds`` more for it."""
        with self._lock:
            self.service_retries += 1
            self.waited += seconds

    def suffer(self, friction: str) -> None:
        """A friction was declared or found."""
        with self._lock:
            self.frictions += 1
            self.rejected += friction == "validation_rejected"

    def forget(self, kinds: Iterable[str]) -> None:
        """Let go of what signals of these kinds have said, for the customer has refused since."""
        prefixes = tuple(f"{kind}." for kind in kinds)
        with self._lock:
            self.said = {k: v for k, v in self.said.items() if not k.startswith(prefixes)}
            self.measured = {k: v for k, v in self.measured.items() if not k.startswith(prefixes)}

    def say(self, facts: Mapping[str, Any]) -> None:
        """A signal was given; the values join those that the visit has of the same fact."""
        with self._lock:
            for name, value in facts.items():
                values = self.said.get(name, ())
                if value is not None and value not in values and len(values) < MAX_REMEMBERED:
                    self.said[name] = (*values, value)
