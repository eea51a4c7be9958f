"""The control API, by its own words (``proxy.contract``), against every proxy there is."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientSession, ClientTimeout

from proxy import contract
from proxy.contract import EnsureOutcome, EnsureReply, SessionSpec, SessionView, StopOutcome, StopReply, Upstream
from tests.contract.conftest import Place

ENDLESS = "http://127.0.0.1:9/nothing-listens-here"
tokens = count(1000)


def spec(key: str, url: str = ENDLESS, **fields: object) -> SessionSpec:
    return SessionSpec.model_validate({"key": key, "upstreams": (Upstream(url=url),), **fields})


@dataclass
class Caller:
    """A controller's side of the API."""

    http: ClientSession
    place: Place
    boot_id: str
    token: int

    async def list(self) -> contract.SessionList:
        async with self.http.get("sessions") as answer:
            assert answer.status == 200
            return contract.SessionList.model_validate_json(await answer.text())

    async def list_lines(self) -> tuple[contract.ListHead, Sequence[bytes], Sequence[bytes]]:
        async with self.http.get("sessions", headers={"Accept": contract.LINES}) as answer:
            assert (answer.status, answer.content_type) == (200, contract.LINES)
            return contract.from_lines(await answer.read())

    async def find(self, key: str) -> SessionView | None:
        return next((view for view in (await self.list()).sessions if view.key == key), None)

    async def ensure(
        self, wished: SessionSpec, epoch: int, generation: int, *, stream: str = "s1", **changed: Any
    ) -> tuple[int, EnsureReply]:
        values = {"boot_id": self.boot_id, "token": self.token, **changed}
        request = contract.EnsureRequest(epoch=epoch, generation=generation, spec=wished, **values)
        body, headers = request.model_dump_json(), {"Content-Type": "application/json"}
        async with self.http.put(f"sessions/{stream}", data=body, headers=headers) as answer:
            return answer.status, EnsureReply.model_validate_json(await answer.text())

    async def stop(
        self, key: str, epoch: int, generation: int, *, stream: str = "s1", **changed: Any
    ) -> tuple[int, StopReply]:
        values = {"boot_id": self.boot_id, "token": self.token, **changed}
        query = {"key": key, "epoch": epoch, "generation": generation, **values}
        async with self.http.delete(f"sessions/{stream}", params=query) as answer:
            return answer.status, StopReply.model_validate_json(await answer.text())


@asynccontextmanager
async def calling(place: Place) -> AsyncIterator[Caller]:
    async with ClientSession(
        place.url + contract.PREFIX + "/",
        headers={"Authorization": f"Bearer {place.token}"},
        timeout=ClientTimeout(total=10),
    ) as http:
        caller = Caller(http, place, "", next(tokens))
        caller.boot_id = (await caller.list()).boot_id
        yield caller


@pytest.fixture
async def caller(place: Place) -> AsyncIterator[Caller]:
    async with calling(place) as caller:
        yield caller


@pytest.fixture
def key() -> str:
    return f"k-{uuid4().hex}"


async def test_a_session_is_started_listed_and_stopped(caller: Caller, key: str):
    before = (await caller.list()).sequence
    status, started = await caller.ensure(spec(key), 3, 7)
    assert (status, started.outcome) == (200, EnsureOutcome.STARTED)
    assert started.sequence > before
    view = await caller.find(key)
    assert view is not None
    assert (view.stream_id, view.epoch, view.generation) == ("s1", 3, 7)
    assert view.spec_digest == contract.digest(spec(key))
    assert (view.state, view.wanted) == ("idle", False)
    status, stopped = await caller.stop(key, 3, 7)
    assert (status, stopped.outcome) == (200, StopOutcome.STOPPED)
    listed = await caller.list()
    assert listed.sequence >= stopped.sequence > started.sequence
    assert await caller.find(key) is None


async def test_a_list_as_lines_says_what_the_list_says(caller: Caller, key: str):
    await caller.ensure(spec(key), 1, 1)
    listed = await caller.list()
    head, facts, figures = await caller.list_lines()
    assert head.model_dump() == listed.model_dump(exclude={"sessions"}) | {
        "sessions_count": len(listed.sessions),
        "viewers": 0,
        "bitrate_bps": 0,
    }
    told = [json.loads(fact) | json.loads(figure) for fact, figure in zip(facts, figures, strict=True)]
    moving = {"uptime_seconds", "failing_seconds"}
    assert [SessionView.model_validate(one).model_dump(exclude=moving) for one in told] == [
        view.model_dump(exclude=moving) for view in listed.sessions
    ]


async def test_what_nothing_happened_to_is_written_as_the_same_facts(caller: Caller, key: str):
    await caller.ensure(spec(key), 1, 1)
    _, first, _ = await caller.list_lines()
    _, second, _ = await caller.list_lines()
    assert [line for line in first if key.encode() in line] == [line for line in second if key.encode() in line]


async def test_a_session_says_whose_it_is(caller: Caller, key: str):
    for generation, whose in enumerate(("", "one", "two"), 1):
        await caller.ensure(spec(key), 1, generation, installation=whose)
        view = await caller.find(key)
        assert view is not None
        assert view.installation == whose


