"""The dashboards of a map: what is in them, what a change of the map changes, and what cannot break
out. Their queries run against real stores in tests/backends/test_dashboards.py.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cxtrace import attributes as names
from cxtrace._model import Function, Promise, Stage, Touchpoint
from cxtrace.cli import main
from cxtrace.journey_map import JourneyMap
from cxtrace.platform import dashboards, prometheus
from cxtrace.platform.dashboards import dashboard_files, grafana, promql
from cxtrace.platform.dashboards.provisioning import Places
from cxtrace.platform.links import boards as board_links
from cxtrace.platform.rules import Options, rule_files
from cxtrace.platform.writing import MissingExtraError
from tests import grafana as reader

pytest.importorskip("grafana_foundation_sdk", reason="Grafana's SDK needs Python 3.11")

EXAMPLE = Path(__file__).parents[1] / "examples" / "journeys.toml"
SHOP = JourneyMap.load(EXAMPLE)
EMPTY = JourneyMap(name="empty")

hostile = st.text(
    st.sampled_from("\"'\\`\n\t{}[]()$<>&%|=~#:; \u2028é漢🙂ab.") | st.characters(codec="utf-8"),
    min_size=1,
    max_size=20,
)
"""Texts that mean something to PromQL, JSON, YAML, HTML, URLs or Grafana."""


def boards(journey_map: JourneyMap = SHOP) -> dict[str, dict[str, Any]]:
    """The dashboards of a map, by the names of their files."""
    files = dashboard_files(journey_map, Places())
    return {name: json.loads(text) for name, text in files.items() if name.endswith(".json")}


BOARDS = boards()
each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def changed(other: JourneyMap) -> set[str]:
    """The boards that differ from those of the shop."""
    files = dashboard_files(other, Places())
    own = dashboard_files(SHOP, Places())
    return {Path(name).stem for name, text in own.items() if files[name] != text}


def with_promise(**changes: Any) -> JourneyMap:
    """The shop with another `pay_fast`."""
    promise = attrs.evolve(SHOP.promises["pay_fast"], **changes)
    return attrs.evolve(SHOP, promises={**SHOP.promises, "pay_fast": promise}, version="1")


# What there is


def test_six_boards_whatever_the_size():
    """A map of five hundred touchpoints has the boards that a small one has, and no larger ones."""
    large = JourneyMap(
        name="large",
        functions={f"f{number}": Function(f"f{number}") for number in range(40)},
        stages={f"s{number}": Stage(f"s{number}", "customer", number) for number in range(10)},
        touchpoints={
            f"t.{number}": Touchpoint(
                f"t.{number}", f"s{number % 10}", f"f{number % 40}", expected_actions=number % 5
            )
            for number in range(500)
        },
    )
    files = dashboard_files(large, Places())

    assert list(boards(large)) == list(BOARDS)
    assert len(BOARDS) == 6
    assert [len(board["panels"]) for board in boards(large).values()] == [
        len(board["panels"]) for board in BOARDS.values()
    ]
    assert max(map(len, files.values())) < 100_000


def test_the_files_say_where_they_come_from():
    """Each begins with the command and the map; JSON has no comments, so its description does."""
    for name, text in dashboard_files(SHOP, Places()).items():
        made_by = "Made by `cxtrace dashboards` from the map shop; do not edit."
        first = json.loads(text)["description"] if name.endswith(".json") else text

        assert made_by in first


@each_board
def test_a_panel_says_what_it_shows(board: dict[str, Any]):
    """Each has a title, a description, a unit, a query, and the data source that is chosen."""
    for panel in reader.panels(board):
        settings = [each["properties"] for each in panel["fieldConfig"]["overrides"]]
        units = [one["value"] for each in settings for one in each if one["id"] == "unit"]

        assert panel["title"]
        assert panel["description"]
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"].get("unit") or units
        assert panel["datasource"] == {"type": "prometheus", "uid": "${prometheus_datasource}"}


@each_board
def test_panels_lie_side_by_side(board: dict[str, Any]):
    """They have ids of their own, none lies upon another, and each line of them is full."""
    panels = board["panels"]
    cells = [
        {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        for g in (panel["gridPos"] for panel in panels)
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [pair for pair in combinations(cells, 2) if pair[0] & pair[1]] == []
    assert {x for each in cells for x, _ in each} == set(range(24))


@each_board
def test_a_board_is_not_edited_by_hand(board: dict[str, Any]):
    """It is made from the map, and what its variables offer follows the chosen time."""
    queried = [each for each in board["templating"]["list"] if each["type"] == "query"]

    assert not board["editable"]
    assert {each["refresh"] for each in queried} <= {2}


@each_board
def test_queries_use_only_variables_that_are_there(board: dict[str, Any]):
    """Nothing that Grafana would leave as it stands is in a query, a title or a link."""
    known = {each["name"] for each in board["templating"]["list"]} | {"__range", "__rate_interval"}
    texts = [each.expr for each in reader.targets(board)]
    texts += [panel["title"] for panel in board["panels"]]
    texts += [url for panel in reader.panels(board) for _, _, url in reader.links(panel)]
    used = {name for text in texts for name in re.findall(r"\$\{?([a-z_]\w*)", text)}

    assert {name for name in used if not name.startswith("__")} <= known
    assert {name for name in used if name.startswith("__")} <= {
        *("__range", "__rate_interval", "__value", "__field", "__url_time_range", "__from", "__to"),
    }


@each_board
def test_names_of_lines_are_labels_of_their_query(board: dict[str, Any]):
    """What names a line, and what a link takes from it, is a label that the query gives."""
    for panel in reader.panels(board):
        exprs = " ".join(each["expr"] for each in panel["targets"])
        wanted = [each.get("legendFormat", "") for each in panel["targets"]]
        labels = re.findall(r"\{\{(.+?)\}\}", " ".join(wanted))
        labels += [
            label
            for _, _, url in reader.links(panel)
            for label in re.findall(r"__field\.labels\.([^}]+)", url)
        ]

        given_by = {word for by in re.findall(r"by \((.+?)\)", exprs) for word in by.split(", ")}

        assert set(labels) <= given_by


@each_board
def test_links_to_other_boards_lead_there(board: dict[str, Any]):
    """Address and variable of each are those of a board."""
    of_all = {each["uid"]: reader.variables(each) for each in BOARDS.values()}
    for panel in reader.panels(board):
        for _, _, url in reader.links(panel):
            if url.startswith("/d/"):
                parts = urlsplit(url)
                variables = of_all[parts.path.removeprefix("/d/")]
                set_there = [n for n in parse_qs(parts.query) if n.startswith("var-")]

                assert {name.removeprefix("var-") for name in set_there} <= set(variables)


@pytest.mark.parametrize("name", ["shop", "Größe {{ . }}", "a_very_long_name_of_a_company's_map"])
def test_an_alert_leads_to_the_board_of_its_promise(name: str):
    """Of the same map, the address is that of a board, which has the variable that is set."""
    journey_map = attrs.evolve(SHOP, name=name)
    files = rule_files(journey_map, Options(grafana_url="http://grafana"))
    promises = {}
    for group in yaml.safe_load(files["rules/alerts.yaml"])["groups"]:
        for rule in group["rules"]:
            if "dashboard_url" in rule["annotations"]:
                link = urlsplit(rule["annotations"]["dashboard_url"])
                promises[rule["labels"]["cx_promise_id"]] = (link.path, parse_qs(link.query))
    board = boards(journey_map)["dashboards/promise.json"]

    assert {"pay_fast", "pay_works"} <= promises.keys()
    for promise, (path, asked) in promises.items():
        assert path == f"/d/{board['uid']}"
        assert asked == {"var-promise": [promise]}
    assert reader.variables(board)["promise"]["query"]["query"].endswith(", cx_promise_id)")


@each_board
def test_links_to_explore_hold_a_query(board: dict[str, Any]):
    """What Grafana opens is JSON, with TraceQL for Tempo and tags of one service for Jaeger."""
    chosen: Mapping[str, reader.Choice] = {
        name: "$__all" if each["multi"] else "chosen.one"
        for name, each in reader.variables(board).items()
    }
    for panel in reader.panels(board):
        for _, title, url in reader.links(panel):
            if not url.startswith("/explore"):
                continue
            labels = dict.fromkeys(re.findall(r"__field\.labels\.(\w+)", url), "value")
            query = reader.explored(reader.link(url, board, chosen, labels, "value"))
            if title == "Traces in Tempo":
                clause = r'(span|event)\.cx\.[a-z_.]+ =?[=~] "(value|chosen\.one|broken|\.\*)"'

                assert re.fullmatch(rf"\{{ {clause}( && {clause})* \}}", query["query"])
            else:
                assert title == "Traces in Jaeger"
                assert query["service"] == "chosen.one"
                assert set(reader.tags(query["tags"]).values()) <= {"value", "chosen.one", "broken"}


def test_leading_and_lagging_stand_side_by_side():
    """Boards of customers have both, labelled as such, and value beside experience."""
    for name, board in BOARDS.items():
        titles = [panel["title"] for panel in reader.panels(board)]
        if name not in {"dashboards/sdk-health.json", "dashboards/promise.json"}:
            assert any(title.startswith("Leading · ") for title in titles)
            assert any(title.startswith("Lagging · ") for title in titles)
        if name in {f"dashboards/{each}.json" for each in ("living-journey", "stage", "function")}:
            assert "Value beside experience, $currency" in titles


def test_thresholds_are_those_of_the_map():
    """Objectives, promised times and expected actions of the map are in the queries."""
    board = BOARDS["dashboards/promise.json"]
    objective = next(each.expr for each in reader.targets(board) if each.panel == "Objective")
    exprs = [each.expr for each in reader.targets(BOARDS["dashboards/touchpoint.json"])]

    assert "0.99 * group by (cx_promise_id) (increase(cx_promise_evaluations_total{" in objective
    assert 'cx_promise_id=~"pay_fast"' in objective
    assert any(re.search(r'2 \* group .*name=~"checkout\\\\\.pay"', each) for each in exprs)


def test_the_foundation_sdk_reads_what_it_wrote():
    """Nothing is in a dashboard that Grafana's models do not know."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    for board in BOARDS.values():
        assert json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder)) == board


