"""The proxies of a world: the fences of ``tests.fakes.proxy_fences``, which the contract tests hold equal to the real
ones, with upstreams that flow, fail and end, and with reboots. They outlive every controller.

Every effect of a command is judged here, when it happens: was it the only right session of a live stream that was
stopped, does something start that the database calls CLOSED, does a replaced leader still rule.
"""

from dataclasses import dataclass, field

from proxy import contract
from proxy.contract import EnsureOutcome, FinishedReason, StopOutcome, UpstreamState
from tests.fakes.proxy_control import FakeControl
from tests.fakes.proxy_fences import Fence
from tests.simulation.stage import Stage
from tests.simulation.truth import Run, Truth

RACE_SECONDS = 3.0
"""A replacement that was seen and is lost this shortly before the old session is stopped cannot be helped: nobody can
hand over between proxies."""


@dataclass
class Fleet:
    """All proxies, and what happened to sessions without a controller's doing."""

    stage: Stage
    truth: Truth
    proxies: list["SimulatedProxy"] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    """Streams that the database calls CLOSED."""
    forgotten: set[tuple[str, str, int]] = field(default_factory=set)
    """Sessions (proxy, stream, generation) that ran when the database was set back to a time before they were placed.
    Their stream may read CLOSED until the next look at their proxy."""
    set_back_at: float = float("-inf")
    lost_at: dict[Run, float] = field(default_factory=dict)
    """When a session of a run last vanished or failed by itself."""
    wrongful: int = 0
    races: int = 0
    effects: list[tuple[str, str, int]] = field(default_factory=list)
    """What commands did: (effect, key, epoch)."""
    applied: int = 0
    """Commands that reached a proxy."""

    def running(self, key: str, epoch: int) -> list[contract.SessionView]:
        """All sessions of a run that have not finished."""
        views = (proxy.views.get(key) for proxy in self.proxies if proxy.is_up)
        return [v for v in views if v is not None and v.epoch == epoch and v.state is not UpstreamState.FINISHED]

    def sessions(self) -> list[tuple["SimulatedProxy", contract.SessionView]]:
        return [(proxy, view) for proxy in self.proxies if proxy.is_up for view in proxy.views.values()]

    def note_loss(self, view: contract.SessionView) -> None:
        self.lost_at[view.key, view.epoch] = self.stage.loop.time()

    def judge_stop(self, proxy: "SimulatedProxy", view: contract.SessionView, sent_at: float) -> None:
        run = (view.key, view.epoch)
        if not self.truth.must_run(*run) or view.state is UpstreamState.FINISHED or self.running(*run):
            return
        if self.lost_at.get(run, float("-inf")) >= sent_at - RACE_SECONDS:
            self.races += 1
            return
        self.wrongful += 1
        self.stage.object(
            f"wrongful stop: {proxy.proxy_id} ran the only session of {view.key}, epoch {view.epoch} "
            f"(generation {view.generation}), which its source runs"
        )

    def forget(self, placed: set[tuple[str, str, int]]) -> None:
        """The database was set back, and knows of these placements."""
        self.closed.clear()
        running = {(proxy.proxy_id, view.stream_id, view.generation) for proxy, view in self.sessions()}
        self.forgotten = running - placed
        self.set_back_at = self.stage.loop.time()

    def judge_start(self, proxy: "SimulatedProxy", view: contract.SessionView, sent_at: float) -> None:
        if sent_at <= self.set_back_at:
            self.forgotten.add((proxy.proxy_id, view.stream_id, view.generation))
        elif view.stream_id in self.closed:
            self.stage.object(f"{proxy.proxy_id} starts {view.key}, epoch {view.epoch}, which reads CLOSED")

    def judge_closed(self, stream_ids: set[str]) -> None:
        """Hear from a commit which streams are CLOSED now."""
        self.closed |= stream_ids
        for proxy, view in self.sessions():
            is_known = (proxy.proxy_id, view.stream_id, view.generation) not in self.forgotten
            if view.stream_id in stream_ids and is_known:
                self.stage.object(f"{view.key}, epoch {view.epoch}, reads CLOSED, and {proxy.proxy_id} runs it")


@dataclass(eq=False)
class SimulatedProxy(FakeControl):
    fleet: Fleet | None = None
    boots: int = 0
    is_up: bool = True
    token_effective: int = 0
    """The highest token of a command that changed something since this boot."""

    def forget(self) -> None:
        super().forget()
        self.boots += 1
        self.boot_id = f"{self.proxy_id}-boot-{self.boots}"
        self.token_effective = 0

    # Faults

    def go_down(self) -> None:
        assert self.fleet is not None
        for view in self.views.values():
            self.fleet.note_loss(view)
        self.is_up = False
        self.forget()
        for bell in tuple(self.bells):
            bell.put_nowait("")

    def come_up(self) -> None:
        self.is_up = True

    # Commands

    def take(self, method: str, path: str, body: str, query: dict[str, str], sent_at: float) -> tuple[int, str]:
        """Answer a request that has arrived, and judge what it did."""
        assert self.fleet is not None
        before = dict(self.views)
        status, answer = self.control(method, path, body, query)
        if method != "GET":
            self.fleet.applied += 1
            self._judge(before, answer, sent_at, query, body)
        is_list = isinstance(answer, contract.SessionList)
        return status, contract.to_lines(answer).decode() if is_list else answer.model_dump_json()

    def _judge(
        self, before: dict[str, contract.SessionView], answer: object, sent_at: float, query: dict[str, str], body: str
    ) -> None:
        assert self.fleet is not None
        match answer:
            case contract.EnsureReply(outcome=EnsureOutcome.STARTED | EnsureOutcome.REPLACED):
                asked = contract.EnsureRequest.model_validate_json(body)
                self._rule(asked.token)
                view = self.views[asked.spec.key]
                self.fleet.effects.append((answer.outcome.value, view.key, view.epoch))
                self.fleet.judge_start(self, view, sent_at)
                old = before.get(view.key)
                if old is not None and old.epoch != view.epoch:
                    self.fleet.judge_stop(self, old, sent_at)
                self._begin(view)
            case contract.StopReply(outcome=StopOutcome.STOPPED):
                self._rule(int(query["token"]))
                stopped = before[query["key"]]
                self.fleet.effects.append((answer.outcome.value, stopped.key, stopped.epoch))
                self.fleet.judge_stop(self, stopped, sent_at)

    def _rule(self, token: int) -> None:
        assert self.fleet is not None
        if token < self.token_effective:
            self.fleet.stage.object(f"{self.proxy_id} obeys token {token} after {self.token_effective}")
        self.token_effective = max(token, self.token_effective)

    # Upstreams

    def _begin(self, view: contract.SessionView) -> None:
        assert self.fleet is not None
        chance = self.fleet.stage.chance
        if not view.on_demand:
            self.fleet.stage.loop.outside(chance.between(0.1, 2.0), self.flow_on, view.key, _fence(view), self.boot_id)

    def flow_on(self, key: str, fence: Fence, boot_id: str) -> None:
        """The first bytes of an upstream have come."""
        view = self.views.get(key)
        if self.boot_id == boot_id and view is not None and _fence(view) == fence and view.finished_reason is None:
            self.flow(key, delivered=True)

    def fail(self, key: str) -> None:
        """A session of this proxy breaks."""
        assert self.fleet is not None
        self.fleet.note_loss(self.views[key])
        self.finish(key, FinishedReason.FAILED)


def _fence(view: contract.SessionView) -> Fence:
    return (view.epoch, view.generation)
