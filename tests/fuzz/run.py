"""Fuzzes one target with coverage as its guide: ``python -m tests.fuzz.run TARGET [SECONDS]``; see ``make fuzz``.

It begins with the kept corpus, and leaves what it finds below ``.fuzz``: new inputs in a folder of the target's name, and
one that broke a promise as ``TARGET-crash-…``. ``keep`` then picks what is worth keeping.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["proxy.core", "proxy.upstream.hls"]):
    from tests.fuzz import targets

HERE = Path(__file__).parent
FOUND = HERE.parents[1] / ".fuzz"
INPUT_BYTES_MAX = 4096


def main(name: str, seconds: str = "60") -> None:
    kept, found = HERE / "corpus" / name, FOUND / name
    for folder in (kept, found):
        folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        *(f"-max_total_time={int(seconds)}", f"-max_len={INPUT_BYTES_MAX}", "-timeout=20", "-rss_limit_mb=1024"),
        *("-print_final_stats=1", f"-artifact_prefix={FOUND / name}-", str(found), str(kept)),
    ]
    atheris.Setup([sys.argv[0], *arguments], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
