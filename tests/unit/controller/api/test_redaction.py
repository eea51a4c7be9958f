"""Addresses are shown without what is secret in them."""

import pytest

from controller.api.redaction import redact, redact_text


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
    ],
)
def test_a_message_that_could_not_be_read_is_shown_without_secrets(text: str, shown: str) -> None:
    assert redact_text(text) == shown
