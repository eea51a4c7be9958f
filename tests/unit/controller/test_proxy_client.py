"""Whatever is not a readable answer is ProxyUnreachableError: unknown, never absent."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from controller.domain.model import BootId, Command, CommandKind, Key, ProxyId, ReplyOutcome, StreamId
from controller.domain.observation import UNKNOWN_FIGURES, Session, SessionState
from controller.errors import ProxyUnreachableError
from controller.proxy_client import ProxyClient, fingerprint, http_session
from proxy import contract
from tests.fakes.control_room import SPEC, TOKEN, client_of
from tests.fakes.proxy import FakeProxy, fake_proxy
from tests.fakes.tcp import serving

ENDED = contract.FinishedReason.UPSTREAM_ENDED
WISHED = contract.SessionSpec(key="cam-7", upstreams=(contract.Upstream(url="http://o/a"),))
LIMITS = {"list_timeout_seconds": 0.3, "command_timeout_seconds": 0.3, "watch_silence_seconds": 0.3}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with http_session() as session:
        yield session


@pytest.fixture
async def fake() -> AsyncIterator[FakeProxy]:
    async with fake_proxy("p1", token=TOKEN) as proxy:
        yield proxy


@pytest.fixture
def client(http, fake) -> ProxyClient:
    return client_of(http, fake.url)


def command(fake: FakeProxy, kind: CommandKind = CommandKind.ENSURE, generation: int = 1, **more) -> Command:
    spec = SPEC if kind is CommandKind.ENSURE else None
    boot = more.get("boot", fake.boot_id)
    return Command(kind, ProxyId("p1"), BootId(boot), StreamId("s1"), Key("cam-7"), 1, generation, spec, "because")


@asynccontextmanager
async def raw(*chunks: bytes, hangs: bool = False):
    """A server that sends these bytes to whoever asks, then closes, or says no more."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        if hangs:
            await reader.read()

    async with serving(answer) as port:
        yield f"http://127.0.0.1:{port}"


def response(status: str, body: bytes, kind: str = "application/json", length: int | None = None) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body) if length is None else length}"
    return head.encode() + b"\r\nConnection: close\r\n\r\n" + body


async def test_commands_say_whose_they_are(http, fake):
    ours, theirs = (
        ProxyClient(http, fake.url, token=TOKEN, installation=name, **LIMITS) for name in ("ours", "theirs")
    )
    await theirs.send(command(fake), 1)
    for kind, outcome in ((CommandKind.ENSURE, ReplyOutcome.REFUSED), (CommandKind.STOP, ReplyOutcome.NOT_FOUND)):
        other = dataclasses.replace(command(fake, kind, generation=2), stream_id=StreamId("s2"))
        assert (await ours.send(other, 1)).outcome is outcome
    assert (await theirs.send(command(fake, CommandKind.STOP), 1)).outcome is ReplyOutcome.STOPPED


ASKED = {
    "list": lambda client, fake: client.list(),
    "ensure": lambda client, fake: client.send(command(fake), 1),
    "stop": lambda client, fake: client.send(command(fake, CommandKind.STOP), 1),
    "mark_synced": lambda client, fake: client.mark_synced(BootId("b"), 1),
    "viewers": lambda client, fake: client.viewers(),
    "kick": lambda client, fake: client.kick("v1"),
    "watch": lambda client, fake: anext(client.watch()),
}
HTML = b"<html><body>hello</body></html>"
REFUSALS = {
    "500": (response("500 Oops", b'{"title": "broken", "status": 500}'),),
    "503 HTML": (response("503 Unavailable", HTML, "text/html"),),
    "401": (response("401 Unauthorized", b'{"title": "no", "status": 401}'),),
    "a list instead of a problem": (response("500 Oops", b"[1]"),),
    "nothing": (b"",),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n",),
    "cut body": (response("200 OK", b'{"proxy_id": ', length=500),),
}
UNREADABLE = {
    "HTML": (response("200 OK", HTML, "text/html"),),
    "empty": (response("200 OK", b""),),
    "not JSON": (response("200 OK", b"{"),),
    "not UTF-8": (response("200 OK", b'"\xff\xfe"'),),
    "another JSON": (response("200 OK", b'{"hello": 1}'),),
    "a number": (response("200 OK", b"7"),),
}
READS = [name for name in ASKED if name not in ("mark_synced", "kick")]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refusal_is_unreachable(http, fake, asked, refusal):
    async with raw(*REFUSALS[refusal]) as url:
        with pytest.raises(ProxyUnreachableError) as refused:
            await ASKED[asked](client_of(http, url, **LIMITS), fake)
    assert refused.value.url == url
    assert refused.value.detail


