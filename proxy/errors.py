"""What can go wrong in the proxy, as one tree; each class carries data, and one text for operators.

::

    ProxyError
    ├── AddressTakenError             the listening address is not to be had (exit code 2)
    ├── SpecRefusedError              a session cannot be taken here; nothing was changed
    ├── NotPublishedError             this stream is not pushed but pulled
    ├── PublisherPresentError         somebody publishes this stream already
    ├── ViewerError                   a viewer cannot be served
    │   ├── SessionOverError          stopped or finished meanwhile
    │   ├── StartFailedError          the upstream did not start; carries the status for the viewer
    │   └── ViewerLimitError          this proxy is full
    └── UpstreamError                 one attempt to pull one upstream failed
        ├── UpstreamForbiddenError    scheme or address not allowed                      (lasting)
        ├── UpstreamUnreachableError  no connection: name, route, refusal, TLS
        ├── UpstreamAnswerError       answered with a status that is not a stream        (4xx: lasting)
        ├── UpstreamRefusedError      refused in words that are no status                (lasting)
        ├── UpstreamContentError      answered with something that is not MPEG-TS or HLS (lasting)
        ├── UpstreamSilentError       connected, then silent for too long                (late)
        ├── UpstreamBusyError         its host gives no further connection in time       (late)
        ├── UpstreamUnattendedError   waits for a publisher, and there is none               (late)
        ├── UpstreamEmptyError        ended before any media
        ├── UpstreamLoopError         plays the same pictures again and again, and there is another one
        └── UpstreamLostError         broke while it flowed

Lasting errors are those that the next attempt will very likely meet again: a viewer is told at once. All others are
worth waiting for. Settings that do not allow a start are ``settings.SettingsRefusedError``. No text carries
credentials: adapters describe what happened, they do not quote URLs.
"""

from typing import ClassVar

STATUSES_WORTH_WAITING = frozenset({408, 409, 423, 425, 429, 453})
"""Of HTTP, and 453 of RTSP: not enough bandwidth (RFC 2326 11.3.2)."""


class ProxyError(Exception):
    """Root of everything that this proxy raises on purpose."""


class AddressTakenError(ProxyError):
    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}")
        self.address = address


class SpecRefusedError(ProxyError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotPublishedError(ProxyError):
    def __init__(self, key: str) -> None:
        super().__init__(f"{key} was not announced to be published (its upstream is not publish:)")
        self.key = key


class PublisherPresentError(ProxyError):
    def __init__(self) -> None:
        super().__init__("somebody publishes this stream already")


class ViewerError(ProxyError):
    """Root of what a viewer may be answered with instead of media."""


class SessionOverError(ViewerError):
    def __init__(self, key: str) -> None:
        super().__init__(f"the session of {key} is over")
        self.key = key


class StartFailedError(ViewerError):
    """``status`` is 502 (the upstream said or did something wrong) or 504 (it said nothing in time)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class ViewerLimitError(ViewerError):
    """``key`` is None when the limit is the proxy's and not one stream's."""

    def __init__(self, limit: int, key: str | None = None) -> None:
        who = "this proxy serves" if key is None else f"{key} has"
        super().__init__(f"{who} {limit} viewers already")
        self.limit = limit
        self.key = key


class UpstreamError(ProxyError):
    """One attempt to pull one upstream failed; ``detail`` is for operators and viewers."""

    late: ClassVar[bool] = False
    """Whether the fault is silence (504) rather than an answer (502)."""

    def __init__(self, detail: str, *, lasting: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.lasting = lasting


class UpstreamForbiddenError(UpstreamError):
    def __init__(self, detail: str) -> None:
        super().__init__(detail, lasting=True)


class UpstreamUnreachableError(UpstreamError):
    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"cannot connect to {host}: {reason}")


class UpstreamAnswerError(UpstreamError):
    def __init__(self, status: int, reason: str = "") -> None:
        lasting = 400 <= status < 500 and status not in STATUSES_WORTH_WAITING
        super().__init__(f"upstream answered {status} {reason}".rstrip(), lasting=lasting)
        self.status = status


class UpstreamRefusedError(UpstreamError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"upstream refused: {reason}", lasting=True)


class UpstreamContentError(UpstreamError):
    def __init__(self, detail: str) -> None:
        super().__init__(detail, lasting=True)


class UpstreamSilentError(UpstreamError):
    late = True

    def __init__(self, seconds: float) -> None:
        super().__init__(f"upstream sent no media for {seconds:.1f} s")
        self.seconds = seconds


class UpstreamBusyError(UpstreamError):
    late = True

    def __init__(self, host: str, limit: int) -> None:
        super().__init__(f"no free connection to host {host}, limit {limit}")
        self.host = host
        self.limit = limit


class UpstreamUnattendedError(UpstreamError):
    late = True

    def __init__(self) -> None:
        super().__init__("nobody publishes this stream")


class UpstreamEmptyError(UpstreamError):
    def __init__(self) -> None:
        super().__init__("upstream ended before any media")


class UpstreamLoopError(UpstreamError):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"the same pictures come again every {seconds:.0f} s")
        self.seconds = seconds


class UpstreamLostError(UpstreamError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"connection to upstream lost: {reason}")