# What changes


def test_a_map_without_plans_has_boards_too():
    """Without promises, objectives, contacts and expectations no line of the plan is drawn."""
    lines = [each.expr for each in reader.targets(boards(EMPTY)["dashboards/touchpoint.json"])]

    assert not any(each.endswith("* ") or not each for each in lines)
    assert not any("group by" in each for each in lines)


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({}, set()),
        ({"objective": 0.5}, {"promise"}),
        ({"target": 3.0}, {"touchpoint"}),
        ({"claim": "Pay at once"}, {"function", "promise"}),
        ({"source": "sla", "exceeded_at": 0.1}, set()),
    ],
)
def test_one_promise_changes_what_depends_on_it(changes: dict[str, Any], files: set[str]):
    """A changed promise changes the boards that show it, and no others."""
    assert changed(with_promise(**changes)) == files


def test_a_contact_changes_the_boards_that_show_it():
    """Who is to be reached stands where functions disagree."""
    functions = {**SHOP.functions, "it": Function("it", "#elsewhere", "effort.actions < 9")}

    assert changed(attrs.evolve(SHOP, functions=functions)) == {"living-journey", "function"}


# What cannot break out


@given(st.text(max_size=80))
def test_an_address_is_one_of_grafana(name: str):
    """Whatever the map is called: at most 40 letters, digits and dashes, each board another."""
    found = {board_links.uid(JourneyMap(name=name), Path(each).stem) for each in BOARDS}

    assert len(found) == len(BOARDS)
    assert all(re.fullmatch(r"[a-z0-9-]{8,40}", each) for each in found)


