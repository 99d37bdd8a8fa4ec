"""Write Jaeger's configuration: links in its page, and the figures of its monitor tab.

From a span in Jaeger's page one click leads to all traces of the journey, the customer, the stage,
the touchpoint, the owning function or the broken promise, and to the function's contact in the map.
Jaeger searches one service at a time, so there is a link for each service that is named.
"""

import argparse
from typing import Final

from cxtrace.cli import _generated, service_name
from cxtrace.platform.links import jaeger_files

EXAMPLE: Final = """\
  cxtrace jaeger examples/journeys.toml --service storefront -o deploy/jaeger
  cxtrace jaeger --service storefront -o deploy/jaeger --check     in CI"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    _generated.add_arguments(parser)
    parser.add_argument(
        "--service",
        metavar="NAME",
        type=service_name,
        action="append",
        required=True,
        help="a service whose traces are linked to; can be repeated. OTEL_SERVICE_NAME is not"
        " asked, so that the files are the same everywhere",
    )
    parser.add_argument(
        "--counted-by",
        choices=jaeger_files.COUNTERS,
        default="jaeger",
        help="who counts spans for the monitor tab: jaeger, the default, or the collector before"
        " it, as those of cxtrace collector do",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write or print the files, and give the exit code."""
    services = list(dict.fromkeys(arguments.service))
    return _generated.generate(
        "jaeger",
        arguments,
        lambda journey_map: jaeger_files.files(journey_map, services, arguments.counted_by),
    )
