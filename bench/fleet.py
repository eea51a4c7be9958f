"""Ten proxies without media, in a process of their own (``python -m bench.fleet SESSIONS``).

They speak the control API's lists and watch over real HTTP, and run idle on-demand sessions that never change. Prints
one line, the proxies' URLs, and then serves until it is ended.
"""

import asyncio
import contextlib
import itertools
import sys

from aiohttp import web

from proxy import contract

PROXIES = 10


def stream_id(number: int) -> str:
    return f"stream-{number:06}"


def key(number: int) -> str:
    return f"cam-{number:06}"


def proxy_id(number: int) -> str:
    return f"proxy-{number}"


def boot_id(number: int) -> str:
    return f"boot-{number}"


def spec(number: int) -> contract.SessionSpec:
    return contract.SessionSpec(key=key(number), upstreams=(contract.Upstream(url=f"http://origin/{number}.ts"),))


def _listing(number: int, sessions: int, *, uptime_seconds: float) -> bytes:
    """Everything that one proxy runs: every tenth session. Its figures move, as those of a real one do."""
    views = tuple(
        contract.SessionView(
            stream_id=stream_id(n),
            key=key(n),
            epoch=1,
            generation=1,
            spec_digest=contract.digest(spec(n)),
            outputs=(contract.Output.TS, contract.Output.HLS),
            on_demand=True,
            state=contract.UpstreamState.IDLE,
            uptime_seconds=uptime_seconds + n / 1000,
        )
        for n in range(number, sessions, PROXIES)
    )
    listed = contract.SessionList(
        proxy_id=proxy_id(number),
        boot_id=boot_id(number),
        sequence=sessions,
        public_url=f"http://{proxy_id(number)}",
        token_highest=1,
        synced=True,
        sessions=views,
    )
    return contract.to_lines(listed)


def _application(number: int, sessions: int) -> web.Application:
    listings = itertools.cycle([_listing(number, sessions, uptime_seconds=age) for age in (17.0, 4242.0)])
    change = contract.Change(boot_id=boot_id(number), sequence=sessions).model_dump_json().encode() + b"\n"

    async def show(_request: web.Request) -> web.Response:
        return web.Response(body=next(listings), content_type=contract.LINES)

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        # Whoever watches may leave at any time.
        with contextlib.suppress(ConnectionResetError):
            while True:
                await response.write(change)
                await asyncio.sleep(5)
        return response

    app = web.Application()
    app.router.add_get(f"{contract.PREFIX}/sessions", show)
    app.router.add_get(f"{contract.PREFIX}/sessions/watch", watch)
    return app


async def main(sessions: int) -> None:
    urls = []
    for number in range(PROXIES):
        runner = web.AppRunner(_application(number, sessions), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
    print(" ".join(urls), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
