"""The control API of a fake proxy, without a web server: what ``tests.fakes.proxy`` and the simulator both answer."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy import contract
from proxy.contract import EnsureOutcome, StopOutcome
from tests.fakes.proxy_fences import FakeRegistry, Fence

KEPT = (EnsureOutcome.STARTED, EnsureOutcome.REPLACED, EnsureOutcome.UNCHANGED)


@dataclass
class FakeControl(FakeRegistry):
    proxy_id: str = "fake"
    url: str = ""

    def control(
        self, method: str, path: str, body: bytes | str, query: Mapping[str, str]
    ) -> tuple[int, contract.Wire | contract.Problem]:
        """Answer one request, by its path below the prefix. Raises ValidationError for one that cannot be read."""
        match method, *path.split("/"):
            case "GET", "sessions":
                return 200, self.listing()
            case "PUT", "sessions", stream_id:
                ensured, held = self.ensure(stream_id, contract.EnsureRequest.model_validate_json(body))
                status = 200 if ensured in KEPT else 412 if ensured is EnsureOutcome.WRONG_BOOT else 409
                return status, contract.EnsureReply.model_validate(self._reply(held) | {"outcome": ensured})
            case "DELETE", "sessions", stream_id:
                stopped, held = self.stop(stream_id, contract.StopRequest.model_validate(dict(query)))
                status = {StopOutcome.WRONG_BOOT: 412, StopOutcome.STALE_TOKEN: 409}.get(stopped, 200)
                return status, contract.StopReply.model_validate(self._reply(held) | {"outcome": stopped})
            case "POST", "synced":
                asked = contract.SyncedRequest.model_validate_json(body)
                guard = self.guard(asked.boot_id, asked.token)
                self.synced = self.synced or guard is None
                status = {None: 200, "wrong_boot": 412}.get(guard, 409)
                return status, contract.CommandReply.model_validate(self._reply())
            case "GET", "viewers":
                return 200, contract.ViewerList(proxy_id=self.proxy_id, boot_id=self.boot_id, items=())
        return 404, contract.Problem(title="refused", status=404)

    def listing(self) -> contract.SessionList:
        return contract.SessionList(
            proxy_id=self.proxy_id,
            boot_id=self.boot_id,
            sequence=self.sequence,
            public_url=self.url,
            token_highest=self.token_highest,
            synced=self.synced,
            sessions=tuple(self.views.values()),
        )

    def _reply(self, held: Fence | None = None) -> dict[str, object]:
        return {"proxy_id": self.proxy_id, "boot_id": self.boot_id, "sequence": self.sequence,
                "token_highest": self.token_highest, "held_epoch": held[0] if held else None,
                "held_generation": held[1] if held else None}  # fmt: skip
