"""The demo's metrics through a real Collector in real stores: complete, and true under sampling."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import StatusCode

from cxtrace.cli._demo.facts import Walk
from cxtrace.cli._demo.services import Services
from cxtrace.cli._demo.shop import environment_for, find_shop
from cxtrace.cli._demo.walking import let_customers_in
from tests.live_check import LiveCheck, Registry, read

from .metric_stores import MetricStore, Prometheus, Sample, VictoriaMetrics
from .servers import PATIENT, SIGNALS, Collector

pytestmark = [pytest.mark.backend, pytest.mark.timeout(600)]

KEY = "a key for the metrics of the demo, of 32 bytes and more"
METRICS = Registry().metrics
ON_A_JOURNEY = {"conditionally_required": "If the touchpoint belongs to a journey."}
ALWAYS = ("required", "recommended", ON_A_JOURNEY)
"""Levels of labels that every series of the shop has: all happens on journeys."""

VISITS = {  # what the scripted customers do, and where they are then
    "POST /letter": "newsletter.winback",
    "GET /": "home.visit",
    "GET /products": "catalogue.search",
    "GET /products/…": "product.view",
    "POST /cart/…": "cart.add",
    "GET /cart": "cart.view",
    "POST /coupon": "cart.view",
    "DELETE /cart": "cart.view",
    "POST /account/login": "account.login",
    "POST /account/link": "account.login",
    "GET /account/invoices/…": "invoice.download",
    "POST /account/invoices/…/question": "invoice.download",
    "POST /account/returns/…": "return.request",
    "POST /chat/…": "return.request",
    "POST /chat/…/stars": "return.request",
    "POST /checkout/address": "checkout.address",
    "POST /checkout": "checkout.pay",
    "GET /orders/…": "delivery.track",
    "POST /orders/…/opinion": "delivery.track",
}
NOT_COMPLETED = {
    "DELETE /cart": "abandoned",
    "POST /account/link": "deferred",
    "POST /account/invoices/…/question": "handed_off",
}


class Run(NamedTuple):
    """A run of the shop, whose services share a namespace of their own."""

    namespace: str
    walks: Sequence[Walk]
    collector: Collector

    @property
    def diary(self) -> Counter[str]:
        """What all customers did, by their own account."""
        return sum((Counter(walk.diary) for walk in self.walks), Counter[str]())

    def of(self, store: MetricStore) -> str:
        """What selects the series of this run."""
        if isinstance(store, Prometheus):
            return f'job=~"{self.namespace}/.+"'
        return f'service_namespace="{self.namespace}"'

    def resources(self) -> list[dict[str, Any]]:
        """What the Collector has got from the services of this run."""
        return [
            each
            for line in self.collector.lines("metrics")
            for each in line["resourceMetrics"]
            if self.namespace in json.dumps(each["resource"])
        ]

    def series(self, metric: str) -> set[tuple[tuple[str, str], ...]]:
        """The services and labels with which a metric has come to the Collector."""
        found = set()
        for resource in self.resources():
            for scope in resource["scopeMetrics"]:
                for each in scope["metrics"]:
                    points = (each.get("sum") or each.get("histogram") or {}).get("dataPoints", ())
                    if each["name"] == metric:
                        service = texts(resource["resource"])["service_name"]
                        found |= {tuple(sorted({**texts(p), "": service}.items())) for p in points}
        return found

    def samples(self) -> int:
        """How many values a store must have of this run: a histogram is buckets, sum and count."""
        return sum(
            len(point["bucketCounts"]) + 2 if "bucketCounts" in point else 1
            for resource in self.resources()
            for scope in resource["scopeMetrics"]
            for each in scope["metrics"]
            if each["name"] in METRICS
            for point in (each.get("sum") or each["histogram"])["dataPoints"]
        )


def texts(thing: Mapping[str, Any]) -> dict[str, str]:
    """Attributes as both stores write them."""
    return {
        each["key"].replace(".", "_"): str(next(iter(each["value"].values())))
        for each in thing.get("attributes", ())
    }


@pytest.fixture(scope="module")
def collector(
    collector_binary: None,
    victoriametrics: VictoriaMetrics,
    prometheus: Prometheus,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Collector]:
    """A Collector for the shop alone, which passes metrics on to both stores."""
    exporters = {**victoriametrics.exporter(), **prometheus.exporter()}
    with Collector(tmp_path_factory.mktemp("collector"), metrics_exporters=exporters) as server:
        yield server


@pytest.fixture(scope="module")
def stores(victoriametrics: VictoriaMetrics, prometheus: Prometheus) -> Sequence[MetricStore]:
    """Both stores of metrics at once."""
    return victoriametrics, prometheus


@pytest.fixture(scope="module")
def full(
    collector: Collector, stores: Sequence[MetricStore], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run of which every trace is kept."""
    return run_shop(collector, stores, tmp_path_factory.mktemp("full"), sample=1.0)


