"""Names, looked up in threads that nobody has to wait for."""

import asyncio
import socket
import threading

import pytest

from proxy.errors import UpstreamForbiddenError
from proxy.upstream import resolver
from proxy.upstream.resolver import Resolver


async def test_a_name_becomes_addresses():
    results = await Resolver().resolve("localhost", 80, socket.AF_INET)
    assert [(result["host"], result["port"]) for result in results] == [("127.0.0.1", 80)]


async def test_a_name_that_leads_to_a_forbidden_address_is_refused():
    odd_spelling = "0xa9fea9fe"  # the C library takes it for 169.254.169.254
    with pytest.raises(UpstreamForbiddenError):
        await Resolver().resolve(odd_spelling, 80)
    assert await Resolver(guarded=False).resolve(odd_spelling, 80)


@pytest.mark.parametrize("name", ["nothing-here.invalid", "a..b", "x" * 300])
async def test_what_is_no_name_is_an_os_error(name: str):
    with pytest.raises(OSError):
        await Resolver().resolve(name, 80)


async def test_a_name_that_hangs_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch):
    release = threading.Event()
    real = socket.getaddrinfo

    def hanging(host, *rest, **named):
        if host.startswith("hang"):
            release.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "timed out")
        return real(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    monkeypatch.setattr(resolver, "LOOKUPS_MAX", 11)
    names = Resolver()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(outcome(names, f"hang{number}")) for number in range(10)]
        await asyncio.sleep(0)
        assert await names.resolve("localhost", 80, socket.AF_INET)
        waiting.append(group.create_task(outcome(names, "hang-more")))
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="too many"):
            await names.resolve("localhost", 80, socket.AF_INET)
        waiting[0].cancel()
        release.set()
    assert all(isinstance(task.result(), OSError) for task in waiting[1:])
    await asyncio.sleep(0)


async def outcome(names: Resolver, host: str) -> OSError | None:
    try:
        await names.resolve(host, 80)
    except OSError as error:
        return error
    return None
