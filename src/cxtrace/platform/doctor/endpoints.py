"""Checks over the network: does an OTLP endpoint answer, does it take what is sent, and its time.

An empty request is sent, which holds no record. Nobody stores anything of it.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from attrs import frozen

from cxtrace._wiring_facts import ExporterFacts
from cxtrace.platform.doctor.asking import Answer, ask
from cxtrace.platform.doctor.subject import Finding, Findings, Subject

_SECONDS: Final = 3.0
_PORTS: Final = {"http": 80, "https": 443}
_MOST_SKEW: Final = 5.0
_FAR_SKEW: Final = 240.0
_OK: Final = range(200, 300)
_REFUSED: Final = (401, 403)
_NOT_HERE: Final = (404, 405)
_PROTOBUF: Final = {"Content-Type": "application/x-protobuf"}
_SERVICES: Final = {"spans": "trace", "metrics": "metrics", "log records": "logs"}

Kind = Literal["takes", "unreachable", "refused", "not_here", "other_protocol", "not_otlp"]


@frozen
class Endpoint:
    """What an endpoint answered.

    Attributes:
        kind: In a word.
        said: The answer itself, for people.
        skew: Seconds by which its clock is ahead; None where it does not tell.
    """

    kind: Kind
    said: str = ""
    skew: float | None = None


def endpoints(subject: Subject) -> Findings:
    """Whether every endpoint answers, speaks the protocol, and takes what is sent to it."""
    skews: dict[str, float] = {}
    told: set[str] = set()
    for signal, exporter in _exporters(subject):
        url = exporter.endpoint or ""
        host = urlsplit(url).netloc
        if host in told:
            continue
        found = asked(url, exporter.protocol, signal, subject.headers.get(url, {}))
        if found.skew is not None:
            skews.setdefault(host, found.skew)
        finding = _finding(found, signal, url, exporter.protocol or "")
        if finding is not None:
            if found.kind != "not_here":
                told.add(host)
            yield finding
    for host, skew in skews.items():
        yield from skewed(skew, f"the Collector at {host}")


def _exporters(subject: Subject) -> Iterator[tuple[str, ExporterFacts]]:
    facts = subject.facts
    every = {"spans": facts.traces, "metrics": facts.metrics, "log records": facts.logs}
    told = set()
    for signal, provider in every.items():
        for each in provider.processors:
            found = each.exporter
            if found is None or found.protocol is None or found.endpoint is None:
                continue
            if (signal, found.endpoint) not in told:
                told.add((signal, found.endpoint))
                yield signal, found


def _finding(found: Endpoint, signal: str, url: str, protocol: str) -> Finding | None:
    other = "grpc" if protocol == "http/protobuf" else "http/protobuf"
    if found.kind == "not_here" and signal != "spans":
        variable = "METRICS" if signal == "metrics" else "LOGS"
        return Finding(
            "signal-refused",
            "warning",
            f"{url} takes no {signal} ({found.said}), as Jaeger, which takes only traces.",
            f"Set OTEL_{variable}_EXPORTER=none, or OTEL_EXPORTER_OTLP_{variable}_ENDPOINT to a "
            "Collector that takes them.",
        )
    found_text, advice = _TEXTS.get(found.kind, ("", ""))
    words = {"url": url, "signal": signal, "protocol": protocol, "other": other, "said": found.said}
    if not found_text:
        return None
    name = f"endpoint-{found.kind.replace('_', '-')}"
    return Finding(name, "error", found_text.format(**words), advice.format(**words))


_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "unreachable": (
        "Nobody answers at {url}: {said}.",
        """Start the Collector, or mend OTEL_EXPORTER_OTLP_ENDPOINT; in a container, localhost is \
the container itself.""",
    ),
    "refused": (
        "{url} refuses this service ({said}).",
        "Mend OTEL_EXPORTER_OTLP_HEADERS, which holds the credentials.",
    ),
    "not_here": (
        "{url} answers, but takes no {signal} there ({said}).",
        """Leave the path out of OTEL_EXPORTER_OTLP_ENDPOINT: /v1/traces is added to it. In \
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT it has to be written.""",
    ),
    "other_protocol": (
        "{url} is spoken to over {protocol}, but answers in {other}.",
        """Set OTEL_EXPORTER_OTLP_PROTOCOL={other}, or the other port: 4317 is usually grpc, \
