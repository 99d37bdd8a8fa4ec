"""What `cxtrace collector` writes, in real Collectors: it validates, cleans, balances, samples."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.collector import journeys, parts
from cxtrace.platform.collector.files import files
from cxtrace.platform.explain.registry import registry

from .servers import HOST, Collector, Ports, Server, Span, get, validate

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "journeys.toml"
OPERATOR = "github.com/open-telemetry/opentelemetry-operator@v0.148.0"
"""The newest version of the operator that could be had as a Go module."""

Attributes = Mapping[str, Any]


class Tier(Server):
    """A Collector that runs one of our files.

    Args:
        folder: For its log and what waits.
        file: Ours.
        environment: Beside its own ports and folder.
        more: Configurations laid over ours.
        ports: Its ports, where others have to know them.
    """

    name = "collector"

    def __init__(
        self,
        folder: Path,
        file: Path,
        environment: Mapping[str, str] | None = None,
        more: Sequence[str] = (),
        ports: Ports | None = None,
    ) -> None:
        self._file, self._environment, self._more = file, environment or {}, more
        self._fixed = ports
        super().__init__(folder)

    def config(self) -> dict[str, Any]:
        return {}

    def choose_ports(self) -> Ports:
        return self._fixed or Ports.free()

    def command(self, binary: Path, config: Path) -> list[str]:
        more = [word for each in self._more for word in ("--config", each)]
        return [str(binary), "--config", str(self._file), *more]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CX_LISTEN_GRPC": f"{HOST}:{self.ports.otlp_grpc}",
            "CX_LISTEN_HTTP": f"{HOST}:{self.ports.otlp_http}",
            "CX_LISTEN_HEALTH": f"{HOST}:{self.ports.health}",
            "CX_TELEMETRY_PORT": str(self.ports.query),
            "CX_STORAGE": str(self.folder / "queue"),
            **self._environment,
        }

    def send(self, spans: Iterable[Mapping[str, Any]], resource: Attributes | None = None) -> None:
        """Send spans, in one request over HTTP."""
        whole = {"service.name": "shop", **(resource or {})}
        document = {
            "resourceSpans": [
                {
                    "resource": {"attributes": told(whole)},
                    "scopeSpans": [{"scope": {"name": "test"}, "spans": list(spans)}],
                }
            ]
        }
        request = urllib.request.Request(
            f"{self.otlp_http}/v1/traces",
            json.dumps(document).encode(),
            {"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            assert answer.status == 200


def told(attributes: Attributes) -> list[dict[str, Any]]:
    """Attributes as OTLP JSON has them."""
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return [
        {"key": key, "value": {kinds[type(value)]: str(value) if type(value) is int else value}}
        for key, value in attributes.items()
    ]


def span(
    trace: str,
    identifier: str,
    attributes: Attributes,
    *,
    seconds: float = 0.01,
    name: str = "work",
    **more: Any,
) -> dict[str, Any]:
    """A span as OTLP JSON has it."""
    now = time.time_ns()
    return {
        "traceId": trace,
        "spanId": identifier,
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now + int(seconds * 1e9)),
        "attributes": told(attributes),
        **more,
    }


def digits(*words: object, length: int) -> str:
    """Hexadecimal digits that stand for words."""
    return sha256(repr(words).encode()).hexdigest()[:length]


HURTS: dict[str, dict[str, Any]] = {
    "error": {"status": {"code": 2}},
    "outcome": {"outcome": "failed"},
    "friction": {"events": [{"name": names.EVENT_FRICTION}]},
    "promise": {
        "events": [
            {
                "name": names.EVENT_PROMISE_EVALUATED,
                "attributes": told({names.PROMISE_RESULT: "broken"}),
            }
        ]
    },
    "complaint": {"events": [{"name": names.EVENT_COMPLAINT}]},
    "lost": {
        "events": [
            {
                "name": names.EVENT_JOURNEY_END,
                "attributes": told({names.JOURNEY_OUTCOME: "abandoned"}),
            }
        ]
    },
    "long": {"seconds": 45.0},
    "walkthrough": {"walkthrough": "2026-09-ceo-1"},
}


def visit(journey: str, number: int, hurt: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """One trace of a journey, as spans of three services; the second may be hurt."""
    trace = digits(journey, number, length=32)
    for place, service in enumerate(("web", "api", "stock")):
        more = dict(HURTS[hurt]) if hurt and place == 1 else {}
        attributes = {
            names.JOURNEY_ID: journey,
            names.JOURNEY_NAME: "first_order",
            names.TOUCHPOINT_NAME: "checkout.pay",
            names.STAGE_NAME: "purchase",
            names.OWNER_FUNCTION: "it",
            names.TOUCHPOINT_OUTCOME: more.pop("outcome", "completed"),
        }
        if "walkthrough" in more:
            attributes[names.WALKTHROUGH_ID] = more.pop("walkthrough")
        yield service, span(trace, digits(trace, place, length=16), attributes, **more)


def send_visits(tier: Tier, visits: Sequence[tuple[str, int, str]]) -> None:
    """Send the visits in random order, a few to a request, each service for itself."""
    by_service: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in visits:
        for service, made in visit(*each):
            by_service[service].append(made)
    chance = random.Random(7)
    for service, spans in by_service.items():
        chance.shuffle(spans)
        for start in range(0, len(spans), 60):
            tier.send(spans[start : start + 60], {"service.name": service})


def ids(spans: Iterable[Span | Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    """How often each span is there, by trace and span."""
    return Counter((each["traceId"], each["spanId"]) for each in spans)


def sent_ids(visits: Iterable[tuple[str, int, str]]) -> set[tuple[str, str]]:
    """The spans of visits, by trace and span."""
    return set(ids(made for each in visits for _, made in visit(*each)))


@pytest.fixture(scope="module")
def folder(collector_binary: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes for the example, with every store."""
    where = tmp_path_factory.mktemp("files")
    for name, text in files(JourneyMap.load(EXAMPLE), parts.DESTINATIONS).items():
        (where / name).parent.mkdir(exist_ok=True)
        (where / name).write_text(text)
    return where


