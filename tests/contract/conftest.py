"""The proxies that the contract is held against: the fake one and the real process."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.fakes.proxy import fake_proxy

TOKEN = "contract-token"


@dataclass(frozen=True)
class Place:
    url: str
    token: str


@pytest.fixture(scope="session")
def real_proxy() -> Iterator[str]:
    """One real proxy process for all tests; it has to end within five seconds, with code 0."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    environment = os.environ | {
        "PENSTOCK_PROXY_HTTP": f"127.0.0.1:{port}",
        "PENSTOCK_PROXY_CONTROL_TOKEN": TOKEN,
        "PENSTOCK_PROXY_ID": "real",
    }
    process = subprocess.Popen([sys.executable, "-m", "proxy"], env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not _answers(f"http://127.0.0.1:{port}/healthz"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1):
            return True
    except (URLError, OSError):
        return False


@pytest.fixture(params=["fake", "real"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param == "real":
        yield Place(await asyncio.to_thread(request.getfixturevalue, "real_proxy"), TOKEN)
    else:
        async with fake_proxy(token=TOKEN) as fake:
            yield Place(fake.url, TOKEN)
