"""Thresholds, hysteresis and what becomes of them in metrics and in /health."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rounds.exposition import Exposition, render
from rounds.services.config import Check, ServicesSection
from rounds.services.health import health
from rounds.services.history import History
from rounds.services.result import REASONS, ProbeResult, Reason, State
from rounds.services.state import CheckMetrics, CheckState, verdict

GOLDEN = Path(__file__).parent / "golden.prom"


def make_check(**settings: Any) -> Check:
    """A check with the default thresholds."""
    section = {
        "labels": list(settings.get("labels", ())),
        "checks": [{"name": "check", "url": "http://127.0.0.1/", **settings}],
    }
    return ServicesSection.model_validate(section).checks[0]


def answered(elapsed: float, reason: Reason | None = None, **more: Any) -> ProbeResult:
    return ProbeResult(1_000.0, elapsed, reason, "in words" if reason else "", answered=True, **more)


def after(*results: ProbeResult, **settings: Any) -> CheckState:
    check = make_check(**settings)
    state = CheckState()
    for result in results:
        state.update(result, check)
    return state


GOOD, SLOW, BAD = answered(0.1), answered(1.5), answered(0.1, "http_status")


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [
        (0.0, ("up", None)),
        (0.999, ("up", None)),
        (1.0, ("degraded", None)),
        (4.999, ("degraded", None)),
        (5.0, ("down", "slow")),
        (9.0, ("down", "slow")),
    ],
)
def test_thresholds_belong_to_the_worse_side(elapsed: float, expected: tuple[State, Reason | None]) -> None:
    assert verdict(answered(elapsed), make_check()) == expected


def test_thresholds_are_the_checks_own() -> None:
    check = make_check(degraded_after="2s", down_after="3s")
    assert [verdict(answered(t), check)[0] for t in (1.5, 2, 3)] == ["up", "degraded", "down"]


def test_a_failure_is_down_however_quick_it_was() -> None:
    assert verdict(BAD, make_check()) == ("down", "http_status")


def states(results: list[ProbeResult], **settings: Any) -> list[State | None]:
    return [after(*results[: count + 1], **settings).state for count in range(len(results))]


def test_one_probe_decides_by_default() -> None:
    assert states([GOOD, BAD, GOOD, SLOW, BAD]) == ["up", "down", "up", "degraded", "down"]


def test_failures_before_down() -> None:
    assert states([GOOD, BAD, BAD, BAD], failures_before_down=3) == ["up", "up", "up", "down"]
    assert states([GOOD, BAD, GOOD, BAD, BAD], failures_before_down=2)[:4] == ["up"] * 4
    assert states([BAD], failures_before_down=3) == ["down"], "nothing better is known of it"


def test_successes_before_up() -> None:
    assert states([BAD, GOOD, GOOD, GOOD], successes_before_up=3) == ["down", "down", "down", "up"]
    assert states([BAD, GOOD, BAD, GOOD, SLOW], successes_before_up=2) == ["down"] * 4 + ["degraded"]


def test_being_slow_is_seen_at_once() -> None:
    assert states([GOOD, SLOW, GOOD], failures_before_down=3, successes_before_up=3) == ["up", "degraded", "up"]


def test_the_raw_counts_know_no_hysteresis() -> None:
    state = after(GOOD, BAD, BAD, failures_before_down=5)
    assert (state.state, state.consecutive_failures, state.failures["http_status"], state.probes) == ("up", 2, 2, 3)


def test_slowness_is_a_failure_with_a_reason_of_its_own() -> None:
    state = after(answered(6.0))
    assert state.failures["slow"] == 1
    assert state.error == "slow: answered after 6.000 s"


def test_the_transition_is_when_the_state_changed() -> None:
    first = ProbeResult(100.0, 1.0, "timeout", "", answered=True)
    state = after(first, ProbeResult(200.0, 1.0, "dns", ""), ProbeResult(300.0, 0.5, answered=True))
    assert state.since == 300.5
    assert after(first, ProbeResult(200.0, 1.0, "dns", "")).since == 101.0


def exposed(state: CheckState, extra: tuple[str, ...] = (), **settings: Any) -> str:
    return render(CheckMetrics(make_check(**settings), extra).families(state)).decode()


def test_before_the_first_probe_counters_are_0_and_nothing_else_is_claimed() -> None:
    text = exposed(CheckState())
    assert 'rounds_check_probes_total{check="check",tier="core"} 0\n' in text
    for reason in REASONS:
        assert f'rounds_check_failures_total{{check="check",tier="core",reason="{reason}"}} 0\n' in text
    for absent in ("_state", "_response_seconds", "_last_probe", "_status_code", "_phase_seconds"):
        assert f"rounds_check{absent}" not in text


def test_what_was_not_measured_is_absent() -> None:
    text = exposed(after(ProbeResult(1_000.0, 0.001, "connect", "refused")))
    assert "rounds_check_response_seconds" not in text
    assert "rounds_check_http_status_code" not in text
    assert "rounds_check_tls_expiry" not in text
    assert 'rounds_check_duration_seconds_count{check="check",tier="core"} 0\n' in text


def test_a_timeout_has_its_elapsed_time() -> None:
    text = exposed(after(answered(10.0, "timeout")))
    assert 'rounds_check_response_seconds{check="check",tier="core"} 10\n' in text
    assert 'rounds_check_duration_seconds_bucket{check="check",tier="core",le="10.0"} 1\n' in text


def test_extra_labels_are_on_every_series_and_empty_where_unset() -> None:
    text = exposed(after(GOOD), ("team", "site"), labels={"team": 'a"b'})
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines
    assert all('team="a\\"b",site=""' in line for line in lines)


def test_the_golden_exposition() -> None:
    """The whole of a check's exposition. To change it on purpose, write what the test prints into the file."""
    result = answered(
        0.25,
        phases={"resolve": 0.01, "connect": 0.02, "tls": 0.07, "processing": 0.1, "transfer": 0.05},
        status_code=200,
        tls_expiry=1_800_000_000.0,
    )
    exposition = Exposition()
    check = make_check(name="api", url="https://u.example:8443/health?key=hidden", tier="edge", labels={"team": "a"})
    state = CheckState()
    for each in (answered(10.0, "timeout"), result):
        state.update(each, check)
    exposition.publish("services/api", "services", CheckMetrics(check, ("team",)).families(state))
    text = exposition.render().decode()
    assert text == GOLDEN.read_text(), text


