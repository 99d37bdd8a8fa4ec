"""The live-check: right telemetry passes, and each kind of planted fault is found by its name."""

import copy
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from cxtrace import customer, interaction, journey, touchpoint
from cxtrace.exporters import FileSpanExporter
from cxtrace.journey_map import JourneyMap
from tests.conftest import Capture
from tests.live_check import SEMCONV, Finding, LiveCheck, Registry, main, read

if not SEMCONV.is_dir():
    pytest.skip("the registry is not part of what is tested here", allow_module_level=True)

REGISTRY = Registry()
FOREIGN = {
    "enduser.pseudo.id": "v1.QdH5",
    "error.type": "card_declined",
    "feature_flag.key": "free_shipping",
    "feature_flag.result.variant": "b",
    "session.id": "s1",
    "user_agent.synthetic.type": "test",
}
SIX = {
    "cx.journey.name": "first_order",
    "cx.journey.id": "01J9Z6V3T0Q2M4",
    "cx.stage.name": "purchase",
    "cx.touchpoint.name": "checkout.pay",
    "cx.owner.function": "product",
    "enduser.pseudo.id": "v1.QdH5",
}
INSTRUMENTS: Mapping[str, Mapping[str, Any]] = {
    "counter": {"sum": {"aggregationTemporality": 2, "isMonotonic": True}},
    "updowncounter": {"sum": {"aggregationTemporality": 2}},
    "histogram": {"histogram": {"aggregationTemporality": 2}},
}

Telemetry = dict[str, Any]
"""Spans, metrics and logs by name, their attributes as plain dictionaries."""


def example(key: str) -> tuple[str, Any]:
    """An attribute as it is sent, with a value as the registry gives it."""
    known = {**FOREIGN, **SIX}
    if key in known:
        return key, known[key]
    each = REGISTRY.attributes[key]
    sent = f"{key}.it" if "template" in each["type"] else key
    return sent, each.get("examples", [True])[0]


def whole(group: Mapping[str, Any], *but: str, opt_in: bool = True) -> dict[str, Any]:
    """All attributes that a group may have."""
    return dict(
        example(ref["ref"])
        for ref in group["attributes"]
        if ref["ref"] not in but and (opt_in or ref["requirement_level"] != "opt_in")
    )


def right() -> Telemetry:
    """Telemetry that shows all of the registry, as it should be."""
    pay = whole(REGISTRY.spans["cx.touchpoint"], "error.type")
    events = {name: whole(event) for name, event in REGISTRY.events.items()}
    spans: dict[str, dict[str, Any]] = {
        "checkout.pay": {"attributes": pay, "events": copy.deepcopy(events)},
        "invoice": {
            "attributes": {
                **whole(REGISTRY.spans["cx.touchpoint"]),
                "cx.touchpoint.name": "invoice",
                "cx.touchpoint.outcome": "failed",
            },
            "status": {"code": 2},
        },
        "enter_card_number": {
            "attributes": {**whole(REGISTRY.spans["cx.interaction"], "error.type"), **SIX}
        },
        "SELECT": {"attributes": {**SIX, "db.system.name": "sqlite"}, "kind": 3, "scope": "db"},
        "POST /pay": {"attributes": {**pay, "http.route": "/pay"}, "kind": 2, "scope": "asgi"},
    }
    metrics = {
        name: {
            "name": name,
            "unit": metric["unit"],
            **copy.deepcopy(INSTRUMENTS[metric["instrument"]]),
            "points": [{"attributes": whole(metric, "error.type", opt_in=False)}],
        }
        for name, metric in REGISTRY.metrics.items()
    }
    logs = {name: {"attributes": each, "severityNumber": 9} for name, each in events.items()}
    for name in ("cx.friction", "cx.promise.evaluated", "cx.complaint"):
        logs[name]["severityNumber"] = 13
    resource = {"cx.map.name": "retail", "cx.map.version": "7", "service.name": "shop"}
    return {"resource": resource, "spans": spans, "metrics": metrics, "logs": logs}


