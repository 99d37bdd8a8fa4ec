"""``cxtrace keys``: make a key, see the ids, and find what to search for."""

import io
import json
import re
from pathlib import Path

import pytest

from cxtrace.cli import main
from cxtrace.privacy import HmacPseudonymiser, Key, load_keys

OLD, NEW = "o" * 40, "n" * 40
ONE, TWO = Key(OLD.encode()), Key(NEW.encode(), "q2")

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two keys are in the environment."""
    monkeypatch.delenv("CXTRACE_KEY_FILE", raising=False)
    monkeypatch.setenv("CXTRACE_KEY", f"q2 = {NEW}\n{OLD}")


def test_a_new_key_is_good_and_each_time_another(capsys: Out) -> None:
    """What is printed is a key that can be used as it stands."""
    assert (main(["keys", "new"]), main(["keys", "new"])) == (0, 0)
    one, two = capsys.readouterr().out.splitlines()
    found = load_keys(one, {})

    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", one)
    assert one != two
    assert found is not None
    assert len(found.keys) == 1


def test_a_new_key_may_have_a_name(capsys: Out) -> None:
    """It is a line for a file of keys."""
    assert main(["keys", "new", "--id", "2026q3"]) == 0
    found = load_keys(capsys.readouterr().out, {})

    assert found is not None
    assert found.newest.key_id == "2026q3"


def test_a_new_key_as_json(capsys: Out) -> None:
    """Key and id, which is the fingerprint where no other is given."""
    assert main(["keys", "new", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert found["key_id"] == Key(found["key"].encode()).key_id


@pytest.mark.parametrize("key_id", ["a:b", "", "ephemeral"])
def test_a_name_that_is_none_is_refused(capsys: Out, key_id: str) -> None:
    """A key with such an id could not be read again."""
    assert main(["keys", "new", "--id", key_id]) == 2
    told = capsys.readouterr()

    assert told.out == ""
    assert "id" in told.err


def test_ids_are_shown_without_the_keys(capsys: Out) -> None:
    """The newest first, and no secret."""
    assert main(["keys", "show-id"]) == 0

    assert capsys.readouterr().out == (
        f"q2  makes pseudonyms and signatures\n{ONE.key_id}  is believed\n"
    )
    assert main(["keys", "show-id", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"key_id": "q2", "older_keys": [ONE.key_id]}


def test_the_keys_of_a_file_are_shown(capsys: Out, tmp_path: Path) -> None:
    """``--file`` comes before the environment."""
    file = tmp_path / "keys"
    file.write_text(OLD)

    assert main(["keys", "show-id", "--file", str(file)]) == 0
    assert capsys.readouterr().out == f"{ONE.key_id}  makes pseudonyms and signatures\n"


def test_pseudonyms_are_told_by_number_and_key(capsys: Out, tmp_path: Path) -> None:
    """Each customer has one under every key; the ids are not printed again."""
    assert main(["keys", "pseudonym", "cust-42", "cust-43"]) == 0
    told = capsys.readouterr().out
    one, two = HmacPseudonymiser(ONE), HmacPseudonymiser(TWO)

    assert told.splitlines() == [
        f"1  {two.pseudonym('cust-42')}  q2",
        f"1  {one.pseudonym('cust-42')}  {ONE.key_id}",
        f"2  {two.pseudonym('cust-43')}  q2",
        f"2  {one.pseudonym('cust-43')}  {ONE.key_id}",
    ]
    file = tmp_path / "keys"
    file.write_text(f"q2 = {NEW}\n{OLD}")
    assert main(["keys", "pseudonym", "--file", str(file), "cust-42", "cust-43"]) == 0
    assert capsys.readouterr().out == told


def test_ids_are_read_from_standard_input(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a line; blanks belong to an id, and empty lines are left out."""
    monkeypatch.setattr("sys.stdin", io.StringIO("cust-42\r\n\n cust 43 \n"))
    assert main(["keys", "pseudonym", "--tenant", "acme", "--json"]) == 0
    one, two = HmacPseudonymiser(ONE), HmacPseudonymiser(TWO)

    assert json.loads(capsys.readouterr().out) == [
        {"q2": two.pseudonym(whose, "acme"), ONE.key_id: one.pseudonym(whose, "acme")}
        for whose in ("cust-42", " cust 43 ")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arguments are required: ACTION"),
        (["old"], "invalid choice: 'old'"),
        (["show-id", "a"], "unrecognized arguments: a"),
        (["pseudonym", "--id", "a"], "unrecognized arguments: --id"),
        (["pseudonym", "--tenant", ""], "--tenant must be text"),
    ],
)
def test_wrong_use_is_told(capsys: Out, arguments: list[str], message: str) -> None:
    """Exit code 2, and what would be right."""
    assert main(["keys", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("action", ["new", "show-id", "pseudonym"])
def test_help_tells_of_each_action(capsys: Out, action: str) -> None:
    """The command's own help names every action, and each has one of its own."""
    assert main(["keys", "--help"]) == 0
    assert f"    {action}" in capsys.readouterr().out
    assert main(["keys", action, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_no_key_is_wrong_use(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pseudonym under a random key would be found nowhere."""
    monkeypatch.delenv("CXTRACE_KEY")

    assert main(["keys", "pseudonym", "cust-42"]) == 2
    assert "there is no key; set CXTRACE_KEY" in capsys.readouterr().err


def test_a_wrong_key_is_refused(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2; what is wrong is told, and not shown."""
    monkeypatch.setenv("CXTRACE_KEY", f"{NEW}\nplanted-secret")

    assert main(["keys", "show-id"]) == 2
    told = capsys.readouterr().err
    assert "line 2: the key has 14 bytes" in told
    assert "planted-secret" not in told
    assert main(["keys", "show-id", "--file", "/no/such/file"]) == 2
    assert "'/no/such/file' cannot be read: No such file" in capsys.readouterr().err
