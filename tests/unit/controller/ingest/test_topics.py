"""Every message becomes an event, nothing, or a refusal with a reason: never an exception, never a wrong event."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.domain.events import (
    BirthReported,
    MessageRefused,
    Order,
    SourceReported,
    StatsReported,
    StreamAnnounced,
    StreamEndAnnounced,
)
from controller.domain.model import ANONYMOUS, Cause, OnEof, Output, Reason, StreamSpec, Upstream
from controller.ingest import topics
from controller.ingest.topics import Rules, decode

SHORT = "penstock/v1/streams/cam-7"
LONG = "penstock/v1/sources/encoder-1/streams/cam-7"
SOURCE = "penstock/v1/sources/encoder-1"
URL = "http://127.0.0.1:9000/cam-7.ts"
MANY = 100_000


def announced(**fields: object) -> bytes:
    return json.dumps({"upstreams": [URL], **fields}).encode()


def upstream(url: str) -> bytes:
    return announced(upstreams=[url])


def birth(*streams: object, **fields: object) -> bytes:
    return json.dumps({"boot_id": "b1", "streams": streams, **fields}).encode()


# What is taken


def test_the_shortest_announcement() -> None:
    assert decode(f"{SHORT}/started", announced()) == StreamAnnounced(
        source_id=ANONYMOUS,
        key="cam-7",
        spec=StreamSpec((Upstream(URL),), (Output.TS, Output.HLS), on_demand=True, on_eof=OnEof.RECONNECT),
        cause=Cause("source:anonymous", f"{SHORT}/started"),
    )


def test_the_longest_announcement() -> None:
    payload = announced(
        key="cam-7",
        source="encoder-1",
        boot_id="b1",
        epoch=1_753_000_000_000,
        seq=3,
        upstreams=[{"url": URL, "headers": {"X-B": "2", "Authorization": "Basic eA=="}}, "rtsp://camera/live"],
        outputs=["hls"],
        on_demand=False,
        on_eof="end",
        expires_in=3600,
        stall_timeout=30.5,
        labels={"room": "hall", "floor": "1"},
        invented_later={"by": ["a", "newer", "source"]},
    )
    assert decode(f"{LONG}/started", payload, is_retained=True) == StreamAnnounced(
        source_id="encoder-1",
        key="cam-7",
        spec=StreamSpec(
            (Upstream(URL, (("Authorization", "Basic eA=="), ("X-B", "2"))), Upstream("rtsp://camera/live")),
            (Output.HLS,),
            on_demand=False,
            on_eof=OnEof.END,
        ),
        cause=Cause("source:encoder-1", f"{LONG}/started"),
        order=Order(1_753_000_000_000, 3),
        boot_id="b1",
        labels=(("floor", "1"), ("room", "hall")),
        stall_timeout_seconds=30.5,
        expires_in_seconds=3600,
        is_retained=True,
    )


def test_the_order_of_fields_changes_nothing() -> None:
    one = announced(
        upstreams=[{"url": URL, "headers": {"A": "1", "B": "2"}}], outputs=["ts", "hls"], labels={"a": "1", "b": "2"}
    )
    two = announced(
        labels={"b": "2", "a": "1"}, outputs=["hls", "ts"], upstreams=[{"headers": {"B": "2", "A": "1"}, "url": URL}]
    )
    assert decode(f"{SHORT}/started", one) == decode(f"{SHORT}/started", two)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/a.ts",
        "https://user:secret@h:8443/live.m3u8?token=x",
        "udp://239.1.1.1:1234",
        "rtp://@239.1.1.1:1234",
        "rtsp://camera/stream1",
        "rtmp://h/app/key",
        "srt://h:9000?mode=caller",
        "file:///var/lib/clips/a.ts",
        "demo:",
        "publish:",
        "http://[2001:db8::1]:8080/a b.ts",
        "HTTP://h/",
    ],
)
def test_upstreams_of_every_supported_scheme(url: str) -> None:
    event = decode(f"{SHORT}/started", upstream(url))
    assert isinstance(event, StreamAnnounced)
    assert event.spec.upstreams == (Upstream(url),)


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"later":1}'], ids=["nothing", "an empty object", "unknown fields"])
@pytest.mark.parametrize("topic", [SHORT, LONG])
def test_an_end_needs_no_words(topic: str, payload: bytes) -> None:
    event = decode(f"{topic}/ended", payload)
    assert isinstance(event, StreamEndAnnounced)
    assert (event.key, event.order, event.reason, event.detail) == ("cam-7", None, Reason.SOURCE_ENDED, "")


@pytest.mark.parametrize(
    ("said", "reason", "detail"),
    [
        pytest.param({"reason": "upstream_ended"}, Reason.UPSTREAM_ENDED, "", id="a word of ours is the reason"),
        pytest.param({"reason": "loop_detected", "detail": "d"}, Reason.LOOP_DETECTED, "d", id="with a detail"),
        pytest.param(
            {"reason": "camera unplugged"}, Reason.SOURCE_ENDED, "camera unplugged", id="any text is the detail"
        ),
        pytest.param({"reason": "a", "detail": "b"}, Reason.SOURCE_ENDED, "a: b", id="text and detail are joined"),
        pytest.param(
            {"reason": "operator_stopped"}, Reason.SOURCE_ENDED, "operator_stopped", id="a source is no operator"
        ),
        pytest.param({"reason": "superseded"}, Reason.SOURCE_ENDED, "superseded", id="a source does not supersede"),
        pytest.param({"reason": "a\x00\r\nb"}, Reason.SOURCE_ENDED, "a b", id="control characters are cleaned away"),
        pytest.param({"reason": "x" * 600}, Reason.SOURCE_ENDED, "x" * 500, id="a long text is cut"),
    ],
)
def test_the_reason_of_an_end(said: dict[str, str], reason: Reason, detail: str) -> None:
    event = decode(f"{LONG}/ended", json.dumps({"epoch": 1, "seq": 2, **said}).encode())
    assert isinstance(event, StreamEndAnnounced)
    assert (event.order, event.reason, event.detail) == (Order(1, 2), reason, detail)


def test_a_retained_end_with_numbers_is_taken() -> None:
    assert isinstance(decode(f"{LONG}/ended", b'{"epoch":1,"seq":2}', is_retained=True), StreamEndAnnounced)


@pytest.mark.parametrize("is_online", [True, False])
def test_a_status(is_online: bool) -> None:
    payload = json.dumps({"online": is_online, "boot_id": "b1"}).encode()
    event = decode(f"{SOURCE}/status", payload, is_retained=True)
    assert event == SourceReported("encoder-1", "b1", is_online, Cause("source:encoder-1", f"{SOURCE}/status"))


def test_a_birth() -> None:
    payload = birth({"key": "a", "upstreams": [URL], "epoch": 1, "seq": 2}, {"key": "b", "upstreams": ["demo:"]}, seq=9)
    event = decode(f"{SOURCE}/birth", payload)
    assert isinstance(event, BirthReported)
    assert (event.source_id, event.boot_id, event.seq) == ("encoder-1", "b1", 9)
    assert [(s.key, s.order, s.boot_id) for s in event.streams] == [("a", Order(1, 2), "b1"), ("b", None, "b1")]


def test_an_empty_birth() -> None:
    event = decode(f"{SOURCE}/birth", birth())
    assert isinstance(event, BirthReported)
    assert event.streams == ()


def test_figures_without_their_envelope() -> None:
    payload = b'{"boot_id":"b1","epoch":1,"seq":2,"key":"cam-7","peers":12,"bitrate_bps":4.5e6,"drift":-0.5}'
    assert decode(f"{LONG}/stats", payload) == StatsReported(
        "encoder-1", "cam-7", (("bitrate_bps", 4.5e6), ("drift", -0.5), ("peers", 12.0))
    )


# What says nothing to us


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        pytest.param("penstock/v1/controller/status", b'{"online":true}', id="our own status"),
        pytest.param(f"{SHORT}/state", b'{"state":"LIVE"}', id="our own states"),
        pytest.param(f"{SOURCE}/command", b'{"command":"rebirth"}', id="our own commands"),
        pytest.param(f"{LONG}/started", b"", id="a deleted announcement"),
        pytest.param(f"{SOURCE}/status", b"", id="a deleted status"),
        pytest.param(f"{SOURCE}/birth", b"", id="a deleted birth"),
        pytest.param(f"{LONG}/stats", b"", id="deleted figures"),
    ],
)
@pytest.mark.parametrize("is_retained", [True, False])
def test_nothing(topic: str, payload: bytes, is_retained: bool) -> None:
    assert decode(topic, payload, is_retained=is_retained) is None


def test_a_deleted_retained_end_is_not_an_end() -> None:
    assert decode(f"{LONG}/ended", b"", is_retained=True) is None


# What is refused

REFUSALS = [
    # topics
    ("a topic outside", "elsewhere/v1/streams/k/started", announced(), "not a topic below"),
    ("the root alone", "penstock/v1", b"", "not a topic below|no such topic"),
    ("another version", "penstock/v2/streams/k/started", announced(), "not a topic below"),
    ("an unknown topic", "penstock/v1/weather", b"", "no such topic"),
    ("an unknown verb", f"{SHORT}/paused", b"{}", "no such topic"),
    ("a topic too deep", f"{SHORT}/started/now", announced(), "no such topic"),
    ("a key with a slash", "penstock/v1/streams/a/b/started", announced(), "no such topic"),
    ("an empty key", "penstock/v1/streams//started", announced(), "not a key"),
    ("a key with a space", "penstock/v1/streams/cam 7/started", announced(), "not a key"),
    ("a key that begins with a dot", "penstock/v1/streams/../started", announced(), "not a key"),
    ("a key with an umlaut", "penstock/v1/streams/küche/started", announced(), "not a key"),
    ("a key with a newline at its end", "penstock/v1/streams/cam-7\n/ended", b"", "not a key"),
    ("a key that is too long", f"penstock/v1/streams/{'k' * 129}/ended", b"", "not a key"),
    ("a key with NUL", "penstock/v1/streams/a\0b/ended", b"", "not a key"),
    ("a bad source id", "penstock/v1/sources/-x/streams/k/started", announced(), "not a source id"),
    ("a bad source id in a status", "penstock/v1/sources/a b/status", b"{}", "not a source id"),
    ("a source called anonymous", "penstock/v1/sources/anonymous/streams/k/ended", b"", "stands for the short topics"),
    # payloads that are not JSON objects
    ("plain text", f"{SHORT}/started", b"hello", "not JSON"),
    ("nothing but a space", f"{SHORT}/ended", b" ", "not JSON"),
    ("half an object", f"{SHORT}/started", announced()[:-1], "not JSON"),
    ("two objects", f"{SHORT}/ended", b"{}{}", "not JSON"),
    ("UTF-16", f"{SHORT}/ended", "{}".encode("utf-16"), "not JSON"),
    ("invalid UTF-8", f"{SHORT}/ended", b'{"reason":"\xff"}', "not JSON"),
    ("a lone surrogate", f"{SHORT}/ended", rb'{"reason":"\ud800"}', "not JSON"),
    ("NaN", f"{LONG}/stats", b'{"x":NaN}', "not JSON"),
    ("Infinity in a field that nobody knows", f"{SHORT}/ended", b'{"x":-Infinity}', "not JSON"),
    ("nesting without end", f"{SHORT}/ended", b"[" * 60_000, "not JSON: recursion"),
    (
        "nesting in a field that nobody knows",
        f"{SHORT}/ended",
        b'{"x":' * 10_000 + b"1" + b"}" * 10_000,
        "not JSON: recursion",
    ),
    ("a number of 5000 digits", f"{SHORT}/ended", b'{"x":' + b"9" * 5000 + b"}", "not JSON"),
    ("a list", f"{SHORT}/ended", b"[]", "object|dictionary"),
    ("a number", f"{SHORT}/ended", b"1", "object|dictionary"),
    ("null", f"{SHORT}/ended", b"null", "object|dictionary"),
    # sizes
    ("64 KiB and one byte", f"{SHORT}/ended", b"{" + b" " * (64 * 1024 - 1) + b"}", "too large: 65537 bytes"),
    ("10 MB", f"{SHORT}/started", b"x" * 10_000_000, "too large: 10000000 bytes"),
    ("a birth over 1 MiB", f"{SOURCE}/birth", b" " * (1024 * 1024 + 1), "too large: 1048577 bytes"),
    # numbers
    ("an epoch without seq", f"{SHORT}/started", announced(epoch=1), "epoch and seq come together"),
    ("a seq without epoch", f"{SHORT}/ended", b'{"seq":1}', "epoch and seq come together"),
    ("a negative epoch", f"{SHORT}/started", announced(epoch=-1, seq=1), "^epoch: "),
    ("a negative seq", f"{SHORT}/ended", b'{"epoch":1,"seq":-1}', "^seq: "),
    ("an epoch that browsers round", f"{SHORT}/started", announced(epoch=2**53, seq=1), "^epoch: "),
    ("an epoch in text", f"{SHORT}/started", announced(epoch="1", seq=1), "^epoch: "),
    ("an epoch with a fraction", f"{SHORT}/started", announced(epoch=1.5, seq=1), "^epoch: "),
    ("true as epoch", f"{SHORT}/started", announced(epoch=True, seq=1), "^epoch: "),
    ("no time to expire", f"{SHORT}/started", announced(expires_in=0), "^expires_in: "),
    ("a negative stall timeout", f"{SHORT}/started", announced(stall_timeout=-1), "^stall_timeout: "),
    ("a thousand years", f"{SHORT}/started", announced(expires_in=3.2e10), "^expires_in: "),
    # the announcement
    ("no upstreams", f"{SHORT}/started", b"{}", "^upstreams: "),
    ("an empty list of upstreams", f"{SHORT}/started", announced(upstreams=[]), "^upstreams: "),
    ("17 upstreams", f"{SHORT}/started", announced(upstreams=[URL] * 17), "^upstreams: "),
    ("upstreams in one text", f"{SHORT}/started", announced(upstreams=URL), "^upstreams: "),
    ("a number as upstream", f"{SHORT}/started", announced(upstreams=[URL, 7]), "^upstreams.1: "),
    ("an upstream without url", f"{SHORT}/started", announced(upstreams=[{"headers": {}}]), "^upstreams.0.url: "),
    ("an empty url", f"{SHORT}/started", upstream(""), "^upstreams.0.url: "),
    ("an unknown scheme", f"{SHORT}/started", upstream("gopher://h/"), "the scheme 'gopher' is not supported"),
    ("a script as url", f"{SHORT}/started", upstream("javascript:alert(1)"), "is not supported"),
    ("no scheme", f"{SHORT}/started", upstream("h/a.ts"), "is not supported"),
    ("no host", f"{SHORT}/started", upstream("http:///a.ts"), "names no host"),
    ("a broken IPv6 address", f"{SHORT}/started", upstream("http://[::1/a.ts"), "not a URL"),
    ("a port beyond all ports", f"{SHORT}/started", upstream("http://h:70000/"), "not a URL"),
    ("port 0", f"{SHORT}/started", upstream("udp://239.0.0.1:0"), "0 is not a port"),
    ("a newline in a url", f"{SHORT}/started", upstream("http://h/\r\nX: y"), "^upstreams.0.url: "),
    ("NUL in a url", f"{SHORT}/started", upstream("http://h/\0"), "^upstreams.0.url: "),
    ("a url of 4097 characters", f"{SHORT}/started", upstream("http://h/" + "a" * 4088), "^upstreams.0.url: "),
    (
        "a newline in a header",
        f"{SHORT}/started",
        announced(upstreams=[{"url": URL, "headers": {"A": "b\r\nC: d"}}]),
        "headers",
    ),
    (
        "a colon in a header's name",
        f"{SHORT}/started",
        announced(upstreams=[{"url": URL, "headers": {"A:": "b"}}]),
        "headers",
    ),
    ("a number as header", f"{SHORT}/started", announced(upstreams=[{"url": URL, "headers": {"A": 1}}]), "headers"),
    (
        "33 headers",
        f"{SHORT}/started",
        announced(upstreams=[{"url": URL, "headers": {f"A{n}": "" for n in range(33)}}]),
        "headers",
    ),
    ("an unknown output", f"{SHORT}/started", announced(outputs=["dash"]), "^outputs.0: "),
    ("no output", f"{SHORT}/started", announced(outputs=[]), "^outputs: "),
    ("an output twice", f"{SHORT}/started", announced(outputs=["ts", "ts"]), "^outputs: "),
    ("1 as on_demand", f"{SHORT}/started", announced(on_demand=1), "^on_demand: "),
    ("an unknown on_eof", f"{SHORT}/started", announced(on_eof="explode"), "^on_eof: "),
    ("a number as label", f"{SHORT}/started", announced(labels={"a": 1}), "^labels.a: "),
    ("a label with NUL", f"{SHORT}/started", announced(labels={"a": "\0"}), "^labels.a: "),
    ("33 labels", f"{SHORT}/started", announced(labels={f"a{n}": "" for n in range(33)}), "^labels: "),
    ("an empty boot_id", f"{SHORT}/started", announced(boot_id=""), "^boot_id: "),
    ("a boot_id of 129 characters", f"{SHORT}/started", announced(boot_id="b" * 129), "^boot_id: "),
    ("another key than the topic's", f"{SHORT}/started", announced(key="cam-8"), "another key than the topic"),
    ("another source than the topic's", f"{LONG}/ended", b'{"source":"encoder-2"}', "another source than the topic"),
    ("a source in a short topic", f"{SHORT}/ended", b'{"source":"encoder-1"}', "another source than the topic"),
    ("a reason that is no text", f"{SHORT}/ended", b'{"reason":7}', "^reason: "),
    # sources
    ("a status without boot_id", f"{SOURCE}/status", b'{"online":true}', "^boot_id: "),
    ("a status in words", f"{SOURCE}/status", b'{"online":"yes","boot_id":"b"}', "^online: "),
    ("a status of another source", f"{SOURCE}/status", b'{"online":true,"boot_id":"b","source":"x"}', "another source"),
    ("a birth without boot_id", f"{SOURCE}/birth", b'{"streams":[]}', "^boot_id: "),
    ("a birth without streams", f"{SOURCE}/birth", b'{"boot_id":"b"}', "^streams: "),
    ("a birth with a nameless stream", f"{SOURCE}/birth", birth({"upstreams": [URL]}), "^streams.0.key: "),
    ("a birth with a bad key", f"{SOURCE}/birth", birth({"key": "a b", "upstreams": [URL]}), "^streams.0.key: "),
    (
        "a birth with a bad url",
        f"{SOURCE}/birth",
        birth({"key": "a", "upstreams": ["x:"]}),
        "^streams.0.upstreams.0.url: ",
    ),
    (
        "a birth with half an order",
        f"{SOURCE}/birth",
        birth({"key": "a", "upstreams": [URL], "epoch": 1}),
        "^streams.0: epoch",
    ),
    (
        "a birth that lists a key twice",
        f"{SOURCE}/birth",
        birth(*[{"key": "a", "upstreams": [URL]}] * 2),
        "listed twice",
    ),
    (
        "a birth of two boots",
        f"{SOURCE}/birth",
        birth({"key": "a", "upstreams": [URL], "boot_id": "b2"}),
        "another boot_id",
    ),
    (
        "a birth of two sources",
        f"{SOURCE}/birth",
        birth({"key": "a", "upstreams": [URL], "source": "x"}),
        "another source",
    ),
    # figures
    ("a figure in text", f"{LONG}/stats", b'{"x":"5"}', "^x: "),
    ("a figure that is true", f"{LONG}/stats", b'{"x":true}', "^x: "),
    ("a figure beyond all floats", f"{LONG}/stats", b'{"x":1e999}', "x: |not JSON"),
    ("figures in figures", f"{LONG}/stats", b'{"x":{"y":1}}', "^x: "),
    ("a figure with a strange name", f"{LONG}/stats", b'{"a b":1}', "a b"),
    ("65 figures", f"{LONG}/stats", json.dumps({f"f{n}": n for n in range(65)}).encode(), "more than 64 figures"),
]


@pytest.mark.parametrize(
    ("topic", "payload", "reason"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_refused(topic: str, payload: bytes, reason: str) -> None:
    event = decode(topic, payload)
    assert isinstance(event, MessageRefused)
    assert (event.topic, event.payload_head, event.payload_bytes) == (topic, payload[:4096], len(payload))
    assert any(part.removeprefix("^") in event.reason for part in reason.split("|")), event.reason
    if reason.startswith("^"):
        assert event.reason.startswith(reason[1:]), event.reason


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        pytest.param(f"{SHORT}/ended", b"{}", "may speak of an older run", id="a retained end without numbers"),
        pytest.param(f"{SOURCE}/birth", birth(), "do not retain births", id="a retained birth"),
    ],
)
def test_refused_when_retained(topic: str, payload: bytes, reason: str) -> None:
    assert not isinstance(decode(topic, payload), MessageRefused)
    event = decode(topic, payload, is_retained=True)
    assert isinstance(event, MessageRefused)
    assert reason in event.reason


@pytest.mark.parametrize("verb", ["started", "ended", "stats"])
def test_the_short_topics_can_be_switched_off(verb: str) -> None:
    event = decode(f"{SHORT}/{verb}", announced(), rules=Rules(allows_anonymous=False))
    assert isinstance(event, MessageRefused)
    assert "switched off" in event.reason
    assert not isinstance(decode(f"{LONG}/ended", b"", rules=Rules(allows_anonymous=False)), MessageRefused)


def test_just_within_the_limit() -> None:
    payload = b"{" + b" " * (64 * 1024 - 2) + b"}"
    assert isinstance(decode(f"{SHORT}/ended", payload), StreamEndAnnounced)


def test_a_birth_may_be_larger_than_other_messages() -> None:
    entries = [{"key": f"k{number}", "upstreams": [URL + "x" * 200]} for number in range(1000)]
    event = decode(f"{SOURCE}/birth", birth(*entries))
    assert isinstance(event, BirthReported)
    assert len(event.streams) == 1000


def test_a_cut_payload_is_refused_by_its_size_on_the_wire() -> None:
    event = decode(f"{SHORT}/ended", b"{}", payload_bytes=10_000_000)
    assert event == MessageRefused(f"{SHORT}/ended", b"{}", 10_000_000, "too large: 10000000 bytes, 65536 are allowed")


def test_a_refusal_never_shows_what_was_in_the_payload() -> None:
    event = decode(f"{SHORT}/started", upstream("ftp://user:secret@h/"))
    assert isinstance(event, MessageRefused)
    assert "secret" not in event.reason


def test_the_last_of_two_equal_fields_counts() -> None:
    event = decode(f"{SHORT}/started", b'{"upstreams":["demo:"],"upstreams":["http://h/"]}')
    assert isinstance(event, StreamAnnounced)
    assert event.spec.upstreams == (Upstream("http://h/"),)


@pytest.mark.parametrize(
    ("topic", "key"),
    [
        (f"{SHORT}/state", "cam-7"),
        ("penstock/v1/streams/a b/state", None),
        (f"{SHORT}/started", None),
        (f"{LONG}/state", None),
    ],
)
def test_the_key_of_a_state(topic: str, key: str | None) -> None:
    assert topics.key_of_state(topic) == key


# Whatever comes

names = st.sampled_from(["cam-7", "encoder-1", "", "a b", "\0", "anonymous", "k" * 128]) | st.text(max_size=5)
verbs = st.sampled_from(["started", "ended", "stats", "status", "birth", "state", "command", "x"])
some_topics = st.one_of(
    st.builds("penstock/v1/streams/{}/{}".format, names, verbs),
    st.builds("penstock/v1/sources/{}/{}".format, names, verbs),
    st.builds("penstock/v1/sources/{}/streams/{}/{}".format, names, names, verbs),
    st.text(),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(URL),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        "key",
        "source",
        "boot_id",
        "epoch",
        "seq",
        "upstreams",
        "outputs",
        "on_demand",
        "on_eof",
        "expires_in",
        "stall_timeout",
        "labels",
        "reason",
        "detail",
        "online",
        "streams",
        "peers",
        "url",
        "headers",
    ]
)
some_payloads = st.binary() | st.dictionaries(fields, values).map(lambda said: json.dumps(said).encode())


@given(topic=some_topics, payload=some_payloads, is_retained=st.booleans(), allows=st.booleans())
@example(topic=f"{SHORT}/ended", payload=b"[" * MANY, is_retained=False, allows=True)
def test_nothing_makes_it_raise(topic: str, payload: bytes, is_retained: bool, allows: bool) -> None:
    event = decode(topic, payload, is_retained=is_retained, rules=Rules(allows_anonymous=allows))
    if isinstance(event, MessageRefused):
        assert event.reason
        assert len(event.payload_head) <= 4096
    elif isinstance(event, StreamAnnounced | StreamEndAnnounced | StatsReported):
        assert topics.NAME.fullmatch(event.key)
        assert f"/streams/{event.key}/" in topic
        assert topics.NAME.fullmatch(event.source_id)


@given(
    epoch=st.integers(0, 2**53 - 1),
    seq=st.integers(0, 2**53 - 1),
    boot_id=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128),
    expires=st.none() | st.floats(0.001, 1e8),
    on_demand=st.booleans(),
)
def test_what_a_source_says_arrives(epoch: int, seq: int, boot_id: str, expires: float | None, on_demand: bool) -> None:
    payload = announced(epoch=epoch, seq=seq, boot_id=boot_id, expires_in=expires, on_demand=on_demand)
    event = decode(f"{LONG}/started", payload)
    assert isinstance(event, StreamAnnounced)
    assert (event.order, event.boot_id) == (Order(epoch, seq), boot_id)
    assert (event.expires_in_seconds, event.spec.on_demand) == (expires, on_demand)
