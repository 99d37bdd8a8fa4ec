"""The metrics of the registry: instruments, buckets, labels, and that no label names anybody."""

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter
from opentelemetry.sdk.metrics import Meter as SdkMeter
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, TraceIdRatioBased
from opentelemetry.trace import SpanKind

import cxtrace
from cxtrace import (
    _guard,
    _instruments,
    _metering,
    _runtime,
    attributes,
    customer,
    interaction,
    journey,
    touchpoint,
)
from cxtrace._instruments import OTHER, SPECS, Instruments, boundaries, instruments_of
from cxtrace.journey_map import JourneyMap
from tests.conftest import Capture, Clock, Meters

EXAMPLE = JourneyMap.load(Path(__file__).parents[1] / "examples" / "journeys.toml")
NOBODY = [
    "cust-4242",
    "cust_4242",
    "jane@example.com",
    "v1.SWEWuCfnKr9wgpBC-MFNyY",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "order:20240131",
    "abcdefab-cdef-abcd-efab-cdefabcdefab",
    "jane%40example.com",
    "+49 (30) 123-456",
    "\u0664\u0662\u0664\u0662",
]
"""Words that look like the id of a customer, a journey or a session."""


@pytest.fixture
def made(meters: Meters) -> Instruments:
    """Make the instruments as the runtime does, with the example's map."""
    found = instruments_of(None, _instruments.bind, EXAMPLE, frozenset())
    assert found is not None
    return found


# Instruments


@pytest.mark.parametrize("raises", ["making", "counting"])
def test_a_broken_meter_costs_no_span(
    cx: Capture, meters: Meters, monkeypatch: pytest.MonkeyPatch, raises: str
) -> None:
    """Where the host's meters raise, touchpoints go without metrics, and it is counted once."""

    class Broken:
        def add(self, *_: object) -> None:
            raise KeyError("add")

        record = add

    def make(*_: object, **__: object) -> Broken:
        if raises == "making":
            raise KeyError("make")
        return Broken()

    for kind in ("counter", "histogram"):
        monkeypatch.setattr(SdkMeter, f"create_{kind}", make)

    for _ in range(3):
        with touchpoint("checkout.pay") as tp:
            tp.outcome("completed")

    assert cx.names == ["checkout.pay"] * 3
    assert {span.attributes["cx.touchpoint.outcome"] for span in cx.spans} == {"completed"}
    errors = {key: n for key, n in cxtrace.report().counts.items() if key.startswith("errors.")}
    assert sum(errors.values()) == (1 if raises == "making" else 3)


