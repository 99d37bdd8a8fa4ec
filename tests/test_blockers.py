"""Values of people are found in any disguise that is known, and harmless ones are let through."""

import re
import subprocess
import sys
from importlib import import_module
from ipaddress import IPv6Address
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cxtrace import _blockers, _folding, _numbers
from cxtrace._blockers import WORDS, is_personal, scrub
from cxtrace._folding import fold
from tests.blocker_rates import Sample, samples, tables

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "blockers.md"
PERSONAL = list(samples("personal"))
HARMLESS = list(samples("harmless"))
FOUND = [sample for sample in PERSONAL if not sample.is_known_to_fail]
DIGITS = {"full-width": 0xFF10, "Arabic": 0x660, "Devanagari": 0x966, "mathematical": 0x1D7CE}
UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\ufe0f"


def luhn(digits: str) -> str:
    """The digits with the last one that makes them a card number."""
    total = sum(
        sum(divmod(int(digit) * (2 - at % 2), 10)) for at, digit in enumerate(reversed(digits))
    )
    return f"{digits}{-total % 10}"


def iban(country: str, rest: str) -> str:
    """An account number with its check digits."""
    number = int("".join(str(int(char, 36)) for char in f"{rest}{country}00"))
    return f"{country}{98 - number % 97:02}{rest}"


def digits(least: int, most: int | None = None) -> st.SearchStrategy[str]:
    """Texts of digits."""
    return st.text("0123456789", min_size=least, max_size=most or least)


PIECES = [
    *(
        "8.8.4.4",
        "::ffff:8.8.4.4",
        "2001:db8::1",
        "a@b.example",
        '"q"@b.example',
        "@b.example",
        "x@[8.8.4.4]",
    ),
    *("DE89370400440532013000", "+49 171 1234567", "0171 1234567", "4111 1111 1111 1111"),
    *("eyJhbGciOi.eyJzdWIi.abc", "12345678901", "12", "0", "x", '"', "@", "%40", "&#64;", "\u200b"),
    *(" ", ".", ",", "-", ":", "/", "(", "_", "+", "\n", "\0"),
]
"""Values, parts of them, and what may stand between two of them."""

letters = st.text("abcdefghijklmnopqrstuvwxyzäßéж中", min_size=1, max_size=12)
hosts = st.lists(letters, min_size=1, max_size=3).map(".".join)
emails = st.builds("{}@{}.{}".format, letters, hosts, st.sampled_from(["example", "com", "рф"]))
cards = st.builds(
    lambda start, rest: luhn(start + rest), st.sampled_from(["4", "55", "2223", "62"]), digits(13)
).filter(lambda number: 15 <= len(number) <= 19)
grouped = st.builds(
    lambda number, gap: gap.join(re.findall(".{1,4}", number)), cards, st.sampled_from("- .")
)
ibans = st.builds(iban, st.just("DE"), digits(18)) | st.builds(
    iban, st.just("GB"), digits(14).map("NWBK{}".format)
)
phones = (
    st.builds("+49 {} {}".format, st.integers(150, 179), digits(7, 8))
    | st.builds("0{}/{}".format, st.integers(150, 179), digits(7, 8))
    | st.builds("+1 ({}) 555-{}".format, st.integers(202, 989), digits(4))
    | st.builds("({}) 555-{}".format, st.integers(202, 989), digits(4))
)
tokens = st.builds(
    "eyJ{}.eyJ{}.{}".format, *(3 * [st.text("abcXYZ019_-", min_size=3, max_size=30)])
)
addresses = st.ip_addresses(v=4, network="203.0.113.0/24").map(str) | st.ip_addresses(
    v=6, network="2001:db8::/32"
).map(str)
planted = st.one_of(
    *(
        st.tuples(st.just(kind), values)
        for kind, values in {
            "email": emails,
            "card": cards | grouped,
            "iban": ibans,
            "phone": phones,
            "jwt": tokens,
            "ip": addresses,
            "digits": digits(12).map("7{}".format).filter(lambda n: is_personal(n) == "digits"),
        }.items()
    )
)
apart = st.sampled_from(['"', "\n", ",", ";", "<", ">", "|", " = ", "'\n"])
words = st.lists(letters | apart, max_size=6).map(" ".join).filter(lambda text: "eyJ" not in text)
noise = st.text(
    st.characters() | st.sampled_from("0123456789012345678901234567890123456789@+-. ()/:%\\eyJaDE"),
    max_size=60,
)


@pytest.mark.parametrize("sample", PERSONAL, ids=lambda sample: sample.value)
def test_values_of_people_are_found(sample: Sample) -> None:
    """What the corpus has of people is found with its kind, but for what is known to be missed."""
    expected = None if sample.is_known_to_fail else sample.kind

    assert is_personal(sample.value) == expected


