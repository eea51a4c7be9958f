"""What the controller tells others over MQTT: states of streams, commands to sources. Waits here while nobody listens.

Per key only the newest state waits, and per source one request for a birth: what is published is the truth now, never a
history. Nothing here knows the connection.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from controller.domain.model import ANONYMOUS, Key, SourceId, Stream
from controller.ingest.connection import Message
from controller.ingest.topics import PREFIX

WAITING_MAX: Final = 50_000
"""Messages that wait for the broker. Beyond, the oldest is dropped: states are read anew with every connection."""

BIRTH_SPACING_SECONDS: Final = 60.0
"""A source is asked for a birth once in this time; a request that comes sooner waits."""

REBIRTH: Final = "rebirth"

CONTROLLER_STATUS: Final = f"{PREFIX}/controller/status"

Slot = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A message and the place in which a newer one replaces it."""

    slot: Slot
    message: Message
    due: float = 0.0
    """Not before this time of the outbox's clock."""
    revision: tuple[int, int] = (0, 0)
    """Of a state: the run's epoch and version. An older one never replaces a newer."""


def status(*, is_online: bool, boot_id: str) -> Message:
    """Return what tells sources whether a controller listens; a new ``boot_id`` is a new process."""
    return Message(CONTROLLER_STATUS, _json(online=is_online, boot_id=boot_id), is_retained=True)


def state(stream: Stream) -> Message:
    """Return a stream's state for others (Home Assistant, Node-RED). Its upstreams may hold secrets: left out."""
    payload = _json(
        key=stream.key,
        id=stream.id,
        source=stream.source_id,
        epoch=stream.epoch,
        state=stream.state.value,
        reason=stream.reason.value if stream.reason else None,
        outcome=stream.outcome.value if stream.outcome else None,
        detail=stream.reason_detail,
        since=stream.state_since.isoformat(),
        labels=dict(stream.labels),
    )
    return Message(_state_topic(stream.key), payload, is_retained=True)


def no_state(key: Key) -> Message:
    """Return what removes the retained state of a key."""
    return Message(_state_topic(key), b"", is_retained=True)


def rebirth(source_id: SourceId) -> Message:
    """Return the request for a birth."""
    return Message(_command_topic(source_id), _json(command=REBIRTH))


def asked(entry: Entry) -> SourceId | None:
    """Return the source that a message asks for a birth; None when it asks nobody."""
    return SourceId(entry.slot[1]) if entry.slot[0] == REBIRTH else None


def stop(stream: Stream) -> Message:
    """Return what tells a source that its stream was stopped here, so that it need not produce it any more."""
    payload = _json(
        command="stop",
        key=stream.key,
        epoch=stream.announced_epoch,
        reason=stream.reason.value if stream.reason else None,
        detail=stream.reason_detail,
    )
    return Message(_command_topic(stream.source_id), payload)


class Outbox:
    """What waits to be published. All methods are for the thread of the event loop, and none blocks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.dropped = 0
        """Messages that found it full."""
        self._clock = clock
        self._waiting: dict[Slot, Entry] = {}
        self._births_asked: dict[SourceId, float] = {}
        self._told: dict[Slot, tuple[int, int]] = {}
        """The newest state handed out per key since the connection began."""
        self._has_news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self) -> None:
        """A new connection: what the broker was told on earlier ones, it may have forgotten."""
        self._told.clear()

    def put_state(self, stream: Stream) -> None:
        """Publish a stream's state, CLOSED included: it stays until a newer run, or until it is forgotten."""
        slot, revision = ("state", stream.key), (stream.epoch, stream.version)
        waiting = self._waiting.get(slot)
        newest = max(waiting.revision if waiting else (0, 0), self._told.get(slot, (0, 0)))
        if revision >= newest:
            self._put(Entry(slot, state(stream), revision=revision))

    def forget(self, key: Key) -> None:
        """Remove the state of a key that is not in the database, unless a state of it was told in the meantime."""
        slot = ("state", key)
        if slot not in self._waiting and slot not in self._told:
            self._put(Entry(slot, no_state(key)))

    def ask_for_birth(self, source_id: SourceId) -> None:
        """Ask a source for the full list of its streams, at most once a minute."""
        if source_id == ANONYMOUS or (REBIRTH, source_id) in self._waiting:
            return
        now = self._clock()
        due = max(now, self._births_asked.get(source_id, now - BIRTH_SPACING_SECONDS) + BIRTH_SPACING_SECONDS)
        self._births_asked = {known: at for known, at in self._births_asked.items() if at + BIRTH_SPACING_SECONDS > now}
        self._births_asked[source_id] = due
        self._put(Entry((REBIRTH, source_id), rebirth(source_id), due))

    def tell_stopped(self, stream: Stream) -> None:
        """Tell a stream's source that an operator has stopped it. Who announced without a name cannot be told."""
        if stream.source_id != ANONYMOUS:
            self._put(Entry(("stop", stream.source_id, stream.key), stop(stream)))

    async def take(self) -> Entry:
        """Wait for the next message that is due, and remove it."""
        while True:
            now = self._clock()
            entry = next((entry for entry in self._waiting.values() if entry.due <= now), None)
            if entry is not None:
                self._note(entry)
                return self._waiting.pop(entry.slot)
            self._has_news.clear()
            next_due = min((entry.due for entry in self._waiting.values()), default=None)
            try:
                async with asyncio.timeout(None if next_due is None else next_due - now):
                    await self._has_news.wait()
            except TimeoutError:
                continue

    def put_back(self, entry: Entry) -> None:
        """Return a message that was not confirmed, unless a newer one has taken its place."""
        if entry.slot not in self._waiting:
            self._waiting = {entry.slot: entry, **self._waiting}
            self._has_news.set()

    def _note(self, entry: Entry) -> None:
        if entry.revision > (0, 0):
            self._told.pop(entry.slot, None)
            self._told[entry.slot] = entry.revision
            if len(self._told) > WAITING_MAX:
                del self._told[next(iter(self._told))]

    def _put(self, entry: Entry) -> None:
        # A replaced message keeps its turn, so that a key that changes all the time is published all the same.
        if entry.slot not in self._waiting and len(self._waiting) >= WAITING_MAX:
            self._waiting.pop(next(iter(self._waiting)))
            self.dropped += 1
        self._waiting[entry.slot] = entry
        self._has_news.set()


def _state_topic(key: Key) -> str:
    return f"{PREFIX}/streams/{key}/state"


def _command_topic(source_id: SourceId) -> str:
    return f"{PREFIX}/sources/{source_id}/command"


def _json(**fields: object) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
