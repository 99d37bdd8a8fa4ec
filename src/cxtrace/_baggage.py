"""Our members of a W3C ``baggage`` header, and the signature over them.

The member keys are the attribute names, so that a stock baggage processor in any language tags
spans with them. ``cx.sig`` holds version, key id, time and signature, apart by colons, and after
them the clock of the journey, if it has one: since when what is still open runs.

Source of the header's grammar: W3C Baggage, https://www.w3.org/TR/baggage/.
"""

import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote, unquote_plus

from attrs import frozen

from cxtrace import attributes as names
from cxtrace._closed_sets import block, block_name
from cxtrace._keys import Key, Keys

SIGNATURE: Final = "cx.sig"
MAX_MEMBERS: Final = 11
MAX_BYTES: Final = 1_024
MAX_HEADER_BYTES: Final = 8_192
"""A longer header is not read; W3C guarantees no more than this to arrive."""

MAX_AGE: Final = 300
"""Seconds for which a signature holds."""
MAX_SKEW: Final = 60
"""Seconds by which a sender's clock may be ahead of ours."""

NAMES: Final = (
    names.JOURNEY_NAME,
    names.STAGE_NAME,
    names.TOUCHPOINT_NAME,
    names.OWNER_FUNCTION,
    names.CONSENT_STATE,
    names.SYNTHETIC_TYPE,
    names.WALKTHROUGH_ID,
    names.WALKTHROUGH_PERSONA,
)
IDS: Final = (names.JOURNEY_ID, names.CUSTOMER_PSEUDONYM)

_KNOWN: Final = frozenset((*NAMES, *IDS))
_LABEL: Final = b"cxtrace/baggage/v1"
_PREFIXES: Final = ("cx.", "enduser.", "user_agent.synthetic.")
_MAX_VALUE: Final = 64
_CLOCK: Final = 4
"""Parts of the signature before the clock: version, key id, time, signature."""
_MOMENT: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_OPAQUE: Final = re.compile(r"[0-9a-f]{32}|v[0-9]+\.[A-Za-z0-9_-]{22}", re.ASCII)
"""Ids and pseudonyms that cxtrace makes."""
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]*", re.ASCII)


@frozen
class Header:
    """A ``baggage`` header, split into ours and that of others, which stays as it came."""

    ours: Mapping[str, str]
    others: tuple[str, ...]
    repeated: bool = False


def is_ours(key: str) -> bool:
    """Whether a member key is in a name space that only cxtrace may fill."""
    return key.lower().startswith(_PREFIXES)


def parse(text: str) -> Header:
    """Split a header. Never raises; what is not a member is kept among the others."""
    ours: dict[str, str] = {}
    others = []
    repeated = False
    for member in text.split(","):
        stripped = member.strip()
        key, _, value = stripped.partition("=")
        # As OpenTelemetry's own propagator reads a key, so that no spelling gets past us.
        key = unquote_plus(key).strip()
        if is_ours(key):
            repeated = repeated or key in ours
            ours[key] = unquote(value.partition(";")[0].strip())
        elif stripped:
            others.append(stripped)
    return Header(ours, tuple(others), repeated)


def signed(members: Mapping[str, str], key: Key, now: float, clock: str = "") -> str:
    """The members, their signature and the journey's clock, as header text."""
    # An id is another one in each request, and not worth keeping.
    parts = [(_part_anew if name in IDS else _part)(name, text) for name, text in members.items()]
    parts.sort()
    moment = str(int(now))
    told = f":{_escaped(clock)}" if clock else ""
    signature = _signature(parts, key, moment, clock)
    return ",".join((*parts, f"{SIGNATURE}=v1:{key.key_id}:{moment}:{signature}{told}"))


def clock_of(members: Mapping[str, str]) -> str:
    """The clock of the journey in members whose signature is good; empty where there is none."""
    found = members.get(SIGNATURE, "").split(":", _CLOCK)
    return found[_CLOCK] if len(found) > _CLOCK else ""


def key_id_of(members: Mapping[str, str]) -> str:
    """The id of the key with which members are signed, as they say."""
    return members.get(SIGNATURE, "").split(":", 2)[1]


def fault(members: Mapping[str, str], keys: Keys, now: float) -> str | None:
    """None where the members carry a good and fresh signature, else what is wrong with it."""
    version, _, rest = members.get(SIGNATURE, "").partition(":")
    key_id, _, rest = rest.partition(":")
    moment, _, rest = rest.partition(":")
    signature, _, clock = rest.partition(":")
    if version != "v1" or not _MOMENT.fullmatch(moment):
        return "unsigned"
    key = keys.find(key_id)
    if key is None:
        return "other_key"
    # Keys are escaped too: one that holds "=" and a line break could pass for two members.
    parts = sorted(f"{_escaped(k)}={_escaped(v)}" for k, v in members.items() if k != SIGNATURE)
    expected = _signature(parts, key, moment, clock)
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
        return "forged"
    return None if -MAX_SKEW <= now - int(moment) <= MAX_AGE else "stale"


def acceptable(members: Mapping[str, str]) -> dict[str, str]:
    """The members that may set a tag: known ones, short, of printable characters."""
    return {
        name: value
        for name, value in members.items()
        if name in _KNOWN
        and 0 < len(value) <= _MAX_VALUE
        and value.isprintable()
        and _is_nobodys(name, value)
    }


def _is_nobodys(name: str, value: str) -> bool:
    """Whether a member holds no address and no number of somebody."""
    if name in IDS and _OPAQUE.fullmatch(value):  # what cxtrace itself makes is not looked into
        return True
    check = block_name if name in NAMES else block
    return not check(f"baggage.{name}", value)


def _signature(parts: list[str], key: Key, moment: str, clock: str) -> str:
    told = f"{moment}:{_escaped(clock)}" if clock else moment
    message = "\n".join((key.key_id, told, *parts))
    return key.digest(_LABEL, message.encode("utf-8", "surrogatepass")).hex()[:32]


def _escaped(text: str) -> str:
    # What strangers send may be long, and is not worth keeping.
    return _escaped_anew(text) if len(text) > _MAX_VALUE else _escaped_short(text)


def _escaped_anew(text: str) -> str:
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="", errors="replace")


_escaped_short = lru_cache(maxsize=2_048)(_escaped_anew)


def _part_anew(name: str, value: str) -> str:
    return f"{name}={_escaped_anew(value)}"


_part = lru_cache(maxsize=2_048)(_part_anew)
