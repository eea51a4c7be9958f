"""Clocks, dice and names of the product, taken from the world while it runs.

Where the product takes them as parameters the simulator hands them in; where a module asks the standard library, that
module's view of it is exchanged. No other module sees a difference.
"""

import itertools
import os
import random
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, tzinfo
from types import ModuleType, SimpleNamespace
from typing import Any

from typing_extensions import override

from controller.ingest import outgoing, subscriber
from controller.reconcile import incarnation
from tests.simulation.mqtt import Post
from tests.simulation.stage import Stage


@contextmanager
def exchanged(owner: Any, name: str, value: Any) -> Iterator[None]:
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


@contextmanager
def in_world(stage: Stage, post: Post) -> Iterator[None]:
    """Let every module of the controller live in this world's time, and by its dice."""
    replacements = _replacements(stage)
    with ExitStack() as stack:
        for module in _modules():
            for name, kept in list(vars(module).items()):
                if isinstance(kept, ModuleType | type) and kept in replacements:
                    stack.enter_context(exchanged(module, name, replacements[kept]))
        stack.enter_context(exchanged(subscriber, "connect", post.connect))
        numbers = itertools.count(1)
        stack.enter_context(exchanged(incarnation, "describe", lambda name: f"{name}/{next(numbers)}"))
        stack.enter_context(exchanged(outgoing, "BIRTH_SPACING_SECONDS", 5.0))
        yield


def _modules() -> list[ModuleType]:
    return [module for name, module in sorted(sys.modules.items()) if name.startswith("controller.")]


def _replacements(stage: Stage) -> dict[Any, Any]:
    dice = random.Random(stage.chance.dice.random())

    class _Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class VirtualDatetime(datetime, metaclass=_Meta):
        @classmethod
        @override
        def now(cls, tz: tzinfo | None = None) -> Any:
            return stage.now()

    clock = SimpleNamespace(
        monotonic=stage.loop.time,
        perf_counter=stage.loop.time,
        time=lambda: stage.now().timestamp(),
        clock_gettime=lambda _which: stage.loop.time(),
        CLOCK_BOOTTIME=time.CLOCK_BOOTTIME,
        time_ns=lambda: int(stage.now().timestamp() * 1e9),
    )
    names = SimpleNamespace(
        uuid4=lambda: uuid.UUID(int=dice.getrandbits(128), version=4),
    )
    system = SimpleNamespace(urandom=dice.randbytes, getpid=lambda: 1, environ=os.environ)
    return {time: clock, random: dice, datetime: VirtualDatetime, uuid: names, os: system}
