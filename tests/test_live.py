"""The living map: what was measured, laid over what was planned."""

import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace import attributes as names
from cxtrace._tree import RecordedSpan
from cxtrace.cli import _drawing, _living, main
from cxtrace.exporters import read_spans
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.live import diagram, recordings, stores, words
from cxtrace.platform.live.data import data
from cxtrace.platform.live.measured import Kept, LiveMap, measured
from cxtrace.platform.live.page import html
from cxtrace.platform.live.spread import Spread, from_cumulative, together
from cxtrace.platform.live.tally import Tally
from tests.living import event, large_map, lived, visit, write_spans
from tests.test_pages import elements

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "journeys.toml"
PAY = "checkout.pay"
SHOP = JourneyMap.load(EXAMPLE)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """A function that runs ``cxtrace map`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["map", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def shop() -> JourneyMap:
    """The map of the examples."""
    return JourneyMap.load(EXAMPLE)


def of_pay(*visits: dict[str, object]) -> Tally:
    """Visits to one touchpoint, counted."""
    return recordings.from_spans(visit(n, **told) for n, told in enumerate(visits))


def promise(result: str, gap: float | None = None) -> object:
    """What became of the promise to be fast."""
    told: dict[str, object] = {names.PROMISE_ID: "pay_fast", names.PROMISE_RESULT: result}
    return event(
        names.EVENT_PROMISE_EVALUATED, **told, **({} if gap is None else {names.PROMISE_GAP: gap})
    )


# Spreads


def test_quantiles_of_known_values_are_exact() -> None:
    """Half of four values lies in the middle between the second and the third."""
    assert Spread((4.0, 1.0, 2.0, 3.0)).quantile(0.5) == 2.5
    assert Spread((7.0,)).quantile(0.9) == 7.0
    assert Spread().quantile(0.5) is None
    assert Spread().count == 0


def test_quantiles_of_buckets_are_those_of_prometheus() -> None:
    """Within a bucket the estimate goes in a straight line; above all boundaries it stops there."""
    spread = from_cumulative({1.0: 10, 2.0: 20, math.inf: 20})

    assert spread.quantile(0.75) == 1.5
    assert spread.quantile(0.25) == 0.5
    assert from_cumulative({1.0: 0, math.inf: 4}).quantile(0.9) == 1.0
    assert from_cumulative({1.0: 0, math.inf: 0}).quantile(0.9) is None


def test_spreads_are_put_together() -> None:
    """Buckets and single values of several touchpoints become one spread."""
    spread = together([Spread((1.5,)), from_cumulative({1.0: 3}), from_cumulative({1.0: 2})])

    assert spread.count == 6
    assert spread.quantile(1.0) == 1.5


# Spans


def test_visits_are_counted_by_outcome(shop: JourneyMap) -> None:
    """Each span that ended a touchpoint is a visit; those below it are none."""
    tally = recordings.from_spans(
        [
            visit(1),
            visit(2, **{names.TOUCHPOINT_OUTCOME: "failed"}),
            visit(3, **{names.TOUCHPOINT_OUTCOME: "abandoned", "seconds": 8}),
            RecordedSpan("a", "b", "SELECT", 0, 1, attributes={names.TOUCHPOINT_NAME: PAY}),
        ]
    )

    found = measured(shop, tally).touchpoints[PAY]

    assert found.outcomes == {"abandoned": 1, "completed": 1, "failed": 1}
    assert (found.visits, found.p50, found.hurt) == (3, 2.0, 2 / 3)
    assert measured(shop, tally).stages["purchase"].visits == 3
    assert measured(shop, tally).owners["product"].visits == 3
    assert measured(shop, tally).cells["purchase", "it"].hurt is None


def test_walkthroughs_are_not_counted() -> None:
    """Nobody was served in a rehearsal."""
    assert of_pay({names.SYNTHETIC_TYPE: "test"}).visits == 0


def test_promises_are_counted_by_result(shop: JourneyMap) -> None:
    """What could not be measured is neither kept nor broken; the gap is a mean."""
    results = [promise("kept", 0.0), promise("broken", 0.5), promise("unmeasured")]
    tally = of_pay({"events": results})

    kept = measured(shop, tally).promises["pay_fast"]

    assert kept.results == {"kept": 1, "broken": 1, "unmeasured": 1}
    assert (kept.evaluated, kept.share, kept.gap, kept.is_short) == (2, 0.5, 0.25, True)
    assert not measured(shop, tally).promises["refund_7d"].is_short
    assert measured(shop, tally).broken_at(PAY)[0][0].id == "pay_fast"


def test_a_promise_without_an_objective_must_always_be_kept() -> None:
    """One broken promise of many is one too many, where the map allows for none."""
    assert Kept({"kept": 99, "broken": 1}, None, None).is_short
    assert not Kept({"kept": 99, "broken": 1}, None, 0.99).is_short


def test_verdicts_show_where_functions_disagree(shop: JourneyMap) -> None:
    """The same visit makes one function happy and another not, though the promise was broken."""
    tally = of_pay(
        {
            "events": [promise("broken", 1.0)],
            f"{names.FUNCTION_HAPPY}.it": True,
            f"{names.FUNCTION_HAPPY}.sales": False,
        },
        {f"{names.FUNCTION_HAPPY}.it": False},
    )

    live = measured(shop, tally)

    assert live.verdicts["purchase"]["it"].share == 0.5
    assert live.verdicts_at[PAY]["sales"].share == 0
    assert {name: each.share for name, each in live.despite.items()} == {"it": 1, "sales": 0}


def test_value_is_shared_out_by_influence(shop: JourneyMap) -> None:
    """As the metric does it: amount times influence; the owner has it all where none is known."""
    told = {
        names.VALUE_TYPE: "revenue",
        names.VALUE_AMOUNT: 50.0,
        names.VALUE_CURRENCY: "EUR",
        names.STAGE_NAME: "purchase",
        names.OWNER_FUNCTION: "product",
    }
    shares = {f"{names.OWNER_INFLUENCE}.it": 0.4, f"{names.OWNER_INFLUENCE}.product": 0.6}
    value = event(names.EVENT_VALUE, **told)
    tally = of_pay({"events": [value], **shares}, {"events": [value]})

    live = measured(shop, tally)

    assert live.owners["it"].value == {("revenue", "EUR"): 20.0}
    assert live.owners["product"].value == {("revenue", "EUR"): 80.0}
    assert live.stages["purchase"].value == {("revenue", "EUR"): 100.0}


def test_journeys_and_waits_lie_between_spans(shop: JourneyMap) -> None:
    """A journey lasts from its start to its end; a hand-off until the function that takes over."""
    journey = {names.JOURNEY_ID: "j1", names.JOURNEY_NAME: "first_order"}
    hands = {names.HANDOFF_FROM_FUNCTION: "product", names.HANDOFF_TO_FUNCTION: "finance"}
    waited = {names.EFFORT_WAIT_TIME: 60.0}
    ended = event(names.EVENT_JOURNEY_END, 95, **{names.JOURNEY_OUTCOME: "achieved"})
    tally = recordings.from_spans(
        [
            visit(0, events=[event(names.EVENT_JOURNEY_START, 0)], **journey),
            visit(1, events=[event(names.EVENT_HANDOFF, 12, **hands)], **journey),
            visit(9, events=[ended], **{**journey, names.OWNER_FUNCTION: "finance"}),
            visit(10, events=[event(names.EVENT_HANDOFF, 100, **hands, **waited)]),
            visit(11, events=[event(names.EVENT_HANDOFF, 110, **hands), ended]),
        ]
    )

    live = measured(shop, tally)

    (handoff,) = live.handoffs
    assert (handoff.giver, handoff.taker, handoff.count) == ("product", "finance", 2)
    assert handoff.p50 == (60 + 78) / 2
    walked = live.journeys["first_order"]
    assert (walked.outcomes, walked.p50) == ({"achieved": 1}, 95)
    assert walked.visits == {PAY: 3}


def test_the_trace_to_look_at_is_one_that_went_wrong() -> None:
    """A short visit that failed says more than a long one that did not."""
    tally = of_pay(
        {"trace_id": "a", "seconds": 9},
        {"trace_id": "b", names.TOUCHPOINT_OUTCOME: "failed"},
        {"trace_id": "c", names.TOUCHPOINT_OUTCOME: "failed", "seconds": 1},
    )

    assert tally.traces == {PAY: "b"}


def test_what_the_map_does_not_name_is_told(shop: JourneyMap) -> None:
    """Customers who meet something unplanned are not lost: it is listed apart."""
    live = measured(shop, of_pay({names.TOUCHPOINT_NAME: "shadow.it"}))

    assert live.unplanned == {"shadow.it": 1}
    assert live.all.visits == 0
    assert "shadow.it" in html(live, "cxtrace").replace("<wbr>", "")


# Metrics in files


def metric_line(name: str, kind: str, *points: dict[str, object], delta: bool = False) -> str:
    """A message of OTLP metrics with one metric."""
    metric = {"name": name, kind: {"dataPoints": points, "aggregationTemporality": 2 - delta}}
    scope = {"scopeMetrics": [{"metrics": [metric]}]}
    return json.dumps({"resourceMetrics": [{"resource": {}, **scope}]})


def of(time: int, **told: object) -> dict[str, object]:
    """A point of a payment's metric."""
    pair = {"key": names.TOUCHPOINT_NAME, "value": {"stringValue": PAY}}
    return {"attributes": [pair], "timeUnixNano": str(time), "startTimeUnixNano": "1", **told}


