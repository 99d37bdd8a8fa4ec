"""``cxtrace view`` shows the journeys of a recording."""

import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace import attributes as names
from cxtrace.cli import main
from cxtrace.exporters import Recording
from cxtrace.platform.view import page as view_page
from cxtrace.platform.view import waterfall
from cxtrace.platform.view.page import html
from cxtrace.platform.view.ways import ways
from tests.living import RecordedSpan, event, large_map, lived, visit, write_spans
from tests.test_live import hostile
from tests.test_pages import elements, read

Run = Callable[..., tuple[int, str, str]]
IN = {names.JOURNEY_ID: "j1", names.JOURNEY_NAME: "first_order"}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """A function that runs ``cxtrace view`` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["view", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def below(span: RecordedSpan, number: int, **told: object) -> RecordedSpan:
    """A span of somebody else's below another."""
    return RecordedSpan(
        trace_id=span.trace_id,
        span_id=f"{number:016x}",
        name=str(told.pop("name", "SELECT shop.db")),
        start_ns=span.start_ns + 1000,
        end_ns=span.end_ns - 1000,
        parent_id=span.span_id,
        status_code=str(told.pop("status", "UNSET")),
        service_name=str(told.pop("service", "shop")),
        attributes=told,
    )


def shown(*spans: RecordedSpan, skipped: int = 0) -> str:
    """The text of the page of some spans."""
    return read(html(Recording(spans, skipped), "shop.jsonl")).text


def test_a_journey_goes_across_its_traces() -> None:
    """Traces of one journey stand together, in order, with the pause and the change of hands."""
    first = visit(1, **IN)
    second = visit(7, **{**IN, names.OWNER_FUNCTION: "finance", names.TOUCHPOINT_OUTCOME: "failed"})
    end = event(names.EVENT_JOURNEY_END, 1, **{names.JOURNEY_OUTCOME: "failed"})
    third = visit(8, events=[end], **IN)

    text = shown(third, first, second)

    assert "first_order✗ failed3 visits in 3 traces✗ 1 hurt" in text
    assert "58 s later" in text
    assert "product → finance" in text
    assert text.index("00000000 · 2.0 s · 2027-01-15 08:00:10.000") < text.index("08:01:10.000")


def test_spans_of_others_are_shown_below() -> None:
    """Interactions, databases and other services stand where they happened, with their errors."""
    parent = visit(1, **IN)
    text = shown(
        parent,
        below(parent, 21),
        below(parent, 22, **{names.INTERACTION_NAME: "confirm"}),
        below(parent, 23, name="POST", status="ERROR", service="bank", **{names.ERROR_TYPE: "504"}),
    )

    assert "SELECT shop.db" in text
    assert "confirm" in text
    assert "✗ 504 @bank" in text


def test_signals_stand_where_they_happened() -> None:
    """A friction is marked as what went wrong, and another signal is not."""
    friction = event(names.EVENT_FRICTION, 11, **{names.FRICTION_TYPE: "slow"})
    mention = event(names.EVENT_MENTION, 11, **{names.MENTION_SOURCE: "friends"})

    text = shown(visit(1, events=[friction, mention], **IN))

    assert "▲ friction slow" in text
    assert "◆ mention friends" in text
    assert "▲ 1 friction" in text


def test_a_span_goes_with_the_journey_of_its_trace() -> None:
    """What names no journey goes with most of its trace; what names another, with that."""
    parent = visit(1, **IN)
    other = below(parent, 3, **{names.JOURNEY_ID: "j2"})

    found = ways([parent, below(parent, 2, **IN), below(parent, 4), other])

    assert [(way.id, way.name, len(way.spans)) for way in found.journeys] == [
        ("j1", "first_order", 3),
        ("j2", "", 1),
    ]


def test_visits_outside_of_journeys_are_listed_by_trace() -> None:
    """A touchpoint needs no journey; traces without any touchpoint are counted and left out."""
    alone = below(visit(5), 9)

    text = shown(visit(1), alone, skipped=2)

    assert "no journey" in text
    assert "1 span of traces without a touchpoint are left out" in text
    assert "2 lines could not be read" in text


def test_a_recording_without_touchpoints() -> None:
    """The page says so, and is whole."""
    assert "There is no touchpoint in it" in shown(below(visit(5), 9))