@pytest.mark.parametrize("sample", FOUND, ids=lambda sample: sample.value)
def test_nothing_is_left_of_a_value(sample: Sample) -> None:
    """Scrubbed, a value of the corpus has no digits and no name of its own, only its kind."""
    left = scrub(sample.value)

    assert f"<{sample.kind}>" in left
    assert is_personal(left) is None
    assert re.search(r"jane(?! doe <|:)|(?<![:0-9])[0-9]{4}", left.lower()) is None


@pytest.mark.parametrize("sample", HARMLESS, ids=lambda sample: sample.value)
def test_harmless_values_are_let_through(sample: Sample) -> None:
    """What the corpus has of services stays as it is, but for what is known to be blocked."""
    assert (is_personal(sample.value) is not None) is sample.is_known_to_fail
    assert (scrub(sample.value) != sample.value) is sample.is_known_to_fail


@pytest.mark.skipif(not PAGE.is_file(), reason="the documentation is not part of what is tested")
def test_the_page_has_the_rates_of_today() -> None:
    """Both tables of the page are what the command prints."""
    page = PAGE.read_text(encoding="utf-8")

    assert [table for table in tables() if table not in page] == []


def test_the_command_prints_both_tables() -> None:
    """The command that the page names prints the tables, and nothing else."""
    script = Path(__file__).with_name("blocker_rates.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)

    assert done.stdout == "\n\n".join(tables()) + "\n"


def test_every_kind_has_words() -> None:
    """Each kind of the corpus can be named in a message, and no other."""
    assert set(WORDS) == {sample.kind for sample in PERSONAL}


@given(words, apart, planted, apart, words)
@example("", "\n", ("phone", "(202) 555-0143"), "\n", "")
def test_a_value_is_found_wherever_it_stands(
    before: str, left: str, value: tuple[str, str], right: str, after: str
) -> None:
    """A value among words is found, and exactly it is taken out."""
    kind, found = value
    text = f"{before}{left}{found}{right}{after}"

    assert is_personal(text) == kind
    assert scrub(text) == f"{before}{left}<{kind}>{right}{after}"


@given(noise, planted, noise)
def test_a_value_is_found_in_any_text(before: str, value: tuple[str, str], after: str) -> None:
    """On a line of its own a value is found, whatever stands on the lines around it."""
    text = f"{before}\n{value[1]}\n{after}"

    assert is_personal(text) is not None
    assert f"\n{value[1]}\n" not in scrub(text)


@given(noise | st.tuples(noise, planted, noise).map(lambda t: f"{t[0]}{t[1][1]}{t[2]}"))
@example("5552345678-5552345678-5552345678")
@example("06 39 98 01 23 4111 1111 1111 1111")
@example("a@b.example@c.example@")
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    """In what was scrubbed nothing is found."""
    once = scrub(text)

    assert scrub(once) == once
    assert is_personal(once) is None


@pytest.mark.parametrize("text", ["8.8.4.4 asks 2001:db8::1", "2001:db8::1 asks 8.8.4.4"])
def test_both_kinds_of_addresses_in_one_text(text: str) -> None:
    """Two addresses of the Internet are taken out in whatever order they stand."""
    assert scrub(text) == "<ip> asks <ip>"
    assert scrub("::ffff:8.8.4.4") == "<ip>"


@pytest.mark.timeout(60)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
@example("8.8.4.4 2001:db8::1")
@example(f'"1234567890{62 * "x"}a@b.example"@b.example')
def test_no_character_is_taken_out_twice(text: str) -> None:
    """What is found in one text lies side by side, and what is left holds nothing."""
    for detect in _blockers._DETECTORS:
        found = [(start, end) for start, end, _ in detect(fold(text).text)]
        places = [place for hit in found for place in hit]
        assert places == sorted(places)
    once = scrub(text)

    assert scrub(once) == once


def test_a_text_that_cannot_be_read_to_its_end_is_left_out() -> None:
    """Where each value that is taken out brings another to light, nothing is left at last."""
    tangled = 100 * "12345678901.8.8.8.8,"

    assert scrub(tangled) == "<digits>"
    assert scrub(f"{tangled} and more", 1_000) == "<digits>…"


@given(noise)
def test_scrubbing_and_asking_agree(text: str) -> None:
    """A text is changed if and only if something is found in it."""
    assert (scrub(text) != text) is (is_personal(text) is not None)


# Disguises


@given(planted, st.sampled_from(sorted(DIGITS)))
def test_digits_of_other_scripts_are_digits(value: tuple[str, str], script: str) -> None:
    """A number in another script's digits is the same number."""
    there = {ord("0") + digit: chr(DIGITS[script] + digit) for digit in range(10)}
    kind, found = value

    assert is_personal(found.translate(there)) == kind
    assert scrub(f"'{found.translate(there)}'") == f"'<{kind}>'"


@given(planted, st.data())
def test_what_cannot_be_seen_does_not_hide(value: tuple[str, str], data: Any) -> None:
    """Zero-width characters within a value are read past and taken out with it."""
    kind, found = value
    at = data.draw(st.integers(1, len(found) - 1))
    hidden = f"{found[:at]}{data.draw(st.sampled_from(UNSEEN))}{found[at:]}"

    assert scrub(f"'{hidden}'") == f"'<{kind}>'"


@given(planted, st.integers(1, 3))
def test_escapes_of_addresses_do_not_hide(value: tuple[str, str], times: int) -> None:
    """A value that is percent-encoded, once or more often, is found."""
    kind, found = value
    for _ in range(times):
        found = quote(found, safe="")

    assert scrub(f"'{found}'") == f"'<{kind}>'"


@given(planted)
def test_escapes_of_program_text_do_not_hide(value: tuple[str, str]) -> None:
    """A value whose every character is escaped as in JSON or HTML is found."""
    kind, found = value
    found = found.encode("utf-16", "surrogatepass").decode("utf-16")
    in_json = "".join(f"\\u{ord(char):04x}" for char in found)
    in_html = "".join(f"&#{ord(char)};" for char in found)

    assert is_personal(in_json) == is_personal(in_html) == kind
    assert scrub(f"'{in_json}'") == scrub(f"'{in_html}'") == f"'<{kind}>'"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("⑴4111111111111111", "⑴<digits>"),
        ("4111 1111 1111 111⒈", "<card>"),
        ("&#x110000;0152 28817386", "&#x110000;<phone>"),
        ("%FF%4052", "%FF%4052"),
        ("tel.: 0152\u00a028817386 ½", "tel.: <phone> ½"),
        ("nothing \\", "nothing \\"),
        ("jquery\N{COMMERCIAL AT}3.7.1.min.js", "jquery\N{COMMERCIAL AT}3.7.1.min.js"),
        ("jane@shop.example..x", "<email>..x"),
        ('say "@shop.example', 'say "@shop.example'),
        ("LB12 0999 AB12 0000 0000 0000 0000", "<iban>"),
        ("jane@example.com\u200b!", "<email>!"),
        ("0532 0000 31  37\u00bd00::6", "<phone><ip>"),
    ],
)
def test_odd_signs(text: str, left: str) -> None:
    """Signs that stand for several, escapes of nothing, and marks at the end are read or left."""
    assert scrub(text) == left


