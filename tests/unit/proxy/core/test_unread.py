from proxy.core.unread import BYTES_MAX, CHUNKS_MAX, Arrival, Unread, arrival_of


def test_chunks_are_taken_together_with_the_times_they_came_at() -> None:
    unread = Unread()
    arrivals = [Arrival(0, 1.0, 101.0), Arrival(3, 2.0, 102.0)]
    assert not unread
    for chunk, arrival in zip((b"abc", b"de"), arrivals, strict=True):
        unread.add(chunk, arrival)
    assert unread
    assert unread.take() == (b"abcde", arrivals)
    assert not unread
    assert [arrival_of(position, arrivals).now for position in (0, 2, 3, 4)] == [1.0, 1.0, 2.0, 2.0]


def test_neither_many_chunks_nor_large_ones_wait() -> None:
    many, large = Unread(), Unread()
    for number in range(CHUNKS_MAX - 1):
        many.add(b"x", Arrival(number, 0.0, 0.0))
    assert not many.is_full
    many.add(b"x", Arrival(CHUNKS_MAX, 0.0, 0.0))
    large.add(bytes(BYTES_MAX), Arrival(0, 0.0, 0.0))
    assert many.is_full
    assert large.is_full
