"""Print the address that opens the right search: for a journey, a customer, a name of the map.

The id of a customer becomes a pseudonym under the key in force here, and is in no address; nor is
an id of a journey that could be a person's. With several keys there is an address for each, the
newest first. Where VALUE is left out, it is read from standard input, so that no history of
commands keeps it. Jaeger searches the spans of one service at a time: name the one where it
happens.
"""

import argparse
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from attrs import asdict, frozen

from cxtrace.cli import _maps, address, refuse, service_name
from cxtrace.cli.keys import NO_KEY
from cxtrace.exceptions import ConfigurationError
from cxtrace.platform.dashboards.provisioning import TEMPO_UID
from cxtrace.platform.links import urls
from cxtrace.platform.links.searches import ATTRIBUTE, Kind, Search, search_for
from cxtrace.privacy import HmacPseudonymiser, Key, KeyFile, Keys, is_plain, journey_id, load_keys

EXAMPLE: Final = """\
  cxtrace link journey 17b1faeef4f96eef9730ede675d55c6f \\
      --jaeger http://localhost:16686 --service storefront
  cxtrace link customer cust-42 --grafana http://localhost:3000   under each key
  cxtrace link promise pay_fast --grafana http://localhost:3000   when broken
  cxtrace link owner finance --victoriatraces http://localhost:10428 --days 14"""

NO_SERVICE: Final = "Jaeger searches one service at a time: name it with --service"
NO_PLACE: Final = "say where traces are: --jaeger, --grafana or --victoriatraces"

_PSEUDONYM: Final = re.compile(r"[vs]1\.[A-Za-z0-9_-]{22}|r1\.[A-Za-z0-9_-]{16,61}")
_NAMES: Final = {
    "stage": "stages",
    "touchpoint": "touchpoints",
    "owner": "functions",
    "promise": "promises",
}
"""Where a map has the names of a kind."""
_MOST_DAYS: Final = 3_660

_Place: TypeAlias = tuple[str, str | None, Callable[[Search], str]]
"""Whose page it is, the service that is searched if it is one, and the address of a search."""


@frozen
class Link:
    """One address.

    Attributes:
        backend: Whose page it opens.
        service: The service that is searched, where it is one.
        key_id: Of the key that made the pseudonym, or the id of the journey, if one did.
        url: The address.
    """

    backend: str
    service: str | None
    key_id: str | None
    url: str


