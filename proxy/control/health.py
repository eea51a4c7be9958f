"""Probes and figures for those who run the proxy: /healthz, /readyz, /metrics. No token, and nothing secret."""

from collections.abc import Iterator, Mapping
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from typing_extensions import override

from proxy.contract import Output, UpstreamState
from proxy.registry import Registry

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class SessionCollector(Collector):
    """Reads the sessions' plain numbers when it is asked; nothing is counted twice."""

    def __init__(self, registry: Registry, dropped: Mapping[str, int]) -> None:
        self._registry = registry
        self._dropped = dropped

    @override
    def collect(self) -> Iterator[Metric]:
        views = self._registry.listing().sessions
        sessions = GaugeMetricFamily("penstock_proxy_sessions", "Sessions by state.", labels=["state"])
        for state in UpstreamState:
            sessions.add_metric([state], sum(view.state is state for view in views))
        yield sessions
        viewers = GaugeMetricFamily("penstock_proxy_viewers", "Viewers by protocol.", labels=["protocol"])
        viewers.add_metric([Output.TS], sum(view.viewers_ts for view in views))
        viewers.add_metric([Output.HLS], sum(view.viewers_hls for view in views))
        yield viewers
        dropped = CounterMetricFamily("penstock_proxy_viewers_dropped", "Viewers reset, by cause.", labels=["cause"])
        for cause, count in self._dropped.items():
            dropped.add_metric([cause], count)
        yield dropped
        totals = self._registry.totals()
        yield CounterMetricFamily("penstock_proxy_viewer_moves", "Moves of slow viewers.", totals.moves)
        yield CounterMetricFamily("penstock_proxy_received_bytes", "Media bytes from upstreams.", totals.bytes_in)
        yield CounterMetricFamily("penstock_proxy_sent_bytes", "Bytes to viewers.", totals.bytes_out)
        yield CounterMetricFamily("penstock_proxy_upstream_connects", "Upstream connections opened.", totals.connects)
        yield CounterMetricFamily("penstock_proxy_resyncs", "Times that junk was skipped.", totals.resyncs)
        yield CounterMetricFamily(
            "penstock_proxy_datagrams_lost",
            "Datagrams of udp and rtp upstreams that never came.",
            totals.datagrams_lost,
        )


def routes(registry: Registry, dropped: Mapping[str, int]) -> list[web.AbstractRouteDef]:
    """Return the routes to be mounted at the top; ``dropped`` counts the viewers that were dropped, by cause."""
    collectors = CollectorRegistry()
    collectors.register(SessionCollector(registry, dropped))
    ProcessCollector(registry=collectors)

    async def live(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        return web.Response(text="draining\n", status=503) if registry.draining else web.Response(text="ok\n")

    async def figures(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(collectors), headers={"Content-Type": CONTENT_TYPE})

    return [web.get("/healthz", live), web.get("/readyz", ready), web.get("/metrics", figures)]
