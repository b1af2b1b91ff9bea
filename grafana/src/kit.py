"""The visual language of the dashboards, and the one module that knows the library behind their JSON.

`docs/dashboards.md` says what each choice means to who looks at a dashboard. Everything here returns the library's
models; `render` makes them text that is the same each time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Literal, TypeAlias

from grafana_foundation_sdk.builders import bargauge, piechart, stat, statetimeline, table, text, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, prometheus, units
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import piechart as piechart_models
from grafana_foundation_sdk.models import text as text_models

# Colours by meaning. A state is also written wherever it is coloured, for whoever cannot tell red from green.
UP = "semi-dark-green"
DEGRADED = "semi-dark-orange"
DOWN = "semi-dark-red"
WARNING = "#b0870d"
UNKNOWN = "#7b8087"
#: A card that counts something bad, of which there is nothing.
QUIET = "#3b424c"
#: What is neither good nor bad: counts, sizes, settings.
NEUTRAL = "semi-dark-blue"
#: Rows that came. Between green and blue, and dark enough to be read on white.
INSERTED = "#3a9fae"
#: A number that is not coloured.
PLAIN = "text"
#: Where a limit does not hold yet.
INVISIBLE = "transparent"
#: For parts of a whole that have no state: neighbours differ, and none is a state's colour.
PARTS = ("#5794f2", "#b877d9", "#8ab8ff", "#7c2ea3", "#56b6c2", "#1f60c4", "#deb6f2", "#2f7f8f", "#c0d8ff", "#8f3bb8")

#: Something is not known that should be: Rounds or what it asks does not answer, or has not answered yet.
NO_DATA = "no data"
#: Nobody asked for this: a choice, no fault.
NOT_CONFIGURED = "not configured"
#: It is known that there is none.
NONE = "none"

COLUMNS = 24
# Sizes of panels: columns, and rows of 38 pixels. A line of panels has one height and fills the columns.
#: A card: one value.
SMALL_CARD, CARD = (3, 4), (4, 4)
#: Cards below each other, beside what is long.
TALL_CARDS = (4, 12)
#: A card of two or three values, and of up to six.
WIDE_CARD, CARDS = (6, 4), (8, 4)
#: Anything else.
THIRD, HALF, TWO_THIRDS, WHOLE = (8, 8), (12, 8), (16, 8), (24, 8)
#: What has many lines.
LONG_THIRD, LONG_HALF, LONG_TWO_THIRDS, LONG_WHOLE = (8, 12), (12, 12), (16, 12), (24, 12)
#: A few words that need no query.
WIDE_NOTE, NOTE = (16, 4), (24, 4)
#: Of a name and a value on cards with several of them, in pixels. A lone value fills its card.
NAME_SIZE, VALUE_SIZE = 14, 28
#: Of a value that is words.
WORDS_SIZE = 20
TAG = "rounds"
#: The tag of all but the first screen.
SISTERS = "rounds-detail"
#: The first screen.
HOME = "overview"
DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
#: The uid of the provisioned data source of the ledger, where there is one.
JOURNAL_UID = "journal"
#: The uid of the provisioned data source of the pipeline's database, where there is one.
APR_UID = "apr"
#: The uid of the provisioned data source of a log of runs, where there is one.
SYNCS_UID = "syncs"
#: What Grafana calls a data source of each kind of database.
DATABASES = {"mariadb": "mysql", "postgresql": "grafana-postgresql-datasource"}
#: Under which address Grafana serves the runbooks, where they are mounted.
RUNBOOKS = "/public/runbooks/"
#: The uid of the provisioned Prometheus data source.
PROMETHEUS_UID = "prometheus"
#: How many of 100 took no longer than a line says, in words, and what its colour is.
SHARES = {"half of them": 0.5, "90 of 100": 0.9, "95 of 100": 0.95, "99 of 100": 0.99}
SHARE_COLOURS = dict(zip(SHARES, (PARTS[2], PARTS[0], PARTS[5], PARTS[3]), strict=True))
#: Counters of probes rise once in 15 s: their rates need a longer look than the scrape interval gives.
PROBES_STEP = "30s"

#: A day without its time. Grafana takes what follows the colon for a format.
DATE = "time:YYYY-MM-DD"

#: Into how many bars the time shown is cut at most, where each has a sum of its own.
BARS = 72

Panel = models.Panel
Steps = Sequence[tuple[float | None, str]]
Texts = Mapping[Any, tuple[str, str]]

STATES: Texts = {0: ("up", UP), 1: ("degraded", DEGRADED), 2: ("down", DOWN), 3: (NO_DATA, UNKNOWN)}
STATE_COLOURS = {"up": UP, "degraded": DEGRADED, "down": DOWN}
#: What a table says in a cell without a value.
NOTHING = "\u2013"
SEVERITY_COLOURS = {"critical": DOWN, "error": DEGRADED, "warning": WARNING}


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL.
        legend: the name of its series, with labels as ``{{label}}``.
        step: the shortest step, where that of the data source is too short.
        limit: the colour in which its series are drawn as dashed limits; None for ordinary ones.
        listed: whether the legend names its series.
        colour: of its bars or cards, whatever their values are.
    """

    expr: str
    legend: str = ""
    step: str | None = None
    limit: str | None = None
    listed: bool = True
    colour: str | None = None


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: its heading.
        source: a label of the first query, or PromQL that gives one value for each row.
        label: whether ``source`` is a label.
        unit: of its values.
        steps: thresholds; with them the cell is coloured.
        texts: words and colours for numbers or labels; with them the whole cell is coloured.
        decimals: how many; None for as many as fit.
        width: in pixels; None for a share of what is left.
        link: where its cells lead.
        empty: what is said in a cell without a value.
        bar: the colour in which a bar tells the value too, as its share of the column's highest; with thresholds in
            theirs.
        full: the value of a whole bar, where it is not the column's highest.
        hidden: whether it is only there for links of other columns.
    """

    title: str
    source: str
    label: bool = False
    unit: str = "short"
    steps: Steps = ()
    texts: Texts | None = None
    decimals: int | None = None
    width: int | None = None
    link: tuple[str, str] | None = None
    empty: str = NOTHING
    bar: str | None = None
    full: float | None = None
    hidden: bool = False


def link_to(uid: str, title: str, **variables: str) -> tuple[str, str]:
    """A link to a dashboard, with its time, data source and some variables set."""
    chosen = "".join(f"&var-{name}={value}" for name, value in variables.items())
    return title, f"/d/{uid}?${{__url_time_range}}&${{datasource:queryparam}}{chosen}"


def runbook(column: str) -> tuple[str, str]:
    """A link to the page of the alert that a table's column names. Grafana serves these pages itself."""
    return "Read the runbook", f"{RUNBOOKS}${{__data.fields.{column}}}.md"


