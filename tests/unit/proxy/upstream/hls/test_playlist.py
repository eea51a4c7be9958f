"""Playlists as values: every tag that a reader needs, and a name for whatever cannot be read."""

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamContentError
from proxy.upstream.hls import playlist
from proxy.upstream.hls.playlist import Key, MasterPlaylist, MediaPlaylist, Part
from tests.fakes.hls_lists import live, media

HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n"
KEY = '#EXT-X-KEY:METHOD=AES-128,URI="k"'
DRM = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"'


def test_segments_have_their_numbers_durations_and_addresses() -> None:
    read = media(live(7, 2, seconds=0.96))
    assert [(one.number, one.seconds, one.uri) for one in read.segments] == [(7, 0.96, "s7.ts"), (8, 0.96, "s8.ts")]
    assert (read.target_seconds, read.ended, read.seconds) == (1.0, False, 1.92)
    assert media(live(0, 1, ended=True)).ended


def test_a_media_sequence_number_that_comes_late_is_passed_over() -> None:
    read = media(HEAD + "#EXT-X-MEDIA-SEQUENCE:5\na\n#EXT-X-MEDIA-SEQUENCE:1\nb\r\nc\x85d")
    assert [(one.number, one.uri) for one in read.segments] == [(5, "a"), (6, "b"), (7, "c\x85d")]


def test_gaps_and_discontinuities_are_of_the_next_segment_only() -> None:
    read = media(HEAD + "#EXTINF:4,\na\n#EXT-X-DISCONTINUITY\n#EXT-X-GAP\n#EXTINF:4,title, with comma\nb\n#EXTINF:4\nc")
    assert [(one.discontinuity, one.gap) for one in read.segments] == [(False, False), (True, True), (False, False)]


def test_byte_ranges_follow_each_other_within_one_resource() -> None:
    lines = ["#EXT-X-BYTERANGE:100@50", "all", "#EXT-X-BYTERANGE:30", "all", "#EXT-X-BYTERANGE:5", "other", "whole"]
    read = media(HEAD + "\n".join(lines))
    assert [one.part for one in read.segments] == [Part(50, 100), Part(150, 30), Part(0, 5), None]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([KEY], Key("k", None)),
        ([KEY + ",IV=0x0a"], Key("k", bytes(15) + b"\x0a")),
        ([KEY + ',KEYFORMAT="identity",KEYFORMATVERSIONS="1"'], Key("k", None)),
        ([DRM, KEY], Key("k", None)),
        ([KEY, DRM], Key("k", None)),
        ([KEY, KEY.replace('"k"', '"other,key=1"')], Key("other,key=1", None)),
        ([KEY, "#EXT-X-KEY:METHOD=NONE"], None),
        ([DRM, "#EXT-X-KEY:METHOD=NONE"], None),
    ],
)
def test_a_key_that_can_be_read_is_chosen(keys: list[str], expected: Key | None) -> None:
    assert media(HEAD + "\n".join([*keys, "#EXTINF:4,", "a"])).segments[0].key == expected


def test_a_key_holds_until_the_next() -> None:
    text = HEAD + "\n".join(["a", KEY, "b", "c", KEY.replace('"k"', '"l"'), "d", "#EXT-X-KEY:METHOD=NONE", "e"])
    assert [one.key and one.key.uri for one in media(text).segments] == [None, "k", "k", "l", None]


def test_an_initialisation_holds_for_what_follows_and_has_the_key_before_it() -> None:
    text = HEAD + '#EXT-X-MAP:URI="i.mp4",BYTERANGE="20@10"\na\n' + KEY + '\n#EXT-X-MAP:URI="j.mp4"\nb\nc'
    first, second, third = (one.map for one in media(text).segments)
    assert first is not None
    assert second is not None
    assert (first.uri, first.part, first.key) == ("i.mp4", Part(10, 20), None)
    assert (second.uri, second.part, second.key) == ("j.mp4", None, Key("k", None))
    assert third == second


def test_of_a_tag_so_many_attributes_are_read() -> None:
    told = playlist.attributes(",".join(f'A{number}="{number}"' for number in range(1000)))
    assert list(told.items())[-1] == ("A63", "63")
    assert playlist.attributes('A=1, B="x,y",C,D=2') == {"A": "1", "B": "x,y"}
    assert playlist.attributes("") == {}


def test_the_live_edge_is_three_target_durations_or_what_the_server_asks_for() -> None:
    assert media(HEAD + "a").hold_back_seconds == 12
    assert media(HEAD + "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,HOLD-BACK=20.5\na").hold_back_seconds == 20.5


def test_parts_of_segments_are_not_segments() -> None:
    text = HEAD + '#EXTINF:4,\na\n#EXT-X-PART:DURATION=1,URI="p1"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p2"\n'
    assert [one.uri for one in media(text).segments] == ["a"]


def test_without_a_target_duration_the_longest_segment_is_taken_for_it() -> None:
    assert media("#EXTM3U\n#EXTINF:3,\na\n#EXTINF:5,\nb").target_seconds == 5
    assert media("#EXTM3U\n").target_seconds == playlist.TARGET_SECONDS


def test_no_segment_is_longer_than_the_longest_whatever_the_list_says() -> None:
    assert media(f"{HEAD}#EXTINF:3,\na\n#EXTINF:3,\nb").longest_seconds == 4
    assert media(f"{HEAD}#EXTINF:3,\na\n#EXTINF:9.5,\nb").longest_seconds == 9.5
    assert media(HEAD).longest_seconds == 4


