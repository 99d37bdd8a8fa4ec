"""Loading, merging, writing and finding journey maps."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from cxtrace._happy import parse
from cxtrace._map import find as _map_find
from cxtrace._map.dump import duration
from cxtrace._model import (
    FRICTION_RULES,
    Friction,
    FrictionRule,
    Function,
    Journey,
    Match,
    OutcomeRule,
    Place,
    Promise,
    Requests,
    Stage,
    Teller,
    Touchpoint,
)
from cxtrace.exceptions import MapError
from cxtrace.journey_map import JourneyMap, json_schema
from tests.strategies import journey_maps

ROOT = Path(__file__).parent.parent

SMALL = """\
schema = "cxtrace.map/1"
name = "small"
[functions]
it = {}
[[stage]]
name = "use"
phase = "customer"
[[touchpoint]]
name = "door.open"
stage = "use"
owner = "it"
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a file below the directory of the test."""

    def write(name: str, text: str = SMALL) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@given(journey_maps())
def test_a_map_survives_being_written_and_read(journey_map: JourneyMap) -> None:
    """load(dump(map)) == map, and so is its version."""
    again = JourneyMap.loads(journey_map.dump())

    assert again == journey_map


@pytest.fixture(scope="module")
def validator() -> Any:
    """Checks whether something fits the schema."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator.check_schema(json_schema())
    return jsonschema.Draft7Validator(json_schema())


@given(journey_map=journey_maps())
def test_every_map_fits_the_schema_of_editors(validator: Any, journey_map: JourneyMap) -> None:
    """What we accept, the JSON Schema accepts."""
    plain = json.loads(json.dumps(journey_map.to_dict()))

    validator.validate(plain)


def test_the_schema_in_the_repository_is_the_generated_one() -> None:
    """To write it anew: cxtrace map --format schema > schema/journey-map.schema.json."""
    committed = json.loads((ROOT / "schema/journey-map.schema.json").read_text(encoding="utf-8"))

    assert json_schema() == committed


@pytest.mark.parametrize("path", ["semconv/example-map.toml", "examples/journeys.toml"])
def test_the_maps_of_the_repository_are_valid(path: str) -> None:
    """The example maps load, and survive being written."""
    journey_map = JourneyMap.load(ROOT / path)

    assert JourneyMap.loads(journey_map.dump()) == journey_map


