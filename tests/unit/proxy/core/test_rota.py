from hypothesis import given
from hypothesis import strategies as st

from proxy.core.rota import Backoff, Rota

BACKOFF = Backoff(shortest=0.5, longest=15)


def rota(count: int = 2, *, chance: float = 0.0) -> Rota:
    one = Rota(count, BACKOFF, lambda: chance)
    one.begin()
    return one


def fail(one: Rota, index: int, now: float, flowed: float = 0.0) -> bool:
    return one.ended(index, now, flowed_seconds=flowed, detail="failed")


@given(failures=st.integers(0, 10**6), jitter=st.floats(0, 1, exclude_max=True))
def test_the_delay_is_bounded_and_never_nothing(failures: int, jitter: float) -> None:
    assert 0.25 <= BACKOFF.delay(failures, jitter) <= 15


def test_the_delay_doubles() -> None:
    assert [BACKOFF.delay(number, 0.0) for number in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]


def test_a_round_goes_down_the_list_and_then_waits() -> None:
    one = rota(3)
    for index in range(3):
        assert one.choose(0.0) == index
        assert fail(one, index, 0.0) is (index == 2)
    assert one.rounds == 1
    assert one.choose(0.0) is None
    assert one.wait_seconds(0.1) == 0.4
    assert one.choose(0.5) == 0


def test_one_that_fails_again_and_again_is_let_alone_ever_longer() -> None:
    one = rota(2)
    tried = {0: 0, 1: 0}
    now = 0.0
    while now < 600:
        index = one.choose(now)
        if index is None:
            now += one.wait_seconds(now)
            continue
        tried[index] += 1
        fail(one, index, now + (20.0 if index else 0.0), flowed=20.0 if index else 0.0)  # the second delivers for 20 s
        now += 20.0 if index else 0.0
    assert tried[1] > 25
    assert tried[0] <= 6 + 600 / 15


def test_what_is_known_of_a_bad_one_outlives_the_pull() -> None:
    one = rota(2)
    for now in (0.0, 0.5, 1.5, 3.5):
        fail(one, 0, now)
    one.begin()
    assert one.choose(4.0) == 1  # the bad one waits until the others have been tried
    fail(one, 1, 4.0)
    assert one.choose(4.0) == 0  # and is tried all the same: somebody has just come
    fail(one, 0, 4.0)
    assert one.choose(4.0) is None


def test_a_steady_delivery_makes_the_next_failure_the_first() -> None:
    one = rota(1)
    for now in (0.0, 1.0, 2.0, 3.0):
        fail(one, 0, now)
    assert one.rounds == 4
    assert fail(one, 0, 100.0, flowed=5.0) is False
    assert one.rounds == 0
    assert one.wait_seconds(100.0) == 0.5


def test_after_a_failure_the_best_that_may_be_tried_is() -> None:
    one = rota(3)
    fail(one, 0, 0.0, flowed=60.0)
    assert one.choose(0.0) == 1
    fail(one, 1, 30.0)
    assert one.choose(30.0) == 0


def test_those_who_stay_go_on_from_where_they_are() -> None:
    one = rota(3)
    one.prefer = "stay"
    fail(one, 0, 0.0, flowed=60.0)
    fail(one, 1, 30.0, flowed=30.0)
    assert one.choose(31.0) == 2
    assert one.return_to(2, 1e6) is None
    assert one.return_wait_seconds(2, 1e6) is None


def test_the_way_back_is_tried_later_and_later_while_it_fails() -> None:
    one = rota(2)
    one.return_after_seconds = 10.0
    fail(one, 0, 0.0, flowed=60.0)
    assert one.return_wait_seconds(1, 4.0) == 6.0
    assert one.return_to(1, 9.9) is None
    waits = []
    now = 0.0
    for _ in range(7):
        wait = one.return_wait_seconds(1, now)
        assert wait is not None
        waits.append(wait)
        now += wait
        assert one.return_to(1, now) == 0
        one.returning(0)
        fail(one, 0, now)
    assert waits == [10, 20, 40, 80, 160, 320, 320]


def test_one_that_went_back_and_failed_soon_is_waited_for_longer_and_a_good_one_is_not() -> None:
    one = rota(2)
    one.return_after_seconds = 10.0
    one.returning(0)
    fail(one, 0, 0.0, flowed=6.0)
    assert one.return_wait_seconds(1, 0.0) == 20
    one.returning(0)
    fail(one, 0, 100.0, flowed=50.0)
    assert one.return_wait_seconds(1, 100.0) == 10


def test_a_way_back_that_could_not_be_tried_counts_as_no_failure() -> None:
    one = rota(2)
    one.return_after_seconds = 10.0
    fail(one, 0, 0.0)
    one.put_off(0, 10.0)
    assert one.return_wait_seconds(1, 10.0) == 10
    assert one.standings[0].failures == 1


def test_the_best_of_several_ways_back_is_taken() -> None:
    one = rota(3)
    fail(one, 0, 0.0)
    fail(one, 1, 50.0)
    assert one.return_to(2, 59.0) is None
    assert one.return_to(2, 60.0) == 0
    one.put_off(0, 105.0)
    assert one.return_to(2, 110.0) == 1


def test_whether_there_is_another_to_try() -> None:
    one = rota(2)
    assert one.has_other(0, 0.0)
    fail(one, 1, 0.0)
    assert not one.has_other(0, 0.0)
    assert one.has_other(0, 0.5)
    assert not rota(1).has_other(0, 0.0)


def test_why_one_failed_is_known_until_it_delivers() -> None:
    one = rota(1)
    fail(one, 0, 0.0)
    assert one.standings[0].detail == "failed"
    one.delivers(0)
    assert one.standings[0].detail == ""


def test_one_for_which_something_has_changed_is_tried_at_once() -> None:
    one = rota()
    one.begin()
    for index in (0, 1, 0, 1):
        fail(one, index, 10.0)
    assert one.choose(10.1) is None
    one.forgive(0)
    assert one.choose(10.1) == 0
    assert one.return_to(1, 10.1) == 0
