"""One wire model for MQTT and REST: the same words mean the same event, and faults are told in one line."""

import pytest
from pydantic import ValidationError

from controller import announcements
from controller.announcements import Announcement, Ending
from controller.domain.events import Order
from controller.domain.model import Cause, Key, OnEof, Output, Prefer, Reason, SourceId, StreamSpec, Upstream

SOURCE, KEY, CAUSE = SourceId("enc-1"), Key("cam-7"), Cause("operator:bob", "POST /streams")


def said(**fields: object) -> Announcement:
    return Announcement.model_validate({"upstreams": ["http://h/a.ts"], **fields})


def test_json_and_python_objects_are_read_alike():
    text = b'{"upstreams":["http://h/a.ts",{"url":"demo:","headers":{"A":"b"}}],"outputs":["hls"],"on_eof":"end"}'
    python = said(upstreams=["http://h/a.ts", {"url": "demo:", "headers": {"A": "b"}}], outputs=["hls"], on_eof="end")
    assert Announcement.model_validate_json(text) == python


def test_an_announcement_becomes_an_event():
    payload = said(
        epoch=2, seq=3, boot_id="b", labels={"b": "2", "a": "1"}, expires_in=5, stall_timeout=6, viewers_max=7
    )
    event = announcements.announcement(SOURCE, KEY, payload, CAUSE, is_retained=True)
    assert (event.source_id, event.key, event.cause, event.is_retained) == (SOURCE, KEY, CAUSE, True)
    assert event.spec == StreamSpec((Upstream("http://h/a.ts"),), (Output.TS, Output.HLS), True, OnEof.RECONNECT, 7)
    assert (event.order, event.boot_id, event.labels) == (Order(2, 3), "b", (("a", "1"), ("b", "2")))
    assert (event.expires_in_seconds, event.stall_timeout_seconds) == (5, 6)


def test_what_is_said_about_failover_is_in_the_spec():
    payload = said(upstreams=[{"url": "http://h/a", "connections_max": 1}, "http://i/b"], prefer="stay", return_after=5)
    spec = announcements.announcement(SOURCE, KEY, payload, CAUSE).spec
    assert [upstream.connections_max for upstream in spec.upstreams] == [1, None]
    assert (spec.prefer, spec.return_after_seconds) == (Prefer.STAY, 5)
    assert announcements.announcement(SOURCE, KEY, said(), CAUSE).spec.prefer is Prefer.FIRST


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefer": "last"},
        {"return_after": 0},
        {"upstreams": [{"url": "http://h/a", "connections_max": 0}]},
        {"upstreams": [{"url": "http://h/a", "connections_max": 1001}]},
    ],
)
def test_what_cannot_be_meant_about_failover_is_refused(wrong):
    with pytest.raises(ValidationError):
        said(**wrong)


def test_epoch_zero_is_a_number():
    assert announcements.announcement(SOURCE, KEY, said(epoch=0, seq=0), CAUSE).order == Order(0, 0)


@pytest.mark.parametrize("reason", sorted(announcements.REASONS_OF_SOURCES))
def test_every_word_of_a_source_is_its_reason(reason):
    assert announcements.ending(SOURCE, KEY, Ending(reason=reason), CAUSE).reason is Reason(reason)


def test_a_fault_is_told_with_its_place_and_without_the_value():
    with pytest.raises(ValidationError) as raised:
        said(upstreams=[{"url": "ftp://user:secret@h"}], on_demand=1)
    told = announcements.explain(raised.value)
    assert told.startswith("upstreams.0.url: the scheme 'ftp' is not supported")
    assert told.endswith("(and 1 more)")
    assert "secret" not in told


def test_a_fault_of_the_whole_has_no_place():
    with pytest.raises(ValidationError) as raised:
        said(epoch=1)
    assert announcements.explain(raised.value) == "epoch and seq come together or not at all"


@pytest.mark.parametrize(
    "url",
    [
        "udp://239.0.0.1:5000",
        "udp://192.0.2.1@232.0.0.1:5000?interface=eth0",
        "udp://@:5000",
        "rtp://[ff15::1]:5004/",
        "rtsp://me:pw@cam/live",
        "rtmp://o/app/name",
        "srt://o:9000?streamid=x",
        "file:clip.ts",
        "file:///media/clip.ts",
        "publish:",
    ],
)
def test_every_kind_of_upstream_can_be_announced(url):
    assert said(upstreams=[url]).upstreams[0].url == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("udp://239.0.0.1", "udp needs a port"),
        ("rtp://239.0.0.1:0", "0 is not a port"),
        ("udp://239.0.0.1:5000/live", "udp has no path"),
        ("srt://o", "srt needs a port"),
        ("rtsp:///live", "the URL names no host"),
        ("file:", "the URL names no file"),
        ("file:///", "the URL names no file"),
        ("publish:cam-7", "publish: is all"),
        ("publish://proxy/cam-7", "publish: is all"),
    ],
)
def test_nonsense_about_an_upstream_is_told_at_once(url, words):
    with pytest.raises(ValidationError) as raised:
        said(upstreams=[url])
    assert words in announcements.explain(raised.value)


@pytest.mark.parametrize("url", ["udp://239.0.0.1:5000", "rtsp://cam/live", "file:clip.ts", "publish:"])
def test_headers_are_for_http_alone(url):
    with pytest.raises(ValidationError) as raised:
        said(upstreams=[{"url": url, "headers": {"Authorization": "secret"}}])
    told = announcements.explain(raised.value)
    assert "request headers are for http" in told
    assert "secret" not in told


def test_the_schema_shows_that_a_bare_url_will_do():
    schema = Announcement.model_json_schema(mode="validation")
    kinds = schema["properties"]["upstreams"]["items"]["anyOf"]
    assert {"type": "string"} in kinds