def test_a_map_holds_what_its_file_says() -> None:
    """Every key of the grammar arrives in its field."""
    loaded = JourneyMap.loads(
        """
        schema = "cxtrace.map/1"
        name = "retail"
        version = "7"
        context = ["weather"]
        [request]
        customer = [{ user = "pk" }, { cookie = "visitor", kind = "anonymous" }]
        journey = { header = "X-Journey-Id" }
        [functions]
        it = { contact = "#it", happy = "value.amount > 1" }
        [friction]
        slow = { after = "5s", severity = "low" }
        suppress = ["backtrack"]
        [[stage]]
        name = "purchase"
        phase = "customer"
        order = 4
        [promise.pay_fast]
        claim = "Pay fast"
        source = "sla"
        metric = "touchpoint.duration"
        op = "<="
        target = 2
        unit = "s"
        objective = 0.99
        exceeded_at = 1
        [promise.deliver]
        claim = "Deliver"
        source = "sla"
        metric = "journey.duration"
        op = "<="
        target = 2
        unit = "d"
        begins = "cart.view"
        ends = "checkout.pay"
        [[touchpoint]]
        name = "cart.view"
        stage = "purchase"
        owner = "it"
        [[touchpoint]]
        name = "checkout.pay"
        description = "Two\\nlines"
        stage = "purchase"
        channel = ["web", "email"]
        initiator = "customer"
        type = "action"
        owner = "it"
        influence = { it = 1 }
        interactions = ["confirm"]
        expected_actions = 0
        promises = ["pay_fast"]
        friction = { slow = { after = "1.5s" }, repeat_contact = { count = 4 }, suppress = ["slow"]}
        match = [
          { route = "POST /pay/{order}", outcome = { status = "4xx", is = "failed" } },
          { task = "shop.pay", customer = [{ header = "X-Id", kind = "account" }] },
        ]
        importance = "critical"
        [[journey]]
        name = "order"
        description = "An order"
        goal = "checkout.pay"
        [journey.routes]
        express = ["checkout.pay"]
        """
    )
    friction = Friction(
        {
            "slow": FrictionRule("slow", after=1.5, severity="low"),
            "repeat_contact": FrictionRule("repeat_contact", 4, 86_400.0),
        },
        ("slow",),
    )

    assert loaded == JourneyMap(
        name="retail",
        version="7",
        context=("weather",),
        request=Requests(
            (Teller(user="pk"), Teller(cookie="visitor", kind="anonymous")),
            (Teller(header="X-Journey-Id"),),
        ),
        functions={"it": Function("it", "#it", "value.amount > 1")},
        friction=Friction({"slow": FrictionRule("slow", after=5.0, severity="low")}, ["backtrack"]),
        stages={"purchase": Stage("purchase", "customer", 4)},
        promises={
            "pay_fast": Promise(
                "pay_fast",
                "Pay fast",
                "sla",
                "touchpoint.duration",
                "<=",
                2.0,
                "s",
                0.99,
                exceeded_at=1.0,
            ),
            "deliver": Promise(
                "deliver",
                "Deliver",
                "sla",
                "journey.duration",
                "<=",
                2.0,
                "d",
                begins="cart.view",
                ends="checkout.pay",
            ),
        },
        touchpoints={
            "cart.view": Touchpoint("cart.view", "purchase", "it"),
            "checkout.pay": Touchpoint(
                "checkout.pay",
                "purchase",
                "it",
                ("web", "email"),
                "customer",
                "action",
                {"it": 1.0},
                ("confirm",),
                0,
                ("pay_fast",),
                friction,
                (
                    Match("POST /pay/{order}", outcome=(OutcomeRule("failed", "4xx"),)),
                    Match(task="shop.pay", customer=(Teller("X-Id", kind="account"),)),
                ),
                "critical",
                "Two\nlines",
            ),
        },
        journeys={
            "order": Journey("order", "checkout.pay", {"express": ("checkout.pay",)}, "An order")
        },
    )


def test_a_map_says_what_it_is_in_short() -> None:
    """The repr counts what matters."""
    journey_map = JourneyMap.load(ROOT / "semconv/example-map.toml")

    assert repr(journey_map) == "<JourneyMap retail 7: 3 stages, 5 touchpoints, 2 journeys>"


def test_stages_are_in_the_order_of_the_file() -> None:
    """A stage without an order comes one after the stage before it."""
    text = 'schema = "cxtrace.map/1"\nname = "x"\n'
    for name, order in (("a", ""), ("b", "order = 10"), ("c", ""), ("d", "order = 5")):
        text += f'[[stage]]\nname = "{name}"\nphase = "customer"\n{order}\n'
    stages = JourneyMap.loads(text).stages

    assert {name: stage.order for name, stage in stages.items()} == {
        "a": 1,
        "b": 10,
        "c": 11,
        "d": 5,
    }


def test_without_a_version_a_digest_takes_its_place() -> None:
    """The digest has the form that cx.map.version documents."""
    version = JourneyMap.loads(SMALL).version

    assert version.startswith("sha256:")
    assert len(version) == len("sha256:") + 12


def test_the_digest_follows_what_the_map_says() -> None:
    """Comments and the order of definitions leave the digest alone; a change does not."""
    before = JourneyMap.loads(SMALL)
    commented = JourneyMap.loads(f"# a comment\n{SMALL}")
    changed = JourneyMap.loads(SMALL.replace("door.open", "door.close"))

    assert commented.version == before.version
    assert changed.version != before.version


