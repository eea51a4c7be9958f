"""A message that could not be read is shown as far as it lets nobody in."""

import gzip
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.quarantined import HEX_BYTES_MAX, show
from controller.domain.events import MessageRefused

ANNOUNCED = json.dumps({"upstreams": ["http://me:hush-word@origin/a.ts"]})


def refused(head: bytes, *, payload_bytes: int | None = None) -> MessageRefused:
    return MessageRefused("t", head, len(head) if payload_bytes is None else payload_bytes, "not JSON")


@pytest.mark.parametrize(
    ("head", "text", "encoding"),
    [
        pytest.param(ANNOUNCED.encode(), '{"upstreams": ["http://***@origin/a.ts"]}', "utf-8", id="text"),
        pytest.param(b"", "", "utf-8", id="nothing"),
        pytest.param(b"\xff\x00\x07", "ff 00 07", "hex", id="a few bytes"),
        pytest.param(
            gzip.compress(ANNOUNCED.encode(), mtime=0),
            "1f 8b 08 00 00 00 00 00",
            "hex",
            id="gzip",
        ),
        pytest.param(ANNOUNCED.encode("utf-16"), "ff fe 7b 00 22 00 75 00", "hex", id="UTF-16"),
        pytest.param(ANNOUNCED.encode("utf-16-le"), "", "hidden", id="UTF-16 that is UTF-8 by its bytes"),
        pytest.param(ANNOUNCED.encode() + b"\x00", "", "hidden", id="text with a zero"),
        pytest.param("é me:hush-word".encode("latin-1"), "", "hidden", id="Latin-1"),
    ],
)
def test_what_is_shown(head: bytes, text: str, encoding: str) -> None:
    shown = show(refused(head))
    assert (shown.text, shown.encoding) == (text, encoding)
    assert shown.digest == hashlib.sha256(head).hexdigest()


def test_a_character_that_was_cut_is_left_out_only_where_something_was_cut() -> None:
    cut = "ab\u20ac".encode()[:-1]
    assert show(refused(cut, payload_bytes=5000)).text == "ab"
    assert show(refused(cut)).encoding == "hex"


@given(st.binary(max_size=64))
def test_of_what_is_no_text_no_more_than_the_beginning_is_shown(head: bytes) -> None:
    shown = show(refused(head))
    if shown.encoding != "utf-8":
        assert shown.text in ("", head[:HEX_BYTES_MAX].hex(" "))
