"""Business dates and working days in the configured zone."""

from __future__ import annotations

from datetime import date, datetime
from typing import get_args

from rounds.apr.config import AprSection, Weekday

_WEEKDAYS: tuple[str, ...] = get_args(Weekday)


def midnight(day: date, section: AprSection) -> float:
    """When a business date begins, in Unix seconds."""
    return datetime(day.year, day.month, day.day, tzinfo=section.zone).timestamp()


def today(now: float, section: AprSection) -> date:
    """The date in the configured zone."""
    return datetime.fromtimestamp(now, section.zone).date()


def is_working_day(now: float, section: AprSection) -> bool:
    """Whether the pipeline is expected to run today."""
    day = today(now, section)
    return _WEEKDAYS[day.weekday()] in section.working_days and day not in section.holidays