def sql_source(kind: str, uid: str) -> common.DataSourceRef:
    """A data source of this kind of `DATABASES`."""
    return common.DataSourceRef(type_val=DATABASES[kind], uid=uid)


def stat_panel(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    size: tuple[int, int],
    *,
    no_value: str,
    unit: str = "short",
    steps: Steps = (),
    texts: Texts | None = None,
    link: tuple[str, str] | None = None,
    background: bool = True,
    decimals: int | None = None,
    names: bool = False,
    words: bool = False,
    colours: Mapping[str, str] | None = None,
) -> Panel:
    """Cards: one big value for each series, on the colour of what it means. ``words``: its values are some each."""
    builder = (
        stat.Panel()
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.BACKGROUND_SOLID if background else common.BigValueColorMode.VALUE)
        .justify_mode(common.BigValueJustifyMode.AUTO)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME if names else common.BigValueTextMode.VALUE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .orientation(common.VizOrientation.AUTO)
    )
    if names:
        builder.text(
            common_builders.VizTextDisplayOptions()
            .title_size(NAME_SIZE)
            .value_size(WORDS_SIZE if words else VALUE_SIZE)
        )
    panel = _dressed(builder.build(), number, title, description, size, no_value=no_value, unit=unit)
    panel.targets = _targets(queries, instant=True)
    _value_colours(panel, steps or always(NEUTRAL), texts, decimals)
    if link:
        _defaults(panel).links = [_data_link(link)]
    named = (colours or {}).items()
    by_name = [_override("byName", name, thresholds=_thresholds(from_one(own))) for name, own in named]
    _overrides(panel, [*by_name, *_own_colours(panel.targets, queries)])
    return panel


