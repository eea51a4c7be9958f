"""The newest observation, by stream."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controller.domain.model import Output, ProxyId, Run, StreamId
from controller.domain.observation import Figures, Observed, ProxyView, Session


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
    """Which proxy was seen to run what."""

    def __init__(self, observed: Observed) -> None:
        self.views: Mapping[ProxyId, ProxyView] = {view.proxy_id: view for view in observed.proxies}

    def of(self, stream_id: StreamId) -> list[Sighting]:
        """Return the sessions seen of a stream, whether or not anybody asked for them."""
        views = self.views.values()
        return [Sighting(view, place) for view in views for place in view.listed.by_stream.get(stream_id, ())]

    def sightings(self) -> Iterator[Sighting]:
        for view in self.views.values():
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


def media_url(public_url: str, key: str, output: Output) -> str:
    """Return where a proxy serves one output of a key."""
    return f"{public_url}/ts/{key}" if output is Output.TS else f"{public_url}/hls/{key}/index.m3u8"
