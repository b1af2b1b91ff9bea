"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: States from best to worst. What is not known may be anything, but nobody has seen it fail.
_RANKS = {"healthy": 0, "unknown": 1, "degraded": 2, "unhealthy": 3}


@dataclass(frozen=True)
class Health:
    """A check's result.

    Attributes:
        state: healthy, degraded or unhealthy; unknown where it has not run.
        reason: why, a word of the check's own closed list such as ``locked``; "" when healthy.
        text: the same for people. No secret, nothing of a patient.
        figures: what was measured, by a metric's name without ``rounds_emr_`` and the values of its labels besides
            ``app``, such as ``("llm_model_loaded", "qwen2.5:7b")``: bytes, seconds, 0 and 1.
    """

    state: str
    reason: str = ""
    text: str = ""
    figures: Mapping[tuple[str, ...], float] = field(default_factory=dict)

    @classmethod
    def ok(cls, text: str = "", **figures: float) -> Health:
        """Healthy."""
        return cls("healthy", "", text, _keyed(figures))

    @classmethod
    def degraded(cls, text: str, *, reason: str = "", **figures: float) -> Health:
        """Works, but not as it should."""
        return cls("degraded", reason, text, _keyed(figures))

    @classmethod
    def unhealthy(cls, text: str, *, reason: str = "", **figures: float) -> Health:
        """Does not work."""
        return cls("unhealthy", reason, text, _keyed(figures))


def worst(results: Iterable[Health]) -> Health | None:
    """The worst of them, the first where several are; None of none. Unknown is worse than healthy, better than bad."""
    return max(results, key=lambda result: _RANKS.get(result.state, 1), default=None)


def _keyed(figures: Mapping[str, float]) -> Mapping[tuple[str, ...], float]:
    return {(name,): value for name, value in figures.items()}
