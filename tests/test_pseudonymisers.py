"""Pseudonyms by tenant, with salts and at random: who can be linked to whom, and who waits."""

import gc
import os
import pickle
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cxtrace
from cxtrace import _guard, _lookup
from cxtrace._settings import settle
from cxtrace.exceptions import ConfigurationError
from cxtrace.privacy import (
    HmacPseudonymiser,
    Key,
    KeyRing,
    SaltedPseudonymiser,
    SQLiteStore,
    VaultPseudonymiser,
)
from cxtrace.typing import CustomerId, Pseudonymiser, Store
from tests.conftest import Capture, Clock

OLD, NEW = "old-" + "o" * 40, "new-" + "n" * 40
ONE, TWO = Key(OLD.encode()), Key(NEW.encode())
PATIENT = 20.0
PSEUDONYM = "enduser.pseudo.id"
KINDS = [SaltedPseudonymiser, VaultPseudonymiser]
FORMS = {SaltedPseudonymiser: "s1.", VaultPseudonymiser: "r1."}

texts = st.text(st.characters(), max_size=12)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is counted, and no key is in the environment."""
    for name in ("CXTRACE_KEY", "CXTRACE_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    _guard.reset()
    yield
    _guard.reset()


class Memory:
    """A store in memory, which can be slow, fail, or give nonsense."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.asked: list[Sequence[str]] = []
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None

    def keep(self, names: Sequence[str], value: str) -> str:
        """As the protocol says."""
        self.asked.append(names)
        self.open.wait(PATIENT)
        if self.error is not None:
            raise self.error
        there = next((name for name in names if name in self.rows), None)
        self.rows[names[0]] = value if there is None else self.rows.pop(there)
        return self.rows[names[0]]

    def delete(self, names: Sequence[str]) -> int:
        """As the protocol says."""
        if self.error is not None:
            raise self.error
        return len([self.rows.pop(name) for name in names if name in self.rows])


def patient(kind: Any, store: Store, **more: Any) -> Any:
    """A pseudonymiser that waits as long as a loaded machine may need."""
    return kind(store, **{"key": OLD, "timeout": PATIENT, **more})


# Tenants


def test_without_a_tenant_nothing_has_changed() -> None:
    """Pseudonyms that were made before there were tenants, and key ids, are what they were."""
    made = HmacPseudonymiser(Key(b"correct horse battery staple 4711"))

    assert made.pseudonym("cust-42") == "v1.zZK0X2TgAsKPu2u5YwzUy0"
    assert made.key_id == "5c28500e"


@given(texts, texts, texts, texts)
def test_two_tenants_never_share_a_pseudonym(a: str, b: str, one: str, two: str) -> None:
    """However tenant and id are cut, and with or without a tenant, what differs is another."""
    made = HmacPseudonymiser(ONE)
    every = {
        (None, one): made.pseudonym(one),
        (None, a + one): made.pseudonym(a + one),
        (a, one): made.pseudonym(one, a),
        (b, one): made.pseudonym(one, b),
        (a, two): made.pseudonym(two, a),
        (a + one, two): made.pseudonym(two, a + one),
        (a, one + two): made.pseudonym(one + two, a),
        (one, a): made.pseudonym(a, one),
    }

    assert len(set(every.values())) == len(every)
    assert all(re.fullmatch(r"v1\.[A-Za-z0-9_-]{22}", each) for each in every.values())


def test_numbers_are_tenants_too() -> None:
    """A tenant's number and its text are the same tenant, as for customers."""
    made = HmacPseudonymiser(ONE)

    assert made.pseudonym(42, 7) == made.pseudonym("42", "7") != made.pseudonym("42")


