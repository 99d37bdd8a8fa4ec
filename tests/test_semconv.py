"""The registry in ``semconv/`` is well formed, and is what ``cxtrace.attributes`` says."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any, Final, get_args, get_origin

import pytest
import yaml

from cxtrace import attributes
from cxtrace._instruments import SPECS
from cxtrace.platform import prometheus
from cxtrace.platform.explain.registry import PURPOSES

SEMCONV = Path(__file__).parents[1] / "semconv"
if not SEMCONV.is_dir():
    pytest.skip("the registry is not part of what is tested here", allow_module_level=True)

FOREIGN = {
    "enduser.pseudo.id",
    "error.type",
    "feature_flag.key",
    "feature_flag.result.variant",
    "session.id",
    "user_agent.synthetic.type",
}
"""Attributes of OpenTelemetry's own registry that ours refers to."""
OF_EXCEPTIONS = {"exception", "exception.message", "exception.stacktrace", "exception.type"}
"""An event of OpenTelemetry's own registry that is recorded as it is there."""
"""Attributes that services tell each other and no signal carries."""
CORALOGIX: Final = re.compile(r"cx\.(application|subsystem|agent|otel_integration|cluster)\b")
SCALARS = {"string", "int", "double", "boolean"}
TEMPLATES = {f"template[{scalar}]" for scalar in SCALARS}
LEVELS = {"required", "recommended", "opt_in"}
CONDITIONAL = {"conditionally_required", "recommended", "opt_in"}
INSTRUMENTS = {"counter", "histogram", "updowncounter", "gauge"}
PII = {
    *("none", "linkable", "quasi_identifier"),
    *("sensitive_inference", "profiling", "commercial"),
}
CARDINALITIES = {"low", "bounded", "high", "unbounded"}
UNIT = re.compile(r"1|s|By|%|\{[a-z_]+\}")
NAME = re.compile(r"(cx|cxtrace\.sdk)(\.[a-z][a-z0-9_]*)+")
NEVER_ON_METRICS = {"linkable", "high", "unbounded"}
ALL_HAVE = {"brief", "note", "stability", "annotations", "attributes"}
KEYS = {
    "entities": {"type", "brief", "stability", "identity", "description"},
    "events": {*ALL_HAVE, "name", "requirement_level"},
    "metrics": {*ALL_HAVE, "name", "requirement_level", "instrument", "unit"},
    "spans": {*ALL_HAVE, "type", "kind", "name"},
}
"""What Weaver's schema knows of each list, as far as we use it."""


def read(name: str) -> Any:
    """A file of the registry."""
    return yaml.safe_load((SEMCONV / f"{name}.yaml").read_text(encoding="utf-8"))


ATTRIBUTES = {each["key"]: each for each in read("attributes")["attributes"]}
EVENTS = {each["name"]: each for each in read("events")["events"]}
METRICS = {each["name"]: each for each in read("metrics")["metrics"]}
SPANS = {each["type"]: each for each in read("spans")["spans"]}
ENTITIES = {each["type"]: each for each in read("entities")["entities"]}
GROUPS = [*SPANS.values(), *EVENTS.values(), *METRICS.values(), *ENTITIES.values()]
IDENTITY = {"attributes": "key", "entities": "type", "spans": "type"}

CONSTANTS = {
    name: value
    for name, value in vars(attributes).items()
    if name.isupper() and isinstance(value, str)
}
CLOSED_SETS = {
    name: get_args(value) for name, value in vars(attributes).items() if get_origin(value)
}


def documented_sets() -> dict[str, str]:
    """Of each closed set of the module, the attribute that its docstring names."""
    text = Path(attributes.__file__).read_text(encoding="utf-8")
    found = re.findall(
        r'^(\w+) = Literal\[.*?\]\n"""Values of ``([\w.]+)``', text, re.MULTILINE | re.DOTALL
    )
    return {name: attribute for name, attribute in found if name in CLOSED_SETS}


def members(key: str) -> list[str]:
    """The values of a closed set of the registry."""
    return [member["value"] for member in ATTRIBUTES[key]["type"]["members"]]


