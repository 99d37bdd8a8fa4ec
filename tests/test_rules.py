"""``cxtrace rules``: alerts for promises, what rises before and after complaints, and SLO files."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cxtrace.cli import main
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.links import urls
from cxtrace.platform.links.searches import Search
from cxtrace.platform.rules import Options, rule_files, slo, words
from tests.strategies import journey_maps

EXAMPLE = Path(__file__).parents[1] / "examples" / "journeys.toml"
SHOP = JourneyMap.load(EXAMPLE)
JAEGER = Options(jaeger_url="http://jaeger:16686/")

Document = dict[str, Any]
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def documents(journey_map: JourneyMap, options: Options | None = None) -> dict[str, Document]:
    """What the generated files say; of OpenSLO's, the documents by name."""
    files = dict(rule_files(journey_map, options or Options()))
    openslo = list(yaml.load_all(files.pop("slo/openslo.yaml"), Loader))
    read = {name: yaml.load(text, Loader) for name, text in files.items()}
    return {**read, "slo/openslo.yaml": {each["metadata"]["name"]: each for each in openslo}}


def groups(journey_map: JourneyMap, options: Options | None = None) -> dict[str, Any]:
    """The rules of each group, of both files."""
    found = documents(journey_map, options)
    return {
        group["name"]: group["rules"]
        for name in ("rules/recording.yaml", "rules/alerts.yaml")
        for group in found[name]["groups"]
    }


def with_promise(name: str, **changes: Any) -> JourneyMap:
    """The map of the shop with another promise."""
    promise = attrs.evolve(SHOP.promises[name], **changes)
    return attrs.evolve(SHOP, promises={**SHOP.promises, name: promise})


# Alerts


def test_a_promise_pages_when_its_budget_burns():
    """The windows and factors are those of the SRE workbook, and a few customers page nobody."""
    page, ticket = groups(SHOP)["cx-promise-pay_fast-alerts"]

    assert page["labels"] == {
        "severity": "page",
        "indicator": "leading",
        "cx_promise_id": "pay_fast",
    }
    assert page["expr"].splitlines()[:5] == [
        "(",
        '  cx:promise_broken:ratio1h{cx_promise_id="pay_fast"} > (14.4 * 0.01)',
        '  and cx:promise_broken:ratio5m{cx_promise_id="pay_fast"} > (14.4 * 0.01)',
        '  and cx:promise_broken:increase1h{cx_promise_id="pay_fast"} >= 5',
        ")",
    ]
    found = re.findall(r"ratio(\w+)\{.*?> \((\S+) \*", page["expr"] + ticket["expr"])
    assert found == [
        *(("1h", "14.4"), ("5m", "14.4"), ("6h", "6"), ("30m", "6")),
        *(("1d", "3"), ("2h", "3"), ("3d", "1"), ("6h", "1")),
    ]


def test_an_alert_says_what_is_broken_and_who_owns_it():
    """The claim, the owning function of the very series, how to reach it, and what to do."""
    page, _ = groups(SHOP, JAEGER)["cx-promise-done_in_a_week-alerts"]
    said = page["annotations"]

    assert said["summary"] == (
        "“No order, and no return, takes longer than a week” is broken for"
        " {{ $value | humanizePercentage }} of customers"
    )
    assert said["owner"] == "{{ $labels.cx_owner_function }}"
    assert said["contact"] == (
        '{{ if eq $labels.cx_owner_function "sales" }}#team-sales'
        '{{ else if eq $labels.cx_owner_function "finance" }}#team-payments'
        "{{ else }}the map names no contact{{ end }}"
    )
    assert "What to do: open the traces." in said["description"]
    assert "order.confirm, return.refund" in said["description"]


def test_an_alert_links_to_the_traces_of_the_broken_promise():
    """Jaeger is asked for a service and two tags, and Grafana for the promise."""
    options = attrs.evolve(JAEGER, service="check out", grafana_url="http://grafana")
    page, _ = groups(SHOP, options)["cx-promise-pay_fast-alerts"]
    url = urlsplit(page["annotations"]["traces_url"])
    asked = dict(parse_qsl(url.query))

    assert asked["lookback"] == "2d"
    assert (url.netloc, url.path) == ("jaeger:16686", "/search")
    assert asked["service"] == "check out"
    assert json.loads(asked["tags"]) == {
        "cx.promise.id": "pay_fast",
        "cx.promise.result": "broken",
    }
    assert page["annotations"]["dashboard_url"] == (
        "http://grafana/d/cx-shop-promise?var-promise=pay_fast"
    )


