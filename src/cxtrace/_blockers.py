"""Addresses and numbers of people in text: found, or taken out of it.

Every step takes time in proportion to the length of the text: a pattern is a run of one kind of
character, or has a bounded length, and what a run means is decided afterwards. What is found, and
what is not, stands in ``docs/explanation/blockers.md``.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, Literal, TypeAlias, cast

from cxtrace._folding import Folded, fold
from cxtrace._numbers import Hit, numbers

Kind: TypeAlias = Literal["jwt", "email", "iban", "ip", "card", "phone", "digits"]
"""What somebody's value may be: a token of whom it is about, or a long number of any use."""

WORDS: Final[dict[Kind, str]] = {
    "jwt": "a token (JWT)",
    "email": "an e-mail address",
    "iban": "an account number (IBAN)",
    "ip": "an IP address",
    "card": "the number of a payment card",
    "phone": "a telephone number",
    "digits": "a long number",
}
"""Each kind as a message names it."""

_NEXT: Final = r"[^0-9]{0,24}[0-9]"
_SUSPECT: Final = re.compile(rf"[@%\\&:]|eyJ|[0-9]{_NEXT}{_NEXT}{_NEXT}")
"""Without any of these, ASCII text holds nothing that is looked for."""

_MOST_ROUNDS: Final = 8
"""How often what was taken out may bring to light what stood beside it."""

_BETWEEN: Final = 512
"""Characters past a limit that are still read, so that a value which begins before it is whole."""

_WORD: Final = re.compile(r"""[^\s\0<>()\[\]",;:/\\&?|{}]+""")
_QUOTES: Final = "'`*=~"
_HOST: Final = re.compile(r"[^\0-,/:-@\[-^`{-\x7f\s]+")
_TOP_LEVEL: Final = re.compile(r"xn--|[^\0-@\[-`{-\x7f\s]{2}")
_NO_HOST: Final = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]|[1-9]x\.(?:png|jpe?g|gif|svg|webp|avif)\b")
"""Versions of packages (``react@18.2.0``) and pictures for dense screens (``…@2x.png``)."""

_LITERAL: Final = re.compile(r"\[[0-9A-Fa-fIPv:.]{3,60}\]")
_LONGEST_QUOTED: Final = 66
_TAKEN: Final = re.compile(rf"\0|<(?:{'|'.join(WORDS)})>")
"""Where something was taken out: no part of a name in quotation marks."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9_.=-]+")

_IPV4: Final = re.compile(
    r"(?<![0-9A-Za-z])(?<![0-9]\.)[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z])(?!\.[0-9])"
)
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]+")
_LONGEST_IPV6: Final = 45
_NOBODY: Final = ("127.", "255.", "0.")
"""How addresses of nobody begin: this machine, masks, all that there are."""

_BANK: Final = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}[ -]?[0-9]{2}")
_BANK_SEPARATORS: Final = " -.+"
_IBAN_LENGTHS: Final = {
    each[:2]: int(each[2:])
    for row in (
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22",
        "CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22",
        "GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30",
        "KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20",
        "MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22",
        "RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26",
        "UA29 VA22 VG24 XK20 YE30",
    )
    for each in row.split()
}
"""Characters of an account number, by country, as SWIFT's registry has them."""


def is_personal(text: str) -> Kind | None:
    """The kind of the first address or number of somebody in ``text``; None where there is none."""
    folded = _read(text)
    found = None if folded is None else next(_hits(folded), None)
    return None if found is None else cast("Kind", found[2])


def scrub(text: str, most: int | None = None) -> str:
    """``text`` with each address and number of somebody replaced by its kind, such as ``<email>``.

    Scrubbed again, it stays as it is.

    Args:
        text: Of any length.
        most: Characters of it that are read; the rest is left out, and ``…`` stands for it.
    """
    if most is not None and len(text) > most:
        return _scrubbed(text[: most + _BETWEEN], most) + "…"
    return _scrubbed(text, len(text))


def _scrubbed(text: str, end: int) -> str:
    folded = _read(text)
    if folded is None:
        return text[:end]
    parts: list[str] = []
    done = reached = 0
    for found, last, kind in sorted(_hits(folded), key=_longest_first):
        first = max(found, reached)  # two may share a sign
        if first >= last:
            continue
        start, after = folded.span(first, last)
        if start >= end:
            break
        parts += (text[done:start], f"<{kind}>")
        reached = last
        done = after
    return "".join((*parts, text[done:end]))


def _read(text: str) -> Folded | None:
    """The text as it is meant; None where nothing can be in it, as in most."""
    if text.isascii() and _SUSPECT.search(text) is None:
        return None
    folded = fold(text)
    return None if _SUSPECT.search(folded.text) is None else folded


def _hits(folded: Folded) -> Iterator[Hit]:
    """All that is found in a folded text: what is certain first, and hardly a character twice.

    In the end the whole of one that was made so that there is always more in it.
    """
    text = folded.text
    for _ in range(_MOST_ROUNDS):
        before = text
        for detect in _DETECTORS:
            found = [(*folded.whole(*hit[:2]), hit[2]) for hit in detect(text)]
            yield from found
            text = _without(text, found)
        if text is before:  # else what stood beside what was taken out now stands by itself
            return
    yield 0, len(text), "digits"


def _longest_first(hit: Hit) -> tuple[int, int]:
    return hit[0], -hit[1]


