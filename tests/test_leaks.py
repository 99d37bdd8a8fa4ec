"""Nothing personal leaves: whatever is called, under whatever settings, in whatever encoding.

What is planted where, and where nothing is, stands in ``tests/leaks.py``. Five hundred examples in
the plain suite; twenty thousand with::

    python -m pytest tests/test_leaks.py --hypothesis-profile=nightly --timeout=7200
"""

import base64
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cxtrace
from cxtrace import _exceptions, _marks, _pseudonymisers, _scrubbing, _settings, privacy
from tests import leaks
from tests.leaks import (
    CALLS,
    MAP,
    NOTHING_IS_GIVEN,
    PSEUDONYMISERS,
    STEPS,
    Planter,
    Play,
    played,
)

EXAMPLES = max(500, settings().max_examples)

configurations = st.fixed_dictionaries(
    {
        "journey_map": st.sampled_from([MAP, None]),
        "consent_required": st.booleans(),
        "sample": st.sampled_from([1.0, 1.0, 0.0]),
        "event_signal": st.sampled_from(["span", "log", "both", None]),
        "signals_off": st.sampled_from([(), ("emotion",), _settings.SIGNALS]),
        "metrics_opt_in": st.sampled_from([(), _settings.OPT_IN]),
        "unknown_destination": st.sampled_from(["nothing", "names"]),
        "trust_inbound": st.sampled_from(["signed", "always", "never"]),
        "public_endpoint": st.booleans(),
        "record_exceptions": st.sampled_from([None, "scrubbed"]),
        "scrub": st.sampled_from([None, True, ("app.*", "/payments/{id}")]),
        "pseudonymiser": st.sampled_from(PSEUDONYMISERS).map(lambda kind: kind and kind()),
    }
)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    configuration=configurations,
    has_key=st.booleans(),
    steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=12),
    decoration=st.text(max_size=8),
    seed=st.integers(0, 2**32),
)
def test_nothing_that_is_planted_leaves(
    forgetful: None,
    configuration: dict[str, Any],
    has_key: bool,
    steps: list[Callable[[Play], None]],
    decoration: str,
    seed: int,
) -> None:
    """No raw id, text, argument or exception is in any byte that is exported, logged or printed."""
    planter = Planter(random.Random(seed), decoration)
    exported = played(configuration, steps, planter, has_key=has_key)

    assert leaks.leaks(planter, exported) == []


def test_every_call_is_known() -> None:
    """A public name, parameter or method that nothing here plants anything in is an error."""
    assert leaks.unknown() == []
    assert set(CALLS) & set(NOTHING_IS_GIVEN) == set()
    assert {*CALLS, *NOTHING_IS_GIVEN} == set(cxtrace.__all__)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_every_call_reaches_what_is_exported(forgetful: None, name: str) -> None:
    """Each public call runs within a touchpoint of a known customer, and its spans are searched."""
    planter = Planter(random.Random(7), "")
    steps = [leaks.customer, leaks.touchpoint, CALLS[name], leaks.send]
    exported = dict(played({"journey_map": MAP}, steps, planter))

    assert {"OTLP of spans", "the file of spans", "OTLP of metrics", "the console"} <= set(exported)
    assert leaks.leaks(planter, [*exported.items()]) == []


SPOOLING = """
import sys
import cxtrace

cxtrace.configure(exporter="otlp_proto_http", spool="spool")
with cxtrace.journey("first_order"), cxtrace.customer(sys.argv[1], consent="granted"):
    with cxtrace.touchpoint("checkout.pay") as tp:
        tp.friction("slow")
        tp.set({"user.email": sys.argv[1]})
cxtrace.shutdown()
"""


def test_nothing_that_is_planted_lies_in_the_spool(tmp_path: Path) -> None:
    """What waits on disk for a receiver is what would have been sent, without the customer's id."""
    planter = Planter(random.Random(5), "")
    mail = f"{planter.word}@example.com"
    planter.planted.add(mail)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("CXTRACE_", "OTEL_"))}
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", SPOOLING, mail]
    subprocess.run(command, cwd=tmp_path, env={**environ, **away}, check=True, timeout=60)
    kept = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())

    assert b"checkout.pay" in kept
    assert b"enduser.pseudo.id" in kept
    assert leaks.leaks(planter, [("the spool", kept)]) == []