def test_without_addresses_there_are_no_links():
    """No link leads nowhere."""
    bare = groups(SHOP, None)["cx-promise-pay_fast-alerts"][0]

    assert not {"traces_url", "dashboard_url"} & bare["annotations"].keys()


def test_a_link_asks_for_the_service():
    """By default Prometheus is asked where it happens; else the map's name is told."""
    options = attrs.evolve(JAEGER, only={"region": "50 %"})
    page, _ = groups(SHOP, options)["cx-promise-pay_fast-alerts"]
    said = page["annotations"]["traces_url"]

    assert '?service={{ $service := "shop" }}{{ range query (printf "topk(1, ' in said
    assert r"{region=\"50 %%\", cx_promise_result=\"broken\", cx_promise_id=%q}[1d]" in said
    assert r'\"(.+)\")))" $labels.cx_promise_id) }}' in said
    assert "{{ $service | urlquery }}&tags=" in said


@pytest.mark.parametrize(
    ("only", "service"),
    [
        ({"job": "eu/till", "region": "eu"}, "till"),
        ({"job": "till"}, "till"),
        ({"service.name": "till", "job": "scraped"}, "till"),
    ],
)
def test_a_link_knows_the_only_service_that_is_counted(only: dict[str, str], service: str):
    """Where rules count the series of one service alone, nobody is asked for its name."""
    page, _ = groups(SHOP, attrs.evolve(JAEGER, only=only))["cx-promise-pay_fast-alerts"]

    assert f"?service={service}&" in page["annotations"]["traces_url"]


def test_a_link_takes_the_labels_of_its_alert():
    """Where touchpoint or function are known only when it fires, the template puts them in."""
    friction, handoff, *_ = groups(SHOP, JAEGER)["cx-leading-alerts"]

    assert (
        "%22cx.touchpoint.name%22%3A%22{{ $labels.cx_touchpoint_name | urlquery }}%22"
        in (friction["annotations"]["traces_url"])
    )
    assert handoff["labels"]["cx_owner_function"] == "{{ $labels.cx_handoff_to_function }}"
    spoken = words.Filled({"cx_a": "a&b ü"}, {}).in_link("cx_a")
    asked = dict(parse_qsl(urlsplit(urls.jaeger("http://j", Search({"t": spoken}), "s")).query))
    assert json.loads(asked["tags"]) == {"t": "a&b ü"}


@pytest.mark.parametrize(
    ("objective", "factors"),
    [(0.99, ["14.4", "6", "3", "1"]), (0.9, ["6", "3", "1"]), (0.3, ["1"]), (0.7, ["3", "1"])],
)
def test_what_cannot_happen_has_no_alert(objective: float, factors: list[str]):
    """Where not even all customers could burn so fast, there is no such condition, nor alert."""
    rules = groups(with_promise("pay_fast", objective=objective))["cx-promise-pay_fast-alerts"]

    text = "".join(rule["expr"] for rule in rules)
    assert list(dict.fromkeys(re.findall(r"> \((\S+) \*", text))) == factors


def test_leading_and_lagging_are_told_apart():
    """What hurts before a complaint leads; complaints, and promises about them, lag."""
    late = with_promise("refund_7d", metric="complaint.resolution.duration")
    found = groups(late)

    assert {r["labels"]["indicator"] for r in found["cx-leading-alerts"]} == {"leading"}
    assert [r["alert"] for r in found["cx-lagging-alerts"]] == ["CXComplaintsPileUp"]
    lagging = [*found["cx-lagging-alerts"], *found["cx-promise-refund_7d-alerts"]]
    assert {r["labels"]["indicator"] for r in lagging} == {"lagging"}


def test_a_journey_at_risk_is_told_to_the_owner_of_its_goal():
    """A journey without a goal has no owner, and its alert says so."""
    risks = {r["labels"]["cx_journey_name"]: r for r in groups(SHOP)["cx-leading-alerts"][2:]}

    assert risks["first_order"]["labels"]["cx_owner_function"] == "sales"
    assert risks["first_order"]["annotations"]["contact"] == "#team-sales"
    assert "cx_owner_function" not in risks["browse_and_leave"]["labels"]
    assert risks["browse_and_leave"]["annotations"]["contact"] == "this journey has no goal"


