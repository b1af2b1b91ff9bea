"""The closed sets that a sync's free texts are mapped to. What a program writes is never a label itself."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

#: How a run stands. ``partial`` is a completed one in which records failed; ``other`` is a status that nobody knows.
State: TypeAlias = Literal["running", "completed", "partial", "failed", "timeout", "skipped", "cancelled", "other"]
STATES: tuple[State, ...] = get_args(State)
#: Those in which a run has ended.
ENDED: tuple[State, ...] = STATES[1:]
#: Those in which it brought data.
SUCCESSFUL: tuple[State, ...] = ("completed", "partial")
#: Those in which it should have and did not.
FAILED: tuple[State, ...] = ("failed", "timeout")

#: What a run does at the moment, in the order in which it does it, then the two ways to fail on the way.
Step: TypeAlias = Literal[
    "initializing",
    "checking_config",
    "validating_credentials",
    "fetching_patients",
    "patients_fetched",
    "processing_patients",
    "storing_patients",
    "checking_deletions",
    "deletions_handled",
    "completed",
    "storage_failed",
    "deletions_failed",
    "other",
]
STEPS: tuple[Step, ...] = get_args(Step)

#: Why a run failed.
ErrorClass: TypeAlias = Literal["auth", "rate_limit", "constraint", "network", "timeout", "config", "other"]
ERROR_CLASSES: tuple[ErrorClass, ...] = get_args(ErrorClass)

#: What was wrong with a row, so that some of it is not exported.
Problem: TypeAlias = Literal["bad_time", "negative_duration", "bad_metadata", "bad_count", "unknown_status"]
PROBLEMS: tuple[Problem, ...] = get_args(Problem)

RESULTS = ("processed", "succeeded", "failed")

#: The operations of the system that is replaced. Others become ``_other``, unless they are configured.
OPERATIONS = (
    "full_patients",
    "active_patients",
    "incremental_sync",
    "comprehensive_sync",
    "patient_sync",
    "full_sync",
    "sync_patients",
    "sync_conversations",
)
#: In these the existing program writes counts since it was started, over all runs and organisations.
RUNNING_TOTALS = ("incremental_sync", "comprehensive_sync")

#: What SyncRun writes as ``metadata.writer``: what such a row says is what it is called.
WRITER = "rounds"

#: Stands for organisations and operations without a label of their own.
OTHER = "_other"