def test_what_is_left_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journeys and spans beyond the limits are counted, and hurt customers come first."""
    monkeypatch.setattr(view_page, "MOST_JOURNEYS", 3)
    monkeypatch.setattr(view_page, "MOST_ROWS", 5)
    monkeypatch.setattr(waterfall, "MOST_ROWS", 2)
    calm = [visit(n, **{names.JOURNEY_ID: f"calm{n}"}) for n in range(3)]
    failed = {names.TOUCHPOINT_OUTCOME: "failed", names.JOURNEY_ID: "hurt"}
    hurt = visit(8, **failed)
    more = [below(hurt, 100 + n) for n in range(3)]

    text = shown(*calm, hurt, *more)

    assert "1 more journeys are left out; a page lists 3." in text
    assert "1 journeys are listed without their spans" in text
    assert "2 more spans and signals of this trace are not shown" in text
    assert "hurt" in text
    assert "Its spans are not on this page." in text


def test_a_time_that_no_calendar_has() -> None:
    """A broken clock does not keep anybody from the page."""
    span = RecordedSpan("a", "b", "x", 10**30, 10**30 + 1, attributes=visit(1).attributes)

    assert "at no time that there is" in shown(span)


def test_many_changes_of_hands_are_cut_in_the_middle() -> None:
    """A way through eighty hands is not spelt out."""
    owners = [
        visit(n, **{**IN, names.OWNER_FUNCTION: "ab"[n % 2], names.STAGE_NAME: "s"})
        for n in range(80)
    ]

    assert "In the hands of a → b" in shown(*owners)
    assert "→ … →" in shown(*owners)


@pytest.mark.parametrize("missing", [names.STAGE_NAME, names.OWNER_FUNCTION])
def test_a_visit_that_lacks_something(missing: str) -> None:
    """A touchpoint without stage or owner is shown all the same."""
    span = visit(1, **IN)
    attributes = {key: value for key, value in span.attributes.items() if key != missing}
    bare = RecordedSpan(span.trace_id, span.span_id, "x", 0, 10, attributes=attributes)

    assert "checkout.pay" in shown(bare)


@given(st.lists(hostile, min_size=4, max_size=4))
def test_no_text_becomes_markup(texts: list[str]) -> None:
    """Whatever spans say, the page has the same elements as with harmless words."""

    def page(words: list[str]) -> list[tuple[str, ...]]:
        one, two, three, four = words
        told = {
            names.TOUCHPOINT_NAME: one,
            names.STAGE_NAME: f"{two}s",
            names.OWNER_FUNCTION: f"{three}o",
            names.TOUCHPOINT_OUTCOME: f"{four}e",
            names.JOURNEY_NAME: f"{one}n",
            names.JOURNEY_ID: f"{two}i",
        }
        friction = event(names.EVENT_FRICTION, **{names.FRICTION_TYPE: f"{three}f"})
        return elements(html(Recording((visit(1, events=[friction], **told),)), two, "http://j"))

    assert page([f"{text}<b>'\"" for text in texts]) == page(["a", "b", "c", "d"])


def test_the_page_is_written_here(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named after the recording, its path printed, and opened where that is wished."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    file = tmp_path / "in" / "shop.jsonl"
    file.parent.mkdir()
    write_spans(file, lived(large_map(25, 4), 50))

    assert run(file, "--open", "--jaeger", "https://jaeger") == (0, "shop.html\n", "")

    page = tmp_path / "shop.html"
    assert opened == [page.as_uri()]
    assert "https://jaeger/trace/" in page.read_text(encoding="utf-8")


def test_wrong_use(run: Run, tmp_path: Path) -> None:
    """What is missing is said in one sentence."""
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    file = tmp_path / "shop.jsonl"
    write_spans(file, iter([visit(1)]))

    assert run(empty)[0::2] == (1, f"cxtrace view: there is no span in {empty}\n")
    assert run("none.jsonl")[0] == 2
    assert run(file, "--jaeger", "jaeger")[0] == 2
    assert "it is a folder; name a file" in run(file, "-o", tmp_path)[2]
    assert (
        run(tmp_path)[2]
        == f"cxtrace view: {tmp_path} cannot be read: it is a folder; name a file\n"
    )
    assert run(file, "-o", "new/page.html")[:2] == (0, "new/page.html\n")


def test_a_recording_is_not_written_over(run: Run, tmp_path: Path) -> None:
    """The page does not take the place of what it shows, and broken lines are told of."""
    path = tmp_path / "spans.html"
    write_spans(path, iter([visit(1)]))
    before = path.read_bytes()
    torn = tmp_path / "torn.jsonl"
    torn.write_text("{\n[\n", encoding="utf-8")

    assert run(path)[0::2] == (
        2,
        "cxtrace view: spans.html is what is read: name another file with -o\n",
    )
    assert path.read_bytes() == before
    assert run(torn)[0::2] == (
        1,
        f"cxtrace view: there is no span in {torn}; 2 lines are no OTLP JSON\n",
    )