@pytest.mark.parametrize(
    ("asked", "answer"),
    [(asked, answer) for asked in READS for answer in UNREADABLE if (asked, answer) != ("watch", "empty")],
)
async def test_an_answer_that_cannot_be_read_is_unreachable(http, fake, asked, answer):
    async with raw(*UNREADABLE[answer]) as url:
        with pytest.raises(ProxyUnreachableError):
            await ASKED[asked](client_of(http, url, **LIMITS), fake)


@pytest.mark.parametrize("asked", ASKED)
async def test_nobody_there_is_unreachable(http, fake, asked):
    async with raw() as url:
        pass
    with pytest.raises(ProxyUnreachableError, match="Connect"):
        await ASKED[asked](client_of(http, url, **LIMITS), fake)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"], ids=["silent", "silent in the middle"]
)
async def test_no_answer_in_time_is_unreachable(http, fake, asked, said):
    if asked in ("mark_synced", "kick") and said:
        # Their bodies are read as well: nothing is believed before it is complete.
        said = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    if asked == "watch" and not said:
        said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with asyncio.timeout(5), raw(said, hangs=True) as url:
        with pytest.raises(ProxyUnreachableError, match="no answer in time"):
            await ASKED[asked](client_of(http, url, **LIMITS), fake)


async def test_a_watch_whose_head_never_comes_is_given_up(http):
    async with asyncio.timeout(5), raw(b"", hangs=True) as url:
        with pytest.raises(ProxyUnreachableError, match="no answer in time"):
            await anext(client_of(http, url, **LIMITS).watch())


async def test_a_wrong_token_is_unreachable(http, fake):
    client = ProxyClient(http, fake.url, token="other", list_timeout_seconds=1, command_timeout_seconds=1)
    with pytest.raises(ProxyUnreachableError, match="401"):
        await client.list()


async def test_an_older_controller_reads_no_list_with_a_state_it_does_not_know(http, fake, client):
    fake.inject("s1", WISHED, 1, 1)
    listed = await raw_list(http, fake)
    assert b'"state":"idle"' in listed
    async with raw(response("200 OK", listed.replace(b'"state":"idle"', b'"state":"dreaming"'))) as url:
        with pytest.raises(ProxyUnreachableError, match="its list cannot be read"):
            await client_of(http, url).list()


async def test_a_list_that_lacks_what_its_head_counts_is_no_list(http, fake):
    """Else the sessions at its end would be missing ones."""
    for number in range(3):
        fake.inject(f"s{number}", WISHED.model_copy(update={"key": f"cam-{number}"}), 1, 1)
    lines = (await raw_list(http, fake)).split(b"\n")
    assert len(lines) == 7
    for kept in (1, 4, 5, 6):
        async with raw(response("200 OK", b"\n".join(lines[:kept]))) as url:
            with pytest.raises(ProxyUnreachableError, match="lines about 3 sessions"):
                await client_of(http, url).list()


async def raw_list(http, fake) -> bytes:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": contract.LINES}
    async with http.get(f"{fake.url}{contract.PREFIX}/sessions", headers=headers) as answer:
        return await answer.read()


