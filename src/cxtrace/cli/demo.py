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
import tempfile
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cxtrace.cli import address, refuse
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
from cxtrace.platform.trouble import why
from cxtrace.privacy import HmacPseudonymiser, Key

EXAMPLE: Final = """\
  cxtrace demo                                to a file in ./cxtrace-demo/
  cxtrace demo --otlp http://localhost:4317   to Jaeger or a Collector, by gRPC
  cxtrace demo --otlp http://localhost:4318   the same by HTTP"""

FILE: Final = "telemetry.jsonl"
"""What the services write, if it goes to a file: spans, metrics and log records."""

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
        type=address,
        help="send to a Collector or Jaeger here, instead of to a file; port 4318 means HTTP",
    )
    parser.add_argument(
        "--protocol",
        choices=["grpc", "http/protobuf"],
        help="with --otlp: speak this, whatever the port",
    )
    parser.add_argument(
        "--jaeger",
        metavar="URL",
        type=address,
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
        return refuse("demo", wrong)
    folder = arguments.keep.absolute()
    try:
        _clear(folder)
    except OSError as error:
        return refuse("demo", f"--keep {arguments.keep} cannot be written: {why(error)}")
    try:
        with interruptions.received():
            found = _demonstrate(arguments, shop, folder)
    except DemoError as error:
        return refuse("demo", str(error), 1)
    except KeyboardInterrupt:
        return refuse("demo", "stopped, and so are the services", 1)
    if arguments.json:
        print(json.dumps(summary(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(report(found)))
    return int(not all(check.passed for check in found.checks))


def _wrong_use(arguments: argparse.Namespace, shop: Shop | None) -> str:
    if shop is None:
        return "this installation does not contain the shop; install cxtrace from its wheel"
    missing = [package for module, package in _NEEDED.items() if not _is_installed(module)]
    if missing:
        source = "cxtrace" if shop.search_path is None else str(shop.search_path.parent)
        return f"{', '.join(missing)} missing; run: pip install '{source}[demo]'"
    if arguments.otlp is None:
        alone = [name for name in ("protocol", "jaeger") if getattr(arguments, name)]
        return f"--{alone[0]} is of use with --otlp only" if alone else ""
    return _unreachable(arguments.otlp)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _unreachable(url: str) -> str:
    parts = urlsplit(url)
    if not parts.port:
        return f"--otlp {url}: write it with its port, such as http://localhost:4317"
    try:
        socket.create_connection((str(parts.hostname), parts.port), timeout=3).close()
    except OSError as error:
        return f"nothing takes OTLP at {url} ({error.strerror or error}); try: {START_JAEGER}"
    return ""


def _clear(folder: Path) -> None:
    """Make the folder, or take out what an earlier run has left, and see that it can be written."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / FILE, *(folder / f"{name}.log" for name in PROGRAMS)):
        old.unlink(missing_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _demonstrate(arguments: argparse.Namespace, shop: Shop, folder: Path) -> Found:
    began = time.monotonic()
    file = None if arguments.otlp else folder / FILE
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
