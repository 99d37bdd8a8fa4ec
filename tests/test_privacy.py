"""Keys and pseudonyms: a customer's identifier and a secret leave the process in no form."""

import copy
import hmac
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cxtrace
from cxtrace import _config, _guard, _runtime, privacy
from cxtrace import attributes as names
from cxtrace._runtime import Runtime
from cxtrace._settings import Settings, settle
from cxtrace._wiring import Wiring
from cxtrace.exceptions import ConfigurationError
from cxtrace.privacy import HmacPseudonymiser, Key, allowed, journey_id, load_keys
from cxtrace.processors import StampProcessor
from cxtrace.typing import CustomerId, Pseudonymiser

SECRET = "correct horse battery staple 4711"
KEY = Key(SECRET.encode())
PSEUDONYM = re.compile(r"v1\.[A-Za-z0-9_-]{22}")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is configured, counted or warned about yet, and no key is in the environment."""
    monkeypatch.delenv("CXTRACE_KEY", raising=False)
    monkeypatch.delenv("CXTRACE_KEY_FILE", raising=False)
    monkeypatch.setattr(_runtime, "current", Runtime())
    monkeypatch.setattr(_config, "wiring", None)
    _guard.reset()


# Keys


@pytest.mark.parametrize("secret", [b"", b"k", b"k" * 31])
def test_short_key_is_refused(secret: bytes) -> None:
    """A key of less than 32 bytes is refused; the message says how long it is and makes one."""
    with pytest.raises(ConfigurationError, match=f"has {len(secret)} bytes .* at least 32; make"):
        Key(secret)


def test_message_about_a_short_key_makes_a_good_one() -> None:
    """The command in the message prints a key that is accepted."""
    with pytest.raises(ConfigurationError) as caught:
        Key(b"short")
    command = str(caught.value).partition("make one with: cxtrace ")[2].split()
    found = subprocess.run(
        [sys.executable, "-m", "cxtrace", *command], capture_output=True, text=True, check=True
    )

    assert load_keys(found.stdout, {}) is not None


def test_key_of_thirty_two_bytes_is_taken() -> None:
    """32 bytes are enough, and need not be text."""
    assert Key(b"\xff" * 32).key_id == Key(b"\xff" * 32).key_id


def test_key_id_says_nothing_about_the_key() -> None:
    """The id is eight hexadecimal digits that differ from key to key and are not of the key."""
    other = Key(b"k" * 32)

    assert re.fullmatch("[0-9a-f]{8}", KEY.key_id)
    assert KEY.key_id != other.key_id
    assert Key(b"k" * 32, "2026q3").key_id == "2026q3"


def test_label_and_message_cannot_be_shifted() -> None:
    """The boundary between label and message is part of the digest."""
    assert KEY.digest(b"ab", b"c") != KEY.digest(b"a", b"bc")
    assert len(KEY.digest(b"a", b"b")) == 32


@given(
    secret=st.binary(min_size=32, max_size=200), label=st.binary(), message=st.binary(max_size=200)
)
def test_digest_is_that_of_hmac(secret: bytes, label: bytes, message: bytes) -> None:
    """The digest is HMAC-SHA-256 of label, zero byte and message, for keys of any length."""
    expected = hmac.digest(secret, label + b"\0" + message, "sha256")

    assert expected == Key(secret).digest(label, message)


def test_ephemeral_keys_differ() -> None:
    """A random key says that it is one, and no two are the same."""
    one, two = Key.ephemeral(), Key.ephemeral()

    assert one.key_id == two.key_id == "ephemeral"
    assert one.digest(b"", b"") != two.digest(b"", b"")


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        ("0123456789abcdef", True),
        ("0123456789abcdef" * 2, True),
        ("01234567-89AB-cdef-0123-456789abcdef", True),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", True),
        ("0123456789ABCDEF", False),
        ("0123456789abcde", False),
        ("0123456789abcdeg", False),
        ("0123456789abcdef\n", False),
        ("01234567-89ab-cdef-0123456789abcdef-", False),
        ("81ARZ3NDEKTSV4RRFFQ69G5FAV", False),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAI", False),
        ("0123456789012345", False),
        ("01234567890123456789012345", False),
        ("\u0660" * 16, False),
        ("", False),
    ],
)
def test_only_what_machines_make_looks_random(given_id: str, expected: bool) -> None:
    """UUIDs, ULIDs and hexadecimal tokens do; names, numbers and other lengths do not."""
    assert expected is privacy.is_random(given_id)


def test_key_is_read_from_argument_environment_and_file(tmp_path: Path) -> None:
    """The argument comes before ``CXTRACE_KEY``, and that before the file ``CXTRACE_KEY_FILE``."""
    file = tmp_path / "key"
    file.write_bytes(b"\n  from the file, which is long enough \n\n")
    environ = {"CXTRACE_KEY": "from the environment, long enough", "CXTRACE_KEY_FILE": str(file)}

    def same(found: Key | None, secret: str) -> bool:
        return found is not None and found.key_id == Key(secret.encode()).key_id

    assert same(load_keys(SECRET, environ), SECRET)
    assert same(load_keys(f" {SECRET}\n", {}), SECRET)
    assert same(load_keys(SECRET.encode(), environ), SECRET)
    assert same(load_keys(None, environ), "from the environment, long enough")
    assert same(
        load_keys(None, {**environ, "CXTRACE_KEY": ""}), "from the file, which is long enough"
    )
    assert load_keys(None, {}) is None
    assert load_keys(None, {"CXTRACE_KEY": "", "CXTRACE_KEY_FILE": ""}) is None


def test_environment_that_is_no_utf8_is_the_same_key_as_in_a_file(tmp_path: Path) -> None:
    """Bytes of the environment that Python shows as lone surrogates count as those bytes."""
    raw = b"\xff\xfe" * 20
    file = tmp_path / "key"
    file.write_bytes(raw)
    by_environment = load_keys(None, {"CXTRACE_KEY": raw.decode("utf-8", "surrogateescape")})
    by_file = load_keys(None, {"CXTRACE_KEY_FILE": str(file)})

    assert by_environment is not None
    assert by_file is not None
    assert by_environment.key_id == by_file.key_id


def test_text_that_has_no_bytes_is_refused_without_being_shown() -> None:
    """A key with lone surrogates is refused, and the error does not hold it."""
    with pytest.raises(ConfigurationError) as caught:
        load_keys("\ud800" * 40, {})

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "\ud800" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"short"])
def test_short_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty file or one with a short key is an error, not a missing key."""
    file = tmp_path / "key"
    file.write_bytes(content)

    with pytest.raises(ConfigurationError, match="at least 32"):
        load_keys(None, {"CXTRACE_KEY_FILE": str(file)})


