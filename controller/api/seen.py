"""The newest observation, by stream: each proxy's part is indexed once, for all requests, until it is seen anew."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from controller.domain.model import Output, ProxyId, Run
from controller.domain.observation import Observed, ProxyView, Session

Index = Mapping[str, Sequence[Session]]
"""The sessions of one proxy, by stream."""


class Seen:
    """Which proxy was seen to run what.

    ``before`` is an earlier one: indices of views that are the same values still are taken over from it. Ten thousand
    sessions are more to go through than there is to answer.
    """

    def __init__(self, observed: Observed, before: "Seen | None" = None) -> None:
        self.views: Mapping[ProxyId, ProxyView] = {view.proxy_id: view for view in observed.proxies}
        # By identity: to compare two views is to compare all of their sessions. The pairs keep them alive.
        known = {id(view): index for view, index in before.indices} if before is not None else {}
        self.indices: Sequence[tuple[ProxyView, Index]] = [
            (view, known.get(id(view)) or _index(view)) for view in observed.proxies
        ]

    def of(self, stream_id: str) -> list[tuple[ProxyView, Session]]:
        """Return the sessions seen of a stream, whether or not anybody asked for them."""
        return [(view, session) for view, index in self.indices for session in index.get(stream_id, ())]

    def sessions(self) -> Iterator[tuple[ProxyView, Session]]:
        for view, _ in self.indices:
            for session in view.sessions:
                yield view, session

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


def _index(view: ProxyView) -> Index:
    by_stream: defaultdict[str, list[Session]] = defaultdict(list)
    for session in view.sessions:
        by_stream[session.stream_id].append(session)
    return by_stream


def media_url(public_url: str, key: str, output: Output) -> str:
    """Return where a proxy serves one output of a key."""
    return f"{public_url}/ts/{key}" if output is Output.TS else f"{public_url}/hls/{key}/index.m3u8"
