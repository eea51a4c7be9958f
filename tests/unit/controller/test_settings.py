"""The settings: what is understood, what is refused, and how it is said."""

import pytest

from controller import settings
from controller.settings import Address, SettingsRefusedError, parse_address


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith("PENSTOCK_"):
            monkeypatch.delenv(name)


def load(**overrides):
    return settings.load({"control_token": "secret", **overrides})


def refusal(**overrides) -> str:
    with pytest.raises(SettingsRefusedError) as caught:
        load(**overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("[::1]:80", "::1", 80),
        ("localhost:0", "localhost", 0),
        (" 0.0.0.0:65535 ", "0.0.0.0", 65535),
    ],
)
def test_an_address_is_read(text, host, port):
    assert parse_address(text) == Address(host, port)
    assert parse_address(str(parse_address(text))) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not HOST:PORT"),
        ("8080", "is not HOST:PORT"),
        (":8080", "is not HOST:PORT"),
        ("::1:80", "in brackets"),
        ("host:http", "is not a port"),
        ("host:-1", "is not a port"),
        ("host:65536", "is not a port"),
        ("host:٣", "is not a port"),
    ],
)
def test_what_is_no_address_is_refused_in_words(text, says):
    with pytest.raises(ValueError, match=says):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("192.0.2.1", False), ("gateway.example", False)],
)  # fmt: skip
def test_loopback_is_known(host, is_loopback):
    assert Address(host, 1).is_loopback is is_loopback


def test_a_wildcard_is_found_at_loopback():
    assert Address("0.0.0.0", 80).url == "http://127.0.0.1:80"
    assert Address("::", 80).url == "http://[::1]:80"
    assert Address("192.0.2.1", 80).url == "http://192.0.2.1:80"


def test_the_environment_is_read_and_options_win(monkeypatch):
    monkeypatch.setenv("PENSTOCK_HTTP", "127.0.0.1:9000")
    monkeypatch.setenv("PENSTOCK_RESYNC_SECONDS", "3")
    chosen = load(resync_seconds=4, http=None)
    assert chosen.http == Address("127.0.0.1", 9000)
    assert chosen.resync_seconds == 4


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        load().resync_seconds = 1  # type: ignore[misc]


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "gateway.example"])
def test_an_open_api_is_not_shown_to_other_machines(host):
    assert "PENSTOCK_API_TOKEN" in refusal(http=f"{host}:8080")
    assert load(http=f"{host}:8080", api_token="t").http.port == 8080


def test_an_empty_token_is_no_token(monkeypatch):
    monkeypatch.setenv("PENSTOCK_API_TOKEN", "")
    assert "PENSTOCK_API_TOKEN" in refusal(http="0.0.0.0:8080")
    assert "PENSTOCK_CONTROL_TOKEN" in refusal(control_token="")


def test_secrets_are_not_shown():
    chosen = load(
        control_token="aaa", api_token="bbb", mqtt_url="mqtt://u:ccc@h", database_url="postgresql://u:ddd@h/n"
    )
    assert not [secret for secret in ("aaa", "bbb", "ccc", "ddd") if secret in f"{chosen!r} {chosen}"]
    assert chosen.control_secret == "aaa"


@pytest.mark.parametrize(
    ("url", "address", "is_tls"),
    [
        ("mqtt://broker", "broker:1883", False),
        ("mqtts://broker", "broker:8883", True),
        ("mqtt://broker:1", "broker:1", False),
        ("mqtt://[::1]:1", "[::1]:1", False),
    ],
)
def test_the_broker_is_found(url, address, is_tls):
    chosen = load(mqtt_url=url)
    assert str(chosen.mqtt_address) == address
    assert chosen.mqtt_is_tls is is_tls


def test_credentials_leave_the_address():
    chosen = load(mqtt_url="mqtt://cam%40home:p%3Aw@broker:1884")
    assert chosen.mqtt_url == "mqtt://broker:1884"
    assert chosen.mqtt_username == "cam@home"
    assert chosen.mqtt_password is not None
    assert chosen.mqtt_password.get_secret_value() == "p:w"


def test_a_user_that_is_set_wins_over_the_one_in_the_address():
    chosen = load(mqtt_url="mqtt://a:b@broker", mqtt_username="c", mqtt_password="d")
    assert chosen.mqtt_username == "c"


@pytest.mark.parametrize("url", ["", "broker", "http://broker", "mqtt://", "mqtt:///x"])
def test_what_is_no_broker_is_refused(url):
    assert refusal(mqtt_url=url).startswith("PENSTOCK_MQTT_URL: ")


@pytest.mark.parametrize(
    "text", ["http://a:1,http://b:2", '["http://a:1", "http://b:2"]', " http://a:1/ , http://b:2/ "]
)
def test_proxies_are_a_list(text, monkeypatch):
    monkeypatch.setenv("PENSTOCK_PROXIES", text)
    assert load().proxies == ("http://a:1", "http://b:2")


@pytest.mark.parametrize("text", ["", "a:1", "ftp://a", "http://a/path", "http://a?x=1", '["http://a:1"', "[]"])
def test_what_is_no_proxy_is_refused(text):
    assert refusal(proxies=text).startswith("PENSTOCK_PROXIES: ")
    assert refusal(proxies=text).count("\n") == 0


def test_the_database_is_in_the_data_folder_unless_said(tmp_path):
    assert load(data_dir=str(tmp_path)).database_url == f"sqlite:///{tmp_path}/penstock.db"
    assert load(database_url="postgres://h/n").database_url == "postgresql+psycopg://h/n"
    assert load(database_url="postgresql://h/n").database_url == "postgresql+psycopg://h/n"
    assert load(database_url="sqlite:////x/y.db").database_url == "sqlite:////x/y.db"
    assert refusal(database_url="mysql://h/n").startswith("PENSTOCK_DATABASE_URL: ")


def test_a_migration_needs_no_token(tmp_path):
    assert settings.load_database({"data_dir": str(tmp_path)}).database_url.endswith("/penstock.db")
    with pytest.raises(SettingsRefusedError, match="PENSTOCK_DATABASE_URL"):
        settings.load_database({"database_url": "oracle://x"})


def test_every_fault_is_told_once_by_its_variable():
    told = refusal(http="nonsense", resync_seconds=0, log_level="loud").splitlines()
    assert sorted(line.partition(":")[0] for line in told) == [
        "PENSTOCK_HTTP", "PENSTOCK_LOG_LEVEL", "PENSTOCK_RESYNC_SECONDS",
    ]  # fmt: skip


def test_a_client_certificate_needs_its_key():
    assert refusal(mqtt_cert_file="c.pem").startswith("PENSTOCK_MQTT_CERT_FILE: ")


@pytest.mark.parametrize("given", ["", None])
def test_the_stall_timeout_is_off_unless_set(given, monkeypatch):
    if given is not None:
        monkeypatch.setenv("PENSTOCK_STALL_TIMEOUT_SECONDS", given)
    assert load().stall_timeout_seconds is None
