"""Jaeger's configuration: links in its page, and the figures of its monitor tab.

Sources: https://www.jaegertracing.io/docs/2.13/deployment/frontend-ui/ and
https://www.jaegertracing.io/docs/2.13/architecture/spm/
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args
from urllib.parse import quote, urlsplit

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.links import urls
from cxtrace.platform.links.encoding import Placeholder
from cxtrace.platform.links.searches import ATTRIBUTE, Kind, is_of_events, search_for
from cxtrace.platform.writing import Files, json_text, made_by, yaml_text

UI: Final = "jaeger-ui.json"
CONFIG: Final = "jaeger.yaml"

Counter: TypeAlias = Literal["jaeger", "collector"]
"""Who counts spans: Jaeger, or the Collector before it, which `cxtrace collector` lets count."""
COUNTERS: Final[tuple[Counter, ...]] = get_args(Counter)

_Pattern: TypeAlias = dict[str, str]

_FIRST: Final = (
    *(names.TOUCHPOINT_NAME, names.TOUCHPOINT_OUTCOME, names.STAGE_NAME, names.OWNER_FUNCTION),
    *(names.JOURNEY_ID, names.CUSTOMER_PSEUDONYM, "cx.", "enduser.", "http."),
)
"""How names of tags begin that come first: what happened to whom, and who answers for it."""

# Where a text or an address has #{ATTRIBUTE}, Jaeger's page puts the value, encoded in an address.
_TEXTS: Final[dict[Kind, str]] = {
    "journey": "All traces of this journey",
    "customer": "All traces of this customer",
    "stage": "All traces of the stage #{cx.stage.name}",
    "touchpoint": "All traces of #{cx.touchpoint.name}",
    "owner": "All that #{cx.owner.function} answers for",
    "promise": "Where #{cx.promise.id} was broken",
}
_MAIL: Final = re.compile(r"[^\s@:/]+@[^\s@:/]+")
_OTLP_PORTS: Final = {"grpc": 4317, "http": 4318}
_HOST: Final = "${env:JAEGER_HOST:-0.0.0.0}"


def files(journey_map: JourneyMap, services: Sequence[str], counter: Counter = "jaeger") -> Files:
    """What Jaeger is started with: the file of its page, and its own.

    Args:
        journey_map: The map.
        services: Jaeger searches one at a time, so there is a link to each from each tag.
        counter: Who makes the figures of the monitor tab. Where two do, calls count twice.

    Raises:
        MissingExtraError: PyYAML is not installed.
    """
    return {
        UI: json_text(ui_document(journey_map, services)),
        CONFIG: yaml_text(
            _DOCUMENTS[counter](), f"{made_by('jaeger', journey_map.name)}\n{_ABOUT[counter]}"
        ),
    }


def ui_document(journey_map: JourneyMap, services: Sequence[str]) -> dict[str, Any]:
    """The configuration of Jaeger's page."""
    return {
        "monitor": {"menuEnabled": True},
        "topTagPrefixes": list(_FIRST),
        "linkPatterns": [
            *_contacts(journey_map, services[0]),
            *(_search(kind, service, len(services)) for kind in ATTRIBUTE for service in services),
        ],
    }


def _search(kind: Kind, service: str, count: int) -> _Pattern:
    attribute, text = ATTRIBUTE[kind], _TEXTS[kind]
    value = Placeholder(f"#{{{attribute}}}")
    return {
        "type": "logs" if is_of_events(attribute) else "tags",
        "key": attribute,
        "url": _found(kind, value, service),
        "text": text if count == 1 else f"{text}, in {_inert(service)}",
    }


def _found(kind: Kind, value: str, service: str) -> str:
    # Not from the root: Jaeger's page says itself under which path it is.
    return urls.jaeger("", search_for(kind, value), service).removeprefix("/")


def _contacts(journey_map: JourneyMap, service: str) -> Iterator[_Pattern]:
    for function in journey_map.functions.values():
        if function.contact:
            found = _found("owner", function.name, service)
            yield {
                "type": "tags",
                "key": names.OWNER_FUNCTION,
                "value": function.name,
                "url": _address(function.contact) or found,
                "text": f"{_inert(function.name)}: {_inert(function.contact)}",
            }


def _address(contact: str) -> str | None:
    """A page or a mail address as a link; None for other contacts, such as a channel."""
    if _MAIL.fullmatch(contact):
        return f"mailto:{quote(contact, safe='@', errors='replace')}"
    if _is_page(contact):
        return quote(contact, safe=":/?&=#%@+,;~!$'()*[]", errors="replace")
    return None


