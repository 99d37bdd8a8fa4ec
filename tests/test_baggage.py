"""The signed members of a ``baggage`` header, against everything a stranger may write there."""

import inspect
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace import _baggage
from cxtrace import attributes as names
from cxtrace.privacy import Key

KEY = Key(b"0123456789abcdef0123456789abcdef")
OTHER_KEY = Key(b"another key of thirty-two bytes!!")
NOW = 1_790_000_000.9

MEMBERS = {
    names.JOURNEY_NAME: "first_order",
    names.JOURNEY_ID: "01j9z6",
    names.STAGE_NAME: "purchase",
    names.TOUCHPOINT_NAME: "checkout.pay",
    names.OWNER_FUNCTION: "payments",
    names.CONSENT_STATE: "denied",
    names.CUSTOMER_PSEUDONYM: "v1.abc_def-",
}
GOOD = _baggage.signed(MEMBERS, KEY, NOW)

keys = st.sampled_from([*_baggage.NAMES, *_baggage.IDS])
anything = st.text(st.characters(), max_size=200)  # lone surrogates included
header_text = st.text(
    st.sampled_from(string.ascii_letters + string.digits + '%,;=:. \t\n+"\\é\udcff'),
    max_size=300,
)


def verdict(text: str, now: float = NOW, key: Key = KEY) -> str | None:
    """What is wrong with the signature of a header's members."""
    return _baggage.fault(_baggage.parse(text).ours, key, now)


def read(text: str) -> dict[str, str]:
    """The members of a header as they would be used, were the signature good."""
    members = dict(_baggage.parse(text).ours)
    members.pop(_baggage.SIGNATURE, None)
    return members


@given(st.dictionaries(keys, st.text(max_size=100)))
def test_round_trip_of_any_members(members: dict[str, str]) -> None:
    """Whatever text the members hold comes back as it was, with a good signature."""
    text = _baggage.signed(members, KEY, NOW)

    assert members == read(text)
    assert verdict(text) is None


@given(st.dictionaries(keys, anything), st.floats(0, 9e11))
def test_what_is_sent_is_a_plain_header(members: dict[str, str], now: float) -> None:
    """The text is printable ASCII without spaces, whatever goes in, and its signature is good."""
    text = _baggage.signed(members, KEY, now)

    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    assert verdict(text, now) is None


@given(st.one_of(anything, header_text))
def test_reading_noise_never_raises_nor_verifies(text: str) -> None:
    """Random text is read without an error, and no signature is found in it."""
    header = _baggage.parse(text)

    assert verdict(text) in ("unsigned", "other_key", "forged")
    assert _baggage.acceptable(header.ours).keys() <= {*_baggage.NAMES, *_baggage.IDS}


@given(header_text)
def test_noise_as_signature_never_raises_nor_verifies(noise: str) -> None:
    """Random text in the place of the signature is a fault and not an error."""
    for signature in (noise, f"v1:{KEY.key_id}:{int(NOW)}:{noise}", f"v1:{KEY.key_id}:{noise}:x"):
        assert _baggage.fault({**MEMBERS, _baggage.SIGNATURE: signature}, KEY, NOW) is not None


def test_huge_noise_is_read() -> None:
    """A megabyte of members, percent signs or commas is read without an error."""
    for noise in ("%" * 1_000_000, "," * 1_000_000, "cx.a%2" * 200_000, "=;" * 500_000):
        assert verdict(noise) == "unsigned"


@given(st.integers(0, len(GOOD) - 1), st.characters(max_codepoint=0x17F))
def test_no_single_character_can_be_changed(place: int, character: str) -> None:
    """With one character replaced the header is refused, unless it still says the very same."""
    changed = GOOD[:place] + character + GOOD[place + 1 :]

    assert verdict(changed) is not None or read(changed) == MEMBERS


@given(st.integers(0, len(GOOD) - 1))
def test_truncated_header_is_refused(length: int) -> None:
    """No beginning of a good header is good."""
    assert verdict(GOOD[:length]) in ("unsigned", "other_key", "forged")


