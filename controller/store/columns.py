"""The column types both databases share. Nothing here reads or writes."""

import functools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator
from typing_extensions import override

BigId = BigInteger().with_variant(Integer(), "sqlite")
"""A number given out by the database. SQLite numbers rows by itself only in a column of exactly type INTEGER."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, to the microsecond. SQLite keeps no zone: what it stores is UTC by definition."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        """Return what prepares a value. Called for every time of every row: no layer of the library between."""
        return _to_text if dialect.name == "sqlite" else _to_utc

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any | None], datetime | None]:
        return _from_text if dialect.name == "sqlite" else _to_utc


def _to_utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    assert value.tzinfo is not None, "times are aware"
    return value.astimezone(UTC)


@functools.lru_cache(maxsize=256)
def _to_text(value: datetime | None) -> str | None:
    """Kept, since the rows of a batch share nearly all their times."""
    utc = _to_utc(value)
    return None if utc is None else utc.isoformat(" ", "microseconds").removesuffix("+00:00")


def _from_text(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)


class CleanText(TypeDecorator[str]):
    """Text of any length. What a database cannot hold in it is replaced: a strange name must not stop a whole batch."""

    impl = Text
    cache_ok = True

    @override
    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], str | None]:
        """Return what prepares a value; called for every text of every row, so that no layer stands between."""
        return _clean_or_none


def _clean_or_none(text: str | None) -> str | None:
    # A word of an enum becomes plain text: for each that is not, SQLite's driver searches for an adapter.
    if type(text) is str and text.isascii() and "\0" not in text:
        return text
    return None if text is None else clean(str.__str__(text))


def clean(text: str) -> str:
    """Replace NUL, which Postgres refuses in text, and lone surrogates, which UTF-8 does not have."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def dump_json(value: Any) -> str:
    """Write JSON that both databases can also take apart. Numbers that JSON does not have are refused."""
    text = _write_json(value)
    if text.isascii() and "\\u0000" not in text:
        return text
    return _write_json(_clean_json(value))


_write_json: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""``json.dumps`` would make an encoder for every value."""


def _clean_json(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case dict():
            return {clean(name): _clean_json(item) for name, item in value.items()}
        case list() | tuple():
            return [_clean_json(item) for item in value]
        case _:
            return value