def durations(time: int, *counts: int) -> dict[str, object]:
    """Visits of up to 1 s, up to 2 s, and longer ones."""
    told = {"bucketCounts": [str(n) for n in counts], "explicitBounds": [1.0, 2.0]}
    return of(time, count=str(sum(counts)), sum=9.0, **told)


def test_metrics_count_where_spans_were_sampled(shop: JourneyMap, tmp_path: Path) -> None:
    """Of a cumulative series its last point counts, and the note says which numbers these are."""
    file = tmp_path / "telemetry.jsonl"
    write_spans(file, iter([visit(1)]))
    with file.open("a", encoding="utf-8") as more:
        name = names.METRIC_TOUCHPOINT_DURATION
        print(metric_line(name, "histogram", durations(1, 2, 0, 0)), file=more)
        print(metric_line(name, "histogram", durations(2, 2, 4, 0)), file=more)
        print(metric_line(name, "histogram", durations(1, 2, 0, 0)), file=more)
        frictions = of(3, asInt="5")
        print(metric_line(names.METRIC_TOUCHPOINT_FRICTIONS, "sum", frictions), file=more)
        print(metric_line("http.server.duration", "histogram", durations(1, 9, 9, 9)), file=more)
        print('{"resourceMetrics"', file=more)

    tally = recordings.read([file])
    found = measured(shop, tally).touchpoints[PAY]

    assert (found.visits, found.friction, found.p50) == (6, 5, 1.25)
    assert "6 visits and the spans of 1" in tally.notes[1]
    assert "1 lines are no OTLP JSON" in tally.notes[0]
    assert list(tally.traces) == [PAY]


