"""The tree of a trace: what is drawn, and what a hostile or broken span cannot do to it."""

import io
import sys
import threading
from textwrap import dedent
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExportResult,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from cxtrace._tree import (
    RecordedEvent,
    RecordedSpan,
    can_draw,
    columns,
    draw_trace,
    printable,
)
from cxtrace.exporters import TreeExporter

MS = 10**6
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
STAMP = {
    "cx.journey.name": "first_order",
    "cx.journey.id": "01J9Z6QK4M3T8XQ2VB7N5R1C0D",
    "enduser.pseudo.id": "v1.QdH5T2kqYb8w9fZk",
    "cx.stage.name": "purchase",
    "cx.touchpoint.name": "checkout.pay",
    "cx.owner.function": "payments",
}


def a_span(
    span_id: str, parent: str | None, name: str, start: float, end: float, **more: Any
) -> RecordedSpan:
    """Make a span of the trace, with times in milliseconds."""
    return RecordedSpan(
        more.pop("trace_id", TRACE),
        span_id,
        name,
        int(start * MS),
        int(end * MS),
        parent,
        **{"service_name": "shop", **more},
    )


def an_event(name: str, moment: float, **attributes: Any) -> RecordedEvent:
    """Make an event whose attributes are named below it: ``type`` is ``cx.friction.type``."""
    return RecordedEvent(
        name, int(moment * MS), {f"{name}.{key}": value for key, value in attributes.items()}
    )


def touchpoint(name: str, outcome: str, **attributes: Any) -> dict[str, Any]:
    """Return the attributes of a touchpoint span."""
    own = {"cx.touchpoint.name": name, "cx.touchpoint.outcome": outcome}
    return {**STAMP, **own, **{f"cx.{k.replace('_', '.')}": v for k, v in attributes.items()}}


def checkout() -> list[RecordedSpan]:
    """Return a checkout that runs through two services, shows every outcome and most signals."""
    promise = RecordedEvent(
        "cx.promise.evaluated",
        1239 * MS,
        {
            "cx.promise.id": "pay_fast",
            "cx.promise.result": "broken",
            "cx.promise.delivered": 12.1,
            "cx.promise.target": 10.0,
            "cx.promise.unit": "s",
        },
    )
    return [
        a_span(
            "4",
            "3",
            "POST /charge",
            320,
            1190,
            service_name="payments",
            attributes=STAMP,
            kind="SERVER",
        ),
        a_span(
            "1",
            None,
            "POST /checkout",
            0,
            1240,
            attributes=touchpoint("checkout.pay", "completed", channel_name="web"),
            events=(
                RecordedEvent("cx.journey.start", 0, STAMP),
                RecordedEvent("exception", 5 * MS, {"exception.message": "never drawn"}),
                promise,
                an_event("cx.value", 1238, amount=49.9, currency="EUR", type="revenue"),
            ),
        ),
        a_span(
            "2",
            "1",
            "enter_card_number",
            10,
            300,
            attributes={**STAMP, "cx.interaction.name": "enter_card_number"},
            events=(
                an_event("cx.friction", 200, type="validation_rejected", severity="medium"),
                an_event("cx.emotion", 210, label="frustration", valence=-0.6),
            ),
        ),
        a_span("3", "1", "POST", 310, 1200, attributes=STAMP),
        a_span(
            "5",
            "4",
            "psp.authorise",
            330,
            1180,
            service_name="payments",
            status_code="ERROR",
            attributes={
                **touchpoint("psp.authorise", "failed", owner_function="finance"),
                "error.type": "card_declined",
            },
            events=(
                RecordedEvent(
                    "cx.handoff",
                    1100 * MS,
                    {
                        "cx.handoff.from_function": "finance",
                        "cx.handoff.to_function": "service",
                    },
                ),
            ),
        ),
        a_span("6", "5", "SELECT cards", 335, 335.214, service_name="payments"),
        a_span(
            "7",
            "5",
            "INSERT authorisations",
            340,
            380,
            service_name="payments",
            status_code="ERROR",
        ),
        a_span(
            "8",
            "1",
            "mail.confirmation",
            1210,
            1215,
            attributes=touchpoint(
                "mail.confirmation", "deferred", owner_function="marketing", channel_name="email"
            ),
        ),
        a_span("9", "1", "chat.help", 1216, 1217, attributes=touchpoint("chat.help", "handed_off")),
        a_span(
            "a", "1", "survey.ask", 1218, 1219, attributes=touchpoint("survey.ask", "abandoned")
        ),
    ]