async def test_sessions_of_which_nothing_happened_are_the_same_values_with_new_figures(fake, client):
    fake.inject("s1", WISHED, 1, 1)
    fake.inject("s2", WISHED.model_copy(update={"key": "cam-8"}), 1, 1)
    fake.flow("cam-7", bytes_in=5, viewers_ts=2)
    before = await client.list()
    fake.flow("cam-7", bytes_in=7, viewers_ts=1, bitrate_bps=9)
    moved = await client.list()
    assert moved.sessions is before.sessions
    assert [figures.bytes_in for figures in before.figures] == [5, 0]
    assert [figures.bytes_in for figures in moved.figures] == [7, 0]
    assert (before.viewers, moved.viewers, moved.bitrate_bps) == (2, 1, 9)
    assert moved.sequence > before.sequence


async def test_whatever_happened_to_a_session_is_seen_in_the_next_list(fake, client):
    """Every fact there is, one after the other; what nothing happened to stays the same value."""
    fake.inject("s1", WISHED, 1, 1)
    fake.inject("s2", WISHED.model_copy(update={"key": "cam-8"}), 1, 1)
    changes = {
        "stream_id": "s9", "epoch": 2, "generation": 2, "spec_digest": "other", "installation": "theirs", "outputs": (contract.Output.HLS,),
        "state": contract.UpstreamState.FINISHED, "finished_reason": ENDED, "detail": "why", "wanted": True,
        "delivered": True, "failing_seconds": 1.5, "looping_seconds": 2.5, "loop_period_seconds": 3.5,
    }  # fmt: skip
    assert changes.keys() == {field.name for field in dataclasses.fields(Session)} - {"key"}
    view = await client.list()
    for name, value in changes.items():
        fake.views["cam-7"] = fake.views["cam-7"].model_copy(update={name: value})
        before, view = view, await client.list()
        assert getattr(view.sessions[0], name) == value
        assert getattr(before.sessions[0], name) != value
        assert view.sessions[1] is before.sessions[1]


async def test_a_restarted_proxy_is_believed_at_once(fake, client):
    fake.inject("s1", WISHED, 1, 1)
    before = await client.list()
    fake.forget()
    empty = await client.list()
    assert empty.sessions == ()
    assert empty.boot_id != before.boot_id
    fake.inject("s1", WISHED, 1, 1)
    assert (await client.list()).sessions == before.sessions


async def test_figures_that_cannot_be_read_are_unknown_ones(http, fake):
    """Nothing is decided by them."""
    fake.inject("s1", WISHED, 1, 1)
    fake.flow("cam-7", bytes_in=5)
    listed = await raw_list(http, fake)
    assert b'"bytes_in":5' in listed
    async with raw(response("200 OK", listed.replace(b'"bytes_in":5', b'"bytes_in":"many"'))) as url:
        view = await client_of(http, url).list()
    assert len(view.figures) == len(view.sessions) == 1
    assert list(view.figures[:1]) == [UNKNOWN_FIGURES]


async def test_a_list_becomes_a_fresh_view(fake, client):
    await client.send(command(fake), 7)
    fake.finish("cam-7", ENDED)
    view = await client.list()
    assert (view.proxy_id, view.url, view.boot_id) == ("p1", fake.url, fake.boot_id)
    assert (view.sequence, view.token_highest, view.is_synced) == (fake.sequence, 7, False)
    assert view.is_fresh and view.observed_at is not None
    [session] = view.sessions
    assert (session.state, session.finished_reason) == (SessionState.FINISHED, "upstream_ended")