def _own_colours(targets: Sequence[Any], queries: Sequence[Query]) -> list[models.DashboardFieldConfigSourceOverrides]:
    """The colours of queries that have one."""
    pairs = zip(targets, queries, strict=True)
    return [
        _override("byFrameRefID", _ref(target), color=_fixed(query.colour)) for target, query in pairs if query.colour
    ]


def from_one(colour: str) -> Steps:
    """Quiet at nothing, and coloured from one on."""
    return ((None, UNKNOWN), (0, QUIET), (1, colour))


def always(colour: str) -> Steps:
    """One colour for every number. Grafana takes the first step for what is not known, which must not look good."""
    return ((None, UNKNOWN), (0, colour))


def timeline(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    size: tuple[int, int],
    *,
    no_value: str,
    texts: Texts,
    ranges: Sequence[tuple[int, int, str]] = (),
    link: tuple[str, str] | None = None,
) -> Panel:
    """States over time, one line for each series.

    ``ranges`` gives colours to spans of numbers, where numbers rather than words are shown.
    """
    builder = (
        statetimeline.Panel()
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .align_value(common.TimelineValueAlignment.CENTER)
        .row_height(0.8)
        .fill_opacity(85)
        .line_width(0)
        .per_page(20)
        .legend(_legend(shown=not ranges))
        .tooltip(_tooltip(many=False))
    )
    panel = _dressed(builder.build(), number, title, description, size, no_value=no_value, unit="none")
    panel.targets = _targets(queries)
    _value_colours(panel, ((None, UNKNOWN),), texts, None)
    for low, high, colour in ranges:
        result = models.ValueMappingResult(color=colour)
        options = models.DashboardRangeMapOptions(from_val=low, to=high, result=result)
        mappings = _defaults(panel).mappings or []
        _defaults(panel).mappings = [*mappings, models.RangeMap(options=options)]
    if link:
        _defaults(panel).links = [_data_link(link)]
    return panel


def graph(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    size: tuple[int, int],
    *,
    no_value: str,
    unit: str,
    style: Literal["lines", "steps", "area", "bars"] = "lines",
    points: int | None = None,
    colour: str | None = None,
    colours: Mapping[str, str] | None = None,
    shades: Mapping[str, str] | None = None,
    limits: Steps = (),
    log: bool = False,
    minimum: float | None = 0,
    soft_minimum: float | None = None,
    soft_maximum: float | None = None,
    maximum: float | None = None,
    decimals: int | None = None,
    link: tuple[str, str] | None = None,
) -> Panel:
    """Numbers over time.

    Args:
        number: the panel's id.
        title: its heading.
        description: what it shows and what to do about it.
        queries: what is drawn.
        size: columns and rows of the grid.
        no_value: what is said where nothing was found.
        unit: of the values.
        style: lines that are compared, steps where a value holds until the next, or areas or bars that are parts of a
            sum.
        points: into how many slices the time shown is cut at most; None for as many as there are pixels.
        colour: of all series, where they are of one kind. None for lines: the palette, which tells them apart. Bars
            and areas whose names are not known before take shades of it, since in a filled graph the palette's red
            would be an alarm.
        colours: of series by their name.
        shades: of series by how their name begins, each a shade of that colour.
        limits: dashed lines at fixed values.
        log: whether the axis is logarithmic.
        minimum: where the axis begins; None for wherever the values do.
        soft_minimum: where it begins unless values are lower; with no ``minimum``.
        soft_maximum: where it ends unless values are higher, so that zeros do not float in a scale of hundreds.
        maximum: where it ends always, for a share that cannot be more.
        decimals: how many; None for as many as fit.
        link: where a click on a series leads.
    """
    builder = (
        timeseries.Panel()
        .draw_style(common.GraphDrawStyle.BARS if style == "bars" else common.GraphDrawStyle.LINE)
        # An area without a line: that of a part which is 0 would lie on the part below and seem to be a value.
        .line_width({"lines": 1, "steps": 2, "area": 0, "bars": 0}[style])
        # Parts of a whole hold until the next value; slopes between them would show sums that never were.
        .line_interpolation(
            common.LineInterpolation.STEP_AFTER if style in {"area", "steps"} else common.LineInterpolation.LINEAR
        )
        .fill_opacity({"lines": 0, "steps": 0, "area": 60, "bars": 85}[style])
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(False)
        .legend(_legend())
        .tooltip(_tooltip(many=True))
        .color_scheme(_series_colour(colour, shades=style in {"area", "bars"}))
    )
    if soft_minimum is not None:
        builder.axis_soft_min(soft_minimum)
    if soft_maximum is not None:
        builder.axis_soft_max(soft_maximum)
    if points is not None:
        builder.max_data_points(points)
    if style in {"area", "bars"}:
        builder.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if log:
        scale = common_builders.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10)
        builder.scale_distribution(scale)
    if limits:
        builder.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    panel = _dressed(builder.build(), number, title, description, size, no_value=no_value, unit=unit)
    panel.targets = _targets(queries)
    defaults = _defaults(panel)
    defaults.decimals = decimals
    defaults.min_val, defaults.max_val = None if log else minimum, maximum
    if limits:
        defaults.thresholds = _thresholds(limits)
    if link:
        defaults.links = [_data_link(link)]
    _overrides(panel, _series_looks(panel.targets, queries, colours or {}, shades or {}))
    return panel