def test_a_digest_is_not_written_out() -> None:
    """The text of a map without a version has none, so that its digest stays true when edited."""
    assert "version" not in JourneyMap.loads(SMALL).dump()
    assert 'version = "2"' in JourneyMap.loads(f'version = "2"\n{SMALL}').dump()


def test_places_point_to_where_things_are_defined(write: Callable[..., Path]) -> None:
    """Each definition has its file and line; they do not count when maps are compared."""
    path = write("m.toml")
    journey_map = JourneyMap.load(path)

    assert journey_map.places == {
        ("functions", "it"): Place(str(path), 4),
        ("stage", "use"): Place(str(path), 5),
        ("touchpoint", "door.open"): Place(str(path), 8),
    }
    assert journey_map == JourneyMap.loads(f"\n\n{SMALL}")


# What takes effect

RULES = """\
[promise.fast]
claim = "c"
source = "sla"
metric = "touchpoint.duration"
op = "<="
target = 500
unit = "ms"
[promise.faster]
claim = "c"
source = "sla"
metric = "touchpoint.duration"
op = "<"
target = 0.4
unit = "s"
[promise.slowly]
claim = "c"
source = "sla"
metric = "touchpoint.duration"
op = ">="
target = 0.1
unit = "s"
[promise.all]
claim = "c"
source = "sla"
metric = "journey.duration"
ends = "door.open"
op = "<="
target = 1
unit = "h"
"""


def friction(top: str = "", at: str = "", promises: str = "[]") -> tuple[FrictionRule, ...]:
    """The rules at a touchpoint, by what the map says in general, and what it says there."""
    text = SMALL.replace("[[stage]]", f"[friction]\n{top}\n{RULES}[[stage]]")
    point = f"promises = {promises}\nfriction = {{ {at} }}\n"
    return JourneyMap.loads(text + point).friction_at("door.open")


def test_without_rules_nothing_is_friction() -> None:
    """A map that says nothing finds nothing, at its touchpoints and elsewhere."""
    small = JourneyMap.loads(SMALL)

    assert (small.friction_at("door.open"), small.friction_at("elsewhere")) == ((), ())


def test_a_rule_needs_no_keys() -> None:
    """What is left out has a default."""
    rules = "repeat_action = {}, error_streak = {}, validation_loop = {}, backtrack = {}"

    assert friction(at=f"{rules}, repeat_contact = {{}}") == (
        FrictionRule("repeat_action", 3, 10.0, None, "medium"),
        FrictionRule("error_streak", 3, 600.0, None, "high"),
        FrictionRule("validation_loop", 3, 300.0, None, "high"),
        FrictionRule("backtrack", None, None, None, "low"),
        FrictionRule("repeat_contact", 3, 86_400.0, None, "medium"),
    )


def test_every_rule_is_described() -> None:
    """The reference of the map names each rule with the friction that it finds."""
    text = (ROOT / "docs/reference/map.md").read_text(encoding="utf-8")
    lines = {name: rule.type for name, rule in FRICTION_RULES.items()}

    assert all(re.search(rf"\| `{name}` \|.*\| `{kind}` \|", text) for name, kind in lines.items())


def test_a_touchpoint_takes_over_what_it_does_not_say() -> None:
    """A key that the touchpoint leaves out is that of the map; other rules of the map stay."""
    top = 'repeat_action = { count = 5, within = "1min" }\nbacktrack = {}'

    assert friction(top, 'repeat_action = { severity = "high" }') == (
        FrictionRule("repeat_action", 5, 60.0, None, "high"),
        FrictionRule("backtrack", severity="low"),
    )


def test_the_rules_of_the_map_are_for_all() -> None:
    """A touchpoint that no map plans has them too."""
    text = SMALL.replace(
        "[[stage]]", "[friction]\nbacktrack = {}\nslow = { after = '3s' }\n[[stage]]"
    )
    rules = (FrictionRule("backtrack", severity="low"), FrictionRule("slow", after=3.0))
    journey_map = JourneyMap.loads(text)

    assert journey_map.friction_at("door.open") == rules
    assert journey_map.friction_at("elsewhere") == rules


