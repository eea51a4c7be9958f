"""The first signal counts, and none after it does harm."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller import signals

ROOT = Path(__file__).parents[3]
CLOSED = """
import asyncio, os, signal
from controller import signals
async def live():
    with signals.stopping() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
asyncio.run(live())
os.kill(os.getpid(), signal.SIGTERM)
print("ended by itself")
"""
HEEDED = (*signals.STOP_SIGNALS, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in HEEDED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", HEEDED)
async def test_each_signal_asks_for_the_end_as_often_as_it_comes(number):
    with signals.stopping(signal.SIGHUP) as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            await stop.wait()
        os.kill(os.getpid(), number)  # by somebody in a hurry
    os.kill(os.getpid(), number)


async def test_what_is_not_asked_for_is_left_alone():
    before = signal.getsignal(signal.SIGHUP)
    with signals.stopping():
        assert signal.getsignal(signal.SIGHUP) is before
    assert signal.getsignal(signal.SIGHUP) is before


async def test_an_end_by_an_error_is_not_hurried_either():
    with pytest.raises(LookupError), signals.stopping():
        raise LookupError
    assert {signal.getsignal(number) for number in signals.STOP_SIGNALS} == {signal.SIG_IGN}


def test_a_signal_to_a_closed_loop_does_not_kill():
    done = subprocess.run([sys.executable, "-c", CLOSED], cwd=ROOT, capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"ended by itself\n")
