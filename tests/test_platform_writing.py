"""Generated files: how they are written, compared and printed; the names that Prometheus has."""

import argparse
import sys
from pathlib import Path

import pytest
import yaml

from cxtrace import attributes as names
from cxtrace.cli import _generated
from cxtrace.platform import prometheus
from cxtrace.platform.writing import (
    MOST_SHOWN,
    MissingExtraError,
    compare,
    json_text,
    made_by,
    write,
    yaml_text,
)

EXAMPLE = Path(__file__).parents[1] / "examples" / "journeys.toml"


def test_names_as_prometheus_has_them():
    """Dots become underscores; a unit of time and a counter add their words."""
    found = [
        prometheus.metric(name)
        for name in (
            names.METRIC_TOUCHPOINT_DURATION,
            names.METRIC_PROMISE_EVALUATIONS,
            names.METRIC_PROMISE_DELIVERED_RATIO,
            names.METRIC_COMPLAINT_UNRESOLVED,
        )
    ]

    assert found == [
        "cx_touchpoint_duration_seconds",
        "cx_promise_evaluations_total",
        "cx_promise_delivered_ratio",
        "cx_complaint_unresolved",
    ]


def test_names_of_what_no_service_of_ours_sends():
    """A gauge of shares adds its word, as bytes and percents do."""
    found = [
        prometheus.name_of("a.b", unit, kind)
        for unit, kind in (("1", "gauge"), ("By", "counter"), ("%", "gauge"), ("1", "histogram"))
    ]

    assert found == ["a_b_ratio", "a_b_bytes_total", "a_b_percent", "a_b"]


def test_a_selector_of_any_text():
    """Quotes, backslashes and line breaks of a value cannot end the string that it stands in."""
    found = prometheus.selector({names.STAGE_NAME: 'a"b\\c\nd', names.PROMISE_ID: "pay_fast"})

    assert found == 'cx_stage_name="a\\"b\\\\c\\nd", cx_promise_id="pay_fast"'


def test_yaml_is_read_back_as_it_was():
    """Keys keep their order, long lines stay whole, and a text of several lines is a block."""
    twice = ["a"]
    document = {"z": twice, "a": twice, "on": "yes", "text": "one\ntwo\n", "long": "word " * 60}

    text = yaml_text(document, "Made from a map.\n\nDo not edit.")

    assert text.startswith("# Made from a map.\n#\n# Do not edit.\nz:\n  - a\na:\n  - a\n")
    assert "text: |\n  one\n  two\n" in text
    assert yaml.safe_load(text) == document


def test_no_name_of_a_map_ends_the_first_line():
    """Line breaks, and what YAML refuses even in a comment, become a space."""
    first = made_by("rules", "a\nb\x00\u2028 c")

    assert first == "Made by `cxtrace rules` from the map a b c; do not edit."
    assert yaml.safe_load(yaml_text({"a": 1}, first)) == {"a": 1}


def test_without_pyyaml(monkeypatch):
    """The error names what is missing, and the extra that brings it."""
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(MissingExtraError, match=r"yaml is needed.*cxtrace\[platform\]"):
        yaml_text({})


def test_only_what_differs_is_written(tmp_path: Path):
    """A file that is as it should be is not touched; folders are made; what is no text differs."""
    files = {"rules/a.json": json_text({"a": "ä"}), "b.txt": "b\n"}
    (tmp_path / "b.txt").write_bytes(b"\xff")
    assert compare(files, tmp_path).changed == ("rules/a.json", "b.txt")

    first, second = write(files, tmp_path), write(files, tmp_path)

    assert (first.changed, first.same) == (("rules/a.json", "b.txt"), ())
    assert (second.changed, second.same) == ((), ("rules/a.json", "b.txt"))
    assert (tmp_path / "rules" / "a.json").read_text(encoding="utf-8") == '{\n  "a": "ä"\n}\n'


# What the commands share


def generated(*arguments: str, files=None):
    """The exit code of a command that makes files."""
    parser = argparse.ArgumentParser()
    _generated.add_arguments(parser)
    of_map = files or (lambda found: {"name.txt": f"{found.name}\n"})
    return _generated.generate("rules", parser.parse_args(arguments), of_map)


def test_one_file_is_printed_as_it_is(capsys):
    """Without a folder the text of the only file is all that is printed."""
    assert generated(str(EXAMPLE)) == 0

    assert capsys.readouterr().out == "shop\n"


def test_several_files_are_printed_with_their_names(capsys):
    """Each file stands below its name."""
    assert generated(str(EXAMPLE), files=lambda _: {"a": "1\n", "b": "2\n"}) == 0

    assert capsys.readouterr().out == "----- a\n1\n----- b\n2\n"


def test_a_folder_is_written_and_checked(tmp_path: Path, capsys):
    """``--check`` exits with 1 until the files are as the map has them, and writes nothing."""
    where = ("-o", str(tmp_path / "out"))

    codes = [generated(str(EXAMPLE), *where, *more) for more in (["--check"], [], ["--check"])]

    assert codes == [1, 0, 0]
    words = [line.split("  ")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert words == ["missing", "written", "as it is"]


def test_the_check_shows_what_differs(tmp_path: Path, capsys):
    """Below the name of the file stand the first lines of a unified diff, and how many follow."""
    lines = [f"{number}\n" for number in range(100)]
    (tmp_path / "a.txt").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "b.txt").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "c.txt").write_bytes(b"\xff")
    texts = {
        "a.txt": "".join([*lines[:50], "new\n", *lines[51:]]),
        "b.txt": "".join(f"changed {line}" for line in lines),
        "c.txt": "text\n",
    }

    assert generated(str(EXAMPLE), "-o", str(tmp_path), "--check", files=lambda _: texts) == 1

    found = capsys.readouterr().out.splitlines()
    assert found[:6] == [
        f"differs   {tmp_path / 'a.txt'}",
        "  @@ -50,3 +50,3 @@",
        "   49",
        "  -50",
        "  +new",
        "   51",
    ]
    assert found[6:9] == [f"differs   {tmp_path / 'b.txt'}", "  @@ -1,100 +1,100 @@", "  -0"]
    assert found[-2:] == ["  … and 181 more lines", f"differs   {tmp_path / 'c.txt'}"]
    assert len(found) == 6 + 1 + MOST_SHOWN + 1 + 1


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys):
    """The error names what is in the way and says why, and nothing is raised."""
    file = tmp_path / "file"
    file.touch()

    assert generated(str(EXAMPLE), "-o", str(file)) == 2
    assert f"{file} cannot be written: a file stands where" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--check",), 2, "name it with -o"),
        (("nowhere.toml",), 2, "no such file: nowhere.toml"),
        ((), 2, "no journey map is found"),
        (("bad.toml",), 1, "bad.toml"),
    ],
)
def test_wrong_use(tmp_path: Path, monkeypatch, capsys, arguments, code, message):
    """What is wrong is said with what to do; a map with errors is a finding."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CXTRACE_MAP", raising=False)
    (tmp_path / "bad.toml").write_text("nonsense = 1\n", encoding="utf-8")

    assert generated(*arguments) == code
    assert message in capsys.readouterr().err


def test_a_missing_extra_is_said(capsys):
    """A command that needs the extra says how to get it."""

    def files(_: object) -> dict[str, str]:
        raise MissingExtraError("install it")

    assert generated(str(EXAMPLE), files=files) == 2
    assert capsys.readouterr().err == "cxtrace rules: install it\n"
