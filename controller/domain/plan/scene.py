"""What planning looks at, the same for every run: both readings, the policy, the time, the warden."""

from dataclasses import dataclass
from datetime import datetime

from controller.domain.model import Placement, Run
from controller.domain.observation import Desired, Session, SessionState
from controller.domain.plan.held_ends import HeldEnds
from controller.domain.plan.proxies import Fleet
from controller.domain.plan.vocabulary import Policy
from controller.domain.plan.warden import Warden


@dataclass(frozen=True, slots=True)
class Scene:
    """One plan's view of the world."""

    desired: Desired
    fleet: Fleet
    policy: Policy
    now: datetime
    warden: Warden
    held_ends: HeldEnds

    def session(self, placement: Placement) -> Session | None:
        """Return the session that a fresh proxy lists for a placement."""
        return self.fleet.session(placement.proxy_id, placement.stream_id, placement.generation)

    def is_pending(self, placement: Placement) -> bool:
        """Whether a command about a placement is on its way."""
        return (placement.stream_id, placement.generation, placement.proxy_id) in self.desired.pending

    def runs_wanted(self, run: Run) -> bool:
        """Whether this very observation shows a session that the run wants, and that is not over."""
        seen = (self.session(placement) for placement in run.wanted)
        return any(session is not None and session.state is not SessionState.FINISHED for session in seen)
