"""Tokens come in with time, are paid one by one, and what is left is handed on."""

from datetime import timedelta

import pytest

from controller.domain.budgets import BRAKE, BURST_SECONDS, WINDOW, Bucket, Budgets, Limits, Purse, within_window
from tests.fakes import domain_values as make

LIMITS = Limits(evidenced_per_second=5, unevidenced_per_second=1)


def purse(budgets: Budgets, at: float, *, is_braked: bool = False) -> Purse:
    return Purse(budgets, LIMITS, make.later(at), is_braked=is_braked)


def pay_all(opened: Purse, proxy_id: str = "p1") -> int:
    count = 0
    while opened.pay_evidenced(proxy_id):
        count += 1
    return count


def test_a_burst_goes_at_once_and_then_the_rate_holds():
    first = purse(Budgets(), 0)
    assert pay_all(first) == 5 * BURST_SECONDS
    left = first.left
    for second in range(1, 4):
        later = purse(left, second)
        assert pay_all(later) == 5
        left = later.left


def test_every_proxy_has_its_own():
    opened = purse(Budgets(), 0)
    pay_all(opened, "p1")
    assert opened.pay_evidenced("p2")


def test_with_the_breaker_open_it_goes_on_slowly_and_never_not_at_all():
    opened = purse(Budgets(), 0)
    pay_all(opened)
    left, paid = opened.left, 0
    for second in range(1, 101):
        later = purse(left, second, is_braked=True)
        paid += pay_all(later)
        left = later.left
    assert paid == 100 * 5 * BRAKE


def test_a_clock_that_goes_back_gives_nothing():
    opened = purse(Budgets(), 0)
    pay_all(opened)
    assert pay_all(purse(opened.left, -60)) == 0


def test_paying_without_evidence_has_a_rate_of_its_own():
    opened = purse(Budgets(), 0)
    assert sum(opened.pay_unevidenced() for _ in range(99)) == 10
    assert sum(purse(opened.left, 3).pay_unevidenced() for _ in range(1)) == 1
    assert opened.pay_evidenced("p1")


def test_a_purse_takes_nothing_from_the_value_it_was_made_of():
    budgets = Budgets({"p1": Bucket(1.0, make.NOW)})
    assert pay_all(purse(budgets, 0)) == pay_all(purse(budgets, 0)) == 1


@pytest.mark.parametrize(("sessions", "allowed"), [(0, 3), (29, 3), (40, 4), (1000, 100)])
def test_the_allowance_is_a_part_of_all_and_a_few_at_least(sessions, allowed):
    assert LIMITS.allowance(sessions) == allowed


def test_what_is_older_than_the_window_counts_no_more():
    now = make.later(0) + WINDOW
    spent = ((make.later(0), 2), (make.later(1), 3))
    assert within_window(spent, now) == spent[1:]
    assert within_window(spent, now - timedelta(seconds=1)) == spent
