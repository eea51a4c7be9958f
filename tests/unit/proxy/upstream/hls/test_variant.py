import pytest

from proxy.errors import UpstreamContentError, UpstreamForbiddenError
from proxy.upstream.hls import variant
from proxy.upstream.hls.playlist import Variant

LADDER = [
    Variant("low", 400_000, 240, separate_audio=False),
    Variant("full", 5_000_000, 1080, separate_audio=False),
    Variant("mid", 2_000_000, 720, separate_audio=False),
    Variant("mid, more", 2_500_000, 720, separate_audio=False),
    Variant("split", 9_000_000, 2160, separate_audio=True),
]


@pytest.mark.parametrize(
    ("fragment", "chosen"),
    [
        ("", "full"),
        ("t=10", "full"),
        ("variant=highest", "full"),
        ("variant=lowest", "low"),
        ("variant=720p", "mid, more"),
        ("variant=100p", "low"),
        ("variant=2400000", "mid"),
        ("variant=1", "low"),
        ("variant=99999999999", "full"),
    ],
)
def test_the_richest_that_the_fragment_allows_is_chosen(fragment: str, chosen: str) -> None:
    assert variant.choose(LADDER, variant.wish(fragment)).uri == chosen


@pytest.mark.parametrize("fragment", ["variant=", "variant=best", "variant=-1", "variant=٣p"])
def test_a_wish_that_cannot_be_read_is_refused(fragment: str) -> None:
    with pytest.raises(UpstreamForbiddenError, match="#variant="):
        variant.wish(fragment)


@pytest.mark.parametrize(("variants", "words"), [(LADDER[-1:], "separate"), ([], "without an address")])
def test_without_a_whole_variant_there_is_nothing_to_pull(variants: list[Variant], words: str) -> None:
    with pytest.raises(UpstreamContentError, match=words):
        variant.choose(variants, variant.Wish())
