"""``python -m tests.chaos``: the long form. Prints what happened, and the verdict; ends with 1 when something is wrong."""

import argparse
import asyncio
import random
import shutil
import tempfile
from functools import partial
from pathlib import Path

from tests.chaos import campaign
from tests.chaos.campaign import Plan, Report
from tests.chaos.world import PROGRAMS
from tests.fakes import broker, postgres


def main() -> None:
    wanted = _arguments()
    if broker.MOSQUITTO is None:
        raise SystemExit(broker.MISSING)
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise SystemExit(f"needs {' and '.join(missing)}: apt-get install {' '.join(missing)}")
    if wanted.database == "postgres" and postgres.find_binaries() is None:
        raise SystemExit(postgres.INSTALL)
    home = wanted.logs or Path(tempfile.mkdtemp(prefix="penstock-chaos-logs-"))
    home.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        wanted.seed,
        wanted.database,
        wanted.seconds,
        pause_seconds=(1.0, 6.0),
        quiet_seconds=90.0,
        rate=wanted.rate,
        viewers=wanted.viewers,
    )
    report = asyncio.run(campaign.run(plan, home, partial(print, flush=True)))
    print(*summary(report), sep="\n")
    if report.complaints:
        raise SystemExit(f"seed {plan.seed} found something; the logs are in {home}")
    if wanted.logs is None:
        shutil.rmtree(home)


def summary(report: Report) -> list[str]:
    return [
        "",
        *(f"{count:5} x {name}" for name, count in sorted(report.struck.items())),
        f"events: {report.events}, explained by: {dict(report.explained)}",
        f"viewers: {dict(report.seen)}",
        f"settled {report.settled_seconds:.1f} s after the last fault was undone",
        *(f"WRONG: {complaint}" for complaint in report.complaints),
        "verdict: " + ("wrong" if report.complaints else "all is as the ledger says"),
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long faults fall (300)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1_000_000), help="the same faults in the same order"
    )
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--rate", type=float, default=4.0, help="decisions of the source in a second (4)")
    parser.add_argument("--viewers", type=int, default=4, help="players at a time (4)")
    parser.add_argument("--logs", type=Path, help="where the logs go, and stay")
    return parser.parse_args()


if __name__ == "__main__":
    main()