def test_maps_of_one_beginning_have_their_own_addresses():
    """A long name does not lose what tells it from another."""
    one, other = (JourneyMap(name="a_very_long_name_of_a_map_" + end) for end in ("one", "two"))

    assert board_links.uid(one, "stage") != board_links.uid(other, "stage")


@given(st.lists(hostile, min_size=1, max_size=3, unique=True))
def test_no_value_ends_its_string_in_promql(values: list[str]):
    """A regular expression matches each value and nothing else; a replacement is the value."""
    condition = prometheus.one_of(names.STAGE_NAME, values)
    pattern = re.fullmatch(r'cx_stage_name=~"((?:[^"\\\n]|\\.)*)"', condition)
    rows = re.findall(
        r'"cx_stage_name", "((?:[^"\\\n]|\\.)*)", "", ""\)', promql.listed(names.STAGE_NAME, values)
    )

    assert pattern is not None
    assert all(re.fullmatch(unquoted(pattern[1]), value) for value in values)
    assert re.fullmatch(unquoted(pattern[1]), "nobody") is None
    assert [unquoted(row) for row in rows] == [value.replace("$", "$$") for value in values]


def unquoted(text: str) -> str:
    """What a string of PromQL says."""
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), text)


@settings(max_examples=30, deadline=None)  # each makes six boards
@given(hostile, hostile, hostile)
def test_no_text_of_the_map_ends_its_file(name: str, claim: str, contact: str):
    """JSON and YAML stay whole, say what the map says, and no line of a comment becomes a key."""
    shop = JourneyMap(
        name=name,
        functions={"it": Function("it", contact)},
        promises={"p": Promise("p", claim, "sla", "delivered", "<=", 1.0, claim, 0.5)},
    )
    files = dashboard_files(shop, Places(prometheus=contact))
    shown = json.loads(files["dashboards/promise.json"])
    read = {each: yaml.safe_load(text) for each, text in files.items() if "provision" in each}

    assert {"text": claim, "index": 0} in list(mappings(shown))
    assert [set(each) for each in read.values()] == [
        {"apiVersion", "datasources"},
        {"apiVersion", "providers"},
    ]