def lines(text: str) -> str:
    """Return a golden drawing without the indentation of the test."""
    return dedent(text).removeprefix("\n")


def tree(spans: list[RecordedSpan], **look: Any) -> list[str]:
    """Return the lines of the tree, without the header."""
    return draw_trace(spans, **look).splitlines()[1:]


def test_a_trace_of_two_services() -> None:
    """Touchpoints, signals in the order of time, foreign spans and the hop stand in one table."""
    assert draw_trace(checkout()) == lines("""
        first_order 01J9Z6…1C0D   customer v1.QdH…9fZk   trace 4bf92f3577b34da6a3ce929d0e0e4736
        ✓ checkout.pay  POST /checkout            1.24 s  purchase  payments   web    completed
        ├─ ▸ journey.start first_order
        ├─ enter_card_number                      290 ms
        │  ├─ ▸ friction validation_rejected medium
        │  └─ ▸ emotion frustration -0.6
        ├─ POST                                   890 ms
        │  └─ POST /charge  @payments             870 ms
        │     └─ ✗ psp.authorise  card_declined   850 ms  purchase  finance           failed
        │        ├─ SELECT cards                  214 µs
        │        ├─ ✗ INSERT authorisations      40.0 ms                              error
        │        └─ ▸ handoff finance to service
        ├─ … mail.confirmation                   5.00 ms  purchase  marketing  email  deferred
        ├─ → chat.help                           1.00 ms  purchase  payments          handed_off
        ├─ ○ survey.ask                          1.00 ms  purchase  payments          abandoned
        ├─ ▸ value revenue 49.9 EUR
        └─ ▸ promise.evaluated pay_fast broken 12.1 of 10 s
        """)


def test_ascii() -> None:
    """Where signs cannot be shown, ASCII ones say the same; at 80 columns the channel goes."""
    assert draw_trace(checkout(), width=80, ascii_only=True) == lines("""
        first_order 01J9Z6~1C0D   customer v1.QdH~9fZk   trace 4bf92f3577b34da6a3ce929d~
        + checkout.pay  POST /checkout           1.24 s  purchase  payments   completed
        |- * journey.start first_order
        |- enter_card_number                     290 ms
        |  |- * friction validation_rejected medium
        |  `- * emotion frustration -0.6
        |- POST                                  890 ms
        |  `- POST /charge  @payments            870 ms
        |     `- x psp.authorise  card_declin~   850 ms  purchase  finance    failed
        |        |- SELECT cards                 214 us
        |        |- x INSERT authorisations     40.0 ms                       error
        |        `- * handoff finance to service
        |- . mail.confirmation                  5.00 ms  purchase  marketing  deferred
        |- > chat.help                          1.00 ms  purchase  payments   handed_off
        |- o survey.ask                         1.00 ms  purchase  payments   abandoned
        |- * value revenue 49.9 EUR
        `- * promise.evaluated pay_fast broken 12.1 of 10 s
        """)


