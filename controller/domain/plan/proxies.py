"""Where a stream goes: the observed proxies, indexed, and the choice among them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from controller.domain.controls import Controls
from controller.domain.model import Key, ProxyId, Stream, StreamId
from controller.domain.observation import NO_BOOT, UNLIMITED, Observed, ProxyView, Session

EVENLY_FILLED = 0.02
"""Proxies whose filling differs by no more than this part are equally empty."""


class Fleet:
    """The observation, indexed for planning. Only fresh proxies can say that a session is not there."""

    def __init__(self, observed: Observed, keys: frozenset[Key] | None, controls: Controls = UNLIMITED) -> None:
        self.decommissioned = controls.decommissioned
        observed = _as_controlled(observed, controls)
        self.views = {view.proxy_id: view for view in observed.proxies}
        self.moves_left = 0
        """How many streams may still be moved away from proxies that are being drained."""
        self._keys = keys
        self._loads = Counter({view.proxy_id: len(view.sessions) for view in observed.proxies})
        self._fresh = [view for view in observed.proxies if view.is_fresh]
        self.is_named = all(view.boot_id != NO_BOOT for view in observed.proxies)
        """Whether every configured proxy has said its name, so that any other name is surely none of theirs."""
        self.takers = [view for view in self._fresh if not view.is_draining]
        """The proxies that can be asked to carry something."""
        self.session_count = sum(len(view.sessions) for view in self._fresh)

    def session(self, proxy_id: ProxyId, stream_id: StreamId, generation: int) -> Session | None:
        view = self.views.get(proxy_id)
        if view is None or not view.is_fresh:
            return None
        found = (view.sessions[place] for place in view.listed.by_stream.get(stream_id, ()))
        return next((s for s in found if s.generation == generation and self._is_meant(s.key)), None)

    def is_fresh(self, proxy_id: ProxyId) -> bool:
        view = self.views.get(proxy_id)
        return view is not None and view.is_fresh

    def lists(self, stream_id: StreamId) -> bool:
        """Whether any proxy, fresh or not, was last seen with a session of this stream."""
        return any(stream_id in view.listed.by_stream for view in self.views.values())

    def sessions(self, *, besides: AbstractSet[Key] = frozenset()) -> Iterator[tuple[ProxyView, Session]]:
        """Yield every session of every fresh proxy, within the keys planned for, and besides those given."""
        for view in self._fresh:
            by_key = view.listed.by_key
            keys: Iterable[Key] = by_key if self._keys is None else by_key.keys() & self._keys
            # Not by a difference of sets, which would build one of everything first.
            for key in sorted([key for key in keys if key not in besides]):
                for session in by_key[key]:
                    yield view, session

    def of_key(self, key: Key) -> Sequence[tuple[ProxyView, Session]]:
        if not self._is_meant(key):
            return ()
        return [(view, session) for view in self._fresh for session in view.listed.by_key.get(key, ())]

    def _is_meant(self, key: Key) -> bool:
        return self._keys is None or key in self._keys

    def choose(self, stream: Stream, takes_streams: Callable[[ProxyId], bool]) -> ProxyView | None:
        """Pick a proxy: one that runs the key already, else one of the emptiest that have room, by rendezvous hash.

        What runs is never asked about: a proxy that comes takes its part of what is placed from then on.
        """
        holders = {view.proxy_id for view, session in self.of_key(stream.key) if session.epoch == stream.epoch}
        takers = [view for view in self.takers if takes_streams(view.proxy_id)]
        candidates = [view for view in takers if view.proxy_id in holders] or [v for v in takers if self._has_room(v)]
        if not candidates:
            return None
        tolerance = EVENLY_FILLED if all(view.sessions_max for view in candidates) else 0.0
        fullest = min(self._filled(view) for view in candidates) + tolerance
        emptiest = (view for view in candidates if self._filled(view) <= fullest)
        chosen = min(emptiest, key=lambda view: _rank(view.proxy_id, stream.key))
        self._loads[chosen.proxy_id] += 1
        return chosen

    def _has_room(self, view: ProxyView) -> bool:
        return not view.sessions_max or self._loads[view.proxy_id] < view.sessions_max

    def _filled(self, view: ProxyView) -> float:
        """Return how full a proxy is: a part of what it takes, or, where that is not known, a number."""
        return self._loads[view.proxy_id] / (view.sessions_max or 1)


def _as_controlled(observed: Observed, controls: Controls) -> Observed:
    """Take operators at their word: who is drained takes nothing, and who is gone, and does not answer, is gone."""
    if not controls.drained:
        return observed
    return Observed(
        tuple(
            replace(view, is_draining=True) if view.proxy_id in controls.drained else view
            for view in observed.proxies
            if view.is_fresh or view.proxy_id not in controls.decommissioned
        )
    )


def _rank(proxy_id: ProxyId, key: Key) -> bytes:
    return hashlib.blake2b(f"{proxy_id}/{key}".encode(), digest_size=8).digest()