def _series_looks(
    targets: Sequence[Any], queries: Sequence[Query], colours: Mapping[str, str], shades: Mapping[str, str]
) -> list[models.DashboardFieldConfigSourceOverrides]:
    """How single series differ from the others. The later of two goes before."""
    looks = [_override("byName", name, color=_fixed(colour)) for name, colour in colours.items()]
    for beginning, colour in shades.items():
        looks.append(_override("byRegexp", f"^{beginning}.*", color={"mode": "shades", "fixedColor": colour}))
    for target, query in zip(targets, queries, strict=True):
        drawn: dict[str, Any] = {}
        if query.limit:
            dashes = {"fill": "dash", "dash": [8, 6]}
            drawn |= {"color": _fixed(query.limit), "custom.lineStyle": dashes, "custom.fillOpacity": 0}
        if not query.listed:
            drawn["custom.hideFrom"] = {"legend": True, "tooltip": False, "viz": False}
        if drawn:
            looks.append(_override("byFrameRefID", _ref(target), **drawn))
    return looks


def bars(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    size: tuple[int, int],
    *,
    no_value: str,
    unit: str,
    steps: Steps = (),
    maximum: float | None = None,
    decimals: int | None = None,
    name: str | None = None,
    link: tuple[str, str] | None = None,
) -> Panel:
    """Values of now beside each other, one bar for each series, in the order of the queries.

    A ``name``, with labels as ``${__field.labels.NAME}``, stands above its bar, where a long one has room. Such a bar
    is made of cells, since one in a piece does not fill its frame when it is full. Without it the names of the queries
    stand beside the bars, and a lone bar has none.
    """
    builder = (
        bargauge.Panel()
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .orientation(common.VizOrientation.HORIZONTAL)
        .value_mode(common.BarGaugeValueMode.TEXT)
        .show_unfilled(True)
        .min_viz_height(42 if name else 14)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    if name:
        # Many are scrolled through, and one alone does not fill the panel.
        builder.sizing(common.BarGaugeSizing.MANUAL).max_viz_height(56)
        builder.name_placement(common.BarGaugeNamePlacement.TOP)
        builder.text(common_builders.VizTextDisplayOptions().title_size(NAME_SIZE).value_size(20))
        builder.display_mode(common.BarGaugeDisplayMode.LCD)
    panel = _dressed(builder.build(), number, title, description, size, no_value=no_value, unit=unit)
    panel.targets = _targets(queries, instant=True)
    _value_colours(panel, steps or always(NEUTRAL), None, decimals)
    _overrides(panel, _own_colours(panel.targets, queries))
    _defaults(panel).min_val, _defaults(panel).max_val = 0, maximum
    if name:
        _defaults(panel).display_name = name
    if link:
        _defaults(panel).links = [_data_link(link)]
    return panel


def pie(
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    size: tuple[int, int],
    *,
    no_value: str,
    colours: Mapping[str, str],
    unit: str = "locale",
    decimals: int | None = 0,
) -> Panel:
    """Parts of a whole now, one for each series, in the order of the queries. Their numbers stand in the legend."""
    legend = (
        piechart.PieChartLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.RIGHT)
        .values([piechart_models.PieChartLegendValues.VALUE, piechart_models.PieChartLegendValues.PERCENT])
    )
    builder = (
        piechart.Panel()
        .pie_type(piechart_models.PieChartType.DONUT)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .tooltip(_tooltip(many=False))
        .legend(legend)
        .color_scheme(_series_colour(None))
    )
    panel = _dressed(builder.build(), number, title, description, size, no_value=no_value, unit=unit)
    panel.targets = _targets(queries, instant=True)
    _defaults(panel).decimals = decimals
    _overrides(panel, [_override("byName", name, color=_fixed(colour)) for name, colour in colours.items()])
    return panel