@given(st.text(st.characters() | st.sampled_from("%2540\\u&#x;"), max_size=40), st.data())
def test_folded_text_knows_where_it_came_from(text: str, data: Any) -> None:
    """Every part of a folded text has a place in the text as it came, in the same order."""
    folded = fold(text)
    if not folded.text:
        return
    start = data.draw(st.integers(0, len(folded.text) - 1))
    end = data.draw(st.integers(start + 1, len(folded.text)))
    whole = folded.whole(start, end)
    first, after = folded.span(*whole)

    assert whole[0] <= start
    assert whole[1] >= end
    assert 0 <= first < after <= len(text)


PIECES = [
    *("0532 0000 31  37", "00::6", "2001:db8", "::7", "192.0.2", ".7", "4111 1111 1111 111"),
    *("@shop.example", "jane", "DE89 3704 0044", "0532 0130 00", "+49 30", " ", "-", "/", "(", "a"),
    *("\u00bd", "\u00bc", "\u00be00", "\u2075", "\u2100", "\u3356", "\u33a5", "\u2026"),
]
"""Parts of what is looked for, what stands between them, and signs that stand for several."""


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_what_is_left_beside_signs_is_of_nobody(text: str) -> None:
    """Where a value begins or ends within a sign, the whole sign goes, and nothing stays behind."""
    left = scrub(text)

    assert is_personal(left) is None
    assert scrub(left) == left


# Long texts


@given(planted, st.integers(0, 80))
def test_a_value_at_the_limit_is_taken_out_whole(value: tuple[str, str], most: int) -> None:
    """Of a text that is cut no half of a value is left, wherever the cut falls."""
    kind, found = value
    text = f"{'x' * 40}\n{found}\n{'y' * 2_000}"
    left = scrub(text, most)

    assert left.endswith("…")
    assert len(left) <= most + 10
    assert left[:-1] in f"{'x' * 40}\n<{kind}>\n{'y' * 2_000}"