def test_a_master_playlist_lists_variants_and_which_of_them_lack_sound() -> None:
    text = (
        '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=900,RESOLUTION=1280x720,CODECS="avc1.4d,mp4a"\nhigh\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=100\n\nlow\n#EXT-X-STREAM-INF:BANDWIDTH=9,AUDIO="a"\nsplit\n'
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",URI="audio"\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="b",NAME="n"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=8,AUDIO="b"\nwhole\nstray\n#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="i"\n'
    )
    read = playlist.parse(text)
    assert isinstance(read, MasterPlaylist)
    assert [(one.uri, one.bandwidth, one.height, one.separate_audio) for one in read.variants] == [
        ("high", 900, 720, False),
        ("low", 100, 0, False),
        ("split", 9, 0, True),
        ("whole", 8, 0, False),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html></html>", "HTML"),
        ("", "not a playlist"),
        ("#EXT-X-VERSION:3\n", "not a playlist"),
        (HEAD + DRM + "\n#EXTINF:4,\na", r"SAMPLE-AES \(com.apple.streamingkeydelivery\); only AES-128"),
        (HEAD + '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\na', "encrypted with SAMPLE-AES;"),
        (HEAD + "#EXT-X-KEY:METHOD=AES-128\na", "no address for the key"),
        (HEAD + KEY + ",IV=7\na", "initialisation vector"),
        (HEAD + "#EXT-X-MAP:BYTERANGE=1@1\na", "no address for the initialisation"),
        (HEAD + "#EXTINF:abc,\na", "duration"),
        (HEAD + "#EXTINF:nan,\na", "duration"),
        (HEAD + "#EXTINF:-1,\na", "duration"),
        (HEAD + "#EXT-X-BYTERANGE:x@y\na", "byte range"),
        (HEAD + "#EXT-X-BYTERANGE:0@1\na", "byte range"),
        (HEAD + f"#EXT-X-MEDIA-SEQUENCE:{'9' * 5000}\na", "media sequence"),
        (HEAD + '#EXT-X-DEFINE:NAME="a",VALUE="b"\n{$a}', "variables"),
        ('#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="b"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{$a}', "variables"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=fast\na", "bandwidth"),
        (HEAD + "a\n" * (playlist.SEGMENTS_MAX + 1), "more than 50000 segments"),
        (HEAD + "#\n" * playlist.LINES_MAX, "more than 250000 lines"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(UpstreamContentError, match=words):
        playlist.parse(text)


TAGS = ["EXTINF:", "EXT-X-BYTERANGE:", "EXT-X-KEY:", "EXT-X-MAP:", "EXT-X-MEDIA-SEQUENCE:", "EXT-X-TARGETDURATION:"]
TAGS += [
    "EXT-X-STREAM-INF:",
    "EXT-X-MEDIA:",
    "EXT-X-GAP",
    "EXT-X-DISCONTINUITY",
    "EXT-X-SERVER-CONTROL:",
    "EXT-X-DEFINE",
]
WORDS = [
    "METHOD=AES-128",
    "METHOD=NONE",
    'URI="k"',
    "IV=0x1",
    "HOLD-BACK=9",
    "BANDWIDTH=5",
    'BYTERANGE="1@2"',
    "4,",
    "1@",
]
LINES = st.one_of(
    st.text(max_size=30),
    st.tuples(st.sampled_from(TAGS), st.lists(st.sampled_from(WORDS) | st.text(max_size=9), max_size=4)).map(
        lambda told: f"#{told[0]}{','.join(told[1])}"
    ),
)


@given(st.lists(LINES, max_size=30), st.booleans())
def test_any_text_is_a_playlist_or_refused(lines: list[str], headed: bool) -> None:
    try:
        read = playlist.parse("\n".join([*(["#EXTM3U"] if headed else []), *lines]))
    except UpstreamContentError as error:
        refusal = error.detail
        read = MasterPlaylist(())
    else:
        refusal = ""
    assert len(refusal) < 250
    assert not refusal or refusal.isprintable()
    if isinstance(read, MediaPlaylist):
        assert len(read.segments) <= sum(line.count("\n") + 1 for line in lines)
        assert all(one.seconds >= 0 for one in read.segments)
        assert read.target_seconds > 0
        assert read.hold_back_seconds >= 3 * read.target_seconds


@given(st.integers(0, 10**9), st.lists(st.tuples(st.integers(1, 9999), st.booleans(), st.booleans()), min_size=1))
def test_another_parser_reads_the_same(first: int, told: list[tuple[int, bool, bool]]) -> None:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:10", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    for number, (milliseconds, broken, ranged) in enumerate(told):
        lines += ["#EXT-X-DISCONTINUITY"] if broken else []
        lines += [f"#EXT-X-BYTERANGE:{milliseconds}@{number}"] if ranged else []
        lines += [f"#EXTINF:{milliseconds / 1000:.3f},", f"s{number}.ts"]
    ours, theirs = media("\n".join(lines)), m3u8.loads("\n".join(lines))
    assert ours.segments[0].number == theirs.media_sequence
    assert [(one.uri, one.seconds, one.discontinuity) for one in ours.segments] == [
        (one.uri, one.duration, bool(one.discontinuity)) for one in theirs.segments
    ]
    assert [one.part and f"{one.part.size}@{one.part.offset}" for one in ours.segments] == [
        one.byterange for one in theirs.segments
    ]


def test_numbers_among_separators_are_read_or_refused() -> None:
    """What ``str.strip`` takes off is more than ``float`` and ``int`` do; the fuzzer found it."""
    read = playlist.parse("#EXTM3U\n#EXT-X-TARGETDURATION:\x1e5\n#EXTINF:\x1e4.5,\na.ts\n")
    assert isinstance(read, MediaPlaylist)
    assert (read.target_seconds, read.segments[0].seconds) == (5, 4.5)
