"""The page of metrics: plain numbers, gathered when somebody asks. Nothing is counted here but the API's own requests.

The numbers of other rooms come through ``Services.figures``; those of the database and the newest observation are read
for each page, so that they are never older than the page.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from controller.api.services import Figure, Services, figure
from controller.domain.model import State
from controller.domain.observation import Observed
from controller.store import outbox, quarantine, streams
from controller.store.outbox import Backlog

PREFIX = "penstock_"
OTHER = "other"
MEDIA_TYPE = CONTENT_TYPE_LATEST


class Requests:
    """Counts requests by route and status: plain ASGI, around the routes."""

    def __init__(self, app: ASGIApp, counts: Counter[tuple[str, str, int]]) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Routes and not paths: what a client makes up must not become a label.
                route = getattr(scope.get("route"), "path", OTHER)
                self._counts[scope["method"] if route != OTHER else OTHER, route, message["status"]] += 1
            await send(message)

        await self._app(scope, receive, send_counted)


async def render(services: Services, requests: Mapping[tuple[str, str, int], int]) -> bytes:
    """Gather every number and write the page."""
    read = services.database.read
    states = await read(streams.count_by_state)
    backlog = await read(outbox.backlog)
    refused = await read(quarantine.count)
    figures = [
        *_database_figures(states, backlog, refused, services.clock()),
        *_observation_figures(services.observed(), services.clock()),
        *_own_figures(services, requests),
        *services.figures(),
    ]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, figures: Iterable[Figure]) -> None:
        self._figures = figures

    @override
    def collect(self) -> Iterator[Metric]:
        for one in self._figures:
            if one.kind == "histogram":
                buckets = [(pairs[0][1], count) for pairs, count in one.samples]
                yield HistogramMetricFamily(PREFIX + one.name, one.help, buckets=buckets, sum_value=one.sum)
                continue
            labels = [name for name, _ in one.samples[0][0]] if one.samples else []
            kind = CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily
            family = kind(PREFIX + one.name, one.help, labels=labels)
            for pairs, value in one.samples:
                family.add_metric([text for _, text in pairs], value)
            yield family


def _database_figures(states: Mapping[State, int], backlog: Backlog, refused: int, now: datetime) -> Iterator[Figure]:
    by_state = tuple(((("state", state.value),), float(count)) for state, count in states.items())
    yield Figure("streams", "Streams that are not CLOSED, by state.", by_state)
    yield figure("outbox_depth", "Commands that wait to be answered by a proxy.", backlog.count)
    oldest = (now - backlog.oldest_at).total_seconds() if backlog.oldest_at is not None else 0.0
    yield figure("outbox_oldest_seconds", "Age of the command that waits longest.", max(0.0, oldest))
    yield figure("quarantine_messages", "Messages kept that could not be read.", refused)


def _observation_figures(observed: Observed, now: datetime) -> Iterator[Figure]:
    views = observed.proxies

    def per_proxy(name: str, text: str, values: Iterable[float]) -> Figure:
        named = zip(views, values, strict=True)
        return Figure(name, text, tuple(((("proxy", view.proxy_id),), value) for view, value in named))

    yield per_proxy("proxy_up", "Whether the proxy answered when it was listed last.", (v.is_fresh for v in views))
    yield per_proxy(
        "proxy_observation_age_seconds",
        "Since the proxy was listed last.",
        ((now - v.observed_at).total_seconds() if v.observed_at is not None else -1.0 for v in views),
    )
    yield per_proxy("sessions", "Sessions seen on the proxy.", (len(v.sessions) for v in views))
    yield per_proxy("viewers", "Viewers seen on the proxy.", (v.viewers for v in views))
    yield per_proxy(
        "upstream_bits_per_second",
        "What the proxy receives from upstreams.",
        (v.bitrate_bps for v in views),
    )


def _own_figures(services: Services, requests: Mapping[tuple[str, str, int], int]) -> Iterator[Figure]:
    health = services.health()
    labelled = tuple(
        ((("method", method), ("route", route), ("status", str(status))), float(count))
        for (method, route, status), count in sorted(requests.items())
    )
    yield Figure("build_info", "The version that runs.", (((("version", services.version),), 1.0),))
    yield figure("leader_election_master_status", "Whether this controller leads.", float(health.is_leader))
    yield figure("mqtt_connected", "Whether this controller is connected to the broker.", health.broker == "connected")
    yield Figure("http_requests", "Requests answered, by route.", labelled, "counter")
    yield figure("event_followers", "Clients that follow the events.", services.pulse.followers)