def otlp(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Attributes as OTLP has them."""
    kinds = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}
    return [
        {"key": key, "value": {kinds[type(value)]: str(value) if type(value) is int else value}}
        for key, value in attributes.items()
    ]


def encoded(telemetry: Telemetry) -> dict[str, Any]:
    """Telemetry as one message of OTLP."""
    resource = {"resource": {"attributes": otlp(telemetry["resource"])}}
    spans = []
    for number, (name, span) in enumerate(telemetry["spans"].items()):
        events = [
            {"name": event, "attributes": otlp(attributes)}
            for event, attributes in span.get("events", {}).items()
        ]
        links = [{"attributes": otlp(each)} for each in span.get("links", ())]
        item = {"name": name, "spanId": f"{number:016x}", "kind": 1, **span, "links": links}
        scope = {"name": item.pop("scope", "cxtrace")}
        item |= {"attributes": otlp(span["attributes"]), "events": events}
        spans.append({"scope": scope, "spans": [item]})
    metrics = []
    for metric in telemetry["metrics"].values():
        (form,) = metric.keys() - {"name", "unit", "points", "scope"}
        points = [
            {
                "attributes": otlp(point["attributes"]),
                "exemplars": [{"filteredAttributes": otlp(point.get("exemplar", {}))}],
            }
            for point in metric["points"]
        ]
        item = {**metric, form: {**metric[form], "dataPoints": points}}
        scope = {"name": metric.get("scope", "cxtrace")}
        metrics.append({"scope": scope, "metrics": [item]})
    logs = [
        {"eventName": name, "spanId": f"{0:016x}", **log, "attributes": otlp(log["attributes"])}
        for name, log in telemetry["logs"].items()
    ]
    return {
        "resourceSpans": [{**resource, "scopeSpans": spans}],
        "resourceMetrics": [{**resource, "scopeMetrics": metrics}],
        "resourceLogs": [
            {**resource, "scopeLogs": [{"scope": {"name": "cxtrace"}, "logRecords": logs}]}
        ],
    }


def found(telemetry: Telemetry, **options: Any) -> list[Finding]:
    """The findings in some telemetry."""
    return list(LiveCheck(REGISTRY, **options).run([("here:1", encoded(telemetry))]).findings)


def put(kind: str, name: str, key: str, value: Any) -> Callable[[Telemetry], None]:
    """A fault: an attribute of a span or a log event, or a label, is another."""

    def spoil(telemetry: Telemetry) -> None:
        item = telemetry[kind][name]
        attributes = (item["points"][0] if kind == "metrics" else item)["attributes"]
        if value is None:
            del attributes[key]
        else:
            attributes[key] = value

    return spoil


def put_in_event(event: str, key: str, value: Any) -> Callable[[Telemetry], None]:
    """A fault: an attribute of a span event is another, or gone."""

    def spoil(telemetry: Telemetry) -> None:
        attributes = telemetry["spans"]["checkout.pay"]["events"][event]
        if value is None:
            del attributes[key]
        else:
            attributes[key] = value

    return spoil


def update(kind: str, name: str, /, **values: Any) -> Callable[[Telemetry], None]:
    """A fault: what a span, a metric or a log says of itself is another."""
    return lambda telemetry: telemetry[kind][name].update(values)


def rename(kind: str, name: str, new: str) -> Callable[[Telemetry], None]:
    """A fault: a name is another."""

    def spoil(telemetry: Telemetry) -> None:
        telemetry[kind][new] = telemetry[kind].pop(name)
        telemetry[kind][new].update({"name": new} if kind == "metrics" else {})

    return spoil


def another_form(name: str, /, **form: Any) -> Callable[[Telemetry], None]:
    """A fault: a metric is made by another instrument."""

    def spoil(telemetry: Telemetry) -> None:
        metric = telemetry["metrics"][name]
        for key in ("sum", "histogram"):
            metric.pop(key, None)
        metric |= form

    return spoil


def exemplar(key: str) -> Callable[[Telemetry], None]:
    """A fault: an exemplar says whose it is."""

    def spoil(telemetry: Telemetry) -> None:
        telemetry["metrics"]["cx.mentions"]["points"][0]["exemplar"] = {key: "x"}

    return spoil


def unknown_span_event(telemetry: Telemetry) -> None:
    """A fault: a span of ours bears an event that the registry does not have."""
    telemetry["spans"]["checkout.pay"]["events"]["frustration"] = {}


def unknown_event_elsewhere(telemetry: Telemetry) -> None:
    """A fault: a span of others bears an event with our prefix that nobody knows."""
    telemetry["spans"]["SELECT"]["events"] = {"cx.frction": {}}


def unknown_on_a_link(telemetry: Telemetry) -> None:
    """A fault: a link has an attribute that the registry does not have."""
    telemetry["spans"]["SELECT"]["links"] = [{"cx.link.kind": "previous"}]


def nameless_map(telemetry: Telemetry) -> None:
    """A fault: the resource has the map's version and not its name."""
    del telemetry["resource"]["cx.map.name"]


def talkative_resource(telemetry: Telemetry) -> None:
    """A fault: the resource says what only a touchpoint can know."""
    telemetry["resource"]["cx.stage.name"] = "purchase"


PAY, CARD, SELECT = "checkout.pay", "enter_card_number", "SELECT"
DURATION, UNRESOLVED = "cx.touchpoint.duration", "cx.complaint.unresolved"
CUMULATIVE = {"aggregationTemporality": 2}
NEEDED, IF = "required_attribute_not_present", "conditionally_required_attribute_not_present"

FAULTS: list[tuple[str, str, str, Callable[[Telemetry], None]]] = [
    # finding, signal, attribute, what does it
    ("missing_attribute", PAY, "cx.colour", put("spans", PAY, "cx.colour", "red")),
    ("missing_attribute", PAY, "cx.quality", put("spans", PAY, "cx.quality", 0.5)),
    ("missing_attribute", SELECT, "cx.journy.id", put("spans", SELECT, "cx.journy.id", "x")),
    ("missing_attribute", SELECT, "cx.link.kind", unknown_on_a_link),
    ("missing_attribute", "cx.value", "cx.value.sum", put("logs", "cx.value", "cx.value.sum", 1.0)),
    ("missing_attribute", DURATION, "cx.mood", put("metrics", DURATION, "cx.mood", "low")),
    (
        *("undefined_enum_variant", PAY, "cx.touchpoint.outcome"),
        put("spans", PAY, "cx.touchpoint.outcome", "finished"),
    ),
    (
        *("undefined_enum_variant", "cx.emotion", "cx.emotion.source"),
        put_in_event("cx.emotion", "cx.emotion.source", "face"),
    ),
    (
        *("undefined_enum_variant", "cx.function.verdicts", "cx.function.verdict"),
        put("metrics", "cx.function.verdicts", "cx.function.verdict", "content"),
    ),
    ("type_mismatch", PAY, "cx.effort.actions", put("spans", PAY, "cx.effort.actions", "3")),
    ("type_mismatch", PAY, "cx.effort.wait_time", put("spans", PAY, "cx.effort.wait_time", 3)),
    (
        *("type_mismatch", PAY, "cx.owner.influence.it"),
        put("spans", PAY, "cx.owner.influence.it", "0.3"),
    ),
    (
        *("type_mismatch", PAY, "cx.function.happy.it"),
        put("spans", PAY, "cx.function.happy.it", "yes"),
    ),
    (
        *("type_mismatch", SELECT, "cx.stage.name"),
        put("spans", SELECT, "cx.stage.name", 3),
    ),
    (
        *("type_mismatch", "cx.promise.evaluated", "cx.promise.target"),
        put("logs", "cx.promise.evaluated", "cx.promise.target", 10),
    ),
    (NEEDED, PAY, "cx.stage.phase", put("spans", PAY, "cx.stage.phase", None)),
    (NEEDED, CARD, "cx.touchpoint.name", put("spans", CARD, "cx.touchpoint.name", None)),
    (NEEDED, "POST /pay", "cx.stage.phase", put("spans", "POST /pay", "cx.stage.phase", None)),
    (
        *(NEEDED, "cx.nudge.exposure", "cx.nudge.disclosed"),
        put_in_event("cx.nudge.exposure", "cx.nudge.disclosed", None),
    ),
    (NEEDED, "cx.mention", "cx.stage.phase", put("logs", "cx.mention", "cx.stage.phase", None)),
    (NEEDED, DURATION, "cx.owner.function", put("metrics", DURATION, "cx.owner.function", None)),
    (IF, PAY, "cx.touchpoint.outcome", put("spans", PAY, "cx.touchpoint.outcome", None)),
    (IF, PAY, "cx.journey.name", put("spans", PAY, "cx.journey.name", None)),
    (IF, PAY, "cx.customer.key_id", put("spans", PAY, "cx.customer.key_id", None)),
    (IF, PAY, "cx.walkthrough.id", put("spans", PAY, "cx.walkthrough.id", None)),
    (IF, PAY, "cx.walkthrough.persona", put("spans", PAY, "cx.walkthrough.persona", None)),
    (IF, "invoice", "error.type", put("spans", "invoice", "error.type", None)),
    (IF, CARD, "error.type", update("spans", CARD, status={"code": 2})),
    (
        *(IF, DURATION, "error.type"),
        put("metrics", DURATION, "cx.touchpoint.outcome", "failed"),
    ),
    (
        *(IF, "cx.friction", "cx.friction.detector"),
        put_in_event("cx.friction", "cx.friction.detector", None),
    ),
    (
        *(IF, "cx.friction", "cx.journey.name"),
        put("logs", "cx.friction", "cx.journey.name", None),
    ),
    (
        *(IF, "cx.stage.transition", "cx.journey.id"),
        put("logs", "cx.stage.transition", "cx.journey.id", None),
    ),
    (
        *(IF, "cx.value", "cx.value.currency"),
        put_in_event("cx.value", "cx.value.currency", None),
    ),
    (
        *(IF, "cx.feedback", "cx.feedback.score"),
        put_in_event("cx.feedback", "cx.feedback.score", None),
    ),
    (
        *(IF, "cx.nudge.exposure", "feature_flag.key"),
        put_in_event("cx.nudge.exposure", "feature_flag.key", None),
    ),
    ("unexpected_attribute", PAY, "error.type", put("spans", PAY, "error.type", "Timeout")),
    ("unexpected_attribute", CARD, "error.type", put("spans", CARD, "error.type", "Timeout")),
    (
        *("unexpected_attribute", PAY, "cx.emotion.valence"),
        put("spans", PAY, "cx.emotion.valence", -0.6),
    ),
    (
        *("unexpected_attribute", SELECT, "cx.friction.type"),
        put("spans", SELECT, "cx.friction.type", "slow"),
    ),
    (
        *("unexpected_attribute", "cx.value", "cx.value.currency"),
        put_in_event("cx.value", "cx.value.amount", None),
    ),
    (
        *("unexpected_attribute", "cx.friction", "cx.friction.detector"),
        put_in_event("cx.friction", "cx.friction.source", "declared"),
    ),
    (
        *("unexpected_attribute", "cx.handoff", "cx.channel.name"),
        put("logs", "cx.handoff", "cx.channel.name", "web"),
    ),
    (
        *("unexpected_attribute", "cx.mentions", "cx.stage.name"),
        put("metrics", "cx.mentions", "cx.stage.name", "purchase"),
    ),
    ("unexpected_attribute", "cx.mentions", "host", put("metrics", "cx.mentions", "host", "a")),
    (
        *("unexpected_attribute", DURATION, "cx.channel.name"),
        put("metrics", DURATION, "cx.channel.name", "web"),
    ),
    ("unexpected_attribute", "resource", "cx.stage.name", talkative_resource),
    ("entity_required_attribute_not_present", "resource", "cx.map.name", nameless_map),
    ("personal_label", DURATION, "cx.journey.id", put("metrics", DURATION, "cx.journey.id", "x")),
    ("personal_label", "cx.mentions", "enduser.pseudo.id", exemplar("enduser.pseudo.id")),
    ("personal_label", "cx.mentions", "session.id", exemplar("session.id")),
    ("unit_mismatch", DURATION, "", update("metrics", DURATION, unit="ms")),
    ("unit_mismatch", "cx.mentions", "", update("metrics", "cx.mentions", unit="")),
    ("unexpected_instrument", "cx.mentions", "", another_form("cx.mentions", gauge={})),
    ("unexpected_instrument", "cx.mentions", "", another_form("cx.mentions", sum=CUMULATIVE)),
    (
        *("unexpected_instrument", "cx.mentions", ""),
        another_form("cx.mentions", sum={"isMonotonic": True}),
    ),
    (
        *("unexpected_instrument", UNRESOLVED, ""),
        another_form(UNRESOLVED, sum={**CUMULATIVE, "isMonotonic": True}),
    ),
    (
        *("unexpected_instrument", DURATION, ""),
        another_form(DURATION, sum={**CUMULATIVE, "isMonotonic": True}),
    ),
    ("unexpected_instrument", DURATION, "", another_form(DURATION, other={})),
    ("missing_metric", "cx.moods", "", rename("metrics", "cx.mentions", "cx.moods")),
    ("missing_metric", "mentions", "", rename("metrics", "cx.mentions", "mentions")),
    ("missing_event", "frustration", "", unknown_span_event),
    ("missing_event", "cx.frction", "", unknown_event_elsewhere),
    ("missing_event", "friction", "", rename("logs", "cx.friction", "friction")),
    ("unexpected_span_kind", PAY, "", update("spans", PAY, kind=3)),
    ("unexpected_span_kind", "POST /pay", "", update("spans", "POST /pay", kind=3)),
    ("unexpected_span_name", "pay", "cx.touchpoint.name", rename("spans", PAY, "pay")),
    (
        *("unexpected_status", PAY, "cx.touchpoint.outcome"),
        update("spans", PAY, status={"code": 2}),
    ),
    ("unexpected_severity", "cx.friction", "", update("logs", "cx.friction", severityNumber=9)),
    ("unexpected_severity", "cx.value", "", update("logs", "cx.value", severityNumber=13)),
]


def test_right_telemetry_gives_nothing() -> None:
    """Where all is as the registry says nothing is found, and all of the registry is seen."""
    check = LiveCheck(REGISTRY).run([("here:1", encoded(right()))]).require_all()

    assert list(check.findings) == []
    assert check.statistics()["registry_coverage"] == 1.0


@pytest.mark.parametrize(
    ("finding", "signal", "attribute", "spoil"),
    FAULTS,
    ids=[f"{finding}-{signal}-{attribute}" for finding, signal, attribute, _ in FAULTS],
)
def test_a_planted_fault_is_found(
    finding: str, signal: str, attribute: str, spoil: Callable[[Telemetry], None]
) -> None:
    """A single fault in right telemetry gives a single finding, of the right name and place."""
    telemetry = right()
    spoil(telemetry)

    (only,) = found(telemetry)
    assert (only.id, only.signal_name, only.attribute) == (finding, signal, attribute)


@pytest.mark.parametrize("state", ["denied", "withdrawn"])
def test_who_refused_is_not_named(state: str) -> None:
    """After a refusal neither the span nor its events may name customer, journey or session."""
    telemetry = right()
    telemetry["spans"]["invoice"]["attributes"]["cx.consent.state"] = state
    telemetry["spans"]["invoice"]["events"] = {
        "cx.mention": {
            "cx.mention.source": "friends",
            "cx.stage.phase": "customer",
            "enduser.pseudo.id": "v1.Q",
        }
    }

    findings = found(telemetry)

    assert {(each.id, each.signal_name, each.attribute) for each in findings} == {
        ("unexpected_attribute", "invoice", "cx.journey.id"),
        ("unexpected_attribute", "invoice", "enduser.pseudo.id"),
        ("unexpected_attribute", "invoice", "session.id"),
        ("unexpected_attribute", "cx.mention", "enduser.pseudo.id"),
    }


def test_opt_in_labels_can_be_asked_for() -> None:
    """A label that the registry leaves open is right where somebody asked for it."""
    telemetry = right()
    put("metrics", DURATION, "cx.channel.name", "web")(telemetry)

    assert found(telemetry, opt_in=["cx.channel.name"]) == []


@pytest.mark.parametrize("form", ["histogram", "exponentialHistogram"])
def test_a_histogram_may_be_exponential(form: str) -> None:
    """The buckets are the reader's choice: both kinds are the registry's histogram."""
    telemetry = right()
    another_form(DURATION, **{form: {"aggregationTemporality": 1}})(telemetry)

    assert found(telemetry) == []


def test_what_is_of_others_is_left_alone() -> None:
    """Names of others, host events, plain logs and exceptions on our spans are no findings."""
    telemetry = right()
    telemetry["resource"]["cx.application.name"] = "shop"
    telemetry["spans"]["SELECT"]["attributes"]["cx.subsystem.name"] = "db"
    telemetry["spans"]["SELECT"]["events"] = {"retry": {"count": 2}}
    telemetry["spans"][PAY]["events"]["exception"] = {"exception.type": "ValueError"}
    telemetry["spans"]["POST /pay"]["attributes"]["error.type"] = "500"
    telemetry["logs"][""] = {"attributes": {"cx.stage.name": "purchase"}, "severityNumber": 17}
    telemetry["metrics"]["http"] = {
        "name": "http.server.request.duration",
        "unit": "s",
        "histogram": {},
        "scope": "asgi",
        "points": [{"attributes": {"http.route": "/pay"}}],
    }

    assert found(telemetry) == []


def test_personal_labels_of_others_are_found() -> None:
    """The pseudonym on a metric of anyone in the recording is a finding."""
    telemetry = right()
    telemetry["metrics"]["http"] = {
        "name": "http.server.request.duration",
        "unit": "s",
        "histogram": {},
        "scope": "asgi",
        "points": [{"attributes": {"enduser.pseudo.id": "v1.Q"}}],
    }

    assert [each.id for each in found(telemetry)] == ["personal_label"]


def test_a_log_event_is_judged_with_its_span() -> None:
    """The span of a log event may stand in a later message, or be sampled away."""
    telemetry = right()
    put("logs", "cx.friction", "cx.journey.name", None)(telemetry)
    message = encoded(telemetry)
    logs = {"resourceLogs": message["resourceLogs"]}
    spans = {"resourceSpans": message["resourceSpans"]}

    together = LiveCheck(REGISTRY).run([("a:1", logs), ("b:1", spans)])
    alone = LiveCheck(REGISTRY).run([("a:1", logs)])

    assert [(each.id, together.first[each]) for each in together.findings] == [(IF, "a:1")]
    assert list(alone.findings) == []


def test_numbers_are_those_of_weaver() -> None:
    """The statistics count what was seen of the registry, what was seen beyond it, and findings."""
    telemetry = right()
    telemetry["spans"] = {"SELECT": telemetry["spans"]["SELECT"]}
    telemetry["logs"] = {}
    telemetry["metrics"] = {}
    put("spans", "SELECT", "cx.colour", "red")(telemetry)
    numbers = LiveCheck(REGISTRY).run([("here:1", encoded(telemetry))]).statistics()

    seen = {key for key, count in numbers["seen_registry_attributes"].items() if count}
    size = sum(len(numbers[f"seen_registry_{each}s"]) for each in ("attribute", "event", "metric"))
    assert seen == {key for key in SIX if key.startswith("cx.")} | {"cx.map.name", "cx.map.version"}
    assert numbers["seen_non_registry_attributes"] == {"cx.colour": 1}
    assert numbers["advice_type_counts"] == {"missing_attribute": 1}
    assert numbers["total_entities_by_type"] == {"resource": 3, "span": 1}
    assert numbers["registry_coverage"] == len(seen) / size


# The command line


def written(path: Path, *messages: Any) -> str:
    """A file of OTLP JSON lines."""
    path.write_text("".join(json.dumps(each) + "\n" for each in messages), encoding="utf-8")
    return str(path)


def test_right_files_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a finding the status is 0, and a line says what was looked at."""
    file = written(tmp_path / "all.jsonl", encoded(right()))

    status = main([file, "--require-all"])

    assert status == 0
    assert capsys.readouterr().out.splitlines() == [
        "No finding in 3 resources, 5 spans, 15 span events, 26 metrics, 15 logs.",
        "100% of the registry seen: 75 of 75 attributes, 15 of 15 events, 26 of 26 metrics.",
    ]


def test_findings_are_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With findings the status is 1; each kind of finding is one row, with its count."""
    telemetry = right()
    put("spans", "SELECT", "cx.colour", "red")(telemetry)
    file = written(tmp_path / "all.jsonl", encoded(telemetry), encoded(telemetry))

    status = main([file])

    assert status == 1
    row, summary, _ = capsys.readouterr().out.splitlines()
    assert re.split(" {2,}", row.strip()) == [
        *("2", "missing_attribute", "span SELECT", "The registry has no attribute cx.colour.")
    ]
    assert summary.startswith("2 findings in 6 resources, 10 spans")


def test_findings_are_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--json`` a program reads findings, where each was first, and statistics."""
    telemetry = right()
    update("metrics", DURATION, unit="ms")(telemetry)
    file = written(tmp_path / "all.jsonl", encoded(right()), encoded(telemetry))

    status = main([file, "--json"])

    answer = json.loads(capsys.readouterr().out)
    assert status == 1
    assert answer["findings"] == [
        {
            "id": "unit_mismatch",
            "level": "violation",
            "signal_type": "metric",
            "signal_name": DURATION,
            "context": {},
            "message": "The unit is 'ms' and should be 's'.",
            "count": 1,
            "first": f"{file}:2",
        }
    ]
    assert answer["statistics"]["registry_coverage"] == 1.0


def test_what_is_never_sent_can_be_required(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--require-all`` finds what nobody sent, but for what ``--except`` names."""
    telemetry = right()
    del telemetry["metrics"]["cx.mentions"]
    del telemetry["logs"]["cx.mention"]
    del telemetry["spans"][PAY]["events"]["cx.mention"]
    file = written(tmp_path / "all.jsonl", encoded(telemetry))

    statuses = [
        main([file]),
        main([file, "--require-all", "--json"]),
        main([file, "--require-all", "--except", "cx.mention", "--except", "cx.mentions"]),
    ]

    out = capsys.readouterr().out
    assert statuses == [0, 1, 1]
    assert out.count('"id": "not_seen"') == 3
    assert "attribute cx.mention.source  It is never emitted." in out


@pytest.mark.parametrize(
    "line", ['{"resourceSpans": [{"sco', "3", "null", '{"a": 1}', '{"resourceSpans": [3]}']
)
def test_torn_lines_are_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """A line that is no OTLP in JSON is named, and the rest is checked all the same."""
    file = tmp_path / "all.jsonl"
    file.write_text(json.dumps(encoded(right())) + f"\n\n{line}\n", encoding="utf-8")

    status = main([str(file)])

    assert status == 1
    row, _, coverage = capsys.readouterr().out.splitlines()
    assert row.split()[:4] == ["1", "unreadable", "file", f"{file}:3"]
    assert coverage.startswith("100%")


@pytest.mark.parametrize("text", ["", "\n", '{"resourceSpans": []}\n', "no telemetry\n"])
def test_nothing_to_check_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """A file without anything of ours, like one that is not there, is wrong use: status 2."""
    file = tmp_path / "all.jsonl"
    file.write_text(text, encoding="utf-8")

    statuses = main([str(file)]), main([str(tmp_path / "none.jsonl")])

    assert statuses == (2, 2)
    assert "the files hold nothing of cxtrace" in capsys.readouterr().err


# What cxtrace itself writes


def test_touchpoints_are_right_on_the_wire(cx: Capture, tmp_path: Path) -> None:
    """Spans that cxtrace made and wrote to a file, and those it stamped, pass."""
    file = tmp_path / "spans.jsonl"
    cx.provider.add_span_processor(SimpleSpanProcessor(FileSpanExporter(file)))
    cx.use(journey_map=JourneyMap.load(SEMCONV / "example-map.toml"))

    with journey("first_order", route="express"), customer("cust-42", kind="person"):
        with touchpoint("home.search"), cx.tracer.start_as_current_span("SELECT"):
            pass
        with touchpoint("checkout.pay", channel="web") as tp, interaction("confirm"):
            tp.fail("card_declined")

    check = LiveCheck(REGISTRY).run(read([file]))
    assert list(check.findings) == []
    assert check.checked["span"] == 4