@pytest.mark.parametrize("width", [0, 40, 50, 64, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Columns go and names are cut before a line wraps; below 40 columns nothing narrows."""
    widths = [columns(line) for line in draw_trace(checkout(), width=width).splitlines()]

    assert max(widths) <= max(width, 40)


def test_colour() -> None:
    """Colours say the same as the signs: errors red, foreign spans dim, hurting signals yellow."""
    spans = [
        a_span("1", None, "pay", 0, 2, attributes=touchpoint("pay", "completed")),
        a_span("2", "1", "SELECT", 0, 1),
        a_span("3", "1", "psp", 1, 2, status_code="ERROR", attributes={"error.type": "Timeout"}),
    ]
    friction = RecordedEvent("cx.friction", 2 * MS, {"cx.friction.type": "slow"})
    mention = RecordedEvent("cx.mention", 3 * MS, {"cx.mention.source": "press"})
    spans.append(a_span("4", "1", "step", 2, 3, events=(friction, mention)))

    painted = draw_trace(spans, colour=True)

    assert "\x1b[32m✓ \x1b[0m\x1b[1mpay\x1b[0m" in painted
    assert "\x1b[2mSELECT\x1b[0m" in painted
    assert "\x1b[31m✗ \x1b[0m\x1b[31mpsp\x1b[0m\x1b[31m  Timeout\x1b[0m" in painted
    assert "\x1b[33mfriction slow\x1b[0m" in painted
    assert "\x1b[36mmention press\x1b[0m" in painted


def test_colour_changes_no_column() -> None:
    """Without its colours, a painted tree is the plain tree."""
    painted = draw_trace(checkout(), colour=True)
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m", *(f"\x1b[{n}m" for n in range(30, 38))):
        painted = painted.replace(code, "")

    assert [line.rstrip() for line in painted.splitlines()] == draw_trace(checkout()).splitlines()


def test_control_characters() -> None:
    """No field of a span reaches the terminal raw: not escapes, line breaks, nor turned text."""
    evil = "\x1b]0;owned\x07\r\n\u202e\ud800"
    spans = [
        a_span(
            "1",
            None,
            evil,
            0,
            1,
            service_name=evil,
            status_code="ERROR",
            attributes=dict.fromkeys(
                (*STAMP, "cx.touchpoint.outcome", "cx.channel.name", "error.type"), evil
            ),
            events=(
                RecordedEvent(f"cx.{evil}", 0, {f"cx.{evil}.{evil}": evil}),
                RecordedEvent("cx.friction", 0, {"cx.friction.type": evil}),
            ),
        ),
        a_span("2", "1", evil, 0, 1, attributes={"cx.interaction.name": evil}),
    ]

    drawn = draw_trace(spans, width=1000)

    assert all(line.isprintable() for line in drawn.split("\n"))
    assert r"\x1b]0;owned\x07\r\n\u202e\ud800" in drawn


def test_printable_leaves_text_alone() -> None:
    """Text in any script stays as it is; numbers lose their needless digits."""
    assert [printable(value) for value in ("Köln 東京", 5.0, 49.9, 3, True)] == [
        "Köln 東京",
        "5",
        "49.9",
        "3",
        "True",
    ]


def test_wide_characters_keep_the_columns() -> None:
    """A wide character counts two columns and a combining accent none."""
    drawn = tree(
        [
            a_span("1", None, "東京", 0, 1),
            a_span("2", "1", "e\u0301te\u0301", 0, 1),
            a_span("3", "1", "ete", 0, 1),
        ]
    )

    assert {columns(line) for line in drawn} == {6 + 2 + 7}


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        (-5, "0.00 µs"),
        (340, "0.34 µs"),
        (99_949, "99.9 µs"),
        (MS, "1.00 ms"),
        (12_345_678, "12.3 ms"),
        (980 * MS, "980 ms"),
        (1_240 * MS, "1.24 s"),
        (59_900 * MS, "59.9 s"),
        (125_000 * MS, "2 min 05 s"),
        (3_725_000 * MS, "1 h 02 min"),
    ],
)
def test_durations_have_human_units(nanoseconds: int, shown: str) -> None:
    """A duration has three digits and the unit a person would choose; clock skew shows as zero."""
    span = RecordedSpan(TRACE, "1", "x", 0, nanoseconds)

    assert tree([span]) == [f"x  {shown}"]


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (an_event("cx.feedback", 0, type="csat", score=2, score_max=5.0), "feedback csat 2 of 5"),
        (an_event("cx.feedback", 0, type="review", score_max=5.0), "feedback review of 5"),
        (an_event("cx.feedback", 0, type="csat", score=2), "feedback csat 2"),
        (an_event("cx.complaint", 0, state="opened"), "complaint opened"),
        (an_event("cx.forecast", 0, type="churn", probability=0.31), "forecast churn 0.31"),
        (an_event("cx.touchpoint.abandoned", 0), "touchpoint.abandoned"),
        (an_event("cx.future", 0, kind="new", size=0), "future new 0"),
    ],
)
def test_signals(event: RecordedEvent, shown: str) -> None:
    """A signal shows its main facts; one that this version does not know shows its own."""
    assert tree([a_span("1", None, "x", 0, 1, events=(event,))])[1] == f"└─ ▸ {shown}"


def test_a_touchpoint_still_without_outcome() -> None:
    """A span that bears the name of its touchpoint is one, even before it has an outcome."""
    unfinished = {**STAMP, "cx.touchpoint.name": "cart.view"}

    assert tree([a_span("1", None, "cart.view", 0, 1, attributes=unfinished)]) == [
        "cart.view  1.00 ms  purchase  payments"
    ]


def test_orphans_and_several_traces() -> None:
    """Spans whose parent is missing stand at the left; each trace has its header, oldest first."""
    drawn = draw_trace(
        [
            a_span("3", None, "later", 50, 51, trace_id="b" * 32),
            a_span("2", "gone", "second", 20, 21),
            a_span("1", "gone", "first", 10, 11),
        ]
    )

    assert drawn == lines(f"""
        shop   trace {TRACE}
        first   1.00 ms
        second  1.00 ms

        shop   trace {"b" * 32}
        later  1.00 ms
        """)


def test_parents_that_form_a_loop() -> None:
    """Spans that name each other as parent are each drawn once."""
    drawn = tree([a_span("1", "2", "egg", 0, 1), a_span("2", "1", "hen", 1, 2)])

    assert [line.split()[0] for line in drawn] == ["egg", "└─"]
    assert tree([a_span("1", "1", "self", 0, 1)]) == ["self  1.00 ms"]


def test_a_span_read_twice_is_drawn_once() -> None:
    """The same span in two files is one line."""
    assert len(tree([a_span("1", None, "x", 0, 1)] * 2)) == 1


def test_a_deep_trace_keeps_its_names() -> None:
    """A trace of a thousand levels neither exhausts the stack nor hides the names."""
    spans = [a_span(str(level), str(level - 1), f"L{level}", level, 9999) for level in range(1000)]

    drawn = tree(spans)

    assert len(drawn) == 1000
    assert drawn[-1].startswith("…")
    assert "L999" in drawn[-1]


def test_nothing_to_draw() -> None:
    """No spans, no text."""
    assert draw_trace([]) == ""


def test_repr_leaves_out_what_a_span_says() -> None:
    """The repr of a span names it without its attributes and events."""
    span = a_span("1", None, "x", 0, 1, attributes={"secret": "s3cret"})

    assert "s3cret" not in repr(span)


@pytest.mark.parametrize(
    ("encoding", "able"), [("utf-8", True), ("ascii", False), ("latin-1", False), ("bogus", False)]
)
def test_can_draw(encoding: str, able: bool) -> None:
    """Only an encoding that has every sign gets them."""
    assert can_draw(encoding) is able


# The exporter


class Ids(IdGenerator):
    """Identifiers 1, 2, 3, … so that drawings repeat."""

    def __init__(self) -> None:
        self.last = 0

    def generate_span_id(self) -> int:
        self.last += 1
        return self.last

    def generate_trace_id(self) -> int:
        self.last += 1
        return self.last


def provider_of(exporter: TreeExporter) -> TracerProvider:
    """Return a private provider that exports at once."""
    provider = TracerProvider(
        resource=Resource({"service.name": "shop"}), id_generator=Ids(), shutdown_on_exit=False
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def remote_parent() -> Any:
    """Return a context whose current span lives in another process."""
    there = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))
    return trace.set_span_in_context(NonRecordingSpan(there))


def names(stream: io.StringIO) -> list[str]:
    """Return the span names printed so far."""
    printed = [line for line in stream.getvalue().splitlines() if " trace " not in line]
    return [line.strip("├└│─ ").split()[0] for line in printed if line]


def test_a_trace_is_printed_once_its_root_has_ended() -> None:
    """Children wait for the root; then the whole tree comes at once."""
    stream = io.StringIO()
    tracer = provider_of(TreeExporter(stream)).get_tracer("test")

    with tracer.start_as_current_span("root") as root:
        root.add_event("cx.friction", {"cx.friction.type": "slow"})
        with tracer.start_as_current_span("child"):
            pass
        assert stream.getvalue() == ""

    assert names(stream) == ["root", "▸", "child"]
    assert stream.getvalue().startswith("shop   trace 00000000000000000000000000000001\n")
    assert stream.getvalue().endswith("ms\n\n") or stream.getvalue().endswith("µs\n\n")


def test_a_remote_parent_makes_a_local_root() -> None:
    """A span whose parent is in another process ends the local trace, and takes only its own."""
    stream = io.StringIO()
    tracer = provider_of(TreeExporter(stream)).get_tracer("test")

    one = tracer.start_span("one", remote_parent())
    two = tracer.start_span("two", remote_parent())
    tracer.start_span("below-two", trace.set_span_in_context(two)).end()
    one.end()
    assert names(stream) == ["one"]
    two.end()

    assert names(stream) == ["one", "two", "below-two"]


def test_orphans_come_with_flush_and_shutdown() -> None:
    """Spans whose root never ends are printed on force_flush and on shutdown, each once."""
    stream = io.StringIO()
    exporter = TreeExporter(stream)
    tracer = provider_of(exporter).get_tracer("test")
    context = trace.set_span_in_context(tracer.start_span("never ends"))

    tracer.start_span("first", context).end()
    assert exporter.force_flush() is True
    assert names(stream) == ["first"]
    tracer.start_span("second", context).end()
    exporter.shutdown()
    exporter.shutdown()

    assert names(stream) == ["first", "second"]


def test_memory_is_bounded() -> None:
    """When too many spans wait for their roots, the oldest trace is printed without its root."""
    stream = io.StringIO()
    tracer = provider_of(TreeExporter(stream, max_spans=3)).get_tracer("test")
    contexts = [trace.set_span_in_context(tracer.start_span("open")) for _ in range(2)]

    for number in range(5):
        tracer.start_span(f"s{number}", contexts[number // 2 % 2]).end()

    assert names(stream) == ["s0", "s1"]


def test_after_shutdown_nothing_is_printed() -> None:
    """A span that comes after shutdown is a failure, not an exception."""
    stream = io.StringIO()
    exporter = TreeExporter(stream)
    exporter.shutdown()

    assert exporter.export([]) is SpanExportResult.FAILURE
    assert stream.getvalue() == ""


class Pipe(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("kind", ["closed", "broken", "none"])
def test_a_broken_stream_is_a_failure(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed stream, a broken pipe or no standard output at all raises nothing."""
    stream = Pipe() if kind == "broken" else io.StringIO()
    if kind == "closed":
        stream.close()
    if kind == "none":
        monkeypatch.setattr(sys, "stderr", None)
    results: list[SpanExportResult] = []
    exporter = TreeExporter(None if kind == "none" else stream)
    export = exporter.export
    monkeypatch.setattr(exporter, "export", lambda spans: results.append(export(spans)))

    provider_of(exporter).get_tracer("test").start_span("x").end()

    assert results == [SpanExportResult.FAILURE]
    assert exporter.force_flush() is False


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "colour", "environment", "painted"),
    [
        (Terminal, None, {}, True),
        (Terminal, None, {"NO_COLOR": "1"}, False),
        (Terminal, None, {"TERM": "dumb"}, False),
        (Terminal, False, {}, False),
        (io.StringIO, None, {}, False),
        (io.StringIO, True, {"NO_COLOR": "1"}, True),
    ],
)
def test_when_to_paint(
    stream: type[io.StringIO],
    colour: bool | None,
    environment: dict[str, str],
    painted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only a terminal is painted, unless the user asks otherwise."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out = stream()

    provider_of(TreeExporter(out, colour=colour)).get_tracer("test").start_span("x").end()

    assert ("\x1b[" in out.getvalue()) is painted


def test_a_stream_that_cannot_show_the_signs() -> None:
    """An ASCII stream gets ASCII lines, and names it cannot show are written out."""
    raw = io.BytesIO()
    tracer = provider_of(TreeExporter(io.TextIOWrapper(raw, encoding="ascii"))).get_tracer("test")

    with tracer.start_as_current_span("Köln"), tracer.start_as_current_span("child"):
        pass

    printed = raw.getvalue().decode("ascii")
    assert "K\\xf6ln" in printed
    assert "`- child" in printed


def test_standard_error_is_the_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a stream the tree goes to what standard error is then, as wide as the terminal."""
    monkeypatch.setenv("COLUMNS", "50")
    provider_of(TreeExporter()).get_tracer("test").start_span("x" * 90).end()

    assert {len(line) for line in capsys.readouterr().err.splitlines()} == {45, 50, 0}


def test_threads() -> None:
    """Trees of many threads come whole and none is lost."""
    stream = io.StringIO()
    provider = provider_of(TreeExporter(stream))
    provider.add_span_processor(BatchSpanProcessor(TreeExporter(io.StringIO())))
    tracer = provider.get_tracer("test")

    def work(name: str) -> None:
        for _ in range(50):
            with tracer.start_as_current_span(f"{name}-root"):
                tracer.start_span(f"{name}-child").end()

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    provider.shutdown()

    printed = names(stream)
    assert len(printed) == 400
    assert all(
        root.replace("root", "child") == child
        for root, child in zip(printed[::2], printed[1::2], strict=True)
    )


def test_fork_while_a_tree_is_printed() -> None:
    """A child does not wait for the parent's lock, and does not print what the parent holds."""
    stream = io.StringIO()
    exporter = TreeExporter(stream)
    exporter._lock.acquire()
    exporter.after_fork()
    provider_of(exporter).get_tracer("test").start_span("child").end()

    assert "child" in stream.getvalue()
