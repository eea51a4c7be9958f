"""What must hold in every world: some of it always, the rest once it was quiet for long enough."""

import asyncio
import json
from typing import TYPE_CHECKING

from controller.ingest.inbox import Received
from proxy import contract
from proxy.contract import UpstreamState

if TYPE_CHECKING:
    from tests.simulation.world import World

LOOK_SECONDS = 0.5


class Watch:
    """Looks at everything, all the time."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._last_transition = 0
        self.calm_at: float | None = None
        self.wrong_at = 0.0
        """When the world was last seen not to be as it should be."""
        self.stale_seconds = 0.0
        """Session-seconds of streams that their source does not run any more."""
        self.gap_seconds = 0.0
        """Stream-seconds without a session."""
        self.double_seconds = 0.0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._measure()
            if self.calm_at is not None and self.differences():
                self.wrong_at = self._world.stage.loop.time()

    def forget(self) -> None:
        """The database was set back."""
        placed = "SELECT proxy_id, stream_id, generation FROM placements WHERE state <> 'gone'"
        self._world.fleet.forget(set(self._world.storage.query(placed)))
        self._last_transition = 0
        self.committed()

    # Always

    def committed(self) -> None:
        """After every commit: what reads CLOSED now?"""
        rows = self._world.storage.query(
            "SELECT id, stream_id, to_state FROM transitions WHERE id > ?", self._last_transition
        )
        if rows:
            self._last_transition = rows[-1][0]
            closed = {row[1] for row in rows if row[2] == "CLOSED"}
            if closed:
                self._world.fleet.judge_closed(closed)

    def acknowledged(self, received: Received) -> None:
        """What the broker is told to forget must be in the database."""
        parts = received.topic.split("/")
        if "sources" not in parts or parts[-1] not in ("started", "ended") or not received.payload:
            return
        key, said = parts[-2], json.loads(received.payload)
        if not self._is_known(key, said["epoch"], said["seq"]):
            self._world.stage.object(f"lost: {received.topic} {received.payload!r} was acknowledged")

    def _is_known(self, key: str, epoch: int, seq: int) -> bool:
        query = self._world.storage.query
        known = query(
            "SELECT 1 FROM streams WHERE key = ? AND (announced_epoch > ? OR announced_epoch = ? AND "
            "(seq >= ? OR state IN ('ENDED', 'CLOSED')))", key, epoch, epoch, seq,
        )  # fmt: skip
        return bool(known or query("SELECT 1 FROM floors WHERE key = ? AND epoch >= ?", key, epoch))

    # In the end

    async def conclude(self) -> None:
        for difference in self.differences():
            self._world.stage.object(f"not converged: {difference}")

    def differences(self) -> list[str]:
        """Where sources, database and proxies are not of one mind."""
        return [*self._of_truth(), *self._of_proxies()]

    def _of_truth(self) -> list[str]:
        """What the sources run against what the database says."""
        truth, found = self._world.truth, []
        active = {
            key: (announced, state)
            for key, announced, state in self._world.storage.query(
                "SELECT key, announced_epoch, state FROM streams WHERE state NOT IN ('ENDED', 'CLOSED')"
            )
        }
        for key, (epoch, _) in truth.running.items():
            if truth.must_run(key, epoch) and active.get(key) != (epoch, "LIVE"):
                found.append(f"{key}, epoch {epoch}, runs at its source; the database says {active.get(key)}")
        for key, (epoch, state) in active.items():
            if not truth.is_running(key, epoch) or (key, epoch) in truth.stopped:
                found.append(f"{key}, epoch {epoch}, does not run any more; the database says {state}")
        return found

    def _of_proxies(self) -> list[str]:
        """What the database wishes against what the proxies run."""
        found = []
        sessions = {
            (proxy.proxy_id, view.stream_id, view.generation): view for proxy, view in self._world.fleet.sessions()
        }
        placed = self._world.storage.query(
            "SELECT p.proxy_id, p.stream_id, p.generation, p.state, s.state, s.key, s.epoch FROM placements p "
            "JOIN streams s ON s.id = p.stream_id WHERE p.state <> 'gone'"
        )
        for proxy_id, stream_id, generation, placement, state, key, epoch in placed:
            view = sessions.pop((proxy_id, stream_id, generation), None)
            name = f"{key}, epoch {epoch}, generation {generation} on {proxy_id}"
            if placement != "observed" or state in ("ENDED", "CLOSED"):
                found.append(f"{name}: its placement is {placement}, its stream {state}")
            elif view is None or view.state is UpstreamState.FINISHED:
                found.append(f"missing: {name}")
            elif view.spec_digest != self._digest(key, epoch, view):
                found.append(f"{name} runs another upstream than its source wishes")
        for (proxy_id, _, generation), view in sessions.items():
            found.append(f"leaked: {view.key}, epoch {view.epoch}, generation {generation} on {proxy_id}")
        open_ones = self._world.storage.query(
            "SELECT key, epoch, state FROM streams WHERE state = 'ENDED' OR state NOT IN ('LIVE', 'CLOSED')"
        )
        found += [f"{key}, epoch {epoch}, is {state}" for key, epoch, state in open_ones]
        return found

    def _digest(self, key: str, epoch: int, view: contract.SessionView) -> str:
        running = self._world.truth.running.get(key)
        if running is None or running[0] != epoch:
            return view.spec_digest
        source = next(s for s in self._world.sources if key in s.keys)
        stream = source.streams[key]
        wished = contract.SessionSpec(
            key=key,
            upstreams=(contract.Upstream(url=stream.url),),
            on_demand=stream.on_demand,
            on_eof=stream.on_eof,
        )
        return contract.digest(wished)

    # Figures

    def _measure(self) -> None:
        truth, fleet = self._world.truth, self._world.fleet
        right: dict[str, int] = {}
        for _, view in fleet.sessions():
            if not truth.is_running(view.key, view.epoch):
                self.stale_seconds += LOOK_SECONDS
            elif view.state is not UpstreamState.FINISHED:
                right[view.key] = right.get(view.key, 0) + 1
        for key, (epoch, _) in truth.running.items():
            if truth.must_run(key, epoch) and key not in right:
                self.gap_seconds += LOOK_SECONDS
        self.double_seconds += LOOK_SECONDS * sum(count - 1 for count in right.values())

    def figures(self) -> dict[str, float]:
        fleet, truth = self._world.fleet, self._world.truth
        return {
            "wrongful": fleet.wrongful,
            "races": fleet.races,
            "convergence": max(0.0, self.wrong_at - (self.calm_at or 0.0)),
            "stale": self.stale_seconds,
            "gap": self.gap_seconds,
            "double": self.double_seconds,
            "commands": fleet.applied,
            "changes": truth.changes,
            "simulated": self._world.stage.loop.time(),
        }
