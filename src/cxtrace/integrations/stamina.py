"""stamina: each retry counts for the current touchpoint, and the time until it as waiting.

Of what is retried, and why, nothing is recorded: no name, no arguments, no exception.
"""

from stamina.instrumentation import RetryDetails, get_on_retry_hooks, set_on_retry_hooks

from cxtrace import _guard
from cxtrace._handles import current_touchpoint

__all__ = ["count_retry", "instrument", "uninstrument"]


def count_retry(details: RetryDetails) -> None:
    """Count a retry. A hook for ``stamina.instrumentation.set_on_retry_hooks``; never raises."""
    # stamina lets what a hook raises take the place of the host's own exception.
    try:
        current_touchpoint().retry(details.wait_for)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("stamina", error)


def instrument() -> None:
    """Count from now on, beside the hooks that stamina has now; once, however often called.

    ``set_on_retry_hooks`` puts other hooks in the place of all, ours included: call it before.
    """
    try:
        hooks = get_on_retry_hooks()
        if count_retry not in hooks:
            set_on_retry_hooks((*hooks, count_retry))
    except Exception as error:  # noqa: BLE001  a factory of the host's hooks may raise
        _guard.swallow("stamina", error)


def uninstrument() -> None:
    """Count no more. All other hooks stay."""
    try:
        hooks = get_on_retry_hooks()
        if count_retry in hooks:
            set_on_retry_hooks([hook for hook in hooks if hook is not count_retry])
    except Exception as error:  # noqa: BLE001
        _guard.swallow("stamina", error)
