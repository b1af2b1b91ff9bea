"""The stand-in for Ollama answers as the real one is documented to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rounds.demo.ollama import Condition, Ollama

MODEL = "qwen2.5:7b"


@pytest.fixture
def server() -> Iterator[Ollama]:
    with Ollama((MODEL,)) as started:
        yield started


def get(server: Ollama, path: str) -> httpx.Response:
    return httpx.get(server.url + path, trust_env=False)


def generate(server: Ollama, **asked: Any) -> httpx.Response:
    return httpx.post(server.url + "/api/generate", json={"model": MODEL, "prompt": "Hi", **asked}, trust_env=False)


def test_what_it_tells(server: Ollama) -> None:
    assert get(server, "/").text == "Ollama is running"
    assert set(get(server, "/api/version").json()) == {"version"}
    (model,) = get(server, "/api/tags").json()["models"]
    assert {"name", "model", "modified_at", "size", "digest", "details"} == set(model)
    assert get(server, "/api/ps").json() == {"models": []}
    assert get(server, "/api/else").status_code == 404


def test_a_model_that_has_answered_is_in_memory(server: Ollama) -> None:
    answer = generate(server, stream=False, options={"num_predict": 1}).json()
    assert (answer["model"], answer["done"], answer["eval_count"]) == (MODEL, True, 1)
    (loaded,) = get(server, "/api/ps").json()["models"]
    assert loaded["name"] == MODEL
    assert {"size", "size_vram", "expires_at"} < set(loaded)


def test_answers_come_in_lines_unless_told_otherwise(server: Ollama) -> None:
    first, last = generate(server).text.splitlines()
    assert '"done": false' in first
    assert '"done": true' in last


def test_a_model_that_is_not_there(server: Ollama) -> None:
    assert generate(server, model="qwen2.5").status_code == 404
    server.show(Condition.EMPTY)
    assert generate(server).status_code == 404
    assert get(server, "/api/tags").json() == {"models": []}


def test_it_keeps_its_port_when_it_is_absent(server: Ollama) -> None:
    server.show(Condition.ABSENT)
    with pytest.raises(httpx.ConnectError):
        get(server, "/")
    server.show(Condition.LOADED)
    assert len(get(server, "/api/ps").json()["models"]) == 1
