"""Where the shop is, and the environment in which its services run."""

import argparse
import os
import secrets
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs

from cxtrace import attributes as names

_HOST: Final = "127.0.0.1"


@attrs.frozen
class Shop:
    """Where the shop's code and map are: in the wheel, or in a checkout."""

    package: str
    code: Path
    journey_map: Path
    search_path: Path | None = None
    """What must be on Python's path to import the package, if anything."""


def find_shop() -> Shop | None:
    """The shop of this installation, if it has one."""
    own = Path(__file__).resolve().parents[2]
    examples = own.parents[1] / "examples"
    places = (
        Shop("cxtrace._shop", own / "_shop", own / "_shop" / "journeys.toml"),
        Shop("shop", examples / "shop", examples / "journeys.toml", examples),
    )
    return next((shop for shop in places if shop.journey_map.is_file()), None)


def environment_for(
    arguments: argparse.Namespace,
    shop: Shop,
    file: Path | None,
    key: str,
    refused: Collection[str] = (),
) -> dict[str, str]:
    """What the services see: of the settings for telemetry only those of the demo."""
    kept = {name: value for name, value in os.environ.items() if _is_kept(name)}
    ports = _free_ports(2)
    exporter = f"file:{file}" if file else "otlp"
    own = {
        "CXTRACE_KEY": key,
        "CXTRACE_MAP": str(shop.journey_map),
        "CXTRACE_EXPORTER": exporter,
        "CXTRACE_METRICS_OPT_IN": names.METRIC_JOURNEY_ACTIVE,
        "OTEL_LOGS_EXPORTER": exporter,
        "SHOP_STOREFRONT": f"{_HOST}:{ports[0]}",
        "SHOP_PAYMENTS": f"{_HOST}:{ports[1]}",
        "SHOP_BROKER_KEY": secrets.token_hex(),
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), _HOST, "localhost"))),
    }
    if shop.search_path is not None:
        paths = (str(shop.search_path), os.environ.get("PYTHONPATH"))
        own["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    if arguments.otlp:
        own["OTEL_EXPORTER_OTLP_ENDPOINT"] = arguments.otlp
        own["OTEL_EXPORTER_OTLP_PROTOCOL"] = protocol_of(arguments)
    own.update({f"OTEL_{kind.upper()}_EXPORTER": "none" for kind in refused})
    return {**kept, **own}


def protocol_of(arguments: argparse.Namespace) -> str:
    """What is spoken to the endpoint."""
    over_http = urlsplit(arguments.otlp).port == 4318
    return arguments.protocol or ("http/protobuf" if over_http else "grpc")


def _is_kept(variable: str) -> bool:
    # Of OpenTelemetry's, a collector may need its headers and certificates; all that is about the
    # latter begins with C: CERTIFICATE, CLIENT_KEY, CLIENT_CERTIFICATE.
    allowed = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_C", "OTEL_EXPORTER_OTLP_INSECURE")
    return variable.startswith(allowed) or not variable.startswith(("CXTRACE_", "OTEL_", "SHOP_"))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((_HOST, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
