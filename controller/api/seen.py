"""The newest observation, indexed once for one request."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from controller.domain.model import Output, ProxyId, Run
from controller.domain.observation import Observed, ProxyView, Session


class Seen:
    """Which proxy was seen to run what."""

    def __init__(self, observed: Observed) -> None:
        self.views: Mapping[ProxyId, ProxyView] = {view.proxy_id: view for view in observed.proxies}
        self._by_stream: dict[str, list[tuple[ProxyView, Session]]] = defaultdict(list)
        for view in observed.proxies:
            for session in view.sessions:
                self._by_stream[session.stream_id].append((view, session))

    def of(self, stream_id: str) -> list[tuple[ProxyView, Session]]:
        """Return the sessions seen of a stream, whether or not anybody asked for them."""
        return self._by_stream.get(stream_id, [])

    def sessions(self) -> Iterator[tuple[ProxyView, Session]]:
        for entries in self._by_stream.values():
            yield from entries

    def proxy_url(self, run: Run) -> str | None:
        """Return the public address of the proxy that carries a run; None when none was seen to.

        The newest wanted placement whose session was seen; while a replacement is on its way, the one it replaces.
        """
        seen = {(view.proxy_id, session.generation): view for view, session in self.of(run.stream.id)}
        ordered = sorted(run.placements, key=lambda p: (p.state.is_wanted, p.generation), reverse=True)
        for placement in ordered if run.stream.state.is_active else ():
            view = seen.get((placement.proxy_id, placement.generation))
            if view is not None and view.public_url:
                return view.public_url
        return None


def media_url(public_url: str, key: str, output: Output) -> str:
    """Return where a proxy serves one output of a key."""
    return f"{public_url}/ts/{key}" if output is Output.TS else f"{public_url}/hls/{key}/index.m3u8"