async def test_the_answers_to_commands_are_told_by_their_body(fake, client):
    """200, 409 and 412 alike."""
    outcomes = [
        (await client.send(command(fake, generation=generation, boot=boot), token)).outcome
        for generation, boot, token in [
            (2, fake.boot_id, 5),
            (2, fake.boot_id, 5),
            (1, fake.boot_id, 5),
            (3, "another", 5),
            (3, fake.boot_id, 4),
        ]
    ]
    assert outcomes == [
        ReplyOutcome.STARTED,
        ReplyOutcome.UNCHANGED,
        ReplyOutcome.NEWER_EXISTS,
        ReplyOutcome.WRONG_BOOT,
        ReplyOutcome.STALE_TOKEN,
    ]
    reply = await client.send(command(fake, CommandKind.STOP, 1), 5)
    assert (reply.outcome, reply.held_epoch, reply.held_generation) == (ReplyOutcome.NEWER_EXISTS, 1, 2)
    reply = await client.send(command(fake, CommandKind.STOP, 2), 5)
    assert (reply.outcome, reply.sequence) == (ReplyOutcome.STOPPED, fake.sequence)
    assert (await client.send(command(fake, CommandKind.STOP, 2), 5)).outcome is ReplyOutcome.NOT_FOUND


async def test_what_runs_is_what_was_asked_for(fake, client):
    await client.send(command(fake), 1)
    [session] = (await client.list()).sessions
    assert (session.key, session.stream_id, session.epoch, session.generation) == ("cam-7", "s1", 1, 1)
    assert session.outputs == SPEC.outputs


async def test_a_proxy_is_told_that_it_knows_all(fake, client):
    await client.mark_synced(BootId(fake.boot_id), 1)
    assert (await client.list()).is_synced
    fake.forget()
    await client.mark_synced(BootId("the boot before"), 1)
    assert not (await client.list()).is_synced


@pytest.mark.parametrize(("status", "had"), [("204 No Content", True), ("404 Not Found", False)])
async def test_kicking_tells_whether_the_viewer_was_there(http, status, had):
    async with raw(response(status, b"")) as url:
        assert await client_of(http, url).kick("v1") is had


async def test_the_watch_names_keys_as_they_change(fake, client):
    fake.inject("s1", WISHED, 1, 1)
    feed = client.watch()
    assert await anext(feed) == (fake.boot_id, frozenset())
    fake.flow("cam-7")
    assert await anext(feed) == (fake.boot_id, frozenset({"cam-7"}))
    await feed.aclose()


async def test_the_watch_ends_with_the_feed(http):
    line = contract.Change(boot_id="b1", sequence=1).model_dump_json().encode() + b"\n"
    async with raw(response("200 OK", line)) as url:
        assert [change async for change in client_of(http, url).watch()] == [("b1", frozenset())]


async def test_a_watch_that_falls_silent_is_given_up(fake, http):
    feed = client_of(http, fake.url, watch_silence_seconds=0.1).watch()
    await anext(feed)
    with pytest.raises(ProxyUnreachableError, match="no answer in time"):
        await anext(feed)


async def test_a_line_without_an_end_is_given_up(http, monkeypatch):
    monkeypatch.setattr("controller.proxy_client.WATCH_LINE_BYTES_MAX", 1000)
    async with http_session() as small, raw(response("200 OK", b"x" * 1_000_000)) as url:
        with pytest.raises(ProxyUnreachableError):
            await anext(client_of(small, url, **LIMITS).watch())


async def test_a_fingerprint_is_what_the_proxy_reports(client, fake):
    await client.send(command(fake), 1)
    [session] = (await client.list()).sessions
    assert session.spec_digest == fingerprint(Key("cam-7"), SPEC)
    assert session.spec_digest != fingerprint(Key("cam-8"), SPEC)


def test_a_field_that_a_spec_does_not_use_leaves_its_fingerprint():
    """A proxy and a controller of different versions must agree on what both can say."""

    class Later(contract.SessionSpec):
        since_then: int = 0

    said = {"key": "cam-7", "upstreams": [{"url": "http://origin/a.ts"}]}
    assert contract.digest(Later.model_validate(said)) == contract.digest(contract.SessionSpec.model_validate(said))