def test_a_tenant_is_part_of_the_pseudonym_on_the_span(cx: Capture) -> None:
    """The same id in two tenants is two customers, and nothing of the tenant is sent."""
    with cxtrace.customer("42", tenant="acme"), cxtrace.touchpoint("a"):
        pass
    with cxtrace.touchpoint("b"):
        cxtrace.identify("42", tenant="globex")
    with cxtrace.customer("42"), cxtrace.touchpoint("c"):
        pass
    made = HmacPseudonymiser(Key(b"k" * 32))

    assert [cx.tags(name)[PSEUDONYM] for name in "abc"] == [
        made.pseudonym("42", "acme"),
        made.pseudonym("42", "globex"),
        made.pseudonym("42"),
    ]
    assert not any(word in str(cx.tags(name)) for name in "abc" for word in ("acme", "globex"))


@pytest.mark.parametrize("tenant", ["", 1.5, b"acme", ["acme"], object()])
def test_a_tenant_that_is_none_names_nobody(cx: Capture, tenant: Any) -> None:
    """What cannot be a tenant does not become a customer without one: that would link."""
    with cxtrace.customer("42", tenant=tenant), cxtrace.touchpoint("a"):
        pass

    assert PSEUDONYM not in cx.tags("a")
    assert _guard.counts() == {"refused.tenant": 1}


def test_a_pseudonymiser_that_knows_no_tenants_names_nobody(cx: Capture) -> None:
    """One of the host's that takes an id alone is not given a tenant's customer as its own."""

    class Plain:
        key_id = "mine"

        def pseudonym(self, customer_id: CustomerId) -> str:
            return f"x{customer_id}"

    cx.use(pseudonymiser=Plain())
    with cxtrace.customer("42", tenant="acme"), cxtrace.touchpoint("a"):
        pass
    with cxtrace.customer("42"), cxtrace.touchpoint("b"):
        pass

    assert PSEUDONYM not in cx.tags("a")
    assert (cx.tags("b")[PSEUDONYM], cx.tags("b")["cx.customer.key_id"]) == ("x42", "mine")
    assert _guard.counts() == {"errors.pseudonymiser": 1}


