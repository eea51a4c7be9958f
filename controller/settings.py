"""The settings of the controller: the only place in this house that reads the environment.

Every field is also the variable ``PENSTOCK_<FIELD>``. Values are checked here, once, and frozen; ``app`` and the
command line hand on what others need. Nothing here changes while the process runs: what operators change at run time is
desired state, and lives in the database. ``docs/reference/settings.md`` is generated from these descriptions.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from typing_extensions import override

PREFIX = "PENSTOCK_"
MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}
DNS = "dns+http"
"""Scheme of a name each of whose addresses is a proxy."""
CONSEQUENTIAL = frozenset({"default_factory_not_called"})
"""Faults of a field that only follow from another field's fault."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

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
    def connectable(self) -> "Address":
        """Where this machine finds it: a wildcard is not an address to connect to."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return Address(host, self.port)

    @property
    def url(self) -> str:
        return f"http://{self.connectable}"


def parse_address(text: str) -> Address:
    """Read ``HOST:PORT`` or ``[IPV6]:PORT``; raises ValueError with a text for people."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not host:
        raise ValueError(f"{text!r} is not HOST:PORT (for example 127.0.0.1:8080, or [::1]:8080)")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, as [::1]:8080")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r}: {port!r} is not a port (0 to 65535)")
    return Address(host, int(port))


def _to_address(value: object) -> object:
    return parse_address(value) if isinstance(value, str) else value


def _to_list(value: object) -> object:
    """Accept a JSON list, or words separated by commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [word.strip() for word in value.split(",") if word.strip()]


def _to_proxy_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https", DNS) or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"{value!r} is not the address of a proxy (http://HOST:PORT, or {DNS}://NAME:PORT)")
    if parts.scheme == DNS and parts.port is None:
        raise ValueError(f"{value!r} lacks the port: {DNS}://NAME:PORT")
    return value.rstrip("/")


def _to_database_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    scheme, separator, rest = value.partition("://")
    if not separator or scheme.partition("+")[0] not in ("sqlite", "postgres", "postgresql"):
        raise ValueError("a database address begins with sqlite:/// or postgresql://")
    return f"postgresql+psycopg://{rest}" if scheme.startswith("postgres") else f"sqlite://{rest}"


def _to_none(value: object) -> object:
    """An empty variable means that it is not set."""
    return None if value == "" else value


ListenAddress = Annotated[Address, NoDecode, BeforeValidator(_to_address)]
ProxyUrls = Annotated[tuple[Annotated[str, BeforeValidator(_to_proxy_url)], ...], NoDecode, BeforeValidator(_to_list)]
DatabaseUrl = Annotated[str, BeforeValidator(_to_database_url)]
Secret = Annotated[SecretStr | None, BeforeValidator(_to_none)]
OptionalText = Annotated[str | None, BeforeValidator(_to_none)]
OptionalPath = Annotated[Path | None, BeforeValidator(_to_none)]
OptionalSeconds = Annotated[PositiveFloat | None, BeforeValidator(_to_none)]


class SettingsRefusedError(ValueError):
    """The settings do not allow a start; the text has one line a fault, and no values of secrets."""


Loaded = TypeVar("Loaded", bound="DatabaseSettings")


class DatabaseSettings(BaseSettings):
    """Where the database is: all that a migration needs to know."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=True)

    data_dir: Path = Field(Path(".penstock"), description="Folder of the database and of generated secrets.")
    database_url: DatabaseUrl = Field(
        default_factory=lambda values: f"sqlite:///{values.get('data_dir', Path())}/penstock.db",
        description="sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME; by default a file in the data folder.",
        repr=False,
    )