def test_old_consumers_see_stale_checks_as_down() -> None:
    check = make_check(interval="15s")
    state = CheckState()
    assert health([(check, state)]) is None
    state.update(GOOD, check)
    fresh = health([(check, state)], now=1_040.0)
    assert fresh is not None
    assert (fresh["healthy_services"], fresh["services"][0]["status"]) == (1, "UP")
    stale = health([(check, state)], now=1_046.0)
    assert stale is not None
    assert (stale["failed_services"], stale["services"][0]["error_message"]) == (1, "stale: not probed lately")


def test_old_consumers_count_by_status() -> None:
    checks = [(make_check(name=name), after(result)) for name, result in (("a", GOOD), ("b", SLOW), ("c", BAD))]
    body = health(checks, now=1_001.0)
    assert body is not None
    assert [service["status"] for service in body["services"]] == ["UP", "DEGRADED", "DOWN"]
    assert body["services"][2]["error_message"] == "http_status: in words"
    assert (body["total_services"], body["healthy_services"], body["degraded_services"], body["failed_services"]) == (
        3,
        1,
        1,
        1,
    )


def test_history_keeps_the_last_results_and_apart_from_them_the_last_failures() -> None:
    """Behaviour 27."""
    history = History(kept=3)
    for number in range(20):
        history.add(float(number), f"result {number}", failed=number in (1, 2))
    assert [line.partition(" ")[2] for line in history.lines()] == [
        "result 19",
        "result 18",
        "result 17",
        "result 2",
        "result 1",
    ]