def test_deltas_are_added_up() -> None:
    """Of a series of deltas each point counts."""
    name = names.METRIC_TOUCHPOINT_DURATION
    lines = [metric_line(name, "histogram", durations(n, 1, 0, 0), delta=True) for n in (1, 2, 3)]

    assert recordings.from_metrics(lines).visits == 3


@pytest.mark.parametrize(
    "line",
    [
        '{"resourceMetrics": 1}',
        '["resourceMetrics"]',
        '{"resourceMetrics": [{"scopeMetrics": [{"metrics": [1]}]}]}',
        metric_line(names.METRIC_TOUCHPOINT_DURATION, "histogram", of(1, count="many")),
        metric_line(names.METRIC_TOUCHPOINT_DURATION, "histogram", of(1, timeUnixNano="now")),
    ],
)
def test_broken_metrics_are_passed_over(line: str) -> None:
    """What is no message of OTLP, whatever it says, counts for nothing and stops nothing."""
    assert recordings.from_metrics([line]).visits == 0


def test_spans_of_others_may_say_anything() -> None:
    """A word where a number should be is no number."""
    odd = {
        names.EFFORT_ACTIONS: "three",
        names.PROMISE_GAP: "wide",
        names.VALUE_AMOUNT: "much",
        names.EFFORT_WAIT_TIME: "long",
        f"{names.OWNER_INFLUENCE}.it": "some",
    }
    kinds = (names.EVENT_PROMISE_EVALUATED, names.EVENT_VALUE, names.EVENT_HANDOFF)
    tally = of_pay({**odd, "events": [event(kind, **odd) for kind in kinds]})

    assert tally.visits == 1
    assert not tally.sums[names.METRIC_TOUCHPOINT_EFFORT]