class Settings(DatabaseSettings):
    """All that can be set about one controller."""

    database_synchronous: Literal["FULL", "NORMAL"] = Field(
        "FULL",
        description="SQLite only. With NORMAL commits are faster, and a power cut (not a crash) may lose the last.",
    )
    database_readers: PositiveInt = Field(4, le=64, description="Threads that read the database at one time.")
    http: ListenAddress = Field(
        Address("127.0.0.1", 8080), description="HOST:PORT of the page, the REST API and the metrics."
    )

    mqtt_url: str = Field(
        "mqtt://127.0.0.1:1883",
        description="The broker: mqtt://HOST:PORT, or mqtts:// with TLS. May hold USER:PASSWORD@.",
    )
    mqtt_username: OptionalText = Field(None, description="User at the broker.")
    mqtt_password: Secret = Field(None, description="Password at the broker.")
    mqtt_client_id: str = Field(
        "penstock-controller",
        min_length=1,
        max_length=128,
        description="Client id at the broker: one per deployment, since its queue there survives a change of leader.",
    )
    mqtt_protocol: Literal["5", "3.1.1"] = Field(
        "5", description="Version of MQTT. The embedded broker of `penstock serve` speaks 3.1.1 only."
    )
    mqtt_ca_file: OptionalPath = Field(None, description="CA certificates (PEM) that the broker is checked against.")
    mqtt_cert_file: OptionalPath = Field(None, description="Client certificate (PEM) shown to the broker.")
    mqtt_key_file: OptionalPath = Field(None, description="Key (PEM) of the client certificate.")
    mqtt_keepalive_seconds: PositiveInt = Field(15, description="A silent broker is given up after 1.5 times this.")
    mqtt_batch_max: PositiveInt = Field(
        400, description="Messages recorded in one commit, at most. MQTT 3.1.1 is held to 20 whatever this says."
    )
    mqtt_batch_seconds: PositiveFloat = Field(0.02, description="How long a commit waits for more messages.")
    allow_anonymous_topics: bool = Field(
        default=True, description="Whether the short topics `penstock/v1/streams/{key}/…` are listened to."
    )

    proxies: ProxyUrls = Field(
        ("http://127.0.0.1:8090",),
        min_length=1,
        description="Addresses of the proxies: a JSON list, or with commas. `dns+http://NAME:PORT`: all that NAME has.",
    )
    discovery_seconds: PositiveFloat = Field(10, description="Time between two looks for proxies in DNS.")
    control_token: Secret = Field(
        None, description="Shared secret of the control API between controller and proxies. Must be set."
    )
    api_token: Secret = Field(
        None,
        description="Token with the role operator. Without it the API is open, and listens on loopback only.",
    )

    controller_name: OptionalText = Field(
        None,
        max_length=128,
        description="What this controller is called where several are told apart; by default the host's name.",
    )
    installation: str = Field(
        "penstock",
        min_length=1,
        max_length=128,
        description="What sessions are marked with at the proxies, for all controllers of one database alike. Sessions"
        " that are marked otherwise are reported, and left alone; a key that one of them has is not started there.",
    )
    lease_seconds: PositiveFloat = Field(
        15, ge=1, le=300, description="A leader that was not heard of for this long is replaced by another controller."
    )
    lease_renew_seconds: PositiveFloat = Field(
        5, description="Time between two renewals of the lease: at most half of what it holds."
    )

    resync_seconds: PositiveFloat = Field(10, description="Time between two full comparisons (± 20 %).")
    list_timeout_seconds: PositiveFloat = Field(3, description="How long a proxy may take to list its sessions.")
    command_timeout_seconds: PositiveFloat = Field(5, description="How long a proxy may take to carry out a command.")
    start_grace_seconds: PositiveFloat = Field(5, description="A session that is asked for is missing after this.")
    stop_grace_seconds: PositiveFloat = Field(5, description="A session that is being stopped is an orphan after this.")
    orphan_grace_seconds: PositiveFloat = Field(
        60,
        description="A session of which no row tells is stopped after this, while sources are heard, and two looks.",
    )
    flow_grace_seconds: PositiveFloat = Field(
        10, description="A wanted upstream that delivers nothing for this long turns its stream STALLED."
    )
    hold_mass_ends: bool = Field(
        default=False,
        description="Whether ends that a source announces for 80 % of its streams (50 at least) within a second are"
        " held, for a minute or until it says so again.",
    )
    stops_evidenced_per_second: PositiveFloat = Field(
        5, description="Sessions that are proven to be over are stopped at this rate on each proxy, as repairs."
    )
    stops_unevidenced_per_second: PositiveFloat = Field(
        1, description="Sessions of which the database knows nothing are stopped at this rate, over all."
    )
    stops_unevidenced_share: float = Field(
        0.1, ge=0, le=1, description="Of all sessions, so many may be stopped without evidence in ten minutes,"
    )
    stops_unevidenced_min: PositiveInt = Field(3, description="or so many, whichever is more. Beyond, a breaker opens.")
    lost_after_seconds: PositiveFloat = Field(
        45, description="The streams of a proxy that cannot be reached for this long are placed elsewhere."
    )
    drain_moves_max: PositiveInt = Field(
        20, description="Streams that are on their way from proxies that are being drained, at one time."
    )
    stall_timeout_seconds: OptionalSeconds = Field(
        None, description="A stream that is STALLED for this long ends. Off unless set; a source may announce its own."
    )
    loop_timeout_seconds: OptionalSeconds = Field(
        None, description="A stream that plays the same pictures again and again for this long ends. Off unless set."
    )
    live_last_max_seconds: OptionalSeconds = Field(
        3600, description="A stream whose source says that its newest media is older counts as looping. Empty: never."
    )
    block_hours: NonNegativeFloat = Field(
        24, description="The key of a stream that ended as a loop may not start again for this long; 0: it may at once."
    )

    history_days: PositiveInt = Field(30, description="Closed streams and their history are kept this long.")
    history_rows_max: PositiveInt = Field(
        100_000, description="Rows kept in each table of history, the newest; whichever limit is met first holds."
    )

    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is console on a terminal and JSON elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The lowest level logged.")

    @model_validator(mode="before")
    @classmethod
    def _take_credentials_out_of_mqtt_url(cls, values: Any) -> Any:
        """Credentials leave the address at once, so that it may be logged and shown."""
        if not isinstance(values, dict) or not isinstance(values.get("mqtt_url"), str):
            return values
        parts = urlsplit(values["mqtt_url"])
        if parts.scheme not in MQTT_PORTS or not parts.hostname:
            raise ValueError("mqtt_url: the broker's address is mqtt://HOST:PORT or mqtts://HOST:PORT")
        found = {"mqtt_username": parts.username, "mqtt_password": parts.password}
        taken = {name: unquote(value) for name, value in found.items() if value}
        address = Address(parts.hostname, parts.port or MQTT_PORTS[parts.scheme])
        return {**taken, **{k: v for k, v in values.items() if v != ""}, "mqtt_url": f"{parts.scheme}://{address}"}

    @model_validator(mode="after")
    def _refuse_what_is_not_safe(self) -> Self:
        if self.control_token is None:
            raise ValueError("control_token: must be set, to the same secret as at the proxies")
        if self.api_token is None and not self.http.is_loopback:
            raise ValueError(
                f"http: {self.http} can be reached from other machines, and no token protects it: "
                f"set {PREFIX}API_TOKEN, or listen on 127.0.0.1"
            )
        if self.lease_renew_seconds > self.lease_seconds / 2:
            raise ValueError("lease_renew_seconds: must be at most half of lease_seconds")
        if (self.mqtt_cert_file is None) != (self.mqtt_key_file is None):
            raise ValueError("mqtt_cert_file: needs mqtt_key_file, and the reverse")
        return self

    @property
    def proxy_urls(self) -> tuple[str, ...]:
        """The proxies whose addresses are given."""
        return tuple(url for url in self.proxies if not url.startswith(DNS))

    @property
    def proxy_names(self) -> tuple[Address, ...]:
        """The names that DNS is asked for proxies."""
        return tuple(parse_address(url.partition("://")[2]) for url in self.proxies if url.startswith(DNS))

    @property
    def mqtt_is_tls(self) -> bool:
        return self.mqtt_url.startswith("mqtts://")

    @property
    def mqtt_address(self) -> Address:
        return parse_address(self.mqtt_url.partition("://")[2])

    @property
    def control_secret(self) -> str:
        """The control token in plain text, for the one who has to send it."""
        assert self.control_token is not None  # refused above
        return self.control_token.get_secret_value()


def load(overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the environment; ``overrides`` (options of the command line) win. Raises SettingsRefusedError."""
    return _load(Settings, overrides or {})


def load_database(overrides: Mapping[str, object] | None = None) -> DatabaseSettings:
    """As ``load``, for what only needs the database."""
    return _load(DatabaseSettings, overrides or {})


def _load(kind: type[Loaded], overrides: Mapping[str, object]) -> Loaded:
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    try:
        return kind(**given)
    except ValidationError as error:
        faults = dict(_explain(fault) for fault in reversed(error.errors()) if fault["type"] not in CONSEQUENTIAL)
        raise SettingsRefusedError("\n".join(f"{name}: {text}" for name, text in faults.items())) from None


def _explain(fault: Any) -> tuple[str, str]:
    """Return the variable and what is wrong with it."""
    text = str(fault["msg"]).removeprefix("Value error, ")
    name = str(fault["loc"][0]) if fault["loc"] else ""
    if not name:  # from a validator of the whole model, whose text begins with the name
        name, _, text = text.partition(": ")
    return f"{PREFIX}{name.upper()}", text
