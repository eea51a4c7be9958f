"""An MQTT broker: QoS 1, sessions that outlive connections, retained messages, wills, queues that overflow.

It keeps what a real one promises (an unacknowledged message is sent again, in order) and does what a real one may do:
deliver twice, die, and forget what it had not written down. Beyond that, a message may take another way and come late,
as over a bridge between brokers.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.simulation.stage import Stage

QUEUE_MAX = 60
"""Messages that wait for an absent client; then the newest is dropped, as Mosquitto does."""

Loss = Literal["nothing", "queues", "everything"]


@dataclass(frozen=True, slots=True)
class Letter:
    topic: str
    payload: bytes
    is_retained: bool = False


@dataclass(eq=False)
class Line:
    """One connection of one client."""

    client_id: str
    deliver: Callable[[int, Letter], None]
    closed: Callable[[], None]
    will: Letter
    will_delay: float
    keeps_session: bool = True
    has_session: bool = False
    is_open: bool = True


@dataclass(eq=False)
class Mailbox:
    """What a broker keeps for one client."""

    wants: Callable[[str], bool]
    window: int
    """Messages sent and not acknowledged, at most."""
    line: Line | None = None
    queue: deque[Letter] = field(default_factory=deque)
    inflight: dict[int, Letter] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


class Broker:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._mailboxes: dict[str, Mailbox] = {}
        self._subscribed: set[str] = set()
        self.retained: dict[str, Letter] = {}
        self.is_up = True
        self.dropped = 0
        """Messages that found a full queue."""

    # Clients

    def connect(self, line: Line, wants: Callable[[str], bool], window: int) -> bool:
        """Let a client in; return whether its session was kept. Another connection of the same client is closed."""
        mailbox = self._mailboxes.get(line.client_id)
        has_session = mailbox is not None
        if mailbox is None:
            mailbox = self._mailboxes[line.client_id] = Mailbox(wants, window)
        if mailbox.line is not None:
            self._close(mailbox.line)
        mailbox.line = line
        line.has_session = has_session
        again, mailbox.inflight = list(mailbox.inflight.values()), {}
        mailbox.queue.extendleft(reversed(again))
        self._pump(mailbox)
        return has_session

    def subscribe(self, line: Line) -> None:
        """Send what is retained; from now on the client hears what it wants."""
        mailbox = self._of(line)
        if mailbox is not None:
            self._subscribed.add(line.client_id)
            for letter in [letter for topic, letter in self.retained.items() if mailbox.wants(topic)]:
                self._put(mailbox, Letter(letter.topic, letter.payload, is_retained=True))

    def acknowledge(self, line: Line, number: int) -> None:
        mailbox = self._of(line)
        if mailbox is not None:
            mailbox.inflight.pop(number, None)
            self._pump(mailbox)

    def leave(self, line: Line) -> None:
        """Say goodbye: no will is published."""
        mailbox = self._of(line)
        line.is_open = False
        if mailbox is not None:
            self._put_away(mailbox, line)

    def lose(self, line: Line) -> None:
        """Notice that a client is gone without a word."""
        if line.is_open:
            self._close(line)
            self._stage.loop.outside(line.will_delay, self._publish_will, line)

    def _publish_will(self, line: Line) -> None:
        mailbox = self._mailboxes.get(line.client_id)
        if self.is_up and (mailbox is None or mailbox.line is None):
            self.publish(line.will, keep=True)

    def _close(self, line: Line) -> None:
        mailbox = self._of(line)
        if mailbox is not None:
            self._put_away(mailbox, line)
        line.is_open = False
        self._stage.loop.outside(self._stage.chance.latency(), line.closed)

    def _put_away(self, mailbox: Mailbox, line: Line) -> None:
        mailbox.line = None
        if not line.keeps_session:
            del self._mailboxes[line.client_id]
            self._subscribed.discard(line.client_id)

    def _of(self, line: Line) -> Mailbox | None:
        mailbox = self._mailboxes.get(line.client_id)
        return mailbox if mailbox is not None and mailbox.line is line else None

    # Messages

    def publish(self, letter: Letter, *, keep: bool = False) -> None:
        """Take a message; ``keep`` is what MQTT calls retain."""
        if keep:
            self.retained.pop(letter.topic, None)
            if letter.payload:
                self.retained[letter.topic] = letter
        for client_id, mailbox in list(self._mailboxes.items()):
            if client_id in self._subscribed and mailbox.wants(letter.topic):
                self._route(mailbox, letter)

    def deliver_again(self, letters: Iterable[Letter]) -> None:
        """Send in a row what was sent long ago, as after a bridge or a broker was set back."""
        if self.is_up:
            for letter in letters:
                for client_id, mailbox in list(self._mailboxes.items()):
                    if client_id in self._subscribed and mailbox.wants(letter.topic):
                        self._put(mailbox, letter)

    def _route(self, mailbox: Mailbox, letter: Letter) -> None:
        chance, weather = self._stage.chance, self._stage.chance.weather
        if letter.topic.endswith("/status"):
            # The order of one topic is kept by every broker, and here it matters: nothing in the message says it.
            self._put(mailbox, letter)
            return
        if chance.happens(weather.message_late):
            self._stage.loop.outside(chance.between(0.1, weather.late_seconds), self._put, mailbox, letter)
        else:
            self._put(mailbox, letter)
        if chance.happens(weather.message_doubled):
            self._stage.loop.outside(chance.between(0.0, weather.late_seconds), self._put, mailbox, letter)

    def _put(self, mailbox: Mailbox, letter: Letter) -> None:
        if len(mailbox.queue) >= QUEUE_MAX:
            self.dropped += 1
            self._stage.story.tell("broker", f"drops {letter.topic}")
            return
        mailbox.queue.append(letter)
        self._pump(mailbox)

    def _pump(self, mailbox: Mailbox) -> None:
        while mailbox.line is not None and mailbox.queue and len(mailbox.inflight) < mailbox.window:
            number, letter = next(mailbox.numbers), mailbox.queue.popleft()
            mailbox.inflight[number] = letter
            self._stage.loop.outside(0.001, mailbox.line.deliver, number, letter)

    # Faults

    def die(self, loss: Loss) -> None:
        self.is_up = False
        for mailbox in list(self._mailboxes.values()):
            if mailbox.line is not None:
                self._close(mailbox.line)
            if loss == "queues":
                mailbox.queue.clear()
                mailbox.inflight.clear()
        if loss == "everything":
            self._mailboxes, self._subscribed, self.retained = {}, set(), {}

    def come_up(self) -> None:
        self.is_up = True
