"""Whatever an announcement holds that lets somebody in is shown nowhere: no list, no answer, no figure, no log."""

import asyncio
import base64
import json

import pytest

from tests.fakes.machine import Machine, until
from tests.fakes.ports import free_port

ENCODED = base64.b64encode(b"http://hush-user:hush-word@127.0.0.1/a.ts").decode()
SECRETS = ("hush-user", "hush-word", "hush-token", "hush-header", "hush-path", ENCODED)
LISTS = ("/streams", "/sessions", "/viewers", "/events", "/quarantine", "/metrics", "/reconcile", "/playlist.m3u")


def announcements(port: int) -> dict[str, dict[str, object]]:
    login, query = f"hush-user:hush-word@127.0.0.1:{port}", "x=hush-token"
    return {
        "http": {"url": f"http://{login}/a.ts?{query}", "headers": {"X-Any": "hush-header"}},
        "hls": {"url": f"http://{login}/a.m3u8?{query}", "headers": {"Cookie": "a=hush-header"}},
        "panel": {"url": f"http://127.0.0.1:{port}/live/hush-user/hush-path/7.ts"},
        "rtmp": {"url": f"rtmp://{login}/app/hush-path?{query}"},
        "rtsp": {"url": f"rtsp://{login}/a?{query}"},
        "refused": {"url": f"ftp://{login}/a?{query}"},
        "encoded": {"url": ENCODED},
        "unreadable": {"url": f"http://{login}/a", "headers": {"Not a name": "hush-header"}},
    }


@pytest.mark.slow
async def test_no_credential_is_shown_anywhere(station: Machine):
    wished = announcements(free_port())
    for key, upstream in wished.items():
        await station.publish(f"streams/{key}/started", {"upstreams": [upstream]})
    taken = [key for key in wished if key not in ("refused", "encoded", "unreadable")]
    await until(lambda: _are_live(station, taken))
    told = dict(zip(taken, await asyncio.gather(*(_watch(station, key) for key in taken)), strict=True))
    paths = list(LISTS)
    for key in taken:
        path = f"/streams/{(await station.stream(key))['id']}"
        paths += [path, f"{path}/why", f"{path}/transitions", f"{path}/sessions"]
    for path in paths:
        async with station.http.get(f"http://127.0.0.1:{station.http_port}{path}") as answer:
            assert answer.status == 200, path
            told[path] = await answer.text()
    told["control"] = json.dumps(await station.control("GET", "/sessions"))
    told["log"] = station.log_path.read_text()
    assert [key for key in wished if key not in taken and key not in told["/quarantine"]] == []
    shown = {where: [secret for secret in SECRETS if secret in text] for where, text in told.items()}
    assert {where: found for where, found in shown.items() if found} == {}


async def _watch(station: Machine, key: str) -> str:
    async with station.http.get(station.ts(key)) as answer:
        assert answer.status in (502, 504)
        return await answer.text()


async def _are_live(station: Machine, keys: list[str]) -> bool:
    return all([await station.state(key) == "LIVE" for key in keys])