def test_numbers_that_are_none_are_left_out() -> None:
    """A store may answer with NaN; it counts for nothing."""
    tally = Tally("")
    tally.add(names.METRIC_TOUCHPOINT_DURATION, {}, math.nan)
    tally.add(names.METRIC_TOUCHPOINT_DURATION, {}, 1, math.inf)

    assert tally.visits == 0


# Stores


class Store(BaseHTTPRequestHandler):
    """Answers as a Prometheus does that has seen 40 payments, half of them slow."""

    answers: ClassVar[dict[str, object]] = {}

    def do_GET(self) -> None:
        """Answer a query by what it asks for."""
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)["query"][0]
        if parts.path.endswith("query_exemplars"):
            body = self.answers.get("exemplars", {"status": "success", "data": []})
        elif "fails" in self.answers:
            body = self.answers["fails"]
        else:
            result = [s for key, found in SAMPLES.items() if key in query for s in found]
            body = {"status": "success", "data": {"resultType": "vector", "result": result}}
        code = int(str(self.answers.get("code", 200)))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def sample(value: float, **labels: str) -> dict[str, object]:
    """One series of an answer."""
    return {"metric": labels, "value": [0, str(value)]}


AT_PAY = {"cx_touchpoint_name": PAY}
SAMPLES = {
    "cx_touchpoint_duration_seconds_count": [
        sample(36, **AT_PAY, cx_touchpoint_outcome="completed", cx_journey_name="first_order"),
        sample(4, **AT_PAY, cx_touchpoint_outcome="failed", cx_journey_name="first_order"),
    ],
    "cx_touchpoint_duration_seconds_bucket": [
        sample(20, **AT_PAY, le="1.0"),
        sample(40, **AT_PAY, le="2"),
        sample(40, **AT_PAY, le="+Inf"),
        sample(0, cx_touchpoint_name="home.visit", le="+Inf"),
        sample(0, cx_touchpoint_name="home.visit", le="odd"),
    ],
    "cx_touchpoint_effort_sum": [sample(100, **AT_PAY)],
    "cx_touchpoint_effort_count": [sample(40, **AT_PAY)],
    "cx_promise_evaluations_total": [
        sample(30, cx_promise_id="pay_fast", cx_promise_result="kept"),
        sample(10, cx_promise_id="pay_fast", cx_promise_result="broken"),
    ],
}
EXEMPLARS = {
    "data": [
        {
            "seriesLabels": {**AT_PAY, "cx_touchpoint_outcome": outcome},
            "exemplars": [{"labels": {"trace_id": trace}, "value": value}],
        }
        for outcome, trace, value in (("completed", "a1", "9"), ("failed", "b2", "1"))
    ]
}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a store of metrics."""
    monkeypatch.setattr(Store, "answers", {})
    server = HTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_store_is_asked(store: str, shop: JourneyMap) -> None:
    """Visits, outcomes, percentiles, effort, promises and a trace come out of a store."""
    Store.answers["exemplars"] = EXEMPLARS

    live = measured(shop, stores.read(store.replace("//", "//me:secret@") + "/", "1d"))

    found = live.touchpoints[PAY]
    assert (found.visits, found.hurt, found.effort) == (40, 0.1, 2.5)
    assert (found.p50, found.p90) == (1.0, 1.8)
    assert live.promises["pay_fast"].share == 0.75
    assert live.traces == {PAY: "b2"}
    assert "secret" not in live.source


@pytest.mark.parametrize("exemplars", [{"data": [{}]}, [], {"error": "no"}])
def test_a_store_without_exemplars_names_no_trace(store: str, exemplars: object) -> None:
    """What not every store has is not missed."""
    Store.answers["exemplars"] = exemplars

    assert stores.read(store, "1d").traces == {}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": "bad window"}, "query was answered with 400, bad window"),
        ([], "is no Prometheus API: query was answered with 400"),
        ({"data": {"resultType": "matrix"}}, "is no Prometheus API"),
    ],
)
def test_something_else_than_a_store(store: str, run: Run, answer: object, said: str) -> None:
    """Who answers otherwise is told apart, in one sentence and without a traceback."""
    Store.answers.update({"fails": answer, "code": 400})

    code, _, error = run(EXAMPLE, "--live", store)

    assert code == 1
    assert said in error


def test_a_store_that_is_not_there(run: Run) -> None:
    """A refused connection is one sentence."""
    code, _, error = run(EXAMPLE, "--live", "http://127.0.0.1:9")

    assert (code, error) == (
        1,
        "cxtrace map: http://127.0.0.1:9 does not answer: Connection refused\n",
    )


# Forms


@pytest.fixture
def recorded(tmp_path: Path, shop: JourneyMap) -> Path:
    """A recording of the shop."""
    file = tmp_path / "shop.jsonl"
    signals = [
        event(names.EVENT_MENTION, 3),
        event(names.EVENT_VALUE, **{names.VALUE_TYPE: "revenue"}),
        promise("kept", -0.5),
    ]
    more = [
        visit(9_000, events=signals, **{f"{names.OWNER_INFLUENCE}.it": 1.0}),
        visit(9_001, **{names.TOUCHPOINT_NAME: "shadow.it"}),
    ]
    write_spans(file, iter([*lived(shop, 60), *more]))
    return file


def test_the_living_map_in_a_terminal(run: Run, recorded: Path) -> None:
    """Stages, touchpoints, promises and what functions think stand one below the other."""
    code, out, _ = run(EXAMPLE, "--live", recorded)

    assert code == 0
    assert "checkout.pay" in out
    assert "✗ pay_fast" in out
    assert "happy although a promise was broken" in out
    assert "shadow.it  1 visit" in out


def test_a_map_without_promises(run: Run, tmp_path: Path) -> None:
    """What the map does not plan takes no room, and long lists are cut to the width."""
    plan = tmp_path / "plain.toml"
    plan.write_text(
        """schema = "cxtrace.map/1"
