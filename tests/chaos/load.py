"""A numbered source that starts and ends streams, and the ledger of what it has said."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import aiomqtt

from tests.fakes.mqtt import PREFIX

SOURCE = "chaos"
BASE = f"{PREFIX}/sources/{SOURCE}"
CONTROLLER = f"{PREFIX}/controller/status"
KEYS = tuple(f"s{number:02}" for number in range(12))
SAY_SECONDS = 3.0
AGAIN_SECONDS = 0.3
JITTER_SECONDS = 0.3
RUNNING_SHARE = 0.7
HOP_SHARE = 0.3
"""Of the ends, those that a new run follows at once."""


@dataclass(slots=True)
class Said:
    """One event: what was to be said, and when the broker confirmed it."""

    key: str
    epoch: int
    what: Literal["started", "ended"]
    at: float
    confirmed_at: float | None = None


class Ledger:
    """What the source has decided, in its order."""

    def __init__(self) -> None:
        self.events: list[Said] = []
        self.running: dict[str, int] = {}
        """The epoch of every key that runs."""
        self.births: list[float] = []
        """When each was confirmed."""
        self._epoch = 0

    def start(self, key: str) -> Said:
        self._epoch = max(self._epoch + 1, time.time_ns() // 1_000_000)
        self.running[key] = self._epoch
        return self._note(Said(key, self._epoch, "started", time.monotonic()))

    def end(self, key: str) -> Said:
        return self._note(Said(key, self.running.pop(key), "ended", time.monotonic()))

    def _note(self, said: Said) -> Said:
        self.events.append(said)
        return said


class Source:
    """Obeys what DESIGN.md asks of sources: numbers, a will, a birth on connecting and whenever it is asked for one."""

    def __init__(
        self, broker: tuple[str, int], upstream_url: str, random: Random, *, rate: float, tell: Callable[[str], None]
    ) -> None:
        self.ledger = Ledger()
        self._host, self._port = broker
        self._upstream_url = upstream_url
        self._random = random
        self._rate = rate
        self._tell = tell
        self._boot_id = f"boot-{random.getrandbits(32):08x}"
        self._unsaid: deque[Said] = deque()
        self._owes_birth = False
        self._births = 0
        self._bell = asyncio.Event()

    @property
    def is_quiet(self) -> bool:
        """Whether all that was decided has been confirmed by the broker."""
        return not self._unsaid and not self._owes_birth

    async def decide(self) -> None:
        """Start and end streams, until cancelled."""
        while True:
            await asyncio.sleep(self._random.expovariate(self._rate))
            key = self._random.choice(KEYS)
            if key not in self.ledger.running:
                self._will_say(self.ledger.start(key))
            elif self._random.random() > RUNNING_SHARE:
                self._will_say(self.ledger.end(key))
                if self._random.random() < HOP_SHARE:
                    self._will_say(self.ledger.start(key))

    def start_all(self, count: int) -> None:
        for key in KEYS[:count]:
            self._will_say(self.ledger.start(key))

    async def speak(self) -> None:
        """Be connected, again and again, and say what there is to say, until cancelled."""
        while True:
            try:
                async with self._client() as client:
                    await self._greet(client)
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._listen(client), name="listen")
                        group.create_task(self._say_all(client), name="say")
            except* aiomqtt.MqttError:
                self._owes_birth = True
            await asyncio.sleep(AGAIN_SECONDS)

    def _client(self) -> aiomqtt.Client:
        will = aiomqtt.Will(f"{BASE}/status", self._status(is_online=False), qos=1, retain=True)
        return aiomqtt.Client(self._host, self._port, will=will, timeout=SAY_SECONDS, keepalive=5)

    def _will_say(self, said: Said) -> None:
        self._unsaid.append(said)
        self._bell.set()

    async def _greet(self, client: aiomqtt.Client) -> None:
        self._owes_birth = True
        self._bell.set()
        await client.subscribe([(f"{BASE}/command", 1), (CONTROLLER, 1)])
        await client.publish(f"{BASE}/status", self._status(is_online=True), qos=1, retain=True)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            said = json.loads(bytes(message.payload) or b"{}")
            if said.get("online") or said.get("command") == "rebirth":
                await asyncio.sleep(self._random.uniform(0, JITTER_SECONDS))
                self._owes_birth = True
                self._bell.set()

    async def _say_all(self, client: aiomqtt.Client) -> None:
        while True:
            self._bell.clear()
            while self._unsaid:
                said = self._unsaid[0]
                await client.publish(f"{BASE}/streams/{said.key}/{said.what}", self._payload(said), qos=1)
                said.confirmed_at = time.monotonic()
                self._unsaid.popleft()
            if self._owes_birth:
                await self._give_birth(client)
            await self._bell.wait()

    async def _give_birth(self, client: aiomqtt.Client) -> None:
        self._owes_birth = False
        self._births += 1
        streams = [{"key": key, **self._announcement(epoch, key)} for key, epoch in self.ledger.running.items()]
        birth = {"boot_id": self._boot_id, "seq": self._births, "streams": streams}
        try:
            await client.publish(f"{BASE}/birth", json.dumps(birth), qos=1)
        except aiomqtt.MqttError:
            self._owes_birth = True
            raise
        self.ledger.births.append(time.monotonic())

    def _payload(self, said: Said) -> str:
        if said.what == "started":
            return json.dumps(self._announcement(said.epoch, said.key))
        return json.dumps({"boot_id": self._boot_id, "epoch": said.epoch, "seq": 2, "reason": "source_ended"})

    def _announcement(self, epoch: int, key: str) -> dict[str, Any]:
        """Announce a run: every third stream is always on, every second is made by ffmpeg as it goes."""
        number = int(key[1:])
        return {
            "boot_id": self._boot_id,
            "epoch": epoch,
            "seq": 1,
            "upstreams": [f"{self._upstream_url}{'/live' if number % 2 else ''}/{key}"],
            "on_demand": number % 3 != 0,
            "labels": {"run": str(epoch)},
        }

    def _status(self, *, is_online: bool) -> str:
        return json.dumps({"online": is_online, "boot_id": self._boot_id})
