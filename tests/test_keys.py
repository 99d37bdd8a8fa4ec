"""Several keys: how they are written, read again while the service runs, and never shown."""

import copy
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cxtrace
from cxtrace import _config, _guard, _key_file, _runtime
from cxtrace._key_file import LEAD, LOOK_EVERY
from cxtrace._keys import MAX_KEYS, Sealed, keys_in, read_keys
from cxtrace._runtime import Runtime
from cxtrace._settings import settle
from cxtrace.exceptions import ConfigurationError, MapError
from cxtrace.privacy import (
    HmacPseudonymiser,
    Key,
    KeyFile,
    KeyRing,
    SaltedPseudonymiser,
    VaultPseudonymiser,
    load_keys,
)
from tests.conftest import Clock

OLD, NEW, NEXT = ("old-" + "o" * 40, "new-" + "n" * 40, "next" + "x" * 40)
FIRST, SECOND, THIRD = (Key(text.encode()).key_id for text in (OLD, NEW, NEXT))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is configured or counted, and no key is in the environment."""
    for name in ("CXTRACE_KEY", "CXTRACE_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_runtime, "current", Runtime())
    monkeypatch.setattr(_config, "wiring", None)
    monkeypatch.setattr(_key_file, "_PATIENCE", 20)  # a busy machine starts threads late
    _guard.reset()
    yield
    _guard.reset()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with the old key."""
    path = tmp_path / "keys"
    path.write_text(OLD)
    return path


def ids(keys: Any) -> list[str]:
    """The ids of keys, in their order."""
    return [key.key_id for key in keys.keys]


def replace(path: Path, *lines: str) -> None:
    """Put another file in the place of a file, as one should."""
    other = path.with_name("other")
    other.write_text("\n".join(lines) + "\n")
    other.replace(path)


# How keys are written


def test_a_ring_makes_with_the_first_and_believes_all() -> None:
    """The first key makes what is new; each is found by its id, and no other."""
    one, two = Key(OLD.encode()), Key(NEW.encode())
    ring = KeyRing([two, one])

    assert (ring.newest, ring.key_id, ring.keys) == (two, SECOND, (two, one))
    assert (ring.find(FIRST), ring.find(SECOND), ring.find(THIRD), ring.find(None)) == (
        *(one, two),
        *(None, None),
    )
    assert not ring.refreshed()


def test_a_key_stands_where_several_can() -> None:
    """A single key is a ring of one."""
    key = Key(OLD.encode())

    assert (key.keys, key.newest, key.find(FIRST), key.find(SECOND)) == ((key,), key, key, None)
    assert not key.refreshed()


TEXTS = {
    "one": (OLD, [FIRST]),
    "one with a line break": (f"\n {OLD} \n\n", [FIRST]),
    "two": (f"{NEW}\n{OLD}", [SECOND, FIRST]),
    "of Windows": (f"{NEW}\r\n{OLD}\r\n", [SECOND, FIRST]),
    "with comments": (f"# since May\n{NEW}\n\n  # until May\n{OLD}", [SECOND, FIRST]),
    "with an id": (f"2026q3 = {NEW}\n{OLD}", ["2026q3", FIRST]),
    "with ids and blanks": (f"b\t=  {NEW}\na = {OLD}", ["b", "a"]),
    "base64 with padding": ("A" * 43 + "=", [Key(b"A" * 43 + b"=").key_id]),
    "base64 with much padding": ("QUFB" * 11 + "QQ==", [Key(b"QUFB" * 11 + b"QQ==").key_id]),
    "words": (
        "correct horse = battery staple 4711",
        [Key(b"correct horse = battery staple 4711").key_id],
    ),
}


@pytest.mark.parametrize("text", TEXTS)
def test_text_has_one_key_a_line(text: str, tmp_path: Path) -> None:
    """The same text means the same as argument, in the environment and in a file."""
    content, expected = TEXTS[text]
    path = tmp_path / "keys"
    path.write_bytes(content.encode())

    for given_key, environ in (
        (content, {}),
        (None, {"CXTRACE_KEY": content}),
        (None, {"CXTRACE_KEY_FILE": str(path)}),
    ):
        found = load_keys(given_key, environ)
        assert found is not None
        assert ids(found) == expected


