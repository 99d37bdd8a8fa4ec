"""``cxtrace check`` and the dispatcher that runs it."""

import json
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from cxtrace._map import find as _map_find
from cxtrace._map.lint import lint
from cxtrace.cli import COMMANDS, main
from cxtrace.cli.check import RULES
from cxtrace.journey_map import JourneyMap

ROOT = Path(__file__).parent.parent

MAP = """\
schema = "cxtrace.map/1"
name = "shop"
functions = { it = {}, sales = {} }
[[stage]]
name = "buy"
phase = "customer"
[[touchpoint]]
name = "cart.view"
stage = "buy"
owner = "it"
influence = { it = 0.6, sales = 0.4 }
[[touchpoint]]
name = "cart.add"
stage = "buy"
owner = "sales"
influence = { it = 0.4, sales = 0.6 }
[[journey]]
name = "look"
[journey.routes]
r = ["cart.view", "cart.add"]
"""
OVER_JOURNEYS = """\
[promise.soon]
claim = "Soon"
source = "sla"
metric = "journey.duration"
op = "<="
target = 1
unit = "d"
"""
CODE = 'import cxtrace\ncxtrace.touchpoint("cart.view")\ncxtrace.touchpoint("cart.add")\n'


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a map and code that follows it, in which the test runs."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "maps" / "m.toml").write_text(MAP, encoding="utf-8")
    (tmp_path / "src" / "shop.py").write_text(CODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CXTRACE_MAP", raising=False)
    monkeypatch.setattr(_map_find, "entry_points", lambda group: [])
    return tmp_path


@pytest.fixture
def change(shop: Path) -> Callable[[str, str], None]:
    """A function that writes something else into the map."""

    def change(right: str, wrong: str) -> None:
        assert right in MAP
        (shop / "maps" / "m.toml").write_text(MAP.replace(right, wrong), encoding="utf-8")

    return change


Run = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs a command and gives exit code, lines of output, and errors."""

    def run(*arguments: str) -> tuple[int, list[str], str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ["maps/m.toml"],
        ["maps"],
        ["maps/m.toml", "src"],
        ["maps/m.toml", "src/shop.py"],
        ["maps", "src"],
        ["maps/m.toml", "maps/m.toml", "src"],
        ["src", "maps/m.toml"],
    ],
)
def test_a_map_and_code_that_agree_pass(run: Run, arguments: list[str]) -> None:
    """Files and directories, one map file or many, in any order; what was looked at is said."""
    with_code = any("src" in argument for argument in arguments)
    where = " and 1 file of code" if with_code else "; no code was named, so none was checked"
    assert run("check", *arguments) == (0, [f"nothing found in the map{where}"], "")


def test_a_directory_may_hold_both(run: Run, shop: Path) -> None:
    """Where map and code lie in one directory, both are checked."""
    (shop / "journeys.toml").write_text(MAP, encoding="utf-8")
    (shop / "src" / "more.py").write_text('import cxtrace\ncxtrace.touchpoint("x")\n')
    code, out, _ = run("check", ".")

    assert code == 1
    assert out[-1] == "1 error in the map and 2 files of code"


def test_an_unknown_rule_is_wrong_use(run: Run) -> None:
    """A typing mistake in a rule's name must not pass for a rule that is ignored."""
    code, out, err = run("check", "--ignore", "not-emited", "maps")

    assert (code, out) == (2, [])
    assert err.startswith("cxtrace check: 'not-emited' is not a rule; the rules are map, ")


@pytest.mark.parametrize("module", ["_code_check", "_map.lint"])
def test_every_rule_can_be_ignored(module: str) -> None:
    """The rules that can be ignored are those that findings are made with."""
    source = Path(import_module(f"cxtrace.{module}").__file__ or "").read_text(encoding="utf-8")
    made = set(re.findall(r'"([a-z]+-[a-z-]+)"', source))

    assert made
    assert made <= set(RULES)


def test_the_map_may_be_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a map among the arguments, the usual places are searched."""
    monkeypatch.setenv("CXTRACE_MAP", "maps/m.toml")

    assert run("check")[0] == 0
    assert run("check", "src")[0] == 0


def test_where_no_map_is_found_the_use_is_wrong(run: Run) -> None:
    """The message says how to name one."""
    code, out, err = run("check", "src")

    assert (code, out) == (2, [])
    assert err == (
        "cxtrace check: no journey map is found; name one, or set CXTRACE_MAP or [tool.cxtrace]"
        " journey_map\n"
    )


def test_a_path_that_does_not_exist_is_wrong_use(run: Run) -> None:
    """A typing mistake in a path must not pass for code without findings."""
    assert run("check", "maps/m.toml", "scr") == (2, [], "cxtrace check: no such file: scr\n")


def test_mistakes_in_the_map_fail(run: Run, change: Callable[[str, str], None]) -> None:
    """All problems of the map are listed, and counted."""
    change('stage = "buy"', 'stage = "by"')
    code, out, _ = run("check", "maps", "src")

    assert code == 1
    assert out == [
        (
            "error: maps/m.toml:9: touchpoint[cart.view].stage:"
            ' "by" is not a stage of this map; did you mean "buy"? [map]'
        ),
        (
            "error: maps/m.toml:14: touchpoint[cart.add].stage:"
            ' "by" is not a stage of this map; did you mean "buy"? [map]'
        ),
        "2 errors in the map and 1 file of code",
    ]


def test_code_that_differs_fails(run: Run, shop: Path) -> None:
    """Findings in the code and touchpoints that no code emits come in one list."""
    (shop / "src" / "shop.py").write_text(
        CODE.replace("cart.add", "cart.ad") + "cxtrace.touchpoint(x)\n", encoding="utf-8"
    )
    code, out, _ = run("check", "maps", "src")

    assert code == 1
    assert [line.rpartition(" ")[2] for line in out] == [
        "[unknown-touchpoint]",
        "[not-checked]",
        "[not-emitted]",
        "code",
    ]
    assert out[-1] == "2 errors, 1 note in the map and 1 file of code"


def test_a_rule_can_be_ignored(run: Run, shop: Path) -> None:
    """A service that emits a part of a company's map need not hear about the rest."""
    (shop / "src" / "shop.py").unlink()

    assert run("check", "maps", "src")[0] == 1
    assert run("check", "--ignore", "not-emitted", "maps", "src")[0] == 0


def test_warnings_fail_a_strict_check_only(run: Run, change: Callable[[str, str], None]) -> None:
    """What looks wrong is told; it fails where one asks for it."""
    change(
        'r = ["cart.view", "cart.add"]', 'r = ["cart.view"]\n[[journey]]\nname="b"\ngoal="cart.add"'
    )
    code, out, _ = run("check", "maps")

    assert code == 0
    assert out[-1] == "1 warning in the map; no code was named, so none was checked"
    assert run("check", "--strict", "maps")[0] == 1


def test_series_are_counted(run: Run) -> None:
    """With --series each metric has a line, and what the map does not say is told."""
    code, out, _ = run("check", "--series", "maps")

    assert code == 0
    assert out[0].startswith("series: cx.nudge.outcomes 240 of 2,000")
    assert "series: cx.touchpoint.effort 4 of 2,000, in Prometheus 44" in out
    assert out[-2].startswith("series: assumed numbers of values: 20 for error.type, ")
    assert out[-1].startswith("nothing found in the map")


def test_series_are_data_too(run: Run) -> None:
    """With --json each metric is a note with its numbers, unless series are ignored."""
    notes = {item["key"]: item for item in json.loads("\n".join(run("check", "--json", "maps")[1]))}

    assert notes["cx.touchpoint.effort"] == {
        "rule": "series",
        "level": "note",
        "file": "shop",
        "line": 0,
        "key": "cx.touchpoint.effort",
        "message": "4 of 2,000 series in the worst case",
        "series": 4,
        "limit": 2000,
        "prometheus": 44,
    }
    assert run("check", "--json", "--ignore", "series", "maps")[1] == ["[]"]
    assert len(run("check", "--series", "--ignore", "series", "maps")[1]) == 1


def test_too_many_series_are_told(run: Run, change: Callable[[str, str], None]) -> None:
    """What OpenTelemetry could not keep apart is a warning, in text and once in JSON."""
    journeys = "".join(
        f'[[journey]]\nname = "j{n}"\n[journey.routes]\nr = ["cart.view", "cart.add"]\n'
        for n in range(50)
    )
    change("[[journey]]", f"{journeys}[[journey]]")
    code, out, _ = run("check", "maps")
    plain = json.loads("\n".join(run("check", "--json", "maps")[1]))

    assert code == 0
    assert out[0] == (
        "warning: shop: cx.touchpoint.duration: 2,496 series in the worst case, and OpenTelemetry"
        " keeps 2,000; send fewer journeys through the same touchpoints, or divide the map [series]"
    )
    assert [item["series"] for item in plain if item["level"] == "warning"] == [2496, 2496]
    assert run("check", "--strict", "maps")[0] == 1


def test_promises_over_journeys_need_no_touchpoint(
    run: Run, change: Callable[[str, str], None]
) -> None:
    """They are bound by where they end, or hold for every journey there is."""
    change("[[journey]]", OVER_JOURNEYS + 'ends = "cart.add"\n[[journey]]')
    assert run("check", "maps")[1][0].startswith("nothing found")

    change("[[journey]]", f"{OVER_JOURNEYS}[[journey]]")

    assert run("check", "maps")[1][0].startswith("nothing found")


def test_a_promise_over_journeys_needs_one(run: Run, change: Callable[[str, str], None]) -> None:
    """Where there is no journey and no end, it is never measured."""
    change(MAP[MAP.index("[[journey]]") :], OVER_JOURNEYS)

    assert "[unused-promise]" in "\n".join(run("check", "maps")[1])


def test_findings_are_data_too(run: Run, change: Callable[[str, str], None]) -> None:
    """With --json each finding is an object."""
    change('name = "shop"', "name = 3")
    code, out, _ = run("check", "--json", "maps")

    assert code == 1
    assert json.loads("\n".join(out)) == [
        {
            "rule": "map",
            "level": "error",
            "file": "maps/m.toml",
            "line": 2,
            "key": "name",
            "message": '3 is not text; write "3"',
        }
    ]


# Lint

WARNINGS = [
    (
        "sales = {} }",
        "sales = {}, finance = {} }",
        (
            "3: functions[finance]: no touchpoint is owned or influenced by this function;"
            " use it or remove it [unused-function]"
        ),
    ),
    (
        "[[journey]]",
        (
            '[promise.fast]\nclaim="c"\nsource="sla"\nmetric="delivered"\nop="<"\ntarget=1\nunit="1"\n'
            "[[journey]]"
        ),
        (
            "17: promise[fast]: no touchpoint makes this promise;"
            " add it to promises of one, or remove it [unused-promise]"
        ),
    ),
    (
        "[[journey]]",
        '[[touchpoint]]\nname="cart.empty"\nstage="buy"\nowner="it"\ninfluence={it=1}\n[[journey]]',
        (
            "17: touchpoint[cart.empty]: the touchpoint is on no route of any journey;"
            " add it to one [outside-journeys]"
        ),
    ),
    (
        "[[journey]]",
        '[[stage]]\nname="leave"\nphase="post_customer"\n[[journey]]',
        (
            "17: stage[leave]: the stage has no touchpoint;"
            " add one or remove the stage [empty-stage]"
        ),
    ),
    (
        "influence = { it = 0.6, sales = 0.4 }\n",
        "",
        (
            '7: touchpoint[cart.view]: the owner "it" has no influence on it;'
            " give it a weight in influence [owner-without-influence]"
        ),
    ),
    (
        "influence = { it = 0.6, sales = 0.4 }\n",
        "influence = { sales = 1 }\n",
        (
            '7: touchpoint[cart.view]: the owner "it" has no influence on it;'
            " give it a weight in influence [owner-without-influence]"
        ),
    ),
    (
        'owner = "sales"',
        'owner = "it"',
        (
            '17: journey[look]: all its touchpoints belong to "it";'
            " look for the parts of the journey that other functions own [one-function-journey]"
        ),
    ),
    (
        "cart.view",
        "cart.api_view",
        (
            '7: touchpoint[cart.api_view]: "api" is a word of the inside;'
            " say what the customer does [system-word]"
        ),
    ),
    (
        "cart.view",
        "cart.service_call",
        (
            '7: touchpoint[cart.service_call]: "service_call" is a word of the inside;'
            " say what the customer does [system-word]"
        ),
    ),
    (
        'owner = "sales"',
        'owner = "sales"\nmatch = { task = "shop.pay" }',
        (
            "18: journey[look]: no rule tells which requests are part of it;"
            ' add [request] with journey = { cookie = "visitor" }, or a header [journey-not-told]'
        ),
    ),
    (
        'owner = "sales"',
        'owner = "sales"\ndescription = "Ask Jane: jane@example.com"',
        (
            "12: touchpoint[cart.add]: its description seems to hold an e-mail address;"
            " keep people out of the map, but for the contact of a function [personal-value]"
        ),
    ),
    (
        'name = "buy"\nphase = "customer"\n',
        'name = "leave"\nphase = "post_customer"\n[[stage]]\nname = "buy"\nphase = "customer"\n',
        (
            '7: stage[buy]: a stage of phase "customer" follows one of "post_customer";'
            " check phase and order [phase-order]"
        ),
    ),
]


@pytest.mark.parametrize(("right", "wrong", "message"), WARNINGS)
def test_what_looks_wrong_is_told_with_its_place(
    run: Run, change: Callable[[str, str], None], right: str, wrong: str, message: str
) -> None:
    """Orphans, silos, inside-out names and stages in a strange order are warnings."""
    change(right, wrong)
    code, out, _ = run("check", "maps")

    assert code == 0
    assert f"warning: maps/m.toml:{message}" in out


@pytest.mark.parametrize(
    ("request_table", "rule"),
    [
        ('[request]\njourney = [{ cookie = "visitor" }]\n', ""),
        ("", ', journey = [{ cookie = "visitor" }]'),
    ],
)
def test_requests_whose_journey_is_told_are_right(
    run: Run, change: Callable[[str, str], None], request_table: str, rule: str
) -> None:
    """One rule is enough, for all requests or for those of a touchpoint."""
    matched = f'owner = "sales"\nmatch = {{ route = "POST /cart"{rule} }}'
    rest = MAP[MAP.index("[[stage]]") :]
    change(rest, request_table + rest.replace('owner = "sales"', matched))

    assert run("check", "--strict", "--ignore", "series", "maps")[1][0].startswith("nothing found")


def test_routes_may_go_back_in_stages() -> None:
    """A customer who comes back to an earlier stage is no reason for a warning."""
    assert lint(JourneyMap.load(ROOT / "examples/journeys.toml")) == []


def test_a_map_that_has_no_file_can_be_linted() -> None:
    """A map built in code has no places; its name stands instead."""
    journey_map = JourneyMap.loads(MAP)
    built = JourneyMap(name="built", stages=journey_map.stages)

    assert [str(finding.problem) for finding in lint(built)] == [
        "built: stage[buy]: the stage has no touchpoint; add one or remove the stage"
    ]


# Dispatcher


def test_without_a_command_the_commands_are_listed(run: Run) -> None:
    """No command is wrong use; --help is not."""
    code, out, _ = run()

    assert code == 2
    assert {line.split()[0] for line in out[2:-2]} == set(COMMANDS)
    assert run("--help") == (0, out, "")


def test_an_unknown_command_is_wrong_use(run: Run) -> None:
    """A near miss is guessed; otherwise the commands are listed."""
    assert run("chek")[2] == "cxtrace: 'chek' is not a command; did you mean check?\n"
    assert run("zzz")[0] == 2
    assert run("zzz")[2].startswith("cxtrace: 'zzz' is not a command; write one of: ")


@pytest.mark.parametrize("command", ["check", "map"])
def test_every_command_explains_itself(run: Run, command: str) -> None:
    """--help ends with an example."""
    code, out, _ = run(command, "--help")

    assert code == 0
    assert f"  cxtrace {command} " in "\n".join(out).split("example:\n")[1]


def test_a_wrong_option_is_wrong_use(run: Run) -> None:
    """An option that does not exist gives exit code 2."""
    assert run("check", "--no-such-option")[0] == 2


def test_the_arguments_of_the_process_are_the_default(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installed command passes no arguments."""
    monkeypatch.setattr(sys, "argv", ["cxtrace", "check", "maps"])

    assert main() == 0


def test_a_reader_that_goes_away_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cxtrace map | head` ends quietly."""

    class Closed:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())

    assert main(["check", "maps"]) == 0
    sys.stdout.close()


def test_the_version_is_told(run: Run) -> None:
    """``--version`` prints the installed version."""
    code, (line,), err = run("--version")

    assert (code, err) == (0, "")
    assert re.fullmatch(r"cxtrace \d\S*", line)
