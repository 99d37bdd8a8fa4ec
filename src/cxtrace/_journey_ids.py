"""The id of a journey, out of what code or a request gives: an opaque token or a keyed hash."""

from collections.abc import Callable
from functools import partial

from cxtrace import _runtime, privacy
from cxtrace._keys import Key


def of(name: str, given: str) -> str:
    """The id that the code's text stands for.

    Args:
        name: Of the journey.
        given: An opaque token, which is sent as it stands, or anything else, such as an address.
    """
    if privacy.is_plain(given):
        return given
    return _under_a_key(name, lambda key: privacy.journey_id(given, lambda: key))


def told(name: str, identifier: str, *, is_plain: bool) -> str:
    """The id that a part of a request stands for.

    Args:
        name: Of the journey.
        identifier: What the request says.
        is_plain: Whether it may be sent as it stands, if it is an opaque token. A cookie may not:
            whoever knows it could be taken for the customer.
    """
    if is_plain and privacy.is_random(identifier):
        return identifier
    return _under_a_key(name, partial(privacy.hashed_journey_id, name, identifier))


def _under_a_key(name: str, make: Callable[[Key], str]) -> str:
    """The id by the newest key, unless the journey began under an older one in this process."""
    newest, *older = _runtime.keys().keys
    begun = make(newest)
    if not older:
        return begun
    # Heavy to import for those to whom nobody listens.
    from cxtrace import _journeys

    if _journeys.memory.knows(name, begun):
        return begun
    ids = (make(key) for key in older)
    return next((each for each in ids if _journeys.memory.knows(name, each)), begun)
