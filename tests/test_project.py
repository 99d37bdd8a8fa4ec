"""Finding ``[tool.cxtrace]`` in the nearest ``pyproject.toml``."""

from pathlib import Path

import pytest

from cxtrace._project import tool_table
from cxtrace.exceptions import ConfigurationError


def write(folder: Path, text: str) -> Path:
    """Write the folder's ``pyproject.toml``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_table_of_this_folder(tmp_path: Path) -> None:
    """The table of the file beside the code is found, with the file it stands in."""
    path = write(tmp_path, '[tool.cxtrace]\nexporter = "none"\n')

    assert tool_table(tmp_path) == (path, {"exporter": "none"})


def test_table_of_a_folder_above(tmp_path: Path) -> None:
    """From a folder within the project its file is found."""
    path = write(tmp_path, "[tool.cxtrace]\nsample = 1\n")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)

    assert tool_table(inner) == (path, {"sample": 1})


def test_nearest_file_counts(tmp_path: Path) -> None:
    """The nearest file is the project's, even if only one further up has the table."""
    write(tmp_path, "[tool.cxtrace]\nsample = 1\n")
    path = write(tmp_path / "inner", "[project]\n")

    assert tool_table(tmp_path / "inner") == (path, {})


def test_folder_of_that_name_is_passed_over(tmp_path: Path) -> None:
    """A folder called ``pyproject.toml`` is no file."""
    path = write(tmp_path, "[tool.cxtrace]\nsample = 1\n")
    (tmp_path / "inner" / "pyproject.toml").mkdir(parents=True)

    assert tool_table(tmp_path / "inner") == (path, {"sample": 1})


def test_relative_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative start is looked at from the current folder, upwards too."""
    path = write(tmp_path, "[tool.cxtrace]\nsample = 1\n")
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)

    assert tool_table(Path("inner")) == (path, {"sample": 1})


def test_no_file_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any file up to the root there is neither file nor table."""
    monkeypatch.setattr(Path, "is_file", lambda self: False)

    assert tool_table(tmp_path) == (None, {})


@pytest.mark.parametrize("text", ["", "[tool]\n", "[tool.other]\na = 1\n", "tool = 7\n"])
def test_file_without_our_table(tmp_path: Path, text: str) -> None:
    """A file that does not speak of us gives an empty table."""
    assert tool_table(write(tmp_path, text).parent)[1] == {}


@pytest.mark.parametrize(
    "text", ["cxtrace = 7", 'cxtrace = "x"', "cxtrace = [1]", "[[tool.cxtrace]]"]
)
def test_table_that_is_none(tmp_path: Path, text: str) -> None:
    """``tool.cxtrace`` that is no table is an error that names the file."""
    path = write(tmp_path, text if text.startswith("[") else f"[tool]\n{text}\n")

    with pytest.raises(ConfigurationError) as caught:
        tool_table(tmp_path)
    assert str(caught.value) == f"{path}: tool.cxtrace must be a table"


def test_file_that_is_no_toml(tmp_path: Path) -> None:
    """A file with a mistake is an error that names the file and the line."""
    path = write(tmp_path, "[tool.cxtrace]\nsample = \n")

    with pytest.raises(ConfigurationError, match=r"cannot be read: .*line 2") as caught:
        tool_table(tmp_path)
    assert str(path) in str(caught.value)


def test_file_that_is_no_text(tmp_path: Path) -> None:
    """A file that is no UTF-8 is an error that names the file."""
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match=r"pyproject\.toml cannot be read: it is no text"):
        tool_table(tmp_path)


def test_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the operating system refuses is an error that says why."""
    path = write(tmp_path, "")

    def refuse(self: Path, encoding: str) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigurationError) as caught:
        tool_table(tmp_path)
    assert str(caught.value) == f"{path} cannot be read: Permission denied"


def test_folder_that_may_not_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder above that this user may not look into has no ``pyproject.toml`` for us."""

    def refuse(path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "is_file", refuse)

    assert tool_table(tmp_path) == (None, {})
