"""Every dashboard speaks one visual language, and the rules notice what does not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from grafana.src import build, kit

from grafana.language import ROWS, colour_literals, contradictions, findings
from grafana.lint import Json

#: With those that are provisioned only where Grafana may read a database. Of twins for two databases the first.
DASHBOARDS: dict[str, Json] = {}
for _text in build.generated().values():
    _dashboard = json.loads(_text)
    DASHBOARDS.setdefault(_dashboard["uid"], _dashboard)
#: Those that show rows of a database, and have no Now if that has none.
LISTS = {"tables-journal", "apr-records", "syncs-history"}


@pytest.mark.parametrize("uid", sorted(DASHBOARDS))
def test_a_dashboard_speaks_the_language(uid: str) -> None:
    assert findings(DASHBOARDS[uid]) == []


@pytest.mark.parametrize("uid", sorted(DASHBOARDS.keys() - LISTS))
def test_rows_are_now_history_and_detail(uid: str) -> None:
    rows = [panel["title"].partition(":")[0] for panel in DASHBOARDS[uid]["panels"] if panel["type"] == "row"]
    # Of how fresh all is the overview alone tells, and its detail is the other dashboards.
    without = "Detail" if uid == kit.HOME else "Freshness"
    assert rows == [row for row in ROWS if row != without]


def test_what_is_called_alike_looks_alike() -> None:
    assert contradictions(DASHBOARDS.values()) == []


def test_colours_stand_in_one_module() -> None:
    assert colour_literals(build.GRAFANA / "src") == []


def test_a_colour_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "kit.py").write_text('UP = "green"\n', encoding="utf-8")
    (tmp_path / "mine.py").write_text('LOOKS = ["semi-dark-red", "text", "#123abc", "greenish"]\n', encoding="utf-8")
    found = [each.rpartition(" ")[2] for each in colour_literals(tmp_path)]
    assert found == ["semi-dark-red", "text", "#123abc"]


def _panel(dashboard: Json, kind: str = "timeseries") -> Json:
    found: Json = next(panel for panel in dashboard["panels"] if panel["type"] == kind)
    return found


def _swapped_rows(dashboard: Json) -> None:
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    rows[0]["title"], rows[1]["title"] = rows[1]["title"], rows[0]["title"]


def _row_of_another_name(dashboard: Json) -> None:
    _panel(dashboard, "row")["title"] = "Overview"


def _panel_before_the_rows(dashboard: Json) -> None:
    dashboard["panels"][:2] = dashboard["panels"][1::-1]


def _hole(dashboard: Json) -> None:
    dashboard["panels"].remove(_panel(dashboard))


def _ragged_line(dashboard: Json) -> None:
    _panel(dashboard)["gridPos"]["h"] = kit.LONG_HALF[1]


def _odd_size(dashboard: Json) -> None:
    for panel in dashboard["panels"]:
        panel["gridPos"]["h"] = 9


def _tall_card(dashboard: Json) -> None:
    _panel(dashboard, "stat")["gridPos"]["h"] = 8


def _cut_title(dashboard: Json) -> None:
    _panel(dashboard, "stat")["title"] = "Checks that find their service down"


def _coarse_scale(dashboard: Json) -> None:
    _panel(dashboard)["fieldConfig"]["defaults"] |= {"unit": "percentunit", "decimals": 0}


def _two_of_one_title(dashboard: Json) -> None:
    _panel(dashboard)["title"] = _panel(dashboard, "table")["title"]


def _alerts_elsewhere(dashboard: Json) -> None:
    cards = [panel for panel in dashboard["panels"] if panel["type"] == "stat"]
    alerts = next(card for card in cards if card["title"] == "Firing alerts")
    cards[0]["title"], alerts["title"] = alerts["title"], cards[0]["title"]


def _no_paragraph(dashboard: Json) -> None:
    _panel(dashboard)["description"] = "Response time."


def _essay(dashboard: Json) -> None:
    _panel(dashboard)["description"] *= 3


def _jargon(dashboard: Json) -> None:
    _panel(dashboard)["description"] = "How long the scrape of each check took, of those that are selected at the top."


def _jargon_in_a_legend(dashboard: Json) -> None:
    _panel(dashboard)["targets"][0]["legendFormat"] = "p99"


def _raw_name(dashboard: Json) -> None:
    _panel(dashboard)["description"] = "What rounds_check_response_seconds says of each of the selected checks."


def _alert_name(dashboard: Json) -> None:
    _panel(dashboard)["description"] = "Above the dashed line ServiceDown fires for each of the selected checks."


def _other_word_for_nothing(dashboard: Json) -> None:
    _panel(dashboard, "stat")["fieldConfig"]["defaults"]["noValue"] = "N/A"


def _nothing_without_a_reason(dashboard: Json) -> None:
    _panel(dashboard)["fieldConfig"]["defaults"]["noValue"] = "-"


def _foreign_colour(dashboard: Json) -> None:
    _panel(dashboard)["fieldConfig"]["defaults"]["color"] = {"mode": "fixed", "fixedColor": "hotpink"}


FAULTS: list[tuple[str, Callable[[Json], None]]] = [
    ("rows", _swapped_rows),
    ("rows", _row_of_another_name),
    ("rows", _panel_before_the_rows),
    ("line", _hole),
    ("line", _ragged_line),
    ("size", _odd_size),
    ("size", _tall_card),
    ("size", _cut_title),
    ("size", _coarse_scale),
    ("title", _two_of_one_title),
    ("title", _alerts_elsewhere),
    ("words", _no_paragraph),
    ("words", _essay),
    ("words", _jargon),
    ("words", _jargon_in_a_legend),
    ("words", _raw_name),
    ("words", _alert_name),
    ("words", _other_word_for_nothing),
    ("words", _nothing_without_a_reason),
    ("colour", _foreign_colour),
]


@pytest.mark.parametrize(("rule", "plant"), FAULTS, ids=[plant.__name__ for _, plant in FAULTS])
def test_a_planted_fault_is_found(rule: str, plant: Callable[[Json], None]) -> None:
    sound = DASHBOARDS["services"]
    broken = copy.deepcopy(sound)
    plant(broken)
    assert broken != sound, "the fault was planted"
    assert rule in {found.partition(":")[0] for found in findings(broken)}


def test_a_contradiction_is_found() -> None:
    one, other = copy.deepcopy(DASHBOARDS["services"]), copy.deepcopy(DASHBOARDS["services"])
    graph = _panel(other)
    graph["fieldConfig"]["defaults"]["unit"] = "bytes"
    (title,) = [found for found in contradictions([one, other]) if found.startswith("unit")]
    assert graph["title"] in title
    states = next(panel for panel in other["panels"] if panel["title"] == "Checks by state")
    states["fieldConfig"]["overrides"][0]["properties"][0]["value"]["fixedColor"] = kit.DOWN
    assert any(found.startswith("colour: up") for found in contradictions([one, other]))
