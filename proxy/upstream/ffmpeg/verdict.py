"""Sorts how an ffmpeg ended into what ended: a refusal, no connection, a loss, or a clean end. Pure.

ffmpeg has no codes for it, only words. Those that are matched here were the same in 5.1 and in 9.0: the texts of its
AVERROR codes (libavutil/error.c), the status lines of RTSP that it passes on, and libsrt's names for a refused
handshake. What says something else is not sorted: no connection if nothing had come, a loss if something had.
"""

import re
import signal
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from proxy.errors import (
    UpstreamAnswerError,
    UpstreamContentError,
    UpstreamError,
    UpstreamLostError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
)
from proxy.upstream.ffmpeg import complaints

RTSP_ANSWER: Final = re.compile(r"method [A-Z_]+ failed: ([45]\d\d) \(?([^()\n]*)")
ANSWER: Final = re.compile(r"Server returned (4\d\d|5XX)")
"""AVERROR_HTTP_…, which RTSP shares; where the status line is not passed on."""
BYE: Final = re.compile(r"\[debug\] Received BYE for stream -?\d+ \((\d+)/\1\)")
"""Of the last stream (RTCP, RFC 3550 6.6): then ffmpeg takes the whole for ended."""
RTMP_REFUSAL: Final = re.compile(r"Server error: ")
WRONG_PASSPHRASE: Final = re.compile(r"Incorrect passphrase|ERROR:BADSECRET")
PASSPHRASE_WANTED: Final = re.compile(r"Password required or unexpected|ERROR:UNSECURE")
SRT_SILENCE_SECONDS: Final = 3.0
"""A peer that says goodbye is gone at once; one that broke off is given up after five seconds (SRTO_PEERIDLETIMEO)."""


@dataclass(frozen=True, slots=True)
class Parting:
    """How one ffmpeg ended. ``peer`` is host and port; ``quiet_seconds`` passed between its last media and its end."""

    scheme: str
    url: str
    peer: str
    code: int | None
    said: str
    delivered: bool
    quiet_seconds: float = 0.0


def judge(parting: Parting) -> UpstreamError | None:
    """Return what has failed, or None when the upstream has come to its end."""
    if parting.code is not None and parting.code < 0:
        return UpstreamLostError(f"ffmpeg was ended by {signal.Signals(-parting.code).name}")
    told = complaints.read(parting.said, parting.url)
    if parting.scheme == "file":
        if parting.code == 0:
            return None
        return UpstreamContentError(f"the file cannot be played: {told or 'ffmpeg does not say why'}")
    if parting.code == 0 and _is_ended(parting, told):
        return None
    if parting.delivered:
        return UpstreamLostError(told or "closed by the other side")
    return _refusal(parting) or UpstreamUnreachableError(parting.peer, told or "ffmpeg does not say why")


def _is_ended(parting: Parting, told: str) -> bool:
    """Whether the other side said that this is the end; a line that was cut may look alike."""
    match parting.scheme:
        case "rtsp":
            return BYE.search(parting.said) is not None
        case "rtmp":
            return not told  # UnpublishNotify or Play.Stop: a lost connection is an error of input
        case _:
            return parting.delivered and parting.quiet_seconds < SRT_SILENCE_SECONDS


def _refusal(parting: Parting) -> UpstreamError | None:
    match parting.scheme:
        case "rtsp":
            return _rtsp_answer(parting)
        case "rtmp" if RTMP_REFUSAL.search(parting.said):
            return UpstreamRefusedError(complaints.read(parting.said, parting.url))
        case "srt" if WRONG_PASSPHRASE.search(parting.said):
            return UpstreamRefusedError("wrong passphrase")
        case "srt" if PASSPHRASE_WANTED.search(parting.said):
            return UpstreamRefusedError("one side has a passphrase, the other has none")
        case _:
            return None


def _rtsp_answer(parting: Parting) -> UpstreamError | None:
    answers = RTSP_ANSWER.findall(parting.said)
    if answers:
        status, reason = answers[-1]
        return UpstreamAnswerError(int(status), complaints.read(reason, parting.url))
    general = ANSWER.search(parting.said)
    if general is None or not general[1].isdigit():
        return None
    status = int(general[1])
    return UpstreamAnswerError(status, HTTPStatus(status).phrase if status in set(HTTPStatus) else "")
