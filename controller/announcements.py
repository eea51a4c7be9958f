"""The wire form of what sources say about streams, shared by MQTT and REST: checked here, once, for form.

Whether an announcement counts is decided in ``domain.admission``; nothing here knows a topic, a route or the database.
Numbers, booleans and texts are never converted into one another. Fields that are not known are ignored, so that a newer
source can talk to an older controller. ``docs/reference/mqtt-topics.md`` describes every field.
"""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from controller.domain.events import Order, StreamAnnounced, StreamEndAnnounced
from controller.domain.model import (
    RETURN_AFTER_SECONDS,
    Cause,
    Key,
    LoopRule,
    OnEof,
    Output,
    Prefer,
    Reason,
    SourceId,
    StreamSpec,
    Upstream,
)

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$"
NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"
SCHEMES = ("http", "https", "udp", "rtp", "rtsp", "rtmp", "srt", "file", "demo", "publish")
SCHEMES_WITHOUT_HOST = frozenset({"udp", "rtp", "file", "demo", "publish"})
SCHEMES_WITH_PORT = frozenset({"udp", "rtp", "srt"})
SCHEMES_WITH_HEADERS = frozenset({"http", "https", "demo"})
UPSTREAMS_MAX = 16
HEADERS_MAX = 32
LABELS_MAX = 32
CONNECTIONS_MAX = 1000
URL_CHARACTERS_MAX = 4096
DETAIL_CHARACTERS_MAX = 500
COUNTER_MAX = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exact, browsers included."""
SECONDS_MAX = 10 * 366 * 86400.0

REASONS_OF_SOURCES = frozenset(Reason) - {Reason.OPERATOR_STOPPED, Reason.SUPERSEDED}
"""The words a source may use for its own reason. The others say what somebody else did."""

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# Kept equal to what the proxy takes, so that a header is refused at once and not when the upstream is opened.
HEADER_NAME_PATTERN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"
HEADER_VALUE_PATTERN = r"^[\t\x20-\x7e\x80-\xff]{0,8192}$"
LABEL_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$"


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in SCHEMES:
        raise ValueError(f"the scheme {parts.scheme[:32]!r} is not supported (one of {', '.join(SCHEMES)})")
    if parts.scheme not in SCHEMES_WITHOUT_HOST and not parts.hostname:
        raise ValueError("the URL names no host")
    if port == 0:
        raise ValueError("0 is not a port")
    if parts.scheme in SCHEMES_WITH_PORT and port is None:
        raise ValueError(f"{parts.scheme} needs a port")
    if parts.scheme in {"udp", "rtp"} and parts.path not in {"", "/"}:
        raise ValueError(f"{parts.scheme} has no path")
    if parts.scheme == "file" and not parts.path.strip("/"):
        raise ValueError("the URL names no file")
    if parts.scheme == "publish" and url != "publish:":
        raise ValueError("publish: is all that is said of a stream that is pushed to the proxy")
    return url


def _check_distinct(outputs: list[str]) -> list[str]:
    if len(set(outputs)) != len(outputs):
        raise ValueError("an output is named twice")
    return outputs


def _from_bare_url(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
BootText = Annotated[str, StringConstraints(pattern=NO_CONTROLS, min_length=1, max_length=128)]
Counter = Annotated[int, Field(ge=0, le=COUNTER_MAX)]
Seconds = Annotated[float, Field(gt=0, le=SECONDS_MAX)]
Url = Annotated[
    str,
    StringConstraints(pattern=NO_CONTROLS, min_length=1, max_length=URL_CHARACTERS_MAX),
    AfterValidator(_check_url),
]
HeaderName = Annotated[str, StringConstraints(pattern=HEADER_NAME_PATTERN)]
HeaderValue = Annotated[str, StringConstraints(pattern=HEADER_VALUE_PATTERN)]
LabelName = Annotated[str, StringConstraints(pattern=LABEL_NAME_PATTERN)]
LabelValue = Annotated[str, StringConstraints(pattern=NO_CONTROLS, max_length=256)]


class Wire(BaseModel):
    """Base of what comes from outside: immutable, nothing is converted, unknown fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class UpstreamPayload(Wire):
    """One URL to pull, with the request headers it needs."""

    url: Url
    headers: Annotated[dict[HeaderName, HeaderValue], Field(max_length=HEADERS_MAX)] = {}
    connections_max: Annotated[int, Field(ge=1, le=CONNECTIONS_MAX)] | None = None
    """So many pulls the URL's host gets from one proxy at once."""

    @model_validator(mode="after")
    def _ask_for_a_use_of_headers(self) -> Self:
        scheme = urlsplit(self.url).scheme
        if self.headers and scheme not in SCHEMES_WITH_HEADERS:
            raise ValueError(f"request headers are for http upstreams, not for {scheme}")
        return self


