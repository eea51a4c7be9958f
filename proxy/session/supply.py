"""Whether the pull of one session runs: opened when it is wanted, closed at a time that can be taken back.

There are no timers: the pull runs inside one ``asyncio.timeout`` scope whose deadline is moved, so whoever comes back
in time takes the deadline away, and nothing is left that could close the upstream later. What is known of the
upstreams outlives single pulls.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from proxy.contract import SessionSpec, Upstream, UpstreamState
from proxy.core.feed import Feed
from proxy.core.rota import Rota
from proxy.session.ports import SessionPorts
from proxy.upstream.items import Reader
from proxy.upstream.ports import Ending, PullHooks
from proxy.upstream.publish import Desk, is_published, rank
from proxy.upstream.pull import Pull
from proxy.upstream.vitals import Vitals


class Supply:
    """One session's way to its upstreams."""

    def __init__(self, spec: SessionSpec, vitals: Vitals, *, ports: SessionPorts, hooks: PullHooks) -> None:
        self._spec = spec
        self._vitals = vitals
        self._ports = ports
        self._hooks = hooks
        self._rota = self._new_rota()
        self._pull: Pull | None = None
        self._scope: asyncio.Timeout | None = None
        self._switching = False
        self.desk = Desk()

    async def run(self, feed: Feed, is_needed: Callable[[], bool]) -> Ending | None:
        """Pull; return why the pull ended by itself, or None when it was closed because of a decision made here."""
        hooks, ports = self._hooks, replace(self._ports.pulling, open_upstream=self._open)
        pull = Pull(self._spec, feed, self._vitals, self._rota, ports=ports, hooks=hooks)
        scope = asyncio.timeout(None)
        self._switching = False
        try:
            async with scope:
                self._scope, self._pull = scope, pull
                if not is_needed():  # whoever wanted it left before this task ran
                    return None
                return await pull.run()
        except TimeoutError:
            if not scope.expired():
                raise
            return None
        finally:
            self._scope = self._pull = None

    def keep(self) -> None:
        """Take the deadline away: it is wanted."""
        self._close_at(None)
        self._set_spare(spare=False)

    def linger(self, when: float) -> None:
        """Close the pull at loop time ``when``, or as soon as another one waits for its connection."""
        self._close_at(when)
        self._set_spare(spare=True)

    def close(self) -> None:
        """Close the pull at once."""
        self._close_at(self._ports.now())

    def adopt(self, spec: SessionSpec) -> bool:
        """Go by another spec from now on; return whether a pull runs that is closed for it, to begin anew."""
        before, self._spec = self._spec, spec
        if rank(spec) is None:
            self.desk.dismiss()
        if before.upstreams != spec.upstreams:
            self._rota = self._new_rota()
            if self._scope is not None:
                self.close()
                self._switching = True
                return True
        self._rota.prefer = spec.prefer
        self._rota.return_after_seconds = spec.return_after_seconds
        if self._pull is not None:
            self._pull.adopt(spec)
        return False

    def invite(self, index: int) -> None:
        """Somebody has come to publish the upstream at ``index``: let it be read soon, at once if nothing flows."""
        self._rota.forgive(index)
        is_idle = self._vitals.state is not UpstreamState.FLOWING and not self.desk.is_awaited
        if is_idle and self._scope is not None:
            self.close()
            self._switching = True

    def _open(self, upstream: Upstream) -> Reader:
        return self.desk.read() if is_published(upstream) else self._ports.pulling.open_upstream(upstream)

    def _new_rota(self) -> Rota:
        spec = self._spec
        rota = Rota(len(spec.upstreams), self._ports.backoff, random.random)
        rota.prefer = spec.prefer
        rota.return_after_seconds = spec.return_after_seconds
        return rota

    def _close_at(self, when: float | None) -> None:
        if self._scope is not None and not self._scope.expired() and not self._switching:
            self._scope.reschedule(when)

    def _set_spare(self, *, spare: bool) -> None:
        if self._pull is not None:
            self._pull.set_spare(spare=spare)
