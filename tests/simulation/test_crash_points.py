"""Every point at which a controller may die, and every other fault of ``docs/explanation/simulation.md``, with every kind
of event: the world has to end as it would have without, and no stream may be started or stopped once more for it.
"""

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.simulation import runner
from tests.simulation.broker import Letter
from tests.simulation.scenes import Action, Ending, Scene, nothing, play

# The events


async def start(scene: Scene) -> None:
    scene.source.start("c", "http://origin/c.ts", on_demand=False, on_eof="reconnect")


async def end(scene: Scene) -> None:
    scene.source.end("a")


async def update(scene: Scene) -> None:
    scene.source.change("a", "http://origin/other.ts")


async def supersede(scene: Scene) -> None:
    scene.source.start("a", "http://origin/next.ts", on_demand=False, on_eof="reconnect")


async def operator_stop(scene: Scene) -> None:
    await scene.stop_by_operator("a")


async def source_lost(scene: Scene) -> None:
    scene.source.crash([])
    await asyncio.sleep(6.0)
    scene.source.boot()


async def birth(scene: Scene) -> None:
    """It lacks a stream, and so does the next, for which it is asked."""
    del scene.source.streams["a"]
    scene.truth.end("a")
    scene.source.bear()


async def session_fails(scene: Scene) -> None:
    next(proxy for proxy in scene.fleet.proxies if "a" in proxy.views).fail("a")


EVENTS = (start, end, update, supersede, operator_stop, source_lost, birth, session_fails)

# The points


def _killed(is_there: Callable[[str], bool]) -> Action:
    async def arm(scene: Scene) -> None:
        scene.crash_at(is_there)

    return arm


async def leader_changes(scene: Scene) -> None:
    """A start or stop was sent, its sender dies, and its proxy is not reached for so long that streams are moved."""

    def cut(process, place: str) -> None:
        if not scene.was_hit and place in ("PUT to be sent", "DELETE to be sent"):
            scene.was_hit = True
            loop, proxies = scene.stage.loop, scene.fleet.proxies
            pairs = {(name, proxies[0].proxy_id) for name in scene.names}
            loop.outside(0.002, scene.network.cut.update, pairs)
            loop.outside(0.003, scene.stage.crash, process, "a command was sent")
            loop.outside(20.0, scene.network.cut.clear)

    scene.stage.failpoints.append(cut)


async def command_late(scene: Scene) -> None:
    _delay(scene, "PUT", "DELETE")


async def list_slow(scene: Scene) -> None:
    _delay(scene, "GET")


def _delay(scene: Scene, *methods: str) -> None:
    def note() -> None:
        scene.was_hit = True

    scene.network.on_delayed = note
    scene.network.delays.append(methods)


async def proxy_restarts(scene: Scene) -> None:
    """With the first command that reaches it: neither the session nor its tombstone is left."""

    def reboot(proxy, method: str) -> None:
        if not scene.was_hit and method in ("PUT", "DELETE"):
            scene.was_hit = True
            proxy.go_down()
            scene.stage.loop.outside(1.0, proxy.come_up)

    scene.network.arrivals.append(reboot)


async def database_set_back(scene: Scene) -> None:
    """To a moment before the event, once it was carried out."""
    backup = scene.storage.back_up()
    scene.was_hit = True
    scene.stage.loop.outside(3.0, scene.restore, backup)


async def broker_killed(scene: Scene) -> None:
    """Right after it has confirmed what was published."""
    scene.was_hit = True
    for controller in scene.controllers.values():
        scene.post.lose(controller.process)
    scene.stage.loop.outside(0.06, scene.broker.die, "everything")
    scene.stage.loop.outside(1.0, scene.broker.come_up)


async def queue_overflows(scene: Scene) -> None:
    """Every controller is down, and more is published than the broker keeps for them."""
    scene.was_hit = True
    for controller in scene.controllers.values():
        scene.stage.crash(controller.process, "a long night")
    await asyncio.sleep(0.1)
    for number in range(100):
        scene.broker.publish(Letter(f"penstock/v1/streams/noise-{number}/stats", b"{}"))


async def cancelled(scene: Scene) -> None:
    """Everything of the process is cancelled in the middle of a transaction, as by SIGTERM."""

    def cancel(process, place: str) -> None:
        if not scene.was_hit and place.endswith("commit.before"):
            scene.was_hit = True
            for task in list(process.tasks):
                task.cancel()
            scene.stage.loop.outside(1.0, scene.start_again, process.name)

    scene.stage.failpoints.append(cancel)


