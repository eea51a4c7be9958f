"""The proxy's settings: what is accepted, what refuses to start, and that no value of a secret is ever told."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from proxy import settings
from proxy.settings import SettingsRefusedError


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch):
    import os

    for name in os.environ:
        if name.startswith(settings.PREFIX):
            monkeypatch.delenv(name)


def test_nothing_set_is_loopback_without_a_token():
    chosen = settings.load()
    assert str(chosen.http) == "127.0.0.1:8090"
    assert chosen.control_secret is None
    assert chosen.viewers_url == "http://127.0.0.1:8090"
    assert chosen.id


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "HTTP": "[::1]:9000",
        "ID": "edge-1",
        "PUBLIC_URL": "https://tv.lan/p/",
        "CONTROL_TOKEN": "t",
    }.items():
        monkeypatch.setenv(settings.PREFIX + name, value)
    chosen = settings.load()
    assert (chosen.http.host, chosen.http.port, chosen.id) == ("::1", 9000, "edge-1")
    assert chosen.viewers_url == "https://tv.lan/p"
    assert chosen.control_secret == "t"


@pytest.mark.parametrize("http", ["0.0.0.0:8090", "[::]:8090", "192.168.1.5:8090", "cam.lan:80"])
def test_listening_elsewhere_without_a_token_is_refused(http: str):
    with pytest.raises(SettingsRefusedError, match=r"^PENSTOCK_PROXY_CONTROL_TOKEN: must be set"):
        settings.load({"http": http})
    assert settings.load({"http": http, "control_token": "t"}).http.port


@pytest.mark.parametrize("http", ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"])
def test_loopback_needs_no_token(http: str):
    assert settings.load({"http": http}).control_secret is None


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"http": "8090"}, "PENSTOCK_PROXY_HTTP: '8090' is not HOST:PORT"),
        ({"http": "::1:80"}, "in brackets"),
        ({"http": "a:99999"}, "is not a port"),
        ({"public_url": "ftp://x"}, "PENSTOCK_PROXY_PUBLIC_URL"),
        ({"files_dir": "clips"}, "PENSTOCK_PROXY_FILES_DIR"),
        ({"multicast_interface": "eth0/.."}, "PENSTOCK_PROXY_MULTICAST_INTERFACE"),
        ({"ring_bytes": 1}, "PENSTOCK_PROXY_RING_BYTES"),
        ({"backoff_min_seconds": 9, "backoff_max_seconds": 1}, "PENSTOCK_PROXY_BACKOFF_MAX_SECONDS: must not be less"),
        ({"id": "a b"}, "PENSTOCK_PROXY_ID"),
    ],
)
def test_what_cannot_be_is_named(given: dict[str, object], line: str):
    with pytest.raises(SettingsRefusedError) as refusal:
        settings.load(given)
    assert line in refusal.value.reason


def test_a_secret_is_never_told():
    chosen = settings.load({"control_token": "hunter2"})
    assert "hunter2" not in repr(chosen)
    with pytest.raises(SettingsRefusedError) as refusal:
        settings.load({"control_token": "hunter2", "ring_bytes": "many"})
    assert "hunter2" not in refusal.value.reason


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        settings.load().sessions_max = 1


def test_a_wildcard_is_not_told_to_viewers():
    assert "0.0.0.0" not in settings.load({"http": "0.0.0.0:80", "control_token": "t"}).viewers_url


def test_the_folder_of_files_is_told_plainly(monkeypatch: pytest.MonkeyPatch):
    assert settings.load({"files_dir": "/srv/../srv/clips/"}).files_dir == Path("/srv/clips")
    monkeypatch.setenv("PENSTOCK_PROXY_FILES_DIR", "")
    assert settings.load().files_dir is None


def test_the_publish_token_is_a_secret():
    chosen = settings.load({"publish_token": "hunter2"})
    assert chosen.publish_secret == "hunter2"
    assert "hunter2" not in repr(chosen)
    assert settings.load({"publish_token": ""}).publish_secret is None
