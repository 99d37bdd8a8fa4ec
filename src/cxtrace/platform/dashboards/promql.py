"""The queries of the boards, made of few pieces; each is good for Prometheus and VictoriaMetrics.

Counts are always what a counter has grown by, within the chosen range or within one step of a line.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from attrs import frozen

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.prometheus import (
    MEASURED,
    equal,
    increase,
    label,
    metric,
    number,
    one_of,
    quoted,
    series,
    total,
)
from cxtrace.platform.series import LABELS

RANGE: Final = "$__range"
"""Grafana's name for the time that is looked at."""
STEP: Final = "$__rate_interval"
"""Grafana's name for a time that has two values at least."""

BROKEN: Final = equal(names.PROMISE_RESULT, "broken")
COMPLETED: Final = equal(names.TOUCHPOINT_OUTCOME, "completed")
EARNED: Final = equal(names.VALUE_TYPE, "revenue")
SPENT: Final = one_of(names.VALUE_TYPE, ("refund", "credit", "cost_to_serve"))
HAPPY: Final = equal(names.FUNCTION_VERDICT, "happy")


@frozen
class Scope:
    """What a board looks at: labels, each with the variable that chooses its values."""

    chosen: Mapping[str, str]

    def series(self, instrument: str, *more: str, part: str = "") -> str:
        """An instrument, or a part of a histogram; of the chosen labels those that it has count."""
        known = LABELS[instrument]
        own = [chosen(name, variable) for name, variable in self.chosen.items() if name in known]
        return series(f"{metric(instrument)}{part}", *own, *more)

    def grown(
        self,
        instrument: str,
        *by: str,
        where: Sequence[str] = (),
        within: str = RANGE,
        part: str = "",
    ) -> str:
        """What has been counted, as one sum or by some labels.

        Args:
            instrument: Its name in OpenTelemetry.
            by: Attributes; ``le`` stands for itself.
            where: Conditions of PromQL.
            within: A time of PromQL, or a variable of Grafana.
            part: ``_count``, ``_sum`` or ``_bucket`` of a histogram.
        """
        return increase(by, self.series(instrument, *where, part=part), within)

    def seen(
        self, instrument: str, by: str, where: str, within: str = RANGE, part: str = ""
    ) -> str:
        """1 for each value of a label that was counted under a condition."""
        counter = self.series(instrument, where, part=part)
        return f"group by ({label(by)}) (increase({counter}[{within}]))"

    def visits(self, *by: str, where: Sequence[str] = (), within: str = RANGE) -> str:
        """Visits of touchpoints."""
        return self.grown(
            names.METRIC_TOUCHPOINT_DURATION, *by, where=where, within=within, part="_count"
        )

    def mean(self, instrument: str, *by: str, within: str = RANGE) -> str:
        """The mean of a histogram."""
        total = self.grown(instrument, *by, within=within, part="_sum")
        return f"{total} / {self.grown(instrument, *by, within=within, part='_count')}"

    def quantile(
        self,
        q: float,
        instrument: str,
        *by: str,
        where: Sequence[str] = (),
        within: str = RANGE,
    ) -> str:
        """A quantile of a histogram, estimated within a bucket."""
        buckets = self.grown(instrument, "le", *by, where=where, within=within, part="_bucket")
        return f"histogram_quantile({q}, {buckets})"

    def now(self, instrument: str, *by: str) -> str:
        """A level that goes up and down, as it stands."""
        return total(by, self.series(instrument))

    def completed(self, *by: str, within: str = RANGE) -> str:
        """The share of visits at which customers did what they came for."""
        done = self.visits(*by, where=(COMPLETED,), within=within)
        return share(done, self.visits(*by, within=within))

    def frictions(self, *by: str, within: str = RANGE) -> str:
        """Frictions for every 100 visits."""
        found = self.grown(names.METRIC_TOUCHPOINT_FRICTIONS, *by, within=within)
        return f"100 * {ratio(found, self.visits(*by, within=within))}"

    def broken(self, *by: str, within: str = RANGE) -> str:
        """The share of promises that are broken, of those that could be measured."""
        evaluations = names.METRIC_PROMISE_EVALUATIONS
        return share(
            self.grown(evaluations, *by, where=(BROKEN,), within=within),
            self.grown(evaluations, *by, where=(MEASURED,), within=within),
        )

    def gap(self, *by: str, within: str = RANGE) -> str:
        """How far what is delivered is from the target; more than 0 is worse than promised."""
        return f"{self.mean(names.METRIC_PROMISE_DELIVERED_RATIO, *by, within=within)} - 1"

    def gap_by_stage(self, within: str = RANGE) -> str:
        """The gap of the promises that are measured in a stage, each by how often it is.

        The gap itself is kept by promise, and not by stage.
        """
        gap = f"({self.gap(names.PROMISE_ID, within=within)})"
        evaluated = self.grown(
            names.METRIC_PROMISE_EVALUATIONS,
            names.STAGE_NAME,
            names.PROMISE_ID,
            where=(MEASURED,),
            within=within,
        )
        by_promise = f"* on ({label(names.PROMISE_ID)}) group_left ()"
        weighted, weights = (
            total([names.STAGE_NAME], f"{evaluated} {by_promise} {each}")
            for each in (gap, f"(0 * {gap} + 1)")
        )
        return f"{weighted} / {weights}"

    def net_value(self, *by: str, within: str = RANGE) -> str:
        """What customers brought, less what they were given back and what they cost."""
        value = names.METRIC_VALUE_ATTRIBUTED
        earned = self.grown(value, *by, where=(EARNED,), within=within)
        spent = self.grown(value, *by, where=(SPENT,), within=within)
        return f"({earned} or 0 * {spent}) - ({spent} or 0 * {earned})"

    def nps(self, *by: str, within: str = RANGE) -> str:
        """Promoters less detractors, of all who answered, from -100 to 100."""

        def answers(*where: str) -> str:
            responses = names.METRIC_FEEDBACK_RESPONSES
            return self.grown(responses, *by, where=where, within=within)

        everybody = answers(equal(names.FEEDBACK_TYPE, "nps"))
        promoters, detractors = (
            answers(equal(names.FEEDBACK_CATEGORY, each)) for each in ("promoter", "detractor")
        )
        return (
            f"100 * (({promoters} or 0 * {everybody}) - ({detractors} or 0 * {everybody}))"
            f" / {everybody}"
        )

    def happy_while_broken(self, *by: str) -> str:
        """The share of broken promises at which a function is happy with the customer."""
        verdicts = names.METRIC_FUNCTION_VERDICTS
        return share(
            self.grown(verdicts, *by, where=(BROKEN, HAPPY)),
            self.grown(verdicts, *by, where=(BROKEN,)),
        )

    def happy(self, *by: str, within: str = RANGE) -> str:
        """The share of touchpoints at which a function is happy with the customer."""
        verdicts = names.METRIC_FUNCTION_VERDICTS
        return share(
            self.grown(verdicts, *by, where=(HAPPY,), within=within),
            self.grown(verdicts, *by, within=within),
        )