def refs(group: dict[str, Any]) -> list[dict[str, Any]]:
    """The attributes that a span, an event or a metric refers to."""
    return [*group.get("attributes", ()), *group.get("identity", ()), *group.get("description", ())]


# The module and the registry


def test_attributes_agree() -> None:
    """Each attribute of the registry is a constant, and each constant is in the registry."""
    ours = {
        value for name, value in CONSTANTS.items() if not name.startswith(("EVENT_", "METRIC_"))
    }

    assert ours - FOREIGN - OF_EXCEPTIONS == set(ATTRIBUTES)
    assert ours - set(ATTRIBUTES) <= FOREIGN | OF_EXCEPTIONS


@pytest.mark.parametrize(
    ("prefix", "published"), [("EVENT_", EVENTS), ("METRIC_", METRICS)], ids=["events", "metrics"]
)
def test_events_and_metrics_agree(prefix: str, published: dict[str, Any]) -> None:
    """Events and metrics have the same names here and there, each once."""
    ours = [value for name, value in CONSTANTS.items() if name.startswith(prefix)]

    assert sorted(ours) == sorted(published)


def test_constants_are_called_as_they_are_sent() -> None:
    """``CX.STAGE.NAME`` is ``STAGE_NAME``: who knows the one knows the other."""
    ours = {name: value for name, value in CONSTANTS.items() if value.startswith("cx.")}
    expected = {
        name: value.removeprefix("cx.").replace(".", "_").upper() for name, value in ours.items()
    }

    assert {name: re.sub(r"^(EVENT|METRIC)_", "", name) for name in ours} == expected


def test_closed_sets_agree() -> None:
    """Each closed set has the same values in the same order, and none is missing on either side."""
    published = {
        key: members(key) for key, it in ATTRIBUTES.items() if isinstance(it["type"], dict)
    }
    ours = {attribute: list(CLOSED_SETS[name]) for name, attribute in documented_sets().items()}

    assert len(documented_sets()) == len(CLOSED_SETS)
    assert ours == published


def test_the_meaning_agrees() -> None:
    """The docstring of a constant is the brief of the registry."""
    text = Path(attributes.__file__).read_text(encoding="utf-8")
    told = dict(
        re.findall(
            r'^\w+: Final = "(cx(?:trace)?\.[\w.]+)"\n"""(.*?)"""', text, re.MULTILINE | re.DOTALL
        )
    )

    def plain(words: str) -> str:
        return " ".join(words.replace("`", "").split())

    assert {key: plain(told.get(key, "")) for key in ATTRIBUTES} == {
        key: plain(each["brief"]) for key, each in ATTRIBUTES.items()
    }


# The registry itself


@pytest.mark.parametrize("name", ["attributes", "entities", "events", "metrics", "spans"])
def test_files_say_their_format(name: str) -> None:
    """Each file says the format and holds one list, named like the file."""
    content = read(name)

    assert set(content) == {"file_format", name}
    assert content["file_format"] == "definition/2"


def test_the_manifest_names_what_it_builds_on() -> None:
    """The manifest has a schema address of its own and pins OpenTelemetry's registry."""
    manifest = read("manifest")
    (dependency,) = manifest["dependencies"]
    version = dependency["schema_url"].rpartition("/")[2]

    assert set(manifest) == {"description", "schema_url", "dependencies"}
    assert re.search(r"/\d+\.\d+\.\d+$", manifest["schema_url"])
    assert f"v{version}" in dependency["registry_path"]


@pytest.mark.parametrize("file", ["attributes", "entities", "events", "metrics", "spans"])
def test_nothing_is_defined_twice(file: str) -> None:
    """No key, name or type stands twice in a file."""
    names = [item[IDENTITY.get(file, "name")] for item in read(file)[file]]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("file", sorted(KEYS))
def test_lists_have_known_keys_only(file: str) -> None:
    """What stands in a list is what Weaver reads there, and nothing that it would refuse."""
    assert {key for item in read(file)[file] for key in item} <= KEYS[file]