name = "plain"
[functions]
product = {}
[[stage]]
name = "purchase"
phase = "customer"
[[stage]]
name = "later"
phase = "customer"
[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "product"
influence = { product = 1.0 }
""",
        encoding="utf-8",
    )
    kinds = ("validation_rejected", "repeated_question", "repeat_contact", "channel_switch")
    signals = [
        event(names.EVENT_FRICTION, **{names.FRICTION_TYPE: kind, names.TOUCHPOINT_NAME: PAY})
        for kind in kinds
    ]
    file = tmp_path / "plain.jsonl"
    others = [visit(n, **{names.TOUCHPOINT_NAME: f"other.t{n}"}) for n in range(2, 30)]
    write_spans(file, iter([visit(1, events=signals), *others]))

    _, out, _ = run(plan, "--live", file)
    _, page, _ = run(plan, "--live", file, "--format", "html")

    assert "promises" not in out
    assert "…" in out
    assert 'id="promises"' not in page
    assert "And 8 more." in page


def test_hand_offs_and_journeys_in_a_terminal() -> None:
    """Who waits for whom, and how journeys ended."""
    tally = of_pay({})
    hands = {names.HANDOFF_FROM_FUNCTION: "product", names.HANDOFF_TO_FUNCTION: "finance"}
    tally.measure(names.METRIC_HANDOFF_DURATION, hands, 60.0)
    nobody = {**hands, names.HANDOFF_TO_FUNCTION: "nobody"}
    tally.add(names.METRIC_HANDOFF_DURATION, nobody, 0, 0, Spread(below={1.0: 0.0}))
    ended = {names.JOURNEY_NAME: "win_back", names.JOURNEY_OUTCOME: "achieved"}
    tally.measure(names.METRIC_JOURNEY_DURATION, ended, 3600.0)
    tally.notes.append("To be known.")
    on = _drawing.paper(100, _drawing.UNICODE)

    free = JourneyMap.loads(EXAMPLE.read_text(encoding="utf-8").replace("objective = 0.99\n", ""))

    text = "\n".join(_living.draw(measured(free, tally), on))

    assert "product → finance  1 time, half waited at most 1.0 min" in text
    assert "win_back: 1 achieved, half took at most 1.0 h" in text
    assert "To be known." in text
    assert "nobody" not in text


def test_the_living_map_in_plain_letters(
    run: Run, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that knows nothing else gets ASCII."""
    monkeypatch.setattr(
        "cxtrace.cli.map.glyphs",
        lambda _: _drawing.ASCII,
    )

    _, out, _ = run(EXAMPLE, "--live", recorded)

    assert "x pay_fast" in out
    assert "–" not in out  # noqa: RUF001


def test_the_living_map_as_a_diagram(run: Run, recorded: Path) -> None:
    """Scores are made of what was measured, and comments say of what."""
    _, out, _ = run(EXAMPLE, "--live", recorded, "--format", "mermaid")
    _, journey, _ = run(EXAMPLE, "--live", recorded, "--format", "mermaid", "--journey", "win_back")

    scores = {line.strip().split(":")[1] for line in out.splitlines() if ": " in line}
    assert len(scores) > 1
    assert "    %% checkout.pay" in out
    assert "title win_back" in journey


def test_a_score_is_the_weakest_of_its_parts(shop: JourneyMap) -> None:
    """A touchpoint that always works and never keeps its promise has the lowest score."""
    live = measured(shop, of_pay({"events": [promise("broken", 1.0)]}))

    assert words.weakest(live, PAY) == 0
    assert words.weakest(live, "home.visit") is None
    assert f"{PAY}: 1: product" in diagram.diagram(live)
    assert "home.visit: 3: marketing" in diagram.diagram(live)


def test_the_living_map_as_data(run: Run, recorded: Path) -> None:
    """Other programs get everything, with the keys of the model."""
    _, out, _ = run(EXAMPLE, "--live", recorded, "--json")

    found = json.loads(out)
    assert found["touchpoints"][PAY]["visits"] > 0
    assert found["promises"]["pay_fast"]["is_short"] is True
    assert found["unplanned"] == {"shadow.it": 1}


def test_the_living_map_as_a_page(run: Run, recorded: Path, tmp_path: Path) -> None:
    """One file that leads to Jaeger, and asks nobody for anything."""
    page = tmp_path / "map.html"
    arguments = ("--format", "html", "--jaeger", "http://jaeger:16686/", "-o", page)

    code, out, _ = run(EXAMPLE, "--live", recorded, *arguments)

    text = page.read_text(encoding="utf-8")
    assert (code, out) == (0, f"written   {page}\n")
    assert "default-src &#x27;none&#x27;" in text
    assert 'href="http://jaeger:16686/trace/' in text
    assert "<script" not in text
    assert "src=" not in text.replace("src ", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "html"], "html shows measured values"),
        (["--live", "x", "--format", "toml"], "has nothing to do with toml"),
        (["--live", "x", "--window", "a day"], "write it as 1d"),
        (["--live", "x", "--jaeger", "javascript:alert(1)"], "begins with http"),
        (["--live", "http://a", "--live", "b"], "one address, or files"),
        (["--live", "http://"], "begins with http"),
        (["-o", "."], "cannot be written: it is a folder; name a file"),
    ],
)
def test_wrong_use(run: Run, arguments: list[str], said: str) -> None:
    """What cannot be meant is said in one sentence, with what to do."""
    code, _, error = run(EXAMPLE, *arguments)

    assert code == 2
    assert said in error


