"""``cxtrace map`` draws a journey map."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace._map import find as _map_find
from cxtrace.cli import _drawing, main
from cxtrace.cli.map import glyphs, paper
from cxtrace.journey_map import JourneyMap, json_schema
from tests.strategies import journey_maps

ROOT = Path(__file__).parent.parent
EXAMPLE = str(ROOT / "semconv/example-map.toml")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """A function that runs ``cxtrace map`` away from any map, 80 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CXTRACE_MAP", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(_map_find, "entry_points", lambda group: [])

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["map", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_units_are_drawn_as_people_write_them(run: Run) -> None:
    """A unit that is none is left out, and one in braces is drawn without them."""
    _, out, _ = run(str(ROOT / "examples" / "journeys.toml"))

    assert "touchpoint.success >= 1 for 98% " in out
    assert "touchpoint.effort <= 3 action for 90% " in out
    assert "touchpoint.duration <= 2 s for 99% " in out


def test_the_map_is_drawn_for_people(run: Run) -> None:
    """Stages in order with their touchpoints, then journeys, promises and functions."""
    code, out, _ = run(EXAMPLE)

    assert code == 0
    assert out == (
        """\
retail 7
5 functions · 3 stages · 5 touchpoints · 1 promise · 2 journeys

1 awareness · before they are customers ────────────────────────────────────────
  home.search         owner marketing · web, mobile_app
                      ██████████████▓▓▓▓▓▓  marketing 70%  it 30%
  store.visit         owner sales · store
                      ████████████████████  sales 100%

2 purchase · while they are customers ──────────────────────────────────────────
  phone.order         owner sales · phone
                      ████████████████▓▓▓▓  sales 80%  it 20%
  checkout.pay        owner product · web, mobile_app · customer begins ·
                      3 actions
                      ██████████▓▓▓▓▓▓▒▒▒▒  product 50%  it 30%  finance 20%
                      promises pay_fast
                      friction repeat_action
                      interactions enter_card_number, confirm

3 former_customer · after they were customers ──────────────────────────────────
  newsletter.winback  owner marketing · email · company begins
                      ████████████████████  marketing 100%

journeys ───────────────────────────────────────────────────────────────────────
  first_order to checkout.pay
    express   home.search → checkout.pay ◎
    assisted  store.visit → phone.order → checkout.pay ◎
  win_back to checkout.pay
    letter    newsletter.winback → home.search → checkout.pay ◎

promises ───────────────────────────────────────────────────────────────────────
  pay_fast  touchpoint.duration <= 10 s for 99% (brand_claim) “Pay in under ten
            seconds”

functions ──────────────────────────────────────────────────────────────────────
  it         owns 0, shapes 3
  marketing  owns 2, shapes 2
  sales      owns 2, shapes 2
  finance    owns 0, shapes 1
  product    owns 1, shapes 1
"""
    )


def test_contacts_and_importance_are_drawn(run: Run) -> None:
    """Who to reach, what is critical and what a journey is about are part of the drawing."""
    _, out, _ = run(str(ROOT / "examples/journeys.toml"))

    assert "  finance    owns 3, shapes 4  #team-payments" in out
    assert "owner product · critical · web, mobile_app" in out
    assert "  return_goods to return.refund It did not fit" in out
    assert " · 1 action\n" in out
    assert "<= 48 h from order.confirm to delivery.ship for 97%" in " ".join(out.split())


@given(journey_maps(), st.integers(40, 120))
def test_any_map_can_be_drawn(journey_map: JourneyMap, width: int) -> None:
    """Whatever a map leaves out or overdoes, every touchpoint is in its drawing."""
    lines = list(_drawing.draw(journey_map, _drawing.paper(width, _drawing.UNICODE)))

    assert set(journey_map.touchpoints) <= {
        line.split()[0] for line in lines if re.match("  [a-z]", line)
    }


@pytest.mark.parametrize("width", [60, 100])
def test_lines_end_where_the_terminal_ends(width: int) -> None:
    """Only a single word that is too long may stick out."""
    journey_map = JourneyMap.load(ROOT / "examples/journeys.toml")
    lines = list(_drawing.draw(journey_map, _drawing.paper(width, _drawing.UNICODE)))

    assert [line for line in lines if len(line) > width and len(line.split()) > 4] == []


def test_a_long_name_has_a_line_of_its_own() -> None:
    """A name that reaches into the second column is not cut."""
    name = "a" * 60
    journey_map = JourneyMap.load(EXAMPLE)
    text = journey_map.dump().replace("home.search", name)
    lines = list(_drawing.draw(JourneyMap.loads(text), _drawing.paper(80, _drawing.UNICODE)))

    assert lines[lines.index(f"  {name}") + 1].strip().startswith("owner marketing")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal there is colour, unless NO_COLOR is set or the terminal is dumb."""
    journey_map = JourneyMap.load(EXAMPLE)

    def draw(stream: io.StringIO, environ: dict[str, str]) -> str:
        return "\n".join(_drawing.draw(journey_map, paper(journey_map, stream, environ)))

    plain = draw(Terminal(), {"NO_COLOR": "1"})
    coloured = draw(Terminal(), {})

    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert draw(Terminal(), {"TERM": "dumb"}) == plain


def test_nothing_is_coloured_where_it_is_kept(run: Run) -> None:
    """What is written to a file or a pipe has no escape codes."""
    assert "\x1b[" not in run(EXAMPLE)[1]


def test_a_terminal_without_our_characters_gets_others() -> None:
    """An encoding without arrows and blocks still shows a map."""
    drawn = "\n".join(_drawing.draw(JourneyMap.load(EXAMPLE), _drawing.paper(80, glyphs("ascii"))))

    assert drawn.isascii()
    assert "##########======----  product 50%" in drawn
    assert "home.search -> checkout.pay *" in drawn


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", "█"), ("cp1252", "#"), (None, "#")])
def test_characters_follow_the_encoding(encoding: str | None, expected: str) -> None:
    """Of an unknown encoding nothing is expected."""
    assert glyphs(encoding).shades[0] == expected


def test_nothing_has_no_line() -> None:
    """Where there is no piece to lay, there is no empty line."""
    assert list(_drawing.paper(80, _drawing.ASCII).flow([], ", ", 2)) == []


def test_a_bar_is_as_long_as_its_shares() -> None:
    """Many shares fill the same twenty cells; the last shade repeats."""
    shares = {"a": 0.3, "b": 0.2, "c": 0.2, "d": 0.1, "e": 0.1, "f": 0.1}

    assert _drawing.bar(shares, _drawing.ASCII) == "######====----......"


def test_the_map_is_drawn_for_wikis(run: Run) -> None:
    """The whole map, or one journey of it, as a Mermaid diagram."""
    whole = run("--format", "mermaid", EXAMPLE)
    one = run("--format", "mermaid", "--journey", "win_back", EXAMPLE)

    assert whole[1].startswith("journey\n    title retail\n    section awareness\n")
    assert one[1].startswith("journey\n    title win_back\n    section letter\n")


def test_the_map_is_data_too(run: Run) -> None:
    """--format json, --json for short, gives the form of the file, version and orders included."""
    code, out, _ = run("--format", "json", EXAMPLE)
    document = json.loads(out)

    assert code == 0
    assert run("--json", EXAMPLE)[1] == out
    assert document["version"] == "7"
    assert document["stage"][1] == {"name": "purchase", "phase": "customer", "order": 2}
    assert document["journey"][1] == {
        "name": "win_back",
        "goal": "checkout.pay",
        "routes": {"letter": ["newsletter.winback", "home.search", "checkout.pay"]},
    }


def test_the_map_can_be_written_as_one_file(run: Run) -> None:
    """--format toml merges the files of several teams."""
    out = run("--format", "toml", EXAMPLE)[1]

    assert JourneyMap.loads(out) == JourneyMap.load(EXAMPLE)


def test_the_schema_needs_no_map(run: Run) -> None:
    """--format schema prints what editors complete and check with."""
    code, out, _ = run("--format", "schema")

    assert (code, json.loads(out)) == (0, json_schema())


def test_a_wrong_map_is_told(run: Run, tmp_path: Path) -> None:
    """Nothing is drawn, and all problems are listed."""
    (tmp_path / "m.toml").write_text('schema = "cxtrace.map/1"\n', encoding="utf-8")
    code, out, err = run("m.toml")

    assert (code, out) == (1, "")
    assert err == (
        "the journey map has 1 problem:\n"
        'm.toml:1: name: the map has no name; add name = "shop" to one file\n'
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.toml"], "no such file: absent.toml"),
        ([], "no journey map is found; name one, or set CXTRACE_MAP or [tool.cxtrace] journey_map"),
        (
            ["--format", "mermaid", "--journey", "x", EXAMPLE],
            'the map has no journey "x"; write one of: first_order, win_back',
        ),
        (
            ["--format", "mermaid", "--journey", "first_ordr", EXAMPLE],
            'the map has no journey "first_ordr"; did you mean "first_order"?',
        ),
    ],
)
def test_wrong_use_is_told(run: Run, arguments: list[str], message: str) -> None:
    """A missing file, no map at all, an unknown journey: exit code 2."""
    assert run(*arguments) == (2, "", f"cxtrace map: {message}\n")


# What is read is not written over


def test_a_map_is_not_written_over(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drawing does not take the place of the map, be it named, in a folder, or found."""
    shop = tmp_path / "shop.toml"
    text = (ROOT / "examples/journeys.toml").read_text(encoding="utf-8")
    shop.write_text(text, encoding="utf-8")
    found = []
    for maps in (["shop.toml"], [str(tmp_path)], []):
        monkeypatch.setenv("CXTRACE_MAP", "shop.toml" if not maps else "")
        found.append(run(*maps, "-o", "shop.toml"))

    assert [(code, out) for code, out, _ in found] == [(2, "")] * 3
    assert {err for _, _, err in found} == {
        "cxtrace map: shop.toml is what is read: write to another file\n"
    }
    assert shop.read_text(encoding="utf-8") == text
    assert run(str(shop), "-o", "drawing.txt")[0] == 0


def test_measurements_are_not_written_over(run: Run, tmp_path: Path) -> None:
    """A page does not take the place of the recording that it shows."""
    recording = tmp_path / "a.jsonl"
    recording.write_text("{}\n", encoding="utf-8")
    code, _, err = run(
        str(ROOT / "examples/journeys.toml"), "--live", str(recording), "-o", str(recording)
    )

    assert (code, recording.read_text(encoding="utf-8")) == (2, "{}\n")
    assert "is what is read" in err