@pytest.mark.parametrize(
    ("top", "at", "promises", "after"),
    [
        ("", "", "[]", None),
        ("", "", '["fast"]', 0.5),
        ("", "", '["fast", "faster"]', 0.4),
        ("", "", '["slowly", "all"]', None),
        ("", 'slow = { after = "1s" }', '["fast"]', 1.0),
        ("", 'slow = { severity = "low" }', '["fast"]', 0.5),
        ("", 'suppress = ["slow"]', '["fast"]', None),
        ("slow = { after = '3s' }", "", "[]", 3.0),
        ("slow = { after = '3s' }", "", '["fast"]', 0.5),
        ("slow = { after = '3s' }", "slow = {}", "[]", 3.0),
        ("slow = { after = '3s' }", "slow = {}", '["fast"]', 0.5),
        ("slow = { after = '3s' }", 'suppress = ["slow"]', "[]", None),
        ("slow = {}", "", "[]", None),
        ("slow = {}", "", '["fast"]', 0.5),
        ("suppress = ['slow']", "", '["fast"]', None),
        ("suppress = ['slow']", "slow = {}", '["fast"]', 0.5),
    ],
)
def test_slow_is_what_breaks_the_promise(
    top: str, at: str, promises: str, after: float | None
) -> None:
    """The touchpoint's own rule comes first, then its strictest promise, then that of the map."""
    rules = {rule.name: rule.after for rule in friction(top, at, promises)}

    assert rules == ({} if after is None else {"slow": after})


def test_the_severity_of_slow_is_that_of_the_map() -> None:
    """A promise says when it is slow, and the map how bad that is."""
    (rule,) = friction('slow = { after = "3s", severity = "blocking" }', "", '["fast"]')

    assert rule == FrictionRule("slow", after=0.5, severity="blocking")


def test_promises_are_measured_where_they_are_made_or_end() -> None:
    """A promise over a part of a journey is at home where that part ends, and named once."""
    text = SMALL.replace("[[stage]]", f"{RULES}[[stage]]")
    made = JourneyMap.loads(text + 'promises = ["fast"]\n')
    both = JourneyMap.loads(text + 'promises = ["all", "fast"]\n')

    assert [promise.id for promise in made.promises_at("door.open")] == ["fast", "all"]
    assert [promise.id for promise in both.promises_at("door.open")] == ["all", "fast"]
    assert made.promises_at("elsewhere") == ()


def test_a_map_built_in_code_may_lack_what_it_names() -> None:
    """A promise that is not there is not measured, and nothing fails."""
    built = JourneyMap(
        name="built", touchpoints={"a": Touchpoint("a", "s", "it", promises=("gone",))}
    )

    assert built.promises_at("a") == ()


def test_happiness_is_parsed_once() -> None:
    """Functions that say what happy means have a predicate, which is no part of the text."""
    loaded = JourneyMap.loads(
        SMALL.replace("it = {}", "it = { happy = 'value.amount > 1' }\nhr = {}")
    )
    built = JourneyMap(name="built", functions={"it": Function("it", None, "what?")})

    assert loaded.happiness == {"it": parse("value.amount > 1")}
    assert loaded.happiness is loaded.happiness
    assert built.happiness == {}
    assert "happiness" not in loaded.dump()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.001, "1ms"),
        (0.25, "250ms"),
        (1.0, "1s"),
        (1.5, "1500ms"),
        (90.0, "90s"),
        (600.0, "10min"),
        (86_400.0, "1d"),
        (604_800.0, "1wk"),
        (0.123456789, "0.123456789s"),
    ],
)
def test_durations_are_written_as_people_write_them(seconds: float, text: str) -> None:
    """The largest unit that gives a whole number is taken."""
    assert duration(seconds) == text


