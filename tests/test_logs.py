"""Log records say whose journey they are about, and are else what the host made them."""

import io
import json
import logging
import logging.config
import logging.handlers
import queue
import warnings
from types import MappingProxyType
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.trace import get_current_span

from cxtrace import _guard, customer, identify, journey, touchpoint
from cxtrace.logs import ContextFilter, add_context

TAGS = {
    "cx.journey.name": "first_order",
    "cx.journey.id": "j1",
    "cx.stage.name": "purchase",
    "cx.touchpoint.name": "checkout.pay",
    "cx.owner.function": "product",
}
FIELDS = {
    "trace_id",
    "span_id",
    "cx_journey_name",
    "cx_journey_id",
    "cx_stage_name",
    "cx_touchpoint_name",
    "cx_owner_function",
    "enduser_pseudo_id",
}


class Paying:
    """A customer on a journey at a touchpoint."""

    def __init__(self, consent: Any = "granted") -> None:
        self._blocks = [
            journey("first_order", id="j1"),
            customer("cust-42", consent=consent),
            touchpoint("checkout.pay", stage="purchase", owner="product"),
        ]

    def __enter__(self) -> "Paying":
        for block in self._blocks:
            block.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for block in reversed(self._blocks):
            block.__exit__(*error)


def ids() -> dict[str, str]:
    """Trace and span that are current, as OpenTelemetry writes them."""
    span = get_current_span().get_span_context()
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}


def event(**given: Any) -> dict[str, Any]:
    """What the processor makes of an event."""
    return dict(add_context(None, "info", {"event": "paid", **given}))


def plain(**extra: Any) -> logging.LogRecord:
    """A record as the host makes it."""
    logger = logging.getLogger("shop")
    return logger.makeRecord("shop", logging.INFO, "shop.py", 7, "paid", (), None, extra=extra)


def record(*filters: ContextFilter, **extra: Any) -> logging.LogRecord:
    """A record that has gone through the filters, or else through one as it comes."""
    made = plain(**extra)
    for each in filters or (ContextFilter(),):
        assert each.filter(made) is True
    return made


def added(made: logging.LogRecord) -> dict[str, Any]:
    """What a record has beside what any record has."""
    return {key: value for key, value in vars(made).items() if key not in vars(plain())}


# structlog


def test_an_event_in_a_touchpoint(cx) -> None:
    """It says trace, span, journey, stage, touchpoint, owner and pseudonym."""
    with Paying():
        expected = {"event": "paid", **ids(), **TAGS, "enduser.pseudo.id": cx.pseudonym("cust-42")}

        assert event() == expected


def test_an_event_outside_of_everything(cx) -> None:
    """Where nothing is known nothing is added."""
    assert event() == {"event": "paid"}


def test_an_event_in_a_span_of_others(cx) -> None:
    """Without a touchpoint it says which trace it belongs to, and no more."""
    with cx.tracer.start_as_current_span("GET"):
        assert event() == {"event": "paid", **ids()}


def test_an_event_in_a_journey_alone(cx) -> None:
    """Without a span it says what is known, and no empty key."""
    with journey("first_order", id="j1"):
        expected = {"cx.journey.name": "first_order", "cx.journey.id": "j1"}

        assert event() == {"event": "paid", **expected}


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
def test_without_consent_an_event_links_nothing(cx, consent: str) -> None:
    """Who refused has neither pseudonym nor journey id in a log."""
    with Paying(consent):
        found = event()

    assert set(found) - {"event", "trace_id", "span_id"} == set(TAGS) - {"cx.journey.id"}


def test_a_customer_who_is_known_late(cx) -> None:
    """From then on the events have the pseudonym."""
    with touchpoint("account.login"):
        before = event()
        identify("cust-42", consent="granted")
        after = event()

    assert "enduser.pseudo.id" not in before
    assert after["enduser.pseudo.id"] == cx.pseudonym("cust-42")


def test_what_an_event_has_stays(cx) -> None:
    """Keys of the host are kept, empty ones too."""
    own = {"trace_id": "mine", "cx.stage.name": None, "cx.journey.id": ""}
    with Paying():
        found = event(**own)

    assert {key: found[key] for key in own} == own
    assert found["cx.touchpoint.name"] == "checkout.pay"


def test_the_event_itself_is_returned(cx) -> None:
    """The processor changes the event in place, as structlog's own do."""
    given: dict[str, Any] = {"event": "paid"}

    with Paying():
        assert add_context(None, "info", given) is given


def test_an_event_that_cannot_be_changed(cx) -> None:
    """It is returned as it is; the error is counted and does not reach the host."""
    frozen: Any = MappingProxyType({"event": "paid"})

    with Paying():
        assert add_context(None, "info", frozen) is frozen
    assert _guard.counts() == {"errors.logs": 1}


