"""Playlists, keys and segments over real HTTP: ranges, ciphers, coding, redirects, and whom credentials are shown."""

import pytest

from proxy.errors import UpstreamContentError, UpstreamError, UpstreamForbiddenError, UpstreamLostError
from proxy.upstream.hls import download
from proxy.upstream.items import Discontinuity
from tests.fakes.hls_lists import encrypted, live
from tests.fakes.upstream import FakeUpstream, fake_upstream

KEY, OTHER_KEY, IV = bytes(range(16)), bytes(16), bytes(range(16, 32))
SECONDS = 0.1
BREAK = Discontinuity()


def aes(uri: str, iv: bytes | None = None) -> str:
    return f'#EXT-X-KEY:METHOD=AES-128,URI="{uri}"' + (f",IV=0x{iv.hex()}" if iv else "")


def ranges(*parts: str) -> str:
    lines = [f"#EXTINF:{SECONDS},\n#EXT-X-BYTERANGE:{part}\nall.ts" for part in parts]
    return "\n".join(["#EXTM3U\n#EXT-X-TARGETDURATION:1", *lines, "#EXT-X-ENDLIST"])


async def test_keys_change_and_end_within_a_list_and_each_is_fetched_once(upstream: FakeUpstream, pull):
    tags = {1: aes("k1"), 3: aes("k2", IV), 5: "#EXT-X-KEY:METHOD=NONE", 6: aes("k1")}
    upstream.playlists["index.m3u8"] = live(0, 7, ended=True, seconds=SECONDS, tags=tags)
    upstream.segments = {"k1": KEY, "k2": OTHER_KEY}
    ciphers = {1: KEY, 2: KEY, 3: OTHER_KEY, 4: OTHER_KEY, 6: KEY}
    for number in range(7):
        plain = b"segment %d " % number * 20
        vector = IV if number in (3, 4) else number.to_bytes(16)
        stored = encrypted(plain, ciphers[number], vector) if number in ciphers else plain
        upstream.segments[f"s{number}.ts"] = stored
    assert await pull() == [b"".join(b"segment %d " % number * 20 for number in range(7))]
    assert (upstream.requests["/k1"], upstream.requests["/k2"]) == (1, 1)


async def test_so_many_keys_are_remembered(upstream: FakeUpstream, pull):
    count = download.KEYS_MAX + 2
    tags = {number: aes(f"k{number % (download.KEYS_MAX + 1)}") for number in range(count)}
    upstream.playlists["index.m3u8"] = live(0, count, ended=True, seconds=0.001, tags=tags)
    upstream.segments = {f"k{number}": KEY for number in range(count)}
    upstream.segments |= {f"s{number}.ts": encrypted(b"x", KEY, number.to_bytes(16)) for number in range(count)}
    assert await pull() == [b"x" * count]
    assert upstream.requests["/k0"] == 2
    assert upstream.requests["/k1"] == 1


async def test_a_key_that_was_changed_in_its_place_is_fetched_again(upstream: FakeUpstream, pull):
    upstream.playlists["index.m3u8"] = live(0, 2, ended=True, seconds=SECONDS, tags={0: aes("k")})
    upstream.segments = {"k": KEY, "s0.ts": encrypted(b"", OTHER_KEY, bytes(16))}
    upstream.segments["s1.ts"] = encrypted(b"1", KEY, (1).to_bytes(16))
    assert b"1" in b"".join(item for item in await pull() if isinstance(item, bytes))
    assert upstream.requests["/k"] == 2


@pytest.mark.parametrize(
    ("key", "words"),
    [(b"short", "a key is none"), (b"<html>" * 1000, "a key is none"), (None, "no key for a segment: .* 404")],
)
async def test_what_is_no_key_fails_the_segment_by_name(upstream: FakeUpstream, pull, key: bytes | None, words: str):
    upstream.playlists["index.m3u8"] = live(0, 3, ended=True, seconds=SECONDS, tags={0: aes("k")})
    upstream.segments = {f"s{number}.ts": b"" for number in range(3)} | ({"k": key} if key else {})
    with pytest.raises(UpstreamError, match=words) as failure:
        await pull()
    assert failure.value.lasting


@pytest.mark.parametrize("knows", [True, False], ids=["server knows ranges", "server does not"])
async def test_byte_ranges_are_cut_out(upstream: FakeUpstream, pull, knows: bool):
    upstream.ranges = knows
    upstream.segments["all.ts"] = bytes(range(200))
    upstream.playlists["index.m3u8"] = ranges("20@10", "5", "7@100")
    assert await pull() == [bytes(range(10, 35)) + bytes(range(100, 107))]


