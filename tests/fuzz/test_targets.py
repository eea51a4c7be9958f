"""The fuzzer's targets in the normal tests: what it has found is kept and played again, and Hypothesis has a try."""

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


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_keep_the_promises(name: str) -> None:
    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=600))
    def play(data: bytes) -> None:
        TARGETS[name](data)

    play()


def test_what_is_kept_stays_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) <= CORPUS_BYTES_MAX