def test_files_that_tell_nothing(run: Run, tmp_path: Path) -> None:
    """A file without a visit is a finding; one that is missing is wrong use."""
    empty = tmp_path / "empty.jsonl"
    empty.touch()

    assert run(EXAMPLE, "--live", "missing.jsonl")[0::2] == (
        2,
        (
            "cxtrace map: missing.jsonl cannot be read: there is no such file or folder; "
            "an address begins with http://\n"
        ),
    )
    assert "no visit to any touchpoint" in run(EXAMPLE, "--live", empty)[2]


# Size and hostility


def page_of(journey_map: JourneyMap, spans: int) -> str:
    """The page of a large map in full use."""
    return html(measured(journey_map, recordings.from_spans(lived(journey_map, spans))), "cxtrace")


def test_the_page_of_a_hundred_touchpoints_is_light() -> None:
    """With a hundred touchpoints, all of them visited, the page has less than 500 kB."""
    assert 100_000 < len(page_of(large_map(100), 2_000).encode()) < 500_000


def live_of(texts: list[str]) -> LiveMap:
    """A living map whose every measured name is hostile."""
    one, two, three = texts
    tally = Tally(one, notes=[two], traces={PAY: three})
    at = {names.TOUCHPOINT_NAME: PAY, names.FRICTION_TYPE: one, names.TOUCHPOINT_OUTCOME: two}
    tally.measure(names.METRIC_TOUCHPOINT_DURATION, at, 1.0)
    tally.measure(names.METRIC_TOUCHPOINT_DURATION, {names.TOUCHPOINT_NAME: three}, 1.0)
    tally.measure(names.METRIC_TOUCHPOINT_FRICTIONS, at, 1)
    money = {names.VALUE_TYPE: one, names.VALUE_CURRENCY: two, names.STAGE_NAME: "purchase"}
    tally.measure(names.METRIC_VALUE_ATTRIBUTED, money, 1.0)
    hands = {names.HANDOFF_FROM_FUNCTION: one, names.HANDOFF_TO_FUNCTION: three}
    tally.measure(names.METRIC_HANDOFF_DURATION, hands, 1.0)
    ended = {names.JOURNEY_NAME: "win_back", names.JOURNEY_OUTCOME: three}
    tally.measure(names.METRIC_JOURNEY_DURATION, ended, 1.0)
    verdict = {names.FUNCTION_NAME: one, names.STAGE_NAME: "purchase"}
    tally.measure(names.METRIC_FUNCTION_VERDICTS, verdict, 1)
    return measured(SHOP, tally)


