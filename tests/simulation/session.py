"""What a store function takes for its ``Session``, by a shorter way to the same SQLite.

The statements are those of the store, compiled by SQLAlchemy for its dialect, and their values go through its types both
ways. What is left out is the unit of work, the pool and the bookkeeping of every execution: half of what a world costs.
A test lives through worlds with SQLAlchemy's own session, and they must tell the same stories.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import Dialect, Engine, Executable
from sqlalchemy.engine import IteratorResult, Row
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.sql.compiler import SQLCompiler

Convert = Callable[[Any], Any]
Values = Mapping[str, Any]


@dataclass(slots=True)
class _Shape:
    """How the rows of one compiled statement come back."""

    keys: SimpleResultMetaData
    converts: Sequence[tuple[int, Convert]]
    """Of the columns that are not taken as they come: their place, and what their type makes of them."""

    @classmethod
    def of(cls, compiled: SQLCompiler) -> "_Shape":
        columns = compiled._result_columns
        converts = [column.type._cached_result_processor(compiled.dialect, None) for column in columns]
        keys = SimpleResultMetaData([column.keyname for column in columns])
        return cls(keys, [(index, convert) for index, convert in enumerate(converts) if convert is not None])

    def rows(self, found: Sequence[tuple[Any, ...]]) -> Iterator[Row[Any]]:
        for values in found:
            converted = list(values)
            for index, convert in self.converts:
                converted[index] = convert(converted[index])
            yield Row(self.keys, None, self.keys._key_to_index, converted)


@dataclass(slots=True)
class _Written:
    """The result of what returns no rows."""

    rowcount: int


@dataclass(slots=True)
class Means:
    """The one connection of a world's database, and what is known of the statements that were run on it."""

    engine: Engine
    raw: sqlite3.Connection
    shapes: dict[SQLCompiler, _Shape] = field(default_factory=dict)


class QuickSession:
    """As much of ``sqlalchemy.orm.Session`` as the store uses. One writing transaction."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._cursor = means.raw.cursor()
        self._cursor.execute("BEGIN IMMEDIATE")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._means.raw.in_transaction:
            self._cursor.execute("ROLLBACK")
        self._cursor.close()

    def commit(self) -> None:
        self._cursor.execute("COMMIT")

    def get_bind(self) -> Engine:
        return self._means.engine

    def connection(self) -> "QuickSession":
        """Return what takes text for the driver: itself."""
        return self

    @property
    def dialect(self) -> Dialect:
        return self._means.engine.dialect

    def exec_driver_sql(self, text: str, rows: Sequence[Sequence[Any]]) -> _Written:
        self._cursor.executemany(text, rows)
        return _Written(self._cursor.rowcount)

    def execute(self, statement: Executable, parameters: Values | Sequence[Values] | None = None) -> Any:
        rows: Sequence[Values] = (parameters or ({},)) if not isinstance(parameters, Mapping) else (parameters,)
        compiled, extracted, collected, _ = statement._compile_w_cache(  # type: ignore[attr-defined]
            self._means.engine.dialect,
            compiled_cache=self._means.engine._compiled_cache,
            column_keys=sorted(rows[0]),
            for_executemany=len(rows) > 1,
        )
        values = [
            compiled.construct_params(
                row, extracted_parameters=extracted, escape_names=False, _collected_params=collected
            )
            for row in rows
        ]
        self._run(compiled, values)
        if not compiled._result_columns:
            return _Written(self._cursor.rowcount)
        shape = self._means.shapes.get(compiled) or self._means.shapes.setdefault(compiled, _Shape.of(compiled))
        return IteratorResult(shape.keys, shape.rows(self._cursor.fetchall()))

    def _run(self, compiled: SQLCompiler, rows: Sequence[Values]) -> None:
        assert not compiled.insert_prefetch
        assert not compiled.update_prefetch
        text, names, converts = compiled.string, compiled.positiontup, compiled._bind_processors
        if compiled.literal_execute_params or compiled.post_compile_params:
            [values] = rows
            expanded = compiled._process_parameters_for_postcompile(values)
            text, names = expanded.statement, expanded.positiontup
            converts = {**converts, **expanded.processors}
        assert names is not None
        sent = [[converts[name](row[name]) if name in converts else row[name] for name in names] for row in rows]
        if len(sent) == 1:
            self._cursor.execute(text, sent[0])
        else:
            self._cursor.executemany(text, sent)
