import asyncio
from typing import Any

from proxy.contract import Output
from proxy.core.feed import Feed
from proxy.segments import MemfdSegment
from proxy.serve import tcp
from proxy.serve.client import Client, SlowRule
from proxy.serve.pump import AT_ONCE_CLIENTS, Pump
from proxy.session import Viewer
from tests.fakes import transport_packets as ts
from tests.fakes.viewing import clip, place, until


def test_everybody_is_served_when_there_are_many(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            media = clip(5)
            here.tap.pour(media[:200_000])
            viewers = [await here.ask("/ts/cam", limit=1 << 22) for _ in range(AT_ONCE_CLIENTS + 10)]
            here.tap.pour(media[200_000:])
            await until(here.tap.chunks.empty)
            await until(lambda: all(one.position == session.feed.head for one in session.viewers.values()))
            assert len({await viewer.exactly(300_000) for viewer in viewers}) == 1

    run(story)


def test_a_viewer_that_does_not_read_has_not_vanished(run) -> None:
    async def story() -> None:
        async with place() as here:
            session = here.run("cam")
            here.tap.pour(clip(20))
            sleeper = await here.ask("/ts/cam")
            sleeper.reader._transport.pause_reading()
            swept: list[float] = []
            here.pump.sweep_with(swept.append)
            await until(lambda: len(swept) >= 2)
            assert here.pump.dropped["vanished"] == 0
            assert len(session.viewers) == 1

    run(story)


class Wire(asyncio.Transport):
    """A transport that keeps what is written, or fails on it."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__({})
        self.failure = failure
        self.written = b""
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.written += bytes(data)


def on_air() -> Feed:
    feed = Feed(ring_bytes_max=1 << 20, new_segment=MemfdSegment, hls=False)
    feed.write(ts.tables() + ts.picture(ts.KEY_H264) + ts.packet(ts.VIDEO_PID, 1, body=b"x" * 184), 0.0, 0.0)
    return feed


def client(feed: Feed, wire: Wire) -> Client:
    viewer = Viewer("v", Output.TS, "", "", 0.0)
    return Client(viewer, feed, wire, head=b"", rule=SlowRule())


async def test_one_viewers_fault_does_not_reach_the_others() -> None:
    feed, pump = on_air(), Pump()
    gone, broken, well = Wire(ConnectionResetError()), Wire(ArithmeticError()), Wire()
    for wire in (gone, broken, well):
        pump.admit(client(feed, wire))
    assert (gone.closing, broken.closing, well.closing) == (True, True, False)
    assert len(well.written) == 4 * 188
    assert pump.dropped == {"too_slow": 0, "gone": 1, "vanished": 0, "failed": 1}
    feed.close()


async def test_one_that_has_all_is_seen_off_without_waiting() -> None:
    feed, pump, wire = on_air(), Pump(), Wire()
    one = client(feed, wire)
    async with asyncio.timeout(0.04):
        await pump.farewell(one)
    assert len(wire.written) == 4 * 188
    assert tcp.socket_of(wire) is None
    feed.close()