@pytest.fixture(scope="module")
def sampled(
    collector: Collector, stores: Sequence[MetricStore], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run of which one trace in a hundred is kept."""
    return run_shop(collector, stores, tmp_path_factory.mktemp("sampled"), sample=0.01)


def run_shop(
    collector: Collector, stores: Sequence[MetricStore], folder: Path, sample: float
) -> Run:
    """Let the customers into the shop, as `cxtrace demo --otlp` does, until all is stored."""
    if find_spec("fastapi") is None or find_spec("flask") is None:
        reason = "the demo's extras are not installed: pip install 'cxtrace[demo]'"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    shop, namespace = find_shop(), f"run-{uuid4()}"
    assert shop is not None
    asked = argparse.Namespace(otlp=collector.otlp_grpc, protocol="grpc")
    environment = {
        **environment_for(asked, shop, None, KEY),
        "CXTRACE_SAMPLE": str(sample),
        "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace={namespace}",
        "OTEL_METRIC_EXPORT_INTERVAL": "3600000",  # each service tells all, once, as it goes
    }
    (folder / "work").mkdir()
    services = Services(shop.package, environment, folder, folder / "work")
    walks = let_customers_in(services, time.monotonic())
    assert [walk.error for walk in walks if walk.error] == []
    run = Run(namespace, walks, collector)
    # The Collector writes down what it got a moment later, and the stores when they come to it.
    names = ["fulfilment", "payments", "storefront"]
    collector.wait_for(
        lambda: sorted(texts(r["resource"])["service_name"] for r in run.resources()) == names,
        timeout=60,
    )
    for store in stores:
        all_of_it = f'{{__name__=~"cx.+",{run.of(store)}}}'
        assert len(store.query(all_of_it, at_least=run.samples())) == run.samples()
    return run


def prometheus_name(metric: str) -> str:
    """What a metric of the registry is called in PromQL."""
    spec = METRICS[metric]
    unit = {"s": "_seconds"}.get(spec["unit"], "")
    ends = {"counter": "_total", "histogram": "_count", "updowncounter": ""}
    return metric.replace(".", "_") + unit + ends[spec["instrument"]]


def labels_of(metric: str, sample: Sample) -> tuple[set[str], set[str]]:
    """The labels that this series must have, and those that it may have."""
    refs = {
        ref["ref"].replace(".", "_"): ref["requirement_level"]
        for ref in METRICS[metric]["attributes"]
    }
    must = {key for key, level in refs.items() if level in ALWAYS}
    may = {key for key, level in refs.items() if level != "opt_in"}
    if {"error_type", "cx_touchpoint_outcome"} <= may:
        failed = sample.labels.get("cx_touchpoint_outcome") == "failed"
        (must.add if failed else may.discard)("error_type")
    return must, may


# Complete


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_is_queried_back(full: Run, store: MetricStore, metric: str) -> None:
    """Each metric of the registry has its series, with the labels of the registry and no others."""
    series = full.series(metric)
    assert series

    name = prometheus_name(metric)
    samples = store.query(f"{name}{{{full.of(store)}}}")

    assert len(samples) == len(series)
    around = {"__name__", "job", "instance"}
    if isinstance(store, VictoriaMetrics):
        around = {"__name__", "scope_name", "scope_version"}
        around |= {key for each in full.resources() for key in texts(each["resource"])}
    for sample in samples:
        must, may = labels_of(metric, sample)
        labels = sample.labels.keys() - around
        assert must <= labels <= may
        service = sample.labels.get("service_name") or sample.labels["job"].partition("/")[2]
        told = {**{key: sample.labels[key] for key in labels}, "": service}
        assert tuple(sorted(told.items())) in series


def test_a_journey_under_way_is_counted_where_it_began(full: Run) -> None:
    """Payments and fulfilment hear of journeys, and leave it to the storefront to count them."""
    told = [dict(series)[""] for series in full.series("cx.journey.active")]
    assert set(told) == {"storefront"}


def test_buckets_are_there_and_add_up(full: Run, store: MetricStore) -> None:
    """The last bucket of each histogram holds as many as were counted."""
    histograms = [name for name, spec in METRICS.items() if spec["instrument"] == "histogram"]
    for name in map(prometheus_name, histograms):
        which = full.of(store)
        bucket = name.removesuffix("_count") + "_bucket"
        counted = store.value(f"sum({name}{{{which}}})")
        assert store.value(f'sum({bucket}{{le="+Inf",{which}}})') == counted > 0


def test_a_live_check_finds_nothing(full: Run, sampled: Run) -> None:
    """All that came to the Collector, of both runs, is as the registry says, and all is used."""
    folder = full.collector.folder
    assert sampled.collector is full.collector
    full.collector.wait_for(lambda: full.collector.logs("storefront"))
    files = [folder / f"{signal}.jsonl" for signal in SIGNALS]
    full.collector.wait_for(lambda: all(file.read_bytes().endswith(b"\n") for file in files))

    check = LiveCheck().run(read(files))

    assert dict(check.findings) == {}
    numbers = check.statistics()
    for kind in ("event", "metric"):
        assert [name for name, n in numbers[f"seen_registry_{kind}s"].items() if not n] == []
    assert check.checked.keys() == {"resource", "span", "span_event", "metric", "log"}


FAULTS = {
    ("missing_event", "cx.frickle", ""),
    ("missing_attribute", "checkout.pay", "cx.colour"),
    ("undefined_enum_variant", "checkout.pay", "cx.touchpoint.outcome"),
    ("unexpected_status", "checkout.pay", "cx.touchpoint.outcome"),
    ("required_attribute_not_present", "checkout.pay", "cx.owner.function"),
    ("type_mismatch", "cx.promise.evaluated", "cx.promise.target"),
    ("conditionally_required_attribute_not_present", "cx.friction", "cx.friction.detector"),
    ("unexpected_attribute", "cx.mention", "cx.touchpoint.outcome"),
    ("unexpected_severity", "cx.complaint", ""),
    ("personal_label", "cx.touchpoint.effort", "enduser.pseudo.id"),
    ("unexpected_attribute", "cx.touchpoint.interactions", "cx.interaction.name"),
    ("required_attribute_not_present", "cx.journey.duration", "cx.journey.outcome"),
    ("unit_mismatch", "cx.journey.duration", ""),
    ("unexpected_instrument", "cx.mentions", ""),
    ("missing_metric", "cx.touchpoint.smiles", ""),
}
"""What `plant` does wrong: what the live check calls it, where it is, and at which attribute."""


def plant(collector: Collector) -> None:
    """Send what a careless library could, by the stock SDK and exporters."""
    endpoint = collector.otlp_grpc
    place = {"cx.touchpoint.name": "checkout.pay", "cx.stage.name": "purchase"}
    owned = {**place, "cx.owner.function": "product"}
    resource = Resource({"service.name": "careless"})
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint, insecure=True)))
    loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
    loggers.add_log_record_processor(
        SimpleLogRecordProcessor(OTLPLogExporter(endpoint, insecure=True))
    )
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint, insecure=True))
    meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)

    wrong: dict[str, str] = {
        **place,
        "cx.stage.phase": "customer",
        "cx.colour": "red",
        "cx.touchpoint.outcome": "bored",
    }
    with tracers.get_tracer("cxtrace").start_as_current_span(
        "checkout.pay", attributes=wrong
    ) as span:
        span.set_status(StatusCode.ERROR)
        span.add_event("cx.frickle", owned)
        promise = {**owned, "cx.promise.id": "pay_fast", "cx.promise.result": "kept"}
        span.add_event("cx.promise.evaluated", {**promise, "cx.promise.target": 2})
        friction = {"cx.friction.type": "slow", "cx.friction.source": "rule"}
        span.add_event("cx.friction", {**owned, **friction})
        mention = {"cx.mention.source": "press", "cx.stage.phase": "customer"}
        span.add_event("cx.mention", {**mention, "cx.touchpoint.outcome": "completed"})
        loggers.get_logger("cxtrace").emit(
            LogRecord(
                severity_number=SeverityNumber.INFO,
                event_name="cx.complaint",
                attributes={**owned, "cx.complaint.state": "opened"},
            )
        )
    meter = meters.get_meter("cxtrace")
    effort = meter.create_histogram("cx.touchpoint.effort", "{action}")
    effort.record(1, {**owned, "enduser.pseudo.id": "v1.abc"})
    interactions = meter.create_counter("cx.touchpoint.interactions", "{interaction}")
    interactions.add(1, {**owned, "cx.interaction.name": "confirm"})
    meter.create_histogram("cx.journey.duration", "ms").record(
        1, {"cx.journey.name": "first_order"}
    )
    meter.create_up_down_counter("cx.mentions", "{mention}").add(1, mention)
    meter.create_counter("cx.touchpoint.smiles", "{smile}").add(1, owned)
    for provider in (tracers, loggers, meters):
        provider.shutdown()


def test_a_live_check_finds_every_planted_fault(collector_binary: None, tmp_path: Path) -> None:
    """Wrong spans, events, log records and metrics that came by the wire are all found."""
    with Collector(tmp_path) as collector:
        plant(collector)
        collector.wait_for(lambda: all(collector.lines(signal) for signal in SIGNALS))

    check = LiveCheck().run(read(tmp_path / f"{signal}.jsonl" for signal in SIGNALS))

    found = {(each.id, each.signal_name, each.attribute) for each in check.findings}
    assert found == FAULTS


# True


def counts(run: Run, store: MetricStore) -> dict[tuple[str, ...], float]:
    """What was counted, by name and labels: no times, for they differ from run to run.

    Whether paying was fast or very fast is no difference either, and slow is a busy machine too.
    """
    found: dict[tuple[str, ...], float] = {}
    samples = store.query(f'{{__name__=~"cx_.+",{run.of(store)}}}')
    for labels, value in samples:
        name = labels["__name__"]
        if name.endswith(("_seconds_sum", "_seconds_bucket")) or "ratio" in name:
            continue
        told = [f"{k}={v}" for k, v in sorted(labels.items()) if k.startswith(("cx_", "error_"))]
        if "cx_friction_type=slow" in told:
            continue
        key = (name, *(each.replace("=exceeded", "=kept") for each in told))
        found[key] = found.get(key, 0.0) + value
    return {key: round(value, 6) for key, value in found.items()}


def test_sampling_changes_no_count(full: Run, sampled: Run, store: MetricStore) -> None:
    """One trace in a hundred is kept, and counts, outcomes, promises and value are the same."""
    kept = [len(traces_of(run)) for run in (full, sampled)]
    assert kept[1] < kept[0] / 4
    assert counts(sampled, store) == counts(full, store)


def traces_of(run: Run) -> set[str]:
    """The traces that the Collector has of a run."""
    return {
        span["traceId"]
        for line in run.collector.lines()
        for resource in line["resourceSpans"]
        if run.namespace in json.dumps(resource["resource"])
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }


def test_visits_and_outcomes_are_what_the_customers_say(sampled: Run, store: MetricStore) -> None:
    """At each touchpoint as many visits with each outcome as the script itself has counted."""
    diary = sampled.diary
    truth: Counter[tuple[str, str]] = Counter()
    for did, times in diary.items():
        if did in VISITS:
            truth[VISITS[did], NOT_COMPLETED.get(did, "completed")] += times
    for touchpoint in ("order.confirm", "delivery.pack", "delivery.ship", "payment.authorise"):
        truth[touchpoint, "completed"] = diary["bought"]
    truth["return.refund", "completed"] = diary["POST /account/returns/…"]
    truth["payment.authorise", "failed"] = diary["declined"]
    for touchpoint, outcome, did in (
        ("checkout.pay", "failed", "declined"),
        ("account.login", "failed", "unknown"),
        ("invoice.download", "abandoned", "given up"),
    ):
        truth[touchpoint, outcome] += diary[did]
        truth[touchpoint, "completed"] -= diary[did]

    name = "cx_touchpoint_duration_seconds_count"
    by = "cx_touchpoint_name, cx_touchpoint_outcome"
    samples = store.query(f"sum by ({by}) ({name}{{{sampled.of(store)}}})")

    found = {
        (each.labels["cx_touchpoint_name"], each.labels["cx_touchpoint_outcome"]): each.value
        for each in samples
    }
    assert found == dict(truth)


def test_promise_ratios_are_what_the_customers_say(sampled: Run, store: MetricStore) -> None:
    """The share of kept promises is, to the last digit, what the script knows of its customers."""
    diary = sampled.diary
    bought, declined = diary["bought"], diary["declined"]
    truth = {
        "pay_works": bought / (bought + declined),
        "pay_easily": (bought - 1) / bought,  # one of them mistypes the card's number
        "search_fast": 0.0,
        "login_without_waiting": 1.0,
        "delivery_48h": 1.0,
        "done_in_a_week": 1.0,
        "refund_7d": 1 / 2,  # one waits three days, the other nine
    }
    name, which = "cx_promise_evaluations_total", sampled.of(store)
    # One of them has a slow bank; on a machine that has other work more of them may wait.
    bought_in = f'cx_touchpoint_outcome="completed",{which}'
    truth["pay_fast"] = store.value(slo(bought_in, "checkout.pay", "2"))
    assert truth["pay_fast"] <= (bought - 1) / bought

    for promise, ratio in truth.items():
        told = f'cx_promise_id="{promise}",{which}'
        kept = f'sum({name}{{cx_promise_result=~"kept|exceeded",{told}}}) or vector(0)'
        measured = f'sum({name}{{cx_promise_result!="unmeasured",{told}}})'
        assert (promise, store.value(f"({kept}) / ({measured})")) == (promise, ratio)


def slo(run: str, touchpoint: str, target: str) -> str:
    """The share of visits within the target, in PromQL."""
    which = f'cx_touchpoint_name="{touchpoint}",{run}'
    name = "cx_touchpoint_duration_seconds"
    return f'sum({name}_bucket{{le="{target}",{which}}}) / sum({name}_count{{{which}}})'


def apdex(run: str, touchpoint: str, target: str, four: str) -> str:
    """Satisfied up to T, half as satisfied up to 4 T, in PromQL."""
    return f"(({slo(run, touchpoint, target)}) + ({slo(run, touchpoint, four)})) / 2"


def apdex_of(durations: Sequence[float], target: float) -> float:
    """The same of raw durations."""
    satisfied = sum(each <= target for each in durations)
    tolerating = sum(target < each <= 4 * target for each in durations)
    return (satisfied + tolerating / 2) / len(durations)


def durations_of(run: Run, touchpoint: str) -> list[float]:
    """The seconds that the spans of a touchpoint took."""
    return [
        (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e9
        for line in run.collector.lines()
        for resource in line["resourceSpans"]
        if run.namespace in json.dumps(resource["resource"])
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
        if texts(span).get("cx_touchpoint_name") == touchpoint
        and "cx_touchpoint_outcome" in texts(span)
    ]


@pytest.mark.parametrize(
    ("touchpoint", "target", "four"), [("checkout.pay", 2.0, 8.0), ("catalogue.search", 0.5, 2.0)]
)
def test_slo_and_apdex_of_the_shop(
    full: Run, store: MetricStore, touchpoint: str, target: float, four: float
) -> None:
    """With the promise's target in a bucket of its own, both are those of the spans' durations."""
    which = full.of(store)
    name = "cx_touchpoint_duration_seconds_count"
    visits = store.value(f'sum({name}{{cx_touchpoint_name="{touchpoint}",{which}}})')
    full.collector.wait_for(lambda: len(durations_of(full, touchpoint)) == visits)
    durations = durations_of(full, touchpoint)

    share = store.value(slo(which, touchpoint, f"{target:g}"))
    index = store.value(apdex(which, touchpoint, f"{target:g}", f"{four:g}"))

    assert durations
    assert share == sum(each <= target for each in durations) / len(durations)
    assert index == pytest.approx(apdex_of(durations, target), abs=1e-12)


COUNTER = """
import json, sys
import cxtrace
from cxtrace import _clock
from cxtrace.journey_map import JourneyMap

map = JourneyMap.loads('''
schema = "cxtrace.map/1"
name = "counter"
[functions]
service = {}
[[stage]]
name = "service"
phase = "customer"
[promise.soon]
claim = "We will be with you in no time"
source = "brand_claim"
metric = "touchpoint.duration"
op = "<="
target = 50.0
unit = "ms"
[[touchpoint]]
name = "counter.ask"
stage = "service"
owner = "service"
promises = ["soon"]
''')
cxtrace.configure(service_name="counter", journey_map=map, exporter="otlp", sample=0.0)
now, raw = 0.0, [0.001] * 30 + [0.1] * 9 + [0.3] * 4
_clock.steady = lambda: now
for seconds in raw:
    with cxtrace.touchpoint("counter.ask"):
        now += seconds
assert cxtrace.flush(60)
json.dump(raw, sys.stdout)
"""


def test_slo_and_apdex_without_any_span(collector: Collector, store: MetricStore) -> None:
    """Where no trace at all is kept, both are still those of the raw durations."""
    namespace = f"run-{uuid4()}"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("CX", "OTEL"))},
        **PATIENT,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_grpc,
        "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace={namespace}",
    }
    done = subprocess.run(
        [sys.executable, "-c", COUNTER], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    durations = json.loads(done.stdout)
    which = Run(namespace, (), collector).of(store)

    share = store.value(slo(which, "counter.ask", "0.05"))
    index = store.value(apdex(which, "counter.ask", "0.05", "0.2"))

    assert share == sum(each <= 0.05 for each in durations) / len(durations)
    assert index == pytest.approx(apdex_of(durations, 0.05), abs=1e-12)
