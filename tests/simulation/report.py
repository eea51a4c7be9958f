"""What many worlds came to, as the page ``docs/reference/reliability.md``: figures of real runs."""

import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.simulation.ablation import RULES, Rule, live_without
from tests.simulation.runner import in_processes
from tests.simulation.world import CONTROLLERS, PROXIES, SOURCES, Outcome

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "reliability.md"

HEAD = """# Reliability

The first two parts are written by `make simulate ARGS=--report`, from the simulator: real controllers in worlds of
faults, each from one seed ([how it works](../explanation/simulation.md)). What it does not know of stands there, too.
"""

REAL = "\n## Real processes\n"
"""What stands from here on is written by hand, after ``make chaos``."""


@dataclass(frozen=True, slots=True)
class Missed:
    """How a rule fared when it was switched off."""

    rule: Rule
    worlds: int
    wrong: int
    wrongful: int
    first: str


def without(rule_name: str, seeds: Sequence[int], jobs: int) -> Missed:
    """Live through worlds without one rule."""
    rule = RULES[rule_name]
    outcomes = list(in_processes(_Without(rule_name), seeds, jobs))
    wrong = [outcome for outcome in outcomes if outcome.violations]
    wrongful = sum(1 for outcome in wrong if outcome.figures["wrongful"])
    first = f"seed {wrong[0].seed}" if wrong else "none"
    return Missed(rule, len(outcomes), len(wrong), wrongful, first)


@dataclass(frozen=True, slots=True)
class _Without:
    rule_name: str

    def __call__(self, seed: int) -> Outcome:
        return live_without(RULES[self.rule_name], seed)


def write(outcomes: Sequence[Outcome], seconds: float, missed: Iterable[Missed]) -> None:
    """Write the page anew, but for what was found with real processes."""
    _, heading, found = PAGE.read_text().partition(REAL)
    parts = [HEAD, *_circumstances(), "", *_figures(outcomes, seconds), "", *_ablation(missed), ""]
    PAGE.write_text("\n".join(parts) + heading + found)


def _circumstances() -> Iterable[str]:
    described = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    yield f"- {datetime.now(UTC):%Y-%m-%d}, commit {described.stdout.strip() or 'unknown'}, Python {platform.python_version()}"
    keys = sum(len(keys) for keys in SOURCES.values())
    yield f"- {len(CONTROLLERS)} controllers, {PROXIES} proxies, {len(SOURCES)} sources with {keys} streams, one broker, one database"
    yield "- 120 s of faults and 60 s of quiet in every world, in virtual time"


def _figures(outcomes: Sequence[Outcome], seconds: float) -> Iterable[str]:
    totals = {name: sum(o.figures[name] for o in outcomes) for name in outcomes[0].figures}
    converged = sorted(o.figures["convergence"] for o in outcomes)
    unconverged = sum(any("not converged" in text for text in o.violations) for o in outcomes)
    others = sum(bool(o.violations) for o in outcomes)
    count = len(outcomes)
    rows = [
        ("worlds (seeds)", f"{count}, from {outcomes[0].seed} to {outcomes[-1].seed}"),
        ("worlds in which anything went wrong", f"{others}"),
        ("wrongful stops: the only right session of a live stream", f"{totals['wrongful']:.0f}"),
        ("of that kind, but a replacement that was seen was lost within 3 s", f"{totals['races']:.0f}"),
        ("worlds not converged after the quiet", f"{unconverged}"),
        ("convergence after the last fault, p50 / p99 / max", " / ".join(_spread(converged))),
        ("session-seconds of streams that their source had ended, a world", f"{totals['stale'] / count:.0f}"),
        ("stream-seconds without a session, a world", f"{totals['gap'] / count:.0f}"),
        ("session-seconds of second sessions, a world", f"{totals['double'] / count:.1f}"),
        ("commands for each change that was wished", f"{totals['commands'] / totals['changes']:.2f}"),
        ("simulated seconds for one of real time, all processes", f"{totals['simulated'] / seconds:.0f}"),
    ]
    return ["| what | measured |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows)]


def _spread(values: Sequence[float]) -> tuple[str, str, str]:
    return tuple(f"{values[min(len(values) - 1, int(len(values) * part))]:.1f} s" for part in (0.5, 0.99, 1.0))  # type: ignore[return-value]


def _ablation(missed: Iterable[Missed]) -> Iterable[str]:
    yield "## Without a rule"
    yield ""
    yield "Each rule is switched off alone. Only worlds that go wrong without it, and not with it, are counted."
    yield ""
    yield "| rule | what it says | worlds wrong without it | with a wrongful stop | first |"
    yield "| --- | --- | --- | --- | --- |"
    for one in missed:
        share = f"{one.wrong} of {one.worlds}"
        held = f"; `test_ablation.py::{one.rule.directed}` fails without it" if one.rule.directed else ""
        yield f"| {one.rule.name} | {one.rule.meaning} | {share} | {one.wrongful} | {one.first}{held} |"
        print(f"without {one.rule.name}: {share} worlds went wrong", file=sys.stderr, flush=True)
