"""A source of its own: announces streams and their ends at a steady pace (``python -m bench.announcer PORT COUNT``).

A process beside the one that measures, so that what it does is not what the other one waits for. Prints one line when
the broker has confirmed all starts, one when it has confirmed all ends: the seconds each took.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterable

import aiomqtt

TOPIC = "penstock/v1/sources/bench/streams/{key}/{kind}"
PACE_SECONDS = 1.0
"""What all starts, and then all ends, are spread over."""

STEPS = 20


def key(number: int) -> str:
    return f"bench-{number:05}"


def started(number: int) -> tuple[str, bytes]:
    """Return topic and payload of a start. Nobody watches, so that its upstream is never asked for."""
    upstream = f"http://127.0.0.1:9/{key(number)}.ts"
    body = {"boot_id": "bench", "epoch": 1, "seq": 1, "upstreams": [upstream], "on_demand": True}
    return TOPIC.format(key=key(number), kind="started"), json.dumps(body).encode()


def ended(number: int) -> tuple[str, bytes]:
    body = {"boot_id": "bench", "epoch": 1, "seq": 2, "reason": "over"}
    return TOPIC.format(key=key(number), kind="ended"), json.dumps(body).encode()


async def publish(client: aiomqtt.Client, messages: Iterable[tuple[str, bytes]], *, pace_seconds: float = 0.0) -> float:
    """Publish at QoS 1, spread over a time; return the seconds until the broker had confirmed the last one."""
    waiting = list(messages)
    began = time.perf_counter()
    size = max(1, len(waiting) // STEPS)
    async with asyncio.TaskGroup() as group:
        for step, start in enumerate(range(0, len(waiting), size)):
            await asyncio.sleep(began + pace_seconds * step / STEPS - time.perf_counter())
            for topic, payload in waiting[start : start + size]:
                group.create_task(client.publish(topic, payload, qos=1, timeout=60), name=topic)
    return time.perf_counter() - began


async def main(port: int, count: int) -> None:
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        client.pending_calls_threshold = count  # or it warns of what is meant to be
        began = time.perf_counter()
        print(await publish(client, map(started, range(count)), pace_seconds=PACE_SECONDS), flush=True)
        await asyncio.sleep(began + PACE_SECONDS - time.perf_counter())
        ends = map(ended, range(0, count, 2))
        print(await publish(client, ends, pace_seconds=PACE_SECONDS), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
