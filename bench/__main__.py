"""``python -m bench``: measure, print one table, and write it to the page. Some ten minutes."""

import argparse
import asyncio
import os
import shutil
import tempfile
from pathlib import Path

from bench import cycle, ingest, planner, report, streams
from bench.media import part as media
from bench.report import Circumstances, Part
from tests.fakes.broker import MISSING, MOSQUITTO

KINDS = ("media", "streams", "planner", "cycle", "ingest")
ALONE = tuple(f"media:{chapter}" for chapter in media.CHAPTERS)


def main() -> None:
    wanted = _arguments()
    if MOSQUITTO is None:
        raise SystemExit(MISSING)
    began = os.getloadavg()
    parts = [_measure(kind, wanted.keep_log) for kind in wanted.only or KINDS]
    circumstances = Circumstances(report.now(), began, os.getloadavg())
    print("\n".join(circumstances.lines()), report.table(parts), sep="\n\n")
    if not wanted.only:
        report.PAGE.write_text(report.page(parts, circumstances))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=KINDS + ALONE, help="measure this, and leave the page alone")
    parser.add_argument("--keep-log", type=Path, help="where to copy the log of the machine that was measured")
    return parser.parse_args()


def _measure(kind: str, log: Path | None) -> Part:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as home:
        match kind:
            case "media":
                return media.measure(Path(home))
            case _ if kind in ALONE:
                return media.measure(Path(home), [kind.partition(":")[2]])
            case "planner":
                return planner.measure()
            case "cycle":
                return cycle.measure(Path(home))
            case "ingest":
                return ingest.measure(Path(home))
            case _:
                keep = (lambda path: shutil.copy(path, log)) if log else (lambda _path: None)
                return asyncio.run(streams.measure(Path(home), keep))


if __name__ == "__main__":
    main()
