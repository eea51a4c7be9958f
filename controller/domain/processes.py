"""Processes of sources: what each has said already, and which of them lives.

A broker may deliver again, or late, what a process of a source said that has died since. Its births lack what the
living one has started, and two of them would end that. So every process is remembered with its highest birth, and by
its turn: the status topic has one order, so that the process that said last that it is online is the one that lives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from controller.domain.events import BirthReported, SourceReported
from controller.domain.model import Source, SourceId
from controller.domain.verdicts import Verdict

Name = tuple[SourceId, str]
"""A source, and the ``boot_id`` of one of its processes."""


@dataclass(frozen=True, slots=True)
class Process:
    """What is remembered of one process of a source."""

    birth_seq: int | None = None
    """The highest birth that was counted; None when none had a number."""
    turn: int | None = None
    """The how many-th of its source's processes it was when it last said that it is online; None: it never did."""


UNHEARD = Process()


@dataclass(frozen=True, slots=True)
class Latest:
    """The process of a source that said last that it is online."""

    turn: int = 0
    boot_id: str | None = None


NOBODY = Latest()


@dataclass(frozen=True, slots=True)
class Known:
    """What the database knew before the batch."""

    processes: Mapping[Name, Process] = field(default_factory=lambda: MappingProxyType({}))
    """Those that the batch speaks of."""
    latest: Mapping[SourceId, Latest] = field(default_factory=lambda: MappingProxyType({}))


NOTHING = Known()


class Processes:
    """The processes that a batch speaks of, with what it adds."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._latest: dict[SourceId, Latest] = {}
        self.changed: dict[Name, Process] = {}
        """To be written."""

    def hear_status(self, status: SourceReported) -> None:
        """Take down which process lives. One that says again that it is online, after another, lives again."""
        name = (status.source_id, status.boot_id)
        process, turn = self._process(name), self._latest_of(status.source_id).turn
        if status.is_online and (process.turn is None or process.turn < turn):
            self._latest[status.source_id] = Latest(turn + 1, status.boot_id)
            self.changed[name] = replace(process, turn=turn + 1)

    def hear_birth(self, birth: BirthReported, source: Source | None = None) -> Verdict | None:
        """Take down a birth; return why it proves nothing, or None when it may prove something.

        ``source`` is what is known of its source. While a process that said so is online, one that never did is taken
        for one that has died, and whose word was forgotten with a database that was restored.
        """
        name = (birth.source_id, birth.boot_id)
        process, latest = self._process(name), self._latest_of(birth.source_id)
        is_latest_online = source is not None and source.is_online and source.boot_id == latest.boot_id
        if process.turn < latest.turn if process.turn is not None else is_latest_online:
            return Verdict.STALE
        if birth.seq is None:
            return None
        if process.birth_seq is not None and birth.seq <= process.birth_seq:
            return Verdict.REPEATED if birth.seq == process.birth_seq else Verdict.STALE
        self.changed[name] = replace(process, birth_seq=birth.seq)
        return None

    def _process(self, name: Name) -> Process:
        return self.changed.get(name) or self._known.processes.get(name, UNHEARD)

    def _latest_of(self, source_id: SourceId) -> Latest:
        return self._latest.get(source_id) or self._known.latest.get(source_id, NOBODY)


def describe(known: Source | None, said: SourceReported | BirthReported, now: datetime) -> Source:
    """Return a source after a status or a birth that counts."""
    is_online = said.is_online if isinstance(said, SourceReported) else True
    source = known or Source(said.source_id, said.boot_id, is_online, now, now)
    described = replace(
        source,
        boot_id=said.boot_id,
        is_online=is_online,
        since=source.since if source.is_online == is_online else now,
        seen_at=now,
        # Another process may be another program, which answers nothing.
        answers_births=source.answers_births and source.boot_id == said.boot_id,
        silent_since=None,
    )
    if isinstance(said, SourceReported):
        return described
    answers = described.answers_births or said.is_answer
    return replace(described, birth_boot_id=said.boot_id, birth_seq=said.seq, birth_at=now, answers_births=answers)
