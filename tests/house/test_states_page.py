"""The page of the states is what the machine says today."""

import re
from pathlib import Path

from controller.cli import states
from controller.domain.machine import TRANSITIONS, Event
from controller.domain.model import Reason, State

DOCS = Path(__file__).parents[2] / "docs"
WRITTEN = (DOCS / "reference" / "states.md").read_text(encoding="utf-8")


def rows(title: str) -> dict[str, list[str]]:
    """The cells of the table below a title, by their first."""
    table = WRITTEN.split(title, 1)[1].split("\n\n## ", 1)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    return {row[0].strip("`"): row[1:] for row in cells[2:]}


def test_the_page_is_up_to_date():
    assert states.page() == WRITTEN, "run `make docs`"


def test_every_state_is_explained():
    assert set(rows("# States of a stream")) >= set(State)


def test_every_pair_of_state_and_event_is_in_the_table_or_empty():
    table = rows("## Moves")
    assert set(table) == set(Event)
    for event, cells in table.items():
        for state, cell in zip(State, cells, strict=True):
            assert cell == " or ".join(TRANSITIONS.get((state, Event(event)), ()))


def test_every_reason_is_there():
    assert set(rows("## Reasons of an end")) == set(Reason)


def test_every_move_is_drawn():
    drawn = set(re.findall(r"^ +(\w+) --> (\w+)", WRITTEN.split("```mermaid")[1], re.MULTILINE))
    moves = {(s.lower(), t.lower()) for (s, _), targets in TRANSITIONS.items() for t in targets}
    assert moves <= drawn