@given(st.sampled_from(sorted(MEMBERS)))
def test_no_member_can_be_left_out(name: str) -> None:
    """Taking a member away, such as the refused consent, breaks the signature."""
    kept = [member for member in GOOD.split(",") if not member.startswith(f"{name}=")]

    assert verdict(",".join(kept)) == "forged"


@pytest.mark.parametrize(
    "extra", ["cx.journey.route=express", "cx.=", "enduser.id=john", "CX.journey.name=evil", "cx.a"]
)
def test_no_member_can_be_added(extra: str) -> None:
    """A member of our name spaces beside those that were signed breaks the signature."""
    assert verdict(f"{GOOD},{extra}") == "forged"


def test_two_members_cannot_be_melted_into_one() -> None:
    """A key that holds an equals sign and a line break does not pass for two signed members."""
    first, second, *rest = GOOD.split(",")
    key, value = second.split("=", 1)
    melted = f"{quote(first, safe='')}%0A{key}={value}"

    assert first == "cx.consent.state=denied"
    assert verdict(",".join((melted, *rest))) == "forged"


def test_order_of_members_does_not_matter() -> None:
    """A proxy may sort the members; they stay good."""
    assert verdict(",".join(reversed(GOOD.split(",")))) is None


def test_members_may_be_percent_encoded_anew() -> None:
    """A proxy may escape more than we do, keys too; the members stay good and the same."""
    text = GOOD.replace("cx.journey.name=first_order", "%63x%2Ejourney.name=first%5forder")

    assert verdict(text) is None
    assert read(text) == MEMBERS


def test_properties_are_left_aside() -> None:
    """A property that a proxy puts after a member changes neither value nor signature."""
    text = GOOD.replace("=first_order", "=first_order;ttl=1;note=cx")

    assert verdict(text) is None
    assert read(text) == MEMBERS


@pytest.mark.parametrize(("age", "expected"), [(-60, None), (0, None), (300, None)])
def test_fresh_signature_holds(age: int, expected: str | None) -> None:
    """A signature holds for five minutes, and for a sender whose clock is a minute ahead."""
    now = float(int(NOW))

    assert verdict(GOOD, now + age) is expected


@pytest.mark.parametrize("age", [301, 86_400, -61, -86_400])
def test_signature_of_another_time_is_stale(age: int) -> None:
    """Past five minutes, or more than a minute ahead of our clock, a signature does not hold."""
    assert verdict(GOOD, int(NOW) + age) == "stale"


def test_signature_of_another_key() -> None:
    """A header signed with another key is told apart from a forged one."""
    assert verdict(GOOD, key=OTHER_KEY) == "other_key"


def test_key_id_alone_proves_nothing() -> None:
    """A stranger who writes our key id before a signature of its own is a forger."""
    foreign = _baggage.signed(MEMBERS, OTHER_KEY, NOW)

    assert verdict(foreign.replace(OTHER_KEY.key_id, KEY.key_id)) == "forged"


@pytest.mark.parametrize(
    "moment", ["", "-1", "+1", " 1", "1.5", "1e9", "٣٣٣", "1" * 13, "1_0", "nan", "0x1"]
)
def test_time_of_signature_is_plain_digits(moment: str) -> None:
    """A time that is no short decimal number is no signature at all."""
    signature = f"v1:{KEY.key_id}:{moment}:aaaaaaaaaaaaaaaaaaaaaa"

    assert _baggage.fault({_baggage.SIGNATURE: signature}, KEY, NOW) == "unsigned"


@pytest.mark.parametrize("version", ["", "v0", "v2", "V1", "v1 "])
def test_other_version_is_unsigned(version: str) -> None:
    """A signature of a version that we do not know counts as none."""
    assert verdict(GOOD.replace("cx.sig=v1:", f"cx.sig={version}:")) in ("unsigned", "forged")


def test_signature_is_compared_in_constant_time() -> None:
    """The comparison does not tell by its duration how much of a guess was right."""
    source = inspect.getsource(_baggage.fault)

    assert "hmac.compare_digest(" in source
    assert "== signature" not in source
    assert "signature ==" not in source