hostile = st.text(st.sampled_from("<>&\"'`\\/\n\r\t\0{}$=;:ab\u202e\u2028é") | st.characters())


@given(st.lists(hostile, min_size=3, max_size=3))
def test_no_text_becomes_markup(texts: list[str]) -> None:
    """Whatever was measured, the page has the same elements as with harmless words."""
    marked = [f"{text}<b onload='x'>{{{{</script>" for text in texts]
    harmless = [f"{place}x" for place in range(3)]

    assert elements(html(live_of(marked), "cxtrace")) == elements(
        html(live_of(harmless), "cxtrace")
    )
    assert json.loads(json.dumps(data(live_of(marked))))["source"] == marked[0]


@given(st.lists(hostile, min_size=3, max_size=3))
def test_no_text_ends_a_line_of_a_diagram(texts: list[str]) -> None:
    """Whatever was measured, the diagram has as many lines."""
    harmless = diagram.diagram(live_of(["a", "b", "c"]))

    assert len(diagram.diagram(live_of(texts)).splitlines()) == len(harmless.splitlines())


# Words


def test_shares_do_not_lie() -> None:
    """Nothing is rounded to all or to nothing."""
    shares = [words.percent(each) for each in (None, 0, 0.0004, 0.5, 0.9999, 1)]

    assert shares == ["–", "0 %", "0.1 %", "50 %", "99.9 %", "100 %"]  # noqa: RUF001


def test_times_are_read_in_their_unit() -> None:
    """From parts of a thousandth to days."""
    times = (None, 0, 0.0004, 0.02, 1.5, 75, 7_200, 200_000)

    assert [words.duration(each) for each in times] == [
        *("–", "0 ms", "0.4 ms", "20 ms", "1.5 s", "1.2 min", "2.0 h", "2.3 d")  # noqa: RUF001
    ]


def test_gaps_say_worse_or_better() -> None:
    """The sign of a gap is a word."""
    gaps = [words.gap(each) for each in (None, 0.004, 0.2, -0.25)]

    assert gaps == ["–", "as promised", "20 % worse", "25 % better"]  # noqa: RUF001
    assert [words.number(each) for each in (0.97, 1.5, 1234.4)] == ["1", "1.5", "1,234"]


def test_the_recording_is_read_as_it_was_written(recorded: Path) -> None:
    """The helper of these tests writes what ``read_spans`` reads."""
    assert len(read_spans(recorded).spans) == 62