def mappings(board: dict[str, Any]) -> Any:
    """What a board shows in place of values."""
    for panel in reader.panels(board):
        for override in panel["fieldConfig"]["overrides"]:
            for setting in override["properties"]:
                if setting["id"] == "mappings":
                    yield from setting["value"][0]["options"].values()


# The command


def test_the_command_writes_what_grafana_mounts(tmp_path: Path, capsys: Any):
    """Dashboards and provisioning, with the places that were given; a second time nothing."""
    places = ("--prometheus", "http://v:8428", "--jaeger", "http://j", "--mounted-at", "/here")
    command = ["dashboards", str(EXAMPLE), "-o", str(tmp_path), *places]

    assert [main(command), main([*command, "--check"])] == [0, 0]
    sources = yaml.safe_load((tmp_path / "provisioning/datasources/cxtrace.yaml").read_text())
    providers = yaml.safe_load((tmp_path / "provisioning/dashboards/cxtrace.yaml").read_text())
    exemplars = sources["datasources"][0]["jsonData"]["exemplarTraceIdDestinations"]

    assert [each["url"] for each in sources["datasources"]] == [
        *("http://v:8428", "http://localhost:3200", "http://j"),
    ]
    assert {each["datasourceUid"] for each in exemplars} == {"cx-tempo", "cx-jaeger"}
    assert providers["providers"][0]["options"] == {"path": "/here"}
    assert len(list((tmp_path / "dashboards").glob("*.json"))) == 6
    assert "differs" not in capsys.readouterr().out


def test_an_old_python_is_said(monkeypatch: pytest.MonkeyPatch):
    """Grafana's SDK cannot be installed there, so the advice to install it would be wrong."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))

    with pytest.raises(MissingExtraError, match=r"need Python 3\.11"):
        grafana.dashboard_text(dashboards.boards(SHOP)[0], "cx-shop", "")


def test_without_the_sdk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    """The command says which extra to install, and exits with 2."""
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk.builders.dashboard", None)

    assert main(["dashboards", str(EXAMPLE)]) == 2
    assert "pip install 'cxtrace[platform]'" in capsys.readouterr().err
