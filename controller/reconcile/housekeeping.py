"""Deletes old history, again and again, a little at a time."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog

from controller.errors import DatabaseError
from controller.store import retention
from controller.store.engine import Database

log = structlog.get_logger(__name__)

STEP_ROWS = 1000
STEP_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Retention:
    age: timedelta
    rows_max: int
    interval_seconds: float = 300.0


class Housekeeper:
    """Keeps every table of history within its limits."""

    def __init__(self, database: Database, limits: Retention) -> None:
        self._database = database
        self._limits = limits

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._limits.interval_seconds)
            try:
                await self.prune()
            except DatabaseError as failed:
                log.warning("history.prune_failed", error=str(failed))

    async def prune(self) -> int:
        """Delete all that is past the limits; return how many rows."""
        total = 0
        while deleted := await self._prune_step():
            total += deleted
            await asyncio.sleep(STEP_PAUSE_SECONDS)
        if total:
            log.info("history.pruned", rows=total)
        return total

    async def _prune_step(self) -> int:
        return await self._database.write(
            retention.prune, age=self._limits.age, rows_max=self._limits.rows_max, limit=STEP_ROWS
        )
