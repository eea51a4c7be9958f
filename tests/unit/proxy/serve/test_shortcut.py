import pytest

from proxy.serve.shortcut import HEAD_BYTES_MAX, Asked, parse

TOKEN = "abcdefgh-_123456"


def request(path: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: here", *lines, "", ""]).encode()


def test_a_playlist_and_a_segment_are_understood() -> None:
    assert parse(request("/hls/cam.1/index.m3u8", "User-Agent:  player ")) == Asked(
        "cam.1", "index.m3u8", "", "", {"host": "here", "user-agent": "player"}
    )
    found = parse(request(f"/hls/cam/17.ts?v={TOKEN}", "Connection: Keep-Alive"))
    assert found is not None
    assert (found.name, found.token, found.cookie) == ("17.ts", TOKEN, "")


def test_the_token_of_the_address_counts_before_the_cookies() -> None:
    cookie = f"Cookie: a=b; penstock_viewer={TOKEN[::-1]}; c=d"
    found = parse(request(f"/hls/cam/17.m4s?v={TOKEN}", cookie))
    assert found is not None
    assert (found.token, found.cookie) == (TOKEN, TOKEN[::-1])
    found = parse(request("/hls/cam/index.m3u8", cookie))
    assert found is not None
    assert found.token == TOKEN[::-1]
    found = parse(request("/hls/cam/index.m3u8", "Cookie: a=b"))
    assert found is not None
    assert found.token == ""


@pytest.mark.parametrize(
    "data",
    [
        request("/hls/cam/index.m3u8", method="HEAD"),
        request("/hls/cam/index.m3u8", version="1.0"),
        request("/ts/cam"),
        request("/hls/cam/5.mp4"),
        request("/hls/cam%2e/5.ts"),
        request("/hls/cam/5.ts?v=short"),
        request(f"/hls/cam/5.ts?v={TOKEN}&more=1"),
        request("/hls/cam/5.ts", "Content-Length: 4"),
        request("/hls/cam/5.ts", "Transfer-Encoding: chunked"),
        request("/hls/cam/5.ts", "Expect: 100-continue"),
        request("/hls/cam/5.ts", "Connection: close"),
        request("/hls/cam/5.ts", "Connection: Upgrade", "Upgrade: h2c"),
        request("/hls/cam/index.m3u8", 'If-None-Match: W/"x"'),
        request("/hls/cam/5.ts", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2"),
        request("/hls/cam/5.ts", " folded"),
        request("/hls/cam/5.ts", "Space : before"),
        request("/hls/cam/5.ts", "Control: \x01"),
        request("/hls/cam/5.ts", f"Cookie: penstock_viewer={TOKEN}; penstock_viewer={TOKEN}"),
        request("/hls/cam/5.ts", 'Cookie: penstock_viewer="quoted"'),
        request("/hls/cam/5.ts", "Long: " + "x" * HEAD_BYTES_MAX),
        request("/hls/cam/5.ts") + b"G",
        request("/hls/cam/5.ts") * 2,
        request("/hls/cam/5.ts")[:-1],
        b"",
    ],
)
def test_whatever_is_not_plain_is_left_alone(data: bytes) -> None:
    assert parse(data) is None
