"""Everything public of cxtrace, called with what must not leave, and everything that leaves.

What code chooses may leave by contract, so nothing is planted there: names of touchpoints, stages,
owners, journeys, routes, interactions and segments; the id and the persona of a walkthrough, as
codes; opaque tokens as a journey's id and as ``session.id``; short codes given to ``fail``,
``nudge``, ``handoff`` and ``forecast``; text of at most 64 characters under the ``cx.context`` keys
of the map; numbers within the range of a signal; and the class of an exception. Where such a place
refuses what looks like an address or a number of somebody, that is planted; so it is in the text of
exceptions where ``record_exceptions`` scrubs them. In spans of others all is planted that ``scrub``
takes out.
"""

import base64
import contextlib
import hashlib
import inspect
import io
import json
import logging
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.trace import SpanKind, StatusCode

import cxtrace
from cxtrace import _runtime, exporters
from cxtrace._scrubbing import Scrubber
from cxtrace.exporters import FileSpanExporter
from cxtrace.logs import ContextFilter, add_context
from cxtrace.privacy import SaltedPseudonymiser, VaultPseudonymiser
from cxtrace.propagation import CXPropagator
from cxtrace.testing import Capture, capture

MAP: Final = cxtrace.JourneyMap.loads(
    """
schema = "cxtrace.map/1"
name = "shop"
context = ["weather"]

[functions]
sales = { happy = "emotion.valence > 0" }
service = {}

[[stage]]
name = "purchase"
phase = "customer"

[promise.fast]
claim = "Paid within a second"
source = "brand_claim"
metric = "delivered"
op = "<="
target = 1.0
unit = "s"

[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "sales"
influence = { sales = 1.0 }
promises = ["fast"]
channel = ["web"]

[[journey]]
name = "first_order"
"""
)

_MEMORY: Final = Path("/dev/shm")
DESTINATIONS: Final = ("http://orders.internal/", "https://evil.example.com/", None)


# What is planted


class Telling:
    """An object that tells who the customer is, if it is asked."""

    def __init__(self, said: str) -> None:
        self.said = said

    def __str__(self) -> str:
        return self.said

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return self.said


class Text(str):
    """Text of a type of the host's own."""


class TroubleError(Exception):
    """What flies out of the host's code, with what the customer typed."""