def grid(
    number: int,
    title: str,
    description: str,
    columns: Sequence[Column],
    size: tuple[int, int],
    *,
    no_value: str,
    sort: tuple[str, bool],
    rows: str | None = None,
) -> Panel:
    """A table: one row for each combination of the labels that all its queries share.

    Args:
        number: the panel's id.
        title: its heading.
        description: what it shows and what to do about it.
        columns: left to right.
        size: columns and rows of the grid.
        no_value: what is said where nothing was found.
        sort: the column that orders the rows, and whether downwards.
        rows: a query that gives labels and no column; None where the first column with values gives them.
    """
    builder = (
        table.Panel()
        .show_header(True)
        .cell_height(common.TableCellHeight.SM)
        .sort_by([common_builders.TableSortByFieldState().display_name(sort[0]).desc(sort[1])])
    )
    panel = _dressed(builder.build(), number, title, description, size, no_value=no_value, unit="short")
    values = [column for column in columns if not column.label]
    expressions = [*([rows] if rows else []), *(column.source for column in values)]
    panel.targets = _targets([Query(expr) for expr in expressions], instant=True, as_table=True)
    names = [f"Value #{_ref(target)}" if len(panel.targets) > 1 else "Value" for target in panel.targets]
    hidden = ["Time", *(names[:1] if rows else [])]
    fields = dict(zip([column.title for column in values], names[1:] if rows else names, strict=True))
    fields |= {column.title: column.source for column in columns if column.label}
    organize = {
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {fields[column.title]: place for place, column in enumerate(columns)},
        "renameByName": {fields[column.title]: column.title for column in columns},
    }
    merge = [models.DataTransformerConfig(id_val="merge", options={})] if len(panel.targets) > 1 else []
    panel.transformations = [*merge, models.DataTransformerConfig(id_val="organize", options=organize)]
    _overrides(panel, [_column_override(column) for column in columns])
    return panel


def note(number: int, title: str, description: str, content: str, size: tuple[int, int]) -> Panel:
    """Words that need no query, in Markdown."""
    builder = text.Panel().mode(text_models.TextMode.MARKDOWN).content(content)
    panel = builder.title(title).description(description).id(number).build()
    panel.grid_pos = models.GridPos(w=size[0], h=size[1])
    return panel


def repeated(panel: Panel, variable: str, beside: int) -> Panel:
    """The panel once for each selected value of a variable, so many of them beside each other. Takes a whole line."""
    panel.repeat, panel.repeat_direction, panel.max_per_row = variable, "h", beside
    return panel


def sql_grid(
    number: int,
    title: str,
    description: str,
    columns: Sequence[Column],
    size: tuple[int, int],
    *,
    source: common.DataSourceRef,
    sql: str,
    no_value: str,
) -> Panel:
    """A table: the rows that an SQL query gives, in its order. The source of a column is one of the query's."""
    builder = table.Panel().show_header(True).cell_height(common.TableCellHeight.SM)
    panel = _dressed(builder.build(), number, title, description, size, no_value=no_value, unit="short")
    panel.datasource, panel.targets = source, [_SqlQuery(source, sql)]
    organize = {
        "excludeByName": {},
        "indexByName": {column.source: place for place, column in enumerate(columns)},
        "renameByName": {column.source: column.title for column in columns},
    }
    panel.transformations = [models.DataTransformerConfig(id_val="organize", options=organize)]
    _overrides(panel, [_column_override(column) for column in columns])
    return panel


@dataclass(frozen=True)
class Row:
    """A row of the dashboard. Its panels are placed left to right, and below where they no longer fit."""

    number: int
    title: str
    panels: Sequence[models.Panel]


@dataclass(frozen=True)
class Variable:
    """A variable whose values are those of a label.

    Attributes:
        name: as queries call it.
        label: as people read it.
        source: a selector of series that carry the label.
        values: the label, where it is not called like the variable.
        part: a regular expression whose group is the part of the label that is the value; empty for all of it.
    """

    name: str
    label: str
    source: str
    values: str = ""
    part: str = ""

    @property
    def query(self) -> str:
        """What the data source is asked."""
        return f"label_values({self.source}, {self.values or self.name})"