class _WrongUseError(Exception):
    """The text says what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command understands."""
    parser.add_argument("kind", metavar="KIND", choices=ATTRIBUTE, help=", ".join(ATTRIBUTE))
    parser.add_argument("value", metavar="VALUE", nargs="?", help="an id, or a name of the map")
    parser.add_argument(
        "--map",
        metavar="MAP",
        type=Path,
        action="append",
        dest="maps",
        default=[],
        help="the map that a name must be of; can be repeated. Without it the map is found, if"
        " there is one",
    )
    parser.add_argument(
        "--unplanned", action="store_true", help="search for a name that the map does not have"
    )
    parser.add_argument("--jaeger", metavar="URL", type=address, help="where Jaeger's page is")
    parser.add_argument(
        "--service",
        metavar="NAME",
        type=service_name,
        action="append",
        help="with --jaeger: search this one; can be repeated. OTEL_SERVICE_NAME is not asked: it"
        " names a service that runs here, and not the one that is looked for",
    )
    parser.add_argument("--grafana", metavar="URL", type=address, help="where Grafana is")
    parser.add_argument(
        "--datasource",
        metavar="UID",
        default=TEMPO_UID,
        help="with --grafana: the uid of its Tempo; by default that of cxtrace dashboards",
    )
    parser.add_argument(
        "--victoriatraces", metavar="URL", type=address, help="where VictoriaTraces is"
    )
    parser.add_argument(
        "--days",
        metavar="NUMBER",
        type=_days,
        help="the so many days until now; by default the two days before the link is opened",
    )
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="a file of keys; else those of the environment"
    )
    parser.add_argument("--tenant", help="the tenant whose customer it is")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the addresses, and give the exit code."""
    try:
        places = list(_places(arguments))
        value = _value(arguments)
        code = _check(arguments.kind, value, arguments)
        links = list(_links(places, _searches(arguments, value))) if code == 0 else []
    except (_WrongUseError, ConfigurationError) as error:
        return refuse("link", str(error))
    if code != 0:
        return code
    if arguments.json:
        print(json.dumps([asdict(link) for link in links], indent=2))
        return 0
    for link in links:
        about = "  ".join(filter(None, (link.backend, link.service, link.key_id)))
        print(f"{about}\n  {link.url}" if len(links) > 1 else link.url)
    return 0


def _days(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST_DAYS}")
    return int(text)


def _value(arguments: argparse.Namespace) -> str:
    given: str | None = arguments.value
    value = sys.stdin.readline().rstrip("\r\n") if given is None else given
    if not value:
        raise _WrongUseError(f"which {arguments.kind}? Give an id or a name")
    return value


def _check(kind: Kind, name: str, arguments: argparse.Namespace) -> int:
    """Refuse a name that the map does not have; 0 if it has it, or if there is no map."""
    if kind not in _NAMES or arguments.unplanned:
        return 0
    journey_map = _maps.find("link", arguments.maps)
    if journey_map is None or isinstance(journey_map, int):
        return journey_map or 0
    names: Mapping[str, object] = getattr(journey_map, _NAMES[kind])
    if name in names:
        return 0
    wrong = _maps.unknown(kind, name, names)
    raise _WrongUseError(f"{wrong} To search for it all the same: --unplanned")


def _links(
    places: Sequence[_Place], searches: Iterable[tuple[str | None, Search]]
) -> Iterator[Link]:
    for key_id, search in searches:
        for backend, service, url_of in places:
            try:
                yield Link(backend, service, key_id, url_of(search))
            except ValueError as error:
                raise _WrongUseError(str(error)) from None


def _places(arguments: argparse.Namespace) -> Iterator[_Place]:
    if not (arguments.jaeger or arguments.grafana or arguments.victoriatraces):
        raise _WrongUseError(NO_PLACE)
    days = arguments.days
    period = None if days is None else urls.Period.until(math.ceil(time.time()), days)
    if arguments.jaeger:
        for service in _services(arguments):
            at = partial(urls.jaeger, arguments.jaeger, service=service, period=period)
            yield "Jaeger", service, at
    if arguments.grafana:
        uid = arguments.datasource
        yield (
            "Grafana",
            None,
            partial(urls.grafana, arguments.grafana, datasource=uid, period=period),
        )
    if arguments.victoriatraces:
        place = arguments.victoriatraces
        yield "VictoriaTraces", None, partial(urls.victoriatraces, place, period=period)


def _services(arguments: argparse.Namespace) -> list[str]:
    if not arguments.service:
        raise _WrongUseError(NO_SERVICE)
    return list(dict.fromkeys(arguments.service))


def _searches(arguments: argparse.Namespace, value: str) -> Iterator[tuple[str | None, Search]]:
    kind: Kind = arguments.kind
    if kind == "customer" and not _PSEUDONYM.fullmatch(value):
        if arguments.tenant == "":
            raise _WrongUseError("--tenant must be text that is not empty")
        made = HmacPseudonymiser(_keys(arguments)).pseudonyms(value, arguments.tenant)
    elif kind == "journey" and not is_plain(value):
        made = {key.key_id: _hashed(value, key) for key in _keys(arguments).keys}
    else:
        yield None, search_for(kind, value)
        return
    for key_id, each in made.items():
        yield key_id, search_for(kind, each)


def _hashed(journey: str, key: Key) -> str:
    return journey_id(journey, lambda: key)


def _keys(arguments: argparse.Namespace) -> Keys:
    keys = KeyFile(arguments.file) if arguments.file else load_keys(None, os.environ)
    if keys is None:
        raise _WrongUseError(NO_KEY)
    return keys
