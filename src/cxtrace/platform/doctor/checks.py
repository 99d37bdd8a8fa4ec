"""All checks, in the order in which a cause comes before what follows from it."""

from collections.abc import Callable, Iterable
from typing import Final

from cxtrace import _guard
from cxtrace.platform.doctor import endpoints, folder, keys, order, personal, providers, settings
from cxtrace.platform.doctor.subject import Finding, Findings, Subject, by_level

Check = Callable[[Subject], Findings]

LOOKING: Final[tuple[Check, ...]] = (
    settings.switched_off,
    settings.endpoint_scheme,
    settings.batch_sizes,
    keys.key_strength,
    settings.refused,
    settings.unknown_variables,
    settings.config_file,
    settings.versions,
    providers.not_configured,
    providers.apart,
    providers.replaced,
    providers.other_agents,
    providers.threads,
    providers.sends_nothing,
    providers.sent_twice,
    providers.simple_processor,
    providers.sampler,
    settings.limits,
    settings.service_name,
    order.propagators,
    order.middlewares,
    keys.key_state,
    keys.key_file,
    settings.journey_map,
    settings.bindings,
    personal.exceptions,
    personal.values,
    folder.spool,
)
"""Checks that ask nobody else."""

ASKING: Final[tuple[Check, ...]] = (endpoints.endpoints, providers.wrong_port)
"""Checks that ask over the network, and what they leave to be guessed."""

_NETWORK: Final = (
    *("endpoint-unreachable", "endpoint-refused", "endpoint-not-here", "endpoint-not-otlp"),
    "endpoint-other-protocol",
)
_FOLLOWS: Final = {
    "wrong-port": ("endpoint-other-protocol",),
    "probe-not-sent": (*_NETWORK, "signal-refused", "sends-nothing"),
    "probe-not-found": _NETWORK,
}
"""What is not told where its cause is."""


def examine(subject: Subject, checks: Iterable[Check] = LOOKING) -> list[Finding]:
    """What the checks find, the worst first. A check that fails is told, and never raises."""
    found: list[Finding] = []
    for check in checks:
        try:
            found += check(subject)
        except Exception as error:  # noqa: BLE001
            _guard.swallow(f"doctor.{check.__name__}", error)
            found.append(
                Finding(
                    "not-checked",
                    "note",
                    f"The check {check.__name__} failed with {type(error).__name__}.",
                    "Please report it.",
                )
            )
    return tidy(found)


def tidy(found: Iterable[Finding]) -> list[Finding]:
    """Findings, the worst first, without what has been told already."""
    every = list(found)
    ids = {each.id for each in every}
    by_cause: dict[tuple[str, str], Finding] = {}
    for each in every:
        if ids.intersection(_FOLLOWS.get(each.id, ())):
            continue
        key = each.id if each.id in settings.REFUSALS.values() else each.found
        by_cause.setdefault((each.id, key), each)
    return sorted(by_cause.values(), key=by_level)
