"""`cxtrace collector`: what the configurations say, and that nothing of a map can break them."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cxtrace import attributes as names
from cxtrace._model import Function, Promise
from cxtrace.cli import main
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.collector import journeys, kubernetes, parts, redaction
from cxtrace.platform.collector.files import files
from cxtrace.platform.explain.registry import registry

EXAMPLE = Path(__file__).parents[1] / "examples" / "journeys.toml"
DOCS = Path(__file__).parents[1] / "docs" / "howto" / "collector.md"
TIERS = (
    *("single", "agent", "gateway-balancing", "gateway-sampling", "gateway-keeping"),
    *("gateway-sampling-to-kafka", "stores-from-kafka"),
)
MANIFESTS = ("agent", "gateway-balancing", "gateway-sampling", "instrumentation")
HOSTILE = st.text(st.sampled_from("a\"'\\\n${}<>:#é\t-[]%&*!|"), min_size=1, max_size=12)


def read(made):
    """The files as data."""
    return {name: yaml.safe_load(text) for name, text in made.items()}


def pattern(text):
    """Where a pattern of the Collector matches, which writes `$$` for `$`."""
    return re.compile(text.replace("$$", "$"))


def is_blocked(value):
    """Whether the Collector masks something in a value."""
    return any(pattern(each).search(value) for each in redaction.BLOCKED)


def test_every_file_is_made():
    """A file for each tier, and a manifest for each in Kubernetes, with where they come from."""
    made = files(JourneyMap.load(EXAMPLE), parts.DESTINATIONS)

    wanted = [f"{name}.yaml" for name in TIERS]
    assert list(made) == [*wanted, *(f"kubernetes/{name}.yaml" for name in MANIFESTS)]
    first = "# Made by `cxtrace collector` from the map shop; do not edit.\n#\n# "
    assert all(text.startswith(first) for text in made.values())


def test_what_passes():
    """Our attributes, with the keys of the map; those of stock instrumentation; no free text."""
    journey_map = JourneyMap(
        name="shop", context=("weather",), functions={"it": Function("it"), "ux": Function("ux")}
    )

    keys = redaction.allowed_keys(journey_map)

    known = registry().attributes
    ours = {
        name
        for name, each in known.items()
        if not each.is_template and each.pii_class != "free_text"
    }
    assert ours <= set(keys)
    assert {"http.route", "db.system.name", "service.name"} <= set(keys)
    assert {"cx.context.weather", "cx.owner.influence.ux", "cx.function.happy.it"} <= set(keys)
    assert not {names.EXCEPTION_MESSAGE, "url.full", "db.statement", "cx.context"} & set(keys)
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    "value",
    [
        *("ann.lee@example.com", "to=bob%40example.org&x=1", "4000 0000 0000 0002"),
        *("card 4000000000000002 declined", "5500-0000-0000-0004", "3782 822463 10005"),
        *("DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "+49 152 2881-7386"),
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig",
    ],
)
def test_what_is_masked(value):
    """Addresses, cards, accounts, telephones and tokens, as people and URLs write them."""
    assert is_blocked(value)


@pytest.mark.parametrize(
    "value",
    [
        *("repeat_action@1", "churn@1.2", "sha256:0123456789ab", "/orders/{order}", "2026q3-1"),
        *("1763815547000000000", "10.0.0.12", "checkout.pay", "SELECT orders", "01J9Z6Q7YB"),
    ],
)
def test_what_is_not_masked(value):
    """Versions, digests, templates, times and addresses of hosts stay as they are."""
    assert not is_blocked(value)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.uuids().map(str),
        st.from_regex(r"[0-9a-f]{32}", fullmatch=True).filter(lambda text: not text.isdigit()),
        st.from_regex(r"v[0-9]\.[A-Za-z_]{22}", fullmatch=True),
    )
)
def test_ids_are_not_masked(identifier):
    """The id of a journey, of a process and of a trace, and pseudonyms, are no cards by chance."""
    assert not is_blocked(identifier)


@settings(max_examples=25, deadline=None)
@given(HOSTILE, st.lists(HOSTILE, unique=True, max_size=3), HOSTILE)
def test_any_name_of_a_map(name, context, function):
    """Whatever a map says stays text: no variable, no other key, no line of its own."""
    journey_map = JourneyMap(name=name, context=context, functions={function: Function(function)})

    made = files(journey_map, ["jaeger"])

    config = yaml.safe_load(made["agent.yaml"])
    allowed = [key.replace("$$", "$") for key in config["processors"]["redaction"]["allowed_keys"]]
    assert allowed == redaction.allowed_keys(journey_map)
    kept = config["processors"]["redaction"]["allowed_keys"]
    assert not any("$" in key.replace("$$", "") for key in kept)
    plain = read(files(JourneyMap(name="x"), ["jaeger"]))
    assert list(config) == list(plain["agent.yaml"])
    assert all(yaml.safe_load(text) is not None for text in made.values())


def test_a_pattern_of_ottl_is_one_string():
    """Quotes, backslashes, line breaks and dollars cannot end the string that they stand in."""
    assert redaction.ottl('a"\\\n$b') == '"a\\"\\\\\\n$$b"'


def test_no_dimension_is_of_a_customer_or_a_journey():
    """Span metrics tell apart what has few values and says nothing about a person."""
    known = registry().attributes
    found = {(known[name].cardinality, known[name].pii_class) for name in journeys.DIMENSIONS}

    assert found == {("low", "none")}
    assert names.TOUCHPOINT_NAME in journeys.DIMENSIONS
    assert names.JOURNEY_ID not in journeys.DIMENSIONS


def with_promise(target, unit="s"):
    """A map with one promise about the time of a touchpoint."""
    promise = Promise("fast", "Fast.", "sla", "touchpoint.duration", "<=", target, unit)
    return JourneyMap(name="shop", version="1", promises={"fast": promise})


def test_a_promise_is_a_boundary():
    """Another target changes the boundaries of span metrics, and nothing else in any file."""
    before, after = (files(with_promise(target), ["jaeger", "prometheus"]) for target in (3.0, 7.0))

    for name, text in before.items():
        lines, others = text.splitlines(), after[name].splitlines()
        gone = [line.strip() for line in lines if line not in others]
        come = [line.strip() for line in others if line not in lines]
        assert (gone, come) in [([], []), (["- 3s", "- 12s"], ["- 7s", "- 28s"])]
    assert before["single.yaml"] != after["single.yaml"]


@pytest.mark.parametrize(
    ("target", "unit", "written"), [(0.2, "ms", "0.0002s"), (1.5, "min", "90s"), (0.0, "s", None)]
)
def test_boundaries_as_go_reads_them(target, unit, written):
    """Times have no exponent and no needless zero, and a promise of no time is no boundary."""
    buckets = journeys.span_metrics(with_promise(target, unit))["histogram"]["explicit"]["buckets"]

    assert written is None or written in buckets
    assert all(re.fullmatch(r"[0-9]+(\.[0-9]*[1-9])?s", each) for each in buckets)
    assert "0s" not in buckets


def test_short_spans_are_told_apart():
    """A query of two milliseconds is not counted as one of ninety."""
    buckets = journeys.span_metrics(JourneyMap(name="shop"))["histogram"]["explicit"]["buckets"]

    assert buckets[:5] == ["0.005s", "0.01s", "0.025s", "0.05s", "0.1s"]


@pytest.mark.parametrize(
    ("to", "signals"),
    [
        (["jaeger"], ["traces"]),
        (["tempo", "prometheus"], ["traces", "metrics"]),
        (["clickhouse"], ["traces", "metrics", "logs"]),
    ],
)
def test_signals_follow_the_stores(to, signals):
    """A signal has pipelines where a store takes it, and metrics of spans where one takes these."""
    for name, config in read(files(JourneyMap(name="shop"), to)).items():
        if "/" not in name:
            pipelines = config["service"]["pipelines"]
            assert [each for each in pipelines if not each.endswith("/measured")] == signals
            is_made = {"single.yaml", "gateway-keeping.yaml"} | {
                each for each in (name,) if each.startswith("gateway-sampling")
            }
            assert ("connectors" in config) == (name in is_made and "metrics" in signals)


def test_first_of_all_memory_is_limited():
    """Every pipeline of every file refuses first what would not fit."""
    for name, config in read(files(JourneyMap(name="shop"), parts.DESTINATIONS)).items():
        if "/" not in name:
            for pipeline in config["service"]["pipelines"].values():
                assert pipeline["processors"][0] == "memory_limiter"


def test_where_services_send_is_cleaned():
    """Wherever OTLP of services comes in, nothing but what is listed goes on, of any signal."""
    made = read(files(JourneyMap(name="shop"), parts.DESTINATIONS))
    for name in ("single.yaml", "agent.yaml", "gateway-balancing.yaml"):
        for signal, pipeline in made[name]["service"]["pipelines"].items():
            if "otlp" in pipeline["receivers"]:
                assert pipeline["processors"][1] == "redaction"
                assert ("transform/texts" in pipeline["processors"]) == (signal == "traces")


def test_names_and_kinds_of_spans_stay_in_their_metrics():
    """What one Collector counts goes past the list of services' attributes, and is sent once."""
    pipelines = read(files(JourneyMap(name="shop"), parts.DESTINATIONS))["single.yaml"]["service"][
        "pipelines"
    ]
    behind = [each for each in pipelines.values() if "span_metrics" in each["receivers"]]

    assert behind == [pipelines["metrics/measured"]]
    assert behind[0] == {
        "receivers": ["span_metrics"],
        "processors": ["memory_limiter"],
        "exporters": pipelines["metrics"]["exporters"],
    }


