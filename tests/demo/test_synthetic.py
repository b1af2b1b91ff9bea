"""Synthetic services answer as their condition says, over real HTTP."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from rounds.demo.certificate import make_certificate
from rounds.demo.ports import pick_port
from rounds.demo.synthetic import (
    ENDPOINTS,
    SCRIPT,
    SCRIPT_SECONDS,
    Condition,
    Service,
    Step,
    make_services,
    play,
)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service("api-gateway", ["/api/health"], speed=50.0)
    await service.start()
    yield service
    await service.stop()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
        yield client


def url(service: Service, path: str = "/api/health") -> str:
    return f"http://127.0.0.1:{service.port}{path}"


async def test_it_shows_its_certificate(tmp_path: Path) -> None:
    """Also after it has refused connections, on the same port."""
    service = Service("frontend", ["/api/health"])
    service.certificate = make_certificate(tmp_path)
    await service.start()
    try:
        trusting = ssl.create_default_context(cafile=service.certificate.file)
        async with httpx.AsyncClient(trust_env=False, verify=trusting) as client:
            for condition in (Condition.WELL, Condition.REFUSED, Condition.WELL):
                await service.become(condition)
                if condition is Condition.WELL:
                    assert (await client.get(url(service).replace("http:", "https:"))).status_code == 200
    finally:
        await service.stop()
    assert service.certificate.key.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("condition", "status", "seconds"),
    [
        (Condition.WELL, 200, (0.0, 1.0)),
        (Condition.FAILING, 503, (0.0, 1.0)),
        (Condition.SLOW, 200, (1.5, 5.0)),
        pytest.param(Condition.VERY_SLOW, 200, (6.0, 8.0), marks=pytest.mark.slow),
    ],
)
async def test_it_answers_as_its_condition_says(
    service: Service, client: httpx.AsyncClient, condition: Condition, status: int, seconds: tuple[float, float]
) -> None:
    await service.become(condition)
    begin = time.monotonic()
    response = await client.get(url(service))
    assert response.status_code == status
    assert seconds[0] <= time.monotonic() - begin < seconds[1]


async def test_a_refusing_service_is_back_on_its_port_when_it_is_well(
    service: Service, client: httpx.AsyncClient
) -> None:
    await service.become(Condition.REFUSED)
    with pytest.raises(httpx.ConnectError):
        await client.get(url(service))
    # Another demo does not take it meanwhile.
    assert pick_port(service.port) != service.port
    await service.become(Condition.WELL)
    assert (await client.get(url(service))).status_code == 200


async def test_stopping_drops_a_request_that_is_being_answered(service: Service, client: httpx.AsyncClient) -> None:
    await service.become(Condition.VERY_SLOW)
    request = asyncio.create_task(client.get(url(service)))
    while not service._handlers:
        await asyncio.sleep(0)
    await service.stop()
    with pytest.raises(httpx.TransportError):
        await request


async def test_a_flapping_service_fails_first_and_changes(service: Service, client: httpx.AsyncClient) -> None:
    await service.become(Condition.FLAPPING)
    seen: list[int] = []
    async with asyncio.timeout(10):
        while Counter(seen).keys() != {200, 503}:
            seen.append((await client.get(url(service))).status_code)
    assert seen[0] == 503


async def test_only_its_paths_exist(service: Service, client: httpx.AsyncClient) -> None:
    assert (await client.get(url(service, "/api/health/"))).status_code == 404


def test_nine_checks_over_eight_services() -> None:
    services = make_services()
    assert len(ENDPOINTS) == 9
    assert len(services) == 8
    assert {endpoint.service for endpoint in ENDPOINTS} == services.keys()


def test_the_script_is_in_order_and_leaves_every_service_well() -> None:
    assert [step.at for step in SCRIPT] == sorted(step.at for step in SCRIPT)
    assert SCRIPT[-1].at < SCRIPT_SECONDS
    last = {step.service: step.condition for step in SCRIPT}
    assert set(last.values()) == {Condition.WELL}
    assert last.keys() <= make_services().keys()
    assert {step.condition for step in SCRIPT} == set(Condition)


async def test_the_script_is_played_again_and_again(service: Service) -> None:
    script = (Step(0.0, "api-gateway", Condition.FAILING), Step(1.0, "api-gateway", Condition.WELL))
    told: asyncio.Queue[str] = asyncio.Queue()
    playing = asyncio.create_task(
        play({"api-gateway": service}, told.put_nowait, script=script, length=2.0, speed=100.0)
    )
    async with asyncio.timeout(10):
        sentences = [await told.get() for _ in range(4)]
    playing.cancel()
    assert sentences == ["api-gateway now answers 503", "api-gateway now answers at once"] * 2
