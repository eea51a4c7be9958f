"""The committed description of the API is the one that is served, and its page names every operation.

To bring the copy up to date: ``python -m tests.house.test_openapi``.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from controller.api import application
from controller.api.pulse import Pulse
from controller.api.services import Health, Services
from controller.domain.observation import Observed
from controller.store.engine import Database

ROOT = Path(__file__).parents[2]
COPY = ROOT / "docs/reference/openapi.json"
PAGE = ROOT / "docs/reference/rest.md"


async def _never(*_: object) -> Any:
    raise AssertionError("a description asks nobody")


async def describe() -> dict[str, Any]:
    """Return the document, without the version, which changes with every release."""
    database = Database("sqlite://", executor="inline")
    services = Services(
        database=database,
        observed=Observed,
        observe_now=_never,
        wake=lambda _keys: None,
        wake_all=lambda: None,
        ask_for_births=lambda _sources: None,
        plan_now=_never,
        run_now=_never,
        list_viewers=_never,
        kick_viewer=_never,
        new_id=_never,
        pulse=Pulse(),
        stopping=asyncio.Event(),
        health=lambda: Health(has_observed=False),
        version="0",
    )
    document = application.build(services).openapi()
    await database.dispose()
    return document


def render(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


async def test_the_committed_copy_is_what_is_served() -> None:
    assert COPY.read_text() == render(await describe()), "run: python -m tests.house.test_openapi"


async def test_the_page_names_every_operation_and_no_other() -> None:
    described = {f"{method.upper()} {path}" for path, found in (await describe())["paths"].items() for method in found}
    told = {line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `") and " /" in line}
    assert {operation.split("?")[0] for operation in told} == described


if __name__ == "__main__":
    COPY.write_text(render(asyncio.run(describe())))
