import asyncio

from controller.reconcile import lookout
from controller.reconcile.lookout import Lookout
from proxy.contract import SessionSpec, Upstream
from tests.fakes.control_room import ControlRoom
from tests.fakes.mqtt import until


async def test_it_looks_when_a_bell_rings_and_changes_nothing(room: ControlRoom, p1, monkeypatch):
    monkeypatch.setattr(lookout, "SPACING_SECONDS", 0.01)
    told = asyncio.Event()
    watch = Lookout(room.observer, room.queue, changed=told.set)
    p1.inject("s1", SessionSpec(key="cam-7", upstreams=(Upstream(url="http://origin/x.ts"),)), 1, 1)
    async with room.running(watch.run):
        await told.wait()
        [view] = room.observer.latest.proxies
        assert [session.key for session in view.sessions] == ["cam-7"]
        rounds = room.observer.rounds
        p1.forget()
        room.queue.ring_all()
        await until(lambda: room.observer.rounds > rounds, "it looked again")
    assert room.changes == 0
    assert room.reconciler.cycles == 0