def chosen(attribute: str, variable: str) -> str:
    """The condition that a label has the value of a variable, or one of its values."""
    return f'{label(attribute)}=~"${variable}"'


def ratio(part: str, whole: str) -> str:
    """How many for each; 0 and not nothing where none was ever counted."""
    return f"({part} or 0 * {whole}) / {whole}"


def share(part: str, whole: str) -> str:
    """A part of a whole: never more than 1, though both are guessed from what was scraped."""
    return f"clamp_max({ratio(part, whole)}, 1)"


def or_zero(expr: str) -> str:
    """0 where there is nothing."""
    return f"{expr} or vector(0)"


def top(count: int, expr: str) -> str:
    """The largest ones."""
    return f"topk({count}, {expr})"


def copied(expr: str, attribute: str, to: str) -> str:
    """A label once more under another name, for other words in its place."""
    return f'label_replace({expr}, "{to}", "$1", "{label(attribute)}", "(.*)")'


def listed(attribute: str, values: Iterable[str]) -> str:
    """Each of the values as a label of a series of its own, which counts them from 1.

    Such a table has a row for what the map plans and nobody has seen yet.
    """
    return " or ".join(
        f'label_replace(vector({place}), "{label(attribute)}", {_replacement(value)}, "", "")'
        for place, value in enumerate(values, 1)
    )


def _replacement(value: str) -> str:
    return quoted(value.replace("$", "$$"))


def planned(attribute: str, numbers: Mapping[str, float], seen: Callable[[str], str]) -> str:
    """What the map says of each value of a label, for those that were seen.

    Args:
        attribute: The attribute whose values the map says something of.
        numbers: What it says, by value.
        seen: Makes a query of 1 for each that was seen, of those under a condition.
    """
    alike: dict[float, list[str]] = {}
    for name, each in numbers.items():
        alike.setdefault(each, []).append(name)
    return " or ".join(
        f"{number(each)} * {seen(one_of(attribute, alike[each]))}" for each in sorted(alike)
    )


def objectives(journey_map: JourneyMap) -> Mapping[str, float]:
    """The objective of each promise that has one."""
    promises = journey_map.promises.values()
    return {each.id: each.objective for each in promises if each.objective is not None}