# Many files


def test_the_files_of_teams_become_one_map(write: Callable[..., Path]) -> None:
    """What one file defines, another may use; what two define the same way is one thing."""
    one = write("one.toml", SMALL)
    two = write(
        "two.toml",
        SMALL.replace("door.open", "door.close")
        + '[[journey]]\nname = "in_out"\n[journey.routes]\nr = ["door.open", "door.close"]\n',
    )
    journey_map = JourneyMap.load(one, two)

    assert list(journey_map.touchpoints) == ["door.open", "door.close"]
    assert list(journey_map.stages) == ["use"]


def test_one_file_names_the_map(write: Callable[..., Path]) -> None:
    """Name and version need to stand in one file only; allow-lists add up."""
    one = write("one.toml", SMALL)
    two = write("two.toml", 'schema = "cxtrace.map/1"\nversion = "3"\ncontext = ["weather"]\n')
    journey_map = JourneyMap.load(one, two)

    assert (journey_map.name, journey_map.version) == ("small", "3")
    assert journey_map.context == ("weather",)


def test_the_place_of_a_stage_may_stand_in_one_file_only(write: Callable[..., Path]) -> None:
    """A team that lists some stages without their order does not contradict the others."""
    one = write("one.toml", SMALL.replace('phase = "customer"', 'phase = "customer"\norder = 7'))
    two = write("two.toml", SMALL)

    assert JourneyMap.load(one, two).stages["use"].order == 7


def test_rules_for_friction_add_up(write: Callable[..., Path]) -> None:
    """Each file may bring rules for all touchpoints, and say which are switched off."""
    head = SMALL.partition("[functions]")[0]
    one = write("one.toml", SMALL)
    two = write("two.toml", head + '[friction]\nbacktrack = {}\nsuppress = ["slow"]\n')
    three = write("three.toml", head + "[friction]\nbacktrack = {}\nerror_streak = {}\n")
    journey_map = JourneyMap.load(one, two, three)

    assert set(journey_map.friction.rules) == {"backtrack", "error_streak"}
    assert journey_map.friction.suppress == ("slow",)
    assert journey_map.places[("friction", "backtrack")] == Place(str(two), 4)


def test_a_directory_stands_for_its_maps(write: Callable[..., Path], tmp_path: Path) -> None:
    """Hidden files, pyproject.toml and other files are no maps."""
    write("maps/a.toml")
    for name in ("pyproject.toml", ".hidden.toml", "notes.txt"):
        write(f"maps/{name}", "not a map")

    assert JourneyMap.load(tmp_path / "maps").name == "small"


# Finding


