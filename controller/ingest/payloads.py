"""The wire form of what sources say about themselves: status, birth and figures. Streams are in ``announcements``."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from controller.announcements import Announcement, BootText, Counter, Name, Wire

STREAMS_MAX = 10_000
FIGURES_MAX = 64

FigureName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]


class StatusPayload(Wire):
    """A source is online, or its Last Will says that it is not."""

    source: Name | None = None
    online: bool
    boot_id: BootText


class BirthEntry(Announcement):
    """One stream of a birth."""

    key: Name


class BirthPayload(Wire):
    """Everything that a source runs."""

    source: Name | None = None
    boot_id: BootText
    seq: Counter | None = None
    streams: Annotated[list[BirthEntry], Field(max_length=STREAMS_MAX)]

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        keys = {entry.key for entry in self.streams}
        if len(keys) != len(self.streams):
            raise ValueError("a key is listed twice")
        if any(entry.boot_id not in (None, self.boot_id) for entry in self.streams):
            raise ValueError("a stream names another boot_id than the birth")
        if self.source is not None and any(entry.source not in (None, self.source) for entry in self.streams):
            raise ValueError("a stream names another source than the birth")
        return self


class StatsPayload(Wire):
    """A source's own figures: every field but the envelope is a number."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[FigureName, float] = Field(init=False)

    key: Name | None = None
    source: Name | None = None
    boot_id: BootText | None = None
    epoch: Counter | None = None
    seq: Counter | None = None

    @model_validator(mode="after")
    def _limit_the_count(self) -> Self:
        if len(self.__pydantic_extra__) > FIGURES_MAX:
            raise ValueError(f"more than {FIGURES_MAX} figures")
        return self

    @property
    def values(self) -> tuple[tuple[str, float], ...]:
        return tuple(sorted(self.__pydantic_extra__.items()))
