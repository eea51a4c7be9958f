"""One statement about many rows, as the driver takes them.

SQLAlchemy can do the same, and spends as long on every row as the database does: it gathers and orders the values of
each by name anew. Here that is worked out once for a statement. Text of the statement, and what prepares a value of a
column, are SQLAlchemy's own.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Dialect
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert, UpdateBase

STATEMENTS_MAX: Final = 128
"""How many are kept: all that this room has, for a few databases."""

_Prepare = Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    text: str
    columns: tuple[tuple[str, _Prepare], ...]
    """Names of values in their order, and what prepares each of them."""
    is_positional: bool

    def row(self, values: Mapping[str, Any]) -> tuple[Any, ...] | dict[str, Any]:
        if self.is_positional:
            return tuple([values[n] if prepare is None else prepare(values[n]) for n, prepare in self.columns])
        return {n: values[n] if prepare is None else prepare(values[n]) for n, prepare in self.columns}


def execute(session: Session, statement: UpdateBase, rows: Sequence[Mapping[str, Any]]) -> int:
    """Execute a statement for each of some rows, all of the same columns; return how many rows it wrote.

    A statement is remembered by identity: keep it, do not build it for a call.
    """
    if not rows:
        return 0
    connection = session.connection()
    prepared = _prepare(statement, connection.dialect, tuple(rows[0]))
    written = connection.exec_driver_sql(prepared.text, [prepared.row(values) for values in rows])
    return written.rowcount


@functools.lru_cache(maxsize=STATEMENTS_MAX)
def _prepare(statement: UpdateBase, dialect: Dialect, names: tuple[str, ...]) -> _Prepared:
    # An insert is of the columns that the rows have; an update names its own.
    column_keys = list(names) if isinstance(statement, Insert) else []
    compiled = statement.compile(dialect=dialect, column_keys=column_keys, for_executemany=True)
    assert isinstance(compiled, SQLCompiler)
    order = compiled.positiontup
    columns = tuple(
        (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
        for name in order or compiled.binds
    )
    return _Prepared(compiled.string, columns, is_positional=order is not None)
