"""Watch a small shop serve its customers, in three services that cxtrace instruments.

Starts a storefront (FastAPI), payments (Flask) and fulfilment (a worker behind a queue), lets
scripted customers in, and shows what cxtrace made of it: one customer's journey across all
services, and the journey map with what happened at each stage. Then looks whether everything is
there that should be, and nothing that should not. Exits with 1 if it is not so.
"""

import argparse
import base64
import functools
import importlib.util
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Final, TextIO, TypeAlias, get_args
from urllib.parse import quote, urlencode, urlsplit

import attrs

from cxtrace import attributes as names
from cxtrace._tree import RecordedSpan, draw_trace, printable
from cxtrace.cli import _drawing
from cxtrace.cli.map import glyphs, paper
from cxtrace.exporters import read_spans
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import HmacPseudonymiser, Key

EXAMPLE: Final = """\
  cxtrace demo                                  spans go to a file in ./cxtrace-demo/
  cxtrace demo --otlp http://localhost:4317     to Jaeger or a Collector, over gRPC
  cxtrace demo --otlp http://localhost:4318     the same over HTTP"""

SERVICES: Final = ("storefront", "payments", "fulfilment")
SIX_TAGS: Final = (
    names.JOURNEY_NAME,
    names.JOURNEY_ID,
    names.STAGE_NAME,
    names.TOUCHPOINT_NAME,
    names.OWNER_FUNCTION,
    names.CUSTOMER_PSEUDONYM,
)
START_JAEGER: Final = (
    "docker run --rm -p 16686:16686 -p 4317:4317 -p 4318:4318 jaegertracing/jaeger"
)

_HOST: Final = "127.0.0.1"
_SCHEMES: Final = ("http", "https")
_NEEDED: Final = {
    "fastapi": "fastapi",
    "flask": "flask",
    "httpx": "httpx",
    "sqlalchemy": "sqlalchemy",
    "uvicorn": "uvicorn",
    **{
        f"opentelemetry.instrumentation.{name}": f"opentelemetry-instrumentation-{name}"
        for name in ("fastapi", "flask", "httpx", "sqlalchemy")
    },
}
_START_SECONDS: Final = 30.0
_WALK_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_READ_SECONDS: Final = 10.0
_SIGNS: Final = {
    "completed": ("✓", "+"),
    "failed": ("✗", "x"),
    "abandoned": ("○", "o"),
    "handed_off": ("→", ">"),
    "deferred": ("…", "."),
}
_PERSONAL: Final = ("id", "email", "address", "card", "letter")
_COLOURS: Final = {"completed": "32", "failed": "31", "abandoned": "33"}


