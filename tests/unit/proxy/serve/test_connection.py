"""Connections that change between the short way and aiohttp's: the same answers on both, in order, nothing lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.serve import tcp
from proxy.serve.connection import is_whole
from proxy.serve.shortcut import Shortcut
from proxy.session import Viewer
from tests.fakes.viewing import Answer, Place, clip, place, until

FOLLOWED = frozenset({"date"})
"""Headers that need not be the same twice."""


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what went the short way."""
    names: list[str] = []
    playlist, segment = Shortcut.playlist, Shortcut.segment

    def noted_playlist(self, asked, transport, address):
        answer = playlist(self, asked, transport, address)
        names.extend([asked.name] if answer is not None else [])
        return answer

    def noted_segment(self, asked, transport, address, ended):
        sending = segment(self, asked, transport, address, ended)
        names.extend([asked.name] if sending is not None else [])
        return sending

    monkeypatch.setattr(Shortcut, "playlist", noted_playlist)
    monkeypatch.setattr(Shortcut, "segment", noted_segment)
    return names


def request(path: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: test", *lines, "", ""]).encode()


async def read(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Read one more answer with a length."""
    head = (await answer.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
    body = await answer.exactly(int(fields.get("content-length", 0)))
    return int(head[0].split()[1]), {n: v for n, v in fields.items() if n not in FOLLOWED}, body


async def exchange(answer: Answer, *data: bytes) -> tuple[int, dict[str, str], bytes]:
    for part in data:
        answer.writer.write(part)
        await asyncio.sleep(0.02)
    return await read(answer)


async def viewer(here: Place) -> tuple[Answer, str]:
    """Return the connection of a viewer who has a playlist, and the address of its first segment."""
    answer = await here.ask("/hls/cam/index.m3u8")
    text = (await answer.exactly(int(answer.headers["content-length"]))).decode()
    return answer, "/hls/cam/" + next(line for line in text.splitlines() if line and line[0] != "#")


@asynccontextmanager
async def watching(bitrate: str = "1M") -> AsyncIterator[tuple[Place, Answer, str]]:
    """A place where a stream runs, the connection of its only viewer, and the address of a segment."""
    async with place() as here:
        here.run("cam")
        here.tap.pour(clip(3, bitrate=bitrate))
        answer, uri = await viewer(here)
        await until(here.tap.chunks.empty)
        yield here, answer, uri


def viewers_of(here: Place) -> list[Viewer]:
    session = here.registry.get("cam")
    return list(session.viewers.values()) if session is not None else []


def test_both_ways_answer_alike(run, taken: list[str]) -> None:
    async def story() -> None:
        async with watching() as (_, answer, uri):
            for path in ("/hls/cam/index.m3u8", uri):
                short = await exchange(answer, request(path))
                count = len(taken)
                long = await exchange(answer, request(path, "X-Way: one", "X-Way: two"))
                assert len(taken) == count
                assert short == long
                assert short[0] == 200
            assert taken == ["index.m3u8", uri.rpartition("/")[2].partition("?")[0]]
            packed = await exchange(answer, request("/hls/cam/index.m3u8", "Accept-Encoding: gzip"))
            assert packed[1]["content-encoding"] == "gzip"
            assert len(taken) == 3

    run(story)


def test_a_request_that_comes_during_an_answer_is_answered_behind_it(run, taken: list[str]) -> None:
    async def story() -> None:
        async with watching("8M") as (here, answer, uri):
            answer.reader._transport.pause_reading()
            answer.writer.write(request(uri))
            await until(lambda: len(taken) == 1)
            answer.writer.write(request("/hls/cam/none.ts"))
            answer.writer.write(request("/hls/cam/index.m3u8"))
            await asyncio.sleep(0.05)
            answer.reader._transport.resume_reading()
            assert [(await read(answer))[0] for _ in range(3)] == [200, 404, 200]
            [one] = viewers_of(here)
            assert one.position > 0

    run(story)


@pytest.mark.parametrize("cut", [1, 9, 40])
def test_a_request_in_parts_is_one(run, taken: list[str], cut: int) -> None:
    async def story() -> None:
        async with watching() as (_, answer, uri):
            whole = request(uri)
            assert (await exchange(answer, whole[:cut], whole[cut:]))[0] == 200
            assert (await exchange(answer, whole))[0] == 200
            assert taken == []

    run(story)


def test_what_looks_like_a_request_inside_another_is_none(run, taken: list[str]) -> None:
    async def story() -> None:
        async with watching() as (_, answer, uri):
            hidden = request(uri)
            status, *_ = await exchange(answer, request("/hls/cam/5.ts", f"Content-Length: {len(hidden)}"), hidden)
            assert status == 404
            assert (await exchange(answer, request("/hls/cam/7.ts")))[0] == 404
            assert taken == []

    run(story)


def test_a_viewer_that_goes_during_a_segment_holds_nothing(
    run, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "UNSENT_SEGMENT_BYTES_MAX", 64 * 1024)

    async def story() -> None:
        async with watching("8M") as (here, answer, uri):
            answer.reader._transport.pause_reading()
            answer.writer.write(request(uri))
            await until(lambda: len(taken) == 1)
            session = here.registry.get("cam")
            assert session is not None
            feed = session.feed
            assert feed is not None
            await asyncio.sleep(0.05)
            assert feed._readers == 1
            answer.writer.transport.abort()
            await until(lambda: feed._readers == 0)

    run(story)


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (request("/"), True),
        (request("/", method="HEAD"), True),
        (request("/", method="PUT"), False),
        (request("/", "Content-Length: 0"), False),
        (request("/", "transfer-encoding: chunked"), False),
        (request("/")[:-1], False),
        (request("/") * 2, False),
        (b"", False),
    ],
)
def test_what_is_one_request_without_a_body(data: bytes, whole: bool) -> None:
    assert is_whole(data) is whole