@dataclass(frozen=True)
class SqlVariable:
    """A variable whose values an SQL query gives.

    Attributes:
        name: as queries call it.
        label: as people read it.
        source: who is asked.
        query: what.
        one: whether one value is selected, at first the first one, and values stay in the order of the query.
    """

    name: str
    label: str
    source: common.DataSourceRef
    query: str
    one: bool = False


@dataclass(frozen=True)
class TextVariable:
    """A variable that people type, empty at first.

    Attributes:
        name: as queries call it.
        label: as people read it.
    """

    name: str
    label: str


AnyVariable: TypeAlias = Variable | SqlVariable | TextVariable


@dataclass(frozen=True)
class Mark:
    """Something that is marked in graphs at the time that its series tells, in milliseconds.

    Attributes:
        name: of the switch at the top that shows and hides these marks.
        expr: PromQL whose values are the times.
        title: of one mark, with labels as ``{{label}}``.
        text: what is told below it.
        colour: of the marks.
        shown: whether they are shown until somebody hides them.
    """

    name: str
    expr: str
    title: str
    text: str
    colour: str
    shown: bool = True


def render(
    uid: str,
    title: str,
    description: str,
    *,
    variables: Sequence[AnyVariable],
    alerts: str,
    rows: Sequence[Row],
    marks: Sequence[Mark] = (),
    time_from: str = "now-1h",
    refresh: str = "10s",
) -> str:
    """A whole dashboard as the text of its file. ``alerts`` selects the alerts that are marked in its graphs."""
    builder = (
        builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG] if uid == HOME else [TAG, SISTERS])
        .timezone("browser")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time(time_from, "now")
        .refresh(refresh)
        .annotation(
            builders.AnnotationQuery()
            .name("Alerts")
            .datasource(DATASOURCE)
            .enable(True)
            .icon_color(DOWN)
            .expr(f'ALERTS{{alertstate="firing",{alerts}}}')
            .title_format("{{alertname}} {{check}}{{table}}{{organization}}{{collector}}{{source}} {{app}}")
            .text_format("{{severity}}")
            .tag_keys("alertname,severity")
            .step("30s")
        )
        .with_variable(_datasource_variable())
    )
    for link in _sisters(uid):
        builder.link(link)
    for mark in marks:
        builder.annotation(_mark(mark))
    for variable in variables:
        builder.with_variable(_built(variable))
    dashboard = builder.build()
    dashboard.panels = list(_placed(rows))
    return encode(dashboard)


def _sisters(uid: str) -> list[builders.DashboardLink]:
    """Links to the other dashboards. Grafana sorts those of a tag by title, so the first screen has one of its own."""
    home = builders.DashboardLink("Overview").type(models.DashboardLinkType.LINK).url(f"/d/{HOME}").icon("dashboard")
    others = builders.DashboardLink("Rounds").type(models.DashboardLinkType.DASHBOARDS).tags([SISTERS])
    links = [others.as_dropdown(False)] if uid == HOME else [home, others.as_dropdown(False)]
    return [link.include_vars(True).keep_time(True) for link in links]