@pytest.mark.parametrize("key", sorted({*ATTRIBUTES, *SPANS, *EVENTS, *METRICS, *ENTITIES}))
def test_names_are_ours(key: str) -> None:
    """Each name is in our name space, and none is Coralogix's."""
    assert NAME.fullmatch(key)
    assert not CORALOGIX.match(key)


def test_no_constant_is_of_coralogix() -> None:
    """No constant is a name that Coralogix uses under the same prefix."""
    assert [value for value in CONSTANTS.values() if CORALOGIX.match(value)] == []


@pytest.mark.parametrize("key", sorted(ATTRIBUTES))
def test_attributes_are_complete(key: str) -> None:
    """An attribute has type, stability, brief, class of personal data and cardinality."""
    each = ATTRIBUTES[key]
    cx = each["annotations"]["cx"]

    assert set(each) <= {"key", "type", "stability", "brief", "note", "examples", "annotations"}
    assert each["stability"] in {"development", "stable"}
    assert each["brief"].endswith(".")
    assert set(cx) == {"pii_class", "cardinality", "purpose"}
    assert cx["purpose"] in PURPOSES
    assert cx["pii_class"] in PII
    assert cx["cardinality"] in CARDINALITIES
    if isinstance(each["type"], dict):
        assert set(each["type"]) == {"members"}
        for member in each["type"]["members"]:
            assert set(member) == {"id", "value", "brief", "stability"}
            assert member["id"] == member["value"]
    else:
        assert each["type"] in SCALARS | TEMPLATES


@pytest.mark.parametrize("key", sorted(ATTRIBUTES))
def test_sensitive_attributes_say_so(key: str) -> None:
    """What is personal carries the warning that OpenTelemetry's registry uses, and only that."""
    each = ATTRIBUTES[key]
    pii = each["annotations"]["cx"]["pii_class"]

    assert (pii != "none") == ("[!WARNING]" in each.get("note", ""))
    assert pii == "none" or f"(class: {pii})" in each["note"]


@pytest.mark.parametrize("key", sorted(ATTRIBUTES))
def test_examples_fit_the_type(key: str) -> None:
    """An attribute has examples, of its type and of its closed set; a boolean needs none."""
    each = ATTRIBUTES[key]
    examples = each.get("examples", [])
    if isinstance(each["type"], dict):
        assert examples
        assert set(examples) <= set(members(key))
        return
    scalar = re.sub(r"template\[(\w+)\]", r"\1", each["type"])
    python = {"string": str, "int": int, "double": float, "boolean": bool}[scalar]

    assert examples or scalar == "boolean"
    assert [example for example in examples if type(example) is not python] == []


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.get("name", group.get("type")))
def test_references_resolve(group: dict[str, Any]) -> None:
    """What a span, event, metric or entity refers to exists, once, with a valid requirement."""
    keys = [ref["ref"] for ref in refs(group)]

    assert len(keys) == len(set(keys))
    assert set(keys) <= {*ATTRIBUTES, *FOREIGN}
    for ref in group.get("attributes", []):
        level = ref["requirement_level"]
        assert set(ref) <= {"ref", "requirement_level", "sampling_relevant"}
        if isinstance(level, dict):
            ((kind, why),) = level.items()
            assert kind in CONDITIONAL
            assert why.endswith(".")
        else:
            assert level in LEVELS


def test_every_attribute_is_used() -> None:
    """Each attribute belongs to some span, event, metric or entity."""
    used = {ref["ref"] for group in GROUPS for ref in refs(group)}

    assert set(ATTRIBUTES) - used == set()
    assert FOREIGN - used == set()


@pytest.mark.parametrize("name", sorted(METRICS))
def test_metrics_are_measurable(name: str) -> None:
    """A metric has an instrument, a unit, and no attribute that tells customers apart."""
    metric = METRICS[name]
    classes = {
        value
        for ref in refs(metric)
        if ref["ref"] in ATTRIBUTES
        for value in ATTRIBUTES[ref["ref"]]["annotations"]["cx"].values()
    }

    assert metric["instrument"] in INSTRUMENTS
    assert UNIT.fullmatch(metric["unit"])
    assert classes & NEVER_ON_METRICS == set()
    assert "enduser.pseudo.id" not in {ref["ref"] for ref in refs(metric)}
    assert metric["brief"].endswith(".")