def test_every_variable_is_known():
    """The files ask the environment for what the documentation lists, and for nothing else."""
    texts = "".join(files(JourneyMap(name="shop"), parts.DESTINATIONS).values())
    asked = set(re.findall(r"\$\{env:(\w+)", texts))

    assert asked == set(parts.VARIABLES)
    listed = dict(re.findall(r"^\| `(CX_\w+)` \| `?(.*?)`? \|", DOCS.read_text(), re.MULTILINE))
    assert listed == {name: value or "nothing" for name, value in parts.VARIABLES.items()}


def test_manifests_have_the_same_configurations():
    """Kubernetes runs what the files say; only the way to the second tier is another."""
    made = read(files(JourneyMap(name="shop"), ["jaeger", "prometheus"]))

    for name in ("agent", "gateway-sampling"):
        config = made[f"kubernetes/{name}.yaml"]["spec"]["config"]
        assert config == kubernetes.settled(made[f"{name}.yaml"])
        assert config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"] == "0.0.0.0:4317"
        assert "${env:CX_LISTEN" not in str(config)
    config = made["kubernetes/gateway-balancing.yaml"]["spec"]["config"]
    plain = made["gateway-balancing.yaml"]
    assert config["processors"] == plain["processors"]
    for exporter in config["exporters"].values():
        assert exporter["resolver"] == kubernetes.RESOLVER


