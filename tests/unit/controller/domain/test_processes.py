"""What a process of a source proves: the rules one by one. How they meet streams, ``test_admission`` tells."""

import pytest

from controller.domain.events import BirthReported, SourceReported
from controller.domain.model import SourceId
from controller.domain.processes import Known, Latest, Process, Processes
from controller.domain.verdicts import Verdict
from tests.fakes import domain_values as make

OTHER = SourceId("enc-2")


def birth(boot_id: str, seq: int | None = None, source: SourceId = make.SOURCE) -> BirthReported:
    return BirthReported(source, boot_id, (), make.CAUSE, seq)


def online(boot_id: str, source: SourceId = make.SOURCE) -> SourceReported:
    return SourceReported(source, boot_id, True, make.CAUSE)


def offline(boot_id: str) -> SourceReported:
    return SourceReported(make.SOURCE, boot_id, False, make.CAUSE)


def hear(processes: Processes, *said: BirthReported | SourceReported) -> list[Verdict | None]:
    """Hear everything; return what the births came to."""
    verdicts = []
    for event in said:
        if isinstance(event, BirthReported):
            verdicts.append(processes.hear_birth(event))
        else:
            processes.hear_status(event)
    return verdicts


@pytest.mark.parametrize(
    ("said", "verdicts"),
    [
        pytest.param([birth("b1", 1), birth("b1", 2)], [None, None], id="a rising row"),
        pytest.param([birth("b1", 1), birth("b1", 1)], [None, Verdict.REPEATED], id="twice"),
        pytest.param([birth("b1", 2), birth("b1", 1)], [None, Verdict.STALE], id="one that was overtaken"),
        pytest.param([birth("b1"), birth("b1")], [None, None], id="without numbers nothing is known of order"),
        pytest.param([birth("b1", 4), birth("b1")], [None, None], id="without a number after one with"),
        pytest.param(
            [birth("b1", 1), birth("b2", 1), birth("b1", 1), birth("b2", 2)],
            [None, None, Verdict.REPEATED, None],
            id="every process counts for itself",
        ),
        pytest.param([birth("b1", 1), birth("b1", 1, OTHER)], [None, None], id="every source has its own"),
        pytest.param([online("b1"), online("b2"), birth("b1", 1)], [Verdict.STALE], id="another has come online since"),
        pytest.param([online("b1"), online("b2"), birth("b1")], [Verdict.STALE], id="another since, without a number"),
        pytest.param([online("b1"), online("b2"), birth("b2", 1)], [None], id="the one that came online last"),
        pytest.param([online("b1"), online("b2"), online("b1"), birth("b1", 1)], [None], id="back again"),
        pytest.param([online("b1"), birth("b2", 1)], [None], id="one that never says whether it is online"),
        pytest.param([birth("b2", 1), online("b1"), birth("b2", 2)], [None, None], id="one that never said it before"),
        pytest.param([online("b1"), offline("b2"), birth("b1", 1)], [None], id="a will is no sign of life"),
        pytest.param([online("b1"), online("b2", OTHER), birth("b1", 1)], [None], id="another source's process"),
    ],
)
def test_what_a_birth_proves(said: list[BirthReported | SourceReported], verdicts: list[Verdict | None]) -> None:
    assert hear(Processes(Known()), *said) == verdicts


def test_it_goes_on_where_the_last_batch_ended() -> None:
    known = Known(
        {(make.SOURCE, "b1"): Process(7, 3), (make.SOURCE, "b2"): Process(2, 4)}, {make.SOURCE: Latest(4, "b2")}
    )
    processes = Processes(known)
    assert hear(processes, birth("b1", 8), birth("b2", 2), birth("b2", 3)) == [Verdict.STALE, Verdict.REPEATED, None]
    hear(processes, online("b2"), online("b3"))
    assert processes.changed == {(make.SOURCE, "b2"): Process(3, 4), (make.SOURCE, "b3"): Process(None, 5)}


def test_what_is_known_already_is_not_written_again() -> None:
    processes = Processes(Known({(make.SOURCE, "b1"): Process(7, 3)}, {make.SOURCE: Latest(3, "b1")}))
    hear(processes, online("b1"), birth("b1", 7), birth("b1"), offline("b1"))
    assert processes.changed == {}
