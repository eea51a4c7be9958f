"""Values by the bounds they fall below."""

from controller.reconcile.histogram import Histogram


def test_buckets_are_cumulative_and_the_last_holds_all():
    noted = Histogram((1.0, 5.0))
    for value in (0.5, 1.0, 3.0, 99.0):
        noted.note(value)
    assert noted.buckets == (("1.0", 2.0), ("5.0", 3.0), ("+Inf", 4.0))
    assert noted.sum == 103.5
