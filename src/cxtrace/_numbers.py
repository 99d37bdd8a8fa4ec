"""Numbers of people in text: of telephones, of payment cards, and others that are long.

A number is a run of groups of digits. What separates them, and how many there are in each, tells a
telephone from a price, a version or an order.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

Hit: TypeAlias = tuple[int, int, str]
"""First character, one past the last, and the kind of what was found."""

_DIGITS: Final = re.compile(r"[0-9]+")
_SEPARATORS: Final = " .-/()_"
_WIDEST_GAP: Final = 3

_UUID: Final = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_DAY: Final = r"(?:0?[1-9]|[12][0-9]|3[01])"
_MONTH: Final = r"(?:0?[1-9]|1[0-2])"
_YEAR: Final = r"(?:19|20)[0-9]{2}"
_HARMLESS: Final = re.compile(
    rf"(?<![0-9A-Fa-f-]){_UUID}(?![0-9A-Fa-f-])"
    r"|(?<![0-9])(?<![0-9][-./])(?:"
    rf"{_YEAR}([-./]){_MONTH}\1{_DAY}|{_DAY}([-./]){_MONTH}\2(?:{_YEAR}|[0-9]{{2}})"
    rf"|{_MONTH}/{_DAY}/{_YEAR})(?![-./]?[0-9])"
    r"|(?<![0-9:])[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?![0-9:])"
)
"""UUIDs, dates and times of day."""

_LEAST_ABROAD: Final = 9
"""Digits of a telephone number with the code of its country; shorter ones could be anything."""

_MOST_GROUPS: Final = 12
"""Groups of digits that are counted: more than the least have at least that many digits."""

_TELEPHONE: Final = re.compile(
    r"0[1-9][0-9]{7,10}|00[1-9][0-9]{9,14}"
    r"|(?:1[2-9]|[2-9])[0-9]{2}[2-9][0-9]{6}"  # North America
    r"|[6-9][0-9]{9}|1[3-9][0-9]{9}|[78][3489][0-9]{9}"  # India, China, Russia
)
"""A telephone number without separators."""

_SHAPES: Final = {
    (3, 3, 4): ("[2-9]", " -./()"),
    (1, 3, 3, 4): ("1", " -./()"),
    (3, 4, 4): ("1[3-9]", " -"),
    (2, 4, 4): ("[1-9]", " ()-"),
    (2, 5, 4): ("[1-9]", " ()-"),
    (1, 4, 4): ("9", " -"),
    (5, 5): ("[6-9]", " -"),
    (1, 3, 3, 2, 2): ("[078]", " -()"),
    (3, 3, 2, 2): ("[3-9]", " -()"),
    (3, 2, 2, 2): ("[6-9]", " -."),
    (3, 3, 3): ("[4-9]", " -"),
    (3, 7): ("[2369]", " /"),
}
"""National numbers by their groups: how they begin, and what may separate them."""

_AREA_FIRST: Final = frozenset({(2, 4, 4), (2, 5, 4)})
"""Shapes that order numbers have too, if their first separator is no blank or parenthesis."""

_LIMITS: Final = frozenset(
    {
        *("2147483647", "2147483648", "4294967295", "4294967296", "9223372036854775807"),
        *("18446744073709551615", "18446744073709551616"),
    }
)
"""Largest numbers of computers."""

_LONG: Final = 11
_MOST_NATIONAL: Final = 5
_PRODUCTS: Final = (13, 14)
_STAMPS: Final = (13, 16, 19)
"""Digits of milli-, micro- and nanoseconds since 1970, from 2001 to 2033 with a 1 in front."""

_TIME: Final = re.compile(
    r"20[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    r"(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9](?:[0-9]{3})?"
)
_CARD: Final = re.compile(r"(?:[2-6]|8[126]|9[78])[0-9]{12,18}")
_LONGEST_CARD: Final = 19
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


class _Group(NamedTuple):
    start: int
    end: int
    digits: str
    before: str
    """What separates it from the group before; of the first, nothing."""


_Run: TypeAlias = list[_Group]


def numbers(text: str) -> Iterator[Hit]:
    """The numbers of people in a folded text."""
    if _has_few_digits(text):
        return
    plain = _HARMLESS.sub(_blank, text)
    if _has_few_digits(plain):
        return
    done = 0
    for run in _runs(plain):
        reader = _Reader(plain, run, done)
        at = 0
        while at < len(run):
            found = reader.read(at)
            if found is None:
                at += 1
                continue
            start, at, kind = found
            done = run[at - 1].end
            yield start, done, kind
            reader.begin(at)


def _has_few_digits(text: str) -> bool:
    return sum(map(str.isdigit, text)) < _LEAST_ABROAD


def _blank(found: re.Match[str]) -> str:
    return "\0" * len(found[0])


def _runs(text: str) -> Iterator[_Run]:
    """Groups of digits that may be one number; a group that is part of a word is part of none."""
    run: _Run = []
    for found in _DIGITS.finditer(text):
        start, end = found.span()
        if _is_letter(text[start - 1 : start]) or _is_letter(text[end : end + 1]):
            if run:
                yield run
            run = []
            continue
        before = text[run[-1].end : start] if run else ""
        if run and not _joins(before):
            yield run
            run, before = [], ""
        run.append(_Group(start, end, found[0], before))
    if run:
        yield run


def _is_letter(char: str) -> bool:
    return char.isascii() and char.isalpha()


def _joins(gap: str) -> bool:
    # In the query of an address, a plus is a blank.
    return gap == "+" or (len(gap) <= _WIDEST_GAP and not gap.strip(_SEPARATORS))


_Found: TypeAlias = tuple[int, int, str]
"""First character, one past the last group, and the kind."""


class _Reader:
    """Reads one run. After each number that was found, what follows is a run of its own.

    Args:
        text: All of it.
        run: A part of it.
        done: Where the last number ends that was found before this run.
    """

    def __init__(self, text: str, run: _Run, done: int) -> None:
        self._text = text
        self._run = run
        self._first = 0
        self._floor = done

    def begin(self, at: int) -> None:
        """Go on with what follows a number."""
        self._first, self._floor = at, self._run[at - 1].end

    def read(self, at: int) -> _Found | None:
        """The number that begins with a group, if one does."""
        group = self._run[at]
        if self._opens(at):
            card = self._card(at)
            if card is not None:
                return card
        return self._telephone(at, group) or self._long(at, group)

    def _opens(self, at: int) -> bool:
        before = self._run[at].before
        return at == self._first or " " in before or before == "+"

    def _card(self, at: int) -> _Found | None:
        """The longest card number from here on."""
        run, digits, best = self._run, "", None
        for after in range(at, len(run)):
            digits += run[after].digits
            if len(digits) > _LONGEST_CARD:
                break
            groups = run[at : after + 1]
            if _CARD.fullmatch(digits) and _is_grouped(groups) and _luhn(digits):
                best = after + 1
        return None if best is None else (run[at].start, best, "card")

    def _telephone(self, at: int, group: _Group) -> _Found | None:
        run, first = self._run, group.digits
        rest = sum(len(each.digits) for each in run[at : at + _MOST_GROUPS])
        plus = self._plus(group.start)
        if plus is not None and rest >= _LEAST_ABROAD:
            return plus, len(run), "phone"
        if not self._opens(at):
            return None
        if rest > _LEAST_ABROAD + 1 and _is_abroad(run[at : at + 2]):
            return group.start, len(run), "phone"
        is_one = _TELEPHONE.fullmatch(first) is not None and first not in _LIMITS
        if is_one and not self._is_fraction(group.start):
            return group.start, at + 1, "phone"
        if self._is_coded(group.start):
            return None
        for after in range(min(len(run), at + _MOST_NATIONAL), at + 1, -1):
            if self._is_apart(at, after) and _is_national(run[at:after]):
                return self._opening(group.start), after, "phone"
        return None

    def _long(self, at: int, group: _Group) -> _Found | None:
        size = len(group.digits)
        if len(group.digits.lstrip("0")) < _LONG or group.digits in _LIMITS:
            return None
        if self._is_fraction(group.start) or (size in _STAMPS and group.digits[0] == "1"):
            return None
        if size in _PRODUCTS and _is_product(group.digits):
            return None
        return None if _TIME.fullmatch(group.digits) else (group.start, at + 1, "digits")

    def _before(self, start: int) -> str:
        """The two characters before, as far as they are not part of another number."""
        return self._text[max(self._floor, start - 2) : start]

    def _plus(self, start: int) -> int | None:
        """Where the plus of an international number stands."""
        at = start - 1
        if self._text[max(self._floor, at) : start] in ("(", " "):
            at -= 1
        if at < self._floor or self._text[at] != "+":
            return None
        return None if at > self._floor and self._text[at - 1].isalnum() else at

    def _opening(self, start: int) -> int:
        return start - 1 if self._before(start).endswith("(") else start

    def _is_fraction(self, start: int) -> bool:
        before = self._before(start)
        return len(before) == 2 and before[0].isdigit() and before[1] in ".,"

    def _is_coded(self, start: int) -> bool:
        """Whether the number is the rest of a code, such as ORD-0171-123456."""
        before = self._before(start)
        return len(before) == 2 and before[1] == "-" and before[0].isascii() and before[0].isalnum()

    def _is_apart(self, at: int, after: int) -> bool:
        """Whether groups belong together, and the others of the run do not."""
        run = self._run
        if at == self._first and after == len(run):
            return True
        inside = [group.before for group in run[at + 1 : after]]
        is_tight = " " not in inside or len(inside) == 1
        return is_tight and (after == len(run) or " " in run[after].before)


def _is_grouped(groups: _Run) -> bool:
    """Whether digits are together as on a card."""
    gaps = {group.before for group in groups[1:]}
    if len(groups) == 1:
        digits = groups[0].digits
        return len(digits) != 13 or not _is_product(digits)
    sizes = [len(group.digits) for group in groups]
    is_even = len(set(sizes[:-1])) == 1 and sizes[-1] <= sizes[0]
    return (is_even or sizes[0] in (4, 6)) and (gaps <= {" ", "-"} or len(gaps) == 1)


def _luhn(digits: str) -> bool:
    values = [int(digit) for digit in reversed(digits)]
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0


def _is_product(digits: str) -> bool:
    """Whether the last digit is the check digit of an EAN or GTIN."""
    values = [int(digit) for digit in reversed(digits)]
    return (sum(values[::2]) + 3 * sum(values[1::2])) % 10 == 0


def _is_abroad(groups: _Run) -> bool:
    """Whether two zeros stand for the plus of an international number in several groups."""
    together = "".join(group.digits for group in groups)
    return len(groups) > 1 and groups[0].digits[:2] == "00" and together[2] != "0"


def _is_national(groups: _Run) -> bool:
    digits = "".join(group.digits for group in groups)
    sizes = tuple(len(group.digits) for group in groups)
    if digits[0] == "0" and digits[1] != "0" and min(sizes) > 1 and 9 <= len(digits) <= 12:
        return True
    begins, separators = _SHAPES.get(sizes, ("", ""))
    if not begins or not re.match(begins, digits):
        return False
    gaps = [group.before for group in groups[1:]]
    if any(gap.strip(separators) for gap in gaps):
        return False
    if sizes in _AREA_FIRST:
        return gaps[0].strip(" )") == ""
    return sizes != (3, 3, 3) or sum(group.digits == "000" for group in groups) < 2
