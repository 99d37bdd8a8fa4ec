"""Boards as Grafana reads them: the facts, through Grafana's foundation SDK."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cxtrace.platform.dashboards.facts import (
    Board,
    Column,
    Key,
    Link,
    Panel,
    Query,
    Steps,
    Variable,
)
from cxtrace.platform.prometheus import label
from cxtrace.platform.writing import MissingExtraError, json_text, needed

PROMETHEUS: Final = "prometheus_datasource"
TAG: Final = "cxtrace"
LEAST_WIDTH: Final = 60
"""Of a column, in pixels."""
WIDTH_OF_NAMES: Final = 150
WIDTH_OF_WORDS: Final = 220
WIDTH_OF_NUMBERS: Final = 50
THICKEST_BAR: Final = 40
"""In pixels. One alone would fill its panel."""
LEAST_STEP: Final = "5m"
"""Shorter steps would show visits of customers as noise."""

_SOURCES: Final = ("prometheus", "tempo", "jaeger")
_EVERYTHING: Final = ".*"
"""What matches every value of a label, and where there is none."""


def dashboard_text(board: Board, uid: str, made_by: str) -> str:
    """A dashboard as the text of its file.

    Args:
        board: What it shows.
        uid: Its address, at most 40 characters.
        made_by: Stands at the top of its description, for JSON has no comments.

    Raises:
        MissingExtraError: Grafana's foundation SDK is not installed.
    """
    if sys.version_info < (3, 11):
        raise MissingExtraError("dashboards need Python 3.11, as Grafana's foundation SDK does")
    dashboards = needed("grafana_foundation_sdk.builders.dashboard")
    models = needed("grafana_foundation_sdk.models.dashboard")
    encoder = needed("grafana_foundation_sdk.cog.encoder").JSONEncoder
    built = (
        dashboards.Dashboard(f"{board.title} · cxtrace")
        .uid(uid)
        .description(f"{board.description}\n\n{made_by}")
        .tags([TAG])
        .readonly()
        .time("now-24h", "now")
        .refresh("5m")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboards.DashboardLink("Boards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .variables(_variables(board))
    )
    number = 0
    for row in board.rows:
        built = built.with_row(dashboards.Row(row.title))
        for panel in row.panels:
            number += 1
            built = built.with_panel(_panel(panel).id(number))
    document = json.loads(json.dumps(built.build(), cls=encoder))
    return json_text(_with_ids_of_rows(document, number))


def _with_ids_of_rows(document: Any, last: int) -> Any:
    for panel in document["panels"]:
        if panel["type"] == "row":
            last += 1
            panel["id"] = last
    return document


# Variables


def _variables(board: Board) -> list[Any]:
    dashboards = needed("grafana_foundation_sdk.builders.dashboard")
    sources = [
        dashboards.DatasourceVariable(f"{kind}_datasource")
        .label(f"{kind.capitalize()} data source")
        .type(kind)
        for kind in _SOURCES
    ]
    more = dashboards.AdHocVariable("filters").label("Filters").datasource(_prometheus())
    return [*sources, *map(_variable, board.variables), more]


def _variable(variable: Variable) -> Any:
    dashboards = needed("grafana_foundation_sdk.builders.dashboard")
    models = needed("grafana_foundation_sdk.models.dashboard")
    if variable.values:
        built = dashboards.CustomVariable(variable.name).values(", ".join(variable.values))
    else:
        built = (
            dashboards.QueryVariable(variable.name)
            .query({"query": variable.query, "refId": variable.name})
            .datasource(_prometheus())
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .regex(variable.regex)
        )
    built = built.label(variable.label).multi(variable.many).include_all(variable.many)
    if variable.many:
        everything = models.VariableOption(text="All", value="$__all", selected=True)
        return built.all_value(_EVERYTHING).current(everything)
    return built


def _prometheus() -> Any:
    models = needed("grafana_foundation_sdk.models.dashboard")
    return models.DataSourceRef(type_val="prometheus", uid=f"${{{PROMETHEUS}}}")


# Panels


def _panel(panel: Panel) -> Any:
    make = {"stat": _stat, "series": _series, "bars": _bars, "table": _table}[panel.kind]
    built = (
        make(panel)
        .title(panel.title)
        .description(panel.description)
        .datasource(_prometheus())
        .span(panel.width)
        .height(panel.height)
    )
    return built.links(_links(panel.links)) if panel.links else built


def _stat(panel: Panel) -> Any:
    common = needed("grafana_foundation_sdk.models.common")
    built = needed("grafana_foundation_sdk.builders.stat").Panel()
    built = built.color_mode(common.BigValueColorMode.VALUE)
    built = built.graph_mode(common.BigValueGraphMode.NONE)
    return _plain(built, panel, is_instant=True)


def _bars(panel: Panel) -> Any:
    common = needed("grafana_foundation_sdk.models.common")
    builders = needed("grafana_foundation_sdk.builders.common")
    built = needed("grafana_foundation_sdk.builders.bargauge").Panel()
    built = built.orientation(common.VizOrientation.HORIZONTAL)
    built = built.display_mode(common.BarGaugeDisplayMode.BASIC)
    built = built.name_placement(common.BarGaugeNamePlacement.TOP)
    built = built.sizing(common.BarGaugeSizing.MANUAL).max_viz_height(THICKEST_BAR)
    built = built.text(builders.VizTextDisplayOptions().title_size(14).value_size(18))
    # By itself Grafana shows no name where there is one bar.
    built = built.display_name("${__series.name}")
    return _plain(built.min(0), panel, is_instant=True)


def _series(panel: Panel) -> Any:
    common = needed("grafana_foundation_sdk.models.common")
    builders = needed("grafana_foundation_sdk.builders.common")
    models = needed("grafana_foundation_sdk.models.dashboard")
    dashboards = needed("grafana_foundation_sdk.builders.dashboard")
    built = needed("grafana_foundation_sdk.builders.timeseries").Panel()
    # By name would keep a line's colour, but Grafana 10 goes by the field's: "Value" for each line.
    palette = dashboards.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC)
    built = built.interval(LEAST_STEP).color_scheme(palette)
    built = built.show_points(common.VisibilityMode.AUTO)
    if panel.stacked:
        built = built.stacking(builders.StackingConfig().mode(common.StackingMode.NORMAL))
        built = built.fill_opacity(30).min(0)
    if len(panel.steps) > 1:
        style = builders.GraphThresholdsStyleConfig()
        built = built.thresholds_style(style.mode(common.GraphThresholdsStyleMode.DASHED))
    return _plain(built, panel, is_instant=False)


def _plain(built: Any, panel: Panel, *, is_instant: bool) -> Any:
    built = built.unit(panel.unit).thresholds(_thresholds(panel.steps))
    for place, query in enumerate(panel.queries):
        built = built.with_target(_target(query, chr(ord("A") + place), is_instant=is_instant))
    return built.data_links(_links(panel.value_links)) if panel.value_links else built


def _target(query: Query, ref: str, *, is_instant: bool) -> Any:
    prometheus = needed("grafana_foundation_sdk.builders.prometheus")
    built = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(_prometheus())
    built = built.legend_format(query.legend or "__auto")
    if query.exemplars:
        built = built.exemplar(True)
    return built.instant() if is_instant else built.range()


def _thresholds(steps: Steps) -> Any:
    dashboards = needed("grafana_foundation_sdk.builders.dashboard")
    models = needed("grafana_foundation_sdk.models.dashboard")
    found = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboards.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def _links(links: Sequence[Link]) -> list[Any]:
    dashboards = needed("grafana_foundation_sdk.builders.dashboard")
    models = needed("grafana_foundation_sdk.models.dashboard")
    return [
        dashboards.DashboardLink(each.title).type(models.DashboardLinkType.LINK).url(each.url)
        for each in links
    ]


# Tables


def _table(panel: Panel) -> Any:
    """A query for each column; Grafana joins them where their labels are the same."""
    prometheus = needed("grafana_foundation_sdk.models.prometheus")
    builders = needed("grafana_foundation_sdk.builders.common")
    built = needed("grafana_foundation_sdk.builders.table").Panel()
    refs = {chr(ord("A") + place): column for place, column in enumerate(panel.columns)}
    for ref, column in refs.items():
        target = _target(Query(column.expr), ref, is_instant=True)
        built = built.with_target(target.format(prometheus.PromQueryFormat.TABLE))
    for transformation in _joined(panel.keys, {ref: each.name for ref, each in refs.items()}):
        built = built.with_transformation(transformation)
    for key in panel.keys:
        built = built.override_by_name(key.name, _key_settings(key))
    for column in panel.columns:
        built = built.override_by_name(column.name, _column_settings(column))
    order = builders.TableSortByFieldState().display_name(panel.sort_by.removeprefix("-"))
    # By itself a column has at least 150 pixels, and the last ones are out of sight.
    return built.min_width(LEAST_WIDTH).sort_by([order.desc(panel.sort_by.startswith("-"))])


def _joined(keys: Sequence[Key], columns: Mapping[str, str]) -> list[Any]:
    models = needed("grafana_foundation_sdk.models.dashboard")
    labels = {label(key.label): key.name for key in keys}
    values = {f"Value #{ref}": name for ref, name in columns.items()}
    options = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate([*labels, *values])},
        "renameByName": {**labels, **values},
    }
    return [
        models.DataTransformerConfig(id_val="merge", options={}),
        models.DataTransformerConfig(id_val="organize", options=options),
    ]


def _key_settings(key: Key) -> list[Any]:
    width = WIDTH_OF_WORDS if key.words else WIDTH_OF_NAMES
    settings: dict[str, object] = {"custom.filterable": True, "custom.minWidth": width}
    if key.links:
        settings["links"] = [{"title": each.title, "url": each.url} for each in key.links]
    if key.words:
        texts = {
            value: {"text": words, "index": place}
            for place, (value, words) in enumerate(key.words.items())
        }
        settings["mappings"] = [{"type": "value", "options": texts}]
        settings["custom.inspect"] = True
    return _settings(settings)


def _column_settings(column: Column) -> list[Any]:
    settings: dict[str, object] = {"unit": column.unit}
    if column.is_narrow:
        settings["custom.width"] = WIDTH_OF_NUMBERS
    if column.steps:
        steps = [{"value": value, "color": colour} for value, colour in column.steps]
        settings["thresholds"] = {"mode": "absolute", "steps": steps}
        settings["custom.cellOptions"] = {"type": "color-text"}
    return _settings(settings)


def _settings(settings: Mapping[str, object]) -> list[Any]:
    models = needed("grafana_foundation_sdk.models.dashboard")
    return [models.DynamicConfigValue(name, value) for name, value in settings.items()]
