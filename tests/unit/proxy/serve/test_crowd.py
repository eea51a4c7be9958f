"""The block that all steady viewers get, on real sockets: who gets it, who does not, and that nothing is torn."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from proxy.contract import Output
from proxy.core.feed import Feed
from proxy.segments import MemfdSegment
from proxy.serve.client import Client, SlowRule
from proxy.serve.crowd import Crowd
from proxy.session import Viewer
from tests.fakes import transport_packets as ts
from tests.unit.proxy.serve.test_client import Wire

EVERY = 0.05


class Stage:
    """A feed and its crowd; each viewer is one end of a TCP connection, ``far`` has the others."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.feed = Feed(ring_bytes_max=1 << 20, new_segment=MemfdSegment, hls=False)
        self.feed.write(ts.tables() + ts.picture(ts.KEY_H264), 0.0, 0.0)
        self.number = 0
        self.write(1)
        self.alone: list[Client] = []
        self.crowd = Crowd(self.feed, self._flush_one)
        self.far: list[socket.socket] = []

    def _flush_one(self, client: Client, now: float) -> None:
        self.alone.append(client)
        client.flush(now)

    def enter(self, *, buffer_bytes: int = 1 << 20) -> Client:
        server = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        far = self._stack.enter_context(socket.socket())
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        far.connect(server.getsockname())
        near = self._stack.enter_context(server.accept()[0])
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        near.setblocking(False)
        far.setblocking(False)
        viewer = Viewer(str(len(self.far)), Output.TS, "", "", 0.0)
        client = Client(viewer, self.feed, Wire(near, tls=False), head=b"", rule=SlowRule())
        self.far.append(far)
        self.crowd.clients[client] = None
        client.flush(0.0)
        return client

    def write(self, packets: int) -> bytes:
        media = b"".join(ts.packet(ts.VIDEO_PID, self.number + n + 1, body=b"x" * 184) for n in range(packets))
        self.number += packets
        self.feed.write(media, 0.0, 0.0)
        return media

    def flush(self, now: float) -> None:
        self.crowd.flush(self.crowd.begin(now), now)

    def got(self, number: int) -> bytes:
        body = b""
        while True:
            try:
                body += self.far[number].recv(1 << 20)
            except BlockingIOError:
                return body


@pytest.fixture
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        made = Stage(stack)
        yield made
        made.feed.close()


def test_all_who_keep_up_get_the_same_block_without_being_looked_at_one_by_one(stage: Stage) -> None:
    clients = [stage.enter() for _ in range(3)]
    stage.flush(0.0)
    stage.alone.clear()
    [stage.got(number) for number in range(3)]
    media = stage.write(50)
    stage.flush(1.0)
    assert stage.alone == []
    assert [stage.got(number) for number in range(3)] == [media] * 3
    assert {client.viewer.position for client in clients} == {stage.feed.head}
    assert not stage.crowd.has_more


def test_one_that_came_between_two_flushes_gets_only_what_it_lacks(stage: Stage) -> None:
    stage.enter()
    stage.flush(0.0)
    before = stage.write(10)
    late = stage.enter()
    stage.got(0)
    assert stage.got(1).endswith(before)
    after = stage.write(10)
    stage.flush(1.0)
    assert stage.got(0) == before + after
    assert stage.got(1) == after
    assert late in stage.alone


def test_one_that_cannot_take_all_is_remembered_and_gets_the_rest_whole(stage: Stage) -> None:
    slow, quick = stage.enter(buffer_bytes=4096), stage.enter()
    stage.flush(0.0)
    head = [stage.got(0), stage.got(1)]
    media = b""
    for turn in range(12):
        media += stage.write(400)
        stage.flush(1.0 + turn)
        head[1] += stage.got(1)
    assert not slow.steady
    assert quick.steady
    assert stage.crowd.has_more
    for turn in range(3000):
        if not stage.crowd.has_more:
            break
        head[0] += stage.got(0)
        stage.flush(100.0 + turn)
    head[0] += stage.got(0)
    assert slow.viewer.position == stage.feed.head
    assert head[0] == head[1]
    assert head[1].endswith(media)


def test_one_that_has_been_dismissed_is_not_sent_to(stage: Stage) -> None:
    gone, stays = stage.enter(), stage.enter()
    stage.flush(0.0)
    [stage.got(number) for number in range(2)]
    media = stage.write(10)
    clients = stage.crowd.begin(1.0)
    del stage.crowd.clients[gone]
    gone.steady = False
    stage.crowd.flush(clients, 1.0)
    assert (stage.got(0), stage.got(1)) == (b"", media)
    assert stays.steady


def test_growth_makes_it_due_sooner_than_somebody_who_lags(stage: Stage) -> None:
    stage.enter()
    stage.flush(10.0)
    assert not stage.crowd.has_more
    stage.crowd.note_behind()
    assert stage.crowd.has_more
    assert stage.crowd.due_at(EVERY) == pytest.approx(10.1)
    stage.write(1)
    assert stage.crowd.due_at(EVERY) == pytest.approx(10.045)


def test_a_block_ends_with_its_segment_and_the_rest_comes_in_the_same_flush(stage: Stage) -> None:
    stage.enter()
    stage.flush(0.0)
    got = stage.got(0)
    media = b""
    for turn in range(20):  # across several segments of 128 KiB
        media += stage.write(300)
        stage.flush(1.0 + turn)
        got += stage.got(0)
        assert not stage.crowd.has_more
    assert got.endswith(media)
