"""The configuration files: for one Collector, for agents and gateways, and for Kafka between."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import frozen

from cxtrace.journey_map import JourneyMap
from cxtrace.platform.collector import journeys, kubernetes, parts, redaction
from cxtrace.platform.collector.parts import EXPORTERS, TAKES, Destination, Signal
from cxtrace.platform.collector.redaction import Part
from cxtrace.platform.writing import Files, made_by, yaml_text

_METRICS: Final = "span_metrics"
_LIMITER: Final = "memory_limiter"
_CLEAN: Final = (_LIMITER, "redaction", "transform/texts")
_APART: Final = "transform/apart"


@frozen
class Plan:
    """What the files are made of.

    Attributes:
        journey_map: Whose context keys pass, and whose promises are boundaries.
        destinations: The stores that are sent to.
    """

    journey_map: JourneyMap
    destinations: Sequence[Destination]

    def signals(self) -> list[Signal]:
        """The signals that a store takes; traces always, for metrics are made of spans."""
        taken = {signal for each in self.destinations for signal in TAKES[each]}
        every: tuple[Signal, ...] = ("traces", "metrics", "logs")
        return [signal for signal in every if signal in taken]

    def exporters(self, signal: Signal) -> list[str]:
        """The exporters that take a signal."""
        return [EXPORTERS[each] for each in self.destinations if signal in TAKES[each]]

    @property
    def measures(self) -> bool:
        """Whether a store takes metrics, so that they are made of spans."""
        return "metrics" in self.signals()


def files(journey_map: JourneyMap, destinations: Sequence[Destination]) -> Files:
    """Every file, by its path.

    Args:
        journey_map: Its context keys and functions pass; its promises are boundaries of metrics.
        destinations: The stores; at least one that takes traces.

    Raises:
        MissingExtraError: PyYAML is not installed.
    """
    plan = Plan(journey_map, destinations)
    made = {name: make(plan) for name, (_, make) in _MAKERS.items()}
    written = {
        f"{name}.yaml": yaml_text(config, _comment(journey_map, _MAKERS[name][0]))
        for name, config in made.items()
    }
    balancing = _balancing(plan, kubernetes.RESOLVER)
    for name, manifest in kubernetes.manifests(
        made["agent"], balancing, made["gateway-sampling"]
    ).items():
        about, document = manifest
        written[f"kubernetes/{name}.yaml"] = yaml_text(document, _comment(journey_map, about))
    return written


def _comment(journey_map: JourneyMap, about: str) -> str:
    return f"{made_by('collector', journey_map.name)}\n\n{about}"


def _config(
    receivers: Part,
    processors: Part,
    exporters: Part,
    pipelines: Part,
    connectors: Part | None = None,
) -> Part:
    extensions = parts.extensions()
    return {
        "extensions": extensions,
        "receivers": receivers,
        "processors": {_LIMITER: parts.memory_limiter(), **processors},
        **({"connectors": connectors} if connectors else {}),
        "exporters": exporters,
        "service": {
            "extensions": list(extensions),
            "telemetry": parts.telemetry(),
            "pipelines": pipelines,
        },
    }


def _clean(journey_map: JourneyMap) -> Part:
    return {"redaction": redaction.attributes(journey_map), "transform/texts": redaction.texts()}


def _pipeline(
    receivers: Sequence[str], processors: Sequence[str], exporters: Sequence[str]
) -> Part:
    return {
        "receivers": list(receivers),
        "processors": list(processors),
        "exporters": list(exporters),
    }


def _cleaning(signal: Signal) -> tuple[str, ...]:
    return _CLEAN if signal == "traces" else _CLEAN[:2]


def _single(plan: Plan) -> Part:
    pipelines: Part = {
        signal: _pipeline(["otlp"], _cleaning(signal), plan.exporters(signal))
        for signal in plan.signals()
    }
    if plan.measures:
        pipelines["traces"]["exporters"].append(_METRICS)
        # Made of spans that are clean; the list, which is for services, has no name of a span.
        pipelines["metrics/measured"] = _pipeline([_METRICS], [_LIMITER], plan.exporters("metrics"))
    return _config(
        {"otlp": parts.receiver()},
        _clean(plan.journey_map),
        parts.stores(plan.destinations),
        pipelines,
        _connectors(plan),
    )


def _connectors(plan: Plan) -> Part:
    return {_METRICS: journeys.span_metrics(plan.journey_map)} if plan.measures else {}


def _agent(plan: Plan) -> Part:
    gateway = "otlp_grpc/gateway"
    pipelines: Part = {
        signal: _pipeline(["otlp"], _cleaning(signal), [gateway]) for signal in plan.signals()
    }
    return _config(
        {"otlp": parts.receiver()},
        _clean(plan.journey_map),
        {gateway: parts.to_gateway()},
        pipelines,
    )


def _balancing(plan: Plan, resolver: Part | None = None) -> Part:
    by_journey, by_service = "load_balancing/journeys", "load_balancing/services"
    rest: list[Signal] = [signal for signal in plan.signals() if signal != "traces"]
    exporters = {by_journey: parts.balancer("traceID", resolver)}
    if rest:
        exporters[by_service] = parts.balancer("service", resolver)
    pipelines: Part = {
        "traces": _pipeline(["otlp"], [*_CLEAN, "transform/together"], [by_journey]),
        **{signal: _pipeline(["otlp"], _cleaning(signal), [by_service]) for signal in rest},
    }
    return _config(
        {"otlp": parts.receiver()},
        {**_clean(plan.journey_map), "transform/together": journeys.together()},
        exporters,
        pipelines,
    )


def _keeping(plan: Plan) -> Part:
    pipelines: Part = {
        signal: _pipeline(["otlp"], [_LIMITER], plan.exporters(signal)) for signal in plan.signals()
    }
    pipelines["traces"]["processors"].append(_APART)
    if plan.measures:
        pipelines["traces"]["exporters"].append(_METRICS)
        pipelines["metrics"]["receivers"].append(_METRICS)
    return _config(
        {"otlp": parts.receiver()},
        {_APART: journeys.apart()},
        parts.stores(plan.destinations),
        pipelines,
        _connectors(plan),
    )


def _sampling(plan: Plan) -> Part:
    return _sampled(plan, parts.stores(plan.destinations), plan.exporters)


def _sampling_to_kafka(plan: Plan) -> Part:
    return _sampled(plan, {"kafka": parts.to_kafka(plan.signals())}, lambda _: ["kafka"])


def _sampled(plan: Plan, exporters: Part, to: Callable[[Signal], list[str]]) -> Part:
    pipelines: Part = {
        signal: _pipeline(["otlp"], [_LIMITER], to(signal)) for signal in plan.signals()
    }
    pipelines["traces"]["processors"] += ["tail_sampling", _APART]
    if plan.measures:
        # Before any is left out, so that the numbers are of all.
        pipelines["traces/measured"] = _pipeline(["otlp"], [_LIMITER, _APART], [_METRICS])
        pipelines["metrics"]["receivers"].append(_METRICS)
    return _config(
        {"otlp": parts.receiver()},
        {"tail_sampling": journeys.sampling(), _APART: journeys.apart()},
        exporters,
        pipelines,
        _connectors(plan),
    )


def _from_kafka(plan: Plan) -> Part:
    pipelines: Part = {
        signal: _pipeline(["kafka"], [_LIMITER], plan.exporters(signal))
        for signal in plan.signals()
    }
    return _config(
        {"kafka": parts.from_kafka(plan.signals())},
        {},
        parts.stores(plan.destinations),
        pipelines,
    )


_MAKERS: Final[Mapping[str, tuple[str, Callable[[Plan], Part]]]] = {
    "single": ("One Collector for all: takes OTLP, cleans it, keeps everything.", _single),
    "agent": (
        "On each host: takes OTLP, cleans it, holds it on disk until a gateway takes it.",
        _agent,
    ),
    "gateway-balancing": (
        "First tier of gateways: sends all of a journey to one gateway of the second tier.",
        _balancing,
    ),
    "gateway-sampling": (
        "Second tier of gateways: keeps hurt journeys and a share of the rest, measures all.",
        _sampling,
    ),
    "gateway-keeping": (
        "Second tier of gateways, in place of gateway-sampling.yaml: keeps everything.",
        _keeping,
    ),
    "gateway-sampling-to-kafka": (
        "Second tier of gateways, in place of gateway-sampling.yaml: sends to Kafka.",
        _sampling_to_kafka,
    ),
    "stores-from-kafka": ("Behind Kafka: sends to the stores.", _from_kafka),
}
"""What each file is for, and what makes it."""