# The search finds what it is to find


@pytest.mark.parametrize(
    "form",
    [
        lambda word: word,
        lambda word: word.upper(),
        lambda word: quote(word.encode().hex()),
        lambda word: "".join(f"%{byte:02X}" for byte in word.encode()),
        *(
            lambda word, front=front: base64.b64encode(f"{front}{word}@".encode()).decode()
            for front in ("", "a", "ab", "abc")
        ),
        lambda word: base64.urlsafe_b64encode(word.upper().encode()).decode(),
    ],
)
def test_each_form_is_found(form: Callable[[str], str]) -> None:
    """A mark is found in capitals, escaped, in hexadecimal digits and in base64 at any place."""
    planter = Planter(random.Random(1), "")
    sent = f"some {form(planter.word)} more".encode()

    assert leaks.leaks(planter, [("a header", sent)]) != []
    assert leaks.leaks(planter, [("a header", b"some more")]) == []


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256"])
def test_hash_without_a_key_is_found(name: str) -> None:
    """What anybody could compute from a guessed id is a leak as well."""
    import hashlib

    planter = Planter(random.Random(1), "")
    digest = hashlib.new(name, planter.text().encode()).hexdigest()

    assert leaks.leaks(planter, [("a header", digest.upper().encode())]) != []


def _seen(**more: Any) -> list[str]:
    steps = [leaks.walkthrough, leaks.customer, leaks.journey, leaks.touchpoint]
    steps += [leaks.decorated, leaks.stock, leaks.send]
    found = []
    for seed in range(20):
        planter = Planter(random.Random(seed), "")
        found += leaks.leaks(planter, played({"journey_map": MAP, **more}, steps, planter))
    return found


def test_a_weak_pseudonym_would_be_seen(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the customer's id sent as it is, or under a hash without a key, this would fail."""
    import hashlib

    def raw(key: Any, given: object, tenant: object) -> str:
        return str(given)

    def weak(key: Any, given: object, tenant: object) -> str:
        return hashlib.sha256(str(given).encode("utf-8", "surrogatepass")).hexdigest()

    assert _seen() == []
    for pseudonym in (raw, weak):
        monkeypatch.setattr(_pseudonymisers, "_hashed", pseudonym)
        assert _seen() != []


def test_an_allow_list_with_a_hole_would_be_seen(
    forgetful: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Did ``set`` send what it is given, this would fail."""
    monkeypatch.setattr(privacy, "_fit", lambda key, value, keys: str(value))

    assert _seen() != []


def test_an_id_of_a_journey_that_is_not_hashed_would_be_seen(
    forgetful: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were an address as a journey's id sent as it stands, this would fail."""
    monkeypatch.setattr(privacy, "journey_id", lambda given, key: given)

    assert _seen() != []


def test_texts_of_exceptions_that_are_not_scrubbed_would_be_seen(
    forgetful: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were exceptions recorded as they are where they are to be scrubbed, this would fail."""
    assert _seen(record_exceptions="scrubbed") == []
    monkeypatch.setattr(_exceptions, "scrub", lambda text, longest=0: text)

    assert _seen(record_exceptions="scrubbed") != []


@pytest.mark.parametrize("hole", ["_statement", "_status", "_name"])
def test_a_hole_in_the_scrubber_would_be_seen(
    forgetful: None, monkeypatch: pytest.MonkeyPatch, hole: str
) -> None:
    """Did one of its rules let everything through, this would fail."""
    assert _seen(scrub=True) == []
    monkeypatch.setattr(_scrubbing, hole, lambda value, *_: value)

    assert _seen(scrub=True) != []


def test_a_walkthrough_that_is_not_checked_would_be_seen(
    forgetful: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were anything taken for the persona of a walkthrough, this would fail."""
    monkeypatch.setattr(_marks, "_run", lambda walk, persona: {"cx.walkthrough.persona": persona})

    assert _seen() != []
