"""Both exposition formats, against the official parsers."""

from __future__ import annotations

import gzip
import math
import subprocess
import threading

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import CollectorRegistry

from rounds.errors import CollectorError
from rounds.exposition import Exposition, render
from rounds.metrics import Family, HistogramCounter, Metric, format_value
from support.binaries import require_binary

ROWS = Metric("rounds_test_rows", "gauge", 'Rows, "counted"\nby a \\ test.', ("table",))
CHANGES = Metric("rounds_test_changes_total", "counter", "Changes of a test.", ("table",))
SECONDS = Metric("rounds_test_seconds", "histogram", "Durations of a test.", ("table",))
PLAIN = Metric("rounds_test_plain", "gauge", "Without labels.")
ODD = 'a\\b"c\nd{e}=,é\U0001f600'


def histogram(*values: float) -> HistogramCounter:
    counter = HistogramCounter((0.1, 1, 2.5))
    for value in values:
        counter.observe(value)
    return counter


def families(table: str = "a", value: float = 1) -> list[Family]:
    return [
        ROWS.family([((table,), value)]),
        CHANGES.family([((table,), 7)]),
        SECONDS.family([((table,), histogram(0.1, 0.5, 3).value())]),
    ]


def exposition(*tables: str) -> Exposition:
    made = Exposition()
    for table in tables:
        made.publish(f"tables/{table}", "tables", families(table))
    return made


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("openmetrics", [False, True])
def test_official_parsers_read_what_was_published(openmetrics: bool, compressed: bool) -> None:
    made = exposition("a", ODD)
    tail = [PLAIN.family([((), 3.5)])]
    body = made.render(openmetrics=openmetrics, gzip=compressed, tail=tail)
    text = (gzip.decompress(body) if compressed else body).decode()
    parsed = list((parse_openmetrics if openmetrics else parse_text)(text))
    samples = {
        (s.name, s.labels.get("table"), s.labels.get("le")): s.value for family in parsed for s in family.samples
    }
    assert samples["rounds_test_rows", "a", None] == 1
    assert samples["rounds_test_rows", ODD, None] == 1
    assert samples["rounds_test_changes_total", "a", None] == 7
    assert samples["rounds_test_seconds_bucket", "a", "0.1"] == 1
    assert samples["rounds_test_seconds_bucket", "a", "1.0"] == 2
    assert samples["rounds_test_seconds_bucket", "a", "+Inf"] == samples["rounds_test_seconds_count", "a", None] == 3
    assert samples["rounds_test_seconds_sum", "a", None] == 3.6
    assert samples["rounds_test_plain", None, None] == 3.5
    kinds = {family.name: family.type for family in parsed}
    assert kinds["rounds_test_changes"] == "counter"
    assert kinds["rounds_test_seconds"] == "histogram"
    assert next(family for family in parsed if family.name == "rounds_test_rows").documentation == ROWS.help
    assert len(parsed) == len({family.name for family in parsed}), "a family must come in one piece"
    assert text.endswith("# EOF\n") is openmetrics


@pytest.mark.parametrize("value", [0, 1, -1.5, 1e15, 1e16, 1e-9, 1795335592.25, math.pi, math.inf, -math.inf, math.nan])
def test_values_are_spelt_so_that_they_are_read_back_exactly(value: float) -> None:
    read = float(format_value(value))
    assert read == value or (math.isnan(read) and math.isnan(value))


def test_lines_are_those_of_the_client_library() -> None:
    registry = CollectorRegistry()
    gauge = GaugeMetricFamily(ROWS.name, ROWS.help, labels=["table"])
    gauge.add_metric([ODD], 1.25)
    counter = CounterMetricFamily(CHANGES.name, CHANGES.help, labels=["table"])
    counter.add_metric(["a"], 1.5)

    class Both:
        def collect(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
            return [gauge, counter]

    registry.register(Both())
    ours = render([ROWS.family([((ODD,), 1.25)]), CHANGES.family([(("a",), 1.5)])])
    assert ours == generate_latest(registry)


def test_promtool_has_nothing_to_say() -> None:
    result = subprocess.run(
        [require_binary("promtool"), "check", "metrics"],
        input=exposition("a").render(),
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_vanished_rows_vanish() -> None:
    made = exposition("a")
    made.publish("tables/a", "tables", [ROWS.family([(("b",), 2)])])
    assert made.render().decode().splitlines()[2:] == ['rounds_test_rows{table="b"} 2']
    made.withdraw("tables/a")
    assert made.render() == b""


def test_stale_samples_are_dropped_though_nothing_is_published() -> None:
    now = [0.0]
    made = Exposition(clock=lambda: now[0])
    made.publish("tables/a", "tables", families("a"), fresh_for=30)
    made.publish("tables/b", "tables", families("b"), fresh_for=60)
    assert b'table="a"' in made.render(gzip=False)
    now[0] = 30.0
    assert b'table="a"' not in made.render()
    assert b'table="b"' in made.render()
    assert (made.samples("tables/a"), made.samples("tables/b")) == (0, 8)


def test_only_the_collectors_asked_for() -> None:
    made = exposition("a")
    made.publish("services/x", "services", [PLAIN.family([((), 1)])])
    assert b"rounds_test_plain" not in made.render(collectors=frozenset({"tables"}))
    assert b"rounds_test_plain" in made.render(collectors=frozenset({"services"}))


def test_an_unchanged_snapshot_is_not_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = exposition("a", "b")
    first = made.render(gzip=True)
    monkeypatch.setattr("rounds.exposition.render_samples", lambda _: pytest.fail("rendered again"))
    assert made.is_rendered(openmetrics=False)
    assert made.render(gzip=True) == first


def test_a_change_renders_only_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = exposition("a", "b")
    made.render()
    rendered: list[str] = []

    def note(family: Family) -> str:
        rendered.append(family.samples[0][0][0])
        return "x\n"

    monkeypatch.setattr("rounds.exposition.render_samples", note)
    made.publish("tables/b", "tables", families("b", 2))
    assert not made.is_rendered(openmetrics=False)
    made.render()
    assert set(rendered) == {"b"}


def test_scrapes_during_publications_see_whole_families() -> None:
    made = exposition("a")
    stop = threading.Event()

    def publish() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            made.publish("tables/a", "tables", [ROWS.family([((name,), number) for name in "xyz"])])

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        for _ in range(300):
            text = gzip.decompress(made.render(gzip=True)).decode()
            values = {line.rpartition(" ")[2] for line in text.splitlines() if line.startswith("rounds_test_rows{")}
            assert len(values) == 1
    finally:
        stop.set()
        thread.join()


def test_null_is_no_sample_and_a_null_label_is_empty() -> None:
    family = ROWS.family([(("a",), None), ((None,), 2)])
    assert family.samples == ((("",), 2),)


def test_two_samples_of_one_label_set_are_an_error_that_names_it() -> None:
    with pytest.raises(CollectorError, match=r"rounds_test_rows has two samples for \{table='a'\}") as raised:
        ROWS.family([(("a",), 1), (("a",), 2)])
    assert raised.value.reason == "value"


def test_a_family_without_samples_leaves_no_trace() -> None:
    made = Exposition()
    made.publish("tables/a", "tables", [ROWS.family([])])
    assert made.render() == b""
