"""What becomes of a delivery, and how its sender is answered."""

from typing import Final, Literal, TypeAlias

from attrs import frozen

from cxtrace import _guard

Reason: TypeAlias = Literal[
    "method", "too_large", "signature", "unreadable", "untranslated", "unremembered", "unfinished"
]
"""Why a delivery was refused."""

_REFUSALS: Final[dict[Reason, tuple[int, str]]] = {
    "method": (405, "a webhook comes by POST"),
    "too_large": (413, "it is larger than max_bytes"),
    "signature": (401, "its signature is missing, wrong or too old; are the secrets the same?"),
    "unreadable": (400, "it cannot be read; by default it must be JSON in UTF-8"),
    "untranslated": (422, "translate() or delivery_id() raised, or what it gave were no visits"),
    "unremembered": (503, "the store of deliveries failed, or said neither yes nor no"),
    "unfinished": (503, "your functions did not return in time, or too many deliveries wait"),
}
_COME_BACK: Final = ("unremembered", "unfinished")
_RETRY_AFTER: Final = "30"  # Zendesk takes no notice of a minute and more


@frozen
class Receipt:
    """What became of a delivery.

    Attributes:
        outcome: ``accepted``, ``duplicate`` or ``refused``.
        status: The HTTP status to answer with. Tell the sender no more than this.
        reason: Why it was refused, for your own eyes.
        visits: How many it told of.
    """

    outcome: Literal["accepted", "duplicate", "refused"]
    status: int
    reason: Reason | None = None
    visits: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """The headers to answer with, for a body that is empty."""
        found = {"Content-Type": "text/plain", "Content-Length": "0"}
        if self.reason in _COME_BACK:
            found["Retry-After"] = _RETRY_AFTER
        elif self.reason == "method":
            found["Allow"] = "POST"
        return found


def count(what: str) -> None:
    """Add to a counter of webhooks."""
    _guard.count(f"webhooks.{what}")


def refused(reason: Reason, touchpoint: str) -> Receipt:
    """A receipt of what is refused; counted, and named once in the log."""
    status, why = _REFUSALS[reason]
    count(reason)
    _guard.warn_once(
        f"webhooks.{reason}:{touchpoint}",
        "cxtrace: a webhook for %s was refused: %s",
        touchpoint,
        why,
    )
    return Receipt("refused", status, reason)
