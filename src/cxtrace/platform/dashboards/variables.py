"""What the reader of a board chooses: what is looked at, out of what there is."""

from typing import Final

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.dashboards.facts import Variable
from cxtrace.platform.dashboards.links import SERVICE
from cxtrace.platform.dashboards.promql import chosen
from cxtrace.platform.links.boards import PROMISE
from cxtrace.platform.prometheus import EVALUATIONS, VISITS, label, metric, series

_OF_OWNER: Final = chosen(names.OWNER_FUNCTION, "owner")


def journeys() -> Variable:
    """Journeys that customers were on."""
    return Variable("journey", "Journey", _values(VISITS, names.JOURNEY_NAME))


def stages(journey_map: JourneyMap, *, many: bool = True) -> Variable:
    """The stages of the map, in their order."""
    return Variable("stage", "Stage", values=tuple(journey_map.stages), many=many)


def owners(*, many: bool = True) -> Variable:
    """Functions that own what customers touched."""
    query = _values(VISITS, names.OWNER_FUNCTION)
    return Variable("owner", "Owner" if many else "Function", query, many=many)


def touchpoint() -> Variable:
    """One touchpoint, of the chosen stages and owners."""
    seen = series(VISITS, chosen(names.STAGE_NAME, "stage"), _OF_OWNER)
    query = _values(seen, names.TOUCHPOINT_NAME)
    return Variable("touchpoint", "Touchpoint", query, many=False)


def promise() -> Variable:
    """One promise that was evaluated, of the chosen owners."""
    query = _values(series(EVALUATIONS, _OF_OWNER), names.PROMISE_ID)
    return Variable(PROMISE, "Promise", query, many=False)


def currency() -> Variable:
    """One currency: amounts in different ones have no sum."""
    query = _values(metric(names.METRIC_VALUE_ATTRIBUTED), names.VALUE_CURRENCY)
    return Variable("currency", "Currency", query, many=False)


def service() -> Variable:
    """The service that Jaeger is asked for.

    Prometheus has it in ``job``, after its namespace, VictoriaMetrics in ``service_name``.
    """
    of_job = f'count by (job) ({VISITS}{{service_name=""}})'
    from_job = f'label_replace({of_job}, "service_name", "$1", "job", "(?:.*/)?(.+)")'
    named = f'count by (service_name) ({VISITS}{{service_name!=""}})'
    query = f"query_result({named} or {from_job})"
    return Variable(SERVICE, "Service in Jaeger", query, False, regex='/service_name="([^"]+)"/')


def _values(selector: str, attribute: str) -> str:
    return f"label_values({selector}, {label(attribute)})"