async def test_another_installations_session_is_neither_taken_over_nor_stopped(caller: Caller, key: str):
    """Whatever the fence: two databases count epochs and generations each for themselves."""
    ours = {"stream": "s2", "installation": "ours"}
    await caller.ensure(spec(key), 5, 5, installation="theirs")
    for fence in ((9, 9), (5, 5), (1, 1)):
        status, reply = await caller.ensure(spec(key), *fence, **ours)
        assert (status, reply.outcome) == (409, EnsureOutcome.REFUSED)
        status, stopped = await caller.stop(key, *fence, **ours)
        assert (status, stopped.outcome) == (200, StopOutcome.NOT_FOUND)
    view = await caller.find(key)
    assert view is not None
    assert (view.stream_id, view.epoch, view.generation, view.installation) == ("s1", 5, 5, "theirs")
    await caller.stop(key, 5, 5, installation="theirs")
    status, reply = await caller.ensure(spec(key), 6, 1, **ours)
    assert (status, reply.outcome) == (200, EnsureOutcome.STARTED), "what was refused left nothing behind"


@pytest.mark.parametrize(
    ("mark", "stream", "installation"),
    [
        pytest.param("", "s2", "ours", id="a session that nobody has marked"),
        pytest.param("theirs", "s2", "", id="a command of nobody's"),
        pytest.param("ours before", "s1", "ours", id="the very stream, by another name"),
    ],
)
async def test_all_else_obeys_the_fence_alone(caller: Caller, key: str, mark: str, stream: str, installation: str):
    await caller.ensure(spec(key), 1, 1, installation=mark)
    _, reply = await caller.ensure(spec(key, on_eof="end"), 1, 2, stream=stream, installation=installation)
    assert reply.outcome in (EnsureOutcome.STARTED, EnsureOutcome.REPLACED)
    await caller.stop(key, 1, 2, stream=stream, installation=installation)
    await caller.ensure(spec(key), 2, 3, installation=mark)
    _, stopped = await caller.stop(key, 2, 4, stream=stream, installation=installation)
    assert stopped.outcome is StopOutcome.STOPPED


async def test_repeats_change_nothing(caller: Caller, key: str):
    await caller.ensure(spec(key), 1, 1)
    before = (await caller.list()).sequence
    status, reply = await caller.ensure(spec(key), 1, 1)
    assert (status, reply.outcome) == (200, EnsureOutcome.UNCHANGED)
    assert reply.sequence == before
    await caller.stop(key, 1, 1)
    status, again = await caller.stop(key, 1, 1)
    assert (status, again.outcome) == (200, StopOutcome.NOT_FOUND)


async def test_the_same_fence_with_another_spec_is_a_conflict(caller: Caller, key: str):
    await caller.ensure(spec(key), 1, 1)
    status, reply = await caller.ensure(spec(key, on_eof="end"), 1, 1)
    assert (status, reply.outcome) == (409, EnsureOutcome.SPEC_CONFLICT)
    status, reply = await caller.ensure(spec(key), 1, 1, stream="s2")
    assert (status, reply.outcome) == (409, EnsureOutcome.SPEC_CONFLICT)


async def test_a_higher_generation_replaces_and_a_higher_epoch_starts_anew(caller: Caller, key: str):
    await caller.ensure(spec(key), 1, 1)
    status, reply = await caller.ensure(spec(key, on_eof="end"), 1, 2)
    assert (status, reply.outcome) == (200, EnsureOutcome.REPLACED)
    status, reply = await caller.ensure(spec(key), 2, 3, stream="s2")
    assert (status, reply.outcome) == (200, EnsureOutcome.STARTED)
    view = await caller.find(key)
    assert view is not None
    assert (view.stream_id, view.epoch, view.generation) == ("s2", 2, 3)
    assert len([view for view in (await caller.list()).sessions if view.key == key]) == 1


async def test_lower_fences_are_refused_and_told_which_is_held(caller: Caller, key: str):
    await caller.ensure(spec(key), 5, 5)
    for epoch, generation in ((5, 4), (4, 9)):
        status, reply = await caller.ensure(spec(key), epoch, generation)
        assert (status, reply.outcome) == (409, EnsureOutcome.NEWER_EXISTS)
        assert (reply.held_epoch, reply.held_generation) == (5, 5)
        status, stopped = await caller.stop(key, epoch, generation)
        assert (status, stopped.outcome) == (200, StopOutcome.NEWER_EXISTS)
        assert (stopped.held_epoch, stopped.held_generation) == (5, 5)
    assert await caller.find(key) is not None


async def test_a_stop_at_a_higher_fence_stops_and_bars_all_below(caller: Caller, key: str):
    await caller.ensure(spec(key), 1, 1)
    status, stopped = await caller.stop(key, 2, 8, stream="s2")
    assert (status, stopped.outcome) == (200, StopOutcome.STOPPED)
    for epoch, generation in ((1, 2), (2, 7), (2, 8)):
        status, reply = await caller.ensure(spec(key), epoch, generation)
        assert (status, reply.outcome) == (409, EnsureOutcome.NEWER_EXISTS)
        assert (reply.held_epoch, reply.held_generation) == (2, 8)
    status, reply = await caller.ensure(spec(key), 2, 9)
    assert (status, reply.outcome) == (200, EnsureOutcome.STARTED)


