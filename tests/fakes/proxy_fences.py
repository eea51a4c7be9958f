"""What a fake proxy holds and decides: sessions without media, fences, tombstones. See ``tests.fakes.proxy``."""

import asyncio
from dataclasses import dataclass, field
from itertools import count

from proxy import contract
from proxy.contract import EnsureOutcome, FinishedReason, SessionSpec, SessionView, StopOutcome, UpstreamState

Fence = tuple[int, int]
REFUSED_SCHEMES = ("file:", "ftp:")
_boots = count(1)


@dataclass
class FakeRegistry:
    boot_id: str = ""
    sequence: int = 0
    token_highest: int = 0
    synced: bool = False
    views: dict[str, SessionView] = field(default_factory=dict)
    graves: dict[str, Fence] = field(default_factory=dict)
    bells: list[asyncio.Queue[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Restart: another boot, nothing remembered."""
        self.boot_id = f"boot-{next(_boots)}"
        self.sequence = self.token_highest = 0
        self.synced = False
        self.views, self.graves = {}, {}

    def inject(self, stream_id: str, spec: SessionSpec, epoch: int, generation: int) -> None:
        """A session that nobody ordered."""
        self._put(stream_id, spec, (epoch, generation))

    def flow(self, key: str, state: UpstreamState = UpstreamState.FLOWING, **fields: object) -> None:
        self._change(self.views[key].model_copy(update={"state": state, "wanted": True, **fields}))

    def finish(self, key: str, reason: FinishedReason) -> None:
        self._change(self.views[key].model_copy(update={"state": UpstreamState.FINISHED, "finished_reason": reason}))

    def _put(self, stream_id: str, spec: SessionSpec, fence: Fence, installation: str = "") -> None:
        self._change(
            SessionView(stream_id=stream_id, key=spec.key, epoch=fence[0], generation=fence[1],
                        spec_digest=contract.digest(spec), installation=installation, outputs=spec.outputs, on_demand=spec.on_demand,
                        state=UpstreamState.IDLE if spec.on_demand else UpstreamState.CONNECTING,
                        wanted=not spec.on_demand)
        )  # fmt: skip

    def _change(self, view: SessionView) -> None:
        self.views[view.key] = view
        self._ring(view.key)

    def _ring(self, key: str) -> None:
        self.sequence += 1
        for bell in self.bells:
            bell.put_nowait(key)

    def guard(self, boot_id: str, token: int) -> str | None:
        if boot_id != self.boot_id:
            return "wrong_boot"
        if token < self.token_highest:
            return "stale_token"
        self.token_highest = token
        return None

    def ensure(self, stream_id: str, asked: contract.EnsureRequest) -> tuple[EnsureOutcome, Fence | None]:
        if guard := self.guard(asked.boot_id, asked.token):
            return EnsureOutcome(guard), None
        fence, held, grave = (
            (asked.epoch, asked.generation),
            self.views.get(asked.spec.key),
            self.graves.get(asked.spec.key),
        )
        if held and is_foreign(held, stream_id, asked.installation):
            return EnsureOutcome.REFUSED, None
        held_fence = (held.epoch, held.generation) if held else (-1, -1)
        if grave is not None and fence <= grave:
            return EnsureOutcome.NEWER_EXISTS, grave
        if fence < held_fence:
            return EnsureOutcome.NEWER_EXISTS, held_fence
        if held and fence == held_fence:
            same = (stream_id, contract.digest(asked.spec)) == (held.stream_id, held.spec_digest)
            return (EnsureOutcome.UNCHANGED if same else EnsureOutcome.SPEC_CONFLICT), None
        if any(upstream.url.startswith(REFUSED_SCHEMES) for upstream in asked.spec.upstreams):
            return EnsureOutcome.REFUSED, None
        self._put(stream_id, asked.spec, fence, asked.installation)
        in_place = held and (held.epoch, held.stream_id) == (asked.epoch, stream_id)
        return (EnsureOutcome.REPLACED if in_place else EnsureOutcome.STARTED), None

    def stop(self, stream_id: str, asked: contract.StopRequest) -> tuple[StopOutcome, Fence | None]:
        if guard := self.guard(asked.boot_id, asked.token):
            return StopOutcome(guard), None
        fence, held = (asked.epoch, asked.generation), self.views.get(asked.key)
        if held and is_foreign(held, stream_id, asked.installation):
            return StopOutcome.NOT_FOUND, None
        if held and (held.epoch, held.generation) > fence:
            return StopOutcome.NEWER_EXISTS, (held.epoch, held.generation)
        if held and (held.epoch, held.generation) == fence and held.stream_id != stream_id:
            return StopOutcome.NOT_FOUND, None
        self.graves[asked.key] = max(fence, self.graves.get(asked.key, fence))
        if held is None:
            return StopOutcome.NOT_FOUND, None
        del self.views[asked.key]
        self._ring(asked.key)
        return StopOutcome.STOPPED, None


def is_foreign(held: SessionView, stream_id: str, installation: str) -> bool:
    whose = {held.installation, installation}
    return "" not in whose and len(whose) > 1 and held.stream_id != stream_id
