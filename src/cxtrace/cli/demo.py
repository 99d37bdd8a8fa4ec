"""Watch a small shop serve its customers, in three services that cxtrace instruments.

Starts a storefront (FastAPI), payments (Flask) and fulfilment (a worker behind a queue), lets
scripted customers in, and shows what cxtrace made of it: one customer's journey across all
services, the journey map with what happened at each stage, what hindered the customers, and what
became of the promises. Then looks whether everything is there that should be, and nothing that
should not. Exits with 1 if it is not so.
"""

import argparse
import importlib.util
import json
import os
import secrets
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cxtrace.cli._demo.asking import refused_by
from cxtrace.cli._demo.checks import check_spans, check_walks
from cxtrace.cli._demo.facts import START_JAEGER, DemoError, Found
from cxtrace.cli._demo.reading import jaeger_ui, read_file, read_jaeger
from cxtrace.cli._demo.report import report
from cxtrace.cli._demo.services import PROGRAMS, Services, interruptions
from cxtrace.cli._demo.shop import Shop, environment_for, find_shop, protocol_of
from cxtrace.cli._demo.summary import summary
from cxtrace.cli._demo.walking import let_customers_in
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import HmacPseudonymiser, Key

EXAMPLE: Final = """\
  cxtrace demo                                  telemetry goes to a file in ./cxtrace-demo/
  cxtrace demo --otlp http://localhost:4317     to Jaeger or a Collector, over gRPC
  cxtrace demo --otlp http://localhost:4318     the same over HTTP"""

FILE: Final = "telemetry.jsonl"
"""What the services write, if it goes to a file: spans, metrics and log records."""

_SCHEMES: Final = ("http", "https")
_NEEDED: Final = {
    "fastapi": "fastapi",
    "flask": "flask",
    "httpx": "httpx",
    "sqlalchemy": "sqlalchemy",
    "structlog": "structlog",
    "uvicorn": "uvicorn",
    **{
        f"opentelemetry.instrumentation.{name}": f"opentelemetry-instrumentation-{name}"
        for name in ("fastapi", "flask", "httpx", "logging", "sqlalchemy")
    },
}
"""The package that brings each module which the shop imports."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    parser.add_argument(
        "--otlp",
        metavar="URL",
        help="send to a Collector or Jaeger here, instead of to a file; port 4318 means HTTP",
    )
    parser.add_argument(
        "--protocol",
        choices=["grpc", "http/protobuf"],
        help="with --otlp: speak this, whatever the port",
    )
    parser.add_argument(
        "--jaeger-ui",
        metavar="URL",
        help="with --otlp: where Jaeger shows traces; by default port 16686 of the same host",
    )
    parser.add_argument(
        "--keep",
        metavar="FOLDER",
        type=Path,
        default=Path("cxtrace-demo"),
        help="where telemetry and what the services print stay; by default ./cxtrace-demo",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the shop, print what came of it, and give the exit code."""
    shop = find_shop()
    wrong = _wrong_use(arguments, shop)
    if shop is None or wrong:
        print(f"cxtrace demo: {wrong}", file=sys.stderr)
        return 2
    try:
        with interruptions.received():
            found = _demonstrate(arguments, shop)
    except (DemoError, OSError) as error:
        print(f"cxtrace demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cxtrace demo: stopped, and so are the services", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(summary(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(report(found)))
    return int(not all(check.passed for check in found.checks))


def _wrong_use(arguments: argparse.Namespace, shop: Shop | None) -> str:
    if shop is None:
        return "this installation does not contain the shop; install cxtrace from its wheel"
    if arguments.keep.exists() and not arguments.keep.is_dir():
        return f"--keep {arguments.keep}: this is not a folder"
    missing = [package for module, package in _NEEDED.items() if not _is_installed(module)]
    if missing:
        source = "cxtrace" if shop.search_path is None else str(shop.search_path.parent)
        return f"{', '.join(missing)} missing; run: pip install '{source}[demo]'"
    if arguments.otlp is None:
        alone = [name for name in ("protocol", "jaeger_ui") if getattr(arguments, name)]
        return f"--{alone[0].replace('_', '-')} is of use with --otlp only" if alone else ""
    return _unreachable(arguments.otlp)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _unreachable(url: str) -> str:
    try:
        parts = urlsplit(url)
        where = (parts.hostname or "", parts.port or 0) if parts.scheme in _SCHEMES else ("", 0)
    except ValueError:
        where = ("", 0)
    if not all(where):
        return f"--otlp {url}: write a URL with its port, such as http://localhost:4317"
    try:
        socket.create_connection(where, timeout=3).close()
    except OSError as error:
        return f"nothing takes OTLP at {url} ({error.strerror or error}); try: {START_JAEGER}"
    return ""


def _demonstrate(arguments: argparse.Namespace, shop: Shop) -> Found:
    began = time.monotonic()
    folder = arguments.keep.absolute()
    file = None if arguments.otlp else folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / FILE, *(folder / f"{name}.log" for name in PROGRAMS)):
        old.unlink(missing_ok=True)
    key = os.environ.get("CXTRACE_KEY") or secrets.token_urlsafe(32)
    otlp = arguments.otlp
    refused = refused_by(otlp, protocol_of(arguments)) if otlp else []
    environment = environment_for(arguments, shop, file, key, refused)
    with tempfile.TemporaryDirectory(prefix="cxtrace-demo-") as work:
        walks = let_customers_in(Services(shop.package, environment, folder, Path(work)), began)
    journey_map = JourneyMap.load(shop.journey_map)
    ui = jaeger_ui(arguments)
    spans, raw = read_file(file) if file else read_jaeger(str(ui), walks)
    checks = [check_walks(walks)]
    if spans is not None:
        checks += check_spans(walks, spans, raw, HmacPseudonymiser(Key(key.encode())))
    seconds = time.monotonic() - began
    return Found(journey_map, walks, spans, checks, seconds, folder, file, otlp, ui, refused)
