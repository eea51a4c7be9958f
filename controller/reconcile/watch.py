"""The change feed of every proxy, turned into bells: drift is seen within a second, not within a resync.

It only says where to look. A feed that breaks is opened again, and everything is looked at: changes may have passed.
"""

import asyncio
from datetime import timedelta

import structlog

from controller.domain.retry import Backoff
from controller.errors import ProxyUnreachableError
from controller.proxy_client import ProxyClient
from controller.reconcile.observe import Observer
from controller.reconcile.queue import KeyQueue

log = structlog.get_logger(__name__)

BACKOFF = Backoff(first_seconds=0.2, cap_seconds=1.0)


class Watchers:
    """One follower for every proxy."""

    def __init__(self, observer: Observer, queue: KeyQueue) -> None:
        self._observer = observer
        self._queue = queue

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            async for client in self._observer.newcomers():
                group.create_task(self._follow(client), name=f"watch {client.url}")

    async def _follow(self, client: ProxyClient) -> None:
        failures = 0
        while self._observer.is_asked(client):
            try:
                is_new = True
                async for _, keys in client.watch():
                    failures = 0
                    if is_new:
                        self._queue.ring_all()
                    else:
                        self._queue.ring(keys)
                    is_new = False
            except ProxyUnreachableError as failed:
                log.debug("proxy.watch_ended", url=client.url, error=failed.detail)
            if failures == 0:
                self._queue.ring_all()
            await asyncio.sleep(BACKOFF.delay(failures) / timedelta(seconds=1))
            failures += 1