def _without(text: str, found: list[Hit]) -> str:
    if not found:
        return text
    parts: list[str] = []
    done = 0
    for first, end, _ in found:
        start = max(first, done)
        parts += (text[done:start], "\0" * (end - start))
        done = end
    return "".join((*parts, text[done:]))


def _tokens(text: str) -> Iterator[Hit]:
    """JSON Web Tokens, and signed cookies of the same form."""
    if "eyJ" not in text:
        return
    for found in _TOKEN.finditer(text):
        at = found[0].find("eyJ")
        parts = found[0][at:].split(".") if at >= 0 else []
        if len(parts) > 2 or (len(parts) == 2 and parts[1].startswith("eyJ")):
            yield found.start() + at, found.end(), "jwt"


def _addresses(text: str) -> Iterator[Hit]:
    """Addresses of mail: a word with an @ and after it a name of the Internet."""
    if "@" not in text:
        return
    done = 0
    for found in _WORD.finditer(text):
        word = found[0].lstrip(_QUOTES)
        if "@" not in word:
            continue
        start = found.end() - len(word)
        end = _end_of_address(text, start, word)
        if end is None:
            continue
        if word[0] == "@":
            quoted = _quoted(text, start, done)
            if quoted is None:
                continue
            start = quoted
        yield start, end, "email"
        done = end


def _end_of_address(text: str, start: int, word: str) -> int | None:
    end, at = None, word.find("@")
    while at >= 0:
        found = _host(text, start + at + 1)
        end = end if found is None else found
        at = word.find("@", at + 1)
    return end


def _host(text: str, start: int) -> int | None:
    """Where the name of a host ends that begins here, if it is one."""
    numeric = _LITERAL.match(text, start)
    if numeric is not None:
        return numeric.end()
    run = _HOST.match(text, start)
    if run is None or _NO_HOST.match(run[0]):
        return None
    end, at = None, start
    for number, label in enumerate(run[0].split(".")):
        if not label:
            break
        at += len(label)
        if number and _TOP_LEVEL.match(label):
            end = at
        at += 1
    return end


def _quoted(text: str, at: int, done: int) -> int | None:
    """Where the name before an @ begins that stands in quotation marks, if it does."""
    if text[at - 1 : at] != '"':
        return None
    start = text.rfind('"', max(done, at - _LONGEST_QUOTED), at - 1)
    return None if start < 0 or _TAKEN.search(text, start, at) else start


def _accounts(text: str) -> Iterator[Hit]:
    done = 0
    for found in _BANK.finditer(text):
        if found.start() >= done:
            end = _end_of_account(text, found.start())
            if end is not None:
                yield found.start(), end, "iban"
                done = end


def _end_of_account(text: str, start: int) -> int | None:
    size = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    if size is None:
        return None
    kept, at, gap = "", start, 0
    while len(kept) < size and gap < 2:
        char = text[at : at + 1]
        if char.isascii() and char.isalnum():
            kept, gap = kept + char, 0
        elif char and char in _BANK_SEPARATORS:
            gap += 1
        else:
            return None
        at += 1
    after = text[at : at + 1]
    is_whole = len(kept) == size and not (after.isascii() and after.isalnum())
    return at if is_whole and _is_account(kept) else None


def _is_account(given: str) -> bool:
    if 2 * sum(map(str.isdigit, given)) < len(given):
        return False
    return int("".join(str(int(char, 36)) for char in given[4:] + given[:4])) % 97 == 1


def _ipv4(text: str) -> Iterator[Hit]:
    """IP addresses of four numbers, but for those of nobody."""
    for found in _IPV4.finditer(text):
        if (
            not found[0].startswith(_NOBODY)
            and ".000" not in found[0]
            and all(int(x) < 256 for x in found[0].split("."))
        ):
            yield *found.span(), "ip"


def _ipv6(text: str) -> Iterator[Hit]:
    if text.count(":") < 2:
        return
    for found in _IPV6.finditer(text):
        start, run = found.start(), found[0].rstrip(".")
        before, after = text[start - 1 : start], text[found.end() : found.end() + 1]
        if before.isalnum() and before.isascii():
            # The end of a word, such as the d of ``id:2001:db8::1``.
            word, _, run = run.partition(":")
            start += len(word) + 1
            if run.startswith(":"):
                continue
        elif run.startswith(":") and not run.startswith("::"):
            start, run = start + 1, run[1:]
        if not run.endswith("::"):
            run = run.rstrip(":")
        if not (after.isalnum() and after.isascii()) and _is_ipv6(run):
            yield start, start + len(run), "ip"


def _is_ipv6(given: str) -> bool:
    if len(given) > _LONGEST_IPV6 or given.count(":") < 2 or not any(map(str.isdigit, given)):
        return False
    if max(map(len, given.split(":"))) < 3:  # 1::2 could be anything
        return False
    # Heavy to import for those to whom nobody gives such a thing.
    from ipaddress import AddressValueError, IPv6Address

    try:
        IPv6Address(given)
    except AddressValueError:
        return False
    return True


_DETECTORS: Final[tuple[Callable[[str], Iterator[Hit]], ...]] = (
    _tokens,
    _addresses,
    _accounts,
    _ipv6,
    _ipv4,
    numbers,
)
"""In this order: the host of an address of mail is no IP address, and neither is a telephone."""