async def test_a_range_is_decrypted_by_itself(upstream: FakeUpstream, pull):
    parts = [encrypted(b"%d" % number * 30, KEY, number.to_bytes(16)) for number in range(2)]
    upstream.segments = {"all.ts": b"head" + b"".join(parts), "k": KEY}
    text = ranges(f"{len(parts[0])}@4", f"{len(parts[1])}")
    upstream.playlists["index.m3u8"] = text.replace("#EXTINF", aes("k") + "\n#EXTINF", 1)
    assert await pull() == [b"0" * 30 + b"1" * 30]


async def test_a_resource_that_ends_before_its_range_is_a_break(upstream: FakeUpstream, pull):
    upstream.segments["all.ts"] = b"0123456789"
    upstream.playlists["index.m3u8"] = ranges("4@8", "2@0")
    assert await pull() == [b"89", BREAK, b"01"]
    upstream.playlists["index.m3u8"] = ranges("4@8", "4@8", "4@8")
    with pytest.raises(UpstreamLostError, match="shorter"):
        await pull()


async def test_another_range_than_asked_for_is_not_taken(upstream: FakeUpstream, pull):
    upstream.segments["all.ts"] = bytes(100)
    upstream.content_range = "bytes 50-99/100"
    upstream.playlists["index.m3u8"] = ranges("10@10", "10@10", "10@10")
    with pytest.raises(UpstreamContentError, match="another byte range"):
        await pull()


async def test_what_comes_with_gzip_is_unpacked(upstream: FakeUpstream, pull):
    upstream.zipped = True
    upstream.playlists["index.m3u8"] = live(0, 1, ended=True, seconds=SECONDS)
    upstream.segments["s0.ts"] = b"zipped" * 1000
    assert await pull() == [b"zipped" * 1000]
    assert "gzip" in upstream.headers_of["/index.m3u8"]["Accept-Encoding"]


async def test_a_playlist_without_end_is_too_large(upstream: FakeUpstream, pull):
    upstream.zipped = True
    upstream.playlists["index.m3u8"] = "#EXTM3U\n" + "#" * (download.PLAYLIST_BYTES_MAX + 1)
    with pytest.raises(UpstreamContentError, match="too large"):
        await pull()


async def test_addresses_are_relative_to_where_a_playlist_was_found(upstream: FakeUpstream, pull):
    upstream.playlists["far/away/index.m3u8"] = live(0, 1, ended=True, seconds=SECONDS)
    upstream.segments["far/away/s0.ts"] = b"found"
    assert await pull("/redirect?to=/far/away/index.m3u8") == [b"found"]


async def test_credentials_stay_with_the_origin_they_were_given_for(upstream: FakeUpstream, pull):
    async with fake_upstream() as elsewhere:
        tags = {0: aes("near.key"), 1: aes(elsewhere.url("/far.key"))}
        upstream.playlists["index.m3u8"] = live(0, 2, ended=True, seconds=SECONDS, tags=tags)
        upstream.segments = {"near.key": KEY, "s0.ts": encrypted(b"0", KEY, bytes(16))}
        upstream.segments["s1.ts"] = encrypted(b"1", KEY, (1).to_bytes(16))
        elsewhere.segments["far.key"] = KEY
        assert await pull(Authorization="Bearer mine", Referer="http://portal.test/") == [b"01"]
        near, far = upstream.headers_of["/near.key"], elsewhere.headers_of["/far.key"]
    assert (near["Authorization"], near["Referer"]) == ("Bearer mine", "http://portal.test/")
    assert "Authorization" not in far
    assert far["Referer"] == "http://portal.test/"


async def test_credentials_within_the_address_are_sent_for_all_of_its_origin(upstream: FakeUpstream, pull):
    upstream.playlists["index.m3u8"] = live(0, 1, ended=True, seconds=SECONDS)
    upstream.segments["s0.ts"] = b"0"
    assert await pull(url=upstream.url("/index.m3u8").replace("://", "://user:pass%40word@")) == [b"0"]
    sent = {path: headers.get("Authorization") for path, headers in upstream.headers_of.items()}
    assert sent["/index.m3u8"] == sent["/s0.ts"] == "Basic dXNlcjpwYXNzQHdvcmQ="


async def test_a_playlist_cannot_lead_to_a_forbidden_address(upstream: FakeUpstream, pull):
    tags = {0: aes("http://169.254.169.254/latest/meta-data")}
    upstream.playlists["index.m3u8"] = live(0, 3, ended=True, seconds=SECONDS, tags=tags)
    with pytest.raises(UpstreamError, match="link-local and metadata"):
        await pull()
    upstream.playlists["index.m3u8"] = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://169.254.169.254/x.m3u8"
    with pytest.raises(UpstreamForbiddenError, match="link-local and metadata"):
        await pull()
