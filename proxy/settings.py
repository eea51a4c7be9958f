"""The settings of the proxy: the only place in this house that reads the environment.

Every field is also the variable ``PENSTOCK_PROXY_<FIELD>``. Values are checked here, once, and frozen; ``app`` hands on
what others need. Nothing here changes while the process runs.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from typing_extensions import override

PREFIX = "PENSTOCK_PROXY_"
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound


class SettingsRefusedError(ValueError):
    """The settings do not allow a start; ``reason`` has one line a fault, and no value of a secret."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Address:
    """Where the proxy listens."""

    host: str
    port: int

    @override
    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """Where viewers probably find it: a wildcard is not an address to connect to."""
        return f"http://{Address(socket.gethostname(), self.port) if self.host in WILDCARDS else self}"


def parse_address(value: object) -> object:
    """Read ``HOST:PORT`` or ``[IPV6]:PORT``; raise ValueError with a text for people."""
    if not isinstance(value, str):
        return value
    host, colon, port = value.strip().rpartition(":")
    if not colon or not host:
        raise ValueError(f"{value!r} is not HOST:PORT (for example 127.0.0.1:8090, or [::1]:8090)")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{value!r}: write an IPv6 address in brackets, as [::1]:8090")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{value!r}: {port!r} is not a port (0 to 65535)")
    return Address(host, int(port))


def _to_none(value: object) -> object:
    """An empty variable means that it is not set."""
    return None if value == "" else value


def _check_folder(value: Path | None) -> Path | None:
    if value is not None and not value.is_absolute():
        raise ValueError("must be an absolute path")
    return None if value is None else Path(os.path.normpath(value))


ListenAddress = Annotated[Address, NoDecode, BeforeValidator(parse_address)]
Secret = Annotated[SecretStr | None, BeforeValidator(_to_none)]
Url = Annotated[str, Field(pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$")]
Folder = Annotated[Path | None, BeforeValidator(_to_none), AfterValidator(_check_folder)]
OptionalUrl = Annotated[Url | None, BeforeValidator(_to_none)]


class Settings(BaseSettings):
    """All that can be set about one proxy."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=True)

    http: ListenAddress = Field(
        Address("127.0.0.1", 8090), description="HOST:PORT for viewers and for the control API."
    )
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] = Field(
        default_factory=socket.gethostname, description="Name of this proxy; the same after every restart."
    )
    public_url: OptionalUrl = Field(None, description="Where viewers reach it; by default the listening address.")
    control_token: Secret = Field(
        None, description="Bearer token of the control API; required unless it listens on loopback alone."
    )
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: JSON unless on a terminal.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The lowest level logged.")

    sessions_max: PositiveInt = Field(1000, description="Sessions that this proxy runs at most.")
    viewers_max: PositiveInt = Field(10_000, description="Viewers that this proxy serves at most, over all sessions.")
    ring_bytes: Annotated[int, Field(ge=1024 * 1024, le=4 * 1024**3)] = Field(
        32 * 1024 * 1024, description="Memory for the newest media of one session; used as media comes."
    )
    hls_segment_seconds: Annotated[float, Field(ge=1, le=20)] = Field(4, description="Length of an HLS segment.")
    hls_window_segments: Annotated[int, Field(ge=3, le=60)] = Field(6, description="Least segments of an HLS playlist.")

    slow_lag_bytes: Annotated[int, Field(ge=64 * 1024, le=4 * 1024**3)] = Field(
        8 * 1024 * 1024, description="An MPEG-TS viewer that is further behind than this is too slow."
    )
    slow_patience_seconds: NonNegativeFloat = Field(
        2, description="One that is too slow for so long is moved to the newest random access point."
    )
    slow_moves_max: NonNegativeInt = Field(
        3, description="After so many moves, each within a minute of the one before, it is dropped."
    )
    burst_seconds_max: NonNegativeFloat = Field(
        30, description="What `?burst=` gets at most; nor does it get more than half of the lag of a slow viewer."
    )

    linger_seconds: NonNegativeFloat = Field(
        10, description="An on-demand upstream is closed so long after its last viewer left."
    )
    start_timeout_seconds: PositiveFloat = Field(
        10, description="A viewer is answered within so long, with media or with the reason why not."
    )
    stall_seconds: PositiveFloat = Field(
        5, description="An upstream that is silent for so long counts as stalled, and is left for the next of its list."
    )
    silence_seconds: PositiveFloat = Field(
        15, description="A connection to an upstream that is silent for so long is closed and made anew."
    )
    give_up_seconds: PositiveFloat = Field(
        60, description="An on-demand session that failed for so long sends its viewers away and becomes idle."
    )
    host_connections_max: NonNegativeInt = Field(
        0, description="Pulls from one host (name and port) at once, by this proxy; 0: as many as are asked for."
    )
    connect_timeout_seconds: PositiveFloat = Field(5, description="For a connection to an upstream.")
    backoff_min_seconds: PositiveFloat = Field(0.5, description="Before the second attempt at an upstream.")
    backoff_max_seconds: PositiveFloat = Field(15, description="Between attempts at an upstream, at most.")
    multicast_interface: Annotated[str, Field(pattern=r"^[0-9A-Za-z._:-]{0,45}$")] = Field(
        "", description="Name or address of the interface for multicast; by default what the routes say."
    )
    datagram_buffer_bytes: Annotated[int, Field(ge=64 * 1024, le=256 * 1024 * 1024)] = Field(
        2 * 1024 * 1024,
        description="Socket buffer of a udp or rtp upstream; the kernel grants net.core.rmem_max at most.",
    )
    ffmpeg: Annotated[str, Field(min_length=1)] = Field(
        "ffmpeg",
        description="The program that reads rtsp, rtmp, srt and file upstreams, and makes snapshots: a name or a path.",
    )
    files_dir: Folder = Field(
        None, description="Folder below which files may be upstreams (`file:`); unset, no file may be."
    )
    publish_token: Secret = Field(
        None, description="Token for pushing streams to `/publish/KEY`; unset, this works on loopback alone."
    )
    upstream_link_local: bool = Field(
        default=False, description="Allow upstreams at link-local and cloud metadata addresses."
    )

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        if self.control_token is None and not self.http.is_loopback:
            raise ValueError(
                f"control_token: must be set when the proxy listens on {self.http} and not only on loopback"
            )
        if self.backoff_max_seconds < self.backoff_min_seconds:
            raise ValueError("backoff_max_seconds: must not be less than backoff_min_seconds")
        return self

    @property
    def control_secret(self) -> str | None:
        """The control token in plain text, for the one who compares it."""
        return None if self.control_token is None else self.control_token.get_secret_value()

    @property
    def publish_secret(self) -> str | None:
        """The publish token in plain text, for the one who compares it."""
        return None if self.publish_token is None else self.publish_token.get_secret_value()

    @property
    def viewers_url(self) -> str:
        """Where viewers reach this proxy, without a trailing slash."""
        return (self.public_url or self.http.url).rstrip("/")


def load(overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the environment; ``overrides`` win. Raise SettingsRefusedError with one line a fault, without values."""
    given: dict[str, Any] = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsRefusedError("\n".join(_explain(fault) for fault in error.errors())) from None


def _explain(fault: Any) -> str:
    text = str(fault["msg"]).removeprefix("Value error, ")
    name = str(fault["loc"][0]) if fault["loc"] else ""
    if not name:  # from the validator of the whole model, whose text begins with the name
        name, _, text = text.partition(": ")
    return f"{PREFIX}{name.upper()}: {text}"
