"""Addresses are shown without what is secret in them."""

import pytest

from controller.api.redaction import redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://origin/a.ts", "http://origin/a.ts"),
        ("http://origin/a.ts?x=1&y=2", "http://origin/a.ts?x=1&y=2"),
        ("http://me:pw@origin:8080/a.ts", "http://***@origin:8080/a.ts"),
        ("http://me@origin/a.ts", "http://***@origin/a.ts"),
        ("http://a@b@origin/a.ts", "http://***@origin/a.ts"),
        ("http://me:pw@[::1]:80/a.ts", "http://***@[::1]:80/a.ts"),
        ("http://o/a?token=x", "http://o/a?token=***"),
        ("http://o/a?b=1&Access_Token=x&c=2", "http://o/a?b=1&Access_Token=***&c=2"),
        ("http://o/a?username=x&password=y", "http://o/a?username=***&password=***"),
        ("http://o/a?sig=x;key=y", "http://o/a?sig=***;key=***"),
        ("srt://o:9000?passphrase=x&mode=caller", "srt://o:9000?passphrase=***&mode=caller"),
        ("srt://o:9000?streamid=%23!::u=me,r=x&latency=200", "srt://o:9000?streamid=***&latency=200"),
        ("rtsp://me:pw@cam:554/live?channel=1", "rtsp://***@cam:554/live?channel=1"),
        ("rtmp://me:pw@o/app/name?auth=x", "rtmp://***@o/app/name?auth=***"),
        ("udp://192.0.2.1@232.0.0.1:5000", "udp://192.0.2.1@232.0.0.1:5000"),
        ("rtp://@239.0.0.1:5000?interface=eth0", "rtp://@239.0.0.1:5000?interface=eth0"),
        ("publish:", "publish:"),
        ("http://o/a?monkey=1", "http://o/a?monkey=1"),
        ("http://[bad/a", "***"),
        ("demo:clip", "demo:clip"),
        ("file:///media/a.ts", "file:///media/a.ts"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redact(url) == shown
