"""What people read: ages, amounts, alignment."""

from datetime import UTC, datetime

import pytest

from controller.cli import tables

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (119, "119s"), (120, "2m"), (3599, "59m"), (3600, "1h"), (86_399, "23h"), (86_400, "1d"),
     (-3, "0s"), (None, "-"), ("x", "-")],
)  # fmt: skip
def test_durations(seconds, text):
    assert tables.duration(seconds) == text


def test_ages_are_from_now():
    assert tables.age("2026-01-02T11:55:00Z", NOW) == "5m"
    assert tables.age("2026-01-02T13:55:00+02:00", NOW) == "5m"
    assert tables.age(None, NOW) == "-"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1000, "1.0k"), (7_900_000, "7.9M"), (2.5e9, "2.5G"), (4e12, "4.0T"), (None, "-")],
)
def test_amounts(value, text):
    assert tables.amount(value) == text


def test_columns_stand_below_their_titles():
    table = tables.rows([{"key": "a", "kind": None}, {"key": "longer", "kind": "x\ny"}], COLUMNS, wide=False)
    assert tables.lines(table) == ["KEY     KIND", "a       -", "longer  x y"]


def test_wide_columns_are_shown_when_asked_for():
    assert tables.rows([], COLUMNS, wide=True) == [["KEY", "KIND", "MORE"]]


def test_an_empty_table_can_be_followed():
    widths = tables.widths_of(tables.rows([], COLUMNS, wide=False))
    assert tables.lines([["KEY", "KIND"]], widths) == ["KEY  KIND"]


COLUMNS = (tables.field("KEY"), tables.field("KIND"), tables.field("MORE", is_wide=True))
