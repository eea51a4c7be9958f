"""The sources: they start, change and end streams, announce them as ``docs/reference/mqtt-topics.md`` asks, and die.

They are the truth of a world. A message stays with its source until the broker has confirmed it, and is sent again with
every connection; a source that dies forgets what was not confirmed, and says in its next birth what it runs.
"""

import json
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.broker import Broker, Letter, Line
from tests.simulation.stage import Stage
from tests.simulation.truth import Truth

PREFIX = "penstock/v1"
WINDOW = 50

AGAIN_TIMES = 3
AGAIN_SECONDS_MAX = 40.0
"""How often births of a process that has died are delivered again, and until when after the next one began."""


@dataclass
class Running:
    """A stream as its source knows it."""

    epoch: int
    seq: int
    url: str
    on_demand: bool
    on_eof: str

    def announcement(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "seq": self.seq,
            "upstreams": [self.url],
            "on_demand": self.on_demand,
            "on_eof": self.on_eof,
        }


@dataclass(eq=False)
class Source:
    name: str
    keys: tuple[str, ...]
    broker: Broker
    stage: Stage
    truth: Truth
    boots: int = 0
    births: int = 0
    is_up: bool = False
    streams: dict[str, Running] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    line: Line | None = None
    outgoing: deque[tuple[Letter, bool]] = field(default_factory=deque)
    controller_boot: str = ""
    has_birth_due: bool = False
    born: deque[Letter] = field(default_factory=lambda: deque(maxlen=2))
    """The last two births of its process."""
    again: random.Random | None = None
    """Where a broker delivers again what a dead process said: when. Dice of its own, so that all else stays as it was."""

    # Its life

    def boot(self) -> None:
        self.is_up = True
        self.boots += 1
        self.births = 0
        self.outgoing.clear()
        self.controller_boot = ""
        self.has_birth_due = False
        self._tell(f"boots ({self.boot_id})")
        if self.again is not None and self.born:
            for _ in range(AGAIN_TIMES):
                self.stage.loop.outside(self.again.uniform(0.5, AGAIN_SECONDS_MAX), self._say_again, tuple(self.born))
        self.born.clear()
        self._connect(self.boots)

    def crash(self, dropped: list[str]) -> None:
        """Die without a word; ``dropped`` are the streams it will not run any more."""
        self._tell(f"dies, and will not run {dropped}")
        self.is_up = False
        self.outgoing.clear()
        for key in dropped:
            del self.streams[key]
            self.truth.end(key)
        if self.line is not None:
            self.stage.loop.outside(0.05, self.broker.lose, self.line)
            self.line = None

    @property
    def boot_id(self) -> str:
        return f"{self.name}-boot-{self.boots}"

    # Its streams

    def start(self, key: str, url: str, *, on_demand: bool, on_eof: str) -> None:
        if key in self.streams:
            self.truth.end(key)
        self.epochs[key] = self.epochs.get(key, 0) + 10
        self.streams[key] = Running(self.epochs[key], 1, url, on_demand, on_eof)
        self.truth.start(key, self.epochs[key], url)
        self._announce(key)

    def change(self, key: str, url: str) -> None:
        stream = self.streams[key]
        stream.url, stream.seq = url, stream.seq + 1
        self.truth.start(key, stream.epoch, url)
        self._announce(key)

    def end(self, key: str) -> None:
        stream = self.streams.pop(key)
        self.truth.end(key)
        self._tell(f"ends {key}, epoch {stream.epoch}")
        self._publish(
            f"streams/{key}/ended", {"boot_id": self.boot_id, "epoch": stream.epoch, "seq": stream.seq + 1}, keep=False
        )

    def _announce(self, key: str) -> None:
        stream = self.streams[key]
        self._tell(f"runs {key}, epoch {stream.epoch}, seq {stream.seq}")
        keep = self.keys.index(key) % 2 == 0
        self._publish(f"streams/{key}/started", {"boot_id": self.boot_id, **stream.announcement()}, keep=keep)

    def bear(self) -> None:
        """Publish a birth."""
        self.has_birth_due = False
        self.births += 1
        self._tell(f"births {sorted((key, stream.epoch) for key, stream in self.streams.items())}")
        entries = [{"key": key, **stream.announcement()} for key, stream in self.streams.items()]
        said = {"boot_id": self.boot_id, "seq": self.births, "streams": entries}
        self.born.append(Letter(self._topic("birth"), _json(said)))
        self._publish("birth", said, keep=False)

    def _say_again(self, births: tuple[Letter, ...]) -> None:
        self._tell(f"{len(births)} births of a process that has died are delivered again")
        self.broker.deliver_again(births)

    def _bear_soon(self, seconds: float) -> None:
        if not self.has_birth_due:
            self.has_birth_due = True
            self.stage.loop.outside(seconds, self._bear_if, self.boots)

    def _bear_if(self, boot: int) -> None:
        if self.is_up and self.boots == boot and self.has_birth_due:
            self.bear()

    # Its connection

    def _connect(self, boot: int) -> None:
        if not self.is_up or self.boots != boot or self.line is not None:
            return
        if not self.broker.is_up:
            self._connect_later()
            return
        will = Letter(self._topic("status"), _json({"online": False, "boot_id": self.boot_id}))
        line = Line(
            f"{self.name}-{self.boots}", self._hear, lambda: self._lose(line), will, will_delay=0.0, keeps_session=False
        )
        self.line = line
        self.broker.connect(line, self._wants, WINDOW)
        self.broker.subscribe(line)
        waiting = list(self.outgoing)
        self._publish("status", {"online": True, "boot_id": self.boot_id}, keep=True)
        self.bear()
        for entry in waiting:
            self._send(entry)

    def _connect_later(self) -> None:
        self.stage.loop.outside(self.stage.chance.between(0.2, 2.0), self._connect, self.boots)

    def _lose(self, line: Line) -> None:
        if self.line is line:
            self.line = None
            self._connect_later()

    def _wants(self, topic: str) -> bool:
        return topic in (f"{PREFIX}/controller/status", self._topic("command"))

    def _hear(self, number: int, letter: Letter) -> None:
        line = self.line
        if line is None or not self.is_up:
            return
        self.broker.acknowledge(line, number)
        said = json.loads(letter.payload) if letter.payload else {}
        if letter.topic.endswith("/command"):
            if said.get("command") == "rebirth":
                self._bear_soon(0.05)
        elif said.get("online") and said["boot_id"] != self.controller_boot:
            self.controller_boot = said["boot_id"]
            self._bear_soon(self.stage.chance.between(0.0, 3.0))
        elif said.get("online") is False:
            self.controller_boot = ""

    # Its messages

    def _publish(self, topic: str, said: dict[str, Any], *, keep: bool) -> None:
        entry = (Letter(self._topic(topic), _json(said)), keep)
        self.outgoing.append(entry)
        self._send(entry)

    def _send(self, entry: tuple[Letter, bool]) -> None:
        if self.line is not None:
            self.stage.loop.outside(0.001, self._arrive, self.line, entry)

    def _arrive(self, line: Line, entry: tuple[Letter, bool]) -> None:
        if line.is_open and self.broker.is_up:
            self.broker.publish(entry[0], keep=entry[1])
            self.stage.loop.outside(0.001, self._confirmed, line, entry)

    def _confirmed(self, line: Line, entry: tuple[Letter, bool]) -> None:
        if self.line is line and entry in self.outgoing:
            self.outgoing.remove(entry)

    def _topic(self, rest: str) -> str:
        return f"{PREFIX}/sources/{self.name}/{rest}"

    def _tell(self, text: str) -> None:
        self.stage.story.tell(self.name, text)


def _json(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode()