@pytest.mark.parametrize("name", sorted({*EVENTS, *SPANS}))
def test_spans_and_events_are_complete(name: str) -> None:
    """A span or event says what it is, and how stable."""
    each = {**EVENTS, **SPANS}[name]

    assert each["stability"] in {"development", "stable"}
    assert each["brief"].endswith(".")
    assert each["attributes"]


def test_what_hurts_the_customer_is_a_warning() -> None:
    """Of an event that can be a warning, the registry says which values make it one."""
    warnings = {
        name: each["annotations"]["cx"]["warn_if"]
        for name, each in EVENTS.items()
        if "annotations" in each
    }

    assert warnings == {
        "cx.friction": {"cx.friction.severity": ["high", "blocking"]},
        "cx.promise.evaluated": {"cx.promise.result": ["broken"]},
        "cx.complaint": {"cx.complaint.state": ["opened", "reopened"]},
    }
    for name, values in warnings.items():
        ((key, bad),) = values.items()
        assert key in {ref["ref"] for ref in refs(EVENTS[name])}
        assert set(bad) < set(members(key))


def test_emotions_have_no_biometric_source() -> None:
    """A machine that reads faces, voices or bodies cannot be named as a source of an emotion."""
    assert members("cx.emotion.source") == ["self_reported", "behavioral", "text", "agent_assessed"]


def test_nudges_are_honest() -> None:
    """Who exposes a customer to a nudge must say whether it is disclosed and reversible."""
    levels = {ref["ref"]: ref["requirement_level"] for ref in refs(EVENTS["cx.nudge.exposure"])}

    assert levels["cx.nudge.disclosed"] == levels["cx.nudge.reversible"] == "required"


# The pages that are made of it


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """The makers of the reference."""
    pytest.importorskip("sphinx", reason="sphinx, of the docs group, is not installed")
    path = SEMCONV.parent / "docs" / "_ext" / "cx_reference.py"
    spec = importlib.util.spec_from_file_location("cx_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_call_metrics_as_prometheus_does(pages: ModuleType) -> None:
    """The page has the names that rules and dashboards ask for."""
    table = pages.metric_table()

    shown = {name: f"| `{name}` | {spec.kind}" in table for name, spec in SPECS.items()}
    assert all(shown.values())
    assert all(f"| `{prometheus.metric(name)}` |" in table for name in SPECS)


def test_pages_list_what_is_sent(pages: ModuleType) -> None:
    """Each event and metric that the code names has its section, and no other has."""
    sent = pages.sent_names()

    events = re.findall("^## `(.+)`$", pages.events(), re.MULTILINE)
    metrics = re.findall("^## `(.+)`$", pages.metrics(), re.MULTILINE)
    assert events == [name for name in EVENTS if name in sent]
    assert metrics == [name for name in METRICS if name in sent]
    assert [f"| `{name}` |" in pages.metric_table() for name in metrics] == [True] * len(metrics)


def test_pages_say_how_loud_an_event_is(pages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The severity, and the level and condition of each attribute, are told."""
    monkeypatch.setattr(pages, "sent_names", lambda: {"cx.friction", "cx.emotion"})

    friction, emotion = pages.events().split("## `cx.emotion`")

    assert "`WARN` where `cx.friction.severity` is `high` or `blocking`, else `INFO`." in friction
    assert "| `cx.friction.detector` | conditionally required: If a rule detected it. |" in friction
    assert "Severity: `INFO`. Opt-in: sent where the code calls it." in emotion
    assert "| `cx.emotion.arousal` | opt-in |" in emotion


def test_pages_tell_notes_and_no_warnings(
    pages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note follows the meaning; the warning of the registry is the column of the class."""
    monkeypatch.setattr(pages, "sent_names", lambda: {"cx.function.happy", "feature_flag.key"})

    *_, happy, flag = pages.attribute_table().splitlines()

    assert happy.startswith("| `cx.function.happy.<key>` | Whether the customer was happy in the")
    assert happy.endswith("there is no verdict. | boolean | sensitive inference |")
    assert flag.startswith("| `feature_flag.key` |")
