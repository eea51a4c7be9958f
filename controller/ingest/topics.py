"""A topic and its payload become an event, or a refusal with a reason. Pure and total: no input makes it raise.

What is decided here is form alone; whether an event counts is decided in ``domain.admission``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from controller import announcements
from controller.announcements import Announcement, Ending, Wire
from controller.domain.events import (
    BirthReported,
    Incoming,
    MessageRefused,
    SourceReported,
    StatsReported,
    StreamAnnounced,
    StreamEndAnnounced,
)
from controller.domain.model import ANONYMOUS, Cause, Key, SourceId
from controller.ingest.payloads import BirthPayload, StatsPayload, StatusPayload

ROOT = ("penstock", "v1")
PREFIX = "/".join(ROOT)
HEAD_BYTES = 4096
"""How much of an unreadable payload is kept."""
TOPIC_CHARACTERS_MAX = 1024
"""How much of an unreadable topic is kept."""

NAME = re.compile(announcements.NAME_PATTERN)
W = TypeVar("W", bound=Wire)


@dataclass(frozen=True, slots=True)
class Rules:
    """What this deployment accepts."""

    allows_anonymous: bool = True
    """Whether the short topics, without a source, are listened to."""
    payload_bytes_max: int = 64 * 1024
    birth_bytes_max: int = 1024 * 1024
    """A birth lists all streams of a source: about 500 bytes each."""

    @property
    def bytes_max(self) -> int:
        return max(self.payload_bytes_max, self.birth_bytes_max)


DEFAULT_RULES: Final = Rules()


class UnreadableError(Exception):
    """A message that is refused; never leaves this module."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """A message on its way to be understood."""

    topic: str
    payload: bytes
    payload_bytes: int
    is_retained: bool

    def cause(self, source_id: SourceId) -> Cause:
        return Cause(f"source:{source_id}", self.topic)

    def limit(self, bytes_max: int) -> None:
        if self.payload_bytes > bytes_max:
            raise UnreadableError(f"too large: {self.payload_bytes} bytes, {bytes_max} are allowed")


def decode(
    topic: str,
    payload: bytes,
    *,
    is_retained: bool = False,
    payload_bytes: int | None = None,
    rules: Rules = DEFAULT_RULES,
) -> Incoming | None:
    """Return the event that a message stands for; None when it says nothing to us (our own topics, deletions).

    ``payload_bytes`` is the size on the wire when ``payload`` has been cut because it is beyond every limit.
    """
    letter = _Letter(topic, payload, len(payload) if payload_bytes is None else payload_bytes, is_retained)
    try:
        return _decode(letter, rules)
    except UnreadableError as error:
        return MessageRefused(topic[:TOPIC_CHARACTERS_MAX], payload[:HEAD_BYTES], letter.payload_bytes, str(error))


def _decode(letter: _Letter, rules: Rules) -> Incoming | None:
    levels = letter.topic.split("/")
    if tuple(levels[:2]) != ROOT:
        raise UnreadableError(f"not a topic below {PREFIX}")
    match levels[2:]:
        case ["controller", "status"] | ["streams", _, "state"] | ["sources", _, "command"]:
            return None  # our own words, come back
        case ["sources", source, "status"]:
            letter.limit(rules.payload_bytes_max)
            return _status(letter, _source_id(source))
        case ["sources", source, "birth"]:
            letter.limit(rules.birth_bytes_max)
            return _birth(letter, _source_id(source))
        case ["sources", source, "streams", key, "started" | "ended" | "stats" as what]:
            letter.limit(rules.payload_bytes_max)
            return STREAM_TOPICS[what](letter, _source_id(source), _key(key))
        case ["streams", key, "started" | "ended" | "stats" as what]:
            if not rules.allows_anonymous:
                raise UnreadableError("the short topics are switched off: publish below sources/{source}/streams/{key}")
            letter.limit(rules.payload_bytes_max)
            return STREAM_TOPICS[what](letter, ANONYMOUS, _key(key))
        case _:
            raise UnreadableError("no such topic")


# The topics


def _status(letter: _Letter, source_id: SourceId) -> SourceReported | None:
    if not letter.payload:
        return None
    said = _read(StatusPayload, letter.payload)
    _must_equal("source", said.source, source_id)
    return SourceReported(source_id, said.boot_id, said.online, letter.cause(source_id))


def _birth(letter: _Letter, source_id: SourceId) -> BirthReported | None:
    if not letter.payload:
        return None
    if letter.is_retained:
        raise UnreadableError("a retained birth may be old, and would end what has started since: do not retain births")
    said = _read(BirthPayload, letter.payload)
    _must_equal("source", said.source, source_id)
    cause, streams = letter.cause(source_id), []
    for entry in said.streams:
        _must_equal("source", entry.source, source_id)
        known = entry if entry.boot_id else entry.model_copy(update={"boot_id": said.boot_id})
        streams.append(announcements.announcement(source_id, Key(entry.key), known, cause))
    return BirthReported(source_id, said.boot_id, tuple(streams), cause, said.seq)


def _started(letter: _Letter, source_id: SourceId, key: Key) -> StreamAnnounced | None:
    if not letter.payload:
        return None  # a retained announcement was deleted: that is not an end
    said = _read(Announcement, letter.payload)
    _must_equal("key", said.key, key)
    _must_equal("source", said.source, source_id)
    return announcements.announcement(source_id, key, said, letter.cause(source_id), is_retained=letter.is_retained)


def _ended(letter: _Letter, source_id: SourceId, key: Key) -> StreamEndAnnounced | None:
    if not letter.payload and letter.is_retained:
        return None
    said = _read(Ending, letter.payload) if letter.payload else Ending()
    _must_equal("key", said.key, key)
    _must_equal("source", said.source, source_id)
    if letter.is_retained and said.order is None:
        raise UnreadableError("a retained end without epoch and seq may speak of an older run: do not retain ends")
    return announcements.ending(source_id, key, said, letter.cause(source_id))


def _stats(letter: _Letter, source_id: SourceId, key: Key) -> StatsReported | None:
    if not letter.payload:
        return None
    said = _read(StatsPayload, letter.payload)
    _must_equal("key", said.key, key)
    _must_equal("source", said.source, source_id)
    return StatsReported(source_id, key, said.values)


STREAM_TOPICS: Final[Mapping[str, Callable[[_Letter, SourceId, Key], Incoming | None]]] = MappingProxyType(
    {"started": _started, "ended": _ended, "stats": _stats}
)


# Our own


def key_of_state(topic: str) -> Key | None:
    """Return the key that a topic publishes the state of; None when it is another topic."""
    match topic.split("/"):
        case ["penstock", "v1", "streams", key, "state"] if NAME.fullmatch(key):
            return Key(key)
        case _:
            return None


# Their parts


def _source_id(text: str) -> SourceId:
    if not NAME.fullmatch(text):
        raise UnreadableError(f"not a source id: it must match {announcements.NAME_PATTERN}")
    if text == ANONYMOUS:
        raise UnreadableError(f"the source id {ANONYMOUS!r} stands for the short topics")
    return SourceId(text)


def _key(text: str) -> Key:
    if not NAME.fullmatch(text):
        raise UnreadableError(f"not a key: it must match {announcements.NAME_PATTERN}")
    return Key(text)


def _read(model: type[W], payload: bytes) -> W:
    try:
        # Refuses what RFC 8259 does: NaN, Infinity, bad UTF-8, lone surrogates; and nesting beyond its limit.
        return model.model_validate(from_json(payload, allow_inf_nan=False))
    except ValidationError as error:
        raise UnreadableError(announcements.explain(error)) from None
    except ValueError as error:
        raise UnreadableError(f"not JSON: {error}") from None


def _must_equal(what: str, said: str | None, known: str) -> None:
    if said is not None and said != known:
        raise UnreadableError(f"the payload names another {what} than the topic")