@pytest.mark.parametrize("name", ["missing", "."])
def test_unreadable_key_file_is_named(tmp_path: Path, name: str) -> None:
    """A file that cannot be read is an error that names the file and the reason."""
    path = str(tmp_path / name)

    with pytest.raises(ConfigurationError, match=r"the file of keys .* cannot be read: [A-Z]"):
        load_keys(None, {"CXTRACE_KEY_FILE": path})


def test_spaces_are_no_key() -> None:
    """A variable of blanks is an error, not a key and not a missing one."""
    with pytest.raises(ConfigurationError, match="0 bytes"):
        load_keys(None, {"CXTRACE_KEY": " " * 40})


# Nothing shows the key


def holders() -> list[Any]:
    """Everything of ours that holds the key, or was made from it."""
    settings = Settings(key=KEY, exporter="none")
    return [
        KEY,
        HmacPseudonymiser(KEY),
        settings,
        Runtime(key=KEY, pseudonymiser=HmacPseudonymiser(KEY)),
        Wiring(settings, None, "built", None, StampProcessor(), (), ()),
    ]


@pytest.mark.parametrize("holder", holders(), ids=lambda holder: type(holder).__name__)
def test_key_is_not_shown(holder: Any) -> None:
    """Neither repr, str nor format of anything shows the key, not even in a container."""
    for text in (repr(holder), str(holder), f"{holder}", f"{[holder]!r}", str([holder])):
        assert SECRET not in text
        assert repr(SECRET.encode())[2:-1] not in text


