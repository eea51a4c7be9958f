"""How much of a message that could not be read may be shown: enough to find who sends it, nothing that lets one in.

Text is shown with its secrets masked, and what is text once more when it is decoded is masked as a whole. Of anything
else only the first bytes are shown, and those only when they say no words.
"""

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from controller.api.redaction import redact_text, tells
from controller.domain.events import MessageRefused

LONGEST_CHARACTER_BYTES: Final = 4
"""Of UTF-8."""
HEX_BYTES_MAX: Final = 8
"""Enough to know gzip, MessagePack, Protobuf or UTF-16 by."""
TEXT_CONTROLS: Final = frozenset("\t\r\n")


@dataclass(frozen=True, slots=True)
class Shown:
    """``digest`` is the SHA-256 of the part that was kept: two messages can be held to be the same by it."""

    text: str
    encoding: Literal["utf-8", "hex", "hidden"]
    digest: str


def show(message: MessageRefused) -> Shown:
    """Return what may be shown of the part of a message that was kept."""
    head = message.payload_head
    digest = hashlib.sha256(head).hexdigest()
    text = _as_text(head, is_cut=message.payload_bytes > len(head))
    if text is not None:
        return Shown(redact_text(text), "utf-8", digest)
    first = head[:HEX_BYTES_MAX]
    return Shown("", "hidden", digest) if tells(first) else Shown(first.hex(" "), "hex", digest)


def _as_text(head: bytes, *, is_cut: bool) -> str | None:
    """Return UTF-8 as text, without a character that was cut in two at the end; None for anything else."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if not is_cut or len(head) - error.start >= LONGEST_CHARACTER_BYTES:
            return None
        text = head[: error.start].decode()
    is_text = all(character.isprintable() or character in TEXT_CONTROLS for character in text)
    return text if is_text else None
