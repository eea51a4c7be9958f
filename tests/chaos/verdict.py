"""What must hold when the faults have ended: ledger, database, proxies and histories agree."""

import asyncio
from collections import Counter, defaultdict
from typing import Any

import aiohttp

from tests.chaos.load import Ledger, Said
from tests.chaos.world import CONTROLLERS, PROXIES, World

PAGE = 1000
PICTURE_SECONDS = 20.0
PACKET, SYNC = 188, 0x47
FORGOTTEN_SECONDS = 60.0
"""A broker that forgets loses nothing that is older: a controller had taken it by then."""
RECONNECT_SECONDS = 10.0
"""And what it confirms before a controller has subscribed again, it keeps for nobody."""

Run = dict[str, Any]


async def look(world: World, ledger: Ledger) -> list[str]:
    """Return everything that is wrong now; nothing when all is as it should be."""
    try:
        async with asyncio.timeout(20):
            leaders = await world.leaders()
            complaints = [] if len(leaders) == 1 else [f"leaders: {leaders}"]
            for name in CONTROLLERS:
                complaints += await _look_through(world, ledger, name)
            return complaints
    except (aiohttp.ClientError, TimeoutError) as failed:
        return [f"no answer: {type(failed).__name__} {failed}"]


async def _look_through(world: World, ledger: Ledger, name: str) -> list[str]:
    """Compare by what one controller says."""
    checked = await world.ask(name, "/debug/sync-check?live=1")
    found = checked.get("discrepancies", {"has_issues": True, "answer": checked})
    complaints = [f"sync-check of {name}: {found}"] if found["has_issues"] else []
    open_runs = await _pages(world, name, "/streams?status=active,ended")
    shown = {run["key"]: run for run in open_runs}
    for key, epoch in ledger.running.items():
        run = shown.get(key)
        if run is None:
            complaints.append(f"{name}: {key} runs, and is not shown")
        elif run["labels"].get("run") != str(epoch) or run["state"] != "LIVE":
            complaints.append(f"{name}: {key} runs as {epoch}, and is shown as {_brief(run)}")
    complaints += [f"{name}: {_brief(run)} ought to be CLOSED" for run in open_runs if run["key"] not in ledger.running]
    complaints += [f"{name}: {count} open runs of {key}" for key, count in _keys(open_runs).items() if count > 1]
    return complaints + await _compare_sessions(world, [run for run in open_runs if run["key"] in ledger.running])


async def _compare_sessions(world: World, runs: list[Run]) -> list[str]:
    """Exactly one session for every run, of its newest generation, and none else."""
    listed: dict[tuple[str, int, int], list[str]] = defaultdict(list)
    for proxy in PROXIES:
        for session in (await world.ask(proxy, "/control/v1/sessions"))["sessions"]:
            listed[session["stream_id"], session["epoch"], session["generation"]].append(proxy)
    wanted = {(run["id"], run["epoch"], run["generation"]): run["key"] for run in runs}
    complaints = [f"{key} has sessions on {listed[fence]}" for fence, key in wanted.items() if len(listed[fence]) != 1]
    orphans = {fence: places for fence, places in listed.items() if fence not in wanted and places}
    return complaints + [f"session {fence} on {places}, which nobody wants" for fence, places in orphans.items()]


async def watch(world: World, ledger: Ledger) -> list[str]:
    """Watch every stream that runs, by the way that players are told; complain of those of which no media comes."""
    keys = sorted(ledger.running)
    heads = await asyncio.gather(*(_first_packets(world, key) for key in keys))
    return [
        f"{key} runs, and a viewer gets {head!r}" for key, head in zip(keys, heads, strict=True) if not _is_ts(head)
    ]


async def _first_packets(world: World, key: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=PICTURE_SECONDS)
    try:
        async with world.http.get(f"{world.urls[CONTROLLERS[0]]}/watch/{key}", timeout=timeout) as response:
            return await response.content.readexactly(2 * PACKET) if response.status == 200 else await response.read()
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as failed:
        return repr(failed).encode()


def _is_ts(head: bytes) -> bool:
    return len(head) == 2 * PACKET and head[0] == head[PACKET] == SYNC


async def prove_sight(world: World, ledger: Ledger) -> list[str]:
    """Look by two ledgers that lie, as if a session had leaked and one were missing; complain when that is not seen."""
    leaked, missing = Ledger(), Ledger()
    key = next(iter(ledger.running), "")
    leaked.running = {other: epoch for other, epoch in ledger.running.items() if other != key}
    missing.running = ledger.running | {"nobody": 1}
    lies = {"a leaked session": leaked, "a missing stream": missing}
    return [f"the verdict does not see {what}" for what, lie in lies.items() if not await look(world, lie)]


async def read_histories(world: World, ledger: Ledger, forgets: list[float]) -> tuple[list[str], Counter[str]]:
    """Look for every event of the ledger in what the database tells; return what is missing, and what explains it."""
    runs = await _pages(world, CONTROLLERS[0], "/streams?status=all")
    by_epoch = {run["labels"].get("run"): run for run in runs}
    complaints: list[str] = []
    explained: Counter[str] = Counter()
    for said in ledger.events:
        how = _explain(said, by_epoch.get(str(said.epoch)))
        if how in ("missing", "a birth", "superseded") and _may_be_forgotten(said, forgets):
            explained[f"forgotten by the broker, {how}"] += 1
        elif how in ("message", "unfinished"):
            explained[how] += 1
        else:
            complaints.append(f"{said.key}: {said.what} {said.epoch} was confirmed, and its history says: {how}")
    for run in runs:
        complaints += await _check_chain(world, run)
    return complaints, explained


def _explain(said: Said, run: Run | None) -> str:
    """Say what the database knows of an event."""
    if run is None:
        return "missing"
    if said.what == "started":
        return "message"
    if run["state"] != "CLOSED":
        return f"the run is {run['state']}"
    return {"source_ended": "message", "source_lost": "a birth"}.get(run["reason"], run["reason"])


def _may_be_forgotten(said: Said, forgets: list[float]) -> bool:
    """Whether a broker forgot while the event may have been in its care."""
    return any(said.at - RECONNECT_SECONDS <= at <= (said.confirmed_at or at) + FORGOTTEN_SECONDS for at in forgets)


async def _check_chain(world: World, run: Run) -> list[str]:
    """Each move of a run begins where the one before it ended, and the last one ends where the run is."""
    moves = list(reversed(await _pages(world, CONTROLLERS[0], f"/streams/{run['id']}/transitions?")))
    states = [None, *(move["to_state"] for move in moves)]
    if [move["from_state"] for move in moves] != states[:-1] or states[-1] != run["state"]:
        return [f"{_brief(run)}: its history does not lead there: {states}"]
    return [f"{_brief(run)}: a move without a cause" for move in moves if not move["actor"]]


async def _pages(world: World, name: str, path: str) -> list[Run]:
    items: list[Run] = []
    cursor = ""
    while True:
        joined = path + ("" if path.endswith("?") else "&") + f"limit={PAGE}{cursor}"
        page = await world.ask(name, joined)
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = f"&cursor={page['next_cursor']}"


def _keys(runs: list[Run]) -> Counter[str]:
    return Counter(run["key"] for run in runs)


def _brief(run: Run) -> str:
    return f"{run['key']} {run['labels'].get('run')} {run['state']} {run['reason'] or ''}".strip()
