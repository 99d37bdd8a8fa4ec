"""Write Grafana dashboards for a journey map, and the files that provision them.

Six boards, whatever the size of the map: the living journey, a stage, a touchpoint, a function, a
promise, and the health of the SDK.
"""

import argparse
from typing import Final

from cxtrace.cli import _generated, address
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.dashboards import dashboard_files
from cxtrace.platform.dashboards.provisioning import Places
from cxtrace.platform.writing import Files

EXAMPLE: Final = """\
  cxtrace dashboards -o grafana               all files into a folder
  cxtrace dashboards journeys.toml -o grafana --prometheus http://victoria:8428
  cxtrace dashboards -o grafana --check       in CI: are they up to date?"""

_USUAL: Final = Places()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    _generated.add_arguments(parser)
    for name in ("prometheus", "tempo", "jaeger"):
        parser.add_argument(
            f"--{name}",
            metavar="URL",
            type=address,
            default=getattr(_USUAL, name),
            help="where Grafana reaches it; the default is %(default)s",
        )
    parser.add_argument(
        "--mounted-at",
        metavar="FOLDER",
        default=_USUAL.mounted_at,
        help="where Grafana finds the dashboards; the default is %(default)s",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the files and give the exit code."""
    places = Places(arguments.prometheus, arguments.tempo, arguments.jaeger, arguments.mounted_at)

    def files(journey_map: JourneyMap) -> Files:
        return dashboard_files(journey_map, places)

    return _generated.generate("dashboards", arguments, files)
