"""Keeps of what the fuzzer has found what leads somewhere new: ``python -m tests.fuzz.keep``.

The smallest inputs come first; one is added to the corpus when it takes a step, from one line to another, that no input kept
so far takes. It needs no fuzzer.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
FOUND = HERE.parents[1] / ".fuzz"
WATCHED = tuple(str(HERE.parents[1] / "proxy" / room) for room in ("core", "upstream/hls"))

Step = tuple[str, int, int]


def steps(target: Callable[[bytes], None], data: bytes) -> set[Step]:
    """Return which lines followed which, in the code that is watched."""
    taken: set[Step] = set()

    def enter(frame: FrameType, _event: str, _argument: object):
        name, before = frame.f_code.co_filename, frame.f_lineno
        if not name.startswith(WATCHED):
            return None

        def follow(frame: FrameType, event: str, _argument: object):
            nonlocal before
            if event == "line":
                taken.add((name, before, frame.f_lineno))
                before = frame.f_lineno
            return follow

        return follow

    sys.settrace(enter)
    try:
        target(data)
    finally:
        sys.settrace(None)
    return taken


def keep(name: str) -> None:
    kept = HERE / "corpus" / name
    kept.mkdir(parents=True, exist_ok=True)
    known: set[Step] = set()
    for path in sorted(kept.iterdir()):
        known |= steps(TARGETS[name], path.read_bytes())
    found = FOUND / name
    for path in sorted(found.iterdir() if found.is_dir() else (), key=lambda path: (path.stat().st_size, path.name)):
        new = steps(TARGETS[name], path.read_bytes()) - known
        if new:
            known |= new
            (kept / path.name[:16]).write_bytes(path.read_bytes())
    print(f"{name}: {len(list(kept.iterdir()))} inputs, {len(known)} steps")


if __name__ == "__main__":
    for name in TARGETS:
        keep(name)
