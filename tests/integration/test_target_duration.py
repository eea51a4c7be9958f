"""The target duration of a playlist, as whoever polls it sees it, while key pictures become rare or frequent."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import m3u8
import pytest

from tests.fakes.provider import Provider, provider
from tests.fakes.proxy_process import Proxy, real_proxy
from tests.fakes.viewing import clip, decode_errors

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg: apt-get install ffmpeg")

RARE, OFTEN, FADING = "/rare", "/often", "/fading"
LEAD_SECONDS = 24.0
"""So much comes at once: nobody needs to wait for a key picture in every twenty seconds."""


@dataclass
class Polling:
    """All that a player of one key has been told and given."""

    proxy: Proxy
    key: str
    targets: set[int] = field(default_factory=set)
    seen: dict[int, m3u8.Segment] = field(default_factory=dict)
    media: dict[int, bytes] = field(default_factory=dict)

    async def look(self) -> None:
        async with self.proxy.http.get(f"{self.proxy.url}/hls/{self.key}/index.m3u8") as answer:
            assert answer.status == 200
            shown = m3u8.M3U8(await answer.text(), strict=True)
        self.targets.add(shown.target_duration)
        for number, segment in enumerate(shown.segments, shown.media_sequence):
            assert int(segment.duration + 0.5) <= shown.target_duration
            assert self.seen.setdefault(number, segment).duration == segment.duration
            if number not in self.media:
                async with self.proxy.http.get(f"{self.proxy.url}/hls/{self.key}/{segment.uri}") as answer:
                    assert answer.status == 200
                    self.media[number] = await answer.read()

    @property
    def newest(self) -> list[int]:
        """The numbers of the segments behind the newest break."""
        numbers = sorted(self.seen)
        breaks = [number for number in numbers if self.seen[number].discontinuity]
        return [number for number in numbers if number >= (breaks or numbers or [0])[-1 if breaks else 0]]

    @property
    def durations(self) -> list[float]:
        return [self.seen[number].duration for number in self.newest]

    async def until(self, breaks: int, segments: int) -> None:
        """Look until there were so many breaks, and so many segments behind them."""
        async with asyncio.timeout(20):
            while sum(one.discontinuity for one in self.seen.values()) < breaks or len(self.newest) < segments:
                await asyncio.sleep(0.05)
                await self.look()


async def play(proxy: Proxy, key: str, seconds: float) -> str:
    """Play its playlist by ffmpeg; return what that complains about."""
    player = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-v", "warning", "-xerror", "-t", str(seconds), "-i", f"{proxy.url}/hls/{key}/index.m3u8"),
        *("-f", "null", "-"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(40):
        _, complaints = await player.communicate()
    return f"{player.returncode}: {complaints.decode()}"


@pytest.fixture
async def first() -> AsyncIterator[Provider]:
    media = {RARE: clip(28, bitrate="400k", group=500), OFTEN: clip(28, bitrate="400k")}
    async with provider(media=media, lead_seconds=LEAD_SECONDS) as one:
        yield one


@pytest.fixture
async def second(first: Provider) -> AsyncIterator[Provider]:
    async with provider(media=first.media, lead_seconds=LEAD_SECONDS) as one:
        yield one


@pytest.fixture
async def third() -> AsyncIterator[Provider]:
    """One that shows key pictures for some seconds only."""
    async with provider(media={FADING: clip(28, group=2000, keys_until=6.5)}, lead_seconds=6.0) as one:
        yield one


async def test_one_target_however_rare_key_pictures_become(first: Provider, second: Provider, third: Provider):
    async with real_proxy(HLS_SEGMENT_SECONDS="4") as proxy:
        await proxy.ensure(first.url(RARE), second.url(OFTEN), key="wide", on_demand=False)
        await proxy.ensure(first.url(OFTEN), second.url(RARE), key="narrow", on_demand=False)
        await proxy.ensure(third.url(FADING), key="fading")
        wide, narrow, fading = (Polling(proxy, key) for key in ("wide", "narrow", "fading"))
        async with asyncio.TaskGroup() as group:
            player = group.create_task(play(proxy, "fading", 14))
            await wide.until(0, 1)
            await narrow.until(0, 1)
            first.is_down = True
            first.cut()
            await wide.until(1, 4)
            await narrow.until(1, 6)
            await fading.until(0, 6)
    assert (wide.targets, narrow.targets, fading.targets) == ({20}, {4}, {4})
    assert max(wide.durations) < 4.5
    assert [round(seconds) for seconds in narrow.durations[:5]] == [4, 4, 4, 4, 2]
    assert [round(seconds) for seconds in fading.durations[:6]] == [1, 1, 1, 3, 4, 4]
    assert decode_errors(b"".join(narrow.media[number] for number in narrow.newest)) == ""
    assert player.result() == "0: "
