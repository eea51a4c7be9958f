"""When a controller that has just begun to lead may stop something."""

import pytest

from controller.reconcile.startup import PATIENCE_SECONDS, StartupGate


class World:
    def __init__(self) -> None:
        self.now, self.unlisted, self.has_caught_up = 100.0, 2, False
        self.gate = StartupGate(
            lambda: self.now, unlisted=lambda: self.unlisted, has_caught_up=lambda: self.has_caught_up
        )


@pytest.fixture
def world() -> World:
    return World()


def test_it_waits_for_the_proxies_and_for_the_broker(world):
    assert world.gate.reason() == "a list of every proxy (2 are not listed yet)"
    world.unlisted = 0
    assert world.gate.reason() == "what waited at the broker is taken in"
    world.has_caught_up = True
    assert world.gate.reason() == ""


def test_once_open_it_stays_open(world):
    world.unlisted, world.has_caught_up = 0, True
    assert world.gate.reason() == ""
    world.unlisted, world.has_caught_up = 1, False
    assert world.gate.reason() == ""


@pytest.mark.parametrize(("seconds", "opens"), [(PATIENCE_SECONDS - 0.1, False), (PATIENCE_SECONDS, True)])
def test_its_patience_has_an_end(world, seconds, opens):
    world.now += seconds
    assert (world.gate.reason() == "") is opens


def test_who_leads_again_begins_anew(world):
    world.now += PATIENCE_SECONDS
    assert world.gate.reason() == ""
    world.gate.shut()
    assert world.gate.reason() != ""
    world.now += PATIENCE_SECONDS
    assert world.gate.reason() == ""