def encode(dashboard: models.Dashboard) -> str:
    """The text of a dashboard: sorted, and without what the library adds on its own account."""
    tree = json.loads(json.dumps(dashboard, cls=JSONEncoder))
    return json.dumps(_clean(tree), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def decode(text: str) -> models.Dashboard:
    """The library's model of a dashboard's text. Keys that it does not know are lost."""
    return models.Dashboard.from_json(json.loads(text))


def known_units() -> set[str]:
    """The units that Grafana knows."""
    named = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
    return named | {DATE}


def _clean(node: Any) -> Any:
    if isinstance(node, list):
        return [_clean(child) for child in node]
    if not isinstance(node, dict):
        return node
    # The first three belong to variables of another kind; Grafana takes the last for a wish to hide links in a menu.
    unwanted = {"auto", "auto_count", "auto_min"}
    if node.get("placement") == "inControlsMenu":
        unwanted.add("placement")
    return {key: _clean(child) for key, child in node.items() if key not in unwanted}


def _placed(rows: Sequence[Row]) -> list[models.Panel | models.RowPanel]:
    placed: list[models.Panel | models.RowPanel] = []
    top = 0
    for row in rows:
        header = models.GridPos(h=1, w=COLUMNS, x=0, y=top)
        placed.append(models.RowPanel(title=row.title, id_val=row.number, grid_pos=header, collapsed=False, panels=[]))
        left, top, height = 0, top + 1, 0
        for panel in row.panels:
            assert panel.grid_pos is not None  # noqa: S101 - for the type checker
            if left + panel.grid_pos.w > COLUMNS:
                left, top, height = 0, top + height, 0
            panel.grid_pos.x, panel.grid_pos.y = left, top
            left, height = left + panel.grid_pos.w, max(height, panel.grid_pos.h)
            placed.append(panel)
        top += height
    return placed


def _datasource_variable() -> builders.DatasourceVariable:
    current = models.VariableOption(text="Prometheus", value=PROMETHEUS_UID, selected=True)
    return builders.DatasourceVariable("datasource").label("Data source").type("prometheus").current(current)


def _mark(mark: Mark) -> builders.AnnotationQuery:
    return (
        builders.AnnotationQuery()
        .name(mark.name)
        .datasource(DATASOURCE)
        .enable(mark.shown)
        .icon_color(mark.colour)
        .expr(mark.expr)
        .title_format(mark.title)
        .text_format(mark.text)
        .use_value_for_time(True)
        # Marks that are no further apart become one with a length.
        .step("60s")
    )


def _built(variable: AnyVariable) -> builders.QueryVariable | builders.TextBoxVariable:
    if isinstance(variable, TextVariable):
        return builders.TextBoxVariable(variable.name).label(variable.label).default_value("")
    return _query_variable(variable) if isinstance(variable, Variable) else _sql_variable(variable)


def _query_variable(variable: Variable) -> builders.QueryVariable:
    query: dict[str, object] = {"query": variable.query, "refId": variable.name}
    # Also what has no such label, so that "All" hides nothing.
    builder = _choice(variable, DATASOURCE).query(query).definition(variable.query).all_value(".*")
    return builder.regex(variable.part) if variable.part else builder


def _sql_variable(variable: SqlVariable) -> builders.QueryVariable:
    builder = _one(variable, variable.source) if variable.one else _choice(variable, variable.source)
    return builder.query(variable.query).definition(variable.query)


def _one(variable: Variable | SqlVariable, source: common.DataSourceRef) -> builders.QueryVariable:
    """A variable of which one value is selected."""
    return (
        builders.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(source)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.DISABLED)
    )


def _choice(variable: Variable | SqlVariable, source: common.DataSourceRef) -> builders.QueryVariable:
    """A variable of which one, some or all values can be selected."""
    return (
        _one(variable, source)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(models.VariableOption(text=["All"], value=["$__all"], selected=True))
    )


class _SqlQuery(Dataquery):
    """A query of the MySQL and PostgreSQL data sources, which the library does not know."""

    def __init__(self, source: common.DataSourceRef, sql: str) -> None:
        self.source, self.sql = source, sql

    def to_json(self) -> dict[str, object]:
        """As it stands in the file."""
        asked = {"rawSql": self.sql, "rawQuery": True, "editorMode": "code", "format": "table"}
        return {"refId": "A", "datasource": self.source, **asked}


def _dressed(
    panel: models.Panel, number: int, title: str, description: str, size: tuple[int, int], *, no_value: str, unit: str
) -> Panel:
    panel.id_val, panel.title, panel.description = number, title, description
    panel.datasource = DATASOURCE
    panel.grid_pos = models.GridPos(w=size[0], h=size[1])
    defaults = _defaults(panel)
    defaults.no_value, defaults.unit = no_value, unit
    return panel


def _defaults(panel: models.Panel) -> models.FieldConfig:
    if panel.field_config is None:
        panel.field_config = models.FieldConfigSource()
    return panel.field_config.defaults


def _targets(queries: Sequence[Query], *, instant: bool = False, as_table: bool = False) -> list[Any]:
    targets = []
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        builder = prometheus_builders.Dataquery().ref_id(letter).datasource(DATASOURCE).expr(query.expr)
        builder.editor_mode(prometheus.QueryEditorMode.CODE).legend_format(query.legend or "__auto")
        builder = builder.instant() if instant else builder.range()
        builder.format(prometheus.PromQueryFormat.TABLE if as_table else prometheus.PromQueryFormat.TIME_SERIES)
        if query.step:
            builder.interval(query.step)
        targets.append(builder.build())
    return targets


