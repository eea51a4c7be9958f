"""``python -m tests.chaos.upstream HOST PORT``: an origin in a process of its own, at the speed of its clip's clock."""

import sys

from aiohttp import web

from proxy.upstream import demo


async def send(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "video/mp2t"})
    await response.prepare(request)
    async for piece in demo.read():
        await response.write(piece)
    return response


def main() -> None:
    app = web.Application()
    app.router.add_get("/{name}", send)
    web.run_app(app, host=sys.argv[1], port=int(sys.argv[2]), print=None, handler_cancellation=True)


if __name__ == "__main__":
    main()