def test_a_promise_over_journeys_is_measured_at_their_goals():
    """Where no journey has a goal, it is measured wherever journeys lead."""
    aimless = {name: attrs.evolve(it, goal=None) for name, it in SHOP.journeys.items()}
    found = documents(attrs.evolve(SHOP, journeys=aimless))["slo/openslo.yaml"]

    slos = {name for name in documents(SHOP)["slo/openslo.yaml"] if "done-in-a-week" in name}
    assert slos == {"done-in-a-week--sales", "done-in-a-week--finance"}
    assert "done-in-a-week--marketing" in found


def test_a_promise_without_an_objective_is_only_recorded():
    """There is no budget that could burn."""
    found = groups(with_promise("pay_works", objective=None))

    assert "cx-promise-pay_works-alerts" not in found
    assert "cx-promise-pay_works" not in found


def test_only_what_is_asked_for_is_counted():
    """Each query of raw series, of rules and SLO files, has the labels that were asked for."""
    options = Options(only={"job": "shop"})
    texts = rule_files(SHOP, options)
    raw = re.findall(r"\bcx_[a-z_]+\{.*?\}", "".join(texts.values()))

    assert [query for query in raw if 'job="shop"' not in query] == []
    assert len(raw) > 30


# Recording


def test_apdex_has_the_boundaries_of_the_promise():
    """Satisfied up to T, tolerating up to 4 T, as the store may write them."""
    (_, rule) = groups(SHOP)["cx-promise-pay_fast"]

    assert rule["record"] == "cx:touchpoint_apdex:ratio1d"
    assert re.findall(r"le=[^,]+", rule["expr"]) == ['le=~"2([.]0)?"', 'le=~"8([.]0)?"']
    assert 'le="0.5"' in groups(SHOP)["cx-promise-search_fast"][1]["expr"]


def test_every_window_of_a_promise_is_kept():
    """Counts and shares of 5 minutes to 30 days; long ones are made of short ones."""
    rules = {rule["record"]: rule["expr"] for rule in groups(SHOP)["cx-promises"]}

    windows = [name.removeprefix("cx:promise_broken:ratio") for name in rules if "ratio" in name]
    assert windows == ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"]
    assert rules["cx:promise_broken:increase30d"] == (
        "sum_over_time(cx:promise_broken:increase1h[30d:1h])"
    )


def test_what_never_happened_counts_zero():
    """A promise that was never broken has no series, and its share is 0 all the same."""
    found = groups(SHOP)
    rules = {
        rule["record"]: rule["expr"] for name in found for rule in found[name] if "record" in rule
    }

    for part, whole in (
        ("promise_broken", "promise_evaluations"),
        ("touchpoint_frictions", "touchpoint_visits"),
    ):
        zero = f"\nor\ncx:{whole}:increase1h * 0"
        assert rules[f"cx:{part}:increase1h"].endswith(zero)
    assert rules["cx:journey_harms:increase1h"].count("cx:journey_visits:increase1h * 0") == 2


# Output


def changed(before: JourneyMap, after: JourneyMap) -> dict[str, set[str]]:
    """Per file, the names of what differs: groups, SLOs, or the promises of test series."""
    return {
        name: {
            part
            for part in _parts(old).keys() | _parts(new).keys()
            if _parts(old).get(part) != _parts(new).get(part)
        }
        for (name, old), new in zip(
            documents(before).items(), documents(after).values(), strict=True
        )
    }


def _parts(document: Document) -> dict[str, Any]:
    if "groups" in document:
        return {group["name"]: group for group in document["groups"]}
    if "slos" in document:
        return {each["name"]: each for each in document["slos"]}
    if "tests" not in document:
        return document
    found: dict[str, Any] = {}
    for test in document["tests"]:
        expected = [alert for rule in test["alert_rule_test"] for alert in rule["exp_alerts"]]
        for item in [*test["input_series"], *expected]:
            named = re.search(r"cx_promise_id\W+(\w+)", json.dumps(item))
            found.setdefault(named[1] if named else "no promise", []).append(item)
    return found