@pytest.fixture(autouse=True)
def no_installed_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages of whoever runs the tests name no maps."""
    monkeypatch.setattr(_map_find, "entry_points", lambda group: [])


def test_nothing_is_found_where_nobody_names_a_map(tmp_path: Path) -> None:
    """Without a map there is no error."""
    assert JourneyMap.find(environ={}, start=tmp_path) is None


def test_the_argument_comes_first(write: Callable[..., Path], tmp_path: Path) -> None:
    """One path or several, in front of environment and project."""
    named = write("named.toml", SMALL.replace("small", "named"))
    environ = {"CXTRACE_MAP": str(write("other.toml"))}

    for explicit in (named, str(named), [named], (str(named),)):
        found = JourneyMap.find(explicit, environ, tmp_path)
        assert found is not None
        assert found.name == "named"


def test_the_environment_comes_second(write: Callable[..., Path], tmp_path: Path) -> None:
    """CXTRACE_MAP holds paths as PATH does; empty parts are passed over."""
    one = write("one.toml")
    two = write("two.toml", SMALL.replace("door.open", "door.close"))
    write("pyproject.toml", '[tool.cxtrace]\njourney_map = "other.toml"\n')
    paths = os.pathsep.join([str(one), "", str(two)])
    found = JourneyMap.find(environ={"CXTRACE_MAP": paths}, start=tmp_path)

    assert found is not None
    assert list(found.touchpoints) == ["door.open", "door.close"]


@pytest.mark.parametrize("value", ['"maps/one.toml"', '["maps/one.toml"]'])
def test_the_project_comes_third(write: Callable[..., Path], tmp_path: Path, value: str) -> None:
    """The nearest pyproject.toml upwards names the map, relative to itself."""
    write("maps/one.toml")
    write("pyproject.toml", f"[tool.cxtrace]\njourney_map = {value}\n")
    (tmp_path / "src" / "deep").mkdir(parents=True)
    found = JourneyMap.find(environ={}, start=tmp_path / "src" / "deep")

    assert found is not None
    assert found.name == "small"


def test_a_project_need_not_name_a_map(write: Callable[..., Path], tmp_path: Path) -> None:
    """A pyproject.toml without our table is no error."""
    write("pyproject.toml", "[tool.other]\nx = 1\n")

    assert JourneyMap.find(environ={}, start=tmp_path) is None


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A function that installs a package with a map, under an entry point of the given value."""
    package = tmp_path / "site" / "shop_maps"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')", encoding="utf-8")
    (package / "journeys.toml").write_text(SMALL, encoding="utf-8")
    (package / "inner" / "more.toml").write_text(
        SMALL.replace("door.open", "door.close"), encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    points: list[importlib.metadata.EntryPoint] = []

    def entry_points(group: str) -> list[importlib.metadata.EntryPoint]:
        return [point for point in points if point.group == group]

    def install(value: str) -> None:
        name, group = f"part{len(points)}", "cxtrace.journey_maps"
        points.append(importlib.metadata.EntryPoint(name, value, group))

    monkeypatch.setattr(_map_find, "entry_points", entry_points)
    yield install
    assert "shop_maps" not in sys.modules


def test_installed_packages_come_last(install: Callable[[str], None], tmp_path: Path) -> None:
    """The maps of all entry points are merged, and no package is imported for them."""
    install("shop_maps:journeys.toml")
    install("shop_maps.inner:more.toml")
    found = JourneyMap.find(environ={}, start=tmp_path)

    assert found is not None
    assert list(found.touchpoints) == ["door.open", "door.close"]


@pytest.mark.parametrize("value", ["shop_maps:absent.toml", "no_such_package:a.toml", ":a.toml"])
def test_an_entry_point_without_a_file_is_an_error(
    install: Callable[[str], None], tmp_path: Path, value: str
) -> None:
    """The message names group, entry point and value."""
    install(value)
    with pytest.raises(MapError) as caught:
        JourneyMap.find(environ={}, start=tmp_path)

    assert str(caught.value.problems[0]) == (
        f'entry point of cxtrace.journey_maps: part0: "{value}" is no file of an installed package;'
        " write package:file.toml"
    )


def test_a_project_that_names_no_path_is_an_error(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    """The message names the key and what to write."""
    path = write("pyproject.toml", "[tool.cxtrace]\njourney_map = 3\n")
    with pytest.raises(MapError) as caught:
        JourneyMap.find(environ={}, start=tmp_path)

    assert str(caught.value.problems[0]) == (
        f'{path}: tool.cxtrace.journey_map: 3 is not a path; write journey_map = "journeys.toml"'
    )


def test_a_broken_project_file_is_an_error(write: Callable[..., Path], tmp_path: Path) -> None:
    """The message says which file could not be read."""
    path = write("pyproject.toml", "[tool")
    with pytest.raises(MapError, match="cannot be read") as caught:
        JourneyMap.find(environ={}, start=tmp_path)

    assert str(path) in str(caught.value)


def test_the_map_loads_without_the_sdk() -> None:
    """Nothing of the OpenTelemetry SDK is imported to read a map."""
    code = "import sys, cxtrace.journey_map; print(any('sdk' in name for name in sys.modules))"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ
    )

    assert done.stdout == "False\n"
