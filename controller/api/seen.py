"""The newest observation, by stream: each proxy's part is indexed once, for all requests, until it is seen anew."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from controller.domain.model import Output, ProxyId, Run
from controller.domain.observation import Figures, Observed, ProxyView, Session

Index = Mapping[str, Sequence[int]]
"""Where in the list of one proxy the sessions of a stream stand."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One session, as one proxy was seen to run it."""

    view: ProxyView
    place: int
    """In the proxy's list."""

    @property
    def session(self) -> Session:
        return self.view.sessions[self.place]

    @property
    def name(self) -> str:
        """Among all others, in an order that keeps the sessions of a key together."""
        return name_of(self.session.key, self.session.stream_id, self.session.generation, self.view.proxy_id)

    @property
    def figures(self) -> Figures:
        return self.view.figures_at(self.place)


def name_of(key: str, stream_id: str, generation: int, proxy_id: str) -> str:
    """Name a session."""
    return f"{key}/{stream_id}/{generation:020}/{proxy_id}"


class Seen:
    """Which proxy was seen to run what.

    ``before`` is an earlier one: indices of lists that are the same values still are taken over from it. Ten thousand
    sessions are more to go through than there is to answer.
    """

    def __init__(self, observed: Observed, before: "Seen | None" = None) -> None:
        self.views: Mapping[ProxyId, ProxyView] = {view.proxy_id: view for view in observed.proxies}
        # By identity: to compare two lists is to compare all of their sessions. The pairs keep them alive.
        known = {id(view.sessions): index for view, index in before.indices} if before is not None else {}
        self.indices: Sequence[tuple[ProxyView, Index]] = [
            (view, known.get(id(view.sessions)) or _index(view)) for view in observed.proxies
        ]

    def of(self, stream_id: str) -> list[Sighting]:
        """Return the sessions seen of a stream, whether or not anybody asked for them."""
        return [Sighting(view, place) for view, index in self.indices for place in index.get(stream_id, ())]

    def sightings(self) -> Iterator[Sighting]:
        for view, _ in self.indices:
            for place in range(len(view.sessions)):
                yield Sighting(view, place)

    def proxy_url(self, run: Run) -> str | None:
        """Return the public address of the proxy that carries a run; None when none was seen to.

        The newest wanted placement whose session was seen; while a replacement is on its way, the one it replaces.
        """
        seen = {(found.view.proxy_id, found.session.generation): found.view for found in self.of(run.stream.id)}
        ordered = sorted(run.placements, key=lambda p: (p.state.is_wanted, p.generation), reverse=True)
        for placement in ordered if run.stream.state.is_active else ():
            view = seen.get((placement.proxy_id, placement.generation))
            if view is not None and view.public_url:
                return view.public_url
        return None


def _index(view: ProxyView) -> Index:
    by_stream: defaultdict[str, list[int]] = defaultdict(list)
    for place, session in enumerate(view.sessions):
        by_stream[session.stream_id].append(place)
    return by_stream


def media_url(public_url: str, key: str, output: Output) -> str:
    """Return where a proxy serves one output of a key."""
    return f"{public_url}/ts/{key}" if output is Output.TS else f"{public_url}/hls/{key}/index.m3u8"
