"""Which reader an upstream gets, and which upstreams are not taken at all.

Schemes: ``http`` and ``https`` (MPEG-TS, or HLS when the path ends in ``.m3u8`` or the answer is a playlist), ``udp``
and ``rtp``, ``rtsp``, ``rtmp``, ``srt`` and ``file`` (through ffmpeg), and ``demo``. What is refused here is refused
before anything is connected. ``publish`` is admitted here, and read at the desk of its session.
"""

import re
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from aiohttp.abc import AbstractResolver

from proxy.contract import SessionSpec, Upstream
from proxy.errors import SpecRefusedError, UpstreamForbiddenError
from proxy.upstream import address, datagrams, demo, ffmpeg, hls, http, publish
from proxy.upstream.datagrams import DatagramPolicy
from proxy.upstream.fetch import Client, HttpPolicy, parse_url
from proxy.upstream.ffmpeg import FfmpegPolicy
from proxy.upstream.items import Reader

HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,8192}")
HEADERS_OF_THE_CONNECTION: Final = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "range"}
)


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """What this machine offers to the kinds that need more than HTTP."""

    datagram: DatagramPolicy = field(default_factory=DatagramPolicy)
    ffmpeg: FfmpegPolicy = field(default_factory=FfmpegPolicy)
    may_publish: bool = True
    """Whether there is a way to push to this proxy."""


def check(spec: SessionSpec, policy: HttpPolicy, local: LocalPolicy = LocalPolicy()) -> None:
    """Raise SpecRefusedError if one of the upstreams can or may not be pulled here."""
    for number, upstream in enumerate(spec.upstreams):
        try:
            _check(upstream, policy, local)
        except UpstreamForbiddenError as error:
            raise SpecRefusedError(f"upstream {number}: {error.detail}") from None


def _check(upstream: Upstream, policy: HttpPolicy, local: LocalPolicy) -> None:
    scheme = _scheme(upstream)
    if scheme == "demo":
        return
    if scheme == "publish":
        _check_published(upstream, local)
        return
    if scheme not in datagrams.SCHEMES | ffmpeg.SCHEMES:
        _check_http(upstream, policy)
        return
    if upstream.headers:
        raise UpstreamForbiddenError(f"request headers are for http upstreams, not for {scheme}")
    if scheme in datagrams.SCHEMES:
        host = datagrams.parse(upstream.url).host
    else:
        host = ffmpeg.parse(upstream.url, local.ffmpeg).host
    if policy.guarded:
        address.check_literal(host)


def _check_published(upstream: Upstream, local: LocalPolicy) -> None:
    if not publish.is_published(upstream) or upstream.headers:
        raise UpstreamForbiddenError("publish: is all that is said of a stream that is pushed to the proxy")
    if not local.may_publish:
        raise UpstreamForbiddenError("nobody may publish here: PENSTOCK_PROXY_PUBLISH_TOKEN is not set")


def _check_http(upstream: Upstream, policy: HttpPolicy) -> None:
    url = parse_url(upstream.url)
    if policy.guarded and url.host:
        address.check_literal(url.host)
    for name, value in upstream.headers.items():
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise UpstreamForbiddenError("a request header that HTTP does not allow")
        if name.lower() in HEADERS_OF_THE_CONNECTION:
            raise UpstreamForbiddenError(f"the request header {name} is the proxy's own")


def opener(
    policy: HttpPolicy, resolver: AbstractResolver, local: LocalPolicy = LocalPolicy()
) -> Callable[[Upstream], Reader]:
    """Return what makes a reader of an upstream; it connects when the first item is asked for."""

    def open_upstream(upstream: Upstream) -> Reader:
        scheme = _scheme(upstream)
        if scheme == "demo":
            return demo.read()
        if scheme in datagrams.SCHEMES:
            return datagrams.read(upstream.url, local.datagram, resolver)
        if scheme in ffmpeg.SCHEMES:
            return ffmpeg.read(upstream.url, local.ffmpeg, resolver)
        return _read_http(upstream, policy, resolver)

    return open_upstream


async def _read_http(upstream: Upstream, policy: HttpPolicy, resolver: AbstractResolver) -> Reader:
    is_playlist = parse_url(upstream.url).path.lower().endswith((".m3u8", ".m3u"))
    if not is_playlist:
        try:
            async with (
                Client(upstream, policy, resolver, keep_connections=False) as client,
                aclosing(http.read(client, policy)) as items,
            ):
                async for item in items:
                    yield item
        except http.PlaylistFoundError:
            is_playlist = True
    if is_playlist:
        async with (
            Client(upstream, policy, resolver, keep_connections=True) as client,
            aclosing(hls.read(client, policy)) as items,
        ):
            async for item in items:
                yield item


def _scheme(upstream: Upstream) -> str:
    return upstream.url.partition(":")[0].lower()