def test_a_changed_promise_changes_only_what_depends_on_it():
    """Groups, tests and SLOs of other promises, and everything else, stay as they are."""
    after = with_promise("pay_fast", objective=0.95, claim="Pay in three seconds", target=3.0)

    assert changed(SHOP, after) == {
        "rules/recording.yaml": {"cx-promise-pay_fast"},
        "rules/alerts.yaml": {"cx-promise-pay_fast-alerts"},
        "tests/alerts.yaml": {"pay_fast"},
        "slo/sloth.yaml": {"pay-fast--product"},
        "slo/openslo.yaml": {"pay-fast--product"},
    }


def test_a_changed_contact_changes_no_query():
    """Whom to reach is text of alerts and SLOs, and no rule records anything else."""
    product = attrs.evolve(SHOP.functions["product"], contact="#new")
    after = attrs.evolve(SHOP, functions={**SHOP.functions, "product": product})

    found = changed(SHOP, after)
    assert not found["rules/recording.yaml"]
    assert "cx-promise-refund_7d-alerts" not in found["rules/alerts.yaml"]
    assert "cx-promise-pay_fast-alerts" in found["rules/alerts.yaml"]


def test_a_map_without_anything():
    """A map that has not begun has nothing to test, and its rules wait for what will come."""
    found = documents(JourneyMap(name="bare"))

    tests = found["tests/alerts.yaml"]["tests"]
    assert [(test["name"], test["input_series"]) for test in tests] == [
        ("what has risen", []),
        ("what is as usual", []),
    ]
    names = [group["name"] for group in found["rules/alerts.yaml"]["groups"]]
    assert names == ["cx-leading-alerts", "cx-lagging-alerts"]


@settings(max_examples=20, deadline=None)
@given(journey_maps())
def test_any_map_has_files(journey_map: JourneyMap):
    """Whatever a map says, the files are YAML, begin alike, and come out the same again."""
    files = rule_files(journey_map, JAEGER)

    assert files == rule_files(journey_map, JAEGER)
    assert all(
        text.startswith("# Made by `cxtrace rules` from the map ") for text in files.values()
    )
    assert documents(journey_map, JAEGER)["tests/alerts.yaml"]["rule_files"]


@given(st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from('{}"\\`$\n')))
def test_no_text_becomes_a_template(text: str):
    """Words of the map stay words: what could begin an action stands in a string of Go."""
    spoken = words.Template().text(text)

    if "{" in text:
        whole = re.fullmatch(r"\{\{ (\".*\") \}\}", spoken)
        assert whole is not None
        assert json.loads(whole[1]) == text
    else:
        assert spoken == text


@example([["a" * 70], ["a_b", "c"], ["a", "b_c"]])
@given(st.lists(st.lists(st.text("ab_.-A ü", max_size=70), min_size=1, max_size=2), max_size=9))
def test_names_of_slos_are_plain_and_differ(parts: list[list[str]]):
    """Each is a label of DNS, and no two are the same."""
    unique = {tuple(each) for each in parts}
    found = {slo.plain_name(*each) for each in unique}

    assert len(found) == len(unique)
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in found)


def test_a_long_list_is_cut():
    """Many touchpoints are named in part, with how many more there are."""
    assert words.listed("abc", most=2) == "a, b and 1 more"
    assert words.listed("ab", most=2) == "a, b"


def test_a_function_without_a_contact():
    """The text says that there is none."""
    nobody = words.Template().contact("cx_owner_function", {})

    assert nobody == "the map names no contact"


# The command


def test_the_command_writes_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Its options reach the files."""
    options = ["--jaeger", "http://j", "--service", "s", "--least", "9", "--only", "job=a=b"]

    code = main(["rules", str(EXAMPLE), "-o", str(tmp_path), *options])

    assert code == 0
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.yaml"))
    assert written == sorted(rule_files(SHOP, Options()))
    alerts = (tmp_path / "rules" / "alerts.yaml").read_text(encoding="utf-8")
    assert ">= 9" in alerts
    assert "http://j/search?service=s&" in alerts
    assert 'job="a=b"' in (tmp_path / "slo" / "sloth.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--least", "0"),
        ("--least", "few"),
        ("--jaeger", "jaeger:16686"),
        ("--only", "job"),
        ("--only", "=a"),
    ],
)
def test_wrong_options(option: str, value: str, capsys: pytest.CaptureFixture[str]):
    """They are refused with the name of the option."""
    assert main(["rules", str(EXAMPLE), option, value]) == 2
    assert f"argument {option}" in capsys.readouterr().err
