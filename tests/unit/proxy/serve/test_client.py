"""The slow-viewer rule, and that no viewer ever sees a torn packet, on a real socket with a hand-driven clock."""

import asyncio
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.contract import Output
from proxy.core.feed import Feed
from proxy.segments import MemfdSegment
from proxy.serve import client
from proxy.serve.client import Client, SlowRule, TooSlowError
from proxy.session import Viewer
from tests.fakes import transport_packets as ts

READ_SECONDS = 1.0
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
RING_BYTES = 188 * 8 * 64
RULE = SlowRule(lag_bytes_max=RING_BYTES // 2, moves_max=10_000, patience_seconds=1.0, forgive_seconds=60.0)


RULE_OF_A_FEW = SlowRule(lag_bytes_max=188 * 12, moves_max=10_000, patience_seconds=1.0)


class Wire(asyncio.Transport):
    """A transport over one end of a TCP connection; as TLS, it keeps what is written until it is taken."""

    def __init__(self, sock: socket.socket, *, tls: bool) -> None:
        super().__init__({"socket": sock, "sslcontext": object() if tls else None})
        self.written = b""
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def write(self, data: Any) -> None:
        self.written += bytes(data)


class Stage:
    """A feed, a client of it, and the reader at the other end."""

    def __init__(self, near: socket.socket, far: socket.socket, rule: SlowRule, *, tls: bool) -> None:
        self.far = far
        self.got = b""
        self.number = 0
        self.now = 0.0
        self.feed = Feed(ring_bytes_max=RING_BYTES, new_segment=MemfdSegment, hls=False)
        self.write(3)
        self.viewer = Viewer("v", Output.TS, "", "", 0.0)
        self.wire = Wire(near, tls=tls)
        self.client = Client(self.viewer, self.feed, self.wire, head=HEAD, rule=rule)

    def write(self, pictures: int) -> None:
        """Every picture is a key picture, with packets that say which they are."""
        for _ in range(pictures):
            n = self.number
            media = ts.tables(n) + ts.picture(ts.KEY_H264, 4 * n)
            for part in range(3):
                media += ts.packet(ts.VIDEO_PID, 4 * n + part + 1, body=(f"{n}.{part};" * 40)[:184].encode())
            self.feed.write(media, self.now, 0.0)
            self.number += 1

    def read(self, size: int) -> int:
        try:
            got = self.far.recv(size)
        except BlockingIOError:
            return 0
        self.got += got
        return len(got)

    def read_all(self) -> None:
        deadline = time.monotonic() + READ_SECONDS
        while time.monotonic() < deadline:
            self.client.flush(self.now)
            self.got += self.wire.written
            self.wire.written = b""
            is_served = self.client.is_served  # all of it is here now, to be read
            while self.read(1 << 20):
                pass
            if is_served:
                return
            select.select(
                [self.far], [], [], 0.05
            )  # the kernel may wait before it sends on into a window that was full

    def media(self) -> bytes:
        assert self.got.startswith(HEAD)
        return self.got[len(HEAD) :]


@contextmanager
def stage(rule: SlowRule = RULE, *, tls: bool = False) -> Iterator[Stage]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as far:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        far.connect(server.getsockname())
        near, _ = server.accept()
        with near:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            near.setblocking(False)
            far.setblocking(False)
            made = Stage(near, far, rule, tls=tls)
            yield made
            made.feed.close()


def check(media: bytes) -> None:
    """Whole packets, none of them mixed from two, counters unbroken but where a jump is announced."""
    assert len(media) % 188 == 0
    last: dict[int, int] = {}
    for at in range(0, len(media), 188):
        one = media[at : at + 188]
        assert one[0] == 0x47
        pid, control = (one[1] << 8 | one[2]) & 0x1FFF, one[3]
        if pid in last and not (control & 0x20 and one[5] & 0x80):
            assert control & 0x0F == (last[pid] + (1 if control & 0x10 else 0)) & 0x0F
        last[pid] = control & 0x0F
        if pid == ts.VIDEO_PID and control == (control & 0x1F) and not one[1] & 0x40:
            words = one[4:].split(b";")
            assert len(set(words[:-1])) == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 60)),
        st.tuples(st.just("read"), st.integers(1, 30_000)),
        st.tuples(st.just("wait"), st.integers(0, 2)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.booleans())
def test_no_viewer_ever_sees_a_torn_packet(steps: list[tuple[str, int]], tls: bool) -> None:
    with stage(tls=tls) as here:
        for what, amount in steps:
            if what == "write":
                here.write(amount)
            elif what == "read":
                here.read(amount)
                here.got, here.wire.written = here.got + here.wire.written[:amount], here.wire.written[amount:]
            else:
                here.now += amount
            here.client.flush(here.now)
        here.read_all()
        check(here.media())
        assert here.viewer.bytes_sent == len(here.media())
        assert here.viewer.position == here.feed.head
        assert here.media().endswith(here.feed.ring.read(here.feed.head - 188, 188) or b"none")


