"""When the breaker opens, when it closes, and what an approval names."""

from dataclasses import replace

import pytest

from controller.domain.breaker import QUIET_PLANS, Breaker, Glance, Scale, digest, find_cause, judge
from controller.domain.budgets import Limits
from tests.fakes import domain_values as make

LIMITS = Limits(unevidenced_share=0.1, unevidenced_min=3)
CALM = Scale(
    glance=Glance(make.NOW, runs=100, sessions=100),
    closed_since=0,
    wanted=100,
    proxies=2,
    proxies_fresh=2,
    sessions={"p1": 60, "p2": 40},
    due={},
)
BEFORE = Glance(make.later(-10), runs=100, sessions=100)
OPEN = Breaker(make.NOW, "a cause", ((make.NOW, 2),))


def cause(before: Glance | None = BEFORE, **fields: object) -> str:
    return find_cause(replace(CALM, **fields), before, LIMITS)


def glance(**fields: int) -> Glance:
    return replace(CALM.glance, **fields)


@pytest.mark.parametrize(
    ("fields", "opens"),
    [
        pytest.param({}, False, id="all is well"),
        pytest.param({"due": {"p1": 10}}, False, id="as many without evidence as are allowed"),
        pytest.param({"due": {"p1": 6, "p2": 5}}, True, id="one more"),
        pytest.param({"due": {"p2": 4}, "sessions": {"p1": 96, "p2": 4}}, True, id="all of one proxy"),
        pytest.param({"due": {"p2": 3}, "sessions": {"p1": 97, "p2": 3}}, False, id="all of one proxy, and few"),
        pytest.param({"glance": glance(runs=49)}, True, id="more than half of the rows are gone"),
        pytest.param({"glance": glance(runs=50)}, False, id="half of them"),
        pytest.param({"glance": glance(runs=0), "closed_since": 100}, False, id="a thousand streams ended"),
        pytest.param({"glance": glance(runs=10), "closed_since": 39}, True, id="some ended, and more are gone"),
        pytest.param({"glance": glance(sessions=0), "sessions": {"p1": 0, "p2": 0}}, True, id="every proxy is empty"),
        pytest.param({"glance": glance(sessions=0), "wanted": 0}, False, id="every proxy is empty, and should be"),
        pytest.param({"glance": glance(sessions=0), "proxies_fresh": 1}, False, id="one is, the other is unknown"),
        pytest.param({"glance": glance(sessions=0), "proxies": 1, "proxies_fresh": 1}, False, id="the only one is"),
    ],
)
def test_what_opens_it(fields, opens):
    assert bool(cause(**fields)) is opens


def test_the_first_reading_has_nothing_to_be_compared_with():
    assert cause(None, glance=glance(runs=1, sessions=0)) == ""
    assert cause(None, due={"p1": 99}) != ""


def test_few_rows_may_come_and_go():
    assert cause(Glance(make.NOW, runs=9, sessions=100), glance=glance(runs=0)) == ""


def test_it_opens_with_its_first_cause_and_keeps_it():
    opened, quiet = judge(Breaker(), "first", 0, make.NOW)
    assert (opened.opened_at, opened.cause, quiet) == (make.NOW, "first", 0)
    assert judge(opened, "second", 1, make.later(9)) == (opened, 0)


def test_quiet_plans_in_a_row_close_it():
    state, quiet = OPEN, 0
    for _ in range(QUIET_PLANS - 1):
        state, quiet = judge(state, "", quiet, make.later(10))
        assert state.is_open
    state, quiet = judge(state, "again", quiet, make.later(20))
    assert quiet == 0
    for _ in range(QUIET_PLANS):
        state, quiet = judge(state, "", quiet, make.later(30))
    assert (state, quiet) == (Breaker(spent=OPEN.spent), 0)


def test_a_digest_names_an_opening_and_what_it_holds():
    a, b = ("p1", "boot", "s1", "1", "1"), ("p1", "boot", "s2", "1", "1")
    assert digest(OPEN, [a, b]) == digest(OPEN, [b, a]) != digest(OPEN, [a])
    assert digest(replace(OPEN, opened_at=make.later(1)), [a]) != digest(OPEN, [a]) != digest(Breaker(), [a])
    assert digest(OPEN, []) != ""
    assert digest(Breaker(), []) == ""
