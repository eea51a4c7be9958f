"""Which control counts, and how it is told."""

import pytest

from controller.domain.controls import MODE, PAUSE, Control, Controls, Mode, Scope
from tests.fakes import domain_values as make

GLOBAL, PROXY, STREAM = (Scope.GLOBAL, ""), (Scope.PROXY, "p1"), (Scope.STREAM, "cam-7")


def mode(target: tuple[Scope, str], value: Mode) -> Control:
    return Control(*target, MODE, value.value, "bob", "", make.NOW)


def pause(target: tuple[Scope, str]) -> Control:
    return Control(*target, PAUSE, "", "eve", "works", make.NOW, make.later(60))


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        pytest.param([], Mode.ENFORCE, id="nothing is set"),
        pytest.param([mode(GLOBAL, Mode.OBSERVE)], Mode.OBSERVE, id="the global mode"),
        pytest.param([mode(GLOBAL, Mode.OBSERVE), mode(PROXY, Mode.ENFORCE)], Mode.ENFORCE, id="a proxy's over it"),
        pytest.param(
            [mode(PROXY, Mode.ENFORCE), mode(STREAM, Mode.ADDITIVE_ONLY)],
            Mode.ADDITIVE_ONLY,
            id="a stream's over its proxy's",
        ),
        pytest.param([mode(STREAM, Mode.ENFORCE), pause(GLOBAL)], Mode.OBSERVE, id="any pause wins"),
        pytest.param([mode((Scope.STREAM, "other"), Mode.OBSERVE)], Mode.ENFORCE, id="another key's is not ours"),
        pytest.param([mode((Scope.PROXY, "p2"), Mode.OBSERVE)], Mode.ENFORCE, id="nor another proxy's"),
    ],
)
def test_which_one_counts(held, expected):
    found, control = Controls(held).limit("cam-7", "p1")
    assert found is expected
    assert (control is None) == (not [c for c in held if c.subject in ("", "p1", "cam-7")])


def test_a_drain_limits_nothing_here():
    drain = Control(*PROXY, "drain", "", "bob", "", make.NOW)
    assert not Controls([drain])
    assert Controls([drain]).limit("cam-7", "p1") == (Mode.ENFORCE, None)


def test_the_control_of_a_stream_is_its_own_and_limits():
    assert Controls([mode(GLOBAL, Mode.OBSERVE)]).of_stream("cam-7") is None
    assert Controls([mode(STREAM, Mode.ENFORCE)]).of_stream("cam-7") is None
    assert Controls([pause(STREAM), mode(STREAM, Mode.ENFORCE)]).of_stream("cam-7") == pause(STREAM)


@pytest.mark.parametrize(
    ("control", "told"),
    [
        (pause(STREAM), "a pause of key cam-7, set by eve until 2026-03-01 12:01:00 UTC (works)"),
        (mode(PROXY, Mode.OBSERVE), "mode observe of proxy p1, set by bob"),
        (mode(GLOBAL, Mode.ADDITIVE_ONLY), "mode additive_only of everything, set by bob"),
    ],
)
def test_it_is_told_in_words(control, told):
    assert str(control) == told