def test_repr_of_a_key_is_its_id() -> None:
    """A key shows its id, which is sent anyway."""
    assert repr(KEY) == f"<Key {KEY.key_id}>"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "holder",
    holders(),
    ids=lambda holder: type(holder).__name__,
)
def test_key_is_not_pickled(holder: Any, protocol: int) -> None:
    """What holds the key cannot be pickled, and the error does not show it."""
    with pytest.raises((TypeError, AttributeError)) as caught:
        pickle.dumps(holder, protocol)

    assert SECRET not in str(caught.value)


def test_key_is_not_copied() -> None:
    """Copying a key is refused as pickling is; it has no dictionary to look into either."""
    for make in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            make(KEY)
    with pytest.raises(TypeError):
        vars(KEY)


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": SECRET[:31]},
        {"key": SECRET[:31].encode()},
        {"key": [SECRET, 7]},
        {"key": [SECRET, SECRET[:31]]},
        {"key": []},
        {"key": {SECRET: SECRET}},
        {"key": SECRET, "sample": 7},
        {"key": SECRET, "exporter": "nonsense"},
        {"key": "\ud800" + SECRET},
    ],
)
def test_failure_does_not_show_the_key(wrong: dict[str, Any], caplog: Any, tmp_path: Path) -> None:
    """Neither the message nor the traceback of a failed ``configure()`` shows the key."""
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigurationError) as caught:
        cxtrace.configure(**wrong)
    text = "".join(traceback.format_exception(caught.value)) + caplog.text

    assert SECRET[:20] not in text


def test_key_in_the_environment_is_not_shown() -> None:
    """A key of the environment that is too short is named, not shown."""
    with pytest.raises(ConfigurationError) as caught:
        load_keys(None, {"CXTRACE_KEY": SECRET[:20]})

    assert SECRET[:20] not in "".join(traceback.format_exception(caught.value))


def test_key_does_not_belong_in_a_file_that_is_shared(tmp_path: Path) -> None:
    """A key in ``pyproject.toml`` is refused, without being shown."""
    (tmp_path / "pyproject.toml").write_text(f'[tool.cxtrace]\nkey = "{SECRET}"\n')

    with pytest.raises(ConfigurationError, match="CXTRACE_KEY or CXTRACE_KEY_FILE") as caught:
        settle({}, {}, tmp_path)
    assert SECRET not in str(caught.value)


# Pseudonyms


@given(st.one_of(st.text(st.characters()), st.integers()))
def test_pseudonym_of_anything(customer: CustomerId) -> None:
    """Any text and any whole number gets a short plain pseudonym, always the same."""
    pseudonym = HmacPseudonymiser(KEY).pseudonym(customer)

    assert PSEUDONYM.fullmatch(pseudonym)
    assert pseudonym == HmacPseudonymiser(Key(SECRET.encode())).pseudonym(customer)


@given(st.text(st.characters(), max_size=20), st.text(st.characters(), max_size=20))
def test_different_customers_have_different_pseudonyms(one: str, two: str) -> None:
    """Identifiers that differ in anything, such as a line break, are different customers."""
    made = HmacPseudonymiser(KEY)

    assert (made.pseudonym(one) == made.pseudonym(two)) is (one == two)


@pytest.mark.parametrize("odd", ["a\nb", "\ud800", "\x00", "x" * 1_000_000, 0, -1, 2**200, "é", ""])
def test_odd_identifiers(odd: CustomerId) -> None:
    """Line breaks, lone surrogates, huge texts and any number are identifiers like others."""
    assert PSEUDONYM.fullmatch(HmacPseudonymiser(KEY).pseudonym(odd))


def test_number_and_its_text_are_one_customer() -> None:
    """A service that keeps identifiers as numbers and one that keeps text agree."""
    made = HmacPseudonymiser(KEY)

    assert made.pseudonym(42) == made.pseudonym("42")


def test_pseudonyms_of_two_keys_have_nothing_in_common() -> None:
    """With another key the same customer has another pseudonym and the key another id."""
    one, two = HmacPseudonymiser(KEY), HmacPseudonymiser(Key(b"k" * 32))

    assert one.pseudonym("cust-42") != two.pseudonym("cust-42")
    assert one.key_id == KEY.key_id != two.key_id


