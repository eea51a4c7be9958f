import os

import pytest

from proxy import huge_pages
from proxy.huge_pages import HUGE_BYTES, HugePages


@pytest.fixture
def descriptor():
    made = os.memfd_create("test")
    yield made
    os.close(made)


def test_what_is_laid_holds_what_is_written_and_nothing_else(descriptor: int) -> None:
    laid = [HugePages().lay(descriptor, offset) for offset in (0, HUGE_BYTES)]
    if not all(laid):
        pytest.skip("needs Linux 6.1 or newer with CONFIG_TRANSPARENT_HUGEPAGE: this kernel has no MADV_COLLAPSE")
    assert os.fstat(descriptor).st_blocks * 512 == 2 * HUGE_BYTES
    os.pwrite(descriptor, b"abc", HUGE_BYTES - 1)
    assert os.pread(descriptor, 5, HUGE_BYTES - 2) == b"\0abc\0"


def test_where_the_kernel_refuses_it_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(huge_pages, "monotonic", lambda: clock[0])
    pages = HugePages()
    assert not pages.lay(descriptor, 4096)  # no multiple of a huge page's size
    size = os.fstat(descriptor).st_size
    clock[0] += huge_pages.REST_SECONDS - 1
    assert not pages.lay(descriptor, 0)
    assert os.fstat(descriptor).st_size == size
    clock[0] += 2
    pages.lay(descriptor, HUGE_BYTES)
    assert os.fstat(descriptor).st_size == 2 * HUGE_BYTES


def test_they_are_not_laid_one_upon_the_other(descriptor: int) -> None:
    pages = HugePages()
    pages.lay(descriptor, 0)
    assert not pages.lay(descriptor, HUGE_BYTES)
    assert os.fstat(descriptor).st_size == HUGE_BYTES


def test_a_kernel_that_takes_long_is_left_alone_too(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    clock = iter([0.0 + 1000, 1000 + huge_pages.SLOW_SECONDS * 2, 1001.0])
    monkeypatch.setattr(huge_pages, "monotonic", lambda: next(clock))
    pages = HugePages()
    pages.lay(descriptor, 0)
    assert not pages.lay(descriptor, HUGE_BYTES)
    assert os.fstat(descriptor).st_size == HUGE_BYTES
