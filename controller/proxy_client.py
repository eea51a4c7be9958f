"""The one door to the proxies: their control API as domain values.

The only importer of ``proxy.contract`` and the only user of the HTTP client in this house. It decides nothing and
retries nothing; whatever is not a readable answer is a :class:`ProxyUnreachableError`, whose meaning is "unknown".
"""

import asyncio
import functools
import itertools
import json
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar, overload

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import ValidationError
from typing_extensions import override

from controller.domain.model import (
    BootId,
    Command,
    CommandKind,
    Key,
    Output,
    ProxyId,
    Reply,
    ReplyOutcome,
    StreamId,
    StreamSpec,
)
from controller.domain.observation import (
    UNKNOWN_FIGURES,
    Figures,
    Freshness,
    ProxyView,
    Session,
    SessionList,
    SessionState,
    Viewer,
)
from controller.errors import ProxyUnreachableError
from proxy import contract

_Wire = TypeVar("_Wire", bound=contract.Wire)

WATCH_LINE_BYTES_MAX = 4 * 1024 * 1024
"""A line of the watch names the keys that changed; thousands at once fit."""

LIST_BYTES_ON_LOOP_MAX = 64 * 1024
"""A longer list is read on a thread: the loop has others to answer."""

FINGERPRINTS_MAX = 250_000
"""More than a fleet has streams: with fewer, every cycle would work out all of them anew."""

_READER = ThreadPoolExecutor(1, thread_name_prefix="proxy-lists")
"""One for all lists of the process. Reading gives the interpreter away only now and then: several at a time take no
less, and whoever else wants a turn would wait for each of them."""