def test_pseudonym_is_the_same_in_every_process() -> None:
    """Another process with the key makes the same pseudonym and key id; one without does not."""
    script = (
        "import os; from cxtrace import _runtime; p = _runtime.pseudonymiser();"
        "print(p.pseudonym('cust-42'), p.key_id)"
    )
    expected = f"{HmacPseudonymiser(KEY).pseudonym('cust-42')} {KEY.key_id}"

    def other_process(**environ: str) -> str:
        found = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=True,
        )
        return str(found.stdout).strip()

    assert other_process(CXTRACE_KEY=SECRET) == expected
    assert other_process(CXTRACE_KEY=SECRET + "!") != expected
    assert other_process().endswith(" ephemeral")


def test_pseudonymisers_follow_the_protocol() -> None:
    """Ours is what ``cxtrace.typing.Pseudonymiser`` asks for."""
    made: Pseudonymiser = HmacPseudonymiser(KEY)

    assert made.key_id == KEY.key_id


# Journey ids


def no_key() -> Key:
    """Fail, because no key should be needed."""
    raise AssertionError("a key was asked for")


@pytest.mark.parametrize(
    "plain",
    ["a", "01J9Z6", "123e4567-e89b-12d3-a456-426614174000", "x" * 64, "a.b_c~d-e", "123456", "7"],
)
def test_opaque_journey_id_stays(plain: str) -> None:
    """A plain token is sent as it stands, and needs no key."""
    assert journey_id(plain, no_key) == plain


@pytest.mark.parametrize(
    "telling",
    [
        "john@example.com",
        "john%40example.com",
        "+491701234567",
        "00491701234567",
        "0170-123-45-67",
        "0170.1234567",
        "4111111111111111",
        "4111-1111-1111-1111",
        "John Doe",
        "a\nb",
        "a\n",
        "a\r\nSet-Cookie: x",
        "x" * 65,
        "x" * 1_000_000,
        "é",
        "\ud800",
        ".hidden",
        "-a",
        "a,b",
        "a;b",
        "a=b",
        '"a"',
        "",
    ],
)
def test_telling_journey_id_is_hashed(telling: str) -> None:
    """An e-mail address, telephone number, card number or odd text is sent as a keyed hash."""
    found = journey_id(telling, lambda: KEY)

    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", found)
    assert found == journey_id(telling, lambda: KEY)
    assert found != journey_id(telling, lambda: Key(b"k" * 32))
    assert found not in HmacPseudonymiser(KEY).pseudonym(telling)


def test_journey_takes_the_key_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """``journey(id=…)`` hashes an e-mail address with the key in force and never sends it."""
    monkeypatch.setattr(_runtime, "current", Runtime(key=KEY))
    with cxtrace.journey("first_order", id="john@example.com") as handle:
        pass

    assert handle.id == journey_id("john@example.com", lambda: KEY)


