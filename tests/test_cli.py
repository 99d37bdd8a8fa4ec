"""What all commands of ``cxtrace`` have in common: how they start, and how they refuse."""

import errno
import io
import os
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import cxtrace.__main__
from cxtrace.cli import COMMANDS, main, save
from cxtrace.platform.trouble import why

EXAMPLE = Path(__file__).parents[1] / "examples" / "journeys.toml"
URLS = (
    *("jaeger:16686", "http://", "http://[j", "http://j:x", "http://j:0", "http://j/?a=b"),
    *("http://j/#a", "javascript:alert(1)", ""),
)


def test_python_runs_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """``python -m cxtrace`` is the command; to import the module does nothing."""
    command = [sys.executable, "-m", "cxtrace", "map", str(EXAMPLE), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")

    assert main(["map", str(EXAMPLE), "--json"]) == 0
    assert (done.returncode, done.stdout) == (0, capsys.readouterr().out)
    assert vars(cxtrace.__main__)["main"] is main


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Where a terminal has 80 columns, no line of a help is longer, and its paragraphs stay."""
    monkeypatch.setenv("COLUMNS", "80")

    assert main([*filter(None, [name]), "--help"]) == 0
    help_text = capsys.readouterr().out
    assert [line for line in help_text.splitlines() if len(line) > 80] == []
    if name:
        said = [" ".join(each.split()) for each in help_text.split("\n\n")]
        told = (import_module(COMMANDS[name][0]).__doc__ or "").split("\n\n")
        assert said[1 : len(told) + 1] == [" ".join(each.split()) for each in told]


def test_who_looks_for_a_report_is_told_what_to_write(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """There is no ``cxtrace report``: what it is looked for is the living map."""
    assert main(["report"]) == 2
    assert "cxtrace map --live SOURCE" in capsys.readouterr().err

    assert main(["chekc"]) == 2
    assert "did you mean check?" in capsys.readouterr().err
    assert main(["nothing"]) == 2
    assert "write one of: check, collector" in capsys.readouterr().err


def test_the_exit_code_reaches_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command gives is the exit code of the process."""
    monkeypatch.setattr(sys, "argv", ["cxtrace", "nothing"])

    with pytest.raises(SystemExit) as leaving:
        runpy.run_path(cxtrace.__main__.__file__, run_name="__main__")
    assert leaving.value.code == 2


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "arguments",
    [
        ["dashboards", "--prometheus"],
        ["demo", "--otlp"],
        ["doctor", "--query"],
        ["link", "journey", "a", "--grafana"],
        ["map", "--jaeger"],
        ["rules", "--jaeger"],
        ["view", "spans.jsonl", "--jaeger"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_address_is_checked_alike(
    capsys: pytest.CaptureFixture[str], arguments: list[str], url: str
) -> None:
    """All commands refuse what is no address in the same words, and do not repeat it."""
    said = "write an address that begins with http:// or https://, such as http://HOST:PORT"

    assert main([*arguments, url]) == 2
    err = capsys.readouterr().err
    assert err.endswith(f"cxtrace {arguments[0]}: error: argument {arguments[-1]}: {said}\n")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "there is no such file or folder"),
        (errno.EACCES, "permission denied; change its rights, or name another"),
        (errno.EISDIR, "it is a folder; name a file"),
        (errno.ENOTDIR, "a file stands where a folder should be; name another"),
        (errno.EEXIST, "a file stands where a folder should be; name another"),
        (errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ],
)
def test_errors_of_files_have_words(number: int, words: str) -> None:
    """What the operating system says in numbers is said with what to do."""
    assert why(OSError(number, os.strerror(number), "file")) == words


def test_an_error_without_words_has_its_name() -> None:
    """Nothing is said rather than ``None``."""
    assert why(OSError()) == "OSError"


def test_a_file_is_saved_into_a_new_folder(tmp_path: Path) -> None:
    """Folders that are missing are made, as by the commands that generate files."""
    file = tmp_path / "a" / "b" / "map.txt"

    assert save("map", file, "ä\n") == 0
    assert file.read_bytes() == "ä\n".encode()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "No", "locked"), "locked: permission denied; change its"),
        (OSError(errno.EIO, "Input/output error"), "cxtrace map: Input/output error"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "what is read is no text in UTF-8"),
    ],
)
def test_no_traceback_is_shown_of_files(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    said: str,
) -> None:
    """What a command did not foresee of a file is one line, with exit code 2."""

    def run(_: object) -> int:
        raise error

    monkeypatch.setattr("cxtrace.cli.map.run", run)

    assert main(["map"]) == 2
    assert said in capsys.readouterr().err


def test_standard_input_that_is_no_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes that are no UTF-8 are refused, and not shown."""
    stdin = io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)

    assert main(["link", "journey", "--grafana", "http://g"]) == 2
    assert capsys.readouterr().err == "cxtrace link: what is read is no text in UTF-8\n"
