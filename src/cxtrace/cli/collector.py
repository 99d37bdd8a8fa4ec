"""Write configurations of the OpenTelemetry Collector: one Collector, or agents and gateways.

What differs between a laptop, a compose file and a cluster comes from the environment: ports,
addresses, folders. The map says which of its attributes pass and where its promises have their
limits.
"""

import argparse
from typing import Final

from cxtrace.cli import _generated, refuse
from cxtrace.platform.collector.parts import DESTINATIONS, TAKES

EXAMPLE: Final = """\
  cxtrace collector -o collector              for Jaeger and Prometheus
  cxtrace collector -o collector --to tempo   for Tempo alone
  cxtrace collector -o collector --check      exit with 1 if one differs"""

_USUAL: Final = ("jaeger", "prometheus")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    _generated.add_arguments(parser)
    parser.add_argument(
        "--to",
        action="append",
        choices=DESTINATIONS,
        help="a store to send to, once for each; by default jaeger and prometheus",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write or print the files and give the exit code."""
    destinations = tuple(dict.fromkeys(arguments.to or _USUAL))
    if not any("traces" in TAKES[each] for each in destinations):
        return refuse("collector", "--to names no store of traces: add jaeger")
    from cxtrace.platform.collector.files import files

    return _generated.generate("collector", arguments, lambda found: files(found, destinations))