class DemoError(Exception):
    """The demo cannot go on; the message tells why."""


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
        help="where spans and the services' logs stay; by default ./cxtrace-demo",
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
        with _interruptions.received():
            found = _demonstrate(arguments, shop)
    except (DemoError, OSError) as error:
        print(f"cxtrace demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cxtrace demo: stopped, and so are the services", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        on = _paper(found.journey_map)
        print("\n".join(_report(found, on)))
    return int(not all(check.passed for check in found.checks))


# Before it starts


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
    own = Path(__file__).resolve().parents[1]
    examples = own.parents[1] / "examples"
    places = (
        Shop("cxtrace._shop", own / "_shop", own / "_shop" / "journeys.toml"),
        Shop("shop", examples / "shop", examples / "journeys.toml", examples),
    )
    return next((shop for shop in places if shop.journey_map.is_file()), None)


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


# The run


@attrs.frozen
class Walk:
    """What came of one person's way through the shop."""

    person: Mapping[str, str] = attrs.field(repr=False)
    journey: str
    id: str
    story: str = ""
    error: str = ""


@attrs.frozen
class Check:
    """Something that the demo looks for in what was recorded."""

    what: str
    passed: bool
    detail: str = ""


@attrs.frozen
class Found:
    """The result of a run."""

    journey_map: JourneyMap
    walks: Sequence[Walk]
    spans: Sequence[RecordedSpan] | None
    """None where they were sent to something that cannot be asked."""
    checks: Sequence[Check]
    seconds: float
    folder: Path
    file: Path | None
    otlp: str | None
    jaeger_ui: str | None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        spans = self.spans or ()
        return {
            "seconds": round(self.seconds, 1),
            "logs": str(self.folder),
            "file": self.file and str(self.file),
            "otlp": self.otlp,
            "spans": None if self.spans is None else len(self.spans),
            "journeys": [
                {
                    "name": walk.journey,
                    "id": walk.id,
                    "story": walk.story or walk.error,
                    "spans": len(_of_journey(spans, walk)),
                    "services": _services(_of_journey(spans, walk)),
                    "jaeger_url": self.jaeger_ui and jaeger_url(self.jaeger_ui, walk.id),
                }
                for walk in self.walks
            ],
            "stages": stages(spans, self.journey_map),
            "checks": [attrs.asdict(check) for check in self.checks],
        }


def _demonstrate(arguments: argparse.Namespace, shop: Shop) -> Found:
    began = time.monotonic()
    folder = arguments.keep.absolute()
    file = None if arguments.otlp else folder / "spans.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / "spans.jsonl", *(folder / f"{name}.log" for name in _PROGRAMS)):
        old.unlink(missing_ok=True)
    key = os.environ.get("CXTRACE_KEY") or secrets.token_urlsafe(32)
    environment = _environment(arguments, shop, file, key)
    with tempfile.TemporaryDirectory(prefix="cxtrace-demo-") as work:
        walks = _walks(_Services(shop.package, environment, folder, Path(work)), began)
    journey_map = JourneyMap.load(shop.journey_map)
    ui = _jaeger_ui(arguments)
    spans, raw = _read_file(file) if file else _read_jaeger(str(ui), walks)
    checks = [_check_walks(walks)]
    if spans is not None:
        checks += _check_spans(walks, spans, raw, HmacPseudonymiser(Key(key.encode())))
    seconds = time.monotonic() - began
    return Found(journey_map, walks, spans, checks, seconds, folder, file, arguments.otlp, ui)


def _environment(
    arguments: argparse.Namespace, shop: Shop, file: Path | None, key: str
) -> dict[str, str]:
    """What the services see: of the settings for telemetry only those of the demo."""
    kept = {name: value for name, value in os.environ.items() if _is_kept(name)}
    ports = _free_ports(2)
    own = {
        "CXTRACE_KEY": key,
        "CXTRACE_MAP": str(shop.journey_map),
        "CXTRACE_EXPORTER": f"file:{file}" if file else "otlp",
        "SHOP_STOREFRONT": f"{_HOST}:{ports[0]}",
        "SHOP_PAYMENTS": f"{_HOST}:{ports[1]}",
        "SHOP_BROKER_KEY": secrets.token_hex(),
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), _HOST, "localhost"))),
    }
    if shop.search_path is not None:
        paths = (str(shop.search_path), os.environ.get("PYTHONPATH"))
        own["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    if arguments.otlp:
        over_http = urlsplit(arguments.otlp).port == 4318
        own["OTEL_EXPORTER_OTLP_ENDPOINT"] = arguments.otlp
        own["OTEL_EXPORTER_OTLP_PROTOCOL"] = arguments.protocol or (
            "http/protobuf" if over_http else "grpc"
        )
    return {**kept, **own}


def _is_kept(variable: str) -> bool:
    # Of OpenTelemetry's, a collector may need its headers and certificates.
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


class _Interruptions:
    """Ctrl-C and being told to end: both stop the services first, and neither loses one."""

    def __init__(self) -> None:
        self._held = self._pending = False

    def _receive(self, *_: object) -> None:
        self._pending = True
        self._pass_on()

    def _pass_on(self) -> None:
        if self._pending and not self._held:
            self._pending = False
            raise KeyboardInterrupt

    @contextmanager
    def received(self) -> Iterator[None]:
        """While inside, they become KeyboardInterrupt."""
        before = [(sign, signal.signal(sign, self._receive)) for sign in _INTERRUPTING]
        try:
            yield
        finally:
            for sign, handler in before:
                signal.signal(sign, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While inside, they wait: a process that was just started must be known first."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self._pass_on()


_INTERRUPTING: Final = (signal.SIGINT, signal.SIGTERM)
_interruptions: Final = _Interruptions()


# In the order in which they start. Fulfilment stops first, when its queue is empty: until then it
# talks to the storefront.
_PROGRAMS: Final = ("broker", "payments", "storefront", "fulfilment")
_STOP_ORDER: Final = ("fulfilment", "storefront", "payments", "broker")


_Process: TypeAlias = "subprocess.Popen[bytes]"


class _Services:
    """The processes of the shop; whatever happens, none is left."""

    def __init__(
        self, package: str, environment: Mapping[str, str], folder: Path, work: Path
    ) -> None:
        self.environment = environment
        self._package = package
        self._folder = folder
        self._work = work
        self._running: dict[str, _Process] = {}

    def __enter__(self) -> "_Services":
        try:
            for name in _PROGRAMS[:-1]:
                self._start(name)
            self._wait("broker", lambda: bool(self._log("broker")))
            self._start(_PROGRAMS[-1])
            for name in ("payments", "storefront"):
                self._wait(name, functools.partial(self._listens, name))
        except BaseException:
            self._kill(*self._running)
            raise
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            self._kill("customers")
            stubborn = next((name for name in _STOP_ORDER if not self._stops(name)), None)
        finally:
            self._kill(*self._running)
        if stubborn is not None and error is None:
            raise self._failure(stubborn, "does not stop")

    def _stops(self, name: str) -> bool:
        self._running[name].terminate()
        try:
            self._running[name].wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True

    def command(self, name: str) -> list[str]:
        """What runs a program of the shop."""
        return [sys.executable, "-m", f"{self._package}.{name}"]

    def require_alive(self) -> None:
        """Raise if a service has ended by itself."""
        for name in self._running.keys() & set(_PROGRAMS):
            if self._running[name].poll() is not None:
                raise self._failure(name, "ended")

    def spawn(self, name: str, command: Sequence[str], output: int | IO[bytes]) -> _Process:
        """Start a process that does not outlive the services."""
        with _interruptions.held():
            self._running[name] = subprocess.Popen(  # noqa: S603
                command,
                cwd=self._work,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output == subprocess.PIPE else subprocess.STDOUT,
                start_new_session=True,
            )
        return self._running[name]

    def _start(self, name: str) -> None:
        with self._path(name).open("wb") as log:
            self.spawn(name, self.command(name), log)

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            self.require_alive()
            if time.monotonic() > deadline:
                raise self._failure(name, "does not start")
            time.sleep(0.05)

    def _listens(self, name: str) -> bool:
        host, _, port = self.environment[f"SHOP_{name.upper()}"].rpartition(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _log(self, name: str) -> str:
        return self._path(name).read_text(errors="replace")

    def _failure(self, name: str, what: str) -> DemoError:
        lines = self._log(name).splitlines()[-15:]
        rest = f"(all it said is in {self._path(name)})"
        return DemoError("\n".join([f"{name} {what}", *map(printable, lines), rest]))

    def _kill(self, *names: str) -> None:
        for name in self._running.keys() & set(names):
            if self._running[name].poll() is None:
                self._running[name].kill()
                self._running[name].wait()


def _walks(services: _Services, began: float) -> list[Walk]:
    """Open the shop, let the customers in, close the shop."""
    _say("a shop opens: storefront, payments, fulfilment")
    walks = []
    with services, closing(_customers(services)) as customers:
        _say(f"open after {time.monotonic() - began:.1f} s, and here are the customers")
        for walk in customers:
            walks.append(walk)
            sign = _SIGNS["failed" if walk.error else "completed"][_speaks_ascii(sys.stderr)]
            _say(f"  {sign} {walk.person['name']:6} {walk.journey:13} {walk.story or walk.error}")
        services.require_alive()
    _say(f"closed after {time.monotonic() - began:.1f} s; all spans are sent")
    return walks


def _customers(services: _Services) -> Generator[Walk, None, None]:
    url = f"http://{services.environment['SHOP_STOREFRONT']}"
    command = [*services.command("customers"), url]
    with services.spawn("customers", command, subprocess.PIPE) as customers:
        late = threading.Timer(_WALK_SECONDS, customers.kill)
        late.start()
        try:
            for line in customers.stdout or ():
                yield Walk(**json.loads(line))
            if customers.wait() != 0:
                raise DemoError(f"customers stayed away, or longer than {_WALK_SECONDS:.0f} s")
        finally:
            late.cancel()
            customers.kill()


def _say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def _speaks_ascii(stream: TextIO) -> bool:
    return glyphs(stream.encoding) is _drawing.ASCII


# Reading back


def _read_file(file: Path) -> tuple[Sequence[RecordedSpan], bytes]:
    if not file.is_file():
        raise DemoError(f"the services have written no spans to {file}")
    return read_spans(file).spans, file.read_bytes()


def _jaeger_ui(arguments: argparse.Namespace) -> str | None:
    if arguments.otlp is None or arguments.jaeger_ui:
        return arguments.jaeger_ui and str(arguments.jaeger_ui).rstrip("/")
    host = urlsplit(arguments.otlp).hostname
    return f"http://[{host}]:16686" if ":" in host else f"http://{host}:16686"


def jaeger_url(ui: str, journey_id: str) -> str:
    """Where Jaeger shows all traces of a journey."""
    return f"{ui}/search?{_query(journey_id)}"


def _query(journey_id: str) -> str:
    tags = json.dumps({names.JOURNEY_ID: journey_id}, separators=(",", ":"))
    asked = {"service": "storefront", "tags": tags, "lookback": "2d", "limit": 200}
    return urlencode(asked, quote_via=quote)


def _read_jaeger(ui: str, walks: Sequence[Walk]) -> tuple[Sequence[RecordedSpan] | None, bytes]:
    """The spans of all journeys, as soon as no more arrive; None if Jaeger does not answer."""
    deadline = time.monotonic() + _READ_SECONDS
    before = -1
    while True:
        try:
            answers = [_ask(f"{ui}/api/traces?{_query(walk.id)}") for walk in walks]
            found = [_from_jaeger(json.loads(answer)) for answer in answers]
        except (OSError, ValueError, LookupError, TypeError):
            return None, b""
        spans = {span.span_id: span for spans in found for span in spans}
        complete = all(len(_services(spans_of)) == len(SERVICES) for spans_of in found)
        if (complete and len(spans) == before) or time.monotonic() > deadline:
            return list(spans.values()), b"".join(answers)
        before = len(spans)
        time.sleep(0.25)


def _ask(url: str) -> bytes:
    # Nobody's proxy: this is the user's own Jaeger.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        body: bytes = answer.read()
    return body


def _from_jaeger(answer: Mapping[str, Any]) -> list[RecordedSpan]:
    return [
        _jaeger_span(span, trace["processes"])
        for trace in answer["data"]
        for span in trace["spans"]
    ]


def _jaeger_span(span: Mapping[str, Any], processes: Mapping[str, Any]) -> RecordedSpan:
    found = {tag["key"]: tag["value"] for tag in span["tags"]}
    parents = [each["spanID"] for each in span["references"] if each["refType"] == "CHILD_OF"]
    start = span["startTime"] * 1_000
    return RecordedSpan(
        trace_id=span["traceID"],
        span_id=span["spanID"],
        parent_id=parents[0] if parents else None,
        name=span["operationName"],
        kind=found.get("span.kind", "internal").upper(),
        start_ns=start,
        end_ns=start + span["duration"] * 1_000,
        status_code=found.get("otel.status_code", "UNSET"),
        service_name=processes[span["processID"]]["serviceName"],
        attributes=found,
    )


# Looking at it


def _of_journey(spans: Iterable[RecordedSpan], walk: Walk) -> list[RecordedSpan]:
    return [span for span in spans if span.attributes.get(names.JOURNEY_ID) == walk.id]


def _services(spans: Iterable[RecordedSpan]) -> list[str]:
    """Their services, in the order in which customers meet them."""
    met = {span.service_name for span in spans}
    return sorted(met, key=lambda name: (SERVICES.index(name) if name in SERVICES else 9, name))


def _check_walks(walks: Sequence[Walk]) -> Check:
    failed = [f"{walk.person['name']}: {walk.error}" for walk in walks if walk.error]
    return Check(
        f"{len(walks)} customers went their ways as scripted",
        bool(walks) and not failed,
        "; ".join(failed),
    )


def _check_spans(
    walks: Sequence[Walk],
    spans: Sequence[RecordedSpan],
    raw: bytes,
    pseudonymiser: HmacPseudonymiser,
) -> list[Check]:
    return [
        _check_services(walks, spans),
        _check_tags(spans),
        _check_login(walks, spans, pseudonymiser),
        _check_privacy(walks, raw),
    ]


def _check_services(walks: Sequence[Walk], spans: Sequence[RecordedSpan]) -> Check:
    met = {walk.id: _services(_of_journey(spans, walk)) for walk in walks}
    short = [f"{id_}: {met[id_]}" for id_ in met if met[id_] != list(SERVICES)]
    return Check(
        "each journey is found by its id, with spans of all three services",
        not short,
        "; ".join(short),
    )


def _check_tags(spans: Sequence[RecordedSpan]) -> Check:
    stock = [span for span in spans if span.kind in {"SERVER", "CLIENT"}]
    short = Counter(
        f"{span.service_name} {span.name} has no {tag}"
        for span in stock
        for tag in SIX_TAGS
        if tag not in span.attributes
    )
    return Check(
        f"all {len(stock)} SQL, HTTP client and server spans carry the six tags",
        bool(stock) and not short,
        "; ".join(short),
    )


def _check_login(
    walks: Sequence[Walk], spans: Sequence[RecordedSpan], pseudonymiser: HmacPseudonymiser
) -> Check:
    customer_of = {walk.id: pseudonymiser.pseudonym(walk.person["id"]) for walk in walks}
    roots = [
        span.attributes
        for span in spans
        if span.parent_id is None and span.attributes.get(names.TOUCHPOINT_NAME) == "account.login"
    ]
    wrong = [
        str(root[names.JOURNEY_ID])
        for root in roots
        if root.get(names.CUSTOMER_PSEUDONYM) != customer_of.get(root.get(names.JOURNEY_ID, ""))
    ]
    return Check(
        "a visitor who logged in halfway is a customer on the request's root span",
        bool(roots) and not wrong,
        ", ".join(wrong),
    )


def _check_privacy(walks: Sequence[Walk], raw: bytes) -> Check:
    secret = [w.person[key] for w in walks for key in _PERSONAL]
    seen = [text for text in secret if text and any(form in raw for form in _forms(text))]
    return Check(
        f"no customer's id, e-mail, address or card is in the {len(raw):,} bytes recorded",
        bool(raw) and not seen,
        f"{len(seen)} of them are",
    )


def _forms(text: str) -> Iterator[bytes]:
    """A text as it may be written."""
    plain = text.encode()
    yield from (plain, quote(text, safe="").encode(), plain.hex().encode())
    # In base64 it depends on the bytes before it; the first and last characters on its neighbours.
    for before, spoilt in ((0, 0), (1, 2), (2, 3)):
        whole = (before + len(plain)) // 3 * 3 - before
        yield base64.b64encode(b"\0" * before + plain[:whole])[spoilt:]


def stages(spans: Iterable[RecordedSpan], journey_map: JourneyMap) -> list[dict[str, Any]]:
    """What happened at each stage of the map, and at each of its touchpoints."""
    met = [span for span in spans if names.TOUCHPOINT_OUTCOME in span.attributes]
    return [
        {
            "name": stage.name,
            "phase": stage.phase,
            **_told([span for span in met if span.attributes.get(names.STAGE_NAME) == stage.name]),
            "touchpoints": [
                {"name": planned.name, "owner": planned.owner, **_told(_at(met, planned.name))}
                for planned in journey_map.touchpoints.values()
                if planned.stage == stage.name
            ],
        }
        for stage in sorted(journey_map.stages.values(), key=lambda stage: stage.order)
    ]


def _at(spans: Iterable[RecordedSpan], touchpoint: str) -> list[RecordedSpan]:
    return [span for span in spans if span.attributes.get(names.TOUCHPOINT_NAME) == touchpoint]


def _told(spans: Sequence[RecordedSpan]) -> dict[str, Any]:
    outcomes = Counter(str(span.attributes[names.TOUCHPOINT_OUTCOME]) for span in spans)
    seconds = [(span.end_ns - span.start_ns) / 1e9 for span in spans]
    return {
        "count": len(spans),
        "outcomes": {name: outcomes[name] for name in sorted(outcomes, key=_place_of_outcome)},
        "median_s": round(statistics.median(seconds), 6) if seconds else None,
    }


def _place_of_outcome(outcome: str) -> tuple[int, str]:
    known = get_args(names.Outcome)
    return (known.index(outcome) if outcome in known else len(known), outcome)


# Showing it


def _paper(journey_map: JourneyMap) -> _drawing.Paper:
    on = paper(journey_map, sys.stdout, os.environ)
    return attrs.evolve(on, colours={**on.colours, **_COLOURS}) if on.colours else on


def _report(found: Found, on: _drawing.Paper) -> Iterator[str]:
    if found.spans is not None:
        yield from _tree(found.walks, found.spans, on)
        yield from _map(found, on)
    yield from _verdict(found, on)
    yield from _where(found, on)


def _title(text: str, detail: str, on: _drawing.Paper) -> str:
    left = on.width - len(f"{text} {detail} ")
    rest = f"{detail} {on.glyphs.rule * max(0, left)}".strip()
    return f"{on.paint(text, 'bold')} {on.paint(rest, 'dim')}"


def _longest(walks: Sequence[Walk], spans: Sequence[RecordedSpan]) -> Walk | None:
    return max(walks, key=lambda walk: len(_of_journey(spans, walk)), default=None)


def _tree(
    walks: Sequence[Walk], spans: Sequence[RecordedSpan], on: _drawing.Paper
) -> Iterator[str]:
    """The journey that went furthest, as one tree."""
    longest = _longest(walks, spans)
    journey = [] if longest is None else _of_journey(spans, longest)
    if not journey:
        return
    drawn = [span for span in journey if span.name != "connect"]
    roots = sum(span.parent_id is None for span in drawn)
    services = ", ".join(_services(journey))
    yield ""
    yield _title("One journey", f"{roots} requests of one customer in {services}", on)
    yield from _known_as(journey, on)
    text = draw_trace(
        _as_one_trace(drawn),
        width=on.width,
        colour=bool(on.colours),
        ascii_only=on.glyphs is _drawing.ASCII,
    )
    # The first line names a trace, and here are many.
    yield from text.splitlines()[1:]
    yield on.paint(f"{len(journey) - len(drawn)} spans named connect are not shown", "dim")


def _known_as(journey: Iterable[RecordedSpan], on: _drawing.Paper) -> Iterator[str]:
    """Under which pseudonyms the requests of a journey went, and since which touchpoint."""
    since: dict[str, str] = {}
    for span in sorted(journey, key=lambda span: span.start_ns):
        if span.parent_id is None:
            pseudonym = str(span.attributes.get(names.CUSTOMER_PSEUDONYM))
            since.setdefault(pseudonym, str(span.attributes.get(names.TOUCHPOINT_NAME)))
    for pseudonym, touchpoint in since.items():
        yield on.paint(f"customer {printable(pseudonym)} since {printable(touchpoint)}", "dim")


def _as_one_trace(spans: Sequence[RecordedSpan]) -> list[RecordedSpan]:
    first = min(spans, key=lambda span: span.start_ns)
    journey = RecordedSpan(
        trace_id="",
        span_id="journey",
        name=f"{first.attributes[names.JOURNEY_NAME]} {first.attributes[names.JOURNEY_ID]}",
        start_ns=first.start_ns,
        end_ns=max(span.end_ns for span in spans),
        service_name=first.service_name,
    )
    below = [
        attrs.evolve(span, trace_id="", parent_id=span.parent_id or "journey") for span in spans
    ]
    return [journey, *below]


def _map(found: Found, on: _drawing.Paper) -> Iterator[str]:
    told = stages(found.spans or (), found.journey_map)
    rows = [touchpoint for stage in told for touchpoint in stage["touchpoints"]]
    width = max(len(row["name"]) for row in rows)
    outcomes = max(len("  ".join(_outcomes(row, on))) for row in (*told, *rows))
    met = sum(row["count"] for row in rows)
    yield ""
    yield _title(
        f"The map {found.journey_map.name}",
        f"{len(found.walks)} customers, {met} touchpoints, and what became of them",
        on,
    )
    for stage in told:
        yield ""
        phase = _drawing.PHASES[stage["phase"]]
        yield f"{_cells(stage, width, outcomes, on, 'bold')}  {on.paint(phase, 'dim')}"
        for row in stage["touchpoints"]:
            owner = on.paint(row["owner"] or "", f"function {row['owner']}")
            yield f"{_cells(row, width, outcomes, on, '')}  {owner}"
    yield ""
    signs = {outcome: count for stage in told for outcome, count in stage["outcomes"].items()}
    yield on.paint("   ".join(f"{_sign(outcome, on)} {outcome}" for outcome in signs), "dim")


def _cells(
    row: Mapping[str, Any], width: int, outcomes: int, on: _drawing.Paper, style: str
) -> str:
    indent = "" if style else "  "
    name = f"{indent}{row['name']:{width + 2 - len(indent)}}"
    if not row["count"]:
        return on.paint(f"{name}  {'not reached':>{6 + outcomes + 11}}", "dim")
    plain = _outcomes(row, on)
    told = "  ".join(
        on.paint(text, outcome) for text, outcome in zip(plain, row["outcomes"], strict=True)
    )
    space = " " * (outcomes - len("  ".join(plain)))
    duration = _duration(row["median_s"])
    return f"{on.paint(name, style)}  {row['count']:4}  {told}{space}  {duration:>9}"


def _outcomes(row: Mapping[str, Any], on: _drawing.Paper) -> list[str]:
    return [f"{_sign(outcome, on)} {count}" for outcome, count in row["outcomes"].items()]


def _sign(outcome: str, on: _drawing.Paper) -> str:
    return _SIGNS.get(outcome, ("?", "?"))[on.glyphs is _drawing.ASCII]


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1_000:.3g} ms"


def _verdict(found: Found, on: _drawing.Paper) -> Iterator[str]:
    yield ""
    yield _title("Looked for", "", on)
    for check in found.checks:
        outcome = "completed" if check.passed else "failed"
        yield f"{on.paint(_sign(outcome, on), outcome)} {check.what}"
        if not check.passed and check.detail:
            yield f"    {printable(check.detail)}"


def _where(found: Found, on: _drawing.Paper) -> Iterator[str]:
    yield ""
    if found.file is not None:
        yield f"{on.paint('spans', 'bold')}    {found.file}  (OTLP JSON lines)"
        yield f"{on.paint('Jaeger', 'bold')}   {START_JAEGER}"
        yield "         cxtrace demo --otlp http://localhost:4317"
    else:
        yield f"{on.paint('sent to', 'bold')}  {found.otlp}"
        if found.spans is None:
            yield f"         Jaeger does not answer at {found.jaeger_ui}: nothing was looked at"
        longest = _longest(found.walks, found.spans or ())
        if longest is not None:
            yield f"{on.paint('Jaeger', 'bold')}   {jaeger_url(str(found.jaeger_ui), longest.id)}"
    yield f"{on.paint('logs', 'bold')}     {found.folder}"
    yield on.paint(f"{found.seconds:.1f} s", "dim")
