"""Where a panel, a line or a cell leads: to another board, or to the traces behind it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cxtrace.platform.dashboards.facts import Link
from cxtrace.platform.links import boards, explore
from cxtrace.platform.links.encoding import Placeholder
from cxtrace.platform.links.searches import Search, search_for
from cxtrace.platform.prometheus import label

SERVICE: Final = "service"
"""The variable of the service to ask Jaeger for: it searches one at a time."""

VALUE: Final = Placeholder("${__value.raw}")
"""The value of the cell that is followed."""

_HERE: Final = "${__url_time_range}"
_SOURCES: Final = "&".join(
    f"${{{kind}_datasource:queryparam}}" for kind in ("prometheus", "tempo", "jaeger")
)
_TIMES: Final = (Placeholder("${__from}"), Placeholder("${__to}"))
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def line_label(attribute: str) -> Placeholder:
    """What a line that is followed has as a label."""
    return Placeholder(f"${{__field.labels.{label(attribute)}}}")


def chosen(variable: str) -> Placeholder:
    """What is chosen at the top of a board: one value."""
    return Placeholder(f"${{{variable}}}")


def board(uid: str, title: str, variables: Mapping[str, str]) -> Link:
    """Another board, with some of its variables set, over the same time."""
    joint = "&" if variables else ""
    return Link(title, f"{boards.url('', uid, variables)}{joint}{_HERE}&{_SOURCES}")


def tempo(search: Search, many: Mapping[str, str] = _NOTHING) -> Link:
    """The traces in Tempo, as TraceQL in Grafana's Explore.

    Args:
        search: What their spans or events have.
        many: Attributes, each with the variable that chooses one or several values.
    """
    # Not ``regex``, whose backslashes are no JSON: a dot may stand for any character here.
    matching = {name: Placeholder(f"${{{variable}:pipe}}") for name, variable in many.items()}
    url = explore.tempo("", search, chosen("tempo_datasource"), _TIMES, matching)
    return Link("Traces in Tempo", url)


def jaeger(search: Search) -> Link:
    """The traces in Jaeger, in Grafana's Explore: those of one service, where ``service`` says."""
    url = explore.jaeger("", search, chosen(SERVICE), chosen("jaeger_datasource"), _TIMES)
    return Link("Traces in Jaeger", url)


def traces(search: Search) -> tuple[Link, ...]:
    """The traces whose spans or events have these attributes, in both stores."""
    return tempo(search), jaeger(search)


def broken_promise(promise: str) -> tuple[Link, ...]:
    """The traces in which a promise was broken."""
    return traces(search_for("promise", promise))


def promise(uids: Mapping[str, str], which: str) -> tuple[Link, ...]:
    """The board of a promise, and the traces in which it was broken."""
    return (
        board(uids[boards.PROMISE], "This promise", {boards.PROMISE: which}),
        *broken_promise(which),
    )