def test_the_command_writes_and_compares(tmp_path, capsys):
    """Files are written once, and a changed one is found."""
    out = tmp_path / "out"
    command = ["collector", str(EXAMPLE), "-o", str(out)]

    assert main(command) == 0
    assert main([*command, "--check"]) == 0
    (out / "agent.yaml").write_text("receivers: {}\n")
    assert main([*command, "--check"]) == 1
    assert f"differs   {out / 'agent.yaml'}" in capsys.readouterr().out


def test_stores_are_chosen(tmp_path):
    """Each `--to` is a store; without one they are Jaeger and Prometheus."""
    usual, chosen = tmp_path / "usual", tmp_path / "chosen"

    assert main(["collector", str(EXAMPLE), "-o", str(usual)]) == 0
    assert main(["collector", str(EXAMPLE), "-o", str(chosen), "--to", "tempo"]) == 0

    exporters = [
        list(yaml.safe_load((folder / "single.yaml").read_text())["exporters"])
        for folder in (usual, chosen)
    ]
    assert exporters == [["otlp_grpc/jaeger", "otlp_http/prometheus"], ["otlp_grpc/tempo"]]


def test_without_a_store_of_traces(capsys):
    """Where the spans would go nowhere the command says what to add."""
    assert main(["collector", str(EXAMPLE), "--to", "prometheus"]) == 2
    assert "--to names no store of traces: add jaeger" in capsys.readouterr().err