4318 http/protobuf.""",
    ),
    "not_otlp": (
        "{url} answers, but not as OTLP does ({said}).",
        "Mend OTEL_EXPORTER_OTLP_ENDPOINT: somebody else listens there.",
    ),
}
"""What is found, and what to do, for each kind of answer that is no good."""


def skewed(skew: float, whose: str) -> Findings:
    """What a difference of clocks means."""
    if abs(skew) < _MOST_SKEW:
        return
    way = "ahead of" if skew > 0 else "behind"
    is_far = abs(skew) >= _FAR_SKEW
    yield Finding(
        "clock-skew",
        "error" if is_far else "warning",
        f"The clock of {whose} is {abs(skew):.0f} s {way} ours: spans of one trace seem to "
        "happen in another order"
        + (", and signatures of more than five minutes are not believed." if is_far else "."),
        "Let both machines keep time by NTP.",
    )


def asked(
    url: str, protocol: str | None, signal: str, headers: Mapping[str, str], wait: float = _SECONDS
) -> Endpoint:
    """What an endpoint has to say to an empty request. Never raises.

    Args:
        url: As the exporter has it, with its path for HTTP.
        protocol: ``grpc`` or ``http/protobuf``.
        signal: ``spans``, ``metrics`` or ``log records``.
        headers: What the exporter sends along.
        wait: Seconds for each of at most three attempts.
    """
    problem = _closed(url, wait)
    if problem:
        return Endpoint("unreachable", problem)
    if protocol != "grpc":
        return _over_http(url, headers, wait)
    return _over_grpc(url, _SERVICES[signal], headers, wait)


def _closed(url: str, wait: float) -> str:
    """Why no connection can be made; "" where it can."""
    try:
        parts = urlsplit(url)
        address = (parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443))
        socket.create_connection(address, wait).close()
    except TimeoutError:
        return "no answer in time"
    except OSError as error:
        return error.strerror or "no connection"
    except ValueError:
        return "the address cannot be read"
    return ""


def _over_http(url: str, headers: Mapping[str, str], wait: float) -> Endpoint:
    answer = ask(url, wait, b"", {**headers, **_PROTOBUF})
    said = f"it said {answer.status}" if answer.status else answer.problem
    if answer.status in _OK:
        kind: Kind = "not_otlp" if _is_page(answer) else "takes"
        return Endpoint(kind, "it sent a page" if kind == "not_otlp" else said, answer.skew)
    if answer.status in _REFUSED:
        return Endpoint("refused", said, answer.skew)
    if answer.status in _NOT_HERE:
        return Endpoint("not_here", said, answer.skew)
    if answer.status == 0 and _speaks_grpc(url, wait):
        return Endpoint("other_protocol", said)
    return Endpoint("not_otlp", said, answer.skew)


def _is_page(answer: Answer) -> bool:
    return answer.body.lstrip()[:1] == b"<"


def _over_grpc(url: str, service: str, headers: Mapping[str, str], wait: float) -> Endpoint:
    code, details = _call(url, service, headers, wait)
    if code == "OK":
        # Who serves OTLP over gRPC may serve HTTP on the same port, and then tells the time.
        return Endpoint("takes")
    if code == "UNIMPLEMENTED":
        return Endpoint("not_here", "it said UNIMPLEMENTED")
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return Endpoint("refused", f"it said {code}")
    answer = ask(url, wait)
    if answer.status:
        return Endpoint("other_protocol", f"it said {answer.status}", answer.skew)
    if code == "UNAVAILABLE":
        return Endpoint("not_otlp", details or "no gRPC")
    return Endpoint("not_otlp", f"it said {code}")


def _speaks_grpc(url: str, wait: float) -> bool:
    code, _ = _call(url, "trace", {}, wait)
    return code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "")


def _call(url: str, service: str, headers: Mapping[str, str], wait: float) -> tuple[str, str]:
    """The status of an empty call, and what was said; "" where gRPC is not installed."""
    try:
        grpc: Any = import_module("grpc")
    except ImportError:
        return "", ""
    method = f"/opentelemetry.proto.collector.{service}.v1.{service.capitalize()}Service/Export"
    with _channel(grpc, url) as channel:
        try:
            metadata = [(name.lower(), value) for name, value in headers.items()]
            channel.unary_unary(method)(b"", timeout=wait, metadata=metadata)
        except grpc.RpcError as error:
            return error.code().name, "it does not speak gRPC"
    return "OK", ""


def _channel(grpc: Any, url: str) -> Any:
    parts = urlsplit(url)
    options = [("grpc.enable_http_proxy", 0)]
    if parts.scheme == "https":
        return grpc.secure_channel(parts.netloc, grpc.ssl_channel_credentials(_roots()), options)
    return grpc.insecure_channel(parts.netloc, options)


def _roots() -> bytes | None:
    file = os.environ.get("OTEL_EXPORTER_OTLP_CERTIFICATE", "")
    try:
        return Path(file).read_bytes() if file else None
    except OSError:
        return None