@pytest.mark.parametrize("form", ["{}", "user:{}", "{}@shop"])
def test_a_pseudonymiser_that_gives_the_identifier_names_nobody(
    cx: Capture, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    """The identifier does not leave, not as a part of a pseudonym either; once it is said why."""

    class Careless:
        key_id = "mine"

        def pseudonym(self, customer_id: CustomerId) -> str:
            return form.format(customer_id)

    cx.use(pseudonymiser=Careless())
    for name in ("a", "b"):
        with cxtrace.customer("cust-42"), cxtrace.touchpoint(name):
            pass

    assert PSEUDONYM not in {**cx.tags("a"), **cx.tags("b")}
    assert _guard.counts()["refused.pseudonym"] == 2
    assert [record.message for record in caplog.records if "cust-42" in record.message] == []
    assert caplog.text.count("the customer stays unnamed") == 1


def test_a_short_identifier_may_stand_in_a_pseudonym_by_chance(cx: Capture) -> None:
    """A random id that has the digits of an identifier somewhere is a pseudonym all the same."""

    class Chance:
        key_id = "mine"

        def pseudonym(self, customer_id: CustomerId) -> str:
            return "x42y"

    cx.use(pseudonymiser=Chance())
    with cxtrace.customer("42"), cxtrace.touchpoint("a"):
        pass

    assert cx.tags("a")[PSEUDONYM] == "x42y"


@pytest.mark.parametrize(("pseudonym", "key_id"), [(None, "k"), ("p", None), (7, "k")])
def test_a_pseudonymiser_that_gives_no_text_names_nobody(
    cx: Capture, pseudonym: Any, key_id: Any
) -> None:
    """A pseudonym has to be text, and to say which key made it."""

    class Odd:
        def __init__(self) -> None:
            self.key_id = key_id

        def pseudonym(self, customer_id: CustomerId) -> Any:
            return pseudonym

    cx.use(pseudonymiser=Odd())
    with cxtrace.customer("42"), cxtrace.touchpoint("a"):
        pass

    assert PSEUDONYM not in cx.tags("a")


def test_a_consent_is_withdrawn_for_the_customer_of_the_tenant(cx: Capture) -> None:
    """Whoever withdraws has to be the same customer of the same tenant."""
    with cxtrace.customer("42", tenant="acme"), cxtrace.touchpoint("a") as handle:
        with cxtrace.customer("42", tenant="globex", consent="withdrawn"):
            assert PSEUDONYM in handle.span.attributes  # type: ignore[attr-defined]
        with cxtrace.customer("42", tenant="acme", consent="withdrawn"):
            pass

    assert PSEUDONYM not in cx.tags("a")


# Salts and vaults


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_makes_the_same_pseudonym_again(kind: Any) -> None:
    """The same customer has one pseudonym, as long as the store keeps what it was given."""
    store = Memory()
    made, other = patient(kind, store), patient(kind, store)
    found: Pseudonymiser = made

    assert made.pseudonym("cust-42") == made.pseudonym("cust-42") == other.pseudonym("cust-42")
    assert made.pseudonym("cust-42") != made.pseudonym("cust-43")
    assert made.pseudonym("42", "acme") != made.pseudonym("42", "globex") != made.pseudonym("42")
    assert re.fullmatch(rf"{FORMS[kind]}[A-Za-z0-9_-]{{22}}", found.pseudonym(42))
    assert made.pseudonym(42) == made.pseudonym("42")
    assert found.key_id == {SaltedPseudonymiser: ONE.key_id, VaultPseudonymiser: "vault"}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_never_sees_who_it_is_about(kind: Any) -> None:
    """Names are keyed digests: neither id nor tenant stands in the store, nor a plain hash."""
    store = Memory()
    made = patient(kind, store)
    made.pseudonym("cust-42", "acme")
    patient(kind, store, key=NEW).pseudonym("cust-42", "acme")

    assert len(store.rows) == 2
    assert all(re.fullmatch("[A-Za-z0-9_-]{43}=", name) for name in store.rows)
    assert "cust-42" not in str(store.rows)
    assert "acme" not in str(store.rows)


def test_salts_and_ids_in_one_store_do_not_meet() -> None:
    """Both kinds of pseudonymisers may share a store."""
    store = Memory()
    patient(SaltedPseudonymiser, store).pseudonym("cust-42")
    patient(VaultPseudonymiser, store).pseudonym("cust-42")

    assert len(set(store.rows.values())) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_forgotten_is_another_customer(kind: Any) -> None:
    """Without the row, nothing links the customer to the past, not even with the key."""
    made = patient(kind, Memory())
    before, other = made.pseudonym("cust-42"), made.pseudonym("cust-42", "acme")

    assert made.forget("cust-42")
    assert not made.forget("cust-43")
    assert made.pseudonym("cust-42") != before
    assert made.pseudonym("cust-42", "acme") == other


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_forgets_within_a_minute(kind: Any, clock: Clock) -> None:
    """What a process remembers is asked again after 60 seconds, and not before."""
    store = Memory()
    one, two = patient(kind, store), patient(kind, store)
    before = two.pseudonym("cust-42")
    one.forget("cust-42")
    clock.tick(59.9)
    assert two.pseudonym("cust-42") == before
    assert len(store.asked) == 1
    clock.tick(0.2)

    assert two.pseudonym("cust-42") != before


def test_a_salted_pseudonym_is_under_every_key() -> None:
    """With two keys a customer has two pseudonyms over one salt; the newest is the one of now."""
    store = Memory()
    before = patient(SaltedPseudonymiser, store).pseudonym("cust-42")
    made = patient(SaltedPseudonymiser, store, key=[NEW, OLD])
    found = made.pseudonyms("cust-42")

    assert list(found) == [TWO.key_id, ONE.key_id]
    assert found[ONE.key_id] == before != found[TWO.key_id] == made.pseudonym("cust-42")
    assert len(store.rows) == 1


def test_an_id_of_the_vault_outlives_the_key() -> None:
    """A customer who comes by while both keys are there keeps the id when the old one goes."""
    store = Memory()
    before = patient(VaultPseudonymiser, store).pseudonym("cust-42")
    assert patient(VaultPseudonymiser, store, key=[NEW, OLD]).pseudonym("cust-42") == before

    assert patient(VaultPseudonymiser, store, key=NEW).pseudonym("cust-42") == before
    assert len(store.rows) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_has_to_be_there(kind: Any, tmp_path: Path) -> None:
    """With a key of one process nobody would be found again, so none is drawn."""
    for call in (
        lambda: kind(Memory()).pseudonym("a"),
        lambda: kind(Memory()).forget("a"),
        lambda: settle({"pseudonymiser": kind(Memory())}, {}, tmp_path),
    ):
        with pytest.raises(ConfigurationError, match="needs a key that stays"):
            call()


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_is_that_of_configure(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of its own comes first, then that of ``configure()``, then the environment's."""
    store = Memory()
    own = kind(store, key=NEW, timeout=PATIENT)
    settle({"pseudonymiser": own, "key": OLD}, {}, tmp_path)
    own.pseudonym("a")
    given_later = kind(store, timeout=PATIENT)
    settings = settle({"pseudonymiser": given_later, "key": NEW}, {}, tmp_path)
    given_later.pseudonym("a")
    monkeypatch.setenv("CXTRACE_KEY", NEW)
    kind(store, timeout=PATIENT).pseudonym("a")

    assert settings.pseudonymiser is given_later
    assert len(store.rows) == 1


def test_configure_puts_a_pseudonymiser_in_force(tmp_path: Path) -> None:
    """The spans of a service that was configured so carry what the store says."""
    program = f"""
        import cxtrace
        from cxtrace.exporters import read_spans
        from cxtrace.privacy import SQLiteStore, VaultPseudonymiser
        vault = VaultPseudonymiser(SQLiteStore("ids.db"), timeout={PATIENT})
        cxtrace.configure(exporter="file:spans.jsonl", key="{OLD}", pseudonymiser=vault)
        with cxtrace.customer("cust-42"), cxtrace.touchpoint("cart.view"):
            pass
        assert cxtrace.flush(20)
        (span,) = read_spans("spans.jsonl")
        assert span.attributes["enduser.pseudo.id"] == vault.pseudonym("cust-42")
        print(span.attributes["enduser.pseudo.id"][:3], span.attributes["cx.customer.key_id"])
    """

    assert run(tmp_path, program) == "r1. vault\n"


# Stores that are slow, broken or lie


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_hangs_holds_nobody(cx: Capture, clock: Clock, kind: Any) -> None:
    """The customer is nobody, nobody waits a second time, and the answer counts when it comes."""
    store = Memory()
    store.open.clear()
    made = kind(store, key=OLD, timeout=0.01)
    cx.use(pseudonymiser=made)
    with cxtrace.customer("cust-42"), cxtrace.touchpoint("a"):
        pass
    waits: list[float] = []
    real = threading.Event.wait

    def counted(event: threading.Event, timeout: float | None = None) -> bool:
        waits.append(timeout or 0.0)
        return real(event, timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Event, "wait", counted)
        for name in "bc":
            with cxtrace.customer("cust-42"), cxtrace.touchpoint(name):
                pass

    assert not any(PSEUDONYM in cx.tags(name) for name in "abc")
    assert waits == [0.0, 0.0]
    assert len(store.asked) == 1
    assert _guard.counts() == {"pseudonymiser.store_late": 3}
    with pytest.raises(TimeoutError, match="does not answer"):
        made.pseudonym("cust-42")
    store.open.set()
    clock.tick(1.1)
    made._lookup._timeout = PATIENT

    assert made.pseudonym("cust-42").startswith(FORMS[kind])


def test_a_store_that_hangs_is_asked_about_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a store is bounded; those that come next are nobody at once."""
    monkeypatch.setattr(_lookup, "MAX_WAITING", 3)
    store = Memory()
    store.open.clear()
    made = VaultPseudonymiser(store, key=OLD, timeout=0.001)
    for customer in range(10):
        assert made.pseudonyms(customer) == {}
    store.open.set()

    assert _guard.counts() == {"pseudonymiser.store_late": 3, "pseudonymiser.store_busy": 7}


@pytest.mark.parametrize("tenant", [None, "acme"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: HmacPseudonymiser(ONE),
        lambda: HmacPseudonymiser(KeyRing([TWO, ONE])),
        lambda: SaltedPseudonymiser(Memory(), key=NEW, timeout=PATIENT),
        lambda: VaultPseudonymiser(Memory(), key=NEW, timeout=PATIENT),
    ],
)
def test_the_identifier_is_not_kept(cx: Capture, make: Any, tenant: str | None) -> None:
    """When its blocks are over nothing refers to it: neither a cache nor what was withdrawn."""
    cx.use(pseudonymiser=make())
    raw = "-".join(["cust", "4711"])
    before = sys.getrefcount(raw)
    with cxtrace.journey("order"), cxtrace.customer(raw, tenant=tenant), cxtrace.touchpoint("pay"):
        cxtrace.identify(raw, tenant=tenant, consent="granted")
    with cxtrace.customer(raw, tenant=tenant, consent="withdrawn"):
        pass

    assert PSEUDONYM in cx.tags("pay")
    assert sys.getrefcount(raw) == before


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The customer who was not seen for longest is asked about again."""
    monkeypatch.setattr(_lookup, "MAX_REMEMBERED", 2)
    store = Memory()
    made = patient(VaultPseudonymiser, store)
    for customer in (1, 2, 1, 3, 1, 2):
        made.pseudonym(customer)

    assert len(store.asked) == 4


def test_a_store_that_fails_names_nobody(cx: Capture, caplog: pytest.LogCaptureFixture) -> None:
    """An error of the store is counted, its text is not logged, and the next call asks again."""
    store = Memory()
    store.error = OSError("cust-42 was refused")
    made = patient(VaultPseudonymiser, store)
    cx.use(pseudonymiser=made)
    with cxtrace.customer("cust-42"), cxtrace.touchpoint("a"):
        pass
    assert PSEUDONYM not in cx.tags("a")
    assert _guard.counts() == {"errors.store": 1}
    assert "cust-42" not in caplog.text
    with pytest.raises(OSError, match="was refused"):
        made.forget("cust-42")
    store.error = None
    with cxtrace.customer("cust-42"), cxtrace.touchpoint("b"):
        pass

    assert cx.tags("b")[PSEUDONYM] == made.pseudonym("cust-42")


@pytest.mark.parametrize("odd", ["short", "x" * 62, "has a space in the middle", "a@example.com.x"])
def test_a_store_that_gives_nonsense_names_nobody(odd: str) -> None:
    """Whatever a store gives, a pseudonym is a short plain token."""
    store = Memory()
    made = patient(VaultPseudonymiser, store)
    made.pseudonym("cust-42")
    for name in store.rows:
        store.rows[name] = odd
    made._lookup._begin()

    assert made.pseudonyms("cust-42") == {}
    assert _guard.counts() == {"pseudonymiser.store_value": 1}


def test_who_is_forgotten_while_the_store_is_asked_is_not_remembered() -> None:
    """An answer from before does not come back."""
    store = Memory()
    store.open.clear()
    made = VaultPseudonymiser(store, key=OLD, timeout=0.001)
    assert made.pseudonyms("cust-42") == {}
    made.forget("cust-42")
    store.open.set()
    made._lookup._timeout = PATIENT
    made._lookup._late_until = 0.0
    made.pseudonym("cust-42")

    assert len(store.asked) == 2


def test_many_threads_ask_for_one_customer_once() -> None:
    """Threads that need the same customer at the same time share the question."""
    store = Memory()
    made = patient(VaultPseudonymiser, store)
    barrier, found = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait()
        found.append(made.pseudonym("cust-42"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(store.asked) == 1


def test_a_withdrawal_counts_whatever_the_key(cx: Capture) -> None:
    """Under a vault, too, the same customer inside the block withdraws for the block outside."""
    cx.use(pseudonymiser=patient(VaultPseudonymiser, Memory()))
    with (
        cxtrace.customer("cust-42"),
        cxtrace.touchpoint("a"),
        cxtrace.customer("cust-42", consent="withdrawn"),
    ):
        pass

    assert PSEUDONYM not in cx.tags("a")


# SQLite


def run(folder: Path, program: str) -> str:
    """What a program prints that runs in a process of its own, in the folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    """A store in a file."""
    made = SQLiteStore(tmp_path / "ids.db")
    yield made
    made.close()


def test_sqlite_keeps_what_it_was_given_first(store: SQLiteStore) -> None:
    """The first value stays; a value under an older name moves to the newest."""
    follows: Store = store

    assert follows.keep(["a"], "1") == "1"
    assert follows.keep(["a"], "2") == "1"
    assert follows.keep(["b", "a"], "3") == "1"
    assert follows.keep(["a"], "4") == "4"
    assert follows.keep(["c", "b", "a"], "5") == "1"
    assert (follows.delete(["c"]), follows.delete(["a", "b", "c"])) == (1, 1)


@given(
    st.lists(
        st.tuples(
            st.booleans(), st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)
        ),
        max_size=20,
    )
)
def test_sqlite_does_as_the_protocol_says(steps: list[tuple[bool, list[str]]]) -> None:
    """Any order of keeping and deleting gives what a dictionary would."""
    made, model = SQLiteStore(":memory:"), Memory()
    # In memory there is no file whose log could be emptied.
    made._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    made._connection.execute("CREATE TABLE cxtrace_ids (name TEXT PRIMARY KEY, value TEXT)")
    for number, (deletes, names) in enumerate(steps):
        if deletes:
            assert made.delete(names) == model.delete(names)
        else:
            assert made.keep(names, str(number)) == model.keep(names, str(number))
    made.close()


def test_sqlite_file_is_for_its_owner_alone(store: SQLiteStore, tmp_path: Path) -> None:
    """Nobody else on the machine may read the salts."""
    store.keep(["a"], "1")
    store.close()

    assert (tmp_path / "ids.db").stat().st_mode & 0o077 == 0
    assert store.keep(["a"], "2") == "1"
    assert repr(store) == f"SQLiteStore({str(tmp_path / 'ids.db')!r})"


def test_sqlite_leaves_nothing_of_what_is_deleted(store: SQLiteStore, tmp_path: Path) -> None:
    """Neither the file nor its log has the bytes any more: a copy of the disk links nobody."""
    for number in range(100):
        store.keep([f"name-{number}"], f"planted-value-{number:03}")
    assert b"planted-value-050" in b"".join(each.read_bytes() for each in tmp_path.iterdir())
    store.delete(["name-50"])
    left = b"".join(each.read_bytes() for each in tmp_path.iterdir())

    assert b"planted-value-050" not in left
    assert b"planted-value-051" in left


def test_sqlite_says_what_is_wrong(tmp_path: Path) -> None:
    """A file that is no database, or a folder that is not there, is an error for who asked."""
    (tmp_path / "ids.db").write_bytes(b"not a database" * 100)

    with pytest.raises(sqlite3.DatabaseError):
        SQLiteStore(tmp_path / "ids.db").keep(["a"], "1")
    with pytest.raises(OSError, match="No such file"):
        SQLiteStore(tmp_path / "none" / "ids.db").delete(["a"])


def test_sqlite_takes_back_what_was_torn(store: SQLiteStore, tmp_path: Path) -> None:
    """Where a step fails in the middle, nothing of it stays, and the store goes on."""
    store.keep(["a"], "1")
    other = sqlite3.connect(tmp_path / "ids.db")
    other.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON cxtrace_ids WHEN NEW.name = 'b'"
        " BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(sqlite3.IntegrityError):
        store.keep(["b", "a"], "2")
    other.executescript("DROP TRIGGER refuse")
    other.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON cxtrace_ids WHEN NEW.name = 'b'"
        " BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
    )
    with pytest.raises(sqlite3.IntegrityError):
        store.keep(["b", "a"], "2")
    other.close()

    assert store.keep(["a"], "3") == "1"


def test_sqlite_opens_a_file_of_its_own_in_a_child(store: SQLiteStore) -> None:
    """What the parent has open is neither used nor closed, and a lock it held does not matter."""
    store.close()
    store.close()
    store.keep(["a"], "1")
    parents = store._connection
    store._lock.acquire()
    store._begin_anew()

    assert store.keep(["a"], "2") == "1"
    assert parents is not None
    assert parents.execute("SELECT 1").fetchall() == [(1,)]
    parents.close()


def test_sqlite_store_may_be_copied_to_another_process(store: SQLiteStore) -> None:
    """It holds no secret, so it can be pickled: by its path."""
    store.keep(["a"], "1")
    copy = pickle.loads(pickle.dumps(store))

    assert copy.keep(["a"], "2") == "1"
    copy.close()


def test_processes_and_forks_agree(tmp_path: Path) -> None:
    """Processes that begin at the same time, each with threads and a child, name all alike."""
    program = f"""
        import json, os, sys, threading
        from cxtrace.privacy import SQLiteStore, VaultPseudonymiser
        vault = VaultPseudonymiser(SQLiteStore("ids.db"), key="{OLD}", timeout=60)
        def work(found):
            def ask(start):
                for number in range(start, start + 40):
                    found[number % 40] = vault.pseudonym(f"cust-{{number % 40}}")
            threads = [threading.Thread(target=ask, args=(10 * n,)) for n in range(4)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            # In one write: parent and child share a pipe, and lines must not mix.
            os.write(1, (json.dumps([found[n] for n in range(40)]) + "\\n").encode())
        pid = os.fork() if hasattr(os, "fork") else 1
        work({{}})
        if pid == 0:
            os._exit(0)
        if hasattr(os, "fork"):
            os.waitpid(pid, 0)
            pid = os.fork()
            work({{}})
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)]
    running = [
        subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    ended = [each.communicate(timeout=100) for each in running]

    assert [errors for _, errors in ended] == ["", "", ""]
    lines = [line for told, _ in ended for line in told.splitlines()]
    assert len(lines) == (12 if hasattr(os, "fork") else 3)
    assert len(set(lines)) == 1


def test_a_ring_makes_pseudonyms_under_each_key() -> None:
    """The newest comes first, and is the one of now."""
    made = HmacPseudonymiser(KeyRing([TWO, ONE]))

    assert made.key_id == TWO.key_id
    assert made.pseudonyms("a", "t") == {
        TWO.key_id: HmacPseudonymiser(TWO).pseudonym("a", "t"),
        ONE.key_id: HmacPseudonymiser(ONE).pseudonym("a", "t"),
    }
    assert made.pseudonym("a", "t") == HmacPseudonymiser(TWO).pseudonym("a", "t")


def test_a_pseudonymiser_that_has_gone_leaves_no_thread() -> None:
    """One that is made for a single use takes its thread and its memory with it."""
    before = set(threading.enumerate())
    made = patient(SaltedPseudonymiser, Memory())
    assert made.pseudonym("c-1")
    (thread,) = set(threading.enumerate()) - before
    del made
    gc.collect()
    thread.join(PATIENT)

    assert thread.name == "cxtrace_store"
    assert not thread.is_alive()
