"""The account that one probe keeps of itself while it runs: phases, findings and steps."""

from __future__ import annotations

import time

from rounds.services.result import Phase, Reason


class Failure(Exception):  # noqa: N818  # a finding of the probe, not an error of ours
    """Why a probe failed. ``detail`` reaches logs and pages, so it holds no secret and nothing of the body."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Trail:
    """What a probe has found so far; :class:`~rounds.services.result.ProbeResult` says what each finding means.

    Phases are entered and left one at a time; one that was never left is not among ``phases``.

    Args:
        limit: seconds that the probe may take.
    """

    __slots__ = (
        "_deadline",
        "_entered",
        "_notes",
        "answered",
        "began",
        "body_bytes",
        "elapsed",
        "failure",
        "phase",
        "phases",
        "redirects",
        "started",
        "status_code",
        "tls_expiry",
    )

    def __init__(self, limit: float) -> None:
        self.started = time.time()
        self.began = time.monotonic()
        self._deadline = self.began + limit
        self.elapsed = 0.0
        self.failure: Failure | None = None
        self.answered = False
        self.phase: Phase | None = None
        self.phases: dict[Phase, float] = {}
        self.status_code: int | None = None
        self.redirects = 0
        self.body_bytes: int | None = None
        self.tls_expiry: float | None = None
        self._entered = 0.0
        self._notes: list[tuple[float, str, tuple[object, ...]]] = []

    def enter(self, phase: Phase) -> None:
        """Begin a phase, which lasts until :meth:`leave`."""
        self.phase = phase
        self._entered = time.monotonic()

    def leave(self) -> None:
        """End the phase; its duration adds to what it took before a redirect."""
        if self.phase is not None:
            self.phases[self.phase] = self.phases.get(self.phase, 0.0) + time.monotonic() - self._entered
            self.phase = None

    def note(self, text: str, *arguments: object) -> None:
        """Write down a step. ``arguments`` are put into ``text``, as by ``%``, when the clock has stopped."""
        self._notes.append((time.monotonic(), text, arguments))

    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._deadline - time.monotonic())

    def stop(self) -> None:
        """Take the time: ``elapsed`` ends here."""
        self.elapsed = time.monotonic() - self.began

    def log(self) -> tuple[str, ...]:
        """The steps, a line each, such as ``+0.4 ms resolved localhost to 127.0.0.1``."""
        return tuple(f"+{(when - self.began) * 1000:.1f} ms {text % given}" for when, text, given in self._notes)
