"""How many time series a map's metrics can become, counted without running anything."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform import series
from cxtrace.platform.series import Series, worst_case
from tests.strategies import journey_maps

ROOT = Path(__file__).parent.parent

HEAD = """\
schema = "cxtrace.map/1"
name = "shop"
[functions]
it = { happy = "value.amount > 1" }
sales = { happy = "effort.actions < 3" }
hr = {}
[promise.fast]
claim = "c"
source = "sla"
metric = "touchpoint.duration"
op = "<="
target = 7
unit = "s"
[promise.soon]
claim = "c"
source = "sla"
metric = "journey.duration"
op = "<="
target = 1
unit = "d"
"""
MAP = f"""\
{HEAD}
[[stage]]
name = "look"
phase = "pre_customer"
[[stage]]
name = "buy"
phase = "customer"
[[touchpoint]]
name = "cart.view"
stage = "look"
owner = "it"
channel = ["web", "email"]
interactions = ["scroll", "sort", "zoom"]
[[touchpoint]]
name = "cart.pay"
stage = "buy"
owner = "sales"
influence = {{ it = 0.5, sales = 0.5 }}
promises = ["fast"]
[[touchpoint]]
name = "cart.empty"
stage = "buy"
owner = "sales"
[[journey]]
name = "order"
goal = "cart.pay"
[journey.routes]
long = ["cart.view", "cart.pay"]
short = ["cart.pay"]
[[journey]]
name = "win_back"
goal = "cart.pay"
[[journey]]
name = "nothing"
"""


def counts(*opt_in: str) -> dict[str, int]:
    """The worst case of each instrument, named without its ``cx.``."""
    found = worst_case(JourneyMap.loads(MAP), opt_in)
    return {item.instrument.removeprefix("cx."): item.count for item in found}


# cart.view is on the way of one journey, cart.pay of two, cart.empty of none; each may be outside.
PLACES = 2 + 3 + 1


@pytest.mark.parametrize(
    ("instrument", "expected"),
    [
        ("touchpoint.duration", PLACES * (4 + 20)),
        ("touchpoint.effort", PLACES),
        ("touchpoint.interactions", PLACES),
        ("touchpoint.frictions", PLACES * 12 * 2),
        ("stage.transitions", 2),
        ("journey.duration", 3 * 4),
        ("promise.evaluations", (1 + 2) * 4),
        ("promise.delivered_ratio", 1 + 2),
        ("emotion.signals", 2 * 8 * 4),
        ("nudge.exposures", 20 * 3),
        ("nudge.outcomes", 20 * 3 * 4),
        ("feedback.responses", 2 * 8 * 6),
        ("feedback.normalized_score", 2 * 8),
        ("complaint.unresolved", 2),
        ("complaint.resolution.duration", 2),
        ("mentions", 2 * 8),
        ("handoff.duration", 3 * 3 * 3),
        ("value.attributed", 3 * 8 * 3),
        ("function.verdicts", 2 * 2 * 2 * 5),
    ],
)
def test_each_instrument_is_counted(instrument: str, expected: int) -> None:
    """What the map fixes does not multiply; closed sets, journeys and promises do."""
    assert counts()[instrument] == expected


@pytest.mark.parametrize(
    ("label", "instrument", "expected"),
    [
        (names.CHANNEL_NAME, "touchpoint.effort", 2 * 2 + (3 + 1) * 13),
        (names.CUSTOMER_SEGMENT, "touchpoint.effort", PLACES * 10),
        (names.INTERACTION_NAME, "touchpoint.interactions", 2 * 3 + 3 + 1),
        (names.JOURNEY_ROUTE, "journey.duration", (2 + 1 + 1) * 4),
        (names.TOUCHPOINT_NAME, "emotion.signals", 3 * 8 * 4),
        (names.METRIC_JOURNEY_ACTIVE, "journey.active", 3),
    ],
)
def test_what_is_opted_in_multiplies(label: str, instrument: str, expected: int) -> None:
    """Labels and metrics that somebody asks for count, and only then."""
    assert counts(label)[instrument] == expected
    assert counts().get(instrument) != expected


def test_an_empty_map_has_no_series() -> None:
    """Where nothing is planned, nothing is measured."""
    empty = JourneyMap.loads('schema = "cxtrace.map/1"\nname = "empty"\n')

    assert {item.count for item in worst_case(empty)} == {0}


def test_a_histogram_has_more_series_in_prometheus() -> None:
    """One for each bucket, the last one without a limit, and sum and count; T and 4 T included."""
    found = {item.instrument: item for item in worst_case(JourneyMap.loads(MAP))}
    effort, duration = found["cx.touchpoint.effort"], found["cx.touchpoint.duration"]
    frictions = found["cx.touchpoint.frictions"]

    assert effort.prometheus == effort.count * (8 + 3)
    assert duration.prometheus == duration.count * (13 + 2 + 3)
    assert frictions.prometheus == frictions.count


def test_the_largest_come_first() -> None:
    """Whoever reads the first line knows the worst."""
    found = [item.count for item in worst_case(JourneyMap.loads(MAP))]

    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("count", "past"), [(2000, False), (2001, True)])
def test_the_limit_is_that_of_opentelemetry(count: int, past: bool) -> None:
    """Two thousand are kept apart; one more is too many."""
    assert Series("cx.mentions", count, count).past_limit is past


@given(journey_maps(), st.sets(st.sampled_from([names.CHANNEL_NAME, names.JOURNEY_ROUTE])))
def test_any_map_can_be_counted(journey_map: JourneyMap, opt_in: set[str]) -> None:
    """Opting in never makes it fewer, and Prometheus never has fewer than OpenTelemetry."""
    without = {item.instrument: item for item in worst_case(journey_map)}

    for item in worst_case(journey_map, opt_in):
        assert item.prometheus >= item.count >= without[item.instrument].count >= 0


def registered() -> dict[str, dict[str, Any]]:
    """The metrics of the registry by name."""
    text = (ROOT / "semconv" / "metrics.yaml").read_text(encoding="utf-8")
    return {metric["name"]: metric for metric in yaml.safe_load(text)["metrics"]}


def test_labels_are_those_of_the_registry() -> None:
    """Each metric has the labels, required and opted in, that the registry says."""
    always, opted = {}, {}
    for name, metric in registered().items():
        if name.startswith("cxtrace.sdk."):  # of cxtrace itself, not of customers
            continue
        levels = {item["ref"]: item["requirement_level"] for item in metric["attributes"]}
        always[name] = {label for label, level in levels.items() if level != "opt_in"}
        opted[name] = {label for label, level in levels.items() if level == "opt_in"}

    assert {name: set(labels) for name, labels in series.LABELS.items()} == always
    assert {name: set(labels) for name, labels in series.OPT_IN.items()} == {
        name: labels for name, labels in opted.items() if labels
    }
