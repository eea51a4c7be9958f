"""Bytes that the kernel cannot hand on by itself: upstreams and viewers behind real TLS."""

import ssl
from pathlib import Path

import aiohttp
import m3u8
import pytest

from proxy import contract
from tests.fakes.certificate import certificate
from tests.fakes.provider import provider
from tests.fakes.proxy_process import Proxy, real_proxy
from tests.fakes.viewing import clip, decode_errors, place, until

PACKET = 188


async def test_an_upstream_behind_tls_is_pulled_if_its_certificate_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trusted, good = certificate(tmp_path, "good")
    _, unknown = certificate(tmp_path, "unknown")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    async with (
        provider(tls=good) as one,
        provider(tls=unknown) as other,
        real_proxy(START_TIMEOUT_SECONDS="1") as proxy,
    ):
        await proxy.ensure(one.url("/a"), key="good")
        await proxy.ensure(other.url("/a"), key="bad")
        async with proxy.http.get(f"{proxy.url}/ts/good") as answer:
            assert answer.status == 200
            media = await answer.content.readexactly(300 * PACKET)
        assert media[::PACKET] == b"\x47" * 300
        await _check_refusal(proxy)
        assert not other.requests


async def _check_refusal(proxy: Proxy) -> None:
    async with proxy.http.get(f"{proxy.url}/ts/bad") as answer:
        assert answer.status == 502
        assert "TLS failed" in contract.Problem.model_validate_json(await answer.text()).detail


async def test_viewers_behind_tls_get_the_same_bytes(tmp_path: Path):
    trusted, context = certificate(tmp_path, "viewers")
    media = clip(20, bitrate="4M")
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(trusted)))
    async with place(tls=context) as here, aiohttp.ClientSession(connector=connector) as viewer:
        session = here.run("cam")
        base = f"https://127.0.0.1:{here.port}"
        here.tap.pour(media[: len(media) // 4])
        async with viewer.get(f"{base}/ts/cam") as answer:
            assert answer.status == 200
            await until(here.tap.chunks.empty)
            here.tap.pour(media[len(media) // 4 :])
            got = await answer.content.readexactly(len(media) // 2 // PACKET * PACKET)
        assert got[2 * PACKET :] in media  # after PAT and PMT
        async with viewer.get(f"{base}/hls/cam/index.m3u8") as answer:
            shown = m3u8.loads(await answer.text())
        segments = b""
        for segment in shown.segments:
            async with viewer.get(f"{base}/hls/cam/{segment.uri}") as answer:
                assert answer.status == 200
                segments += await answer.read()
        assert decode_errors(segments) == ""
        assert session.bytes_out >= len(got) + len(segments)