@asynccontextmanager
async def http_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open the HTTP client that all proxy clients of a process share."""
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=64, ttl_dns_cache=10)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=WATCH_LINE_BYTES_MAX) as http:
        yield http


class ProxyClient:
    """The control API of the proxy that is found at one URL. Its identity is what it reports."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        *,
        token: str,
        installation: str = "",
        list_timeout_seconds: float,
        command_timeout_seconds: float,
        watch_silence_seconds: float = 20.0,
    ) -> None:
        self.url = url
        self._http = http
        self._installation = installation
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._list_timeout_seconds = list_timeout_seconds
        self._command_timeout_seconds = command_timeout_seconds
        self._watch_silence_seconds = watch_silence_seconds
        self._facts: list[bytes] = []
        """Of the last list, as they came, and below what they say: the same bytes say the same."""
        self._sessions = SessionList()

    async def list(self) -> ProxyView:
        """Return all that the proxy runs now, as a fresh view.

        Raises:
            ProxyUnreachableError: no readable answer within the list time-out.
        """
        body = await self._call("GET", "/sessions", seconds=self._list_timeout_seconds, accept=contract.LINES)
        if len(body) < LIST_BYTES_ON_LOOP_MAX:
            return self._read_list(body)
        return await asyncio.get_running_loop().run_in_executor(_READER, self._read_list, body)

    def _read_list(self, body: bytes) -> ProxyView:
        try:
            head, facts, figures = contract.from_lines(body)
            if facts != self._facts:
                known = dict(zip(self._facts, self._sessions, strict=True))
                self._sessions = SessionList([known.get(line) or _read_session(line) for line in facts])
                self._facts = facts
        except ValueError as invalid:
            raise ProxyUnreachableError(self.url, f"its list cannot be read: {_reason(invalid)}") from invalid
        return ProxyView(
            proxy_id=ProxyId(sys.intern(head.proxy_id)),
            url=self.url,
            freshness=Freshness.FRESH,
            boot_id=BootId(sys.intern(head.boot_id)),
            sequence=head.sequence,
            public_url=head.public_url,
            observed_at=datetime.now(UTC),
            is_draining=head.draining,
            is_synced=head.synced,
            token_highest=head.token_highest,
            sessions_max=head.sessions_max,
            sessions=self._sessions,
            figures=_FigureLines(figures),
            viewers=head.viewers,
            bitrate_bps=head.bitrate_bps,
        )

    async def send(self, command: Command, token: int, *, moved_to: str = "") -> Reply:
        """Carry out one command. ``moved_to`` is where viewers find the key after a stop.

        Raises:
            ProxyUnreachableError: no readable answer: it may or may not have been done.
        """
        if command.kind is CommandKind.ENSURE:
            return await self._ensure(command, token)
        return await self._stop(command, token, moved_to)

    async def _ensure(self, command: Command, token: int) -> Reply:
        assert command.spec is not None
        request = contract.EnsureRequest(
            epoch=command.epoch,
            generation=command.generation,
            boot_id=command.boot_id,
            token=token,
            spec=_to_wire(command.key, command.spec),
            installation=self._installation,
        )
        body = await self._call("PUT", f"/sessions/{command.stream_id}", body=request.model_dump_json())
        reply = self._read(contract.EnsureReply, body)
        return _to_reply(reply, reply.outcome.value)

    async def _stop(self, command: Command, token: int, moved_to: str) -> Reply:
        query = {
            "key": command.key,
            "epoch": str(command.epoch),
            "generation": str(command.generation),
            "boot_id": command.boot_id,
            "token": str(token),
            **({"installation": self._installation} if self._installation else {}),
            **({"moved_to": moved_to} if moved_to else {}),
        }
        body = await self._call("DELETE", f"/sessions/{command.stream_id}", query=query)
        reply = self._read(contract.StopReply, body)
        return _to_reply(reply, reply.outcome.value)

    async def mark_synced(self, boot_id: BootId, token: int) -> None:
        """Tell the proxy that all that should run there has been asked for: a key it does not have is unknown now."""
        request = contract.SyncedRequest(boot_id=boot_id, token=token)
        await self._call("POST", "/synced", body=request.model_dump_json())

    async def viewers(self) -> tuple[Viewer, ...]:
        """Return everybody who watches there now. Raises as ``list``."""
        body = await self._call("GET", "/viewers", seconds=self._list_timeout_seconds)
        listed = self._read(contract.ViewerList, body)
        return tuple(_to_viewer(viewer, listed.proxy_id) for viewer in listed.items)

    async def kick(self, viewer_id: str) -> bool:
        """End one viewer; return whether the proxy had it. Raises as ``send``."""
        path = f"/viewers/{viewer_id}"
        status, answer = await self._exchange("DELETE", path)
        if status not in (200, 204, 404):
            raise ProxyUnreachableError(self.url, f"DELETE {path} answered {status}: {_problem(answer)}")
        return status != 404

    async def watch(self) -> AsyncIterator[tuple[BootId, frozenset[Key]]]:
        """Yield what changed, as it changes: (boot, keys to look at). Ends or raises when the feed does.

        Raises:
            ProxyUnreachableError: the feed is silent, closed or not readable.
        """
        url = self.url + contract.PREFIX + "/sessions/watch"
        try:
            async with asyncio.timeout(self._watch_silence_seconds):
                response = await self._http.get(url, headers=self._headers)
            async with response:
                if response.status != 200:
                    raise ProxyUnreachableError(self.url, f"watch answered {response.status}")
                while True:
                    async with asyncio.timeout(self._watch_silence_seconds):
                        line = await response.content.readline()
                    if not line:
                        return
                    change = self._read(contract.Change, line)
                    yield BootId(change.boot_id), frozenset(Key(key) for key in change.keys)
        except (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError) as failed:
            raise ProxyUnreachableError(self.url, _explain(failed)) from failed

    def _read(self, kind: type[_Wire], body: bytes) -> _Wire:
        try:
            return kind.model_validate_json(body)
        except ValidationError as invalid:
            raise ProxyUnreachableError(self.url, f"unreadable answer: {body[:200]!r}") from invalid

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: str | None = None,
        query: Mapping[str, str] | None = None,
        seconds: float | None = None,
        accept: str = "application/json",
    ) -> bytes:
        """Return the body of an answer that the contract knows: 200, or 409 and 412 with an outcome in it."""
        status, answer = await self._exchange(method, path, body=body, query=query, seconds=seconds, accept=accept)
        if status not in (200, 204, 409, 412):
            raise ProxyUnreachableError(self.url, f"{method} {path} answered {status}: {_problem(answer)}")
        return answer

    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        body: str | None = None,
        query: Mapping[str, str] | None = None,
        seconds: float | None = None,
        accept: str = "application/json",
    ) -> tuple[int, bytes]:
        headers = self._headers | {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with (
                asyncio.timeout(seconds or self._command_timeout_seconds),
                self._http.request(
                    method, self.url + contract.PREFIX + path, data=body, params=query, headers=headers
                ) as response,
            ):
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as failed:
            raise ProxyUnreachableError(self.url, _explain(failed)) from failed


def _explain(failed: BaseException) -> str:
    if isinstance(failed, TimeoutError):
        return "no answer in time"
    return str(failed) or type(failed).__name__


def _reason(invalid: ValueError) -> str:
    return invalid.errors()[0]["msg"] if isinstance(invalid, ValidationError) else str(invalid)


def _problem(answer: bytes) -> str:
    try:
        document = json.loads(answer)
    except ValueError:
        return answer[:200].decode(errors="replace")
    return str(document.get("detail") or document.get("title") or document) if isinstance(document, dict) else ""


def _to_wire(key: Key, spec: StreamSpec) -> contract.SessionSpec:
    return contract.SessionSpec(
        key=key,
        upstreams=tuple(
            contract.Upstream(url=u.url, headers=dict(u.headers), connections_max=u.connections_max)
            for u in spec.upstreams
        ),
        outputs=tuple(contract.Output(output.value) for output in spec.outputs),
        on_demand=spec.on_demand,
        on_eof=spec.on_eof.value,
        viewers_max=spec.viewers_max,
        prefer=spec.prefer.value,
        return_after_seconds=spec.return_after_seconds,
        loop=spec.loop.value,
    )


@functools.lru_cache(maxsize=FINGERPRINTS_MAX)
def fingerprint(key: Key, spec: StreamSpec) -> str:
    """Return what a proxy reports as the fingerprint of a session that runs this spec for this key."""
    return contract.digest(_to_wire(key, spec))


def _to_reply(reply: contract.CommandReply, outcome: str) -> Reply:
    return Reply(
        outcome=ReplyOutcome(outcome),
        boot_id=BootId(reply.boot_id),
        sequence=reply.sequence,
        token_highest=reply.token_highest,
        detail=reply.detail,
        held_epoch=reply.held_epoch,
        held_generation=reply.held_generation,
    )


def _read_session(line: bytes) -> Session:
    facts = contract.SessionFacts.model_validate_json(line)
    return Session(
        stream_id=StreamId(facts.stream_id),
        key=Key(facts.key),
        epoch=facts.epoch,
        generation=facts.generation,
        outputs=_OUTPUTS[facts.outputs] if facts.outputs in _OUTPUTS else _to_outputs(facts.outputs),
        state=_STATES[facts.state],
        finished_reason=facts.finished_reason.value if facts.finished_reason else "",
        detail=sys.intern(facts.detail),
        wanted=facts.wanted,
        delivered=facts.delivered,
        failing_seconds=facts.failing_seconds,
        looping_seconds=facts.looping_seconds,
        loop_period_seconds=facts.loop_period_seconds,
        spec_digest=facts.spec_digest,
        installation=facts.installation,
    )


class _FigureLines(Sequence[Figures]):
    """Figures as they came, read when somebody asks for them: nearly all are replaced before anybody does."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines

    @override
    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, place: int) -> Figures: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Figures]: ...
    @override
    def __getitem__(self, place: int | slice) -> Figures | Sequence[Figures]:
        if isinstance(place, slice):
            return _FigureLines(self._lines[place])
        return _read_figures(self._lines[place])


def _read_figures(line: bytes) -> Figures:
    try:
        figures = contract.SessionFigures.model_validate_json(line)
    except ValidationError:
        return UNKNOWN_FIGURES
    return Figures(
        upstream_index=figures.upstream_index,
        viewers_ts=figures.viewers_ts,
        viewers_hls=figures.viewers_hls,
        bytes_in=figures.bytes_in,
        bytes_out=figures.bytes_out,
        bitrate_bps=figures.bitrate_bps,
        last_byte_age_seconds=figures.last_byte_age_seconds,
        uptime_seconds=figures.uptime_seconds,
        datagrams_lost=figures.datagrams_lost,
    )


def _to_outputs(outputs: Iterable[contract.Output]) -> tuple[Output, ...]:
    return tuple(Output(output.value) for output in outputs)


# Ten thousand sessions are listed in every cycle: looked up, a word costs a tenth of what reading it does.
_STATES = {state: SessionState(state.value) for state in contract.UpstreamState}
_OUTPUTS = {chosen: _to_outputs(chosen) for n in (1, 2) for chosen in itertools.permutations(contract.Output, n)}


def _to_viewer(viewer: contract.Viewer, proxy_id: str) -> Viewer:
    return Viewer(
        viewer_id=viewer.viewer_id,
        proxy_id=ProxyId(proxy_id),
        stream_id=StreamId(viewer.stream_id),
        key=Key(viewer.key),
        protocol=Output(viewer.protocol.value),
        address=viewer.address,
        user_agent=viewer.user_agent,
        since_seconds=viewer.since_seconds,
        bytes_sent=viewer.bytes_sent,
        lag_bytes=viewer.lag_bytes,
        rate_bps=viewer.rate_bps,
        moves=viewer.moves,
    )
