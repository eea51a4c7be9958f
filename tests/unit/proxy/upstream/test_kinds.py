"""Readers over real sockets: what each kind of answer becomes, and what is never connected to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from proxy.contract import SessionSpec, Upstream
from proxy.errors import (
    SpecRefusedError,
    UpstreamAnswerError,
    UpstreamError,
    UpstreamForbiddenError,
    UpstreamLostError,
    UpstreamSilentError,
    UpstreamUnreachableError,
)
from proxy.upstream import demo, kinds
from proxy.upstream.fetch import HttpPolicy
from proxy.upstream.resolver import Resolver
from tests.fakes.upstream import FakeUpstream, fake_upstream

POLICY = HttpPolicy(connect_timeout_seconds=2, read_timeout_seconds=0.3)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with fake_upstream() as upstream:
        yield upstream


async def pull(url: str, *, bytes_max: int = 10**6, policy: HttpPolicy = POLICY, **headers: str) -> bytes:
    """Read until the end, an error or enough."""
    got = b""
    async with aclosing(kinds.opener(policy, Resolver())(Upstream(url=url, headers=headers))) as items:
        async for item in items:
            got += item if isinstance(item, bytes) else b""
            if len(got) >= bytes_max:
                break
    return got


async def closed(upstream: FakeUpstream) -> None:
    async with asyncio.timeout(1):
        await upstream.rests.wait()


async def test_a_stream_is_passed_on_byte_for_byte(upstream: FakeUpstream):
    assert await pull(upstream.url("/brief")) == demo.load().content


async def test_a_body_with_a_length_is_a_file_and_comes_no_faster_than_its_clock(upstream: FakeUpstream):
    enough = int(len(demo.load().content) * 0.95)  # 6.1 s of 6.4: beyond the lead
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.7):
            await pull(upstream.url("/file"), bytes_max=enough)
    async with asyncio.timeout(0.7):
        await pull(upstream.url("/file"), bytes_max=enough // 2)


async def test_closing_the_reader_closes_the_connection(upstream: FakeUpstream):
    assert len(await pull(upstream.url("/flow"), bytes_max=1000)) >= 1000
    await closed(upstream)


@pytest.mark.parametrize(
    ("path", "error", "lasting"),
    [
        ("/missing", UpstreamAnswerError, True),
        ("/busy", UpstreamAnswerError, False),
        ("/silent", UpstreamSilentError, False),
        ("/hang", UpstreamSilentError, False),
        ("/drop", UpstreamLostError, False),
    ],
)
async def test_what_goes_wrong_is_named(upstream: FakeUpstream, path: str, error: type[UpstreamError], lasting: bool):
    with pytest.raises(error) as failure:
        await pull(upstream.url(path))
    assert failure.value.lasting is lasting
    await closed(upstream)


async def test_a_refused_connection_is_named_by_host_alone(unused_port: int):
    with pytest.raises(UpstreamUnreachableError) as failure:
        await pull(f"http://user:hunter2@127.0.0.1:{unused_port}/live/hunter2?token=hunter2")
    assert "127.0.0.1" in failure.value.detail
    assert "hunter2" not in failure.value.detail


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_a_name_that_does_not_exist_is_unreachable():
    with pytest.raises(UpstreamUnreachableError, match="name not found"):
        await pull("http://nothing-here.invalid/x")


async def test_redirects_are_followed_one_connection_at_a_time(upstream: FakeUpstream):
    assert await pull(upstream.url("/redirect?to=/brief"))
    assert upstream.open_most == 1


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "file:///etc/passwd",
    ],
)
async def test_a_redirect_to_a_forbidden_place_is_refused(upstream: FakeUpstream, target: str):
    with pytest.raises(UpstreamForbiddenError):
        await pull(upstream.url(f"/redirect?to={target}"))


async def test_redirects_without_end_are_refused(upstream: FakeUpstream):
    with pytest.raises(UpstreamForbiddenError, match="redirects"):
        await pull(upstream.url("/round"))
    assert upstream.requests["/round"] == POLICY.redirects_max + 1


async def test_headers_and_user_info_reach_the_upstream(upstream: FakeUpstream):
    url = upstream.url("/brief").replace("http://", "http://user:pass@")
    await pull(url, **{"X-Api-Key": "k1", "User-Agent": "box"})
    assert upstream.headers["X-Api-Key"] == "k1"
    assert upstream.headers["User-Agent"] == "box"
    assert upstream.headers["Authorization"].startswith("Basic ")


async def test_credentials_stay_with_the_origin_they_were_given_for(upstream: FakeUpstream):
    async with fake_upstream() as other:
        await pull(
            upstream.url(f"/redirect?to={other.url('/brief')}"), Authorization="Bearer t", Cookie="c=1", Referer="r"
        )
        assert "Authorization" not in other.headers
        assert "Cookie" not in other.headers
        assert other.headers["Referer"] == "r"


@pytest.mark.parametrize("name", ["decimal", "hexadecimal"])
async def test_odd_spellings_of_a_forbidden_address_are_refused(name: str):
    host = {"decimal": "2852039166", "hexadecimal": "0xa9fea9fe"}[name]
    with pytest.raises(UpstreamForbiddenError):
        await pull(f"http://{host}/")


async def test_a_playlist_without_its_ending_is_read_as_hls(upstream: FakeUpstream):
    upstream.playlists["live"] = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ns0.ts\n#EXT-X-ENDLIST\n"
    upstream.segments["s0.ts"] = b"segment"
    assert await pull(upstream.url("/live")) == b"segment"


@pytest.mark.parametrize(
    ("url", "headers", "words"),
    [
        ("file:///etc/passwd", {}, "file"),
        ("ftp://example.com/x", {}, "ftp"),
        ("/just/a/path", {}, "without scheme"),
        ("http://169.254.169.254/", {}, "link-local"),
        ("http://[fe80::1%25eth0]/", {}, "link-local"),
        ("http://100.100.100.200/", {}, "link-local"),
        ("http://cam/", {"X-Bad": "a\r\nX-Other: b"}, "header"),
        ("http://cam/", {"Host": "other"}, "Host"),
    ],
)
def test_what_may_not_be_pulled_is_refused_before_anything_is_opened(url: str, headers: dict[str, str], words: str):
    spec = SessionSpec(key="cam", upstreams=(Upstream(url="demo:"), Upstream(url=url, headers=headers)))
    with pytest.raises(SpecRefusedError, match=words) as refusal:
        kinds.check(spec, POLICY)
    assert "upstream 1" in refusal.value.reason


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "https://10.0.0.7/x", "HTTP://cam.lan/a b", "demo:", "demo:two"])
def test_what_may_be_pulled_is_taken(url: str):
    kinds.check(SessionSpec(key="cam", upstreams=(Upstream(url=url),)), POLICY)


def test_link_local_addresses_can_be_allowed():
    spec = SessionSpec(key="cam", upstreams=(Upstream(url="http://169.254.7.7/"),))
    kinds.check(spec, HttpPolicy(guarded=False))


async def test_the_plain_resolver_serves_the_unguarded(upstream: FakeUpstream):
    opener = kinds.opener(HttpPolicy(guarded=False), Resolver(guarded=False))
    async with aclosing(opener(Upstream(url=upstream.url("/brief").replace("127.0.0.1", "localhost")))) as items:
        assert isinstance(await anext(items), bytes)
