"""Write Prometheus rules, their tests, and SLO files from a journey map.

rules/recording.yaml and rules/alerts.yaml are for Prometheus, tests/alerts.yaml for promtool,
slo/openslo.yaml for OpenSLO and slo/sloth.yaml for Sloth. Only promises with an objective get
alerts and SLOs.
"""

import argparse
from typing import Final

from cxtrace.cli import _generated, address, service_name
from cxtrace.platform.rules import Options, rule_files
from cxtrace.platform.rules.options import LEAST

EXAMPLE: Final = """\
  cxtrace rules journeys.toml -o observability
  cxtrace rules -o observability --jaeger http://localhost:16686
  cxtrace rules -o observability --check    exit with 1 if the map has changed
  cxtrace rules -o production --only deployment_environment_name=production"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    _generated.add_arguments(parser)
    parser.add_argument(
        "--jaeger", metavar="URL", type=address, help="let alerts link to traces in Jaeger"
    )
    parser.add_argument("--grafana", metavar="URL", type=address, help="let alerts link to Grafana")
    parser.add_argument(
        "--service",
        metavar="NAME",
        type=service_name,
        help="the service whose traces Jaeger is to search; by default the one in which most has"
        " happened when the alert fires, and never OTEL_SERVICE_NAME, so that the files are the"
        " same everywhere",
    )
    parser.add_argument(
        "--least",
        metavar="N",
        type=_count,
        default=LEAST,
        help=f"alert nobody before something has happened N times in its window; default {LEAST}",
    )
    parser.add_argument(
        "--only",
        metavar="LABEL=VALUE",
        type=_pair,
        action="append",
        default=[],
        help="count only series with this label; may be given several times",
    )


def run(arguments: argparse.Namespace) -> int:
    """Generate the files, and give the exit code."""
    options = Options(
        arguments.jaeger,
        arguments.grafana,
        arguments.service,
        arguments.least,
        dict(arguments.only),
    )
    return _generated.generate("rules", arguments, lambda found: rule_files(found, options))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError("write LABEL=VALUE, as in job=shop")
    return name, value
