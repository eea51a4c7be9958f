"""Live through many worlds: ``python -m tests.simulation --seeds 1000``, or ``--seed 7`` for the story of one."""

import argparse
import os
import sys
import time

from tests.simulation import report, runner, world
from tests.simulation.ablation import RULES
from tests.simulation.corpus import CORPUS
from tests.simulation.world import Outcome, Plot

VIOLATIONS_TOLD = 3


def main() -> int:
    """Return the exit code: 1 when a world went wrong that should not, or none where one should."""
    arguments = _parse()
    plot = world.SHORT if arguments.short else Plot()
    if arguments.seed is not None:
        return _tell(world.run(arguments.seed, plot))
    if arguments.ablation:
        return _leave_out_rules(arguments)
    seeds = list(CORPUS) if arguments.corpus else range(arguments.first, arguments.first + arguments.seeds)
    began, outcomes = time.monotonic(), []
    for outcome in runner.live(seeds, arguments.jobs, plot):
        outcomes.append(outcome)
        if outcome.violations:
            print(f"seed {outcome.seed}: {'; '.join(outcome.violations[:VIOLATIONS_TOLD])}", flush=True)
    seconds, failed = time.monotonic() - began, sum(bool(outcome.violations) for outcome in outcomes)
    print(f"{len(seeds)} worlds in {seconds:.0f} s, {failed} went wrong")
    if arguments.report:
        tried = range(arguments.ablation_seeds)
        report.write(outcomes, seconds, [report.without(name, tried, arguments.jobs) for name in RULES])
    return 1 if failed else 0


def _leave_out_rules(arguments: argparse.Namespace) -> int:
    tried = range(arguments.first, arguments.first + arguments.ablation_seeds)
    missed = [report.without(name, tried, arguments.jobs) for name in RULES]
    for one in missed:
        print(f"without {one.rule.name}: {one.wrong} of {one.worlds} worlds went wrong, first {one.first}")
    return 0 if all(one.wrong for one in missed) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this world, and tell its story")
    parser.add_argument("--short", action="store_true", help="a minute of faults instead of two, as in the tests")
    parser.add_argument("--corpus", action="store_true", help="the seeds that once went wrong")
    parser.add_argument("--ablation", action="store_true", help="without each of the rules")
    parser.add_argument("--ablation-seeds", type=int, default=48, help="worlds for each rule")
    parser.add_argument("--report", action="store_true", help="write docs/reference/reliability.md")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    return parser.parse_args()


def _tell(outcome: Outcome) -> int:
    assert outcome.story is not None
    print("\n".join(outcome.story.lines()))
    print(f"\nseed {outcome.seed}, trace {outcome.digest}: {outcome.figures}")
    print("\n".join(outcome.violations) or "nothing went wrong")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