async def migration_half_way(scene: Scene) -> None:
    """A process dies in a transaction, and a newer one begins to migrate: one step of two is done, and older code goes on.

    Steps only add, so that it can. What a step that fails leaves behind is tried in ``tests/migrations``.
    """
    scene.crash_at(lambda place: place.endswith("commit.before"))
    scene.stage.loop.outside(0.2, scene.storage.expand, "streams")
    scene.stage.loop.outside(30.0, scene.storage.expand, "placements")


@dataclass(frozen=True)
class Point:
    number: int
    """In the list of the explanation page."""
    words: str
    fault: Action
    extra: int = 0
    """Effects that the fault itself makes necessary: what a restarted proxy had, what was moved."""
    no_event: tuple[str, ...] = ()
    """Events that never come by here."""
    forgets: tuple[str, ...] = ()
    """Events that the fault makes forgotten, or remembered otherwise: the end of all is right, and another one."""


NO_COMMANDS = ("source_lost",)
NO_MESSAGE = ("operator_stop", "session_fails")

POINTS = (
    Point(1, "received and not committed", _killed(lambda place: place == "MQTT receive"), no_event=NO_MESSAGE),
    Point(2, "committed and not acknowledged", _killed(lambda place: place.startswith("commit done")), no_event=NO_MESSAGE),
    Point(3, "in the middle of a transaction", _killed(lambda place: place.endswith("commit.before"))),
    Point(4, "committed and nobody woken", _killed(lambda place: place.endswith("commit.after"))),
    Point(5, "a command applied and not answered", _killed(lambda place: place == "command applied"), no_event=NO_COMMANDS),
    Point(6, "a command not sent", _killed(lambda place: place in ("PUT to be sent", "DELETE to be sent")), no_event=NO_COMMANDS),
    Point(7, "an answer not recorded", _killed(lambda place: place in ("PUT answered", "DELETE answered")), no_event=NO_COMMANDS),
    Point(8, "a plan saved and not carried out", _killed(lambda place: place == "save: commit.after")),
    Point(9, "a command sent and the stream moved", leader_changes, extra=6, no_event=NO_COMMANDS),
    Point(10, "a command that comes late", command_late, extra=2, no_event=NO_COMMANDS),
    Point(11, "a list that was slow", list_slow, extra=2),
    Point(12, "a plan made and not saved", _killed(lambda place: place == "save: commit.before")),
    Point(13, "a proxy that restarts under a command", proxy_restarts, extra=3, no_event=NO_COMMANDS),
    Point(14, "a database set back", database_set_back, extra=4, forgets=("end", "operator_stop")),
    Point(15, "a broker that lost everything", broker_killed),
    Point(16, "a queue that overflowed", queue_overflows, forgets=("end",)),
    Point(17, "a process cancelled in a transaction", cancelled),
    Point(18, "a migration half-way", migration_half_way),
)  # fmt: skip
assert [point.number for point in POINTS] == list(range(1, 19))
CASES = [(point, event) for point in POINTS for event in EVENTS]


@functools.cache
def undisturbed(event: Action) -> Ending:
    return play(event, nothing)


def name(value: object) -> str:
    return value.words if isinstance(value, Point) else getattr(value, "__name__", str(value)).replace("_", " ")


@pytest.mark.parametrize(("point", "event"), CASES, ids=name)
def test_it_ends_as_if_nothing_had_happened(point: Point, event: Action):
    with runner.at_leisure():
        wanted, got = undisturbed(event), play(event, point.fault)
    assert got.violations == [], got.story
    assert got.was_hit is (event.__name__ not in point.no_event), "the fault found its point"
    assert got.state == wanted.state or event.__name__ in point.forgets, got.story
    surplus = got.effects - wanted.effects
    assert surplus.total() <= point.extra, f"{surplus}\n{got.story}"


@pytest.mark.parametrize("event", EVENTS, ids=name)
def test_an_event_has_its_effects_without_any_fault(event: Action):
    with runner.at_leisure():
        ending = undisturbed(event)
    assert ending.violations == [], ending.story
    assert bool(ending.effects) is (event.__name__ not in NO_COMMANDS)
