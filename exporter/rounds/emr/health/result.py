"""What a check found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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


def _keyed(figures: Mapping[str, float]) -> Mapping[tuple[str, ...], float]:
    return {(name,): value for name, value in figures.items()}