UpstreamEntry = Annotated[
    UpstreamPayload, BeforeValidator(_from_bare_url, json_schema_input_type=str | UpstreamPayload)
]


class _Message(Wire):
    """What every message about one stream may carry."""

    key: Name | None = None
    """May repeat the key of the topic, and must then equal it."""
    source: Name | None = None
    """May repeat the source of the topic, and must then equal it."""
    boot_id: BootText | None = None
    epoch: Counter | None = None
    seq: Counter | None = None

    @model_validator(mode="after")
    def _ask_for_both_numbers(self) -> Self:
        if (self.epoch is None) != (self.seq is None):
            raise ValueError("epoch and seq come together or not at all")
        return self

    @property
    def order(self) -> Order | None:
        return None if self.epoch is None or self.seq is None else Order(self.epoch, self.seq)


class Announcement(_Message):
    """A stream runs, or how it runs now."""

    upstreams: Annotated[list[UpstreamEntry], Field(min_length=1, max_length=UPSTREAMS_MAX)]
    """In order of preference: the second is used when the first fails."""
    outputs: Annotated[list[Literal["ts", "hls"]], Field(min_length=1), AfterValidator(_check_distinct)] = ["ts", "hls"]
    on_demand: bool = True
    on_eof: Literal["reconnect", "end"] = "reconnect"
    viewers_max: Annotated[int, Field(ge=1, le=COUNTER_MAX)] | None = None
    prefer: Literal["first", "stay"] = "first"
    return_after: Seconds = RETURN_AFTER_SECONDS
    loop: Literal["watch", "allow"] = "watch"
    expires_in: Seconds | None = None
    stall_timeout: Seconds | None = None
    labels: Annotated[dict[LabelName, LabelValue], Field(max_length=LABELS_MAX)] = {}


class Ending(_Message):
    """A stream has ended."""

    reason: str = ""
    """One of the words of ``REASONS_OF_SOURCES``; any other text is kept as detail of ``source_ended``."""
    detail: str = ""


def announcement(
    source_id: SourceId, key: Key, payload: Announcement, cause: Cause, *, is_retained: bool = False
) -> StreamAnnounced:
    """Return the event of an announcement. Equal meanings make equal specs, whatever the order of fields was."""
    return StreamAnnounced(
        source_id=source_id,
        key=key,
        spec=_spec(payload),
        cause=cause,
        order=payload.order,
        boot_id=payload.boot_id,
        labels=tuple(sorted(payload.labels.items())),
        stall_timeout_seconds=payload.stall_timeout,
        expires_in_seconds=payload.expires_in,
        is_retained=is_retained,
    )


def ending(source_id: SourceId, key: Key, payload: Ending, cause: Cause) -> StreamEndAnnounced:
    """Return the event of an end. Its words are never a ground to refuse it: they are cut and cleaned instead."""
    is_known = payload.reason in REASONS_OF_SOURCES
    reason = Reason(payload.reason) if is_known else Reason.SOURCE_ENDED
    said = [payload.detail] if is_known else [payload.reason, payload.detail]
    detail = CONTROLS.sub(" ", ": ".join(text for text in said if text))[:DETAIL_CHARACTERS_MAX]
    return StreamEndAnnounced(source_id, key, cause, payload.order, payload.boot_id, reason, detail)


def explain(error: ValidationError) -> str:
    """Say in one line what is wrong first, and where; without the value, which may hold credentials."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    text = fault["msg"].removeprefix("Value error, ")
    others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {text}"[:DETAIL_CHARACTERS_MAX].removeprefix(": ") + others


def _spec(payload: Announcement) -> StreamSpec:
    upstreams = tuple(
        Upstream(entry.url, tuple(sorted(entry.headers.items())), entry.connections_max) for entry in payload.upstreams
    )
    outputs = tuple(output for output in Output if output.value in payload.outputs)
    return StreamSpec(
        upstreams,
        outputs,
        payload.on_demand,
        OnEof(payload.on_eof),
        payload.viewers_max,
        Prefer(payload.prefer),
        payload.return_after,
        LoopRule(payload.loop),
    )