def test_structlog_itself(cx) -> None:
    """In a chain of structlog the line has the keys."""
    structlog = pytest.importorskip("structlog", reason="the extra structlog is not installed")
    printed = io.StringIO()
    logger = structlog.wrap_logger(
        structlog.PrintLogger(printed),
        processors=[add_context, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.BoundLogger,
    )

    with Paying():
        logger.info("paid", amount=49.9)

    line = json.loads(printed.getvalue())
    assert {key: line[key] for key in TAGS} == TAGS
    assert line["amount"] == 49.9


# logging


def test_a_record_in_a_touchpoint(cx) -> None:
    """It has every field, under names that a format can use."""
    with Paying():
        expected = {
            **ids(),
            **{key.replace(".", "_"): value for key, value in TAGS.items()},
            "enduser_pseudo_id": cx.pseudonym("cust-42"),
        }

        assert added(record()) == expected


def test_a_record_outside_of_everything(cx) -> None:
    """It has every field, each empty."""
    assert added(record()) == dict.fromkeys(FIELDS, "")


@pytest.mark.parametrize("style", ["%", "{", "$"])
def test_a_format_never_fails(cx, style: Any) -> None:
    """In each style of format the fields can be named, in a touchpoint and outside."""
    form = {"%": "%(cx_journey_id)s|%(trace_id)s", "{": "{cx_journey_id}|{trace_id}"}
    formatter = logging.Formatter(form.get(style, "$cx_journey_id|$trace_id"), style=style)

    with Paying():
        inside, trace = formatter.format(record()), ids()["trace_id"]

    assert inside == f"j1|{trace}"
    assert formatter.format(record()) == "|"


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
def test_without_consent_a_record_links_nothing(cx, consent: str) -> None:
    """The fields of who refused are empty, or not there."""
    with Paying(consent):
        fields, attributes = added(record()), added(record(ContextFilter(otlp=True)))

    assert fields["cx_journey_id"] == fields["enduser_pseudo_id"] == ""
    assert set(attributes) == set(TAGS) - {"cx.journey.id"}


def test_what_a_record_has_stays(cx) -> None:
    """Fields of the host are kept, empty ones too; so two filters do no harm."""
    with Paying():
        made = record(ContextFilter(), ContextFilter(), trace_id="mine", cx_journey_id=None)

    assert made.__dict__["trace_id"] == "mine"
    assert made.__dict__["cx_journey_id"] is None
    assert made.__dict__["cx_journey_name"] == "first_order"


def test_a_record_that_cannot_be_changed(cx) -> None:
    """It passes all the same; the error is counted and does not reach the host."""
    broken: Any = object()

    assert ContextFilter().filter(broken) is True
    assert _guard.counts() == {"errors.logs": 1}


def test_a_filter_that_is_configured(cx) -> None:
    """``dictConfig`` can make it, and levels and handlers stay what they were."""
    stream = io.StringIO()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"cx": {"()": "cxtrace.logs.ContextFilter"}},
            "formatters": {"line": {"format": "%(levelname)s %(cx_touchpoint_name)s %(message)s"}},
            "handlers": {
                "out": {
                    "class": "logging.StreamHandler",
                    "stream": stream,
                    "filters": ["cx"],
                    "formatter": "line",
                    "level": "WARNING",
                }
            },
            "loggers": {"shop": {"handlers": ["out"], "level": "INFO"}},
        }
    )
    logger = logging.getLogger("shop.checkout")
    try:
        with Paying():
            logger.info("too quiet")
            logger.warning("card declined")
        logger.warning("done")
    finally:
        logging.getLogger("shop").handlers.clear()

    assert stream.getvalue() == "WARNING checkout.pay card declined\nWARNING  done\n"


def test_a_queue_between(cx) -> None:
    """With a queue, the filter of its handler runs where the record was made."""
    waiting: queue.Queue[Any] = queue.Queue()
    handler = logging.handlers.QueueHandler(waiting)
    handler.addFilter(ContextFilter())
    with Paying():
        handler.handle(plain())

    assert waiting.get_nowait().cx_journey_id == "j1"


# OTLP


class Sent:
    """A provider of logs that keeps what it is given."""

    def __init__(self) -> None:
        self.exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))

    def only(self) -> Any:
        """The one record that was sent."""
        (found,) = self.exporter.get_finished_logs()
        return found.log_record


def handler_of(package: str, provider: LoggerProvider) -> logging.Handler:
    """OpenTelemetry's handler, of the instrumentation or the one that the SDK still has."""
    module = pytest.importorskip(package, reason=f"{package} is not installed")
    if not hasattr(module, "LoggingHandler"):
        pytest.skip("this version has no handler")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made: logging.Handler = module.LoggingHandler(logger_provider=provider)
    return made


@pytest.mark.parametrize(
    "package", ["opentelemetry.sdk._logs", "opentelemetry.instrumentation.logging.handler"]
)
def test_records_over_otlp(cx, package: str) -> None:
    """A record that OpenTelemetry sends has the span's own names, and the span in its own place."""
    sent = Sent()
    handler = handler_of(package, sent.provider)
    handler.addFilter(ContextFilter(otlp=True))

    with Paying():
        handler.handle(plain(amount=49.9))
        trace, span = ids().values()

    found = sent.only()
    ours = {**TAGS, "enduser.pseudo.id": cx.pseudonym("cust-42")}
    codes = {key for key in found.attributes if key.startswith("code.")}
    assert {key: found.attributes[key] for key in set(found.attributes) - codes} == {
        **ours,
        "amount": 49.9,
    }
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}") == (trace, span)


def test_a_record_over_otlp_outside_of_everything(cx) -> None:
    """Nothing is added to what is about no customer."""
    assert added(record(ContextFilter(otlp=True))) == {}


def test_events_of_structlog_over_otlp(cx) -> None:
    """OpenTelemetry's processor for structlog sends what ours has added before it."""
    package = "opentelemetry.instrumentation.structlog"
    module = pytest.importorskip(package, reason=f"{package} is not installed")
    sent = Sent()
    send = module.StructlogProcessor(sent.provider)

    with Paying():
        send(None, "info", add_context(None, "info", {"event": "paid"}))
        expected = {**ids(), **TAGS, "enduser.pseudo.id": cx.pseudonym("cust-42")}

    assert dict(sent.only().attributes) == expected