async def test_a_stop_that_finds_nothing_bars_the_late_start(caller: Caller, key: str):
    status, stopped = await caller.stop(key, 4, 1)
    assert (status, stopped.outcome) == (200, StopOutcome.NOT_FOUND)
    status, reply = await caller.ensure(spec(key), 4, 1)
    assert (status, reply.outcome) == (409, EnsureOutcome.NEWER_EXISTS)


async def test_a_stop_in_another_streams_name_at_the_same_fence_stops_nothing(caller: Caller, key: str):
    await caller.ensure(spec(key), 1, 1)
    status, stopped = await caller.stop(key, 1, 1, stream="s2")
    assert (status, stopped.outcome) == (200, StopOutcome.NOT_FOUND)
    status, reply = await caller.ensure(spec(key), 1, 1)
    assert (status, reply.outcome) == (200, EnsureOutcome.UNCHANGED)


async def test_commands_for_another_boot_or_with_an_old_token_do_nothing(caller: Caller, key: str):
    status, reply = await caller.ensure(spec(key), 1, 1, boot_id="another")
    assert (status, reply.outcome) == (412, EnsureOutcome.WRONG_BOOT)
    await caller.ensure(spec(key), 1, 1)
    status, reply = await caller.ensure(spec(key), 1, 2, token=caller.token - 1)
    assert (status, reply.outcome) == (409, EnsureOutcome.STALE_TOKEN)
    assert reply.token_highest == caller.token
    status, stopped = await caller.stop(key, 1, 1, token=caller.token - 1)
    assert (status, stopped.outcome) == (409, StopOutcome.STALE_TOKEN)
    status, stopped = await caller.stop(key, 1, 1, boot_id="another")
    assert (status, stopped.outcome) == (412, StopOutcome.WRONG_BOOT)
    assert await caller.find(key) is not None
    assert (await caller.list()).token_highest == caller.token


async def test_an_upstream_that_may_not_be_pulled_is_refused(caller: Caller, key: str):
    status, reply = await caller.ensure(spec(key, "file:///etc/passwd"), 1, 1)
    assert (status, reply.outcome) == (409, EnsureOutcome.REFUSED)
    assert await caller.find(key) is None


async def test_synced_is_told_and_listed(caller: Caller):
    for values, status in (
        ({"boot_id": "another", "token": caller.token}, 412),
        ({"boot_id": caller.boot_id, "token": caller.token}, 200),
        ({"boot_id": caller.boot_id, "token": caller.token - 1}, 409),
    ):
        async with caller.http.post("synced", json=values) as answer:
            assert answer.status == status
            contract.CommandReply.model_validate_json(await answer.text())
    assert (await caller.list()).synced


async def test_the_watch_speaks_at_once_and_at_every_change(caller: Caller, key: str):
    async with asyncio.timeout(10), caller.http.get("sessions/watch") as answer:
        assert answer.status == 200
        first = contract.Change.model_validate_json(await answer.content.readline())
        assert (first.boot_id, first.keys) == (caller.boot_id, ())
        _, reply = await caller.ensure(spec(key), 1, 1)
        change = contract.Change.model_validate_json(await answer.content.readline())
        assert change.keys == (key,)
        assert change.sequence >= reply.sequence


async def test_viewers_are_listed(caller: Caller):
    async with caller.http.get("viewers") as answer:
        assert contract.ViewerList.model_validate_json(await answer.text()).items == ()
    async with caller.http.delete("viewers/nobody") as answer:
        assert answer.status == 404


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic Y29udHJhY3QtdG9rZW4=", "Bearer "])
async def test_nobody_without_the_token_gets_in(place: Place, header: str | None):
    headers = {"Authorization": header} if header else {}
    async with ClientSession(place.url + contract.PREFIX + "/", headers=headers) as http:
        for method, path in (
            ("GET", "sessions"),
            ("PUT", "sessions/s1"),
            ("DELETE", "sessions/s1"),
            ("GET", "viewers"),
        ):
            async with http.request(method, path) as answer:
                assert answer.status == 401
                contract.Problem.model_validate_json(await answer.text())


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"epoch":1}', b'{"epoch":-1,"generation":1,"boot_id":"b","token":1,"spec":{}}'],
    ids=["nothing", "broken", "a list", "half", "negative"],
)
async def test_what_cannot_be_read_is_a_problem(caller: Caller, body: bytes):
    async with caller.http.put("sessions/s1", data=body, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 400
        problem = contract.Problem.model_validate_json(await answer.text())
        assert problem.status == 400


async def test_a_stop_without_its_fence_is_a_problem(caller: Caller, key: str):
    async with caller.http.delete("sessions/s1", params={"key": key}) as answer:
        assert answer.status == 400
