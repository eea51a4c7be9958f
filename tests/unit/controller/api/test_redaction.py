"""Addresses are shown without what is secret in them."""

import base64
import zlib
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.redaction import redact, redact_text, tells


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://origin/a.ts", "http://origin/a.ts"),
        ("http://origin/a.ts?x=1&Quality=2", "http://origin/a.ts?x=***&Quality=2"),
        ("http://me:pw@origin:8080/a.ts", "http://***@origin:8080/a.ts"),
        ("http://me@origin/a.ts", "http://***@origin/a.ts"),
        ("http://a@b@origin/a.ts", "http://***@origin/a.ts"),
        ("http://me:pw@[::1]:80/a.ts", "http://***@[::1]:80/a.ts"),
        ("http://o/a?token=x", "http://o/a?token=***"),
        ("http://o/a?id=1&Access_Token=x&channel=2", "http://o/a?id=1&Access_Token=***&channel=2"),
        ("http://o/a?username=x&password=y", "http://o/a?username=***&password=***"),
        ("http://o/a?sig=x;key=y", "http://o/a?sig=***;key=***"),
        ("srt://o:9000?passphrase=x&mode=caller", "srt://o:9000?passphrase=***&mode=caller"),
        ("srt://o:9000?streamid=%23!::u=me,r=x&latency=200", "srt://o:9000?streamid=***&latency=200"),
        ("rtsp://me:pw@cam:554/live?channel=1", "rtsp://***@cam:554/live?channel=1"),
        ("rtmp://me:pw@o/app/name?auth=x", "rtmp://***@o/app/***?auth=***"),
        ("udp://192.0.2.1@232.0.0.1:5000", "udp://192.0.2.1@232.0.0.1:5000"),
        ("rtp://@239.0.0.1:5000?interface=eth0", "rtp://@239.0.0.1:5000?interface=eth0"),
        ("publish:", "publish:"),
        ("http://o/a?monkey=1", "http://o/a?monkey=***"),
        ("http://tv:8080/live/me/pw/7.ts", "http://tv:8080/live/***/***/7.ts"),
        ("http://tv:8080/me/pw/7", "http://tv:8080/***/***/7"),
        ("http://tv:8080/live/cam/index.m3u8", "http://tv:8080/live/cam/index.m3u8"),
        ("http://tv:8080/7.ts", "http://tv:8080/7.ts"),
        ("http://[bad/a", "***"),
        ("demo:clip", "demo:clip"),
        ("file:///media/a.ts", "file:///media/a.ts"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"upstreams":["http://me:pw@o/a"', '{"upstreams":["http://***@o/a"'),
        (r'{"u":"http:\/\/me:pw@o\/a?t=x"}', '{"u":"http://***@o/a?t=***"}'),
        ('{"headers":{"A":"pw","B": "p\\"w"},"x":"y"}', '{"headers":{"A":"***","B": "***"},"x":"y"}'),
        ('{"headers": {"A": "pw, cut of', '{"headers": {"A": "***"'),
        ("no address at all", "no address at all"),
        ('{"u":"http://me:p w@o/a", "v": "http://me:pw@o/b"}', '{"u":"http://***@o/a", "v": "http://***@o/b"}'),
        (r'{"u":"http:\u002f\u002fme:p\u0022w@o/a"}', '{"u":"http://***@o/a"}'),
        ("http%3A%2F%2Fme%3Apw%40o twice HTTP%253a%252F%252Fme%253Apw%2540o", "*** twice ***"),
        ("connects to me:pw@o:80", "connects to ***@o:80"),
        (
            '{"passphrase" : "p\\"w", "Api_Key":77, "key":"cam-7"}',
            '{"passphrase" : "***", "Api_Key":"***", "key":"cam-7"}',
        ),
        ("authorization: Basic abc\nkey=cam-7; passwd = pw", "authorization: ***\nkey=cam-7; passwd = ***"),
        ("a" * 36 + " " + "a" * 37, "a" * 36 + " ***"),
        (
            '{"boot_id":"0193a7c4-8d1f-7b3e-9c55-0a1b2c3d4e5f","reason":"loop_detected","epoch":1732557600000}',
            '{"boot_id":"0193a7c4-8d1f-7b3e-9c55-0a1b2c3d4e5f","reason":"loop_detected","epoch":1732557600000}',
        ),
    ],
)
def test_a_message_that_could_not_be_read_is_shown_without_secrets(text: str, shown: str) -> None:
    assert redact_text(text) == shown


PASSWORD = st.text("abcdefghijkmnpqrstuvwxyz23456789!$", min_size=8, max_size=16)
ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "base64": lambda raw: base64.b64encode(raw).decode(),
    "base64 for addresses": lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="),
    "base64 in lines": lambda raw: base64.encodebytes(raw).decode(),
    "base64, twice": lambda raw: base64.b64encode(base64.b64encode(raw)).decode(),
    "base64 of UTF-16": lambda raw: base64.b64encode(raw.decode().encode("utf-16-le")).decode(),
    "base64, compressed": lambda raw: base64.b64encode(zlib.compress(raw)).decode(),
    "base32": lambda raw: base64.b32encode(raw).decode(),
    "hex": lambda raw: raw.hex(),
    "percent": lambda raw: quote(raw.decode(), safe=""),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(password=PASSWORD)
def test_an_address_that_is_encoded_is_masked_as_a_whole(encoding: str, password: str) -> None:
    hidden = ENCODINGS[encoding](f"http://me:{password}@origin/a.ts".encode())
    shown = redact_text(f'{{"key": "cam-7", "upstreams": ["{hidden}"]}}')
    assert shown == '{"key": "cam-7", "upstreams": ["***"]}'.replace('***"', '***\n"' * hidden.endswith("\n") or '***"')


@pytest.mark.parametrize(
    ("some", "is_telling"),
    [
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", False),
        (b"\xffab\x00\x01c", False),
        (b"\xff me", False),
        (b"\xffhttp", True),
        ("user".encode("utf-16"), True),
    ],
)
def test_words_are_found_in_what_is_no_text(some: bytes, is_telling: bool) -> None:
    assert tells(some) is is_telling
