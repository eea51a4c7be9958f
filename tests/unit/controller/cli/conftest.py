"""What tests of the command line share: an API to ask, and the command itself."""

from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from controller.cli import cli
from tests.fakes import canned_api

STREAM = {
    "id": "01a20467-1aeb-7c0a-b90e-e153d3242505",
    "key": "cam-7",
    "epoch": 12,
    "state": "LIVE",
    "state_since": "2026-01-01T00:00:00Z",
    "reason": None,
    "reason_detail": "",
    "outcome": None,
    "source": "anonymous",
    "conditions": [
        {"type": "Flowing", "status": "False", "reason": "Stalled", "message": "no bytes for 12 s",
         "since": "2026-01-01T00:00:00Z", "observed_generation": 1},
    ],
    "sessions": [
        {"proxy_id": "local", "generation": 1, "placement_state": "observed", "state": "flowing", "viewers": 2,
         "bitrate_bps": 7_900_000, "uptime_seconds": 65.2, "last_byte_age_seconds": 0.1, "detail": ""},
    ],
    "viewers": 2,
    "labels": {"room": "hall"},
    "spec": {"upstreams": [{"url": "http://***@cam/7.ts", "headers": {}}], "outputs": ["ts"], "on_demand": True,
             "on_eof": "reconnect", "viewers_max": 50},
    "spec_generation": 1,
    "generation": 1,
}  # fmt: skip


@pytest.fixture
def api() -> Iterator[canned_api.CannedApi]:
    with canned_api.run() as running:
        running.answers["GET /streams"] = 200, {"items": [STREAM], "next_cursor": None}
        running.answers["GET /streams/cam-7"] = 200, STREAM
        yield running


@pytest.fixture
def penstock(api):
    def run(*arguments: str, token: str | None = None, stdin: str | None = None) -> Result:
        environment = {"PENSTOCK_API_URL": api.url, "PENSTOCK_API_TOKEN": token}
        return CliRunner().invoke(cli, arguments, env=environment, input=stdin, prog_name="penstock")

    return run