@pytest.fixture(scope="module")
def to_one(collector_binary: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes for the example, with a store of traces and one of metrics."""
    where = tmp_path_factory.mktemp("to_one")
    for name, text in files(JourneyMap.load(EXAMPLE), ["jaeger", "prometheus"]).items():
        if "/" not in name:
            (where / name).write_text(text)
    return where


FILES = [name for name in files(JourneyMap(name="x"), parts.DESTINATIONS) if "/" not in name]
MANIFESTS = [name for name in files(JourneyMap(name="x"), parts.DESTINATIONS) if "/" in name]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("destinations", [["jaeger"], ["tempo", "prometheus"], parts.DESTINATIONS])
def test_the_collector_accepts_every_file(
    collector_binary: None, tmp_path: Path, name: str, destinations: list[parts.Destination]
) -> None:
    """`otelcol-cx validate` has nothing against a file, whatever the stores are."""
    file = tmp_path / name
    file.write_text(files(JourneyMap.load(EXAMPLE), destinations)[name])

    assert validate(file) == ""


@pytest.mark.parametrize("name", [name for name in MANIFESTS if "instrumentation" not in name])
def test_the_collector_accepts_the_manifests(folder: Path, tmp_path: Path, name: str) -> None:
    """The configuration within a manifest is one that the Collector accepts."""
    config = yaml.safe_load((folder / name).read_text())["spec"]["config"]
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))

    assert validate(file) == ""


@pytest.fixture(scope="module")
def schemas() -> dict[str, dict[str, Any]]:
    """The operator's own schema of each kind, out of its Go module."""
    command = ["go", "mod", "download", "-json", OPERATOR]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        why = f"the operator's definitions could not be had: {done.stderr or done.stdout}"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    bases = Path(json.loads(done.stdout)["Dir"]) / "config" / "crd" / "bases"
    found = {}
    for plural in ("opentelemetrycollectors", "instrumentations"):
        definition = yaml.safe_load((bases / f"opentelemetry.io_{plural}.yaml").read_text())
        for version in definition["spec"]["versions"]:
            kind = f"opentelemetry.io/{version['name']} {definition['spec']['names']['kind']}"
            found[kind] = closed(version["schema"]["openAPIV3Schema"])
    return found


def closed(schema: Any) -> Any:
    """A schema that allows no field that it does not name, as `kubectl --validate=strict`."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    is_object = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if is_object and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        made = {"type": ["integer", "string"]}
    return made


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_operator_accepts_the_manifests(schemas: dict[str, dict[str, Any]], name: str) -> None:
    """A manifest has the fields that the operator's definitions name, and no other."""
    manifest = yaml.safe_load(files(JourneyMap.load(EXAMPLE), parts.DESTINATIONS)[name])
    schema = schemas[f"{manifest['apiVersion']} {manifest['kind']}"]

    jsonschema.Draft202012Validator(schema).validate(manifest)
    manifest["spec"]["mood"] = "good"
    with pytest.raises(jsonschema.ValidationError, match="mood"):
        jsonschema.Draft202012Validator(schema).validate(manifest)


def every_attribute(journey_map: JourneyMap) -> dict[str, Any]:
    """A value for each attribute of ours that may be sent, with the keys of the map."""
    made: dict[str, Any] = {}
    for name, attribute in registry().attributes.items():
        if attribute.pii_class == "free_text":
            continue
        if name == names.QUALITY:
            made[f"{name}.ambience"] = 0.8
        elif name == names.CONTEXT:
            made.update({f"{name}.{key}": "rain" for key in journey_map.context})
        elif attribute.is_template:
            made.update({f"{name}.{key}": 0.5 for key in journey_map.functions})
        else:
            made[name] = "some_value"
    return {
        **made,
        names.JOURNEY_ID: "0f" * 16,
        names.CUSTOMER_PSEUDONYM: "v1.QdH5aa-bb_ccDDeeFFggHH",
        names.FRICTION_DETECTOR: "repeat_action@1",
        names.EFFORT_ACTIONS: 9,
        # Digits enough for a card.
        names.EFFORT_WAIT_TIME: 2.4500123456789,
    }


@pytest.fixture
def sink(collector_binary: None, tmp_path: Path) -> Iterator[Collector]:
    """A Collector that writes down what comes, in the place of every store."""
    with Collector(tmp_path / "sink") as server:
        yield server


def store(sink: Collector) -> dict[str, str]:
    """The environment that sends everything to a sink."""
    return {
        "CX_JAEGER": f"{HOST}:{sink.ports.otlp_grpc}",
        "CX_PROMETHEUS": sink.otlp_http,
    }


@pytest.mark.parametrize("file", ["single.yaml", "agent.yaml"])
def test_what_is_not_listed_does_not_leave(
    to_one: Path, sink: Collector, tmp_path: Path, file: str
) -> None:
    """A foreign attribute is removed, a value is masked where it stands, all of ours stays."""
    journey_map = JourneyMap.load(EXAMPLE)
    ours = every_attribute(journey_map)
    planted = {
        "app.note": "call ann",
        "url.full": "https://shop.test/?mail=ann.lee@example.com",
        "db.collection.name": "orders of ann.lee@example.com",
        "http.route": "/pay/4000000000000002",
        "code.function": "DE89370400440532013000",
    }
    event = {"name": "cx.friction", "attributes": told({"cx.friction.type": "error", **planted})}
    environment = {**store(sink), "CX_GATEWAY": f"{HOST}:{sink.ports.otlp_grpc}"}
    with Tier(tmp_path / "tier", to_one / file, environment) as tier:
        tier.send(
            [
                span(
                    digits("t", length=32),
                    digits("s", length=16),
                    {**ours, **planted},
                    name="mail ann.lee@example.com",
                    status={"code": 2, "message": "no money on 4000 0000 0000 0002"},
                    events=[event],
                )
            ],
            {"user.email": "ann.lee@example.com", "service.version": "1.2"},
        )
        (found,) = sink.wait_for(lambda: sink.spans())

    whole = re.sub(r'UnixNano": "\d+"', "", json.dumps(sink.lines()))
    masked = {"db.collection.name": "orders of ****", "http.route": "/pay/****"}
    masked["code.function"] = "****"
    assert found["attributes"] == {**ours, **masked}
    assert found["name"] == "mail ****"
    assert found["raw"]["status"]["message"] == "no money on ****"
    for planted_word in ("example.com", "4000", "DE89", "call ann", "user.email", "app.note"):
        assert planted_word not in whole
    assert '"1.2"' in whole


class Gateways(NamedTuple):
    """Three gateways, each with a sink of its own, behind one that balances, behind an agent."""

    agent: Tier
    balancing: Tier
    second: list[Tier]
    sinks: list[Collector]
    start: Callable[[int], Tier]

    def spans(self) -> list[Span]:
        """All that came through, of every gateway."""
        return [each for sink in self.sinks for each in sink.spans()]

    def places(self) -> dict[str, set[int]]:
        """The gateways that each journey came through."""
        found: dict[str, set[int]] = defaultdict(set)
        for number, sink in enumerate(self.sinks):
            for each in sink.spans():
                found[each["attributes"][names.JOURNEY_ID]].add(number)
        return found


QUICK = ("yaml:connectors::span_metrics::metrics_flush_interval: 200ms",)


def gateways(stack: ExitStack, where: Path, ours: Path, file: str, **environment: str) -> Gateways:
    """Start both tiers."""
    ports = [Ports.free() for _ in range(3)]
    sinks = [stack.enter_context(Collector(where / f"sink{number}")) for number in range(3)]

    def start(number: int) -> Tier:
        told_to = {**store(sinks[number]), **environment}
        place = where / f"second{number}"
        tier = Tier(place, ours / file, told_to, QUICK, ports[number])
        return stack.enter_context(tier)

    second = [start(number) for number in range(3)]
    hosts = ", ".join(f"{HOST}:{each.otlp_grpc}" for each in ports)
    balancing = stack.enter_context(
        Tier(
            where / "balancing",
            ours / "gateway-balancing.yaml",
            {"CX_GATEWAYS": f"[{hosts}]"},
        )
    )
    agent = stack.enter_context(
        Tier(
            where / "agent",
            ours / "agent.yaml",
            {"CX_GATEWAY": f"{HOST}:{balancing.ports.otlp_grpc}"},
        )
    )
    return Gateways(agent, balancing, second, sinks, start)


def test_a_gateway_that_is_killed_loses_nothing(to_one: Path, tmp_path: Path) -> None:
    """Each journey is whole at one gateway, through a kill -9 of one, and comes once."""
    visits = [(digits("j", n, length=32), number, "") for n in range(300) for number in range(5)]
    wanted = sent_ids(visits)
    with ExitStack() as stack:
        tiers = gateways(stack, tmp_path, to_one, "gateway-keeping.yaml")
        send_visits(tiers.agent, visits[: len(visits) // 3])
        tiers.second[1].kill()
        send_visits(tiers.agent, visits[len(visits) // 3 : 2 * len(visits) // 3])
        tiers.start(1)
        send_visits(tiers.agent, visits[2 * len(visits) // 3 :])
        tiers.sinks[1].wait_for(lambda: len(ids(tiers.spans())) >= len(wanted), timeout=90)
        found, places = ids(tiers.spans()), tiers.places()

    twice = sum(found.values()) - len(found)
    print(f"{len(wanted)} spans of {len(places)} journeys sent, {twice} came twice")
    assert set(found) == wanted
    assert {len(each) for each in places.values()} == {1}
    assert {number for each in places.values() for number in each} == {0, 1, 2}


def decided(tiers: Gateways) -> int:
    """How many journeys the gateways have decided on, as they say themselves."""
    count = 0.0
    for tier in tiers.second:
        _, body = get(f"http://{HOST}:{tier.ports.query}/metrics")
        for line in body.decode().splitlines():
            if line.startswith(DECIDED):
                count += float(line.rpartition(" ")[2])
    return int(count)


DECIDED = "otelcol_processor_tail_sampling_global_count_traces_sampled"


def by_journey(visits: Iterable[tuple[str, int, str]]) -> dict[str, set[tuple[str, str]]]:
    """The spans of each journey."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for each in visits:
        found[each[0]] |= sent_ids([each])
    return found


def calls(sinks: Iterable[Collector]) -> dict[tuple[tuple[str, str], ...], int]:
    """The last count of each series of calls that span metrics made, by its labels."""
    last: dict[tuple[tuple[str, str], ...], int] = {}
    for sink in sinks:
        for line in sink.lines("metrics"):
            for resource in line["resourceMetrics"]:
                for scope in resource["scopeMetrics"]:
                    for metric in scope["metrics"]:
                        for point in metric.get("sum", {}).get("dataPoints", ()):
                            labels = tuple(
                                (each["key"], each["value"]["stringValue"])
                                for each in point["attributes"]
                            )
                            last[labels] = int(point["asInt"])
    return last


def test_hurt_journeys_are_kept_whole(to_one: Path, tmp_path: Path) -> None:
    """All traces of a journey are kept if one was hurt, of the others a share; all are counted."""
    kinds = list(HURTS)
    hurt = {digits("k", n, length=32): kinds[n % len(kinds)] for n in range(80)}
    journeys_sent = [*hurt, *(digits("k", n, length=32) for n in range(80, 240))]
    visits = [
        (journey, number, hurt.get(journey, "") if number == 2 else "")
        for journey in journeys_sent
        for number in range(4)
    ]
    environment = {"CX_DECISION_WAIT": "15s", "CX_KEEP_PERCENT": "25"}
    with ExitStack() as stack:
        tiers = gateways(stack, tmp_path, to_one, "gateway-sampling.yaml", **environment)
        send_visits(tiers.agent, visits)
        tiers.balancing.wait_for(lambda: decided(tiers) == len(journeys_sent), timeout=120)
        # A journey that was let go is hurt later; and one that is kept goes on without harm.
        tiers.balancing.wait_for(lambda: set(hurt) <= set(tiers.places()))
        let_go = next(each for each in journeys_sent if each not in tiers.places())
        later = [(let_go, 10, "friction"), (next(iter(hurt)), 10, "")]
        send_visits(tiers.agent, later)
        tiers.balancing.wait_for(lambda: sent_ids(later) <= set(ids(tiers.spans())), timeout=90)
        send_visits(tiers.agent, [(let_go, 11, "")])
        tiers.balancing.wait_for(lambda: sent_ids([(let_go, 11, "")]) <= set(ids(tiers.spans())))
        places = tiers.places()
        for tier in tiers.second:
            tier.stop()
        found, counted = ids(tiers.spans()), calls(tiers.sinks)

    for journey, spans in by_journey(visits).items():
        assert journey == let_go or len(spans & set(found)) in (0, len(spans))
    assert set(hurt) <= set(places)
    assert {len(each) for each in places.values()} == {1}
    others = len(set(places) - set(hurt) - {let_go})
    assert 20 < others < 65
    assert max(found.values()) == 1
    assert "collector.trace_id" not in json.dumps(tiers.sinks[0].lines())
    check_measured(counted, 3 * (len(visits) + 3))
    print(f"{len(hurt)} hurt of {len(journeys_sent)} journeys kept, and {others} others")


def check_measured(counted: Mapping[tuple[tuple[str, str], ...], int], spans: int) -> None:
    """Span metrics count every span, by dimensions of ours, and no id is among their labels."""
    labels = [dict(each) for each in counted]
    assert sum(counted.values()) == spans
    assert {each["cx.touchpoint.name"] for each in labels} == {"checkout.pay"}
    assert {each["service.name"] for each in labels} == {"web", "api", "stock"}
    allowed = {*journeys.DIMENSIONS, "service.name", "span.name", "span.kind", "status.code"}
    assert {key for each in labels for key in each} == {*allowed, "collector.instance.id"}
    assert not re.search(r"[0-9a-f]{32}", json.dumps(labels))


def test_a_gateway_that_is_stopped_decides_first(to_one: Path, tmp_path: Path) -> None:
    """What waits for a decision when a gateway is told to stop is decided on, and sent by the next.

    The Collector leaves on disk what it cannot send while it stops.
    """
    visits = [(digits("s", n, length=32), number, "") for n in range(60) for number in range(3)]
    environment = {"CX_DECISION_WAIT": "300s", "CX_KEEP_PERCENT": "100"}
    with ExitStack() as stack:
        tiers = gateways(stack, tmp_path, to_one, "gateway-sampling.yaml", **environment)
        send_visits(tiers.agent, visits)
        tiers.balancing.wait_for(
            lambda: sum(calls(tiers.sinks).values()) == len(sent_ids(visits)), timeout=60
        )
        assert tiers.spans() == []
        for tier in tiers.second:
            tier.stop()
        for number in range(3):
            tiers.start(number)
        tiers.sinks[0].wait_for(lambda: set(ids(tiers.spans())) == sent_ids(visits), timeout=60)

    assert max(ids(tiers.spans()).values()) == 1


def test_spans_without_a_journey_keep_to_their_trace(to_one: Path, tmp_path: Path) -> None:
    """Where nothing says which journey it is, a trace comes whole, and traces are spread."""
    traces = [digits("n", n, length=32) for n in range(120)]
    with ExitStack() as stack:
        tiers = gateways(stack, tmp_path, to_one, "gateway-keeping.yaml")
        for service in ("web", "stock"):
            made = [span(each, digits(each, service, length=16), {}) for each in traces]
            tiers.agent.send(made, {"service.name": service})
        tiers.balancing.wait_for(lambda: len(tiers.spans()) == 240)
        found = [{each["traceId"] for each in sink.spans()} for sink in tiers.sinks]

    assert set().union(*found) == set(traces)
    assert sum(map(len, found)) == len(traces)
    assert all(found)


def test_what_nobody_takes_waits_on_disk(to_one: Path, sink: Collector, tmp_path: Path) -> None:
    """An agent that is killed while its gateway is away sends everything once both are back."""
    visits = [(digits("d", n, length=32), 0, "") for n in range(50)]
    away = Ports.free()
    environment = {"CX_GATEWAY": f"{HOST}:{away.otlp_grpc}"}
    with Tier(tmp_path / "agent", to_one / "agent.yaml", environment) as agent:
        send_visits(agent, visits)
        agent.kill()
    environment = {"CX_GATEWAY": f"{HOST}:{sink.ports.otlp_grpc}"}
    with Tier(tmp_path / "agent", to_one / "agent.yaml", environment) as agent:
        agent.wait_for(lambda: set(ids(sink.spans())) == sent_ids(visits), timeout=60)

    assert max(ids(sink.spans()).values()) == 1
