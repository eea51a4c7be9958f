"""The fuzzer's targets in the normal tests: what it has found is kept and played again, and Hypothesis has a try.

Hypothesis splices what was found, which leads twice as far per example as bytes from nowhere. Coverage does not guide it:
in ten seconds of plain Python a loop that keeps what takes a new step (``sys.settrace``) tried a fifth to a twelfth of the
inputs, and found no more new steps than the same changes without a guide. That is left to ``make fuzz``.
"""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
CORPUS_BYTES_MAX = 256 * 1024


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_keeps_the_promises(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        TARGETS[name](path.read_bytes())


def spliced(name: str) -> st.SearchStrategy[bytes]:
    """Pieces of kept inputs, one after the other, with a few bytes of its own among them."""
    kept = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    cuts = st.tuples(st.sampled_from(kept), st.integers(0, 600), st.integers(1, 200))
    pieces = st.one_of(st.binary(max_size=32), cuts.map(lambda cut: cut[0][cut[1] : cut[1] + cut[2]]))
    return st.lists(pieces, max_size=12).map(b"".join)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_keep_the_promises(name: str) -> None:
    @settings(max_examples=200, deadline=None)
    @given(spliced(name))
    def play(data: bytes) -> None:
        TARGETS[name](data)

    play()


def test_what_is_kept_stays_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) <= CORPUS_BYTES_MAX
