"""An HLS origin on a real socket, and what a reader of it hands over."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest

from proxy.contract import Upstream
from proxy.upstream import kinds
from proxy.upstream.fetch import HttpPolicy
from proxy.upstream.items import Item, Quiet
from proxy.upstream.resolver import Resolver
from tests.fakes.upstream import FakeUpstream, fake_upstream

Pull = Callable[..., Awaitable[list[Item]]]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with fake_upstream() as upstream:
        yield upstream


@pytest.fixture
def pull(upstream: FakeUpstream) -> Pull:
    """Read an upstream to its end: runs of bytes, and what stands between them."""

    async def read(path: str = "/index.m3u8", url: str = "", **headers: str) -> list[Item]:
        policy = HttpPolicy(read_timeout_seconds=1)
        got: list[Item] = []
        asked = Upstream(url=url or upstream.url(path), headers=headers)
        async with aclosing(kinds.opener(policy, Resolver())(asked)) as items:
            async for item in items:
                if isinstance(item, Quiet):
                    continue
                if isinstance(item, bytes) and got and isinstance(got[-1], bytes):
                    got[-1] += item
                else:
                    got.append(item)
        return got

    return read
