"""Checks of the key, which is never shown."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cxtrace._keys import lines
from cxtrace.platform.doctor.subject import Finding, Findings, Subject
from cxtrace.privacy import MIN_KEY_BYTES

MAKE_A_KEY: Final = (
    "Make one with `cxtrace keys new`, and give it as CXTRACE_KEY or CXTRACE_KEY_FILE to every"
    " service."
)

_LEAST_BITS: Final = 96.0
_EXAMPLE: Final = re.compile(
    r"example|change.?me|secret|password|default|sample|dummy|insecure|replace|0123456789|abcdef",
    re.IGNORECASE,
)


def key_state(subject: Subject) -> Findings:
    """Whether a key is there that other processes have too."""
    if subject.facts.state != "configured":
        return
    state = subject.facts.key.state
    if state == "missing":
        yield Finding(
            "key-missing",
            "warning",
            "There is no key: each process would draw its own, so pseudonyms differ from process "
            "to process and services do not believe each other's journeys.",
            MAKE_A_KEY,
        )
    elif state == "ephemeral":
        yield Finding(
            "key-ephemeral",
            "warning",
            "The key was drawn at random, because none was given: pseudonyms hold for this "
            "process only, and services do not believe each other's journeys.",
            MAKE_A_KEY,
        )


def key_file(subject: Subject) -> Findings:
    """Whether the file of keys is used as it is now."""
    fault = subject.facts.key.fault
    if fault is not None:
        yield Finding(
            "key-file",
            "error",
            f"The file of keys is not used as it is now: {fault}. Keys from before stay in force.",
            "Mend the file; it is read again every five seconds.",
        )


def key_strength(subject: Subject) -> Findings:
    """Whether a key can be guessed. A key that is given in code is not seen here."""
    place, content = _given(subject.environ)
    for number, _, secret in lines(content):
        yield from _strength(place if number == 1 else f"{place}, line {number},", secret)


def _strength(place: str, secret: bytes) -> Findings:
    if len(secret) < MIN_KEY_BYTES:
        yield Finding(
            "key-short",
            "error",
            f"{place} has {len(secret)} bytes, and must have at least {MIN_KEY_BYTES}.",
            MAKE_A_KEY,
        )
    elif _EXAMPLE.search(secret.decode("latin-1")) or _bits(secret) < _LEAST_BITS:
        yield Finding(
            "key-weak",
            "error",
            f"{place} can be guessed: it is an example, or repeats itself.",
            f"{MAKE_A_KEY} Whoever knows the key can tell which customer a pseudonym is.",
        )


def _given(environ: Mapping[str, str]) -> tuple[str, bytes]:
    text = environ.get("CXTRACE_KEY", "")
    if text:
        return "CXTRACE_KEY", text.strip().encode("utf-8", "surrogateescape")
    path = environ.get("CXTRACE_KEY_FILE", "")
    try:
        return "The key of CXTRACE_KEY_FILE", Path(path).read_bytes().strip() if path else b""
    except OSError:
        return "", b""  # configure() has said so


def _bits(secret: bytes) -> float:
    """How many bits of chance there are at most, by how often each byte comes."""
    whole = re.fullmatch(rb"(.+?)\1+", secret, re.DOTALL)
    once = whole[1] if whole else secret
    counts = Counter(once).values()
    return -sum(count * math.log2(count / len(once)) for count in counts)