def _is_page(contact: str) -> bool:
    try:
        parts = urlsplit(contact)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _inert(text: str) -> str:
    """Text without anything that Jaeger's page would take for a hole."""
    return text.replace("#{", "# {")


_WHERE: Final = """\
  JAEGER_HOST            the address to listen on; all, by default
  JAEGER_UI_CONFIG       where jaeger-ui.json is
  PROMETHEUS_URL         where figures are read
  JAEGER_OTLP_GRPC_PORT, JAEGER_OTLP_HTTP_PORT, JAEGER_QUERY_PORT, JAEGER_QUERY_GRPC_PORT and
  JAEGER_HEALTH_PORT     ports; by default those that Jaeger has by itself"""
_ABOUT: Final[dict[Counter, str]] = {
    "jaeger": f"""\
Jaeger 2 in one process, with traces in memory. It counts the spans that come, and sends the figures
to Prometheus, where its monitor tab reads them.
{_WHERE}
  PROMETHEUS_OTLP_URL    where they are sent, over OTLP""",
    "collector": f"""\
Jaeger 2 in one process, with traces in memory. Its monitor tab reads from Prometheus what the
Collector of `cxtrace collector` counts.
{_WHERE}""",
}


def reading_document() -> dict[str, Any]:
    """Jaeger's own configuration, in which the environment says hosts, ports and files.

    The figures of the monitor tab are made elsewhere.
    """
    ports = {
        name: {"endpoint": f"{_HOST}:${{env:JAEGER_OTLP_{name.upper()}_PORT:-{port}}}"}
        for name, port in _OTLP_PORTS.items()
    }
    return {
        "receivers": {"otlp": {"protocols": ports}},
        "processors": {"batch": {}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "traces"}},
        "extensions": {
            "healthcheckv2": {
                "use_v2": True,
                "http": {"endpoint": f"{_HOST}:${{env:JAEGER_HEALTH_PORT:-13133}}"},
            },
            "jaeger_storage": {
                "backends": {"traces": {"memory": {"max_traces": 100_000}}},
                "metric_backends": {"figures": {"prometheus": _figures()}},
            },
            "jaeger_query": _page(),
        },
        "service": {
            "extensions": ["healthcheckv2", "jaeger_storage", "jaeger_query"],
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                "traces": {
                    "receivers": ["otlp"],
                    "processors": ["batch"],
                    "exporters": ["jaeger_storage_exporter"],
                },
            },
        },
    }


def counting_document() -> dict[str, Any]:
    """The same, but Jaeger counts the spans itself."""
    made = reading_document()
    made["connectors"] = {
        # The names of a span's kind and outcome are dimensions already; Jaeger asks no more.
        "spanmetrics": {"metrics_flush_interval": "${env:JAEGER_FIGURES_EVERY:-15s}"}
    }
    made["exporters"]["otlphttp"] = {
        "endpoint": "${env:PROMETHEUS_OTLP_URL:-http://prometheus:9090/api/v1/otlp}"
    }
    pipelines = made["service"]["pipelines"]
    pipelines["traces"]["exporters"].append("spanmetrics")
    pipelines["metrics"] = {"receivers": ["spanmetrics"], "exporters": ["otlphttp"]}
    return made


_DOCUMENTS: Final = {"jaeger": counting_document, "collector": reading_document}


def _figures() -> dict[str, Any]:
    return {
        "endpoint": "${env:PROMETHEUS_URL:-http://prometheus:9090}",
        "normalize_calls": True,
        "normalize_duration": True,
        # With another unit Jaeger asks for other names, and its page still shows milliseconds.
        "latency_unit": "ms",
    }


def _page() -> dict[str, Any]:
    return {
        # It is true by default, and sends Jaeger's own spans to port 4317, whoever's it is.
        "enable_tracing": False,
        "storage": {"traces": "traces", "metrics": "figures"},
        "ui": {"config_file": f"${{env:JAEGER_UI_CONFIG:-/etc/jaeger/{UI}}}"},
        "http": {"endpoint": f"{_HOST}:${{env:JAEGER_QUERY_PORT:-16686}}"},
        "grpc": {"endpoint": f"{_HOST}:${{env:JAEGER_QUERY_GRPC_PORT:-16685}}"},
    }
