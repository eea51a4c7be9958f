"""Resolves upstreams' names, and refuses those that lead to a forbidden address.

``getaddrinfo`` cannot be interrupted. Each look-up therefore has a daemon thread of its own: names that hang neither
keep other upstreams waiting, as they would in a small pool, nor the process from ending.
"""

import asyncio
import socket
from contextlib import suppress
from threading import Thread
from typing import Final, NamedTuple

from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from proxy.upstream import address

LOOKUPS_MAX: Final = 128
NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Found(NamedTuple):
    family: socket.AddressFamily
    kind: socket.SocketKind
    proto: int
    name: str
    place: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


class Resolver(AbstractResolver):
    """``guarded``: refuse link-local and metadata addresses."""

    def __init__(self, *, guarded: bool = True) -> None:
        self._guarded = guarded
        self._lookups = 0

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raise UpstreamForbiddenError, or OSError when the name is not found."""
        results = [_result(host, port, found) for found in await self._look_up(host, port, family)]
        if self._guarded:
            for result in results:
                address.check_literal(result["host"])
        return results

    @override
    async def close(self) -> None:
        """Nothing to close: look-ups that hang are left to their threads."""

    async def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> list[Found]:
        if self._lookups >= LOOKUPS_MAX:
            raise socket.gaierror(socket.EAI_AGAIN, "too many look-ups hang")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Found]] = loop.create_future()

        def deliver(outcome: list[Found] | OSError) -> None:
            self._lookups -= 1
            if answer.done():  # nobody waits any more
                return
            if isinstance(outcome, OSError):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        def look_up() -> None:
            outcome: list[Found] | OSError
            try:
                infos = socket.getaddrinfo(
                    host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
                outcome = [Found(*info) for info in infos]
            except OSError as error:
                outcome = error
            except UnicodeError:  # a name that is none
                outcome = socket.gaierror(socket.EAI_NONAME, "not a name")
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(deliver, outcome)

        self._lookups += 1
        Thread(target=look_up, name=f"resolve {host}"[:64], daemon=True).start()
        return await answer


def _result(host: str, port: int, found: Found) -> ResolveResult:
    ip = str(found.place[0])
    if len(found.place) == 4 and found.place[3] and "%" not in ip:
        ip = f"{ip}%{found.place[3]}"  # link-local: the scope is part of the address
    return ResolveResult(hostname=host, host=ip, port=port, family=found.family, proto=found.proto, flags=NUMERIC)