def _ref(target: Any) -> str:
    return str(target.ref_id)


def _value_colours(panel: models.Panel, steps: Steps, texts: Texts | None, decimals: int | None) -> None:
    defaults = _defaults(panel)
    defaults.decimals = decimals
    defaults.color = models.FieldColor(mode=models.FieldColorModeId.THRESHOLDS)
    defaults.thresholds = _thresholds(steps)
    defaults.mappings = [_words(texts)] if texts else []


def _words(texts: Texts) -> models.ValueMap:
    results = {
        str(value): models.ValueMappingResult(text=text, color=colour, index=place)
        for place, (value, (text, colour)) in enumerate(texts.items())
    }
    return models.ValueMap(options=results)


def _thresholds(steps: Steps) -> models.ThresholdsConfig:
    thresholds = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return models.ThresholdsConfig(mode=models.ThresholdsMode.ABSOLUTE, steps=thresholds)


def _fixed(colour: str) -> dict[str, str]:
    return {"mode": "fixed", "fixedColor": colour}


def _override(matcher: str, options: str, **properties: Any) -> models.DashboardFieldConfigSourceOverrides:
    return models.DashboardFieldConfigSourceOverrides(
        matcher=models.MatcherConfig(id_val=matcher, options=options),
        properties=[models.DynamicConfigValue(id_val=name, value=value) for name, value in properties.items()],
    )


def _overrides(panel: models.Panel, overrides: list[models.DashboardFieldConfigSourceOverrides]) -> None:
    if panel.field_config is not None:
        panel.field_config.overrides = overrides


def _column_override(column: Column) -> models.DashboardFieldConfigSourceOverrides:
    properties: dict[str, Any] = {"unit": "string" if column.label else column.unit, "noValue": column.empty}
    if column.decimals is not None:
        properties["decimals"] = column.decimals
    if column.width is not None:
        properties["custom.width"] = column.width
    if column.texts:
        properties["mappings"] = [_words(column.texts)]
    if column.steps or column.texts:
        properties["thresholds"] = _thresholds(column.steps or ((None, UNKNOWN),))
        properties["color"] = {"mode": "thresholds"}
        cell = {"type": "color-background", "mode": "basic"} if column.texts else {"type": "color-text"}
        properties["custom.cellOptions"] = cell
    if column.texts:
        properties["custom.align"] = "center"
    if column.bar:
        properties |= {"min": 0} if column.steps else {"min": 0, "color": _fixed(column.bar)}
        properties["custom.cellOptions"] = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    if column.full is not None:
        properties["max"] = column.full
    if column.link:
        # Of what Grafana only serves it makes no page of its own.
        window = {"targetBlank": True} if column.link[1].startswith(RUNBOOKS) else {}
        properties["links"] = [{"title": column.link[0], "url": column.link[1], **window}]
    if column.hidden:
        # As Grafana calls it before and from its version 12.2.
        properties |= {"custom.hidden": True, "custom.hideFrom": {"legend": False, "tooltip": False, "viz": True}}
    return _override("byName", column.title, **properties)


def _data_link(link: tuple[str, str]) -> models.DashboardLink:
    return models.DashboardLink(title=link[0], url=link[1], type_val=models.DashboardLinkType.LINK)


def _series_colour(colour: str | None, *, shades: bool = False) -> builders.FieldColor:
    if shades:
        return builders.FieldColor().mode(models.FieldColorModeId.SHADES).fixed_color(colour or NEUTRAL)
    if colour:
        return builders.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color(colour)
    return builders.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC)


def _legend(*, shown: bool = True) -> common_builders.VizLegendOptions:
    options = common_builders.VizLegendOptions().show_legend(shown).calcs([])
    return options.display_mode(common.LegendDisplayMode.LIST).placement(common.LegendPlacement.BOTTOM)


def _tooltip(*, many: bool) -> common_builders.VizTooltipOptions:
    mode = common.TooltipDisplayMode.MULTI if many else common.TooltipDisplayMode.SINGLE
    return common_builders.VizTooltipOptions().mode(mode).sort(common.SortOrder.DESCENDING)
