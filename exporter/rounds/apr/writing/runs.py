"""The log of runs: also of those that fail."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date

from rounds.apr.metrics import RUN_MODES
from rounds.apr.writing.failures import described, without_values
from rounds.apr.writing.values import amount
from rounds.apr.writing.work import Database, log, working

_COUNTS = (
    "total_records_queried",
    "valid_records",
    "invalid_nfechave",
    "invalid_duplicata",
    "invalid_seuno",
    "invalid_cheque",
    "records_stored",
    "alerts_sent_nfechave",
    "alerts_sent_duplicata",
    "alerts_sent_seuno",
    "alerts_sent_cheque",
)


def log_program_execution(  # noqa: PLR0917  # as the function that it replaces
    session: Database,
    target_date: date,
    stats: Mapping[str, object],
    execution_time: float,
    run_mode: str = "PRODUCTION",
    error_message: str | None = None,
) -> int:
    """Log a run.

    Args:
        session: where to write; committed.
        target_date: the business date that it was for.
        stats: numbers by the names of apr_processing_log's columns; 0 for those that are not there.
        execution_time: seconds that it took; the log has whole ones.
        run_mode: PRODUCTION or DRY_RUN.
        error_message: what went wrong, for a run that failed. Of an exception's text only the first line is stored,
            without quoted values, long numbers and statements.

    Returns:
        The row's id.

    Raises:
        ValueError: there is no such mode.
        WriteFailed: the database refused it.
    """
    if run_mode not in RUN_MODES:
        raise ValueError(f"run_mode should be one of {', '.join(RUN_MODES)}")
    row: dict[str, object] = {name: int(amount(stats.get(name)) or 0) for name in _COUNTS}
    row["target_date"] = target_date.isoformat()
    row["execution_time_seconds"] = max(0, round(execution_time))
    row["run_mode"] = run_mode
    # A text of nothing but values still says that the run failed.
    row["error_message"] = None if error_message is None else without_values(error_message) or "failed"
    columns, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    with working(session) as work:
        result = work.run(
            f"INSERT INTO apr_processing_log ({columns}, run_timestamp) VALUES ({marks}, CURRENT_TIMESTAMP)", **row
        )
        return int(result.lastrowid)


@dataclass
class Run:
    """A run under way.

    Attributes:
        stats: what :func:`log_program_execution` takes; fill it to have a run that ended well logged too.
    """

    stats: dict[str, object] = field(default_factory=dict)


@contextmanager
def track_run(session: Database, target_date: date, run_mode: str = "PRODUCTION") -> Iterator[Run]:
    """Log a run that fails, with the kind of its error and its duration; the error goes on.

    A run that ends well is logged when its ``stats`` were filled. Where they were not, the block is taken to have
    called :func:`log_program_execution` itself, as the existing program does.

    Args:
        session: where to write. What the block left uncommitted is rolled back when it fails.
        target_date: the business date that it is for.
        run_mode: PRODUCTION or DRY_RUN.
    """
    begin = time.monotonic()
    run = Run()
    try:
        yield run
    except BaseException as error:
        if not (isinstance(error, SystemExit) and not error.code):
            _log_failed(session, target_date, run, time.monotonic() - begin, run_mode=run_mode, error=error)
        raise
    if run.stats:
        log_program_execution(session, target_date, run.stats, time.monotonic() - begin, run_mode)


def _log_failed(
    session: Database, target_date: date, run: Run, seconds: float, *, run_mode: str, error: BaseException
) -> None:
    with suppress(Exception):
        session.rollback()
    try:
        log_program_execution(session, target_date, run.stats, seconds, run_mode, described(error))
    except Exception as failure:  # noqa: BLE001  # the run's own error matters more
        log.error("the failed run was not logged: %s", described(failure))
