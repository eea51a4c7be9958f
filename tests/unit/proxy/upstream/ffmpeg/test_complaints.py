"""What ffmpeg said is told in short, and nothing that a URL holds is in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.ffmpeg import complaints

URL = "rtsp://camera:open%20sesame@cam.lan:554/live/s3cret?auth=letmein&channel=1"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param(
            "[tcp @ 0x55d0] Connection to tcp://cam.lan:554?timeout=0 failed: Connection refused\n"
            f"[concat @ 0x55d1] Impossible to open '{URL}'\npipe:0: Connection refused\n",
            "Connection to *** failed: Connection refused; Connection refused",
            id="a refused connection",
        ),
        pytest.param(
            f"[rtsp @ 0x1] method DESCRIBE failed: 401 Unauthorized\n[concat @ 0x2] Impossible to open '{URL}'\n"
            "pipe:0: Server returned 401 Unauthorized (authorization failed)\n",
            "method DESCRIBE failed: 401 Unauthorized; Server returned 401 Unauthorized (authorization failed)",
            id="a wrong password",
        ),
        pytest.param("one\ntwo\n\nthree\ntwo\nthree\n", "two; three", id="the last lines, each once"),
        pytest.param("[a @ 0x1] [b @ 0x2] bad\x1b[31m\x00 thing", "bad [31m  thing", id="colours and bytes"),
        pytest.param("x" * 500, "x" * complaints.CHARACTERS_MAX, id="endless lines"),
        pytest.param(
            "key s3cret of camera is letmein, not open sesame", "key *** of *** is ***, not ***", id="secrets"
        ),
    ],
)
def test_what_was_said_is_told(said, told):
    assert complaints.read(said, URL) == told


SECRET = st.text("abcXYZ019-_", min_size=complaints.SECRET_CHARACTERS_MIN, max_size=12)


@given(user=SECRET, password=SECRET, path=SECRET, value=SECRET, order=st.permutations(range(4)))
def test_no_part_of_a_url_is_ever_told(user, password, path, value, order):
    url = f"srt://{user}:{password}@h:1/{path}?passphrase={value}"
    parts = [user, password, path, value]
    told = complaints.read("said {} and {} and {} and {}".format(*(parts[at] for at in order)), url)
    rest = told.replace(complaints.MASK, " ").replace("said", " ").replace("and", " ")
    assert not any(part in rest for part in parts)
