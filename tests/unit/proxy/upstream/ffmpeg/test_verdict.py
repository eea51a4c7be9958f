"""What ffmpeg 5.1 and 9.0 really said is sorted alike; what is not known is told as it was said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import (
    UpstreamAnswerError,
    UpstreamContentError,
    UpstreamError,
    UpstreamLostError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from proxy.upstream.ffmpeg.verdict import SRT_SILENCE_SECONDS, Parting, judge

HOST = "cam.lan:1"
IMPOSSIBLE = "[concat @ 0x1] [error] Impossible to open '{}'\n"
OPENING = "[in#0 @ 0x2] [error] Error opening input: {0}\n[error] Error opening input file pipe:0.\n"


def parting(
    scheme: str, said: str, *, code: int | None = 1, delivered: bool = False, quiet_seconds: float = 0.1
) -> Parting:
    url = f"{scheme}://me:hunter2@{HOST}/live"
    return Parting(scheme, url, HOST, code, said.replace("{}", url), delivered, quiet_seconds)


@pytest.mark.parametrize(
    ("scheme", "said", "kind", "detail"),
    [
        pytest.param(
            "rtsp",
            "[rtsp @ 0x1] [error] method DESCRIBE failed: 401 Unauthorized\n"
            f"{IMPOSSIBLE}[error] pipe:0: Server returned 401 Unauthorized (authorization failed)\n",
            UpstreamAnswerError,
            "upstream answered 401 Unauthorized",
            id="rtsp 401, 5.1",
        ),
        pytest.param(
            "rtsp",
            "[rtsp @ 0x1] [error] method DESCRIBE failed: 404 (Not Found)\n"
            + IMPOSSIBLE
            + OPENING.format("Server returned 404 Not Found"),
            UpstreamAnswerError,
            "upstream answered 404 Not Found",
            id="rtsp 404, 9.0",
        ),
        pytest.param(
            "rtsp",
            "[error] pipe:0: Server returned 403 Forbidden (access denied)\n",
            UpstreamAnswerError,
            "upstream answered 403 Forbidden",
            id="rtsp 403 without its line",
        ),
        pytest.param(
            "rtsp",
            "[error] pipe:0: Server returned 5XX Server Error reply\n",
            UpstreamUnreachableError,
            f"cannot connect to {HOST}: Server returned 5XX Server Error reply",
            id="rtsp, a status that is not told",
        ),
        pytest.param(
            "rtsp",
            "[error] pipe:0: Server returned 499 (nobody knows)\n",
            UpstreamAnswerError,
            "upstream answered 499",
            id="rtsp, a status without a name",
        ),
        pytest.param(
            "rtsp",
            "[tcp @ 0x1] [error] Connection to tcp://cam.lan:1?timeout=0 failed: Connection refused\n"
            f"{IMPOSSIBLE}[error] pipe:0: Connection refused\n",
            UpstreamUnreachableError,
            f"cannot connect to {HOST}: Connection to *** failed: Connection refused; Connection refused",
            id="a refused connection, 5.1",
        ),
        pytest.param(
            "rtmp",
            "[tcp @ 0x1] [error] Failed to resolve hostname nothing.lan: Name or service not known\n"
            + IMPOSSIBLE
            + OPENING.format("Input/output error"),
            UpstreamUnreachableError,
            f"cannot connect to {HOST}: Failed to resolve hostname nothing.lan: Name or service not known",
            id="an unknown name, 9.0",
        ),
        pytest.param(
            "rtmp",
            "[rtmp @ 0x1] [error] Server error: no such stream\n"
            + IMPOSSIBLE
            + OPENING.format("Operation not permitted"),
            UpstreamRefusedError,
            "upstream refused: Server error: no such stream",
            id="a refusal of rtmp, 9.0",
        ),
        pytest.param(
            "srt",
            "17:49:47.941007/SRT:RcvQ:w1!W:SRT.cn: processAsyncConnectRequest: REJECT reported from HS processing: "
            "Incorrect passphrase - not processing further\n"
            f"[srt @ 0x1] [error] Connection to {{}} failed: Input/output error\n{IMPOSSIBLE}",
            UpstreamRefusedError,
            "upstream refused: wrong passphrase",
            id="a wrong passphrase",
        ),
        pytest.param(
            "srt",
            "17:52:19.6/SRT:RcvQ:w1!W:SRT.cn: @1: processConnectResponse: rejecting per reception of a rejection HS "
            "response: ERROR:UNSECURE\n",
            UpstreamRefusedError,
            "upstream refused: one side has a passphrase, the other has none",
            id="no passphrase, libsrt 1.5",
        ),
        pytest.param(
            "srt",
            f"[srt @ 0x1] [error] Connection to {{}} failed: Input/output error\n{IMPOSSIBLE}"
            "[error] pipe:0: Input/output error\n",
            UpstreamUnreachableError,
            f"cannot connect to {HOST}: Connection to *** failed: Input/output error; Input/output error",
            id="srt, nobody answers",
        ),
        pytest.param("rtsp", "", UpstreamUnreachableError, f"cannot connect to {HOST}: ffmpeg does not say why", id=""),
    ],
)
def test_a_start_that_failed_is_sorted(scheme: str, said: str, kind: type[UpstreamError], detail: str):
    failure = judge(parting(scheme, said))
    assert type(failure) is kind
    assert failure.detail == detail
    assert failure.lasting is (kind is not UpstreamUnreachableError)


BYE = "[rtsp @ 0x1] [debug] Received BYE for stream -1 ({})\n"
LOST = "[error] pipe:0: Input/output error\n"


@pytest.mark.parametrize(
    ("scheme", "said", "quiet_seconds", "is_end"),
    [
        pytest.param("rtsp", BYE.format("2/2"), 0.1, True, id="both streams of a camera say goodbye"),
        pytest.param("rtsp", BYE.format("1/2"), 0.1, False, id="one of two says goodbye"),
        pytest.param("rtsp", "", 0.1, False, id="a camera's line is cut"),
        pytest.param("rtmp", "", 0.1, True, id="rtmp says that nobody publishes any more"),
        pytest.param("rtmp", LOST, 0.1, False, id="a line of rtmp is cut, 5.1"),
        pytest.param(
            "rtmp", "[in#0/concat @ 0x1] [error] Error during demuxing: Input/output error\n", 0.1, False, id="9.0"
        ),
        pytest.param("srt", LOST, 0.1, True, id="srt shuts down"),
        pytest.param("srt", LOST, SRT_SILENCE_SECONDS + 2, False, id="srt falls silent"),
    ],
)
def test_an_end_is_told_from_a_loss(scheme: str, said: str, quiet_seconds: float, *, is_end: bool):
    failure = judge(parting(scheme, said, code=0, delivered=True, quiet_seconds=quiet_seconds))
    assert failure is None if is_end else type(failure) is UpstreamLostError


@given(
    scheme=st.sampled_from(["rtsp", "rtmp", "srt", "file"]),
    said=st.sampled_from([BYE.format("1/1"), "", LOST]),
    code=st.sampled_from([-9, 1, 145, None]),
    delivered=st.booleans(),
)
def test_without_a_good_exit_there_is_no_end(scheme: str, said: str, code: int | None, *, delivered: bool):
    assert judge(parting(scheme, said, code=code, delivered=delivered)) is not None


def test_nothing_that_came_is_no_end_of_srt():
    assert type(judge(parting("srt", "", code=0))) is UpstreamUnreachableError


def test_a_file_has_ended_or_cannot_be_played():
    assert judge(parting("file", "", code=0)) is None
    assert type(judge(parting("file", "[error] pipe:0: Invalid data found\n"))) is UpstreamContentError


@given(st.sampled_from(["rtsp", "rtmp", "srt"]), st.text(), st.booleans(), st.integers(-15, 255))
def test_whatever_is_said_is_no_fault_of_ours(scheme: str, said: str, delivered, code):
    failure = judge(parting(scheme, said, code=code, delivered=delivered))
    assert failure is None or "hunter2" not in failure.detail