def test_a_short_text_is_not_cut() -> None:
    """A text within the limit is scrubbed as a whole, and no dots stand behind it."""
    assert scrub("ask jane@example.com", 20) == "ask <email>"
    assert scrub("rain", 4) == "rain"
    assert scrub("raining", 4) == "rain…"


class Work:
    """Counts the lines of our code that run."""

    def __init__(self) -> None:
        self.lines = 0

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        """Count a line, and go on with all that it calls."""
        self.lines += event == "line"
        return self.trace

    @classmethod
    def of(cls, text: str) -> int:
        """How many lines it takes to scrub a text."""
        work = cls()
        before = sys.gettrace()
        sys.settrace(work.trace)
        try:
            scrub(text)
        finally:
            sys.settrace(before)
        return work.lines


HARD = {
    "digits": "1",
    "groups": "1 ",
    "zeros": "00 1",
    "pairs": "01-",
    "plus": "+1",
    "ats": "@",
    "mail": "a@",
    "hosts": "a@b.c.",
    "quotes": '"@',
    "dots": "a@" + 30 * "a.",
    "colons": ":",
    "IPv6": "1:",
    "IPv4": "1.1.",
    "IBAN": "DE89 ",
    "JWT": "eyJ.",
    "percent": "%25",
    "entities": "&#49;",
    "backslashes": "\\u0031",
    "unseen": "1\u200b",
    "dates": "2024-01-",
    "times": "1:11:",
    "cards": "4111 1111 1111 1111 ",
    "telephones": "5552345678-",
    "a list of numbers": "12345678901,",
    "numbers that hide numbers": "12345678901.8.8.8.8,",
}


@pytest.mark.parametrize("unit", HARD.values(), ids=HARD)
def test_work_grows_with_the_text_and_no_faster(unit: str) -> None:
    """Four times the text takes four times the work, whatever it is made of."""
    size = 1_000 // len(unit) * len(unit)
    short, long = Work.of(unit * size), Work.of(unit * size * 4)

    assert long <= 4.5 * short + 500


def patterns() -> list[Any]:
    """Every pattern of the blockers, with how it is used."""
    found = []
    for module in (_blockers, _folding, _numbers):
        source = sys.modules[module.__name__].__file__ or ""
        text = Path(source).read_text(encoding="utf-8")
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                searches = re.search(rf"\b{name}\.(search|finditer|sub)\(", text) is not None
                found.append(pytest.param(value.pattern, searches, id=name))
    return found


def repeats(parsed: Any, depth: int = 0) -> list[tuple[int, bool]]:
    """Every repetition in a parsed pattern: in how many others it stands, and whether it ends."""
    found = []
    for operation, argument in parsed:
        name = str(operation)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            found.append((depth, argument[1] < 1_000))
            found += repeats(argument[2], depth + 1)
        elif name == "BRANCH":
            for branch in argument[1]:
                found += repeats(branch, depth)
        elif name in ("SUBPATTERN", "ASSERT", "ASSERT_NOT"):
            found += repeats(argument[-1], depth)
    return found


@pytest.mark.parametrize(("pattern", "searches"), patterns())
def test_no_pattern_can_run_away(pattern: str, searches: bool) -> None:
    """What repeats without end stands in no repetition, and is all of what is searched for."""
    parser: Any = getattr(re, "_parser", None) or import_module("sre_parse")  # until 3.10
    parsed = parser.parse(pattern)
    endless = [depth for depth, ends in repeats(parsed) if not ends]

    assert set(endless) <= {0}
    if searches and endless:
        assert len(parsed) == 1


def test_addresses_of_nobody() -> None:
    """What means this machine, or no machine, is nobody, in every way to write them."""
    for address in ("127.0.0.1", "127.255.0.3", "0.0.0.0", "255.255.255.255", "::", "::1"):
        assert is_personal(address) is None
        assert is_personal(f"[{address}]:80") is None


def test_thousands_are_no_address() -> None:
    """A large amount with a dot for each thousand is no address of four numbers."""
    assert is_personal("EUR 1.000.000.000") is None
    assert is_personal("10.000.000.000") is None
    assert is_personal("10.0.0.1") == "ip"


@given(st.ip_addresses(v=6, network="2000::/3"))
def test_every_public_address_is_found(address: IPv6Address) -> None:
    """An address of the Internet is found in short form and, if it is not all zeros, in long."""
    found = {is_personal(address.exploded)}
    if len(str(address)) > 6:
        found.add(is_personal(str(address)) or is_personal(address.exploded))

    assert found == {"ip"}
