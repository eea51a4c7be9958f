"""The short form of ``make chaos``: one round of faults on each database, in the order of a seed."""

import shutil
from pathlib import Path

import pytest

from tests.chaos import campaign
from tests.chaos.__main__ import summary
from tests.chaos.campaign import Plan
from tests.chaos.world import PROGRAMS
from tests.fakes import broker, postgres

SECONDS = 11.0
SEEDS = {"sqlite": 1, "postgres": 2}


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(broker.MOSQUITTO is None, reason=broker.MISSING)
@pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason=f"needs {' and '.join(PROGRAMS)}")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_what_is_shown_is_what_runs_after_every_fault(tmp_path: Path, kind: campaign.Kind):
    if kind == "postgres" and postgres.find_binaries() is None:
        pytest.skip(postgres.INSTALL)
    plan = Plan(SEEDS[kind], kind, SECONDS, pause_seconds=(0.6, 1.2))
    report = await campaign.run(plan, tmp_path)
    told = "\n".join([*report.story, *summary(report)])
    assert not report.complaints, told
    assert report.struck.total() > 8, told
    assert report.explained["message"] > max(10, report.events / 2), told
    assert report.seen["watched"], told