@define
class Planter:
    """Makes values that hold a mark, each with the place where it was planted.

    Attributes:
        quotes: Whether texts of exceptions are recorded, without addresses and numbers of people.
        planted: All whole values that are text, for hashes without a key.
    """

    chance: random.Random
    decoration: str
    quotes: bool = False
    planted: set[str] = field(factory=set)
    word: str = field(init=False)
    digits: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.word = "qz" + "".join(self.chance.choices("bcdfghjkmpvwxyz", k=10))
        self.digits = "79" + "".join(self.chance.choices("0123456789", k=12))

    def text(self) -> str:
        """Free text, a name, an address, a number."""
        form = self.chance.choice(
            ["{w}", "{w}@example.com", "Jane {w} Doe", "{d}", "+49 {d}", "{x}{w}{x}", "{W}"]
        )
        return self._kept(form)

    def telling(self) -> str:
        """Text that looks like somebody's, for where short codes may leave."""
        return self._kept(
            self.chance.choice(["{w}@example.com", "Jane {w} Doe, {x}", "\n{w}", "+{d} {w}"])
        )

    def quoted(self) -> str:
        """Text of an exception."""
        return self._kept("{w}@example.com") if self.quotes else self.text()

    def thing(self) -> Any:
        """Anything but text and numbers."""
        text = self.text()
        makers: list[Callable[[str], Any]] = [
            *(Telling, TroubleError, str.encode, lambda text: [text], lambda text: {text: text}),
            *(lambda text: (text, text), lambda text: {text}, bytearray, memoryview),
        ]
        make = self.chance.choice(makers)
        return (
            make(text.encode("utf-8", "replace"))
            if make in (bytearray, memoryview)
            else (text.encode("utf-8", "replace") if make is str.encode else make(text))
        )

    def anything(self) -> Any:
        """Text, of the host's own type too, a number, or a thing."""
        way = self.chance.randrange(5)
        if way == 0:
            return int(self.digits)
        return Text(self.text()) if way == 1 else self.text() if way < 4 else self.thing()

    def _kept(self, form: str) -> str:
        made = form.format(w=self.word, W=self.word.upper(), d=self.digits, x=self.decoration)
        self.planted.add(made)
        return made

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """What to look for: both marks as they are and encoded, and hashes of all that was made."""
        for mark in (self.word, self.digits):
            raw = mark.encode()
            yield "as it is", raw
            yield "in hexadecimal digits", raw.hex().encode()
            yield "backwards", raw[::-1]
            yield "as UTF-16", mark.encode("utf-16-le")
            yield "percent-encoded", "".join(f"%{byte:02x}" for byte in raw).encode()
            for given in (raw, raw.upper()):
                for shift in range(3):
                    told = base64.b64encode(b"\0" * shift + given)
                    # What shares a character with its neighbours is not known.
                    whole = told[-(-shift * 8 // 6) : (shift + len(given)) * 8 // 6]
                    yield "in base64", whole.lower()
        for text in self.planted:
            for name in ("md5", "sha1", "sha256"):
                digest = hashlib.new(name, text.encode("utf-8", "surrogatepass")).digest()
                yield f"as {name} without a key", digest.hex().encode()
                told = base64.urlsafe_b64encode(digest).rstrip(b"=").lower()
                yield f"as {name} without a key", told[:22]


# Who names customers


class Store:
    """Keeps what a pseudonymiser gives it, where it can be searched."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def keep(self, names: Sequence[str], value: str) -> str:
        """As the protocol says."""
        found = next((self.kept[name] for name in names if name in self.kept), value)
        self.kept.update(dict.fromkeys(names, found))
        return found

    def delete(self, names: Sequence[str]) -> int:
        """As the protocol says."""
        return len([self.kept.pop(name) for name in names if name in self.kept])


class Salted(SaltedPseudonymiser):
    """By a key and a salt."""

    def __init__(self) -> None:
        store = Store()
        self.kept = store.kept
        super().__init__(store, key="k" * 32)


class Vault(VaultPseudonymiser):
    """At random."""

    def __init__(self) -> None:
        store = Store()
        self.kept = store.kept
        super().__init__(store, key="k" * 32)


class Own:
    """The host's own, which knows no tenants and fails for text of the host's own types."""

    key_id = "own"

    def pseudonym(self, customer_id: Any) -> str:
        """As the protocol says."""
        if len(str(customer_id)) % 2:
            raise TroubleError(f"no pseudonym for {customer_id}")
        return "a pseudonym"


PSEUDONYMISERS: Final = (None, Salted, Vault, Own)


# What is called

SIGNALS: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "friction": {"type": ("slow",), "severity": ("low",), "source": ("client",)},
    "emotion": {
        "label": ("anger",),
        "source": ("text",),
        "valence": (0.5,),
        "arousal": (0.1,),
        "confidence": (1,),
    },
    "feedback": {
        "type": ("nps", "review"),
        "score": (9,),
        "scale": ((0, 10),),
        "category": ("promoter",),
    },
    "complaint": {"state": ("opened", "resolved"), "friction": ("slow",), "open_for": (3.0,)},
    "mention": {"source": ("friends",), "valence": (0.5,), "phase": ("customer",)},
    "value": {"amount": (9.5,), "currency": ("EUR",), "type": ("revenue",)},
    "deliver": {"promise": ("fast",), "value": (0.5,)},
    "handoff": {"to": ("service",), "waited": (3,)},
    "forecast": {
        "type": ("churn",),
        "probability": (0.5,),
        "model": ("rule@1",),
        "horizon": (60,),
    },
    "nudge": {
        "id": ("bar",),
        "technique": ("reminder",),
        "disclosed": (True, False),
        "reversible": (True,),
        "flag": ("free_shipping",),
        "variant": ("b",),
    },
}
"""Good values for every parameter of every signal; each may have something planted instead."""

CODES: Final = frozenset({"to", "model", "id", "flag", "variant"})
"""Parameters that take short codes: they refuse what looks like somebody's."""

NUMBERS: Final = frozenset(
    {"valence", "arousal", "confidence", "score", "open_for", "amount", "value", "waited"}
    | {"probability", "horizon"}
)

NOUNS: Final[dict[str, set[str]]] = {
    "customer": {"id", "tenant", "kind", "segment", "consent"},
    "identify": {"id", "tenant", "kind", "segment", "consent"},
    "journey": {"name", "id", "route"},
    "touchpoint": {"name", "stage", "owner", "channel", "attach"},
    "interaction": {"name"},
    "walkthrough": {"id", "persona", "type"},
    "wrap": {"fn"},
}
"""The parameters of the other calls, all of which are driven below."""

METHODS: Final[dict[str, set[str]]] = {
    "TouchpointHandle": {
        *SIGNALS,
        *("act", "arrive", "context", "end", "endings", "facts", "fail", "has_been_judged"),
        *("identity", "is_open", "measures", "outcome", "retry", "set", "settle", "whose"),
    },
    "InteractionHandle": {"begin", "end", "fail", "set", "settle"},
    "SpanHandle": {"end", "fail", "set", "settle"},
    "JourneyHandle": {"end", "outcome", "settle"},
    "CustomerHandle": {"end", "settle"},
    "Exposure": {"accepted", "declined", "ignored", "labels", "reversed"},
}
"""The public methods of what the calls give out."""

NOTHING_IS_GIVEN: Final = {
    "CXContext": "what current_context() gives; its repr is told",
    "CXTraceError": "an error; the texts of those that are raised are told",
    "ConfigurationError": "an error",
    "JourneyMap": "says what its authors have written, who know no customer",
    "MapError": "an error",
    "Report": "what report() gives; told",
    "shutdown_on_sigterm": "takes nothing, and changes the process",
}
"""Public names that take nothing of a customer."""


def _value(planter: Planter, name: str, good: tuple[Any, ...]) -> Any:
    if planter.chance.random() < 0.6:
        return planter.chance.choice(good)
    if name in CODES:
        return planter.chance.choice([planter.telling, planter.thing])()
    if name in NUMBERS:
        return planter.chance.choice([planter.text, planter.thing])()
    return planter.anything()


def _arguments(planter: Planter, signal: str) -> dict[str, Any]:
    return {name: _value(planter, name, good) for name, good in SIGNALS[signal].items()}


@define
class Play:
    """One customer's way through code that calls whatever there is to call.

    Attributes:
        is_scrubbed: Whether spans of others are, before they leave.
        told: Texts that reach somebody: headers, log records, errors, what is printed.
    """

    planter: Planter
    cx: Capture
    blocks: ExitStack
    is_scrubbed: bool = False
    told: list[tuple[str, str]] = field(factory=list)

    def tell(self, where: str, what: object) -> None:
        """Keep a text that somebody can read."""
        self.told.append((where, str(what)))

    @property
    def chance(self) -> random.Random:
        """What decides."""
        return self.planter.chance

    def consent(self) -> Any:
        """A state of consent, or what is none."""
        return self.chance.choice(
            ["granted", "denied", "withdrawn", "not_required", "unknown", None, self.planter.text()]
        )

    def enter(self, noun: Any, where: str) -> Any:
        """Open a block, which the play closes."""
        self.tell(f"the repr of a {where}", repr(noun))
        handle = self.blocks.enter_context(noun)
        self.tell(f"the repr of the handle of a {where}", repr(handle))
        return handle


def _whose(play: Play) -> dict[str, Any]:
    kind = play.chance.choice(["person", "account", "anonymous", None, play.planter.anything()])
    segment = play.chance.choice(["smb", None, play.planter.thing()])
    tenant = play.chance.choice([None, play.planter.anything()])
    return {"tenant": tenant, "kind": kind, "segment": segment, "consent": play.consent()}


def customer(play: Play) -> None:
    """A block for a customer."""
    play.enter(cxtrace.customer(play.planter.anything(), **_whose(play)), "customer")


def identify(play: Play) -> None:
    """The customer is named late."""
    cxtrace.identify(play.planter.anything(), **_whose(play))


def walkthrough(play: Play) -> None:
    """A walkthrough, whose id and persona are codes, or what is none."""
    planter, chance = play.planter, play.chance
    walk = chance.choice(["2026-09-ceo-1", planter.telling(), planter.thing()])
    persona = chance.choice(["first-time buyer", planter.telling(), planter.thing()])
    kind: Any = chance.choice(["test", "bot", planter.anything()])
    play.enter(cxtrace.walkthrough(walk, persona=persona, type=kind), "walkthrough")


def journey(play: Play) -> None:
    """A journey, with an id that tells somebody."""
    planter = play.planter
    telling = play.chance.choice([None, planter.telling(), planter.thing(), planter.digits])
    route = play.chance.choice([None, "short", planter.thing()])
    name = play.chance.choice(["first_order", "unplanned"])
    handle = play.enter(cxtrace.journey(name, id=telling, route=route), "journey")
    if play.chance.random() < 0.3:
        handle.outcome(play.chance.choice(["achieved", planter.anything()]))


def touchpoint(play: Play) -> None:
    """A touchpoint, and every method of it that is no signal."""
    planter, chance = play.planter, play.chance
    options = {
        "stage": chance.choice([None, "purchase", planter.thing()]),
        "owner": chance.choice([None, "sales", planter.thing()]),
        "channel": chance.choice([None, "web", planter.anything()]),
        "attach": chance.random() < 0.2,
    }
    name = chance.choice(["checkout.pay", "unplanned"])
    handle = play.enter(cxtrace.touchpoint(name, **options), "touchpoint")
    if chance.random() < 0.3:
        handle.fail(chance.choice(["card_declined", planter.telling(), planter.thing()]))
    if chance.random() < 0.3:
        handle.outcome(chance.choice(["abandoned", planter.anything()]))
    if chance.random() < 0.3:
        handle.retry(chance.choice([1.0, planter.text(), planter.thing()]))
    if chance.random() < 0.7:
        handle.set(attributes(play))


def attributes(play: Play) -> dict[Any, Any]:
    """What code gives to ``set``, keys that are not allowed included."""
    planter = play.planter
    given: dict[Any, Any] = {
        "cx.context.weather": play.chance.choice(
            [f"{planter.word}@example.com", planter.telling() + "x" * 64, planter.thing(), "sunny"]
        ),
        "cx.context.name": planter.text(),
        "cx.quality.clarity": play.chance.choice([0.5, planter.anything()]),
        "cx.touchpoint.first_contact": planter.anything(),
        "session.id": planter.telling(),
        "enduser.pseudo.id": planter.text(),
        "cx.journey.id": planter.text(),
        "user.email": planter.text(),
        planter.text(): planter.anything(),
        f"cx.quality.{planter.telling()}": 0.5,
        f"cx.context.{planter.text()}": "x",
    }
    kept = play.chance.sample(list(given), play.chance.randrange(1, len(given)))
    return {key: given[key] for key in kept}


def interaction(play: Play) -> None:
    """An interaction, which has ``set`` and ``fail`` as a touchpoint has."""
    handle = play.enter(cxtrace.interaction("enter_card"), "interaction")
    if play.chance.random() < 0.5:
        handle.set(attributes(play))
        handle.fail(play.planter.telling())


def signal(name: str) -> Callable[[Play], None]:
    """A signal as a function, or of the touchpoint that is open."""

    def say(play: Play) -> None:
        owner = play.chance.choice([cxtrace, cxtrace.current_touchpoint()])
        said = getattr(owner, name)(**_arguments(play.planter, name))
        if name == "nudge":
            play.tell("the repr of an exposure", repr(said))
            getattr(said, play.chance.choice(sorted(METHODS["Exposure"] - {"labels"})))()

    return say


def decorated(play: Play) -> None:
    """A function with arguments, a return value and an exception that tell somebody."""
    planter = play.planter
    error = trouble(planter) if play.chance.random() < 0.5 else None

    def pay(*args: Any, **kwargs: Any) -> Any:
        if error is not None:
            raise error
        return planter.anything()

    def items(*args: Any, **kwargs: Any) -> Iterator[Any]:
        yield planter.anything()
        pay()

    for noun in (cxtrace.touchpoint("checkout.pay"), cxtrace.interaction("step")):
        with contextlib.suppress(Exception):
            noun(pay)(planter.anything(), card=planter.anything())
        with contextlib.suppress(Exception):
            list(noun(items)(planter.anything()))


def trouble(planter: Planter) -> BaseException:
    """An exception that tells somebody in its text, its cause, its notes and its attributes."""
    kind = planter.chance.choice([TroubleError, KeyError, ValueError, OSError, UnicodeError])
    error: BaseException = kind(planter.quoted(), planter.quoted())
    error.__cause__ = TroubleError(planter.quoted())
    error.__dict__["__notes__"] = [planter.quoted()]
    error.__dict__["customer"] = planter.text()
    return error


def wrap(play: Play) -> None:
    """Work that another thread does under the same context."""
    planter = play.planter
    with contextlib.suppress(Exception):
        cxtrace.wrap(lambda given: cxtrace.emotion(given, source="text"))(planter.anything())
    with cxtrace.ContextThreadPoolExecutor(1) as pool:
        failed = pool.submit(_fails, planter.anything(), trouble(planter))
        failed.exception()


def _fails(given: Any, error: BaseException) -> None:
    with cxtrace.touchpoint("in_a_thread"):
        cxtrace.identify(given)
        raise error


def configure(play: Play) -> None:
    """A setting that is wrong is refused, and a secret is not shown."""
    # Within a capture, configure() itself changes nothing.
    from cxtrace._settings import settle

    settings = [{"key": play.planter.word}, {"key": play.planter.word.encode()}]
    for given in settings:
        try:
            settle(given, {})
        except cxtrace.ConfigurationError as error:
            play.tell("an error of configure()", error)
    cxtrace.configure(key=play.planter.word * 4, service_name="shop")
    for wrong in (cxtrace.touchpoint, cxtrace.journey, cxtrace.interaction):
        with contextlib.suppress(TypeError):
            wrong(lambda: play)  # type: ignore[arg-type]


def look(play: Play) -> None:
    """What is known here, as somebody reads it."""
    play.tell("the repr of the context", repr(cxtrace.current_context()))
    play.tell("the repr of the touchpoint", repr(cxtrace.current_touchpoint()))
    play.tell("the report", repr(cxtrace.report()))
    play.tell("the report as JSON", json.dumps(cxtrace.report().to_dict(), default=str))
    record = logging.LogRecord("host", logging.INFO, "a.py", 1, "paid", None, None)
    ContextFilter().filter(record)
    play.tell("a log record", record.__dict__)
    play.tell("an event of structlog", add_context(None, "info", {}))
    cxtrace.flush(1)


def send(play: Play) -> None:
    """A request to a service of ours, to a stranger, and to somebody unknown."""
    tracer = play.cx.tracer_provider.get_tracer("host")
    for url in DESTINATIONS:
        headers: dict[str, str] = {}
        given = {} if url is None else {"url.full": url}
        with tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=given):
            CXPropagator().inject(headers)
        play.tell(f"headers to {url}", headers)


def stock(play: Play) -> None:
    """A span as stock instrumentation makes it, where spans of others are scrubbed."""
    if not play.is_scrubbed:
        return
    planter = play.planter
    said = {
        "url.full": f"https://{planter.word}@api.example.com/{planter.word}?mail={planter.word}",
        "http.target": f"/users/{planter.digits}?{planter.text()}",
        "db.statement": f"SELECT * FROM users WHERE mail = '{planter.telling()}'",
        "user_agent.original": planter.text(),
        "client.address": planter.text(),
        planter.text(): planter.text(),
    }
    told = {"exception.message": planter.text(), "exception.stacktrace": planter.text()}
    tracer = play.cx.tracer_provider.get_tracer("stock")
    with tracer.start_as_current_span(f"GET /users/{planter.digits}", attributes=said) as span:
        span.add_event("exception", {"exception.type": "ValueError", **told})
        span.add_event(planter.text(), {planter.text(): planter.text()})
        span.set_status(StatusCode.ERROR, planter.text())


CALLS: Final[dict[str, Callable[[Play], None]]] = {
    "ContextThreadPoolExecutor": wrap,
    "CustomerHandle": customer,
    "Exposure": signal("nudge"),
    "InteractionHandle": interaction,
    "JourneyHandle": journey,
    "SpanHandle": interaction,
    "TouchpointHandle": touchpoint,
    "configure": configure,
    "current_context": look,
    "current_touchpoint": look,
    "customer": customer,
    "flush": look,
    "identify": identify,
    "interaction": interaction,
    "journey": journey,
    "report": look,
    "shutdown": lambda play: play.tell("shutdown()", cxtrace.shutdown(1)),
    "touchpoint": touchpoint,
    "walkthrough": walkthrough,
    "wrap": wrap,
    **{name: signal(name) for name in SIGNALS},
}
"""Every public name, with what calls it."""

STEPS: Final = (*CALLS.values(), decorated, stock, send, send, touchpoint, touchpoint, identify)


def unknown() -> list[str]:
    """What is public and not driven here: names, parameters, methods."""
    found = [name for name in cxtrace.__all__ if name not in {**CALLS, **NOTHING_IS_GIVEN}]
    parameters = {**{name: set(given) for name, given in SIGNALS.items()}, **NOUNS}
    for name, known in parameters.items():
        taken = set(inspect.signature(getattr(cxtrace, name)).parameters)
        found += [f"{name}({each}=…)" for each in sorted(taken ^ known)]
    for name, known in METHODS.items():
        kind = getattr(cxtrace, name)
        public = {
            each
            for each in dir(kind)
            if not each.startswith("_")
            and (callable(getattr(kind, each)) or isinstance(getattr(kind, each), property))
        }
        found += [f"{name}.{each}" for each in sorted(public ^ known)]
    return found


# What is searched

NOT_OF_A_CAPTURE: Final = {"record_exceptions", "pseudonymiser", "scrub"}
"""Settings that ``capture()`` does not take."""


@contextmanager
def listening() -> Iterator[list[tuple[str, str]]]:
    """Everything that is logged meanwhile, by anybody, as a handler writes it."""
    found: list[tuple[str, str]] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append((f"a warning of {record.name}", self.format(record)))

    ear, root = Ear(), logging.getLogger()
    ours = logging.getLogger("cxtrace")
    before = root.level, ours.level
    root.addHandler(ear)
    ours.setLevel(logging.DEBUG)
    try:
        yield found
    finally:
        root.removeHandler(ear)
        root.level, ours.level = before


def played(
    settings: Mapping[str, Any],
    steps: list[Callable[[Play], None]],
    planter: Planter,
    *,
    has_key: bool = True,
) -> list[tuple[str, bytes]]:
    """Everything that left, by where it went, after these steps under these settings."""
    provider = LoggerProvider(shutdown_on_exit=False)
    records = InMemoryLogRecordExporter()
    provider.add_log_record_processor(SimpleLogRecordProcessor(records))
    given = {key: each for key, each in settings.items() if key not in NOT_OF_A_CAPTURE}
    scrub, pseudonymiser = settings.get("scrub"), settings.get("pseudonymiser")
    with listening() as logged, capture(**given) as cx:
        runtime: Any = _runtime.current
        runtime.logger_provider = provider
        runtime.record_exceptions = settings.get("record_exceptions")
        planter.quotes = runtime.record_exceptions is not None
        if not has_key:
            runtime.key = runtime.pseudonymiser = None
        runtime.pseudonymiser = pseudonymiser or runtime.pseudonymiser
        play = _play(Play(planter, cx, ExitStack(), scrub is not None), steps)
        look(play)
        spans = [span for span in cx.spans if span.end_time is not None]
        if scrub is not None:
            spans = Scrubber(() if scrub is True else scrub)(spans)
        metrics = cx._providers.reader.get_metrics_data()
    kept = getattr(pseudonymiser, "kept", {})
    texts = [*play.told, *logged, ("the store of pseudonyms", repr(kept))]
    told = [(where, what.encode("utf-8", "surrogatepass")) for where, what in texts]
    return [*told, *_exported(spans, records.get_finished_logs(), metrics)]


def _play(play: Play, steps: list[Callable[[Play], None]]) -> Play:
    error = trouble(play.planter) if play.chance.random() < 0.3 else None
    flown: BaseException | None = None
    try:
        with play.blocks:
            for step in steps:
                step(play)
            if error is not None:
                raise error
    except (TroubleError, LookupError, OSError, ValueError) as caught:
        flown = caught
    assert flown is error, "the host's own exceptions fly out unchanged, and no other"
    return play


def _exported(spans: Any, records: Any, metrics: Any) -> Iterator[tuple[str, bytes]]:
    if spans:
        yield "OTLP of spans", encode_spans(spans).SerializeToString()
        yield "the file of spans", _file_of(spans)
        console = io.StringIO()
        exporters.TreeExporter(console, colour=False, width=200).export(spans)
        yield "the console", console.getvalue().encode("utf-8", "surrogatepass")
        yield "JSON of spans", "".join(span.to_json() for span in spans).encode()
    if records:
        yield "OTLP of logs", encode_logs(records).SerializeToString()
        yield "JSON of logs", "".join(record.to_json() for record in records).encode()
    if metrics is not None:
        yield "OTLP of metrics", encode_metrics(metrics).SerializeToString()
        yield "JSON of metrics", metrics.to_json().encode()


def _file_of(spans: Any) -> bytes:
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        path = Path(folder) / "spans.jsonl"
        FileSpanExporter(path).export(spans)
        return path.read_bytes()


def leaks(planter: Planter, exported: list[tuple[str, bytes]]) -> list[str]:
    """Where a mark stands in what left, in whatever form."""
    forms = list(planter.forms())
    found = []
    for where, what in exported:
        folded = what.lower()
        for how, form in forms:
            at = folded.find(form)
            if at >= 0:
                found.append(f"{where}, {how}: {what[max(at - 60, 0) : at + 60]!r}")
                break
    return found
