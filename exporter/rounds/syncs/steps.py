"""How far a run is: its step, and the band of the whole that the step takes."""

from __future__ import annotations

from collections.abc import Mapping

from rounds.syncs.states import STEPS, Step

#: Patients on a page of the API that the existing program reads.
PAGE = 100

#: What other programs call a step.
_SYNONYMS: Mapping[str, Step] = {
    **{step: step for step in STEPS},
    "init": "initializing",
    "starting": "initializing",
    "started": "initializing",
    "connecting": "initializing",
    "validating": "validating_credentials",
    "fetching": "fetching_patients",
    "fetch": "fetching_patients",
    "loading": "fetching_patients",
    "fetched": "patients_fetched",
    "processing": "processing_patients",
    "process": "processing_patients",
    "storing": "storing_patients",
    "store": "storing_patients",
    "saving": "storing_patients",
    "deletions": "checking_deletions",
    "deleting": "checking_deletions",
    "finished": "completed",
    "complete": "completed",
    "done": "completed",
}
_BEGIN: Mapping[Step, float] = {
    "initializing": 0.0,
    "checking_config": 0.02,
    "validating_credentials": 0.04,
    "fetching_patients": 0.05,
    "patients_fetched": 0.3,
    "processing_patients": 0.3,
    "storing_patients": 0.5,
    "checking_deletions": 1.0,
    "deletions_handled": 1.0,
    "completed": 1.0,
}
#: How much of the whole is done while a step goes from its beginning to its end.
_WIDTH: Mapping[Step, float] = {"fetching_patients": 0.25, "processing_patients": 0.2, "storing_patients": 0.5}


def step_of(text: object) -> Step | None:
    """The step that a text means; None where there is no text."""
    if not isinstance(text, str) or not text.strip():
        return None
    return _SYNONYMS.get(text[:64].strip().lower().replace(" ", "_").replace("-", "_"), "other")


def progress(step: Step | None, done: float | None, of: float | None) -> float | None:
    """The part of the whole that is done, from 0 to 1; None where the step does not tell.

    Args:
        step: where the run is. Without one, all of it is one band.
        done: pages or records that the step is through with.
        of: how many there are.
    """
    part = min(1.0, max(0.0, done / of)) if done is not None and of else 0.0
    if step is None:
        return part
    begin = _BEGIN.get(step)
    return None if begin is None else begin + _WIDTH.get(step, 0.0) * part
