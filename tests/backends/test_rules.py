"""What ``cxtrace rules`` writes: read by the tools it is for, and at work until an alert fires."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cxtrace.cli import main
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.rules import Options, rule_files
from cxtrace.platform.writing import write

from .metric_stores import MetricStore, Prometheus, VictoriaMetrics, promtool
from .servers import Config, Jaeger, binary, run_program, tags
from .test_promql_docs import live

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "journeys.toml"
OF_WORDS = ROOT / "semconv" / "example-map.toml"
LINKS = Options(jaeger_url="http://localhost:16686", grafana_url="http://localhost:3000")

HOSTILE = r"""
schema = "cxtrace.map/1"
name = "hostile"

[functions]
it = { contact = "{{ $labels.x }} \" \\ ' <b> $1 `{`" }
sales = {}

[[stage]]
name = "purchase"
phase = "customer"

[promise.pay]
claim = "{{ end }} {{ \"\\ \" ' # : - | \U0001F600 % $value & <script>"
source = "sla"
metric = "delivered"
op = "<="
target = 1.0
unit = "{{action}}"
objective = 0.9999

[promise.talk]
claim = "yes"
source = "sla"
metric = "feedback.normalized_score"
op = ">="
target = 0.5
unit = "1"
objective = 0.4

[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "it"
promises = ["pay", "talk"]

[[touchpoint]]
name = "phone.pay"
stage = "purchase"
owner = "sales"
promises = ["pay"]

[[journey]]
name = "order"
goal = "phone.pay"

[journey.routes]
a = ["checkout.pay", "phone.pay"]
"""
BARE = """
schema = "cxtrace.map/1"
name = "bare"

[functions]

[[stage]]
name = "purchase"
phase = "customer"
"""

MAPS: dict[str, tuple[Callable[[], JourneyMap], Options]] = {
    "example": (lambda: JourneyMap.load(EXAMPLE), LINKS),
    "of the words": (lambda: JourneyMap.load(OF_WORDS), LINKS),
    "hostile": (
        lambda: JourneyMap.loads(HOSTILE),
        Options("http://j/a?b", 'http://g/{{"', '"{{ sh\\op', 1, {"job": 'a"b\\{{'}),
    ),
    "hostile, of any service": (
        lambda: JourneyMap.loads(HOSTILE.replace('"hostile"', '"x"')),
        Options("http://j", least=1, only={"a": '%d "%q\\{{'}),
    ),
    "bare": (lambda: JourneyMap.loads(BARE), Options(least=40)),
}
each_map = pytest.mark.parametrize("which", MAPS)


@pytest.fixture
def written(which: str, tmp_path: Path) -> Path:
    """The folder with the files of a map."""
    made, options = MAPS[which]
    write(rule_files(made(), options), tmp_path)
    return tmp_path


def run(name: str, *arguments: str | Path) -> str:
    """What a tool finds wrong; nothing ("") when all is well."""
    done = subprocess.run([binary(name), *arguments], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def rules_of(path: Path) -> list[dict[str, Any]]:
    """All rules of a file."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


# The tools


@pytest.mark.parametrize("which", ["example", "hostile, of any service"])
@pytest.mark.parametrize(
    "told", ['job="eu/till & co"', 'job="scraped", service_name="till & co"'], ids=["job", "name"]
)
def test_a_link_names_the_service_where_it_happens(
    prometheus_binary: None, written: Path, which: str, told: str
) -> None:
    """When an alert fires, Prometheus looks up which service sends what it is about."""
    file = written / "tests" / "alerts.yaml"
    name = MAPS[which][0]().name
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    expected = 0
    for test in document["tests"]:
        for series in test["input_series"]:
            series["series"] = series["series"].replace("{", f"{{{told}, ", 1)
        for alert in test["alert_rule_test"]:
            for each in alert["exp_alerts"]:
                said = each["exp_annotations"]
                found = said["traces_url"].replace(f"service={name}&", "service=till+%26+co&")
                expected += found != said["traces_url"]
                said["traces_url"] = found
    file.write_text(yaml.safe_dump(document), encoding="utf-8")

    assert expected >= 5
    assert promtool("test", "rules", file) == ""


@each_map
def test_prometheus_takes_the_rules_and_their_tests_pass(
    prometheus_binary: None, written: Path
) -> None:
    """``promtool`` finds nothing wrong, and each alert comes when it should and only then."""
    rules = sorted((written / "rules").iterdir())

    assert promtool("check", "rules", "--lint-fatal", *rules) == ""
    assert promtool("test", "rules", written / "tests" / "alerts.yaml") == ""


def test_every_alert_is_seen_to_fire_and_to_be_silent(prometheus_binary: None) -> None:
    """The generated tests leave out no alert of the example."""
    files = rule_files(JourneyMap.load(EXAMPLE), LINKS)
    alerts = yaml.safe_load(files["rules/alerts.yaml"])
    tests = [
        check
        for test in yaml.safe_load(files["tests/alerts.yaml"])["tests"]
        for check in test["alert_rule_test"]
    ]
    keys = ("cx_promise_id", "cx_journey_name", "severity")

    made = {
        (rule["alert"], *map(rule["labels"].get, keys))
        for group in alerts["groups"]
        for rule in group["rules"]
    }
    fired = {
        (check["alertname"], *map(alert["exp_labels"].get, keys))
        for check in tests
        for alert in check["exp_alerts"]
    }
    silent = {check["alertname"] for check in tests if not check["exp_alerts"]}

    assert fired == made
    assert silent == {name for name, *_ in made}


def test_a_broken_rule_does_not_pass_its_test(prometheus_binary: None, tmp_path: Path) -> None:
    """The generated tests are about something: with another threshold they fail."""
    files = dict(rule_files(JourneyMap.load(EXAMPLE), LINKS))
    files["rules/alerts.yaml"] = files["rules/alerts.yaml"].replace("(14.4 * 0.01)", "(200 * 0.01)")
    files["rules/alerts.yaml"] = files["rules/alerts.yaml"].replace("(6 * 0.01)", "(200 * 0.01)")
    write(files, tmp_path)

    assert "pay_fast" in promtool("test", "rules", tmp_path / "tests" / "alerts.yaml")


@each_map
def test_pint_finds_nothing(pint_binary: None, written: Path) -> None:
    """The linter pint, away from any Prometheus, has nothing to say, not even for information."""
    command = ["--offline", "--no-color", "lint", "--min-severity", "info", "--fail-on", "info"]

    assert run("pint", *command, written / "rules") == ""


@pytest.mark.parametrize("which", ["example", "of the words", "hostile"])
def test_openslo_is_valid(oslo_binary: None, written: Path) -> None:
    """OpenSLO's own tool takes the file, and does not take just anything."""
    path = written / "slo" / "openslo.yaml"

    assert run("oslo", "validate", "-f", path) == ""
    path.write_text(path.read_text(encoding="utf-8").replace("Occurrences", "Guesses"))
    assert "BudgetingMethod" in run("oslo", "validate", "-f", path)


@pytest.mark.parametrize("which", ["example", "of the words", "hostile"])
def test_sloth_alerts_at_the_same_thresholds(sloth_binary: None, written: Path) -> None:
    """Sloth makes alerts with our windows and thresholds of its file; ours lack the impossible."""
    theirs = _thresholds(rules_of(_generated_by_sloth(written)))
    ours = _thresholds(rules_of(written / "rules" / "alerts.yaml"))

    possible = {
        key: {burn for burn in burns if burn[1] * burn[2] < 1} for key, burns in theirs.items()
    }
    assert ours == {key: burns for key, burns in possible.items() if burns}
    assert ours


def _generated_by_sloth(folder: Path) -> Path:
    made = folder / "sloth-rules.yaml"
    assert run("sloth", "generate", "-i", folder / "slo" / "sloth.yaml", "-o", made) == ""
    return made


def _thresholds(
    rules: list[dict[str, Any]],
) -> dict[tuple[str, str], set[tuple[str, float, float]]]:
    """Windows, factors and budgets of the alerts, by promise and severity."""
    found: dict[tuple[str, str], set[tuple[str, float, float]]] = {}
    for rule in rules:
        if rule.get("alert") == "CXPromiseBroken":
            key = rule["labels"]["cx_promise_id"], rule["labels"]["severity"]
            pairs = re.findall(r":ratio(?:_rate)?(\w+)\{[^}]*\} > \(([^)]+)\)", rule["expr"])
            numbers = ((window, *map(float, text.split(" * "))) for window, text in pairs)
            found.setdefault(key, set()).update(
                (window, factor, round(budget, 9)) for window, factor, budget in numbers
            )
    return found


def test_sloth_measures_the_same_shares(
    sloth_binary: None, prometheus_binary: None, tmp_path: Path
) -> None:
    """Over the same uneven six hours, Sloth's ratios are ours, window by window."""
    journey_map = JourneyMap.load(EXAMPLE)
    write(rule_files(journey_map, LINKS), tmp_path)
    theirs = yaml.safe_load(_generated_by_sloth(tmp_path).read_text(encoding="utf-8"))
    tests = yaml.safe_load((tmp_path / "tests" / "alerts.yaml").read_text(encoding="utf-8"))
    tests["rule_files"].append("../sloth-rules.yaml")
    tests["group_eval_order"] += [group["name"] for group in theirs["groups"]]
    each = 'cx_promise_id="pay_fast", cx_owner_function="product"'
    counter = f"cx_promise_evaluations_total{{{each}, cx_promise_result="
    tests["tests"] = [
        {
            "interval": "1m",
            "input_series": [
                {"series": f'{counter}"broken"}}', "values": "0x200 0+2x100 200+1x120"},
                {"series": f'{counter}"exceeded"}}', "values": "0+3x420"},
                {"series": f'{counter}"kept"}}', "values": "0+7x180 1260+20x239"},
                {"series": f'{counter}"unmeasured"}}', "values": "0+50x420"},
            ],
            "promql_expr_test": [
                {
                    "expr": (
                        f"round(cx:promise_broken:ratio{window}{{{each}}} / on (cx_promise_id)"
                        f" slo:sli_error:ratio_rate{window}{{{each}}}, 0.02)"
                    ),
                    "eval_time": "7h",
                    "exp_samples": [{"labels": '{cx_promise_id="pay_fast"}', "value": 1}],
                }
                for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
            ]
            + [
                {
                    "expr": f"sum(round(24 * cx:promise_broken:ratio1h{{{each}}}, 0.01))",
                    "eval_time": "7h",
                    "exp_samples": [{"labels": "{}", "value": 1}],
                }
            ],
        }
    ]
    path = tmp_path / "tests" / "both.yaml"
    path.write_text(json.dumps(tests), encoding="utf-8")

    assert promtool("test", "rules", path) == ""


# The stores


@pytest.fixture(scope="module", params=[VictoriaMetrics, Prometheus])
def day(
    request: pytest.FixtureRequest,
    victoriametrics_binary: None,
    prometheus_binary: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MetricStore]:
    """Each store of metrics, with one day of the shop."""
    with request.param(tmp_path_factory.mktemp("rules_of_a_day")) as store:
        live(store)
        yield store


NOT_THAT_DAY = {
    "cx:value_at_risk:increase1d",
    "cx:touchpoint_apdex:ratio1d catalogue.search",
}
"""What that day has nothing of."""


def test_every_query_of_raw_series_has_an_answer(day: MetricStore) -> None:
    """Each recording rule that reads what services send finds something, in both stores."""
    files = rule_files(JourneyMap.load(EXAMPLE), LINKS)
    rules = [
        rule
        for group in yaml.safe_load(files["rules/recording.yaml"])["groups"]
        for rule in group["rules"]
    ]
    raw = {
        " ".join(
            filter(None, [rule["record"], rule.get("labels", {}).get("cx_touchpoint_name")])
        ): rule["expr"]
        for rule in rules
        if "cx:" not in rule["expr"]
    }

    empty = {name for name, query in raw.items() if not day.query(query, at_least=0)}

    assert empty == NOT_THAT_DAY
    assert len(raw) > 12


# The alert


class Watching(Prometheus):
    """A running Prometheus with rules, which it asks every second."""

    def __init__(self, folder: Path, rules: Path) -> None:
        self._rules = rules
        super().__init__(folder)

    def config(self) -> Config:
        return {
            **super().config(),
            "global": {"evaluation_interval": "1s"},
            "rule_files": [str(self._rules / "*.yaml")],
        }

    def firing(self, name: str, **labels: str) -> dict[str, Any]:
        """An alert with these labels, once it fires."""

        def look() -> dict[str, Any]:
            for alert in self._ask("alerts", {})["alerts"]:
                wanted = {"alertname": name, **labels}
                if alert["state"] == "firing" and wanted.items() <= alert["labels"].items():
                    found: dict[str, Any] = alert
                    return found
            raise OSError(f"{name} does not fire")

        return self.wait_for(look, timeout=60)


def test_a_broken_promise_fires_and_leads_to_its_trace(
    prometheus_binary: None, jaeger: Jaeger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From cards that are declined to the page, and by its link to a trace of such a payment."""
    made = tmp_path / "made"
    assert main(["rules", str(EXAMPLE), "-o", str(made), "--jaeger", jaeger.query_url]) == 0
    with Watching(tmp_path / "prometheus", made / "rules") as store:
        chosen = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{jaeger.otlp_http}/v1/traces",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{store.otlp_http}/v1/metrics",
        }
        run_program(Path(__file__).with_name("a_broken_promise.py"), chosen)

        alert = store.firing("CXPromiseBroken", cx_promise_id="pay_works", severity="page")

    assert alert["labels"]["cx_owner_function"] == "product"
    assert alert["labels"]["indicator"] == "leading"
    said = alert["annotations"]
    assert said["summary"].startswith("“Your payment goes through” is broken for ")
    assert (said["owner"], said["contact"]) == ("product", "#team-checkout")
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(said["traces_url"]).query))
    assert said["traces_url"].startswith(f"{jaeger.query_url}/search?")
    assert asked["service"] == "till"
    traces = jaeger.wait_for(lambda: jaeger.traces(asked["service"], json.loads(asked["tags"])))
    found = [tags(span) for span in traces[0]["spans"]]
    assert [each["cx.touchpoint.outcome"] for each in found] == ["failed"]
    assert [each["error.type"] for each in found] == ["card_declined"]