class Valve:
    """A kernel that takes as many bytes as it is told to, in the place of ``os``."""

    def __init__(self) -> None:
        self.room = 0
        self.taken = b""

    def write(self, _descriptor: int, block: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        part = block[: self.room]
        self.room -= len(part)
        self.taken += part
        return len(part)

    def sendfile(self, descriptor: int, source: int, offset: int, count: int) -> int:
        return self.write(descriptor, os.pread(source, count, offset))


ROOMS = st.one_of(st.integers(0, 700), st.integers(0, 12).map(lambda n: n * 188), st.integers(0, 40_000))


@settings(max_examples=400, deadline=None)
@example([(1, 500, 0), (0, 40_000, 0), (50, 0, 0), (0, 0, 1), (0, 0, 1), (0, 0, 1)])
@given(st.lists(st.tuples(st.sampled_from([0, 1, 5, 50]), ROOMS, st.sampled_from([0, 1])), max_size=40))
def test_wherever_the_kernel_stops_packets_stay_whole(steps: list[tuple[int, int, int]]) -> None:
    valve = Valve()
    with pytest.MonkeyPatch.context() as patch, stage(RULE_OF_A_FEW) as here:
        patch.setattr(client, "os", valve)
        for pictures, room, seconds in steps:
            here.write(pictures)
            here.now += seconds
            valve.room = room
            here.client.flush(here.now)
        valve.room = 1 << 30
        here.client.flush(here.now)
        assert here.client.has_all
        here.got = valve.taken
        check(here.media())
        assert here.viewer.bytes_sent == len(here.media())


def lag(here: Stage, times: int = 1) -> None:
    """Leave the viewer so far behind, for so long, that it is too much."""
    for _ in range(times):
        here.write(400)
        for _ in range(3):
            here.client.flush(here.now)
            here.now += 1.0


def test_a_viewer_that_lags_is_moved_so_often_and_then_dropped() -> None:
    with stage(SlowRule(lag_bytes_max=1000, moves_max=2, patience_seconds=1.0)) as here:
        lag(here)
        lag(here)
        moves = here.viewer.moves
        with pytest.raises(TooSlowError):
            lag(here, 4)
        assert moves <= 2
        assert here.viewer.moves == 2


def test_a_viewer_that_kept_up_for_long_starts_afresh() -> None:
    with stage(
        SlowRule(lag_bytes_max=RING_BYTES // 2, moves_max=1, patience_seconds=1.0, forgive_seconds=60.0)
    ) as here:
        for number in range(1, 5):
            lag(here)
            assert here.viewer.moves == number
            here.read_all()
            here.now += 100.0
        check(here.media())


def test_a_burst_is_not_the_viewers_fault() -> None:
    with stage() as here:
        here.write(40)  # far over the limit at once, but not for long
        here.client.flush(here.now)
        here.read_all()
        here.now += 5.0
        here.client.flush(here.now)
        assert here.viewer.moves == 0


def test_a_viewer_is_not_moved_to_where_it_is() -> None:
    with stage(SlowRule(lag_bytes_max=100, patience_seconds=0.0)) as here:
        for number in range(60):  # one long picture: there is no newer place to join
            here.feed.write(ts.packet(ts.VIDEO_PID, number, body=b"x" * 184) * 4, here.now, 0.0)
            here.client.flush(here.now)
            here.now += 0.1
        assert here.viewer.moves == 0


def test_nothing_is_sent_on_a_closing_transport() -> None:
    with stage() as here:
        here.wire.closing = True
        here.client.flush(here.now)
        assert not here.client.has_all
        assert here.read(1) == 0


def test_a_vanished_reader_is_an_error_of_the_system() -> None:
    with stage() as here:
        here.far.close()
        with pytest.raises(OSError, match=r"reset|pipe"):
            lag(here)


def test_a_lapped_viewer_waits_when_there_is_nowhere_to_go() -> None:
    with stage(SlowRule(lag_bytes_max=1 << 30)) as here:
        here.client.flush(here.now)
        for number in range(1000):
            here.feed.write(ts.packet(ts.VIDEO_PID, number, body=b"x" * 184) * 4, 0.0, 0.0)
        assert here.feed.join() is None
        here.read_all()
        assert here.viewer.moves == 0
        here.write(2)
        here.read_all()
        assert here.viewer.moves == 1
        check(here.media())
