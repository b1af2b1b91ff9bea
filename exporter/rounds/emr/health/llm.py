"""Whether a language model behind Ollama's HTTP API can be used."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from rounds.emr.health.background import AGAIN, Background
from rounds.emr.health.http import HttpError, ask
from rounds.emr.health.result import Health

#: Why a model is not healthy: no connection; no answer in time; another status than 200; no answer of Ollama's;
#: there is no model at all; not the one that is needed; the model does not generate.
REASONS = ("unreachable", "timeout", "status", "invalid", "no_models", "model_missing", "generation")

_DEGRADED = {"timeout", "no_models", "model_missing"}
_MOST_BYTES = 2**63
_VERSION = re.compile(r"[\w.+-]{1,40}", re.ASCII)


@dataclass(frozen=True)
class _Generation:
    """A word that the model was asked for: how long it took in seconds, or None and why it did not come."""

    seconds: float | None
    text: str = ""


class Llm:
    """The check, with what it keeps from one run to the next: when the model last said a word.

    Ollama answers while a model hangs in it. Only generating something shows that; it is done where ``generate_every``
    is given, in a thread of its own. It loads the model into memory, and from then on the server keeps it there for as
    long as it keeps any (five minutes by default), whatever time an application asked for. After a failure it is tried
    again after five minutes at the latest.

    Args:
        url: the server.
        model: the model that must be installed, exactly; a name without a tag means ``latest``, as in Ollama.
        timeout: seconds for the three requests of a run together.
        generate_every: seconds from one generation to the next; None for none. Needs ``model``.
        generate_timeout: seconds for one.
    """

    def __init__(
        self,
        url: str = "http://localhost:11434",
        *,
        model: str | None = None,
        timeout: float = 5.0,
        generate_every: float | None = None,
        generate_timeout: float = 60.0,
    ) -> None:
        self._url = url
        self._model = model
        self._timeout = timeout
        self._every = generate_every if model is not None else None
        self._generate_timeout = generate_timeout
        self._generation = Background(self._generate, "rounds-generation")

    def run(self) -> Health:
        """Check it once; ``timeout`` after the server's name was looked up, it ends."""
        end = time.monotonic() + self._timeout
        figures: dict[tuple[str, ...], float] = {("llm_up",): 0.0}
        try:
            version = _version(ask(self._url, "/api/version", end))
            figures["llm_up",] = 1.0
            installed = _models(ask(self._url, "/api/tags", end))
            loaded = _models(ask(self._url, "/api/ps", end))
        except HttpError as error:
            return _health(error.reason, f"the server {error}", figures)
        figures["llm_models",] = float(len(installed))
        found = f"{len(installed)} model{'' if len(installed) == 1 else 's'}, {len(loaded)} in memory"
        found += f", Ollama {version}"
        if self._model is None:
            return _health("" if installed else "no_models", found, figures)
        name = _full(self._model)
        figures["llm_model_installed", self._model] = float(name in installed)
        figures["llm_model_loaded", self._model] = float(name in loaded)
        figures["llm_model_vram_bytes", self._model] = loaded.get(name, 0.0)
        if not installed:
            return _health("no_models", found, figures)
        if name not in installed:
            return _health("model_missing", f"{self._model} is not installed; {found}", figures)
        reason, text = self._generated(figures)
        return _health(reason, text or found, figures)

    def _generated(self, figures: dict[tuple[str, ...], float]) -> tuple[str, str]:
        """Reason and text of the last generation; both empty where it was good, or is not asked for."""
        if self._every is None or self._model is None:
            return "", ""
        last = self._generation.result
        bad = last is not None and last.seconds is None
        self._generation.start(min(self._every, AGAIN) if bad else self._every)
        last = self._generation.result
        if last is None:
            return "", ""
        if last.seconds is None:
            return "generation", f"{self._model} generates nothing: the server {last.text}"
        figures["llm_generation_seconds", self._model] = last.seconds
        return "", ""

    def _generate(self) -> _Generation:
        began = time.monotonic()
        question = {"model": self._model, "prompt": "Hi", "stream": False, "options": {"num_predict": 1}}
        try:
            answer = ask(self._url, "/api/generate", began + self._generate_timeout, question)
        except HttpError as error:
            return _Generation(None, str(error))
        if answer.get("done") is not True:
            return _Generation(None, "answers, but not as Ollama does")
        return _Generation(time.monotonic() - began)


def _version(answer: dict[str, Any]) -> str:
    version = answer.get("version")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise HttpError("invalid", "answers, but not as Ollama does")
    return version


def _models(answer: dict[str, Any]) -> dict[str, float]:
    """Full names, and bytes in the graphics card's memory where that is told."""
    models = answer.get("models")
    # Where there is none, the list is null in some versions.
    if not isinstance(models, list) and (models is not None or "models" not in answer):
        raise HttpError("invalid", "answers, but not as Ollama does")
    found = {}
    for model in models or []:
        name = model.get("name") or model.get("model") if isinstance(model, dict) else None
        if not isinstance(name, str):
            raise HttpError("invalid", "answers, but not as Ollama does")
        size = model.get("size_vram")
        found[_full(name)] = float(size) if isinstance(size, int) and 0 <= size < _MOST_BYTES else 0.0
    return found


def _full(name: str) -> str:
    """A model's name with its tag. A colon before the last slash is a port's."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _health(reason: str, text: str, figures: dict[tuple[str, ...], float]) -> Health:
    state = "healthy" if not reason else "degraded" if reason in _DEGRADED else "unhealthy"
    return Health(state, reason, text, figures)