# What a developer may set


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cx.context.weather", "rain"),
        ("cx.context.weather", "x" * 64),
        ("cx.context.weather", "leichter Regen, 12 °C"),
        ("cx.quality.ambience", 0),
        ("cx.quality.ambience", 1),
        ("cx.quality.ambience", 0.5),
        ("cx.quality.a_1", 0.5),
        (names.TOUCHPOINT_FIRST_CONTACT, True),
        (names.TOUCHPOINT_FIRST_CONTACT, False),
        (names.SESSION_ID, "s-1"),
        (names.SESSION_ID, "x" * 64),
    ],
)
def test_allowed_attribute(key: str, value: object) -> None:
    """What the allow-list has is sent as it is, and nothing is counted."""
    assert allowed({key: value}, {"weather"}) == {key: value}
    assert _guard.counts() == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cx.context.weather", ""),
        ("cx.context.weather", "x" * 65),
        ("cx.context.weather", "john@example.com"),
        ("cx.context.weather", "a\nb"),
        ("cx.context.weather", "a\x00"),
        ("cx.context.weather", "a\x7f"),
        ("cx.context.weather", "a\x85b"),
        ("cx.context.weather", "a\u2028b"),
        ("cx.context.weather", "\ud800"),
        ("cx.context.weather", 7),
        ("cx.context.weather", None),
        ("cx.context.weather", ["rain"]),
        ("cx.context.weather", b"rain"),
        ("cx.context.other", "rain"),
        ("cx.context.", "rain"),
        ("cx.context", "rain"),
        ("cx.context.a.weather", "rain"),
        ("CX.context.weather", "rain"),
        ("cx.quality.ambience", -0.1),
        ("cx.quality.ambience", 1.1),
        ("cx.quality.ambience", float("nan")),
        ("cx.quality.ambience", float("inf")),
        ("cx.quality.ambience", True),
        ("cx.quality.ambience", "0.5"),
        ("cx.quality.ambience", None),
        ("cx.quality", 0.5),
        ("cx.quality.", 0.5),
        ("cx.quality.john@example_com", 0.5),
        ("cx.quality.a b", 0.5),
        ("cx.quality.a\nb", 0.5),
        ("cx.quality." + "x" * 100, 0.5),
        ("cx.quality.\ud800", 0.5),
        (names.TOUCHPOINT_FIRST_CONTACT, 1),
        (names.TOUCHPOINT_FIRST_CONTACT, "true"),
        (names.SESSION_ID, "a b"),
        (names.SESSION_ID, ""),
        (names.SESSION_ID, 7),
        (names.SESSION_ID, "john@example.com"),
        (names.CUSTOMER_PSEUDONYM, "john"),
        (names.JOURNEY_ID, "john"),
        ("enduser.id", "john"),
        ("user.email", "john@example.com"),
        ("http.url", "http://x"),
        ("", "x"),
        (7, "x"),
        (None, "x"),
        (("cx", "context"), "x"),
    ],
)
def test_refused_attribute(key: Any, value: object, caplog: Any) -> None:
    """What the allow-list does not have is not sent, but counted and warned about."""
    assert allowed({key: value}, {"weather"}) == {}
    assert _guard.counts() == {"refused.attribute": 1}
    assert "cxtrace: set() does not send one of the given attributes" in caplog.text
    for given_text in (key, value):
        if isinstance(given_text, str) and len(given_text) > 12 and "cx." not in given_text:
            assert given_text not in caplog.text


def test_each_refused_attribute_is_warned_about_once(caplog: Any) -> None:
    """The counter counts all; the log has one line a key, and one for all odd keys together."""
    for _ in range(3):
        allowed({"user.email": "a", "user.name": "b", "odd key 1": 1, "odd key 2": 2}, ())

    assert _guard.counts() == {"refused.attribute": 12}
    assert len(caplog.records) == 3


def test_good_attributes_pass_beside_refused_ones() -> None:
    """One refused attribute does not take the others with it."""
    values = {"cx.context.weather": "rain", "user.email": "x", "cx.quality.noise": 0.1}

    assert allowed(values, ["weather"]) == {"cx.context.weather": "rain", "cx.quality.noise": 0.1}


# The key in force


def test_process_without_a_key_draws_one_and_says_so_once(caplog: Any) -> None:
    """Without a key pseudonyms are ephemeral, still no raw id, with one warning in the log."""
    keys = {id(_runtime.key()) for _ in range(3)}

    assert len(keys) == 1
    assert _runtime.key().key_id == _runtime.pseudonymiser().key_id == "ephemeral"
    assert [record.message.split(":")[0] for record in caplog.records] == ["cxtrace has no key"]


def test_short_key_without_configure_is_swallowed(
    monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """A wrong key that is found late, in a request, is counted and replaced by a random one."""
    monkeypatch.setenv("CXTRACE_KEY", SECRET[:20])

    assert _runtime.pseudonymiser().key_id == "ephemeral"
    assert _guard.counts() == {"errors.key": 1}
    assert SECRET[:20] not in caplog.text


def test_threads_agree_on_the_random_key() -> None:
    """Many threads that need the key at once get the same one."""
    barrier = threading.Barrier(8)
    found = []

    def ask() -> None:
        barrier.wait()
        found.append(_runtime.pseudonymiser().pseudonym("cust-42"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1


def test_pseudonymiser_of_the_application_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pseudonymiser that was put in force is not replaced when a key is drawn."""
    mine = HmacPseudonymiser(KEY)
    monkeypatch.setattr(_runtime, "current", Runtime(pseudonymiser=mine))

    assert _runtime.key().key_id == "ephemeral"
    assert _runtime.pseudonymiser() is mine


def test_minimum_is_public() -> None:
    """The shortest key is 32 bytes, as the documentation says."""
    assert privacy.MIN_KEY_BYTES == 32
    assert privacy.EPHEMERAL == "ephemeral"