def test_signature_has_a_label_of_its_own() -> None:
    """What the key signs for baggage is no pseudonym or journey id, and the other way round."""
    message = b"anything"

    assert KEY.digest(b"cxtrace/baggage/v1", message) != KEY.digest(b"cxtrace/pseudo/v1", message)
    assert len(GOOD.rpartition(":")[2]) >= 22  # at least 128 bits


@pytest.mark.parametrize(
    "key",
    [
        "cx.journey.id",
        "CX.Journey.ID",
        "cx%2Ejourney.id",
        "%63%78%2ejourney.id",
        " cx.journey.id ",
        "%20cx.journey.id",
        "+cx.journey.id",
        "%09cx.journey.id",
        "enduser.pseudo.id",
        "EndUser.id",
        "cx.",
    ],
)
@pytest.mark.parametrize("rest", ["=1", "", "=1;p=2", " = 1", "=", "=a=b"])
def test_every_spelling_of_our_keys_is_ours(key: str, rest: str) -> None:
    """A member in one of our name spaces never counts as a member of others."""
    header = _baggage.parse(f"a=1,{key}{rest},b=2")

    assert len(header.ours) == 1
    assert header.others == ("a=1", "b=2")


@pytest.mark.parametrize("key", ["cxx.a", "cx", "xcx.a", "end.user", "enduser", "c.x.", "cx%252Ea"])
def test_keys_that_are_alike_are_not_ours(key: str) -> None:
    """A member of others stays theirs, even where its name begins nearly as ours do."""
    assert _baggage.parse(f"{key}=1").others == (f"{key}=1",)


@pytest.mark.parametrize(
    "again", ["cx.journey.name=b", "cx%2Ejourney.name=b", "cx.journey.name", "+cx.journey.name=b;p"]
)
def test_repeated_member_is_noticed(again: str) -> None:
    """Two members of one name are noticed, however the second is spelt."""
    assert _baggage.parse(f"cx.journey.name=a,x=1,{again}").repeated


def test_repeated_member_of_others_is_their_matter() -> None:
    """Members of others may be repeated; both stay."""
    header = _baggage.parse("a=1,a=2")

    assert not header.repeated
    assert header.others == ("a=1", "a=2")


members_of_others = st.text(
    st.sampled_from(string.ascii_letters + string.digits + "-_.%;=\"'!#$&*/()é"), min_size=1
).filter(lambda text: _baggage.parse(text).ours == {})


@given(st.lists(members_of_others, max_size=10), st.booleans())
def test_members_of_others_stay_as_they_are(others: list[str], with_ours: bool) -> None:
    """Members of others come out byte for byte and in order, with ours among them or not."""
    middle = len(others) // 2
    ours = [GOOD] if with_ours else []
    header = _baggage.parse(",".join((*others[:middle], *ours, *others[middle:])))

    assert list(header.others) == others
    assert (len(header.ours) == len(MEMBERS) + 1) is with_ours


@pytest.mark.parametrize("value", ["", "x" * 65, "a\nb", "a\x00", "a\u2028b", "\ud800", "\x7f"])
def test_odd_values_set_no_tag(value: str) -> None:
    """An empty, long or unprintable value sets no tag even if the sender may set tags."""
    assert _baggage.acceptable({names.JOURNEY_NAME: value, names.STAGE_NAME: "s"}) == {
        names.STAGE_NAME: "s"
    }


def test_only_known_names_set_a_tag() -> None:
    """The signature, spellings of our names and attributes that baggage does not carry set none."""
    strange = {
        _baggage.SIGNATURE: "x",
        "CX.journey.name": "x",
        "enduser.id": "john",
        names.VALUE_AMOUNT: "1",
    }

    assert _baggage.acceptable(strange) == {}


def test_what_we_send_has_bounds() -> None:
    """We never send more than eleven members, and a usual journey is far below 1,024 bytes."""
    assert len(GOOD.split(",")) == 8
    assert len(_baggage.NAMES + _baggage.IDS) + 1 == _baggage.MAX_MEMBERS == 11
    assert len(GOOD) < _baggage.MAX_BYTES == 1_024