def test_a_list_has_the_newest_first() -> None:
    """A list may mix text, which may have an id, and bytes, which are one key as they stand."""
    found = load_keys([f"q3 = {NEW}", OLD.encode(), b"\n" * 40], {})

    assert found is not None
    assert ids(found) == ["q3", FIRST, Key(b"\n" * 40).key_id]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (f"{NEW}\nshort", "line 2: the key has 5 bytes"),
        (f"{NEW}\n# x\na = short", "line 3: the key has 5 bytes"),
        (f"{NEW}\n{NEW}", "two of the keys have the same id, or are the same"),
        (f"a = {NEW}\na = {OLD}", "two of the keys have the same id"),
        (f"ephemeral = {NEW}", "can have the id 'ephemeral'"),
        (f"a:b = {NEW}", "the id of a key must be 1 to 32 letters"),
        (f"{'a' * 33} = {NEW}", "the id of a key must be 1 to 32 letters"),
        (f"ä = {NEW}", "the id of a key must be 1 to 32 letters"),
        ("# nothing", "the key has 0 bytes"),
        ("\n".join(f"{number:040}" for number in range(MAX_KEYS + 1)), "there are 17 keys"),
    ],
)
def test_wrong_text_is_refused_with_its_line(wrong: str, message: str) -> None:
    """The message tells which line is wrong, and shows nothing of a key or of what may be one."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_keys(wrong, {})

    for line in wrong.splitlines():
        assert len(line) < 8 or line not in str(caught.value)


def test_a_mark_of_the_editor_is_no_part_of_a_key() -> None:
    """Editors that begin a file with a byte order mark leave the key as it is."""
    (plain,), (marked,) = keys_in(NEW.encode()), keys_in(NEW.encode("utf-8-sig"))

    assert marked.fingerprint == plain.fingerprint
    assert keys_in(f"a = {NEW}".encode("utf-8-sig"))[0].key_id == "a"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_keys_in_another_encoding_are_refused(encoding: str) -> None:
    """What some shells write with ``>`` is another key than the one that was printed."""
    with pytest.raises(ConfigurationError, match="write them in ASCII or UTF-8"):
        keys_in(NEW.encode(encoding))


def test_no_key_is_no_ring() -> None:
    """A ring of nothing is refused: nobody could sign with it."""
    with pytest.raises(ConfigurationError, match="there are 0 keys"):
        KeyRing([])


@given(st.binary(max_size=300))
@example(b"a = ")
@example(b" = " * 20)
@example(b"\xff = " + b"k" * 40)
@example(b"\x85" * 40)
@example(b"#" * 40)
def test_any_file_is_keys_or_refused(content: bytes) -> None:
    """Whatever a file holds, it is read as keys or refused in one way; nothing else flies."""
    try:
        found = keys_in(content)
    except ConfigurationError:
        return
    assert all(len(key.key_id) <= 32 for key in found)


@given(
    st.lists(
        st.tuples(
            st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", fullmatch=True),
            st.from_regex(r"[A-Za-z0-9_-]{32,60}={0,2}", fullmatch=True),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_written_is_read(lines: list[tuple[str | None, str]]) -> None:
    """Keys that are written one a line come back in their order, with the ids they were given."""
    text = "\n".join(
        secret if key_id is None else f"{key_id} = {secret}" for key_id, secret in lines
    )
    made = [Key(secret.encode(), key_id) for key_id, secret in lines]

    found = read_keys(text)

    assert [(key.key_id, key.fingerprint) for key in found] == [
        (key.key_id, key.fingerprint) for key in made
    ]


# A file that changes


def test_a_new_key_is_believed_at_once_and_makes_later(file: Path, clock: Clock) -> None:
    """A key that comes first is believed when it is read, and makes what is new 10 s later."""
    keys = KeyFile(file)
    replace(file, NEW, OLD)

    assert ids(keys) == [FIRST]  # not looked at again yet
    clock.tick(LOOK_EVERY)
    assert ids(keys) == [FIRST, SECOND]
    clock.tick(LEAD - 0.1)
    assert ids(keys) == [FIRST, SECOND]
    clock.tick(0.2)
    assert ids(keys) == [SECOND, FIRST]
    assert keys.newest.key_id == keys.key_id == SECOND
    assert _guard.counts() == {}


def test_a_key_that_is_alone_makes_at_once(file: Path, clock: Clock) -> None:
    """Where the old key is gone nobody else believes it, so the new one does not wait."""
    keys = KeyFile(file)
    replace(file, NEW)
    clock.tick(LOOK_EVERY)

    assert ids(keys) == [SECOND]


def test_an_older_key_comes_and_goes_at_once(file: Path, clock: Clock) -> None:
    """Keys that only are believed are there, and gone, with the next look."""
    keys = KeyFile(file)
    replace(file, OLD, NEW)
    clock.tick(LOOK_EVERY)
    assert ids(keys) == [FIRST, SECOND]
    replace(file, OLD)
    clock.tick(LOOK_EVERY)

    assert ids(keys) == [FIRST]


def test_a_second_rotation_while_the_first_one_waits(file: Path, clock: Clock) -> None:
    """The latest file counts, and its first key waits its own ten seconds."""
    keys = KeyFile(file)
    replace(file, NEW, OLD)
    clock.tick(LOOK_EVERY)
    assert ids(keys) == [FIRST, SECOND]
    replace(file, NEXT, NEW, OLD)
    clock.tick(LOOK_EVERY)
    assert ids(keys) == [FIRST, THIRD, SECOND]
    clock.tick(LEAD)

    assert ids(keys) == [THIRD, SECOND, FIRST]


def test_a_file_is_looked_at_once_in_five_seconds(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the keys are used, the file is read once in a while."""
    reads = []
    content = _key_file._content
    monkeypatch.setattr(_key_file, "_content", lambda path: (reads.append(path), content(path))[1])
    keys = KeyFile(file)
    for _ in range(100):
        _ = keys.newest, keys.find(FIRST), keys.key_id
    assert len(reads) == 1
    clock.tick(LOOK_EVERY)
    for _ in range(100):
        _ = keys.newest

    assert len(reads) == 2


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "short": (lambda path: replace(path, NEW, "short"), "line 2: the key has 5 bytes"),
    "empty": (lambda path: path.write_text(""), "the key has 0 bytes"),
    "gone": (Path.unlink, "cannot be read: No such file"),
    "huge": (lambda path: path.write_text("x" * 70_000), "more than 65536 bytes"),
    "twice": (lambda path: replace(path, NEW, NEW), "two of the keys"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_bad_file_changes_nothing(file: Path, clock: Clock, caplog: Any, case: str) -> None:
    """The keys stay; it is counted, said once in the log, and shown until the file is good."""
    spoil, why = WRONG[case]
    keys = KeyFile(file)
    spoil(file)
    for _ in range(3):
        clock.tick(LOOK_EVERY)
        assert ids(keys) == [FIRST]
    assert _guard.counts() == {"keys.file_refused": 3}
    assert keys.fault is not None
    assert why in keys.fault
    (record,) = caplog.records
    assert why in record.getMessage()
    assert not any(secret in caplog.text for secret in (OLD, NEW))
    replace(file, NEW)
    clock.tick(LOOK_EVERY)

    assert ids(keys) == [SECOND]
    assert keys.fault is None


def test_a_file_that_comes_back_as_it_was_is_no_fault(file: Path, clock: Clock) -> None:
    """A file that is mended by what it was before is good again."""
    keys = KeyFile(file)
    replace(file, "short")
    clock.tick(LOOK_EVERY)
    assert ids(keys) == [FIRST]
    assert keys.fault is not None
    file.write_text(OLD)
    clock.tick(LOOK_EVERY)

    assert ids(keys) == [FIRST]
    assert keys.fault is None


def test_an_id_stays_with_its_key(file: Path, clock: Clock) -> None:
    """A name that stands for another key than before would make two pseudonyms look like one's."""
    replace(file, f"q3 = {OLD}")
    keys = KeyFile(file)
    replace(file, f"q3 = {NEW}")
    clock.tick(LOOK_EVERY)

    assert keys.newest.fingerprint == FIRST
    assert keys.fault == "an id stands for another key than before; give it another id"


def test_a_file_in_the_middle_of_being_written_is_left_alone(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not the same twice in a row is not believed, though it would be a key."""
    keys = KeyFile(file)
    contents = iter([b"n" * 40, b"n" * 44])
    monkeypatch.setattr(_key_file, "_content", lambda path: next(contents, NEW.encode()))
    clock.tick(LOOK_EVERY)
    assert ids(keys) == [FIRST]
    clock.tick(LOOK_EVERY)

    assert ids(keys) == [SECOND]
    assert _guard.counts() == {}


def test_a_file_system_that_hangs_holds_nobody(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys stay, no second thread is started, and an answer that comes late still counts."""
    keys = KeyFile(file)
    answer, looks = threading.Event(), []

    def hang(path: Path) -> bytes:
        looks.append(path)
        answer.wait(20)
        return NEW.encode()

    monkeypatch.setattr(_key_file, "_content", hang)
    monkeypatch.setattr(_key_file, "_PATIENCE", 0.001)
    for _ in range(3):
        clock.tick(LOOK_EVERY)
        assert ids(keys) == [FIRST]
    assert len(looks) == 1
    assert keys.fault == "it does not answer"
    answer.set()
    thread = keys._look
    assert thread is not None
    thread.join(20)
    monkeypatch.setattr(_key_file, "_PATIENCE", 20)
    clock.tick(LOOK_EVERY)

    assert ids(keys) == [SECOND]
    assert keys.fault is None


def test_a_file_system_that_hangs_is_waited_for_once(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes by while a look hangs does not wait for it again."""
    keys = KeyFile(file)
    answer = threading.Event()
    monkeypatch.setattr(_key_file, "_content", lambda _: answer.wait(60) and NEW.encode())
    monkeypatch.setattr(_key_file, "_PATIENCE", 0.001)
    clock.tick(LOOK_EVERY)
    assert ids(keys) == [FIRST]
    monkeypatch.setattr(_key_file, "_PATIENCE", 60.0)
    waiter = threading.Timer(10.0, answer.set)
    waiter.start()
    clock.tick(LOOK_EVERY)

    assert ids(keys) == [FIRST]
    assert not keys.refreshed()
    assert not answer.is_set()
    waiter.cancel()
    answer.set()


def test_threads_do_not_wait_for_the_one_that_looks(file: Path, clock: Clock) -> None:
    """While somebody looks, the others go on with the keys that are there."""
    keys = KeyFile(file)
    replace(file, NEW)
    clock.tick(LOOK_EVERY)
    with keys._turn:
        assert ids(keys) == [FIRST]

    assert ids(keys) == [SECOND]


def test_an_error_of_ours_costs_nothing(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started any more, the keys stay as they are."""
    keys = KeyFile(file)

    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    clock.tick(LOOK_EVERY)

    assert ids(keys) == [FIRST]
    assert _guard.counts() == {"errors.keys": 1}


def test_an_unknown_key_makes_us_look(file: Path, clock: Clock) -> None:
    """Whoever uses a key that we do not know has read the file before us; but not many times."""
    keys = KeyFile(file)
    assert not keys.refreshed()
    replace(file, OLD, NEW)
    assert not keys.refreshed()  # just looked
    clock.tick(0.3)
    assert keys.refreshed()

    assert ids(keys) == [FIRST, SECOND]


def test_a_file_is_found_where_it_was(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A service that changes its folder reads the same file."""
    monkeypatch.chdir(tmp_path)
    keys = KeyFile(Path("keys"))
    replace(file, NEW)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    clock.tick(LOOK_EVERY)

    assert ids(keys) == [SECOND]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_reads_the_file_too(file: Path) -> None:
    """Also one whose parent was in the middle of looking, and holds the lock."""
    program = """
        import os, sys
        from pathlib import Path
        from cxtrace import _clock, _key_file
        from cxtrace.privacy import KeyFile
        path, new = Path(sys.argv[1]), sys.argv[2]
        keys = KeyFile(path)
        gone = KeyFile(path)
        del gone
        path.write_text(new)
        later = _clock.steady() + 60
        _clock.steady = lambda: later
        keys._turn.acquire()
        pid = os.fork()
        if pid == 0:
            print(keys.key_id, flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print(keys.key_id)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(file), NEW],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.split() == [SECOND, FIRST]


def test_the_report_tells_of_the_keys(file: Path, clock: Clock) -> None:
    """Which makes, which are believed, and what is wrong with the file."""
    _runtime.use(Runtime(key=KeyFile(file)))
    replace(file, NEW, OLD)
    clock.tick(LOOK_EVERY)
    found = cxtrace.report()
    assert (found.key_id, found.older_keys, found.key_fault) == (FIRST, (SECOND,), None)
    replace(file, "short")
    clock.tick(LOOK_EVERY)
    assert _runtime.key().key_id == FIRST
    shown = cxtrace.report().to_dict()

    assert shown["older_keys"] == [SECOND]
    assert "the key has 5 bytes" in shown["key_fault"]


# Nothing shows a key


def holders(file: Path) -> list[Any]:
    """All that holds keys."""
    ring = KeyRing([Key(NEW.encode()), Key(OLD.encode())])
    return [
        ring,
        KeyFile(file),
        Sealed([OLD, NEW]),
        HmacPseudonymiser(ring),
        SaltedPseudonymiser(None, key=[NEW, OLD]),  # type: ignore[arg-type]
        VaultPseudonymiser(None, key=[NEW, OLD]),  # type: ignore[arg-type]
        settle({"key": [NEW, OLD]}, {}, file.parent),
    ]


def test_keys_are_not_shown(file: Path) -> None:
    """Neither repr nor str shows a key, nor do they in a container."""
    for holder in holders(file):
        for text in (repr(holder), str(holder), repr([holder]), f"{holder}"):
            assert not any(secret[:20] in text for secret in (OLD, NEW)), type(holder)
    assert repr(KeyRing([Key(NEW.encode())])) == f"<KeyRing {SECOND}>"
    assert repr(KeyFile(file)) == f"<KeyFile {FIRST}>"


def test_keys_are_not_pickled_or_copied(file: Path) -> None:
    """What holds a key stays in its process."""
    for holder in holders(file):
        for make in (pickle.dumps, copy.copy, copy.deepcopy):
            if isinstance(holder, HmacPseudonymiser) and make is copy.copy:
                continue  # the same key in the same process
            if make is copy.copy and type(holder).__name__ == "Settings":
                continue
            with pytest.raises(TypeError) as caught:
                make(holder)
            assert not any(secret[:20] in str(caught.value) for secret in (OLD, NEW))


def shown_by(call: Callable[[], object]) -> str:
    """All that a tool shows that prints the variables of every frame below the test's own."""
    with pytest.raises((ConfigurationError, MapError)) as caught:
        call()
    error = caught.value
    shown = traceback.TracebackException(
        type(error), error, error.__traceback__, capture_locals=True
    )
    frames = [frame for frame in shown.stack if "test_keys" not in frame.filename]

    assert error.__cause__ is None
    assert error.__context__ is None
    assert frames
    return "".join([str(error), *(str(frame.locals) for frame in frames)])


LEAKS: dict[str, tuple[Callable[[], object], dict[str, str]]] = {
    "key that is short": (lambda: Key(b"planted-secret"), {}),
    "key that is text": (lambda: Key("planted-secret" * 3), {}),  # type: ignore[arg-type]
    "id that is none": (lambda: Key(b"planted-secret" * 3, "a planted-secret"), {}),
    "argument": (lambda: cxtrace.configure(key="planted-secret"), {}),
    "list": (lambda: cxtrace.configure(key=["planted-secret" * 3, "planted-secret"]), {}),
    "kind": (lambda: cxtrace.configure(key={"planted-secret" * 3}), {}),  # type: ignore[arg-type]
    "no text": (lambda: cxtrace.configure(key="planted-secret\ud800"), {}),
    "another setting": (lambda: cxtrace.configure(key="planted-secret" * 3, sample=7), {}),
    "the map": (lambda: cxtrace.configure(key="planted-secret" * 3, journey_map="/no/map"), {}),
    "environment": (lambda: cxtrace.configure(sample=7), {"CXTRACE_KEY": "planted-secret" * 3}),
    "short in the environment": (cxtrace.configure, {"CXTRACE_KEY": "planted-secret"}),
    "salts": (lambda: SaltedPseudonymiser(None, key="planted-secret"), {}),  # type: ignore[arg-type]
}


def test_no_traceback_shows_a_file_of_keys(tmp_path: Path) -> None:
    """Neither what stands in a file, nor one of its keys, where another of them is wrong."""
    path = tmp_path / "keys"
    path.write_text(f"{'planted-secret' * 3}\nplanted-secret")

    assert "planted-secret" not in shown_by(lambda: KeyFile(path))


@pytest.mark.parametrize("case", LEAKS)
def test_no_traceback_shows_a_key(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Tools that print the variables of every frame (rich, structlog, cgitb) find none in ours."""
    call, environ = LEAKS[case]
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert "planted-secret" not in shown_by(call)


KEPT = """
import gc, os, sys
import cxtrace

way, backwards = sys.argv[1], sys.stdin.readline().strip()
if way == "environment":
    os.environ["CXTRACE_KEY"] = backwards[::-1]
elif way == "file":
    with open("keys", "w") as file:
        file.write(backwards[::-1])
    os.environ["CXTRACE_KEY_FILE"] = "keys"
given = {"key": backwards[::-1]} if way == "argument" else {}
cxtrace.configure(exporter="none", **given)
del given
with cxtrace.customer("cust-42"), cxtrace.touchpoint("checkout.pay"):
    pass
gc.collect()
todo, seen, is_kept = gc.get_objects(), set(), False
while todo:
    each = todo.pop()
    if isinstance(each, (str, bytes, bytearray)):
        text = each if isinstance(each, str) else each.decode("latin-1")
        is_kept = is_kept or backwards[::-1] in text
    elif id(each) not in seen:
        seen.add(id(each))
        todo += gc.get_referents(each)
print(is_kept)
"""


@pytest.mark.parametrize(
    ("way", "shown"),
    [("argument", "False"), ("file", "False"), ("environment", "True")],
)
def test_no_object_of_the_process_holds_the_text_of_a_key(
    tmp_path: Path, way: str, shown: str
) -> None:
    """What is kept is the state of a hash; the environment keeps what somebody has put there."""
    done = subprocess.run(
        [sys.executable, "-c", KEPT, way],
        input=f"{OLD[::-1]}\n",
        env={k: v for k, v in os.environ.items() if not k.startswith(("CXTRACE_", "OTEL_"))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.strip() == shown, done.stderr


def test_a_setting_says_what_a_pseudonymiser_must_have() -> None:
    """Something else is refused when it is configured, not in a request."""
    with pytest.raises(ConfigurationError, match=r"must be one of cxtrace\.privacy"):
        settle({"pseudonymiser": object()}, {})


def test_a_new_key_waits_for_all_who_read_the_file() -> None:
    """All processes that share a file believe a key before one of them makes anything with it."""
    assert LEAD >= 2 * LOOK_EVERY