def test_without_a_meter_provider_there_are_none(
    forgetful: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has set a meter provider nothing is made, and nothing is measured."""
    monkeypatch.setattr(metrics_api, "_METER_PROVIDER", None)

    assert not _instruments.has_meter_provider()
    assert instruments_of(None, _instruments.bind, None, frozenset()) is None


def test_with_a_meter_provider(meters: Meters) -> None:
    """With a provider the instruments are those of its meter ``cxtrace``."""
    made = instruments_of(None, _instruments.bind, None, frozenset())
    assert made is not None
    made.cell(attributes.METRIC_MENTIONS, {"cx.mention.source": "friends"})(1, _runtime.Context())
    data = meters.reader.get_metrics_data()
    assert data is not None
    (scope,) = data.resource_metrics[0].scope_metrics

    assert _instruments.has_meter_provider()
    assert (scope.scope.name, scope.scope.version) == ("cxtrace", cxtrace.__version__)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_an_instrument_is_as_its_spec_says(meters: Meters, made: Instruments, name: str) -> None:
    """Name, unit, description and kind of each metric reach the reader."""
    made.cell(name, {})(1, _runtime.Context())
    metric = meters.metrics()[name]
    spec = SPECS[name]

    assert (metric.unit, metric.description) == (spec.unit, spec.brief)
    kind = {"histogram": "Histogram"}.get(spec.kind, "Sum")
    assert type(metric.data).__name__ == kind
    assert kind == "Histogram" or metric.data.is_monotonic == (spec.kind == "counter")


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.boundaries])
def test_a_histogram_has_its_buckets(meters: Meters, made: Instruments, name: str) -> None:
    """The boundaries that the module names are those that the reader counts by."""
    made.cell(name, {})(1, _runtime.Context())
    (point,) = meters.points(name)

    assert list(point.explicit_bounds) == list(boundaries(name, EXAMPLE))


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("cx.touchpoint.duration", (0.5, 2.0, 8.0)),
        ("cx.journey.duration", (48 * 3_600.0, 192 * 3_600.0, 7 * 86_400.0, 28 * 86_400.0)),
    ],
)
def test_targets_are_boundaries(name: str, targets: tuple[float, ...]) -> None:
    """The target of each promise and four times it are boundaries, in seconds, once each."""
    found = list(boundaries(name, EXAMPLE))

    assert set(targets) | set(SPECS[name].boundaries) <= set(found)
    assert found == sorted(set(found))
    assert set(boundaries(name, None)) == set(SPECS[name].boundaries)


def test_what_is_no_histogram_has_no_boundaries() -> None:
    """Counters have no buckets, whatever the map promises."""
    assert list(boundaries(attributes.METRIC_MENTIONS, EXAMPLE)) == []


def test_a_cell_is_made_once(made: Instruments) -> None:
    """The same instrument and labels give the same cell; other labels give another."""
    cell = made.cell(attributes.METRIC_MENTIONS, {"a": "b"})

    assert made.cell(attributes.METRIC_MENTIONS, {"a": "b"}) is cell
    assert made.cell(attributes.METRIC_MENTIONS, {"a": "c"}) is not cell
    assert made.cell(attributes.METRIC_MENTIONS, {"b": "a"}) is not cell


def test_cells_are_bounded(
    meters: Meters, made: Instruments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the limit what no map names is ``_OTHER``, which is counted; the map's names stay."""
    monkeypatch.setattr(_instruments, "_MOST_CELLS", 2)
    for word in ("a", "b", "c", "d", "checkout.pay", "checkout.pay"):
        labels = {"cx.touchpoint.name": word, "cx.touchpoint.outcome": "failed"}
        made.cell(attributes.METRIC_TOUCHPOINT_INTERACTIONS, labels)(1, _runtime.Context())
    found = meters.values("cx.touchpoint.interactions")

    assert [(labels["cx.touchpoint.name"], value) for labels, value in found] == [
        ("_OTHER", 2),
        ("a", 1),
        ("b", 1),
        ("checkout.pay", 2),
    ]
    assert _guard.counts() == {"metrics.cells_past_limit": 2}


def test_planned_interactions_need_no_room(
    cx: Capture, meters: Meters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many words came first, an interaction of the map is told under its name."""
    monkeypatch.setattr(_instruments, "_MOST_VALUES", 1)
    cx.use(journey_map=EXAMPLE, metrics_opt_in=frozenset({attributes.INTERACTION_NAME}))
    with touchpoint("checkout.pay"):
        for word in ("junk", "more", "enter_card_number"):
            with interaction(word):
                pass
    found = meters.values("cx.touchpoint.interactions")

    told = [labels["cx.interaction.name"] for labels, _ in found]
    assert told == ["_OTHER", "enter_card_number", "junk"]


def test_a_provider_can_be_named(meters: Meters, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the runtime names a provider, the global one gets nothing."""
    own = Meters(monkeypatch)
    monkeypatch.setattr(metrics_api, "_METER_PROVIDER", meters.provider)
    made = instruments_of(own.provider, _instruments.bind, None, frozenset())
    assert made is not None
    made.cell(attributes.METRIC_MENTIONS, {})(1, _runtime.Context())

    assert own.values("cx.mentions") == [({}, 1)]
    assert meters.everything() == {}


# Labels that code chooses


@pytest.mark.parametrize("value", NOBODY)
def test_what_looks_like_an_id_is_no_label(made: Instruments, value: str) -> None:
    """Four digits in a row, telephones, long hexadecimal text, ``@``, pseudonyms are ``_OTHER``."""
    assert made.free("cx.nudge.id", value) == OTHER
    assert _guard.counts() == {"metrics.label_not_kept:cx.nudge.id": 1}


@pytest.mark.parametrize("value", ["free_shipping_bar", "v2.0", "b", "model-3", "abc123", "v10"])
def test_what_looks_like_a_word_is_a_label(made: Instruments, value: str) -> None:
    """Words and short numbers name nobody."""
    assert made.free("cx.nudge.id", value) == value
    assert made.free("cx.nudge.id", value) == value
    assert _guard.counts() == {}


def test_a_label_has_few_values(made: Instruments) -> None:
    """Past fifty values of one label new ones are ``_OTHER``; known ones and the map's stay."""
    words = [chr(97 + number // 26) + chr(97 + number % 26) for number in range(60)]
    found = [made.free("cx.journey.name", word) for word in words]

    assert found == words[:50] + [OTHER] * 10
    assert made.free("cx.journey.name", "aa") == "aa"
    assert made.free("cx.journey.name", "first_order") == "first_order"
    assert made.free("cx.nudge.id", "cz") == "cz"
    assert _guard.counts() == {"metrics.label_not_kept:cx.journey.name": 10}


def test_what_the_map_names_is_free(meters: Meters) -> None:
    """A name of the map is a label, however it looks: whoever wrote the map has chosen it."""
    made = Instruments(metrics.get_meter("x"), journey_map=with_touchpoint("model_2024"))

    assert made.free("cx.touchpoint.name", "model_2024") == "model_2024"
    assert made.free("cx.stage.name", "model_2024") == OTHER


def with_touchpoint(name: str) -> JourneyMap:
    """A map with one touchpoint of that name."""
    return JourneyMap.loads(f"""
schema = "cxtrace.map/1"
name = "shop"
functions = {{ it = {{ happy = "touchpoint.outcome == 'completed'" }} }}
[[stage]]
name = "use"
phase = "customer"
[promise.works]
claim = "It works"
source = "expectation"
metric = "touchpoint.success"
op = ">="
target = 1.0
unit = "1"
[[touchpoint]]
name = "{name}"
stage = "use"
owner = "it"
initiator = "customer"
promises = ["works"]
""")


def texts(data: Any) -> str:
    """Everything that a reader was given, exemplars included."""
    return json.dumps(json.loads(data.to_json()))


def every_label(meters: Meters) -> str:
    """Labels, filtered attributes of exemplars and resources of all that was measured."""
    data = meters.reader.get_metrics_data()
    return "" if data is None else texts(data)


def tell_everything(name: str, word: str) -> None:
    """Say ``word``, an id of somebody, wherever code may choose a word."""
    place = touchpoint(name, stage=word, owner=word)
    who = customer(word, kind="person", segment=word if "@" not in word else None)
    with journey(word, id=word, route=word) as way, who:
        for _ in range(2):
            with place as tp, interaction(word):
                tp.friction("slow").complaint("opened").complaint("resolved").mention(
                    "friends", phase="customer"
                )
                tp.emotion("anger", source="text").feedback("nps", 3).value(5, "EUR", type="refund")
                tp.nudge(word, technique="reminder", flag=word, variant=word).accepted()
                tp.forecast("churn", probability=0.5, model=word)
                tp.handoff(word).handoff(word, waited=5).deliver("works", 1)
                tp.set({"session.id": word, "cx.context.weather": word}).fail(word)
            with touchpoint(name + "2", stage=word + "a", owner=word):
                pass
        with touchpoint(name):
            way.outcome("failed")
    with journey(word), touchpoint(word):
        pass


@pytest.mark.parametrize("word", NOBODY)
@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize("dropped", [True, False], ids=["filtered", "plain"])
@pytest.mark.parametrize("path", ["lean", "sdk"])
def test_no_id_reaches_a_metric(
    forgetful: None,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    word: str,
    planned: bool,
    dropped: bool,
) -> None:
    """Try hard: no id is in a label, nor in what a view takes out of labels and exemplars keep."""
    views = [View(instrument_name="cx.*", attribute_keys={"cx.touchpoint.outcome"})]
    meters = Meters(
        monkeypatch, views=views if dropped else [], exemplar_filter=AlwaysOnExemplarFilter()
    )
    cx = Capture(path)
    opt_in = frozenset(
        {"cx.journey.active", "cx.journey.route", "cx.interaction.name", "cx.customer.segment"}
    )
    cx.use(journey_map=with_touchpoint("pay.card"), metrics_opt_in=opt_in)

    tell_everything("pay.card" if planned else f"pay-{word}", word)
    found = every_label(meters)

    assert word not in found
    assert cx.pseudonym(word) not in found
    assert len(meters.metrics()) > 12
    assert not dropped or "exemplar" in found
    assert not any(key.startswith("errors") for key in _guard.counts())


def test_an_exemplar_has_the_trace(cx: Capture, meters: Meters) -> None:
    """The exemplar of a sampled touchpoint leads to its span, and has no attributes of its own."""
    cx.use()
    with touchpoint("a") as tp:
        tp.friction("slow")
    found = meters.metrics()  # once: each collection takes the exemplars away
    (point,) = found["cx.touchpoint.duration"].data.data_points
    (friction,) = found["cx.touchpoint.frictions"].data.data_points
    context = cx.span("a").context

    for exemplar in (*point.exemplars, *friction.exemplars):
        assert (exemplar.trace_id, exemplar.span_id) == (context.trace_id, context.span_id)
        assert dict(exemplar.filtered_attributes) == {}
    assert len(point.exemplars) == len(friction.exemplars) == 1


def test_what_is_not_sampled_is_no_exemplar(forgetful: None, meters: Meters) -> None:
    """A span that nobody keeps is not pointed to, and is counted all the same."""
    Capture(sampler=ALWAYS_OFF)
    with touchpoint("a"), touchpoint("b"):
        pass
    points = meters.points("cx.touchpoint.duration")

    assert [point.count for point in points] == [1, 1]
    assert [list(point.exemplars) for point in points] == [[], []]


# Exact, whatever is sampled


def walk(clock: Clock) -> None:
    """A few customers on their ways, the same each time."""
    for number in range(6):
        with (
            journey("first_order", id=f"w-{number}", route="express"),
            customer(f"c-{number}", segment="smb"),
        ):
            with touchpoint("home.visit") as tp:
                clock.tick(0.25)
                tp.mention("friends")
            try:
                with touchpoint("checkout.pay") as tp, interaction("enter_card_number"):
                    clock.tick(number)
                    tp.friction("slow").value(8, "EUR", type="revenue")
                    with touchpoint("payment.authorise"):
                        clock.tick(0.5)
                    if number == 4:
                        raise ValueError
            except ValueError:
                pass
            with touchpoint("order.confirm"):
                cxtrace.handoff("service")
            clock.tick(3_600)
            with touchpoint("delivery.ship"):
                pass
            with touchpoint("delivery.track") as tp:
                tp.complaint("opened").nudge("rate_us", technique="reminder").declined()
                tp.outcome("abandoned")


def measured(monkeypatch: pytest.MonkeyPatch, path: str, sampler: Any, **options: Any) -> Any:
    """What is measured of these customers under a sampler, and how many spans were kept."""
    with monkeypatch.context() as patch:
        meters, clock = Meters(patch), Clock(patch)
        cxtrace._journeys.forget_all()
        cx = Capture(path, sampler=sampler)
        cx.use(journey_map=EXAMPLE, **options)
        walk(clock)
        return meters.everything(), len(cx.spans)


@pytest.mark.parametrize("path", ["lean", "sdk"])
@pytest.mark.parametrize("sampler", [ALWAYS_OFF, TraceIdRatioBased(0.5)], ids=["off", "half"])
def test_metrics_are_the_same_under_any_sampling(
    forgetful: None, monkeypatch: pytest.MonkeyPatch, path: str, sampler: Any
) -> None:
    """Counts, outcomes, promises, effort and friction do not depend on which spans are kept."""
    full, all_spans = measured(monkeypatch, path, ALWAYS_ON)
    sampled, some_spans = measured(monkeypatch, path, sampler)

    assert some_spans < all_spans
    assert sampled == full
    assert len(full) == 14


def test_metrics_are_the_same_on_both_paths(
    forgetful: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lean way measures what the SDK's does, cell by cell and by public calls."""
    lean, _ = measured(monkeypatch, "lean", ALWAYS_ON)
    sdk, _ = measured(monkeypatch, "sdk", ALWAYS_ON)

    assert lean == sdk


def test_both_ways_of_binding_fill_the_same_buckets(
    forgetful: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only sums, every bucket, minimum and maximum are the same."""
    points = []
    for bind in (_instruments.bind, _metering.bind):
        with monkeypatch.context() as patch:
            meters, clock = Meters(patch), Clock(patch)
            cxtrace._journeys.forget_all()
            cx = Capture()
            cx.use(journey_map=EXAMPLE, bind=bind)
            walk(clock)
            points.append(
                [
                    (sorted(p.attributes.items()), p.bucket_counts, p.min, p.max)
                    for p in meters.points("cx.touchpoint.duration")
                ]
            )

    assert points[0] == points[1]
    assert len(points[0]) == 7


def test_an_attached_touchpoint_is_measured(cx: Capture, meters: Meters, clock: Clock) -> None:
    """A touchpoint that is the server's own span is measured as any other, sampled or not."""
    cx.use()
    with (
        cx.tracer.start_as_current_span("GET /", kind=SpanKind.SERVER),
        touchpoint("a", attach=True, owner="it") as tp,
    ):
        tp.friction("slow")
        clock.tick(2)
    labels = {"cx.touchpoint.name": "a", "cx.owner.function": "it"}

    assert meters.values("cx.touchpoint.duration") == [
        ({**labels, "cx.touchpoint.outcome": "completed"}, (1, 2.0))
    ]
    assert len(meters.values("cx.touchpoint.frictions")) == 1
    assert cx.event("cx.friction")["cx.friction.type"] == "slow"


def test_a_meter_that_is_disabled_does_no_harm(
    cx: Capture, meters: Meters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the host has switched our meter off, nothing is measured and nothing goes wrong."""
    cx.use()
    made = _runtime.current.instruments()
    assert made is not None
    if not hasattr(made._made[attributes.METRIC_MENTIONS], "_is_enabled"):
        pytest.skip("this OpenTelemetry has no way to disable a meter")
    for instrument in made._made.values():
        monkeypatch.setattr(instrument, "_is_enabled", lambda: False)
    for _ in range(2):
        with touchpoint("a") as tp, interaction("b"):
            tp.friction("slow")

    assert meters.everything() == {}
    assert cx.spans[-1].attributes["cx.effort.actions"] == 1  # type: ignore[index]
    assert _guard.counts() == {}


# What is measured only where somebody wants it


def test_labels_of_choice(cx: Capture, meters: Meters) -> None:
    """Channel, segment and interaction are labels only where somebody opted in."""
    for opt_in in ((), ("cx.channel.name", "cx.customer.segment", "cx.interaction.name")):
        cx.use(metrics_opt_in=frozenset(opt_in))
        with (
            customer("A", segment="smb"),
            touchpoint("a", channel="web") as tp,
            interaction("b"),
        ):
            tp.friction("slow")
    plain = {"cx.touchpoint.name": "a"}
    chosen = {**plain, "cx.channel.name": "web", "cx.customer.segment": "smb"}
    done = {"cx.touchpoint.outcome": "completed"}
    slow = {"cx.friction.type": "slow", "cx.friction.severity": "medium"}

    def labels(name: str) -> list[dict[str, Any]]:
        return sorted((found for found, _ in meters.values(name)), key=len)

    assert labels("cx.touchpoint.duration") == [{**plain, **done}, {**chosen, **done}]
    assert labels("cx.touchpoint.effort") == [plain, chosen]
    assert labels("cx.touchpoint.frictions") == [{**plain, **slow}, {**chosen, **slow}]
    assert labels("cx.touchpoint.interactions") == [plain, {**plain, "cx.interaction.name": "b"}]


def test_a_route_is_a_label_of_choice(cx: Capture, meters: Meters) -> None:
    """The route of a journey is a label only where somebody opted in."""
    for opt_in in ((), ("cx.journey.route",)):
        cx.use(journey_map=EXAMPLE, metrics_opt_in=frozenset(opt_in))
        for route in ("express", None):
            with journey("first_order", route=route), touchpoint("order.confirm"):
                pass
    plain = {"cx.journey.name": "first_order", "cx.journey.outcome": "achieved"}

    found = [(labels, value[0]) for labels, value in meters.values("cx.journey.duration")]
    assert found == [(plain, 3), ({**plain, "cx.journey.route": "express"}, 1)]


def test_journeys_in_progress_are_observed_on_demand(cx: Capture, meters: Meters) -> None:
    """How many journeys are under way is told only where somebody opted in."""
    cx.use(journey_map=EXAMPLE)
    with journey("first_order"), touchpoint("home.visit"):
        assert meters.values("cx.journey.active") == []
    cx.use(journey_map=EXAMPLE, metrics_opt_in=frozenset({"cx.journey.active"}))
    with journey("first_order"), touchpoint("home.visit"):
        pass
    with journey("return_goods"), touchpoint("home.visit"):
        pass
    with journey("first_order", id="known"), touchpoint("home.visit"):
        pass
    under_way = meters.values("cx.journey.active")
    with journey("return_goods"), touchpoint("return.refund"):
        pass

    assert under_way == [
        ({"cx.journey.name": "first_order"}, 2),
        ({"cx.journey.name": "return_goods"}, 1),
    ]
    assert meters.values("cx.journey.active") == under_way


def test_no_journey_in_progress_is_told_as_none(cx: Capture, meters: Meters) -> None:
    """A journey of which somebody was on the way is told of as 0 when the last has arrived."""
    cx.use(journey_map=EXAMPLE, metrics_opt_in=frozenset({"cx.journey.active"}))
    with journey("return_goods"), touchpoint("home.visit"):
        under_way = meters.values("cx.journey.active")
        with touchpoint("return.refund"):
            pass

    assert under_way == [({"cx.journey.name": "return_goods"}, 1)]
    assert meters.values("cx.journey.active") == [({"cx.journey.name": "return_goods"}, 0)]


def test_errors_are_bounded_labels(cx: Capture, meters: Meters) -> None:
    """Reasons that code makes up are labels only as far as they fit."""
    cx.use()
    for number in range(60):
        with touchpoint("a") as tp:
            tp.fail("reason_" + chr(97 + number // 26) + chr(97 + number % 26))
    found = meters.values("cx.touchpoint.duration")

    assert len(found) == 51
    assert [value[0] for labels, value in found if labels["error.type"] == OTHER] == [10]
